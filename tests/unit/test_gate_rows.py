"""Pairing: infrastructure drops the pair, the prompt's failures score 0, lost cells and served models are watched."""

from __future__ import annotations

import math

import pytest

from langchain_promptopt.errors import DataError
from langchain_promptopt.gate.pairs import Missing, Serving, pair_outcomes
from langchain_promptopt.gate.verdict import decide
from langchain_promptopt.recipe import Gate
from langchain_promptopt.types import Cell, Failure, Outcome, Usage

OUTAGE = Failure("timeout", "no answer")
REFUSED = Failure("refusal", "no", scored_zero=True)


def outcome(example, score=None, *, repeat=0, failure=None, served="m-1", output=None, usage=None, **more):
    scores = {} if score is None else {"em": score}
    return Outcome(
        Cell("c", "test", example, repeat),
        scores | more,
        output=output,
        failure=failure,
        model_served=served,
        usage=usage if usage is not None else Usage(),
    )


def void(pairs, *metrics):
    """Kind and words of the reason for no verdict on these metrics; None where there is one."""
    decision = decide(pairs, Gate(weights=dict.fromkeys(metrics, 1.0)), resamples=19)
    return (decision.reason.kind, decision.reason.detail) if decision.verdict == "void" else None


def clusters(*names):
    return {name: name for name in names}


def test_pairs_match_by_example_and_repeat_in_any_order():
    left = [outcome("a", 0.0, repeat=0), outcome("a", 1.0, repeat=1), outcome("b", 1.0)]
    right = [outcome("b", 0.0), outcome("a", 0.5, repeat=1), outcome("a", 0.25, repeat=0)]
    rows = {r.example_id: r for r in pair_outcomes(left, right, {"a": "g", "b": "g"}).rows}
    assert rows["a"].baseline == {"em": (0.0, 1.0)}
    assert rows["a"].candidate == {"em": (0.25, 0.5)}
    assert rows["b"].cluster == "g"


def test_an_outage_drops_the_pair_not_the_row():
    left = [outcome("a", 1.0, repeat=0), outcome("a", 1.0, repeat=1)]
    right = [outcome("a", failure=OUTAGE, repeat=0), outcome("a", 0.0, repeat=1)]
    pairs = pair_outcomes(left, right, clusters("a"))
    assert pairs.rows[0].baseline == {"em": (1.0,)}
    assert pairs.rows[0].candidate == {"em": (0.0,)}
    assert pairs.dropped_pairs == 1


def test_a_row_lost_altogether_is_no_row():
    pairs = pair_outcomes([outcome("a", 1.0), outcome("b", 1.0)], [outcome("b", 1.0)], clusters("a", "b"))
    assert [r.example_id for r in pairs.rows] == ["b"]
    assert pairs.dropped_pairs == 1
    assert pairs.missing["em"] == Missing(baseline=0, candidate=1)


def test_a_failure_of_the_prompt_scores_zero():
    pairs = pair_outcomes([outcome("a", 1.0)], [outcome("a", failure=REFUSED)], clusters("a"))
    (row,) = pairs.rows
    assert row.candidate == {"em": (0.0,)}
    assert row.candidate_side["refusals"] == (1.0,)
    assert pairs.dropped_pairs == 0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_missing(value):
    pairs = pair_outcomes([outcome("a", 1.0)], [outcome("a", value)], clusters("a"))
    assert pairs.rows == ()
    assert pairs.missing["em"] == Missing(0, 1)


def test_a_metric_missing_on_a_row_takes_only_its_own_pair():
    left = [outcome("a", 1.0, helpful=0.5), outcome("b", 1.0)]
    right = [outcome("a", 0.0, helpful=0.7), outcome("b", 1.0, helpful=0.1)]
    rows = {r.example_id: r for r in pair_outcomes(left, right, clusters("a", "b")).rows}
    assert set(rows["a"].baseline) == {"em", "helpful"}
    assert set(rows["b"].baseline) == set(rows["b"].candidate) == {"em"}


def test_what_only_the_candidate_lost_is_kept_as_zeros():
    left = [outcome("a", 1.0), outcome("b", 0.5)]
    right = [outcome("a", failure=OUTAGE), outcome("b", 0.5)]
    (lost,) = pair_outcomes(left, right, clusters("a", "b")).lost
    assert (lost.example_id, lost.baseline, lost.candidate) == ("a", {"em": (1.0,)}, {"em": (0.0,)})


