"""The engine's judge: openings counted beside the config, decisions by the gate's statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_promptopt._engine.gate import Verdict
from langchain_promptopt.gate.openings import Openings, row_hash
from langchain_promptopt.gate.pairs import pair_outcomes
from langchain_promptopt.gate.planning import Feasibility, feasibility
from langchain_promptopt.gate.verdict import Decision, decide

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_promptopt.recipe import Gate
    from langchain_promptopt.types import Example, Outcome


@dataclass
class GateJudge:
    """Decides for one run and one candidate."""

    run_id: str
    gate: Gate
    metrics: Sequence[str]
    clusters: Mapping[str, str]
    openings: Openings
    persistent: bool = True
    problem: str = ""
    same_model: bool = True
    """False where two models are compared: then two names served are no drift."""
    models: int = 1
    """Models the chain has: more names served than that are drift."""

    def open(self, rows: Sequence[Example], candidate_id: str) -> int:
        """Record the opening before its first paid call."""
        opening = self.openings.record(self.run_id, candidate_id, [row_hash(e.inputs) for e in rows])
        self.persistent, self.problem = opening.persistent, opening.problem
        return opening.number

    def decide(self, baseline: Sequence[Outcome], candidate: Sequence[Outcome], opening: int) -> Verdict:
        """The gate's table. Without a record of openings nothing applies by itself."""
        pairs = pair_outcomes(
            baseline,
            candidate,
            self.clusters,
            metrics=self.metrics,
            same_model=self.same_model,
            models=self.models,
        )
        decision = decide(pairs, self.gate, opening=opening, metrics=self.metrics)
        return self._verdict(decision, opening)

    def _verdict(self, decision: Decision, opening: int) -> Verdict:
        warnings = decision.warnings + ((self.problem,) if self.problem else ())
        return Verdict(
            verdict=decision.verdict,
            metrics=tuple(e.as_json() for e in decision.entries),
            opening=opening,
            reason=decision.reason,
            warnings=warnings,
            may_apply=decision.verdict == "improved" and self.persistent,
            detail=decision.detail,
        )


def what_the_split_shows(rows: Sequence[Example], gate: Gate, openings: Openings, run_id: str) -> Feasibility:
    """Whether these rows can reach the level at all. A resumed run's own opening does not count."""
    opening = openings.number([row_hash(e.inputs) for e in rows], run_id=run_id)
    return feasibility(len({e.cluster for e in rows}), gate, opening)
