"""Retries in virtual time."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.exceptions import OutputParserException

from langchain_promptopt._runtime.clock import FakeClock, RealClock
from langchain_promptopt._runtime.failures import CallError
from langchain_promptopt._runtime.retry import RetryPolicy, with_retries
from langchain_promptopt.errors import BudgetSpent


class RateLimitError(Exception):
    status_code = 429

    def __init__(self, retry_after=None):
        super().__init__("slow down")
        self.response = type("R", (), {"headers": {} if retry_after is None else {"retry-after": str(retry_after)}})()


def run(behaviour, policy=None, clock=None, **more):
    """Result or error, and the clock. `behaviour` lists what each try does; the last is repeated."""
    clock = clock or FakeClock()
    tries = []

    async def call():
        step = behaviour[min(len(tries), len(behaviour) - 1)]
        tries.append(clock.time())
        if callable(step):
            return await step(clock)
        if isinstance(step, BaseException):
            raise step
        return step

    async def main():
        return await with_retries(call, policy=policy or RetryPolicy(), clock=clock, rng=Random(1), **more)

    try:
        return asyncio.run(main()), tries, clock
    except (CallError, BudgetSpent) as error:
        return error, tries, clock


def test_success_needs_one_try():
    result, tries, clock = run(["yes"])
    assert (result, len(tries), clock.slept) == ("yes", 1, [])


def test_an_outage_is_tried_ten_times_and_then_dropped():
    error, tries, clock = run([ConnectionResetError()])
    assert len(tries) == 10
    assert (error.failure.kind, error.failure.action, error.tries) == ("connection", "drop", 10)
    assert not error.failure.as_failure().scored_zero
    assert clock.time() > 30


def test_it_goes_on_where_the_outage_ends():
    result, tries, _ = run([ConnectionResetError()] * 9 + ["back"])
    assert (result, len(tries)) == ("back", 10)


def test_the_prompts_fault_is_not_tried_again():
    error, tries, _ = run([OutputParserException("x")])
    assert (len(tries), error.failure.action) == (1, "zero")


@given(st.integers(0, 2**32), st.integers(1, 40), st.none() | st.floats(0, 500))
def test_pauses_stay_in_bounds(seed, attempt, asked):
    policy = RetryPolicy(base=0.5, cap=30.0)
    pause = policy.pause(attempt, Random(seed), asked)
    limit = min(30.0, 0.5 * 2 ** (attempt - 1))
    if asked is None:
        assert 0 <= pause <= limit
    else:
        assert asked <= pause <= asked + limit


def test_pauses_grow_and_are_capped_without_jitter():
    pauses = [RetryPolicy(jitter=False).pause(i, Random(0)) for i in range(1, 10)]
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_the_same_address_gives_the_same_pauses():
    _, _, first = run([ConnectionResetError()])
    _, _, second = run([ConnectionResetError()])
    assert first.slept == second.slept
    assert len(set(first.slept)) > 5


def test_retry_after_is_honoured():
    result, tries, _ = run([RateLimitError(42), "ok"])
    assert result == "ok"
    assert 42 <= tries[1] <= 43


def test_a_wish_beyond_patience_ends_the_run_at_once():
    error, tries, _ = run([RateLimitError(86_400)])
    assert len(tries) == 1
    assert error.failure.action == "stop"
    assert error.failure.as_error("task").retry_after_s == 86_400


def test_each_retry_is_told():
    seen = []
    run([RateLimitError(3), ConnectionResetError(), "ok"], on_retry=seen.append)
    assert [(r.attempt, r.failure.kind) for r in seen] == [(1, "rate_limited"), (2, "connection")]
    assert seen[0].pause >= 3


async def _hang(clock):
    await clock.sleep(10_000_000)


def test_a_hung_call_is_given_up_and_tried_again():
    result, tries, _ = run([_hang, _hang, "ok"], RetryPolicy(timeout=60, jitter=False))
    assert result == "ok"
    assert tries == pytest.approx([0, 60.5, 121.5])


def test_a_call_that_always_hangs_is_dropped():
    error, tries, _ = run([_hang], RetryPolicy(timeout=60))
    assert (len(tries), error.failure.kind, error.failure.action) == (10, "timeout", "drop")


def test_the_deadline_cancels_a_running_call():
    error, tries, clock = run([_hang], RetryPolicy(timeout=60), deadline=20.0)
    assert isinstance(error, BudgetSpent)
    assert (len(tries), clock.time()) == (1, 20.0)


def test_no_try_starts_past_the_deadline():
    error, tries, clock = run([RateLimitError(50), "late"], deadline=20.0)
    assert isinstance(error, BudgetSpent)
    assert "rate_limited" in str(error)
    assert (len(tries), clock.time()) == (1, 0.0)
    error, tries, _ = run(["late"], clock=FakeClock(30.0), deadline=20.0)
    assert isinstance(error, BudgetSpent)
    assert tries == []


def test_a_spent_budget_passes_through():
    spent = BudgetSpent("calls")
    error, tries, _ = run([spent])
    assert error is spent
    assert len(tries) == 1


def test_a_cancellation_that_the_chain_raises_itself_is_a_failed_call():
    error, tries, _ = run([asyncio.CancelledError()])
    assert (error.failure.kind, len(tries)) == ("connection", 10)
    assert run([asyncio.CancelledError(), "yes"])[0] == "yes"


def test_cancellation_is_not_a_failure():
    async def main():
        clock = FakeClock()
        task = asyncio.create_task(
            with_retries(asyncio.Event().wait, policy=RetryPolicy(timeout=None), clock=clock, rng=Random(1))
        )
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


@settings(max_examples=50)
@given(st.lists(st.floats(0, 1000), min_size=1, max_size=30))
def test_fake_sleepers_wake_in_the_order_of_their_hours(hours):
    async def main():
        clock, woken = FakeClock(), []

        async def sleeper(i, hour):
            await clock.sleep(hour)
            woken.append((clock.time(), i))

        await asyncio.gather(*(sleeper(i, hour) for i, hour in enumerate(hours)))
        return woken

    woken = asyncio.run(main())
    assert [when for when, _ in woken] == sorted(hours)
    assert all(when == hours[i] for when, i in woken)


def test_fake_timeouts_fire_by_hand_and_not_on_their_own():
    async def main():
        clock = FakeClock()
        async with clock.timeout(5):
            await asyncio.sleep(0.01)
        block = asyncio.create_task(_wait_forever(clock))
        await asyncio.sleep(0)
        clock.advance(4.9)
        await asyncio.sleep(0)
        assert not block.done()
        clock.advance(0.2)
        with pytest.raises(TimeoutError):
            await block

    async def _wait_forever(clock):
        async with clock.timeout(5):
            await asyncio.Event().wait()

    asyncio.run(main())


def test_the_real_clock_waits_and_times_out():
    async def main():
        clock = RealClock()
        before = clock.time()
        await clock.sleep(0.01)
        assert clock.time() >= before + 0.009
        with pytest.raises(TimeoutError):
            async with clock.timeout(0.01):
                await asyncio.Event().wait()

    asyncio.run(main())
