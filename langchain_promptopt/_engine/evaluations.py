"""Every score of a run: what is known, what is under way, and what has to be asked for."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from langchain_promptopt._engine.spending import book
from langchain_promptopt.errors import TooManyFailures
from langchain_promptopt.events import Evaluated, Incident, ScoredRow
from langchain_promptopt.ports import Job
from langchain_promptopt.types import Candidate, Cell, Outcome, Usage

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
        self._known: dict[Cell, Outcome] = {}
        self._rows: dict[tuple[str, str], dict[str, list[Outcome]]] = {}
        self._places: dict[str, dict[str, int]] = {}
        self._primary: dict[tuple[str, str], tuple[int, dict[str, float]]] = {}
        self._counts: Counter[tuple[str, str]] = Counter()
        self._pending: dict[Cell, asyncio.Future[Outcome]] = {}
        self._held: list[Outcome] = []
        self._reported: set[tuple[str, str, int | frozenset[str]]] = set()
        self._streak = self._dropped = self._asked = 0

    def known(self, candidate: Candidate, split: str) -> dict[str, list[Outcome]]:
        """Outcomes so far by example id."""
        found = self._rows.get((candidate.id, split), {})
        if len(found) > 1:  # rows in the split's order, whatever the order of replies
            found = dict(sorted(found.items(), key=lambda item: self._place(split, item[0])))
        return {i: rows if len(rows) == 1 else sorted(rows, key=lambda o: o.cell.repeat) for i, rows in found.items()}

    def _place(self, split: str, example_id: str) -> int:
        places = self._places.get(split)
        if places is None:
            places = self._places[split] = {i: n for n, i in enumerate(self._run.examples(split))}
        return places[example_id]

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
        out = await self.ensure_cells(
            [(candidate, Cell(candidate.id, split, i, r)) for i in ids for r in range(repeats)]
        )
        self._report(candidate, split, frozenset(ids) if alone else None)
        return out

    async def ensure_cells(self, wanted: Sequence[tuple[Candidate, Cell]]) -> list[Outcome]:
        """Outcomes of these cells, evaluated in this order where missing."""
        jobs = []
        for candidate, cell in wanted:
            if cell in self._known or cell in self._pending:
                continue
            if (replayed := self._run.journal.cells.get(cell)) is not None:
                book(self._run.ledger, self._run.step, replayed)
                self._keep(replayed)
                continue
            self._pending[cell] = asyncio.get_running_loop().create_future()
            example = self._run.examples(cell.split)[cell.example_id]
            jobs.append(Job(cell, candidate, example))
        if jobs:
            await self._evaluate(jobs)
        waiting = [self._pending[cell] for _, cell in wanted if cell not in self._known]
        if waiting:
            await asyncio.gather(*waiting)
        return [self._known[cell] for _, cell in wanted]

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
            self._remember(outcome)
        else:
            self._streak = 0
            self._keep(outcome)
        future = self._pending.pop(outcome.cell, None)
        if future is not None and not future.done():
            future.set_result(outcome)

    def _keep(self, outcome: Outcome) -> None:
        self._run.emit(ScoredRow.of(outcome))
        self._remember(outcome)

    def _remember(self, outcome: Outcome) -> None:
        """Outputs stay in memory only where evidence is drawn from; the journal has them all."""
        cell = outcome.cell
        kept = outcome if cell.split == "train" else _lean(outcome)
        self._known[cell] = kept
        self._rows.setdefault((cell.candidate_id, cell.split), {}).setdefault(cell.example_id, []).append(kept)
        self._counts[cell.candidate_id, cell.split] += 1

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
        known = self.known(candidate, split).items()
        rows = [o for i, found in known for o in found if only is None or i in only]
        mark = (candidate.id, split, only or len(rows))
        if mark in self._reported:
            return
        self._reported.add(mark)
        scores = [self._run.objective.value(o.scores) for o in rows if not o.dropped]
        self._run.emit(
            Evaluated(
                candidate_id=candidate.id,
                split=split,
                n=len(scores),
                score=sum(scores) / len(scores) if scores else 0.0,
                failures=sum(o.failure is not None for o in rows),
                cached=sum(o.cached for o in rows),
                usage=sum((o.usage for o in rows), Usage()),
            )
        )

    def primary(self, candidate: Candidate, split: str) -> dict[str, float]:
        """Mean primary score by example id over repeats, dropped rows left out."""
        rows = self._counts.get((candidate.id, split), 0)
        seen, out = self._primary.get((candidate.id, split), (0, {}))
        if seen != rows:
            out = {}
            for example_id, found in self.known(candidate, split).items():
                values = [self._run.objective.value(o.scores) for o in found if not o.dropped]
                if values:
                    out[example_id] = sum(values) / len(values)
            self._primary[candidate.id, split] = (rows, out)
        return dict(out)


_NOTHING = Usage()
_SILENT: Mapping[str, str] = {}


def _lean(outcome: Outcome) -> Outcome:
    """What decisions need: no answer, no comments, and shared values for what is mostly empty."""
    judge = outcome.judge if outcome.judge.calls else _NOTHING
    return replace(outcome, output=None, comments=_SILENT, judge=judge)
