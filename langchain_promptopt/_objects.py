"""The user's objects: what they hold and name, and one fingerprint of what they do.

`walk` visits everything that a chain, an evaluator or a model can reach: closures, defaults, the globals that a
function names (through modules too), attributes of objects and classes. `fingerprint` hashes what the walk finds: code,
not source text; values by their content (`canonical`); models by their parameters. Run id, evaluation cache, `compare`
and evaluator hashes use it; the search for prompts, models and clients uses the walk. Nothing of LangChain is
imported here.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
import threading
import types
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum, EnumType
from functools import cache, cached_property, lru_cache, partial, partialmethod, singledispatchmethod
from pathlib import Path, PurePath
from typing import Any, cast, get_args, get_origin, is_typeddict

from langchain_promptopt._code import CLASS_NOISE, Code, Outside, read_code
from langchain_promptopt._imports import is_installed, package_of
from langchain_promptopt._values import (
    TEXTUAL,
    as_json,
    canonical,
    content_hash,
    is_array,
    is_secret,
    keyless,
    printed,
    type_name,
)

MAX_VISITED = 50_000
"""Objects looked at before a walk gives up; chains have hundreds."""
_MOST_MOVED = 2000

_LARGE = 256
"""Members from which on nested plain data counts as one value, and is not entered member by member."""

_VALUES = (
    str, bytes, bytearray, bool, int, float, complex, type(None), type(Ellipsis), range, Enum, re.Pattern, *TEXTUAL,
    memoryview, types.CodeType,
)  # fmt: skip
_SUBCLASSED = (str, bytes, bytearray, int, float, complex, *TEXTUAL)
_SCALARS = frozenset({str, bytes, bool, int, float, complex, type(None)})
_BY_REDUCTION = frozenset({"operator", "zoneinfo", "ipaddress", "array"})
"""Modules whose objects have no attributes to read, and are values by how they were made."""
_COPYING = frozenset({"__reduce__", "__reduce_ex__", "__getstate__"})
_DEEPEST = 4
"""Levels of lists and dicts that are made for a copy of an object, and are not parts of it themselves."""

_OPAQUE = frozenset({
    "anthropic", "datasets", "httpx", "httpx2", "numpy", "openai", "pandas", "pyarrow", "pydantic_core",
    "requests", "sqlalchemy", "torch", "transformers", "urllib3",
})  # fmt: skip
"""Packages whose instances hold neither prompts nor parameters of ours, but huge object graphs."""
_UNREADABLE = frozenset({"datasets", "pyarrow", "torch", "transformers"})
"""Those among them whose instances are data or weights, which decide answers."""
_OPEN = (types.SimpleNamespace, Mapping, deque, threading.local)
_OPEN_MODULES = frozenset({
    "argparse", "asyncio.queues", "calendar", "collections", "csv", "difflib", "email", "graphlib", "html", "json",
    "http.cookies", "queue", "statistics", "string", "textwrap", "urllib.request", "xml",
})  # fmt: skip
"""Classes and modules of the standard library whose objects hold what users put into them."""
_DECIDES_NOTHING = frozenset({
    "_abc", "_asyncio", "_contextvars", "_frozen_importlib", "_frozen_importlib_external", "_socket", "_ssl",
    "_thread", "_weakref", "_weakrefset", "abc", "asyncio", "concurrent", "contextlib", "dataclasses",
    "enum", "http", "importlib", "inspect", "logging", "os", "posix", "select",
    "selectors", "signal", "socket", "ssl", "subprocess", "sys", "threading", "types", "typing", "unittest",
    "urllib", "warnings", "weakref",
})  # fmt: skip
"""Modules of Python's whose other objects do work for a program and hold nothing of it: locks, loggers, sockets."""
_SEEN = _DECIDES_NOTHING | {"builtins", "random"}
SEEDED = frozenset({"random.Random", "numpy.random._generator.Generator", "numpy.random.mtrand.RandomState"})
"""Generators of random numbers: without a seed their state is another one in each process."""
_RUNNING = (types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType)
_VIEWS: tuple[type[Any], ...] = (type({}.keys()), type({}.values()), type({}.items()))
_FAMILY = frozenset({"agentevals", "langsmith", "openevals", "types"})
"""Packages whose private attributes hold what the user gave, as those of LangChain and LangGraph do."""
_IDLE = frozenset({
    "async_client", "cache", "callback_manager", "callbacks", "client", "custom_get_token_ids",
    "http_async_client", "http_client", "http_socket_options", "max_retries", "metadata", "profile",
    "rate_limiter", "request_timeout", "root_async_client", "root_client", "stream_usage", "streaming",
    "tags", "timeout", "verbose",
})  # fmt: skip
"""Fields of libraries' classes that decide no answer."""
_DESCRIPTORS = (types.MemberDescriptorType, types.GetSetDescriptorType)
_HOLDERS: tuple[type[Any], ...] = (
    partial, partialmethod, property, staticmethod, classmethod, cached_property, singledispatchmethod,
    type(lru_cache(len)),
)  # fmt: skip
"""Classes of Python's that stand around a function."""
_PRIVATE = re.compile(r"\._[^_]")


