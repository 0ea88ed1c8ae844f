"""`check`: rows rendered, splits counted, cost estimated, the test's power said, models probed: all free."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_promptopt._langchain.models import endpoint_of, model_name, without_keys
from langchain_promptopt._langchain.probing import probe
from langchain_promptopt._langsmith.probing import probe_langsmith
from langchain_promptopt.optimizer.costs import estimate_of, models_by_role, retries_seen
from langchain_promptopt.optimizer.plan import Plan, make_plan
from langchain_promptopt.pipeline.tasks import importing_from

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_promptopt._runtime.probe import Probe
    from langchain_promptopt.config import Config
    from langchain_promptopt.errors import CredentialsError
    from langchain_promptopt.pipeline.prepare import Prepared


@dataclass(frozen=True)
class CheckReport:
    """What is known before the first paid call."""

    ok: bool
    facts: Mapping[str, Any]
    problems: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    pilot: Mapping[str, Any] = field(default_factory=dict)
    probes: tuple[Probe, ...] = ()
    """What each model's endpoint, and LangSmith where it is used, said about our key."""
    missing: tuple[CredentialsError, ...] = ()
    """Keys that a run would want and that are not set."""

    @property
    def exit_code(self) -> int:
        """0; 2 where a run would be refused, 5 where an endpoint is out of reach."""
        return max((p.exit_code for p in self.probes), default=0) or (0 if self.ok else 2)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        found = {"ok": self.exit_code == 0, "exit_code": self.exit_code, **self.facts}
        found |= {"probes": [p.as_json() for p in self.probes]}
        found |= {"problems": list(self.problems), "notes": list(self.notes)}
        return found | ({"pilot": dict(self.pilot)} if self.pilot else {})


def check_config(config: Config, pilot: int = 0) -> CheckReport:
    """`prepare` and `check` of a configuration, whether or not the keys of its models are set."""
    from langchain_promptopt.pipeline.prepare import prepare

    with without_keys():
        return prepare(config).check(pilot)


async def check(prepared: Prepared, pilot: int = 0) -> CheckReport:
    """Resolve everything as a run would. Raises UsageError for what a run would refuse.

    A key that is not set is told beside all that can be said without it; the pilot is then left out.
    """
    searches = prepared.settings.optimizer_model is not None
    with importing_from(prepared.config.root), without_keys() as missing:
        plan = await make_plan(prepared.task, prepared.settings, searches=searches)
    try:
        facts, probes = _facts(plan), await _probes(plan, prepared.config)
        found: Mapping[str, Any] = {}
        if pilot and not any(p.exit_code for p in probes):
            from langchain_promptopt.pipeline.pilot import run_pilot

            found = await run_pilot(plan, pilot)
    finally:
        await plan.aclose()
    notes = (*plan.notes, *retries_seen(plan))
    return CheckReport(plan.shows.possible, facts, tuple(plan.data.problems), notes, found, probes, tuple(missing))


async def _probes(plan: Plan, config: Config) -> tuple[Probe, ...]:
    """One question an endpoint and model, and one to LangSmith where the run would use it."""
    asked: dict[tuple[str, str], Any] = {}
    for role, models in models_by_role(plan).items():
        for model in models:
            asked.setdefault((model_name(model), endpoint_of(model)), (role, model))
    writes = config.output.push is not None or config.langsmith.experiments
    wanted = [probe(role, model) for role, model in asked.values()]
    return (*await asyncio.gather(*wanted), *await asyncio.to_thread(probe_langsmith, wanted=writes))


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
