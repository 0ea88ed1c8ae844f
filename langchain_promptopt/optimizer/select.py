"""`result.select([1, 3])`: some of a run's edits, judged on search rows within the run's own budget.

The run goes on for this: its budget and ledger, its journal, and the rows it has evaluated already. Its
test rows are never opened for a part of the edits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_promptopt._engine.budget import Spending
from langchain_promptopt._engine.evaluations import Evaluations
from langchain_promptopt._runtime.concurrency import run_sync
from langchain_promptopt.errors import BudgetSpent, ConfigError
from langchain_promptopt.events import Proposed
from langchain_promptopt.optimizer.plan import reopened
from langchain_promptopt.optimizer.result import Result
from langchain_promptopt.optimizer.wiring import assemble
from langchain_promptopt.types import Candidate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from langchain_promptopt._engine.context import Run
    from langchain_promptopt.optimizer.answer import Metric
    from langchain_promptopt.optimizer.plan import Plan
    from langchain_promptopt.optimizer.wiring import Assembled
    from langchain_promptopt.types.edits import FinalEdit

UNTESTED = "untested: the budget does not reach for the search rows of this selection"
JUDGED = "judged on search rows; a selection of edits has not passed the gate"
_CLAIM = "select"
"""Under this name calls for a selection are set aside on the ledger."""


def chosen(edits: Sequence[FinalEdit], keep: Iterable[object]) -> tuple[FinalEdit, ...]:
    """The edits with these numbers, counted from 1 as every report counts. Raises ConfigError for others."""
    numbers: set[int] = set()
    for number in keep:
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= len(edits):
            known = f"edits are numbered from 1 to {len(edits)}" if edits else "this result has no edits"
            msg = f"there is no edit {number!r}: {known}"
            raise ConfigError(msg, where="select()", mend="The first edit is 1: result.select([1]).")
        numbers.add(number)
    return tuple(edits[number - 1] for number in sorted(numbers))


def judge_part(plan: Plan, ended: Assembled, edits: Sequence[FinalEdit]) -> Result:
    """These edits alone, beside the baseline on the dev rows.

    Args:
        plan: The plan of the run.
        ended: The run as it ended: its account pays, its journal keeps what is found.
        edits: Some of its final edits.

    Returns:
        A result that has not passed the gate; without a table where the budget does not reach (`UNTESTED`).
    """
    return run_sync(lambda: _judged(plan, ended, tuple(edits)))


async def _judged(plan: Plan, ended: Assembled, edits: tuple[FinalEdit, ...]) -> Result:
    made = tuple(e.as_edit() for e in edits)
    prompts = plan.baseline.prompts.apply(made)
    part = Candidate(prompts, origin="select", scope="spans", parents=(plan.baseline.id,), edits=made)
    again = await reopened(plan)
    try:
        again.target.render_check(prompts, [e for rows in plan.data.splits.values() for e in rows])
        ready = assemble(again, ended=ended)
        try:
            evaluations = Evaluations(ready.run, known=ended.engine.evaluations)
            scores = await _scores(ready.run, evaluations, part)
        finally:
            ready.close()
    finally:
        await again.aclose()
    table = [] if scores is None else [_entry(plan.objective.name, *scores)]
    return Result(
        run_id=plan.run_id,
        outcome="inconclusive",
        exit_code=3,
        test=table,
        edits=edits,
        best=prompts,
        baseline=plan.baseline.prompts,
        usage=ready.run.ledger.as_json(),
        folder=ended.folder,
        warnings=(JUDGED if table else UNTESTED,),
        data=plan.data,
        judged=lambda keep: judge_part(plan, ended, chosen(edits, keep)),
    )


async def _scores(
    run: Run, evaluations: Evaluations, part: Candidate
) -> tuple[Mapping[str, float], Mapping[str, float]] | None:
    """Primary scores of baseline and part on the dev rows; None where the budget does not reach that far."""
    # Rows that the run has evaluated are not asked again: only the missing ones need budget.
    ids = list(run.examples("dev"))
    sides = (run.baseline, part)
    spending, missing = Spending(run.ledger), 0
    for side in sides:
        known = [o for outcomes in evaluations.known(side, "dev").values() for o in outcomes]
        spending.learn_cost(known)
        missing += len(ids) - len(evaluations.ids(side, "dev"))
    if missing and not spending.claim(_CLAIM, cells=missing):
        return None
    try:
        if part.id != run.baseline.id and not any(evaluations.ids(part, split) for split in ("train", "dev")):
            run.emit(_proposed(part))
        for side in sides:
            await evaluations.ensure(side, "dev", ids)
    except BudgetSpent:
        return None
    finally:
        spending.release(_CLAIM)
    before, after = (evaluations.primary(side, "dev") for side in sides)
    return before, after


def _proposed(part: Candidate) -> Proposed:
    """The selection as the record shows it: a child of the baseline that the user chose."""
    return Proposed(
        parent_id=part.parents[0],
        candidate_id=part.id,
        step=0,
        scope="spans",
        edits=part.edits,
        prompts=part.prompts.as_json(),
    )


def _entry(metric: str, before: Mapping[str, float], after: Mapping[str, float]) -> Metric:
    """What the search rows say, in the shape of an entry of the gate's table."""
    shared = [i for i in before if i in after]
    means = [sum(side[i] for i in shared) / max(1, len(shared)) for side in (before, after)]
    return {
        "metric": metric,
        "role": "search rows",
        "baseline": means[0],
        "best": means[1],
        "difference": means[1] - means[0],
        "n": len(shared),
        "wins": sum(after[i] > before[i] for i in shared),
        "losses": sum(after[i] < before[i] for i in shared),
        "verdict": "not tested",
    }
