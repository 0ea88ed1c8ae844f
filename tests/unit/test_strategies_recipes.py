"""Recipes that cannot work are refused before any call, by name, with the way out; the rest says what it will cost."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from langchain_promptopt import optimize
from langchain_promptopt.errors import RecipeError
from langchain_promptopt.presets import PRESETS, ape, apo, gpo, lpo_gpo, lpo_opro, lpo_pe2, opro, pe2, recipe_of, robust
from langchain_promptopt.strategies.control import Cosine
from langchain_promptopt.strategies.cost import Sizes, estimate_calls, shape_of
from langchain_promptopt.strategies.evidence import ErrorBatches, FormatExamples, NoEvidence
from langchain_promptopt.strategies.guards import Standard
from langchain_promptopt.strategies.memory import Importance, Recency, Relevance, Summary, TopByScore, TopEdits
from langchain_promptopt.strategies.proposals import Gradient, Paraphrased, PerParent, Refine
from langchain_promptopt.strategies.registry import UNBUILT, check_recipe, dump, load, load_one, recipe_notes
from langchain_promptopt.strategies.scope import Alternating, Global, Sections, Spans
from langchain_promptopt.strategies.selection import BestVal, Epochs, Steps
from langchain_promptopt.strategies.trials import KeepRight
from tests.support.tasks import chain, optimizer, rows


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        (replace(lpo_opro(), scope=Global()), "memory of edits"),
        (replace(pe2(), evidence=NoEvidence(), feedback=Gradient()), r"feedback Gradient.*evidence NoEvidence"),
        (replace(pe2(), evidence=FormatExamples()), r"feedback Reasoning.*FormatExamples"),
        (replace(lpo_gpo(), scope=Global()), "control counts spans"),
        (replace(gpo(), scope=Sections(), control=Cosine(unit="spans")), "scope section"),
        (replace(pe2(), refine=Refine(protocol="reply")), "scope is global"),
        (replace(lpo_pe2(), refine=Refine(enforce="audit")), "protocol 'slots'"),
        (replace(pe2(), stop=Steps(limit=0)), "nothing would be tried"),
    ],
)
def test_impossible_combinations_raise_before_any_call(recipe, says):
    model = optimizer()
    with pytest.raises(RecipeError, match=says):
        recipe_of(recipe)
    with pytest.raises(RecipeError, match=says) as caught:
        optimize(chain(), data=rows(), evaluators=["exact_match"], optimizer_model=model, method=recipe, runs_dir=None)
    assert caught.value.mend
    assert model.calls == []
    with pytest.raises(RecipeError, match=says):
        load(json.loads(json.dumps(dump(recipe))))


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_possible(name):
    check_recipe(recipe_of(name))


def test_local_recipes_may_have_a_memory_of_edits():
    check_recipe(replace(lpo_opro(), scope=Alternating(Spans())))
    check_recipe(replace(pe2(), memory=TopEdits(), scope=Spans()))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Recency(k=0), "memory.k"),
        (lambda: Importance(k=0), "memory.k"),
        (lambda: Relevance(k=0), "memory.k"),
        (lambda: TopByScore(k=-1), "memory.k"),
        (lambda: TopEdits(k=0), "memory.k"),
        (lambda: Summary(k=1), "memory.k"),
        (lambda: Gradient(reasons=0), "feedback.reasons"),
        (lambda: Spans(w_max=0), "scope.w_max"),
        (lambda: Spans(k_max=0), "scope.k_max"),
        (lambda: Spans(f_max=0.0), "scope.f_max"),
        (lambda: Spans(f_max=1.5), "scope.f_max"),
        (lambda: Spans(retries=-1), "scope.retries"),
        (lambda: PerParent(m=0), "proposals.m"),
        (lambda: PerParent(k=0), "proposals.k"),
        (lambda: Paraphrased(keep=0), "proposals.keep"),
        (lambda: Steps(limit=-1), "stop.limit"),
        (lambda: Steps(patience=0), "stop.patience"),
        (lambda: Epochs(batch=0), "stop.batch"),
        (lambda: BestVal(top=0), "final.top"),
        (lambda: Standard(cap=-5), "guards.cap"),
    ],
)
def test_settings_out_of_bounds_are_refused_by_name(make, says):
    with pytest.raises(RecipeError, match=says):
        make()


@pytest.mark.parametrize(
    ("axis", "kind", "there"),
    [
        ("seeding", "Empty", "Manual"),
        ("search", "ParetoFront", "Beam"),
        ("refine", "TaggedText", "Refine"),
        ("scope", "MessageScope", "FixedSpans"),
        ("scoring", "MinibatchLadder", "Race"),
        ("final", "SimplestWithinOneSE", "BestVal"),
        ("stop", "TargetScore", "Steps"),
    ],
)
def test_options_that_are_not_built_are_refused_with_those_that_are(axis, kind, there):
    with pytest.raises(RecipeError, match=r"is not built") as caught:
        load_one(axis, {"kind": kind})
    assert there in str(caught.value)


def test_a_misspelt_option_gets_the_nearest_name_first():
    with pytest.raises(RecipeError, match="Did you mean 'RandomSpans'"):
        load_one("scope", {"kind": "RandomSpan"})


def test_what_is_said_to_be_unbuilt_names_axes_that_exist():
    assert set(UNBUILT) <= set(pe2().axes())


@pytest.mark.parametrize(
    ("name", "says"), [("gepa", "Pareto"), ("protegi", "'apo'"), ("lpo", "lpo-pe2"), ("ppe2", "pe2")]
)
def test_methods_of_the_field_are_answered_by_name(name, says):
    with pytest.raises(RecipeError, match=says):
        recipe_of(name)


def test_a_field_called_kind_survives_the_round_trip():
    recipe = recipe_of("apo")
    assert load(json.loads(json.dumps(dump(recipe)))) == recipe


def test_notes_say_what_does_not_apply():
    assert any("no val split" in n for n in recipe_notes(pe2(), n_dev=60, n_val=0))
    assert recipe_notes(pe2(), n_dev=60, n_val=30) == ()
    assert any("bandit" in n for n in recipe_notes(apo(), n_dev=49, n_val=30))
    assert not any("bandit" in n for n in recipe_notes(apo(), n_dev=50, n_val=30))


# ------------------------------------------------------------------ closed forms


def high(recipe, **sizes):
    return estimate_calls(shape_of(recipe, Sizes(**sizes))).high


def test_closed_forms_of_the_papers():
    found = high(pe2(), train=50, dev=100)
    assert (found.candidates, found.evaluations["dev"], found.evaluations["train"]) == (37, 3700, 9 * 50)
    assert found.calls["optimizer"] == 36 * 2
    assert high(lpo_pe2(), train=50, dev=100).calls["optimizer"] == 36 * 3
    assert high(ape(), train=50, dev=100).evaluations["dev"] == 51 * 100
    code = high(gpo(), train=48, dev=48)  # T = 18 steps of 8
    assert (code.evaluations["train"], code.evaluations["dev"]) == (0, 48 * (1 + 18 * 8))
    assert high(opro(), train=50, dev=10).calls["optimizer"] == 200 * 8
    one = high(replace(apo(), stop=Steps(limit=1)), train=64, dev=100)
    assert one.calls["optimizer"] == 4 + 14
    assert one.candidates == 1 + 8


def test_rows_children_are_tried_on_are_counted():
    plain = replace(pe2(), evidence=ErrorBatches(size=2, correct=2))
    kept = replace(plain, trials=KeepRight())
    more = high(kept, train=50, dev=100).evaluations["train"] - high(plain, train=50, dev=100).evaluations["train"]
    assert more == 36 * 2


@pytest.mark.parametrize("name", ["pe2", "lpo-pe2", "gpo", "sgdm", "apo"])
def test_no_run_exceeds_its_estimate(name):
    recipe = recipe_of(name)
    data = rows()
    result = optimize(
        chain(),
        data=data,
        evaluators=["exact_match"],
        optimizer_model=optimizer(),
        method=recipe,
        runs_dir=None,
        openings=None,
    )
    most = high(recipe, train=12, dev=16)
    spent = [e["data"] for e in result.events() if e["type"] == "scored"]
    for split in ("train", "dev"):
        assert sum(d["split"] == split for d in spent) <= most.evaluations[split]


def test_running_the_winner_without_each_of_its_edits_is_counted():
    of_spans = estimate_calls(shape_of(lpo_pe2(), Sizes(train=50, dev=100)))
    pruning = [level.evaluations["pruning"] for level in (of_spans.low, of_spans.likely, of_spans.high)]
    assert pruning == [0, 4 * 100, (3 * 5 + 1) * 100]
    assert high(pe2(), train=50, dev=100).evaluations["pruning"] == 0
    assert high(robust(), train=50, dev=100).evaluations["pruning"] == (20 + 1) * 100, "its scope wraps that of lpo"
