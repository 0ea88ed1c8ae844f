"""Time as an argument, so that retries, limits and budgets are tested without waiting."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager


class Clock(Protocol):
    """The time in seconds, and two ways to wait."""

    def time(self) -> float:
        """Seconds since some fixed moment; never runs backwards."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return once that many seconds have passed."""
        ...

    def timeout(
        self, seconds: float | None, heard: Callable[[], float] | None = None
    ) -> AbstractAsyncContextManager[Any]:
        """A block that is cancelled, and raises TimeoutError, when it takes longer.

        Args:
            seconds: The limit; None is no limit.
            heard: The time of the last sign of life, from which the limit counts; None counts from the start.
        """
        ...


class RealClock:
    """The clock of this machine."""

    def time(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep on the running event loop."""
        await asyncio.sleep(seconds)

    def timeout(
        self, seconds: float | None, heard: Callable[[], float] | None = None
    ) -> AbstractAsyncContextManager[Any]:
        """The event loop's own timeout, which starts anew with each sign of life."""
        if seconds is None or heard is None:
            return asyncio.timeout(seconds)
        return _Silence(self.time, self._later, seconds, heard)

    def _later(self, seconds: float, call: Callable[[], None]) -> Callable[[], None]:
        return asyncio.get_running_loop().call_later(seconds, call).cancel


_SETTLE = 20  # turns of the event loop for other tasks before virtual time moves


class FakeClock:
    """Virtual time for one event loop: when all tasks wait, it jumps to the time of the next sleeper.

    Sleepers wake in the order of their times. Timeouts fire when time passes them but do not move it, so a block
    that does real work is not timed out.

    >>> clock = FakeClock()
    >>> asyncio.run(clock.sleep(3600))
    >>> clock.time()
    3600.0
    """

    def __init__(self, start: float = 0.0) -> None:
        self._now = float(start)
        self._order = itertools.count()
        self._queue: list[tuple[float, int, bool, Callable[[], None]]] = []
        self._pump: asyncio.Task[None] | None = None
        self.slept: list[float] = []
        """The arguments of `sleep`, in order."""

    def time(self) -> float:
        """The virtual now."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Wait in virtual time."""
        self.slept.append(seconds)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._at(self._now + max(0.0, seconds), lambda: None if future.done() else future.set_result(None))
        self._start_pump()
        await future

    def timeout(
        self, seconds: float | None, heard: Callable[[], float] | None = None
    ) -> AbstractAsyncContextManager[Any]:
        """A timeout in virtual time."""
        if seconds is not None and heard is not None:
            return _Silence(self.time, self._later, seconds, heard)
        limit = asyncio.timeout(None)
        if seconds is not None:
            self._at(self._now + seconds, lambda: _expire(limit), passive=True)
        return limit

    def _later(self, seconds: float, call: Callable[[], None]) -> Callable[[], None]:
        wanted = [True]
        self._at(self._now + seconds, lambda: call() if wanted else None, passive=True)
        return wanted.clear

    def advance(self, seconds: float) -> None:
        """Move time by hand, waking all sleepers whose time has come."""
        self._move(self._now + seconds)

    def _at(self, when: float, wake: Callable[[], None], *, passive: bool = False) -> None:
        heapq.heappush(self._queue, (when, next(self._order), passive, wake))

    def _move(self, to: float) -> None:
        while self._queue and self._queue[0][0] <= to:
            when, _, _, wake = heapq.heappop(self._queue)
            self._now = max(self._now, when)
            wake()
        self._now = max(self._now, to)

    def _start_pump(self) -> None:
        if self._pump is None or self._pump.done():
            self._pump = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        """Move to each sleeper's time in turn, and let all other tasks run before the next."""
        while any(not passive for _, _, passive, _ in self._queue):
            for _ in range(_SETTLE):
                await asyncio.sleep(0)
            if self._queue:
                self._move(self._queue[0][0])


_CLOSE = 1e-6  # rounding of times


class _Silence:
    """A block that is cancelled once nothing was heard for so long; the timer looks when that may be.

    Args:
        now: The time.
        later: Calls something after so many seconds, and gives what forgets it.
        seconds: The limit.
        heard: The time of the last sign of life.
    """

    def __init__(
        self,
        now: Callable[[], float],
        later: Callable[[float, Callable[[], None]], Callable[[], None]],
        seconds: float,
        heard: Callable[[], float],
    ) -> None:
        self._now, self._later, self._seconds, self._heard = now, later, seconds, heard
        self._limit = asyncio.timeout(None)

    async def __aenter__(self) -> asyncio.Timeout:
        self._began = self._now()
        await self._limit.__aenter__()
        self._forget = self._later(self._seconds, self._look)
        return self._limit

    async def __aexit__(self, *raised: Any) -> None:
        self._forget()
        await self._limit.__aexit__(*raised)

    def _look(self) -> None:
        left = max(self._began, self._heard()) + self._seconds - self._now()
        if left > _CLOSE:
            self._forget = self._later(left, self._look)
        else:
            _expire(self._limit)


def _expire(limit: asyncio.Timeout) -> None:
    try:
        limit.reschedule(asyncio.get_running_loop().time())
    except RuntimeError:
        return  # the block has ended, or was never entered
