"""Runs the experiments of the planted world and tells them as Markdown, JSON and SVG."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from langchain_promptopt.bench.experiments import PAIRS, Arm, Experiment
from langchain_promptopt.bench.numbers import Interval, bootstrap, mean, ratio
from langchain_promptopt.bench.planted import Trace, run_in_world
from langchain_promptopt.bench.plots import line_chart
from langchain_promptopt.strategies.scope import FixedSpans
from langchain_promptopt.testing.planted import World

if TYPE_CHECKING:
    from pathlib import Path

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Line:
    """The traces of one arm at one budget, a trace a seed."""

    arm: Arm
    budget: int
    traces: tuple[Trace, ...]

    @property
    def test(self) -> Interval:
        """Held-out score."""
        return bootstrap([t.test for t in self.traces])

    def as_json(self) -> dict[str, Any]:
        """Means, interval, and every trace."""
        return {"arm": self.arm.name, "budget": self.budget, "test": self.test.as_json()} | {
            "traces": [t.as_json() for t in self.traces]
        }


def run_experiment(experiment: Experiment, seeds: Sequence[int], tell: Tell) -> list[Line]:
    """All arms at all their budgets with these seeds, in order."""
    out = []
    for arm in experiment.arms:
        for budget in arm.budgets:
            line = Line(arm, budget, tuple(_run(arm, seed, budget) for seed in seeds))
            tell(f"{experiment.title}: {arm.name} at {budget} calls: {line.test}")
            out.append(line)
    return out


def _run(arm: Arm, seed: int, budget: int) -> Trace:
    recipe = arm.recipe
    if arm.oracle:
        world = World(arm.world, seed)
        recipe = replace(recipe, scope=FixedSpans(_quotes(world)))
    return run_in_world(recipe, arm.world, seed, budget)


def _quotes(world: World) -> tuple[str, ...]:
    """The planted spans from the start of their sentence, so that each quote stands only once."""
    from langchain_promptopt.bench.spans import faulty_ranges
    from langchain_promptopt.testing.planted_text import units_of

    text = world.start
    starts = [u.start for u in units_of(text)]
    return tuple(text[max(s for s in starts if s <= a) : b] for a, b in faulty_ranges(world, text))


_HEAD = (
    "| arm | budget | start | held-out test | dev | calls used | optimizer calls | steps to best "
    "| gain / 1k calls | gain / 1M tokens | regressions | tags p / r |"
)


def table(lines: Sequence[Line]) -> str:
    """A Markdown table, one row an arm and budget."""
    rows = [_HEAD, "|" + "---|" * 12]
    for line in lines:
        t = line.traces
        gain = mean([x.test - x.start for x in t])
        precision, recall = ([v for x in t if (v := getattr(x, n)) is not None] for n in ("precision", "recall"))
        tags = f"{mean(precision):.2f} / {mean(recall):.2f}" if precision else "-"
        cells = [
            line.arm.name,
            str(line.budget),
            f"{mean([x.start for x in t]):.3f}",
            str(line.test),
            f"{mean([x.dev for x in t]):.3f}",
            f"{mean([x.search_calls for x in t]):.0f}",
            f"{mean([x.optimizer_calls for x in t]):.0f}",
            f"{mean([steps_to_best(x) for x in t]):.1f}",
            f"{1000 * gain / max(1.0, mean([x.search_calls for x in t])):+.3f}",
            f"{1e6 * gain / max(1.0, mean([x.tokens for x in t])):+.2f}",
            f"{mean([x.regressions for x in t]):.1f}",
            tags,
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def steps_to_best(trace: Trace) -> int:
    """The first step with the final best dev score (spec 5.5)."""
    return next(i for i, s in enumerate(trace.steps_dev) if s >= trace.steps_dev[-1])


def calls_to(trace: Trace, target: float) -> tuple[int, int] | None:
    """Steps and calls after which the best scores `target` on test; None when it never does."""
    for step, (score, calls) in enumerate(zip(trace.steps_test, trace.steps_calls, strict=False)):
        if score >= target - 1e-9:
            return step, calls
    return None


def speed_table(lines: Sequence[Line]) -> str:
    """Steps and calls the local twin needs to reach the final held-out score of its global host.

    Seeds where the host never left the start are left out. A twin that never gets there counts with
    all it spent: its true need is larger, so with such seeds the ratio flatters local.
    """
    by_name = {line.arm.name: line for line in lines}
    rows = [
        "| world / host | seeds | never reached | steps: global over local | calls: global over local |",
        "|---|---|---|---|---|",
    ]
    for world in dict.fromkeys(name.split(" / ")[0] for name in by_name):
        for host, twin in PAIRS:
            pairs = list(zip(by_name[f"{world} / {host}"].traces, by_name[f"{world} / {twin}"].traces, strict=True))
            rows.append(_speed_row(f"{world} / {host}", pairs))
    return "\n".join(rows)


def _speed_row(name: str, pairs: Sequence[tuple[Trace, Trace]]) -> str:
    steps: list[tuple[int, int]] = []
    calls: list[tuple[int, int]] = []
    missed = 0
    for host, twin in pairs:
        own = calls_to(host, host.steps_test[-1])
        if own is None or own[0] == 0:
            continue
        other = calls_to(twin, host.steps_test[-1])
        missed += other is None
        there = other or (twin.steps, twin.search_calls)
        steps.append((own[0], max(1, there[0])))
        calls.append((own[1], there[1]))
    if not steps:
        return f"| {name} | 0 | - | - | - |"
    cells = [str(ratio([a for a, _ in p], [b for _, b in p])) for p in (steps, calls)]
    return f"| {name} | {len(steps)} | {missed} | {cells[0]} | {cells[1]} |"


def curves(lines: Sequence[Line], title: str) -> str:
    """Held-out score against search calls, one line an arm."""
    found: dict[str, list[tuple[float, float]]] = {}
    for line in lines:
        found.setdefault(line.arm.name, []).append((float(line.budget), line.test.mean))
    return line_chart(title, "search calls", found)


def step_curves(lines: Sequence[Line], title: str) -> str:
    """Dev and test score of the best at each step, averaged over seeds (a run that ended keeps its last)."""
    found: dict[str, list[tuple[float, float]]] = {}
    for line in lines:
        most = max(t.steps for t in line.traces)
        for kind in ("dev", "test"):
            series = [getattr(t, f"steps_{kind}") for t in line.traces]
            found[f"{line.arm.name} {kind}"] = [
                (float(i), mean([s[min(i, len(s) - 1)] for s in series])) for i in range(most + 1)
            ]
    return line_chart(title, "step", found)


def write(folder: Path, name: str, text: dict[str, str], lines: Sequence[Line]) -> None:
    """The experiment's files: Markdown, JSON, plots."""
    folder.mkdir(parents=True, exist_ok=True)
    for ending, body in text.items():
        (folder / f"{name}{ending}").write_text(body, "utf-8")
    data = json.dumps([line.as_json() for line in lines], indent=1)
    (folder / f"{name}.json").write_text(data, "utf-8")
