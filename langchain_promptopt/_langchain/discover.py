"""Finding prompts and models inside anything callable.

`Runnable.get_prompts` misses fallbacks, branches, routers, closures and graphs, so this is an
own walk over attributes, containers, closures and the globals a function names. It never calls
user code, never follows properties, and may find prompts that never run: what is edited is
decided by a dry run.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.language_models.base import BaseLanguageModel
from langchain_core.prompts.base import BasePromptTemplate

from langchain_promptopt._langchain.overlay import Tunable

MAX_VISITED = 50_000
"""Objects looked at before the walk gives up; chains have hundreds."""

_LEAVES = (str, bytes, int, float, bool, complex, type(None), type, types.CodeType)
_FOREIGN = frozenset(sys.stdlib_module_names) | {
    "anthropic", "datasets", "httpx", "httpx2", "langsmith", "numpy", "openai", "pandas", "pyarrow",
    "pydantic", "pydantic_core", "requests", "sqlalchemy", "torch", "transformers", "urllib3",
}  # fmt: skip
"""Packages whose instances hold no prompts but huge object graphs."""


@dataclass(frozen=True)
class Found:
    """A prompt in a chain: its path for people, and the live object."""

    path: str
    template: BasePromptTemplate[Any] | Tunable


def find_prompts(root: Any) -> tuple[Found, ...]:
    """Every prompt template and `tunable` reachable from `root`, breadth first, each object once."""
    return tuple(Found(path, thing) for path, thing in walk(root) if isinstance(thing, BasePromptTemplate | Tunable))


def find_models(root: Any) -> tuple[BaseLanguageModel[Any], ...]:
    """Every chat model and LLM reachable from `root`."""
    return tuple(thing for _, thing in walk(root) if isinstance(thing, BaseLanguageModel))


def name_places(found: Sequence[Found]) -> dict[str, Found]:
    """Readable, unique names: the prompt's own name where it has one, else its path; one alone is `main`."""
    names: dict[str, Found] = {}
    for one in found:
        wanted = _own_name(one.template) or ("main" if len(found) == 1 else _readable(one.path))
        name, n = wanted, 1
        while name in names:
            n += 1
            name = f"{wanted}-{n}"
        names[name] = one
    return names


def walk(root: Any) -> Iterator[tuple[str, Any]]:
    """Every object reachable from `root` with its path; prompts and models are not entered."""
    seen: dict[int, Any] = {}  # keeps the objects alive, so that no id is reused
    todo = deque([("$", root)])
    while todo and len(seen) < MAX_VISITED:
        path, thing = todo.popleft()
        if isinstance(thing, _LEAVES) or id(thing) in seen:
            continue
        seen[id(thing)] = thing
        yield path, thing
        if not isinstance(thing, BasePromptTemplate | BaseLanguageModel | Tunable):
            todo.extend((path + step, child) for step, child in _children(thing))


def _own_name(template: BasePromptTemplate[Any] | Tunable) -> str:
    if isinstance(template, Tunable):
        return template.name
    repo = (template.metadata or {}).get("lc_hub_repo")
    return template.name or (repo if isinstance(repo, str) else "")


def _readable(path: str) -> str:
    """`$.steps__['a'].first` is `a.first`.

    >>> _readable("$.steps__['a'].first"), _readable("$.func<triage>")
    ('a.first', 'func.triage')
    """
    text = path.removeprefix("$").replace(".steps__", "").replace("<", ".").replace(">", "")
    return text.replace("['", ".").replace("']", "").lstrip(".") or "main"


def _children(thing: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(thing, Mapping):
        yield from ((f"[{key!r}]", value) for key, value in list(thing.items()))
    elif isinstance(thing, list | tuple | set | frozenset | deque):
        yield from ((f"[{i}]", value) for i, value in enumerate(list(thing)))
    elif isinstance(thing, functools.partial):
        yield from ((".func", thing.func), (".args", thing.args), (".keywords", thing.keywords))
    elif inspect.ismethod(thing):
        yield from ((".__self__", thing.__self__), (".__func__", thing.__func__))
    elif inspect.isfunction(thing):
        yield from _function_children(thing)
    elif isinstance(thing, types.ModuleType) or inspect.isbuiltin(thing):
        return
    elif type(thing).__module__.partition(".")[0] not in _FOREIGN:
        yield from _attributes(thing)


def _attributes(thing: Any) -> Iterator[tuple[str, Any]]:
    """Stored attributes, never properties: instance dict, slots, pydantic's private ones."""
    kind = type(thing)
    for owner in kind.__mro__:
        slots = owner.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            member = owner.__dict__.get(name)
            if isinstance(member, types.MemberDescriptorType):
                try:
                    yield f".{name}", member.__get__(thing)
                except AttributeError:  # an unset slot
                    continue
    for name, value in list(getattr(thing, "__dict__", {}).items()):
        yield f".{name}", value
    call = kind.__dict__.get("__call__")
    if inspect.isfunction(call):
        yield ".__call__", call


def _function_children(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
        try:
            yield f"<{name}>", cell.cell_contents
        except ValueError:  # a cell that is still empty
            continue
    yield ".__defaults__", function.__defaults__
    yield ".__kwdefaults__", function.__kwdefaults__
    yield ".__wrapped__", getattr(function, "__wrapped__", None)
    names = _names(code)
    for name in names:
        value = function.__globals__.get(name)
        if isinstance(value, types.ModuleType):
            yield from ((f"<{name}.{n}>", vars(value)[n]) for n in names if n in vars(value))
        elif value is not None:
            yield f"<{name}>", value


def _names(code: types.CodeType) -> list[str]:
    """Names a function looks up, those of its inner functions and comprehensions included."""
    names = list(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names += _names(constant)
    return list(dict.fromkeys(names))
