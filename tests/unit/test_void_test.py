"""A test without a verdict: it says why in every output, shows no rows of it, and is not the last word of its run."""

from __future__ import annotations

import io
import json
import re
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from langchain_core.messages import AIMessage
from rich.console import Console

from langchain_promptopt import Budget, compare, optimize
from langchain_promptopt.errors import UsageError
from langchain_promptopt.presets import lpo_pe2
from langchain_promptopt.report.record import RunRecord
from langchain_promptopt.report.render import render
from langchain_promptopt.report.terminal import run_view
from langchain_promptopt.settings import RetryPolicy
from langchain_promptopt.store import read_events, visible_events
from langchain_promptopt.store.lines import unfinished_runs
from langchain_promptopt.strategies.selection import Steps
from tests.support.tasks import PROMPT, answer, chain, optimizer, rows

SEARCHED = replace(lpo_pe2(), stop=Steps(limit=1))
PROVIDER = "a_provider_of_these_tests"
"""A module that no code names: what a provider does is no part of what a run is."""


def moves(monkeypatch, there=True):
    """Let the provider move the alias, or leave it where it is."""
    monkeypatch.setitem(sys.modules, PROVIDER, SimpleNamespace(moves=there))


def drifting(messages):
    """The provider moves an alias to another model in the middle of the test, as long as it does so."""
    word = str(messages[-1].text).rsplit("Word: ", 1)[1]
    moved = getattr(sys.modules.get(PROVIDER), "moves", False) and "-test-" in word and int(word.rsplit("-", 1)[1]) > 12
    usage = {"input_tokens": 30, "output_tokens": 1, "total_tokens": 31}
    served = {"model_name": "task-2" if moved else "task-1"}
    return AIMessage(answer(messages), usage_metadata=usage, response_metadata=served)


def run(tmp_path, fn=drifting, **more):
    return optimize(
        chain(fn),
        data=rows(test=24),
        evaluators=["exact_match"],
        optimizer_model=optimizer(),
        method=SEARCHED,
        runs_dir=tmp_path / "runs",
        openings=tmp_path / "openings.jsonl",
        **more,
    )


def journal(result):
    return result.folder / "journal.jsonl"


def outputs(result):
    """Every format a person reads, by name."""
    record = RunRecord.from_events(list(result.events()))
    console = Console(width=300, record=True, file=io.StringIO())
    console.print(run_view(record))
    written = {kind: render(record, kind) for kind in ("markdown", "html", "junit")}
    return {**written, "terminal": console.export_text(), "json": json.dumps(result.as_json())}


@pytest.fixture
def void(tmp_path, monkeypatch):
    moves(monkeypatch)
    return run(tmp_path)


def test_every_output_says_why_the_test_is_void(void):
    assert (void.outcome, void.exit_code, void.test, void.applied) == ("inconclusive", 3, [], False)
    assert void.reason.kind == "model_changed"
    assert void.as_json()["reason"]["kind"] == "model_changed"
    assert any("task-1, task-2" in w and "next opening" in w for w in void.warnings)
    for name, text in outputs(void).items():
        assert "opened, but the test is void" in text, name
        assert "task-2" in text, name
        assert "were not opened" not in text, name


def test_no_row_of_a_void_test_is_shown_anywhere(void):
    tested = [e for e in read_events(journal(void)) if e["type"] == "scored" and e["data"]["split"] == "test"]
    assert len(tested) == 48
    for events in (list(void.events()), list(visible_events(journal(void)))):
        assert not [e for e in events if e["data"].get("split") == "test"]
    record = RunRecord.from_events(list(read_events(journal(void))))  # whoever reads the journal itself
    assert "test" not in record.rows
    for name, text in outputs(void).items():
        assert "test-2" not in text, name


