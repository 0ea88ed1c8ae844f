"""Outcomes in memory: packed rows come back as they were, in the split's order, and answers stay in the journal."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_promptopt._engine.evaluations import OutcomeTable, Packer
from langchain_promptopt.types import Cell, Failure, Outcome, Usage

COUNTS = st.integers(0, 2**40)
USAGES = st.builds(
    Usage,
    st.integers(1, 2**20),
    COUNTS,
    COUNTS,
    COUNTS,
    st.none() | st.floats(0, 1e6, allow_nan=False),
    st.floats(0, 1e6, allow_nan=False),
)
OUTCOMES = st.builds(
    Outcome,
    st.just(Cell("c", "dev", "e")),
    st.dictionaries(st.text(max_size=8), st.floats(allow_nan=False), max_size=4),
    failure=st.none() | st.builds(Failure, st.sampled_from(["timeout", "parse"]), st.text(max_size=9), st.booleans()),
    usage=USAGES,
    model_served=st.none() | st.text(max_size=8),
    cached=st.booleans(),
    judge=st.just(Usage()) | USAGES,
    tries=st.integers(1, 20),
)


def outcome(example_id, score=1.0, split="dev", repeat=0, **more):
    values = {"output": "long " * 50, "comments": {"m": "why"}, "usage": Usage(1, 10, 5, 0, 0.1, 0.5)} | more
    return Outcome(Cell("c", split, example_id, repeat), {"m": score}, **values)


def kept(*outcomes):
    found = OutcomeTable(lambda split: ["e0", "e1", "e2", "e3"])
    for one in outcomes:
        found.add(one)
    return found


@given(st.lists(OUTCOMES, min_size=1, max_size=5))
def test_a_packed_outcome_comes_back_to_the_last_bit(outcomes):
    packer = Packer()
    packed = [packer.pack(one) for one in outcomes]
    assert [packer.unpack(one.cell, p) for one, p in zip(outcomes, packed, strict=True)] == outcomes


def test_a_packed_row_is_small_and_without_its_answer():
    packer = Packer()
    packed = packer.pack(outcome("e0", output="secret words"))
    assert sys.getsizeof(packed) <= 96
    assert packer.unpack(Cell("c", "dev", "e0"), packed).output is None


def test_rows_come_in_the_splits_order_whatever_the_order_of_replies():
    found = kept(outcome("e2"), outcome("e0", 0.0), outcome("e3", repeat=1), outcome("e3"))
    assert found.ids("c", "dev") == ["e0", "e2", "e3"]
    assert [o.cell.repeat for o in found.outcomes("c", "dev", "e3")] == [0, 1]
    assert list(found.scores("c", "dev")) == [("e0", [{"m": 0.0}]), ("e2", [{"m": 1.0}]), ("e3", [{"m": 1.0}] * 2)]
    assert found.count("c", "dev") == 4
    assert Cell("c", "dev", "e3", 1) in found
    assert Cell("c", "dev", "e2", 1) not in found
    assert Cell("d", "dev", "e2") not in found


def test_a_dropped_row_is_known_and_has_no_score():
    late = Failure("timeout", "late")
    found = kept(replace(outcome("e0"), failure=late), replace(outcome("e1", split="train"), failure=late))
    assert list(found.scores("c", "dev")) == [("e0", [])]
    assert list(found.scores("c", "train")) == [("e1", [])]
    assert found[Cell("c", "dev", "e0")].dropped


def test_train_rows_keep_their_answers():
    whole = outcome("e1", split="train")
    assert kept(whole)[whole.cell] == whole


@pytest.mark.parametrize("split", ["dev", "train"])
def test_totals_add_up_and_an_unknown_price_stays_unknown(split):
    rows = [outcome(f"e{n}", split=split, cached=n == 1) for n in range(3)]
    found = kept(*rows)
    assert found.totals("c", split) == (0, 1, Usage(3, 30, 15, 0, pytest.approx(0.3), 1.5))
    assert found.totals("c", split, frozenset({"e2"})).usage.calls == 1
    assert found.totals("c", "val") == (0, 0, Usage())
    found.add(outcome("e3", split=split, usage=Usage(1, usd=None), failure=Failure("parse", "no", scored_zero=True)))
    told = found.totals("c", split)
    assert (told.failures, told.usage.calls, told.usage.usd) == (1, 4, None)
