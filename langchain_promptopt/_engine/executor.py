"""The local executor, and the guard through which every call of a model goes.

The guard applies limits, budget, retries and time-out, and decides what a failure means.
The executor runs many cells at once, each through the chain and the evaluators.
"""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from langchain_core.runnables.config import RunnableConfig, var_child_runnable_config

from langchain_promptopt._collections import map_values
from langchain_promptopt._runtime.concurrency import together
from langchain_promptopt._runtime.failures import (
    CallError,
    FailedElsewhere,
    FailureKind,
    by_its_end,
    classify_finish,
    classify_reply,
)
from langchain_promptopt._runtime.retry import Retry, RetryPolicy, with_retries
from langchain_promptopt._runtime.stopping import GracefulStop
from langchain_promptopt._runtime.tracing import StepRuns, Tracers, listened, run_id_of, span, trace_metadata
from langchain_promptopt._runtime.usage import UsageCollector, followed_threads, metered_by, with_handler
from langchain_promptopt._text.words import count_tokens, whole_text
from langchain_promptopt.errors import ConfigError
from langchain_promptopt.events import Event, Incident
from langchain_promptopt.protocols import rng_at
from langchain_promptopt.types import (
    ByModel,
    Example,
    Failure,
    Outcome,
    PromptSet,
    StepAnswer,
    Usage,
    content_hash,
    recorded,
    shortened_steps,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Hashable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from langchain_core.embeddings import Embeddings
    from langchain_core.messages import AIMessage

    from langchain_promptopt._runtime.clock import Clock
    from langchain_promptopt._runtime.ledger import Flight, Ledger
    from langchain_promptopt._runtime.limiter import Lane, Slot, Slots
    from langchain_promptopt._runtime.redact import RowRedaction
    from langchain_promptopt.ports import Job
    from langchain_promptopt.types import Cell

_FIRST_CALLS = {"task": 1, "optimizer": 1, "judge": 0, "embedding": 1}
"""Calls an attempt is known to make; a judge may be plain code."""
_BYTES = 3
"""UTF-8 bytes of a token, counted low so that the estimate is not."""
_ENOUGH = 10
"""Evaluations without any model call after which that is no accident."""


@dataclass
class Guarded:
    """Calls under limits and retries.

    Args:
        lanes: The limiters a role's calls pass; roles on one model share its limiter.
        ledger: Refuses to start calls past the budget, and books them.
        policy: How often and how patiently.
        clock: Time.
        seed: For the jitter of pauses.
        emit: Where incidents go.
        models: Model id by role, as prices know it.
        deadline: Moment of `clock` at which budget.seconds ends.
        stopping: Says what may still begin once a stop was asked for.
        batched: Whether the task model's replies come in batches: they take hours, and failed ones are asked again
            at once, so that all of them are in the next batch.
    """

    lanes: Mapping[str, Lane]
    ledger: Ledger
    policy: RetryPolicy
    clock: Clock
    seed: int
    emit: Callable[[Event], None]
    models: Mapping[str, str]
    deadline: float | None = None
    stopping: GracefulStop = field(default_factory=GracefulStop)
    batched: bool = False
    _patient: RetryPolicy = field(init=False)
    _told: set[tuple[str, str]] = field(default_factory=set)
    _heard: bool = False
    _unheard: int = 0

    def __post_init__(self) -> None:
        self._patient = replace(self.policy, timeout=None)

    async def cell(self, role: str, attempt: Callable[[Flight], Awaitable[Any]], job: Job) -> Any:
        """The value of an evaluation's part, or the Failure it ended as. What ends the run is raised.

        Args:
            role: "task" or "judge".
            attempt: Makes one try; the flight counts its calls.
            job: The cell, with its candidate and row.
        """
        cell = job.cell
        place = (cell.candidate_id, cell.split, cell.example_id, cell.repeat)
        try:
            return await self._call(role, attempt, cell.split, place, cell)
        except CallError as failed:
            if failed.failure.action == "stop":
                raise failed.failure.as_error(role) from failed
            return _of_role(failed.failure, role).as_failure()

    def over(self, job: Job) -> None:
        """The outcome of this job is kept, or will never be."""
        self.stopping.end(job.cell)

    async def optimizer(
        self, model: Any, messages: Any, config: RunnableConfig, kwargs: Mapping[str, Any], step: int = 0
    ) -> tuple[AIMessage, Usage]:
        """A reply of the optimizer model, and what it and its failed tries cost; both are booked.

        Args:
            model: The user's model.
            messages: What it is asked, in any form that LangChain takes.
            config: The LangChain config of the surrounding span: callbacks and metadata.
            kwargs: Further settings of the call, such as temperature.
            step: The step that pays; 0 is before the first.

        Raises:
            PromptOptError: What ends the run, as its subclass names it.
        """
        total: list[Usage] = []
        work = object()

        async def attempt(flight: Flight) -> AIMessage:
            meter, started = UsageCollector(self.models["optimizer"], flight.another, flight.alive), self.clock.time()
            flight.meter = meter
            try:
                with metered_by(meter):
                    message: AIMessage = await model.ainvoke(messages, with_handler(config, meter), **kwargs)
            finally:
                usage = meter.collected.usage(self.ledger, seconds=self.clock.time() - started)
                total.append(self.book("optimizer", step, meter, usage))
            _refuse_outage(meter.collected.finish_reason or "")
            return message

        try:
            place = (content_hash(str(messages)),)
            most = most_tokens(model, messages, kwargs)
            message: AIMessage = await self._call("optimizer", attempt, None, place, work, most)
        except CallError as failed:
            raise failed.failure.as_error("optimizer") from failed  # noqa: EM101 - the role, no message
        finally:  # the caller journals the reply before anything else can run
            self.stopping.end(work)
        if (odd := classify_reply(message)) is not None:
            self.emit(
                Incident(role="optimizer", kind=odd.kind, retryable=False, action="reply kept", detail=odd.detail)
            )
        return message, sum(total, Usage())

    async def embedding(self, embeddings: Embeddings, text: str, step: int) -> tuple[list[float], Usage]:
        """The vector of a text and what it cost; embeddings tell no usage, so tokens are a generous estimate.

        Args:
            embeddings: Makes the vector.
            text: What is embedded.
            step: The step that pays.

        Raises:
            PromptOptError: What ends the run, as its subclass names it.
        """
        model = str(getattr(embeddings, "model", None) or type(embeddings).__name__)
        meta = {"input_tokens": len(text.encode("utf-8", "replace")) // _BYTES + 1}
        total: list[Usage] = []

        async def attempt(_: Flight) -> list[float]:
            started = self.clock.time()
            try:
                (vector,) = await embeddings.aembed_documents([text])
            finally:
                total.append(self.ledger.priced(model, meta, seconds=self.clock.time() - started))
                self.ledger.record("embedding", step, total[-1])
                self.ledger.require_known(total[-1], "embedding")
            return vector

        work = object()
        try:
            vector: list[float] = await self._call("embedding", attempt, None, (content_hash(text),), work)
        except CallError as failed:
            raise failed.failure.as_error("embedding") from failed  # noqa: EM101 - the role, no message
        finally:
            self.stopping.end(work)
        return vector, sum(total, Usage())

    def book(self, role: str, step: int, meter: UsageCollector, usage: Usage, split: str | None = None) -> Usage:
        """Record what an attempt used, and say once where its usage is unknown.

        Args:
            role: "task", "optimizer" or "judge".
            step: The step of the search.
            meter: What saw the attempt's calls.
            usage: What they used.
            split: The split of the row.

        Raises:
            PriceError, ConfigError: A budget is set that cannot be kept, because the usage is unknown.
        """
        self.ledger.record(role, step, usage, split=split)
        meter.settle(lambda late: self.ledger.record(role, step, late.usage(self.ledger), split=split, cells=0))
        seen = meter.collected
        if seen.unmetered and (role, "usage") not in self._told:
            self._told.add((role, "usage"))
            detail = f"a {role} reply reported a usage of {seen.oddity}; the sums do not include its tokens"
            action = "counted without tokens"
            self.emit(Incident(role=role, kind="usage_unknown", retryable=False, action=action, detail=detail))
        unseen = role == "task" and usage.calls > 0 and not seen.started
        self.ledger.require_known(usage, role, unmetered=unseen or seen.unmetered > 0)
        return usage

    def note_calls(self, *, seen: bool) -> None:
        """Whether an evaluation showed a call of the models that the chain holds.

        Raises ConfigError under a budget once many evaluations have come and none did: their calls are
        made where LangChain's callbacks do not reach, such as another process, and cannot be counted.
        """
        self._heard = self._heard or seen
        self._unheard += not seen
        if self._heard or self._unheard < _ENOUGH:
            return
        what = f"no model call was seen in {self._unheard} evaluations, although the chain holds a model"
        if self.ledger.limited:
            mend = "Call the model in this process through LangChain, or drop budget.usd, tokens and calls."
            msg = f"{what}: a budget cannot be kept that way"
            raise ConfigError(msg, mend=mend, role="task")
        if ("task", "calls") not in self._told:
            self._told.add(("task", "calls"))
            self.emit(Incident(role="task", kind="calls_unseen", retryable=False, action="not counted", detail=what))

    def _call(
        self,
        role: str,
        attempt: Callable[[Flight], Awaitable[Any]],
        split: str | None,
        place: tuple[str | int, ...],
        work: Hashable,
        most: int = 0,
    ) -> Coroutine[Any, Any, Any]:
        waits = self.batched and role == "task"

        async def limited() -> Any:
            async with self.lanes[
                role if role in self.lanes else "optimizer"
            ].slot() as slot:  # waiting in line is no hung call: the time-out is inside
                if self.stopping.lets(work):
                    return await started(slot)
            await self.stopping.bar()  # out of the slot, which a judge's call may need

        async def started(slot: Slot | Slots) -> Any:
            self.stopping.begin(work)
            with self.ledger.flight(role, split, calls=_FIRST_CALLS[role], tokens=most) as flight:
                flight.alive = slot.alive
                limit = None if waits or self.policy.timeout is None else self.policy.timeout * slot.patience
                try:
                    async with self.clock.timeout(limit, lambda: slot.heard):
                        return await attempt(flight)
                finally:
                    slot.told(flight.used)

        def retried(retry: Retry) -> None:
            v = retry.failure
            if role != "judge":  # which is asked about an answer that is paid for already
                self.stopping.end(work)
            action = f"try {retry.attempt + 1} in {retry.pause:.1f} s"
            self.emit(Incident(role=role, kind=v.kind, retryable=True, action=action, detail=v.detail))

        return with_retries(
            limited,
            policy=replace(self._patient, base=0.0) if waits else self._patient,
            clock=self.clock,
            rng=lambda: rng_at(self.seed, "retry", role, *place),
            on_retry=retried,
            deadline=self.deadline,
        )


def most_tokens(model: Any, messages: Any, kwargs: Mapping[str, Any]) -> int:
    """The most that a call may use: about its request's tokens, and the longest reply, where a limit of it is known.

    Args:
        model: The model that is called.
        messages: The request.
        kwargs: Settings of the call, whose limit stands above the model's own.
    """
    return count_tokens(str(messages)) + int(kwargs.get("max_tokens") or getattr(model, "max_tokens", None) or 0)


def _of_role(failure: FailureKind, role: str) -> FailureKind:
    """An error of unknown type out of an evaluator is the evaluator's, not the target's."""
    theirs = role == "judge" and failure.kind == "target_error"
    return FailureKind.of("evaluator_error", failure.detail) if theirs else failure


class Target(Protocol):
    """What is optimized: something that answers a row with given prompts."""

    async def invoke(
        self,
        prompts: PromptSet,
        inputs: Mapping[str, Any],
        config: RunnableConfig,
        rendered: set[str],
        answers: list[StepAnswer],
    ) -> Any:
        """The answer; names of the prompts it rendered are added to `rendered`. Concurrent candidates never mix.

        Args:
            prompts: The prompts to answer with.
            inputs: The row's inputs by name.
            config: The LangChain config of the surrounding span: callbacks and metadata.
            rendered: Filled with the names of the prompts that this call rendered.
            answers: Filled with what each step said, where an app has several prompts or calls tools.
        """


class Guard(Protocol):
    """The one way to the models: limits, budget, retries."""

    async def cell(self, role: str, attempt: Callable[[Flight], Awaitable[Any]], job: Job) -> Any:
        """The value of the last attempt, or the Failure it ended as. What ends the run is raised.

        Args:
            role: "task" or "judge".
            attempt: Makes one try; the flight counts its calls.
            job: The cell, with its candidate and row.
        """

    def over(self, job: Job) -> None:
        """The outcome of this job is kept, or will never be."""


class Shelf(Protocol):
    """Outcomes kept between runs."""

    def get(self, job: Job) -> Outcome | None:
        """What an earlier run found for the same cell, free of charge."""

    def put(self, job: Job, outcome: Outcome) -> None:
        """Keep an outcome."""


@dataclass(frozen=True)
class Scores:
    """What the evaluators said about one answer."""

    scores: Mapping[str, float]
    comments: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Tab:
    """What one cell has cost so far, and how its last reply ended."""

    target: Usage = field(default_factory=Usage)
    judge: Usage = field(default_factory=Usage)
    tries: int = 0
    served: str | None = None
    rendered: set[str] | None = None
    steps: tuple[Any, ...] = ()
    """Runs of the chain's parts in the last attempt, where an evaluator looks at them."""
    answers: list[StepAnswer] = field(default_factory=list)
    """What each step said in the last attempt."""
    finish: str = ""
    refusal: str | None = None

    def note(self, meter: Any) -> None:
        """Remember how the last reply of an attempt ended."""
        seen = meter.collected
        self.served = seen.model_served or self.served
        self.finish, self.refusal = seen.finish_reason or "", seen.refusal


@dataclass
class LocalExecutor:
    """Runs cells in this process.

    Args:
        target: What is optimized.
        score: All evaluators on one answer, as the chain returned it, and on the runs it was made of.
        meter: Makes a usage handler for one attempt of a role, with a count of the model calls that begin.
        guard: Runs attempts with limits and retries.
        charge: Books an attempt's usage for a role as the attempt ends.
        keys: Metrics known by now, all 0 when the prompt itself is to blame for a failure.
        max_concurrency: Cells in flight over all calls of `evaluate`.
        judges: Whether an evaluator may call models, so that it needs limits and retries too.
        looks_inside: Whether an evaluator asks for the run, so that the chain's steps are noted.
        matched: Whether built-in matchers alone read the answers: they compare the last message of a conversation.
        shelf: Outcomes kept between runs; None asks always.
        metadata: On every evaluation trace.
        tracers: What watches the evaluations, and where the ids of their traces are noted.
        redaction: What the user gave as `redact=`: outcomes and traces pass it; chain and evaluators see the real row.
        asked_for: A block around all tries of a cell, by which batches know who asks; None is none.
    """

    target: Target
    score: Callable[[Example, Any, Sequence[Any]], Awaitable[Scores]]
    meter: Callable[[str, Flight], Any]
    guard: Guard
    charge: Callable[[str, Job, Any, float], Usage]
    keys: Callable[[], Sequence[str]] = tuple
    max_concurrency: int = 32
    judges: bool = True
    looks_inside: bool = False
    matched: bool = False
    shelf: Shelf | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    tracers: Tracers = field(default_factory=Tracers)
    redaction: RowRedaction | None = None
    asked_for: Callable[[Cell], AbstractContextManager[None]] | None = None
    answers: dict[Cell, tuple[Any, Sequence[Any]]] | None = None
    """Where set, what the chain returned and its steps by cell, for evaluators that are asked again."""

    async def evaluate(self, jobs: Sequence[Job], done: Callable[[Outcome], Awaitable[None]]) -> None:
        """Run every job; `done` gets each outcome as soon as it is known. The first error of `done` stops the rest."""
        todo: Iterator[Job] = iter(jobs)
        with followed_threads:
            await together(self._work(todo, done) for _ in range(min(self.max_concurrency, len(jobs))))

    async def _work(self, todo: Iterator[Job], done: Callable[[Outcome], Awaitable[None]]) -> None:
        var_child_runnable_config.set(None)  # an evaluation is a trace of its own, not a child of the step
        with self.tracers.isolate():
            heard = listened({"callbacks": list(self.tracers.handlers)})
            for job in todo:
                try:
                    await done(await self._one(job, heard=heard))
                finally:
                    self.guard.over(job)

    async def _one(self, job: Job, *, heard: bool) -> Outcome:
        if self.shelf is not None and (kept := self.shelf.get(job)) is not None:
            return _with_evidence(kept)
        tab = Tab()
        async with self._traced(job) if heard else _UNHEARD as (config, end):
            output = await self._answered(job, config, tab)
            found = output if isinstance(output, Failure) else await self._judged(job, output, config, tab)
            if self.answers is not None:
                self.answers[job.cell] = (output, tab.steps)
            outcome = self._outcome(job, output, found, tab)
            if self.redaction is not None:
                outcome = self.redaction.outcome(outcome)
            if outcome.steps:
                outcome = replace(outcome, steps=shortened_steps(outcome.steps))
            if heard:
                shown = {"output": outcome.output, "scores": dict(outcome.scores), "comments": dict(outcome.comments)}
                end(shown if outcome.failure is None else {**shown, "failure": outcome.failure.kind})
        if self.shelf is not None:
            self.shelf.put(job, outcome)
        return _with_evidence(outcome)

    @asynccontextmanager
    async def _traced(self, job: Job) -> AsyncIterator[tuple[RunnableConfig, Callable[[Mapping[str, Any]], None]]]:
        """The evaluation's own trace: chain and evaluators side by side."""
        cell = job.cell
        metadata = {
            **self.metadata,
            **trace_metadata(job.candidate, step=job.candidate.step, split=cell.split),
            "promptopt_example_id": cell.example_id,
            "promptopt_repeat": cell.repeat,
        }
        config: RunnableConfig = {"metadata": metadata, "callbacks": list(self.tracers.handlers)}
        example = job.example if self.redaction is None else self.redaction.example(job.example)
        async with span(config, "promptopt.evaluate", {"inputs": dict(example.inputs)}) as (inner, end):
            self.tracers.traces.setdefault((cell.candidate_id, cell.split), []).append(run_id_of(inner))
            yield inner, end

    async def _answered(self, job: Job, config: RunnableConfig, tab: Tab) -> Any:
        """The target's answer, or the Failure it ended as."""

        async def attempt(flight: Flight) -> Any:
            meter, started = self.meter("task", flight), time.perf_counter()
            tab.tries += 1
            try:
                output = await self.ask(job, config, tab, meter)
            finally:  # failed calls are booked too, and at once: a pause before the next try hides nothing
                tab.target += self.charge("task", job, meter, time.perf_counter() - started)
                tab.note(meter)
            flight.check()
            _refuse_outage(tab.finish)
            return output

        if self.asked_for is None:
            value = await self.guard.cell("task", attempt, job)
        else:
            with self.asked_for(job.cell):
                value = await self.guard.cell("task", attempt, job)
        return self._as_failure(value, tab)

    async def ask(self, job: Job, config: RunnableConfig, tab: Tab, meter: UsageCollector) -> Any:
        """The chain's answer to one try; the tab notes what it rendered and the runs it was made of.

        Args:
            job: The cell, with its candidate and row.
            config: The LangChain config of the surrounding span.
            tab: What the cell has cost so far.
            meter: Sees the model calls of this try.
        """
        heard, steps = with_handler(config, meter), StepRuns() if self.looks_inside else None
        if steps is not None:
            heard = with_handler(heard, steps)
        tab.rendered, tab.answers = set(), []
        with metered_by(meter):
            output = await self.target.invoke(
                job.candidate.prompts, job.example.inputs, heard, tab.rendered, tab.answers
            )
        tab.steps = () if steps is None else tuple(steps.roots)
        return _whole(output)

    def _as_failure(self, value: Any, tab: Tab) -> Any:
        """As `by_its_end`; the answers of several models are told apart already."""
        return value if isinstance(value, ByModel) else by_its_end(value, classify_finish(tab.finish, tab.refusal))

    async def _judged(self, job: Job, output: Any, config: RunnableConfig, tab: Tab) -> Scores | Failure:
        """The scores; the answer is kept while a judge that fails is asked again."""
        if not self.judges:
            quiet = not config.get("callbacks")
            token = var_child_runnable_config.set(None if quiet else config)
            try:
                return await self.score(job.example, output, tab.steps)
            except CallError as failed:
                return failed.failure.as_failure()
            finally:
                var_child_runnable_config.reset(token)

        async def attempt(flight: Flight) -> Scores:
            meter, started = self.meter("judge", flight), time.perf_counter()
            try:
                scores = await self.weigh(job, output, config, tab, meter)
            finally:
                tab.judge += self.charge("judge", job, meter, time.perf_counter() - started)
            flight.check()
            return scores

        found: Scores | Failure = await self.guard.cell("judge", attempt, job)
        return found

    async def weigh(self, job: Job, output: Any, config: RunnableConfig, tab: Tab, meter: UsageCollector) -> Scores:
        """What evaluators that call models say about an answer, in one try.

        Args:
            job: The cell, with its candidate and row.
            output: What the chain returned.
            config: The LangChain config of the surrounding span.
            tab: What the cell has cost so far.
            meter: Sees the model calls of this try.
        """
        token = var_child_runnable_config.set(with_handler(config, meter))
        try:
            with metered_by(meter):
                return await self.score(job.example, output, tab.steps)
        finally:
            var_child_runnable_config.reset(token)

    async def judge(self, job: Job) -> Scores | Failure:
        """What the evaluators say about an answer of `answers`: asked again, booked and limited as ever."""
        output, steps = (self.answers or {})[job.cell]
        try:
            return await self._judged(job, output, {}, Tab(steps=tuple(steps)))
        finally:
            self.guard.over(job)

    def told(self, job: Job, output: Any) -> Any:
        """What is kept of an answer; of those of several models, each by itself."""
        if type(output) is str:
            return output
        if isinstance(output, ByModel):
            return {name: self.told(job, value) for name, value in output.items()}
        if isinstance(output, Failure):
            return f"failed ({output.kind}): {output.message}"
        return recorded(output, job.example.outputs, matched=self.matched)

    def _outcome(self, job: Job, output: Any, found: Scores | Failure, tab: Tab) -> Outcome:
        usage = tab.target + tab.judge
        common: dict[str, Any] = {"rendered": _some_of(tab.rendered, job.candidate.prompts)}
        common |= {"usage": usage, "judge": tab.judge, "model_served": tab.served, "tries": tab.tries}
        common["steps"] = tuple(tab.answers)
        if not isinstance(found, Failure):
            return Outcome(job.cell, found.scores, self.told(job, output), found.comments, **common)
        zeros = dict.fromkeys(self.keys(), 0.0) if found.scored_zero else {}
        said = None if isinstance(output, Failure) else self.told(job, output)
        return Outcome(job.cell, zeros, said, failure=found, **common)


def _refuse_outage(finish_reason: str) -> None:
    """Raise FailedElsewhere where a reply ended because its provider failed: it is asked for again, not scored."""
    found = classify_finish(finish_reason)
    if found is not None and found.retryable:
        raise FailedElsewhere(found)


def _whole(output: Any) -> Any:
    """An answer whose texts evaluators, judges and the optimizer model can be sent."""
    if isinstance(output, str):
        return whole_text(output)
    try:
        if isinstance(output, ByModel):
            return ByModel(map_values(_whole, output))
        if type(output) is dict:
            return map_values(_whole, output)
        return list(map(_whole, output)) if type(output) is list else output
    except RecursionError:
        return output


def _with_evidence(outcome: Outcome) -> Outcome:
    """The outcome with its steps where evidence is drawn from it, which is on train rows alone."""
    return outcome if outcome.cell.split == "train" or not outcome.steps else replace(outcome, steps=())


def _some_of(rendered: set[str] | None, prompts: PromptSet) -> tuple[str, ...] | None:
    """The names rendered, or None where they are all there are."""
    names = prompts.names
    if rendered is None or rendered.issuperset(names):
        return None
    return tuple(n for n in names if n in rendered)


class _Unheard:
    """Takes the place of a trace where no tracer listens, so that a trace costs nothing there."""

    async def __aenter__(self) -> tuple[RunnableConfig, Callable[[Mapping[str, Any]], None]]:
        return {}, lambda _: None

    async def __aexit__(self, *_: object) -> None:
        """Nothing was opened."""


_UNHEARD = _Unheard()
