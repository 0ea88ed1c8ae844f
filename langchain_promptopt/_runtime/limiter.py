"""Limits of concurrency, requests and tokens a minute: one limiter for each model and endpoint, shared by all roles.

A 429 halves the concurrency and pauses all calls for the service's Retry-After, or, without one, for a moment that
doubles until a call succeeds. Successes raise the concurrency again, by one slot a round. Calls are served in order.
The requests and tokens of a call are estimated from earlier calls and corrected when it ends. A role's calls pass
the limiters of all its models, and a ceiling over all roles.

An endpoint on this machine or network may answer one call after the other. A call there is not hung while one that
began before it is in flight, and after a time-out the next calls may take longer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from langchain_promptopt._runtime.failures import classify
from langchain_promptopt._runtime.pace import Pace
from langchain_promptopt._runtime.prices import spellings
from langchain_promptopt.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from langchain_promptopt._runtime.clock import Clock

Used: TypeAlias = "Callable[[str | None], tuple[int, int]]"
"""Calls and tokens of a model by name, or of all models for None."""

_MINUTE = 60.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0  # seconds after a 429 that does not say how long
_CLOSE = 1e-9  # rounding of virtual and real clocks
_LONGEST_PATIENCE = 4
_REMEMBERED = 50  # slots that the typical use is an average of


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """The limits of one model; None is no limit.

    Args:
        requests_per_minute: Model calls in any 60 seconds.
        tokens_per_minute: Input and output tokens in any 60 seconds.
        concurrency: Calls in flight at most, where that is fewer than `max_concurrency`.
    """

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    concurrency: int | None = None

    def __post_init__(self) -> None:
        for name in ("requests_per_minute", "tokens_per_minute", "concurrency"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                msg = f"{name} must be a number above 0, got {value!r}"
                raise ConfigError(msg, where="limits")


class Bucket:
    """A token bucket that lets at most `per_minute` through in any 60 seconds.

    It holds one second's share: its size plus the refill of a minute are the limit. A single draw that is larger
    than the bucket waits for a full one and leaves a debt, so only such a draw can exceed the limit.
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
        requests_per_minute: Requests in any 60 seconds, one a slot unless `slot.used` says more; None is no limit.
        tokens_per_minute: Estimated tokens, corrected by `slot.used`; None is no limit.
        tokens: Estimated tokens of a slot before the first has reported its own.
        start: Calls in flight at first, before latencies say how many the endpoint bears; None is `max_concurrency`.
    """

    def __init__(
        self,
        max_concurrency: int,
        clock: Clock,
        *,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        tokens: float = 0.0,
        start: int | None = None,
    ) -> None:
        if max_concurrency < 1:
            msg = f"max_concurrency must be at least 1, got {max_concurrency}"
            raise ValueError(msg)
        self.max_concurrency = max_concurrency
        self._start = max_concurrency if start is None else start
        self._paces: dict[str, Pace] = {}
        self._clock = clock
        now = clock.time()
        self._requests = Bucket(requests_per_minute, now) if requests_per_minute is not None else None
        self._tokens = Bucket(tokens_per_minute, now) if tokens_per_minute is not None else None
        self._timed = self._requests is not None or self._tokens is not None
        self._typical = (1.0, tokens)
        self._reported = 0
        self._allowed = float(max_concurrency)
        self._in_flight = 0
        self._paused_until = 0.0
        self._epoch = 0
        self._refusals = 0
        self._waiting: deque[tuple[asyncio.Future[None], float, float, Pace]] = deque()
        self._timer: asyncio.Task[None] | None = None
        self._wake_at = 0.0
        self._queue: dict[Slot, None] | None = None
        self.patience = 1
        """How many times the limit of silence a call may take; it grows with time-outs where replies may be slow."""

    def expect_queue(self) -> None:
        """Calls may wait for each other at this endpoint, and replies be slow: a local model, for example."""
        self._queue = {}

    @property
    def in_flight(self) -> int:
        """Slots in use now."""
        return self._in_flight

    @property
    def allowed(self) -> int:
        """The adaptive concurrency limit now."""
        return max(1, int(self._allowed))

    @property
    def timed(self) -> bool:
        """Whether there is a limit a minute, so that `slot.used` has an effect."""
        return self._timed

    def slot(self, estimated_tokens: float | None = None, kind: str = "") -> Slot:
        """A slot to enter, which waits until it is free. Without an estimate, the average of earlier slots is used.

        Args:
            estimated_tokens: Tokens the call will take.
            kind: Calls of one kind take about the same time; latencies are compared among them.
        """
        requests, tokens = self._typical
        return Slot(self, requests, tokens if estimated_tokens is None else estimated_tokens, self.pace(kind))

    def pace(self, kind: str = "") -> Pace:
        """What was learned about calls of this kind."""
        if kind not in self._paces:
            self._paces[kind] = Pace(self.max_concurrency, self._start)
        return self._paces[kind]

    def slow_down(self, retry_after_s: float | None = None, epoch: int | None = None, level: int | None = None) -> None:
        """Halve the concurrency and pause all starts. Calls started before the last halving do not halve again.

        Args:
            retry_after_s: Seconds of the pause; None draws it.
            epoch: When the call started that was refused.
            level: How many could be in flight at most when it was refused.
        """
        if epoch is None or epoch == self._epoch:
            self._epoch += 1
            self._allowed = max(1.0, min(self._allowed, level or self._allowed) / 2)
        pause = retry_after_s
        if pause is None:
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(self._refusals, 10))
            self._refusals += 1
        self._paused_until = max(self._paused_until, self._clock.time() + pause)

    def _timed_out(self, slot: Slot) -> None:
        """A call was given up: the next ones are sent with less in flight, and to a slow endpoint with more time."""
        if self._queue is not None and slot.patience == self.patience:
            self.patience = min(_LONGEST_PATIENCE, 2 * self.patience)
        self.slow_down(0.0, slot._epoch, slot._pace.level)

    def _learn(self, requests: float, tokens: float) -> None:
        self._reported += 1
        share = 1 / min(self._reported, _REMEMBERED)
        known = self._typical
        self._typical = (
            max(1.0, known[0] + (requests - known[0]) * share),
            tokens if self._reported == 1 else known[1] + (tokens - known[1]) * share,
        )

    def _ready(self, requests: float, tokens: float, pace: Pace) -> float | None:
        """0 to start now, seconds to wait, or None to wait for a slot."""
        if self._in_flight >= max(1, min(int(self._allowed), pace.level)):
            return None
        if not self._timed and not self._paused_until:
            return 0.0
        now = self._clock.time()
        wait = self._paused_until - now
        if wait <= _CLOSE:
            wait = self._paused_until = 0.0
        if self._requests is not None:
            wait = max(wait, self._requests.wait(requests, now))
        if self._tokens is not None:
            wait = max(wait, self._tokens.wait(tokens, now))
        return wait

    def _take(self, requests: float, tokens: float) -> None:
        self._in_flight += 1
        if self._requests is not None:
            self._requests.draw(requests)
        if self._tokens is not None:
            self._tokens.draw(tokens)

    async def _acquire(self, requests: float, tokens: float, pace: Pace) -> None:
        if not self._waiting and self._ready(requests, tokens, pace) == 0.0:
            self._take(requests, tokens)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((future, requests, tokens, pace))
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
            future, requests, tokens, pace = self._waiting[0]
            if future.done():
                self._waiting.popleft()
                continue
            wait = self._ready(requests, tokens, pace)
            if wait is None:
                return
            if wait > 0.0:
                self._wake_in(wait)
                return
            self._waiting.popleft()
            self._take(requests, tokens)
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
        self._refusals = 0
        if self._allowed < self.max_concurrency:
            self._allowed = min(float(self.max_concurrency), self._allowed + 1.0 / self._allowed)


class Slot:
    """Permission for one call. A rate limit or a time-out slows the limiter down; on success it recovers."""

    __slots__ = ("_began", "_epoch", "_limiter", "_pace", "_requests", "_tokens", "_told", "patience")

    def __init__(self, limiter: Limiter, requests: float, tokens: float, pace: Pace) -> None:
        self._limiter = limiter
        self._pace = pace
        self._began = 0.0
        self._requests = requests
        self._tokens = tokens
        self._epoch = 0
        self._told = 0.0
        self.patience = 1
        """How many times the limit of silence it may take."""

    async def __aenter__(self) -> Slot:
        limiter = self._limiter
        await limiter._acquire(self._requests, self._tokens, self._pace)
        self._epoch, self.patience = limiter._epoch, limiter.patience
        self._told = self._began = limiter._clock.time()
        if limiter._queue is not None:
            limiter._queue[self] = None
        return self

    @property
    def heard(self) -> float:
        """When the call last showed a sign of life: now, while it may be waiting for one that began before it."""
        limiter = self._limiter
        if limiter._queue is not None and next(iter(limiter._queue), self) is not self:
            return limiter._clock.time()
        return self._told

    def alive(self) -> None:
        """A token or a reply came."""
        self._told = self._limiter._clock.time()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        limiter = self._limiter
        if limiter._queue is not None:
            del limiter._queue[self]
            if (behind := next(iter(limiter._queue), None)) is not None:
                behind.alive()
        if error is None:
            limiter._succeeded()
            busy = limiter._in_flight >= self._pace.level
            self._pace.ended(limiter._clock.time() - self._began, busy=busy)
        elif isinstance(error, Exception):
            failure = classify(error)
            if failure.kind == "rate_limited":
                limiter.slow_down(failure.retry_after_s, self._epoch)
            elif failure.kind == "timeout":  # it may have waited in the endpoint's queue behind the others
                limiter._timed_out(self)
        limiter._release()

    def used(self, tokens: float, requests: float = 1.0) -> None:
        """Correct the estimates by what the slot really used."""
        limiter = self._limiter
        if limiter._requests is not None:
            limiter._requests.draw(requests - self._requests)
        if limiter._tokens is not None:
            limiter._tokens.draw(tokens - self._tokens)
        limiter._learn(requests, tokens)
        self._requests, self._tokens = requests, tokens

    def told(self, used: Used) -> None:
        """As `used`; the function is called only where there is a limit a minute."""
        if self._limiter.timed:
            calls, tokens = used(None)
            self.used(tokens, calls)


class LimitsByModel:
    """The user's limits by model name, spelled as in the price table: "openai:gpt-4o" or "gpt-4o"."""

    def __init__(self, given: Mapping[str, RateLimit | Mapping[str, Any]]) -> None:
        self._by_name: dict[str, RateLimit] = {}
        for name, limit in given.items():
            self._by_name |= dict.fromkeys(spellings(name), _checked(name, limit))

    def of(self, model: str) -> RateLimit:
        """The limits of this model; no limits where the user gave none."""
        return next((self._by_name[name] for name in spellings(model) if name in self._by_name), RateLimit())


