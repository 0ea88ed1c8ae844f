"""A plan becomes a run that the engine can finish: gatekeeper, executor, limits, ledger and journal, wired together.

Nothing is paid for while it is wired.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from langchain_core.runnables.config import var_child_runnable_config

from langchain_promptopt._collections import all_as_json, pick
from langchain_promptopt._data import keep_splits
from langchain_promptopt._engine.context import Emitter, OptimizerModel, Run, RunState
from langchain_promptopt._engine.engine import Engine
from langchain_promptopt._engine.evaluations import UNJUDGED
from langchain_promptopt._engine.executor import Guarded, LocalExecutor, Scores
from langchain_promptopt._langchain.batch_api import Batches
from langchain_promptopt._langchain.fast import quick
from langchain_promptopt._langchain.models import endpoint_of, model_id, model_name, streamed
from langchain_promptopt._runtime.cache import CacheKey, EvaluationCache
from langchain_promptopt._runtime.clock import RealClock
from langchain_promptopt._runtime.concurrency import together
from langchain_promptopt._runtime.failures import CallError, FailedElsewhere, FailureKind, classify
from langchain_promptopt._runtime.ledger import Ledger, book
from langchain_promptopt._runtime.limiter import Lane, Limiter, Limiters, LimitsByModel
from langchain_promptopt._runtime.pace import first_level, is_near
from langchain_promptopt._runtime.redact import redact
from langchain_promptopt._runtime.tracing import Tracers, in_span, span
from langchain_promptopt._runtime.usage import UsageCollector
from langchain_promptopt.errors import PromptError, UsageError
from langchain_promptopt.evaluators import EvaluatorFailed, score_all
from langchain_promptopt.evaluators._metrics import score_models
from langchain_promptopt.events import Incident
from langchain_promptopt.gate.openings import Openings, RowMark
from langchain_promptopt.gate.pairs import Serving, pair_outcomes
from langchain_promptopt.gate.verdict import Decision, decide
from langchain_promptopt.optimizer.costs import first_tokens, foreseen, models_by_role, refuse_small_budget
from langchain_promptopt.optimizer.remote import RemoteExecutor, Workers
from langchain_promptopt.store import Journal, MemoryStore, RunFolder
from langchain_promptopt.types import SPLITS, Example, Outcome, PromptSet, Reading, Rejection, StepAnswer, Usage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from langchain_promptopt._engine.executor import Shelf
    from langchain_promptopt._runtime.clock import Clock
    from langchain_promptopt._runtime.ledger import Flight
    from langchain_promptopt._runtime.redact import RowRedaction
    from langchain_promptopt._runtime.stopping import GracefulStop
    from langchain_promptopt.evaluators import EvalResult, Evaluator, Metrics
    from langchain_promptopt.optimizer.arguments import Settings
    from langchain_promptopt.optimizer.plan import Plan
    from langchain_promptopt.ports import Executor, Job
    from langchain_promptopt.recipe import Gate


class CacheShelf:
    """The evaluations of one plan's chain, models, rows and evaluators.

    The test split is always asked afresh, and so is a chain whose models cannot be seen: nothing
    would tell two endpoints apart.
    """

    def __init__(self, plan: Plan, cache: EvaluationCache) -> None:
        self._cache = cache
        self._seen = bool(plan.target.models)
        self._models = list(map(model_id, plan.target.models))
        self._endpoints = list(map(endpoint_of, plan.target.models))
        self._evaluators = {e.key: e.hash for e in plan.evaluators}
        self._chain = plan.code
        decides = plan.started.decides
        self._beside = pick(decides, ("redact", "over"))
        self._version = plan.started.version

    def get(self, job: Job) -> Outcome | None:
        """What an earlier run found for the same cell; it costs nothing now."""
        found = self._cache.get(self._address(job).key) if self._allowed(job) else None
        if found is None:
            return None
        return Outcome(
            job.cell,
            found["scores"],
            found["output"],
            found["comments"],
            model_served=found["model_served"],
            cached=True,
            steps=tuple(map(StepAnswer.from_json, found.get("steps", ()))),
        )

    def put(self, job: Job, outcome: Outcome) -> None:
        """Keep an outcome, unless it is a failure or its answer would not come back as it is."""
        if not self._allowed(job) or outcome.failure is not None or not _survives(outcome.output):
            return
        value = {
            "scores": dict(outcome.scores),
            "output": outcome.output,
            "comments": dict(outcome.comments),
            "model_served": outcome.model_served,
        }
        if outcome.steps:
            value["steps"] = all_as_json(outcome.steps)
        self._cache.put(self._address(job).key, value)

    def close(self) -> None:
        """Write what is pending."""
        self._cache.close()

    def _allowed(self, job: Job) -> bool:
        # Answers of the test are always fresh: reused ones would not be independent of earlier looks.
        return self._seen and job.cell.split != "test"

    def _address(self, job: Job) -> CacheKey:
        return CacheKey(
            rendered=job.candidate.id,  # with the row's inputs and the chain's code it decides the rendered text
            inputs=job.example.inputs,
            model=", ".join(self._models),
            endpoint=", ".join(self._endpoints),
            parameters={},  # part of the model's id
            evaluators=self._evaluators,
            repeat=job.cell.repeat,
            more={
                "expected": dict(job.example.outputs),
                "metadata": dict(job.example.metadata),
                "chain": self._chain,
                "version": self._version,
                **self._beside,
            },
        )


def _survives(value: Any) -> bool:
    try:
        return bool(json.loads(json.dumps(value)) == value)
    except (TypeError, ValueError):
        return False


@dataclass
class GateKeeper:
    """Decides for one run and one candidate."""

    run_id: str
    gate: Gate
    metrics: Metrics
    clusters: Mapping[str, str]
    openings: Openings
    readings: tuple[Reading, ...] = (Reading(),)
    """What the prompts read of a row: by it test rows are recognised."""
    persistent: bool = True
    problem: str = ""
    serving: Serving = field(default_factory=Serving)
    required: tuple[str, ...] = ()
    """Test examples that must pass."""

    def open(self, rows: Sequence[Example], candidate_id: str, nonce: str) -> int:
        """Record the opening before its first paid call.

        Args:
            rows: The test examples, all of them.
            candidate_id: The candidate that is tested against the baseline.
            nonce: The mark of this opening in the run's journal; the same mark again is the same opening.

        Returns:
            How many times these examples have been opened, this time included (spec 6.2).
        """
        # Before the first call: a run that is killed in the test has still looked at these examples.
        marks = [RowMark.of(e.inputs, self.readings) for e in rows]
        opening = self.openings.record(self.run_id, candidate_id, marks, nonce=nonce)
        self.persistent, self.problem = opening.persistent, opening.problem
        return opening.number

    def decide(self, baseline: Sequence[Outcome], candidate: Sequence[Outcome], opening: int) -> Decision:
        """The gate's decision.

        Args:
            baseline: Outcomes of the baseline on the test examples, repeats included.
            candidate: Outcomes of the candidate on the same examples.
            opening: What `open` returned; it sets the level of the test.

        Returns:
            The decision. Without a record of openings it is held back: nothing is applied by itself.
        """
        for outcome in (*baseline, *candidate):
            self.metrics.observe(outcome.scores)
        names = self.metrics.names
        pairs = pair_outcomes(baseline, candidate, self.clusters, metrics=names, serving=self.serving)
        pairs = replace(pairs, required=self.required)
        decision = decide(pairs, self._named(), opening=opening, metrics=names)
        warnings = decision.warnings + ((self.problem,) if self.problem else ())
        return replace(decision, warnings=warnings, held_back=not self.persistent)

    def _named(self) -> Gate:
        """The gate with its metrics by the names that rows carry."""
        find, gate = self.metrics.find, self.gate
        guards = {find(name) or name: margin for name, margin in gate.guards.items()}
        weights = {find(name) or name: weight for name, weight in gate.weights.items()}
        primary = None if gate.primary is None else find(gate.primary) or gate.primary
        return replace(gate, primary=primary, guards=guards, weights=weights)


@dataclass
class Booked:
    """A foreign Executor whose outcomes are booked when they arrive, as the local one does by itself."""

    inner: Executor
    book: Callable[[Outcome], None]
    stopping: GracefulStop
    redaction: RowRedaction | None = None

    async def evaluate(self, jobs: Sequence[Job], done: Callable[[Outcome], Awaitable[None]]) -> None:
        """Run every job elsewhere."""
        if not self.stopping.lets(None):
            await self.stopping.bar()

        async def booked(outcome: Outcome) -> None:
            self.book(outcome)
            await done(outcome if self.redaction is None else self.redaction.outcome(outcome))
            self.stopping.end(outcome.cell)

        for job in jobs:
            self.stopping.begin(job.cell)
        try:
            await self.inner.evaluate(jobs, booked)
        finally:
            for job in jobs:
                self.stopping.end(job.cell)


_ROUND = 50_000
"""Evaluations in flight where replies come in batches: a whole round waits at once."""
_UNSEEN = "unseen"
"""Stands for models that cannot be found in a chain or an evaluator."""


class Ways:
    """One limiter for each model and endpoint, shared by all roles that call it, and one ceiling over all roles.

    Plans that run side by side share one of these, so a model's limits hold over all of them.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._limits = LimitsByModel(settings.limits)
        self._most = settings.max_concurrency
        self._clock = clock
        self._first: dict[str, float] = {}
        self._known = Limiters(self._made)
        rate = settings.requests_per_second
        self._ceiling = None if rate is None else Limiter(self._most, clock, requests_per_minute=60 * rate)

    def lanes(self, plan: Plan) -> dict[str, Lane]:
        """The limiters that each role of this plan passes."""
        self._first |= first_tokens(plan)
        out: dict[str, Lane] = {}
        for role, found in models_by_role(plan).items():
            out[role] = self._known.lane(
                [(model_name(m), endpoint_of(m)) for m in found] or [(_UNSEEN, role)], self._ceiling, role
            )
        if plan.settings.executor == "batch":  # the Batch API has limits of its own
            out["task"] = Lane([("batch", Limiter(_ROUND, self._clock))], kind="task")
        return out

    def _made(self, name: str, endpoint: str) -> Limiter:
        limit = self._limits.of(name)
        most = min(self._most, limit.concurrency or self._most)
        made = Limiter(
            most,
            self._clock,
            requests_per_minute=limit.requests_per_minute,
            tokens_per_minute=limit.tokens_per_minute,
            tokens=self._first.get(name, 0.0),
            start=first_level(endpoint, most),
        )
        if is_near(urlsplit(endpoint).hostname or ""):
            made.expect_queue()
        return made


