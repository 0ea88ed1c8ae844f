"""What `check` found, for people: prompts, splits, cost, and what the held-out rows can prove."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.text import Text

from langchain_promptopt.report import wording
from langchain_promptopt.report.terminal import facts_view, safe_text, table_view

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import RenderableType


def check_view(data: Mapping[str, Any]) -> RenderableType:
    """The whole check; what is not known here is listed as it came."""
    rest = dict(data)
    splits = ", ".join(f"{name} {n}" for name, n in rest.pop("splits", {}).items())
    facts = {
        "run": rest.pop("run_id", ""),
        "method": rest.pop("method", ""),
        "models": ", ".join(f"{role} {wording.model_name(str(m))}" for role, m in rest.pop("models", {}).items()),
        "evaluators": rest.pop("evaluators", ()),
        "rows": splits,
        "rendered": rest.pop("rendered", ""),
    }
    parts: list[RenderableType] = [facts_view(facts), _prompts(rest.pop("prompts", ()))]
    parts += _probes(rest.pop("probes", ()))
    parts += _estimate(rest.pop("estimate", {}))
    parts += _power(rest.pop("test", {}))
    parts += _pilot(rest.pop("pilot", {}))
    for name in ("problems", "notes"):
        lines = rest.pop(name, ())
        parts += [Text(f"\n{name.capitalize()}", style="bold")] if lines else []
        parts += [facts_view(line) if isinstance(line, dict) else safe_text(f"- {line}") for line in lines]
    for name in ("ok", "exit_code"):
        rest.pop(name, None)
    if rest:
        parts += [Text(), facts_view(rest)]
    return Group(*parts)


def _prompts(prompts: Any) -> RenderableType:
    rows = [[p["name"], p["messages"], ", ".join(p["variables"]), p.get("source", "")] for p in prompts]
    return Group(Text(), table_view(("prompt", "messages", "variables", "source"), rows, numbers=[1]))


def _probes(probes: Any) -> list[RenderableType]:
    """What the endpoints said, each with its place."""
    if not probes:
        return []
    rows = [[p["role"], p["name"], p["state"], p["where"], p["detail"]] for p in probes]
    return [Text(), table_view(("asked for free", "name", "said", "where", "detail"), rows)]


def _estimate(levels: Mapping[str, Mapping[str, Any]]) -> list[RenderableType]:
    """Model calls by role, tokens and money, low to high."""
    if not levels:
        return []
    roles = [role for role, n in next(iter(levels.values()))["calls"].items() if n]
    rows = [
        [name, *(wording.number(v["calls"][r]) for r in roles), wording.number(v["total"]), *_about(v)]
        for name, v in levels.items()
    ]
    columns = ("estimate", *(f"{role} calls" for role in roles), "all calls", "tokens, about", "cost, about")
    return [Text(), table_view(columns, rows, numbers=range(1, len(columns)))]


def _pilot(pilot: Mapping[str, Any]) -> list[RenderableType]:
    """What the paid rows told: noise by source, the judges, and what it cost."""
    if not pilot:
        return []
    noise = [
        [name, wording.points(pilot["score"][name]), wording.points(n["model"]), wording.points(n["judge"])]
        for name, n in pilot["noise"].items()
    ]
    facts: dict[str, Any] = {"answers that changed": f"{pilot['answers_that_changed']:.0%}"}
    for name, share in pilot["judge_consistency"].items():
        facts[f"{name} judged alike"] = f"{share:.0%}"
    facts["repeats advised"] = pilot["repeats_advised"]
    facts["rows dropped"] = pilot["dropped"]
    for role, used in pilot["usage"]["by_role"].items():
        tokens = wording.number(used["input_tokens"] + used["output_tokens"])
        facts[f"{role} cost"] = f"{used['calls']} calls, {tokens} tokens, {wording.money(used['usd'])}"
    title = Text(f"\nPilot: {pilot['rows']} search rows, answered twice and judged again", style="bold")
    columns = ("metric", "score", "noise of the model", "noise of the judge")
    after = _estimate(pilot["estimate"])
    return [title, table_view(columns, noise, numbers=(1, 2, 3)), facts_view(facts), *after]


def _about(level: Mapping[str, Any]) -> tuple[str, str]:
    """Tokens and money of a level, to the two figures that such a guess has."""
    tokens = int(level.get("tokens") or 0)
    return wording.number(round(tokens, 2 - len(str(tokens)))), wording.money(level.get("usd"))


def _power(test: Mapping[str, Any]) -> list[RenderableType]:
    """What the held-out rows can show."""
    if not test:
        return []
    can = "can prove a gain" if test.get("possible") else "cannot prove a gain"
    said = f"{test.get('clusters', '?')} independent held-out rows {can}"
    if test.get("alpha") is not None:
        said += f" at level {test['alpha']:.3g}"
    if test.get("reason"):
        said += f": {test['reason']}"
    parts: list[RenderableType] = [Text("\nWhat the test can show", style="bold"), safe_text(said)]
    least = test.get("minimum_detectable_effect")
    if least is not None:
        parts.append(safe_text(f"Smallest gain found 4 times in 5: {wording.points(least)} points."))
    chances = [f"{wording.points(p['gain'])} points {p['power']:.0%}" for p in test.get("power") or ()]
    if chances:
        parts.append(safe_text(f"Chance to find a true gain of {'; '.join(chances)}."))
    return [*parts, *(safe_text(f"- {w}") for w in test.get("warnings") or ())]
