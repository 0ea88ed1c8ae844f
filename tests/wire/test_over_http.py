"""The same run over a real wire: OpenAI's client, HTTP, a server of ours on 127.0.0.1, the same programs behind it."""

from __future__ import annotations

import openai
import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI

from langchain_promptopt import Budget, Gate, IdentifyTokens, LocalProposal, TextualGradient, optimize
from langchain_promptopt._langchain.models import resolve_model
from langchain_promptopt._runtime.concurrency import run_sync
from langchain_promptopt.errors import CredentialsError, TooManyFailures
from langchain_promptopt.offline import OfflineOptimizerModel, OfflineTaskModel, demo_prompt, demo_rows
from langchain_promptopt.testing.scripted import ScriptedModel
from tests.support.faults import FaultPlan
from tests.support.openai_server import brain_of, serve

SIZES = {"train": 16, "dev": 16, "test": 24}


def rows() -> list[dict]:
    """Some of the demo's rows: a run over HTTP takes a few seconds with them."""
    left, out = dict(SIZES), []
    for row in demo_rows():
        split = row["metadata"]["split"]
        if left.get(split, 0):
            left[split] -= 1
            out.append(row)
    return out


def run(chain, optimizer, tmp_path, **more):
    arguments = {"data": rows(), "evaluators": ["exact_match"], "budget": Budget(search_calls=220), "runs_dir": None}
    arguments["method"] = "lpo-pe2"
    return optimize(chain, optimizer_model=optimizer, openings=tmp_path / "openings.jsonl", **arguments | more)


def chain_with(model):
    return ChatPromptTemplate.from_template(demo_prompt()) | model | StrOutputParser()


@pytest.fixture(scope="module")
def at_home(tmp_path_factory):
    """The same programs in process; the optimizer as one that takes no seed, like a model given by name."""
    brain = OfflineOptimizerModel()
    unseeded = ScriptedModel(fn=lambda messages: brain.invoke(messages).text, model_name="offline-optimizer")
    return run(chain_with(OfflineTaskModel()), unseeded, tmp_path_factory.mktemp("home"))


@pytest.fixture
def server():
    with serve({"task": brain_of(OfflineTaskModel()), "optimizer": brain_of(OfflineOptimizerModel())}) as running:
        yield running


def same(result, other):
    assert result.best.id == other.best.id
    assert result.test == other.test
    assert result.edits == other.edits
    assert (result.outcome, result.exit_code) == (other.outcome, other.exit_code)
    ours, theirs = result.usage["by_role"], other.usage["by_role"]
    assert {r: u["calls"] for r, u in ours.items()} == {r: u["calls"] for r, u in theirs.items()}


def test_the_run_in_process_finds_something(at_home):
    assert at_home.edits, "nothing would be compared"
    assert at_home.test[0]["difference"] > 0


def test_chat_models_over_http_give_the_same_result(at_home, server, tmp_path):
    live = chain_with(ChatOpenAI(model="task", base_url=server.base_url, api_key="k", max_retries=0))
    before = live.first.messages[0].prompt.template
    brain = ChatOpenAI(model="optimizer", base_url=server.base_url, api_key="k", max_retries=0)
    result = run(live, brain, tmp_path)
    same(result, at_home)
    assert result.usage["calls"] == len(server.requests)
    assert (live.first.messages[0].prompt.template != before) == result.applied


def test_a_seeded_model_draws_the_same_over_http(server, tmp_path):
    seeded = run(chain_with(OfflineTaskModel()), OfflineOptimizerModel(seed=5), tmp_path)
    live = chain_with(ChatOpenAI(model="task", base_url=server.base_url, api_key="k", max_retries=0))
    brain = ChatOpenAI(model="optimizer", base_url=server.base_url, api_key="k", max_retries=0, seed=5)
    same(run(live, brain, tmp_path / "other"), seeded)


def test_what_was_spent_is_what_the_server_counted(server, tmp_path):
    counted = {"prompt_tokens": 0, "completion_tokens": 0}
    plain = server.chat

    async def counting(body):
        import json

        told = json.loads((await plain({**body, "stream": False})).body)["usage"]
        for key in counted:
            counted[key] += told[key]
        return await plain(body)

    server.chat = counting
    live = chain_with(ChatOpenAI(model="task", base_url=server.base_url, api_key="k", max_retries=0))
    brain = ChatOpenAI(model="optimizer", base_url=server.base_url, api_key="k", max_retries=0)
    result = run(live, brain, tmp_path)
    assert result.usage["input_tokens"] == counted["prompt_tokens"]
    assert result.usage["output_tokens"] == counted["completion_tokens"]


