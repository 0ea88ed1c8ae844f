"""What `promptopt check` draws in a terminal: the plan, the endpoints, the estimate, the test's power, the pilot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.text import Text

from langchain_promptopt.report import wording
from langchain_promptopt.report.terminal import facts_view, hanging, safe_text, table_view

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import RenderableType

    from langchain_promptopt._runtime.failures import Probe
    from langchain_promptopt.gate import Feasibility
    from langchain_promptopt.pipeline.check import CheckReport, Facts, Pilot, Speed
    from langchain_promptopt.strategies.cost import Assumption, Estimate
    from langchain_promptopt.types import Prompt


def check_view(report: CheckReport, target: str = "") -> RenderableType:
    """The whole check.

    Args:
        report: What was found.
        target: The chain or the prompt as the settings name it, to say where each prompt is.
    """
    facts = report.facts
    parts: list[RenderableType] = [facts_view(_plan(facts)), _prompts(facts.prompts, target)]
    parts += _probes(report.probes, facts.models)
    parts += _estimate(facts.estimate)
    parts += _power(facts.shows, facts.splits.get("test", 0))
    if report.pilot is not None:
        parts += _pilot(report.pilot)
    if report.problems:
        parts.append(Text("\nProblems", style="bold"))
        parts += list(map(facts_view, report.problems))
    if report.notes:
        parts.append(Text("\nNotes", style="bold"))
        parts += [hanging("- ", safe_text(remark)) for remark in report.notes]
    return Group(*parts)


def _plan(facts: Facts) -> dict[str, Any]:
    splits = wording.split_words({"splits": facts.splits, "made": facts.made})
    models = ", ".join(f"{role} {wording.name_in_identity(model)}" for role, model in facts.models.items())
    return {
        "run": facts.run_id,
        "method": facts.method,
        "models": models,
        "evaluators": facts.evaluators,
        "examples": splits,
        "rendered": facts.rendered,
    }


def _prompts(prompts: Iterable[Prompt], target: str) -> RenderableType:
    rows = []
    for p in prompts:
        rows.append([p.name, len(p.messages), ", ".join(p.variables), wording.placed(p.source, target)])
    return Group(Text(), table_view(("prompt", "messages", "variables", "source"), rows, numbers=[1]))


def _probes(probes: Sequence[Probe], models: Mapping[str, str]) -> list[RenderableType]:
    """What the endpoints said, each with its place. An endpoint that two roles share was asked once."""
    if not probes:
        return []
    rows = []
    for p in probes:
        rows.append([", ".join(_roles(p, probes, models)), p.name, p.state, p.where, p.detail])
    title = Text("\nEndpoints, asked without a model call", style="bold")
    return [title, table_view(("role", "model", "answer", "where", "detail"), rows)]


def _roles(probe: Probe, probes: Sequence[Probe], models: Mapping[str, str]) -> list[str]:
    """The role that was asked, and those of the same model that were not."""
    own = {p.role for p in probes}
    roles = [probe.role]
    for role, model in models.items():
        if role not in own and wording.name_in_identity(model) == probe.name:
            roles.append(role)
    return roles


def _estimate(estimate: Estimate) -> list[RenderableType]:
    """Model calls by role, tokens and money, low to high."""
    roles = [role for role, n in estimate.low.calls.items() if n]
    rows = []
    for name, level in (("low", estimate.low), ("likely", estimate.likely), ("high", estimate.high)):
        calls = [wording.number(level.calls[role]) for role in roles]
        rows.append([name, *calls, wording.number(level.total_calls), *_about(level)])
    columns = ("estimate", *(f"{role} calls" for role in roles), "all calls", "tokens, about", "cost, about")
    return [Text(), table_view(columns, rows, numbers=range(1, len(columns)))]


def _about(level: Assumption) -> tuple[str, str]:
    """Tokens and money of a level, to the two figures that such a guess has."""
    tokens = int(level.tokens)
    return wording.number(round(tokens, 2 - len(str(tokens)))), wording.money(level.usd)


def _power(shows: Feasibility, rows: int) -> list[RenderableType]:
    """What the held-out examples can show."""
    can = "can prove a gain" if shows.possible else "cannot prove a gain"
    said = f"{_independent(shows.clusters, rows)} {can} at level {shows.alpha:.3g}"
    if shows.reason:
        said += f": {shows.reason}"
    said = f"{said.rstrip('.')}."
    parts: list[RenderableType] = [Text("\nWhat the test can show", style="bold"), safe_text(said)]
    least = shows.minimum_detectable_effect
    if least is not None:
        parts.append(safe_text(f"A true gain of {wording.points(least)} points is found 4 times in 5."))
    if shows.table:
        chances = ", ".join(f"{c.power:.0%} for {wording.points(c.gain)} points" for c in shows.table)
        parts.append(safe_text(f"Chance to find a smaller or larger one: {chances}."))
    return [*parts, *(hanging("- ", safe_text(warning)) for warning in shows.warnings)]


def _independent(clusters: int, rows: int) -> str:
    if rows == clusters:
        return f"{clusters} independent held-out examples"
    return f"{clusters} independent groups of held-out examples ({rows} in all)"


def _pilot(pilot: Pilot) -> list[RenderableType]:
    """What the paid rows told: noise by source, the judges, and what it cost."""
    noise = []
    for metric, found in pilot.noise.items():
        score = wording.points(pilot.score[metric])
        noise.append([metric, score, wording.points(found.model), wording.points(found.judge)])
    facts: dict[str, Any] = {"answers that changed": f"{pilot.answers_that_changed:.0%}"}
    for metric, share in pilot.judge_consistency.items():
        facts[f"{metric} judged alike"] = f"{share:.0%}"
    facts["repeats advised"] = pilot.repeats_advised
    facts["examples dropped"] = pilot.dropped
    for role, used in pilot.ledger.by_role.items():
        tokens = wording.number(used.input_tokens + used.output_tokens)
        facts[f"{role} cost"] = f"{used.calls} calls, {tokens} tokens, {wording.money(used.usd)}"
    if pilot.speed is not None:
        facts |= _speed(pilot.speed)
    title = Text(f"\nPilot: {pilot.rows} search examples, answered twice and judged again", style="bold")
    columns = ("metric", "score", "noise of the model", "noise of the judge")
    parts = [title, table_view(columns, noise, numbers=(1, 2, 3)), facts_view(facts)]
    return [*parts, Text("\nThe estimate again, with what the pilot used", style="bold"), *_estimate(pilot.estimate)]


def _speed(speed: Speed) -> dict[str, Any]:
    """How long a run takes at the speed that the pilot had."""
    low, likely, high = (wording.duration(speed.run[level]) for level in ("low", "likely", "high"))
    facts = {"an evaluation": wording.duration(speed.evaluation)}
    if speed.reply is not None:
        facts["an optimizer reply"] = f"about {wording.duration(speed.reply)}"
    return facts | {"a whole run": f"about {likely} ({low} to {high}) at this speed"}
