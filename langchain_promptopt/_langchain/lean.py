"""The code of langchain-openai and of the openai SDK, with two helpers of theirs replaced where they do nothing.

A call of `ChatOpenAI` hops to a thread to read a reply that is already there: a tenth of its
processor time, and with many calls in flight each waits twice for the interpreter. The SDK looks up
the declared type of every key of every message, as much again, and leaves plain JSON as it is. So a
subclass runs the very same code with another `run_in_executor` and another `async_maybe_transform`.
Where that code is written otherwise, or somebody has put an instrument around it, the class stays.
"""

from __future__ import annotations

import inspect
import sys
from functools import cache
from types import FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping


def lean_model(cls: Any) -> Any:
    """`ChatOpenAI`, reading replies where it is."""
    return _lean_model(cls, cls._agenerate)


@cache  # by its code too: an instrument may be put around it between two runs
def _lean_model(cls: Any, ask: Any) -> Any:
    if not inspect.isfunction(ask) or "run_in_executor" not in ask.__code__.co_names:
        return cls
    return _with(cls, "_agenerate", _in_a_world(ask, run_in_executor=_now))


def lean_completions(root: Any) -> Any:
    """The chat completions of an `AsyncOpenAI`, which send a body of plain JSON as it is."""
    completions = root.chat.completions
    plain: Any = type(completions)
    cls = _lean_completions(plain, plain.create)
    return completions if cls is plain else cls(root)


@cache
def _lean_completions(cls: Any, create: Any) -> Any:
    ask = inspect.unwrap(create)
    if not inspect.isfunction(ask) or "async_maybe_transform" not in ask.__code__.co_names or not _the_sdks_own(create):
        return cls
    transform = ask.__globals__["async_maybe_transform"]
    return _with(cls, "create", _in_a_world(ask, async_maybe_transform=_plainly(transform)))


def _the_sdks_own(create: Any) -> bool:
    """Whether nobody has put an instrument around the request."""
    home = str(sys.modules["openai"].__path__[0])
    return inspect.isfunction(create) and create.__code__.co_filename.startswith(home)


def _in_a_world(function: Any, **names: Any) -> FunctionType:
    """The function with these globals in place of its own."""
    world = {**function.__globals__, **names}
    made = FunctionType(function.__code__, world, function.__name__, function.__defaults__, function.__closure__)
    made.__kwdefaults__ = function.__kwdefaults__
    return made


def _with(cls: Any, name: str, function: FunctionType) -> Any:
    made = type(cls.__name__, (cls,), {name: function, "__module__": cls.__module__})
    made.__qualname__ = cls.__qualname__  # traces read as always
    return made


async def _now(_executor: Any, do: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return do(*args, **kwargs)


def _plainly(transform: Callable[[Any, Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
    """The SDK's transform, for what is not plain JSON alone."""
    import openai

    left_out = (openai.NotGiven, openai.Omit)

    async def plainly(data: Mapping[str, Any], declared: Any) -> Any:
        given = {k: v for k, v in data.items() if not isinstance(v, left_out)}
        return given if _is_json(given) else await transform(data, declared)

    return plainly


def _is_json(value: Any) -> bool:
    """Whether the SDK would send the value as it is: what json writes, and no file, date, model or generator."""
    if type(value) is dict:
        return all(_is_json(v) for v in value.values())
    if type(value) is list:
        return all(_is_json(v) for v in value)
    return value is None or type(value) in _PLAIN


_PLAIN = {str, int, float, bool}
