"""Sees every model call of the user's chain and evaluators, through langchain-core's callbacks.

A collector is given to a call as a callback, and stands in a context variable that LangChain asks
for handlers: so it also sees calls made without the callbacks that were handed down. Threads that
the chain starts by itself do not inherit that variable; `followed_threads` has them do so.
"""

# ruff: noqa: ARG002 - the callbacks' signatures are langchain-core's

from __future__ import annotations

import functools
import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from langchain_core.callbacks.base import BaseCallbackHandler
from langchain_core.tracers.context import register_configure_hook

from langchain_promptopt._runtime.failures import never_sent
from langchain_promptopt._runtime.prices import at_tier
from langchain_promptopt.errors import BudgetSpent
from langchain_promptopt.types import Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

    from langchain_core.outputs import LLMResult
    from langchain_core.runnables.config import RunnableConfig

T = TypeVar("T")
_UNKNOWN = "unknown"
_MOST_TOKENS = 10**9
"""No call takes more: a larger number is a mistake of the server."""


class Pricing(Protocol):
    """What prices calls; the run's `Ledger` does. A protocol, because the ledger imports this module."""

    def priced(self, model_id: str, usage_metadata: Mapping[str, Any] | None, *, calls: int = 1) -> Usage:
        """The price of calls, without recording them.

        Args:
            model_id: The model its price is looked up by.
            usage_metadata: langchain-core's token counts of all these calls; None where there are none.
            calls: Number of calls.
        """
        ...


@dataclass(slots=True)
class ModelUse:
    """Sums over the calls of one model."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read: int = 0
    cache_creation: int = 0

    def add(self, meta: Mapping[str, Any]) -> None:
        """Add one reply's `usage_metadata`. Raises ValueError where that cannot be what a call used."""
        details = meta.get("input_token_details")
        details = details if isinstance(details, dict) else {}
        tokens_in, tokens_out = _count(meta.get("input_tokens")), _count(meta.get("output_tokens"))
        if not tokens_in + tokens_out:
            msg = "0 tokens"
            raise ValueError(msg)
        read, written = _cached(details, "cache_read"), _cached(details, "cache_creation")
        self.input_tokens += tokens_in
        self.output_tokens += tokens_out
        self.cache_read += read
        self.cache_creation += written

    def sum(self, other: ModelUse) -> None:
        """Add the tokens of another."""
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.cache_read += other.cache_read
        self.cache_creation += other.cache_creation

    def metadata(self) -> dict[str, Any]:
        """The sums in the shape of `usage_metadata`."""
        details = {"cache_read": self.cache_read, "cache_creation": self.cache_creation}
        return {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "total_tokens": self.input_tokens + self.output_tokens,
            "input_token_details": details,
        }


def _cached(details: Mapping[str, Any], name: str) -> int:
    """Tokens of a kind; langchain-openai counts those of another service tier under a name of their own."""
    if not details:
        return 0
    return sum(_count(details.get(prefix + name)) for prefix in ("", "flex_", "priority_"))


def _count(value: object) -> int:
    """A number of tokens; None is none. Raises ValueError for what is no such number."""
    if value is None:
        return 0
    if type(value) is int and 0 <= value <= _MOST_TOKENS:
        return value
    whole = isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1
    if not whole or not 0 <= value <= _MOST_TOKENS:  # type: ignore[operator]  # a number by now
        msg = f"{str(value)[:40]!r} tokens"
        raise ValueError(msg)
    return int(value)  # type: ignore[call-overload, no-any-return]  # a number by now