def local_executor(
    plan: Plan,
    guarded: Guarded,
    state: RunState,
    tracers: Tracers,
    shelf: Shelf | None = None,
    batches: Batches | None = None,
) -> LocalExecutor:
    """The executor that runs the plan's own target in this process.

    Args:
        plan: Its target, evaluators and settings are used.
        guarded: The way out of every model call: limits, retries, budget.
        state: The state of the run; calls are booked on its current step.
        tracers: The tracers that watch the evaluations.
        shelf: Outcomes kept between runs; None asks for every cell.
        batches: Where the task models' requests wait; None sends each as it comes.
    """
    waiting: dict[str, Any] = {}
    if batches is not None:
        plan.target.route()
        waiting["asked_for"] = batches.asked_for
    judges = any(not e.inline for e in plan.evaluators)
    return LocalExecutor(
        target=plan.target,
        score=_scorer(plan),
        meter=_meter(plan),
        guard=guarded,
        charge=_charge(plan, guarded, state),
        keys=lambda: plan.metrics.names,
        max_concurrency=plan.settings.max_concurrency if batches is None else _ROUND,
        judges=judges,
        looks_inside=any("run" in e.asks for e in plan.evaluators),
        matched=not judges,
        shelf=shelf,
        metadata={"promptopt_run_id": plan.run_id, "promptopt_method": plan.recipe.name},
        tracers=tracers,
        redaction=plan.redaction,
        **waiting,
    )


