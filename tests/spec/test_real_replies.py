"""Replies of real models, good and broken, to prompts of the tuning set: each is read as it was when it was given."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage

from benchmarks.real_models.held_out import HELD_OUT
from benchmarks.real_models.prompts import TUNING
from benchmarks.real_models.run import Cell, measure

STORED = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "data" / "real_replies.jsonl").read_text("utf-8").splitlines()
]
PROMPTS = {p.name: p for p in (*HELD_OUT, *TUNING)}


class Recorded:
    """Gives the stored replies in their order."""

    def __init__(self, replies: list[str]) -> None:
        self.left = list(replies)

    async def ainvoke(self, messages: Any, config: Any = None, **kwargs: Any) -> AIMessage:
        return AIMessage(self.left.pop(0))


def name(stored: dict[str, Any]) -> str:
    return f"{stored['model']}-{stored['cell']}-{stored['prompt']}-{stored['fault']}"


@pytest.mark.parametrize("stored", STORED, ids=name)
def test_a_stored_reply_is_read_as_it_was(stored):
    model = Recorded(stored["replies"])
    found = asyncio.run(measure(model, Cell(stored["cell"]), PROMPTS[stored["prompt"]], stored["fault"], 600))
    assert not model.left
    for field in ("parsed", "legal", "hit", "repaired"):
        assert found[field] == stored[field], field
    assert [list(e) for e in found["edits"]] == stored["edits"]


def test_good_and_broken_replies_are_stored():
    assert {s["repaired"] for s in STORED} == {True, False}
    assert any(len(s["replies"]) > 1 for s in STORED)
