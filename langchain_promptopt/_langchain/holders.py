"""Where a program holds its texts: constants, attributes, dictionary entries, defaults, literals in its code."""

from __future__ import annotations

import functools
import gc
import inspect
import re
import sys
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, is_dataclass, replace
from enum import EnumType
from pathlib import Path
from typing import Any

from langchain_core.messages import BaseMessage

from langchain_promptopt._imports import package_of
from langchain_promptopt._objects import walk

_LONGEST_TUPLE = 64
_COMPUTED = frozenset(
    {"builtins", "collections", "langchain", "langchain_classic", "langchain_core", "langgraph", "types"}
)
"""Packages whose objects are looked into where a `cached_property` keeps them; what others keep is their own."""


@dataclass(frozen=True)
class Holder:
    """One place that holds a text: how to say where it is, how to read it and how to set it."""

    where: str
    name: str
    read: Callable[[], object]
    write: Callable[[str], None]
    own: bool = True
    """Whether it belongs to the program itself, and not to an object of a library."""
    within: str = ""
    """The function whose code it is a literal of."""
    file: str = ""
    """The source file, where that is known."""
    thing: int = 0
    """The id of the object that is set, where several holders may set the same one."""


def held_by(path: str, thing: Any) -> Iterator[tuple[str, Holder]]:
    """The texts that one object holds itself, with how to set them.

    Args:
        path: Where the object is.
        thing: The object.
    """
    if isinstance(thing, MutableMapping):
        for key, value in list(thing.items()):
            yield from _if_text(value, _item(f"{path}[{key!r}]", str(key), thing, key))
    elif isinstance(thing, list | deque):
        for i, value in enumerate(list(thing)):
            yield from _if_text(value, _item(f"{path}[{i}]", "", thing, i))
    elif inspect.isfunction(thing):
        yield from _in_function(path, thing)
    elif not isinstance(thing, Mapping | tuple | set | frozenset | types.ModuleType | type):
        yield from _in_instance(path, thing)


def _in_instance(path: str, thing: Any) -> Iterator[tuple[str, Holder]]:
    # frozen dataclasses and pydantic models are written past their guard, in the instance's own dictionary
    stored = getattr(thing, "__dict__", {})
    own = _is_own_class(type(thing)) or isinstance(thing, BaseMessage)
    for name, value in list(stored.items()):
        if not name.startswith("__"):
            yield from _if_text(value, replace(_item(f"{path}.{name}", name, stored, name), own=own))
    for name, slot in _slots(type(thing)):
        with suppress(AttributeError):  # a slot that is not set
            yield from _if_text(slot.__get__(thing), replace(_slot(f"{path}.{name}", name, thing, slot), own=own))
    if _is_own_class(type(thing)):
        yield from _in_computed(path, thing, stored)
        yield from _in_class(type(thing))


def _in_computed(path: str, thing: Any, stored: Mapping[str, Any]) -> Iterator[tuple[str, Holder]]:
    """What a `cached_property` has kept: a walk passes by it, and it would keep the old text."""
    for name, value in list(stored.items()):
        if not isinstance(inspect.getattr_static(type(thing), name, None), functools.cached_property):
            continue
        if type(value).__module__.partition(".")[0] not in _COMPUTED and not _is_own_class(type(value)):
            continue
        for step, inner in walk(value):
            if not _is_own_class(type(inner)):  # the walk over the program comes to those by itself
                yield from held_by(f"{path}.{name}{step[1:]}", inner)


def _if_text(value: object, holder: Holder) -> Iterator[tuple[str, Holder]]:
    """A text that a holder holds itself, or inside a tuple: ("system", "You sort tickets."), a NamedTuple."""
    if isinstance(value, str):
        yield value, holder
    elif isinstance(value, tuple) and len(value) <= _LONGEST_TUPLE:
        names = getattr(type(value), "_fields", ())
        for i, member in enumerate(value):
            yield from _if_text(member, _member(holder, i, names[i] if names else ""))


def _member(whole: Holder, i: int, name: str) -> Holder:
    """A holder of one member of a tuple: to set it, its holder gets another tuple."""

    def read() -> object:
        found: Any = whole.read()
        return found[i]

    def write(text: str) -> None:
        old: Any = whole.read()
        members = [*old[:i], text, *old[i + 1 :]]
        new: Any = tuple(members) if type(old) is tuple else old._make(members)
        whole.write(new)

    where = f"{whole.where}.{name}" if name else f"{whole.where}[{i}]"
    return replace(whole, where=where, name=name or whole.name, read=read, write=write)


def _item(where: str, name: str, container: Any, key: Any) -> Holder:
    """A holder in a list, a dictionary, a module's names or an instance's attributes."""

    def read() -> object:
        return container[key]

    def write(text: str) -> None:
        container[key] = text

    return Holder(where, name, read, write)


