"""executor="batch" over a real wire: files, batches, their failures, and a process that is killed while it waits."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda

from langchain_promptopt import Budget
from langchain_promptopt._runtime.clock import FakeClock
from langchain_promptopt._runtime.prices import Price
from langchain_promptopt.errors import ConfigError, CredentialsError, UnavailableError
from tests.support import online
from tests.support.killing import facts
from tests.support.tasks import PROMPT

PRICES = {"task": Price(2.0, 8.0), "optimizer": Price(1.0, 1.0)}


def run(up, **more):
    """The tiny task; time is virtual, so that waiting for batches takes none."""
    more.setdefault("clock", FakeClock())
    return online.run(up.base_url, **{"executor": "batch", "prices": PRICES} | more)


def direct_calls(up, model):
    """Chat completions of a model that were asked for outside batches."""
    asked = [r.json() for r in up.requests if r.path == "/v1/chat/completions"]
    return sum(body["model"] == model for body in asked)


def alike(result):
    """What must be the same: all but the money, which is half."""
    found = facts(result)
    return found | {"test": [entry for entry in found["test"] if entry["metric"] != "cost"]}


@pytest.fixture(scope="module")
def plain():
    """The direct run, and what it asked of the task model."""
    with online.server() as up:
        result = online.run(up.base_url, prices=PRICES)
        yield result, direct_calls(up, "task")


@pytest.fixture
def up():
    with online.server() as running:
        yield running


def test_the_run_is_the_direct_one_at_half_the_price(plain, up):
    expected, calls = plain
    found = run(up)
    assert alike(found) == alike(expected)
    assert found.edits, "nothing would be compared"
    assert direct_calls(up, "task") == 0
    assert direct_calls(up, "optimizer") > 0
    assert len(up.desk.paid) == calls
    whole, half = (r.usage["by_role"]["task"] for r in (expected, found))
    assert half["usd"] == pytest.approx(whole["usd"] / 2)
    assert found.usage["by_role"]["optimizer"]["usd"] == expected.usage["by_role"]["optimizer"]["usd"]


def test_a_round_waits_in_one_batch_whatever_the_concurrency(up):
    run(up, max_concurrency=2, limits={"task": {"requests_per_minute": 1}})
    assert len(up.desk.submitted[0]) == 16, "all dev examples of the baseline"


def test_a_batch_waits_for_an_evaluation_that_is_on_its_way(up):
    """One example's first step takes real time while virtual time runs; its request is in the same batch."""

    async def step(given):
        if given["word"].endswith("-dev-7"):
            await asyncio.sleep(0.3)
        return given

    run(up, target=RunnableLambda(step) | online.chain(up.base_url))
    assert len(up.desk.submitted[0]) == 16, "all dev examples of the baseline"


def test_a_user_of_the_model_after_the_run_asks_directly(up):
    chain = online.chain(up.base_url)
    client = chain.middle[0].root_async_client
    run(up, target=chain, apply="never")
    assert chain.middle[0].root_async_client is client


def test_one_request_in_three_fails_and_is_in_the_next_batch(plain, up):
    kinds = ["500", "429", "expired", "missing", "garbage"]
    up.desk.fate = lambda batch, line: kinds[line % 5] if (batch + line) % 3 == 0 else None
    found = run(up)
    expected, calls = plain
    assert alike(found)["test"] == alike(expected)["test"]
    assert found.best.id == expected.best.id
    assert len(up.desk.paid) == calls, "what was answered is not asked again"
    assert len(up.desk.submitted[1]) < len(up.desk.submitted[0])
    assert not any(e["data"]["failure"] for e in found.events() if e["type"] == "scored")


@pytest.mark.parametrize("ends", ["expired", "cancelled", "failed"])
def test_a_batch_that_ends_badly_is_asked_again(plain, up, ends):
    up.desk.ends = lambda batch: ends if batch in {0, 2} else "completed"
    up.desk.fate = lambda batch, line: "expired" if batch == 0 and line % 2 else None
    found = run(up)
    expected, calls = plain
    assert alike(found)["test"] == alike(expected)["test"]
    assert len(up.desk.paid) == calls
    told = [e["data"] for e in found.events() if e["type"] == "incident" and e["data"]["kind"] == f"batch_{ends}"]
    assert told[0]["detail"].startswith("batch batch_0")


