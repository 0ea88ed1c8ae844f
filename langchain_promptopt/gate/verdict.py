"""The gate's decision from paired rows, and its table. Pure; no clock, no model, no file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from math import ceil, sqrt
from random import Random
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from langchain_promptopt._collections import all_as_json, map_values, members
from langchain_promptopt.errors import ConfigError
from langchain_promptopt.gate import planning
from langchain_promptopt.gate.exact import normal_quantile, sign_flip_p
from langchain_promptopt.gate.pairs import (
    WATCHED,
    Contrast,
    Missing,
    RowMeans,
    by_metric,
    by_side,
    by_weights,
    contrast,
    warning_text,
)
from langchain_promptopt.gate.planning import FEWEST_CLUSTERS, feasibility
from langchain_promptopt.gate.statistics import Comparison, alpha_at, exceeds, spread
from langchain_promptopt.types import FULL, Reason, broken, name_examples

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langchain_promptopt.gate.pairs import PairedRow, Pairs
    from langchain_promptopt.recipe import Gate
    from langchain_promptopt.types import Outcomes

MetricRole: TypeAlias = Literal["primary", "guard", "warning"]
EntryVerdict: TypeAlias = Literal["improved", "inconclusive", "no_gain", "held", "broken", "ok", "warning"]
GateVerdict: TypeAlias = Literal["improved", "inconclusive", "no_gain", "void"]


@dataclass(frozen=True, slots=True)
class ByExample:
    """Mean scores over single examples, and on how many of them the candidate scored higher or lower."""

    baseline: float
    best: float
    wins: int
    losses: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TestEntry:
    """One metric of the test. Scores are 0-1, averaged over clusters; `difference` is best minus baseline.

    Attributes:
        role: What it is for: the primary decides, guards forbid, warnings only speak.
        interval: Two-sided, `alpha` on each side (95 % at the first opening with alpha 0.05).
        p_value: One-sided, of "the difference is at most `margin`"; of a warning, of "it did not rise".
        wins: Clusters on which the candidate scored higher; `losses` lower; the rest are the same.
        verdict: improved, inconclusive or no_gain for the primary; held, inconclusive or broken for a
            guard, and for a primary that may fall by a margin; ok or warning for what is only watched.
        minimum_detectable_effect: The least true gain this many clusters would find 4 times in 5.
        rows_needed: How many more rows an inconclusive metric asks for; None when not known or not needed.
        method: The test behind the p-value.
        by_example: The same counted by single examples, which differ from clusters where examples come in groups.
        undone_by: The share of examples that would undo the result by failing outright, where only this
            possibility keeps the metric from passing.
    """

    __test__ = False

    metric: str
    role: MetricRole
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
    by_example: ByExample | None = None
    undone_by: float | None = None

    @property
    def ties(self) -> int:
        """Clusters on which both sides scored the same."""
        return self.clusters - self.wins - self.losses

    def as_json(self) -> dict[str, Any]:
        """The entry as journal and machine output carry it."""
        return map_values(_plain, members(self))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TestEntry:
        """The inverse of `as_json`."""
        counts = data.get("by_example")
        interval = (data["interval"][0], data["interval"][1])
        return cls(**{**data, "interval": interval, "by_example": counts and ByExample(**counts)})


def _plain(value: Any) -> Any:
    if isinstance(value, ByExample):
        return asdict(value)
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
        return exceeds(found.differences, margin, self.at, rng, resamples=self.resamples, bounds=found.bounds)


def primary_entry(found: Contrast, level: Level, *, margin: float, worth: float) -> tuple[TestEntry, Comparison]:
    """The deciding metric: improved, no gain (upper bound below what is worth having), or inconclusive.

    Args:
        found: The metric on both sides.
        level: The level of this opening, and what else all metrics of one decision share.
        margin: What the gain must exceed (`gate.min_improvement`).
        worth: The least gain worth having; an upper limit below it means "no gain".

    Returns:
        The line of the table and the comparison behind it.
    """
    tested = level.compare(found, margin)
    verdict: EntryVerdict = "inconclusive"
    if tested.p_value < level.at:
        verdict = "improved"
    elif tested.upper < max(worth, margin):
        verdict = "no_gain"
    entry = _entry(found, level, tested, "primary", margin)
    hoped = found.difference if tested.undone_by is not None else max(found.difference, margin + worth)
    needed = _more_rows(found, level, hoped, margin) if verdict == "inconclusive" else None
    return replace(entry, verdict=verdict, rows_needed=needed), tested


def guard_entry(found: Contrast, level: Level, *, margin: float) -> TestEntry:
    """A metric that must not fall by more than `margin`: held, broken, or not shown either way.

    Args:
        found: The metric on both sides.
        level: The level of this opening, and what else all metrics of one decision share.
        margin: How much it may fall, 0 to 1.
    """
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
    """Something only watched, in its own unit, with a normal interval.

    Args:
        found: The number on both sides, in its own unit.
        level: The level of this opening, and what else all metrics of one decision share.
        warns: Whether its rise is worth a warning; see `pairs.WATCHED`.
    """
    half = normal_quantile(1 - level.at) * spread(found.differences) / sqrt(max(1, found.clusters))
    tested = Comparison(
        sign_flip_p(found.differences), found.difference - half, found.difference + half, "sign-flip permutation"
    )
    entry = _entry(found, level, tested, "warning", 0.0)
    return replace(entry, verdict="warning" if warns else "ok", minimum_detectable_effect=None)


def _entry(found: Contrast, level: Level, tested: Comparison, role: MetricRole, margin: float) -> TestEntry:
    wins = sum(d > 0 for d in found.differences)
    losses = sum(d < 0 for d in found.differences)
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
        wins=wins,
        losses=losses,
        verdict="inconclusive",
        minimum_detectable_effect=_detectable(found, level, margin),
        opening=level.opening,
        alpha=level.at,
        margin=margin,
        method=tested.method,
        by_example=ByExample(*found.by_example) if found.rows else None,
        undone_by=tested.undone_by,
    )


def _is_trinomial(found: Contrast) -> bool:
    return all(d in (-1, 0, 1) for d in found.differences)


def _detectable(found: Contrast, level: Level, margin: float) -> float | None:
    """The least gain above `margin` these clusters would show, given how much the sides differ."""
    if not found.clusters:
        return None
    if _is_trinomial(found):
        return planning.minimum_detectable_effect(found.clusters, found.discordance, level.at, margin=margin)
    effect = planning.spread_detectable_effect(
        found.clusters, spread(found.differences), level.at, margin=margin, worst=found.bounds[0]
    )
    return effect if effect <= 1 else None


def _more_rows(found: Contrast, level: Level, gain: float, margin: float) -> int | None:
    """Rows beyond those there, at the level of the next opening, because adding rows opens them again."""
    if not found.clusters:
        return None
    if _is_trinomial(found):
        clusters = planning.rows_needed(gain, found.discordance, level.next, margin=margin)
    else:
        scatter, worst = spread(found.differences), found.bounds[0]
        clusters = planning.spread_rows_needed(gain, scatter, level.next, margin=margin, worst=worst)
    if clusters is None:
        return None
    return max(1, ceil(clusters * found.rows / found.clusters) - found.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the gate says. `entries` has the primary first; it is empty when the test is void.

    `void` is a test that allows no verdict at all, for the reason given. `held_back`
    says that nothing is to be applied by itself, because of something the table does not know.
    """

    verdict: GateVerdict
    reason: Reason
    opening: int
    alpha: float
    entries: tuple[TestEntry, ...] = ()
    warnings: tuple[str, ...] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)
    held_back: bool = False

    @property
    def improved(self) -> bool:
        """Whether the candidate passed."""
        return self.verdict == "improved"

    @property
    def may_apply(self) -> bool:
        """Whether the candidate may be applied without being asked for."""
        return self.improved and not self.held_back

    @property
    def outcome(self) -> Outcomes:
        """How a run ends that ends with this decision."""
        if self.verdict != "void":
            return self.verdict
        return "budget" if self.reason.kind == "budget" else "inconclusive"

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The entries as plain values, primary first."""
        return all_as_json(self.entries)

    @property
    def told(self) -> dict[str, Any]:
        """What the journal says of it beside verdict, opening and table."""
        return {
            "alpha": self.alpha,
            "reason": self.reason.as_json(),
            "warnings": list(self.warnings),
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
    weights = gate.weights.values()
    if any(w < 0 for w in weights) or (weights and not sum(weights)):
        msg = f"gate.weights must be 0 or more, and not all 0, got {dict(gate.weights)!r}"
        raise ConfigError(msg)
    return wanted


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
        opening: Number of this opening of the rows, from 1 (`Openings.record`).
        metrics: Metric keys in the order of the evaluators; those of `pairs` when not given.
        seed: Of the bootstrap; the same pairs and seed give the same answer.
        resamples: Of the bootstrap, when its own choice is to be overridden.

    Raises:
        ConfigError: The gate names a metric that was not scored.
    """
    wanted = deciding_metrics(gate, tuple(metrics) or pairs.metrics)
    level = Level(alpha=gate.alpha, opening=opening, seed=seed, resamples=resamples)
    if (void := _void(pairs, (*wanted, *gate.guards))) is not None:
        return Decision(verdict="void", reason=void, opening=opening, alpha=level.at, detail=_detail(pairs))
    of_row, name = _deciding(gate, wanted)
    found = contrast(pairs.rows, name, of_row)
    primary, tested = _primary(found, level, gate)
    guards = []
    for m, g in gate.guards.items():
        guards.append(guard_entry(contrast(pairs.rows, m, by_metric(m)), level, margin=g))
    watched, warnings = _watch(pairs.rows, level)
    verdict, reason = _conclude(primary, guards, survives=_survives(pairs, gate, level, name, of_row))
    if verdict == "improved" and (why := _too_small(found, gate, opening)):
        verdict, reason = "inconclusive", Reason("too_few_rows", why)
    demanded = _demanded(pairs, of_row)
    verdict, reason = demanded.over(verdict, reason)
    if pairs.one_sided:
        why = f"{pairs.one_sided}, so the examples left are not a fair sample"
        verdict, reason = "inconclusive", Reason("evaluator_raised_on_one_side", why)
    return Decision(
        verdict=verdict,
        opening=opening,
        alpha=level.at,
        entries=(primary, *guards, *watched),
        reason=reason,
        warnings=(
            *_cautions(pairs, primary, tested),
            *demanded.warnings,
            *_unscored(pairs, (*wanted, *gate.guards)),
            *warnings,
        ),
        detail=_detail(pairs) | demanded.as_json(),
    )


