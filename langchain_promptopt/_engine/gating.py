"""The held-out decision: both sides fresh and interleaved, every row of the test split, once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from langchain_promptopt._runtime.tracing import marks, span
from langchain_promptopt.events import Tested
from langchain_promptopt.protocols import rng_at
from langchain_promptopt.types import Attempt, Candidate, Cell, Example, Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.runnables import RunnableConfig

    from langchain_promptopt._engine.context import Run
    from langchain_promptopt._engine.evaluations import Evaluations


@dataclass(frozen=True)
class Verdict:
    """What the gate said: "improved", "inconclusive", "no_gain" or "void", with its table."""

    verdict: str
    metrics: tuple[Mapping[str, Any], ...]
    opening: int
    reason: str = ""
    warnings: tuple[str, ...] = ()
    may_apply: bool = False
    detail: Mapping[str, Any] = field(default_factory=dict)


class Judge(Protocol):
    """Counts openings of the test rows and decides; pure given rows apart from the record of openings."""

    def open(self, rows: Sequence[Example], candidate_id: str) -> int:
        """Record that these rows are opened now for a candidate, before the first paid call; the how many-th time."""
        ...

    def decide(self, baseline: Sequence[Outcome], candidate: Sequence[Outcome], opening: int) -> Verdict:
        """The decision on complete rows."""
        ...


async def run_gate(run: Run, evaluations: Evaluations, judge: Judge, best: Attempt, config: RunnableConfig) -> Verdict:
    """Open the test split and decide between the baseline and `best`. Nothing of an unfinished test is shown."""
    found = best.candidate
    where = marks(found, step=found.step, split="test")
    async with span(config, "test", {"candidate_id": found.id}, where) as (_, end):
        run.test_open = True
        opening = judge.open(run.data["test"], best.candidate.id)
        cells = interleaved(run, best.candidate)
        outcomes = await evaluations.ensure_cells(cells)
        base_id = run.baseline.id
        baseline = [o for o in outcomes if o.cell.candidate_id == base_id]
        candidate = [o for o in outcomes if o.cell.candidate_id != base_id]
        verdict = judge.decide(baseline, candidate, opening)
        run.emit(
            Tested(
                metrics=list(verdict.metrics),
                verdict=verdict.verdict,
                opening=opening,
                detail={"reason": verdict.reason, "warnings": list(verdict.warnings), **verdict.detail},
            )
        )
        traces = {c.id: run.traces.get((c.id, "test"), []) for c in (run.baseline, found)}
        end({"verdict": verdict.verdict, "metrics": [dict(m) for m in verdict.metrics], "traces": traces})
    return verdict


def interleaved(run: Run, best: Candidate) -> list[tuple[Candidate, Cell]]:
    """Baseline and candidate by turns on each row and repeat, so that drift meets both alike."""
    ids = list(run.examples("test"))
    rng_at(run.seed, "test-order").shuffle(ids)
    out = []
    for i, example_id in enumerate(ids):
        for repeat in range(run.gate.repeats):
            pair = [(c, Cell(c.id, "test", example_id, repeat)) for c in (run.baseline, best)]
            out += pair if (i + repeat) % 2 == 0 else pair[::-1]
    return out
