"""The collector sees what models inside a chain really used."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import BaseChatModel, BaseLLM
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, Generation, LLMResult
from langchain_core.runnables import RunnableLambda, RunnableParallel

from langchain_promptopt._runtime.clock import FakeClock
from langchain_promptopt._runtime.ledger import Ledger
from langchain_promptopt._runtime.prices import Price, PriceTable
from langchain_promptopt._runtime.usage import UsageCollector
from langchain_promptopt.errors import BudgetSpent
from langchain_promptopt.recipe import Budget

USAGE = {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12, "input_token_details": {"cache_read": 4}}


class Chat(BaseChatModel):
    """A function of the messages that says what it used, `n` times if asked."""

    model_name: str = "fake-1"
    served: str | None = "fake-1-2025"
    usage: Any = USAGE
    n: int = 1
    reason: str = "stop"
    fails: bool = False

    @property
    def _llm_type(self):
        return "fake"

    @property
    def _identifying_params(self):
        return {"model": self.model_name}

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        if self.fails:
            raise ConnectionResetError
        meta = {"finish_reason": self.reason} | ({"model_name": self.served} if self.served else {})
        message = AIMessage("hi", usage_metadata=self.usage, response_metadata=meta)
        return ChatResult(generations=[ChatGeneration(message=message.model_copy()) for _ in range(self.n)])


class Completion(BaseLLM):
    model: str = "old-1"

    @property
    def _llm_type(self):
        return "old"

    def _generate(self, prompts, stop=None, run_manager=None, **kwargs):
        return LLMResult(
            generations=[[Generation(text="hi", generation_info={"finish_reason": "length"})] for _ in prompts],
            llm_output={"token_usage": {"prompt_tokens": 3, "completion_tokens": 1}, "model_name": "old-1-b"},
        )


def ledger(**own):
    return Ledger(Budget(), PriceTable(own), FakeClock())


def collect(chain, mode="async", **more):
    collector = UsageCollector(**more)
    config = {"callbacks": [collector]}
    if mode == "async":
        asyncio.run(chain.ainvoke("x", config))
    else:
        chain.invoke("x", config)
    return collector.collected


@pytest.mark.parametrize("mode", ["async", "sync"])
def test_all_models_of_a_chain_are_seen(mode):
    both = RunnableParallel(a=Chat(), b=Chat(model_name="fake-2", served=None), c=Completion())
    seen = collect(RunnableLambda(lambda x: x) | both, mode)
    assert seen.started == 3
    assert {m: (u.calls, u.input_tokens, u.output_tokens) for m, u in seen.by_model.items()} == {
        "fake-1": (1, 10, 2),
        "fake-2": (1, 10, 2),
        "old-1": (1, 3, 1),
    }
    assert set(seen.served) == {"fake-1-2025"}
    assert sorted(seen.finish_reasons) == ["length", "stop", "stop"]


def test_it_runs_inline_and_in_order():
    chain = Chat() | StrOutputParser() | Chat(reason="length") | StrOutputParser()
    threads = []
    seen = collect(chain, before_call=lambda: threads.append(threading.current_thread()))
    assert threads == [threading.main_thread()] * 2
    assert seen.finish_reasons == ["stop", "length"]
    assert seen.finish_reason == "length"
    assert seen.model_served == "fake-1-2025"


def test_usage_is_priced_by_model():
    chain = RunnableParallel(a=Chat(), b=Chat(model_name="fake-2"))
    prices = {"fake-1": Price(1, 1, cache_read=0.5), "fake-2": Price(2, 2)}
    usage = collect(chain).usage(ledger(**prices), seconds=0.5)
    assert (usage.calls, usage.input_tokens, usage.output_tokens, usage.cache_read_tokens) == (2, 20, 4, 8)
    assert usage.usd == pytest.approx((6 * 1 + 4 * 0.5 + 2 * 1 + 10 * 2 + 2 * 2) / 1e6)
    assert usage.seconds == 0.5
    assert collect(chain).usage(ledger()).usd is None


def test_the_asked_name_decides_unless_it_is_given():
    assert set(collect(Chat()).by_model) == {"fake-1"}
    assert set(collect(Chat(), requested="openai:fake-1").by_model) == {"openai:fake-1"}


def test_n_replies_of_one_call_are_paid_once():
    seen = collect(Chat(n=3))
    assert seen.by_model["fake-1"].input_tokens == 10
    assert (seen.started, seen.by_model["fake-1"].calls) == (1, 1)


def test_a_reply_that_tells_no_usage_is_unknown_not_free():
    seen = collect(Chat(usage=None))
    assert (seen.unmetered, seen.by_model["fake-1"].calls) == (1, 1)
    assert seen.usage(ledger(**{"fake-1": Price(1, 1)})).usd is None


class Streamed(Chat):
    """Sends its reply in parts, and says at the end what it used."""

    breaks: bool = False

    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        yield ChatGenerationChunk(message=AIMessageChunk("h"))
        if self.breaks:
            raise ConnectionResetError
        yield ChatGenerationChunk(message=AIMessageChunk("i", usage_metadata=self.usage))


@pytest.mark.parametrize("breaks", [False, True])
def test_a_stream_that_is_not_read_to_the_end_is_unknown_not_free(breaks):
    def first_part(text, config):
        with suppress(ConnectionResetError):
            for part in Streamed(breaks=breaks).stream(text, config):
                if not breaks:
                    return part.content
        return ""

    seen = collect(RunnableLambda(first_part))
    assert (seen.started, seen.unmetered) == (1, 1)
    usage = seen.usage(ledger(**{"fake-1": Price(1, 1)}))
    assert (usage.calls, usage.usd) == (1, None)
    whole = collect(RunnableLambda(lambda text, config: len(list(Streamed().stream(text, config)))))
    assert (whole.unmetered, whole.by_model["fake-1"].input_tokens) == (0, 10)


def test_hits_of_the_framework_cache_cost_nothing():
    model = Chat(cache=InMemoryCache())
    first, second = collect(model), collect(model)
    assert (first.started, first.cache_hits) == (1, 0)
    assert (second.started, second.cache_hits) == (0, 1)
    usage = second.usage(ledger(**{"fake-1": Price(1, 1)}))
    assert (usage.calls, usage.input_tokens, usage.usd) == (0, 0, 0.0)


def test_failed_calls_are_counted_without_tokens():
    collector = UsageCollector()
    with pytest.raises(ConnectionResetError):
        asyncio.run(Chat(fails=True).ainvoke("x", {"callbacks": [collector]}))
    usage = collector.collected.usage(ledger())
    assert (usage.calls, usage.input_tokens, usage.usd) == (1, 0, 0.0)


def test_streamed_replies_count():
    collector = UsageCollector()

    async def main():
        async for _ in Chat().astream("x", {"callbacks": [collector]}):
            pass

    asyncio.run(main())
    assert collector.collected.by_model["fake-1"].input_tokens == 10


def test_a_spent_budget_stops_the_next_call_inside_the_chain():
    left = [1]

    def gate():
        if not left:
            msg = "calls are used up"
            raise BudgetSpent(msg)
        left.pop()

    collector = UsageCollector(before_call=gate)
    chain = Chat() | StrOutputParser() | Chat()
    with pytest.raises(BudgetSpent):
        asyncio.run(chain.ainvoke("x", {"callbacks": [collector]}))
    assert collector.collected.started == 1


def test_threads_inside_the_chain_lose_no_count():
    async def main():
        collector = UsageCollector()
        chain = RunnableLambda(lambda x: [Chat().invoke(x) for _ in range(20)])
        await asyncio.gather(*(chain.ainvoke("x", {"callbacks": [collector]}) for _ in range(16)))
        return collector.collected

    seen = asyncio.run(main())
    assert (seen.started, seen.by_model["fake-1"].input_tokens) == (320, 3200)
