"""A whole run: record, search, gate, result. Interruptions leave a journal that can be resumed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_promptopt._engine.evaluations import Evaluations
from langchain_promptopt._engine.gating import Judge, Verdict, run_gate
from langchain_promptopt._engine.search import Found, Search
from langchain_promptopt._engine.spending import Spending
from langchain_promptopt._runtime.tracing import marks, span
from langchain_promptopt.errors import BudgetSpent
from langchain_promptopt.events import Incident, RunFinished, RunStarted
from langchain_promptopt.report.record import final_edits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.runnables import RunnableConfig

    from langchain_promptopt._engine.context import Run
    from langchain_promptopt.types import Candidate

EXIT: Mapping[str, int] = {"improved": 0, "no_gain": 3, "inconclusive": 3, "budget": 4}


@dataclass(frozen=True)
class Ended:
    """How a run ended. `verdict` is None when the gate was not opened."""

    outcome: str
    exit_code: int
    found: Found
    verdict: Verdict | None


@dataclass
class Engine:
    """Runs one `Run` to its end."""

    run: Run
    judge: Judge
    gate_possible: bool = True

    async def finish(self, started: RunStarted, config: RunnableConfig) -> Ended:
        """Search, gate, and the final event. Raises what makes a verdict impossible; the journal is then whole."""
        run = self.run
        names = {"promptopt_run_id": run.run_id, "promptopt_method": run.recipe.name}
        metadata = {**names, **marks(run.baseline, step=0)}
        inputs = {"prompts": run.baseline.prompts.as_json(), "method": run.recipe.name}
        async with span(config, "promptopt", inputs, metadata) as (inner, end):
            run.emit(started)
            evaluations, spending = Evaluations(run), Spending(run.ledger)
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
            return await run_gate(self.run, evaluations, self.judge, found.best, config)
        except BudgetSpent as spent:
            self.run.emit(Incident(role="task", kind="budget", retryable=True, action="stop test", detail=str(spent)))
            return None

    def _outcome(self, found: Found, verdict: Verdict | None) -> str:
        if verdict is not None:
            return "inconclusive" if verdict.verdict == "void" else verdict.verdict
        if found.best.candidate.id != self.run.baseline.id:
            return "budget" if self.gate_possible else "inconclusive"
        return "budget" if found.stopped.startswith("budget") else "no_gain"


def _outputs(outcome: str, baseline: Candidate, found: Found, verdict: Verdict | None) -> dict[str, Any]:
    known = {a.candidate.id: a.candidate for a in found.trajectory}
    return {
        "outcome": outcome,
        "edits": [e.as_json() for e in final_edits(baseline, found.best.candidate, known)],
        "test": [dict(m) for m in verdict.metrics] if verdict is not None else [],
    }
