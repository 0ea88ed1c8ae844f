"""Paired rows: what both sides did on the same example, and one metric of them as a mean difference a cluster.

Rules of the product contract, section 8: a cell lost to infrastructure removes its pair; a failure that the prompt
caused scores 0. Cells lost on one side only are counted: when one side lost clearly more of them there is no verdict,
and a gain must survive counting the candidate's as 0. Served models must not change during the test, nor differ
between sides unless models are compared. Output length, refusals, parse failures and cost are only watched.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import fsum, isfinite
from statistics import median_low
from typing import TYPE_CHECKING, TypeAlias

from langchain_promptopt.errors import DataError
from langchain_promptopt.gate.exact import sign_test

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from langchain_promptopt.types import Outcome

MetricScores: TypeAlias = Mapping[str, tuple[float, ...]]

UNEQUAL_BELOW = 0.05
"""Two-sided p-value of "both sides are equally likely to lose a cell" under which there is no verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedRow:
    """One example on both sides. Tuples hold one number a repeat and are of equal length on both sides.

    `..._side` hold what is only watched: output_length, refusals, parse_failures, cost.
    """

    example_id: str
    cluster: str
    baseline: MetricScores
    candidate: MetricScores
    baseline_side: MetricScores = field(default_factory=dict)
    candidate_side: MetricScores = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Missing:
    """Cells of one metric that one side lost and the other delivered."""

    baseline: int = 0
    candidate: int = 0

    @property
    def unequal(self) -> bool:
        """Whether one side lost so many more cells than the other that what is left is no fair sample.

        >>> Missing(0, 5).unequal, Missing(0, 6).unequal, Missing(3, 6).unequal
        (False, True, False)
        """
        more, fewer = max(self.baseline, self.candidate), min(self.baseline, self.candidate)
        return 2 * sign_test(more, fewer) < UNEQUAL_BELOW


@dataclass(frozen=True, slots=True)
class Serving:
    """Which models may answer during a test; any more are a change that voids it.

    Args:
        models: Different models on one side, as a router has several.
        shared: Whether both sides mean the same ones; False where models are what is compared.
    """

    models: int = 1
    shared: bool = True

    def changed(self, baseline: Sequence[str], candidate: Sequence[str]) -> bool:
        """Whether more models answered than may, on a side or, where both share them, over both."""
        both = {*baseline, *candidate} if self.shared else set()
        return max(len(baseline), len(candidate), len(both)) > self.models


_ONE_MODEL = Serving()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """All pairs of a test, and what may keep them from allowing a verdict.

    `lost` are rows made of the pairs that only the candidate failed to deliver, the candidate
    counted as 0: what a gain must survive.
    """

    rows: tuple[PairedRow, ...]
    metrics: tuple[str, ...]
    dropped_pairs: int = 0
    missing: Mapping[str, Missing] = field(default_factory=dict)
    lost: tuple[PairedRow, ...] = ()
    raised: Missing = field(default_factory=Missing)
    """Pairs lost because an evaluator raised on the answer of that side alone."""
    served_baseline: tuple[str, ...] = ()
    served_candidate: tuple[str, ...] = ()
    serving: Serving = _ONE_MODEL
    required: tuple[str, ...] = ()
    """Examples that the candidate may not get wrong where the baseline gets them right."""

    @property
    def model_changed(self) -> bool:
        """Whether a model answered that may not."""
        return self.serving.changed(self.served_baseline, self.served_candidate)

    @property
    def one_sided(self) -> str:
        """The side whose answers alone an evaluator raised on; empty where it raised on both or on none."""
        both = (("baseline", self.raised.baseline), ("candidate", self.raised.candidate))
        found = [f"{count} answer(s) of the {side}" for side, count in both if count]
        return f"an evaluator raised on {found[0]} and on none of the other side" if len(found) == 1 else ""