# Reaching: one walk over everything that a chain or an evaluator can get at.


def concrete_type(thing: object) -> type[Any]:
    """The class the user wrote: a slot class installed for a search stands for its base."""
    kind = type(thing)
    return cast("type[Any]", getattr(kind, "__promptopt_base__", kind))


def walk(root: Any, *, stop: Callable[[Any], bool] = lambda _: False) -> Iterator[tuple[str, Any]]:
    """Every object reachable from `root` with its path, breadth first, each once; values are left out.

    No user code is called and no property followed. What is reached may never run.

    Args:
        root: A chain, an evaluator, a function, anything.
        stop: Says of an object that it is not entered.
    """
    seen: dict[int, Any] = {}  # keeps the objects alive, so that no id is reused
    todo = deque([("$", root)])
    while todo and len(seen) < MAX_VISITED:
        path, thing = todo.popleft()
        if id(thing) in seen or _is_value(thing):
            continue
        seen[id(thing)] = thing
        yield path, thing
        if not stop(thing):
            todo.extend((path + step, child) for step, child in parts_of(thing))


def parts_of(thing: Any) -> Iterator[tuple[str, Any]]:
    """What an object holds or names, each part with its step of the path."""
    if isinstance(thing, types.FunctionType):
        yield from _function_parts(thing)
    elif isinstance(thing, types.CellType):
        with suppress(ValueError):  # a cell that is still empty
            yield "", thing.cell_contents
    elif isinstance(thing, types.MethodType):
        yield from ((".__self__", thing.__self__), (".__func__", thing.__func__))
    elif isinstance(thing, types.BuiltinMethodType):
        if not isinstance(thing.__self__, types.ModuleType | type | None):
            yield ".__self__", thing.__self__
    elif isinstance(thing, type):
        yield from () if package_of(thing.__module__) else _class_parts(thing)
    elif get_origin(thing) is not None:  # list[Answer], Answer | None
        yield from ((f"[{i}]", part) for i, part in enumerate((get_origin(thing), *get_args(thing))))
    elif isinstance(thing, _HOLDERS):
        names = ("func", "args", "keywords", "fget", "fset", "fdel", "dispatcher", "__func__", "__wrapped__")
        yield from ((f".{name}", getattr(thing, name)) for name in names if hasattr(thing, name))
        yield from () if package_of(type(thing).__module__) else _attributes(thing)
    else:
        yield from _module_parts(thing) if isinstance(thing, types.ModuleType) else _object_parts(thing)


def _module_parts(module: types.ModuleType) -> Iterator[tuple[str, Any]]:
    """All that a module of the user's holds, other modules left out: nothing tells what is taken from it."""
    for name, value in () if package_of(module.__name__) else list(vars(module).items()):
        if name == "__getattr__" or not (_is_dunder(name) or isinstance(value, types.ModuleType)):
            yield f".{name}", value


def _object_parts(thing: Any) -> Iterator[tuple[str, Any]]:
    yield from _content(thing)
    yield from _attributes(thing)
    if made := _copy(thing):
        yield from _copied("=", made)


