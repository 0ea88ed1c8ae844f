"""The engine driven from outside: cells are handed out by `propose` and come back by `tell`.

The engine itself makes the same two calls; here its executor parks every job until somebody
brings the outcome, so a run driven this way is the same run.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from langchain_promptopt.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from langchain_promptopt.protocols import Job
    from langchain_promptopt.types import Cell, Outcome

_SETTLE = 25
"""Turns of the event loop without news after which the engine counts as waiting for cells."""


@dataclass
class ParkedExecutor:
    """An Executor whose cells are answered by `tell`."""

    parked: dict[Cell, tuple[Job, asyncio.Future[Outcome]]] = field(default_factory=dict)

    async def evaluate(self, jobs: Sequence[Job], done: Callable[[Outcome], Awaitable[None]]) -> None:
        """Park the jobs; `done` is called in their order as outcomes arrive."""
        loop = asyncio.get_running_loop()
        waiting = []
        for job in jobs:
            future: asyncio.Future[Outcome] = loop.create_future()
            self.parked[job.cell] = (job, future)
            waiting.append(future)
        for future in waiting:
            await done(await future)

    def tell(self, outcomes: Iterable[Outcome]) -> int:
        """Answer parked cells; returns how many are still open. An unknown cell is refused, nothing is taken then."""
        told = list(outcomes)
        unknown = [o.cell for o in told if o.cell not in self.parked]
        if unknown:
            msg = f"{len(unknown)} of the cells told were not proposed, the first is {unknown[0]}"
            raise ConfigError(msg, mend="Tell outcomes of the cells that propose() returned, each once.")
        for outcome in told:
            _, future = self.parked.pop(outcome.cell)
            if not future.done():
                future.set_result(outcome)
        return len(self.parked)


async def settled(executor: ParkedExecutor, busy: Callable[[], int], over: Callable[[], bool]) -> None:
    """Return when the engine can do nothing more without outcomes, or has ended."""
    quiet, seen = 0, -1
    while not over() and quiet < _SETTLE:
        working = busy() > 0 or not executor.parked or len(executor.parked) != seen
        quiet = 0 if working else quiet + 1
        seen = len(executor.parked)
        await asyncio.sleep(0.001 if busy() > 0 else 0)
