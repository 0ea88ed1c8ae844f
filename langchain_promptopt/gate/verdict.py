"""The rows of the gate's table, and how each kind of row is tested.

The gate's decision from paired rows: improved, inconclusive or no gain. Pure; no clock, no model, no file.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from math import ceil, sqrt
from random import Random
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from langchain_promptopt.errors import ConfigError
from langchain_promptopt.gate import planning
from langchain_promptopt.gate.pairs import (
    WATCHED,
    Contrast,
    RowMeans,
    by_metric,
    by_side,
    by_weights,
    contrast,
    warning_text,
)
from langchain_promptopt.gate.planning import FEWEST_CLUSTERS, feasibility
from langchain_promptopt.gate.statistics import Comparison, alpha_at, exceeds, normal_quantile, sign_flip_p, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langchain_promptopt.gate.pairs import Contrast, PairedRow, Pairs
    from langchain_promptopt.recipe import Gate

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


# ------------------------------------------------------------ The gate's decision from paired rows: improved, inco

GateVerdict: TypeAlias = Literal["improved", "inconclusive", "no_gain", "void"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the gate says. `entries` has the primary first; it is empty when the test is void or was refused.

    `void` is a test that allows no verdict at all, for the reason given.
    """

    verdict: GateVerdict
    opening: int
    alpha: float
    entries: tuple[TestEntry, ...] = ()
    reason: str = ""
    warnings: tuple[str, ...] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def improved(self) -> bool:
        """Whether the candidate passed."""
        return self.verdict == "improved"

    @property
    def metrics(self) -> tuple[Mapping[str, Any], ...]:
        """The entries as plain values, primary first."""
        return tuple(e.as_json() for e in self.entries)

    def as_json(self) -> dict[str, Any]:
        """The decision as machine output carries it."""
        return {
            "verdict": self.verdict,
            "opening": self.opening,
            "alpha": self.alpha,
            "reason": self.reason,
            "warnings": list(self.warnings),
            "metrics": list(self.metrics),
            **self.detail,
        }


def deciding_metrics(gate: Gate, metrics: Sequence[str]) -> tuple[str, ...]:
    """The metrics that make up the primary, checked against those there are.

    Raises:
        ConfigError: A named metric is not among them, or the weights cannot make a mean.
    """
    wanted = tuple(gate.weights) or ((gate.primary,) if gate.primary is not None else tuple(metrics[:1]))
    for name in (*wanted, *gate.guards):
        if name not in metrics:
            msg = f"the gate names {name!r}, which no evaluator scores"
            raise ConfigError(msg, where="gate", mend=f"Evaluators score: {', '.join(metrics) or 'nothing'}.")
    if not wanted:
        msg = "the gate has no metric to decide by"
        raise ConfigError(msg, where="gate", mend="Give at least one evaluator.")
    if any(w < 0 for w in gate.weights.values()) or (gate.weights and not sum(gate.weights.values())):
        msg = f"gate.weights must be 0 or more, and not all 0, got {dict(gate.weights)!r}"
        raise ConfigError(msg)
    return wanted


def refuse_same(baseline_id: str, candidate_id: str, gate: Gate, *, opening: int = 1) -> Decision | None:
    """A decision without a test when both sides are one candidate, else None."""
    if baseline_id != candidate_id:
        return None
    alpha = Level(alpha=gate.alpha, opening=opening).at
    reason = "the candidate is the baseline itself, so there was nothing to test"
    return Decision(verdict="no_gain", opening=opening, alpha=alpha, reason=reason)


def decide(
    pairs: Pairs,
    gate: Gate,
    *,
    opening: int = 1,
    metrics: Sequence[str] = (),
    seed: int = 0,
    resamples: int | None = None,
) -> Decision:
    """Decide between baseline and candidate on all rows of the test.

    Args:
        pairs: From `pair_outcomes`.
        gate: The rules.
        opening: The how many-th look at these rows (`Openings.record`).
        metrics: Metric keys in the order of the evaluators; those of `pairs` when not given.
        seed: Of the bootstrap; the same pairs and seed give the same answer.
        resamples: Of the bootstrap, when its own choice is to be overridden.

    Raises:
        ConfigError: The gate names a metric that was not scored.
    """
    wanted = deciding_metrics(gate, tuple(metrics) or pairs.metrics)
    level = Level(alpha=gate.alpha, opening=opening, seed=seed, resamples=resamples)
    if (reason := pairs.void((*wanted, *gate.guards))) and not pairs.one_sided:
        return Decision(verdict="void", opening=opening, alpha=level.at, reason=reason, detail=_detail(pairs))
    of_row, name = _deciding(gate, wanted)
    found = contrast(pairs.rows, name, of_row)
    primary, tested = primary_entry(found, level, margin=gate.min_improvement, worth=gate.worth)
    guards = [guard_entry(contrast(pairs.rows, m, by_metric(m)), level, margin=g) for m, g in gate.guards.items()]
    watched, warnings = _watch(pairs.rows, level)
    verdict, reason = _conclude(primary, guards, survives=_survives(pairs, gate, level, name, of_row))
    if verdict == "improved" and (why := _too_small(found, gate, opening)):
        verdict, reason = "inconclusive", why
    if pairs.one_sided:
        verdict, reason = "inconclusive", f"{pairs.one_sided}, so the rows left are no fair sample"
    return Decision(
        verdict=verdict,
        opening=opening,
        alpha=level.at,
        entries=(primary, *guards, *watched),
        reason=reason,
        warnings=(*_cautions(pairs, primary, tested), *_unscored(pairs, (*wanted, *gate.guards)), *warnings),
        detail=_detail(pairs),
    )