@dataclass(frozen=True, slots=True)
class _Demanded:
    """What became of the examples that must pass, by id."""

    broken: tuple[str, ...] = ()
    """Right before, wrong now."""
    failing: tuple[str, ...] = ()
    """Wrong before and now."""
    unseen: tuple[str, ...] = ()
    """Without a score on a side."""

    def over(self, verdict: GateVerdict, reason: Reason) -> tuple[GateVerdict, Reason]:
        """The verdict with these examples considered: a broken one is no gain, an unseen one leaves a gain open."""
        if self.broken and verdict != "no_gain":
            what = f"{name_examples(self.broken)}, which must pass and which the old prompt gets right"
            return "no_gain", Reason("must_pass_broken", f"the new prompt gets {what}, wrong")
        if self.unseen and verdict == "improved":
            why = f"{name_examples(self.unseen)} must pass and could not be scored"
            return "inconclusive", Reason("must_pass_not_shown", why)
        return verdict, reason

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader should know beside the reason."""
        broken = (f"the new prompt breaks {name_examples(self.broken)} (must_pass)",) if self.broken else ()
        failing = (f"both prompts get {name_examples(self.failing)} wrong (must_pass)",) if self.failing else ()
        return (*broken, *failing)

    def as_json(self) -> dict[str, Any]:
        """What the journal says of them; nothing where no example must pass."""
        found = {name: list(getattr(self, name)) for name in ("broken", "failing", "unseen")}
        return {"must_pass": found} if any(found.values()) else {}


def _demanded(pairs: Pairs, of_row: Callable[[PairedRow], RowMeans | None]) -> _Demanded:
    means = {row.example_id: of_row(row) for row in pairs.rows}
    before = {i: both[0] for i, both in means.items() if both is not None}
    after = {i: both[1] for i, both in means.items() if both is not None}
    failing = tuple(i for i in pairs.required if i in before and max(before[i], after[i]) < FULL)
    unseen = tuple(i for i in pairs.required if i not in before)
    return _Demanded(broken=broken(pairs.required, before, after), failing=failing, unseen=unseen)


def _primary(found: Contrast, level: Level, gate: Gate) -> tuple[TestEntry, Comparison]:
    """The line of the deciding metric: whether it rose, or with a margin whether it fell by no more than that."""
    if gate.margin is None:
        return primary_entry(found, level, margin=gate.min_improvement, worth=gate.worth)
    held = guard_entry(found, level, margin=gate.margin)
    return replace(held, role="primary"), level.compare(found, -gate.margin)


def _deciding(gate: Gate, wanted: tuple[str, ...]) -> tuple[Callable[[PairedRow], RowMeans | None], str]:
    if gate.weights:
        return by_weights(gate.weights), "weighted"
    return by_metric(wanted[0]), wanted[0]


def _void(pairs: Pairs, metrics: Sequence[str]) -> Reason | None:
    """Why these pairs allow no verdict on `metrics`; None when they do."""
    if pairs.model_changed:
        names = f"baseline: {_served(pairs.served_baseline)}; candidate: {_served(pairs.served_candidate)}"
        return Reason("model_changed", f"the served model changed during the test ({names})")
    for metric in metrics:
        lost = pairs.missing.get(metric, Missing())
        if lost.unequal and not pairs.one_sided:
            counts = f"baseline {lost.baseline}, candidate {lost.candidate}"
            why = f"the sides lost scores of {metric} unequally ({counts}), so the examples left are not a fair sample"
            return Reason("scores_lost_unequally", why)
    return None


def _served(names: Sequence[str]) -> str:
    return ", ".join(names) or "not reported"


def _conclude(primary: TestEntry, guards: Sequence[TestEntry], *, survives: bool) -> tuple[GateVerdict, Reason]:
    """The verdict over all entries, and why."""
    broken = [g.metric for g in guards if g.verdict == "broken"]
    unshown = [g for g in guards if g.verdict == "inconclusive"]
    name = primary.metric
    if broken:
        return "no_gain", Reason("guard_broken", f"{_listed(broken)} fell by more than allowed")
    if primary.verdict == "broken":
        fell = f"{name} fell by at least {-primary.interval[1] * 100:.1f} points"
        return "no_gain", Reason("worse", f"{fell}, and {-primary.margin * 100:g} are allowed")
    if primary.verdict == "no_gain":
        return "no_gain", Reason("below_worth", f"{name} rose by {primary.interval[1] * 100:.1f} points at most")
    if primary.verdict not in {"improved", "held"}:
        return "inconclusive", _unshown(primary)
    passed = "rose" if primary.verdict == "improved" else "held"
    if not survives:
        why = f"{name} {passed} only because examples were dropped on which the candidate failed"
        return "inconclusive", Reason("only_by_dropped_rows", why)
    if unshown:
        fallen = f"{name} {passed}, but {_listed([g.metric for g in unshown])} may have fallen too far"
        told = f"{_unseen(unshown)}{_needed(max(unshown, key=lambda g: g.rows_needed or 0))}"
        return "inconclusive", Reason("guard_not_shown", fallen + told)
    held = f", and {_listed([g.metric for g in guards])} held" if guards else ""
    if primary.verdict == "held":
        most = max(0.0, -primary.interval[0]) * 100
        told = f"{name} fell by {most:.1f} points at most, and {-primary.margin * 100:g} are allowed{held}"
        return "improved", Reason("not_worse", told)
    return "improved", Reason("shown", f"{name} rose{held}")


def _unshown(primary: TestEntry) -> Reason:
    if primary.undone_by is not None:
        why = f"{primary.metric} rose by {primary.difference * 100:.2g} points on average{_unseen([primary])}"
        return Reason("small_against_a_failure", why + _needed(primary))
    if primary.margin < 0:
        fall = f"that {primary.metric} falls by no more than {-primary.margin * 100:g} points"
        return Reason("not_shown", f"{fall} is neither shown nor ruled out{_needed(primary)}")
    gain = f"a gain of more than {primary.margin * 100:g} points" if primary.margin else "a gain"
    return Reason("not_shown", f"{gain} in {primary.metric} is neither shown nor ruled out{_needed(primary)}")


def _unseen(entries: Sequence[TestEntry]) -> str:
    """What stands against a gain that only unseen failures could undo; empty where none of `entries` is one."""
    entry = next((e for e in entries if e.undone_by is not None), None)
    if entry is None or entry.undone_by is None:
        return ""
    unit = "examples" if entry.clusters == entry.n else "groups"
    return (
        f", but one example in {1 / entry.undone_by:.0f} that fails outright would undo this, and "
        f"{entry.clusters} test {unit} are too few to rule that out"
    )


def _needed(entry: TestEntry) -> str:
    return f"; about {entry.rows_needed:,} more examples would decide" if entry.rows_needed is not None else ""


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _survives(
    pairs: Pairs, gate: Gate, level: Level, name: str, of_row: Callable[[PairedRow], RowMeans | None]
) -> bool:
    """Whether the gain is still there when cells only the candidate lost count as 0 for it."""
    if not pairs.lost:
        return True
    worst = contrast((*pairs.rows, *pairs.lost), name, of_row)
    return level.compare(worst, gate.floor).p_value < level.at


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
        why = "on one side no answer came, or an evaluator raised or gave no score"
        out.append(f"{pairs.dropped_pairs} pairs were left out: {why}")
    if primary.clusters < FEWEST_CLUSTERS:
        out.append(f"only {primary.clusters} independent test examples are left, fewer than {FEWEST_CLUSTERS}")
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
            found.append(
                f"{metric} has no score on {without} of {len(pairs.rows)} test examples; they are left out of it"
            )
    return found


def _detail(pairs: Pairs) -> dict[str, Any]:
    return {
        "dropped_pairs": pairs.dropped_pairs,
        "missing": {m: {"baseline": x.baseline, "candidate": x.candidate} for m, x in pairs.missing.items()},
        "served": {"baseline": list(pairs.served_baseline), "candidate": list(pairs.served_candidate)},
    }
