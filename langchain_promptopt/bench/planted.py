"""One method in one planted world: the engine's own search, with cells that the world answers.

Also what its tables show: means with bootstrap intervals over seeds, and how many marks hit a planted fault.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING, Any

from langchain_promptopt._collections import without
from langchain_promptopt._engine.context import Emitter, Objective, OptimizerModel, Run, RunState
from langchain_promptopt._engine.evaluations import Evaluations
from langchain_promptopt._engine.search import SearchLoop, StepEnd
from langchain_promptopt._runtime.clock import RealClock
from langchain_promptopt._runtime.ledger import Ledger, Spending
from langchain_promptopt._runtime.prices import PriceTable
from langchain_promptopt._text.document import overlaps
from langchain_promptopt.bench.planted_optimizer import PlantedOptimizer
from langchain_promptopt.bench.world import Playable, World, WorldExecutor, units_of
from langchain_promptopt.errors import BudgetSpent
from langchain_promptopt.events import Identified, Proposed, Rejected
from langchain_promptopt.ports import DataSet
from langchain_promptopt.recipe import Budget, Gate, Recipe
from langchain_promptopt.types import Attempt, Candidate, PromptSet, Stop, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langchain_core.messages import AIMessage
    from langchain_core.runnables import RunnableConfig

    from langchain_promptopt.bench.world import WorldSettings
    from langchain_promptopt.events import Called, Event
    from langchain_promptopt.types import Cell, Outcome

_DRAWS = 2000


@dataclass(frozen=True)
class Interval:
    """A mean (or ratio) with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def as_json(self) -> dict[str, float]:
        """Plain values."""
        return {"mean": self.mean, "low": self.low, "high": self.high, "n": self.n}


def mean(values: Sequence[float]) -> float:
    """The mean; 0 of nothing."""
    return sum(values) / len(values) if values else 0.0


def bootstrap(values: Sequence[float], seed: int = 0) -> Interval:
    """Percentile bootstrap of the mean over seeds.

    >>> str(bootstrap([1.0, 1.0]))
    '1.000 [1.000, 1.000]'
    """
    return _resampled(len(values), lambda picks: mean([values[i] for i in picks]), seed)


def ratio(above: Sequence[float], below: Sequence[float], seed: int = 0) -> Interval:
    """Sum of `above` over sum of `below`, resampled in pairs.

    >>> str(ratio([6.0, 6.0], [2.0, 2.0]))
    '3.000 [3.000, 3.000]'

    Args:
        above: Numerators, one a seed.
        below: Denominators of the same seeds.
        seed: Seed of the resampling.
    """

    def of(picks: Sequence[int]) -> float:
        numerator = sum(above[i] for i in picks)
        return numerator / max(sum(below[i] for i in picks), 1e-9)

    return _resampled(len(above), of, seed)


def _resampled(n: int, statistic: Callable[[Sequence[int]], float], seed: int) -> Interval:
    if not n:
        return Interval(0.0, 0.0, 0.0, 0)
    rng = Random(seed)
    found = []
    for _ in range(_DRAWS):
        found.append(statistic([rng.randrange(n) for _ in range(n)]))
    draws = sorted(found)
    return Interval(statistic(range(n)), draws[int(0.025 * _DRAWS)], draws[int(0.975 * _DRAWS) - 1], n)


def faulty_ranges(world: World, text: str) -> list[tuple[int, int]]:
    """Start and end of each fault of a text: wrong values, stray topics, garbled words, the wrong frame."""
    out = []
    for unit in units_of(text):
        truth = world.truth.get(unit.topic)
        if unit.poison:
            out.append(unit.poisoned)
        elif unit.decoy and not unit.topic:
            out.append(unit.place(unit.decoy))
        elif truth is not None and unit.value and unit.value != truth:
            out.append(unit.place(unit.value))
        if unit.old_frame:
            out.append(unit.place("ledger"))
    return out