def _checked(name: str, given: RateLimit | Mapping[str, Any]) -> RateLimit:
    if isinstance(given, RateLimit):
        return given
    try:
        return RateLimit(**given)
    except TypeError as error:
        msg = f"the limits of {name} have unknown fields: {dict(given)!r}"
        raise ConfigError(msg, mend="Give requests_per_minute, tokens_per_minute or concurrency.") from error


class Limiters:
    """One limiter for each model and endpoint, made on first use and shared by all roles."""

    def __init__(self, make: Callable[[str, str], Limiter]) -> None:
        self._make = make
        self._made: dict[tuple[str, str], Limiter] = {}

    def of(self, model: str, endpoint: str = "") -> Limiter:
        """The limiter of this model at this endpoint."""
        key = (model, endpoint)
        if key not in self._made:
            self._made[key] = self._make(model, endpoint)
        return self._made[key]

    def lane(self, models: Sequence[tuple[str, str]], ceiling: Limiter | None = None, kind: str = "") -> Lane:
        """The limiters of these models; every lane enters them in the same order.

        Args:
            models: Name and endpoint of each.
            ceiling: A limiter over all roles.
            kind: What the calls are for, such as "task"; latencies are compared within it.
        """
        return Lane([(name, self.of(name, endpoint)) for name, endpoint in sorted(set(models))], ceiling, kind)


