"""The two further worlds keep their promises before anything is measured in them."""

from __future__ import annotations

import itertools

import pytest

from benchmarks.worlds.pairs import Pairs
from benchmarks.worlds.rules import Rules, rules_of
from langchain_promptopt.bench.planted_optimizer import applied
from langchain_promptopt.bench.world import prompts_of

SEEDS = range(3)


@pytest.mark.parametrize("kind", [Rules, Pairs])
def test_the_right_prompt_is_far_above_the_start_and_splits_differ(kind):
    for seed in SEEDS:
        world = kind(seed)
        assert world.held_out(prompts_of(world.good)) > world.held_out(world.prompts) + 0.3
        texts = [{r.inputs["text"] for r in world.rows[s]} for s in ("train", "dev", "test")]
        assert not texts[0] & texts[1] | texts[1] & texts[2]


def test_gains_add_up_one_rule_at_a_time():
    for seed in SEEDS:
        world, text = Rules(seed), Rules(seed).start
        scores = [world.held_out(prompts_of(text))]
        for topic, desk in world.truth.items():
            text += f" Notes about {topic} go to the {desk} desk."
            scores.append(world.held_out(prompts_of(text)))
        gains = [b - a for a, b in itertools.pairwise(scores)]
        assert min(gains) > 0
        assert max(gains) < 0.1
        assert rules_of(text) == world.truth


def test_half_a_repair_makes_a_row_worse_and_both_halves_mend_it():
    for seed in SEEDS:
        world = Pairs(seed)
        row = next(
            r
            for r in world.rows["train"]
            if any(g in str(r.inputs["text"]) for g in world.faulty) and world.chance(world.start, r) < 0.5
        )
        shown = [{"inputs": dict(row.inputs), "expected": dict(row.outputs)}]
        both = next(c for k in range(50) if len(c := world.ideas(world.start, shown, world.rng("t", k), 1.0)) == 2)
        before = world.chance(world.start, row)
        halves = [world.chance(applied(world.start, [c], 0, len(world.start)), row) for c in both]
        assert max(halves) < before
        assert world.chance(applied(world.start, both, 0, len(world.start)), row) > 0.9