def test_examples_that_no_batch_answers_are_dropped_and_end_the_run(up):
    up.desk.fate = lambda _batch, _line: "500"
    with pytest.raises(UnavailableError):
        run(up)
    assert len(up.desk.submitted) == 10, "as many tries as any call has"


def test_a_model_without_batches_ends_the_run_at_once(up):
    up.desk.ends = lambda _batch: "failed"
    up.desk.error = {"code": "model_not_found", "message": "task has no batches"}
    with pytest.raises(CredentialsError, match="task has no batches"):
        run(up)
    assert len(up.desk.submitted) == 1


def test_a_server_without_a_batch_api_is_named(up):
    up.desk = None
    with pytest.raises(ConfigError, match="Batch API is not there"):
        run(up)
    assert direct_calls(up, "task") == 0


def test_a_budget_counts_half_the_price(plain, up):
    whole = plain[0].usage["usd"]
    found = run(up, budget=Budget(usd=whole * 0.9))
    assert found.usage["usd"] < whole * 0.9


@pytest.mark.parametrize("moment", ["upload", "create", "look", "content"])
def test_a_run_that_is_killed_while_it_waits_pays_nothing_twice(plain, up, tmp_path, moment):
    """The server kills the process before it answers, so that the client never hears of what it asked for."""
    up.desk.looks = 1
    pid, known, ended = [], threading.Event(), threading.Event()
    left = [2]  # the second such moment: the first batch is done then, and some rows are on the journal

    def heard(name):
        left[0] -= name == moment
        if name == moment and left[0] == 0 and not ended.is_set():
            known.wait()
            os.kill(pid[0], signal.SIGKILL)

    up.desk.heard = heard
    given = {"runs_dir": tmp_path, "openings": tmp_path / "openings.jsonl"}
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            run(up, **given)
        finally:
            os._exit(1)
    pid.append(child)
    known.set()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    ended.set()
    found = run(up, **given)
    expected, calls = plain
    assert alike(found) == alike(expected)
    assert len(up.desk.paid) == calls
    assert len(set(up.desk.paid)) == calls
    record = next(tmp_path.glob("*/batches.jsonl"))
    assert "dog" not in record.read_text(), "no text of an example"
    assert record.stat().st_mode & 0o077 == 0


def test_replies_of_a_chain_with_two_calls_find_their_way(up):
    model = online.model(up.base_url, "task")
    twice = ChatPromptTemplate.from_template(PROMPT) | model | StrOutputParser()

    async def both(row):
        first = await twice.ainvoke(row)
        return first if await twice.ainvoke(row) == first else "differs"

    found = run(up, target=RunnableLambda(both))
    assert found.test[0]["best"] == 1.0
    assert len(up.desk.paid) == len(set(up.desk.paid))
    assert direct_calls(up, "task") == 0


def test_a_chain_that_calls_synchronously_is_refused_with_the_way_out(up):
    model = online.model(up.base_url, "task")
    inner = ChatPromptTemplate.from_template(PROMPT) | model | StrOutputParser()
    with pytest.raises(ConfigError, match="synchronously") as caught:
        run(up, target=RunnableLambda(lambda row: inner.invoke(row)))
    assert "ainvoke" in str(caught.value)
    assert direct_calls(up, "task") == 0
    assert not up.desk.submitted


def test_a_judge_on_the_same_model_is_asked_directly(up):
    chain = online.chain(up.base_url)
    model = chain.middle[0]

    async def same(inputs, outputs, reference_outputs):
        await model.ainvoke(f"Call every stone a yes.\nWord: {inputs['word']}")
        return next(iter(outputs.values())) == reference_outputs["answer"]

    found = run(up, target=chain, evaluators=[same])
    assert direct_calls(up, "task") == found.usage["by_role"]["judge"]["calls"]
    assert len(up.desk.paid) == found.usage["by_role"]["task"]["calls"]
