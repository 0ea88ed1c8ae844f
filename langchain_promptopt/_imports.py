"""Objects of the user's own code: imported by name; their errors name the user's file and line.

Whatever is raised while a module of the user is imported, or an object of theirs is built, is one line
with the file and line of their own code. The original error stays attached as the cause. Which code is theirs, and
which an installer put there, is told here too.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import sysconfig
import traceback
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cache, lru_cache
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from langchain_promptopt.errors import ConfigError, CredentialsError, PromptOptError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import ModuleType

_OURS = str(Path(__file__).parent)
_PLACES = ("stdlib", "platstdlib", "purelib", "platlib")
_INSTALLED = tuple(dict.fromkeys(str(Path(path)) for path in map(sysconfig.get_path, _PLACES) if path))
_STDLIB = str(Path(traceback.__file__).parent)
_SHOWN = 300
"""Characters of an error or a list of names that a message shows."""


@contextmanager
def importing_from(folder: Path | None) -> Iterator[None]:
    """Imports look into `folder` last, so that nothing in it takes the place of an installed package.

    None is for settings that name no code: then nothing is imported from there.
    """
    path = "" if folder is None else str(folder)
    if not path or path in sys.path:
        yield
        return
    sys.path.append(path)
    try:
        yield
    finally:
        # The code in between may have taken it out itself.
        if path in sys.path:
            sys.path.remove(path)


def import_object(name: str, folder: Path | None, key: str) -> Any:
    """The object that "module:attribute" or "path/file.py:attribute" names; the attribute may have dots.

    Args:
        name: What the setting says.
        folder: Where the user's own modules are; paths start there as well.
        key: The setting, for errors.

    Raises:
        ConfigError: There is no such module or attribute, or the module fails while it is imported.
        CredentialsError: It fails for want of a key.
    """
    module_name, _, attribute = name.rpartition(":")
    where = f"{key} = {name!r}"
    with importing_from(folder), users_errors(f"{module_name} cannot be imported", where):
        found: Any = _module(module_name, folder, where)
        for part in attribute.split("."):
            if not hasattr(found, part):
                raise _no_attribute(found, part, module_name, where)
            found = getattr(found, part)
    return found


def _module(name: str, folder: Path | None, where: str) -> ModuleType:
    if name.endswith(".py"):
        return _module_of_file(Path(folder or ".") / name, folder, where)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # something the module itself imports
        msg = f"there is no module {error.name!r}"
        raise ConfigError(msg, where=where, mend=f"Imports start in {folder or Path.cwd()}.") from error


def _module_of_file(path: Path, folder: Path | None, where: str) -> ModuleType:
    """A module named by its file: as a dotted module where it lies under `folder`, else by itself."""
    path = path.resolve()
    if not path.is_file():
        msg = f"there is no file {path.name!r}"
        raise ConfigError(msg, where=where, mend=f"Looked for {path}.")
    if folder is not None and path.is_relative_to(folder.resolve()):
        parts = path.relative_to(folder.resolve()).with_suffix("").parts
        if all(map(str.isidentifier, parts)):
            return importlib.import_module(".".join(parts))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        msg = f"{path.name!r} is no Python module"
        raise ConfigError(msg, where=where)
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(spec.name, module)
    spec.loader.exec_module(module)
    return module


def forget_own_modules(names: Iterable[str]) -> None:
    """Take modules of the user's own code out of those that are loaded, so that they are imported anew."""
    for name in names:
        file = getattr(sys.modules.get(name), "__file__", None)
        if file and _is_users(file):
            del sys.modules[name]


def _no_attribute(holder: Any, part: str, module: str, where: str) -> ConfigError:
    names = [name for name in dir(holder) if not name.startswith("_")]
    close = get_close_matches(part, names, n=1)
    mend = f"Did you mean {close[0]!r}? " if close else ""
    origin = getattr(holder, "__file__", None)
    place = f" (it is {origin})" if origin else ""
    return ConfigError(
        f"{module!r} has no {part!r}{place}", where=where, mend=f"{mend}It has: {', '.join(names)[:_SHOWN]}."
    )


@contextmanager
def users_errors(doing: str, where: str) -> Iterator[None]:
    """Errors of the user's own code in this block become one line: what failed, the error, their file and line.

    Args:
        doing: What failed, as "my_app.chain cannot be imported".
        where: The setting that names the code.

    Raises:
        UsageError: In place of what was raised; errors of this package pass.
    """
    try:
        yield
    except (PromptOptError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # not BLE001: the user's code may raise anything, and it is raised on
        raise _as_users(error, doing, where) from error


def _as_users(error: BaseException, doing: str, where: str) -> UsageError:
    text = " ".join(str(error).split())
    shown = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
    said = f"{type(error).__name__}: {shown}" if shown else type(error).__name__
    place = own_line(error)
    kind = CredentialsError if _wants_key(error, text) else ConfigError
    mend = "Export the key; to plan without it, any text will do." if kind is CredentialsError else ""
    return kind(f"{doing}: {said}", where=f"{place}; {where}" if place else where, mend=mend)


def _wants_key(error: BaseException, text: str) -> bool:
    """Whether a client was made without its key, as the SDKs say it."""
    folded = text.casefold().replace("-", "_").replace(" ", "_")
    named = any(word in folded for word in ("api_key", "missing_credentials", "credentials"))
    named = named or (isinstance(error, KeyError) and text.strip("'").endswith(("_KEY", "_TOKEN", "_SECRET")))
    return named and not isinstance(error, SyntaxError | NameError | AttributeError)


def own_line(error: BaseException) -> str:
    """File and line of the last frame in the user's own code, "" where there is none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_short(error.filename)}:{error.lineno}"
    frames = []
    for f in traceback.extract_tb(error.__traceback__):
        if _is_users(f.filename):
            frames.append(f)
    return f"{_short(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""


def _is_users(filename: str) -> bool:
    inside = filename.startswith((*_INSTALLED, _OURS, "<"))
    return not inside and "site-packages" not in Path(filename).parts


def _short(filename: str) -> str:
    path = Path(filename)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else filename


# Libraries: which code is the user's, and which an installer put there.


@lru_cache(maxsize=8192)
def package_of(module: Any) -> str | None:
    """The package of a module that is installed or part of Python; None for the user's own code."""
    root = str(module or "").partition(".")[0]
    if root == "langchain_promptopt":
        return root
    known = sys.modules.get(str(module)) or sys.modules.get(root)
    given = (getattr(known, "__file__", None), *(getattr(known, "__path__", None) or ()))
    places = [str(place) for place in given if place]
    if root in sys.stdlib_module_names and (not places or places[0].startswith(_STDLIB)):
        return root  # and no module of the user's with the name of one of Python's
    return root if any(_in_library(place, root) for place in places) else None


def _in_library(place: str, root: str) -> bool:
    """Whether a file or folder of the package `root` was put there by an installer."""
    path = PurePath(place)
    if {"site-packages", "dist-packages"}.intersection(path.parts):
        return True
    above = next((folder.parent for folder in (path, *path.parents) if folder.name == root), path.parent)
    return _has_records(str(above))


@cache
def _has_records(folder: str) -> bool:
    """Whether an installer left its records there, as `pip install --target` does."""
    return any(Path(folder).glob("*.dist-info/RECORD"))


def is_installed(root: str) -> bool:
    """Whether a package that is not loaded yet was put there by an installer, or is not there at all."""
    spec = importlib.util.find_spec(root)
    return spec is None or _in_library(spec.origin or next(iter(spec.submodule_search_locations or ()), ""), root)
