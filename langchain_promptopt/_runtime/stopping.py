"""An orderly stop: calls in flight may finish, since they are paid for, and no new ones begin.

The first Ctrl-C or SIGTERM asks the run to end; the second ends the process at once. Threads of the user's code that
never return do not keep the process alive after the run.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, NoReturn, TypeAlias

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Hashable
    from types import FrameType


class GracefulStop:
    """What is in flight, and whether anything may still begin.

    Work that has begun counts until its reply is in the journal, so its further calls (a judge's, about an answer
    that was paid for) may start. All other calls wait in `bar` until the run is cancelled. For one event loop.
    """

    def __init__(self) -> None:
        self._in_flight: set[Hashable] = set()
        self._asked = False
        self._empty = asyncio.Event()

    @property
    def in_flight(self) -> int:
        """Pieces of work under way: evaluations, and calls of the optimizer model."""
        return len(self._in_flight)

    def lets(self, work: Hashable) -> bool:
        """Whether a call of this piece of work may start now."""
        return not self._asked or work in self._in_flight

    def begin(self, work: Hashable) -> None:
        """A call of this piece of work starts. May be called again."""
        self._in_flight.add(work)

    def end(self, work: Hashable) -> None:
        """Its result is in the journal, or it waits for its next try. May be called again."""
        self._in_flight.discard(work)
        if self._asked and not self._in_flight:
            self._empty.set()

    async def bar(self) -> NoReturn:
        """Wait for the end of the run, which cancels."""
        while True:
            await asyncio.get_running_loop().create_future()

    async def settle(self, seconds: float) -> int:
        """Stop new work and wait up to `seconds` for work in flight; returns how many pieces are given up."""
        self._asked = True
        if self._in_flight:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), seconds)
        return self.in_flight


_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_Handler: TypeAlias = "Callable[[int, FrameType | None], object] | int | signal.Handlers | None"


_AT_A_TERMINAL = 10.0
"""Seconds for calls in flight where a user can press Ctrl-C again."""
_UNATTENDED = 5.0
"""The same elsewhere: GitHub's runner gives a job 7.5 s to end, Docker 10 s, and the run still has to write files."""


def grace(timeout: float | None) -> float:
    """Seconds that calls in flight get after the first signal; never more than a call may take."""
    patience = _AT_A_TERMINAL if sys.stderr is not None and sys.stderr.isatty() else _UNATTENDED
    return patience if timeout is None else min(patience, timeout)


class Cancel:
    """Set by the first signal; `number` says which, 2 for Ctrl-C and 15 for SIGTERM."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._event = asyncio.Event()

    @property
    def requested(self) -> bool:
        """Whether the run should come to an end."""
        return self.number is not None

    def request(self, number: int = signal.SIGINT) -> None:
        """Ask for the end, as the first signal does."""
        if self.number is None:
            self.number = int(number)
        self._event.set()

    async def wait(self) -> int:
        """Return the signal's number once one came."""
        await self._event.wait()
        return int(self.number or signal.SIGINT)


def die_by(number: int) -> None:
    """End this process at once, the way the signal ends one that does not handle it.

    The journal need not be closed: the operating system already has every line of it.
    """
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def leave_within(seconds: float, code: int) -> None:
    """End this process with `code` after `seconds`, unless it ends by itself before.

    Called when the run is done: Python may then still wait for threads that the user's code started.
    """

    def leave() -> None:
        time.sleep(seconds)
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):  # closed, or none
                stream.flush()
        os._exit(code)

    threading.Thread(target=leave, name="promptopt-leave", daemon=True).start()


@asynccontextmanager
async def cancel_on_signals(quit_now: Callable[[int], object] = die_by) -> AsyncIterator[Cancel]:
    """A block in which the first SIGINT or SIGTERM sets the yielded `Cancel`, and the second quits.

    The earlier handlers are put back. Outside the main thread, where Python allows no handlers, the signals keep
    their effect and only `request` sets `Cancel`.
    """
    cancel = Cancel()
    if threading.current_thread() is not threading.main_thread():
        yield cancel
        return
    loop = asyncio.get_running_loop()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if cancel.requested:
            quit_now(number)
        else:
            cancel.number = number  # at once, so that a second signal finds it even when the loop is busy
            loop.call_soon_threadsafe(cancel.request, number)

    before: dict[signal.Signals, _Handler] = {number: signal.signal(number, on_signal) for number in _SIGNALS}
    try:
        yield cancel
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
