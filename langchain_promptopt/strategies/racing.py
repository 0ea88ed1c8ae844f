"""Bounds and budgets of the bandits and of the paired race, apart from their loops: pure arithmetic (spec 3.2, 6.2)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def bernstein_upper(differences: Sequence[float], delta: float) -> float:
    """Upper bound on the mean of differences in [-1, 1], by the empirical Bernstein inequality."""
    n = len(differences)
    if n < 2:
        return 1.0
    mean = sum(differences) / n
    variance = sum((d - mean) ** 2 for d in differences) / (n - 1)
    log = math.log(3 / delta)
    return mean + math.sqrt(2 * variance * log / n) + 3 * 2.0 * log / n


def normal_upper(differences: Sequence[float], z: float = 1.2816) -> float:
    """Upper 90 % bound on the mean difference, with one pseudo-count on each side so that ties decide nothing."""
    n = len(differences)
    total, squares = sum(differences), sum(d * d for d in differences) + 1.0
    mean = total / n if n else 0.0
    variance = max(squares / (n + 1) - mean * mean, 0.0)
    return mean + z * math.sqrt(variance / max(n, 1))


def normal_lower(differences: Sequence[float], z: float = 1.2816) -> float:
    """Lower 90 % bound on the mean difference, with the same pseudo-counts."""
    return -normal_upper([-d for d in differences], z)


def ucb(mean: float, n: int, total: int, c: float) -> float:
    """UCB1 with all pulls counted (the released code counted rounds, which starves arms; spec 3.2)."""
    return math.inf if not n else mean + c * math.sqrt(math.log(max(total, 2)) / n)


def ucb_e(mean: float, n: int, c: float) -> float:
    """UCB-E's bonus c * sqrt(c / n)."""
    return math.inf if not n else mean + c * math.sqrt(c / n)


def rejects_schedule(arms: int, budget: int, keep: int) -> list[int]:
    """Cumulative samples an arm has after each phase of successive rejects; phases drop one arm down to `keep`."""
    log_bar = 0.5 + sum(1 / i for i in range(2, arms + 1))
    phases = max(0, arms - keep)
    return [
        max(4 * k, math.ceil((budget - arms) / ((arms + 1 - k) * log_bar)) if budget > arms else 1)
        for k in range(1, phases + 1)
    ]


def halving_samples(alive: int, arms: int, budget: int) -> int:
    """Samples per arm in one round of successive halving."""
    return max(1, budget // (alive * max(1, math.ceil(math.log2(max(arms, 2))))))


def shared_differences(a: Mapping[str, float], b: Mapping[str, float]) -> list[float]:
    """What `a` scores more than `b`, on each of the rows both have seen."""
    return [a[i] - b[i] for i in a if i in b]