def tag_quality(world: World, search: StepWatch, watch: MemoryJournal) -> tuple[float | None, float | None]:
    """Precision and recall of all marks of a run; None without any mark or fault.

    Args:
        world: Knows where the faults are.
        search: The search that has ended; its candidates.
        watch: The record of the search; its marks.
    """
    prompts = {}
    for a in search.archive.trajectory:
        prompts[a.candidate.id] = a.candidate.prompts
    hits = marks = found = there = 0
    for event in watch.identified:
        if event.candidate_id not in prompts or event.protocol == "joined":
            continue
        faults = faulty_ranges(world, prompts[event.candidate_id].document.text)
        spans = [(s["start"], s["end"]) for s in event.spans if s["end"] > s["start"]]
        marks += len(spans)
        hits += _met(spans, faults)
        there += len(faults)
        found += _met(faults, spans)
    return (hits / marks if marks else None), (found / there if there else None)


def _met(places: Sequence[tuple[int, int]], others: Sequence[tuple[int, int]]) -> int:
    """How many of these places overlap one of the others."""
    met = 0
    for start, end in places:
        if overlaps(others, start, end):
            met += 1
    return met


@dataclass
class MemoryJournal:
    """The record of a run kept in memory: what the tables need, and nothing to replay."""

    calls: Mapping[str, Called] = field(default_factory=dict)
    cells: Mapping[Cell, Outcome] = field(default_factory=dict)
    opened: Mapping[str, str] = field(default_factory=dict)
    voided: int = 0
    identified: list[Identified] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    proposed: int = 0
    best_at: list[tuple[int, str]] = field(default_factory=list)
    """(search calls so far, best candidate) after each step."""
    spent: Any = None
    candidates: dict[str, Any] = field(default_factory=dict)

    def append(self, event: Event) -> None:
        """Count or keep one event."""
        if isinstance(event, Identified):
            self.identified.append(event)
        elif isinstance(event, Rejected):
            self.refused[event.rule] += 1
        elif isinstance(event, Proposed):
            self.proposed += 1

    def flush(self) -> None:
        """Nothing to do."""


@dataclass(frozen=True)
class Trace:
    """What a run in a world came to. Test scores are expected ones over the 400 rows: without sampling noise."""

    method: str
    seed: int
    start: float
    ceiling: float
    dev: float
    test: float
    search_calls: int
    optimizer_calls: int
    tokens: int
    steps: int
    seconds: float
    stopped: str
    steps_test: tuple[float, ...]
    """Test score of the best after each step, the start first."""
    steps_dev: tuple[float, ...]
    steps_calls: tuple[int, ...]
    precision: float | None
    recall: float | None
    proposed: int
    refused: Mapping[str, int]
    regressions: int
    """Test rows whose chance of a right answer fell by more than 0.1."""
    best: PromptSet | None = field(repr=False, default=None)
    """The prompt itself; None in a trace that was read back."""

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return without(vars(self), {"best"}) | {"refused": dict(self.refused)}


def run_in_world(recipe: Recipe, settings: WorldSettings, seed: int, search_calls: int | None) -> Trace:
    """Search with `recipe` in the world of `seed`, with at most `search_calls` target calls.

    Args:
        recipe: The method.
        settings: Size and faults of the world.
        seed: Decides the world and the search.
        search_calls: Limit on target calls; None for no limit.
    """
    return asyncio.run(arun_in_world(recipe, World(settings, seed), search_calls))


async def arun_in_world(recipe: Recipe, world: World, search_calls: int | None) -> Trace:
    """The coroutine of `run_in_world`.

    Args:
        recipe: The method.
        world: Rows, start and answers.
        search_calls: Limit on target calls; None for no limit.
    """
    started = time.perf_counter()
    played = await play(recipe, world, PlantedOptimizer(world=world), search_calls)
    return _trace(world, played, time.perf_counter() - started)


@dataclass(frozen=True)
class Played:
    """A search that ended in a world: what it found, why it ended, and what was noted on the way."""

    search: StepWatch
    watch: MemoryJournal
    best: Attempt
    stopped: Stop


async def play(recipe: Recipe, world: Playable, model: Any, search_calls: int | None) -> Played:
    """Search with `recipe` in any world.

    Args:
        recipe: The method.
        world: Rows, start and answers.
        model: The optimizer; its `answer(turns, temperature)` gives an AIMessage.
        search_calls: Limit on target calls; None for no limit.
    """
    run, watch = _run(recipe, world, model, search_calls)
    search = StepWatch(run, Evaluations(run), Spending(run.ledger))
    try:
        found = await search.found({})
    except BudgetSpent:
        return Played(search, watch, search.archive.best[-1], Stop("budget", "hard stop"))
    return Played(search, watch, found.best, found.stopped)


