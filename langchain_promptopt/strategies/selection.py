"""A11 to A14. Which attempts live on, which leads, when the search ends, and which attempt goes to the gate.

`Beam`, `Greedy` and `Pool` choose parents and survivors. `Elitist`, `FreeWalk` and `PairedGate` say when a challenger
replaces the best so far. `Steps` and `Epochs` end the search; overfitting is watched first (algorithms 1.6, 6.1).
`BestVal` and `BestDev` pick the attempt that is tested.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_promptopt._collections import without
from langchain_promptopt._text.words import count_words
from langchain_promptopt.gate.exact import sign_test
from langchain_promptopt.protocols import Incumbent, Selection
from langchain_promptopt.recipe import at_least
from langchain_promptopt.strategies.scoring import fall, first_of
from langchain_promptopt.types import Stop, attempts_by_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random

    from langchain_promptopt.protocols import Progress
    from langchain_promptopt.types import Attempt, Trajectory


def ranked(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Best first, those a race dropped left out; ties keep the earlier attempt."""
    order = {a.candidate.id: i for i, a in enumerate(attempts)}
    return sorted((a for a in attempts if not a.out), key=lambda a: (-a.score, order[a.candidate.id]))


def _selection(kept: Sequence[Attempt], attempts: Sequence[Attempt]) -> Selection:
    """Those that are kept, and why each of the others is not."""
    here = attempts_by_id(kept)
    return Selection(tuple(kept), _reasons(kept, [a for a in attempts if a.candidate.id not in here]))


def _reasons(kept: Sequence[Attempt], rest: Sequence[Attempt]) -> dict[str, str]:
    bar = min((a.score for a in kept), default=0.0)
    return {a.candidate.id: _reason(a, bar) for a in rest}


def _reason(attempt: Attempt, bar: float) -> str:
    if attempt.out:
        return f"dropped by the race after {attempt.n} examples at {attempt.score:.3f}"
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
        return _selection(best, (*kept, *fresh))


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
        return _selection(current, (*kept, *fresh))


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


@dataclass(frozen=True)
class Trim(Beam):
    """`shorten`: the beam of those that save most, with the user's own prompt always kept for comparison."""

    width: int = 1

    def admit(self, kept: Sequence[Attempt], fresh: Sequence[Attempt], t: int, incumbent: Incumbent) -> Selection:
        """The shortest of old and new that are not worse, then the user's own prompt.

        Args:
            kept: Attempts kept from the step before, the one to go on from first.
            fresh: Attempts scored in this step.
            t: Number of the step, from 1.
            incumbent: The rule by which a new attempt may replace an old one (A12).
        """
        chosen, first = super().admit(kept, fresh, t, incumbent), first_of(kept)
        if first is None:
            return chosen
        left = tuple(a for a in chosen.kept if a.candidate.id != first.candidate.id)
        why = {a.candidate.id: _why_trimmed(a, first) for a in (*kept, *fresh)}
        here = attempts_by_id((*left, first))
        return Selection((*left, first), without(why, here))


def _why_trimmed(attempt: Attempt, first: Attempt) -> str:
    lost = fall(attempt, first)
    if attempt.out and lost is not None and lost > 0:
        return f"scores {lost * 100:.1f} points less than the prompt of the start on {attempt.n} examples"
    return "not enough examples were run" if attempt.out else f"saves {attempt.score:.0%} of the tokens, another more"


# ---------------------------------------------------------------- A12. When a challenger may replace the best so far


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
    """Wins must exceed losses on shared rows with an exact one-sided sign test below `alpha`.

    A challenger that is better without reaching the level stays in the beam, it only does not lead.
    """

    alpha: float = 0.1

    def accepts(self, challenger: Attempt, incumbent: Attempt) -> bool:
        """Whether the shared rows show a gain at this level."""
        if challenger.out:
            return False
        shared = [i for i in challenger.by_example if i in incumbent.by_example]
        gains = [challenger.by_example[i] - incumbent.by_example[i] for i in shared]
        wins = sum(g > 0 for g in gains)
        losses = sum(g < 0 for g in gains)
        return sum(gains) > 0 and sign_test(wins, losses) < self.alpha


# ---------------------------------------------------------------- A13. When to end the search


def gap_reason(progress: Progress) -> Stop | None:
    """The dev score is far above the val score: a gap above max(5 points, 2 SE) and no val gain for two steps."""
    pairs = progress.dev_val
    if len(pairs) < 3 or not progress.dev_size:
        return None
    dev, val = pairs[-1]
    spread = 2 * math.sqrt(max(val * (1 - val), 0.0) / progress.dev_size)
    vals = [v for _, v in pairs]
    stuck = max(vals[-2:]) <= max(vals[:-2])
    if dev - val > max(0.05, spread) and stuck:
        return Stop("overfitting", f"dev is at {dev:.3f} and val at {val:.3f}, with no gain on val for two steps")
    return None