def test_the_same_run_again_tests_anew_as_the_next_opening(void, tmp_path, monkeypatch):
    moves(monkeypatch, there=False)
    asked = len(list(read_events(journal(void))))
    again = run(tmp_path)
    assert again.run_id == void.run_id
    assert (again.outcome, again.replayed) == ("improved", False)
    assert (again.test[0]["opening"], again.test[0]["n"]) == (2, 24)
    new = list(read_events(journal(again)))[asked:]
    assert {e["data"]["split"] for e in new if e["type"] == "scored"} == {"test"}
    shown = [e["data"]["repeat"] for e in again.events() if e["type"] == "scored" and e["data"]["split"] == "test"]
    assert (len(shown), set(shown)) == (48, {1})
    assert len(RunRecord.from_events(list(again.events())).rows["test"].all) == 24
    assert again.usage["calls"] == void.usage["calls"] + 48  # what the void test cost is on the account
    last = run(tmp_path)
    assert (last.outcome, last.replayed) == ("improved", True)
    assert len((tmp_path / "openings.jsonl").read_text().splitlines()) == 2


def test_retries_that_used_up_the_reserve_of_the_test_are_named(tmp_path):
    plain = run(tmp_path / "plain")
    seen = set()

    def shaky(messages):
        """Each test row cannot be reached at the first try."""
        text = str(messages[-1].text)
        if "-test-" in text and text not in seen:
            seen.add(text)
            msg = "connection refused"
            raise ConnectionError(msg)
        return drifting(messages)

    policy = RetryPolicy(base=0.0, jitter=False)
    budget = Budget(calls=plain.usage["calls"])
    ended = run(tmp_path / "shaky", shaky, budget=budget, policy=policy, max_concurrency=1)
    assert (ended.outcome, ended.reason.kind, ended.test) == ("budget", "budget", [])
    assert re.search(r"; \d+ of its calls were retries, which no reserve knows", ended.reason.detail)


def dear(messages):
    """Test rows take a hundred times the tokens of other rows, which no reserve foresees."""
    usage = {"input_tokens": 3000 if "-test-" in str(messages[-1].text) else 30, "output_tokens": 1}
    usage["total_tokens"] = usage["input_tokens"] + 1
    return AIMessage(answer(messages), usage_metadata=usage, response_metadata={"model_name": "task-1"})


def test_a_budget_that_ends_during_the_test_says_so_and_the_test_goes_on(tmp_path):
    ended = run(tmp_path, dear, budget=Budget(tokens=30_000), max_concurrency=1)
    assert (ended.outcome, ended.exit_code, ended.test, ended.reason.kind) == ("budget", 4, [], "budget")
    for name, text in outputs(ended).items():
        assert "opened, but the test is void: the budget ended during the test" in text, name
        assert "test-2" not in text, name
    on = run(tmp_path, dear, budget=Budget(tokens=10**6))
    assert (on.outcome, on.test[0]["opening"], on.test[0]["n"]) == ("improved", 1, 24)
    paid = [e for e in read_events(journal(on)) if e["type"] == "scored" and e["data"]["split"] == "test"]
    assert len(paid) == 48  # no row of the first part was asked for again


def test_a_void_comparison_says_why_too(tmp_path, monkeypatch):
    moves(monkeypatch)
    task = {
        "data": rows(test=24),
        "evaluators": ["exact_match"],
        "runs_dir": tmp_path,
        "openings": tmp_path / "o.jsonl",
    }
    new = chain(drifting)
    new.first.messages[0].prompt.template = PROMPT.replace("a PLANT", "an animal")
    result = compare(chain(drifting), new, **task)
    assert (result.outcome, result.test, result.reason.kind) == ("inconclusive", [], "model_changed")
    assert any("void" in w for w in result.warnings)
    moves(monkeypatch, there=False)
    again = compare(chain(drifting), new, **task)
    assert (again.outcome, again.replayed, again.test[0]["opening"]) == ("improved", False, 2)


def test_a_run_whose_test_was_void_can_go_on_and_one_with_a_verdict_cannot(void, tmp_path, monkeypatch):
    assert unfinished_runs(tmp_path / "runs") == [void.folder]
    moves(monkeypatch, there=False)
    run(tmp_path)
    with pytest.raises(UsageError, match=r"no unfinished run among 1 \(1 ended with a verdict\)"):
        unfinished_runs(tmp_path / "runs")
