"""Calls that wait in the queue of a slow endpoint, or whose reply is long, are no failed calls (product 11.15)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_openai import ChatOpenAI
from pydantic import ConfigDict

from langchain_promptopt import Budget
from langchain_promptopt._engine.executor import Guarded
from langchain_promptopt._langchain.models import streamed
from langchain_promptopt._runtime.clock import FakeClock, RealClock
from langchain_promptopt._runtime.ledger import Ledger
from langchain_promptopt._runtime.limiter import Lane, Limiter
from langchain_promptopt._runtime.prices import PriceTable
from langchain_promptopt._runtime.retry import RetryPolicy
from langchain_promptopt.errors import UnavailableError
from langchain_promptopt.steps import TextualGradient
from langchain_promptopt.steps.base import reply_limit
from tests.support.openai_server import serve


class OneSlot:
    """A server in virtual time that writes one reply after the other, a token a second."""

    def __init__(self, clock: FakeClock, hangs: int = 0) -> None:
        self.clock, self.hangs, self.asked, self._slot = clock, hangs, 0, asyncio.Lock()

    async def tokens(self, number: int):
        self.asked += 1
        hangs = self.asked <= self.hangs
        async with self._slot:
            if hangs:
                await self.clock.sleep(1e6)
            for _ in range(number):
                await self.clock.sleep(1.0)
                yield "a "


class Writer(BaseChatModel):
    """A model behind that server."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    server: Any
    length: int

    @property
    def _llm_type(self) -> str:
        return "writer"

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        raise NotImplementedError

    async def _agenerate(self, *_: Any, **__: Any) -> ChatResult:
        text = "".join([token async for token in self.server.tokens(self.length)])
        return ChatResult(generations=[ChatGeneration(message=AIMessage(text))])

    async def _astream(self, *_: Any, **__: Any) -> Any:
        async for token in self.server.tokens(self.length):
            yield ChatGenerationChunk(message=AIMessageChunk(token))


class Run:
    """Calls of an optimizer model through the guard of a run, with the default policy's 120 seconds."""

    def __init__(self, level: int, *, near: bool = True, hangs: int = 0, attempts: int = 10) -> None:
        self.clock = FakeClock()
        self.server, self.incidents = OneSlot(self.clock, hangs), []
        self.limiter = Limiter(16, self.clock, start=level)
        if near:
            self.limiter.expect_queue()
        self.guard = Guarded(
            lanes={"optimizer": Lane([("m", self.limiter)], None, "optimizer")},
            ledger=Ledger(Budget(), PriceTable({}), self.clock),
            policy=RetryPolicy(attempts=attempts, jitter=False),
            clock=self.clock,
            seed=0,
            emit=self.incidents.append,
            models={"optimizer": "m"},
        )

    def ask(self, calls: int, length: int, **kwargs: Any) -> list[Any]:
        """So many calls at once."""
        model = Writer(server=self.server, length=length)

        async def all_calls() -> list[Any]:
            asked = (self.guard.optimizer(model, f"call {n}", {}, kwargs) for n in range(calls))
            return await asyncio.gather(*asked, return_exceptions=True)

        return asyncio.run(all_calls())

    @property
    def timeouts(self) -> int:
        return sum(event.kind == "timeout" for event in self.incidents)


def test_a_reply_that_is_still_being_written_is_not_given_up():
    run = Run(1)
    ((message, _),) = run.ask(1, 400, stream=True)
    assert len(message.text.split()) == 400
    assert (run.server.asked, run.timeouts) == (1, 0)


def test_calls_that_wait_behind_others_are_not_given_up():
    run = Run(4)
    replies = run.ask(4, 80)
    assert all(isinstance(reply, tuple) for reply in replies)
    assert (run.server.asked, run.timeouts) == (4, 0)


def test_at_other_endpoints_a_call_has_its_own_time():
    run = Run(4, near=False)
    run.ask(4, 80)
    assert run.timeouts > 0


def test_after_a_time_out_a_slow_endpoint_gets_more_time_for_good():
    run = Run(1)
    run.ask(1, 300)
    assert (run.server.asked, run.timeouts) == (3, 2)
    run.ask(2, 300)
    assert (run.server.asked, run.timeouts) == (5, 2)


