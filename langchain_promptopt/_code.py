"""What a program's code does, whatever its files look like, and what it takes from outside of itself as it runs.

`read_code` makes one digest of a code object: a changed comment changes nothing. `Outside` gathers what the functions
of a program may read while they run: files, variables of the environment, docstrings that become descriptions of tools.
"""

from __future__ import annotations

import dis
import hashlib
import inspect
import os
import re
import sys
import types
from bisect import bisect_left
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_type_hints

from langchain_promptopt._imports import package_of
from langchain_promptopt._values import canonical, content_hash, is_secret, keyless

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Taken: TypeAlias = Literal["docs", "environment", "files"]

CLASS_NOISE = frozenset({
    "__abstractmethods__", "__annotate__", "__annotate_func__", "__annotations__", "__annotations_cache__",
    "__class_vars__", "__classcell__", "__dataclass_fields__", "__dataclass_params__", "__dict__", "__doc__",
    "__firstlineno__", "__hash__", "__match_args__", "__module__", "__parameters__", "__qualname__",
    "__signature__", "__static_attributes__", "__type_params__", "__weakref__",
})  # fmt: skip
_BY_NAME = frozenset({"getattr", "globals", "import_module", "__import__", "eval", "exec"})
_JUMPS = frozenset({*dis.hasjrel, *dis.hasjabs})
_NAMING = frozenset({*dis.hasname, *dis.haslocal, *dis.hasfree})
_TAKEN_BY: Mapping[Taken, frozenset[str]] = {
    "docs": frozenset({
        "__doc__", "bind_tools", "convert_to_openai_function", "convert_to_openai_tool",
        "create_agent", "create_react_agent", "from_function", "get_annotations", "get_type_hints", "getdoc",
        "signature", "ToolNode", "with_structured_output",
    }),
    "environment": frozenset({"environ", "getenv"}),
    "files": frozenset({
        "FileSystemLoader", "get_data", "get_template", "load_prompt", "load_workbook", "loadtxt", "open",
        "open_binary", "open_text", "read_binary", "read_bytes", "read_csv", "read_excel", "read_json",
        "read_parquet", "read_text",
    }),
}  # fmt: skip
"""Names in a program's code that tell that it makes tools of functions, or reads the environment or files."""
_WRITERS = frozenset({
    "dump", "mkdir", "rename", "savetxt", "to_csv", "to_json", "to_parquet", "touch", "unlink", "write", "write_bytes",
    "write_text", "writelines", "writerow", "writerows",
})  # fmt: skip
_WRITE_MODE = re.compile(r"[wax]b?\+?|r?b?\+b?|[wax]\+?b")
_SHELL = frozenset({
    "HOME", "HOSTNAME", "LANG", "LOGNAME", "OLDPWD", "PATH", "PWD", "SHELL", "SHLVL", "TERM", "TMPDIR", "USER", "_",
})  # fmt: skip
"""Variables of every shell: a text of a program that is one of these words is no name of one."""
_LONGEST_NAME = 255
_LARGEST = 64_000_000
"""Bytes of the largest file that is read; of larger ones the size counts."""


@dataclass(frozen=True, slots=True)
class Code:
    """A code object with those inside it: a digest of what it does, names it looks up, modules it imports."""

    digest: str
    names: tuple[str, ...]
    imports: tuple[tuple[int, str], ...]
    texts: tuple[str, ...]
    """Its constant texts, docstrings among them."""
    takes: frozenset[Taken]
    """What it may take from outside of the program as it runs."""
    writes: frozenset[str]
    """Names and texts of the code objects among them that write files."""


