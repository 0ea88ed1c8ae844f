"""What wrong examples have in common, and the places of a prompt that they are likely about."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_promptopt.steps import IdentifyTokens
from langchain_promptopt.steps.base import as_workpiece
from langchain_promptopt.steps.likely_lines import Places, confusions, likely_lines
from langchain_promptopt.testing.scripted import ScriptedModel
from langchain_promptopt.types import Batch, Message, Prompt, PromptSet, Shown
from tests.support.tasks import MAIL as PROMPT


def wrong(example_id, inputs, expected, output):
    return Shown(example_id, {"mail": inputs}, {"answer": expected}, output, 0.0)


def shown(prompt, *errors, correct=()):
    prompts = PromptSet((Prompt("main", (Message("human", prompt, "f-string"),)),))
    return likely_lines(prompts, Batch(errors=errors, correct=correct)).split("\n")


def test_examples_with_the_same_answers_are_one_group_with_its_places():
    late = wrong("1", "My parcel is late.", "post", "legal")
    lost = wrong("2", "Where are my three parcels?", "post", "legal")
    app = wrong("3", "It says the app is busy.", "phone", "help")
    assert shown(PROMPT, app, late, lost) == [
        'Rows 1, 2: the answer was "legal"; it should be "post".',
        "4| - legal: parcels that are late",
        'Row 3: the answer was "help"; it should be "phone".',
        "5| - help: the app is broken",
    ]


def test_answers_that_stand_nowhere_in_the_prompt_share_their_places():
    first = wrong("1", "Prices please", "a@b.org", "b@a.org")
    second = wrong("2", "The parcels", "c@d.org", "d@c.org")
    assert shown(PROMPT, first, second) == [
        'Row 1: the answer was "b@a.org"; it should be "a@b.org".',
        'Row 2: the answer was "d@c.org"; it should be "c@d.org".',
        "3| - sales: questions about prices",
        "4| - legal: parcels that are late",
    ]


def test_words_of_examples_answered_right_count_against_a_place():
    error = wrong("1", "late prices", "x", "y")
    assert shown(PROMPT, error)[1] == "3| - sales: questions about prices"
    right = [wrong(str(n), "prices", "sales", "sales") for n in range(3)]
    assert shown(PROMPT, error, correct=right)[1:] == ["4| - legal: parcels that are late"]


def test_a_sentence_is_a_place_and_may_go_on_in_the_next_line():
    text = "Bridges: no. On a pavement without a sign:\nyes. In a bay: yes.\n{mail}"
    found = shown(text, wrong("1", "on the pavement", "no", "yes"))
    assert found[1:] == ["1| On a pavement without a sign:", "2| yes.", "2| In a bay: yes."]


def test_scripts_without_spaces_are_compared_by_pairs_of_characters():
    text = "荷物が遅れた場合：経理\n請求書の質問：営業\n問い合わせ：{mail}"
    assert shown(text, wrong("1", "荷物がまだ届きません", "配送", "総務"))[1:] == ["1| 荷物が遅れた場合：経理"]


def test_a_list_of_all_answers_is_not_blamed_for_one_of_them():
    text = "Answer with sales, post or legal.\nLate parcels: legal\nDamaged goods: legal\n{mail}"
    error = wrong("1", "It never came.", "post", "legal")
    assert shown(text, error)[1:] == ["2| Late parcels: legal", "3| Damaged goods: legal"]
    assert shown("Answer with post or legal.\n{mail}", error) == [""]
    rule = "1| Late parcels belong to post, damaged goods to legal."
    assert shown(f"{rule[3:]}\n{{mail}}", error)[1:] == [rule]


def test_a_word_that_stands_in_many_places_tells_less_than_one_that_stands_in_few():
    text = "Parcels abroad: a\nParcels today: b\nParcels home: c\nLetters: d\n{mail}"
    error = wrong("1", "the parcels, and letters", "x", "y")
    assert shown(text, error)[1:] == ["4| Letters: d"], "the others have less than half of its score"
    both = wrong("1", "the parcels abroad, and letters", "x", "y")
    assert shown(text, both)[1:] == ["1| Parcels abroad: a", "4| Letters: d"]


def test_variables_are_no_words_of_a_place():
    assert shown("Name the parcel.\n{parcels}", wrong("1", "parcels", "x", "y"))[1:] == ["1| Name the parcel."]


@pytest.mark.parametrize(
    ("output", "expected", "pair"),
    [
        ({"queue": "a", "urgent": "no"}, {"queue": "b", "urgent": "no"}, ("a", "b")),
        (
            {"queue": "a", "urgent": "no"},
            {"queue": "b", "urgent": "yes"},
            ("queue a, urgent no", "queue b, urgent yes"),
        ),
        ("a", {"answer": "b"}, ("a", "b")),
        ("a", {"answer": "a"}, ("", "")),
        ("a", {}, ("", "")),
        ("a" * 500, {"answer": "b"}, ("", "")),
        (None, {"answer": "b"}, ("None", "b")),
    ],
)
def test_the_fields_that_differ_are_told(output, expected, pair):
    (found,) = confusions([Shown("1", {}, expected, output, 0.0)])
    assert (found.given, found.expected) == pair
    assert str(found).startswith("Row 1")


@given(st.text(st.characters(exclude_characters="{}"), max_size=80), st.text(max_size=40), st.text(max_size=20))
def test_a_place_is_a_stretch_of_its_line(text, inputs, output):
    prompts = PromptSet((Prompt("main", (Message("human", text, "f-string"),)),))
    lines = prompts.document.text.split("\n")
    error = wrong("1", inputs, "x", output)
    for place in Places(prompts).likely([error], (), *confusions([error])):
        rest = "\n".join(lines[place.line - 1 :])
        assert place.text
        assert place.text in rest
        assert rest.index(place.text) <= len(lines[place.line - 1])


def test_the_model_is_shown_the_places_in_front_of_the_question():
    model = ScriptedModel(fn=lambda _: "{}")
    rows = [{"id": "1", "inputs": {"mail": "my parcel"}, "expected": {"answer": "post"}, "output": "legal"}]
    piece = as_workpiece({"prompt": PROMPT, "errors": rows})
    IdentifyTokens(model=model, protocol="line").invoke(piece)
    asked = model.calls[0][-1].content
    assert "4| - legal: parcels that are late\n</likely>" in asked
    assert asked.index("</errors>") < asked.index("<likely>") < asked.index("Reply with JSON")


def test_a_change_that_changes_nothing_is_asked_for_again_with_a_word_about_the_other_lines():
    change = {"line": 4, "why": "w", "old": "legal", "new": "legal"}
    model = ScriptedModel(fn=lambda _: json.dumps({"changes": [change]}))
    IdentifyTokens(model=model, protocol="line").invoke(as_workpiece({"prompt": PROMPT, "errors": [{"inputs": "x"}]}))
    assert len(model.calls) == 2
    assert "the old words 'legal'; look at the other lines too" in model.calls[1][-1].content


def test_the_same_replacement_is_made_once_at_the_line_named_first():
    text = PROMPT.replace("help", "legal")
    changes = [{"line": n, "why": "w", "old": "legal", "new": "post"} for n in (4, 5)]
    changes += [{"line": 3, "why": "w", "old": "questions", "new": "words"}]
    model = ScriptedModel(fn=lambda _: json.dumps({"changes": changes}))
    rows = [{"id": "1", "inputs": {"mail": "my parcel"}, "expected": {"answer": "post"}, "output": "legal"}]
    out = IdentifyTokens(model=model, protocol="line").invoke(as_workpiece({"prompt": text, "errors": rows}))
    assert out.span_texts == ("words", "post")
    assert "- <edit>legal</edit>: parcels" in out.tagged


def test_an_answer_expected_twice_is_put_at_the_line_of_each_answer_given():
    changes = [
        {"line": n, "why": "w", "old": old, "new": "post"} for n, old in ((4, "legal"), (5, "help"), (3, "sales"))
    ]
    model = ScriptedModel(fn=lambda _: json.dumps({"changes": changes}))
    rows = []
    for number, output in enumerate(("legal", "help")):
        rows.append({"id": str(number), "inputs": {"mail": "x"}, "expected": {"answer": "post"}, "output": output})
    out = IdentifyTokens(model=model, protocol="line").invoke(as_workpiece({"prompt": PROMPT, "errors": rows}))
    assert out.tagged == PROMPT.replace("legal", "<edit>legal</edit>").replace("help", "<edit>help</edit>")


def test_the_same_change_of_other_words_is_made_at_every_line():
    changes = [{"line": n, "why": "w", "old": old, "new": "mails"} for n, old in ((3, "questions"), (4, "parcels"))]
    model = ScriptedModel(fn=lambda _: json.dumps({"changes": changes}))
    piece = as_workpiece({"prompt": PROMPT, "errors": [{"inputs": "x"}]})
    out = IdentifyTokens(model=model, protocol="line").invoke(piece)
    assert out.span_texts == ("mails", "mails")


def test_the_expected_answer_takes_the_place_of_the_answer_and_not_of_its_condition():
    change = {"line": 4, "why": "w", "old": "parcels that are late", "new": "post"}
    model = ScriptedModel(fn=lambda _: json.dumps({"changes": [change]}))
    rows = [{"id": "1", "inputs": {"mail": "my parcel"}, "expected": {"answer": "post"}, "output": "legal"}]
    out = IdentifyTokens(model=model, protocol="line").invoke(as_workpiece({"prompt": PROMPT, "errors": rows}))
    assert out.tagged == PROMPT.replace("legal", "<edit>legal</edit>")
    assert out.span_texts == ("post",)
