"""The document of the planted world: traces are kept and not run twice, tables say what was measured."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from benchmarks.planted_world.directions import as_table, behind, gap_rows, half_rows, local_rows, shuffled_rows
from benchmarks.planted_world.document import document, measure, write
from benchmarks.planted_world.experiments import BUDGETS, EXPERIMENTS, PAIRS, Arm
from benchmarks.planted_world.planted_report import Line, difference, needs_of, speed_table
from benchmarks.planted_world.shuffled import FalsePositives
from benchmarks.planted_world.standings import best_published, standings
from benchmarks.planted_world.traces import Traces, key_of, run_arm
from langchain_promptopt.bench.world import LOCAL_SHORT
from langchain_promptopt.presets import recipe_of

ARM = Arm("short / pe2", recipe_of("pe2"), LOCAL_SHORT, (220,))


@pytest.fixture(scope="module")
def trace():
    return run_arm((ARM, 0, 220))


def line(name, budget, tests, trace, **more):
    """A line with these held-out scores, one a seed."""
    made = tuple(replace(trace, seed=i, test=t, **more) for i, t in enumerate(tests))
    return Line(replace(ARM, name=name), budget, made)


def test_traces_are_kept_and_run_once(tmp_path):
    kept = Traces(tmp_path / "sub" / "t.jsonl")
    first = kept.of(ARM, 220, range(2))
    lines = (tmp_path / "sub" / "t.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == 2
    again = Traces(tmp_path / "sub" / "t.jsonl", workers=2).of(replace(ARM, name="other"), 220, range(2))
    assert again == first
    assert (tmp_path / "sub" / "t.jsonl").read_text("utf-8").splitlines() == lines


def test_processes_find_what_one_finds():
    def numbers(traces):
        return [replace(t, seconds=0.0) for t in traces.of(ARM, 220, range(2))]

    assert numbers(Traces(workers=2)) == numbers(Traces())


def test_keys_go_by_what_decides_a_run():
    keys = {
        key_of(a, s, b)
        for a in (ARM, replace(ARM, recipe=recipe_of("gpo")), replace(ARM, world=replace(LOCAL_SHORT, skill=0.1)))
        for s in (0, 1)
        for b in (220, 500)
    }
    assert len(keys) == 12
    renamed = replace(ARM, name="x", recipe=replace(ARM.recipe, name="y", source="z"))
    assert key_of(renamed, 0, 220) == key_of(ARM, 0, 220)


def test_differences_are_paired_and_standings_compare_at_half_the_calls(trace):
    steps = {"steps_test": (0.2, 0.5), "steps_calls": (100, 200), "steps_dev": (0.2, 0.5), "steps": 1}
    lines = []
    for budget in BUDGETS:
        bonus = budget / 10_000
        lines.append(line("w / robust", budget, [0.6 + bonus, 0.7 + bonus], trace, **steps))
        lines.append(line("w / pe2", budget, [0.5 + bonus, 0.6 + bonus], trace, **steps))
        lines.append(line("w / lpo-gpo", budget, [0.9, 0.9], trace, **steps))
    assert difference(lines[0], lines[1]).low == pytest.approx(0.1)
    assert best_published(lines, "w", 250) == "pe2"  # the best of all is not published
    said = standings(lines)
    assert "| pe2 | **+0.100** [+0.100, +0.100]" in said
    assert "| pe2 | **+0.075** [+0.075, +0.075]" in said  # 250 calls against 500
    assert [row[2] for row in half_rows(lines)] == ["reaches it"] * 3
    assert all("`lpo-gpo` (new)" in x and "`pe2`" not in x for x in behind(lines))


def test_local_against_global_counts_those_who_never_get_there(trace):
    host = replace(trace, start=0.2, steps_test=(0.2, 0.3, 0.4), steps_calls=(100, 200, 300), steps_dev=(0.1, 0.2, 0.3))
    quick = replace(host, steps_test=(0.2, 0.4, 0.4))
    never = replace(host, steps_test=(0.2, 0.3, 0.3), steps=2, search_calls=300)
    stuck = replace(host, steps_test=(0.2, 0.2, 0.2))
    found = needs_of([(host, quick), (host, never), (stuck, quick)])
    assert [(n.host, n.twin, n.missed) for n in found] == [((2, 300), (1, 200), False), ((2, 300), (2, 300), True)]
    lines = []
    for world in ("long", "rewrite"):
        for a, b in PAIRS:
            lines += [
                Line(replace(ARM, name=f"{world} / {a}"), 2000, (host, host)),
                Line(replace(ARM, name=f"{world} / {b}", against=f"{world} / {a}"), 2000, (quick, quick)),
            ]
    assert "| **long / all five** | 10 | 0 | 2.000 [2.000, 2.000] | 1.500 [1.500, 1.500] |" in speed_table(lines)
    rows = local_rows(lines)
    assert {r[2] for r in rows if r[0].startswith("R1")} == {"no difference"}
    assert any("3.4" in r[0] and r[2] == "holds" for r in rows)


def test_readings_say_what_does_not_hold(trace):
    small, large = (line(f"w / {m}", 1000, [0.5, 0.5], trace, dev=d) for m, d in (("robust", 0.6), ("lpo-pe2", 0.52)))
    assert [r[2] for r in gap_rows([small, large])] == ["does not hold"]
    bad = shuffled_rows({"pe2": FalsePositives(100, 100, 12, 0.025)})
    assert bad[0][2] == "does not hold"
    assert as_table(bad).count("\n") == 2


def test_the_document_is_written_whole(tmp_path):
    measured = measure(["gap"], Traces(), lambda _: None, seeds=1, first_seed=5)
    measured.seeds["shuffled-labels"] = range(3)
    measured.shuffled["pe2"] = FalsePositives(3, 2, 0, 0.025)
    paths = write(measured, tmp_path, "the command")
    text = paths[0].read_text("utf-8")
    for said in ("`the command`", "Seeds 5-5.", "R5", "R6", "](gap.svg)", EXPERIMENTS["gap"]().title):
        assert said in text
    assert ET.fromstring((tmp_path / "gap.svg").read_text("utf-8")).tag.endswith("svg")
    assert document(measured, "the command") == text
