"""Every score of a run: what is known, what is under way, and what has to be asked for."""

from __future__ import annotations

import asyncio
from types import MappingProxyType
from typing import TYPE_CHECKING

from langchain_promptopt._engine.kept import Kept
from langchain_promptopt._engine.spending import book
from langchain_promptopt.errors import TooManyFailures
from langchain_promptopt.events import Evaluated, Incident, ScoredRow
from langchain_promptopt.ports import Job
from langchain_promptopt.types import Candidate, Cell, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from langchain_promptopt._engine.context import Run

_IN_A_ROW = 10  # product contract, guarantee 7
_FEW = 20
"""Failures are not a rate before this many evaluations."""


class Evaluations:
    """Cells by identity: none is asked for twice, whoever wants it (G10, O4)."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._kept = Kept(run.examples)
        self._primary: dict[tuple[str, str], tuple[int, Mapping[str, float]]] = {}
        self._pending: dict[Cell, asyncio.Future[Outcome]] = {}
        self._held: list[Outcome] = []
        self._reported: set[tuple[str, str, int | frozenset[str]]] = set()
        self._streak = self._dropped = self._asked = 0

    def known(self, candidate: Candidate, split: str) -> dict[str, list[Outcome]]:
        """Outcomes so far by example id, rows in the split's order."""
        return {i: self._kept.outcomes(candidate.id, split, i) for i in self._kept.ids(candidate.id, split)}

    def ids(self, candidate: Candidate, split: str) -> list[str]:
        """Rows with an outcome so far, in the split's order."""
        return self._kept.ids(candidate.id, split)

    async def ensure(
        self, candidate: Candidate, split: str, example_ids: Iterable[str], repeats: int = 1, *, alone: bool = False
    ) -> list[Outcome]:
        """Outcomes of these rows in the order asked; missing ones are evaluated now.

        What is reported covers all rows known so far, or with `alone` these only: where several ask for
        rows of one candidate at once, what else is known by then would be a matter of luck.

        Raises TooManyFailures past the failure limits; the dropped rows are then not journaled,
        so that a resumed run asks for them again.
        """
        ids = list(example_ids)
        await self.settle(candidate, split, ids, repeats, alone=alone)
        return [self._kept[Cell(candidate.id, split, i, r)] for i in ids for r in range(repeats)]

    async def settle(
        self, candidate: Candidate, split: str, example_ids: Iterable[str], repeats: int = 1, *, alone: bool = False
    ) -> None:
        """As `ensure`, for whoever asks for the scores afterwards."""
        ids = list(example_ids)
        await self._settle([(candidate, Cell(candidate.id, split, i, r)) for i in ids for r in range(repeats)])
        self._report(candidate, split, frozenset(ids) if alone else None)

    async def ensure_cells(self, wanted: Sequence[tuple[Candidate, Cell]]) -> list[Outcome]:
        """Outcomes of these cells, evaluated in this order where missing."""
        await self._settle(wanted)
        return [self._kept[cell] for _, cell in wanted]

    async def _settle(self, wanted: Sequence[tuple[Candidate, Cell]]) -> None:
        jobs = []
        for candidate, cell in wanted:
            if cell in self._kept or cell in self._pending:
                continue
            if (replayed := self._run.journal.cells.get(cell)) is not None:
                book(self._run.ledger, self._run.step, replayed)
                self._run.again(replayed)
                self._kept.add(replayed)
                continue
            self._pending[cell] = asyncio.get_running_loop().create_future()
            example = self._run.examples(cell.split)[cell.example_id]
            jobs.append(Job(cell, candidate, example))
        if jobs:
            await self._evaluate(jobs)
        if self._pending:  # somebody else's, asked for before us
            await asyncio.gather(*(self._pending[cell] for _, cell in wanted if cell not in self._kept))

    async def _evaluate(self, jobs: list[Job]) -> None:
        try:
            await self._run.executor.evaluate(jobs, self._done)
        except BaseException as error:
            for job in jobs:
                future = self._pending.pop(job.cell, None)
                if future is not None and not future.done():
                    future.set_exception(error) if isinstance(error, Exception) else future.cancel()
                    future.exception() if future.done() and not future.cancelled() else None
            raise
        self._release_held()

    async def _done(self, outcome: Outcome) -> None:
        self._asked += 1
        if outcome.dropped:
            self._dropped += 1
            self._streak += 1
            self._held.append(outcome)
            self._check_failures(outcome)
        else:
            self._streak = 0
            self._run.emit(ScoredRow.of(outcome))
        self._kept.add(outcome)
        future = self._pending.pop(outcome.cell, None)
        if future is not None and not future.done():
            future.set_result(outcome)

    def _check_failures(self, last: Outcome) -> None:
        limit = self._run.max_failure_rate
        too_many = self._asked >= _FEW and self._dropped > limit * self._asked
        if self._streak < _IN_A_ROW and not too_many:
            return
        failure = last.failure
        detail = f"{failure.kind}: {failure.message}" if failure else ""
        self._run.emit(Incident(role="task", kind="too_many_failures", retryable=True, action="stop", detail=detail))
        msg = (
            f"{self._dropped} of {self._asked} evaluations failed, the last {self._streak} in a row"
            f" (`max_failure_rate` is {limit:.0%}). Last: {detail}"
        )
        raise TooManyFailures(
            msg,
            where=f"row {last.cell.example_id!r}, split {last.cell.split}",
            mend="Check the service, then resume this run; nothing that was answered is paid for again.",
            role="task",
        )

    def _release_held(self) -> None:
        held, self._held = self._held, []
        for outcome in held:
            failure = outcome.failure
            self._run.emit(ScoredRow.of(outcome))
            self._run.emit(
                Incident(
                    role="task",
                    kind=failure.kind if failure else "unknown",
                    retryable=True,
                    action="row dropped",
                    detail=f"{outcome.cell.split}/{outcome.cell.example_id}: {failure.message if failure else ''}",
                )
            )

    def _report(self, candidate: Candidate, split: str, only: frozenset[str] | None = None) -> None:
        mark = (candidate.id, split, only or self._kept.count(candidate.id, split))
        if mark in self._reported:
            return
        self._reported.add(mark)
        scores = self._values(candidate, split, only)
        told = self._kept.totals(candidate.id, split, only)
        self._run.emit(
            Evaluated(
                candidate_id=candidate.id,
                split=split,
                n=len(scores),
                score=sum(scores) / len(scores) if scores else 0.0,
                failures=told.failures,
                cached=told.cached,
                usage=told.usage,
            )
        )

    def _values(self, candidate: Candidate, split: str, only: frozenset[str] | None) -> list[float]:
        """Primary scores of all outcomes, or of those of `only` these rows."""
        if self._kept.repeats(candidate.id, split) <= 1:
            means = self.primary_view(candidate, split)
            return [v for i, v in means.items() if only is None or i in only]
        rows = self._kept.scores(candidate.id, split)
        return [self._run.objective.value(o) for i, found in rows for o in found if only is None or i in only]

    def primary(self, candidate: Candidate, split: str) -> dict[str, float]:
        """Mean primary score by example id over repeats, dropped rows left out; a dict of its own for the caller."""
        return dict(self.primary_view(candidate, split))

    def primary_view(self, candidate: Candidate, split: str) -> Mapping[str, float]:
        """As `primary`, read-only and without a copy; later outcomes do not change it."""
        count = self._kept.count(candidate.id, split)
        seen, view = self._primary.get((candidate.id, split), (0, _NO_SCORES))
        if seen != count:
            value = self._run.objective.value
            means = {
                i: _mean([value(o) for o in found]) for i, found in self._kept.scores(candidate.id, split) if found
            }
            view = MappingProxyType(means)
            self._primary[candidate.id, split] = (count, view)
        return view


_NO_SCORES: Mapping[str, float] = MappingProxyType({})


def _mean(values: list[float]) -> float:
    return values[0] if len(values) == 1 else sum(values) / len(values)
