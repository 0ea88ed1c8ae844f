"""One metric of all pairs, reduced to a mean difference for each cluster."""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from langchain_promptopt.gate.rows import PairedRow

RowMeans: TypeAlias = tuple[float, float]
"""Mean score of one row over its repeats: (baseline, candidate)."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """Cluster means of both sides. Rows weigh equally inside a cluster, clusters equally in the mean."""

    metric: str
    baselines: tuple[float, ...]
    candidates: tuple[float, ...]
    rows: int

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
        return tuple(round(b - a, 12) for a, b in zip(self.baselines, self.candidates, strict=True))

    @property
    def difference(self) -> float:
        """Mean difference over clusters."""
        return fsum(self.differences) / max(1, self.clusters)

    @property
    def discordance(self) -> float:
        """Share of clusters on which the sides differ."""
        return sum(d != 0 for d in self.differences) / max(1, self.clusters)


def contrast(rows: Iterable[PairedRow], metric: str, of_row: Callable[[PairedRow], RowMeans | None]) -> Contrast:
    """Average rows into clusters; rows for which `of_row` gives None are left out."""
    by_cluster: dict[str, list[RowMeans]] = {}
    for row in rows:
        means = of_row(row)
        if means is not None:
            by_cluster.setdefault(row.cluster, []).append(means)
    many = list(by_cluster.values())
    return Contrast(
        metric,
        tuple(_mean(a for a, _ in cluster) for cluster in many),
        tuple(_mean(b for _, b in cluster) for cluster in many),
        sum(map(len, many)),
    )


def by_metric(metric: str) -> Callable[[PairedRow], RowMeans | None]:
    """Rows by one score."""
    return lambda row: _means(row.baseline.get(metric), row.candidate.get(metric))


def by_weights(weights: Mapping[str, float]) -> Callable[[PairedRow], RowMeans | None]:
    """Rows by the weighted mean of several scores; a row that lacks one of them is left out."""
    total = fsum(weights.values())

    def of_row(row: PairedRow) -> RowMeans | None:
        parts = [(w, _means(row.baseline.get(m), row.candidate.get(m))) for m, w in weights.items()]
        known = [(w, p) for w, p in parts if p is not None]
        if len(known) < len(parts):
            return None
        return fsum(w * p[0] for w, p in known) / total, fsum(w * p[1] for w, p in known) / total

    return of_row


def by_side(name: str) -> Callable[[PairedRow], RowMeans | None]:
    """Rows by something watched."""
    return lambda row: _means(row.baseline_side.get(name), row.candidate_side.get(name))


def _means(left: tuple[float, ...] | None, right: tuple[float, ...] | None) -> RowMeans | None:
    return (_mean(left), _mean(right)) if left and right else None


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return fsum(listed) / len(listed)
