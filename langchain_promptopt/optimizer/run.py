"""From a plan to a result: replay a finished run, or run it to its end."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_promptopt._engine.evaluations import Evaluations
from langchain_promptopt._runtime.bridge import run_sync
from langchain_promptopt._runtime.stopping import Cancel, cancel_on_signals, grace
from langchain_promptopt.errors import ConfigError, Interrupted, PromptOptError
from langchain_promptopt.events import Applied
from langchain_promptopt.optimizer.assemble import Assembled, assemble
from langchain_promptopt.optimizer.estimating import estimate_of
from langchain_promptopt.optimizer.experiments import publish_experiments
from langchain_promptopt.optimizer.plan import Plan, make_plan
from langchain_promptopt.optimizer.result import Result, table_of
from langchain_promptopt.optimizer.summing import summarise
from langchain_promptopt.optimizer.tracing import traced
from langchain_promptopt.report.record import compose
from langchain_promptopt.store import RunFolder, read_events
from langchain_promptopt.types import Candidate, Edit

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    from langchain_core.runnables import RunnableConfig

    from langchain_promptopt._engine.gate import Ended
    from langchain_promptopt._runtime.stopping import Stopping
    from langchain_promptopt.optimizer.settings import Settings

T = TypeVar("T")
_log = logging.getLogger("langchain_promptopt")
_DECISIVE = ("method", "seed", "gate", "models", "evaluators", "data", "seed_candidate_id", "recipe")
"""Fields of `run.started` that the run id is made of."""
_LONGEST = 160


async def run_task(task: Any, settings: Settings, config: RunnableConfig | None = None) -> Result:
    """Plan, run, decide, and apply as asked. Infrastructure failure and bad input are raised."""
    plan = await make_plan(task, settings)
    try:
        return await run_plan(plan, config or {})
    finally:
        await plan.aclose()


async def run_plan(plan: Plan, config: RunnableConfig) -> Result:
    """Run a plan to its end and apply the winner where the settings and the gate say so."""
    if plan.settings.expected_run is not None and plan.settings.expected_run != plan.run_id:
        raise _changed(plan)
    ready = assemble(plan)
    try:
        return await concluded(
            plan, ready, until_signal(engine_work(plan, ready, config), plan, ready.guarded.stopping)
        )
    finally:
        ready.close()


def engine_work(plan: Plan, ready: Assembled, config: RunnableConfig) -> Coroutine[Any, Any, Ended]:
    """The engine's run under its tracers."""
    return traced(plan, ready, config, lambda inner: ready.engine.finish(plan.started, inner))


async def concluded(plan: Plan, ready: Assembled, work: Coroutine[Any, Any, Ended]) -> Result:
    """The result of the engine's work, applied and published as asked: the same whoever evaluated the cells."""
    replayed = ready.journal.finished
    try:
        result = result_of(plan, ready, await work, replayed=replayed)
        _apply(plan, ready, result)
        await summarise(plan, result)
        await publish_experiments(plan, result)
    except PromptOptError as error:  # whoever reads the failure wants to know which run, and what it has cost
        error.facts.setdefault("run_id", plan.run_id)
        error.facts.setdefault("usage", ready.run.ledger.as_json())
        raise
    return result


