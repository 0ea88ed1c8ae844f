"""`promptopt push` and `promptopt rollback` as they are typed: what they say, and with which code they end."""

from __future__ import annotations

import json

import pytest
from langchain_core.prompts import ChatPromptTemplate

from langchain_promptopt.cli.app import run as promptopt
from langchain_promptopt.types import Message, Prompt, PromptSet
from tests.support.langsmith_env import client, point_at
from tests.support.langsmith_server import LangSmithServer
from tests.support.recorded import recorded_run

OLD = PromptSet((Prompt("main", (Message("system", "Be kind."), Message("human", "{ticket}"))),))


def chat(text):
    return ChatPromptTemplate([("system", text), ("human", "{ticket}")])


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROMPTOPT_RUNS_DIR", str(tmp_path / "runs"))
    recorded_run(tmp_path / "runs" / "abcdef0123456789", OLD, ("Be kind.", "Be brief."))
    with LangSmithServer() as running:
        point_at(monkeypatch, running.url)
        client(running.url).push_prompt("triage", object=chat("Be kind."), commit_tags="staging")
        yield running


def said(capfd, *words):
    """Exit code and output of a line."""
    code = promptopt(list(words))
    shown = capfd.readouterr()
    return code, " ".join((shown.out + shown.err).split())


def test_push_rollback_and_push_again_name_the_tag_and_its_place(server, capfd):
    before = server.prompts.all["triage"].head["commit_hash"]
    code, text = said(capfd, "push", "latest", "acme/triage", "--tag", "staging")
    after = server.prompts.all["triage"].head["commit_hash"]
    assert (code, text) == (0, f"pushed acme/triage as {after}; the tag 'staging' points to it")
    code, text = said(capfd, "rollback", "latest")
    assert (code, text) == (0, f"rolled back: acme/triage:staging points to {before}")
    code, text = said(capfd, "rollback", "latest")
    assert code == 2
    assert "no push to take back" in text
    code, text = said(capfd, "push", "latest", "acme/triage", "--tag", "staging", "--json")
    assert code == 0
    assert json.loads(text) == {"run": "latest", "target": "acme/triage", "commit": after, "tag": "staging"}


def test_a_tag_that_was_new_is_gone_again(server, capfd):
    assert said(capfd, "push", "latest", "acme/triage", "--tag", "tried")[0] == 0
    assert said(capfd, "rollback", "latest") == (0, "rolled back: acme/triage:tried is removed")
    assert set(server.prompts.all["triage"].tags) == {"staging"}


def test_a_colleagues_commit_is_refused_with_the_way_out(server, capfd):
    client(server.url).push_prompt("triage", object=chat("theirs"))
    code, text = said(capfd, "push", "latest", "acme/triage", "--tag", "staging")
    assert code == 2
    assert "changed by somebody else" in text
    assert "push under another name" in text
    assert len(server.prompts.all["triage"].commits) == 2
    assert said(capfd, "push", "latest", "acme/triage-brief", "--tag", "staging")[0] == 0


def test_the_report_names_the_next_step(server, capfd):
    _, text = said(capfd, "show", "latest")
    assert "promptopt push abcdef0123456789 OWNER/NAME" in text
    assert "promptopt rollback abcdef0123456789" in text