def pair_outcomes(
    baseline: Sequence[Outcome],
    candidate: Sequence[Outcome],
    clusters: Mapping[str, str],
    *,
    metrics: Sequence[str] = (),
    serving: Serving = _ONE_MODEL,
) -> Pairs:
    """Match the outcomes of both sides by example and repeat.

    Args:
        baseline: Outcomes of the baseline, each cell once, in any order.
        candidate: Outcomes of the candidate on the same cells.
        clusters: Example id to cluster, for every example of the test.
        metrics: Metric keys in their order; those found, sorted, when not given.
        serving: The models that may answer.

    Raises:
        DataError: An outcome belongs to no example of `clusters`.
    """
    left, right = _by_cell(baseline, clusters), _by_cell(candidate, clusters)
    names = tuple(metrics) or tuple(sorted(set[str]().union(*(o.scores for o in (*baseline, *candidate)))))
    cells: dict[str, list[_Pair]] = {}
    for key in sorted({*left, *right}):
        cells.setdefault(key[0], []).append(_Pair(left.get(key), right.get(key)))
    pairs, rows, lost = [], [], []
    for example, many in cells.items():
        pairs += many
        rows.append(_row(example, clusters[example], many, names))
        lost.append(_lost_row(example, clusters[example], many, names))
    dropped = sum(p.has_no_score(names) for p in pairs)
    return Pairs(
        rows=_with_scores(rows),
        metrics=names,
        dropped_pairs=dropped,
        missing={m: _missing(pairs, m) for m in names},
        lost=_with_scores(lost),
        raised=_raised_alone(pairs),
        served_baseline=_served(baseline),
        served_candidate=_served(candidate),
        serving=replace(serving, models=max(serving.models, _models_in_one((*baseline, *candidate)))),
    )


def _with_scores(rows: Sequence[PairedRow]) -> tuple[PairedRow, ...]:
    return tuple(r for r in rows if r.baseline)


@dataclass(frozen=True, slots=True)
class _Pair:
    """The two outcomes of one example and repeat; None where a side has none."""

    baseline: Outcome | None
    candidate: Outcome | None

    def scores(self, metric: str) -> tuple[float | None, float | None]:
        return _score(self.baseline, metric), _score(self.candidate, metric)

    def has_no_score(self, metrics: Sequence[str]) -> bool:
        """Whether there is no metric that both sides have a score for."""
        return all(None in self.scores(m) for m in metrics)


def _by_cell(outcomes: Sequence[Outcome], clusters: Mapping[str, str]) -> dict[tuple[str, int], Outcome]:
    out = {}
    for outcome in outcomes:
        cell = outcome.cell
        if cell.example_id not in clusters:
            msg = f"example {cell.example_id!r} was scored but does not belong to the test examples"
            raise DataError(msg, mend="Pair only outcomes of the split the gate opens.")
        out[cell.example_id, cell.repeat] = outcome
    return out


def _score(outcome: Outcome | None, metric: str) -> float | None:
    """The score, 0 for a failure the prompt caused, None when there is none."""
    if outcome is None or outcome.dropped:
        return None
    value = outcome.scores.get(metric, None if outcome.failure is None else 0.0)
    return value if value is not None and isfinite(value) else None


def _row(example_id: str, cluster: str, pairs: Sequence[_Pair], metrics: Sequence[str]) -> PairedRow:
    left: dict[str, tuple[float, ...]] = {}
    right: dict[str, tuple[float, ...]] = {}
    for metric in metrics:
        before, after = [], []
        for p in pairs:
            a, b = p.scores(metric)
            if a is not None and b is not None:
                before.append(a)
                after.append(b)
        if before:
            left[metric], right[metric] = tuple(before), tuple(after)
    old, new = [], []
    for p in pairs:
        if p.baseline is None or p.candidate is None:
            continue
        if not p.baseline.dropped and not p.candidate.dropped:
            old.append(p.baseline)
            new.append(p.candidate)
    return PairedRow(
        example_id=example_id,
        cluster=cluster,
        baseline=left,
        candidate=right,
        baseline_side=side_metrics(old),
        candidate_side=side_metrics(new),
    )


def _lost_row(example_id: str, cluster: str, pairs: Sequence[_Pair], metrics: Sequence[str]) -> PairedRow:
    left = {}
    for metric in metrics:
        alone = []
        for p in pairs:
            a, b = p.scores(metric)
            if a is not None and b is None:
                alone.append(a)
        if alone:
            left[metric] = tuple(alone)
    zeros = {metric: (0.0,) * len(values) for metric, values in left.items()}
    return PairedRow(example_id=example_id, cluster=cluster, baseline=left, candidate=zeros)


