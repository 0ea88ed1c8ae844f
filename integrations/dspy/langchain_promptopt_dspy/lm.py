"""A LangChain chat model as DSPy's language model, so that both sides of a bridge ask the same one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dspy
from dspy import lm15
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from langchain_core.language_models import BaseChatModel


_ONLY_TEXT = "only text is passed on, no "


def langchain_lm(model: BaseChatModel, **arguments: Any) -> dspy.LM:
    """A `dspy.LM` that asks this LangChain model; callbacks, traces and retries of the model hold.

    Args:
        model: The chat model.
        **arguments: As for `dspy.LM`. Without any, DSPy neither caches replies nor tries again.
    """
    name = getattr(model, "model_name", None) or getattr(model, "model", None) or type(model).__name__
    settings = {"cache": False, "num_retries": 0, **arguments}
    return dspy.LM(f"langchain/{name}", engine=Engine(model), async_engine=AsyncEngine(model), **settings)


class Engine:
    """One try at a time, as DSPy wants it."""

    def __init__(self, model: BaseChatModel) -> None:
        self.model = model

    def complete(self, request: lm15.Request) -> lm15.Response:
        """The model's reply to a request."""
        reply = self.model.invoke(_messages(request), **_settings(self.model, request))
        return _response(request, reply)

    def stream(self, request: lm15.Request) -> Iterator[Any]:
        """The whole reply at once."""
        return iter(lm15.response_to_events(self.complete(request)))

    def close(self) -> None:
        """The model belongs to the caller."""


class AsyncEngine:
    """The same on an event loop."""

    def __init__(self, model: BaseChatModel) -> None:
        self.model = model

    async def complete(self, request: lm15.Request) -> lm15.Response:
        """The model's reply to a request."""
        reply = await self.model.ainvoke(_messages(request), **_settings(self.model, request))
        return _response(request, reply)

    async def stream(self, request: lm15.Request) -> AsyncIterator[Any]:
        """The whole reply at once."""
        for event in lm15.response_to_events(await self.complete(request)):
            yield event

    async def aclose(self) -> None:
        """The model belongs to the caller."""


def _messages(request: lm15.Request) -> list[BaseMessage]:
    if request.tools:
        raise lm15.UnsupportedFeatureError(_ONLY_TEXT + "tools", feature="tools")
    made: list[BaseMessage] = []
    if request.system:
        parts = (lm15.TextPart(request.system),) if isinstance(request.system, str) else request.system
        made.append(SystemMessage(_text(parts)))
    for message in request.messages:
        kind = {"assistant": AIMessage, "developer": SystemMessage}.get(message.role, HumanMessage)
        made.append(kind(_text(message.parts)))
    return made


def _text(parts: Sequence[Any]) -> str:
    for part in parts:
        if not isinstance(part, lm15.TextPart):
            raise lm15.UnsupportedFeatureError(_ONLY_TEXT + part.type, feature=part.type)
    return "".join(part.text for part in parts)


def _settings(model: BaseChatModel, request: lm15.Request) -> dict[str, Any]:
    """What the request sets and the model has a setting for."""
    known = type(model).model_fields
    wanted = {"temperature": request.config.temperature, "max_tokens": request.config.max_tokens}
    settings = {name: value for name, value in wanted.items() if value is not None and name in known}
    return settings | ({"stop": list(request.config.stop)} if request.config.stop else {})


def _response(request: lm15.Request, reply: AIMessage) -> lm15.Response:
    used = reply.usage_metadata or {}
    usage = lm15.Usage(input_tokens=used.get("input_tokens"), output_tokens=used.get("output_tokens"))
    cut = (reply.response_metadata or {}).get("finish_reason") == "length"
    return lm15.Response(
        id=None,
        model=request.model,
        message=lm15.Message.assistant(reply.text),
        finish_reason="length" if cut else "stop",
        usage=usage,
    )
