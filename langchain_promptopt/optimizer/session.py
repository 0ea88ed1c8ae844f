"""`PromptOptimizer`, the optimizer as a Runnable, and its `Session`: a run driven from outside.

In a session the caller evaluates, and the engine decides (product contract, 3 and 10.6).

`propose` hands out cells, and `tell` takes their outcomes. The run is the same as any other; only its executor
differs: it keeps every job until its outcome arrives. Cells and outcomes travel as JSON; what they cost counts on
this run's ledger.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from langchain_core.runnables import Runnable, RunnableConfig

from langchain_promptopt._runtime.concurrency import run_sync, together
from langchain_promptopt._runtime.ledger import book
from langchain_promptopt.errors import ConfigError
from langchain_promptopt.optimizer.arguments import Arguments, refuse_unknown, settings_of
from langchain_promptopt.optimizer.plan import Plan, make_plan
from langchain_promptopt.optimizer.remote import jobs_json, outcomes_from_json
from langchain_promptopt.optimizer.run import concluded, engine_work, run_task
from langchain_promptopt.optimizer.wiring import Assembled, assemble

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence

    from langchain_promptopt.optimizer.arguments import Settings, Task
    from langchain_promptopt.optimizer.result import Result
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
        places = list(map(self.parked.pop, told))
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


# ---------------------------------------------------------------- the session


T = TypeVar("T")


class Session:
    """`propose()` returns the cells that are open and changes nothing; `tell(outcomes)` answers them.

    The engine runs on a thread of its own between the two calls. With `runs_dir` set, a session in
    another process takes up where the journal ends. Use it as a context manager, or call `close`.
    When the last outcome is in, the chain is changed as `optimize` would change it.
    """

    def __init__(self, chain: Any, settings: Settings) -> None:
        # A loop of its own, so that callers with and without a running loop can use a session.
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="promptopt-session", daemon=True)
        self._thread.start()
        self._executor = ParkedExecutor()
        self._offered: tuple[Job, ...] | None = None
        self._ended: asyncio.Task[Result] | None = None
        self._paid_here: set[Cell] = set()
        self._told: set[Cell] = set()
        try:
            self._plan, self._ready = self._on_loop(self._opened(chain, settings))
        except BaseException:
            self._stop()
            raise

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self._plan.run_id

    def propose(self) -> tuple[Job, ...]:
        """The open cells, each with its candidate and example; () when the run is over. The same until `tell`."""
        if self._offered is None:
            self._on_loop(self._advance())
            self._offered = tuple(place.job for place in self._executor.parked.values())
        return self._offered

    def tell(self, outcomes: Iterable[Outcome]) -> int:
        """Bring outcomes of proposed cells, all or some, in any order; returns how many are still open.

        On return they are journaled, so they survive the death of this process. An outcome that is known
        already is passed over, so it is safe to tell it again. Cells that `propose` did not give raise
        ConfigError.
        """
        self.propose()  # what a process before this one handed out is open here too
        fresh = {}
        for outcome in outcomes:
            if not self._known(outcome.cell):
                fresh[outcome.cell] = outcome
        left = self._on_loop(self._take(fresh))
        self._offered = None
        return left

    def evaluate(self, jobs: Iterable[Job]) -> list[Outcome]:
        """Outcomes of these cells, evaluated here as the engine itself would."""
        from langchain_promptopt.optimizer.wiring import evaluate_here

        outcomes = self._on_loop(evaluate_here(self._ready, list(jobs)))
        self._paid_here |= {o.cell for o in outcomes}
        return outcomes

    def propose_json(self) -> list[dict[str, Any]]:
        """`propose()` as plain JSON values, for workers that call `evaluate_cells`."""
        return jobs_json(self.propose(), self.run_id)

    def tell_json(self, outcomes: Iterable[Mapping[str, Any]]) -> int:
        """`tell` for what `evaluate_cells` returned."""
        return self.tell(outcomes_from_json(outcomes))

    def result(self) -> Result:
        """The result, once `propose()` returned ()."""
        if self._ended is None or not self._ended.done():
            msg = "the run is not over: propose() still gives cells"
            raise RuntimeError(msg)
        return self._ended.result()

    def close(self) -> None:
        """Stop; what was told is journaled, and another session can go on from there."""
        if not self._loop.is_running():
            return
        self._on_loop(self._cancel())
        self._ready.close()
        self._on_loop(self._plan.aclose())
        self._stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _opened(self, chain: Any, settings: Settings) -> tuple[Plan, Assembled]:
        plan = await make_plan(chain, settings)
        try:
            return plan, assemble(plan, executor=self._executor)
        except BaseException:
            await plan.aclose()
            raise

    def _known(self, cell: Cell) -> bool:
        return cell in self._told or cell in self._ready.journal.cells

    async def _take(self, told: Mapping[Cell, Outcome]) -> int:
        """Calls made elsewhere count on the budget like our own, before anything is decided with them."""
        self._executor.refuse_unknown(told)
        run, redaction = self._ready.run, self._plan.redaction
        kept = dict(told)
        for cell, outcome in told.items():
            if cell not in self._paid_here:
                book(run.ledger, run.state.step, outcome)
                kept[cell] = outcome if redaction is None else redaction.outcome(outcome)
        self._told |= told.keys()
        return await self._executor.tell(kept)

    async def _advance(self) -> None:
        if self._ended is None:
            work = engine_work(self._plan, self._ready, {})
            self._ended = asyncio.create_task(concluded(self._plan, self._ready, work))
        ended = self._ended
        await settled(self._executor, lambda: self._ready.run.state.busy, ended.done)
        if ended.done() and ended.exception() is not None:
            await ended

    async def _cancel(self) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.cancel()
            await asyncio.gather(self._ended, return_exceptions=True)

    def _on_loop(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class PromptOptimizer(Runnable[Any, Any]):
    """An optimizer with its settings; give it a chain (or {"chain": ..., "data": ...}) and get a Result.

    Args:
        **settings: The arguments of `optimize` except the chain; an input's own entries win over them.
    """

    def __init__(self, **settings: Unpack[Arguments]) -> None:
        refuse_unknown(settings, Arguments.__annotations__, where="PromptOptimizer()")
        self._settings = settings

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Result:  # noqa: A002, ARG002
        """Optimize a chain.

        Args:
            input: The chain, or {"chain": chain, ...} with further arguments of `optimize`.
            config: Its callbacks get the decision trace.
            **kwargs: Taken for the Runnable interface, and not used.

        Raises:
            PromptOptError: As `optimize`.
        """
        return run_sync(lambda: self.ainvoke(input, config))

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Result:  # noqa: A002, ARG002
        """Optimize a chain on the running event loop.

        Args:
            input: The chain, or {"chain": chain, ...} with further arguments of `optimize`.
            config: Its callbacks get the decision trace.
            **kwargs: Taken for the Runnable interface, and not used.

        Raises:
            PromptOptError: As `optimize`.
        """
        chain, settings = self._read(input)
        return await run_task(chain, settings_of(settings, where="PromptOptimizer()"), config)

    def session(self, chain: Task, **settings: Unpack[Arguments]) -> Session:
        """A run whose evaluations are made by the caller: `propose()` gives cells, `tell()` takes outcomes."""
        return Session(chain, settings_of({**self._settings, **settings}, where="session()"))

    def _read(self, value: Any) -> tuple[Any, dict[str, Any]]:
        if not isinstance(value, Mapping):
            return value, {**self._settings}
        given = dict(value)
        if "chain" not in given:
            msg = "the input names no chain"
            raise ConfigError(msg, mend='Give the chain itself, or {"chain": chain, "data": ...}.')
        chain = given.pop("chain")
        return chain, {**self._settings, **given}
