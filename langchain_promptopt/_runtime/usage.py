"""Sees every model call inside the user's chain, through langchain-core's callbacks."""

# ruff: noqa: ARG002 - the callbacks' signatures are langchain-core's

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks.base import BaseCallbackHandler

from langchain_promptopt.types import Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

    from langchain_core.outputs import LLMResult
    from langchain_core.runnables.config import RunnableConfig

    from langchain_promptopt._runtime.ledger import Ledger

_UNKNOWN = "unknown"


@dataclass(slots=True)
class ModelUse:
    """Sums over the calls of one model."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read: int = 0
    cache_creation: int = 0

    def add(self, meta: Mapping[str, Any]) -> None:
        """Add one reply's `usage_metadata`."""
        details = meta.get("input_token_details") or {}
        self.input_tokens += int(meta.get("input_tokens") or 0)
        self.output_tokens += int(meta.get("output_tokens") or 0)
        self.cache_read += int(details.get("cache_read") or 0)
        self.cache_creation += int(details.get("cache_creation") or 0)

    def metadata(self) -> dict[str, Any]:
        """The sums in the shape of `usage_metadata`."""
        details = {"cache_read": self.cache_read, "cache_creation": self.cache_creation}
        return {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "total_tokens": self.input_tokens + self.output_tokens,
            "input_token_details": details,
        }


@dataclass(slots=True)
class Collected:
    """What the model calls of one cell used and said. Filled while the chain runs."""

    by_model: dict[str, ModelUse] = field(default_factory=dict)
    started: int = 0
    """Calls begun, failed ones too; hits of langchain-core's own cache are taken off again."""
    cache_hits: int = 0
    unmetered: int = 0
    """Replies that did not say what they used: their tokens are unknown, not zero."""
    served: list[str] = field(default_factory=list)
    finish_reasons: list[str] = field(default_factory=list)
    refusal: str | None = None
    """What the last reply said in place of an answer."""

    @property
    def model_served(self) -> str | None:
        """The model that replied, by the name the replies give; in a chain of several, all of them in order."""
        return ", ".join(sorted(set(self.served))) or None

    @property
    def finish_reason(self) -> str | None:
        """Why the last reply ended."""
        return self.finish_reasons[-1] if self.finish_reasons else None

    def usage(self, ledger: Ledger, *, seconds: float = 0.0) -> Usage:
        """All calls priced. Money is unknown where a price is, or where a reply told no usage."""
        total = Usage(calls=max(0, self.started - sum(use.calls for use in self.by_model.values())), seconds=seconds)
        for model, use in self.by_model.items():
            total += ledger.priced(model, use.metadata(), calls=use.calls)
        known = None if self.unmetered else total.usd
        return Usage(
            total.calls, total.input_tokens, total.output_tokens, total.cache_read_tokens, known, total.seconds
        )