def _meter(plan: Plan) -> Callable[[str, Flight], UsageCollector]:
    told = sum(cost.calls for cost in plan.settings.judges.values())

    def meter(role: str, flight: Flight) -> UsageCollector:
        if role == "judge":
            for _ in range(told):  # no callback sees these calls, so the budget counts them here
                flight.another()
        flight.meter = made = UsageCollector(before_call=flight.another, alive=flight.alive)
        return made

    return meter


def _charge(plan: Plan, guarded: Guarded, state: RunState) -> Callable[[str, Job, Any, float], Usage]:
    ledger = guarded.ledger
    blind = not plan.target.models

    def charge(role: str, job: Job, meter: UsageCollector, seconds: float) -> Usage:
        seen = meter.collected
        usage = seen.usage(ledger, seconds=seconds)
        if role == "judge":
            for cost in plan.settings.judges.values():
                usage += ledger.priced(cost.model, cost.usage_metadata, calls=cost.calls)
            if not usage.calls:
                return usage
        elif blind and not seen.started and not seen.cache_hits:
            # plain code calls a model out of sight: count one call at least
            usage = Usage(calls=1, usd=None, seconds=seconds)
        elif not blind:
            guarded.note_calls(seen=bool(seen.started or seen.cache_hits or seen.unsent))
        return guarded.book(role, state.step, meter, usage, job.cell.split)

    return charge


