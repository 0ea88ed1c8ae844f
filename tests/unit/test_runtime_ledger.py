"""Ledger and prices: every call counted, no budget exceeded."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_promptopt._runtime.clock import FakeClock
from langchain_promptopt._runtime.ledger import Ledger, Spending
from langchain_promptopt._runtime.prices import Price, PriceTable, to_pico, to_usd
from langchain_promptopt.errors import BudgetSpent, ConfigError, PriceError
from langchain_promptopt.recipe import Budget
from langchain_promptopt.types import Usage


def ledger(own=None, **limits) -> Ledger:
    return Ledger(Budget(**limits), PriceTable(own), FakeClock())


def meta(tokens_in=100, tokens_out=10, **details):
    return {"input_tokens": tokens_in, "output_tokens": tokens_out, "input_token_details": details}


# ------------------------------------------------------------ prices


def test_a_call_is_priced_with_cache_reads_apart():
    usage = ledger().charge("task", 1, "openai:gpt-4o", meta(1000, 100, cache_read=400))
    assert usage == Usage(1, 1000, 100, 400, pytest.approx((600 * 2.5 + 400 * 1.25 + 100 * 10) / 1e6), 0.0)


def test_cache_writes_and_unknown_cache_prices():
    claude = PriceTable().price("anthropic:claude-sonnet-4-20250514")
    assert claude.cost(1000, 0, cache_write=1000) == to_pico(1000 * 3.75 / 1e6)
    assert Price(2.0, 4.0).cost(1000, 0, cache_read=1000) == to_pico(1000 * 2.0 / 1e6)


@pytest.mark.parametrize(
    ("model", "like"),
    [
        ("openai:gpt-4o", "gpt-4o"),
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("openai:gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("openai/gpt-4o", "gpt-4o"),
        ("claude-3-5-sonnet-latest", "claude-3-5-sonnet"),
        ("anthropic:claude-3-5-sonnet-20241022", "claude-3-5-sonnet"),
        ("google_genai:models/gemini-2.0-flash-001", "gemini-2.0-flash"),
        ("google_genai:gemini-2.0-flash-001", "gemini-2.0-flash"),
    ],
)
def test_snapshots_cost_what_their_model_costs(model, like):
    assert PriceTable().price(model) == PriceTable().price(like) is not None


@pytest.mark.parametrize(
    "model", ["gpt-4o-audio-preview", "gpt-4o-search-preview", "gpt-4o-of-ours", "my-llama", "", "llama:gpt"]
)
def test_other_models_have_no_price(model):
    assert PriceTable().price(model) is None


def test_a_dated_exception_wins_over_its_model():
    assert PriceTable().price("openai:gpt-4o-2024-05-13").input == 5.0


def test_offline_models_are_free():
    for name in ("offline", "offline:task", "offline-optimizer"):
        assert PriceTable().price(name).cost(10**6, 10**6) == 0


def test_the_users_table_wins():
    table = PriceTable({"openai:gpt-4o": {"input": 1, "output": 2}, "my-llama": Price(0.1, 0.2)})
    assert table.price("openai:gpt-4o") == Price(1, 2)
    assert table.price("gpt-4o") == Price(1, 2)
    assert table.price("my-llama") == Price(0.1, 0.2)
    assert table.price("gpt-4o-mini") == PriceTable().price("gpt-4o-mini")


@pytest.mark.parametrize(
    "price", [{"input": 1}, {"in": 1, "out": 2}, {"input": -1, "output": 2}, {"input": "x", "output": 1}]
)
def test_nonsense_prices_are_refused(price):
    with pytest.raises(ConfigError, match="price of m"):
        PriceTable({"m": price})


def test_a_long_input_costs_what_its_tier_says():
    gemini = PriceTable().price("google_genai:gemini-2.5-pro")
    assert gemini.cost(200_000, 1000) == to_pico((200_000 * 1.25 + 1000 * 10) / 1e6)
    assert gemini.cost(200_001, 1000) == to_pico((200_001 * 2.5 + 1000 * 15) / 1e6)


def test_prices_of_many_providers_are_known_without_a_request():
    for name in ("groq:llama-3.1-8b-instant", "mistral-large-latest", "deepseek-chat", "xai:grok-4", "gpt-5"):
        assert PriceTable().price(name).cost(10**6, 0) > 0


def test_models_without_a_price_are_named_together():
    with pytest.raises(PriceError, match="my-llama, other") as caught:
        PriceTable().require(["openai:gpt-4o", "other", "my-llama"])
    assert caught.value.exit_code == 2
    PriceTable({"my-llama": Price(1, 1)}).require(["my-llama", "offline"])


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**5)), min_size=1, max_size=50), st.randoms())
def test_money_adds_up_to_the_same_in_any_order(calls, rng):
    def total(order):
        book = ledger()
        for tokens_in, tokens_out in order:
            book.charge("task", 0, "gpt-4o-mini", meta(tokens_in, tokens_out))
        return book.total

    shuffled = list(calls)
    rng.shuffle(shuffled)
    assert total(calls) == total(shuffled)


@given(st.floats(0, 1000))
def test_picodollars_round_trip(usd):
    assert to_pico(to_usd(to_pico(usd))) == to_pico(usd)
    assert to_pico(1e308) > to_pico(1e14)  # a limit that no run comes to


# ------------------------------------------------------------ sums


def test_totals_by_role_and_step():
    book = ledger()
    book.charge("task", 1, "gpt-4o-mini", meta(), split="dev", seconds=0.25)
    book.charge("task", 2, "gpt-4o-mini", meta(), split="test")
    book.charge("optimizer", 1, "gpt-4o", meta(1000, 500))
    book.charge("judge", 2, "my-llama", meta(7, 1))
    assert {role: u.calls for role, u in book.by_role.items()} == {"judge": 1, "optimizer": 1, "task": 2}
    assert {step: u.calls for step, u in book.by_step.items()} == {1: 2, 2: 2}
    assert book.search_calls == 1
    assert book.total.input_tokens == 1207
    assert book.total.usd is None
    assert book.by_role["optimizer"].usd == pytest.approx(0.0075)
    out = book.as_json()
    assert out["calls"] == 4
    assert out["tokens"] == 1207 + 521
    assert out["usd"] is None
    assert out["by_role"]["judge"]["usd"] is None
    assert out["by_role"]["task"]["seconds"] == 0.25


def test_a_replayed_outcome_counts_like_a_new_one():
    first, second = ledger(), ledger()
    usage = first.charge("task", 3, "gpt-4o-mini", meta(), split="dev", seconds=0.5)
    second.record("task", 3, Usage.from_json(usage.as_json()), split="dev")
    assert first.as_json() == second.as_json()


# ------------------------------------------------------------ the hard check


@pytest.mark.parametrize("in_flight", [1, 7, 64])
def test_calls_are_never_exceeded_whatever_is_in_flight(in_flight):
    book, clock, made = ledger(calls=100), FakeClock(), []

    async def worker():
        while True:
            try:
                with book.flight("task", "dev"):
                    made.append(1)
                    await clock.sleep(random.Random(len(made)).random())
                    book.charge("task", 1, "gpt-4o", meta(), split="dev")
            except BudgetSpent:
                return

    async def main():
        await asyncio.gather(*(worker() for _ in range(in_flight)))

    asyncio.run(main())
    assert len(made) == book.total.calls == 100


@pytest.mark.parametrize("limit", [{"usd": 0.01}, {"tokens": 11_000}])
def test_money_and_tokens_are_exceeded_by_the_calls_in_flight_at_most(limit):
    book, clock = ledger(**limit), FakeClock()
    one = Price(2.5, 10).cost(100, 10)

    async def worker():
        while True:
            try:
                with book.flight("task", "dev"):
                    await clock.sleep(1.0)
                    book.charge("task", 1, "gpt-4o", meta(100, 10), split="dev")
            except BudgetSpent:
                return

    async def main():
        await asyncio.gather(*(worker() for _ in range(8)))

    asyncio.run(main())
    needed = -(-to_pico(0.01) // one) if "usd" in limit else 100
    assert needed <= book.total.calls < needed + 8


def test_a_call_that_may_use_more_tokens_than_are_left_is_not_begun():
    book = ledger(tokens=1000)
    assert book.reserve_test(0, 300)
    book.record("task", 0, Usage(1, 500, 0))
    with book.flight("optimizer", tokens=200):
        pass
    with (
        pytest.raises(
            BudgetSpent, match=r"leaves nothing .*: 500 used, 300 kept for the test, and the call may use 201"
        ),
        book.flight("optimizer", tokens=201),
    ):
        pytest.fail("it was begun")


def test_the_first_claim_counts_what_an_optimizer_call_is_foreseen_to_use():
    book = ledger(tokens=1000, usd=1.0)
    assert Spending(book).claim(1, cells=0, optimizer_calls=4)
    book.release(1)
    foreseen = Usage(1, 250, 50, usd=0.1)
    assert not Spending(book, foreseen).claim(1, cells=0, optimizer_calls=4)
    assert Spending(book, foreseen).claim(1, cells=0, optimizer_calls=3)
    book.release(1)
    book.record("optimizer", 1, Usage(2, 100, 20, usd=0.01))
    assert Spending(book, foreseen).claim(2, cells=0, optimizer_calls=14), (
        "what calls took stands above what was foreseen"
    )


def test_failed_calls_leave_no_trace_in_flight():
    book = ledger(calls=1)
    for _ in range(3):
        with pytest.raises(ConnectionResetError), book.flight("task", "dev"):
            raise ConnectionResetError
    assert book.exhausted() is None


def test_search_calls_bind_the_search_alone():
    book = ledger(search_calls=2)
    for _ in range(2):
        with book.flight("task", "dev"):
            book.charge("task", 1, "gpt-4o", meta(), split="dev")
    assert "search_calls (2)" in book.exhausted("dev")
    with book.flight("task", "test"):
        book.charge("task", 1, "gpt-4o", meta(), split="test")
    assert book.search_calls == 2


def test_the_last_evaluation_of_search_calls_may_make_all_its_calls():
    book = ledger(search_calls=1)
    with book.flight("task", "dev") as flight:
        for _ in range(3):
            flight.another()
        book.record("task", 1, Usage(calls=3), split="dev")
    assert (book.total.calls, book.search_calls) == (3, 1)
    with pytest.raises(BudgetSpent, match=r"search_calls \(1\) is used up"), book.flight("task", "dev"):
        pass


def test_seconds_are_checked_live_and_survive_a_restart():
    clock = FakeClock()
    book = Ledger(Budget(seconds=10), PriceTable(), clock)
    clock.advance(9.9)
    assert book.exhausted() is None
    clock.advance(0.1)
    assert "seconds (10)" in book.exhausted()
    later = Ledger(Budget(seconds=10), PriceTable(), clock, elapsed=9.0)
    assert later.remaining()["seconds"] == pytest.approx(1.0)
    clock.advance(1.0)
    with pytest.raises(BudgetSpent), later.flight("task"):
        pass


def test_no_budget_is_no_limit():
    book = ledger()
    assert book.reserve(10**9, 10**12, 1e6, "x")
    assert book.exhausted() is None
    assert book.remaining() == {}


# ------------------------------------------------------------ the test's share


def test_the_search_cannot_spend_the_tests_share():
    book = ledger(calls=10)
    assert book.reserve_test(4)
    made = 0
    while book.exhausted("dev") is None:
        with book.flight("task", "dev"):
            book.charge("task", 1, "gpt-4o", meta(), split="dev")
            made += 1
    assert made == 6
    for _ in range(4):
        assert book.exhausted("test") is None
        with book.flight("task", "test"):
            book.charge("task", 1, "gpt-4o", meta(), split="test")
    assert book.exhausted("test") is not None
    assert book.total.calls == 10


def test_a_running_test_does_not_free_its_share_for_others():
    book = ledger(calls=10)
    book.reserve_test(4)
    for _ in range(5):
        book.charge("task", 1, "gpt-4o", meta(), split="dev")
    with book.flight("task", "test"):
        assert book.exhausted("dev") is None  # 5 made, 1 under way, 3 of the test's to come
        book.charge("task", 1, "gpt-4o", meta(), split="dev")
        assert book.exhausted("dev") is not None
        assert book.exhausted("test") is None


def test_a_test_that_cannot_be_paid_is_said_before():
    assert not ledger(calls=3).reserve_test(4)
    assert not ledger(usd=1.0).reserve_test(4, 100, 1.01)
    assert ledger(usd=1.0).reserve_test(4, 100, 1.0)


def test_the_tests_share_can_grow():
    book = ledger(calls=10)
    assert book.reserve_test(4)
    assert book.reserve_test(4)
    assert not book.reserve_test(4)
    assert book.remaining() == {"calls": 2}


# ------------------------------------------------------------ reservations


def test_reservations_are_refused_where_they_do_not_fit_and_leave_nothing():
    book = ledger(calls=10)
    assert book.reserve(6, 0, 0.0, 1)
    assert not book.reserve(5, 0, 0.0, 1)
    assert book.reserve(4, 0, 0.0, 1)
    assert book.remaining() == {"calls": 0}
    book.release(1)
    assert book.remaining() == {"calls": 10}


@settings(max_examples=60)
@given(st.integers(0, 8), st.integers(0, 4))
def test_what_is_paid_meanwhile_changes_no_answer(paid_before_second, overrun):
    """The same questions in the same order get the same answers, whatever replies came in between."""
    book = ledger(calls=20)
    book.charge("task", 0, "gpt-4o", meta(), split="dev")
    assert book.reserve(8, 0, 0.0, 1)
    for _ in range(paid_before_second):
        book.charge("task", 1, "gpt-4o", meta(), split="dev")
    assert book.reserve(8, 0, 0.0, 2)
    assert not book.reserve(4, 0, 0.0, 3)
    assert book.reserve(3, 0, 0.0, 3)
    for _ in range(8 - paid_before_second + overrun):
        book.charge("task", 1, "gpt-4o", meta(), split="dev")
    book.release(1)
    assert not book.reserve(1, 0, 0.0, 4)  # a step is settled when no other is open either
    book.release(2)
    book.release(3)
    assert book.remaining() == {"calls": 20 - 9 - overrun}


def test_reservations_in_money():
    book = ledger(usd=1.0)
    assert book.reserve(1, 0, 0.6, 1)
    assert not book.reserve(1, 0, 0.6, 2)
    assert book.remaining()["usd"] == pytest.approx(0.4)
