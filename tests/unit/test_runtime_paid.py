"""Budgets count what is really paid: threads of the chain's own, several calls a row, usage that cannot be."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda

from langchain_promptopt import Budget, optimize, presets
from langchain_promptopt._runtime.prices import Price
from langchain_promptopt._runtime.usage import UsageCollector, followed_threads, metered_by
from langchain_promptopt.errors import BudgetSpent, ConfigError, PriceError
from langchain_promptopt.strategies.memory import Relevance
from langchain_promptopt.testing.scripted import ScriptedModel
from tests.support.tasks import PROMPT, answer, chain, optimizer, rows

POOL_START, POOL_SUBMIT = threading.Thread.start, ThreadPoolExecutor.submit


class Counted:
    """A brain that knows how often it was asked; `usage` is what its replies say about tokens."""

    def __init__(self, usage=None, fn=answer):
        self.calls, self.usage, self.fn = 0, usage, fn
        self._lock = threading.Lock()

    def __call__(self, messages):
        with self._lock:
            self.calls += 1
        said = self.fn(messages)
        if self.usage is None:
            return said
        reply = AIMessage(said, response_metadata={"model_name": "task"})
        reply.usage_metadata = self.usage  # as clients build it: without looking at the numbers
        return reply


def model(brain):
    return ScriptedModel(fn=brain, model_name="task")


def run(target, tmp_path, **more):
    arguments = {
        "data": rows(),
        "evaluators": ["exact_match"],
        "runs_dir": None,
        "method": "lpo-pe2",
        "max_concurrency": 8,
    }
    return optimize(target, optimizer_model=optimizer(), openings=tmp_path / "o.jsonl", **arguments | more)


def in_a_pool(brain):
    """A chain that calls its model in threads of its own, without handing its context on."""
    pool, asked = ThreadPoolExecutor(4), model(brain)

    def ask(value):
        return pool.submit(asked.invoke, value).result()

    return ChatPromptTemplate.from_template(PROMPT) | RunnableLambda(ask) | StrOutputParser()


def in_a_thread(brain):
    asked = model(brain)

    def ask(value):
        found = []
        thread = threading.Thread(target=lambda: found.append(asked.invoke(value)))
        thread.start()
        thread.join()
        return found[0]

    return ChatPromptTemplate.from_template(PROMPT) | RunnableLambda(ask) | StrOutputParser()


@pytest.mark.parametrize("shape", [in_a_pool, in_a_thread])
def test_calls_in_threads_that_the_chain_starts_are_counted_and_limited(shape, tmp_path):
    brain = Counted()
    result = run(shape(brain), tmp_path, budget=Budget(calls=120))
    assert result.usage["by_role"]["task"]["calls"] == brain.calls > 0
    assert result.usage["calls"] <= 120
    assert (threading.Thread.start, ThreadPoolExecutor.submit) == (POOL_START, POOL_SUBMIT), "put back"


def test_a_judge_called_in_a_pool_is_counted(tmp_path):
    brain = Counted(fn=lambda _: "1")
    judge, pool = model(brain), ThreadPoolExecutor(4)

    def judged(outputs, reference_outputs):
        pool.submit(judge.invoke, "good?").result()
        return {"key": "judged", "score": float(str(outputs).strip().lower() == reference_outputs["answer"])}

    result = run(chain(), tmp_path, evaluators=["exact_match", judged], budget=Budget(calls=300))
    assert result.usage["by_role"]["judge"]["calls"] == brain.calls > 0
    assert result.usage["calls"] <= 300


def test_a_call_that_outlives_its_row_is_counted_when_it_ends():
    going = threading.Event()
    asked = ScriptedModel(fn=lambda m: (going.wait(5), "ok")[1], model_name="task")
    collector, late = UsageCollector(), []
    with followed_threads, metered_by(collector):
        pool = ThreadPoolExecutor(1)
        under_way = pool.submit(asked.invoke, "x y")
        while not collector.collected.started:
            pass
        after = pool.submit(asked.invoke, "x y z")
    collector.settle(late.append)
    going.set()
    under_way.result()
    after.result()
    pool.shutdown()
    assert collector.collected.started == 1
    assert [(c.started, c.by_model["task"].calls, c.by_model["task"].input_tokens) for c in late] == [
        (0, 0, 2),
        (1, 1, 3),
    ]


def test_a_model_that_passes_another_models_reply_on_is_counted_once(tmp_path):
    brain = Counted(fn=optimizer().fn)
    inner = model(brain)
    outer = model(lambda messages: inner.invoke(messages))
    result = optimize(
        chain(), data=rows(), evaluators=["exact_match"], runs_dir=None, method="lpo-pe2",
        optimizer_model=model(lambda messages: outer.invoke(messages)), openings=tmp_path / "o.jsonl",
    )  # fmt: skip
    used = result.usage["by_role"]["optimizer"]
    assert used["calls"] == brain.calls == len(inner.calls) > 0
    assert used["input_tokens"] == sum(len(str(m.text).split()) for messages in inner.calls for m in messages)


def test_a_model_that_asks_another_and_pays_for_itself_is_counted_beside_it():
    inner = ScriptedModel(fn=lambda _: "1 2 3", model_name="inner")
    outer = ScriptedModel(fn=lambda messages: f"said {inner.invoke(messages).text}", model_name="outer")
    collector = UsageCollector()
    with metered_by(collector):
        outer.invoke("x y")
    assert collector.collected.started == 2
    assert {name: use.output_tokens for name, use in collector.collected.by_model.items()} == {"inner": 3, "outer": 4}


def test_calls_after_one_another_in_a_batch_or_while_a_stream_is_read_are_all_counted():
    asked = ScriptedModel(fn=lambda _: "ok", model_name="task")
    collector = UsageCollector()
    streamed = FakeListChatModel(responses=["ok ok"])
    with metered_by(collector):
        asked.invoke("x")
        asked.invoke("x")
        asked.generate([[HumanMessage("x")], [HumanMessage("x")]])
        for _ in streamed.stream("x"):
            asked.invoke("x")
    assert collector.collected.started == len(asked.calls) + 1
    assert collector.collected.by_model["task"].calls == len(asked.calls) == 9


def test_other_callers_of_pools_are_left_alone():
    collector = UsageCollector()
    with followed_threads:
        with ThreadPoolExecutor(1) as pool:
            with metered_by(collector):
                pool.submit(model(lambda _: "ok").invoke, "x").result()
            pool.submit(model(lambda _: "ok").invoke, "live").result()
    assert collector.collected.started == 1


@pytest.mark.parametrize("limit", [{"search_calls": 60}, {"calls": 260}])
def test_a_limit_that_ends_amid_rows_of_two_calls_does_not_throw_the_run_away(limit, tmp_path):
    brain, thinking = Counted(), Counted(fn=lambda _: "ok")
    first = RunnableLambda(lambda value: (model(thinking).invoke("think"), value)[1])
    target = ChatPromptTemplate.from_template(PROMPT) | first | model(brain) | StrOutputParser()
    result = run(target, tmp_path, budget=Budget(**limit))
    assert result.outcome in {"improved", "inconclusive", "no_gain"}, result.stopped
    assert result.usage["by_role"]["task"]["calls"] == brain.calls + thinking.calls
    assert result.usage["search_calls"] <= limit.get("search_calls", 260)


ODD = [
    None,
    {},
    {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0},
    {"input_tokens": -5, "output_tokens": 1, "total_tokens": 1},
    {"input_tokens": 10**20, "output_tokens": 1, "total_tokens": 1},
    {"input_tokens": float("nan"), "output_tokens": float("inf"), "total_tokens": 1},
    {"input_tokens": "12", "output_tokens": "3", "total_tokens": 15},
    {"input_tokens": [1], "output_tokens": True, "total_tokens": 1},
    {"input_tokens": 5, "output_tokens": 1, "total_tokens": 6, "input_token_details": {"cache_read": -7}},
]


class Silent(Counted):
    """Replies without usage."""

    def __call__(self, messages):
        reply = super().__call__(messages)
        return AIMessage(reply) if isinstance(reply, str) else reply


@pytest.mark.parametrize("usage", ODD, ids=str)
def test_usage_that_is_missing_or_cannot_be_is_an_incident_told_once(usage, tmp_path):
    brain = Silent(usage)
    result = run(chain(brain), tmp_path, budget=Budget(calls=200))
    told = [e["data"] for e in result.events() if e["type"] == "incident" and e["data"]["kind"] == "usage_unknown"]
    assert [t["role"] for t in told] == ["task"]
    assert result.usage["by_role"]["task"]["calls"] == brain.calls
    assert result.usage["by_role"]["task"]["input_tokens"] == 0


@pytest.mark.parametrize("usage", [None, ODD[2], ODD[3]], ids=str)
def test_a_token_budget_is_refused_at_the_first_reply_that_tells_no_usage(usage, tmp_path):
    brain = Silent(usage)
    with pytest.raises(ConfigError, match=r"budget\.tokens is set, but a task call did not say") as caught:
        run(chain(brain), tmp_path, budget=Budget(tokens=3000))
    assert caught.value.exit_code == 2
    assert brain.calls <= 8, "what was in flight"


def test_a_token_budget_is_refused_where_no_model_can_be_seen(tmp_path):
    from langchain_promptopt import tunable

    prompt = tunable(PROMPT, name="p")

    def plain(inputs):
        return answer([HumanMessage(prompt.format(**inputs))])

    with pytest.raises(ConfigError, match=r"budget\.tokens"):
        run(plain, tmp_path, budget=Budget(tokens=3000))


def test_a_model_that_is_never_seen_at_work_is_refused_under_a_budget(tmp_path):
    idle = model(answer)

    def elsewhere(value):  # stands for a call in another process
        assert idle is not None
        return answer(value.messages)

    target = ChatPromptTemplate.from_template(PROMPT) | RunnableLambda(elsewhere)
    with pytest.raises(ConfigError, match="no model call was seen in 10 evaluations"):
        run(target, tmp_path, budget=Budget(calls=300))
    result = run(target, tmp_path, budget=Budget(search_calls=60))
    assert [e["data"]["kind"] for e in result.events() if e["type"] == "incident"].count("calls_unseen") == 1


def test_a_server_that_is_down_is_not_taken_for_a_model_that_is_never_asked():
    """Its calls are not counted, as they were never sent; they were seen all the same."""
    collector = UsageCollector()

    def down(messages):
        raise ConnectionRefusedError

    with pytest.raises(ConnectionRefusedError):
        model(down).invoke("x", {"callbacks": [collector]})
    assert (collector.collected.started, collector.collected.unsent) == (0, 1)


def test_a_spent_budget_is_no_fault_that_langchain_logs(caplog):
    def spent():
        raise BudgetSpent("budget.calls (3) is used up")

    collector = UsageCollector(before_call=spent)
    with caplog.at_level(logging.WARNING), pytest.raises(BudgetSpent):
        model(answer).invoke("x", {"callbacks": [collector]})
    assert caplog.records == []


def test_a_budget_that_is_kept_for_the_test_is_said_so(tmp_path):
    from tests.unit.test_runtime_ledger import ledger

    book = ledger(calls=97)
    book.reserve_test(96)
    book.charge("task", 0, "task", {"input_tokens": 1, "output_tokens": 1}, split="dev")
    assert book.exhausted() == "budget.calls (97) leaves nothing for another call: 1 used, 96 kept for the test"
    assert book.exhausted("test") is None


def test_calls_that_reached_no_server_are_not_counted():
    from langchain_openai import ChatOpenAI

    from tests.support.raw_server import RawServer

    with RawServer() as closed:
        pass
    collector = UsageCollector()
    client = ChatOpenAI(model="m", base_url=closed.base_url, api_key="k", max_retries=0)
    with pytest.raises(Exception, match="onnection"):
        client.invoke("x", {"callbacks": [collector]})
    assert collector.collected.started == 0


class Spelled(Embeddings):
    """Vectors of letters; knows what it was asked for."""

    def __init__(self):
        self.asked = []

    def embed_documents(self, texts):
        self.asked += texts
        return [[float(text.count(letter)) for letter in "aeiou"] for text in texts]

    def embed_query(self, text):
        return self.embed_documents([text])[0]


def test_each_text_is_embedded_once_counted_and_not_paid_again_when_resumed(tmp_path):
    made = Spelled()
    recipe = replace(presets.gpo(), memory=Relevance(k=3, embeddings=made))
    settings = {"method": recipe, "runs_dir": tmp_path, "budget": Budget(search_calls=200)}
    result = run(chain(), tmp_path, **settings)
    assert len(made.asked) == len(set(made.asked)) > 1
    embedded = result.usage["by_role"]["embedding"]
    assert embedded["calls"] == len(made.asked)
    assert embedded["input_tokens"] > 0
    asked = len(made.asked)
    path = next(tmp_path.glob("*/journal.jsonl"))
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))  # the run did not finish
    again = run(chain(), tmp_path, **settings)
    assert len(made.asked) == asked
    assert again.usage["by_role"]["embedding"]["calls"] == asked


def test_an_embedding_without_a_price_is_refused_under_a_money_budget(tmp_path):
    recipe = replace(presets.gpo(), memory=Relevance(k=3, embeddings=Spelled()))
    prices = {name: Price(0, 0) for name in ("task", "optimizer")}
    with pytest.raises(PriceError, match="embedding"):
        run(chain(), tmp_path, method=recipe, budget=Budget(usd=1), prices=prices)
