"""A budget is spent while gains come (product 11.11): no step limit under it, evidence again, gains that add up."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random
from statistics import fmean

from langchain_promptopt import Budget, optimize
from langchain_promptopt.bench.planted import play
from langchain_promptopt.presets import lpo_pe2, recipe_of
from langchain_promptopt.protocols import Progress
from langchain_promptopt.strategies import ErrorBatches, OwnEvidence, Steps
from langchain_promptopt.strategies.selection import plateau_reason
from langchain_promptopt.strategies.trials import Trial
from langchain_promptopt.testing.samples import SampleTrainBench, sample_candidate
from langchain_promptopt.types import Attempt, Candidate, Edit, Message, Prompt, PromptSet, Span
from tests.support.tasks import chain, optimizer, rows

IDS = [f"t{i}" for i in range(40)]


def run(method, model=None, **more):
    return optimize(
        chain(),
        data=rows(train=12, dev=16),
        evaluators=["exact_match"],
        optimizer_model=model or optimizer(),
        method=method,
        runs_dir=None,
        openings=None,
        **more,
    )


def steps_of(result):
    return [e["data"]["step"] for e in result.events() if e["type"] == "selected"]


def test_step_limits_hold_without_a_budget_only():
    few = replace(recipe_of("robust"), stop=Steps(limit=2, least_errors=0))
    free, limited = run(few), run(few, budget=Budget(search_calls=400))
    assert len(steps_of(free)) <= 2
    assert limited.stopped.kind in {"budget", "saturated", "steps", "plateau", "nothing_left"}
    assert len(steps_of(limited)) >= len(steps_of(free))


def test_under_a_budget_each_gain_grants_as_many_steps_as_the_limit():
    """Two steps are allowed; with a budget the search goes on two steps beyond the last gain, and no further."""
    useless = optimizer(lambda _: "no idea")
    recipe = replace(lpo_pe2(), stop=Steps(limit=2, least_errors=0))
    result = run(recipe, useless, budget=Budget(search_calls=100_000))
    assert (len(steps_of(result)), result.stopped.kind) == (2, "steps")


def test_a_search_that_spends_nothing_ends_under_a_budget_of_any_kind():
    recipe = replace(recipe_of("robust"), stop=Steps(limit=6, patience=3, least_errors=0))
    for budget in (Budget(search_calls=10**6), Budget(seconds=10**6)):
        result = run(recipe, optimizer(lambda _: "no idea"), budget=budget)
        assert result.stopped.kind in {"plateau", "steps", "nothing_left"}


def test_patience_is_measured_in_evidence_under_a_budget():
    best = tuple(Attempt(sample_candidate(0), 0.5, {"d0": 0.5}) for _ in range(6))
    stuck = Progress(5, best, open_errors=20, dev_size=50, shown=40)
    assert plateau_reason(stuck, 4, 0.0, rounds=3).kind == "plateau"
    assert plateau_reason(replace(stuck, limited=True), 4, 0.0, rounds=3) is None
    assert plateau_reason(replace(stuck, limited=True, shown=60), 4, 0.0, rounds=3).kind == "plateau"


def test_rows_that_failed_often_are_shown_again_once_no_other_error_is_left():
    evidence = ErrorBatches(size=4, sample=20, fresh=6)
    tired = {i: (0.0, 0.0, 0.0, 0.0) for i in IDS[:8]} | dict.fromkeys(IDS[8:], (1.0,))
    assert set(evidence.wanted(IDS, Random(1), tired)) == set(IDS[:8])
    some = tired | dict.fromkeys(IDS[8:14], (0.0,))
    assert set(evidence.wanted(IDS, Random(1), some)) == set(IDS[8:14])


PROMPTS = PromptSet((Prompt("main", (Message("human", "Sort the note. {x}"),)),))


def insertion(new, at=14):
    return Edit(Span("main", 0, at, at), "", new, f"for{new}", ("t1",))


def child(*edits):
    return Candidate(PROMPTS.apply(edits), scope="spans", edits=tuple(edits))


def trial(candidate, gain):
    return Trial(candidate, {"t1": 0.0, "t2": 0.0}, {"t1": float(gain > 0), "t2": float(gain > 1)})


def test_two_rules_for_the_same_place_are_joined():
    one, two = child(insertion(" Rule one.")), child(insertion(" Rule two."))
    kept, joined = OwnEvidence().chosen([trial(one, 1), trial(two, 1)])
    assert kept == ()
    assert [e.new for e in joined] == [" Rule one. Rule two."]
    assert PROMPTS.apply(joined)["main"].messages[0].template == "Sort the note. Rule one. Rule two. {x}"


def test_children_that_won_rows_in_earlier_steps_are_joined_with_new_ones():
    earlier, new, idle = child(insertion(" Rule one.")), child(insertion(" Rule two.")), child(insertion(" No."))
    _, joined = OwnEvidence().chosen([trial(new, 1), trial(idle, 0)], {earlier: 2.0})
    assert [e.new for e in joined] == [" Rule one. Rule two."]


def test_trials_remember_what_won_rows_for_the_next_step_from_the_same_parent():
    from langchain_promptopt.types import Batch, Shown

    batch = Batch(errors=(Shown("t1", {}, {}, "x", 0.0),))
    good, poor = child(insertion(" Rule one.")), child(insertion(" Rule two."))
    bench = SampleTrainBench(Candidate(PROMPTS), {"t1": 0.0}, {good.id: 1.0, poor.id: 0.0})
    asyncio.run(OwnEvidence().sift([(batch, [good, poor])], bench))
    assert bench.remembered == {good: 1.0}


def test_more_budget_gains_more_where_rules_are_added_one_at_a_time():
    """Over several seeds: the luck of one draw is larger than the difference that is looked for."""
    from benchmarks.worlds.optimizer import WorldOptimizer
    from benchmarks.worlds.rules import Rules

    scores: dict[int, list[float]] = {0: [], 500: [], 2000: []}
    for seed in range(4):
        world = Rules(seed)
        scores[0].append(world.held_out(world.prompts))
        for budget in (500, 2000):
            played = asyncio.run(play(recipe_of("robust"), world, WorldOptimizer(world), budget))
            scores[budget].append(world.held_out(played.best.candidate.prompts))
            assert played.search.run.ledger.search_calls > 0.9 * budget
    assert fmean(scores[2000]) > max(fmean(scores[500]), fmean(scores[0])) + 0.05
