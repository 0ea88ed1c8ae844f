"""The table of presets, read for one question: which method to take, and at how many calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.planted_world.experiments import BUDGETS, OURS
from benchmarks.planted_world.planted_report import difference, find, signed, steps_to_best, tag_cell
from langchain_promptopt.bench.planted import mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.planted_world.planted_report import Line

DEFAULT = "robust"


def standings(lines: Sequence[Line]) -> str:
    """For each world: scores, the default against every preset, the default at half the calls, and what it cost."""
    return "\n\n".join(_world(lines, world) for world in worlds_of(lines))


def worlds_of(lines: Sequence[Line]) -> list[str]:
    """Worlds of the arms, in order."""
    return list(dict.fromkeys(x.name.split(" / ")[0] for x in lines))


def methods_of(lines: Sequence[Line], world: str) -> list[str]:
    """Presets of a world, in order."""
    return list(dict.fromkeys(x.name.split(" / ")[1] for x in lines if x.name.startswith(f"{world} / ")))


def best_published(lines: Sequence[Line], world: str, budget: int) -> str:
    """The loop of the literature with the highest mean held-out score."""
    known = [m for m in methods_of(lines, world) if m not in OURS]
    return max(known, key=lambda m: find(lines, f"{world} / {m}", budget).test.mean)


def _world(lines: Sequence[Line], world: str) -> str:
    first = find(lines, f"{world} / {DEFAULT}")
    start, top = (mean([getattr(t, n) for t in first.traces]) for n in ("start", "ceiling"))
    return "\n\n".join(
        [
            f"### World `{world}`",
            f"Start {start:.3f}, the prompt without faults {top:.3f}.",
            _scores(lines, world),
            f"`{DEFAULT}` minus the preset at the same calls, seed by seed (bold: the interval leaves out 0):",
            _against(lines, world, half=False),
            f"`{DEFAULT}` at half the calls minus the preset at the full number:",
            _against(lines, world, half=True),
            f"What a run at {BUDGETS[2]:,} calls looks like:",
            _detail(lines, world, BUDGETS[2]),
        ]
    )


def _scores(lines: Sequence[Line], world: str) -> str:
    rows = _head("held-out test at", BUDGETS)
    for method in methods_of(lines, world):
        rows.append(
            f"| {method} | " + " | ".join(str(find(lines, f"{world} / {method}", b).test) for b in BUDGETS) + " |"
        )
    best = [f"`{best_published(lines, world, b)}`" for b in BUDGETS]
    return "\n".join([*rows, f"| *best published* | {' | '.join(best)} |"])


def _against(lines: Sequence[Line], world: str, *, half: bool) -> str:
    budgets = BUDGETS[1:] if half else BUDGETS
    rows = _head("against", budgets)
    for method in methods_of(lines, world):
        if method == DEFAULT and not half:
            continue
        cells = [
            signed(
                difference(
                    find(lines, f"{world} / {DEFAULT}", b // 2 if half else b), find(lines, f"{world} / {method}", b)
                )
            )
            for b in budgets
        ]
        rows.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _detail(lines: Sequence[Line], world: str, budget: int) -> str:
    rows = [
        "| preset | dev - test | search calls | optimizer calls | steps | steps to best | gain / 1k calls "
        "| gain / 1M tokens | rows made worse | tags p / r |",
        "|" + "---|" * 10,
    ]
    for method in methods_of(lines, world):
        t = find(lines, f"{world} / {method}", budget).traces
        gain = mean([x.test - x.start for x in t])
        cells = [
            method,
            f"{mean([x.dev - x.test for x in t]):+.3f}",
            f"{mean([x.search_calls for x in t]):.0f}",
            f"{mean([x.optimizer_calls for x in t]):.0f}",
            f"{mean([x.steps for x in t]):.1f}",
            f"{mean([steps_to_best(x) for x in t]):.1f}",
            f"{1000 * gain / max(1.0, mean([x.search_calls for x in t])):+.3f}",
            f"{1e6 * gain / max(1.0, mean([x.tokens for x in t])):+.2f}",
            f"{mean([x.regressions for x in t]):.1f}",
            tag_cell(t),
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _head(what: str, budgets: Sequence[int]) -> list[str]:
    return [f"| {what} | " + " | ".join(f"{b:,}" for b in budgets) + " |", "|" + "---|" * (len(budgets) + 1)]