def _copy(thing: Any) -> tuple[Any, ...]:
    """What is needed beside a class to make a copy of an object; locks and open files have none."""
    with suppress(Exception):
        if not _has_copy(thing):
            return ()
        made = thing.__reduce_ex__(2)
        return () if isinstance(made, str) else tuple(made[1:])
    return ()


def _has_copy(thing: Any) -> bool:
    """Whether a class of a library holds state that no attribute shows, and says of it what a copy takes along."""
    if isinstance(thing, (*_OPEN, *_SUBCLASSED, list, tuple, set, frozenset, Enum)) or inspect.isroutine(thing):
        return False
    if thing is getattr(sys.modules.get("random"), "_inst", None):  # each process has seeded its own
        return False
    makers = (base for base in concrete_type(thing).__mro__ if not _COPYING.isdisjoint(vars(base)))
    maker = next(makers, object)
    package = package_of((type(thing) if maker is object else maker).__module__)
    if package in sys.stdlib_module_names:
        return maker is not object and package not in _DECIDES_NOTHING
    return package == "numpy" or (maker is not object and package is not None and _is_mute(thing))


def _is_mute(thing: Any) -> bool:
    """Whether an object of a compiled module outside of Python's does not even print its state."""
    if package_of(type(thing).__module__) is None or any("__slots__" in vars(kind) for kind in type(thing).__mro__):
        return False
    return _is_compiled(thing) and not printed(thing)


def _copied(step: str, value: Any, depth: int = _DEEPEST) -> Iterator[tuple[str, Any]]:
    """Members of the lists and dicts that hold the state of a copy."""
    if depth and type(value) in {list, tuple} and not _is_value(value):
        for i, member in enumerate(value):
            yield from _copied(f"{step}[{i}]", member, depth - 1)
    elif depth and type(value) is dict and not _is_value(value):
        for key, member in value.items():
            yield from _copied(f"{step}[{_key(key)}]", member, depth - 1)
    else:
        yield step, value


def _counts_oddly(thing: Any) -> bool:
    return _has_copy(thing) if type_name(type(thing)) in SEEDED else _is_unread(thing)


def _is_unread(thing: Any) -> bool:
    """Whether an object holds state that nothing here can read: open files, connections, generators, weights."""
    kind = concrete_type(thing)
    package = package_of(kind.__module__)
    if isinstance(thing, (type, types.ModuleType, types.CellType, *_HOLDERS)):
        return False
    if inspect.isroutine(thing) or inspect.isdatadescriptor(thing):
        return False
    if isinstance(thing, _RUNNING) or package in _UNREADABLE:
        return True
    if package in sys.stdlib_module_names:
        if package in _SEEN or not _is_opaque(kind) or any(thing is s for s in (sys.stdout, sys.stderr)):
            return False
    elif not _is_mute(thing):
        return False
    return not any(step.startswith("=") for step, _ in parts_of(thing))


def _referred(thing: Any) -> Iterator[tuple[str, Any]]:
    """What a reference refers to."""
    if isinstance(thing, weakref.ReferenceType):
        yield "()", thing()
    elif isinstance(thing, ContextVar):
        with suppress(LookupError):
            yield ".get()", thing.get()
    elif type(thing) in weakref.ProxyTypes:
        yield "()", thing.__repr__.__self__


def _content(thing: Any) -> Iterator[tuple[str, Any]]:
    """Members of a container; what a reference refers to."""
    yield from _referred(thing)
    if type(thing).__module__ in {"os", "weakref"}:  # the environment, and caches
        return
    if isinstance(thing, _SUBCLASSED):  # a class of the user's that is a text or a number too
        yield "=", as_json(thing)
    if isinstance(thing, deque) and thing.maxlen is not None:
        yield ".maxlen", thing.maxlen
    if isinstance(thing, defaultdict):
        yield ".default_factory", thing.default_factory
    if isinstance(thing, Mapping):
        with suppress(Exception):  # a mapping that asks a server, or reads a damaged file
            yield from [(f"[{_key(key)}]", value) for key, value in list(thing.items())]
    elif isinstance(thing, (list, tuple, deque, *_VIEWS)):
        members = cast("list[Any]", thing)
        yield from ((f"[{i}]", value) for i, value in enumerate(list(members)))
    elif isinstance(thing, set | frozenset):
        yield from ((f"[{i}]", value) for i, value in enumerate(sorted(thing, key=_member_key)))


