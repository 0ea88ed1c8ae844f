"""A plan with its journal becomes a run that the engine can finish."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_promptopt._engine.executor import Guarded
from langchain_promptopt._engine.gate import Engine
from langchain_promptopt._engine.run import OptimizerModel, Run
from langchain_promptopt._engine.spending import book
from langchain_promptopt._langchain.models import endpoint_of, model_name
from langchain_promptopt._langchain.quick import quick
from langchain_promptopt._runtime.cache import EvaluationCache
from langchain_promptopt._runtime.clock import RealClock
from langchain_promptopt._runtime.ledger import Ledger
from langchain_promptopt.errors import PromptError
from langchain_promptopt.optimizer.elsewhere import Booked
from langchain_promptopt.optimizer.evaluating import Ways, local_executor
from langchain_promptopt.optimizer.judge import GateJudge
from langchain_promptopt.optimizer.shelf import CacheShelf
from langchain_promptopt.store import Journal, MemoryStore, RunFolder
from langchain_promptopt.types import SPLITS, Example, Outcome, PromptSet, Rejection

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from langchain_promptopt._engine.executor import LocalExecutor
    from langchain_promptopt._runtime.clock import Clock
    from langchain_promptopt.optimizer.plan import Plan
    from langchain_promptopt.ports import Executor, Job


@dataclass
class Assembled:
    """A run ready for the engine, and what must be closed after it."""

    run: Run
    engine: Engine
    judge: GateJudge
    journal: Journal | MemoryStore
    folder: Path | None
    local: LocalExecutor
    guarded: Guarded
    ways: Ways
    shelf: CacheShelf | None = None

    def close(self) -> None:
        """Flush and release journal and cache."""
        if self.shelf is not None:
            self.shelf.close()
        self.journal.close()


def assemble(plan: Plan, *, executor: Executor | None = None) -> Assembled:
    """Open the journal and wire everything; still nothing is paid for."""
    settings = plan.settings
    folder = None if settings.runs_dir is None else RunFolder(settings.runs_dir, plan.run_id)
    journal: Journal | MemoryStore = MemoryStore() if folder is None else Journal(folder.journal)
    clock: Clock = settings.clock or RealClock()
    ledger = Ledger(settings.budget, plan.prices, clock)
    run_box: list[Run] = []
    ways = Ways(settings, clock)
    guarded, shelf = _guarded(plan, clock, ledger, run_box, ways), _shelf(plan, run_box)
    local = local_executor(plan, guarded, run_box, shelf)
    run = Run(
        run_id=plan.run_id,
        recipe=plan.recipe,
        seed=settings.seed,
        gate=settings.gate,
        data=plan.data,
        baseline=plan.baseline,
        objective=plan.objective,
        journal=journal,
        executor=executor or _booked(settings.executor, guarded, run_box) or local,
        optimizer=_optimizer(plan, guarded, journal, run_box),
        ledger=ledger,
        renders=_renders(plan, _rows(plan)),
        observers=settings.observers,
        max_failure_rate=settings.max_failure_rate,
    )
    run_box.append(run)
    judge, place = _judge(plan), folder.path if folder else None
    engine = Engine(run, judge, plan.shows.possible)
    return Assembled(run, engine, judge, journal, place, local, guarded, ways, shelf)


def _rows(plan: Plan) -> list[Example]:
    return [e for split in SPLITS for e in plan.data[split]]


def _judge(plan: Plan) -> GateJudge:
    keys = [e.key for e in plan.evaluators]
    clusters = {e.id: e.cluster for e in _rows(plan)}
    models = len({(model_name(m), endpoint_of(m)) for m in plan.target.models})
    return GateJudge(plan.run_id, plan.settings.gate, keys, clusters, plan.openings, models=max(1, models))


def _shelf(plan: Plan, run_box: Sequence[Run]) -> CacheShelf | None:
    """Outcomes kept between runs, where the settings ask for it."""
    if plan.settings.cache is None:
        return None
    return CacheShelf(plan, EvaluationCache(plan.settings.cache, lambda incident: run_box[0].emit(incident)))


def _guarded(plan: Plan, clock: Clock, ledger: Ledger, run_box: Sequence[Run], ways: Ways) -> Guarded:
    """Every call's way out: limits, retries, budget."""
    settings = plan.settings
    return Guarded(
        lanes=ways.lanes(plan),
        ledger=ledger,
        policy=settings.policy,
        clock=clock,
        seed=settings.seed,
        emit=lambda event: run_box[0].emit(event),
        models={"optimizer": model_name(plan.optimizer)},
        deadline=None if settings.budget.seconds is None else clock.time() + settings.budget.seconds,
    )


def _optimizer(plan: Plan, guarded: Guarded, journal: Journal | MemoryStore, run_box: Sequence[Run]) -> OptimizerModel:
    """The optimizer model behind the journal: a reply that is there already is not asked for again."""
    asked = quick(plan.optimizer)
    plan.opened.append(asked)
    forced = plan.settings.optimizer_kwargs
    return OptimizerModel(
        plan.optimizer,
        lambda messages, config, kwargs, step: guarded.optimizer(
            asked.chain, messages, config, {**kwargs, **forced}, step
        ),
        journal,
        lambda event: run_box[0].emit(event),
        lambda step, usage: guarded.ledger.record("optimizer", step, usage),
    )


def _booked(foreign: Executor | None, guarded: Guarded, run_box: Sequence[Run]) -> Executor | None:
    if foreign is None:
        return None
    return Booked(foreign, lambda outcome: book(guarded.ledger, run_box[0].step, outcome), guarded.stopping)


def _renders(plan: Plan, rows: Sequence[Example]) -> Any:
    def renders(prompts: PromptSet) -> Rejection | None:
        try:
            plan.target.render_check(prompts, rows)
        except PromptError as error:
            return Rejection("render", str(error))
        return None

    return renders


async def evaluate_here(ready: Assembled, jobs: Sequence[Job]) -> list[Outcome]:
    """Outcomes of these cells by the local executor, whoever asked for them."""
    outcomes: list[Outcome] = []

    async def done(outcome: Outcome) -> None:
        outcomes.append(outcome)

    await ready.local.evaluate(jobs, done)
    return outcomes