def _deciding(gate: Gate, wanted: tuple[str, ...]) -> tuple[Callable[[PairedRow], RowMeans | None], str]:
    if gate.weights:
        return by_weights(gate.weights), "weighted"
    return by_metric(wanted[0]), wanted[0]


def _conclude(primary: TestEntry, guards: Sequence[TestEntry], *, survives: bool) -> tuple[GateVerdict, str]:
    """The verdict over all entries, and why, in words."""
    broken = [g.metric for g in guards if g.verdict == "broken"]
    unshown = [g.metric for g in guards if g.verdict == "inconclusive"]
    if broken:
        return "no_gain", f"{_listed(broken)} fell by more than allowed"
    if primary.verdict == "no_gain":
        return "no_gain", f"{primary.metric} rose by {primary.interval[1] * 100:.1f} points at most"
    if primary.verdict != "improved":
        gain = f"a gain of more than {primary.margin * 100:g} points" if primary.margin else "a gain"
        return "inconclusive", f"{gain} in {primary.metric} is neither shown nor ruled out{_needed(primary)}"
    if not survives:
        return "inconclusive", f"{primary.metric} rose only because rows were dropped on which the candidate failed"
    if unshown:
        needs = _needed(max((g for g in guards if g.metric in unshown), key=lambda g: g.rows_needed or 0))
        return "inconclusive", f"{primary.metric} rose, but {_listed(unshown)} may have fallen too far{needs}"
    held = f", and {_listed([g.metric for g in guards])} held" if guards else ""
    return "improved", f"{primary.metric} rose{held}"


def _needed(entry: TestEntry) -> str:
    return f"; about {entry.rows_needed} more rows would decide" if entry.rows_needed is not None else ""


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _survives(
    pairs: Pairs, gate: Gate, level: Level, name: str, of_row: Callable[[PairedRow], RowMeans | None]
) -> bool:
    """Whether the gain is still there when cells only the candidate lost count as 0 for it."""
    if not pairs.lost:
        return True
    worst = contrast((*pairs.rows, *pairs.lost), name, of_row)
    return level.compare(worst, gate.min_improvement).p_value < level.at


def _too_small(found: Contrast, gate: Gate, opening: int) -> str:
    able = feasibility(found.clusters, gate, opening)
    return "" if able.possible else able.reason


def _watch(rows: Sequence[PairedRow], level: Level) -> tuple[list[TestEntry], list[str]]:
    entries, warnings = [], []
    for watch in WATCHED:
        found = contrast(rows, watch.metric, by_side(watch.metric))
        if not found.clusters:
            continue
        warns = watch.rises(found.baseline, found.best)
        entries.append(watched_entry(found, level, warns=warns))
        if warns:
            warnings.append(warning_text(watch, found.baseline, found.best))
    return entries, warnings


def _cautions(pairs: Pairs, primary: TestEntry, tested: Comparison) -> list[str]:
    out = []
    if pairs.dropped_pairs:
        out.append(f"{pairs.dropped_pairs} pairs were dropped because a model or evaluator was out of reach")
    if primary.clusters < FEWEST_CLUSTERS:
        out.append(f"only {primary.clusters} independent test rows are left, fewer than {FEWEST_CLUSTERS}")
    if not tested.agrees:
        out.append(
            f"{primary.metric}: counting signs finds a gain, but the sizes of gains and losses leave doubt; "
            f"decided by {primary.method}"
        )
    return out


def _unscored(pairs: Pairs, metrics: Sequence[str]) -> list[str]:
    """Metrics that do not apply to every row: their means are over the others."""
    found = []
    for metric in dict.fromkeys((*metrics, *pairs.metrics)):
        without = sum(metric not in row.baseline for row in pairs.rows)
        if 0 < without < len(pairs.rows):
            found.append(f"{metric} has no score on {without} of {len(pairs.rows)} test rows; they are left out of it")
    return found


def _detail(pairs: Pairs) -> dict[str, Any]:
    return {
        "dropped_pairs": pairs.dropped_pairs,
        "missing": {m: {"baseline": x.baseline, "candidate": x.candidate} for m, x in pairs.missing.items()},
        "served": {"baseline": list(pairs.served_baseline), "candidate": list(pairs.served_candidate)},
    }