class UsageCollector(BaseCallbackHandler):
    """Collects the model calls of one cell: `chain.ainvoke(x, {"callbacks": [collector]})`.

    Runs inline, so it sees calls in order and without a thread hop; a lock keeps the sums right
    when the chain itself uses threads.

    Args:
        requested: The model's id where the chain has just one: prices go by it. Otherwise they go by
            the name each model was made with, and by the name in the reply where that is not to be seen.
        before_call: Called as a model call begins; what it raises stops the call (a spent budget).
    """

    run_inline = True

    @property
    def ignore_chain(self) -> bool:
        """Only models are looked at: what else runs costs nothing."""
        return True

    ignore_agent = ignore_retriever = ignore_chain

    def __init__(self, requested: str | None = None, before_call: Callable[[], None] | None = None) -> None:
        self.requested = requested
        self.raise_error = before_call is not None
        self.collected = Collected()
        self._before_call = before_call
        self._lock = threading.Lock()
        self._open: dict[UUID, str] = {}

    def on_chat_model_start(
        self, serialized: dict[str, Any], messages: list[list[Any]], *, run_id: UUID, **kwargs: Any
    ) -> None:
        """A chat model is about to be called."""
        self._begin(run_id, serialized, kwargs)

    def on_llm_start(self, serialized: dict[str, Any], prompts: list[str], *, run_id: UUID, **kwargs: Any) -> None:
        """A completion model is about to be called."""
        self._begin(run_id, serialized, kwargs)

    def _begin(self, run_id: UUID, serialized: dict[str, Any] | None, kwargs: Mapping[str, Any]) -> None:
        if self._before_call is not None:
            self._before_call()
        with self._lock:
            self.collected.started += 1
            self._open[run_id] = _asked_name(serialized or {}, kwargs)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """The call failed: it stays counted as begun."""
        with self._lock:
            self._open.pop(run_id, None)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """The reply is there."""
        with self._lock:
            asked = self._open.pop(run_id, _UNKNOWN)
            replies = [_Reply.of(g) for group in response.generations for g in group]
            for reply in replies:
                self._note(reply)
            if any(reply.hit for reply in replies):
                self.collected.started -= 1
                self.collected.cache_hits += 1
                return
            self._add(asked, replies, response.llm_output or {})

    def _note(self, reply: _Reply) -> None:
        if reply.served:
            self.collected.served.append(reply.served)
        if reply.finish_reason:
            self.collected.finish_reasons.append(reply.finish_reason)
        self.collected.refusal = reply.refusal

    def _add(self, asked: str, replies: Sequence[_Reply], llm_output: Mapping[str, Any]) -> None:
        served = next((r.served for r in replies if r.served), None) or llm_output.get("model_name")
        model = self.requested or (asked if asked != _UNKNOWN else served) or _UNKNOWN
        use = self.collected.by_model.setdefault(model, ModelUse())
        use.calls += 1
        metered = _metered(replies, llm_output)
        for meta in metered:
            use.add(meta)
        if not metered:
            self.collected.unmetered += 1


def with_handler(config: RunnableConfig, handler: BaseCallbackHandler) -> RunnableConfig:
    """A copy of `config` with `handler` among its callbacks, inherited by all that runs under it."""
    callbacks = config.get("callbacks")
    if callbacks is None:
        return {**config, "callbacks": [handler]}
    if isinstance(callbacks, list):
        return {**config, "callbacks": [*callbacks, handler]}
    manager = callbacks.copy()
    manager.add_handler(handler, inherit=True)
    return {**config, "callbacks": manager}


@dataclass(frozen=True, slots=True)
class _Reply:
    """What one generation says about itself."""

    usage: Mapping[str, Any] | None
    served: str | None
    finish_reason: str | None
    refusal: str | None

    @property
    def hit(self) -> bool:
        """langchain-core's cache repeats the old token counts at a cost of 0."""
        return self.usage is not None and self.usage.get("total_cost") == 0

    @classmethod
    def of(cls, generation: Any) -> _Reply:
        message = getattr(generation, "message", None)
        info = generation.generation_info or {}
        meta = getattr(message, "response_metadata", None) or {}
        extra = getattr(message, "additional_kwargs", None) or {}
        reason = meta.get("finish_reason") or meta.get("stop_reason") or info.get("finish_reason")
        return cls(
            getattr(message, "usage_metadata", None),
            meta.get("model_name") or meta.get("model"),
            None if reason is None else str(reason),
            None if extra.get("refusal") is None else str(extra["refusal"]),
        )


def _metered(replies: Sequence[_Reply], llm_output: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Usage to add up for one call.

    With n > 1 OpenAI's client writes the call's whole usage on each of the n replies: equal
    numbers are one number. Completion models tell theirs beside the replies.
    """
    told = [r.usage for r in replies if r.usage is not None]
    if told:
        same = all(dict(meta) == dict(told[0]) for meta in told)
        return told[:1] if same else told
    old = llm_output.get("token_usage") or {}
    if "prompt_tokens" not in old and "completion_tokens" not in old:
        return []
    return [{"input_tokens": old.get("prompt_tokens"), "output_tokens": old.get("completion_tokens")}]


def _asked_name(serialized: Mapping[str, Any], kwargs: Mapping[str, Any]) -> str:
    """The model's name as the caller set it."""
    asked = kwargs.get("invocation_params") or {}
    made = serialized.get("kwargs") or {}
    for source, name in ((asked, "model"), (asked, "model_name"), (made, "model_name"), (made, "model")):
        if isinstance(found := source.get(name), str):
            return found
    metadata = kwargs.get("metadata") or {}
    return str(metadata.get("ls_model_name") or _UNKNOWN)
