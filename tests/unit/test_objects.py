"""What users hand over, by content: the same value hashes alike in every process, a changed one does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum

import pytest

from langchain_promptopt.evaluators import normal_form
from langchain_promptopt.gate.openings import row_hash
from langchain_promptopt.types import canonical, content_hash


class Colour(Enum):
    RED = 1
    BLUE = 2


@dataclass
class Point:
    x: int
    y: object = None


class Plain:
    def __init__(self, held: object) -> None:
        self.held = held


def in_processes(code: str) -> list[str]:
    """What a program prints under two hash seeds."""
    found = []
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
        found.append(done.stdout)
    return found


def test_plain_json_hashes_as_it_always_did():
    assert content_hash({"a": [1, None, "x", 0.5], "when": date(2026, 1, 2)}) == "f9ce4aa1e9a49860"


def test_sets_hash_alike_in_every_process():
    code = """
from langchain_promptopt.gate.openings import row_hash
from langchain_promptopt.evaluators import normal_form
tags = {"alpha", "beta", "gamma", "delta", ("a", 1), frozenset({"x", "y"})}
print(row_hash({"q": tags}), normal_form(tags))
"""
    first, second = in_processes(code)
    assert first == second


def test_large_arrays_hash_by_all_their_numbers():
    numpy = pytest.importorskip("numpy")
    one, two = numpy.zeros(5000), numpy.zeros(5000)
    two[2500] = 1
    assert row_hash({"pixels": one}) == row_hash({"pixels": one.copy()}) != row_hash({"pixels": two})
    assert normal_form({"pixels": one}) != normal_form({"pixels": two})
    assert content_hash(one) != content_hash(one.reshape(50, 100)) != content_hash(one.astype("int8"))
    assert content_hash(numpy.int64(3)) == content_hash(3)
    assert content_hash(numpy.array(["a", None], dtype=object)) != content_hash(numpy.array(["b", None], dtype=object))


def test_tables_hash_by_columns_index_and_values():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": range(500), "b": ["x"] * 500})
    other = frame.copy()
    other.loc[250, "b"] = "y"
    assert content_hash(frame) == content_hash(frame.copy()) != content_hash(other)
    assert content_hash(frame) != content_hash(frame.rename(columns={"a": "c"}))
    assert content_hash(frame["a"]) != content_hash(frame["a"].set_axis(range(1, 501)))


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({1, 2}, {1, 3}),
        (b"a", b"b"),
        (Colour.RED, Colour.BLUE),
        (Point(1), Point(2)),
        (Point(1, {"deep": {1}}), Point(1, {"deep": {2}})),
        (Plain([1]), Plain([2])),
        (Decimal("1.0"), Decimal("1.00")),
        ({1: "a"}, {2: "a"}),
        ({(1, 2): "a"}, {(1, 3): "a"}),
        (1 + 2j, 1 + 3j),
    ],
)
def test_different_values_hash_differently_and_equal_ones_alike(one, two):
    assert content_hash({"v": one}) != content_hash({"v": two})
    json.dumps(canonical(one))


def test_no_address_enters():
    assert content_hash({"v": Plain(object())}) == content_hash({"v": Plain(object())})


def test_objects_without_attributes_count_by_their_text():
    assert content_hash(range(3)) != content_hash(range(4))
