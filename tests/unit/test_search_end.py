"""Why a search ended: a kind and a detail, the same in the result, the record and every report."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, replace

import pytest

from langchain_promptopt import Budget, optimize
from langchain_promptopt.presets import lpo_pe2
from langchain_promptopt.report.record import RunRecord
from langchain_promptopt.report.render import render
from langchain_promptopt.report.terminal import run_view
from langchain_promptopt.report.wording import search_end
from langchain_promptopt.strategies.selection import Steps
from langchain_promptopt.types import Stop
from tests.support.tasks import chain, optimizer, rows


def run(method="lpo-pe2", model=None, **more):
    return optimize(
        chain(),
        data=rows(),
        evaluators=["exact_match"],
        optimizer_model=model or optimizer(),
        method=method,
        runs_dir=None,
        openings=None,
        **more,
    )


@dataclass(frozen=True)
class Says:
    """A stranger's rule that ends the search after one step."""

    why: object

    def total(self, n_train):  # noqa: ARG002
        return 5

    def reason(self, progress):  # noqa: ARG002
        return self.why


def useless(_):
    return "no idea"


@pytest.mark.parametrize(
    "why",
    [
        Stop("custom", "budgeted time for this experiment is over"),
        "budgeted time for this experiment is over",
        "overfitting to the stakeholder",
        "plateau of my patience",
    ],
)
def test_the_words_of_a_strangers_stopping_decide_nothing(why):
    result = run(replace(lpo_pe2(), stop=Says(why)), optimizer(useless))
    assert (result.outcome, result.exit_code) == ("no_gain", 3)
    assert result.stopped == Stop("custom", getattr(why, "detail", why))
    signs = [e["data"]["kind"] for e in result.events() if e["type"] == "incident"]
    assert not {"budget", "overfitting", "plateau"} & set(signs)


def test_the_budget_of_the_run_is_the_outcome_budget():
    result = run(replace(lpo_pe2(), stop=Steps(limit=9)), optimizer(useless), budget=Budget(search_calls=40))
    assert (result.outcome, result.stopped.kind) == ("budget", "budget")


def test_every_output_says_why_the_search_ended():
    result = run(replace(lpo_pe2(), stop=Steps(limit=1, least_errors=0)))
    assert result.stopped == Stop("saturated", "dev is at 100.0 and cannot show more")
    told = {"kind": "saturated", "detail": "dev is at 100.0 and cannot show more"}
    assert result.as_json()["stopped"] == told
    events = json.loads(json.dumps(list(result.events()), default=str))
    finished = next(e["data"] for e in events if e["type"] == "run.finished")
    assert finished["stopped"] == told
    record = RunRecord.from_events(events)
    sentence = "The search ended because there was no room left to gain: dev is at 100.0 and cannot show more."
    assert search_end(record) == sentence
    assert sentence in render(record, "markdown")
    assert sentence in render(record, "html")
    from rich.console import Console

    console = Console(width=200, record=True, file=io.StringIO())
    console.print(run_view(record))
    assert sentence in console.export_text()


def test_records_of_the_first_version_keep_their_sentence():
    result = run()
    events = json.loads(json.dumps(list(result.events()), default=str))
    for event in events:
        if event["type"] == "run.finished":
            event["data"]["stopped"] = "max steps"
    assert RunRecord.from_events(events).stopped == Stop("custom", "max steps")