@lru_cache(maxsize=8192)
def read_code(code: types.CodeType) -> Code:
    """What a code object does: instructions, constants and names. Lines, comments and docstrings do not count."""
    steps, imports = _instructions(code)
    names, imported = [*code.co_names], list[tuple[int, str]]()
    texts = [c for c in code.co_consts if isinstance(c, str)]
    read = _read_by_name(code)
    written = {*names, *texts} - read if _is_writing(names, texts) else set[str]()
    takes = _taken(code, written)
    takes |= {"files"} if read else set()
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner = read_code(constant)
            names += inner.names
            imported += inner.imports
            texts += inner.texts
            takes |= inner.takes
            written |= inner.writes
    if _BY_NAME.intersection(names):  # getattr(helper, "clean"), import_module("app.helper"), eval("clean(x)")
        for text in texts:
            names += re.findall(r"[^\W\d]\w*", text)
        imports += [(0, text) for text in texts if text in sys.modules]
    arguments = [code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags]
    variables = [code.co_varnames, code.co_cellvars, code.co_freevars]
    digest = content_hash([steps, arguments, variables, code.co_exceptiontable.hex()], 32)
    return Code(
        digest,
        tuple(dict.fromkeys(names)),
        (*imports, *imported),
        tuple(dict.fromkeys(texts)),
        frozenset(takes),
        frozenset(written),
    )


def _is_writing(names: Iterable[str], texts: Iterable[str]) -> bool:
    return not _WRITERS.isdisjoint(names) or ("open" in names and any(map(_WRITE_MODE.fullmatch, texts)))


def _read_by_name(code: types.CodeType) -> set[str]:
    """The names whose own methods read, as in `WORDS.read_text()`, in code that may write other files."""
    steps = [step for step in dis.get_instructions(code) if step.opcode in _NAMING]
    return {held.argval for held, step in pairwise(steps) if step.argval in {"read_text", "read_bytes"}}


def _taken(code: types.CodeType, written: set[str]) -> set[Taken]:
    stored = {step.argval for step in dis.get_instructions(code) if step.opname == "STORE_NAME"}  # a class's __doc__
    names = set(code.co_names) - stored
    found = {taken for taken, by in _TAKEN_BY.items() if not by.isdisjoint(names)}
    return found - {"files"} if written else found


def _instructions(code: types.CodeType) -> tuple[list[Any], list[tuple[int, str]]]:
    """The instructions with their operands by value, and (level, name) of each import."""
    kept = [step for step in dis.get_instructions(code) if step.opname not in {"CACHE", "EXTENDED_ARG", "NOP"}]
    offsets = [step.offset for step in kept]
    steps: list[Any] = []
    imports: list[tuple[int, str]] = []
    for i, step in enumerate(kept):
        operand: Any = step.arg
        if step.opcode in _JUMPS:
            operand = bisect_left(offsets, step.argval)
        elif step.opcode in dis.hasconst:
            operand = _constant(step.argval)
        elif step.opcode in _NAMING:
            operand = step.argval
        if step.opname == "IMPORT_NAME":
            level = kept[i - 2].argval
            imports.append((level if isinstance(level, int) else 0, step.argval))
        if step.opname == "STORE_NAME" and step.argval in CLASS_NOISE:  # a class inside a function
            steps.pop()
        else:
            steps.append([step.opname, operand])
    return steps, imports


def _constant(value: Any) -> Any:
    if isinstance(value, types.CodeType):
        return {"code": read_code(value).digest}
    return [type(value).__name__, canonical(keyless(value) if isinstance(value, str) else value)]


# What is outside of the code: it counts where some function of the program takes such things.


