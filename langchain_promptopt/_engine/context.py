"""What a run works with, and the one place where events leave the engine.

`OptimizerModel` is the optimizer model as the engine calls it: addressed, journaled, metered, limited and retried.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableConfig

from langchain_promptopt._collections import by_id, present, without
from langchain_promptopt._runtime.tracing import Tracers
from langchain_promptopt._text.words import whole_text
from langchain_promptopt.errors import ConfigError
from langchain_promptopt.events import Called, Incident, ScoredRow
from langchain_promptopt.types import Usage, content_hash

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from langchain_core.embeddings import Embeddings

    from langchain_promptopt._runtime.ledger import Ledger
    from langchain_promptopt._runtime.redact import RowRedaction
    from langchain_promptopt.evaluators import Metrics
    from langchain_promptopt.events import Event
    from langchain_promptopt.ports import DataSet, Executor, Observer
    from langchain_promptopt.recipe import Demos, Gate, Recipe
    from langchain_promptopt.types import Candidate, Cell, Example, MustPass, Outcome, PromptSet, Rejection

_log = logging.getLogger("langchain_promptopt")


class ReplayableStore(Protocol):
    """A Store that can also say what it already holds, for replay."""

    def append(self, event: Event) -> None:
        """Add one event, or recognise it as replayed."""

    @property
    def calls(self) -> Mapping[str, Called]:
        """Journaled optimizer replies by key."""

    @property
    def cells(self) -> Mapping[Cell, Outcome]:
        """Journaled outcomes by cell."""

    @property
    def opened(self) -> Mapping[str, str]:
        """The mark of each opening of the test rows, by candidate and attempt (`opening_key`)."""

    def flush(self) -> None:
        """Return once what was appended is on disk."""

    @property
    def voided(self) -> int:
        """Tests that were void before this start of the run, those apart that its budget ended."""


@runtime_checkable
class Replayed(Protocol):
    """What a `ReplayableStore` whose `cells` were there before the run has besides."""

    def again(self, cell: Cell) -> None:
        """The journaled row of this cell is used: it counts as appended again, and nothing is written."""


@dataclass(frozen=True)
class Objective:
    """How several evaluator scores become the one number the search looks at.

    Attributes:
        primary: The metric that decides; None is the first of the first evaluator.
        weights: In its place, metrics and their weights in the mean.
        metrics: What the evaluators give, by any name the gate may use; None takes names as they are.
    """

    primary: str | None
    weights: Mapping[str, float] = field(default_factory=dict)
    metrics: Metrics | None = None

    def value(self, scores: Mapping[str, float]) -> float | None:
        """The primary metric, or the weighted mean; None where a row has no score of it."""
        if self.metrics is not None and self.metrics.open:
            self.metrics.observe(scores)
        if not self.weights:
            return self._score(self.primary, scores)
        parts = [(w, self._score(name, scores)) for name, w in self.weights.items()]
        # a mean over a part of the metrics would be another measure, so a missing score gives none
        known = [w * score for w, score in parts if score is not None]
        return sum(known) / sum(self.weights.values()) if len(known) == len(parts) else None

    @property
    def deciding(self) -> tuple[str, ...]:
        """The metrics that make up the value, as far as they are known."""
        names = tuple(self.weights) or ((self.primary,) if self.primary is not None else ())
        if self.metrics is None:
            return names
        known = map(self.metrics.find, names) if names else (self.metrics.deciding,)
        return tuple(present(known))

    @property
    def name(self) -> str:
        """What the value is called in a table."""
        return "weighted" if self.weights else next(iter(self.deciding), "score")

    def _score(self, name: str | None, scores: Mapping[str, float]) -> float | None:
        if self.metrics is None:
            return scores[name] if name is not None else next(iter(scores.values()))
        metric = self.metrics.deciding if name is None else self.metrics.find(name)
        if metric is None or metric in scores:
            return None if metric is None else scores[metric]
        return scores.get(self.metrics.owner_of(metric) or "")  # a failed row from before the metric was known


class Emitter:
    """The one place where events leave a run: stored first, then shown to the observers.

    Args:
        journal: The record of the run.
        observers: Watchers. One that raises is logged once and left out.
        redaction: What the user gave as `redact=`: incidents quote errors, and errors quote rows.
    """

    def __init__(
        self, journal: ReplayableStore, observers: Sequence[Observer] = (), redaction: RowRedaction | None = None
    ) -> None:
        self.journal = journal
        self._replayed = journal if isinstance(journal, Replayed) else None  # asking costs more than reading a row
        self._redaction = redaction
        self._observers = list(observers)

    def watch(self, observer: Observer) -> None:
        """Show further events to this observer, too."""
        self._observers.append(observer)

    def emit(self, event: Event) -> None:
        """Store the event, then show it."""
        if self._redaction is not None and isinstance(event, Incident):
            event = replace(event, detail=self._redaction.text(event.detail))
        self.journal.append(event)
        self._show(event)

    def again(self, outcome: Outcome) -> None:
        """As `emit` for a row that came from the journal, so is there already."""
        if self._replayed is not None:
            self._replayed.again(outcome.cell)
        if self._observers:
            self._show(ScoredRow.of(outcome))

    def _show(self, event: Event) -> None:
        for observer in tuple(self._observers):
            try:
                observer.on_event(event)
            except Exception:  # noqa: BLE001 - style H8: observers watch, they cannot stop a run
                self._observers = [other for other in self._observers if other is not observer]
                _log.exception("observer %r raised and is not called again", observer)


@dataclass
class RunState:
    """What changes while a run goes on, beside its archive and its ledger."""

    step: int = 0
    test_open: bool = False
    busy: int = 0
    """Pieces of work under way that need no outcomes: proposals being written."""
    reported: set[tuple[str, int]] = field(default_factory=set)
    """Failure signatures that were reported already, by kind and step."""
    rendered: set[str] = field(default_factory=set)
    """Names of the prompts that evaluations rendered."""
    rendered_in_test: set[str] = field(default_factory=set)
    """Names of those that evaluations of test examples rendered."""
    remarks: tuple[str, ...] = ()
    """What the run found out about the chain, for the result's warnings."""
    rewrites: Counter[str] = field(default_factory=Counter)
    """Rewrites of the whole prompt that a local method asked for, by what became of them: "used" or "unusable"."""
    unjudged: Counter[str] = field(default_factory=Counter)
    """Evaluations on which an evaluator raised, by its message: they count neither for nor against."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything one run needs."""

    run_id: str
    recipe: Recipe
    seed: int
    gate: Gate
    data: DataSet
    baseline: Candidate
    objective: Objective
    emitter: Emitter
    executor: Executor
    optimizer: OptimizerModel
    ledger: Ledger
    renders: Callable[[PromptSet], Rejection | None]
    settle: Callable[[Collection[str]], tuple[PromptSet, tuple[str, ...]]] | None = None
    """The baseline's prompts with those frozen that its evaluations did not render, and the remarks about them."""
    max_failure_rate: float = 0.05
    max_edits: int | None = None
    """Edits the winner may have; None leaves it as the search found it."""
    fits: Callable[[PromptSet], bool] | None = None
    """Whether prompts are short enough for the test; None lets all pass."""
    demos: Demos | None = None
    """How demonstrations are looked for after the search; None is not at all."""
    must_pass: MustPass | None = None
    """Examples that no candidate may get wrong where the baseline gets them right."""
    metaprompts: Mapping[str, str] = field(default_factory=dict)
    """What the user says in place of the package's own meta-prompts, by name."""
    foreseen: Usage = field(default_factory=Usage)
    """What an optimizer call is taken to use before any was made."""
    state: RunState = field(default_factory=RunState)
    tracers: Tracers = field(default_factory=Tracers)
    redaction: RowRedaction | None = None
    """What the user gave as `redact=`; None shows rows as they are."""
    _by_id: dict[str, Mapping[str, Example]] = field(default_factory=dict, init=False)

    @property
    def journal(self) -> ReplayableStore:
        """The record, for what it already holds."""
        return self.emitter.journal

    def emit(self, event: Event) -> None:
        """Store the event, then show it to the observers."""
        self.emitter.emit(event)

    def again(self, outcome: Outcome) -> None:
        """As `emit` for a row that came from the journal."""
        self.emitter.again(outcome)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count the block as work that needs no outcomes: a session waits for it before it hands out cells."""
        self.state.busy += 1
        try:
            yield
        finally:
            self.state.busy -= 1

    def examples(self, split: str) -> Mapping[str, Example]:
        """Rows of a split by id, in their order. The test split is sealed until the gate opens it (N6)."""
        if split == "test" and not self.state.test_open:
            from langchain_promptopt.errors import PromptOptError

            msg = "the test split was read before the gate opened it"
            raise PromptOptError(msg)
        known = self._by_id.get(split)
        if known is None:
            known = self._by_id[split] = by_id(self.data[split])
        return known

    def shown(self, example: Example) -> Example:
        """The row as it may be kept, shown, and sent to the optimizer model."""
        return example if self.redaction is None else self.redaction.example(example)

    def shown_rows(self, *splits: str) -> tuple[Example, ...]:
        """All rows of these splits, as `shown`."""
        found: list[Example] = []
        for split in splits:
            for e in self.data[split]:
                found.append(self.shown(e))
        return tuple(found)


Place = tuple[str | int, ...]
SECOND = "r"
"""Stands behind the number of a call that was a second try."""
Embed = Callable[[Any, str, int], Awaitable[tuple[list[float], Usage]]]
"""Embeds one text at a step: metered, booked, limited, retried."""
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
        journal: ReplayableStore,
        emit: Callable[[Event], None],
        book: Callable[..., None],
        embed: Embed | None = None,
    ) -> None:
        self.inner = inner
        self._transport = transport
        self._journal = journal
        self._emit = emit
        self._book = book
        self.paid = 0
        self.takes_schema = True
        self.streaming: dict[str, Any] = {}
        """Settings of a call that is answered token by token; empty where the reply comes whole."""
        self._embed = embed
        self._vectors: dict[str, asyncio.Future[list[float]]] = {}

    def at(self, place: Place) -> AddressedModel:
        """The model at `place`: (step, parent, batch, k, ...)."""
        return AddressedModel(self, place)

    async def call(
        self, key: str, step: int, messages: Any, config: RunnableConfig, kwargs: dict[str, Any]
    ) -> AIMessage:
        """The reply under `key`: from the journal, or from the model and then journaled.

        Args:
            key: Address and number of the call, and a hash of its messages.
            step: The step that pays.
            messages: What the model is asked.
            config: The LangChain config of the surrounding span: callbacks and metadata.
            kwargs: Further settings of the call, such as temperature.
        """
        known = self._journal.calls.get(key)
        if known is not None:
            usage, reply, served, finish = known.usage, known.reply, known.model_served, known.finish_reason
            self._book(step, usage)  # paid for before this start, and part of the budget all the same
        else:
            message, usage = await self._ask(messages, config, kwargs, step)
            self.paid += 1
            meta = message.response_metadata or {}
            reply, served, finish = whole_text(str(message.text)), meta.get("model_name"), meta.get("finish_reason")
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

    async def _ask(
        self, messages: Any, config: RunnableConfig, kwargs: dict[str, Any], step: int
    ) -> tuple[AIMessage, Usage]:
        """The model's reply; an endpoint that refuses JSON schemas is asked in words from then on."""
        body = kwargs.get("extra_body")
        if not isinstance(body, dict) or "response_format" not in body:
            return await self._sent(messages, config, kwargs, step)
        rest = without(body, {"response_format"})
        plain = without(kwargs, {"extra_body"}) | ({"extra_body": rest} if rest else {})
        if not self.takes_schema:
            return await self._sent(messages, config, plain, step)
        try:
            return await self._sent(messages, config, kwargs, step)
        except ConfigError as refused:
            if refused.facts.get("failure") != "bad_request":
                raise
            found = await self._sent(messages, config, plain, step)  # refused as well if the schema is not why
            if self.takes_schema:
                self.takes_schema = False
                detail = f"the endpoint takes no response_format: {refused}"
                action = "asked in words"
                self._emit(Incident(role="optimizer", kind="no_schema", retryable=False, action=action, detail=detail))
            return found

    async def _sent(
        self, messages: Any, config: RunnableConfig, kwargs: dict[str, Any], step: int
    ) -> tuple[AIMessage, Usage]:
        """The reply, streamed where that is wanted; an endpoint that refuses it is asked for whole replies."""
        streaming = self.streaming
        if not streaming:
            return await self._transport(messages, config, kwargs, step)
        try:
            message, usage = await self._transport(messages, config, {**kwargs, **streaming}, step)
        except ConfigError as refused:
            if refused.facts.get("failure") != "bad_request":
                raise
            found = await self._transport(messages, config, kwargs, step)  # refused as well if streaming is not why
            self.streaming = {}
            return found
        if message.usage_metadata is None:  # only whole replies tell it here
            self.streaming = {}
        return message, usage

    async def vectors(self, embeddings: Embeddings, texts: Sequence[str], *, step: int) -> list[list[float]]:
        """Vectors of the texts, each embedded once in a run, one call a text: so their number depends on no order.

        Args:
            embeddings: What makes them.
            texts: What to embed; equal texts have one vector.
            step: The step of the search that pays for what is new.
        """
        keys = [content_hash([type(embeddings).__name__, text], 16) for text in texts]
        for key, text in zip(keys, texts, strict=True):
            if key not in self._vectors:
                future = self._vectors[key] = asyncio.get_running_loop().create_future()
                try:
                    future.set_result(await self._vector(embeddings, text, f"embedding/{key}", step))
                except BaseException:  # the place is free again, so the next caller can try
                    del self._vectors[key]
                    future.cancel()
                    raise
        return [await self._vectors[key] for key in keys]

    async def _vector(self, embeddings: Embeddings, text: str, key: str, step: int) -> list[float]:
        known = self._journal.calls.get(key)
        if known is not None:
            usage = known.usage
            vector: list[float] = json.loads(known.reply)
            self._book(step, usage, role="embedding")
        elif self._embed is None:
            (vector,) = await embeddings.aembed_documents([text])
            return vector
        else:
            vector, usage = await self._embed(embeddings, whole_text(text), step)
        reply = json.dumps(list(map(float, vector)))
        self._emit(Called(key=key, role="embedding", step=step, reply=reply, usage=usage))
        return vector


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

    @property
    def takes_schema(self) -> bool:
        """Whether a JSON schema may be asked for: until the endpoint refuses one."""
        return self.hub.takes_schema

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:  # noqa: A002
        """Synchronous form of `ainvoke`.

        Args:
            input: Messages, or one text.
            config: Callbacks and metadata; None for none.
            **kwargs: Further settings of the call, such as temperature.
        """
        from langchain_promptopt._runtime.concurrency import run_sync

        return run_sync(lambda: self.ainvoke(input, config, **kwargs))

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:  # noqa: A002
        """Ask the model; the same address and number gives the same reply on a resumed run.

        Args:
            input: Messages, or one text.
            config: Callbacks and metadata; None for none.
            **kwargs: Further settings of the call, such as temperature.
        """
        input = _sendable(input)  # noqa: A001 - the Runnable's own name for it
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


def _sendable(messages: Any) -> Any:
    """Messages without halves of surrogate pairs, which an answer may hold and no request can carry."""
    if isinstance(messages, list):
        found = []
        for role, text in messages:
            if isinstance(text, str):
                found.append((role, whole_text(text)))
            else:
                found.append((role, text))
        return found
    return whole_text(messages) if isinstance(messages, str) else messages
