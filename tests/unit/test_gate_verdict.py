"""The decision: three verdicts, guards, weights, warnings, and everything that must not pass."""

from __future__ import annotations

import json
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_promptopt.errors import ConfigError
from langchain_promptopt.gate import (
    Missing,
    PairedRow,
    Pairs,
    TestEntry,
    decide,
    deciding_metrics,
    pair_outcomes,
    rows_needed,
)
from langchain_promptopt.recipe import Gate
from langchain_promptopt.types import Cell, Failure, Outcome


def row(i, old, new, *, cluster=None, **side):
    return PairedRow(
        example_id=str(i),
        cluster=str(i if cluster is None else cluster),
        baseline={k: (v,) for k, v in old.items()},
        candidate={k: (v,) for k, v in new.items()},
        baseline_side={k: (v[0],) for k, v in side.items()},
        candidate_side={k: (v[1],) for k, v in side.items()},
    )


def table(wins, losses, ties, metric="em"):
    """Binary pairs with these counts; ties are right on both sides."""
    scores = [(0.0, 1.0)] * wins + [(1.0, 0.0)] * losses + [(1.0, 1.0)] * ties
    return [row(i, {metric: a}, {metric: b}) for i, (a, b) in enumerate(scores)]


def pairs(rows, **more):
    return Pairs(rows=tuple(rows), metrics=tuple(rows[0].baseline) if rows else ("em",), **more)


def with_policy(rows, losses, wins=0):
    """The same rows with a second metric that falls on `losses` of them and rises on `wins`."""
    out = []
    for i, r in enumerate(rows):
        old, new = (1.0, 0.0) if i < losses else (0.0, 1.0) if i < losses + wins else (1.0, 1.0)
        out.append(row(i, {"em": r.baseline["em"][0], "policy": old}, {"em": r.candidate["em"][0], "policy": new}))
    return out


@pytest.mark.parametrize(("wins", "losses"), [(6, 0), (8, 1), (15, 5)])
def test_golden_tables_are_improved(wins, losses):
    """Algorithms 6.1: two-sided 0.05 is 0.025 one-sided, the level of the first opening."""
    decision = decide(pairs(table(wins, losses, 40)), Gate())
    assert decision.improved
    assert decision.entries[0].verdict == "improved"


@pytest.mark.parametrize(("wins", "losses"), [(5, 0), (9, 2), (12, 4)])
def test_golden_tables_that_do_not_pass_are_inconclusive(wins, losses):
    decision = decide(pairs(table(wins, losses, 40)), Gate())
    assert decision.verdict == "inconclusive"
    assert decision.entries[0].rows_needed > 0
    assert "more examples would decide" in decision.reason.detail


def test_no_gain_when_even_the_upper_bound_is_not_worth_having():
    decision = decide(pairs(table(1, 4, 995)), Gate())
    assert decision.verdict == "no_gain"
    assert decision.entries[0].interval[1] < 0.02
    assert decide(pairs(table(1, 4, 995)), Gate(worth=0.001)).verdict == "inconclusive"


def test_entry_fields_are_those_of_the_contract():
    (entry,) = decide(pairs(table(8, 1, 41)), Gate()).metrics
    contract = {
        "metric", "role", "baseline", "best", "difference", "interval", "p_value", "n", "clusters",
        "wins", "losses", "verdict", "minimum_detectable_effect", "opening",
    }  # fmt: skip
    assert contract <= set(entry)
    assert (entry["metric"], entry["role"], entry["n"], entry["clusters"]) == ("em", "primary", 50, 50)
    assert (entry["wins"], entry["losses"], entry["opening"], entry["alpha"]) == (8, 1, 1, 0.025)
    assert entry["baseline"] == pytest.approx(0.84)
    assert entry["best"] == pytest.approx(0.98)
    assert entry["difference"] == pytest.approx(entry["best"] - entry["baseline"])
    assert TestEntry.from_json(json.loads(json.dumps(entry))).as_json() == entry


def test_rows_still_needed_are_counted_at_the_level_of_the_next_opening():
    """Adding rows to these and testing again is another opening of these."""
    entry = decide(pairs(table(12, 4, 40)), Gate(), opening=2).entries[0]
    in_all = rows_needed(8 / 56, 16 / 56, 0.05 / 12)
    assert entry.rows_needed == in_all - 56
    assert in_all > rows_needed(8 / 56, 16 / 56, 0.05 / 6)


