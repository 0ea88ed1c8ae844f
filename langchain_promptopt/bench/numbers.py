"""Means with bootstrap intervals over seeds: pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_DRAWS = 2000


@dataclass(frozen=True)
class Interval:
    """A mean (or ratio) with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def as_json(self) -> dict[str, float]:
        """Plain values."""
        return {"mean": self.mean, "low": self.low, "high": self.high, "n": self.n}


def mean(values: Sequence[float]) -> float:
    """The mean; 0 of nothing."""
    return sum(values) / len(values) if values else 0.0


def bootstrap(values: Sequence[float], seed: int = 0) -> Interval:
    """Percentile bootstrap of the mean over seeds.

    >>> str(bootstrap([1.0, 1.0]))
    '1.000 [1.000, 1.000]'
    """
    return _resampled(len(values), lambda picks: mean([values[i] for i in picks]), seed)


def ratio(above: Sequence[float], below: Sequence[float], seed: int = 0) -> Interval:
    """Sum of `above` over sum of `below`, resampled in pairs.

    >>> str(ratio([6.0, 6.0], [2.0, 2.0]))
    '3.000 [3.000, 3.000]'
    """

    def of(picks: Sequence[int]) -> float:
        return sum(above[i] for i in picks) / max(sum(below[i] for i in picks), 1e-9)

    return _resampled(len(above), of, seed)


def _resampled(n: int, statistic: Callable[[Sequence[int]], float], seed: int) -> Interval:
    if not n:
        return Interval(0.0, 0.0, 0.0, 0)
    rng = Random(seed)
    draws = sorted(statistic([rng.randrange(n) for _ in range(n)]) for _ in range(_DRAWS))
    return Interval(statistic(range(n)), draws[int(0.025 * _DRAWS)], draws[int(0.975 * _DRAWS) - 1], n)