def _member_key(member: Any) -> str:
    """Where a set's member stands in an order that is the same in every process."""
    node = _node(member)
    return as_json([node.label, node.values])


def _key(key: Any) -> str:
    if isinstance(key, str):
        return repr(key)
    return content_hash(key) if _is_value(key) else str(getattr(key, "__qualname__", type(key).__qualname__))


def _attributes(thing: Any) -> Iterator[tuple[str, Any]]:
    """Stored attributes, never properties: instance dict, slots, pydantic's private ones; and the user's class."""
    kind = concrete_type(thing)
    if _is_opaque(kind):  # but the user's own functions in it count: numpy.vectorize(score)
        for name, value in list(getattr(thing, "__dict__", {}).items()):
            if isinstance(value, types.FunctionType) and package_of(value.__module__) is None:
                yield f".{name}", value
        return
    for owner in kind.__mro__:
        slots = owner.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            member = owner.__dict__.get(name)
            if isinstance(member, types.MemberDescriptorType) and name != "__pydantic_fields_set__":
                with suppress(AttributeError):  # an unset slot
                    yield f".{name}", member.__get__(thing)
    for name, value in list(getattr(thing, "__dict__", {}).items()):
        if not _is_idle(kind, name):
            yield f".{name}", value
    if package_of(kind.__module__) is None:
        yield "", kind


def _is_opaque(kind: type[Any]) -> bool:
    """Whether instances are not entered: of them the class counts, and the address that they call."""
    package = package_of(kind.__module__)
    if package == "langsmith":  # its evaluators hold the user's functions, its client threads and queues
        return not kind.__module__.startswith("langsmith.evaluation")
    if package in sys.stdlib_module_names:
        return _OPEN_MODULES.isdisjoint((package, kind.__module__)) and not issubclass(kind, _OPEN)
    return package in _OPAQUE


def _is_idle(kind: type[Any], name: str) -> bool:
    """Whether an attribute is kept from a computation, or is a library's and decides no answer."""
    if any(isinstance(vars(base).get(name), cached_property) for base in kind.__mro__):
        return True
    if name not in _IDLE:
        return False
    makers = [base for base in kind.__mro__ if package_of(base.__module__)]
    return kind in makers or any(name in getattr(base, "__pydantic_fields__", ()) for base in makers)


def _class_parts(kind: type[Any]) -> Iterator[tuple[str, Any]]:
    """Bases, attributes and methods of a class of the user's, and the fields of its schema."""
    for i, base in enumerate((*kind.__bases__, type(kind))):
        if base not in {object, type}:
            yield f"({i})", base
    fields_of = kind.__dict__.get("__pydantic_fields__")
    if isinstance(fields_of, Mapping):
        yield from ((f".{name}", field) for name, field in fields_of.items())
    elif is_typeddict(kind):
        yield from ((f".{name}", hint) for name, hint in inspect.get_annotations(kind).items())
    for name, member in list(vars(kind).items()):
        if name in CLASS_NOISE or name.startswith(("__pydantic", "_abc_")) or isinstance(member, _DESCRIPTORS):
            continue
        if not (isinstance(kind, EnumType) and name.startswith("_") and not inspect.isfunction(member)):
            yield f".{name}", member


def _function_parts(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Closure, defaults and attributes of a function; of the user's own functions the globals they name too."""
    code = function.__code__
    yield from ((f"<{name}>", cell) for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=False))
    yield ".__defaults__", function.__defaults__
    yield ".__kwdefaults__", function.__kwdefaults__
    yield from ((f".{name}", value) for name, value in list(vars(function).items()))
    if package_of(function.__globals__.get("__name__")) is None:
        yield from _named(function.__globals__, read_code(code))