def test_rounding_noise_is_a_tie():
    noisy = [row(i, {"em": 0.3}, {"em": 0.1 + 0.2}) for i in range(20)]
    entry = decide(pairs(noisy), Gate()).entries[0]
    assert (entry.wins, entry.losses, entry.p_value) == (0, 0, 1.0)


def test_each_opening_asks_for_more():
    rows = pairs(table(8, 1, 40))
    first, second = decide(rows, Gate(), opening=1), decide(rows, Gate(), opening=2)
    assert first.improved
    assert second.verdict == "inconclusive"
    assert second.alpha == pytest.approx(0.05 / 6)
    assert second.entries[0].interval[0] <= 0 <= first.entries[0].interval[0]
    assert second.entries[0].minimum_detectable_effect > first.entries[0].minimum_detectable_effect


def test_repeats_are_averaged_and_groups_are_one_unit():
    rows = [
        PairedRow(example_id=f"{g}.{i}", cluster=str(g), baseline={"em": (0.0, 0.0)}, candidate={"em": (1.0, 0.0)})
        for g in range(5)
        for i in range(20)
    ]
    entry = decide(pairs(rows), Gate()).entries[0]
    assert (entry.n, entry.clusters, entry.wins) == (100, 5, 5)
    assert entry.difference == 0.5
    assert entry.p_value == 1 / 32


def test_a_gain_that_one_failure_would_undo_is_inconclusive_and_says_so():
    rng = Random(2)
    rows = [row(i, {"em": 0.5}, {"em": 0.51 + rng.uniform(-0.005, 0.005)}) for i in range(40)]
    decision = decide(pairs(rows), Gate())
    entry = decision.entries[0]
    assert (decision.verdict, decision.reason.kind) == ("inconclusive", "small_against_a_failure")
    assert "one example in 5" in decision.reason.detail
    assert "40 test examples are too few" in decision.reason.detail
    assert 0.015 < entry.undone_by < 0.025
    assert 100 < entry.rows_needed < 300
    assert TestEntry.from_json(json.loads(json.dumps(entry.as_json()))) == entry


def test_a_guard_that_one_failure_would_break_is_not_shown_to_hold():
    rng = Random(2)
    rows = [row(i, {"em": 0.0, "tone": 0.9}, {"em": 1.0, "tone": 0.9 + rng.uniform(-0.001, 0.001)}) for i in range(30)]
    decision = decide(pairs(rows), Gate(primary="em", guards={"tone": 0.05}))
    assert (decision.verdict, decision.reason.kind) == ("inconclusive", "guard_not_shown")
    assert "fails outright" in decision.reason.detail
    assert decide(pairs(rows), Gate(primary="em", guards={"tone": 0.2})).improved


def test_examples_are_counted_beside_their_groups():
    rows = [row(i, {"em": 0.0}, {"em": float(i != 1)}, cluster=0 if i < 4 else i) for i in range(12)]
    entry = decide(pairs(rows), Gate()).entries[0]
    assert (entry.n, entry.clusters, entry.wins, entry.losses) == (12, 9, 9, 0)
    assert (entry.by_example.wins, entry.by_example.losses) == (11, 0)
    assert (entry.by_example.baseline, entry.by_example.best) == (0.0, pytest.approx(11 / 12))
    assert entry.best == pytest.approx((0.75 + 8) / 9)


def test_fewer_than_six_clusters_never_improve():
    decision = decide(pairs(table(5, 0, 0)), Gate(alpha=0.1))
    assert decision.entries[0].p_value < decision.alpha
    assert decision.verdict == "inconclusive"
    assert "at least 6" in decision.reason.detail


def test_a_margin_must_be_exceeded():
    rows = pairs(table(15, 2, 83))
    assert decide(rows, Gate()).improved
    held = decide(rows, Gate(min_improvement=0.1))
    assert held.verdict == "inconclusive"
    assert "more than 10 points" in held.reason.detail
    assert held.entries[0].margin == 0.1


