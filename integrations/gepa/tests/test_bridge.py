"""A real `gepa.optimize` with local edits, its result through the gate, and what the proposer keeps."""

from __future__ import annotations

import json

import gepa
import pytest
import triage
from langchain_promptopt_gepa import LocalEdits, row_of, system_prompt, task_lm

from langchain_promptopt.errors import UsageError
from langchain_promptopt.offline import offline_model
from langchain_promptopt.testing.scripted import ScriptedModel

TEXT = triage.SEED["triage"]
WRONG = {
    "Inputs": "My parcel is missing, I want a refund",
    "Generated Outputs": "billing",
    "Feedback": "Wrong. The correct answer is 'delivery'.",
}


@pytest.fixture(scope="module")
def searched():
    """One real search: the proposer, and what GEPA found."""
    proposer = LocalEdits(offline_model("optimizer"), frozen=["Answer with the label only."])
    return proposer, triage.search(proposer)


def test_gepa_finds_it_by_local_edits_and_the_gate_agrees(searched):
    proposer, found = searched
    best = found.best_candidate["triage"]
    assert best == TEXT.replace('mentions "refund", answer billing', 'mentions "refund", answer delivery')
    assert found.val_aggregate_scores[found.best_idx] > found.val_aggregate_scores[0]
    first = proposer.edits[0]
    assert (first.component, first.old, first.new) == ("triage", "billing", "delivery")
    assert "refund" in first.reason
    result = triage.decide(found)
    assert result.outcome == "improved"
    assert [(e.old, e.new) for e in result.edits] == [("billing", "delivery")]
    assert (result.test[0]["baseline"], result.test[0]["best"], result.test[0]["n"]) == (0.5, 1.0, 24)
    assert result.usage["by_role"]["task"]["calls"] == 48


def test_what_helps_only_the_examples_of_the_search_does_not_pass(searched):
    others = (
        ("My invoice shows a wrong sum", "billing"),
        ("My parcel is late", "delivery"),
        ("I was charged twice, give me a refund", "billing"),
        ("My password is not accepted", "billing"),
    )
    result = triage.decide(searched[1], others)
    assert result.test[0]["difference"] < 0
    assert result.outcome == "no_gain"


def test_a_search_that_found_nothing_is_told_before_any_call():
    nothing = ScriptedModel(fn=lambda messages: "I would change nothing.")
    found = triage.search(LocalEdits(nothing))
    assert nothing.calls
    assert found.candidates == [triage.SEED]
    with pytest.raises(UsageError, match="the one it began with"):
        triage.decide(found)


def marking(line, old, new):
    """An optimizer model that always wants this change."""
    reply = json.dumps([{"line": line, "old": old, "new": new, "reason": "because"}])
    return ScriptedModel(fn=lambda messages: reply)


def line_of(text, part):
    return next(n for n, line in enumerate(text.split("\n"), 1) if part in line)


def test_only_the_marked_words_change():
    at = line_of(TEXT, "refund")
    proposer = LocalEdits(marking(at, "answer billing", "answer delivery"))
    new = proposer({"triage": TEXT, "other": "x"}, {"triage": [WRONG]}, ["triage"])
    assert new == {"triage": TEXT.replace("answer billing", "answer delivery")}


def test_frozen_text_stays_and_the_component_keeps_its_text(caplog):
    at = line_of(TEXT, "refund")
    frozen = '- If the message mentions "refund", answer billing.'
    proposer = LocalEdits(marking(at, "answer billing", "answer delivery"), frozen=[frozen])
    assert proposer({"triage": TEXT}, {"triage": [WRONG]}, ["triage"]) == {}
    assert "no lawful edit of component 'triage'" in caplog.text
    assert proposer.edits == []


def test_braces_are_text_and_names_in_them_stay():
    text = 'Answer as {"label": "..."}.\nRead {ticket}, {{ date }} and say billing.'
    record = {"p": [WRONG]}
    assert LocalEdits(marking(2, "say billing", "say delivery"))({"p": text}, record, ["p"]) == {
        "p": text.replace("say billing", "say delivery")
    }
    for name in ("{ticket}", "{{ date }}"):
        assert LocalEdits(marking(2, name, "it"))({"p": text}, record, ["p"]) == {}


