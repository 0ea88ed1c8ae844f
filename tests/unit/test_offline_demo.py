"""The demo data: enough rows, all different, and no trace of them in the code."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from langchain_core.prompts import PromptTemplate

import langchain_promptopt.offline as offline
from langchain_promptopt.offline import demo_prompt, demo_rows
from langchain_promptopt.offline.instructions import read


def test_rows_are_many_different_and_split():
    rows = demo_rows()
    splits = Counter(r["metadata"]["split"] for r in rows)
    assert splits == {"train": 80, "dev": 80, "test": 160}
    assert len({" ".join(r["inputs"]["ticket"].lower().split()) for r in rows}) == len(rows)
    assert len({r["metadata"]["id"] for r in rows}) == len(rows)
    openings = Counter(" ".join(r["inputs"]["ticket"].split()[:4]).lower() for r in rows)
    assert max(openings.values()) <= 6


def test_every_label_is_in_every_split_and_in_the_prompt():
    rows = demo_rows()
    named = {label.name for label in read(demo_prompt()).labels}
    for split in ("train", "dev", "test"):
        counts = Counter(r["outputs"]["label"] for r in rows if r["metadata"]["split"] == split)
        assert set(counts) == named
        assert min(counts.values()) >= 10


def test_the_prompt_is_long_has_one_variable_and_the_section_to_freeze():
    prompt = demo_prompt()
    assert 380 <= len(prompt.split()) <= 440
    assert PromptTemplate.from_template(prompt).input_variables == ["ticket"]
    assert "\n## Refund policy\n" in prompt
    assert len(read(prompt).rules) >= 8


def test_no_label_or_row_of_the_demo_is_in_the_code():
    rows = demo_rows()
    labels = {r["outputs"]["label"] for r in rows}
    tickets = [r["inputs"]["ticket"].casefold() for r in rows]
    for path in Path(offline.__file__).parent.rglob("*.py"):
        source = path.read_text("utf-8").casefold()
        assert not [n for n in labels if re.search(rf"(?<![a-z0-9]){n}(?![a-z0-9])", source)], path.name
        assert not [t for t in tickets if t in source], path.name