def test_a_guard_that_holds_lets_pass():
    decision = decide(pairs(with_policy(table(20, 4, 176), losses=1)), Gate(primary="em", guards={"policy": 0.05}))
    assert decision.improved
    assert [e.role for e in decision.entries] == ["primary", "guard"]
    assert decision.entries[1].verdict == "held"
    assert decision.entries[1].interval[0] > -0.05


def test_a_guard_not_shown_to_hold_is_inconclusive():
    decision = decide(pairs(with_policy(table(20, 4, 76), losses=3)), Gate(primary="em", guards={"policy": 0.05}))
    assert decision.verdict == "inconclusive"
    assert decision.entries[1].verdict == "inconclusive"
    assert "policy may have fallen too far" in decision.reason.detail
    assert decision.entries[1].rows_needed > 0


def test_a_broken_guard_is_no_gain():
    decision = decide(pairs(with_policy(table(20, 4, 76), losses=30)), Gate(primary="em", guards={"policy": 0.05}))
    assert decision.verdict == "no_gain"
    assert decision.entries[1].verdict == "broken"


def test_weights_make_one_primary():
    rows = [row(i, {"a": 0.2, "b": 0.8}, {"a": 0.6 + i / 100, "b": 0.7}) for i in range(20)]
    entry = decide(pairs(rows), Gate(weights={"a": 3, "b": 1})).entries[0]
    assert entry.metric == "weighted"
    assert entry.baseline == pytest.approx(0.35)
    assert entry.difference == pytest.approx((3 * (0.4 + 0.095) - 0.1) / 4)


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        (Gate(primary="absent"), "'absent'"),
        (Gate(guards={"policy": 0.1}), "'policy'"),
    ],
)
def test_a_gate_that_does_not_fit_the_metrics_is_refused(gate, message):
    with pytest.raises(ConfigError, match=message):
        decide(pairs(table(8, 1, 10)), gate)


@pytest.mark.parametrize("weight", [-1.0, 0.0, float("nan")])
def test_weights_that_weigh_nothing_are_refused(weight):
    with pytest.raises(ConfigError, match="weights"):
        decide(pairs(table(8, 1, 10)), Gate(weights={"em": weight}))


def test_the_first_metric_decides_unless_another_is_named():
    assert deciding_metrics(Gate(), ["b", "a"]) == ("b",)
    assert deciding_metrics(Gate(primary="a"), ["b", "a"]) == ("a",)
    with pytest.raises(ConfigError, match="no metric"):
        deciding_metrics(Gate(), [])


def test_unequal_missingness_gives_no_verdict_and_no_numbers():
    decision = decide(pairs(table(20, 0, 60), missing={"em": Missing(0, 6)}), Gate())
    assert (decision.verdict, decision.entries) == ("void", ())
    assert decision.reason.kind == "scores_lost_unequally"
    assert "candidate 6" in decision.reason.detail


def test_a_changed_model_gives_no_verdict():
    decision = decide(pairs(table(20, 0, 60), served_baseline=("m-1",), served_candidate=("m-2",)), Gate())
    assert (decision.verdict, decision.outcome) == ("void", "inconclusive")
    assert decision.reason.kind == "model_changed"
    assert "m-2" in decision.reason.detail


def outcomes(side, scores, failures=None):
    kinds = failures if failures is not None else {}
    return [
        Outcome(Cell(side, "test", str(i)), {} if i in kinds else {"em": s}, failure=kinds.get(i))
        for i, s in enumerate(scores)
    ]


def test_crashes_on_rows_the_baseline_got_right_do_not_pass_as_outages():
    """Six real gains and five outages, too few for the missingness test, on rows the baseline had right."""
    old, new = [0.0] * 6 + [1.0] * 54, [1.0] * 60
    names = {str(i): str(i) for i in range(60)}
    crash = {i: Failure("timeout", "") for i in range(10, 15)}
    assert decide(pair_outcomes(outcomes("b", old), outcomes("c", new), names), Gate()).improved
    decision = decide(pair_outcomes(outcomes("b", old), outcomes("c", new, crash), names), Gate())
    assert decision.verdict == "inconclusive"
    assert "dropped" in decision.reason.detail
    assert any("5 pairs were left out" in w for w in decision.warnings)