def test_templates_get_no_new_variables():
    template = "Read {ticket} and say billing."
    for new in ("say {label}", "say {{label}}"):
        proposed = LocalEdits(marking(1, "say billing", new), template_format="f-string")(
            {"p": template}, {"p": [WRONG]}, ["p"]
        )
        text = proposed.get("p", template)
        assert text.format(ticket="T", label="leak").count("leak") == 0
    lost = LocalEdits(marking(1, "{ticket}", "it"), template_format="f-string")
    assert lost({"p": template}, {"p": [WRONG]}, ["p"]) == {}


def test_a_score_counts_as_right_from_the_perfect_one():
    model = marking(1, "billing", "delivery")
    good = {**WRONG, "score": 0.8}
    assert LocalEdits(model, perfect_score=0.8)({"p": "Say billing."}, {"p": [good]}, ["p"]) == {}
    assert LocalEdits(model)({"p": "Say billing."}, {"p": [good]}, ["p"]) == {"p": "Say delivery."}


def test_nothing_is_asked_without_an_error():
    model = marking(1, "a", "b")
    right = {"Inputs": "x", "Generated Outputs": "y", "Feedback": "The generated response is correct."}
    assert LocalEdits(model)({"p": "a"}, {"p": [right]}, ["p"]) == {}
    assert model.calls == []


def test_right_and_wrong_examples_are_shown_as_such():
    model = marking(line_of(TEXT, "refund"), "answer billing", "answer delivery")
    right = {"Inputs": "ok case", "Generated Outputs": "y", "Feedback": "This trajectory got a score of 1.0."}
    LocalEdits(model)({"p": TEXT}, {"p": [WRONG, right]}, ["p"])
    said = "\n".join(str(m.content) for m in model.calls[0])
    errors = said.split("<errors>")[-1].split("</errors>")[0]
    correct = said.split("<correct>")[-1].split("</correct>")[0]
    assert "I want a refund" in errors
    assert "ok case" not in errors
    assert "ok case" in correct


@pytest.mark.parametrize(
    ("record", "score", "expected"),
    [
        ({"Feedback": "This trajectory got a score of 0.25."}, 0.25, {}),
        ({"Feedback": "This trajectory got a score of 1."}, 1.0, {}),
        ({"Feedback": "This trajectory got a score of True."}, 1.0, {}),
        ({"Feedback": "This trajectory got a score of False."}, 0.0, {}),
        ({"Feedback": "The generated response is correct. The response include 'x'"}, 1.0, {}),
        ({"Feedback": "Incorrect. The correct answer is 'a b'. Ensure"}, 0.0, {"answer": "a b"}),
        ({"Feedback": "odd", "score": 0.5, "Expected": {"label": "x"}}, 0.5, {"label": "x"}),
        ({"Feedback": "odd"}, 0.0, {}),
    ],
)
def test_what_is_read_of_a_record(record, score, expected):
    row = row_of({"Inputs": {"q": 1}, "Generated Outputs": {"a": 2}, **record})
    assert (row["score"], row["expected"], row["comment"]) == (score, expected, record["Feedback"])
    assert (row["inputs"], row["answer"]) == ({"q": 1}, {"a": 2})


def test_the_prompt_and_the_model_are_those_of_the_default_adapter():
    seen = []
    model = ScriptedModel(fn=lambda messages: seen.append([(m.type, m.content) for m in messages]) or "y")
    batch = [{"input": "Q {x}", "answer": "y", "additional_context": {}}]
    adapter = gepa.adapters.default_adapter.default_adapter.DefaultAdapter(task_lm(model))
    adapter.evaluate(batch, {"p": "Be {brief}."})
    (system_prompt({"p": "Be {brief}."}) | model).invoke({"input": "Q {x}"})
    assert seen[0] == seen[1] == [("system", "Be {brief}."), ("human", "Q {x}")]
