"""Retries: pauses with full jitter, Retry-After, and limits on tries, pause and time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from langchain_promptopt._runtime.failures import CallError, FailedElsewhere, FailureKind, classify
from langchain_promptopt.errors import BudgetSpent, PromptOptError

if TYPE_CHECKING:
    from random import Random

    from langchain_promptopt._runtime.clock import Clock

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often a call is tried, and how long the pauses are.

    Args:
        attempts: Tries in all; the contract asks for at least 10 (product 7.7).
        base: Longest first pause in seconds; it doubles with each try.
        cap: Longest drawn pause in seconds.
        jitter: Draw each pause from 0 up to its limit, so that many callers do not come back at once.
        timeout: Seconds without a token or a reply after which a hung try is given up and counts as failed; None waits
            forever. A model on this machine or network gets twice the time after a time-out, up to four times.
        patience: Longest Retry-After in seconds that is waited for; a longer one ends the run and is reported.
    """

    attempts: int = 10
    base: float = 0.5
    cap: float = 30.0
    jitter: bool = True
    timeout: float | None = 120.0
    patience: float = 600.0

    def pause(self, attempt: int, rng: Random, retry_after_s: float | None = None) -> float:
        """Seconds to wait after a failed try; never less than the service asked for.

        Args:
            attempt: The try's number, from 1.
            rng: Draws the jitter.
            retry_after_s: Seconds the service asked to wait, if it did.
        """
        limit = min(self.cap, self.base * 2 ** min(attempt - 1, 60))
        drawn = rng.uniform(0.0, limit) if self.jitter else limit
        return drawn if retry_after_s is None else retry_after_s + drawn * 0.1


@dataclass(frozen=True, slots=True)
class Retry:
    """One failed try that will be repeated."""

    attempt: int
    failure: FailureKind
    pause: float


OnRetry: TypeAlias = Callable[[Retry], None]


async def with_retries(
    call: Callable[[], Awaitable[T]],
    *,
    policy: RetryPolicy,
    clock: Clock,
    rng: Random | Callable[[], Random],
    on_retry: OnRetry | None = None,
    deadline: float | None = None,
) -> T:
    """The reply of `call`, tried until it succeeds, cannot succeed, or may no longer be tried.

    Args:
        call: Makes one try.
        policy: Tries, pauses and the time of one try.
        clock: The time.
        rng: Draws the jitter; the caller seeds it, so pauses do not depend on what else runs. A function is called
            at the first failure only, as most calls have none.
        on_retry: Called before each pause.
        deadline: Time of `clock` at which a running try is cancelled; None is no limit.

    Raises:
        CallError: The call failed; its failure has the action "drop" where infrastructure failed until the last try.
        BudgetSpent: The deadline passed.
    """
    for attempt in range(1, policy.attempts + 1):
        limit = _allowed(policy, clock, deadline)
        try:
            if limit is None:
                return await call()
            async with clock.timeout(limit):
                return await call()
        except PromptOptError:
            raise  # ours, with its own exit code: a spent budget is not a failed call
        except (Exception, asyncio.CancelledError) as raised:  # noqa: BLE001 - style H8: all becomes a kind
            error = _failed(raised)
            rng = rng() if callable(rng) else rng
            pause = _pause_or_raise(error, attempt, policy, rng)
            failure = classify(error)
        if deadline is not None and clock.time() + pause >= deadline:
            raise _spent(failure)
        if on_retry is not None:
            on_retry(Retry(attempt, failure, pause))
        await clock.sleep(pause)
    msg = f"a retry policy needs at least one attempt, got {policy.attempts}"
    raise ValueError(msg)


def _failed(raised: BaseException) -> Exception:
    """What was raised; a cancellation that nobody asked this run for is a failed call. Raises any other one."""
    if isinstance(raised, Exception):
        return raised
    task = asyncio.current_task()
    if task is None or task.cancelling():
        raise raised
    return FailedElsewhere(FailureKind.of("connection", "CancelledError, raised by the chain or the evaluator itself"))


def _pause_or_raise(error: Exception, attempt: int, policy: RetryPolicy, rng: Random) -> float:
    """Seconds until the next try, or CallError when there must not be one."""
    failure = classify(error)
    if failure.action != "retry":
        raise CallError(failure, tries=attempt) from error
    if (failure.retry_after_s or 0.0) > policy.patience:
        raise CallError(replace(failure, action="stop"), tries=attempt) from error
    if attempt >= policy.attempts:
        raise CallError(failure.exhausted(), tries=attempt) from error
    return policy.pause(attempt, rng, failure.retry_after_s)


def _allowed(policy: RetryPolicy, clock: Clock, deadline: float | None) -> float | None:
    """Seconds this try may take."""
    if deadline is None:
        return policy.timeout
    left = deadline - clock.time()
    if left <= 0:
        raise _spent(None)
    return left if policy.timeout is None else min(policy.timeout, left)


def _spent(last: FailureKind | None) -> BudgetSpent:
    tail = "" if last is None else f"; the last try failed with {last.kind}"
    return BudgetSpent(f"budget.seconds is used up{tail}", mend="Raise budget.seconds and resume.")
