"""A6. How much may change at step t of T: the textual learning rate (GPO 2.1-2.2)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

from langchain_promptopt.errors import RecipeError
from langchain_promptopt.strategies.scope import spans_for
from langchain_promptopt.types import Allowance

Mode = Literal["stated", "enforced"]
Unit = Literal["words", "spans"]


@dataclass(frozen=True)
class NoControl:
    """No word allowance."""

    def allowance(self, t: int, total: int) -> Allowance:  # noqa: ARG002
        """No limit."""
        return Allowance()


@dataclass(frozen=True)
class _Schedule(ABC):
    """Base: `start` words at the beginning, `end` at the last step, after `warmup` steps of rise.

    "stated" tells the optimizer (all that GPO does); "enforced" also refuses children that changed
    more words. The unit "spans" turns words into a number of spans of `span_words`.
    """

    start: int = 50
    end: int = 10
    warmup: int = 0
    mode: Mode = "stated"
    unit: Unit = "words"
    span_words: int = 5

    def __post_init__(self) -> None:
        if not 0 < self.end <= self.start:
            msg = f"a word budget needs 0 < end <= start, got start={self.start}, end={self.end}"
            raise RecipeError(msg)
        if self.warmup < 0:
            msg = f"warmup must be at least 0, got {self.warmup}"
            raise RecipeError(msg)

    def words(self, t: int, total: int) -> int:
        """The budget B(t), t from 1 to `total`."""
        if self.warmup and t < self.warmup:
            return math.floor(self.start * t / self.warmup)
        return self._after(t - self.warmup, max(1, total - self.warmup))

    @abstractmethod
    def _after(self, t: int, total: int) -> int:
        """The budget at step t of the `total` that follow the warm-up."""

    def allowance(self, t: int, total: int) -> Allowance:
        """B(t) in the unit and mode of this strategy."""
        words = max(1, self.words(t, total))
        spans = spans_for(words, self.span_words) if self.unit == "spans" else None
        return Allowance(words, stated=True, enforced=self.mode == "enforced", spans=spans)


@dataclass(frozen=True)
class Fixed(_Schedule):
    """The same budget at every step."""

    def _after(self, t: int, total: int) -> int:  # noqa: ARG002
        return self.start


@dataclass(frozen=True)
class Linear(_Schedule):
    """A budget that falls from `start` to `end` in equal steps.

    floor(B0 - t (B0 - BT) / (T - W)), restarting after the warm-up (GPO 2.2).
    """

    def _after(self, t: int, total: int) -> int:
        return math.floor(self.start - t * (self.start - self.end) / total)


@dataclass(frozen=True)
class Cosine(_Schedule):
    """A budget that falls from `start` to `end` along a cosine.

    floor(BT + (B0 - BT) (1 + cos(pi t / T)) / 2), shifted by the warm-up (GPO 2.2).
    """

    def _after(self, t: int, total: int) -> int:
        share = (1 + math.cos(math.pi * t / total)) / 2
        return math.floor(self.end + (self.start - self.end) * share + 1e-9)
