"""What a number of test clusters can show, before any call is paid: power, least detectable gain, rows needed.

Exact for binary scores at margin 0, because there the sign test is the test: the number of rows that
differ is binomial, and so is the number of wins among them. Normal approximation at other margins and
for scores with a known spread; for these, examples that fail outright and stayed unseen count as they
do in the test (`statistics.unseen_p`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, floor, sqrt
from typing import TYPE_CHECKING, Any

from langchain_promptopt.gate.exact import (
    binomial_pmf,
    binomial_tail,
    constrained_worse,
    critical_wins,
    normal_quantile,
    normal_tail,
    score_p,
    sign_test,
)
from langchain_promptopt.gate.statistics import alpha_at, unseen_shares

if TYPE_CHECKING:
    from langchain_promptopt.recipe import Gate

_EXACT_UP_TO = 3_000
_MOST_ROWS = 1_000_000


@lru_cache(maxsize=8192)
def power(n_clusters: int, gain: float, discordance: float, alpha: float, margin: float = 0.0) -> float:
    """The chance that a true gain is found: P(p < alpha) for binary scores on `n_clusters` rows.

    Args:
        n_clusters: Independent test rows.
        gain: True difference of the two success rates.
        discordance: Share of rows on which the sides differ; at least `gain`.
        alpha: One-sided level.
        margin: What the gain must exceed.

    >>> [round(power(n, 0.05, 0.20, 0.025), 2) for n in (100, 400, 1000)]  # spec 6.1
    [0.14, 0.57, 0.94]
    """
    differ = min(1.0, max(discordance, abs(gain)))
    if margin or n_clusters > _EXACT_UP_TO:
        return _normal_power(n_clusters, gain, differ, alpha, margin)
    if not differ:
        return 0.0
    wins_share = (differ + gain) / (2 * differ)
    reach = 6 * sqrt(n_clusters * differ * (1 - differ)) + 6
    low, high = max(0, floor(n_clusters * differ - reach)), min(n_clusters, ceil(n_clusters * differ + reach))
    fewest = critical_wins(alpha).upto(high)

    def found_at(k: int) -> float:
        """The chance that k rows differ and enough of them are won."""
        return binomial_pmf(k, n_clusters, differ) * binomial_tail(fewest[k], k, wins_share)

    return min(1.0, sum(map(found_at, range(low, high + 1))))


def _normal_power(n: int, gain: float, differ: float, alpha: float, margin: float) -> float:
    """Power of the score test: its spread under the margin against the spread under the truth."""
    if n <= 0:
        return 0.0
    better, worse = (differ + gain) / 2 * n, (differ - gain) / 2 * n
    null = 2 * constrained_worse(better, worse, n, margin) + margin * (1 - margin)
    truth = max(differ - gain * gain, 1e-12)
    return normal_tail((normal_quantile(1 - alpha) * sqrt(max(null, 0.0)) - (gain - margin) * sqrt(n)) / sqrt(truth))


@lru_cache(maxsize=8192)
def minimum_detectable_effect(
    n: int, discordance: float, alpha: float, power: float = 0.8, *, margin: float = 0.0
) -> float | None:
    """The smallest true gain found with chance `power`, to a tenth of a point; None when no gain is.

    Args:
        n: Independent test rows.
        discordance: Share of rows on which the sides differ, 0 to 1.
        alpha: One-sided level.
        power: Chance of finding it.
        margin: What the gain must exceed.

    >>> minimum_detectable_effect(5, 0.2, 0.025) is None
    True
    """
    if n < 1 or _chance(n, 1.0, discordance, alpha, margin) < power:
        return None
    low, high = margin, 1.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (low, middle) if _chance(n, middle, discordance, alpha, margin) >= power else (middle, high)
    return high


def spread_detectable_effect(
    n: int, spread: float, alpha: float, power: float = 0.8, *, margin: float = 0.0, worst: float = -1.0
) -> float:
    """The same for cluster differences with standard deviation `spread`, by the normal approximation.

    Args:
        n: Clusters.
        spread: Standard deviation of their differences.
        alpha: One-sided level.
        power: Chance of finding it.
        margin: What the gain must exceed.
        worst: The difference that an example shows which fails outright.
    """
    error = spread / sqrt(n)
    passes = margin + normal_quantile(1 - alpha) * error
    for chance, share in unseen_shares(n, alpha):
        seen = (margin - share * worst) / (1 - share)
        passes = max(passes, seen + normal_quantile(1 - alpha / chance) * error)
    return passes + normal_quantile(power) * error


@lru_cache(maxsize=8192)
def rows_needed(
    gain: float, discordance: float, alpha: float, power: float = 0.8, *, margin: float = 0.0
) -> int | None:
    """Independent rows that find a true `gain` with chance `power`; None when no number up to a million does.

    From the normal approximation upwards in steps of 2 %, because exact power is a saw.

    Args:
        gain: True difference of the two success rates.
        discordance: Share of rows on which the sides differ; at least `gain`.
        alpha: One-sided level.
        power: Chance of finding it.
        margin: What the gain must exceed.
    """
    if gain <= margin:
        return None
    differ = min(1.0, max(discordance, abs(gain)))
    null = 2 * constrained_worse((differ + gain) / 2, (differ - gain) / 2, 1, margin) + margin * (1 - margin)
    truth = max(differ - gain * gain, 0.0)
    sizes = normal_quantile(1 - alpha) * sqrt(max(null, 0.0)) + normal_quantile(power) * sqrt(truth)
    rows = max(1, ceil((sizes / (gain - margin)) ** 2))
    while rows <= _MOST_ROWS:
        if _chance(rows, gain, discordance, alpha, margin) >= power:
            return rows
        rows += max(1, rows // 50)
    return None


def spread_rows_needed(
    gain: float, spread: float, alpha: float, power: float = 0.8, *, margin: float = 0.0, worst: float = -1.0
) -> int | None:
    """The same for cluster differences with standard deviation `spread`, by the normal approximation.

    Args:
        gain: True mean difference, on the 0-1 scale.
        spread: Standard deviation of the cluster differences.
        alpha: One-sided level.
        power: Chance of finding it.
        margin: What the gain must exceed.
        worst: The difference that an example shows which fails outright.

    Returns:
        Clusters, or None when no number up to a million is enough.
    """

    def enough(rows: int) -> bool:
        return spread_detectable_effect(rows, spread, alpha, power, margin=margin, worst=worst) <= gain

    if gain <= margin or not enough(_MOST_ROWS):
        return None
    low, high = 0, _MOST_ROWS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def clean_sweep_possible(n: int, alpha: float, baseline_rate: float | None = None, *, margin: float = 0.0) -> bool:
    """Whether winning every row the baseline got wrong, and losing none, would pass at `alpha`.

    Args:
        n: Independent test rows.
        alpha: One-sided level.
        baseline_rate: Share of rows the baseline gets right; None counts every row as winnable.
        margin: What the gain must exceed.

    >>> clean_sweep_possible(6, 0.025), clean_sweep_possible(5, 0.025)
    (True, False)
    >>> clean_sweep_possible(100, 0.025, baseline_rate=0.97)
    False
    """
    winnable = n if baseline_rate is None else round(n * (1 - baseline_rate))
    if winnable < 1:
        return False
    return (score_p(winnable, 0, n, margin, alpha) if margin else sign_test(winnable, 0)) < alpha


def _chance(n: int, gain: float, discordance: float, alpha: float, margin: float) -> float:
    """`power`, for functions that take a `power` of their own."""
    return power(n, gain, discordance, alpha, margin)


FEWEST_CLUSTERS = 6  # product contract 10.1
ASSUMED_DISCORDANCE = 0.2
"""Share of rows on which the sides are taken to differ when nothing is known (algorithms 6.1)."""
_GAINS = (0.02, 0.05, 0.10, 0.20)


@dataclass(frozen=True, slots=True)
class Chance:
    """The chance that a true gain of this size passes."""

    gain: float
    power: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Feasibility:
    """Whether a split can pass at all, and with what chance it shows which gain.

    An impossible gate is said before any call, and nothing is then applied by itself.
    """

    possible: bool
    reason: str
    clusters: int
    opening: int
    alpha: float
    discordance: float
    minimum_detectable_effect: float | None
    table: tuple[Chance, ...]
    warnings: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Plain values by name."""
        return {
            "possible": self.possible,
            "reason": self.reason,
            "clusters": self.clusters,
            "opening": self.opening,
            "alpha": self.alpha,
            "discordance": self.discordance,
            "minimum_detectable_effect": self.minimum_detectable_effect,
            "power": [{"gain": c.gain, "power": c.power} for c in self.table],
            "warnings": list(self.warnings),
        }


