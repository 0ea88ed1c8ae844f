"""A10. The paired race: candidates and the incumbent side by side on the same rows, no longer than it takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from langchain_promptopt.strategies.racing import normal_lower, normal_upper, shared_differences
from langchain_promptopt.strategies.scoring import attempt_of, told, up_to

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_promptopt.protocols import Bench
    from langchain_promptopt.types import Attempt, Candidate

    Scores = Mapping[str, float]


CAUTION = 0.5
"""Standard errors taken off a gain that only a part of the rows shows."""


@dataclass(frozen=True)
class Race:
    """Paired race on shared rows: those clearly behind the `beam`-th best are dropped early (spec 6.2).

    All fresh candidates see the first `first` rows of the shared order, then `grow` times as many
    and so on; a candidate whose paired difference to the beam's last has an upper bound (`z`
    standard errors) below `slack` is out. With `lazy` the baseline, too, is run no further than
    the races go. With `z_ahead` a race ends as soon as the only candidate left is that many
    standard errors above every incumbent. With `narrow` both bounds close in proportion to the rows
    seen, as in a triangular test, so that a race between equals does not go on to the last row.

    Where a race ends before every row was seen, early or by the budget, a score is the best
    incumbent's plus the paired difference on shared rows less `CAUTION` standard errors, so that
    few lucky rows do not win.
    """

    first: int = 16
    beam: int = 4
    slack: float = 0.0
    grow: float = 2
    z: float = 1.2816
    lazy: bool = False
    z_ahead: float | None = None
    narrow: bool = False

    @property
    def eager(self) -> bool:
        """Rows are dealt out rung by rung."""
        return False

    def baseline_rows(self, rows: int) -> int:
        """The first rung, or all of them."""
        return self.least(rows) if self.lazy else rows

    def least(self, rows: int) -> int:
        """The first rung."""
        return min(self.first, rows)

    async def score(
        self, fresh: Sequence[Candidate], incumbents: Sequence[Attempt], bench: Bench
    ) -> tuple[Attempt, ...]:
        """Attempts of `fresh`, those dropped early marked as out, then incumbents that saw further rows."""
        alive, rung = list(fresh), float(self.first)
        dropped: list[Candidate] = []
        total, early = len(bench.examples), False
        while alive:
            seen = min(round(rung), total)
            await up_to([*(a.candidate for a in incumbents if self.lazy), *alive], seen, bench)
            if seen >= total or any(bench.withheld(c) for c in alive):
                break
            bar = self._bar(alive, incumbents, bench)
            behind = {c.id for c in alive if bar is not None and self._behind(c, bar, bench)}
            dropped += [c for c in alive if c.id in behind]
            alive = [c for c in alive if c.id not in behind]
            if early := self._won(alive, incumbents, bench):
                break
            rung *= self.grow
        now = [_further(a, bench) for a in incumbents]
        found = {a.candidate.id: a for a in told((), dropped, bench)}
        found |= {c.id: self._measured(c, now, bench, early=early) for c in alive}
        return (*(found[c.id] for c in fresh), *(a for a, old in zip(now, incumbents, strict=True) if a.n > old.n))

    def comparable(self, attempts: Sequence[Attempt], leader: Attempt) -> tuple[Attempt, ...]:
        """Attempts that saw fewer rows than the leader: its score plus the cautious difference to it."""
        return tuple(self._beside(a, leader) if a.n < leader.n and not a.out else a for a in attempts)

    def _beside(self, attempt: Attempt, leader: Attempt) -> Attempt:
        differences = shared_differences(attempt.by_example, leader.by_example)
        return replace(attempt, score=leader.score + normal_lower(differences, CAUTION)) if differences else attempt

    def owes(self, leader: Attempt, rows: int) -> bool:
        """Whether the leader was chosen on a part of the rows."""
        return self.lazy and leader.n < rows

    async def rematch(self, leader: Attempt, rival: Attempt, bench: Bench) -> tuple[Attempt, ...]:
        """Both on every row, as far as the budget reaches."""
        await up_to([leader.candidate, rival.candidate], len(bench.examples), bench)
        return _further(leader, bench), _further(rival, bench)

    def _bar(self, alive: Sequence[Candidate], incumbents: Sequence[Attempt], bench: Bench) -> Scores | None:
        """Row scores of the beam's last by the rows seen so far, incumbents included."""
        shown = set(bench.known(alive[0]))
        entrants = [bench.known(c) for c in alive] + [
            {i: s for i, s in _rows(a, bench).items() if i in shown} for a in incumbents
        ]
        entrants = [e for e in entrants if e]
        order = sorted(entrants, key=lambda e: -sum(e.values()) / len(e))
        return order[self.beam - 1] if len(order) >= self.beam else (order[-1] if incumbents else None)

    def _behind(self, candidate: Candidate, bar: Scores, bench: Bench) -> bool:
        differences = shared_differences(bench.known(candidate), bar)
        return bool(differences) and normal_upper(differences, self.z * self._open(differences, bench)) < self.slack

    def _open(self, differences: Sequence[float], bench: Bench) -> float:
        """How far the bounds still stand apart: 1 at the start, 0 when every row was seen."""
        return 1.0 - len(differences) / len(bench.examples) if self.narrow else 1.0

    def _won(self, alive: Sequence[Candidate], incumbents: Sequence[Attempt], bench: Bench) -> bool:
        """Whether one candidate is left and clearly ahead of all incumbents."""
        if self.z_ahead is None or len(alive) != 1 or not incumbents:
            return False
        rows = bench.known(alive[0])
        differences = [shared_differences(rows, _rows(a, bench)) for a in incumbents]
        return all(normal_lower(d, self.z_ahead * self._open(d, bench)) > self.slack for d in differences)

    def _measured(self, candidate: Candidate, incumbents: Sequence[Attempt], bench: Bench, *, early: bool) -> Attempt:
        known = bench.known(candidate)
        attempt = attempt_of(candidate, known)
        if not incumbents or not (early or bench.withheld(candidate)):
            return attempt
        if len(known) < self.least(len(bench.examples)):
            return replace(attempt, out=True)
        best = max(incumbents, key=lambda a: a.score)
        return replace(attempt, score=best.score + normal_lower(shared_differences(known, best.by_example), CAUTION))


def _rows(attempt: Attempt, bench: Bench) -> Scores:
    return bench.known(attempt.candidate) or attempt.by_example


def _further(attempt: Attempt, bench: Bench) -> Attempt:
    """The attempt with the rows that are known by now."""
    rows = _rows(attempt, bench)
    if len(rows) <= attempt.n:
        return attempt
    return replace(attempt, score=sum(rows.values()) / len(rows), by_example=dict(rows))
