"""Journal lines read back as the events they were: every kind, records of earlier versions, lines of later ones."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest

from langchain_promptopt.events import (
    EVENTS,
    Applied,
    Called,
    Dropped,
    Evaluated,
    EventTable,
    FeedbackGiven,
    Identified,
    Incident,
    Moved,
    Opened,
    Proposed,
    Pushed,
    Reason,
    Recalled,
    Rejected,
    Retrieved,
    RolledBack,
    RunFinished,
    RunStarted,
    ScoredRow,
    Selected,
    Tagged,
    Tested,
    dated,
    event_of,
)
from langchain_promptopt.types import Edit, Failure, Message, Prompt, PromptSet, Span, Stop, Usage
from tests.support.journals import improved_run

SPENT = Usage(3, 40, 5, 1, 0.25, 1.5)
PROMPTS = PromptSet(
    (
        Prompt(
            "main", (Message("system", "Today is {day}."), Message("human", "{{q}}", "mustache")), partials=("day",)
        ),
        Prompt("spare", (Message("human", "{q}"),), source="here", idle=True),
    )
)
WENT = {"actor": "push", "target": "o/n", "commit": "abc", "candidate_id": "c"}
WRITTEN = [
    RunStarted(
        run_id="r", version="1", method="pe2", recipe={"name": "pe2"}, seed=7, gate={"primary": "em"},
        models={"task": "m"}, evaluators=[{"name": "em", "hash": "h"}, {"name": "ok", "hash": "i"}],
        data={"splits": {"dev": 3}}, seed_candidate_id="b", prompts=PROMPTS,
        config={"data": {"source": "x.csv"}}, decides={"models": "0"},
    ),
    Called(key="1/p/0", role="optimizer", step=1, reply="hi", usage=SPENT, model_served="m", finish_reason="stop"),
    ScoredRow(
        candidate_id="c", split="dev", example_id="e", repeat=1, scores={"em": 0.5}, comments={"em": "why"},
        failure=Failure("unparsable", "no JSON", scored_zero=True), cached=True, usage=SPENT, model_served=None,
        output={"a": [1]}, judge=SPENT, tries=2, rendered=["main"], steps=[{"prompt": "main", "answer": "x"}],
    ),
    Evaluated(candidate_id="c", split="dev", n=4, score=0.5, failures=1, cached=2, usage=SPENT),
    FeedbackGiven(candidate_id="c", text="too long", example_ids=("e", "f"), step=2),
    Retrieved(candidate_id="c", strategy="Recent", items=(Recalled("a", 0.5, None), Recalled("d", None, 0.1)), step=2),
    Identified(candidate_id="c", protocol="quote", spans=[{"prompt": "main", "text": "x"}], tagged="<a>", step=1),
    Proposed(
        parent_id="b", candidate_id="c", step=1, scope="spans", prompts=PROMPTS, parents=("b",), leak=0.1,
        edits=(Edit(Span("main", 0, 0, 5), "Today", "Now", "shorter", ("e",)),), enforce="audit",
    ),
    Rejected(parent_id="b", step=1, rule="VARS", detail="lost {q}"),
    Selected(step=1, kept=("c",), dropped=(Dropped("d", "score"),)),
    Incident(role="task", kind="rate_limit", retryable=True, action="try 2", detail="429"),
    Opened(candidate_id="c", rows=40, attempt=1),
    Tested(metrics=[{"metric": "em"}], verdict="no_gain", opening=2, detail={"warnings": ["w"]}),
    Applied(**WENT),
    Pushed(**WENT),
    Tagged(**WENT, previous="old"),
    RolledBack(**(WENT | {"commit": None})),
    RunFinished(
        outcome="failed", exit_code=4, best_candidate_id="c", usage={"calls": 3, "by_role": {"task": SPENT.as_json()}},
        stopped=Stop("plateau", "3 steps"), error={"public": "no key", "retryable": True},
    ),
]  # fmt: skip


def line_of(event) -> dict:
    return json.loads(json.dumps({"type": event.type, "data": event.as_json()}))


def test_every_kind_of_event_is_among_them():
    assert [type(event) for event in WRITTEN] == list(EVENTS)


@pytest.mark.parametrize("event", WRITTEN, ids=lambda event: event.type)
def test_an_event_is_read_as_it_was_written(event):
    assert event_of(line_of(event)) == event


@pytest.mark.parametrize("event", WRITTEN, ids=lambda event: event.type)
def test_a_record_without_fields_or_with_null_in_them_is_read_as_nothing(event):
    bare = event_of({"type": event.type, "data": {}})
    assert type(bare) is type(event)
    assert event_of({"type": event.type, "data": {f.name: None for f in fields(event)}}) == bare


def test_what_later_versions_add_is_passed_over():
    event = WRITTEN[2]
    line = line_of(event)
    line["data"] |= {"mood": "fine", "usage": line["data"]["usage"] | {"watts": 3}}
    assert event_of(line) == event
    assert event_of({"type": "from.the.future", "data": {"x": 1}}) is None


def test_sentences_of_version_0_1_become_a_kind_and_a_detail():
    tested = event_of({"type": "tested", "data": {"verdict": "void", "detail": {"reason": "the model changed"}}})
    assert (tested.reason, tested.lost) == (Reason("", "the model changed"), True)
    ended = event_of({"type": "run.finished", "data": {"outcome": "no_gain", "stopped": "no gain in 3 steps"}})
    assert ended.stopped == Stop("custom", "no gain in 3 steps")


@pytest.mark.parametrize(
    ("verdict", "kind", "lost"), [("void", "budget", False), ("void", "model_changed", True), ("improved", "", False)]
)
def test_a_test_is_lost_unless_a_budget_ended_it(verdict, kind, lost):
    detail = {"reason": {"kind": kind, "detail": "x"}}
    assert Tested(metrics=(), verdict=verdict, opening=1, detail=detail).lost is lost


def test_a_price_that_is_not_recorded_is_unknown_and_no_usage_is_free():
    def usage(data):
        return event_of({"type": "called", "data": data}).usage

    assert usage({"usage": {"calls": 2}}) == Usage(2, usd=None)
    assert usage({}) == Usage()


def test_a_finished_run_tells_what_each_role_spent_and_what_ended_it():
    ended = event_of(line_of(WRITTEN[-1]))
    assert ended.by_role == {"task": SPENT}
    assert (ended.failure, ended.retryable) == ("no key", True)


def test_a_setting_is_none_where_the_record_has_none():
    started = WRITTEN[0]
    assert started.evaluator_names == ("em", "ok")
    assert started.setting("data", "source") == "x.csv"
    assert started.setting("data", "id") is started.setting("budget", "calls") is None


def test_prompts_are_read_with_the_variables_that_were_bound():
    again = PromptSet.from_json(json.loads(json.dumps(PROMPTS.as_json())))
    assert again == PROMPTS
    assert again.id == PROMPTS.id


def test_a_prompt_whose_text_does_not_parse_any_more_is_plain_text():
    data = PROMPTS.as_json()
    data[0]["messages"][0]["template"] = "Today is {day."
    changed = PromptSet.from_json(data)["main"]
    assert changed.messages[0] == Message("system", "Today is {day.", "literal")
    assert changed.as_json()["messages"][0]["template"] == "Today is {day."


def test_events_are_found_by_class_in_the_order_of_the_journal():
    lines = improved_run()
    table = EventTable([*lines, {"type": "from.the.future", "data": {}}])
    assert [s.step for s in table.all(Selected)] == [1, 2]
    assert table.first(Selected).step == 1
    assert table.last(Selected).step == 2
    assert table.all(Opened) == []
    assert table.first(Opened) is table.last(Opened) is None


def test_events_of_a_base_class_come_with_their_times():
    lines = [line_of(event) | {"time": f"t{i}"} for i, event in enumerate(WRITTEN)]
    moves = dated(lines, Moved)
    assert [(move.time, type(move.event)) for move in moves] == [
        ("t13", Applied), ("t14", Pushed), ("t15", Tagged), ("t16", RolledBack),
    ]  # fmt: skip
