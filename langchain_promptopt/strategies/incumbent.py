"""A12. When a challenger may replace the best so far."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_promptopt.types import Attempt


@dataclass(frozen=True)
class Elitist:
    """Only a higher score replaces the best (G8)."""

    def accepts(self, challenger: Attempt, incumbent: Attempt) -> bool:
        """Strictly better, and fully measured."""
        return not challenger.out and challenger.score > incumbent.score


@dataclass(frozen=True)
class FreeWalk:
    """The newest always replaces the last: the walk may go down (GPO's code)."""

    def accepts(self, challenger: Attempt, incumbent: Attempt) -> bool:  # noqa: ARG002
        """Always."""
        return not challenger.out


@dataclass(frozen=True)
class PairedGate:
    """Wins must exceed losses on shared rows with an exact one-sided sign test below `alpha` (spec 6.1).

    A challenger that is better without reaching the level stays in the beam, it only does not lead.
    """

    alpha: float = 0.1

    def accepts(self, challenger: Attempt, incumbent: Attempt) -> bool:
        """Whether the shared rows show a gain at this level."""
        if challenger.out:
            return False
        shared = [i for i in challenger.by_example if i in incumbent.by_example]
        gains = [challenger.by_example[i] - incumbent.by_example[i] for i in shared]
        wins, losses = sum(g > 0 for g in gains), sum(g < 0 for g in gains)
        return sum(gains) > 0 and sign_test(wins, losses) < self.alpha


def sign_test(wins: int, losses: int) -> float:
    """One-sided exact probability of at least `wins` of `wins + losses` at even odds.

    >>> round(sign_test(6, 0), 6)
    0.015625
    """
    n = wins + losses
    favourable: int = sum(comb(n, k) for k in range(wins, n + 1))
    return favourable / float(2**n)
