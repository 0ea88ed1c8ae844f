"""The built-in evaluators: what they take as reply and reference, and what they refuse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from pydantic import BaseModel

from langchain_promptopt.errors import EvaluatorError
from langchain_promptopt.evaluators import (
    assertions,
    choice_match,
    exact_match,
    label_match,
    make_label_match,
    normal_form,
    number_match,
    options_of,
    rouge_l,
    visible,
)
from langchain_promptopt.evaluators._matchers import rouge_l_f
from langchain_promptopt.evaluators._read import quoted_value


class Person(BaseModel):
    name: str
    age: int


@pytest.mark.parametrize(
    "outputs",
    [
        "Paris",
        {"output": "Paris"},
        {"answer": "Paris"},
        {"text": "Paris", "steps": 3},
        {"output": AIMessage("Paris")},
        {"output": AIMessage([{"type": "text", "text": "Pa"}, {"type": "text", "text": "ris"}])},
        {"messages": [AIMessage("hello"), AIMessage("Paris")]},
        {"city": "Paris", "note": "x"},
        AIMessage("Paris"),
    ],
)
def test_the_reply_is_found_in_every_usual_shape(outputs):
    reference = {"city": "Paris"} if isinstance(outputs, dict) and "city" in outputs else {"answer": "Paris"}
    assert exact_match(outputs, reference)["score"] == 1.0


@pytest.mark.parametrize("outputs", [None, {}, {"output": None}, ""])
def test_no_reply_is_wrong_and_unparsed(outputs):
    result = exact_match(outputs, {"answer": "Paris"})
    assert (result["score"], result["metadata"]["parse_ok"]) == (0.0, False)


@pytest.mark.parametrize("reference", [None, {}, {"answer": None}, {"answer": ""}, {"answer": "  "}, {"answer": []}])
def test_a_row_without_reference_is_refused(reference):
    with pytest.raises(EvaluatorError, match="no answer"):
        exact_match("Paris", reference)


@pytest.mark.parametrize(
    "outputs",
    [{"output": Person(name="Mina", age=31)}, {"output": {"age": 31, "name": "Mina"}}, {"age": 31, "name": "Mina"}],
)
def test_objects_are_compared_as_json(outputs):
    assert exact_match(outputs, {"answer": {"name": "Mina", "age": 31}})["score"] == 1.0
    assert exact_match(outputs, {"answer": {"name": "Mina", "age": 32}})["score"] == 0.0


def test_a_single_key_object_is_compared_whole():
    assert exact_match({"name": "Mina"}, {"answer": {"name": "Mina"}})["score"] == 1.0


@pytest.mark.parametrize("matcher", [number_match, choice_match, label_match, rouge_l])
def test_text_metrics_refuse_objects(matcher):
    with pytest.raises(EvaluatorError, match=matcher.__name__):
        matcher("x", {"answer": {"name": "Mina"}})


def test_a_text_metric_refuses_to_choose_among_outputs():
    with pytest.raises(EvaluatorError, match="fields a, b"):
        label_match({"a": "x", "b": "y"}, {"answer": "x"})


def test_number_match_refuses_what_is_no_number():
    for value in ("Paris", True):
        with pytest.raises(EvaluatorError, match="needs a number"):
            number_match("1", {"answer": value})


def test_number_match_reads_a_worked_solution_as_reference():
    assert number_match("72", {"answer": "48 + 24 = 72\n#### 72"})["score"] == 1.0


def test_choice_match_maps_option_text_to_its_letter():
    inputs = {"question": "Which?\n(A) a cat\n(B) a dog"}
    assert choice_match("a dog", {"answer": "(B)"}, inputs)["score"] == 1.0
    assert choice_match("(B)", {"answer": "a dog"}, inputs)["score"] == 1.0
    assert choice_match("a dog", {"answer": "(B)"})["metadata"] == {"parse_ok": False}
    with pytest.raises(EvaluatorError, match="option letter"):
        choice_match("(B)", {"answer": "a dog"})


@pytest.mark.parametrize("question", ["", "Which?", "(A) only one", "Which (B)?"])
def test_questions_without_a_list_have_no_options(question):
    assert options_of({"question": question}) == {}


def test_options_in_lines_and_in_one_line():
    assert options_of({"q": "Which?\nA. cat\nB. dog"}) == {"A": "cat", "B": "dog"}
    assert options_of({"q": "Which? (A) cat (B) dog"}) == {"A": "cat", "B": "dog"}
    assert options_of("x (A) cat\n(B) dog\nThink first.") == {"A": "cat", "B": "dog"}


def test_label_sets_are_checked():
    match = make_label_match(["billing", "refund"], key="intent")
    assert match("It is billing", {"answer": "Billing"}) == {
        "key": "intent",
        "score": 1.0,
        "metadata": {"parse_ok": True},
    }
    assert match("billing or refund", {"answer": "billing"})["metadata"] == {"parse_ok": False}
    with pytest.raises(EvaluatorError, match="not one of the 2 labels"):
        match("billing", {"answer": "bill"})
    for labels in (["a", "A"], ["a", " "]):
        with pytest.raises(EvaluatorError, match="labels"):
            make_label_match(labels)


def test_rouge_l_golden_values():
    assert rouge_l_f("police kill the gunman", "police killed the gunman") == 0.75
    assert rouge_l_f("the gunman kill police", "police killed the gunman") == 0.5
    assert rouge_l("a b", {"answer": "a b", "references": ["a b", "c d"]})["score"] == 0.5
    assert rouge_l("", {"answer": "a b"})["score"] == 0.0
    assert rouge_l("猫が好き", {"answer": "猫が嫌い"})["score"] == 0.5


@given(st.text(max_size=60), st.text(max_size=60))
def test_rouge_l_is_symmetric_and_bounded(a, b):
    assert 0.0 <= rouge_l_f(a, b) <= 1.0
    assert rouge_l_f(a, b) == rouge_l_f(b, a)
    assert rouge_l_f(a, a) == 1.0


@given(st.text(max_size=60))
def test_normal_forms_are_stable(text):
    assert visible(visible(text)) == visible(text)
    assert normal_form(normal_form(text)) == normal_form(text)


def test_comments_cut_between_graphemes():
    family = "👩‍👩‍👧‍👦"
    text = quoted_value(family * 40, limit=20)
    assert text == f"'{family * 2}…'"
    assert quoted_value("\u202bאב\n\nגד\u202c") == "'אב גד'"


@pytest.mark.parametrize(
    ("kind", "value", "met", "missed"),
    [
        ("equals", "Paris", "Paris\n", "paris"),
        ("equals", {"a": 1}, '{"a": 1.0}', "a: 1"),
        ("contains", "ar", "Paris", "Rome"),
        ("icontains", "PAR", "Paris", "Rome"),
        ("contains-any", ["x", "ar"], "Paris", "Rome"),
        ("contains-any", "x, ar", "Paris", "Rome"),
        ("icontains-any", ["X", "AR"], "Paris", "Rome"),
        ("contains-all", ["P", "s"], "Paris", "Pari"),
        ("icontains-all", "p, S", "Paris", "Pari"),
        ("starts-with", "Pa", "Paris", "is Paris"),
        ("regex", "^P.+s$", "Paris", "Parish"),
        ("is-json", None, '[{"a": 1}]', "[a"),
        ("contains-json", None, 'It is {"a": [1]}.', "It is {a}, [b."),
    ],
)
def test_an_assertion_is_met_or_not_and_not_turns_it_round(kind, value, met, missed):
    for said, score in ((met, 1.0), (missed, 0.0)):
        asked = {"type": kind} if value is None else {"type": kind, "value": value}
        assert assertions({"output": said}, {"assert": [asked]})["score"] == score
        turned = assertions(AIMessage(said), {"assert": [asked | {"type": f"not-{kind}"}]})
        assert turned["score"] == 1 - score
        assert ("comment" in turned) is (score == 1)


def test_assertions_count_by_weight_and_say_what_is_not_met():
    asked = [{"type": "contains", "value": "a", "weight": 3}, {"type": "contains", "value": "z"}]
    found = assertions("abc", {"assert": asked})
    assert (found["key"], found["score"], found["comment"]) == ("assertions", 0.75, "contains 'z' is not met")
    for wrong in (
        {},
        {"assert": []},
        {"assert": [{"type": "sounds-like"}]},
        {"assert": [{"type": "regex", "value": "("}]},
        {"assert": [{"type": "is-json", "value": {"type": "object"}}]},
    ):
        with pytest.raises(EvaluatorError):
            assertions("abc", wrong)
