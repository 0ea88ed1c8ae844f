"""Tells the experiments of the planted world: Markdown tables and SVG curves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from benchmarks.planted_world.experiments import PAIRS, Arm, Experiment
from benchmarks.planted_world.plots import Panel, chart_page
from langchain_promptopt.bench.planted import Interval, bootstrap, mean, ratio

if TYPE_CHECKING:
    from benchmarks.planted_world.traces import Traces
    from langchain_promptopt.bench.planted import Trace

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Line:
    """The traces of one arm at one budget, a trace a seed."""

    arm: Arm
    budget: int
    traces: tuple[Trace, ...]

    @cached_property
    def test(self) -> Interval:
        """Held-out score."""
        return bootstrap([t.test for t in self.traces])

    @property
    def name(self) -> str:
        """The arm's."""
        return self.arm.name


def run_experiment(experiment: Experiment, seeds: Sequence[int], traces: Traces, tell: Tell) -> list[Line]:
    """All arms at all their budgets with these seeds, in order."""
    traces.ensure((arm, seed, budget) for arm in experiment.arms for budget in arm.budgets for seed in seeds)
    out = []
    for arm in experiment.arms:
        for budget in arm.budgets:
            line = Line(arm, budget, traces.of(arm, budget, seeds))
            tell(f"{experiment.title}: {arm.name} at {budget} calls: {line.test}")
            out.append(line)
    return out


def find(lines: Sequence[Line], name: str, budget: int | None = None) -> Line:
    """The line of an arm, at a budget where it has several."""
    return next(x for x in lines if x.name == name and budget in {None, x.budget})


def difference(a: Line, b: Line, of: Callable[[Trace], float] = lambda t: t.test) -> Interval:
    """`a` minus `b`, seed by seed."""
    return bootstrap([of(x) - of(y) for x, y in zip(a.traces, b.traces, strict=True)])


_HEAD = (
    "| arm | budget | start | held-out test | minus the arm it is compared with | dev | dev - test | calls used "
    "| optimizer calls | steps to best | gain / 1k calls | gain / 1M tokens | rows made worse | tags p / r |"
)


def table(lines: Sequence[Line]) -> str:
    """A Markdown table, one row an arm and budget."""
    return "\n".join([_HEAD, "|" + "---|" * 14, *(_row(line, lines) for line in lines)])


def _row(line: Line, lines: Sequence[Line]) -> str:
    t, base = line.traces, line.arm.against
    gain = mean([x.test - x.start for x in t])
    cells = [
        line.name,
        str(line.budget),
        f"{mean([x.start for x in t]):.3f}",
        str(line.test),
        signed(difference(line, find(lines, base, line.budget))) if base else "-",
        f"{mean([x.dev for x in t]):.3f}",
        f"{mean([x.dev - x.test for x in t]):+.3f}",
        f"{mean([x.search_calls for x in t]):.0f}",
        f"{mean([x.optimizer_calls for x in t]):.0f}",
        f"{mean([steps_to_best(x) for x in t]):.1f}",
        f"{1000 * gain / max(1.0, mean([x.search_calls for x in t])):+.3f}",
        f"{1e6 * gain / max(1.0, mean([x.tokens for x in t])):+.2f}",
        f"{mean([x.regressions for x in t]):.1f}",
        tag_cell(t),
    ]
    return "| " + " | ".join(cells) + " |"


def tag_cell(traces: Sequence[Trace]) -> str:
    """Mean tag precision and recall of the traces that marked anything."""
    precision = [t.precision for t in traces if t.precision is not None]
    recall = [t.recall for t in traces if t.recall is not None]
    return f"{mean(precision):.2f} / {mean(recall):.2f}" if precision else "-"


def signed(interval: Interval) -> str:
    """A difference with its interval, marked where that leaves out 0."""
    mark = "**" if interval.low > 0 or interval.high < 0 else ""
    return f"{mark}{interval.mean:+.3f}{mark} [{interval.low:+.3f}, {interval.high:+.3f}]"


def steps_to_best(trace: Trace) -> int:
    """The first step with the final best dev score (spec 5.5)."""
    return next(i for i, s in enumerate(trace.steps_dev) if s >= trace.steps_dev[-1])


