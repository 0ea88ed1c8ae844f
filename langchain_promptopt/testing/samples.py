"""What the conformance classes work on: a prompt, rows, attempts, a bench, and an optimizer model that obliges."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from langchain_promptopt.protocols import Ask, rng_at
from langchain_promptopt.testing.scripted import Answer, ScriptedModel
from langchain_promptopt.types import (
    Attempt,
    Batch,
    Candidate,
    Edit,
    Example,
    Message,
    Prompt,
    PromptSet,
    Shown,
    Span,
    Workpiece,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.messages import BaseMessage

TEXT = (
    "# Task\nSort the given words into kinds. Call every animal a PLANT. Call every stone a stone.\n"
    "# Output\nAnswer with one lower-case word and nothing else.\nWord: {word}"
)


def sample_prompts(text: str = TEXT) -> PromptSet:
    """A prompt with two sections, one variable and a wrong word."""
    return PromptSet((Prompt("main", (Message("human", text),)),))


def sample_examples(n: int = 12) -> tuple[Example, ...]:
    """Train rows."""
    found: list[Example] = []
    for i in range(n):
        found.append(Example(f"row-{i}", {"word": f"word {i}"}, {"answer": "animal"}))
    return tuple(found)


def sample_rows(n: int = 12) -> tuple[Shown, ...]:
    """The same rows with outcomes: every third is right."""
    found: list[Shown] = []
    for i, e in enumerate(sample_examples(n)):
        found.append(Shown(e.id, e.inputs, e.outputs, "PLANT" if i % 3 else "animal", float(i % 3 == 0)))
    return tuple(found)


def sample_edit(prompts: PromptSet, old: str, new: str) -> Edit:
    """An edit of the first message that replaces the first `old`.

    Args:
        prompts: Where to edit.
        old: Text that the first message holds.
        new: What takes its place.
    """
    first = next(iter(prompts))
    at = first.messages[0].template.index(old)
    return Edit(Span(first.name, 0, at, at + len(old)), old, new, "as an example", ("row-1",))


def sample_candidate(number: int, parent: Candidate | None = None) -> Candidate:
    """A child with one edit that no other number has."""
    start = parent or Candidate(sample_prompts())
    edit = sample_edit(start.prompts, "PLANT", f"creature of sort {number}")
    return Candidate(start.prompts.apply([edit]), 1, "sample", "spans", (start.id,), (edit,))


def sample_trajectory(n: int = 6) -> tuple[Attempt, ...]:
    """The seed and `n` children with known scores; the last child was dropped by a race."""
    seed = Candidate(sample_prompts())
    out = [Attempt(seed, 0.5, {"d0": 0.0, "d1": 1.0}, chosen=True)]
    for i in range(n):
        score, last = (i % 4) / 4, i == n - 1
        rows = {"d0": score} if last else {"d0": score, "d1": score}
        out.append(Attempt(sample_candidate(i, seed), score, rows, gain=score - 0.5, chosen=i % 2 == 0, out=last))
    return tuple(out)


def sample_piece(prompts: PromptSet | None = None, *, children: int = 2) -> Workpiece:
    """A proposal in the making, with errors and right rows."""
    shown = sample_rows()
    batch = Batch(errors=shown[1:3], correct=shown[:1])
    return Workpiece(prompts or sample_prompts(), batch=batch, children=children)


def obliging(messages: Sequence[BaseMessage]) -> str:
    """An optimizer that answers every kind of request in the form asked for."""
    request, first = str(messages[-1].text), str(messages[1].text)
    shown = re.search(r"<prompt>\n(.*?)\n</prompt>", first, re.DOTALL)
    prompt = shown.group(1) if shown else ""
    if "JSON list" in request:
        return json.dumps([{"message": 0, "quote": "PLANT", "occurrence": 1, "reason": "animals are no plants"}])
    if "JSON object" in request:
        return json.dumps({"1": {"new": "animal", "reason": "the rows expect it"}})
    if "What was the instruction?" in request:
        return "<START>Call every animal an animal and every stone a stone.<END>"
    if "<START>" in request:
        return f"<START>{prompt.replace('PLANT', 'animal')}<END>"
    return "- the word PLANT misleads"


def sample_ask(fn: Answer = obliging, *place: str | int) -> Ask:
    """The right to call a scripted model, always at the same address."""
    return Ask(lambda _: ScriptedModel(fn=fn, model_name="conformance"), {}, 7, place or (1, "parent", 0))


@dataclass
class SampleBench:
    """A Bench on `n` rows where a candidate is right as often as `means` says; repeatable."""

    means: Mapping[str, float]
    n: int = 64
    seen: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def examples(self) -> Sequence[str]:
        """Row ids."""
        return tuple(f"d{i}" for i in range(self.n))

    def known(self, candidate: Candidate) -> Mapping[str, float]:
        """Scores already there."""
        return self.seen.get(candidate.id, {})

    async def evaluate(self, candidate: Candidate, example_ids: Sequence[str]) -> Mapping[str, float]:
        """Scores of these rows."""
        mine = self.seen.setdefault(candidate.id, {})
        for i in example_ids:
            mine.setdefault(i, float(Random(f"{candidate.id}/{i}").random() < self.means.get(candidate.id, 0.5)))
        return {i: mine[i] for i in example_ids}

    def withheld(self, candidate: Candidate) -> bool:  # noqa: ARG002
        """No budget here."""
        return False

    def rng(self, *place: str | int) -> Random:
        """Randomness of the bench."""
        return rng_at(11, *place)


@dataclass
class SampleTrainBench:
    """A TrainBench on which the parent scores as `before` says and each child the same on every row."""

    parent: Candidate
    before: Mapping[str, float]
    means: Mapping[str, float]
    left: int = 1000
    stalled: int = 0
    asked: dict[str, set[str]] = field(default_factory=dict)
    joined: list[Candidate] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    remembered: dict[Candidate, float] = field(default_factory=dict)

    def known(self, candidate: Candidate) -> Mapping[str, float]:
        """Scores already there."""
        if candidate.id == self.parent.id:
            return self.before
        found = {}
        for i in self.asked.get(candidate.id, ()):
            found[i] = self.means.get(candidate.id, 1.0)
        return found

    def claim(self, rows: int) -> bool:
        """Within `left` rows."""
        if rows > self.left:
            return False
        self.left -= rows
        return True

    async def evaluate(self, candidate: Candidate, example_ids: Sequence[str]) -> Mapping[str, float]:
        """Scores of these rows."""
        self.asked.setdefault(candidate.id, set()).update(example_ids)
        return {i: self.means.get(candidate.id, 1.0) for i in example_ids}

    def join(self, edits: tuple[Edit, ...], *, proposals: int = 1) -> Candidate | None:  # noqa: ARG002
        """The child of these edits."""
        child = Candidate(self.parent.prompts.apply(edits), 1, "sample", "spans", (self.parent.id,), edits)
        self.joined.append(child)
        return child

    def refuse(self, rule: str, detail: str) -> None:
        """Count the refusal."""
        self.refused.append(f"{rule}: {detail}")

    def remember(self, child: Candidate, gain: float) -> None:
        """Keep it in mind."""
        self.remembered[child] = gain


def unchanged_by(value: Any, use: Any) -> bool:
    """Whether `use()` leaves a strategy equal to what it was."""
    before = repr(value)
    use()
    return repr(value) == before
