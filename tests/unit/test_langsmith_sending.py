"""Ingestion that loses no run and stores none twice, whatever the service does meanwhile."""

from __future__ import annotations

import json

import pytest
from langchain_core.runnables import RunnableLambda
from langsmith import tracing_context

from langchain_promptopt import optimize
from langchain_promptopt._langsmith import traces as sending
from langchain_promptopt._langsmith.traces import TraceClient
from tests.support.faults import PLATFORM, FaultPlan, Rule
from tests.support.langsmith_env import KEY, point_at
from tests.support.langsmith_server import LangSmithServer
from tests.support.tasks import chain, optimizer, rows


@pytest.fixture(params=[(True, True), (False, True), (False, False)], ids=["zstd", "multipart", "batch"])
def server(request, monkeypatch):
    zstd, multipart = request.param
    with LangSmithServer(zstd=zstd, multipart=multipart) as running:
        point_at(monkeypatch, running.url, TRACING="true", PROJECT="p")
        yield running


def make(server, **more):
    return TraceClient(api_url=server.url, api_key=KEY, sleep=lambda _: None, **more)


def traced(sender, n=40):
    work = RunnableLambda(lambda x: x + 1).with_config(run_name="inner") | RunnableLambda(lambda x: x)
    with tracing_context(enabled=True, client=sender, project_name="p"):
        for i in range(n):
            work.invoke(i)


def whole(server, n=40):
    trees = server.traces("p")
    assert len(trees) == n
    assert all(len(list(t.walk())) == 3 for t in trees)
    assert all(r.outputs is not None for t in trees for r in t.walk())


@pytest.mark.parametrize("seed", range(4))
def test_a_third_of_all_requests_failing_loses_no_run(server, seed):
    server.faults = FaultPlan(rate=0.3, kinds=PLATFORM, seed=seed, retry_after="0")
    sender = make(server)
    traced(sender)
    assert sender.end(30) == 0
    whole(server)


@pytest.mark.parametrize("kind", ["500", "429", "reset", "lost", "truncated"])
def test_each_failure_once(server, kind):
    server.faults = FaultPlan(Rule(kind, "*/runs/*", "POST", attempts={0}))
    sender = make(server)
    traced(sender, 5)
    assert sender.end(30) == 0
    assert server.faults.fired
    whole(server, 5)


def test_what_would_not_go_waits_on_disk_without_a_key_and_goes_later(server, tmp_path):
    spool = tmp_path / "traces"
    server.faults = FaultPlan(Rule("503", "*/runs/*", "POST"))
    sender = make(server, spool=spool)
    traced(sender, 5)
    kept = sender.end(30)
    assert kept == len(list(spool.iterdir())) > 0
    for path in spool.iterdir():
        assert KEY not in path.read_text()
        assert path.stat().st_mode & 0o077 == 0
    assert server.traces("p") == []
    server.faults = None
    later = make(server, spool=spool)
    assert later.send_kept() == 0
    later.end(5)
    whole(server, 5)
    assert not spool.exists()


def test_without_a_folder_it_waits_in_memory(server):
    server.faults = FaultPlan(Rule("503", "*/runs/*", "POST"))
    sender = make(server)
    traced(sender, 3)
    sender.flush(timeout=20)
    server.faults = None
    assert sender.end(10) == 0
    whole(server, 3)


def test_what_hangs_until_the_end_is_kept_and_nothing_behind_it_is_lost(server, tmp_path):
    """A service that takes requests and never answers holds up every sender; the queue behind them must not go."""
    spool = tmp_path / "traces"
    server.faults = FaultPlan(Rule("hang", "*/runs/*", "POST"))
    sender = make(server, spool=spool, timeout_ms=(80, 80))
    for _ in range(2):
        traced(sender, 8)
        sender.flush(timeout=0.1)
    assert sender.end(0.1) == len(list(spool.iterdir())) > 0
    server.faults = None
    later = make(server, spool=spool)
    assert later.send_kept() == 0
    later.end(5)
    whole(server, 16)


def test_the_pause_asked_for_is_kept(server):
    server.faults = FaultPlan(Rule("429-retry-after", "*/runs/*", "POST", times=1), retry_after="7")
    pauses = []
    sender = TraceClient(api_url=server.url, api_key=KEY, sleep=pauses.append)
    traced(sender, 2)
    assert sender.end(30) == 0
    assert pauses == [7.0]
    whole(server, 2)


def test_a_run_whose_traces_would_not_go_still_ends_and_the_next_one_sends_them(monkeypatch, tmp_path):
    monkeypatch.setattr(sending, "_FIRST_PAUSE", 0.0)
    with LangSmithServer() as server:
        point_at(monkeypatch, server.url, TRACING="true", PROJECT="p")
        server.faults = FaultPlan(Rule("500", "*/runs/*", "POST"))
        given = {
            "data": rows(6, 6, 20), "evaluators": ["exact_match"], "method": "lpo-pe2", "runs_dir": tmp_path,
            "openings": tmp_path / "o.jsonl", "optimizer_model": optimizer(),
        }  # fmt: skip
        first = optimize(chain(), **given)
        assert first.outcome == "improved"
        assert list((tmp_path / first.run_id / "traces").iterdir())
        server.faults = None
        again = optimize(chain(), **given)
        assert again.replayed
        roots = [t for t in server.traces("p") if t.name == "promptopt"]
        assert len(roots) == 2
        evaluated = {e["data"]["example_id"] for e in first.events() if e["type"] == "scored"}
        seen = {t.metadata["promptopt_example_id"] for t in server.traces("p") if t.name == "promptopt.evaluate"}
        assert seen == evaluated
        assert json.dumps(server.unserved) == "[]"
