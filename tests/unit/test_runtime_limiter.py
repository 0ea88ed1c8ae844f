"""The limiter's laws, in virtual time."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_promptopt._runtime.clock import FakeClock, RealClock
from langchain_promptopt._runtime.limiter import Bucket, Limiter, Limiters, LimitsByModel, RateLimit
from langchain_promptopt.errors import ConfigError


class RateLimitError(Exception):
    status_code = 429

    def __init__(self, retry_after):
        super().__init__("slow down")
        self.response = type("R", (), {"headers": {"retry-after": str(retry_after)}})()


def drive(limiter, clock, calls):
    """Run calls (seconds, tokens); gives their start times in the order of the calls."""
    starts = {}
    peak = 0

    async def one(i, seconds, tokens):
        nonlocal peak
        async with limiter.slot(tokens):
            starts[i] = clock.time()
            peak = max(peak, limiter.in_flight)
            await clock.sleep(seconds)

    async def main():
        await asyncio.gather(*(one(i, s, t) for i, (s, t) in enumerate(calls)))

    asyncio.run(main())
    assert limiter.in_flight == 0
    return [starts[i] for i in range(len(calls))], peak


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.lists(st.floats(0, 3), min_size=1, max_size=25))
def test_never_more_than_allowed_and_first_come_first_served(width, durations):
    clock = FakeClock()
    starts, peak = drive(Limiter(width, clock), clock, [(d, 0) for d in durations])
    assert peak <= width
    assert starts == sorted(starts)


def test_it_uses_what_it_has():
    clock = FakeClock()
    starts, peak = drive(Limiter(4, clock), clock, [(1.0, 0)] * 12)
    assert peak == 4
    assert starts == [0.0] * 4 + [1.0] * 4 + [2.0] * 4


def worst_minute(starts, weights):
    """The largest sum of weights started within any 60 seconds, end exclusive."""
    return max(
        sum(w for t, w in zip(starts, weights, strict=True) if first <= t < first + 60 - 1e-6) for first in starts
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.integers(1, 200))
def test_requests_a_minute(per_minute, n):
    clock = FakeClock()
    starts, _ = drive(Limiter(1000, clock, requests_per_minute=per_minute), clock, [(0.0, 0)] * n)
    assert worst_minute(starts, [1] * n) <= per_minute
    ideal = (n - 1) * 60 / per_minute
    assert max(starts) <= ideal * 1.05 + 1  # and not much slower than that


@settings(max_examples=40, deadline=None)
@given(st.integers(60, 5000), st.lists(st.integers(1, 500), min_size=1, max_size=60))
def test_tokens_a_minute(per_minute, sizes):
    clock = FakeClock()
    starts, _ = drive(Limiter(1000, clock, tokens_per_minute=per_minute), clock, [(0.0, s) for s in sizes])
    assert worst_minute(starts, sizes) <= per_minute + max(sizes)
    assert starts == sorted(starts)


def test_a_call_larger_than_the_bucket_still_starts():
    clock = FakeClock()
    starts, _ = drive(Limiter(9, clock, tokens_per_minute=60), clock, [(0.0, 600), (0.0, 1)])
    assert starts == [0.0, pytest.approx(600, rel=0.01)]


def test_real_usage_corrects_the_estimate():
    async def main():
        clock = FakeClock()
        limiter = Limiter(9, clock, tokens_per_minute=6000)
        async with limiter.slot(100) as slot:
            slot.used(1100)
        async with limiter.slot(1):
            late = clock.time()
        async with limiter.slot(100) as slot:
            slot.used(0)
        before = clock.time()
        async with limiter.slot(90):
            pass
        return late, clock.time() - before

    late, free = asyncio.run(main())
    assert late == pytest.approx(1000 / (5900 / 60), rel=0.02)
    assert free == 0.0


def test_a_429_halves_and_pauses_everybody_then_it_recovers():
    async def main():
        clock = FakeClock()
        limiter = Limiter(8, clock)
        with pytest.raises(RateLimitError):
            async with limiter.slot():
                raise RateLimitError(7)
        assert limiter.allowed == 4
        async with limiter.slot():
            assert clock.time() == 7.0
        for _ in range(100):
            async with limiter.slot():
                pass
        assert limiter.allowed == 8

    asyncio.run(main())


def test_one_burst_of_429_halves_once():
    async def main():
        clock = FakeClock()
        limiter = Limiter(16, clock)

        async def refused():
            async with limiter.slot():
                await clock.sleep(1)
                raise RateLimitError(2)

        await asyncio.gather(*(refused() for _ in range(16)), return_exceptions=True)
        assert limiter.allowed == 8
        await asyncio.gather(refused(), return_exceptions=True)
        assert limiter.allowed == 4

    asyncio.run(main())


def test_it_never_falls_below_one():
    async def main():
        limiter = Limiter(3, FakeClock())
        for _ in range(10):
            limiter.slow_down(0.0)
        assert limiter.allowed == 1
        async with limiter.slot():
            assert limiter.in_flight == 1

    asyncio.run(main())


def test_other_failures_do_not_slow_it_down():
    async def main():
        limiter = Limiter(8, FakeClock())
        with pytest.raises(ConnectionResetError):
            async with limiter.slot():
                raise ConnectionResetError
        assert (limiter.allowed, limiter.in_flight) == (8, 0)

    asyncio.run(main())


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.lists(st.tuples(st.booleans(), st.floats(0, 2)), min_size=1, max_size=25), st.floats(0, 3))
def test_cancelled_waiters_lose_no_slot(width, plan, when):
    async def main():
        clock = FakeClock()
        limiter = Limiter(width, clock)

        async def one(seconds):
            async with limiter.slot():
                await clock.sleep(seconds)

        tasks = [asyncio.create_task(one(seconds)) for _, seconds in plan]
        await clock.sleep(when)
        for task, (doomed, _) in zip(tasks, plan, strict=True):
            if doomed:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert limiter.in_flight == 0
        await asyncio.gather(*(one(0.1) for _ in range(width)))
        assert limiter.in_flight == 0

    asyncio.run(main())


def test_a_slot_granted_in_the_moment_of_cancellation_is_given_back():
    async def main():
        limiter = Limiter(1, FakeClock())
        first = limiter.slot()
        await first.__aenter__()
        second = asyncio.create_task(limiter.slot().__aenter__())
        await asyncio.sleep(0)
        await first.__aexit__(None, None, None)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert limiter.in_flight == 0

    asyncio.run(main())


def test_a_cancelled_big_waiter_does_not_hold_up_a_small_one():
    async def main():
        clock = FakeClock()
        limiter = Limiter(9, clock, tokens_per_minute=6000)
        async with limiter.slot(6000):
            pass
        big = asyncio.create_task(limiter.slot(100).__aenter__())
        small = asyncio.create_task(limiter.slot(1).__aenter__())
        await asyncio.sleep(0)
        big.cancel()
        await small
        return clock.time()

    assert asyncio.run(main()) == pytest.approx((6000 - 100 + 1) / (5900 / 60), rel=0.01)


def test_roles_on_the_same_model_share_one_limiter():
    clock = RealClock()
    limiters = Limiters(lambda model, endpoint: Limiter(4, clock))
    assert limiters.of("m", "http://a") is limiters.of("m", "http://a")
    assert limiters.of("m", "http://a") is not limiters.of("m", "http://b")


def test_no_slot_makes_no_sense():
    with pytest.raises(ValueError, match="at least 1"):
        Limiter(0, FakeClock())


def test_bucket_counts_what_is_given_back():
    bucket = Bucket(60, 0.0)
    bucket.draw(1)
    assert bucket.wait(1, 0.0) == pytest.approx(1.0)
    bucket.draw(-1)
    assert bucket.wait(1, 0.0) == 0.0


def test_what_a_slot_takes_is_learned_and_then_kept_within_the_minute():
    """Nobody says how many tokens and requests a slot takes; after the first ones the limits hold all the same."""
    clock = FakeClock()
    limiter = Limiter(4, clock, requests_per_minute=600, tokens_per_minute=6000, tokens=50)
    began = []

    async def one():
        async with limiter.slot() as slot:
            began.append(clock.time())
            await clock.sleep(0.1)
            slot.used(100, requests=3)

    async def main():
        await asyncio.gather(*(one() for _ in range(150)))

    asyncio.run(main())
    settled = began[8:]
    assert worst_minute(settled, [100] * len(settled)) <= 6000
    assert worst_minute(settled, [3] * len(settled)) <= 600
    assert max(began) < 150 * 100 / 6000 * 60 * 1.1 + 5  # and they are used


def test_a_lane_of_several_models_and_a_ceiling_is_left_whole_when_one_of_them_keeps_waiting():
    clock = FakeClock()
    known = Limiters(lambda model, _: Limiter(1, clock))
    ceiling = Limiter(5, clock)
    wide, narrow = known.lane([("b", ""), ("a", "")], ceiling), known.lane([("b", "")])

    async def main():
        async with narrow.slot():
            waiting = asyncio.create_task(wide.slot().__aenter__())
            await asyncio.sleep(0)
            assert known.of("a").in_flight == 1
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            assert known.of("a").in_flight == 0
        async with wide.slot() as slots:
            assert (known.of("a").in_flight, known.of("b").in_flight, ceiling.in_flight) == (1, 1, 1)
            slots.told(lambda name: (1, 10))
        assert (known.of("a").in_flight, known.of("b").in_flight, ceiling.in_flight) == (0, 0, 0)

    asyncio.run(main())


def test_limits_are_found_by_any_spelling_of_a_model_and_checked():
    limits = LimitsByModel({"openai:gpt-4o": {"requests_per_minute": 5}, "other": RateLimit(concurrency=2)})
    assert limits.of("gpt-4o").requests_per_minute == 5
    assert limits.of("gpt-4o-2024-08-06").requests_per_minute == 5
    assert limits.of("other").concurrency == 2
    assert limits.of("third") == RateLimit()
    with pytest.raises(ConfigError, match="unknown fields"):
        LimitsByModel({"m": {"rpm": 5}})
    with pytest.raises(ConfigError, match="above 0"):
        LimitsByModel({"m": {"tokens_per_minute": 0}})


def test_refusals_that_do_not_say_how_long_pause_briefly_and_longer_while_they_go_on():
    clock = FakeClock()
    limiter = Limiter(4, clock)

    async def waited(ok=True):
        before = clock.time()
        async with limiter.slot():
            pause = clock.time() - before
        if not ok:
            limiter.slow_down()
        return round(pause, 3)

    async def main():
        limiter.slow_down()
        limiter.slow_down()
        first = await waited(ok=False)
        second = await waited()
        return first, second, limiter._paused_until - clock.time() <= 0

    assert asyncio.run(main()) == (0.1, 0.05, True)