@dataclass(frozen=True)
class _Watched:
    """An evaluator that shows as a run beside the chain, its judge's calls below it."""

    evaluator: Evaluator
    redaction: RowRedaction | None = None

    @property
    def key(self) -> str:
        return self.evaluator.key

    async def score(self, example: Example, output: Any, **more: Any) -> EvalResult:
        if var_child_runnable_config.get() is None:  # no tracer is on
            return await self.evaluator.score(example, output, **more)
        given = self._kept({"outputs": output, "reference_outputs": dict(example.outputs)}, example)
        async with span(None, self.key, given) as (inner, end):
            found = await in_span(inner, lambda: self.evaluator.score(example, output, **more))
            end({"scores": dict(found.scores), "comments": self._kept(dict(found.comments), example)})
        return found

    def _kept(self, values: dict[str, Any], example: Example) -> dict[str, Any]:
        return values if self.redaction is None else self.redaction.value(values, f"example {example.id!r}")


def _scorer(plan: Plan) -> Callable[[Example, Any, Sequence[Any]], Any]:
    watched: Any = [_Watched(e, plan.redaction) for e in plan.evaluators]

    async def score(example: Example, output: Any, steps: Sequence[Any]) -> Scores:
        try:
            inside = plan.target.steps_of(steps)
            if plan.settings.task_models:
                found = await score_models(watched, example, output, over=plan.settings.over or "mean", steps=inside)
            else:
                found = await score_all(watched, example, output, steps=inside)
            plan.metrics.learn(found.keys)
            _require_number(plan, found, example)
        except EvaluatorFailed as failed:
            raise _told_apart(failed) from failed
        return Scores(found.scores, found.comments)

    return score


def _require_number(plan: Plan, found: EvalResult, example: Example) -> None:
    """Raise where the deciding metric speaks in words that are worth nothing yet: no further row would be scored."""
    for key in plan.objective.deciding if found.categories else ():
        if key in found.categories:
            msg = f"`{key}` decides, and gave {found.categories[key]!r}, which is no score"
            mend = "Say what its words are worth: declare(..., values={'good': 1.0, 'bad': 0.0})."
            raise EvaluatorFailed(msg, key=key, example_id=example.id, mend=mend)


