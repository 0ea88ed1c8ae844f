"""Studentized (bootstrap-t) test and interval for the mean of cluster differences.

Each resample's mean is divided by its own standard error, so the skew of the scores enters the
interval; shifting sign-flips by a margin would be wrong for skewed or tied differences.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from math import ceil, fsum, inf, sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

_FEWEST = 1_999
_BUDGET = 6_000_000


@dataclass(frozen=True, slots=True)
class Studentized:
    """The bootstrap distribution of the studentized mean, sorted, around `mean` with `error`."""

    mean: float
    error: float
    ratios: tuple[float, ...]

    def p_above(self, margin: float) -> float:
        """One-sided p-value of "the mean is at most `margin`"; never 0."""
        observed = (self.mean - margin) / self.error
        beyond = len(self.ratios) - bisect_left(self.ratios, observed)
        return (beyond + 1) / (len(self.ratios) + 1)

    def interval(self, alpha: float) -> tuple[float, float]:
        """Limits at level `alpha` each; the lower one is above a margin exactly when `p_above` is below `alpha`."""
        rank = ceil(alpha * (len(self.ratios) + 1)) - 1
        if rank < 1:
            return -inf, inf
        return self.mean - self.ratios[-rank] * self.error, self.mean - self.ratios[rank - 1] * self.error


def resamples_for(alpha: float, n: int) -> int:
    """Resamples that put enough of them beyond level `alpha`, within a budget of draws.

    >>> resamples_for(0.025, 100)
    1999
    """
    return max(_FEWEST, ceil(3 / alpha), min(ceil(20 / alpha), _BUDGET // n))


def studentized(differences: Sequence[float], rng: Random, resamples: int) -> Studentized:
    """Resample clusters. Needs at least two different values.

    A value travels with its square as one complex number, because one `sum` then gives both moments.
    """
    n = len(differences)
    mean = fsum(differences) / n
    centred = [d - mean for d in differences]
    error = sqrt(fsum(d * d for d in centred) / (n - 1) / n)
    both = [complex(d, d * d) for d in centred]
    floor = 1e-12 * error * error
    ratios = sorted(_ratio(sum(rng.choices(both, k=n)), n, floor) for _ in range(resamples))
    return Studentized(mean, error, tuple(ratios))


def _ratio(moments: complex, n: int, floor: float) -> float:
    mean = moments.real / n
    variance = (moments.imag - n * mean * mean) / (n - 1) / n
    if variance <= floor:
        return inf if mean > 0 else -inf if mean < 0 else 0.0
    return mean / sqrt(variance)