def calls_to(trace: Trace, target: float) -> tuple[int, int] | None:
    """Steps and calls after which the best scores `target` on test; None when it never does."""
    for step, (score, calls) in enumerate(zip(trace.steps_test, trace.steps_calls, strict=False)):
        if score >= target - 1e-9:
            return step, calls
    return None


# ------------------------------------------------------------------ how much sooner


@dataclass(frozen=True)
class Need:
    """Steps and calls until a host's final held-out score: what the host took, and its twin.

    `missed`: the twin never got there; it counts with all it spent.
    """

    seed: int
    host: tuple[int, int]
    twin: tuple[int, int]
    missed: bool


def needs_of(pairs: Sequence[tuple[Trace, Trace]]) -> list[Need]:
    """One for each seed where the host ended above its start."""
    out = []
    for host, twin in pairs:
        own, other = calls_to(host, host.steps_test[-1]), calls_to(twin, host.steps_test[-1])
        if own is not None and own[0] > 0 and host.steps_test[-1] > host.start:
            steps, calls = other or (twin.steps, twin.search_calls)
            out.append(Need(host.seed, own, (max(1, steps), calls), other is None))
    return out


def speed_table(lines: Sequence[Line]) -> str:
    """Steps and calls the local twin needs to reach the final held-out score of its global host."""
    rows = [
        "| world / host | runs | twin never reached it | steps: global over local | calls: global over local |",
        "|---|---|---|---|---|",
    ]
    for world in dict.fromkeys(x.name.split(" / ")[0] for x in lines):
        by_host = {host: needs_of(_pairs(lines, world, host, twin)) for host, twin in PAIRS}
        rows += [_speed_row(f"{world} / {host}", needs) for host, needs in by_host.items()]
        rows.append(_speed_row(f"**{world} / all five**", [n for needs in by_host.values() for n in needs]))
    return "\n".join(rows)


def _pairs(lines: Sequence[Line], world: str, host: str, twin: str) -> list[tuple[Trace, Trace]]:
    return list(zip(find(lines, f"{world} / {host}").traces, find(lines, f"{world} / {twin}").traces, strict=True))


def _speed_row(name: str, needs: Sequence[Need]) -> str:
    if not needs:
        return f"| {name} | 0 | - | - | - |"
    cells = [str(speed(needs, i)) for i in (0, 1)]
    return f"| {name} | {len(needs)} | {sum(n.missed for n in needs)} | {cells[0]} | {cells[1]} |"


def speed(needs: Sequence[Need], which: int) -> Interval:
    """Host over twin in steps (0) or calls (1); seeds are resampled as wholes, since their runs share a world."""
    seeds = sorted({n.seed for n in needs})
    above = [float(sum(n.host[which] for n in needs if n.seed == s)) for s in seeds]
    return ratio(above, [float(sum(n.twin[which] for n in needs if n.seed == s)) for s in seeds])


# ------------------------------------------------------------------ curves

_SHOWN = ("robust", "lpo-apo", "lpo-pe2", "lpo-ape", "pe2", "apo", "opro", "gpo")


def budget_curves(lines: Sequence[Line], title: str) -> str:
    """Held-out score against search calls: a chart a world, a line a preset; most presets in grey."""
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for line in lines:
        world, _, method = line.name.partition(" / ")
        found.setdefault(world, {}).setdefault(method, []).append((float(line.budget), line.test.mean))
    panels = [
        Panel(world, "search calls", methods, log_x=True, faint=frozenset(set(methods) - set(_SHOWN)))
        for world, methods in found.items()
    ]
    return chart_page(title, panels)


def step_curves(lines: Sequence[Line], title: str) -> str:
    """Dev and test score of the best at each step, averaged over seeds (a run that ended keeps its last)."""
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for line in lines:
        world, _, method = line.name.rpartition(" / ")
        pair = next((f"{a} and {b}" for a, b in PAIRS if method in {a, b}), "")
        where = " / ".join(x for x in (world, pair) if x) or title
        panels.setdefault(where, {})
        for kind in ("test", "dev"):
            panels[where][f"{method} {kind}"] = _steps(line.traces, kind)
    return chart_page(title, [Panel(name, "step", found) for name, found in panels.items()])


def _steps(traces: Sequence[Trace], kind: str) -> list[tuple[float, float]]:
    series = [getattr(t, f"steps_{kind}") for t in traces]
    most = max(t.steps for t in traces)
    return [(float(i), mean([s[min(i, len(s) - 1)] for s in series])) for i in range(most + 1)]
