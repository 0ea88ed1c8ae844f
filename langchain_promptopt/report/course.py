"""The course of a search: what was tried at each step, and who led after it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Tried:
    """One candidate: where it came from, how it scored in the search, what became of it."""

    id: str
    parent_id: str | None
    step: int
    scope: str
    edits: tuple[Mapping[str, Any], ...]
    prompts: Sequence[Mapping[str, Any]]
    score: float | None = None
    n: int = 0
    dropped_why: str = ""


@dataclass(frozen=True)
class StepScore:
    """A step of the search: scores of its new candidates, and the best so far."""

    step: int
    scores: tuple[float, ...]
    best: float


def uneven(candidates: Mapping[str, Tried]) -> bool:
    """Whether scores are of different numbers of rows: few lucky ones are then no best score."""
    return len({tried.n for tried in candidates.values() if tried.score is not None}) > 1


def course(candidates: Mapping[str, Tried], leads: Mapping[int, str]) -> tuple[StepScore, ...]:
    """Scores by step, the baseline as step 0, each with the best so far; where scores are uneven, with the leader's.

    Args:
        candidates: All that were tried, by id.
        leads: Who the search went on from after each step.
    """
    by_step: dict[int, list[float]] = defaultdict(list)
    for tried in candidates.values():
        if tried.score is not None:
            by_step[tried.step].append(tried.score)
    follow = leads if uneven(candidates) else {}
    out: list[StepScore] = []
    for step in sorted({*by_step, *follow}):
        scores = tuple(by_step[step])
        leader = candidates.get(follow.get(step, ""))
        best = max([*scores, *(s.best for s in out[-1:])]) if leader is None or leader.score is None else leader.score
        out.append(StepScore(step, scores, best))
    return tuple(out)