def _told_apart(failed: EvaluatorFailed) -> BaseException:
    """What an evaluator's failure is: an outage of its model, a wrong set-up, or an answer that it raises on.

    The last is no score: the row is dropped and counted.
    """
    error = failed.error
    if error is None or isinstance(error, UsageError):
        return failed
    found = classify(error, "judge")
    if found.action in {"retry", "stop"}:
        return FailedElsewhere(found)  # what it wraps would be lost
    place = f" ({failed.line})" if failed.line else ""
    given = f"; it was given {failed.given}" if failed.given else ""
    return CallError(FailureKind.of(UNJUDGED, f"{failed.key}: {found.detail}{place}{given}"))


@dataclass
class Assembled:
    """A run ready for the engine, and what must be closed after it."""

    run: Run
    engine: Engine
    keeper: GateKeeper
    journal: Journal | MemoryStore
    folder: Path | None
    local: LocalExecutor
    guarded: Guarded
    ways: Ways
    shelf: CacheShelf | None = None
    batches: Batches | None = None

    def close(self) -> None:
        """Flush and release journal and cache; the budget's clock is paused."""
        self.run.ledger.pause()
        if self.batches is not None:
            self.batches.close()
        if self.shelf is not None:
            self.shelf.close()
        self.journal.close()


@dataclass
class TwoSides:
    """An Executor that runs each cell on the side its candidate belongs to, both sides by turns.

    Args:
        sides: Executors of this process, by candidate id.
        at_once: Cells in flight over both.
    """

    sides: Mapping[str, Executor]
    at_once: int

    async def evaluate(self, jobs: Sequence[Job], done: Callable[[Outcome], Awaitable[None]]) -> None:
        """Run all cells in the order given, so that drift meets both sides alike."""
        todo = iter(jobs)
        await together(self._work(todo, done) for _ in range(min(self.at_once, len(jobs))))

    async def _work(self, todo: Iterator[Job], done: Callable[[Outcome], Awaitable[None]]) -> None:
        for job in todo:
            await self.sides[job.cell.candidate_id].evaluate([job], done)


@dataclass(frozen=True)
class Rival:
    """The other side of a comparison: its plan, and the candidate that runs there."""

    plan: Plan
    candidate_id: str

    def guarded(self, own: Guarded, ways: Ways) -> Guarded:
        """The way out of its model calls: the other side's, with the lanes of its own models."""
        return replace(own, lanes=ways.lanes(self.plan))


def assemble(
    plan: Plan,
    *,
    executor: Executor | None = None,
    rival: Rival | None = None,
    ended: Assembled | None = None,
) -> Assembled:
    """Open the journal and wire everything; still nothing is paid for.

    Args:
        plan: What is to be run.
        executor: Evaluates the cells in place of this process.
        rival: The other side, where two chains are compared.
        ended: The same run as it ended, which now goes on: its account and its record, not new ones.
    """
    keep_splits(plan.data, plan.openings)
    journal = _journal(_folder(plan), ended)
    try:
        if rival is None and ended is None and not journal.finished:
            refuse_small_budget(plan)
        return _wired(plan, journal, executor, rival, ended)
    except BaseException:  # or the next try would find the run busy
        if ended is None:
            journal.close()
        raise


def _folder(plan: Plan) -> RunFolder | None:
    runs_dir = plan.settings.runs_dir
    return None if runs_dir is None else RunFolder(runs_dir, plan.run_id)