def _named(scope: Mapping[str, Any], code: Code) -> Iterator[tuple[str, Any]]:
    """Globals that code names, what it takes from modules (`helper.clean`), modules it imports."""
    entered: set[int] = set()
    for name in code.names:
        if name in scope and not _is_dunder(name):
            yield from _global(name, scope[name], code, entered)
            if "__subclasses__" in code.names and isinstance(scope[name], type):
                yield from ((f"<{name}>({kind.__name__})", kind) for kind in scope[name].__subclasses__())
    for level, name in code.imports:
        module = _imported("." * level + name, scope.get("__package__") or "")
        if module is not None:
            yield from _global(name, module, code, entered)


def _global(step: str, value: Any, code: Code, entered: set[int]) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, types.ModuleType) or package_of(value.__name__):
        yield f"<{step}>", value
        return
    if id(value) in entered:
        return
    entered.add(id(value))
    held = vars(value)
    for name in ("__getattr__", *code.names):
        if name in held and (name == "__getattr__" or not _is_dunder(name)):
            yield from _global(f"{step}.{name}", held[name], code, entered)


def _imported(name: str, package: str) -> types.ModuleType | None:
    """A module of the user's that a function imports while it runs; imported now where it is not yet.

    The function would import it at its first row, so nothing is run that would not run anyway.
    """
    with suppress(Exception):  # it may not be there at all, or fail: then the function fails too, and says why
        name = importlib.util.resolve_name(name, package)
        root = name.partition(".")[0]
        if name not in sys.modules and (root in sys.stdlib_module_names or is_installed(root)):
            return None
        return importlib.import_module(name)
    return None


def _is_dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def holds_client(root: Any, packages: Container[str], *, stop: Callable[[Any], bool] = lambda _: False) -> bool:
    """Whether `root` can get at a module, class, function or object of one of these packages.

    Args:
        root: A chain, an evaluator, a function.
        packages: Top-level names of modules.
        stop: Says of an object that it is not entered.
    """
    for _, thing in walk(root, stop=stop):
        homes = [getattr(type(thing), "__module__", "")]
        if isinstance(thing, types.ModuleType):
            homes = [thing.__name__]
        elif isinstance(thing, type) or inspect.isroutine(thing):
            homes.append(getattr(thing, "__module__", None))
        if any(str(home).partition(".")[0] in packages for home in homes):
            return True
    return False


# The fingerprint: one hash over everything reached.


def fingerprint(
    root: Any, *, instead: Callable[[Any], Any] = lambda _: None, unread: dict[str, str] | None = None
) -> str:
    """A hash of what `root` does: code reached, values held, parameters of models; the same in every process.

    Installed packages and the standard library count by name, version and recorded files, and are not entered.
    Keys, passwords and tokens never enter.

    Args:
        root: A chain, an evaluator, a model, or a tuple of them.
        instead: What stands for an object; None for the object itself.
        unread: Gets the places of objects whose state nothing can read, so that it does not enter, and of those of
            `SEEDED`, with their types.
    """
    seen: dict[int, tuple[str, Any]] = {}
    entries: list[Any] = []
    outside = Outside()
    todo: deque[tuple[str, Any]] = deque([("$", root)])
    hints = outside.hints()  # not begun before all else was seen
    while len(seen) < MAX_VISITED:
        if not todo:
            todo.extend(hints)
        if not todo:
            break
        path, given = todo.popleft()
        other = instead(given)
        thing = given if other is None else other
        if id(given) in seen:
            entries.append([path, "as", seen[id(given)][0]])
            continue
        if not isinstance(given, tuple | frozenset):  # equal constants may or may not be one object
            seen[id(given)] = (path, (given, thing))
        node = _settled(thing)
        entries.append([path, node.label, node.values])
        outside.note(path, thing, node.held)
        if unread is not None and _counts_oddly(thing):
            unread[path] = type_name(type(thing))
        todo.extend((path + step, child) for step, child in node.parts)
    if unread is not None:
        unread.update(dict.fromkeys(outside.unread(), "the files that it reads"))
        unread.update({"": f"more than {MAX_VISITED:,} objects"} if todo else {})
    return content_hash(entries + outside.entries())


