"""The optimizer model as the engine calls it: addressed, journaled, metered, limited, retried."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableConfig

from langchain_promptopt.events import Called
from langchain_promptopt.types import Usage, content_hash

if TYPE_CHECKING:
    from langchain_promptopt._engine.context import Journal
    from langchain_promptopt.events import Event

Place = tuple[str | int, ...]
SECOND = "r"
"""Stands behind the number of a call that was a second try."""
Transport = Callable[[Any, RunnableConfig, dict[str, Any], int], Awaitable[tuple[AIMessage, Usage]]]
"""Sends messages to the real model: metered, booked, limited, retried. Injected, so that tests need no patching."""


class OptimizerModel:
    """Hands out models bound to an address and remembers every reply under it.

    The k-th of identical requests at one address is its own call; a journaled reply is never
    paid for again.
    """

    def __init__(
        self,
        inner: Any,
        transport: Transport,
        journal: Journal,
        emit: Callable[[Event], None],
        book: Callable[[int, Usage], None],
    ) -> None:
        self.inner = inner
        self._transport = transport
        self._journal = journal
        self._emit = emit
        self._book = book
        self.paid = 0

    def at(self, place: Place) -> AddressedModel:
        """The model at `place`: (step, parent, batch, k, ...)."""
        return AddressedModel(self, place)

    async def call(
        self, key: str, step: int, messages: Any, config: RunnableConfig, kwargs: dict[str, Any]
    ) -> AIMessage:
        """The reply under `key`: from the journal, or from the model and then journaled."""
        known = self._journal.calls.get(key)
        if known is not None:
            usage = Usage.from_json(known.get("usage"))  # type: ignore[arg-type]  # journal data is JSON
            reply, served, finish = str(known["reply"]), known.get("model_served"), known.get("finish_reason")
            self._book(step, usage)
        else:
            message, usage = await self._transport(messages, config, kwargs, step)
            self.paid += 1
            meta = message.response_metadata or {}
            reply, served, finish = str(message.text), meta.get("model_name"), meta.get("finish_reason")
        event = Called(
            key=key,
            role="optimizer",
            step=step,
            reply=reply,
            usage=usage,
            model_served=served if isinstance(served, str) else None,
            finish_reason=finish if isinstance(finish, str) else None,
        )
        self._emit(event)
        return AIMessage(
            reply, response_metadata={"finish_reason": event.finish_reason, "model_name": event.model_served}
        )


class AddressedModel(Runnable[Any, AIMessage]):
    """A model at one address; successive calls there are numbered."""

    def __init__(self, hub: OptimizerModel, place: Place, mark: str = "", count: list[int] | None = None) -> None:
        self.hub = hub
        self.place = place
        self.mark = mark
        self.count = [0] if count is None else count

    def again(self) -> AddressedModel:
        """The same model, counting on, for a second try: its calls are marked in the journal."""
        return AddressedModel(self.hub, self.place, SECOND, self.count)

    @property
    def inner(self) -> Any:
        """The user's model, for asking what it takes."""
        return self.hub.inner

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:  # noqa: A002
        """Synchronous form of `ainvoke`."""
        from langchain_promptopt._runtime.bridge import run_sync

        return run_sync(lambda: self.ainvoke(input, config, **kwargs))

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:  # noqa: A002
        """Ask the model; the same address and number gives the same reply on a resumed run."""
        number = self.count[0]
        self.count[0] += 1
        digest = content_hash(
            [[str(role), str(text)] for role, text in input] if isinstance(input, list) else str(input), 12
        )
        key = "/".join(map(str, (*self.place, f"{number}{self.mark}:{digest}")))
        step = self.place[0] if self.place and isinstance(self.place[0], int) else 0
        if getattr(self.inner, "seed", None) is not None:  # a seeded model: the k-th of equal requests is its own draw
            kwargs["seed"] = self.inner.seed + int(content_hash([*map(str, self.place), number], 7), 16)
        return await self.hub.call(key, step, input, config or {}, kwargs)