@dataclass
class Outside:
    """What functions may take as they run. Which of them takes what cannot be told, so one that does stands for all."""

    _takes: set[Taken] = field(default_factory=set)
    _docs: list[Any] = field(default_factory=list)
    _hints: list[tuple[str, Any]] = field(default_factory=list)
    _texts: dict[str | PurePath, set[str]] = field(default_factory=dict)
    """Texts and paths, each with the names under which it is held."""
    _settings: list[Any] = field(default_factory=list)
    _folders: dict[Path, None] = field(default_factory=lambda: {Path.cwd(): None})
    _written: set[str] = field(default_factory=set)
    _readers: list[str] = field(default_factory=list)

    def note(self, path: str, thing: Any, held: Iterable[tuple[str, Any]]) -> None:
        """Take down what a function, a class or an object may mean by its texts.

        Args:
            path: Where it is.
            thing: The object.
            held: The values it holds, by their steps of the path.
        """
        for step, value in held:
            name = (re.findall(r"\w+", step) or [""])[-1]
            for one in value if isinstance(value, tuple) else (value,):
                if isinstance(one, str | PurePath):
                    self._texts.setdefault(one, set()).add(name)
        if isinstance(thing, types.FunctionType) and package_of(thing.__globals__.get("__name__")) is None:
            self._note_function(path, thing)
        elif isinstance(thing, type) and package_of(thing.__module__) is None:
            self._docs.append([path, inspect.cleandoc(thing.__doc__ or "")])
            if hasattr(thing, "settings_customise_sources"):  # pydantic-settings: what the program would read
                with suppress(Exception):  # then it fails for the program, too
                    self._settings.append([path, _without_secrets(thing().model_dump(mode="json"))])

    def _note_function(self, path: str, function: types.FunctionType) -> None:
        code = read_code(function.__code__)
        self._takes |= code.takes
        self._written |= code.writes
        for text in code.texts:
            self._texts.setdefault(text, set())
        self._docs.append([path, function.__doc__, code.texts])
        self._hints.append((f"{path}.__annotations__", function))
        if "files" in code.takes:
            self._readers.append(path)
        scope = function.__globals__
        if file := scope.get("__file__"):
            levels = str(scope.get("__name__", "")).count(".") + 1
            self._folders.update(dict.fromkeys(list(Path(file).absolute().parents)[:levels]))

    def hints(self) -> Iterator[tuple[str, Any]]:
        """The types that functions which become tools name in their signatures, with their places."""
        for path, function in self._hints if "docs" in self._takes else ():
            with suppress(Exception):  # names that only a type checker knows
                yield path, get_type_hints(function, include_extras=True)

    def entries(self) -> list[Any]:
        """What counts of it."""
        found: list[Any] = list(self._settings)
        if "docs" in self._takes:
            found.append(["docs", self._docs])
        if "environment" in self._takes:
            found += self._variables()
        return found + self._files

    def unread(self) -> list[str]:
        """Where files are read, if none was found."""
        return [] if self._files else self._readers

    def _variables(self) -> list[Any]:
        found = []
        for name in sorted(text for text in self._texts if isinstance(text, str) and text in os.environ):
            value = os.environ[name]
            tracing = name.startswith(("LANGCHAIN_", "LANGSMITH_"))  # these say where traces go
            if not tracing and name not in _SHELL and not is_secret(name, value):
                found.append(["environment", name, keyless(value)])
        return found

    @cached_property
    def _files(self) -> list[Any]:
        """The files that texts and paths name, by their content, but those that the program writes."""
        if "files" not in self._takes:
            return []
        names = []
        for text, held_as in self._texts.items():
            told = str(text)
            if told in self._written or held_as & self._written or not _may_be_file(told):
                continue
            names.append(told)
        folders = dict(self._folders)
        for name in names * 2:  # "prompts", "de"
            folders.update({at / name: None for at in list(folders) if (at / name).is_dir()})
        found = {}
        for name in names:
            for folder in folders:
                file = folder / name
                if file.suffix not in {".py", ".pyc", ".so"} and file.is_file():
                    found[file.resolve()] = ["file", file.name, _content(file)]
        return sorted(found.values())


def _may_be_file(text: str) -> bool:
    return (
        0 < len(text) <= _LONGEST_NAME and text.isprintable() and not text.isspace() and set(text) - {".", "/"} != set()
    )


def _content(file: Path) -> str:
    state = file.stat()
    return str(state.st_size) if state.st_size > _LARGEST else _digest(str(file), state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=4096)
def _digest(file: str, changed: int, size: int) -> str:  # noqa: ARG001 - a file that has changed is read again
    try:
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except OSError:
        return ""


def _without_secrets(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _without_secrets(member, str(key)) for key, member in value.items()}
    if isinstance(value, list):
        return [_without_secrets(member, name) for member in value]
    return "" if is_secret(name, value) else keyless(value) if isinstance(value, str) else value
