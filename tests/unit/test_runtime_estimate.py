"""Closed forms of cost."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from langchain_promptopt.strategies.cost import CallCost, Shape, estimate_calls

PE2 = Shape(n_train=50, n_dev=100, n_test=80, steps=3, beam=4, batches=4, calls_per_batch=2)


def test_lpo_pe2_costs_what_the_specification_says():
    """37 candidates, 9 parents, 36 proposals (algorithms 1.5, 6.5)."""
    high = estimate_calls(PE2).high
    assert high.candidates == 37
    assert high.evaluations == {"train": 9 * 50, "dev": 3700, "val": 0, "test": 160, "pruning": 0}
    assert high.calls == {"task": 450 + 3700 + 160, "optimizer": 72, "judge": 0}
    assert high.search == 4150


def test_gpo_makes_all_children_of_a_batch_by_one_call():
    shape = Shape(n_train=0, n_dev=50, steps=12, children=8, calls_per_batch=0, calls_per_child=1, train_outcomes=False)
    high = estimate_calls(shape).high
    assert high.candidates == 1 + 12 * 8
    assert high.calls["optimizer"] == 96


def test_chains_judges_and_repeats_multiply():
    high = estimate_calls(replace(PE2, target_calls=3, judge_calls=2, repeats=5)).high
    assert high.evaluations["test"] == 800
    rows = 450 + 3700 + 800
    assert high.calls["task"] == 3 * rows
    assert high.calls["judge"] == 2 * rows


def test_money_is_unknown_as_soon_as_one_price_is():
    costs = {"task": CallCost(100, 20, 0.001), "optimizer": CallCost(1000, 500, 0.02)}
    likely = estimate_calls(PE2, costs).likely
    assert likely.usd == likely.calls["task"] * 0.001 + likely.calls["optimizer"] * 0.02
    assert likely.tokens == likely.calls["task"] * 120 + likely.calls["optimizer"] * 1500
    assert estimate_calls(replace(PE2, judge_calls=1), costs).likely.usd is None
    assert estimate_calls(PE2, costs).as_json()["low"]["calls"]["total"] == estimate_calls(PE2).low.total_calls


@given(
    st.builds(
        Shape,
        n_train=st.integers(0, 200),
        n_dev=st.integers(0, 200),
        n_val=st.integers(0, 50),
        n_test=st.integers(0, 200),
        steps=st.integers(0, 20),
        beam=st.integers(1, 6),
        batches=st.integers(1, 6),
        children=st.integers(1, 4),
        seeds=st.integers(1, 5),
        races=st.booleans(),
        train_outcomes=st.booleans(),
        top=st.integers(0, 5),
    )
)
def test_low_is_below_likely_is_below_high(shape):
    found = estimate_calls(shape)
    for name in ("total_calls", "candidates", "search"):
        low, likely, high = (getattr(level, name) for level in (found.low, found.likely, found.high))
        assert low <= likely <= high
    assert found.high.evaluations["test"] == 2 * shape.n_test