@pytest.mark.parametrize("kind", [openai.OpenAI, openai.AsyncOpenAI])
def test_an_openai_client_and_a_name_are_a_model(kind, at_home, server, tmp_path):
    client = kind(base_url=server.base_url, api_key="k", max_retries=0)
    template = ChatPromptTemplate.from_template(demo_prompt())
    result = run(template, (client, "optimizer"), tmp_path, task_model=(client, "task"))
    same(result, at_home)
    if kind is openai.AsyncOpenAI:
        run_sync(client.close)  # on the loop that opened its connections
    else:
        client.close()


def test_a_name_is_resolved_by_the_environment(server, tmp_path, monkeypatch, at_home):
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    template = ChatPromptTemplate.from_template(demo_prompt())
    same(run(template, "openai:optimizer", tmp_path, task_model="openai:task"), at_home)


def test_transient_faults_on_the_wire_change_nothing(at_home, tmp_path):
    """429 and 503 are tried again; the result is the one of a calm day."""
    from langchain_promptopt._runtime.clock import FakeClock

    brains = {"task": brain_of(OfflineTaskModel()), "optimizer": brain_of(OfflineOptimizerModel())}
    with serve(brains, faults=FaultPlan(rate=0.05, kinds=["429", "503"], seed=3)) as server:
        live = chain_with(ChatOpenAI(model="task", base_url=server.base_url, api_key="k", max_retries=0))
        brain = ChatOpenAI(model="optimizer", base_url=server.base_url, api_key="k", max_retries=0)
        result = run(live, brain, tmp_path, clock=FakeClock())
        assert sum(e["type"] == "incident" for e in result.events()) >= 1
    assert result.best.id == at_home.best.id
    assert result.test == at_home.test


def test_a_refused_key_stops_at_once(tmp_path):
    with serve({"task": brain_of(OfflineTaskModel())}, key="right") as server:
        live = chain_with(ChatOpenAI(model="task", base_url=server.base_url, api_key="wrong", max_retries=0))
        with pytest.raises(CredentialsError) as caught:
            run(live, OfflineOptimizerModel(), tmp_path)
        assert caught.value.exit_code == 2
        assert "wrong" not in str(caught.value)
        assert len(server.requests) <= 32, "one wave of calls at most"


def test_an_unknown_model_stops_at_once(server, tmp_path):
    live = chain_with(ChatOpenAI(model="nobody", base_url=server.base_url, api_key="k", max_retries=0))
    with pytest.raises((CredentialsError, TooManyFailures)) as caught:
        run(live, OfflineOptimizerModel(), tmp_path, gate=Gate())
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("client", ["chat model", "openai client"])
def test_steps_share_a_client_one_call_after_the_other(client):
    """Connections stay open between calls, and belong to the event loop that opened them."""
    prompt = "Sort the ticket.\n\nLabels:\n- refund: money back\n- billing: invoice, return\n\nTicket: {ticket}"
    errors = [{"inputs": {"ticket": "I return the lamp"}, "expected": {"label": "refund"}, "answer": "billing"}]
    with serve({"optimizer": brain_of(OfflineOptimizerModel())}) as server:
        given = openai.AsyncOpenAI(base_url=server.base_url, api_key="k", max_retries=0)
        if client == "chat model":
            model = ChatOpenAI(model="optimizer", base_url=server.base_url, api_key="k", max_retries=0)
        else:
            model = resolve_model((given, "optimizer"), "optimizer")
        steps = TextualGradient(model=model) | IdentifyTokens(model=model) | LocalProposal(model=model)
        found = [steps.invoke({"prompt": prompt, "errors": errors}) for _ in range(2)]
        run_sync(given.close)
        assert len(server.requests) == 4  # reasons, then marks and new texts in one reply
    assert [len(piece.drafts) for piece in found] == [1, 1]
    assert found[0].drafts == found[1].drafts