def test_a_call_that_nothing_is_heard_of_is_given_up():
    run = Run(1, hangs=99, attempts=3)
    (failed,) = run.ask(1, 10, stream=True)
    assert isinstance(failed, UnavailableError)
    assert run.server.asked == 3
    assert run.clock.time() >= 120 + 240 + 480


def test_a_hung_call_is_asked_again_and_those_behind_it_wait():
    run = Run(3, hangs=1)
    replies = run.ask(3, 80)
    assert all(isinstance(reply, tuple) for reply in replies)
    assert (run.server.asked, run.timeouts) == (4, 1)


@pytest.mark.parametrize("near", [True, False])
def test_after_a_time_out_less_is_in_flight(near):
    clock = FakeClock()
    limiter = Limiter(32, clock, start=4)
    if near:
        limiter.expect_queue()

    async def given_up():
        async with limiter.slot():
            raise TimeoutError

    with pytest.raises(TimeoutError):
        asyncio.run(given_up())
    assert limiter.allowed == 2, "half of the four that were allowed, not half of 32"


def test_the_real_clock_counts_from_the_last_sign_of_life():
    """Signs at most as old as now: a block that lives is not cancelled at its limit, a silent one is."""

    async def lives():
        clock = RealClock()
        async with clock.timeout(0.01, clock.time):
            await asyncio.sleep(0.1)
        return True

    async def is_silent():
        async with RealClock().timeout(0.01, lambda: 0.0):
            await asyncio.sleep(60)

    assert asyncio.run(lives())
    with pytest.raises(TimeoutError):
        asyncio.run(is_silent())


NEAR = {"model": "m", "base_url": "http://127.0.0.1:8081/v1", "api_key": "k"}


def test_models_on_this_machine_stream_and_tell_what_they_used():
    model, settings = streamed(ChatOpenAI(**NEAR))
    assert settings == {"stream": True, "stream_options": {"include_usage": True}}
    assert model.stream_chunk_timeout is None, "it would run while a call waits in the server's queue"


def test_bindings_stay_around_a_model_that_streams():
    model, settings = streamed(ChatOpenAI(**NEAR).bind(temperature=0.5))
    assert settings["stream"]
    assert model.kwargs == {"temperature": 0.5}
    assert model.bound.stream_chunk_timeout is None


@pytest.mark.parametrize(
    "more",
    [
        {"base_url": "https://api.example.com/v1"},
        {"streaming": False},
        {"disable_streaming": True},
        {"n": 2},
        {"use_responses_api": True},
    ],
    ids=lambda more: next(iter(more)),
)
def test_other_models_answer_as_their_owner_said(more):
    given = ChatOpenAI(**NEAR | more)
    model, settings = streamed(given)
    assert model is given
    assert settings == {}


@pytest.mark.parametrize(
    ("own", "short", "limit"),
    [(None, 250, 250), (500, 250, 250), (200, 250, None), (4000, 250, None), (None, None, 1000), (500, None, None)],
)
def test_a_kind_of_reply_that_is_short_has_a_limit_of_its_own(own, short, limit):
    model = ChatOpenAI(**NEAR, max_tokens=own)
    assert reply_limit(model, short=short) == ({} if limit is None else {"max_tokens": limit})


def test_elsewhere_short_replies_have_the_usual_limit():
    assert reply_limit(ChatOpenAI(model="m", api_key="k"), short=250) == {"max_tokens": 4000}


@pytest.mark.parametrize(("reasons", "limit"), [(1, 120), (3, 550)])
def test_reasons_for_an_error_have_a_limit_by_their_number(reasons, limit):
    piece = {"prompt": "Sort: {x}", "errors": [{"inputs": "a", "expected": "b", "answer": "c"}]}
    with serve(lambda _: {"content": "It says nothing of a."}) as server:
        model = ChatOpenAI(model="m", api_key="k", base_url=f"{server.url}/v1", max_retries=0)
        TextualGradient(model=model, reasons=reasons).invoke(piece)
        (asked,) = [r.json() for r in server.requests]
    assert asked["max_completion_tokens"] == limit
    assert ("in one sentence" in asked["messages"][-1]["content"]) == (reasons == 1)
