"""Conformance classes of port 2, executors: in one process, in shards, and on workers that may end at any time.

    class TestMine(ExecutorTests):
        @pytest.fixture
        def executor(self):
            return Mine()

        @pytest.fixture
        def jobs(self): ...  # cells that it can answer

Give `WorkersTests` the engine's `Workers` as well, and jobs enough, or slow enough, that a worker can be killed among
them.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from langchain_promptopt.ports import Executor, Job
from langchain_promptopt.testing.samples import sample_candidate, sample_examples
from langchain_promptopt.types import Cell, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence


@dataclass
class Told:
    """Takes outcomes, as the engine does."""

    outcomes: list[Outcome] = field(default_factory=list)

    async def __call__(self, outcome: Outcome) -> None:
        """Note one."""
        self.outcomes.append(outcome)

    @property
    def cells(self) -> list[Cell]:
        """Their cells, sorted."""
        return sorted(o.cell for o in self.outcomes)


def cells_of(jobs: Sequence[Job]) -> list[Cell]:
    """The cells of jobs, sorted."""
    return sorted(job.cell for job in jobs)


def timeless(outcomes: Sequence[Outcome]) -> dict[Cell, Outcome]:
    """Outcomes by cell, without the seconds that they took."""
    found = {}
    for o in outcomes:
        usage, judge = (replace(used, seconds=0.0) for used in (o.usage, o.judge))
        found[o.cell] = replace(o, usage=usage, judge=judge)
    return found


class ExecutorTests:
    """Laws of port 2."""

    @pytest.fixture
    def executor(self) -> Executor:
        """The port under test, able to answer `jobs`."""
        raise NotImplementedError

    @pytest.fixture
    def jobs(self) -> Sequence[Job]:
        """Cells to run, two at least; override where the port needs others."""
        candidate = sample_candidate(0)
        found = []
        for e in sample_examples(5):
            found.append(Job(Cell(candidate.id, "train", e.id), candidate, e))
        return found

    @pytest.fixture
    def expected(self) -> Sequence[Outcome] | None:
        """What this process finds for the jobs, where the port runs them elsewhere; None compares nothing."""
        return None

    def on_a_loop(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `work()` on an event loop; override where the port needs surroundings, such as a flow."""
        asyncio.run(work())

    def found(self, executor: Executor, jobs: Sequence[Job]) -> list[Outcome]:
        """The outcomes of the jobs, in the order in which they came."""
        told = Told()
        self.on_a_loop(lambda: executor.evaluate(jobs, told))
        return told.outcomes

    def test_each_job_is_done_once(self, executor: Executor, jobs: Sequence[Job]) -> None:
        """In any order; every outcome is for the cell it was asked for."""
        seen = self.found(executor, jobs)
        assert sorted(o.cell for o in seen) == cells_of(jobs)
        assert all(o.scores or o.failure for o in seen)
        assert isinstance(executor, Executor)

    def test_nothing_to_do_is_nothing_done(self, executor: Executor) -> None:
        """No job, no call."""
        assert self.found(executor, []) == []

    def test_outcomes_are_those_of_this_process(
        self, executor: Executor, jobs: Sequence[Job], expected: Sequence[Outcome] | None
    ) -> None:
        """Answer, scores, comments, failure and usage do not depend on where a cell is run; the seconds may."""
        first = timeless(self.found(executor, jobs))
        assert timeless(self.found(executor, jobs)) == first
        assert first == (first if expected is None else timeless(expected))

    def test_what_done_raises_ends_it(self, executor: Executor, jobs: Sequence[Job]) -> None:
        """The engine stops a run this way: the error comes through, and nothing is done after it."""
        told = Told()

        async def done(outcome: Outcome) -> None:
            await told(outcome)
            msg = "enough"
            raise ArithmeticError(msg)

        async def work() -> None:
            with pytest.raises(ArithmeticError, match="enough"):
                await executor.evaluate(jobs, done)
            before = len(told.outcomes)
            await asyncio.sleep(0.05)
            assert len(told.outcomes) == before

        self.on_a_loop(work)
        assert len(self.found(executor, jobs)) == len(jobs)

    def test_calls_side_by_side_do_not_mix(self, executor: Executor, jobs: Sequence[Job]) -> None:
        """The engine asks for several candidates at once: each call gets the outcomes of its own jobs."""
        half = len(jobs) // 2
        parts, told = (jobs[:half], jobs[half:]), (Told(), Told())

        async def work() -> None:
            await asyncio.gather(*(executor.evaluate(part, one) for part, one in zip(parts, told, strict=True)))

        self.on_a_loop(work)
        assert [one.cells for one in told] == list(map(cells_of, parts))

    def test_a_cancelled_call_does_nothing_more(self, executor: Executor, jobs: Sequence[Job]) -> None:
        """A run that is stopped cancels: no outcome comes after that, and a later call is answered."""
        told = Told()

        async def work() -> None:
            evaluating = asyncio.ensure_future(executor.evaluate(jobs, told))
            await asyncio.sleep(0)
            evaluating.cancel()
            with suppress(asyncio.CancelledError):
                await evaluating
            before = len(told.outcomes)
            await asyncio.sleep(0.05)
            assert len(told.outcomes) == before

        self.on_a_loop(work)
        assert len(self.found(executor, jobs)) == len(jobs)


class WorkersTests(ExecutorTests):
    """Laws of port 2 for executors whose cells run in the worker processes of an engine."""

    @pytest.fixture
    def workers(self) -> Any:
        """The engine's `Workers`, two at least, in processes of this machine."""
        raise NotImplementedError

    def killed(self, executor: Executor, jobs: Sequence[Job], workers: Any, most: int) -> tuple[list[Outcome], int]:
        """The outcomes of a call during which workers were killed, and how many of these are gone.

        Args:
            executor: The port under test.
            jobs: What is run.
            workers: Where it is run.
            most: How many workers are killed at most, after the first outcome.
        """
        told, dead = Told(), set()

        async def work() -> None:
            there = {found["pid"] for found in await workers.hello()}
            assert os.getpid() not in there

            async def done(outcome: Outcome) -> None:
                await told(outcome)
                for pid in sorted(there)[:most] if len(told.outcomes) == 1 else ():
                    os.kill(pid, signal.SIGKILL)
                    dead.add(pid)

            await executor.evaluate(jobs, done)
            left = await workers.hello()
            assert len(left) == len(there)
            dead.difference_update(found["pid"] for found in left)

        self.on_a_loop(work)
        return told.outcomes, len(dead)

    @pytest.mark.parametrize("most", [1, 2], ids=["one", "all"])
    def test_a_killed_worker_loses_no_cell(
        self, executor: Executor, jobs: Sequence[Job], workers: Any, most: int
    ) -> None:
        """Each job is done once, none as a failure, and another worker takes the place of each that was killed."""
        seen, gone = self.killed(executor, jobs, workers, most)
        assert gone == most
        assert sorted(o.cell for o in seen) == cells_of(jobs)
        assert [o.failure for o in seen if o.failure is not None] == []
        assert max(o.tries for o in seen) > 1