async def until_signal(work: Coroutine[Any, Any, T], plan: Plan, stopping: Stopping) -> T:
    """The end of the run; the first SIGINT or SIGTERM ends it in order with Interrupted.

    What is in flight then may come in for a short while. Where that was all that was missing, the
    run ends as if nobody had asked it to stop.
    """
    lost = 0
    async with cancel_on_signals() as cancel:
        task, signalled = asyncio.ensure_future(work), asyncio.ensure_future(_settled(cancel, plan, stopping))
        try:
            await asyncio.wait({task, signalled}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            lost = signalled.result()
        finally:
            signalled.cancel()
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
    raise _interrupted(plan, cancel.number or 2, lost)


async def _settled(cancel: Cancel, plan: Plan, stopping: Stopping) -> int:
    """Once a signal came and calls in flight had their time: how many of them were given up."""
    await cancel.wait()
    patience = grace(plan.settings.policy.timeout)
    if stopping.in_flight:
        calls = "1 call" if stopping.in_flight == 1 else f"{stopping.in_flight} calls"
        _log.warning("stopping: waiting up to %g s for %s in flight; again to quit now", patience, calls)
    return await stopping.settle(patience)


def _interrupted(plan: Plan, number: int, lost: int) -> Interrupted:
    again = "the same comparison" if plan.started.method == "compare" else f"promptopt resume {plan.run_id}"
    mend = f"The journal is whole; go on with: {again}"
    if plan.settings.runs_dir is None:
        mend = "Set runs_dir to be able to resume a run."
    given_up = f"; {lost} in flight did not come in and will be asked again" if lost else ""
    return Interrupted(f"run {plan.run_id} was interrupted{given_up}", signal=number, mend=mend, run_id=plan.run_id)


def _changed(plan: Plan) -> ConfigError:
    msg = f"this configuration gives run {plan.run_id}, not {plan.settings.expected_run}"
    if found := _differences(plan):
        msg += f": {'; '.join(found)}"
    return ConfigError(msg, mend="Resume with the configuration the run was started with.")


def _differences(plan: Plan) -> list[str]:
    """What decides a result and is not as the run to go on with has recorded it."""
    settings = plan.settings
    if settings.runs_dir is None or settings.expected_run is None:
        return []
    first = next(iter(read_events(RunFolder(settings.runs_dir, settings.expected_run).journal)), None)
    known = {} if first is None or first["type"] != "run.started" else first["data"]
    now = json.loads(json.dumps(plan.started.as_json(), default=str))
    return [
        f"{name} was {_short(known[name])} and is {_short(now[name])}"
        for name in _DECISIVE
        if name in known and known[name] != now.get(name)
    ]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def result_of(plan: Plan, ready: Assembled, ended: Ended, *, replayed: bool) -> Result:
    """The result of an ended run."""
    best = ended.found.best.candidate
    verdict = ended.verdict
    warnings = (
        *plan.notes,
        *(verdict.warnings if verdict else ()),
        *(() if plan.shows.possible else (plan.shows.reason,)),
    )
    edits = edits_between(plan.baseline, best, {a.candidate.id: a.candidate for a in ended.found.trajectory})
    return Result(
        run_id=plan.run_id,
        outcome=ended.outcome,
        exit_code=ended.exit_code,
        test=table_of(verdict),
        edits=edits,
        best=best.prompts,
        baseline=plan.baseline.prompts,
        usage=ready.run.ledger.as_json() | {"estimate": estimate_of(plan)},
        folder=ready.folder,
        replayed=replayed,
        warnings=warnings,
        gate_passed=verdict is not None and verdict.may_apply,
        events=_reader(ready),
        data=plan.data,
        judged=lambda keep: run_sync(lambda: _judge_part(plan, edits, keep)),
    )


def edits_between(baseline: Candidate, best: Candidate, known: Mapping[str, Candidate]) -> tuple[Edit, ...]:
    """All steps from the baseline to `best` as edits of the baseline (product 10.13)."""
    steps: list[Candidate] = []
    at = best
    while at.id != baseline.id:
        steps.insert(0, at)
        at = known.get(at.parents[0], baseline) if at.parents else baseline
    told = compose(baseline.prompts.as_json(), [(c.id, [e.as_json() for e in c.edits]) for c in steps])
    return tuple(e.as_edit() for e in told)


def _reader(ready: Assembled) -> Any:
    if ready.folder is None:
        return ready.journal.events
    path = Path(ready.folder) / "journal.jsonl"
    return lambda: read_events(path)


def _apply(plan: Plan, ready: Assembled, result: Result) -> None:
    how = plan.settings.apply
    changed = result.best.id != result.baseline.id
    if not changed or how == "never" or (how == "if_improved" and not result.gate_passed):
        return
    if how == "always" and not result.gate_passed:
        result.warnings += ("the applied edits are unproven: the gate did not pass",)
    result.apply(plan.task, force=True)
    ready.run.emit(Applied(actor="optimize", target="chain", commit=None, candidate_id=result.best.id))


async def _judge_part(plan: Plan, edits: Sequence[Edit], keep: Sequence[int]) -> Result:
    """Some of the edits, scored on the dev rows beside the baseline: never on the test rows again."""
    chosen = tuple(edits[i] for i in keep)
    part = Candidate(plan.baseline.prompts.apply(chosen), origin="select", parents=(plan.baseline.id,), edits=chosen)
    again = await make_plan(plan.task, replace(plan.settings, runs_dir=None, data=plan.data.splits))
    try:
        ready = assemble(again)
        evaluations = Evaluations(ready.run)
        ids = [e.id for e in plan.data["dev"]]
        for candidate in (plan.baseline, part):
            await evaluations.ensure(candidate, "dev", ids)
        scores = [evaluations.primary(c, "dev") for c in (plan.baseline, part)]
    finally:
        await again.aclose()
    return _part_result(plan, part, chosen, scores, ready)


def _part_result(
    plan: Plan, part: Candidate, chosen: tuple[Edit, ...], scores: Sequence[Mapping[str, float]], ready: Assembled
) -> Result:
    shared = [i for i in scores[0] if i in scores[1]]
    means = [sum(s[i] for i in shared) / len(shared) for s in scores] if shared else [0.0, 0.0]
    entry = {
        "metric": plan.objective.primary or "weighted",
        "role": "search rows",
        "baseline": means[0],
        "best": means[1],
        "difference": means[1] - means[0],
        "n": len(shared),
        "wins": sum(scores[1][i] > scores[0][i] for i in shared),
        "losses": sum(scores[1][i] < scores[0][i] for i in shared),
        "verdict": "not tested",
    }
    return Result(
        run_id=plan.run_id,
        outcome="inconclusive",
        exit_code=3,
        test=[entry],
        edits=chosen,
        best=part.prompts,
        baseline=plan.baseline.prompts,
        usage=ready.run.ledger.as_json(),
        warnings=("judged on search rows; a selection of edits has not passed the gate",),
    )