@dataclass(frozen=True, slots=True)
class _Node:
    """One object: what it is, the values it holds, and its other parts."""

    label: Any
    values: Mapping[str, Any]
    parts: tuple[tuple[str, Any], ...]
    held: tuple[tuple[str, Any], ...] = ()
    """Its values as they are."""

    def is_like(self, other: _Node) -> bool:
        """Whether both hold the same values and the very same parts."""
        if len(self.parts) != len(other.parts):
            return False
        for (step, part), (other_step, other_part) in zip(self.parts, other.parts, strict=True):
            if step != other_step or part is not other_part:
                return False
        return self.label == other.label and self.values == other.values


def _node(thing: Any) -> _Node:
    values: dict[str, Any] = {}
    parts: list[tuple[str, Any]] = []
    held: list[tuple[str, Any]] = []
    if _is_value(thing):
        return _Node(["value", _value(thing)], values, (), (("", thing),))
    for step, child in sorted(parts_of(thing), key=lambda part: part[0]):
        if is_secret(step, child) or (_PRIVATE.match(step) and not _keeps_private(thing)):
            continue
        if _is_value(child):
            values[step] = _value(child)
            held.append((step, child))
        else:
            parts.append((step, child))
    if isinstance(thing, dict):
        values["order"] = [_key(key) for key in thing]
    elif not values and all(part is type(thing) for _, part in parts) and _is_compiled(thing):
        values["says"] = printed(thing)  # regex.compile("a+")
    return _Node(_label(thing), values, tuple(parts), tuple(held))


def _is_compiled(thing: Any) -> bool:
    """Whether an object of a compiled module keeps its state where Python code cannot read it."""
    kind = type(thing)
    python = hasattr(thing, "__dict__") or isinstance(kind.__repr__, types.FunctionType)
    return not python and not _is_opaque(kind)


def _keeps_private(thing: Any) -> bool:
    """Whether private attributes count: they do where they hold what the user gave, not connections and caches."""
    if isinstance(thing, types.ModuleType):
        home = thing.__name__
    else:  # a class of the user's has private methods, and none of its metaclass's counts
        home = (thing if isinstance(thing, type | types.FunctionType) else concrete_type(thing)).__module__
    package = package_of(home)
    known = package is None or package in _FAMILY or package.startswith(("langchain", "langgraph"))
    return known or not _OPEN_MODULES.isdisjoint((package, home))


def _label(thing: Any) -> Any:
    """What an object is, beside its parts."""
    if isinstance(thing, types.FunctionType):
        home = thing.__globals__.get("__name__")
        return ["function", _library(home, thing.__code__.co_qualname) or read_code(thing.__code__).digest]
    if isinstance(thing, types.ModuleType):
        return ["module", _library(thing.__name__, thing.__name__)]
    if isinstance(thing, type):
        is_schema = "__pydantic_fields__" in vars(thing) or is_typeddict(thing)  # its text goes to the model
        doc = inspect.cleandoc(thing.__doc__ or "") if is_schema else ""
        return ["class", _library(thing.__module__, thing.__qualname__) or thing.__name__, doc]
    if inspect.isroutine(thing):
        return ["routine", getattr(thing, "__qualname__", "")]
    kind = concrete_type(thing)
    return ["object", _library(kind.__module__, kind.__qualname__), _said(thing) if _is_opaque(kind) else ""]


def _said(thing: Any) -> str:
    """Where a client sends what, without keys; the name of a compiled function such as `numpy.exp`."""
    found = [thing.__name__] if "__name__" in vars(type(thing)) else []
    held = getattr(thing, "__dict__", {})
    found += [str(held["_base_url"])] if held.get("_base_url") else []
    for name in ("_custom_headers", "_custom_query", "_headers", "_params", "headers", "params"):
        for key, text in dict(held.get(name) or {}).items():
            found += [f"{key}={text}"] if isinstance(text, str) and not is_secret(key, text) else []
    return keyless(" ".join(found))


def _library(module: Any, name: str) -> list[str] | None:
    package = package_of(module)
    return None if package is None else [f"{module}.{name}", _version(package)]


def _is_value(thing: Any) -> bool:
    """Whether it counts by what it says, and holds nothing that must be walked."""
    kind = type(thing)
    if kind in _SCALARS:
        return True
    if kind in {tuple, frozenset}:
        return all(map(_is_value, thing))
    if kind in {list, dict, set}:
        return len(thing) >= _LARGE and _is_data(thing)
    if isinstance(thing, type):
        return False
    if _is_secret(thing):
        return True
    known = isinstance(thing, _VALUES) or kind.__module__ in _BY_REDUCTION or is_array(thing)
    return known and package_of(kind.__module__) is not None


