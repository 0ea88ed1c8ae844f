"""Models that answer with a canned reply in one context, and as always in every other."""

from __future__ import annotations

import threading
import types
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, Generation, LLMResult

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from langchain_core.language_models.base import BaseLanguageModel

_REPLY: ContextVar[str | None] = ContextVar("promptopt_canned_reply", default=None)
_CANNED: dict[int, list[Any]] = {}
_CHANGING = threading.Lock()


@contextmanager
def replying(text: str) -> Iterator[None]:
    """Canned models answer `text` in this context."""
    token = _REPLY.set(text)
    try:
        yield
    finally:
        _REPLY.reset(token)


@contextmanager
def canned(models: Sequence[BaseLanguageModel[Any]]) -> Iterator[None]:
    """Let these models answer from `replying` in its context, and as always elsewhere."""
    with _CHANGING:
        mine = [model for model in models if _take(model)]
    try:
        yield
    finally:
        with _CHANGING:
            for model in mine:
                _give_back(model)


def _take(model: Any) -> bool:
    entry = _CANNED.get(id(model))
    if entry is not None:
        entry[2] += 1
        return True
    base: type = type(model)
    try:
        model.__class__ = _canned_class(base)
    except TypeError:  # a layout we cannot extend: the callback stops this model
        return False
    _CANNED[id(model)] = [model, base, 1]
    return True


def _give_back(model: Any) -> None:
    entry = _CANNED[id(model)]
    entry[2] -= 1
    if not entry[2]:
        del _CANNED[id(model)]
        model.__class__ = entry[1]


@cache
def _canned_class(base: type) -> type[Any]:
    """A model class that answers from `_REPLY` where it is set, without callbacks, limits or network."""
    names = {"__module__": base.__module__, "__qualname__": base.__qualname__, "__doc__": base.__doc__}
    methods = {method.__name__: method for method in (*_plain(base), *_async(base))}
    return types.new_class(base.__name__, (base,), exec_body=lambda space: space.update(names | methods))


def _chat(model: Any) -> bool:
    return isinstance(model, BaseChatModel)


def _value(model: Any, text: str) -> Any:
    return AIMessage(content=text) if _chat(model) else text


def _chunk(model: Any, text: str) -> Any:
    return AIMessageChunk(content=text) if _chat(model) else text


def _result(model: Any, count: int, text: str) -> LLMResult:
    one = ChatGeneration(message=AIMessage(content=text)) if _chat(model) else Generation(text=text)
    return LLMResult(generations=[[one] for _ in range(count)])


def _plain(base: Any) -> tuple[Callable[..., Any], ...]:
    def invoke(self: Any, *args: Any, **kwargs: Any) -> Any:
        text = _REPLY.get()
        return base.invoke(self, *args, **kwargs) if text is None else _value(self, text)

    def generate(self: Any, batch: Any, *args: Any, **kwargs: Any) -> Any:
        text = _REPLY.get()
        return base.generate(self, batch, *args, **kwargs) if text is None else _result(self, len(batch), text)

    def stream(self: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        text = _REPLY.get()
        yield from base.stream(self, *args, **kwargs) if text is None else [_chunk(self, text)]

    return invoke, generate, stream


def _async(base: Any) -> tuple[Callable[..., Any], ...]:
    async def ainvoke(self: Any, *args: Any, **kwargs: Any) -> Any:
        text = _REPLY.get()
        return await base.ainvoke(self, *args, **kwargs) if text is None else _value(self, text)

    async def agenerate(self: Any, batch: Any, *args: Any, **kwargs: Any) -> Any:
        text = _REPLY.get()
        return await base.agenerate(self, batch, *args, **kwargs) if text is None else _result(self, len(batch), text)

    async def astream(self: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        text = _REPLY.get()
        if text is not None:
            yield _chunk(self, text)
            return
        async for part in base.astream(self, *args, **kwargs):
            yield part

    return ainvoke, agenerate, astream
