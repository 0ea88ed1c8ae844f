"""Numbered tests of APE (P), APO (A), PE2 (Q) and OPRO (O), algorithms section 3."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from random import Random

import pytest

from langchain_promptopt import optimize
from langchain_promptopt.presets import apo, pe2
from langchain_promptopt.protocols import Ask, rng_at
from langchain_promptopt.steps.base import memory as shown_memory
from langchain_promptopt.strategies.evidence import ErrorBatches, ErrorGroups
from langchain_promptopt.strategies.memory import TopByScore
from langchain_promptopt.strategies.proposals import Paraphrased
from langchain_promptopt.strategies.scoring import Bandit, SuccessiveHalving, SuccessiveRejects
from langchain_promptopt.strategies.selection import Steps
from langchain_promptopt.types import Attempt, Candidate, Message, Prompt, PromptSet, Shown
from tests.support.runs import of_type, run
from tests.support.tasks import PROMPT, chain, improve, optimizer, rows

ASK = Ask(lambda _: None, {}, 0)


def candidate(text: str) -> Candidate:
    return Candidate(PromptSet((Prompt("main", (Message("human", text),)),)))


class Rows:
    """A Bench whose arms have fixed means."""

    def __init__(self, means: dict[str, float], n: int = 200, seed: int = 0) -> None:
        self.examples = tuple(f"r{i}" for i in range(n))
        self.means = means
        self.seed = seed
        self.calls = 0
        self.seen: dict[str, dict[str, float]] = {}
        self.order: list[str] = []

    def known(self, c):
        return self.seen.get(c.id, {})

    async def evaluate(self, c, ids):
        self.order.append(c.id)
        mine = self.seen.setdefault(c.id, {})
        for i in ids:
            if i not in mine:
                self.calls += 1
                mine[i] = float(Random(f"{self.seed}/{c.id}/{i}").random() < self.means[c.id])
        return {i: mine[i] for i in ids}

    def rng(self, *place):
        return rng_at(self.seed, *place)


# ------------------------------------------------------------------ APE


def test_P1_an_identity_paraphraser_does_not_grow_the_archive():
    def same(messages):
        prompt = re.search(r"<prompt>\n(.*?)\n</prompt>", str(messages[1].text), re.S).group(1)
        return f"<START>{prompt}<END>"

    result = run("ape-iter", optimizer(same))
    assert of_type(result, "proposed") == []
    assert {e["rule"] for e in of_type(result, "rejected")} == {"no_op"}
    assert result.outcome == "no_gain"


@pytest.mark.parametrize("method", ["ape-iter", "opro", "pe2", "lpo-pe2"])
def test_P2_the_winner_is_the_archive_maximum_and_never_below_the_seed(method):
    result = run(method)
    scores = {e["candidate_id"]: e["score"] for e in of_type(result, "evaluated") if e["split"] == "dev"}
    assert scores[result.best.id] == max(scores.values()) >= scores[result.baseline.id]


@pytest.mark.parametrize("kind", ["ucb", "ucb-e", "uniform"])
def test_P3_every_arm_is_pulled_once_before_any_second_pull(kind):
    arms = [candidate(f"prompt {i}") for i in range(10)]
    bench = Rows({c.id: 0.5 for c in arms})
    bandit = Bandit(rule=kind, rounds=4, samples=8, arms=4)
    asyncio.run(bandit.score(arms, [], bench))
    assert len(set(bench.order[:10])) == 10
    assert bench.calls == 4 * 8 * 4


def test_induction_writes_instructions_from_examples_alone():
    def infer(messages):
        text = str(messages[-1].text)
        assert "Call every animal a PLANT" not in text
        assert '"expected"' in text
        return "<START>Call every animal an animal. Call every stone a stone. Answer with one word.<END>"

    result = run("ape", optimizer(infer))
    assert result.outcome == "improved"
    assert result.best["main"].messages[0].template.endswith("{word}")
    assert result.usage["by_role"]["optimizer"]["calls"] == 50


def test_induced_instructions_are_linted_like_any_child():
    """Published loops kept prompts that copy an exemplar or hold a literal placeholder (spec 2.6)."""
    good = "Call every animal an animal. Call every stone a stone. Answer with one word."
    said = iter([good, f"{good} Mind the <Entity>.", f"{good} As the improved prompt says."] * 20)
    result = run("ape", optimizer(lambda _: f"<START>{next(said)}<END>"))
    refused = {e["rule"] for e in of_type(result, "rejected")}
    assert {"placeholder", "meta_talk"} <= refused
    texts = {p["messages"][0]["template"] for e in of_type(result, "proposed") for p in e["prompts"]}
    assert not any("<Entity>" in t or "improved" in t for t in texts)
    assert result.outcome == "improved"
    assert {r.rule for r in result.health.rules} == refused


def test_replies_that_induce_nothing_are_counted_as_refused():
    good = "Call every animal an animal. Call every stone a stone. Answer with one word."
    said = iter([f"<START>{good}<END>", "I would rather not."] * 25)
    result = run("ape", optimizer(lambda _: next(said)))
    missing = [e for e in of_type(result, "rejected") if e["step"] == 0 and e["rule"] not in {"known", "no_op"}]
    assert len(missing) == 25
    assert {e["rule"] for e in missing} & {r.rule for r in result.health.rules}


# ------------------------------------------------------------------ APO


def expansion(**changes):
    number = iter(range(10_000))

    def vary(messages):
        text = str(messages[-1].text)
        if "<START>" not in text:
            return improve(messages)
        prompt = re.search(r"<prompt>\n(.*?)\n</prompt>", str(messages[1].text), re.S).group(1)
        return f"<START>{prompt.replace('sort words', f'sort words {next(number)} times')}<END>"

    recipe = replace(apo(), stop=Steps(limit=1), **changes)
    return run(recipe, optimizer(vary))


def test_A1_expansion_makes_14_children_before_the_cut():
    assert len(of_type(expansion(proposals=Paraphrased(keep=99)), "proposed")) == 14


def test_A2_at_most_8_go_on_and_the_old_beam_competes():
    result = expansion()
    scored = {e["candidate_id"] for e in of_type(result, "evaluated") if e["split"] == "dev"}
    assert len(scored) == 1 + 8
    kept = of_type(result, "selected")[0]["kept"]
    dropped = {d["candidate_id"] for d in of_type(result, "selected")[0]["dropped"]}
    assert result.baseline.id in {*kept, *dropped}
    assert len(kept) == 4


@pytest.mark.parametrize("budget", [150, 400, 1000])
@pytest.mark.parametrize(
    "make", [lambda b: SuccessiveRejects(budget=b, keep=2), lambda b: SuccessiveHalving(budget=b, keep=2)]
)
def test_A3_selectors_keep_their_budget(make, budget):
    arms = [candidate(f"prompt {i}") for i in range(8)]
    bench = Rows({c.id: 0.5 for c in arms})
    found = asyncio.run(make(budget).score(arms, [], bench))
    assert bench.calls <= budget + len(arms)
    assert sum(not a.out for a in found) == 2


def test_A3_the_bandit_never_exceeds_its_pulls():
    arms = [candidate(f"prompt {i}") for i in range(12)]
    bench = Rows({c.id: 0.4 for c in arms})
    asyncio.run(Bandit(rounds=3, samples=10, arms=5).score(arms, [], bench))
    assert bench.calls <= 3 * 10 * 5


def test_A4_text_outside_the_task_section_is_byte_identical():
    task = "# Task\nSort words. Call every animal a PLANT. Call every stone a stone.\n"
    sections = f"{task}# Output  \n  One word.\nWord: {{word}}"
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import ChatPromptTemplate

    from langchain_promptopt.testing.scripted import ScriptedModel
    from tests.support.tasks import answer

    live = ChatPromptTemplate.from_template(sections) | ScriptedModel(fn=answer) | StrOutputParser()

    def slots(messages):
        text = str(messages[-1].text)
        if "JSON object" not in text:
            return improve(messages)
        old = json.loads(re.search(r'^1 \(message 0\): (".*")$', text, re.M).group(1))
        return json.dumps({"1": {"new": old.replace("a PLANT", "an animal"), "reason": "wrong name"}})

    result = optimize(
        live,
        data=rows(),
        evaluators=["exact_match"],
        optimizer_model=optimizer(slots),
        method=replace(apo(), stop=Steps(limit=1)),
        runs_dir=None,
        openings=None,
    )
    assert of_type(result, "proposed")
    for event in of_type(result, "proposed"):
        text = event["prompts"][0]["messages"][0]["template"]
        assert text.endswith("# Output  \n  One word.\nWord: {word}")
        assert text.startswith("# Task\n")


@pytest.mark.parametrize("strategy", [ErrorBatches(), ErrorGroups()])
def test_A5_without_errors_there_is_no_batch(strategy):
    right = [Shown(f"r{i}", {}, {}, "x", 1.0) for i in range(9)]
    assert strategy.batches(right, right, 4, Random(0)) == ()


def test_A5_without_errors_no_gradient_call_is_made():
    def right_on_train(messages):
        from tests.support.tasks import answer

        return "animal" if "-train-" in str(messages[-1].text) and answer(messages) == "PLANT" else answer(messages)

    model = optimizer()
    optimize(
        chain(right_on_train),
        data=rows(),
        evaluators=["exact_match"],
        optimizer_model=model,
        method="apo",
        runs_dir=None,
        openings=None,
    )
    assert model.calls == []


# ------------------------------------------------------------------ PE2


def test_Q1_parents_may_come_from_any_earlier_step():
    step = iter(range(1000))

    def once(messages):
        reply = improve(messages)
        n = next(step)
        return reply if n < 4 or not reply.startswith("{") else json.dumps({"1": {"new": f"weed {n}", "reason": "x"}})

    result = run("lpo-pe2", optimizer(once), data=rows(train=12))
    proposals = of_type(result, "proposed")
    born = {p["candidate_id"]: p["step"] for p in proposals} | {result.baseline.id: 0}
    assert any(p["step"] - born[p["parent_id"]] > 1 for p in proposals if p["step"] > 1)


def test_Q2_batches_hold_only_errors_while_there_are_any():
    mixed = [Shown(f"r{i}", {}, {}, "x", float(i % 3 == 0)) for i in range(12)]
    for batch in ErrorBatches(size=2).batches(mixed, mixed, 4, Random(3)):
        assert all(s.score < 1 for s in batch.errors)
        assert not batch.correct


def test_Q3_candidate_counts_are_4_16_16():
    number = iter(range(10_000))

    def always_new(messages):
        text = str(messages[-1].text)
        if "<START>" not in text:
            return improve(messages)
        prompt = re.search(r"<prompt>\n(.*?)\n</prompt>", str(messages[1].text), re.S).group(1)
        return f"<START>{prompt.replace('sort words', f'sort words, take {next(number)}')}<END>"

    result = run(pe2(), optimizer(always_new))
    made = [sum(p["step"] == t for p in of_type(result, "proposed")) for t in (1, 2, 3)]
    assert made == [4, 16, 16]
    dev = [e for e in of_type(result, "scored") if e["split"] == "dev"]
    assert len(dev) == 37 * 16
    train = [e for e in of_type(result, "scored") if e["split"] == "train"]
    parents = {d["candidate_id"] for d in train}
    assert len(train) == len(parents) * 12  # each parent once, cached
    assert len(parents) <= 9  # 1 + 4 + 4
    assert result.usage["by_role"]["optimizer"]["calls"] == 36 * 2


def test_Q4_the_question_list_appears_once_per_example():
    model = optimizer()
    run("pe2", model)
    asked = [str(call[-1].text) for call in model.calls if "answer these questions" in str(call[-1].text)]
    assert asked
    for text in asked:
        ids = re.findall(r'"id": "([^"]+)"', text.split("<errors>")[1].split("</errors>")[0])
        assert [text.count(f"Row {i}: Is the answer right?") for i in ids] == [1, 1]


def test_Q5_a_reply_over_the_cap_is_rejected():
    def long_winded(messages):
        reply = improve(messages)
        filler = " ".join(f"word{i}" for i in range(60))
        return reply.replace("Answer with one word.", f"Answer with one word. {filler}")

    result = run("pe2", optimizer(long_winded))
    assert {e["rule"] for e in of_type(result, "rejected")} == {"too_long"}
    assert not of_type(result, "proposed")


# ------------------------------------------------------------------ OPRO


def history(scores, k=20, threshold=0.0):
    attempts = [Attempt(candidate(f"{PROMPT} {i}"), s, {"r": s}) for i, s in enumerate(scores)]
    return asyncio.run(TopByScore(k=k, threshold=threshold).retrieve(tuple(attempts), attempts[0], ASK))


def test_O1_shown_scores_are_non_decreasing_integers():
    text = shown_memory(history([0.31, 0.9, 0.12, 0.666, 0.5]))
    scores = [json.loads(line)["score"] for line in text.split("\n")]
    assert scores == sorted(scores) == [12, 31, 50, 67, 90]


def test_O2_at_most_20_and_the_best_ones():
    found = history([i / 50 for i in range(50)])
    assert len(found) == 20
    assert min(r.attempt.score for r in found) == 30 / 50


def test_O3_nothing_below_the_threshold_unless_the_list_would_be_empty():
    assert [r.attempt.score for r in history([0.1, 0.5, 0.2, 0.7], threshold=0.3)] == [0.5, 0.7]
    assert [r.attempt.score for r in history([0.1, 0.2], threshold=0.3)] == [0.2]


def test_O4_no_prompt_is_scored_twice():
    events = of_type(run("opro"), "scored")
    cells = [(d["candidate_id"], d["split"], d["example_id"]) for d in events]
    assert len(cells) == len(set(cells))
