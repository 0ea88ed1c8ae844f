"""The tables of docs/real-models.md say what the stored rows say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.real_models.table import tables

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "real-models.md").read_text("utf-8").splitlines()
FILES = ("second_held_out", "whole_runs")


def stored(name: str) -> list[dict]:
    return [json.loads(line) for line in (ROOT / "benchmarks" / "results" / f"{name}.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", FILES)
def test_the_page_holds_the_table_of_the_stored_rows(name):
    lines = tables(stored(name))
    start = PAGE.index(lines[0])
    shown = PAGE[start : PAGE.index("", start)]
    assert sorted(shown) == sorted(lines)


def test_no_row_tells_what_was_said():
    for name in FILES:
        assert not any({"turns", "result"} & row.keys() for row in stored(name))