def feasibility(
    n_clusters: int,
    gate: Gate,
    opening: int = 1,
    baseline_rate: float | None = None,
    *,
    discordance: float = ASSUMED_DISCORDANCE,
) -> Feasibility:
    """Say what `n_clusters` independent test rows can show at this opening.

    Args:
        n_clusters: Examples of the test split, or groups where rows come in groups.
        gate: The rules.
        opening: Number of this opening of the rows, from 1.
        baseline_rate: The baseline's score where it is known, as from dev; it bounds what can be won.
        discordance: Share of rows on which the sides will differ.
    """
    alpha = alpha_at(gate.alpha, opening)
    margin = gate.floor
    reason = _obstacle(n_clusters, gate, alpha, baseline_rate, opening)
    return Feasibility(
        possible=not reason,
        reason=reason,
        clusters=n_clusters,
        opening=opening,
        alpha=alpha,
        discordance=discordance,
        minimum_detectable_effect=None
        if reason
        else minimum_detectable_effect(n_clusters, discordance, alpha, margin=margin),
        table=tuple(Chance(g, 0.0 if reason else power(n_clusters, g, discordance, alpha, margin)) for g in _GAINS),
        warnings=tuple(_guard_warnings(n_clusters, gate, alpha)),
    )


def _obstacle(n: int, gate: Gate, alpha: float, baseline_rate: float | None, opening: int) -> str:
    if n < FEWEST_CLUSTERS:
        return f"at least {FEWEST_CLUSTERS} independent test examples are needed, and the test split has {n}"
    if clean_sweep_possible(n, alpha, baseline_rate, margin=gate.floor):
        return ""
    if gate.margin is not None and (1 - gate.margin) ** n < alpha:  # as `unseen_p` of rows on which nothing changed
        return ""
    winnable = n if baseline_rate is None else round(n * (1 - baseline_rate))
    look = f" at opening {opening} of these examples" if opening > 1 else ""
    sweep = f"even winning all {winnable} examples the baseline may get wrong, and losing none, would not pass"
    return f"{sweep}{look} (p must be below {alpha:.2g})"


def _guard_warnings(n: int, gate: Gate, alpha: float) -> list[str]:
    """Guards that so few rows cannot show to have held, even if nothing changed on any of them."""
    out = []
    if gate.margin is not None and (1 - gate.margin) ** max(n, 1) >= alpha:
        needed = rows_needed(0.0, 0.0, alpha, power=0.5, margin=-gate.margin)
        told = f"to show that the score falls by no more than {gate.margin * 100:g} points where nothing changes"
        out.append(f"{told} takes about {needed} examples, there are {n}")
    for metric, margin in gate.guards.items():
        if (1 - margin) ** max(n, 1) < alpha:  # as `unseen_p` of rows on which nothing changed
            continue
        needed = rows_needed(0.0, 0.0, alpha, power=0.5, margin=-margin) if margin > 0 else None
        wanted = f"about {needed} examples" if needed is not None else "a gain of its own"
        out.append(f"the guard on {metric} (margin {margin * 100:g} points) needs {wanted} to hold, there are {n}")
    return out
