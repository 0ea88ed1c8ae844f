"""An orderly stop: calls in flight may come in, since they are paid for, and nothing new begins."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Hashable


class Stopping:
    """What is in flight, and whether anything may still begin.

    Work that has begun counts until its reply is on the journal, so its further parts (a judge's
    call about an answer that is there) are let through; everything else waits at the bar until the
    run is cancelled. One event loop at a time.
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
        """A call of this piece of work starts. May be said again."""
        self._in_flight.add(work)

    def end(self, work: Hashable) -> None:
        """What came of it is kept, or it is waiting to be tried again. May be said again."""
        self._in_flight.discard(work)
        if self._asked and not self._in_flight:
            self._empty.set()

    async def bar(self) -> NoReturn:
        """Wait for the end of the run, which cancels."""
        while True:
            await asyncio.get_running_loop().create_future()

    async def settle(self, seconds: float) -> int:
        """Let nothing new begin and wait for what is in flight, so long at most; returns how much is given up."""
        self._asked = True
        if self._in_flight:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), seconds)
        return self.in_flight