def _missing(pairs: Sequence[_Pair], metric: str) -> Missing:
    absent = []
    for p in pairs:
        a, b = p.scores(metric)
        absent.append((a is None, b is None))
    return Missing(baseline=absent.count((True, False)), candidate=absent.count((False, True)))


def _raised_alone(pairs: Sequence[_Pair]) -> Missing:
    """Pairs of which an evaluator raised on the answer of one side only."""
    raised = [(_raised(p.baseline), _raised(p.candidate)) for p in pairs]
    return Missing(baseline=raised.count((True, False)), candidate=raised.count((False, True)))


def _raised(outcome: Outcome | None) -> bool:
    """Whether an evaluator raised on this answer."""
    return outcome is not None and outcome.failure is not None and outcome.failure.kind == "evaluator_error"


def _served(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    names: set[str] = set()
    for o in outcomes:
        if o.model_served is not None:
            names.update(o.model_served.split(", "))
    return tuple(sorted(names))


def _models_in_one(outcomes: Sequence[Outcome]) -> int:
    """How many models most evaluations use: a program may hold some that were not found in it."""
    counts = [len(o.model_served.split(", ")) for o in outcomes if o.model_served is not None]
    return median_low(counts) if counts else 0


RowMeans: TypeAlias = tuple[float, float]
"""Mean score of one row over its repeats: (baseline, candidate)."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """Cluster means of both sides, and the row means behind them.

    Rows weigh equally inside a cluster, clusters equally in the mean.
    """

    metric: str
    baselines: tuple[float, ...]
    candidates: tuple[float, ...]
    of_rows: tuple[RowMeans, ...]

    @property
    def rows(self) -> int:
        """Examples with a score on both sides."""
        return len(self.of_rows)

    @property
    def by_example(self) -> tuple[float, float, int, int]:
        """Means of both sides over rows, and on how many rows the candidate scored higher, and lower."""
        changes = [round(b - a, 12) for a, b in self.of_rows]
        means = []
        for side in (0, 1):
            means.append(fsum(row[side] for row in self.of_rows) / max(1, self.rows))
        wins = sum(d > 0 for d in changes)
        losses = sum(d < 0 for d in changes)
        return means[0], means[1], wins, losses

    @property
    def bounds(self) -> tuple[float, float]:
        """The differences that an outright failure and an outright success would show at most.

        Scores are 0 to 1, so a failure costs what the baseline earned: as much as on its best cluster, and at
        least half of the scale, because the clusters that fail may not be among these.
        """
        least, most = min(self.baselines, default=0.0), max(self.baselines, default=1.0)
        return -min(1.0, max(0.5, most)), 1.0 - max(0.0, min(0.5, least))

    @property
    def clusters(self) -> int:
        """Independent units."""
        return len(self.baselines)

    @property
    def baseline(self) -> float:
        """Mean of the baseline over clusters."""
        return fsum(self.baselines) / max(1, self.clusters)

    @property
    def best(self) -> float:
        """Mean of the candidate over clusters."""
        return fsum(self.candidates) / max(1, self.clusters)

    @property
    def differences(self) -> tuple[float, ...]:
        """Candidate minus baseline for each cluster, freed of rounding noise so that ties are ties."""
        found: list[float] = []
        for a, b in zip(self.baselines, self.candidates, strict=True):
            found.append(round(b - a, 12))
        return tuple(found)

    @property
    def difference(self) -> float:
        """Mean difference over clusters."""
        return fsum(self.differences) / max(1, self.clusters)

    @property
    def discordance(self) -> float:
        """Share of clusters on which the sides differ."""
        return sum(d != 0 for d in self.differences) / max(1, self.clusters)


def contrast(rows: Iterable[PairedRow], metric: str, of_row: Callable[[PairedRow], RowMeans | None]) -> Contrast:
    """Average rows into clusters; rows for which `of_row` gives None are left out.

    Args:
        rows: Paired examples, in any order.
        metric: Name of the result.
        of_row: The means of both sides for one example, as `by_metric`, `by_weights` and `by_side` give them.
    """
    by_cluster: dict[str, list[RowMeans]] = {}
    for row in rows:
        means = of_row(row)
        if means is not None:
            by_cluster.setdefault(row.cluster, []).append(means)
    baselines, candidates, of_rows = [], [], []
    for cluster in by_cluster.values():
        baselines.append(_mean(a for a, _ in cluster))
        candidates.append(_mean(b for _, b in cluster))
        of_rows += cluster
    return Contrast(metric, tuple(baselines), tuple(candidates), tuple(of_rows))


def by_metric(metric: str) -> Callable[[PairedRow], RowMeans | None]:
    """Rows by one score."""
    return lambda row: _means(row.baseline.get(metric), row.candidate.get(metric))


def by_weights(weights: Mapping[str, float]) -> Callable[[PairedRow], RowMeans | None]:
    """Rows by the weighted mean of several scores; a row that lacks one of them is left out."""
    total = fsum(weights.values())

    def of_row(row: PairedRow) -> RowMeans | None:
        parts = []
        for m, w in weights.items():
            parts.append((w, _means(row.baseline.get(m), row.candidate.get(m))))
        known = [(w, p) for w, p in parts if p is not None]
        if len(known) < len(parts):
            return None
        baseline = fsum(w * p[0] for w, p in known)
        candidate = fsum(w * p[1] for w, p in known)
        return baseline / total, candidate / total

    return of_row


def by_side(name: str) -> Callable[[PairedRow], RowMeans | None]:
    """Rows by something watched."""
    return lambda row: _means(row.baseline_side.get(name), row.candidate_side.get(name))


def _means(left: tuple[float, ...] | None, right: tuple[float, ...] | None) -> RowMeans | None:
    return (_mean(left), _mean(right)) if left and right else None


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return fsum(listed) / len(listed)


REFUSALS = frozenset({"refusal", "content_filter"})
PARSE_FAILURES = frozenset({"unparsable", "truncated"})


@dataclass(frozen=True, slots=True)
class WatchedNumber:
    """One watched number: when its rise is worth a warning, and how to say it."""

    metric: str
    label: str
    rises: Callable[[float, float], bool]
    relative: bool


def _by_a_quarter(baseline: float, best: float) -> bool:
    return best > 1.25 * baseline and best > 0  # spec section 8: +25 %


def _by_two_points(baseline: float, best: float) -> bool:
    return best - baseline > 0.02


WATCHED = (
    WatchedNumber("output_length", "output length", _by_a_quarter, relative=True),
    WatchedNumber("refusals", "refusals", _by_two_points, relative=False),
    WatchedNumber("parse_failures", "parse failures", _by_two_points, relative=False),
    WatchedNumber("cost", "cost per call", _by_a_quarter, relative=True),
)


def side_metrics(outcomes: Sequence[Outcome]) -> Mapping[str, tuple[float, ...]]:
    """The watched numbers of one row on one side; an unknown number is left out."""
    lengths = [float(_length(o.output)) for o in outcomes if o.failure is None and o.output is not None]
    refusals = [float(_failed(o, REFUSALS)) for o in outcomes]
    unparsed = [float(_failed(o, PARSE_FAILURES)) for o in outcomes]
    costs = [o.usage.usd / o.usage.calls for o in outcomes if o.usage.usd and o.usage.calls]
    found = {
        "output_length": tuple(lengths),
        "refusals": tuple(refusals),
        "parse_failures": tuple(unparsed),
        "cost": tuple(costs),
    }
    return {name: values for name, values in found.items() if values}


def _failed(outcome: Outcome, kinds: frozenset[str]) -> bool:
    return outcome.failure is not None and outcome.failure.kind in kinds


def _length(output: object) -> int:
    """Characters of a text, or of the JSON of anything else."""
    return len(output if isinstance(output, str) else json.dumps(output, ensure_ascii=False, default=str))


def warning_text(watch: WatchedNumber, baseline: float, best: float) -> str:
    """One sentence about a watched number that rose.

    Args:
        watch: What was watched; `relative` chooses between per cent of growth and two shares.
        baseline: Its mean on the baseline, in its own unit (a share of calls is 0 to 1).
        best: The same of the candidate.

    >>> warning_text(WATCHED[0], 100.0, 150.0)
    'output length rose by 50 % (100 to 150)'
    """
    if watch.relative:
        rise = f"by {(best / baseline - 1) * 100:.0f} %" if baseline else "from nothing"
        return f"{watch.label} rose {rise} ({baseline:.4g} to {best:.4g})"
    return f"{watch.label} rose from {baseline * 100:.1f} % to {best * 100:.1f} % of the calls"