def _is_data(thing: Any) -> bool:
    """Whether a container holds nothing but texts, numbers and other such containers."""
    kind = type(thing)
    if kind is dict:
        return all(type(key) in _SCALARS for key in thing) and all(map(_is_data, thing.values()))
    return kind in _SCALARS or (kind in {list, tuple, set, frozenset} and all(map(_is_data, thing)))


def _is_secret(thing: Any) -> bool:
    return hasattr(type(thing), "get_secret_value")


def _value(thing: Any) -> Any:
    if _is_secret(thing):
        return "secret"
    if isinstance(thing, str):
        return keyless(thing)
    if isinstance(thing, PurePath):
        return {"path": _place(thing)}
    if isinstance(thing, types.CodeType):
        return {"code": read_code(thing).digest}
    if isinstance(thing, re.Pattern):
        return {"pattern": canonical(thing.pattern), "flags": thing.flags}
    if isinstance(thing, tuple):
        return [_value(member) for member in thing]
    if type(thing).__module__ in _BY_REDUCTION:  # operator.itemgetter("x")
        return {"made": type_name(type(thing)), "of": canonical(_reduced(thing))}
    return [canonical(thing), list(map(canonical, thing))] if type(thing) is dict else canonical(thing)


def _reduced(thing: Any) -> Any:
    with suppress(TypeError):  # an open file says nothing
        return thing.__reduce_ex__(2)[1:3]


def _place(path: PurePath) -> str:
    """A path from the nearest folder that modules are imported from: another checkout is the same project."""
    for folder in sorted({str(Path.cwd()), *sys.path} - {""}, key=len, reverse=True):
        if path.is_relative_to(folder):
            return path.relative_to(folder).as_posix()
    return path.as_posix()


@cache
def _version(package: str) -> str:
    """Version of a package, and a digest of the Python files that its installer recorded."""
    from importlib import metadata  # heavy, and not every start needs it

    if package in sys.stdlib_module_names:
        return f"python {sys.version_info.major}.{sys.version_info.minor}"
    try:
        found = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        others = metadata.packages_distributions().get(package)
        if not others:
            return str(getattr(sys.modules.get(package), "__version__", ""))
        found = metadata.distribution(others[0])
    recorded = (found.read_text("RECORD") or "").splitlines()
    return f"{found.version} {content_hash(sorted(line for line in recorded if '.py,' in line))}"


# State: what a run itself changes is no edit.


@dataclass(frozen=True, slots=True)
class _Moved:
    thing: Any
    before: _Node
    after: _Node


_MOVED: OrderedDict[int, _Moved] = OrderedDict()
_MOVING = threading.Lock()


def _settled(thing: Any) -> _Node:
    """The object as it is; as it was before the run that changed it, where nobody has touched it since."""
    now = _node(thing)
    known = _MOVED.get(id(thing))
    return known.before if known is not None and known.thing is thing and now.is_like(known.after) else now


class Watch:
    """Objects as they are before a run; `settle` after it notes which of them the run itself has changed.

    Counters, histories and caches fill as a chain runs. Nobody has edited the chain, so afterwards
    its fingerprint in this process is what it was.
    """

    def __init__(self, *roots: Any) -> None:
        self._roots = roots
        self._seen = [(thing, _node(thing)) for _, thing in walk(roots)]

    def again(self) -> Watch:
        """The same objects as they are now, before they run once more."""
        return Watch(*self._roots)

    def settle(self) -> None:
        """Compare with how things are now. A second call does nothing."""
        with _MOVING:
            for thing, before in self._seen:
                after = _node(thing)
                if after.is_like(before):
                    continue
                known = _MOVED.pop(id(thing), None)
                if known is not None and known.thing is thing and before.is_like(known.after):
                    before = known.before
                _MOVED[id(thing)] = _Moved(thing, before, after)
            while len(_MOVED) > _MOST_MOVED:
                _MOVED.popitem(last=False)
        self._seen = []
