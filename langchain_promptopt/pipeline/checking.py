"""`check`: rows rendered, splits counted, cost estimated, the test's power said, models probed: all free."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_promptopt.optimizer.estimating import estimate_of, retries_seen
from langchain_promptopt.optimizer.plan import Plan, make_plan
from langchain_promptopt.pipeline.tasks import importing_from

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_promptopt.pipeline.prepare import Prepared


@dataclass(frozen=True)
class CheckReport:
    """What is known before the first paid call."""

    ok: bool
    facts: Mapping[str, Any]
    problems: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    pilot: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        found = {"ok": self.ok, **self.facts, "problems": list(self.problems), "notes": list(self.notes)}
        return found | ({"pilot": dict(self.pilot)} if self.pilot else {})


async def check(prepared: Prepared, pilot: int = 0) -> CheckReport:
    """Resolve everything as a run would. Raises UsageError for what a run would refuse."""
    searches = prepared.settings.optimizer_model is not None
    with importing_from(prepared.config.root):
        plan = await make_plan(prepared.task, prepared.settings, searches=searches)
    try:
        facts = _facts(plan)
        found: Mapping[str, Any] = {}
        if pilot:
            from langchain_promptopt.pipeline.pilot import run_pilot

            found = await run_pilot(plan, pilot)
    finally:
        await plan.aclose()
    return CheckReport(plan.shows.possible, facts, tuple(plan.data.problems), (*plan.notes, *retries_seen(plan)), found)


def _facts(plan: Plan) -> dict[str, Any]:
    rows = sum(len(r) for r in plan.data.splits.values())
    return {
        "run_id": plan.run_id,
        "prompts": [
            {"name": p.name, "source": p.source, "messages": len(p.messages), "variables": list(p.variables)}
            for p in plan.baseline.prompts
        ],
        "rendered": f"{rows} rows x {len(plan.baseline.prompts)} prompts",
        "splits": {s: len(r) for s, r in plan.data.splits.items()},
        "models": dict(plan.models),
        "evaluators": [e.key for e in plan.evaluators],
        "method": plan.recipe.name,
        "estimate": estimate_of(plan),
        "test": plan.shows.as_json(),
    }