def _slots(kind: type) -> Iterator[tuple[str, Any]]:
    """The slots of a class of the program's own, by name."""
    for owner in kind.__mro__ if _is_own_class(kind) else ():
        for name, member in list(vars(owner).items()):
            if isinstance(member, types.MemberDescriptorType):
                yield name, member


def _slot(where: str, name: str, thing: Any, slot: Any) -> Holder:
    """A holder in a slot, also one of a frozen dataclass, whose guard stands before it."""

    def read() -> object:
        return slot.__get__(thing)

    def write(text: str) -> None:
        slot.__set__(thing, text)

    return Holder(where, name, read, write)


def _attribute(where: str, name: str, owner: Any, attribute: str, after: Callable[[], object] | None = None) -> Holder:
    """A holder that is set like an attribute; `after` makes the change take effect where that needs more."""

    def read() -> object:
        return getattr(owner, attribute)

    def write(text: str) -> None:
        setattr(owner, attribute, text)
        if after is not None:
            after()

    return Holder(where, name, read, write)


def _in_class(kind: Any) -> Iterator[tuple[str, Holder]]:
    """Class attributes, and the defaults that dataclasses and pydantic models keep of them."""
    where = f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(kind, EnumType):
        yield from _in_enum(where, kind)
        return
    for name, value in list(vars(kind).items()):
        if not name.startswith("__"):
            yield from _if_text(value, _attribute(f"{where}.{name}", name, kind, name))
    if is_dataclass(kind) and inspect.isfunction(vars(kind).get("__init__")):
        yield from _in_defaults(f"{where}.__init__", vars(kind)["__init__"])
    for name, info in getattr(kind, "__pydantic_fields__", {}).items():

        def rebuild() -> object:
            return kind.model_rebuild(force=True)

        yield from _if_text(info.default, _attribute(f"{where}.{name} (default)", name, info, "default", rebuild))


def _in_enum(where: str, kind: EnumType) -> Iterator[tuple[str, Holder]]:
    """The values of an enumeration's members, which programs read as `Texts.TRIAGE.value`."""
    members: list[Any] = list(kind)
    for member in members:
        value = getattr(member, "_value_", None)
        yield from _if_text(value, _attribute(f"{where}.{member.name}", member.name, member, "_value_"))


def caches_of(things: Iterable[Any], text: str) -> list[Any]:
    """Functions with `functools.cache` or `lru_cache` that have kept this text, alone or inside an object.

    Args:
        things: Objects of the program.
        text: The text.
    """
    found: list[Any] = []
    for thing in things:
        if isinstance(thing, functools._lru_cache_wrapper) and any(_holds(part, text) for part in _kept_by(thing)):
            found.append(thing)
    return found


def _holds(part: Any, text: str) -> bool:
    return any(text in kept for kept in _texts_in(part))


def _kept_by(cache: Any) -> Iterator[Any]:
    """The results a cache holds; those with a limit hold them directly, those without in a dictionary."""
    for part in gc.get_referents(cache):
        if isinstance(part, dict) and part is not vars(cache):
            yield from list(part.values())
        elif not isinstance(part, dict | type | types.FunctionType):
            yield part


def _texts_in(thing: Any) -> Iterator[str]:
    if isinstance(thing, str):
        yield thing
        return
    for _, inner in walk(thing):
        stored = inner if isinstance(inner, Mapping) else getattr(inner, "__dict__", {})
        yield from (value for value in list(stored.values()) if isinstance(value, str))
        if isinstance(inner, list | tuple):
            yield from (value for value in inner if isinstance(value, str))


def _in_function(path: str, function: types.FunctionType) -> Iterator[tuple[str, Holder]]:
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
        try:
            value = cell.cell_contents
        except ValueError:  # a cell that is still empty
            continue
        holder = _attribute(f"{path}<{name}>", name, cell, "cell_contents")
        yield from _if_text(value, replace(holder, own=_is_own(function)))
    yield from _in_defaults(path, function)
    yield from _in_globals(function)
    yield from _in_code(function)


def _in_defaults(path: str, function: types.FunctionType) -> Iterator[tuple[str, Holder]]:
    for i, value in enumerate(function.__defaults__ or ()):

        def read(i: int = i) -> object:
            return (function.__defaults__ or ())[i]

        def write(text: str, i: int = i) -> None:
            defaults = list(function.__defaults__ or ())
            defaults[i] = text
            function.__defaults__ = tuple(defaults)

        yield from _if_text(value, Holder(f"{path} default {i}", "", read, write, own=_is_own(function)))
    for name, value in dict(function.__kwdefaults__ or ()).items():
        holder = _item(f"{path} default {name}", name, function.__kwdefaults__, name)
        yield from _if_text(value, replace(holder, own=_is_own(function)))


