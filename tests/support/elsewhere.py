"""A run of a configuration up to its executor, so that conformance classes can be held against executors elsewhere."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from langchain_promptopt.config import config_from_dict
from langchain_promptopt.optimizer.plan import make_plan
from langchain_promptopt.optimizer.wiring import assemble, evaluate_here
from langchain_promptopt.pipeline import CellWorker, WorkerLost, prepare
from langchain_promptopt.ports import Job
from langchain_promptopt.types import Cell

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Opened:
    """A run with an executor elsewhere, the baseline on its rows as jobs, and what this process finds for them."""

    executor: Any
    jobs: list[Job]
    expected: list[Any]


@contextmanager
def opened(config: dict[str, Any], root: Path, elsewhere: Any, splits: tuple[str, ...] = ("dev",)) -> Iterator[Opened]:
    """The run that `run_step(config, root=root, shards=elsewhere)` would make, which is not begun."""
    prepared = [prepare(config_from_dict(config, root=root)) for _ in range(2)]
    with_it, alone = (
        asyncio.run(make_plan(p.task, replace(p.settings, runs_dir=None, executor=executor)))
        for p, executor in zip(prepared, (elsewhere, None), strict=True)
    )
    base = with_it.baseline
    jobs = [Job(Cell(base.id, s, e.id), base, e) for s in splits for e in with_it.data[s]]
    if hasattr(elsewhere, "on_event"):
        elsewhere.on_event(with_it.started)
    ready, local = assemble(with_it), assemble(alone)
    try:
        yield Opened(ready.run.executor, jobs, asyncio.run(evaluate_here(local, jobs)))
    finally:
        ready.close()
        local.close()
        with_it.close()
        alone.close()


class ThreadWorker:
    """A `Worker` on a thread of this process.

    `kill`, called on the run's loop, ends it as a kill would: what it was asked is never answered.
    """

    def __init__(self, config: dict[str, Any], root: Path) -> None:
        self._cells = CellWorker(config, root)
        self._dead = False
        self._deaths: set[asyncio.Future[None]] = set()
        self.asked: list[dict[str, Any]] = []

    async def call(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._dead:
            raise WorkerLost("killed")
        self.asked.append(request)
        answer, death = asyncio.ensure_future(self._cells.call(request)), asyncio.get_running_loop().create_future()
        self._deaths.add(death)
        try:
            await asyncio.wait([answer, death], return_when=asyncio.FIRST_COMPLETED)
            if death.done():
                raise WorkerLost("killed")
            return await answer
        finally:
            self._deaths.discard(death)
            answer.cancel()

    def kill(self) -> None:
        self._dead = True
        for death in self._deaths:
            death.set_result(None)

    def stop(self) -> None:
        self._cells.close()
