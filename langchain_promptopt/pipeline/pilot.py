"""`check --pilot N`: the baseline twice on some search rows, to see noise and cost before the real run."""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain_promptopt._engine.evaluations import Evaluations
from langchain_promptopt.optimizer.assemble import assemble

if TYPE_CHECKING:
    from langchain_promptopt.optimizer.plan import Plan
    from langchain_promptopt.types import Outcome

_REPEATS = 2


async def run_pilot(plan: Plan, rows: int) -> dict[str, Any]:
    """Scores, disagreement between the two rounds by metric, repeats advised, and what it cost by role."""
    quiet = replace(plan, settings=replace(plan.settings, runs_dir=None))
    ready = assemble(quiet)
    try:
        ids = [e.id for e in plan.data["dev"][:rows]]
        outcomes = await Evaluations(ready.run).ensure(plan.baseline, "dev", ids, repeats=_REPEATS)
    finally:
        ready.close()
    noise = {e.key: _disagreement(outcomes, e.key) for e in plan.evaluators}
    worst = max(noise.values(), default=0.0)
    return {
        "rows": len(ids),
        "score": {e.key: _mean([o.scores[e.key] for o in outcomes if e.key in o.scores]) for e in plan.evaluators},
        "answers_that_changed": _changed(outcomes),
        "disagreement": noise,
        "repeats_advised": 1 if worst <= 0.02 else 2 if worst <= 0.1 else 3,
        "dropped": sum(o.dropped for o in outcomes),
        "usage": ready.run.ledger.as_json(),
    }


def _pairs(outcomes: list[Outcome]) -> list[tuple[Outcome, Outcome]]:
    rounds: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if not outcome.dropped:
            rounds.setdefault(outcome.cell.example_id, []).append(outcome)
    return [(found[0], found[1]) for found in rounds.values() if len(found) == _REPEATS]


def _disagreement(outcomes: list[Outcome], metric: str) -> float:
    """Mean absolute difference of a metric between two rounds on the same rows."""
    return _mean([abs(a.scores.get(metric, 0.0) - b.scores.get(metric, 0.0)) for a, b in _pairs(outcomes)])


def _changed(outcomes: list[Outcome]) -> float:
    """Share of rows whose answer was not the same twice: what the model adds to the noise, before any judge."""
    return _mean([float(a.output != b.output) for a, b in _pairs(outcomes)])


def _mean(values: list[float]) -> float:
    return statistics.fmean(values) if values else 0.0
