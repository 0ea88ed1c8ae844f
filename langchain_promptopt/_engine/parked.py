"""The engine driven from outside: `propose` hands out cells, and `tell` takes their outcomes.

The run is the same as any other; only its executor differs: it keeps every job until its outcome arrives.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from langchain_promptopt._runtime.concurrency import together
from langchain_promptopt.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from langchain_promptopt.ports import Job
    from langchain_promptopt.types import Cell, Outcome

_SETTLE = 25
"""Turns of the event loop without news after which the engine counts as waiting for cells."""


@dataclass(frozen=True)
class Parked:
    """An open cell: its job, its outcome once it is there, and whether the run has recorded it."""

    job: Job
    outcome: asyncio.Future[Outcome]
    noted: asyncio.Event


@dataclass
class ParkedExecutor:
    """An Executor whose cells are answered by `tell`."""

    parked: dict[Cell, Parked] = field(default_factory=dict)

    async def evaluate(self, jobs: Sequence[Job], done: Callable[[Outcome], Awaitable[None]]) -> None:
        """Park the jobs; `done` is called for each as its outcome arrives, in whatever order that is."""
        loop = asyncio.get_running_loop()
        places = [Parked(job, loop.create_future(), asyncio.Event()) for job in jobs]
        self.parked |= {place.job.cell: place for place in places}
        await together(self._answered(place, done) for place in places)

    async def _answered(self, place: Parked, done: Callable[[Outcome], Awaitable[None]]) -> None:
        try:
            await done(await place.outcome)
        finally:
            self.parked.pop(place.job.cell, None)
            place.noted.set()

    def refuse_unknown(self, cells: Iterable[Cell]) -> None:
        """Raise ConfigError when one of the cells is not open."""
        unknown = [cell for cell in cells if cell not in self.parked]
        if unknown:
            msg = f"{len(unknown)} of the cells were not proposed; the first is {unknown[0]}"
            raise ConfigError(msg, mend="Give outcomes for the cells that propose() returned.")

    async def tell(self, told: Mapping[Cell, Outcome]) -> int:
        """Answer open cells and return when the run has noted them; returns how many others are still open."""
        places = [self.parked.pop(cell) for cell in told]
        left = len(self.parked)
        for place in places:
            place.outcome.set_result(told[place.job.cell])
        for place in places:
            await place.noted.wait()
        return left


async def settled(executor: ParkedExecutor, busy: Callable[[], int], over: Callable[[], bool]) -> None:
    """Return when the engine can do nothing more without outcomes, or has ended.

    Args:
        executor: Holds the open cells.
        busy: How many pieces of work need no outcome to go on.
        over: Whether the engine has ended.
    """
    quiet, seen = 0, -1
    while not over() and quiet < _SETTLE:
        working = busy() > 0 or not executor.parked or len(executor.parked) != seen
        quiet = 0 if working else quiet + 1
        seen = len(executor.parked)
        # the optimizer model takes its time; where nothing works, one turn of the loop is enough
        await asyncio.sleep(0.001 if busy() > 0 or not executor.parked else 0)
