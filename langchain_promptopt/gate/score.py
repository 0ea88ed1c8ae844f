"""Paired score test and interval for binary scores at any margin.

Tango, T. (1998), Statistics in Medicine 17, 891-908: for n pairs, b of them better and c worse, the
difference delta is tested with the variance estimated under the hypothesis itself, which stays
sensible for few or no discordant pairs. Its normal tail can be up to twice too small near the
boundary, so what decides is the exact unconditional p-value: the largest chance, over every
discordance the hypothesis allows, of a table whose statistic is at least the observed one.
"""

from __future__ import annotations

from functools import lru_cache
from math import sqrt
from typing import TYPE_CHECKING

from langchain_promptopt.gate.binomial import binomial_pmf, binomial_tail, normal_quantile, normal_tail

if TYPE_CHECKING:
    from collections.abc import Callable

_EDGE = 1 - 1e-12
_GRID = 32
_CLEARLY_LARGE = 0.1
_NEGLIGIBLE = 1e-10


def tango_statistic(b: float, c: float, n: int, delta: float) -> float:
    """The score statistic for "better minus worse is `delta`"; large when the truth is above.

    >>> round(tango_statistic(8, 1, 50, 0.0), 4)
    2.3333
    """
    worse = constrained_worse(b, c, n, delta)
    variance = n * (2 * worse + delta * (1 - delta))
    gap = b - c - n * delta
    if variance <= 0:
        return 0.0 if abs(gap) < 1e-12 else gap * 1e9
    return gap / sqrt(variance)


def constrained_worse(b: float, c: float, n: int, delta: float) -> float:
    """The maximum-likelihood share of worse pairs, given that better minus worse is `delta`."""
    half = -b - c + (2 * n - b + c) * delta
    root = sqrt(max(0.0, half * half + 8 * n * c * delta * (1 - delta)))
    return max(0.0, (root - half) / (4 * n), -delta)


@lru_cache(maxsize=4096)
def tango_interval(b: float, c: float, n: int, alpha: float) -> tuple[float, float]:
    """Both limits at one-sided level `alpha` each: all `delta` that the score test keeps."""
    z = normal_quantile(1 - alpha)
    estimate = (b - c) / n
    low, high = _crossing(b, c, n, z, (-_EDGE, estimate)), _crossing(b, c, n, -z, (estimate, _EDGE))
    return min(low, estimate), max(high, estimate)


def _crossing(b: float, c: float, n: int, z: float, bracket: tuple[float, float]) -> float:
    low, high = bracket
    for _ in range(60):
        middle = (low + high) / 2
        if tango_statistic(b, c, n, middle) > z:
            low = middle
        else:
            high = middle
    return (low + high) / 2


@lru_cache(maxsize=4096)
def score_p(b: int, c: int, n: int, margin: float, alpha: float) -> float:
    """One-sided p-value of "better minus worse is at most `margin`", for use at level `alpha`.

    The larger of Tango's normal tail and the exact unconditional tail, so that neither an
    asymptotic nor a grid can make it too small. Above 0.1 the normal tail alone answers.
    """
    observed = tango_statistic(b, c, n, margin)
    asymptotic = normal_tail(observed)
    if asymptotic > _CLEARLY_LARGE:
        return asymptotic
    doubt = alpha / 50
    least, most = _plausible_worse(c, n, margin, doubt)
    fewest = _fewest_better(n, margin, observed)
    shares = (least + (most - least) * (i / _GRID) ** 2 for i in range(_GRID + 1))
    return max(asymptotic, min(1.0, doubt + max(_tail(fewest, n, margin, share) for share in shares)))


def _plausible_worse(c: int, n: int, margin: float, doubt: float) -> tuple[float, float]:
    """Shares of worse pairs not ruled out by `c` of them.

    Berger and Boos (1994), JASA 89, 1012-1016: a nuisance parameter may be limited to a confidence
    set of level 1 - doubt when doubt is added to the p-value. Without it a share of 0 would decide
    even where worse pairs were seen.
    """
    lowest, highest = max(0.0, -margin), min(1.0, (1 - margin) / 2)
    least = _where(lambda share: binomial_tail(c, n, share) < doubt / 2) if c else 0.0
    most = _where(lambda share: 1 - binomial_tail(c + 1, n, share) > doubt / 2) if c < n else 1.0
    least = min(max(least, lowest), highest)
    return least, max(least, min(most, highest))


def _where(below: Callable[[float], bool]) -> float:
    """The point of [0, 1] where `below` turns from true to false."""
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) else (low, middle)
    return low


def _fewest_better(n: int, margin: float, observed: float) -> list[int]:
    """For each number of worse pairs the fewest better ones as extreme as observed; n + 1 when none."""
    out, b = [], 0
    for c in range(n + 1):
        while b <= n - c and tango_statistic(b, c, n, margin) < observed - 1e-9:
            b += 1
        out.append(b if b <= n - c else n + 1)
    return out


def _tail(fewest: list[int], n: int, margin: float, worse: float) -> float:
    """The chance of the rejected tables when `worse` is the share of worse pairs."""
    better = worse + margin
    spread = 7 * sqrt(n * worse * (1 - worse)) + 8
    total = 0.0
    for c in range(max(0, int(n * worse - spread)), min(n, int(n * worse + spread)) + 1):
        if fewest[c] > n - c:
            break
        weight = binomial_pmf(c, n, worse)
        if weight > _NEGLIGIBLE:
            total += weight * binomial_tail(fewest[c], n - c, min(1.0, better / (1 - worse)) if worse < 1 else 0.0)
    return total
