"""Runs the experiments of the planted world and writes what came out: one Markdown document and its plots."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.planted_world.directions import (
    Row,
    as_table,
    behind,
    gap_rows,
    gpo_rows,
    half_rows,
    local_rows,
    shuffled_rows,
)
from benchmarks.planted_world.experiments import EXPERIMENTS
from benchmarks.planted_world.planted_report import (
    Line,
    Tell,
    budget_curves,
    run_experiment,
    speed_table,
    step_curves,
    table,
)
from benchmarks.planted_world.shuffled import FalsePositives, as_markdown, false_positives
from benchmarks.planted_world.standings import standings
from langchain_promptopt.presets import recipe_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchmarks.planted_world.traces import Traces

SHUFFLED_METHODS = ("robust", "lpo-apo", "lpo-pe2", "pe2", "gpo")
SHUFFLED = "shuffled-labels"
NAMES = (*EXPERIMENTS, SHUFFLED)
_CURVES = {"presets", "local-global", "gap"}
_READ: dict[str, Callable[[Sequence[Line]], list[Row]]] = {
    "half": half_rows,
    "local-global": local_rows,
    "gpo": gpo_rows,
    "gap": gap_rows,
}


@dataclass
class Measured:
    """What was run: lines by experiment, and the runs on shuffled labels."""

    seeds: dict[str, range] = field(default_factory=dict)
    lines: dict[str, list[Line]] = field(default_factory=dict)
    shuffled: dict[str, FalsePositives] = field(default_factory=dict)


def measure(
    names: Sequence[str], traces: Traces, tell: Tell, *, first_seed: int = 0, seeds: int | None = None
) -> Measured:
    """Run these experiments. `seeds` overrides how many each takes."""
    out = Measured()
    for name in names:
        if name == SHUFFLED:
            picked = out.seeds[name] = range(first_seed, first_seed + (seeds or 100))
            for method in SHUFFLED_METHODS:
                out.shuffled[method] = false_positives(recipe_of(method), picked, 500)
                tell(f"shuffled labels: {method}: {out.shuffled[method].passed} of {len(picked)} passed")
            continue
        experiment = EXPERIMENTS[name]()
        first = first_seed + experiment.first
        picked = out.seeds[name] = range(first, first + (seeds or experiment.seeds))
        out.lines[name] = run_experiment(experiment, picked, traces, tell)
    return out


def write(measured: Measured, folder: Path, command: str) -> list[Path]:
    """`planted.md` and its plots in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in _CURVES & set(measured.lines):
        draw = budget_curves if name == "presets" else step_curves
        path = folder / f"{name}.svg"
        path.write_text(draw(measured.lines[name], EXPERIMENTS[name]().title), "utf-8")
        written.append(path)
    path = folder / "planted.md"
    path.write_text(document(measured, command), "utf-8")
    return [path, *sorted(written)]


def document(measured: Measured, command: str) -> str:
    """The whole document."""
    parts = [
        "# Results of the planted-fault world",
        f"Written by `{command}`; do not edit. No real model took part: see docs/design/003-planted-world.md for what"
        " the world is and what it cannot show, and docs/benchmarks.md for a reading of these tables.",
        "Scores are expected scores over 400 held-out rows. Intervals are 95 % bootstrap intervals over seeds, each"
        " seed a world of its own; differences are paired by seed. Budgets are search calls to the task model.",
        *_directions(measured),
    ]
    for name, lines in measured.lines.items():
        experiment = EXPERIMENTS[name]()
        parts += [f"## {experiment.title}", f"For: {experiment.says}. {_seeds(measured.seeds[name])}"]
        parts += [f"![{experiment.title}]({name}.svg)"] if name in _CURVES else []
        parts += [standings(lines) if name == "presets" else table(lines)]
        if name == "local-global":
            parts += [
                "### To reach the global host's final held-out score",
                "Runs in which the host ended above its start. A twin that never got there counts with all it spent, so"
                " such runs flatter it.",
                speed_table(lines),
            ]
    if measured.shuffled:
        parts += ["## Shuffled labels", _seeds(measured.seeds[SHUFFLED]), as_markdown(measured.shuffled)]
    return "\n\n".join(parts) + "\n"


def _directions(measured: Measured) -> list[str]:
    rows = [row for name, read in _READ.items() if name in measured.lines for row in read(measured.lines[name])]
    rows += shuffled_rows(measured.shuffled)
    out = ["## What was asked, and what was measured", as_table(rows)] if rows else []
    if "presets" in measured.lines:
        ahead = behind(measured.lines["presets"]) or ["Nowhere."]
        out += ["Where a preset has a higher mean than `robust` at the same calls:", "\n".join(ahead)]
    return out


def _seeds(seeds: range) -> str:
    return f"Seeds {seeds[0]}-{seeds[-1]}."
