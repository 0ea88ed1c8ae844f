"""A11. Which attempts are expanded, and which survive a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_promptopt.protocols import Incumbent, Selection

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from langchain_promptopt.types import Attempt, Trajectory


def ranked(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Best first, those a race dropped left out; ties keep the earlier attempt."""
    order = {a.candidate.id: i for i, a in enumerate(attempts)}
    return sorted((a for a in attempts if not a.out), key=lambda a: (-a.score, order[a.candidate.id]))


def _reasons(kept: Sequence[Attempt], rest: Sequence[Attempt]) -> dict[str, str]:
    bar = min((a.score for a in kept), default=0.0)
    return {a.candidate.id: _reason(a, bar) for a in rest}


def _reason(attempt: Attempt, bar: float) -> str:
    if attempt.out:
        return f"dropped by the race after {attempt.n} rows at {attempt.score:.3f}"
    return f"score {attempt.score:.3f} is below the kept {bar:.3f}" if attempt.score < bar else "no room"


@dataclass(frozen=True)
class Beam:
    """Keep the best `width`; with `back_track` parents come from all steps (PE2), else from the last beam."""

    width: int = 4
    back_track: bool = True

    def parents(self, trajectory: Trajectory, kept: Sequence[Attempt], t: int, rng: Random) -> tuple[Attempt, ...]:  # noqa: ARG002
        """The best `width` attempts of all steps, or of the beam.

        Args:
            trajectory: All attempts so far, in the order in which they were made.
            kept: Attempts kept from the step before, the one to go on from first.
            t: Not used.
            rng: Not used.
        """
        return tuple(ranked(trajectory if self.back_track else kept)[: self.width])

    def admit(self, kept: Sequence[Attempt], fresh: Sequence[Attempt], t: int, incumbent: Incumbent) -> Selection:  # noqa: ARG002
        """The best of old and new (A2: the old beam always competes).

        Args:
            kept: Attempts kept from the step before, the one to go on from first.
            fresh: Attempts scored in this step.
            t: Not used.
            incumbent: Not used.
        """
        best = ranked([*kept, *fresh])[: self.width]
        ids = {a.candidate.id for a in best}
        return Selection(tuple(best), _reasons(best, [a for a in (*kept, *fresh) if a.candidate.id not in ids]))


@dataclass(frozen=True)
class Greedy:
    """One prompt is carried on: the step's best, if the incumbent rule lets it take over (GPO)."""

    width: int = 1

    def parents(self, trajectory: Trajectory, kept: Sequence[Attempt], t: int, rng: Random) -> tuple[Attempt, ...]:  # noqa: ARG002
        """The current prompt.

        Args:
            trajectory: Not used.
            kept: Attempts kept from the step before, the one to go on from first.
            t: Not used.
            rng: Not used.
        """
        return tuple(kept[:1])

    def admit(self, kept: Sequence[Attempt], fresh: Sequence[Attempt], t: int, incumbent: Incumbent) -> Selection:  # noqa: ARG002
        """The best new one where it is accepted, else the current one again.

        Args:
            kept: Attempts kept from the step before, the one to go on from first.
            fresh: Attempts scored in this step.
            t: Not used.
            incumbent: The rule by which a new attempt may replace an old one (A12).
        """
        leaders = ranked(fresh)
        current = kept[:1]
        if leaders and (not current or incumbent.accepts(leaders[0], current[0])):
            current = leaders[:1]
        ids = {a.candidate.id for a in current}
        return Selection(tuple(current), _reasons(current, [a for a in (*kept, *fresh) if a.candidate.id not in ids]))


@dataclass(frozen=True)
class Pool:
    """OPRO: everything stays in the pool; children come from its best prompt and history."""

    size: int = 200
    width: int = 1

    def parents(self, trajectory: Trajectory, kept: Sequence[Attempt], t: int, rng: Random) -> tuple[Attempt, ...]:  # noqa: ARG002
        """The best of all.

        Args:
            trajectory: All attempts so far, in the order in which they were made.
            kept: Not used.
            t: Not used.
            rng: Not used.
        """
        return tuple(ranked(trajectory)[:1])

    def admit(self, kept: Sequence[Attempt], fresh: Sequence[Attempt], t: int, incumbent: Incumbent) -> Selection:  # noqa: ARG002
        """All, best first, up to `size`.

        Args:
            kept: Attempts kept from the step before, the one to go on from first.
            fresh: Attempts scored in this step.
            t: Not used.
            incumbent: Not used.
        """
        order = ranked([*kept, *fresh])
        raced = [a for a in (*kept, *fresh) if a.out]
        return Selection(tuple(order[: self.size]), _reasons(order[: self.size], [*order[self.size :], *raced]))
