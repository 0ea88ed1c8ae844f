"""The paired race: how few rows it takes, and that rows nobody needed are never asked for."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_promptopt._engine.archive import Archive
from langchain_promptopt.presets import recipe_of
from langchain_promptopt.protocols import PartialScoring, Progress
from langchain_promptopt.strategies.scoring import CAUTION, FullDev, Lazy, Race, normal_lower, normal_upper
from langchain_promptopt.strategies.selection import ranked, saturation_reason
from langchain_promptopt.types import Attempt, Candidate, Message, Prompt, PromptSet

IDS = tuple(f"r{i:03d}" for i in range(100))
LAZY = Lazy(Race(first=24, beam=1, grow=1.5, z_ahead=1.6449))


def candidate(n):
    return Candidate(PromptSet((Prompt("main", (Message("human", f"variant {n}"),)),)))


OLD, NEW, OTHER = (candidate(n) for n in range(3))


class Table:
    """A bench that answers from a table of scores, and gives at most `left` rows."""

    def __init__(self, scores, left=10_000):
        self.examples = IDS
        self.scores, self.left = {c.id: s for c, s in scores.items()}, left
        self.seen = {c.id: {} for c in scores}
        self.cut = set()

    def known(self, candidate):
        return dict(self.seen[candidate.id])

    async def evaluate(self, candidate, example_ids):
        missing = [i for i in example_ids if i not in self.seen[candidate.id]]
        paid, self.left = missing[: self.left], max(0, self.left - len(missing))
        if len(paid) < len(missing):
            self.cut.add(candidate.id)
        self.seen[candidate.id] |= {i: self.scores[candidate.id][i] for i in paid}
        return self.known(candidate)

    def withheld(self, candidate):
        return candidate.id in self.cut

    def attempt(self, candidate, rows):
        asyncio.run(self.evaluate(candidate, IDS[:rows]))
        known = self.known(candidate)
        return Attempt(candidate, sum(known.values()) / len(known), known)


def right_on(rule):
    return {i: float(rule(n)) for n, i in enumerate(IDS)}


def race(race_, bench, incumbent, *fresh):
    told = asyncio.run(race_.score(fresh, [incumbent], bench))
    return {a.candidate.id: a for a in told}


def test_a_clear_winner_ends_the_race_and_nobody_is_run_further():
    bench = Table({OLD: right_on(lambda n: n % 4 == 0), NEW: right_on(lambda n: n % 4 < 3)})
    told = race(LAZY, bench, bench.attempt(OLD, 24), NEW)
    assert list(told) == [NEW.id]  # the incumbent saw nothing new
    assert len(bench.known(NEW)) == len(bench.known(OLD)) == 24
    assert not told[NEW.id].out
    assert told[NEW.id].score == pytest.approx(0.25 + normal_lower([0.0, 1.0, 1.0, 0.0] * 6, CAUTION))


def test_without_a_clear_winner_both_see_every_row_and_scores_are_means():
    bench = Table({OLD: right_on(lambda n: n % 2), NEW: right_on(lambda n: n % 2 or n == 98)})
    told = race(LAZY, bench, bench.attempt(OLD, 24), NEW)
    assert {i: (a.n, a.score) for i, a in told.items()} == {OLD.id: (100, 0.5), NEW.id: (100, 0.51)}


def test_only_a_lazy_race_runs_the_incumbent_on_further_rows():
    bench = Table({OLD: right_on(lambda n: n % 2), NEW: right_on(lambda n: n % 2)})
    told = race(Race(first=24, beam=1), bench, bench.attempt(OLD, 24), NEW)
    assert list(told) == [NEW.id]
    assert len(bench.known(OLD)) == 24
    assert (LAZY.first(100), LAZY.first(9)) == (24, 9)
    assert not isinstance(Race(), PartialScoring)


def test_one_of_two_close_candidates_does_not_win_early():
    better = right_on(lambda n: n % 4 < 3)
    bench = Table({OLD: right_on(lambda n: n % 4 == 0), NEW: better, OTHER: better})
    told = race(LAZY, bench, bench.attempt(OLD, 24), NEW, OTHER)
    assert told[NEW.id].n == told[OTHER.id].n == 100


def test_a_loser_is_dropped_on_the_rows_it_lost():
    bench = Table({OLD: right_on(lambda n: n % 4 < 3), NEW: right_on(lambda n: n % 4 == 0)})
    told = race(LAZY, bench, bench.attempt(OLD, 24), NEW)
    assert told[NEW.id].out
    assert len(bench.known(OLD)) == 24


def test_rows_that_are_easy_do_not_bring_an_overtaken_prompt_back():
    """The old prompt has seen 24 easy rows, its better successor all: on the same rows it is behind."""
    easy = {i: float(n < 24) for n, i in enumerate(IDS)}
    old = Attempt(OLD, 20 / 24, {i: float(n < 20) for n, i in enumerate(IDS[:24])})
    new = Attempt(NEW, 0.24, easy)
    assert ranked([old, new])[0] is old
    found = LAZY.comparable([old, new], new)
    assert ranked(found)[0].candidate.id == NEW.id
    assert found[1] == new
    assert found[0].score < 0.24


def test_a_few_lucky_rows_at_the_end_of_the_budget_do_not_win():
    odd = right_on(lambda n: n % 2 == 1)
    lucky = right_on(lambda n: (n % 2 == 1) != (n < 7))  # of the first seven rows four won, three lost
    bench = Table({OLD: odd, NEW: lucky})
    incumbent = bench.attempt(OLD, 100)
    bench.left = 30
    told = race(LAZY, bench, incumbent, NEW)
    assert told[NEW.id].n == 30
    assert not told[NEW.id].out
    assert told[NEW.id].score < incumbent.score
    again = LAZY.comparable([incumbent, told[NEW.id]], incumbent)
    assert ranked(again)[0].candidate.id == OLD.id


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1), st.floats(0.1, 3.0))
def test_bounds_stand_on_both_sides_of_the_mean_and_mirror_each_other(differences, z):
    mean = sum(differences) / len(differences)
    assert normal_lower(differences, z) <= mean <= normal_upper(differences, z)
    assert normal_lower(differences, z) == -normal_upper([-d for d in differences], z)


@pytest.mark.parametrize("z", [1.6449, 2.0])
def test_a_prompt_that_is_no_better_seldom_wins_early(z):
    """Four looks at a fair coin: the chance to pass one of them stays within four times that of a single look."""
    wins = 0
    for seed in range(300):
        rng = Random(seed)
        bench = Table({c: {i: float(rng.random() < 0.6) for i in IDS} for c in (OLD, NEW)})
        strategy = Lazy(Race(first=24, beam=1, grow=1.5, z_ahead=z))
        told = race(strategy, bench, bench.attempt(OLD, 24), NEW)
        wins += not told[NEW.id].out and told[NEW.id].n < 100
    assert wins / 300 < 4 * {1.6449: 0.05, 2.0: 0.023}[z]


def test_bounds_that_narrow_end_a_race_between_equals_sooner():
    def rows_seen(narrow):
        seen = 0
        for seed in range(60):
            rng = Random(seed)
            bench = Table({c: {i: float(rng.random() < 0.6) for i in IDS} for c in (OLD, NEW)})
            strategy = Lazy(Race(first=24, beam=1, grow=1.5, z_ahead=1.6449, narrow=narrow))
            race(strategy, bench, bench.attempt(OLD, 24), NEW)
            seen += len(bench.known(NEW))
        return seen

    assert rows_seen(narrow=True) < 0.8 * rows_seen(narrow=False)


# ------------------------------------------------------------------ a leader that few rows chose


class Silent:
    """A run that only holds its recipe and its sizes."""

    def __init__(self, recipe):
        self.recipe, self.data, self.said = recipe, {"dev": IDS}, []

    def emit(self, event):
        self.said.append(event)


def led(scoring):
    """A archive in which NEW took the lead from OLD by 24 lucky rows."""
    recipe = replace(recipe_of("robust"), scoring=scoring)
    archive = Archive(Silent(recipe))
    bench = Table({OLD: right_on(lambda n: n % 10 > 2), NEW: right_on(lambda n: n < 24 or n % 10 > 6)})
    archive.begin(bench.attempt(OLD, 24), [])
    told = asyncio.run(scoring.score([NEW], archive.kept, bench))
    archive.admit(told, 1)
    assert archive.leader.candidate == NEW
    return archive, bench


def test_a_leader_that_few_rows_chose_meets_the_one_before_it_once_nothing_gains():
    archive, bench = led(LAZY)
    assert archive.rival(idle=False) is None
    for t in (2, 3, 4):
        archive.admit((), t)
    rival = archive.rival(idle=False)
    assert rival.candidate == OLD
    archive.admit(asyncio.run(LAZY.catch_up((archive.leader, rival), bench)), 5, rival)
    assert (archive.leader.candidate, archive.leader.n) == (OLD, 100)
    assert [a.candidate for a in archive.kept] == [OLD]
    assert archive.stalled == 0  # a better one leads again: the search goes on from there
    assert archive.dropped == [{"candidate_id": NEW.id, "why": "score 0.480 is below the kept 0.700"}]
    assert archive.rival(idle=True) is None  # it has seen every row


def test_seeds_race_with_a_baseline_that_has_seen_a_part_of_the_rows():
    """The baseline's first rows are easy; on the same rows the seed is better."""
    bench = Table({OLD: right_on(lambda n: n < 16), NEW: right_on(lambda n: n < 60), OTHER: right_on(lambda _: False)})
    first = bench.attempt(OLD, 16)
    found = asyncio.run(LAZY.score([NEW, OTHER], [first], bench))
    archive = Archive(Silent(replace(recipe_of("robust"), scoring=LAZY)))
    archive.begin(first, found)
    assert archive.leader.candidate == NEW
    assert [a.candidate for a in archive.trajectory] == [OLD, NEW, OTHER]
    assert OTHER not in [a.candidate for a in archive.kept]  # dropped by the race


def test_a_search_with_nothing_else_to_do_plays_the_rematch_at_once_and_only_once():
    archive, _ = led(LAZY)
    rival = archive.rival(idle=True)
    assert rival.candidate == OLD
    assert archive.rival(idle=True) == rival  # asking changes nothing
    archive.admit((), 2, rival)
    assert archive.rival(idle=True) is None


def test_methods_that_measure_everybody_in_full_know_no_rematch():
    archive, _ = led(LAZY)
    archive.run.recipe = replace(archive.run.recipe, scoring=FullDev())
    assert archive.rival(idle=True) is None


def test_few_rows_without_an_error_do_not_saturate_dev():
    few, all_rows = (Attempt(NEW, 1.0, dict.fromkeys(IDS[:n], 1.0)) for n in (16, 100))
    assert saturation_reason(Progress(1, (few,), dev_size=100)) is None
    assert saturation_reason(Progress(1, (all_rows,), dev_size=100)).kind == "saturated"