def saturation_reason(progress: Progress, least_errors: int = 2) -> Stop | None:
    """The dev score cannot rise, or the train rows show too few errors to learn from."""
    best = progress.best[-1] if progress.best else None
    if best is not None and best.score >= 0.99 and best.n >= progress.dev_size:  # a few lucky rows saturate nothing
        return Stop("saturated", f"dev is at {100 * best.score:.1f} and cannot show more")
    if progress.train_errors is not None and progress.train_errors < least_errors:
        return Stop("few_errors", f"only {progress.train_errors} train errors are left")
    return None


def plateau_reason(progress: Progress, patience: int, eps: float, rounds: int = 0) -> Stop | None:
    """No gain above `eps` over the last `patience` steps.

    Args:
        progress: What is known.
        patience: Steps without gain.
        eps: Gains up to this count as none.
        rounds: Under a budget each known error must also have been shown so often, on average, since the last gain.
    """
    if len(progress.best) <= patience:
        return None
    if progress.limited and progress.shown < rounds * progress.open_errors:
        return None
    gain = progress.best[-1].score - progress.best[-1 - patience].score
    return Stop("plateau", f"no gain above {eps:g} for {patience} steps") if gain <= eps else None


@dataclass(frozen=True)
class Steps:
    """At most `limit` steps; sooner when dev is saturated or far above val.

    `patience` steps without gain end the search too; None waits for the limit. Under a budget each known
    error must have been shown `rounds` times, too: replies are random, and a second look may find what the
    first did not. Fewer than `least_errors` train errors end the search as well; 0 where only a sample of
    the rows is run.
    """

    limit: int = 3
    patience: int | None = None
    least_errors: int = 2
    rounds: int = 3

    def __post_init__(self) -> None:
        at_least("stop.limit", self.limit, 0)
        at_least("stop.patience", 1 if self.patience is None else self.patience, 1)

    def total(self, n_train: int) -> int:  # noqa: ARG002
        """The limit."""
        return self.limit

    def reason(self, progress: Progress) -> Stop | None:
        """Why to stop now, or None."""
        stuck = plateau_reason(progress, self.patience, 0.0, self.rounds) if self.patience is not None else None
        return gap_reason(progress) or saturation_reason(progress, self.least_errors) or stuck


@dataclass(frozen=True)
class Epochs:
    """GPO: `count` passes over the train rows in batches of `batch`; a plateau ends it sooner (paper), or not (code).

    Steps per epoch: floor(n / b), one more when the rest is at least half a batch (G2).
    """

    count: int = 3
    batch: int = 8
    patience: int | None = None

    def __post_init__(self) -> None:
        at_least("stop.count", self.count, 1)
        at_least("stop.batch", self.batch, 1)
        at_least("stop.patience", 1 if self.patience is None else self.patience, 1)

    def total(self, n_train: int) -> int:
        """T = epochs x steps per epoch, at least 1."""
        return max(1, self.count * steps_per_epoch(n_train, self.batch))

    def reason(self, progress: Progress) -> Stop | None:
        """Why to stop now, or None."""
        stuck = plateau_reason(progress, self.patience, 0.0) if self.patience is not None else None
        return gap_reason(progress) or stuck


def steps_per_epoch(n: int, batch: int) -> int:
    """GPO 2.2.

    >>> [steps_per_epoch(n, 8) for n in (48, 35, 33, 27, 20, 100)]
    [6, 4, 4, 3, 3, 13]
    """
    return n // batch + (2 * (n % batch) >= batch)


# ---------------------------------------------------------------- A14. Which attempt goes to the gate


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
        by_id = attempts_by_id(trajectory)
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


@dataclass(frozen=True)
class Shortest:
    """`shorten`: of the `top` attempts that save most, the shortest that loses no more than `margin` on val.

    Without val it is the one that saves most.
    """

    top: int = 4
    margin: float = 0.0

    def __post_init__(self) -> None:
        at_least("final.top", self.top, 1)
        at_least("final.margin", self.margin, 0.0)

    def pick(self, trajectory: Trajectory, val: Mapping[str, Mapping[str, float]], seed_id: str) -> Attempt:
        """The winner; the user's own prompt where nothing shorter is as good.

        Args:
            trajectory: All attempts so far, in the order in which they were made. The first is the user's own prompt.
            val: Val scores by candidate id, then by row id; empty without a val split.
            seed_id: Candidate id of the user's own prompt.
        """
        order, before = ranked(trajectory), val.get(seed_id, {})
        if len(val) < 2 or not before:
            return order[0]
        for attempt in order:
            after = val.get(attempt.candidate.id, {})
            shared = [before[i] - after[i] for i in before if i in after]
            if shared and sum(shared) / len(shared) <= self.margin + 1e-9:
                return attempt
        return trajectory[0]