class Lane:
    """The limiters that a role's calls pass.

    All lanes enter limiters in the same order, the ceiling last, so two lanes never wait for each other.
    """

    def __init__(self, models: Sequence[tuple[str, Limiter]], ceiling: Limiter | None = None, kind: str = "") -> None:
        self.kind = kind
        self.models = tuple(models)
        self.ceiling = ceiling
        self._only = models[0][1] if len(models) == 1 and ceiling is None else None

    def slot(self) -> Slot | Slots:
        """A slot of each limiter, to enter; its `told` corrects the estimates."""
        return Slots(self) if self._only is None else self._only.slot(kind=self.kind)


class Slots:
    """Permission of several limiters for one attempt."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._stack = AsyncExitStack()
        self._slots: list[tuple[str, Slot]] = []
        self._top: Slot | None = None

    async def __aenter__(self) -> Self:
        async with self._stack as stack:
            for name, limiter in self._lane.models:
                self._slots.append((name, await stack.enter_async_context(limiter.slot(kind=self._lane.kind))))
            if self._lane.ceiling is not None:
                self._top = await stack.enter_async_context(self._lane.ceiling.slot())
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.__aexit__(*error)  # type: ignore[arg-type]  # the three of every exit

    @property
    def heard(self) -> float:
        """When the attempt last showed a sign of life: now, while it may be waiting for another."""
        return max((slot.heard for _, slot in self._slots), default=0.0)

    @property
    def patience(self) -> int:
        """How many times the limit of silence the attempt may take."""
        return max((slot.patience for _, slot in self._slots), default=1)

    def alive(self) -> None:
        """A token or a reply came."""
        for _, slot in self._slots:
            slot.alive()

    def told(self, used: Used) -> None:
        """Correct each model's estimates by what the attempt really used."""
        several = len(self._slots) > 1
        for name, slot in self._slots:
            slot.told(lambda _, name=name: used(name if several else None))  # type: ignore[misc]  # bound now
        if self._top is not None:
            self._top.told(used)
