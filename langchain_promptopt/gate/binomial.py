"""Exact binomial arithmetic with nothing but the standard library."""

from __future__ import annotations

from functools import lru_cache
from math import comb, exp, lgamma, log, log1p
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_TINY = 1e-300
_NORMAL = NormalDist()


def normal_quantile(p: float) -> float:
    """The standard normal quantile; finite for every p, 0 and 1 included."""
    return _NORMAL.inv_cdf(min(max(p, 1e-15), 1 - 1e-15))


def normal_tail(z: float) -> float:
    """P(Z >= z), accurate far into the upper tail."""
    return _NORMAL.cdf(-z)


def sign_test(wins: int, losses: int) -> float:
    """One-sided exact sign test (McNemar): the chance of `wins` or more among the rows that differ.

    >>> sign_test(6, 0)
    0.015625
    >>> sign_test(0, 0)
    1.0
    """
    n = wins + losses
    term, total = comb(n, wins), 0
    for k in range(wins, n + 1):  # in whole numbers until the last division
        total += term
        term = term * (n - k) // (k + 1)
    return total / (1 << n)


def binomial_pmf(k: int, n: int, p: float) -> float:
    """P(X = k) for X ~ Bin(n, p)."""
    if p <= 0.0 or p >= 1.0:
        return float(k == (0 if p <= 0.0 else n))
    return exp(lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) + k * log(p) + (n - k) * log1p(-p))


def binomial_tail(k: int, n: int, p: float) -> float:
    """P(X >= k) for X ~ Bin(n, p), by the regularised incomplete beta function I_p(k, n - k + 1).

    >>> round(binomial_tail(6, 10, 0.5), 6)
    0.376953
    """
    if k <= 0:
        return 1.0
    if k > n or p <= 0.0:
        return 0.0
    if p >= 1.0:
        return 1.0
    a, b = float(k), float(n - k + 1)
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(p) + b * log1p(-p))
    if p < (a + 1) / (a + b + 2):
        return min(1.0, front * _beta_fraction(a, b, p) / a)
    return max(0.0, 1.0 - front * _beta_fraction(b, a, 1 - p) / b)


def _beta_fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of the incomplete beta function, evaluated by Lentz's method."""
    c, d = 1.0, _nonzero(1 - (a + b) * x / (a + 1))
    d = 1 / d
    value = d
    for m in range(1, 500):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        step = 1.0
        for numerator in (even, odd):
            d = 1 / _nonzero(1 + numerator * d)
            c = _nonzero(1 + numerator / c)
            step = c * d
            value *= step
        if abs(step - 1) < 1e-13:
            break
    return value


def _nonzero(x: float) -> float:
    return x if abs(x) > _TINY else _TINY


class CriticalWins:
    """The fewest wins among k differing rows whose sign test is below `alpha`, for k = 0, 1, 2, ...

    >>> list(CriticalWins(0.025).upto(7))
    [1, 2, 3, 4, 5, 6, 6, 7]
    """

    def __init__(self, alpha: float) -> None:
        self._alpha = alpha
        self._fewest = [1]

    def upto(self, n: int) -> Sequence[int]:
        """The list for k = 0 ... n at least; k + 1 stands where no number of wins is enough."""
        for k in range(len(self._fewest), n + 1):
            wins = self._fewest[-1]  # one more row asks for as many wins, or for one more
            self._fewest.append(wins if binomial_tail(wins, k, 0.5) < self._alpha else wins + 1)
        return self._fewest


@lru_cache(maxsize=256)
def critical_wins(alpha: float) -> CriticalWins:
    """The shared, growing list at level `alpha`."""
    return CriticalWins(alpha)
