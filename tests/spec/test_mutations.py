"""Each guarantee of product section 7, broken on purpose in a copy of the package: its test must turn red.

benchmarks/mutations.py prints the same as a table.
"""

from __future__ import annotations

import pytest

from benchmarks.mutations import MUTANTS, Copy


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    return Copy(tmp_path_factory.mktemp("mutants"))


@pytest.mark.campaign
@pytest.mark.timeout(900)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_a_broken_guarantee_is_noticed(mutant, copy):
    assert copy.is_red(mutant), copy.said


def test_every_guarantee_has_mutants_and_each_still_applies():
    by_number = [m.guarantee for m in MUTANTS]
    assert all(by_number.count(n) >= 2 for n in range(1, 11))
    for mutant in MUTANTS:
        assert mutant.source.read_text(encoding="utf-8").count(mutant.old) == 1, mutant.name
