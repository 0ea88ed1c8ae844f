"""One test and one interval for a mean of paired cluster differences, whatever the scores are.

What decides, by the differences found (product contract, section 8):

* all in {-1, 0, 1} (binary scores without repeats): the exact sign test at margin 0, the exact
  unconditional score test at other margins, Tango's interval;
* few clusters unlike the rest: the same, after rounding the sums of gains and of losses to whole
  pairs to the candidate's disadvantage, because resampling such data is meaningless. A bounded
  difference varies less than a coin with the same mean, so this errs on the safe side;
* all others: sign-flip permutation at margin 0, studentized bootstrap at other margins and for
  the interval. Where losses were seen the interval may veto the flips, which take a small gain and a
  large loss for exchangeable.

Intervals are two-sided with `alpha` on each side, so 95 % at the usual 0.025. They are the inverted
test: the lower limit lies above the margin exactly when the test rejects. The sign-flip test and an
interval may disagree by a hair; the limit is then moved to the margin, on the test's side.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil, floor, fsum, sqrt
from typing import TYPE_CHECKING

from langchain_promptopt.gate.bootstrap import resamples_for, studentized
from langchain_promptopt.gate.score import score_p, tango_interval
from langchain_promptopt.gate.signflip import sign_flip_p

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

_SMALLEST_ALPHA = 1e-6
_NOISE = 1e-9


@dataclass(frozen=True, slots=True)
class Comparison:
    """The answer to "is the mean difference above `margin`?".

    `agrees` is False where the sign-flip test found a gain and the interval, which allows for
    skewed scores, did not; `method` then says which of them decided.
    """

    p_value: float
    lower: float
    upper: float
    method: str
    agrees: bool = True


def alpha_at(alpha: float, opening: int) -> float:
    """The level of the k-th opening: alpha / (k (k + 1)), which sums to alpha over all openings.

    >>> alpha_at(0.05, 1)
    0.025
    """
    return alpha / (opening * (opening + 1))


def exceeds(
    differences: Sequence[float], margin: float, alpha: float, rng: Random, *, resamples: int | None = None
) -> Comparison:
    """Test one-sided whether the mean of `differences` is above `margin`, with an interval that agrees.

    Args:
        differences: One mean difference a cluster, each between -1 and 1.
        margin: What the mean must exceed; negative for non-inferiority.
        alpha: One-sided level of the test and of each interval limit.
        rng: Randomness of the bootstrap, where one is needed.
        resamples: Bootstrap resamples, if fewer or more than `alpha` asks for are wanted.
    """
    values = sorted(differences)  # the answer may not depend on the order of rows
    if not values:
        return Comparison(1.0, -1.0, 1.0, "no data")
    level = max(alpha, _SMALLEST_ALPHA)
    if all(d in (-1, 0, 1) for d in values):
        return _discordant(values, margin, level)
    if _chance_of_no_spread(values) > level / 50:
        return _rounded(values, margin, level)
    count = resamples_for(level, len(values)) if resamples is None else resamples
    boot = studentized(values, rng, count)
    lower, upper = boot.interval(level)
    found = Comparison(boot.p_above(margin), max(lower, -1.0), min(upper, 1.0), "studentized bootstrap")
    return found if margin else _flipped(values, found, level)


def _discordant(values: Sequence[float], margin: float, alpha: float) -> Comparison:
    better, worse, n = values.count(1), values.count(-1), len(values)
    lower, upper = tango_interval(better, worse, n, alpha)
    if margin:
        p = score_p(better, worse, n, margin, alpha)
        return _agreeing(Comparison(p, lower, upper, ""), p, alpha, "paired score test", margin)
    return _agreeing(Comparison(1.0, lower, upper, ""), sign_flip_p(values), alpha, "sign test")


def _rounded(values: Sequence[float], margin: float, alpha: float) -> Comparison:
    gains, losses, n = fsum(d for d in values if d > 0), fsum(-d for d in values if d < 0), len(values)
    worse = min(n, ceil(losses - _NOISE))
    better = min(n - worse, floor(gains + _NOISE))
    fewer_worse = floor(losses + _NOISE)
    more_better = min(n - fewer_worse, ceil(gains - _NOISE))
    lower, upper = tango_interval(better, worse, n, alpha)[0], tango_interval(more_better, fewer_worse, n, alpha)[1]
    p = score_p(better, worse, n, margin, alpha)
    found = _agreeing(Comparison(p, lower, upper, ""), p, alpha, "paired score test", margin)
    return found if margin else _flipped(values, found, alpha)


def _flipped(values: Sequence[float], found: Comparison, alpha: float) -> Comparison:
    """The sign-flip test, with a veto of `found` where losses were seen.

    Flipping signs takes a small gain and a large loss for exchangeable. Where losses were seen, a gain
    must therefore stand in the interval too. Where none was, the flips decide alone, with a caution.
    """
    p = sign_flip_p(values)
    if p < alpha <= found.p_value and values[0] < 0:
        return replace(_agreeing(found, found.p_value, alpha, found.method), agrees=False)
    return _agreeing(found, p, alpha, "sign-flip permutation")


def _agreeing(found: Comparison, p: float, alpha: float, method: str, margin: float = 0.0) -> Comparison:
    """`found` with the deciding p-value, its lower limit on the side of the margin where `p` says it is."""
    rejects = p < alpha
    lower = max(found.lower, margin) if rejects else min(found.lower, margin)
    return Comparison(p, lower, max(found.upper, lower), method, agrees=not rejects or found.lower >= margin)


def _chance_of_no_spread(values: Sequence[float]) -> float:
    """The chance that a resample of sorted `values` has one value only, so that it cannot be studentized."""
    longest = run = 1
    for a, b in pairwise(values):
        run = run + 1 if a == b else 1
        longest = max(longest, run)
    return float((longest / len(values)) ** len(values))


def spread(values: Sequence[float]) -> float:
    """Sample standard deviation; 0 for fewer than two values."""
    n = len(values)
    if n < 2:
        return 0.0
    mean = fsum(values) / n
    return sqrt(fsum((v - mean) ** 2 for v in values) / (n - 1))
