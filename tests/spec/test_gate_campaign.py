"""The gate on worlds whose truth is known (product contract, section 8).

benchmarks/gate_simulation.py prints the full table, with 2,000 gate runs a line.
"""

from __future__ import annotations

import pytest

from benchmarks.gate_simulation import ALPHA, FIRST, run, worlds

WORLDS = {world.name: world for world in worlds()}
SLOW = {name for name, world in WORLDS.items() if world.nights > 1}


@pytest.mark.campaign
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", sorted(set(WORLDS) - SLOW))
def test_gate_keeps_its_promise(name):
    line = run(WORLDS[name], 400)
    print(line.markdown())
    assert line.kept, line.markdown()


@pytest.mark.campaign
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", sorted(SLOW))
def test_gate_many_openings_of_one_test_set_pass_at_most_at_alpha(name):
    line = run(WORLDS[name], 100)
    print(line.markdown())
    assert line.kept, line.markdown()


@pytest.mark.parametrize("name", ["inert change, binary, n=100", "shuffled labels, binary", "at margin: binary, n=40"])
def test_gate_rarely_passes_what_is_no_better(name):
    line = run(WORLDS[name], 150)
    assert line.interval[0] <= FIRST, line.markdown()


@pytest.mark.parametrize("name", ["planted gain of 10 points, n=400", "planted gain of 20 points, n=100"])
def test_gate_finds_planted_gains_at_the_computed_power(name):
    line = run(WORLDS[name], 150)
    low, high = line.interval
    assert low - 0.03 <= line.world.promise <= high + 0.03, line.markdown()


def test_gate_does_not_pass_a_candidate_that_crashes_right_rows():
    for name in (n for n in WORLDS if "crashes" in n):
        line = run(WORLDS[name], 60)
        assert line.rate <= ALPHA, line.markdown()