def test_crashes_of_the_prompt_count_as_losses():
    old, new = [0.0] * 6 + [1.0] * 54, [1.0] * 60
    names = {str(i): str(i) for i in range(60)}
    crash = {i: Failure("unparsable", "", scored_zero=True) for i in range(10, 15)}
    decision = decide(pair_outcomes(outcomes("b", old), outcomes("c", new, crash), names), Gate())
    assert decision.entries[0].losses == 5
    assert not decision.improved


def test_lost_rows_do_not_matter_when_the_gain_is_large():
    old, new = [0.0] * 30 + [1.0] * 30, [1.0] * 60
    names = {str(i): str(i) for i in range(60)}
    crash = {40: Failure("timeout", "")}
    assert decide(pair_outcomes(outcomes("b", old), outcomes("c", new, crash), names), Gate()).improved


def test_watched_numbers_warn_and_never_decide():
    rows = [
        row(i, {"em": a}, {"em": b}, output_length=(100, 140), refusals=(0, float(i < 5)), cost=(0.01, 0.012))
        for i, (a, b) in enumerate([(0.0, 1.0)] * 20 + [(1.0, 1.0)] * 60)
    ]
    decision = decide(pairs(rows), Gate())
    assert decision.improved
    watched = {e.metric: e for e in decision.entries if e.role == "warning"}
    assert {m: e.verdict for m, e in watched.items()} == {
        "output_length": "warning", "refusals": "warning", "cost": "ok",
    }  # fmt: skip
    assert watched["output_length"].difference == 40
    assert decision.warnings == (
        "output length rose by 40 % (100 to 140)",
        "refusals rose from 0.0 % to 6.2 % of the calls",
    )


def test_length_that_rises_by_a_quarter_or_less_is_silent():
    rows = [row(i, {"em": 0.0}, {"em": 1.0}, output_length=(100, 125)) for i in range(20)]
    assert decide(pairs(rows), Gate()).warnings == ()


def test_no_rows_are_inconclusive():
    decision = decide(pairs([]), Gate())
    assert decision.verdict == "inconclusive"
    assert decision.entries[0].rows_needed is None


scores = st.lists(
    st.tuples(st.sampled_from((0.0, 0.5, 1.0)), st.sampled_from((0.0, 0.5, 1.0))), min_size=6, max_size=40
)


@given(scores, st.integers(1, 4), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_row_order_and_cluster_names_do_not_matter(values, size, random):
    rows = [row(i, {"em": a}, {"em": b}, cluster=i // size) for i, (a, b) in enumerate(values)]
    renamed = [row(f"x{i}", {"em": a}, {"em": b}, cluster=f"g{-(i // size)}") for i, (a, b) in enumerate(values)]
    random.shuffle(renamed)
    assert decide(pairs(rows), Gate(), resamples=199) == decide(pairs(renamed), Gate(), resamples=199)


@given(scores, st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_the_table_never_contradicts_itself(values, opening):
    rows = [row(i, {"em": a}, {"em": b}) for i, (a, b) in enumerate(values)]
    decision = decide(pairs(rows), Gate(), opening=opening, resamples=199)
    entry = decision.entries[0]
    low, high = entry.interval
    assert low <= high
    assert entry.wins + entry.losses + entry.ties == entry.clusters == len(rows)
    assert (entry.p_value < decision.alpha) == (entry.verdict == "improved")
    if decision.improved:
        assert low >= 0
        assert entry.difference > 0
    if decision.verdict == "no_gain":
        assert high < 0.02
    if decision.verdict == "inconclusive":
        assert low <= 0


@given(scores)
@settings(max_examples=40, deadline=None)
def test_exchanging_the_sides_never_makes_both_better(values):
    there = decide(pairs([row(i, {"em": a}, {"em": b}) for i, (a, b) in enumerate(values)]), Gate(), resamples=199)
    back = decide(pairs([row(i, {"em": b}, {"em": a}) for i, (a, b) in enumerate(values)]), Gate(), resamples=199)
    assert not (there.improved and back.improved)
    assert there.entries[0].difference == pytest.approx(-back.entries[0].difference)


def test_the_same_seed_gives_the_same_decision():
    rng = Random(1)
    rows = pairs([row(i, {"em": rng.random()}, {"em": rng.random()}) for i in range(30)])
    assert decide(rows, Gate(), seed=4) == decide(rows, Gate(), seed=4)
