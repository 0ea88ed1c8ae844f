"""Keep what works: a child must still get right what its batch showed as right (algorithms 6.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_promptopt._engine.tasks import together
from langchain_promptopt.events import Rejected

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_promptopt._engine.context import Run
    from langchain_promptopt._engine.evaluations import Evaluations
    from langchain_promptopt._engine.line import Line
    from langchain_promptopt.types import Candidate


def rows_to_keep(run: Run, line: Line) -> list[str]:
    """Train rows of the batch that each child of the line is run on; none unless the guards ask for it."""
    return [s.example_id for s in line.batch.correct] if run.recipe.guards.keep_right else []


async def unbroken(run: Run, evaluations: Evaluations, line: Line, made: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The children that broke none of these rows; the others are journaled as refused, before any dev row is spent."""
    rows = rows_to_keep(run, line)
    if not rows or not made:
        return tuple(made)
    distinct = {c.id: c for c in made}.values()
    await together(evaluations.ensure(c, "train", rows, alone=True) for c in distinct)
    before = {s.example_id: s.score for s in line.batch.correct}
    kept = []
    for child in made:
        after = evaluations.primary(child, "train")
        broken = [i for i in rows if i in after and after[i] < before[i]]
        if broken:
            detail = f"{len(broken)} of {len(rows)} rows that were right no longer are, the first is {broken[0]!r}"
            run.emit(Rejected(parent_id=line.parent.candidate.id, step=line.step, rule="regression", detail=detail))
        else:
            kept.append(child)
    return tuple(kept)
