"""GPO's numbered tests (algorithms 2.7): budget, steps, retrieval, determinism, elitism."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.retrievers import BaseRetriever

from langchain_promptopt.errors import RecipeError
from langchain_promptopt.presets import gpo, gpo_code, lpo_gpo
from langchain_promptopt.protocols import Ask
from langchain_promptopt.steps import TrajectoryRetriever
from langchain_promptopt.steps.base import memory as shown_memory
from langchain_promptopt.strategies.control import Cosine, Fixed, Linear
from langchain_promptopt.strategies.memory import Importance, Recency, Relevance
from langchain_promptopt.strategies.registry import dump, load
from langchain_promptopt.strategies.selection import Epochs, steps_per_epoch
from langchain_promptopt.testing.samples import sample_trajectory
from langchain_promptopt.types import Attempt, Candidate, Message, Prompt, PromptSet, Remembered
from tests.support.runs import run
from tests.support.tasks import improve, optimizer, rows

ASK = Ask(lambda _: None, {}, 0)


def attempt(text: str, score: float = 0.5, *, chosen: bool = True) -> Attempt:
    prompts = PromptSet((Prompt("main", (Message("human", text),)),))
    return Attempt(Candidate(prompts), score, {"r": score}, chosen=chosen)


def retrieved(memory, trajectory, around):
    return asyncio.run(memory.retrieve(tuple(trajectory), around, ASK))


def test_G1_cosine_golden_vector():
    golden18 = [49, 48, 47, 45, 42, 40, 36, 33, 30, 26, 23, 20, 17, 14, 12, 11, 10, 10]
    golden9 = [48, 45, 40, 33, 26, 20, 14, 11, 10]
    assert [Cosine().words(t, 18) for t in range(1, 19)] == golden18
    assert [Cosine().words(t, 9) for t in range(1, 10)] == golden9


@given(
    start=st.integers(1, 200),
    share=st.floats(0.01, 1.0),
    total=st.integers(1, 80),
    warmup=st.integers(0, 10),
    kind=st.sampled_from([Cosine, Linear, Fixed]),
)
def test_G1_budgets_never_rise_after_the_warm_up(start, share, total, warmup, kind):
    end = max(1, int(start * share))
    schedule = kind(start=start, end=end, warmup=warmup)
    values = [schedule.words(t, total) for t in range(1, total + 1)]
    after = [v for t, v in enumerate(values, 1) if t >= warmup]
    assert after == sorted(after, reverse=True)
    if kind is not Fixed and total > warmup:
        assert values[-1] == end


def test_G1_warm_up_rises_in_equal_parts():
    assert [Cosine(start=50, end=10, warmup=5).words(t, 20) for t in range(1, 5)] == [10, 20, 30, 40]


def test_G1_an_impossible_budget_is_refused():
    with pytest.raises(RecipeError, match="start=10, end=50"):
        Cosine(start=10, end=50)


def test_G2_steps_per_epoch():
    assert [steps_per_epoch(n, 8) for n in (48, 35, 33, 27, 20, 100)] == [6, 4, 4, 3, 3, 13]
    assert Epochs(count=3, batch=8).total(48) == 18


@given(
    texts=st.lists(st.text("abc de", min_size=1, max_size=12), min_size=1, max_size=8, unique=True),
    k=st.integers(1, 6),
    order=st.sampled_from(["ascending", "current_first"]),
)
def test_G3_relevance_shows_the_current_first_or_last_and_nothing_twice(texts, k, order):
    trajectory = [attempt(t) for t in texts]
    found = retrieved(Relevance(k=k, order=order), trajectory, trajectory[-1])
    ids = [r.attempt.candidate.id for r in found]
    assert len(ids) == len(set(ids)) == min(k, len({a.candidate.id for a in trajectory}))
    assert ids[0 if order == "current_first" else -1] == trajectory[-1].candidate.id
    others = [r.similarity for r in (found[1:] if order == "current_first" else found[:-1])]
    assert others == sorted(others, reverse=order == "current_first")


def test_G3_relevance_prefers_the_similar_prompt():
    near, far = attempt("Think step by step about the sum."), attempt("Name the bird in the picture.")
    here = attempt("Think step by step about sums.")
    found = retrieved(Relevance(k=2), [far, near, here], here)
    assert [r.attempt for r in found] == [near, here]


@given(
    st.lists(
        st.tuples(st.text("xyz", min_size=1), st.sampled_from((0.0, 0.25, 0.5))),  # few scores, many ties
        min_size=1,
        max_size=8,
        unique_by=lambda p: p[0],
    )
)
def test_G4_importance_ignores_the_order_of_insertion(pairs):
    trajectory = [attempt(t, s) for t, s in pairs]
    shuffled = Random(1).sample(trajectory, len(trajectory))
    ids = [[r.attempt.candidate.id for r in retrieved(Importance(), t, t[0])] for t in (trajectory, shuffled)]
    assert ids[0] == ids[1]


def test_G4_recency_ignores_scores():
    trajectory = [attempt(t, s) for t, s in (("a", 0.9), ("b", 0.1), ("c", 0.5), ("d", 0.0))]
    again = [replace(a, score=1 - a.score) for a in trajectory]
    found = [[r.attempt.candidate.id for r in retrieved(Recency(k=3), t, t[-1])] for t in (trajectory, again)]
    assert found[0] == found[1] == [a.candidate.id for a in reversed(trajectory[1:])]


def transcript(result):
    return sorted(
        json.dumps([e["type"], {k: v for k, v in e["data"].items() if k != "usage"}], sort_keys=True)
        for e in result.events()
    )


@pytest.mark.parametrize("method", ["gpo", "lpo-gpo", "sgdm"])
def test_G5_the_same_seed_and_replies_give_the_same_transcript(method):
    assert transcript(run(method, max_concurrency=1)) == transcript(run(method, max_concurrency=16))


def test_G6_scores_are_shown_as_integers_from_0_to_100():
    text = shown_memory([Remembered(attempt("Be brief.", 2 / 3)), Remembered(attempt("Be kind.", 1.0))])
    assert [json.loads(line)["score"] for line in text.split("\n")] == [67, 100]


def test_G7_enforced_budgets_accept_no_larger_change():
    def wordy(messages):
        reply = improve(messages)
        if reply.startswith("<START>"):
            return reply.replace("Answer with one word.", " ".join(["Answer with exactly one word and no more"] * 4))
        return reply

    recipe = replace(gpo(), control=Cosine(start=3, end=1, mode="enforced"))
    result = run(recipe, model=optimizer(wordy))
    refused = [e["data"]["rule"] for e in result.events() if e["type"] == "rejected"]
    assert "over_allowance" in refused
    assert not [e for e in result.events() if e["type"] == "proposed"]
    stated = run(replace(gpo(), control=Cosine(start=3, end=1, mode="stated")), model=optimizer(wordy))
    assert [e for e in stated.events() if e["type"] == "proposed"]


def test_G7_spans_are_counted_where_the_unit_is_spans():
    assert lpo_gpo().control.allowance(1, 18).spans == 10
    assert lpo_gpo().control.allowance(18, 18).spans == 2


def worse_later():
    """An optimizer whose first eight children are right and all later ones wrong."""
    tries = iter(range(1000))

    def reply(messages):
        said, n = improve(messages), next(tries)
        return f"<START>Call it something, try {n}.\nWord: {{word}}<END>" if n > 7 else said

    return optimizer(reply)


def walked(recipe):
    """Dev scores of the prompt carried on after each step, and of all candidates."""
    result = run(recipe, model=worse_later(), data=rows(train=24))
    scores = {e["data"]["candidate_id"]: e["data"]["score"] for e in result.events() if e["type"] == "evaluated"}
    kept = [scores[e["data"]["kept"][0]] for e in result.events() if e["type"] == "selected"]
    return result, kept, list(scores.values())


def test_G8_with_elitism_the_incumbent_never_falls():
    _, kept, offered = walked(replace(gpo(), stop=Epochs(count=3, batch=8)))
    assert len(kept) > 1
    assert kept == sorted(kept)
    assert min(offered) < kept[-1]  # it was tempted


def test_G8_without_it_the_walk_may_go_down():
    result, kept, _ = walked(gpo_code())
    assert kept[0] == 1.0
    assert min(kept[1:]) < kept[0]
    assert result.edits  # the choice of the final prompt is ours, not the walk's end


def test_G9_without_reflection_no_train_row_is_run():
    result = run("gpo")
    assert not [e for e in result.events() if e["type"] == "scored" and e["data"]["split"] == "train"]
    assert [e for e in result.events() if e["type"] == "proposed"]
    assert [e for e in run("sgdm").events() if e["type"] == "scored" and e["data"]["split"] == "train"]


def test_G10_no_prompt_is_scored_twice_on_the_same_row():
    for method in ("gpo", "lpo-pe2", "opro"):
        events = [e["data"] for e in run(method).events() if e["type"] == "scored"]
        cells = [(d["candidate_id"], d["split"], d["example_id"], d["repeat"]) for d in events]
        assert len(cells) == len(set(cells))


def test_memory_reaches_the_proposer_and_is_journaled():
    model = optimizer()
    result = run("gpo", model=model)
    assert [e for e in result.events() if e["type"] == "retrieved"]
    assert any("<history>" in str(m.text) for call in model.calls for m in call)


class Letters(DeterministicFakeEmbedding):
    """An embedding of another package: counts of letters, as numbers that are no Python floats."""

    model: str = "letters-1"

    def embed_documents(self, texts):
        return [np.array([t.count(c) for c in "abcdefghij"], dtype=np.float32) for t in texts]


def test_relevance_takes_any_embeddings_and_is_a_retriever():
    past = sample_trajectory()
    found = TrajectoryRetriever(memory=Relevance(k=3, embeddings=Letters(size=10)), trajectory=past).invoke(
        past[0].candidate.prompts.document.text
    )
    assert isinstance(TrajectoryRetriever(memory=Relevance(), trajectory=past), BaseRetriever)
    assert all(type(d.metadata["similarity"]) is float for d in found)
    json.dumps([d.metadata for d in found])
    recipe = replace(gpo(), memory=Relevance(k=3, embeddings=Letters(size=10)))
    told = [e for e in run(recipe).events() if e["type"] == "retrieved"]
    assert told
    assert all(item["similarity"] is not None for e in told for item in e["data"]["items"])


def test_the_embedding_model_is_part_of_the_recipe():
    one, two = (
        dump(replace(gpo(), memory=Relevance(embeddings=Letters(size=10, model=m)))) for m in ("letters-1", "letters-2")
    )
    assert one != two
    with pytest.raises(RecipeError, match="LangChain Embeddings"):
        load(one)  # an object cannot be read back from its name
