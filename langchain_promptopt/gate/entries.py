"""The rows of the gate's table, and how each kind of row is tested."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from math import ceil, sqrt
from random import Random
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from langchain_promptopt.gate import planning
from langchain_promptopt.gate.binomial import normal_quantile
from langchain_promptopt.gate.signflip import sign_flip_p
from langchain_promptopt.gate.statistics import Comparison, alpha_at, exceeds, spread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_promptopt.gate.contrast import Contrast

Role: TypeAlias = Literal["primary", "guard", "warning"]
EntryVerdict: TypeAlias = Literal["improved", "inconclusive", "no_gain", "held", "broken", "ok", "warning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TestEntry:
    """One metric of the test. Scores are 0-1, averaged over clusters; `difference` is best minus baseline.

    Attributes:
        role: What it is for: the primary decides, guards forbid, warnings only speak.
        interval: Two-sided, `alpha` on each side (95 % at the first opening with alpha 0.05).
        p_value: One-sided, of "the difference is at most `margin`"; of a warning, of "it did not rise".
        wins: Clusters on which the candidate scored higher; `losses` lower; the rest are the same.
        verdict: improved, inconclusive or no_gain for the primary; held, inconclusive or broken for a
            guard; ok or warning for what is only watched.
        minimum_detectable_effect: The least true gain this many clusters would find 4 times in 5.
        rows_needed: How many more rows an inconclusive metric asks for; None when not known or not needed.
        method: The test behind the p-value.
    """

    __test__ = False

    metric: str
    role: Role
    baseline: float
    best: float
    difference: float
    interval: tuple[float, float]
    p_value: float
    n: int
    clusters: int
    wins: int
    losses: int
    verdict: EntryVerdict
    minimum_detectable_effect: float | None
    opening: int
    alpha: float
    margin: float = 0.0
    rows_needed: int | None = None
    method: str = ""

    @property
    def ties(self) -> int:
        """Clusters on which both sides scored the same."""
        return self.clusters - self.wins - self.losses

    def as_json(self) -> dict[str, Any]:
        """The entry as journal and machine output carry it."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TestEntry:
        """The inverse of `as_json`."""
        return cls(**{**data, "interval": (data["interval"][0], data["interval"][1])})


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What every entry of one decision shares."""

    alpha: float
    opening: int
    seed: int = 0
    resamples: int | None = None

    @property
    def at(self) -> float:
        """The level of this opening."""
        return alpha_at(self.alpha, self.opening)

    @property
    def next(self) -> float:
        """The level of the opening after this one, at which more rows would be judged."""
        return alpha_at(self.alpha, self.opening + 1)

    def compare(self, found: Contrast, margin: float) -> Comparison:
        """Test one contrast, with randomness of its own."""
        rng = Random(f"{self.seed}/gate/{found.metric}/{self.opening}")
        return exceeds(found.differences, margin, self.at, rng, resamples=self.resamples)


def primary_entry(found: Contrast, level: Level, *, margin: float, worth: float) -> tuple[TestEntry, Comparison]:
    """The deciding metric: improved, no gain (upper bound below what is worth having), or inconclusive."""
    tested = level.compare(found, margin)
    verdict: EntryVerdict = "inconclusive"
    if tested.p_value < level.at:
        verdict = "improved"
    elif tested.upper < max(worth, margin):
        verdict = "no_gain"
    entry = _entry(found, level, tested, "primary", margin)
    hoped = max(found.difference, margin + worth)
    needed = _more_rows(found, level, hoped, margin) if verdict == "inconclusive" else None
    return replace(entry, verdict=verdict, rows_needed=needed), tested


def guard_entry(found: Contrast, level: Level, *, margin: float) -> TestEntry:
    """A metric that must not fall by more than `margin`: held, broken, or not shown either way."""
    tested = level.compare(found, -margin)
    verdict: EntryVerdict = "inconclusive"
    if tested.p_value < level.at:
        verdict = "held"
    elif tested.upper < -margin:
        verdict = "broken"
    entry = _entry(found, level, tested, "guard", -margin)
    hoped = min(found.difference, 0.0)
    needed = _more_rows(found, level, hoped, -margin) if verdict == "inconclusive" else None
    return replace(entry, verdict=verdict, rows_needed=needed)


def watched_entry(found: Contrast, level: Level, *, warns: bool) -> TestEntry:
    """Something only watched, in its own unit, with a normal interval."""
    half = normal_quantile(1 - level.at) * spread(found.differences) / sqrt(max(1, found.clusters))
    tested = Comparison(
        sign_flip_p(found.differences), found.difference - half, found.difference + half, "sign-flip permutation"
    )
    entry = _entry(found, level, tested, "warning", 0.0)
    return replace(entry, verdict="warning" if warns else "ok", minimum_detectable_effect=None)


def _entry(found: Contrast, level: Level, tested: Comparison, role: Role, margin: float) -> TestEntry:
    return TestEntry(
        metric=found.metric,
        role=role,
        baseline=found.baseline,
        best=found.best,
        difference=found.difference,
        interval=(tested.lower, tested.upper),
        p_value=tested.p_value,
        n=found.rows,
        clusters=found.clusters,
        wins=sum(d > 0 for d in found.differences),
        losses=sum(d < 0 for d in found.differences),
        verdict="inconclusive",
        minimum_detectable_effect=_detectable(found, level, margin),
        opening=level.opening,
        alpha=level.at,
        margin=margin,
        method=tested.method,
    )


def _is_trinomial(found: Contrast) -> bool:
    return all(d in (-1, 0, 1) for d in found.differences) or not spread(found.differences)


def _detectable(found: Contrast, level: Level, margin: float) -> float | None:
    """The least gain above `margin` these clusters would show, given how much the sides differ."""
    if not found.clusters:
        return None
    if _is_trinomial(found):
        return planning.minimum_detectable_effect(found.clusters, found.discordance, level.at, margin=margin)
    effect = planning.spread_detectable_effect(found.clusters, spread(found.differences), level.at, margin=margin)
    return effect if effect <= 1 else None


def _more_rows(found: Contrast, level: Level, gain: float, margin: float) -> int | None:
    """Rows beyond those there, at the level of the next opening, because adding rows opens them again."""
    if not found.clusters:
        return None
    if _is_trinomial(found):
        clusters = planning.rows_needed(gain, found.discordance, level.next, margin=margin)
    else:
        clusters = planning.spread_rows_needed(gain, spread(found.differences), level.next, margin=margin)
    if clusters is None:
        return None
    return max(1, ceil(clusters * found.rows / found.clusters) - found.rows)
