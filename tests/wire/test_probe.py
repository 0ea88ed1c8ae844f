"""`check` asks each endpoint, for free, whether it takes the key and knows the model."""

from __future__ import annotations

import json

import pytest
from langchain_openai import ChatOpenAI

from langchain_promptopt._langchain.models import probe
from langchain_promptopt._langsmith.service import probe_langsmith
from langchain_promptopt._runtime.concurrency import run_sync
from langchain_promptopt.config import load_config
from langchain_promptopt.errors import CredentialsError
from langchain_promptopt.offline import offline_model
from langchain_promptopt.optimizer.costs import refuse_unknown_models
from langchain_promptopt.pipeline import prepare
from langchain_promptopt.pipeline.check import check
from tests.support.faults import FaultPlan
from tests.support.langsmith_server import LangSmithServer
from tests.support.openai_server import echo, serve

NOBODY = "http://127.0.0.1:9/v1"


def asked(url, name="known", key="right"):
    return run_sync(lambda: probe("task", ChatOpenAI(model=name, base_url=url, api_key=key)))


def test_a_model_that_is_there_answers_and_nothing_is_paid():
    with serve({"known": echo}, key="right") as server:
        found = asked(server.base_url)
        assert [r.path for r in server.requests] == ["/v1/models/known"]
    assert (found.state, found.exit_code, found.where) == ("answers", 0, server.base_url)


@pytest.mark.parametrize(
    ("key", "name", "state", "code"), [("wrong", "known", "refused", 2), ("right", "other", "unlisted", 0)]
)
def test_a_wrong_key_is_refused_and_an_unknown_name_is_told_what_there_is(key, name, state, code):
    with serve({"known": echo}, key="right") as server:
        found = asked(server.base_url, name, key)
    assert (found.state, found.exit_code) == (state, code)
    assert state == "refused" or "known" in found.detail
    assert "wrong" not in json.dumps(found.as_json())


@pytest.mark.parametrize("fault", ["503", "reset"])
def test_an_endpoint_that_is_down_is_told_apart_from_a_refusal(fault):
    with serve(faults=FaultPlan(rate=1.0, kinds=(fault,))) as server:
        found = asked(server.base_url)
    assert (found.state, found.exit_code) == ("unreachable", 5)


@pytest.mark.parametrize("fault", ["403", "404", "429", "503", "reset", "quota"])
def test_only_a_refused_key_ends_a_run_before_its_first_call(fault):
    with serve(faults=FaultPlan(rate=1.0, kinds=(fault,), most=9)) as server:
        refuse_unknown_models([asked(server.base_url)])
    with serve(key="right") as server, pytest.raises(CredentialsError, match="refuses the task model"):
        refuse_unknown_models([asked(server.base_url, key="wrong")])


def test_nobody_there():
    assert asked(NOBODY).state == "unreachable"


def test_other_models_are_not_asked():
    assert run_sync(lambda: probe("task", offline_model("task"))).state == "not asked"


def test_langsmith_is_asked_only_where_it_is_used(monkeypatch):
    assert probe_langsmith(wanted=False) == ()
    with LangSmithServer() as server:
        monkeypatch.setenv("LANGSMITH_ENDPOINT", server.url)
        monkeypatch.setenv("LANGSMITH_API_KEY", "k")
        assert [p.state for p in probe_langsmith(wanted=True)] == ["answers"]
    assert [(p.state, p.exit_code) for p in probe_langsmith(wanted=True)] == [("unreachable", 5)]


@pytest.mark.parametrize(("key", "code"), [("right", 0), ("wrong", 2)])
def test_check_reports_everything_free_beside_the_refusal(tmp_path, monkeypatch, key, code):
    rows = [{"inputs": {"word": f"w{i}"}, "outputs": {"answer": "x"}, "metadata": {"id": f"r{i}"}} for i in range(60)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "prompt.txt").write_text("Say x when you see a word.\n\nWord: {word}")
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with serve({"known": echo}, key="right") as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        (tmp_path / "promptopt.toml").write_text(
            '[task]\nprompt = "prompt.txt"\nmodel = "openai:known"\n[data]\nsource = "rows.jsonl"\n'
            '[evaluate]\nevaluators = ["exact_match"]\n[optimize]\nmodel = "openai:known"\n'
        )
        report = check(prepare(load_config(tmp_path / "promptopt.toml")))
        assert {r.method for r in server.requests} == {"GET"}
    assert report.exit_code == report.as_json()["exit_code"] == code
    assert report.facts.estimate.likely.total_calls
    assert [p.role for p in report.probes] == ["task"]