def _in_globals(function: types.FunctionType) -> Iterator[tuple[str, Holder]]:
    """Constants of the function's module that it names, and those of modules it reaches through a name."""
    names = _names(function.__code__)
    space = function.__globals__
    for name in names:
        value = space.get(name)
        if isinstance(value, types.ModuleType) and _is_own_module(value):
            for other in names:
                yield from _if_text(vars(value).get(other), _global(value.__name__, vars(value), other))
        elif isinstance(value, type) and _is_own_class(value):
            yield from _in_class(value)
        else:
            yield from _if_text(value, _global(str(space.get("__name__", "")), space, name))


def _global(module: str, space: dict[str, Any], name: str) -> Holder:
    return replace(_item(f"{module}.{name}", name, space, name), file=str(space.get("__file__") or ""))


def _in_code(function: types.FunctionType) -> Iterator[tuple[str, Holder]]:
    """Literals in a function's code and in the functions it makes, those of f-strings among them.

    Docstrings are no prompts.
    """
    where = f"{function.__module__}.{function.__qualname__}"

    def write(text: str, at: tuple[int, ...]) -> None:
        function.__code__ = _with_constant(function.__code__, at, text)

    for at, value in _constants(function.__code__):
        place = f"{where} literal {'.'.join(map(str, at))}"
        read = functools.partial(_constant, function, at)
        own = _is_own(function)
        holder = Holder(place, "", read, functools.partial(write, at=at), own, function.__name__.strip("<>"))
        if value != function.__doc__:
            yield from _if_text(value, replace(holder, file=function.__code__.co_filename))


def _constants(code: types.CodeType) -> Iterator[tuple[tuple[int, ...], object]]:
    """Constants of code and of the code inside it, each with its address."""
    for i, value in enumerate(code.co_consts):
        if isinstance(value, types.CodeType):
            for at, inner in _constants(value):
                if at != (0,) or not _is_function(value):
                    yield (i, *at), inner
        else:
            yield (i,), value


def _is_function(code: types.CodeType) -> bool:
    """Whether the first constant may be a docstring: that of a `def`, not of a lambda or a comprehension."""
    return not code.co_name.startswith("<")


def _constant(function: types.FunctionType, at: tuple[int, ...]) -> object:
    found: Any = function.__code__
    for i in at:
        found = found.co_consts[i]
    return found


def _with_constant(code: types.CodeType, at: tuple[int, ...], text: str) -> types.CodeType:
    constants: list[Any] = list(code.co_consts)
    constants[at[0]] = _with_constant(constants[at[0]], at[1:], text) if len(at) > 1 else text
    return code.replace(co_consts=tuple(constants))


def own_modules() -> list[types.ModuleType]:
    """The loaded modules of the program itself."""
    found: list[types.ModuleType] = []
    for module in list(sys.modules.values()):
        if _is_own_module(module):
            found.append(module)
    return found


def same_in_modules(text: str, known: Sequence[Holder], modules: Iterable[types.ModuleType]) -> Iterator[Holder]:
    """Other names of the very same string in the program's modules: `from prompts import X` makes one.

    Args:
        text: The string.
        known: Its holders that are known.
        modules: The program's modules.
    """
    values = [holder.read() for holder in known]
    places = {holder.where for holder in known}
    for module in modules:
        for name, value in list(vars(module).items()):
            same = isinstance(value, str) and value == text and any(value is v for v in values)
            if same and f"{module.__name__}.{name}" not in places:
                yield _global(module.__name__, vars(module), name)


def _is_own_module(module: object) -> bool:
    """Whether a module is the user's: it has a file, and it is not one of an installed library."""
    if not isinstance(module, types.ModuleType):  # anything may stand in sys.modules
        return False
    if module.__name__ == "__main__":
        return True
    return isinstance(getattr(module, "__file__", None), str) and package_of(module.__name__) is None


def _is_own(function: types.FunctionType) -> bool:
    return _is_own_module(sys.modules.get(function.__module__ or ""))


def _is_own_class(kind: type) -> bool:
    module = sys.modules.get(kind.__module__)
    return module is not None and _is_own_module(module)


def _names(code: types.CodeType) -> list[str]:
    """Names a function looks up, those of its inner functions included."""
    names = list(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names += _names(constant)
    return list(dict.fromkeys(names))


def line_of(file: str, text: str, name: str = "") -> int | None:
    """The line of a source file on which a text begins; None where it cannot be found.

    Args:
        file: The file.
        text: The text.
        name: What it is assigned to there, where that is known.
    """
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    start = re.split(r"[\"'\\]", first)[0][:60]  # how quotes are written is not known
    if not file or len(start) < _SURE:
        return None
    try:
        source = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    named = re.search(rf"^\s*{re.escape(name)}\b[^\n=]*=", source, re.MULTILINE) if name else None
    at = source.find(start, named.start() if named else 0)
    return source.count("\n", 0, at) + 1 if at >= 0 else None


_SURE = 8
"""Characters by which a text is recognised in its file."""


def shown_path(file: str) -> str:
    """A path for people: below the working directory without it."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