@dataclass
class StepWatch(SearchLoop):
    """The engine's search, noting calls and best after each step."""

    calls_at: list[int] = field(default_factory=list)

    async def _baseline(self, config: RunnableConfig) -> None:
        await super()._baseline(config)
        self.calls_at.append(self.run.ledger.search_calls)

    async def _step(self, t: int, total: int, config: RunnableConfig) -> StepEnd:
        ended = await super()._step(t, total, config)
        if ended == "done":
            self.calls_at.append(self.run.ledger.search_calls)
        return ended


def _run(recipe: Recipe, world: Playable, model: Any, search_calls: int | None) -> tuple[Run, MemoryJournal]:
    watch = MemoryJournal()
    ledger = Ledger(Budget(search_calls=search_calls), PriceTable({}), RealClock())
    emitter, state = Emitter(watch), RunState()

    def charge(job: Any) -> None:
        with ledger.flight("task", job.cell.split):
            ledger.record("task", state.step, Usage(calls=1), split=job.cell.split)

    async def transport(
        messages: Any,
        config: RunnableConfig,  # noqa: ARG001
        kwargs: dict[str, Any],
        step: int,
    ) -> tuple[AIMessage, Usage]:
        message = model.answer(messages, kwargs.get("temperature"))
        told: Any = message.usage_metadata or {}
        usage = Usage(1, told.get("input_tokens", 0), told.get("output_tokens", 0))
        ledger.record("optimizer", step, usage)
        return message, usage

    run = Run(
        run_id=f"planted-{world.seed}",
        recipe=recipe,
        seed=world.seed,
        gate=Gate(),
        data=DataSet(world.rows, "planted"),
        baseline=Candidate(world.prompts),
        objective=Objective("right"),
        emitter=emitter,
        state=state,
        executor=WorldExecutor(world, charge),
        optimizer=OptimizerModel(
            model, transport, watch, emitter.emit, lambda step, usage: ledger.record("optimizer", step, usage)
        ),
        ledger=ledger,
        renders=lambda prompts: None,  # noqa: ARG005
    )
    return run, watch


def _trace(world: World, played: Played, seconds: float) -> Trace:
    search, watch, best = played.search, played.watch, played.best
    precision, recall = tag_quality(world, search, watch)
    optimizer = search.run.ledger.by_role.get("optimizer", Usage())
    task_words = len(world.start.split())
    steps_test = tuple(world.held_out(a.candidate.prompts) for a in search.archive.best)
    return Trace(
        method=search.run.recipe.name,
        seed=world.seed,
        start=world.held_out(world.prompts),
        ceiling=ceiling(world),
        dev=best.score,
        test=world.held_out(best.candidate.prompts),
        search_calls=search.run.ledger.search_calls,
        optimizer_calls=optimizer.calls,
        tokens=optimizer.input_tokens + optimizer.output_tokens + search.run.ledger.search_calls * (task_words + 30),
        steps=len(search.archive.best) - 1,
        seconds=seconds,
        stopped=f"{played.stopped.kind}: {played.stopped.detail}",
        steps_test=steps_test,
        steps_dev=tuple(a.score for a in search.archive.best),
        steps_calls=tuple(search.calls_at),
        precision=precision,
        recall=recall,
        proposed=watch.proposed,
        refused=dict(watch.refused),
        regressions=regressions(world, best.candidate.prompts),
        best=best.candidate.prompts,
    )


def ceiling(world: World) -> float:
    """What the good prompt scores, in the frame that helps."""
    from langchain_promptopt.bench.world import prompts_of

    return world.held_out(prompts_of(world.good))


def regressions(world: World, best: PromptSet) -> int:
    """Test rows that the start could answer and the best prompt cannot."""
    from langchain_promptopt.bench.world import instructions_of

    old, new = instructions_of(world.prompts), instructions_of(best)
    return sum(world.chance(new, r) < world.chance(old, r) - 0.1 for r in world.rows["test"])


def named(recipe: Recipe, name: str, **axes: Any) -> Recipe:
    """A recipe with other axes under another name.

    Args:
        recipe: The recipe to start from.
        name: The new name.
        **axes: Strategies by field of `Recipe`.
    """
    return replace(recipe, name=name, **axes)
