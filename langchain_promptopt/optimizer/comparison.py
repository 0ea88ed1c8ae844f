"""`compare`: the gate without a search. Two prompts, chains or models on the same held-out examples."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Unpack

from langchain_promptopt._engine.engine import EXIT, run_gate
from langchain_promptopt._engine.evaluations import Evaluations
from langchain_promptopt._runtime.concurrency import run_sync
from langchain_promptopt._runtime.ledger import Spending, Tally, whole_of
from langchain_promptopt._runtime.tracing import span
from langchain_promptopt.errors import ConfigError, DataError
from langchain_promptopt.events import Proposed, RunFinished, shown_events
from langchain_promptopt.optimizer.arguments import SharedArguments, refuse_unknown, settings_of
from langchain_promptopt.optimizer.plan import (
    Plan,
    make_plan,
    opening_notes,
    warn_of_earlier_looks,
    what_the_split_shows,
)
from langchain_promptopt.optimizer.progress import progress_shown
from langchain_promptopt.optimizer.result import Result, table_of
from langchain_promptopt.optimizer.run import failure_recorded, traced, unjudged_notes, until_signal, void_notes
from langchain_promptopt.optimizer.wiring import Assembled, Rival, assemble
from langchain_promptopt.types import Attempt, Candidate, PromptSet, content_hash
from langchain_promptopt.types.edits import differences

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.runnables import RunnableConfig

    from langchain_promptopt.gate import Decision
    from langchain_promptopt.optimizer.arguments import Model, Settings, Task


def compare(
    old: Task | str, new: Task | str, *, new_model: Model | None = None, **arguments: Unpack[SharedArguments]
) -> Result:
    """Decide whether `new` beats `old` on the test examples, by the rules of a search's own gate.

    Args:
        old: A chain, a prompt template or a prompt string (these with `task_model`), or a callable.
        new: The same; with equal prompts the models must differ.
        new_model: The model of `new` where it is not `task_model`.
        **arguments: As for `optimize`: data (only the test split is read), evaluators, task_model, gate, budget,
            seed, runs_dir ... What only a search needs (method, freeze, apply) is refused.

    Returns:
        A Result whose `test` is the gate's table; nothing is applied.

    Raises:
        UsageError: Bad input, or two sides that are the same; nothing was paid for.
    """
    # Arguments of a search would be ignored here without a word, so they are refused.
    known = [*SharedArguments.__annotations__, "new_model"]
    refuse_unknown(arguments, known, where="compare()")
    settings = settings_of({**arguments, "apply": "never"}, where="compare()")
    return run_sync(lambda: acompare(old, new, settings, new_model=new_model))


async def acompare(
    old: Task | str,
    new: Task | str,
    settings: Settings,
    *,
    new_model: Model | None = None,
    config: RunnableConfig | None = None,
) -> Result:
    """`compare` on the running event loop, from Settings.

    Args:
        old: As for `compare`.
        new: As for `compare`.
        settings: All that was set; an executor is refused.
        new_model: The model of `new` where it is not `settings.task_model`.
        config: The config of the call; its callbacks get the decision trace.

    Raises:
        UsageError: Bad input, or two sides that are the same; nothing was paid for.
    """
    if old is new and new_model is None:
        msg = "old and new are the same object"
        raise DataError(msg, mend="Compare two different prompts, chains or models.")
    with progress_shown(settings.progress) as observers:
        watched = replace(settings, observers=(*settings.observers, *observers))
        return await _compared((_task(old), _task(new)), watched, new_model, config or {})


async def _compared(
    sides: tuple[Any, Any], settings: Settings, new_model: Model | None, config: RunnableConfig
) -> Result:
    left = await make_plan(sides[0], settings, searches=False, sides=sides)
    try:
        theirs = settings if new_model is None else replace(settings, task_model=new_model)
        right = await make_plan(sides[1], theirs, searches=False, sides=sides)
        try:
            return await _decide(left, right, config)
        finally:
            await right.aclose()
    finally:
        await left.aclose()


def _task(task: Any) -> Any:
    if isinstance(task, str):
        from langchain_core.prompts import PromptTemplate

        return PromptTemplate.from_template(task)
    return task


async def _decide(left: Plan, right: Plan, config: RunnableConfig) -> Result:
    salt = "" if left.code == right.code else right.code  # what tells the sides apart beside their prompts
    # With equal prompts on two models, the salt gives the sides different ids.
    rival = Candidate(right.baseline.prompts, origin="compare", parents=(left.baseline.id,), salt=salt)
    plan = _named(left, rival)
    _check(plan, rival)
    ready = assemble(plan, rival=Rival(right, rival.id))
    try:
        replayed = ready.journal.finished
        warn_of_earlier_looks(plan, replayed=replayed)
        work = traced(plan, ready, config, lambda inner: _tested(plan, ready, rival, inner))
        with failure_recorded(plan, ready):
            ended = await until_signal(work, plan, ready.guarded.stopping)
        return _result(plan, ready, rival, ended, replayed=replayed)
    finally:
        ready.close()


TOO_FEW = "too few rows"
"""The reason of the error where the test rows cannot give a verdict, whatever the answers."""


def _check(left: Plan, rival: Candidate) -> None:
    """Raise where there is nothing to decide, or nothing to decide it on or with."""
    if left.settings.executor not in (None, "batch"):
        msg = "a comparison runs both sides in this process"
        raise ConfigError(msg, mend="Leave `executor` out.")
    if rival.id == left.baseline.id:
        msg = "old and new are the same prompts on the same model"
        raise DataError(msg, where=f"candidate {rival.id}", mend="Compare two different prompts, chains or models.")
    if not left.shows.possible:
        raise DataError(left.shows.reason, mend="Add test examples; the gate cannot decide on these.", reason=TOO_FEW)


def _named(left: Plan, rival: Candidate) -> Plan:
    run_id = content_hash(["compare", left.run_id, rival.id], 16)
    started = replace(left.started, run_id=run_id, method="compare", recipe={"new_candidate_id": rival.id})
    shows = what_the_split_shows(left.data, left.settings, left.openings, run_id)
    notes = [note for note in left.notes if note.kind != "gate"]
    return replace(left, started=started, shows=shows, notes=(*notes, *opening_notes(shows)))


@dataclass(frozen=True)
class Compared:
    """The gate's verdict, and the run's usage with what each side took."""

    verdict: Decision
    usage: Mapping[str, Any]


async def _tested(plan: Plan, ready: Assembled, rival: Candidate, config: RunnableConfig) -> Compared:
    run = ready.run
    metadata = {"promptopt_run_id": plan.run_id, "promptopt_method": "compare"}
    async with span(config, "promptopt", {"method": "compare"}, metadata) as (inner, end):
        run.emit(plan.started)
        run.emit(_shown(plan.baseline.prompts, rival))
        Spending(run.ledger).reserve_test(2 * run.gate.repeats * len(plan.data["test"]))
        evaluations = Evaluations(run)
        verdict = await run_gate(run, evaluations, ready.keeper, Attempt(rival, 0.0), inner)
        outcome = verdict.outcome
        sides = {"old": plan.baseline, "new": rival}
        by_side = {}
        for side, candidate in sides.items():
            by_side[side] = _spent(evaluations, candidate)
        usage = {**run.ledger.as_json(), "by_side": by_side}
        run.emit(RunFinished(outcome=outcome, exit_code=EXIT[outcome], best_candidate_id=rival.id, usage=usage))
        end({"verdict": verdict.verdict, "test": verdict.metrics})
    return Compared(verdict, usage)


def _spent(evaluations: Evaluations, candidate: Candidate) -> dict[str, Any]:
    """Calls, tokens and money of one side's rows, its judge's calls included; exact sums, as on the ledger."""
    tally = Tally()
    for outcomes in evaluations.known(candidate, "test").values():
        for outcome in outcomes:
            tally.add(outcome.usage, *whole_of(outcome.usage))
    usage = tally.usage()
    return {**usage.as_json(), "tokens": usage.input_tokens + usage.output_tokens}


def _shown(old: PromptSet, rival: Candidate) -> Proposed:
    """The other side as the record shows it: as edits where the messages correspond, else as a text of its own."""
    found = differences(old, rival.prompts, rival.id)
    edits = tuple(e.as_edit() for e in found)
    alike = old.apply(edits).id == rival.prompts.id
    return Proposed(
        parent_id=rival.parents[0] if alike else "",
        candidate_id=rival.id,
        step=0,
        scope="global",
        edits=edits if alike else (),
        prompts=rival.prompts,
    )


def _never_sent(plan: Plan, ready: Assembled, rival: Candidate) -> tuple[str, ...]:
    """What to say of shared prompts that no test example rendered; the verdict names those that differ."""
    old, rendered = plan.baseline.prompts, ready.run.state.rendered
    apart = {*rendered, *old.changed_in(rival.prompts)}
    names = [repr(p.name) for p in old if p.name not in apart and not p.idle]
    if not names or not rendered:
        return ()
    return (f"no test example renders prompt {', '.join(names)}, so it was not compared",)


def _result(plan: Plan, ready: Assembled, rival: Candidate, ended: Compared, *, replayed: bool) -> Result:
    verdict = ended.verdict
    outcome = verdict.outcome
    return Result(
        run_id=plan.run_id,
        outcome=outcome,
        exit_code=EXIT[outcome],
        test=table_of(verdict),
        edits=differences(plan.baseline.prompts, rival.prompts, rival.id),
        best=rival.prompts,
        baseline=plan.baseline.prompts,
        usage=ended.usage,
        folder=ready.folder,
        replayed=replayed,
        warnings=(
            *map(str, plan.notes),
            *_never_sent(plan, ready, rival),
            *unjudged_notes(ready),
            *void_notes(verdict, plan.run_id),
            *verdict.warnings,
        ),
        gate_passed=verdict.may_apply,
        reason=verdict.reason,
        events=lambda: shown_events(ready.journal.events()),
        data=plan.shown_data,
    )