@pytest.mark.parametrize(
    ("baseline", "candidate", "unequal"),
    [(0, 0, False), (0, 5, False), (0, 6, True), (6, 0, True), (1, 8, True), (2, 9, False), (40, 40, False)],
)
def test_unequal_missingness_is_an_exact_two_sided_test(baseline, candidate, unequal):
    assert Missing(baseline, candidate).unequal is unequal


def test_unequal_missingness_voids_only_metrics_that_decide():
    names = [f"r{i}" for i in range(20)]
    left = [outcome(n, 1.0, tone=1.0) for n in names]
    right = [outcome(n, 1.0, **({"tone": 1.0} if i > 8 else {})) for i, n in enumerate(names)]
    pairs = pair_outcomes(left, right, clusters(*names))
    assert void(pairs, "em") is None
    kind, detail = void(pairs, "em", "tone")
    assert kind == "scores_lost_unequally"
    assert "scores of tone" in detail
    assert "candidate 9" in detail


def test_a_model_that_changes_during_the_test_voids_it():
    left = [outcome("a", 1.0, served="m-1"), outcome("b", 1.0, served="m-2")]
    pairs = pair_outcomes(left, left, clusters("a", "b"))
    kind, detail = void(pairs, "em")
    assert kind == "model_changed"
    assert "m-1, m-2" in detail


def test_models_that_each_evaluation_uses_are_no_change():
    """A program may call several models where only one of them was found in it."""
    one = [outcome(name, 1.0, served="big-1, small-1") for name in "abc"]
    assert not pair_outcomes(one, one, {name: name for name in "abc"}).model_changed
    drifted = [*one[:2], outcome("c", 1.0, served="big-2, small-1")]
    assert pair_outcomes(one, drifted, {name: name for name in "abc"}).model_changed


def test_sides_served_by_different_models_void_it_unless_that_is_the_question():
    left, right = [outcome("a", 1.0, served="m-1")], [outcome("a", 1.0, served="m-2")]
    assert void(pair_outcomes(left, right, clusters("a")), "em")
    assert not void(pair_outcomes(left, right, clusters("a"), serving=Serving(shared=False)), "em")


def test_a_chain_of_several_models_is_no_drift_until_one_more_replies():
    """A router sends rows to either model, and a row may need both; a third name is another model."""
    left = [outcome("a", 1.0, served="big-1"), outcome("b", 1.0, served="small-1")]
    right = [outcome("a", 1.0, served="big-1, small-1"), outcome("b", 1.0, served="big-1")]
    router = Serving(models=2)
    assert not void(pair_outcomes(left, right, clusters("a", "b"), serving=router), "em")
    drifted = [outcome("a", 1.0, served="big-2"), outcome("b", 1.0, served="big-1")]
    assert void(pair_outcomes(left, drifted, clusters("a", "b"), serving=router), "em")


def test_a_model_that_does_not_say_its_name_is_no_change():
    left, right = [outcome("a", 1.0, served=None)], [outcome("a", 1.0, served="m-1")]
    assert not void(pair_outcomes(left, right, clusters("a")), "em")


def test_rows_of_another_split_are_refused():
    with pytest.raises(DataError, match="'z'"):
        pair_outcomes([outcome("z", 1.0)], [outcome("z", 1.0)], clusters("a"))


def test_length_and_cost_are_watched():
    left = [outcome("a", 1.0, output="four", usage=Usage(calls=2, usd=0.5))]
    right = [outcome("a", 1.0, output={"k": "v"}, usage=Usage(calls=1, usd=None))]
    (row,) = pair_outcomes(left, right, clusters("a")).rows
    assert row.baseline_side["output_length"] == (4.0,)
    assert row.candidate_side["output_length"] == (10.0,)
    assert row.baseline_side["cost"] == (0.25,)
    assert "cost" not in row.candidate_side


def test_no_outcomes_make_no_pairs():
    pairs = pair_outcomes([], [], {})
    assert (pairs.rows, pairs.metrics, pairs.dropped_pairs) == ((), (), 0)
