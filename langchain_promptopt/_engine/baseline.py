"""The baseline's scores looked at before anything else is paid for (product 7.7, 10.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_promptopt.errors import DataError, EvaluatorError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_promptopt._engine.context import Run
    from langchain_promptopt.types import Outcome

_UNSCORABLE = 0.1
"""Share of rows an evaluator may break on before the run is refused."""


def check_baseline(run: Run, outcomes: Sequence[Outcome]) -> None:
    """Raise where the set-up is broken: evaluators that fail, or scores that are all 0 or all 1.

    Raises:
        EvaluatorError: Evaluators gave no score for too many rows.
        DataError: With one row, its answer and what went wrong on it.
    """
    problem = baseline_problem(run, outcomes)
    if problem is not None:
        raise problem


def baseline_problem(run: Run, outcomes: Sequence[Outcome]) -> EvaluatorError | DataError | None:
    """What looks broken about these outcomes; None where nothing does."""
    broken = [o for o in outcomes if o.failure is not None and o.failure.kind == "evaluator_error"]
    if len(broken) > _UNSCORABLE * len(outcomes):
        msg = f"evaluators failed on {len(broken)} of {len(outcomes)} baseline rows"
        mend = "Call the evaluator once by hand on this row; rows it cannot judge should be left out of the data."
        return EvaluatorError(msg, **_shown(run, broken[0]), mend=mend)
    scores = {run.objective.value(o.scores) for o in outcomes if not o.dropped}
    if len(outcomes) < 2 or len(scores) != 1 or next(iter(scores)) not in {0.0, 1.0}:
        return None
    value = next(iter(scores))
    msg = f"the baseline scores {value:g} on all {len(outcomes)} dev rows"
    mend = (
        "Look at this row: is the evaluator reading the right field, and does the chain answer at all?"
        if not value
        else "There is nothing to improve on these rows; use harder ones."
    )
    return DataError(msg, **_shown(run, outcomes[0]), mend=mend)


def _shown(run: Run, outcome: Outcome) -> dict[str, str]:
    """One row with its answer, which only the journal still has, and its failure."""
    example = run.examples(outcome.cell.split)[outcome.cell.example_id]
    answer = run.journal.cells.get(outcome.cell, outcome).output
    told = f"inputs {dict(example.inputs)!r:.300}, expected {dict(example.outputs)!r:.200}, answer {answer!r:.300}"
    failed = f", {outcome.failure.kind}: {outcome.failure.message:.300}" if outcome.failure is not None else ""
    return {"where": f"row {example.id!r}", "row_text": f": {told}{failed}"}
