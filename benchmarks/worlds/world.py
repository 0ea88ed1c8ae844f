"""What both worlds share: rows, luck, and the scores that a search and a reader of the table see."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from langchain_promptopt.bench.world import instructions_of, prompts_of
from langchain_promptopt.protocols import rng_at

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random

    from langchain_promptopt.bench.planted_optimizer import Change
    from langchain_promptopt.types import Example, PromptSet

ROWS = {"train": 100, "dev": 100, "test": 400}
"""Rows of each split, as in the planted world."""


@dataclass(frozen=True)
class World:
    """One seeded world."""

    seed: int

    def rng(self, *place: str | int) -> Random:
        """Randomness of this world at a place."""
        return rng_at(self.seed, type(self).__name__, *place)

    @property
    @abstractmethod
    def start(self) -> str:
        """The instructions a run starts from."""

    @property
    @abstractmethod
    def good(self) -> str:
        """The right instructions."""

    @abstractmethod
    def row(self, split: str, i: int) -> Example:
        """The i-th row of a split."""

    @abstractmethod
    def chance(self, text: str, example: Example) -> float:
        """Probability that the scorer calls the answer right."""

    @abstractmethod
    def said(self, text: str, example: Example) -> str:
        """What the task model answers where it is wrong."""

    @abstractmethod
    def ideas(self, text: str, rows: Sequence[Mapping[str, object]], thought: Random, skill: float) -> list[Change]:
        """What an optimizer model would change after looking at these rows, good and bad ideas alike."""

    @abstractmethod
    def reworded(self, sentence: str) -> str:
        """A sentence of a prompt in other words, with the same meaning."""

    @cached_property
    def rows(self) -> Mapping[str, tuple[Example, ...]]:
        """All splits."""
        return {split: tuple(self.row(split, i) for i in range(n)) for split, n in ROWS.items()}

    @cached_property
    def prompts(self) -> PromptSet:
        """The start as the prompts of a run."""
        return prompts_of(self.start)

    def answer(self, candidate_id: str, text: str, example: Example, repeat: int = 0) -> tuple[str, float]:
        """The answer and its score; each pair of prompt and row has luck of its own."""
        if self._luck(candidate_id, example.id, repeat) < self.chance(text, example):
            return str(example.outputs["answer"]), 1.0
        return self.said(text, example), 0.0

    def held_out(self, prompts: PromptSet) -> float:
        """Expected score on the test rows, without the noise of one sample."""
        text, rows = instructions_of(prompts), self.rows["test"]
        return sum(self.chance(text, r) for r in rows) / len(rows)

    def _luck(self, *place: str | int) -> float:
        key = "/".join(map(str, (type(self).__name__, self.seed, *place))).encode()
        return int.from_bytes(hashlib.blake2b(key, digest_size=7).digest(), "big") / 2**56
