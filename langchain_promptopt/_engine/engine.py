"""The held-out decision: both sides fresh and interleaved, every row of the test split, once.

A whole run: record, search, gate, result. Interruptions leave a journal that can be resumed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from langchain_promptopt._engine.budget import Spending
from langchain_promptopt._engine.evaluations import Evaluations
from langchain_promptopt._engine.search import Found, Search
from langchain_promptopt._runtime.tracing import marks, span
from langchain_promptopt.errors import BudgetSpent
from langchain_promptopt.events import Incident, Opened, RunFinished, RunStarted, Tested
from langchain_promptopt.protocols import rng_at
from langchain_promptopt.types import Attempt, Candidate, Cell, Example, Outcome
from langchain_promptopt.types.edits import final_edits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.runnables import RunnableConfig

    from langchain_promptopt._engine.run import Run
    from langchain_promptopt.types import Candidate, Outcomes


@dataclass(frozen=True)
class Verdict:
    """What the gate said: "improved", "inconclusive", "no_gain" or "void", with its table."""

    verdict: Literal["improved", "inconclusive", "no_gain", "void"]
    metrics: tuple[Mapping[str, Any], ...]
    opening: int
    reason: str = ""
    warnings: tuple[str, ...] = ()
    may_apply: bool = False
    detail: Mapping[str, Any] = field(default_factory=dict)


class Judge(Protocol):
    """Counts openings of the test rows and decides; pure given rows apart from the record of openings."""

    def open(self, rows: Sequence[Example], candidate_id: str, nonce: str) -> int:
        """Record that these rows are opened now for a candidate, before the first paid call; the how many-th time.

        `nonce` is the mark of this opening in the run's journal: with the same mark it is the same opening.
        """
        ...

    def decide(self, baseline: Sequence[Outcome], candidate: Sequence[Outcome], opening: int) -> Verdict:
        """The decision on complete rows."""
        ...


UNENFORCED = (
    'children were made with enforce="audit" or "off", so their edits may lie outside the marked places: nothing is'
    " applied by itself"
)


async def run_gate(
    run: Run, evaluations: Evaluations, judge: Judge, best: Attempt, config: RunnableConfig, *, enforced: bool = True
) -> Verdict:
    """Open the test split and decide between the baseline and `best`. Nothing of an unfinished test is shown.

    Without `enforced`, a child on the way to `best` was made without keeping it to the marked places; a gain
    then counts, but nothing is applied by itself (product 10.15).
    """
    found = best.candidate
    where = marks(found, step=found.step, split="test")
    async with span(config, "test", {"candidate_id": found.id}, where) as (_, end):
        run.state.test_open = True
        run.emit(Opened(candidate_id=found.id, rows=len(run.data["test"])))
        run.journal.flush()  # the mark stands on disk before anything is paid for the test
        opening = judge.open(run.data["test"], found.id, run.journal.opened[found.id])
        cells = interleaved(run, best.candidate)
        outcomes = await evaluations.ensure_cells(cells)
        base_id = run.baseline.id
        baseline = [o for o in outcomes if o.cell.candidate_id == base_id]
        candidate = [o for o in outcomes if o.cell.candidate_id != base_id]
        verdict = judge.decide(baseline, candidate, opening)
        if not enforced:
            verdict = replace(
                verdict,
                may_apply=False,
                warnings=(*verdict.warnings, UNENFORCED),
                detail={**verdict.detail, "unenforced": True},
            )
        run.emit(
            Tested(
                metrics=list(verdict.metrics),
                verdict=verdict.verdict,
                opening=opening,
                detail={"reason": verdict.reason, "warnings": list(verdict.warnings), **verdict.detail},
            )
        )
        traces = {c.id: run.tracers.traces.get((c.id, "test"), []) for c in (run.baseline, found)}
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


# ------------------------------------------------------------ A whole run: record, search, gate, result. Interrupt

EXIT: Mapping[Outcomes, int] = {"improved": 0, "no_gain": 3, "inconclusive": 3, "budget": 4}


@dataclass(frozen=True)
class Ended:
    """How a run ended. `verdict` is None when the gate was not opened."""

    outcome: Outcomes
    exit_code: int
    found: Found
    verdict: Verdict | None


@dataclass
class Engine:
    """Runs one `Run` to its end."""

    run: Run
    judge: Judge
    gate_possible: bool = True
    evaluations: Evaluations | None = None
    """What the run has evaluated, once it began."""

    async def finish(self, started: RunStarted, config: RunnableConfig) -> Ended:
        """Search, gate, and the final event. Raises what makes a verdict impossible; the journal is then whole."""
        run = self.run
        names = {"promptopt_run_id": run.run_id, "promptopt_method": run.recipe.name}
        metadata = {**names, **marks(run.baseline, step=0)}
        inputs = {"prompts": run.baseline.prompts.as_json(), "method": run.recipe.name}
        async with span(config, "promptopt", inputs, metadata) as (inner, end):
            run.emit(started)
            evaluations = self.evaluations = Evaluations(run)
            spending = Spending(run.ledger)
            if self.gate_possible:
                spending.reserve_test(2 * run.gate.repeats * len(run.data["test"]))
            found = await Search(run, evaluations, spending).found(inner)
            verdict = await self._verdict(evaluations, found, inner)
            outcome = self._outcome(found, verdict)
            run.emit(
                RunFinished(
                    outcome=outcome,
                    exit_code=EXIT[outcome],
                    best_candidate_id=found.best.candidate.id,
                    usage=run.ledger.as_json(),
                    stopped=found.stopped,
                )
            )
            end(_outputs(outcome, run.baseline, found, verdict))
        return Ended(outcome, EXIT[outcome], found, verdict)

    async def _verdict(self, evaluations: Evaluations, found: Found, config: RunnableConfig) -> Verdict | None:
        """None when there is nothing to test, no test to run it on, or nothing left to pay for it."""
        if found.best.candidate.id == self.run.baseline.id or not self.gate_possible:
            return None
        try:
            return await run_gate(self.run, evaluations, self.judge, found.best, config, enforced=found.enforced)
        except BudgetSpent as spent:
            self.run.emit(Incident(role="task", kind="budget", retryable=True, action="stop test", detail=str(spent)))
            return None

    def _outcome(self, found: Found, verdict: Verdict | None) -> Outcomes:
        if verdict is not None:
            return "inconclusive" if verdict.verdict == "void" else verdict.verdict
        if found.best.candidate.id != self.run.baseline.id:
            return "budget" if self.gate_possible else "inconclusive"
        return "budget" if found.stopped.kind == "budget" else "no_gain"


def _outputs(outcome: str, baseline: Candidate, found: Found, verdict: Verdict | None) -> dict[str, Any]:
    known = {a.candidate.id: a.candidate for a in found.trajectory}
    return {
        "outcome": outcome,
        "edits": [e.as_json() for e in final_edits(baseline, found.best.candidate, known)],
        "test": [dict(m) for m in verdict.metrics] if verdict is not None else [],
    }
