"""What a test split can show, said before any call is paid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_promptopt.gate.planning import clean_sweep_possible, minimum_detectable_effect, power, rows_needed
from langchain_promptopt.gate.statistics import alpha_at

if TYPE_CHECKING:
    from langchain_promptopt.recipe import Gate

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
        opening: The how many-th look at these rows.
        baseline_rate: The baseline's score where it is known, as from dev; it bounds what can be won.
        discordance: Share of rows on which the sides will differ.
    """
    alpha = alpha_at(gate.alpha, opening)
    margin = gate.min_improvement
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
        return f"the test split has {n} independent rows; fewer than {FEWEST_CLUSTERS} can show nothing"
    if clean_sweep_possible(n, alpha, baseline_rate, margin=gate.min_improvement):
        return ""
    winnable = n if baseline_rate is None else round(n * (1 - baseline_rate))
    look = f" at opening {opening} of these rows" if opening > 1 else ""
    sweep = f"even winning all {winnable} rows the baseline may get wrong, and losing none, would not pass"
    return f"{sweep}{look} (p must be below {alpha:.2g})"


def _guard_warnings(n: int, gate: Gate, alpha: float) -> list[str]:
    """Guards that so few rows cannot show to have held, even if nothing changed on any of them."""
    out = []
    for metric, margin in gate.guards.items():
        if (1 - margin) ** max(n, 1) < alpha:
            continue
        needed = rows_needed(0.0, 0.0, alpha, power=0.5, margin=-margin) if margin > 0 else None
        wanted = f"about {needed} rows" if needed is not None else "a gain of its own"
        out.append(f"the guard on {metric} (margin {margin * 100:g} points) needs {wanted} to hold, there are {n}")
    return out
