"""A13. When to end the search. Overfitting is watched first (algorithms 1.6, 6.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_promptopt.recipe import at_least
from langchain_promptopt.types import Stop

if TYPE_CHECKING:
    from langchain_promptopt.protocols import Progress


def gap_reason(progress: Progress) -> Stop | None:
    """The dev score is far above the val score: a gap above max(5 points, 2 SE) and no val gain for two steps."""
    pairs = progress.dev_val
    if len(pairs) < 3 or not progress.dev_size:
        return None
    dev, val = pairs[-1]
    spread = 2 * math.sqrt(max(val * (1 - val), 0.0) / progress.dev_size)
    stuck = max(v for _, v in pairs[-2:]) <= max(v for _, v in pairs[:-2])
    if dev - val > max(0.05, spread) and stuck:
        return Stop("overfitting", f"dev is at {dev:.3f} and val at {val:.3f}, with no gain on val for two steps")
    return None


def saturation_reason(progress: Progress, least_errors: int = 2) -> Stop | None:
    """The dev score cannot rise, or the train rows show too few errors to learn from."""
    best = progress.best[-1] if progress.best else None
    if best is not None and best.score >= 0.99 and best.n >= progress.dev_size:  # a few lucky rows saturate nothing
        return Stop("saturated", f"dev is at {best.score:.3f} and cannot show more")
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
