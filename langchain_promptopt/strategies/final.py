"""A14. Which attempt goes to the gate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_promptopt._text.words import count_words
from langchain_promptopt.recipe import at_least
from langchain_promptopt.strategies.search import ranked

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_promptopt.types import Attempt, Trajectory


def shortest(attempt: Attempt) -> int:
    """Words of all prompts together, the tie-breaker."""
    return count_words(attempt.candidate.prompts.document.text)


@dataclass(frozen=True)
class BestVal:
    """The best val score among the top `top` dev attempts and the seed; without val the best dev score.

    Ties go to the shorter prompt (algorithms 6.1).
    """

    top: int = 4

    def __post_init__(self) -> None:
        at_least("final.top", self.top, 1)

    def pick(self, trajectory: Trajectory, val: Mapping[str, Mapping[str, float]], seed_id: str) -> Attempt:
        """The winner; the seed only when nothing beats it.

        Args:
            trajectory: All attempts so far, in the order in which they were made. The first is the user's own prompt.
            val: Val scores by candidate id, then by row id; empty without a val split.
            seed_id: Candidate id of the user's own prompt.
        """
        by_id = {a.candidate.id: a for a in trajectory}
        if len(val) < 2:
            return ranked(trajectory)[0]
        means = {i: sum(v.values()) / len(v) for i, v in val.items() if v}
        order = sorted(means, key=lambda i: (-means[i], i != seed_id, shortest(by_id[i])))
        return by_id[order[0]]


@dataclass(frozen=True)
class BestDev:
    """The best dev score, as the papers do; ties go to the earlier attempt."""

    top: int = 0

    def pick(self, trajectory: Trajectory, val: Mapping[str, Mapping[str, float]], seed_id: str) -> Attempt:  # noqa: ARG002
        """The archive maximum, never below the seed (P2).

        Args:
            trajectory: All attempts so far, in the order in which they were made. The first is the user's own prompt.
            val: Not used.
            seed_id: Not used.
        """
        return ranked(trajectory)[0]
