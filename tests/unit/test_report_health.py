"""Health of a run: obedience of the optimizer model, and rows whose label is in doubt."""

from __future__ import annotations

from dataclasses import replace

import pytest

from langchain_promptopt import optimize
from langchain_promptopt.events import EventTable
from langchain_promptopt.presets import lpo_pe2
from langchain_promptopt.report.record import Health, RunRecord, SuspectRow, health_of
from langchain_promptopt.report.render import render
from langchain_promptopt.report.wording import health_facts
from langchain_promptopt.strategies.selection import Steps
from tests.support.tasks import chain, improve, optimizer, rows


def said(text, ids=("train-1", "train-11")):
    return {"type": "feedback", "data": {"candidate_id": "c", "text": text, "example_ids": ids}}


def health(*events) -> Health:
    return health_of(EventTable(events))


STARTED = {"type": "run.started", "data": {"gate": {}, "evaluators": [{"name": "em"}]}}


def scored(candidate, example, value, split="dev", failure=None):
    data = {"candidate_id": candidate, "split": split, "example_id": example, "scores": {"em": value}}
    return {"type": "scored", "data": data | {"failure": failure}}


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ("The expected answer is wrong here.", 1),
        ("The expected answers seem to be correct. The gold label looks incorrect in row 2.", 1),
        ("Row 3 is mislabelled. Row 4 has a labelling error.", 2),
        ("The reference output might be mistaken; the prompt is fine.", 1),
        ("The answer is wrong because the prompt says PLANT.", 0),
        ("The expected answers are correct; the model answered incorrectly.", 0),
        ("The answer is wrong. The expected answer was animal.", 0),
        ("Row 4 has the wrong label. The row 5 example is wrongly labelled.", 2),
        ("The model chose the wrong label. The rule names the wrong label for returns.", 0),
        ("The prompt makes the model predict wrong labels whenever a row speaks of money.", 0),
    ],
)
def test_objections_are_sentences_that_call_a_label_wrong(text, n):
    assert health(said(text)).objections == n


def test_an_objection_goes_to_the_row_it_names():
    events = [STARTED, *(scored("a", i, 1.0, "train") for i in ("train-1", "train-11"))]
    named = health(*events, said("For row train-11 the expected answer is wrong."))
    assert [(s.example_id, s.objections) for s in named.suspects] == [("train-11", 1)]
    unnamed = health(*events, said("One expected answer is wrong."))
    assert {s.example_id for s in unnamed.suspects} == {"train-1", "train-11"}


def test_a_row_is_suspect_when_three_candidates_all_fail_it():
    events = [STARTED]
    for candidate in "abc":
        events += [scored(candidate, "never", 0.0), scored(candidate, "once", float(candidate == "c"))]
        events += [scored(candidate, "test-row", 0.0, "test")]
    events += [scored(c, "twice", 0.0) for c in "ab"]
    outage = {"kind": "timeout", "scored_zero": False}
    events += [scored(c, "dropped", 0.0, failure=outage) for c in "abc"]
    assert [(s.split, s.example_id, s.failed) for s in health(*events).suspects] == [("dev", "never", 3)]


def test_doubted_labels_and_hard_rows_are_told_apart():
    rows = (SuspectRow("train", "t-1", 1, 2, objections=1), *(SuspectRow("dev", f"d-{i}", 3, 3) for i in range(12)))
    told = dict(health_facts(Health(suspects=rows)))
    assert told["labels the optimizer model doubts"] == "t-1 (train)"
    hard = told["no prompt got right: hard, or labelled wrong"]
    assert hard.startswith("d-0 (dev), ")
    assert hard.endswith("d-9 (dev) and 2 more")
    assert "t-1" not in hard


def test_nothing_asked_is_no_rate():
    assert health() == Health()
    assert health_facts(Health()) == []


def sloppy(messages):
    """Half of the marks are nowhere, and every first slot reply is no JSON."""
    request = str(messages[-1].text)
    if "JSON list" in request and "could not be used" not in request:
        return '[{"message": 0, "quote": "words that stand nowhere", "reason": "x"}]'
    if "could not be used" in request:
        asked = next(str(m.text) for m in reversed(messages[:-1]) if "JSON" in str(m.text))
        return improve([*messages[:-1], type(messages[-1])(asked)])
    if "JSON object" in request:
        return "certainly!"
    return improve(messages)


def test_obedience_is_counted():
    result = optimize(
        chain(),
        data=rows(),
        evaluators=["exact_match"],
        optimizer_model=optimizer(sloppy),
        method=replace(lpo_pe2(), stop=Steps(limit=1)),
        runs_dir=None,
        openings=None,
    )
    health = result.health
    rates = {r.rule: r.count for r in health.rules}
    assert rates["quote_not_found"] == 4
    assert rates["no_json"] == 4
    assert health.tag_validity == 0.5
    assert health.second_tries == 8
    assert health.leak == 0.0
    assert health.calls == 4 * (1 + 2 + 2)
    assert sum(r.rate for r in health.rules) < 1
    assert result.as_json()["health"]["second_tries"] == 8


@pytest.mark.parametrize("form", ["html", "markdown"])
def test_reports_show_it(form):
    result = optimize(
        chain(),
        data=rows(),
        evaluators=["exact_match"],
        optimizer_model=optimizer(sloppy),
        method=replace(lpo_pe2(), stop=Steps(limit=1)),
        runs_dir=None,
        openings=None,
    )
    record = RunRecord.from_events(list(result.events()))
    text = render(record, form)
    assert "How the optimizer model did" in text
    assert "marks that could be used" in text
    assert "8 of 20 calls" in text