def _wired(
    plan: Plan,
    journal: Journal | MemoryStore,
    executor: Executor | None,
    rival: Rival | None,
    ended: Assembled | None,
) -> Assembled:
    settings, folder = plan.settings, _folder(plan)
    clock: Clock = settings.clock or RealClock()
    ledger = _ledger(plan, clock, ended)
    emitter = _emitter(plan, journal, ended)
    state, tracers, ways = RunState(), Tracers(), Ways(settings, clock)
    guarded, shelf = _guarded(plan, ledger, clock, emitter, ways), _shelf(plan, emitter)
    batches = None if executor is not None else _batches(plan, folder, clock, emitter)
    local = local_executor(plan, guarded, state, tracers, shelf, batches)
    here: Executor = local
    if rival is not None:
        theirs = local_executor(rival.plan, rival.guarded(guarded, ways), state, tracers, batches=batches)
        here = TwoSides({plan.baseline.id: local, rival.candidate_id: theirs}, local.max_concurrency)
    run = Run(
        run_id=plan.run_id,
        recipe=plan.recipe,
        seed=settings.seed,
        gate=settings.gate,
        data=plan.data,
        baseline=plan.baseline,
        objective=plan.objective,
        emitter=emitter,
        executor=executor or _elsewhere(plan, guarded, local, state) or here,
        optimizer=_optimizer(plan, guarded, emitter),
        ledger=ledger,
        renders=_renders(plan, _rows(plan)),
        settle=lambda rendered: plan.target.settle(plan.baseline.prompts, rendered),
        max_failure_rate=settings.max_failure_rate,
        max_edits=settings.max_edits,
        fits=None if settings.max_tokens is None else lambda prompts: not prompts.longer_than(settings.max_tokens),
        demos=settings.demos,
        must_pass=plan.must_pass,
        metaprompts=settings.metaprompts.own,
        foreseen=foreseen(plan),
        state=state,
        tracers=tracers,
        redaction=plan.redaction,
    )
    _tell_journal(emitter, journal, plan.started.version)
    place = None if folder is None else folder.path
    keeper = _gate_keeper(plan, same_model=rival is None or plan.models == rival.plan.models)
    engine = Engine(run, keeper, plan.shows.possible)
    return Assembled(run, engine, keeper, journal, place, local, guarded, ways, shelf, batches)


def _ledger(plan: Plan, clock: Clock, ended: Assembled | None) -> Ledger:
    ledger = Ledger(plan.settings.budget, plan.prices, clock) if ended is None else ended.run.ledger
    ledger.go_on()  # a selection of edits continues a run whose clock was paused
    return ledger


def _emitter(plan: Plan, journal: Journal | MemoryStore, ended: Assembled | None) -> Emitter:
    # A finished run is read from its record: nothing happens, so there is nothing to watch.
    watchers = () if journal.finished and ended is None else plan.settings.observers
    return Emitter(journal, watchers, plan.redaction)


def _journal(folder: RunFolder | None, ended: Assembled | None) -> Journal | MemoryStore:
    if folder is not None:
        return Journal(folder.journal)
    return ended.journal if ended is not None else MemoryStore()


def _tell_journal(emitter: Emitter, journal: Journal | MemoryStore, version: str) -> None:
    """Say what of an earlier process's record cannot be used, and that another version of this package wrote it."""
    told = [("damaged_line", "line left out", text) for text in journal.damaged]
    if journal.version not in {"", version}:
        told.append(("other_version", "gone on with", f"version {journal.version} began this run, this is {version}"))
    for kind, action, detail in told:
        emitter.emit(Incident(role="journal", kind=kind, retryable=False, action=action, detail=redact(detail)))


def _rows(plan: Plan) -> list[Example]:
    found: list[Example] = []
    for split in SPLITS:
        found.extend(plan.data[split])
    return found


def _gate_keeper(plan: Plan, *, same_model: bool) -> GateKeeper:
    clusters = {e.id: e.cluster for e in _rows(plan)}
    models = len({(model_name(m), endpoint_of(m)) for m in plan.target.models})
    return GateKeeper(
        plan.run_id,
        plan.settings.gate,
        plan.metrics,
        clusters,
        plan.openings,
        plan.data.use.readings,
        serving=Serving(max(1, models), shared=same_model),
        required=() if plan.must_pass is None else plan.must_pass.of("test"),
    )


