"""How many calls in flight an endpoint bears is learned from its latency (product 11.15)."""

from __future__ import annotations

import asyncio

import pytest

from langchain_promptopt._runtime.clock import FakeClock
from langchain_promptopt._runtime.limiter import Limiter
from langchain_promptopt._runtime.pace import Pace, first_level, is_near


def driven(pace, seconds_at, calls):
    """The levels over `calls` answered calls, each as slow as `seconds_at` says of the level."""
    levels = []
    for _ in range(calls):
        pace.ended(seconds_at(pace.level), busy=True)
        levels.append(pace.level)
    return levels


def test_one_slot_gets_no_more_than_two_at_once():
    levels = driven(Pace(32, 1), lambda level: 5.0 * level, 200)
    assert max(levels) == 2
    assert levels[-1] == 1


def test_four_slots_get_four():
    levels = driven(Pace(32, 1), lambda level: 5.0 * max(1, level / 4), 300)
    assert levels[-1] == 4
    assert max(levels) == 8


def test_an_endpoint_that_scales_gets_all():
    assert driven(Pace(32, 8), lambda _: 3.0, 200)[-1] == 32


def test_a_quick_endpoint_gets_all_after_one_call():
    assert driven(Pace(32, 1), lambda _: 0.02, 1) == [32]


def test_an_endpoint_that_becomes_slow_gets_less():
    pace = Pace(32, 8)
    driven(pace, lambda _: 3.0, 200)
    assert driven(pace, lambda level: 3.0 * level, 400)[-1] < 8


def test_calls_while_little_is_in_flight_say_nothing():
    pace = Pace(32, 2)
    for _ in range(100):
        pace.ended(60.0, busy=False)
    assert pace.level == 2


@pytest.mark.parametrize(
    ("endpoint", "level"),
    [
        ("http://127.0.0.1:8081/v1", 1),
        ("http://localhost:11434", 1),
        ("http://[::1]:80", 1),
        ("http://192.168.1.7:8000/v1", 1),
        ("http://gpu.local/v1", 1),
        ("https://api.openai.com/v1", 8),
        ("https://8.8.8.8/v1", 8),
        ("", 32),
        ("task", 32),
    ],
)
def test_where_an_endpoint_is_says_how_many_calls_it_gets_at_first(endpoint, level):
    assert first_level(endpoint, 32) == level


def test_names_of_this_network():
    assert is_near("10.0.0.3")
    assert not is_near("example.com")


def test_a_queue_of_one_slot_is_not_filled_with_calls_that_are_given_up():
    """One call at a time takes 30 s, a call is given up after 120 s: with four or more in flight some would be."""
    clock = FakeClock()
    limiter, free_at, waits = Limiter(16, clock, start=1), [0.0], []

    async def call():
        async with limiter.slot():
            began = clock.time()
            free_at[0] = max(free_at[0], began) + 30.0
            await clock.sleep(free_at[0] - began)
            waits.append(clock.time() - began)

    async def all_calls():
        await asyncio.gather(*(call() for _ in range(40)))

    asyncio.run(all_calls())
    assert len(waits) == 40
    assert max(waits) <= 60.0
