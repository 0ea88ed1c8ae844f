"""The gate's decision from paired rows: improved, inconclusive or no gain. Pure; no clock, no model, no file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from langchain_promptopt.errors import ConfigError
from langchain_promptopt.gate.contrast import Contrast, RowMeans, by_metric, by_side, by_weights, contrast
from langchain_promptopt.gate.entries import Level, TestEntry, guard_entry, primary_entry, watched_entry
from langchain_promptopt.gate.outlook import FEWEST_CLUSTERS, feasibility
from langchain_promptopt.gate.watched import WATCHED, warning_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langchain_promptopt.gate.rows import PairedRow, Pairs
    from langchain_promptopt.gate.statistics import Comparison
    from langchain_promptopt.recipe import Gate

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
    if reason := pairs.void((*wanted, *gate.guards)):
        return Decision(verdict="void", opening=opening, alpha=level.at, reason=reason, detail=_detail(pairs))
    of_row, name = _deciding(gate, wanted)
    found = contrast(pairs.rows, name, of_row)
    primary, tested = primary_entry(found, level, margin=gate.min_improvement, worth=gate.worth)
    guards = [guard_entry(contrast(pairs.rows, m, by_metric(m)), level, margin=g) for m, g in gate.guards.items()]
    watched, warnings = _watch(pairs.rows, level)
    verdict, reason = _conclude(primary, guards, survives=_survives(pairs, gate, level, name, of_row))
    if verdict == "improved" and (why := _too_small(found, gate, opening)):
        verdict, reason = "inconclusive", why
    return Decision(
        verdict=verdict,
        opening=opening,
        alpha=level.at,
        entries=(primary, *guards, *watched),
        reason=reason,
        warnings=(*_cautions(pairs, primary, tested), *warnings),
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


def _detail(pairs: Pairs) -> dict[str, Any]:
    return {
        "dropped_pairs": pairs.dropped_pairs,
        "missing": {m: {"baseline": x.baseline, "candidate": x.candidate} for m, x in pairs.missing.items()},
        "served": {"baseline": list(pairs.served_baseline), "candidate": list(pairs.served_candidate)},
    }
