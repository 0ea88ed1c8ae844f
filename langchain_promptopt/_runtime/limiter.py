"""One limiter per model and endpoint, shared by every role: concurrency, requests and tokens a minute.

It adapts: a 429 halves the concurrency and pauses everybody until the service's Retry-After;
successes bring the concurrency back, one slot a round. Waiters are served in order.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from langchain_promptopt._runtime.failures import classify

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from langchain_promptopt._runtime.clock import Clock

_MINUTE = 60.0
_FIRST_PAUSE = 1.0  # seconds after a 429 that does not say how long
_CLOSE = 1e-9  # rounding of virtual and real clocks


class Bucket:
    """A token bucket that never lets more than `per_minute` through in any 60 seconds.

    Its size is one second's share; size plus the refill of a minute make the limit. A single draw
    larger than the bucket waits for a full one and leaves a debt, so it may exceed by itself alone.
    """

    def __init__(self, per_minute: float, now: float) -> None:
        self.size = max(1.0, per_minute / _MINUTE)
        self.rate = (per_minute - self.size if self.size > 1.0 else per_minute) / _MINUTE
        self.level = self.size
        self.at = now

    def wait(self, amount: float, now: float) -> float:
        """Seconds until `amount` may be drawn."""
        self.level = min(self.size, self.level + (now - self.at) * self.rate)
        self.at = now
        missing = min(amount, self.size) - self.level
        return missing / self.rate if missing > _CLOSE else 0.0

    def draw(self, amount: float) -> None:
        """Take `amount`; negative gives back."""
        self.level = min(self.size, self.level - amount)


class Limiter:
    """Gives out slots; use `async with limiter.slot(estimated_tokens) as slot`. One event loop at a time.

    Args:
        max_concurrency: Calls in flight at most; the adaptive limit moves between 1 and this.
        clock: Time.
        requests_per_minute: Starts in any 60 seconds; None is no limit.
        tokens_per_minute: Estimated tokens, corrected by `slot.used`; None is no limit.
    """

    def __init__(
        self,
        max_concurrency: int,
        clock: Clock,
        *,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
    ) -> None:
        if max_concurrency < 1:
            msg = f"max_concurrency must be at least 1, got {max_concurrency}"
            raise ValueError(msg)
        self.max_concurrency = max_concurrency
        self._clock = clock
        now = clock.time()
        self._requests = Bucket(requests_per_minute, now) if requests_per_minute is not None else None
        self._tokens = Bucket(tokens_per_minute, now) if tokens_per_minute is not None else None
        self._timed = self._requests is not None or self._tokens is not None
        self._allowed = float(max_concurrency)
        self._in_flight = 0
        self._paused_until = 0.0
        self._epoch = 0
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()
        self._timer: asyncio.Task[None] | None = None
        self._wake_at = 0.0

    @property
    def in_flight(self) -> int:
        """Slots out now."""
        return self._in_flight

    @property
    def allowed(self) -> int:
        """The adaptive concurrency limit now."""
        return max(1, int(self._allowed))

    def slot(self, estimated_tokens: int = 0) -> Slot:
        """A slot to enter; waits in line until it is free."""
        return Slot(self, estimated_tokens)

    def slow_down(self, retry_after_s: float | None = None, epoch: int | None = None) -> None:
        """Halve the concurrency and pause all starts. Calls started before the last halving do not halve again."""
        if epoch is None or epoch == self._epoch:
            self._epoch += 1
            self._allowed = max(1.0, self._allowed / 2)
        pause = _FIRST_PAUSE if retry_after_s is None else retry_after_s
        self._paused_until = max(self._paused_until, self._clock.time() + pause)

    def _ready(self, tokens: int) -> float | None:
        """0 to start now, seconds to wait, or None to wait for a slot."""
        if self._in_flight >= max(1, int(self._allowed)):
            return None
        if not self._timed and not self._paused_until:
            return 0.0
        now = self._clock.time()
        wait = self._paused_until - now
        if wait <= _CLOSE:
            wait = self._paused_until = 0.0
        if self._requests is not None:
            wait = max(wait, self._requests.wait(1.0, now))
        if self._tokens is not None:
            wait = max(wait, self._tokens.wait(tokens, now))
        return wait

    def _take(self, tokens: int) -> None:
        self._in_flight += 1
        if self._requests is not None:
            self._requests.draw(1.0)
        if self._tokens is not None:
            self._tokens.draw(tokens)

    async def _acquire(self, tokens: int) -> None:
        if not self._waiting and self._ready(tokens) == 0.0:
            self._take(tokens)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((future, tokens))
        self._serve()
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._release()  # the slot was granted in the moment of the cancellation
            else:
                future.cancel()
                self._serve()
            raise

    def _release(self) -> None:
        self._in_flight -= 1
        if self._waiting:
            self._serve()

    def _serve(self) -> None:
        """Start waiters in order, as many as may; set a timer when only time is missing."""
        while self._waiting:
            future, tokens = self._waiting[0]
            if future.done():
                self._waiting.popleft()
                continue
            wait = self._ready(tokens)
            if wait is None:
                return
            if wait > 0.0:
                self._wake_in(wait)
                return
            self._waiting.popleft()
            self._take(tokens)
            future.set_result(None)

    def _wake_in(self, seconds: float) -> None:
        when = self._clock.time() + seconds
        if self._timer is not None and not self._timer.done():
            if self._wake_at <= when + _CLOSE:
                return
            self._timer.cancel()
        self._wake_at = when
        self._timer = asyncio.get_running_loop().create_task(self._tick(seconds))

    async def _tick(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._timer = None
        self._serve()

    def _succeeded(self) -> None:
        if self._allowed < self.max_concurrency:
            self._allowed = min(float(self.max_concurrency), self._allowed + 1.0 / self._allowed)


class Slot:
    """Leave for one call. Leaving it on a rate limit slows the limiter down; on success it recovers."""

    __slots__ = ("_epoch", "_estimate", "_limiter")

    def __init__(self, limiter: Limiter, estimated_tokens: int) -> None:
        self._limiter = limiter
        self._estimate = estimated_tokens
        self._epoch = 0

    async def __aenter__(self) -> Slot:
        await self._limiter._acquire(self._estimate)
        self._epoch = self._limiter._epoch
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        limiter = self._limiter
        if error is None:
            limiter._succeeded()
        elif isinstance(error, Exception) and (verdict := classify(error)).kind == "rate_limited":
            limiter.slow_down(verdict.retry_after_s, self._epoch)
        limiter._release()

    def used(self, tokens: int) -> None:
        """Correct the estimate by what the call really used."""
        if self._limiter._tokens is not None:
            self._limiter._tokens.draw(tokens - self._estimate)
        self._estimate = tokens


class Limiters:
    """One limiter for each model and endpoint, made on first use and shared by all roles."""

    def __init__(self, make: Callable[[str, str], Limiter]) -> None:
        self._make = make
        self._made: dict[tuple[str, str], Limiter] = {}

    def of(self, model_id: str, endpoint: str = "") -> Limiter:
        """The limiter of this model at this endpoint."""
        key = (model_id, endpoint)
        if key not in self._made:
            self._made[key] = self._make(model_id, endpoint)
        return self._made[key]
