"""The sign-flip permutation test of per-cluster mean differences, one-sided and exact.

Under the null a difference is as likely as its negative, so all 2^n sign patterns of the
observed sizes are equally likely. The number of patterns for each value of the sum is a
polynomial product, and Python's long integers multiply it in a few shifts and additions, so
no sampling is needed. Where differences share no small denominator they are rounded to a grid
first. Rounding is an odd function, f(-d) = -f(d), so the rounded sum is itself a statistic for
which the test is exact; all that is lost is resolution.
"""

from __future__ import annotations

from fractions import Fraction
from math import isclose, lcm
from typing import TYPE_CHECKING

from langchain_promptopt.gate.binomial import sign_test

if TYPE_CHECKING:
    from collections.abc import Sequence

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

    Equals the exact sign test when all differences that are not zero have one size.

    >>> sign_flip_p([1, 1, 1, 1, 1, 1, 0, 0])
    0.015625
    >>> sign_flip_p([0.5, -0.25])
    0.5
    """
    moved = [d for d in differences if d]
    if not moved:
        return 1.0
    if all(isclose(abs(d), abs(moved[0]), rel_tol=1e-9) for d in moved):
        wins = sum(d > 0 for d in moved)
        return sign_test(wins, len(moved) - wins)
    return _tail_of_signed_sum(whole_steps(moved))


def whole_steps(differences: Sequence[float]) -> list[int]:
    """The differences as integers: exact multiples of a common unit, or rounded to a fine grid.

    >>> whole_steps([1 / 3, -2 / 3, 0.5])
    [2, -4, 3]
    """
    total = sum(abs(d) for d in differences)
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
    for size in {abs(d) for d in differences}:
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
