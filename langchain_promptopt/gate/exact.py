"""Exact tests of paired differences, with nothing but the standard library.

Binary scores: the sign test, and at any margin the paired score test of Tango (1998), Statistics in Medicine 17,
891-908, with its interval. Differences of any size: the one-sided sign-flip permutation test.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from math import comb, exp, isclose, lcm, lgamma, log, log1p, sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
    """P(X = k) for X ~ Bin(n, p).

    Args:
        k: Successes, 0 to `n`.
        n: Trials.
        p: Chance of a success in one trial, 0 to 1.
    """
    if p <= 0.0 or p >= 1.0:
        return float(k == (0 if p <= 0.0 else n))
    return exp(lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) + k * log(p) + (n - k) * log1p(-p))


def binomial_tail(k: int, n: int, p: float) -> float:
    """P(X >= k) for X ~ Bin(n, p), by the regularised incomplete beta function I_p(k, n - k + 1).

    Args:
        k: The least number of successes that counts.
        n: Trials.
        p: Chance of a success in one trial, 0 to 1.

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


_EDGE = 1 - 1e-12
_GRID = 32
_CLEARLY_LARGE = 0.1
_NEGLIGIBLE = 1e-10


def tango_statistic(b: float, c: float, n: int, delta: float) -> float:
    """The score statistic for "better minus worse is `delta`"; large when the truth is above.

    Args:
        b: Pairs in which the candidate is better.
        c: Pairs in which it is worse.
        n: All pairs, ties included.
        delta: Difference of the two success rates under the hypothesis, -1 to 1.

    Returns:
        A standard normal number under the hypothesis.

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
    """The maximum-likelihood share of worse pairs, given that better minus worse is `delta`.

    Args:
        b: Pairs in which the candidate is better.
        c: Pairs in which it is worse.
        n: All pairs, ties included.
        delta: The given difference of the two success rates, -1 to 1.
    """
    half = -b - c + (2 * n - b + c) * delta
    root = sqrt(max(0.0, half * half + 8 * n * c * delta * (1 - delta)))
    return max(0.0, (root - half) / (4 * n), -delta)


@lru_cache(maxsize=4096)
def tango_interval(b: float, c: float, n: int, alpha: float) -> tuple[float, float]:
    """Both limits at one-sided level `alpha` each: all `delta` that the score test keeps.

    Args:
        b: Pairs in which the candidate is better.
        c: Pairs in which it is worse.
        n: All pairs, ties included.
        alpha: One-sided level of each limit.

    Returns:
        The lower and the upper limit of the difference, each -1 to 1.
    """
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

    Tango's variance is estimated under the hypothesis, which stays sensible for few or no discordant pairs. His
    normal tail can be up to twice too small near the boundary, so the exact unconditional p-value is taken too:
    the largest chance, over every discordance the hypothesis allows, of a table at least as extreme.

    The larger of the two counts, so that neither an asymptotic nor a grid can make it too small. Above 0.1 the
    normal tail alone answers.

    Args:
        b: Pairs in which the candidate is better.
        c: Pairs in which it is worse.
        n: All pairs, ties included.
        margin: What the difference must exceed; negative for non-inferiority.
        alpha: One-sided level at which the p-value will be read.
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


_LARGEST_DENOMINATOR = 1000
_FINEST = 500_000
"""Most steps the sizes may add up to."""
_WORK = 200_000_000
"""Bit operations meant for one test, about ten milliseconds; many clusters take more."""
_FIELD = 128
_UNIT = 64
_GROWTH = 32


def sign_flip_p(differences: Sequence[float]) -> float:
    """P(sum of randomly signed differences >= the observed sum).

    Under the null a difference is as likely as its negative, so all 2^n sign patterns are equally likely. They are
    counted, not sampled: the number of patterns for each sum is a polynomial product, which Python's long integers
    multiply in a few shifts and additions.

    Equals the exact sign test when all differences that are not zero have one size.

    >>> sign_flip_p([1, 1, 1, 1, 1, 1, 0, 0])
    0.015625
    >>> sign_flip_p([0.5, -0.25])
    0.5
    """
    moved = list(filter(None, differences))
    if not moved:
        return 1.0
    if all(isclose(abs(d), abs(moved[0]), rel_tol=1e-9) for d in moved):
        wins = sum(d > 0 for d in moved)
        return sign_test(wins, len(moved) - wins)
    return _tail_of_signed_sum(whole_steps(moved))


def whole_steps(differences: Sequence[float]) -> list[int]:
    """The differences as integers: exact multiples of a common unit, or rounded to a fine grid.

    Rounding is an odd function, f(-d) = -f(d), so the test of the rounded sum is still exact; only resolution is lost.

    >>> whole_steps([1 / 3, -2 / 3, 0.5])
    [2, -4, 3]
    """
    total = sum(map(abs, differences))
    limit = _finest_range(len(differences))
    scale = _common_denominator(differences, int(limit / total) + 1)
    if scale is None or scale * total > limit:
        return [_half_away(d * limit / total) for d in differences]
    return [round(d * scale) for d in differences]


def _half_away(x: float) -> int:
    """Nearest integer, halves away from zero, so that it is an odd function."""
    return int(abs(x) + 0.5) * (1 if x > 0 else -1)


def _finest_range(n: int) -> int:
    """Steps the sizes may add up to: bounded by the work, but at least a few for each difference."""
    width = min(n + 1, _FIELD)
    return max(4 * n, min(20 * n, 20_000), min(_FINEST, _WORK // (n * width)))


def _common_denominator(differences: Sequence[float], largest: int) -> int | None:
    scale = 1
    for size in set(map(abs, differences)):
        fraction = Fraction(size).limit_denominator(_LARGEST_DENOMINATOR)
        if not isclose(float(fraction), size, rel_tol=1e-9):
            return None
        scale = lcm(scale, fraction.denominator)
        if scale > largest:
            return None
    return scale


def _tail_of_signed_sum(steps: Sequence[int]) -> float:
    """P(sum of +-|step| >= sum of steps), all sign patterns equally likely.

    With s the sum of steps and r the sum of sizes, flipping a subset of total size u gives r - 2u,
    so the question is how many subsets have u <= (r - s) / 2. Field u of the long integer `counts`
    is the number of subsets of total size u. From 127 differences on, fields are scaled down every
    32 steps; what rounding down may have lost is added back, so that p is never too small.
    """
    sizes = sorted(abs(s) for s in steps if s)
    room = (sum(sizes) - sum(steps)) // 2
    n, fields = len(sizes), room + 1
    exact = n < _FIELD
    width = n + 1 if exact else _FIELD
    keep = (1 << (width * fields)) - 1
    low_bits = 0 if exact else _low_bits(fields)
    counts = 1 if exact else 1 << _UNIT
    for done, size in enumerate(sizes, start=1):
        counts = (counts + (counts << (width * size))) & keep
        if not exact and done % _GROWTH == 0:
            counts = (counts >> _GROWTH) & low_bits
    total = counts % ((1 << width) - 1)  # the sum of all fields, because 2^width is 1 in this modulus
    if exact:
        return total / (1 << n)
    lost = fields * (n // _GROWTH) / (1 << _UNIT)
    return min(1.0, total / (1 << (_UNIT + n % _GROWTH)) + lost)


def _low_bits(fields: int) -> int:
    """A mask that keeps, after a shift by `_GROWTH` bits, each field and drops its neighbour's lowest bits."""
    field = ((1 << (_FIELD - _GROWTH)) - 1).to_bytes(_FIELD // 8, "little")
    return int.from_bytes(field * fields, "little")