def _shelf(plan: Plan, emitter: Emitter) -> CacheShelf | None:
    """Outcomes kept between runs, where the settings ask for it."""
    if plan.settings.cache is None:
        return None
    return CacheShelf(plan, EvaluationCache(plan.settings.cache, emitter.emit))


def _guarded(plan: Plan, ledger: Ledger, clock: Clock, emitter: Emitter, ways: Ways) -> Guarded:
    """Every call's way out: limits, retries, budget."""
    settings = plan.settings
    return Guarded(
        lanes=ways.lanes(plan),
        ledger=ledger,
        policy=settings.policy,
        clock=clock,
        seed=settings.seed,
        emit=emitter.emit,
        models={"optimizer": model_name(plan.optimizer)},
        batched=settings.executor == "batch",
        deadline=None if settings.budget.seconds is None else clock.time() + settings.budget.seconds - ledger.seconds,
    )


def _batches(plan: Plan, folder: RunFolder | None, clock: Clock, emitter: Emitter) -> Batches | None:
    """The queue of requests where replies come in batches."""
    if plan.settings.executor != "batch":
        return None
    record = None if folder is None else folder.batches
    return Batches(record, plan.run_id, clock, plan.settings.policy, emitter.emit)


def _optimizer(plan: Plan, guarded: Guarded, emitter: Emitter) -> OptimizerModel:
    """The optimizer model behind the journal: a reply that is there already is not asked for again."""
    model, streaming = streamed(plan.optimizer)
    budget = plan.settings.budget
    if budget.usd is not None or budget.tokens is not None:  # a server that streams may not tell what it used
        streaming = {}
    asked = quick(model)
    plan.opened.append(asked)
    forced = plan.settings.optimizer_kwargs
    hub = OptimizerModel(
        plan.optimizer,
        lambda messages, config, kwargs, step: guarded.optimizer(
            asked.chain, messages, config, {**kwargs, **forced}, step
        ),
        emitter.journal,
        emitter.emit,
        lambda step, usage, role="optimizer": guarded.ledger.record(role, step, usage),
        guarded.embedding,
    )
    hub.streaming = streaming
    return hub


def _elsewhere(plan: Plan, guarded: Guarded, local: LocalExecutor, state: RunState) -> Executor | None:
    """The executor that the user gave, under the run's own account; None where cells run here."""
    foreign = plan.settings.executor
    if foreign is None or isinstance(foreign, str):
        return None
    if isinstance(foreign, Workers):
        return RemoteExecutor.of(local, guarded, foreign, plan.run_id)

    def pay(outcome: Outcome) -> None:
        book(guarded.ledger, state.step, outcome)

    return Booked(foreign, pay, guarded.stopping, plan.redaction)


def _renders(plan: Plan, rows: Sequence[Example]) -> Any:
    limit, first = plan.settings.max_tokens, plan.baseline.prompts

    def renders(prompts: PromptSet) -> Rejection | None:
        for long in prompts.longer_than(limit):
            if long.tokens >= first[long.name].tokens:  # a method that shortens may come down to the limit by steps
                detail = f"prompt {long.name!r} would have about {long.tokens} tokens, {limit} allowed"
                return Rejection("max_tokens", detail)
        try:
            plan.target.render_check(prompts, rows)
        except PromptError as error:
            return Rejection("render", str(error))
        return None

    return renders


async def evaluate_here(ready: Assembled, jobs: Sequence[Job]) -> list[Outcome]:
    """Outcomes of these cells by the local executor, in the order in which they came in."""
    outcomes: list[Outcome] = []

    async def done(outcome: Outcome) -> None:
        outcomes.append(outcome)

    await ready.local.evaluate(jobs, done)
    return outcomes
