"""The optimizer model of both worlds: it turns the ideas of a world into the form that a step asks for."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage

from langchain_promptopt.bench.planted_optimizer import Asked, Change, applied, asked, slots_of
from langchain_promptopt.protocols import rng_at
from langchain_promptopt.steps.line_protocol import anchored, is_example
from langchain_promptopt.types import content_hash

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from benchmarks.worlds.world import World

WITHOUT_ERRORS = 0.5
"""Factor on skill where only rows without answers are shown."""
LOST = 0.02
"""Chance for each sentence to be lost in a rewrite of the whole prompt."""
REWORDED = 0.2
"""Chance that a rewrite puts a sentence into other words."""
LEFT_OUT = 0.15
"""Chance that a marked place keeps its text although an idea was there."""


class WorldOptimizer:
    """Answers the steps of a run. Equal requests get different replies, as from a model that samples."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._asked_before: Counter[str] = Counter()

    def answer(self, turns: Sequence[tuple[str, str]], temperature: float | None = None) -> AIMessage:
        """The reply to (role, text) pairs."""
        digest = content_hash([list(t) for t in turns])
        k = self._asked_before[digest] if temperature else 0
        self._asked_before[digest] += 1
        request = asked(turns)
        # one conversation keeps its thought over its turns; replies to a first request differ when it is sent again
        opening = next(text for role, text in turns if role in {"human", "user"} and not is_example(text))
        again = k if request.kind in {"global", "induce"} else 0
        thought = rng_at(self.world.seed, "thought", content_hash(opening), again)
        hand = rng_at(self.world.seed, "hand", digest, k)
        said = self._reply(request, thought, hand)
        read, words = sum(len(t.split()) for _, t in turns), len(said.split())
        return AIMessage(
            said, usage_metadata={"input_tokens": read, "output_tokens": words, "total_tokens": read + words}
        )

    def _reply(self, request: Asked, thought: Random, hand: Random) -> str:
        if request.kind == "summary":
            return "Attempts with more right rules scored higher."
        if request.kind == "induce":
            return f"<START>\n{self._rewritten(request, self.world.start, thought, hand)}\n<END>"
        if request.kind == "global":
            return f"<START>\n{self._rewritten(request, request.prompt, thought, hand)}\n<END>"
        changes = self._ideas(request, request.prompt, thought)
        if request.kind == "reasons":
            return "\n".join(f"- {c.why}" for c in changes) or "- nothing in the prompt explains these errors"
        if request.kind == "line":
            kept = [c for c in changes[: request.k_max] if hand.random() >= LEFT_OUT]
            return json.dumps({"changes": [_line(request.prompt, c) for c in kept]})
        if request.kind == "quote":
            return json.dumps([_mark(request.prompt, c) for c in changes][: request.k_max])
        return json.dumps(self._slots(request, changes, hand))

    def _ideas(self, request: Asked, text: str, thought: Random) -> list[Change]:
        rows = request.errors or request.formats
        return self.world.ideas(text, rows, thought, 1.0 if request.errors else WITHOUT_ERRORS)

    def _slots(self, request: Asked, changes: Sequence[Change], hand: Random) -> dict[str, dict[str, str]]:
        out: dict[str, dict[str, str]] = {}
        text = request.prompt
        for n, (start, end) in enumerate(slots_of(request.marked), 1):
            mine = [c for c in changes if start <= c.start and c.end <= end and hand.random() >= LEFT_OUT]
            if start == end:
                new = mine[0].new.strip() if mine else ""
            elif request.goal == "paraphrase":
                new = self.world.reworded(text[start:end])
            else:
                new = applied(text, mine, start, end)
            if new != text[start:end]:
                out[str(n)] = {"new": new, "reason": "; ".join(c.why for c in mine)}
        first = slots_of(request.marked)[0]
        return out or {"1": {"new": text[slice(*first)], "reason": "as it is"}}

    def _rewritten(self, request: Asked, text: str, thought: Random, hand: Random) -> str:
        ideas = [] if request.goal == "paraphrase" else self._ideas(request, text, thought)
        changes = list(ideas)
        for m in re.finditer(r"[^.\n]+\.", text):
            start = m.start() + len(m.group()) - len(m.group().lstrip())
            if "{" in m.group() or any(c.start < m.end() and start < c.end for c in ideas):
                continue
            if hand.random() < LOST:
                changes.append(Change(start, m.end(), ""))
            elif hand.random() < REWORDED:
                changes.append(Change(start, m.end(), self.world.reworded(text[start : m.end()])))
        return applied(text, changes, 0, len(text))


def _line(text: str, change: Change) -> dict[str, Any]:
    """The change in the line form."""
    number, start, end = anchored(text, change.start, change.end)
    new = text[start : change.start] + change.new + text[change.end : end]
    return {"why": change.why, "line": number, "old": text[start:end], "new": new}


def _mark(text: str, change: Change) -> dict[str, Any]:
    """A quote of the place, or for an insertion of what stands before it."""
    if change.start == change.end:
        before = text[max(0, change.start - 40) : change.start].split("\n")[-1]
        return {"message": 0, "quote": "", "after": before, "reason": change.why}
    quote = text[change.start : change.end]
    return {
        "message": 0,
        "quote": quote,
        "occurrence": text[: change.start].count(quote) + 1,
        "reason": change.why,
    }