@dataclass(slots=True)
class Collected:
    """Usage and replies of one cell's model calls. Filled while the chain runs."""

    by_model: dict[str, ModelUse] = field(default_factory=dict)
    started: int = 0
    """Calls begun, failed ones too; hits of langchain-core's own cache are taken off again."""
    unsent: int = 0
    """Calls that ended before a server was reached; they are taken off `started`."""
    cache_hits: int = 0
    unmetered: int = 0
    """Replies with missing or impossible usage: their tokens are unknown, not zero."""
    oddity: str = ""
    """The usage that the last of those replies reported, for the incident."""
    served: list[str] = field(default_factory=list)
    finish_reasons: list[str] = field(default_factory=list)
    refusal: str | None = None
    """The last reply's refusal, which it has in place of an answer."""

    def note(self, reply: _Generation) -> None:
        """Remember how a reply ended and who gave it."""
        if reply.served:
            self.served.append(reply.served)
        if reply.finish_reason:
            self.finish_reasons.append(reply.finish_reason)
        self.refusal = reply.refusal

    def add(self, model: str, replies: Sequence[_Generation], llm_output: Mapping[str, Any]) -> None:
        """Add the usage of one call. Missing or impossible usage is counted as unmetered.

        Args:
            model: The model its price is looked up by.
            replies: The call's replies.
            llm_output: langchain-core's, where completion models report their usage.
        """
        use = self.by_model.setdefault(model, ModelUse())
        use.calls += 1
        oddity = ""
        try:
            metered = _metered(replies, llm_output)
            for meta in metered:
                use.add(meta)
            oddity = "" if metered else "nothing"
        except ValueError as error:
            oddity = str(error)
        if oddity:
            self.unmetered += 1
            self.oddity = oddity

    @property
    def model_served(self) -> str | None:
        """The model that replied, by the name the replies give; in a chain of several, all of them in order."""
        return ", ".join(sorted(set(self.served))) or None

    @property
    def finish_reason(self) -> str | None:
        """Why the last reply ended."""
        return self.finish_reasons[-1] if self.finish_reasons else None

    def usage(self, pricing: Pricing, *, seconds: float = 0.0) -> Usage:
        """All calls priced. The cost is unknown where a price is unknown or a reply reported no usage."""
        total, unreported = Usage(seconds=seconds), self.started
        for model, use in self.by_model.items():
            total += pricing.priced(model, use.metadata(), calls=use.calls)
            unreported -= use.calls
        if unreported > 0:
            total += Usage(calls=unreported)
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
        alive: Called with each part of a reply, and at its end; from any thread.
    """

    run_inline = True

    @property
    def ignore_chain(self) -> bool:
        """Only models are looked at: what else runs costs nothing."""
        return True

    ignore_agent = ignore_retriever = ignore_chain

    def __init__(
        self,
        requested: str | None = None,
        before_call: Callable[[], None] | None = None,
        alive: Callable[[], None] | None = None,
    ) -> None:
        self.requested = requested
        self.raise_error = before_call is not None
        self.collected = Collected()
        self._before_call = before_call
        self._alive = alive or (lambda: None)
        self._lock = threading.Lock()
        self._open: dict[UUID, _Call] = {}
        self._late: Callable[[Collected], None] | None = None
        self.beside: BaseCallbackHandler | None = None
        """Hears of each call's beginning and end after this collector, without a callback of its own."""

    def admit(self) -> None:
        """A call begins where this collector cannot see it. Raises BudgetSpent where the budget is used up."""
        if self._before_call is not None:
            self._before_call()

    def settle(self, late: Callable[[Collected], None]) -> None:
        """The cell's sums are booked. A call of a thread that goes on is handed to `late` as it ends, never refused."""
        with self._lock:
            self._late = late

    def on_chat_model_start(
        self, serialized: dict[str, Any], messages: list[list[Any]], *, run_id: UUID, **kwargs: Any
    ) -> None:
        """A chat model is about to be called.

        Args:
            serialized: The model as LangChain serializes it; its name is read from there.
            messages: What it is sent.
            run_id: The call's id.
            **kwargs: LangChain's own; `invocation_params` has the model's name.

        Raises:
            BudgetSpent: `before_call` does not allow the call.
        """
        self._begin(run_id, serialized, kwargs)
        if self.beside is not None:
            self.beside.on_chat_model_start(serialized, messages, run_id=run_id)

    def on_llm_start(self, serialized: dict[str, Any], prompts: list[str], *, run_id: UUID, **kwargs: Any) -> None:
        """A completion model is about to be called.

        Args:
            serialized: The model as LangChain serializes it; its name is read from there.
            prompts: What it is sent.
            run_id: The call's id.
            **kwargs: LangChain's own; `invocation_params` has the model's name.

        Raises:
            BudgetSpent: `before_call` does not allow the call.
        """
        self._begin(run_id, serialized, kwargs)
        if self.beside is not None:
            self.beside.on_llm_start(serialized, prompts, run_id=run_id)

    def _begin(self, run_id: UUID, serialized: dict[str, Any] | None, kwargs: Mapping[str, Any]) -> None:
        if self._before_call is not None and self._late is None:
            self._before_call()
        with self._lock:
            booked = self._late is None  # with the cell, when that ends
            self.collected.started += booked
            around = _within.get()
            within = None if around is None else self._open.get(around)
            if within is not None and within.streams:  # its reader shares its context
                within = None
            self._open[run_id] = _Call(_asked_name(serialized or {}, kwargs), booked=booked, within=within)
        if kwargs.get("batch_size", 1) == 1:  # calls of one batch begin one after the other and are not nested
            _within.set(run_id)

    def on_llm_new_token(self, token: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A part of a reply is read: what is called from now on may be the reader's call, not the model's.

        Args:
            token: Not used.
            run_id: The call's id.
            **kwargs: Not used.
        """
        self._alive()
        with self._lock:
            if (call := self._open.get(run_id)) is not None:
                call.streams = True

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """The call failed. It still counts as begun, unless no server was reached.

        A stream that ends after its first part is paid for, and what it used is not known: the chain stopped reading.

        Args:
            error: What the model raised.
            run_id: The call's id.
            **kwargs: Not used.
        """
        with self._lock:
            call = self._open.pop(run_id, None)
            if call is None or never_sent(error):
                self.collected.started -= call is not None and call.booked and self._late is None
                self.collected.unsent += call is not None
                return
            into = self.collected if self._late is None else Collected(started=not call.booked)
            if call.streams:
                into.unmetered += 1
                into.oddity = "nothing, because its stream was not read to the end"
            if self._late is not None and (call.streams or not call.booked):
                self._late(into)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """The call is answered.

        Args:
            response: All replies of the call.
            run_id: The call's id.
            **kwargs: Not used.
        """
        self._alive()
        with self._lock:
            call = self._open.pop(run_id, None) or _Call(_UNKNOWN, booked=True)
            into = self.collected if self._late is None else Collected(started=not call.booked)
            replies, hit = list(map(_Generation.of, chain.from_iterable(response.generations))), False
            for reply in replies:
                into.note(reply)
                hit = hit or (reply.usage is not None and reply.hit)
            if hit:
                into.started -= 1
                into.cache_hits += 1
            elif self._late is None and call.passes_on(replies, response.llm_output or {}):
                into.started -= call.booked
            else:
                into.add(self._model(call, replies, response), replies, response.llm_output or {})
            if self._late is not None:
                if call.booked:  # as a call, when the cell ended; what it used is known now
                    for use in into.by_model.values():
                        use.calls = 0
                self._late(into)
        if self.beside is not None:
            self.beside.on_llm_end(response, run_id=run_id)

    def _model(self, call: _Call, replies: Sequence[_Generation], response: LLMResult) -> str:
        """The name that the call's price goes by."""
        told = response.llm_output or {}
        tier = served = None
        for reply in replies:
            tier, served = tier or reply.tier, served or reply.served
        tier = tier or told.get("service_tier")
        if self.requested or call.asked != _UNKNOWN:
            return at_tier(self.requested or call.asked, tier)
        return at_tier(served or str(told.get("model_name") or _UNKNOWN), tier)


@dataclass(slots=True, eq=False)
class _Call:
    """A call under way: the model asked for, and whether the cell's own sums count it."""

    asked: str
    booked: bool
    within: _Call | None = None
    """The call of another model that makes this one."""
    streams: bool = False
    inner: ModelUse = field(default_factory=ModelUse)
    """What the calls reported that were made within this one."""

    def passes_on(self, replies: Sequence[_Generation], llm_output: Mapping[str, Any]) -> bool:
        """Whether the usage of these replies is that of the calls within, which is counted already.

        A model that asks another one and returns its reply is not paid a second time. One that reports a usage of
        its own, or none, is counted beside the calls within.
        """
        if self.within is None and not self.inner.input_tokens + self.inner.output_tokens:
            return False  # no call within, and none around
        use = ModelUse()
        try:
            for meta in _metered(replies, llm_output):
                use.add(meta)
        except ValueError:
            return False
        if self.within is not None:
            self.within.inner.sum(use)
        return use.input_tokens + use.output_tokens > 0 and use == self.inner


_within: ContextVar[UUID | None] = ContextVar("promptopt_within", default=None)
"""The model call that the present code is part of, if that is still open."""
_metering: ContextVar[UsageCollector | None] = ContextVar("promptopt_metering", default=None)
register_configure_hook(_metering, inheritable=True)
beside: ContextVar[Any] = ContextVar("promptopt_beside_meter", default=None)
"""What else of an evaluation goes into the threads that follow the meter."""


class metered_by:  # noqa: N801 - a block; as a class, because every call passes one and a generator costs more
    """A block whose model calls `meter` sees, whatever callbacks they are given."""

    __slots__ = ("_meter", "_token")

    def __init__(self, meter: UsageCollector) -> None:
        self._meter = meter

    def __enter__(self) -> None:
        self._token = _metering.set(self._meter)

    def __exit__(self, *_: object) -> None:
        _metering.reset(self._token)


def also_heard(handler: BaseCallbackHandler, config: RunnableConfig) -> RunnableConfig:
    """The config under which `handler` hears of all model calls and may refuse them.

    Where a meter is in force, which sees them all, it passes them on: a second callback costs more than either does.
    One that several evaluations share, which stand `beside` it, cannot tell whose call it hears.

    Args:
        handler: Listens to the beginnings and ends of model calls alone.
        config: Of the evaluation.
    """
    meter = _metering.get()
    if meter is None or beside.get() is not None:
        return with_handler(config, handler)
    meter.beside, meter.raise_error = handler, True
    return config


class _ThreadsFollowed:
    """Thread pools and threads that pass on their caller's usage meter.

    While a run evaluates, `ThreadPoolExecutor.submit` and `Thread.start` pass on the meter of the calling context
    and what stands `beside` it; without a meter they work as always. The patch ends with the last of several runs.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs = 0
        self._submit = ThreadPoolExecutor.submit
        self._start = threading.Thread.start

    def __enter__(self) -> None:
        with self._lock:
            self._runs += 1
            if self._runs == 1:
                self._follow()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._runs -= 1
            if not self._runs:
                self._leave()

    def _follow(self) -> None:
        submit, start = self._submit, self._start = ThreadPoolExecutor.submit, threading.Thread.start

        def submitted(pool: ThreadPoolExecutor, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
            """Submit with the caller's meter.

            Args:
                pool: The pool.
                fn: The function.
                *args: Its arguments.
                **kwargs: Its named arguments.
            """
            return submit(pool, followed(fn), *args, **kwargs)

        def started(thread: threading.Thread) -> None:
            meter = _metering.get()
            # a pool's own threads live on and serve others: their work is followed one by one
            if meter is not None and not _is_worker(thread):
                thread.run = functools.partial(_under, meter, beside.get(), thread.run)  # type: ignore[method-assign]  # this thread alone
            start(thread)

        self._ours = (submitted, started)
        ThreadPoolExecutor.submit = submitted  # type: ignore[method-assign, assignment]  # for the run
        threading.Thread.start = started  # type: ignore[method-assign, assignment]  # for the run

    def _leave(self) -> None:
        """Put the original methods back, unless other code has wrapped ours meanwhile."""
        submitted, started = self._ours
        if ThreadPoolExecutor.submit is submitted:
            ThreadPoolExecutor.submit = self._submit  # type: ignore[method-assign]  # as it was
        if threading.Thread.start is started:
            threading.Thread.start = self._start  # type: ignore[method-assign]  # as it was


followed_threads = _ThreadsFollowed()


def followed(fn: Callable[..., T]) -> Callable[..., T]:
    """`fn` for another thread, where the meter of this one sees its calls, and what stands `beside` it is the same."""
    meter = _metering.get()
    return fn if meter is None else functools.partial(_under, meter, beside.get(), fn)


def _under(meter: UsageCollector, standing: Any, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    with metered_by(meter):
        token = beside.set(standing)
        try:
            return fn(*args, **kwargs)
        finally:
            beside.reset(token)


def _is_worker(thread: threading.Thread) -> bool:
    return getattr(getattr(thread, "_target", None), "__module__", "") == "concurrent.futures.thread"


class _QuietRefusals(logging.Filter):
    """LangChain logs what a callback raises; a call that a spent budget refuses is no fault to log."""

    def filter(self, record: logging.LogRecord) -> bool:
        args = record.args if isinstance(record.args, tuple) else ()
        return not any(isinstance(a, BudgetSpent) or "BudgetSpent(" in str(a) for a in args)


logging.getLogger("langchain_core.callbacks.manager").addFilter(_QuietRefusals())


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
class _Generation:
    """What one generation says about itself."""

    usage: Mapping[str, Any] | None
    served: str | None
    finish_reason: str | None
    refusal: str | None
    tier: str | None = None
    """The provider's service tier, where the reply names one."""

    @property
    def hit(self) -> bool:
        """langchain-core's cache repeats the old token counts at a cost of 0."""
        return self.usage is not None and self.usage.get("total_cost") == 0

    @classmethod
    def of(cls, generation: Any) -> _Generation:
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
            info.get("service_tier") or meta.get("service_tier"),
        )


def _metered(replies: Sequence[_Generation], llm_output: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Usage to add up for one call.

    With n > 1 OpenAI's client writes the call's whole usage on each of the n replies: equal
    numbers are one number. Completion models tell theirs beside the replies.
    """
    if len(replies) == 1 and replies[0].usage is not None:
        return [replies[0].usage]
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
