"""Every score of a run: what is known, what is under way, and what has to be asked for.

`OutcomeTable` keeps the outcomes by candidate, split and row: whole where evidence is drawn from them,
else as the figures that decisions need, in about a hundred bytes. `Evaluations` asks for what is missing.
`DevScores` is what a scoring strategy may do: evaluate candidates on dev rows, cached and metered.
`Demands` keeps out the candidates that break an example of `must_pass`.
"""

from __future__ import annotations

import asyncio
import math
import struct
from functools import cached_property
from itertools import product
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from langchain_promptopt._collections import pick, present
from langchain_promptopt._runtime.concurrency import together
from langchain_promptopt._runtime.ledger import book
from langchain_promptopt.errors import EvaluatorError, TooManyFailures
from langchain_promptopt.events import Evaluated, Incident, Rejected, ScoredRow
from langchain_promptopt.ports import Job
from langchain_promptopt.protocols import rng_at
from langchain_promptopt.types import (
    BREAKS,
    FULL,
    Candidate,
    Cell,
    Failure,
    Outcome,
    Split,
    Usage,
    broken,
    name_examples,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from random import Random

    from langchain_promptopt._engine.context import Run
    from langchain_promptopt._runtime.ledger import Spending

_USAGE = struct.Struct("<IQQQdd")
_KIND = struct.Struct("<I")
_HEAD = struct.Struct("<IIQQQdd")
"""A kind and a usage: what one call packs and unpacks."""
_SCORES_AT = _HEAD.size
_MOST_CALLS, _MOST_TOKENS = 2**32 - 1, 2**64 - 1
_NO_USAGE = Usage()
Figures: TypeAlias = tuple[int, int, int, int, float, float]
"""Fields of a Usage in their order; not-a-number is an unknown price."""
Spent: TypeAlias = tuple[bool, bool, int, int, int, int, float, float]
"""Whether an outcome failed, whether it was kept from an earlier run, and the figures of its usage."""


class _Kind(NamedTuple):
    """What an outcome shares with many others; there are few of these in a run."""

    names: tuple[str, ...]
    failure: Failure | None
    model_served: str | None
    cached: bool
    tries: int
    judged: bool
    layout: struct.Struct
    dropped: bool


class Packer:
    """Packs outcomes without their answers and comments, and gives back all the rest.

    Numbers of scores and money are kept to the last bit; an unknown price stays unknown.
    """

    def __init__(self) -> None:
        self._kinds: list[_Kind] = []
        self._numbers: dict[tuple[object, ...], int] = {}
        self._layouts: dict[int, struct.Struct] = {}

    def pack(self, outcome: Outcome) -> bytes:
        """The figures of an outcome."""
        scores = outcome.scores
        judge = outcome.judge if outcome.judge.calls else None
        number = self._number(outcome, tuple(scores), judged=judge is not None)
        tail = b"" if judge is None else _USAGE.pack(*figures_of(judge))
        head = _HEAD.pack(number, *figures_of(outcome.usage))
        return head + self._kinds[number].layout.pack(*scores.values()) + tail

    def unpack(self, cell: Cell, packed: bytes) -> Outcome:
        """The outcome of `cell` again: no answer, no comments."""
        kind = self._kinds[_KIND.unpack_from(packed)[0]]
        judge = usage_of(_USAGE.unpack_from(packed, len(packed) - _USAGE.size)) if kind.judged else _NO_USAGE
        return Outcome(
            cell=cell,
            scores=self._scores(kind, packed),
            failure=kind.failure,
            usage=usage_of(_USAGE.unpack_from(packed, _KIND.size)),
            model_served=kind.model_served,
            cached=kind.cached,
            judge=judge,
            tries=kind.tries,
        )

    def scores(self, packed: bytes) -> dict[str, float]:
        """The scores that count: none of a dropped row."""
        kind = self._kinds[_KIND.unpack_from(packed)[0]]
        return {} if kind.dropped else self._scores(kind, packed)

    def spent(self, packed: bytes) -> Spent:
        """Whether it failed, whether it was kept from an earlier run, and the figures of its usage."""
        number, *figures = _HEAD.unpack_from(packed)
        kind = self._kinds[number]
        return (kind.failure is not None, kind.cached, *figures)

    def _scores(self, kind: _Kind, packed: bytes) -> dict[str, float]:
        found = {}
        for name, value in zip(kind.names, kind.layout.unpack_from(packed, _SCORES_AT), strict=True):
            found[name] = 1.0 if value == 1 else value or 0.0  # one object for the scores of most rows
        return found

    def _number(self, outcome: Outcome, names: tuple[str, ...], *, judged: bool) -> int:
        key = (names, outcome.failure, outcome.model_served, outcome.cached, outcome.tries, judged)
        number = self._numbers.get(key)
        if number is None:
            layout = self._layouts.setdefault(len(names), struct.Struct(f"<{len(names)}d"))
            number = self._numbers[key] = len(self._kinds)
            self._kinds.append(
                _Kind(
                    names,
                    outcome.failure,
                    outcome.model_served,
                    outcome.cached,
                    outcome.tries,
                    judged=judged,
                    layout=layout,
                    dropped=outcome.dropped,
                )
            )
        return number


def figures_of(usage: Usage) -> Figures:
    """A usage as plain numbers, each within what its field can hold: an executor of a user may report any number."""
    usd = math.nan if usage.usd is None else usage.usd
    calls, tokens_in, tokens_out, read = usage.calls, usage.input_tokens, usage.output_tokens, usage.cache_read_tokens
    counts = (calls, tokens_in, tokens_out, read)
    for count in counts:
        if type(count) is not int or not 0 <= count <= _MOST_CALLS:
            calls = min(max(0, int(calls)), _MOST_CALLS)
            tokens_in, tokens_out, read = (min(max(0, int(n)), _MOST_TOKENS) for n in counts[1:])
            break
    return calls, tokens_in, tokens_out, read, usd, usage.seconds


def usage_of(figures: Figures) -> Usage:
    """The inverse of `figures_of`."""
    calls, tokens_in, tokens_out, read, usd, seconds = figures
    return Usage(calls, tokens_in, tokens_out, read, None if math.isnan(usd) else usd, seconds)


_Rows: TypeAlias = dict[str, bytes | Outcome]


_NONE: tuple[tuple[()], ...] = ((),) * 8


class Totals(NamedTuple):
    """What several rows add up to. `failures` has those that score 0 and those that are dropped."""

    failures: int
    cached: int
    usage: Usage


class OutcomeTable:
    """Each cell once. Rows of `train`, from which evidence is drawn, whole; of others the figures.

    A row of figures costs about 150 bytes, its name and its place in the table included; answers
    and comments are in the journal.

    Args:
        order: The rows of a split, in their order.
    """

    def __init__(self, order: Callable[[str], Iterable[str]]) -> None:
        self._order = order
        self._packer = Packer()
        self._parts: dict[tuple[str, str], list[_Rows]] = {}
        self._places: dict[str, dict[str, tuple[int, str]]] = {}

    def add(self, outcome: Outcome) -> None:
        """Keep what became of a cell; a later outcome of the same cell counts."""
        cell = outcome.cell
        repeats = self._parts.setdefault((cell.candidate_id, cell.split), [])
        while len(repeats) <= cell.repeat:
            repeats.append({})
        name = self._placed(cell.split)[cell.example_id][1]
        repeats[cell.repeat][name] = outcome if cell.split == "train" else self._packer.pack(outcome)

    def __contains__(self, cell: Cell) -> bool:
        repeats = self._parts.get((cell.candidate_id, cell.split), ())
        return cell.repeat < len(repeats) and cell.example_id in repeats[cell.repeat]

    def __getitem__(self, cell: Cell) -> Outcome:
        return self._whole(cell, self._parts[cell.candidate_id, cell.split][cell.repeat][cell.example_id])

    def count(self, candidate_id: str, split: str) -> int:
        """Outcomes known, repeats included."""
        return sum(map(len, self._parts.get((candidate_id, split), ())))

    def repeats(self, candidate_id: str, split: str) -> int:
        """How often rows were evaluated, at most."""
        return len(self._parts.get((candidate_id, split), ()))

    def ids(self, candidate_id: str, split: str) -> list[str]:
        """Rows with an outcome, in the split's order, whatever the order of replies."""
        repeats = self._parts.get((candidate_id, split), ())
        found = repeats[0].keys() if len(repeats) == 1 else set[str]().union(*repeats)
        placed = self._placed(split)
        if len(found) == len(placed):
            return list(placed)
        return sorted(found, key=placed.__getitem__)

    def outcomes(self, candidate_id: str, split: str, example_id: str) -> list[Outcome]:
        """What is known of one row, in the order of the repeats.

        Args:
            candidate_id: The candidate.
            split: "train", "dev", "val" or "test".
            example_id: The row.
        """
        repeats = self._parts.get((candidate_id, split), ())
        found: list[Outcome] = []
        for n, rows in enumerate(repeats):
            if example_id in rows:
                found.append(self._whole(Cell(candidate_id, split, example_id, n), rows[example_id]))
        return found

    def scores(self, candidate_id: str, split: str) -> Iterator[tuple[str, list[Mapping[str, float]]]]:
        """Rows in the split's order, each with its scores by repeat; a dropped one has none."""
        repeats = self._parts.get((candidate_id, split), ())
        for i in self.ids(candidate_id, split):
            found: list[Mapping[str, float]] = []
            for rows in repeats:
                if i in rows and (scores := self._scores(rows[i])):
                    found.append(scores)
            yield i, found

    def totals(self, candidate_id: str, split: str, only: frozenset[str] | None = None) -> Totals:
        """Failures and usage of all rows known, or of `only` these, added up in the split's order.

        Args:
            candidate_id: The candidate.
            split: "train", "dev", "val" or "test".
            only: Ids of the rows that count; None counts all.
        """
        repeats = self._parts.get((candidate_id, split), ())
        ids = [i for i in self.ids(candidate_id, split) if only is None or i in only]
        # in a fixed order: sums of floats depend on it, and replies arrive in any
        spent = []
        for i in ids:
            for rows in repeats:
                if i in rows:
                    spent.append(self._spent(rows[i]))
        failures, cached, *figures = map(sum, zip(*spent, strict=True) if spent else _NONE)
        calls, tokens_in, tokens_out, read, usd, seconds = figures
        return Totals(failures, cached, usage_of((calls, tokens_in, tokens_out, read, usd, seconds)))

    def _placed(self, split: str) -> dict[str, tuple[int, str]]:
        """Rows by id, with their place and the one string object used for the id everywhere."""
        placed = self._places.get(split)
        if placed is None:
            placed = self._places[split] = {i: (n, i) for n, i in enumerate(self._order(split))}
        return placed

    def _whole(self, cell: Cell, row: bytes | Outcome) -> Outcome:
        return row if isinstance(row, Outcome) else self._packer.unpack(cell, row)

    def _scores(self, row: bytes | Outcome) -> Mapping[str, float]:
        if isinstance(row, bytes):
            return self._packer.scores(row)
        return {} if row.dropped else row.scores

    def _spent(self, row: bytes | Outcome) -> Spent:
        if isinstance(row, bytes):
            return self._packer.spent(row)
        return (row.failure is not None, row.cached, *figures_of(row.usage))


_IN_A_ROW = 10  # failed evaluations that end a run (product contract, guarantee 7)
_FEW = 20
"""Failures are not a rate before this many evaluations."""
UNJUDGED = "evaluator_error"
"""The kind of failure of a row on which an evaluator raised."""


class Evaluations:
    """Cells by identity: none is evaluated twice, however many callers ask for it (G10, O4).

    Args:
        run: The run they belong to.
        known: The evaluations of the same run before it ended; what they hold is not asked for again.
    """

    def __init__(self, run: Run, *, known: Evaluations | None = None) -> None:
        self._run = run
        self._kept: OutcomeTable = OutcomeTable(run.examples) if known is None else known._kept
        self._primary: dict[tuple[str, str], tuple[int, Mapping[str, float]]] = {}
        self._pending: dict[Cell, asyncio.Future[Outcome]] = {}
        self._held: list[Outcome] = []
        self._reported: set[tuple[str, str, int | frozenset[str]]] = set()
        self._streak = self._dropped = self._asked = 0
        self._names = run.baseline.prompts.names

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

        Args:
            candidate: The candidate.
            split: "train", "dev", "val" or "test".
            example_ids: Ids of the rows, in the order of the answer.
            repeats: How often each row is evaluated.
            alone: Whether the report covers these rows only, not all that are known.

        Raises:
            TooManyFailures: Past the failure limits. The dropped rows are not journaled, so a resumed run asks again.
            EvaluatorError: The last failure was an evaluator that raised.
        """
        ids = list(example_ids)
        await self.settle(candidate, split, ids, repeats, alone=alone)
        found: list[Outcome] = []
        for i in ids:
            for r in range(repeats):
                found.append(self._kept[Cell(candidate.id, split, i, r)])
        return found

    async def settle(
        self, candidate: Candidate, split: str, example_ids: Iterable[str], repeats: int = 1, *, alone: bool = False
    ) -> None:
        """As `ensure`, but gives nothing back: the scores are read afterwards.

        Args:
            candidate: The candidate.
            split: "train", "dev", "val" or "test".
            example_ids: Ids of the rows.
            repeats: How often each row is evaluated.
            alone: Whether the report covers these rows only, not all that are known.

        Raises:
            TooManyFailures: As `ensure`.
        """
        ids = list(example_ids)
        await self._settle([(candidate, Cell(candidate.id, split, i, r)) for i, r in product(ids, range(repeats))])
        self._report(candidate, split, frozenset(ids) if alone else None)

    async def ensure_cells(self, wanted: Sequence[tuple[Candidate, Cell]]) -> list[Outcome]:
        """Outcomes of these cells, evaluated in this order where missing."""
        await self._settle(wanted)
        return [self._kept[cell] for _, cell in wanted]

    async def _settle(self, wanted: Sequence[tuple[Candidate, Cell]]) -> None:
        jobs, known = [], self._run.journal.cells
        for candidate, cell in wanted:
            if cell in self._kept or (self._pending and cell in self._pending):
                continue
            if (replayed := known.get(cell)) is not None:
                book(self._run.ledger, self._run.state.step, replayed)
                self._run.again(replayed)
                self._note(replayed)
                self._kept.add(replayed)
                continue
            self._pending[cell] = asyncio.get_running_loop().create_future()
            example = self._run.examples(cell.split)[cell.example_id]
            jobs.append(Job(cell, candidate, example))
        if jobs:
            await self._evaluate(jobs)
        if self._pending:  # cells that another caller asked for before
            await asyncio.gather(*(self._pending[cell] for _, cell in wanted if cell not in self._kept))

    async def _evaluate(self, jobs: list[Job]) -> None:
        try:
            await self._run.executor.evaluate(jobs, self._done)
        except BaseException as error:
            for job in jobs:  # others may wait for these cells; an error that is read here is not logged by asyncio
                future = self._pending.pop(job.cell, None)
                if future is None or future.done():
                    continue
                if isinstance(error, Exception):
                    future.set_exception(error)
                    future.exception()
                else:
                    future.cancel()
            raise
        if self._held and self._streak == self._asked and not self._run.state.rendered:
            raise self._failures_end(self._held[-1])  # not one row was answered: prompts are not to blame
        self._release_held()

    def _note(self, outcome: Outcome) -> None:
        state, failure = self._run.state, outcome.failure
        if failure is None or failure.scored_zero:
            names = self._names if outcome.rendered is None else outcome.rendered
            state.rendered.update(names)
            if outcome.cell.split == "test":
                state.rendered_in_test.update(names)
        if failure is not None and failure.kind == UNJUDGED:
            state.unjudged[failure.message] += 1

    async def _done(self, outcome: Outcome) -> None:
        self._asked += 1
        self._note(outcome)
        if outcome.dropped:
            self._dropped += 1
            self._streak += 1
            self._held.append(outcome)  # not journaled before the batch is over: if it fails, a resumed run asks again
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
        raise self._failures_end(last)

    def _failures_end(self, last: Outcome) -> TooManyFailures | EvaluatorError:
        failure, limit = last.failure, self._run.max_failure_rate
        if failure is not None and failure.kind == UNJUDGED:
            return self._evaluators_raise(last, failure)
        detail = f"{failure.kind}: {failure.message}" if failure else ""
        self._run.emit(Incident(role="task", kind="too_many_failures", retryable=True, action="stop", detail=detail))
        msg = (
            f"{self._dropped} of {self._asked} evaluations failed, the last {self._streak} in a row"
            f" (`max_failure_rate` is {limit:.0%}). Last: {detail}"
        )
        return TooManyFailures(
            msg,
            where=f"example {last.cell.example_id!r}, split {last.cell.split}",
            mend="Check the service, then resume this run; nothing that was answered is paid for again.",
            role="task",
        )

    def _evaluators_raise(self, last: Outcome, failure: Failure) -> EvaluatorError:
        self._run.emit(Incident(role="judge", kind=UNJUDGED, retryable=False, action="stop", detail=failure.message))
        msg = (
            f"an evaluator raised on {sum(self._run.state.unjudged.values())} of {self._asked} evaluations"
            f" (`max_failure_rate` is {self._run.max_failure_rate:.0%}). Last: {failure.message}"
        )
        mend = "Run the evaluator on that example by hand. If an example has nothing to judge, return a score of None."
        return EvaluatorError(msg, where=f"example {last.cell.example_id!r}, split {last.cell.split}", mend=mend)

    def _release_held(self) -> None:
        held, self._held = self._held, []
        for outcome in held:
            failure = outcome.failure
            self._run.emit(ScoredRow.of(outcome))
            self._run.emit(
                Incident(
                    role="judge" if failure and failure.kind == UNJUDGED else "task",
                    kind=failure.kind if failure else "unknown",
                    retryable=failure is None or failure.kind != UNJUDGED,
                    action="example dropped",
                    detail=f"{outcome.cell.split}/{outcome.cell.example_id}: {failure.message if failure else ''}",
                )
            )

    def _report(self, candidate: Candidate, split: str, only: frozenset[str] | None = None) -> None:
        mark = (candidate.id, split, only or self._kept.count(candidate.id, split))
        if mark in self._reported:
            return
        self._reported.add(mark)
        scores = self._values(candidate, split, only)
        totals = self._kept.totals(candidate.id, split, only)
        self._run.emit(
            Evaluated(
                candidate_id=candidate.id,
                split=split,
                n=len(scores),
                score=sum(scores) / len(scores) if scores else 0.0,
                failures=totals.failures,
                cached=totals.cached,
                usage=totals.usage,
            )
        )

    def _values(self, candidate: Candidate, split: str, only: frozenset[str] | None) -> list[float]:
        """Primary scores of all outcomes, or of those of `only` these rows."""
        if self._kept.repeats(candidate.id, split) <= 1:
            means = self.scores(candidate, split)
            return [v for i, v in means.items() if only is None or i in only]
        values = []
        for example_id, repeats in self._kept.scores(candidate.id, split):
            if only is None or example_id in only:
                values += list(map(self._run.objective.value, repeats))
        return present(values)

    def scores(self, candidate: Candidate, split: str) -> Mapping[str, float]:
        """Mean primary score by example id over repeats, dropped rows left out; read-only, later outcomes leave it."""
        count = self._kept.count(candidate.id, split)
        seen, view = self._primary.get((candidate.id, split), (0, _NO_SCORES))
        if seen != count:
            value = self._run.objective.value
            means = {}
            for i, found in self._kept.scores(candidate.id, split):
                if len(found) == 1:
                    if (score := value(found[0])) is not None:
                        means[i] = score
                elif known := present(map(value, found)):
                    means[i] = _mean(known)
            view = MappingProxyType(means)
            self._primary[candidate.id, split] = (count, view)
        return view


_NO_SCORES: Mapping[str, float] = MappingProxyType({})


def _mean(values: list[float]) -> float:
    return values[0] if len(values) == 1 else sum(values) / len(values)


class DevScores:
    """Implements protocols.Bench on the dev split of one run at one step."""

    def __init__(self, run: Run, evaluations: Evaluations, step: int, spending: Spending | None = None) -> None:
        self._run = run
        self._evaluations = evaluations
        self._step = step
        self._spending = spending
        self._withheld: set[str] = set()

    @cached_property
    def examples(self) -> Sequence[str]:
        """Ids of the dev rows in one shared order, drawn once per run."""
        # sorted first, so that the order of the data plays no part
        ids = sorted(self._run.examples("dev"))
        rng_at(self._run.seed, "dev-order").shuffle(ids)
        return tuple(ids)

    def known(self, candidate: Candidate) -> Mapping[str, float]:
        """Primary scores already there, read-only."""
        return self._evaluations.scores(candidate, "dev")

    async def evaluate(self, candidate: Candidate, example_ids: Sequence[str]) -> Mapping[str, float]:
        """Primary scores of these rows, in their order as far as the budget reaches."""
        ids = self._affordable(candidate, example_ids)
        await self._evaluations.settle(candidate, "dev", ids)
        scores = self.known(candidate)
        return pick(scores, ids)

    def withheld(self, candidate: Candidate) -> bool:
        """Whether the budget did not reach for all rows asked of this candidate."""
        return candidate.id in self._withheld

    def _affordable(self, candidate: Candidate, example_ids: Sequence[str]) -> Sequence[str]:
        """Claims are made before anything is awaited, so in the order in which a strategy asks."""
        if self._spending is None:
            return example_ids
        there = set(self._evaluations.ids(candidate, "dev"))
        missing = [i for i in example_ids if i not in there]
        paid = set(missing[: self._spending.claim_part(self._step, cells=len(missing))])
        if len(paid) == len(missing):
            return example_ids
        self._withheld.add(candidate.id)
        return [i for i in example_ids if i in there or i in paid]

    def rng(self, *place: str | int) -> Random:
        """Randomness of this step."""
        return rng_at(self._run.seed, "scoring", self._step, *place)


_DEMANDED: tuple[Split, ...] = ("train", "dev")
"""Splits on which every candidate must pass before it is compared; val follows before the test."""
_CLAIM = "must_pass"
"""Under this name calls for these examples are set aside on the ledger."""


class Demands:
    """`must_pass`: no candidate lives on that gets an example wrong which the baseline gets right.

    Examples that the baseline gets wrong rule out nobody: they are named in the run's remarks.
    """

    def __init__(self, run: Run, evaluations: Evaluations, spending: Spending) -> None:
        self._run = run
        self._evaluations = evaluations
        self._spending = spending
        self._wanted: dict[str, tuple[str, ...]] = {}

    async def learn(self) -> None:
        """Run the baseline on the examples of train and dev: what it gets right must stay right."""
        must, base = self._run.must_pass, self._run.baseline
        if must is None:
            return
        cells = self._missing(base, {split: must.of(split) for split in _DEMANDED})
        if not self._spending.claim(_CLAIM, cells=len(cells)):
            self._remark("the budget does not reach for the examples that must pass, so the test alone looks at them")
            return
        await self._evaluations.ensure_cells(cells)
        self._spending.release(_CLAIM)
        failing = []
        for split in _DEMANDED:
            scores = self._evaluations.scores(base, split)
            self._wanted[split] = tuple(i for i in must.of(split) if scores.get(i, 0.0) >= FULL)
            failing += [i for i in must.of(split) if scores.get(i, 1.0) < FULL]
        if failing:
            self._remark(
                f"the old prompt gets {name_examples(failing)} wrong, which must pass; that rules out no candidate"
            )

    def _remark(self, text: str) -> None:
        self._run.state.remarks += (text,)

    async def kept(self, candidates: Iterable[Candidate]) -> tuple[list[Candidate], dict[str, str]]:
        """Those that break no example of train and dev, in their order, and why each of the others is out.

        Every refusal is journaled. A candidate for whose examples the budget does not reach is out, too.
        """
        listed, out = list(candidates), dict[str, str]()
        if not any(self._wanted.values()):
            return listed, out
        asked = []
        for c in listed:  # claimed in their order before anything is awaited
            cells = self._missing(c, self._wanted)
            if self._spending.claim(_CLAIM, cells=len(cells)):
                asked.append(self._evaluations.ensure_cells(cells))
            else:
                out[c.id] = "the budget does not reach for the examples that must pass"
        await together(asked)
        self._spending.release(_CLAIM)
        for c in listed:
            lost: list[str] = []
            for split, wanted in self._wanted.items():
                lost += self._lost(c, split, wanted)
            if lost and c.id not in out:
                out[c.id] = f"gets {name_examples(lost)} {BREAKS}"
            if c.id in out:
                self._refuse(c, out[c.id])
        return [c for c in listed if c.id not in out], out

    def passes(self, candidate: Candidate, split: str) -> bool:
        """Whether it breaks none of the examples of a split that it and the baseline were run on; journaled if not."""
        lost = self._lost(candidate, split, () if self._run.must_pass is None else self._run.must_pass.of(split))
        if lost:
            self._refuse(candidate, f"gets {name_examples(lost)} {BREAKS}")
        return not lost

    def _lost(self, candidate: Candidate, split: str, wanted: Iterable[str]) -> tuple[str, ...]:
        before = self._evaluations.scores(self._run.baseline, split)
        return broken(wanted, before, self._evaluations.scores(candidate, split))

    def _missing(self, candidate: Candidate, wanted: Mapping[str, Iterable[str]]) -> list[tuple[Candidate, Cell]]:
        found = []
        for split, ids in wanted.items():
            there = set(self._evaluations.ids(candidate, split))
            found += [(candidate, Cell(candidate.id, split, i, 0)) for i in ids if i not in there]
        return found

    def _refuse(self, candidate: Candidate, why: str) -> None:
        parent = candidate.parents[0] if candidate.parents else self._run.baseline.id
        detail = f"candidate {candidate.id} {why}"
        self._run.emit(Rejected(parent_id=parent, step=self._run.state.step, rule="must_pass", detail=detail))
