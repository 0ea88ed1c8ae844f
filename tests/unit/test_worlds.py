"""The two further worlds keep their promises before anything is measured in them."""

from __future__ import annotations

import itertools
import json

import pytest

from benchmarks.worlds import standings
from benchmarks.worlds.pairs import Pairs, reading_of
from benchmarks.worlds.peers import Spent, Task, promptim, run_peer
from benchmarks.worlds.rules import Rules, rules_of
from langchain_promptopt.bench.planted_optimizer import applied
from langchain_promptopt.bench.world import prompts_of
from langchain_promptopt.types import Candidate

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


# ---------------------------------------------------------------- the table beside other optimizers


def test_a_peer_never_asks_more_than_its_calls():
    task = Task(Rules(1), 250)
    promptim(task)
    assert task.calls <= 250
    assert task.proposals == 3, "an epoch of three batches; all dev rows would be too many"
    with pytest.raises(Spent):
        task.answers(task.world.start, task.world.rows["dev"])


def test_a_peers_answers_are_those_that_presets_get():
    world = Pairs(2)
    task = Task(world, 100)
    told = task.answers(world.start, world.rows["dev"])
    name = Candidate(world.prompts).id
    assert told == [world.answer(name, world.start, row) for row in world.rows["dev"]]


def test_a_proposal_after_errors_mends_more_than_one_after_examples_alone():
    mended = {0.0: 0, 1.0: 0}
    for score in mended:
        for seed in range(1, 13):
            task = Task(Pairs(seed), 0)
            rows = task.world.rows["train"][:6]
            new = task.proposal(task.world.start, rows, [score] * len(rows))
            mended[score] += _right(task.world, new) - _right(task.world, task.world.start)
    assert mended[0.0] > max(0, mended[1.0])


def _right(world, text):
    codes, sheds = reading_of(text)
    return sum((codes.get(g) == code) + (sheds.get(code) == shed) for g, (code, shed) in world.truth.items())


def test_runs_that_stand_in_the_file_are_not_made_again(tmp_path, capsys):
    out = tmp_path / "rows.jsonl"
    given = ["--methods", "robust", "promptim", "--seeds", "1", "--out", str(out)]
    few = [*given, "--budgets", "120"]
    standings.main(few)
    rows = standings.kept(out)
    assert [(r["world"], r["method"]) for r in rows] == [
        ("pairs", "robust"),
        ("pairs", "promptim"),
        ("rules", "robust"),
        ("rules", "promptim"),
    ]
    standings.main(few)
    assert standings.kept(out) == rows
    every = [row | {"budget": budget} for row in rows for budget in standings.BUDGETS]
    out.write_text("".join(json.dumps(row) + "\n" for row in every), encoding="utf-8")
    standings.main([*given, "--table"])
    shown = capsys.readouterr().out
    assert "`pairs`: 1 seeds, start 0.584, ceiling 0.970" in shown
    assert "| **promptim's loop, rewritten** | " in shown
    assert "| `robust` | " in shown


@pytest.mark.filterwarnings("ignore:Implementing custom LMs:DeprecationWarning")  # the form of DSPy up to 3.4
@pytest.mark.parametrize("peer", ["gepa", "copro", "miprov2"])
def test_peers_of_other_packages_propose(peer):
    pytest.importorskip("gepa" if peer == "gepa" else "dspy")
    found = run_peer(Pairs(1), peer, 500)
    assert found["optimizer_calls"] > 0
    assert found["calls"] <= 500
