"""One test and one interval for a mean of paired cluster differences, whatever the scores are.

`exceeds` chooses the test by the differences found. Intervals are two-sided with `alpha` on each side, so 95 % at the
usual 0.025. They are the inverted test: the lower limit lies above the margin exactly when the test rejects. Where
the sign-flip test and an interval disagree slightly, the limit is moved to the margin, on the test's side.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from math import ceil, floor, fsum, inf, sqrt
from typing import TYPE_CHECKING

from langchain_promptopt.gate.exact import score_p, sign_flip_p, tango_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

Bounds = tuple[float, float]
"""The least and the largest difference that one cluster can show."""

_ANY: Bounds = (-1.0, 1.0)
_SMALLEST_ALPHA = 1e-6
_NOISE = 1e-9


@dataclass(frozen=True, slots=True)
class Comparison:
    """The answer to "is the mean difference above `margin`?".

    Attributes:
        p_value: One-sided.
        lower: Limit of the interval; `upper` the other.
        method: The test that decided.
        agrees: False where counting signs alone finds a gain that the sizes of gains and losses do not bear out.
        undone_by: The share of examples that would undo the gain by failing outright, where nothing but
            this stands against it; None elsewhere.
    """

    p_value: float
    lower: float
    upper: float
    method: str
    agrees: bool = True
    undone_by: float | None = None


def alpha_at(alpha: float, opening: int) -> float:
    """The level of the k-th opening: alpha / (k (k + 1)), which sums to alpha over all openings.

    >>> alpha_at(0.05, 1)
    0.025
    """
    return alpha / (opening * (opening + 1))


def exceeds(
    differences: Sequence[float],
    margin: float,
    alpha: float,
    rng: Random,
    *,
    resamples: int | None = None,
    bounds: Bounds = _ANY,
) -> Comparison:
    """Test one-sided whether the mean of `differences` is above `margin`, with an interval that agrees.

    What decides, by the differences found (product contract, section 8):

    * all in {-1, 0, 1} (binary scores without repeats): the exact sign test at margin 0, the exact unconditional
      score test at other margins, Tango's interval;
    * clusters that all show one difference: the exact chance that this is so (`_equal`);
    * few clusters unlike the rest: the test of binary scores, after rounding the sums of gains and of losses to
      whole pairs to the candidate's disadvantage, because resampling such data is meaningless. A bounded difference
      varies less than a coin with the same mean, so the test errs on the safe side;
    * all others: the studentized bootstrap, and at margin 0 the sign-flip permutation test beside it. Both must
      reject, because flipping signs treats a small gain and a large loss as exchangeable.

    Args:
        differences: One mean difference a cluster, each between -1 and 1.
        margin: What the mean must exceed; negative for non-inferiority.
        alpha: One-sided level of the test and of each interval limit.
        rng: Randomness of the bootstrap, where one is needed.
        resamples: Bootstrap resamples, if fewer or more than `alpha` asks for are wanted.
        bounds: What an outright failure and an outright success would show, if that is less than -1 and 1.
    """
    values = sorted(differences)  # the answer may not depend on the order of rows
    if not values:
        return Comparison(1.0, -1.0, 1.0, "no data")
    level = max(alpha, _SMALLEST_ALPHA)
    if all(d in (-1, 0, 1) for d in values):
        return _discordant(values, margin, level)
    worst, best = min(bounds[0], values[0]), max(bounds[1], values[-1])
    if values[0] == values[-1]:
        found = _equal(values[0], len(values), margin, level, (worst, best))
    elif _chance_of_no_spread(values) > level / 50:
        found = _rounded(values, margin, level)
    else:
        count = resamples_for(level, len(values)) if resamples is None else resamples
        found = _resampled(studentized(values, rng, count), len(values), margin, level, (worst, best))
    return found if margin else _flipped(values, found, level, worst)


def _discordant(values: Sequence[float], margin: float, alpha: float) -> Comparison:
    better, worse, n = values.count(1), values.count(-1), len(values)
    lower, upper = tango_interval(better, worse, n, alpha)
    if margin:
        p = score_p(better, worse, n, margin, alpha)
        return _agreeing(Comparison(p, lower, upper, ""), p, alpha, "paired score test", margin)
    return _agreeing(Comparison(1.0, lower, upper, ""), sign_flip_p(values), alpha, "sign test")


def _equal(value: float, n: int, margin: float, alpha: float, bounds: Bounds) -> Comparison:
    """All clusters show one difference: what stands against it is what was not seen, and that is exact."""
    share = (value - margin) / (value - bounds[0]) if value > margin else 0.0
    p, unseen = (1 - share) ** n, 1 - alpha ** (1 / n)
    lower, upper = ((1 - unseen) * value + unseen * bound for bound in bounds)
    return Comparison(p, lower, upper, "bounded mean", undone_by=share if share and p >= alpha else None)


def _rounded(values: Sequence[float], margin: float, alpha: float) -> Comparison:
    n = len(values)
    gains = fsum(d for d in values if d > 0)
    losses = fsum(-d for d in values if d < 0)
    worse = min(n, ceil(losses - _NOISE))
    better = min(n - worse, floor(gains + _NOISE))
    fewer_worse = floor(losses + _NOISE)
    more_better = min(n - fewer_worse, ceil(gains - _NOISE))
    lower, upper = tango_interval(better, worse, n, alpha)[0], tango_interval(more_better, fewer_worse, n, alpha)[1]
    p = score_p(better, worse, n, margin, alpha)
    return _agreeing(Comparison(p, lower, upper, ""), p, alpha, "paired score test", margin)


def _resampled(boot: Studentized, n: int, margin: float, alpha: float, bounds: Bounds) -> Comparison:
    p = unseen_p(boot.p_above, n, margin, bounds[0], alpha)
    lower = unseen_limit(boot.lower, n, bounds[0], alpha)
    upper = -unseen_limit(boot.mirrored.lower, n, -bounds[1], alpha)
    alone = boot.p_above(margin) < alpha <= p
    return Comparison(
        p,
        max(min(lower, boot.mean), bounds[0]),
        min(max(upper, boot.mean), bounds[1]),
        "studentized bootstrap",
        undone_by=(boot.mean - margin) / (boot.mean - bounds[0]) if alone else None,
    )


def _flipped(values: Sequence[float], found: Comparison, alpha: float, worst: float) -> Comparison:
    """The sign-flip test beside `found`: the larger p-value counts, and only a gain that both find is one."""
    p = sign_flip_p(values)
    if p >= found.p_value:
        return _agreeing(found, p, alpha, "sign-flip permutation")
    if p >= alpha or found.p_value < alpha:
        return found
    mean = fsum(values) / len(values)
    share = mean / (mean - worst)
    unseen = found.undone_by or (share if (1 - share) ** len(values) >= alpha else None)
    return replace(_agreeing(found, found.p_value, alpha, found.method), agrees=False, undone_by=unseen)


def _agreeing(found: Comparison, p: float, alpha: float, method: str, margin: float = 0.0) -> Comparison:
    """`found` with the deciding p-value, its lower limit on the side of the margin where `p` says it is."""
    rejects = p < alpha
    lower = max(found.lower, margin) if rejects else min(found.lower, margin)
    return replace(
        found,
        p_value=p,
        lower=lower,
        upper=max(found.upper, lower),
        method=method,
        agrees=not rejects or found.lower >= margin,
    )


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


# What no example of the sample shows

_SHARES = 64


@lru_cache(maxsize=256)
def unseen_shares(n: int, alpha: float) -> tuple[tuple[float, float], ...]:
    """Pairs (chance, share): a share of examples that fail outright is missed on `n` of them with that chance.

    The chances fall from 1 to `alpha`, below which no share can keep a test from rejecting. Each stands
    beside the next larger share, so that nothing is lost between two of them.
    """
    chances = [alpha ** (i / _SHARES) for i in range(_SHARES + 1)]
    return tuple((more, 1 - less ** (1 / n)) for more, less in pairwise(chances))


def unseen_p(p_of_seen: Callable[[float], float], n: int, margin: float, worst: float, alpha: float) -> float:
    """The p-value of "the mean is at most `margin`" with examples in mind that no row of the sample shows.

    No resample contains what the sample does not. A candidate that gains a little on most examples and fails outright
    on one in fifty shows only gains on most small test sets. Scores are bounded, so the worst of what stayed unseen is
    known: a share q of examples that fail outright is missed with chance (1 - q)^n. The p-value is the largest, over
    q, of that chance times the p-value of what was seen against the mean it would then need. This decides where every
    gain is small beside an outright failure over n; where the scores vary more than that, it adds nothing.

    Args:
        p_of_seen: The p-value of "the mean of examples like these is at most its argument".
        n: Rows of the sample.
        margin: What the mean of all examples must exceed.
        worst: The difference that an outright failure shows.
        alpha: The level the p-value is for; above it the p-value is as stated, below it at most `alpha`.

    >>> round(unseen_p(lambda mean: float(mean >= 0.01), 40, 0.0, -0.5, 0.025), 2)  # all gain 0.01: 0.98 ** 40
    0.47
    """
    found = (chance * p_of_seen((margin - q * worst) / (1 - q)) for chance, q in unseen_shares(n, alpha))
    return max(p_of_seen(margin), *found)


def unseen_limit(limit_of_seen: Callable[[float], float], n: int, worst: float, alpha: float) -> float:
    """The lower limit that `unseen_p` inverts to, from the lower limits of what was seen by their level.

    Args:
        limit_of_seen: The lower limit of what was seen, by its level.
        n: Rows of the sample.
        worst: The difference that an outright failure shows.
        alpha: One-sided level of the limit.
    """
    found = ((1 - q) * limit_of_seen(alpha / chance) + q * worst for chance, q in unseen_shares(n, alpha))
    return min(limit_of_seen(alpha), *found)


# The studentized (bootstrap-t) mean

_FEWEST = 1_999
_BUDGET = 6_000_000


@dataclass(frozen=True, slots=True)
class Studentized:
    """The bootstrap distribution of the studentized mean, sorted, around `mean` with `error`.

    Each resample's mean is divided by its own standard error, so the skew of the scores enters the
    interval; shifting sign-flips by a margin would be wrong for skewed or tied differences.
    """

    mean: float
    error: float
    ratios: tuple[float, ...]

    @property
    def mirrored(self) -> Studentized:
        """The same of the negated differences."""
        return Studentized(-self.mean, self.error, tuple(-r for r in reversed(self.ratios)))

    def p_above(self, margin: float) -> float:
        """One-sided p-value of "the mean is at most `margin`"; never 0."""
        observed = (self.mean - margin) / self.error
        beyond = len(self.ratios) - bisect_left(self.ratios, observed)
        return (beyond + 1) / (len(self.ratios) + 1)

    def lower(self, alpha: float) -> float:
        """The limit at level `alpha`: above a margin exactly when `p_above` of it is below `alpha`."""
        rank = ceil(alpha * (len(self.ratios) + 1)) - 1
        return self.mean - self.ratios[-min(rank, len(self.ratios))] * self.error if rank >= 1 else -inf

    def interval(self, alpha: float) -> tuple[float, float]:
        """Limits at level `alpha` each."""
        return self.lower(alpha), -self.mirrored.lower(alpha)


def resamples_for(alpha: float, n: int) -> int:
    """Resamples that put enough of them beyond level `alpha`, within a budget of draws.

    >>> resamples_for(0.025, 100)
    1999
    """
    return max(_FEWEST, ceil(3 / alpha), min(ceil(20 / alpha), _BUDGET // n))


def studentized(differences: Sequence[float], rng: Random, resamples: int) -> Studentized:
    """Resample clusters. Needs at least two different values.

    A value travels with its square as one complex number, because one `sum` then gives both moments.

    Args:
        differences: One mean difference a cluster.
        rng: Randomness of the resamples.
        resamples: How many to draw; see `resamples_for`.
    """
    n = len(differences)
    mean = fsum(differences) / n
    centred = [d - mean for d in differences]
    error = sqrt(fsum(d * d for d in centred) / (n - 1) / n)
    both = [complex(d, d * d) for d in centred]
    floor = 1e-12 * error * error
    found = []
    for _ in range(resamples):
        found.append(_ratio(sum(rng.choices(both, k=n)), n, floor))
    ratios = sorted(found)
    return Studentized(mean, error, tuple(ratios))


def _ratio(moments: complex, n: int, floor: float) -> float:
    mean = moments.real / n
    variance = (moments.imag - n * mean * mean) / (n - 1) / n
    if variance <= floor:
        return inf if mean > 0 else -inf if mean < 0 else 0.0
    return mean / sqrt(variance)
