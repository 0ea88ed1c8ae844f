"""E1-E4 of the evaluator contract: what is read from a reply, and what must not change the verdict."""

from __future__ import annotations

import json
import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_promptopt.evaluators import (
    choice_match,
    exact_match,
    label_match,
    make_label_match,
    number_match,
    options_of,
    parse_choice,
    parse_label,
    parse_number,
    rouge_l,
)
from tests.support.evaluator_cases import CHOICES, EXACT, INTENTS, LABELS, NAMED, NUMBERS, QUESTION, VALIDITY, YES_NO
from tests.support.shared_data import shared


def test_E1_tables_hold_sixty_cases_a_type():
    assert all(len(t) >= 60 for t in (NUMBERS, CHOICES, YES_NO + VALIDITY + NAMED, EXACT))


@pytest.mark.parametrize(("reply", "number"), NUMBERS)
def test_E1_number(reply, number):
    assert parse_number(reply) == (None if number is None else Fraction(number))


@pytest.mark.parametrize(("reply", "letter"), CHOICES)
def test_E1_choice(reply, letter):
    assert parse_choice(reply, options_of(QUESTION)) == letter


@pytest.mark.parametrize(("reply", "label"), YES_NO)
def test_E1_yes_no(reply, label):
    assert parse_label(reply, LABELS) == label


@pytest.mark.parametrize(("reply", "label"), VALIDITY)
def test_E1_validity(reply, label):
    assert parse_label(reply, ["valid", "invalid"]) == label


@pytest.mark.parametrize(("reply", "label"), NAMED)
def test_E1_labels(reply, label):
    assert parse_label(reply, INTENTS) == label


@pytest.mark.parametrize(("reply", "reference", "score"), EXACT)
def test_E1_exact(reply, reference, score):
    assert exact_match({"output": reply}, {"answer": reference})["score"] == score


def test_E1_numbers_are_never_rounded():
    assert number_match("17.6", {"answer": "18"})["score"] == 0
    assert number_match("2.5", {"answer": "2"})["score"] == 0
    assert number_match("0.30000000000000004", {"answer": 0.3})["score"] == 0
    assert number_match("100000000000000000001", {"answer": "100000000000000000000"})["score"] == 0


def test_E1_a_list_of_labels_is_no_answer_even_when_not_all_are_known():
    reference = {"answer": "billing"}
    for reply in ("billing, refund", "refund or billing", "billing/refund", "- billing\n- refund", "refund; billing"):
        assert label_match(reply, reference)["score"] == 0
    for reply in ("This is billing.", "billing, because of the invoice", "Label: **billing**"):
        assert label_match(reply, reference)["score"] == 1


def test_E1_unparsed_replies_are_marked():
    assert number_match("none", {"answer": "1"})["metadata"] == {"parse_ok": False}
    assert choice_match("none", {"answer": "(A)"})["metadata"] == {"parse_ok": False}
    assert label_match("maybe", {"answer": "yes"})["metadata"] == {"parse_ok": False}
    assert exact_match("", {"answer": "yes"})["metadata"] == {"parse_ok": False}
    assert number_match("2", {"answer": "1"})["metadata"] == {"parse_ok": True}
    assert number_match("2", {"answer": "1"})["comment"] == "expected '1', got '2'"


SAME = st.sampled_from([".", "!", "\n", " ", "\n\n", ".\n", "\u200b", "\ufeff", "\u200f", "\u00a0"])


@given(st.integers(-(10**12), 10**12), st.lists(SAME, max_size=4), st.sampled_from(["", "Answer: ", "So 3 + 4. #### "]))
@settings(max_examples=150, deadline=None)
def test_E2_number_verdict_survives_form(number, tail, lead):
    reference = {"answer": str(number)}
    for text in (f"{number}", f"{number:,}", f"{number}.00", f"{number:,}.0".replace("-", "\u2212")):
        assert number_match({"output": lead + text + "".join(tail)}, reference)["score"] == 1
        assert number_match(lead + text + "".join(tail), {"answer": str(number + 1)})["score"] == 0


@given(st.sampled_from("ABCDEFG"), st.lists(SAME, max_size=4), st.booleans())
@settings(max_examples=150, deadline=None)
def test_E2_choice_verdict_survives_form(letter, tail, lower):
    for shape in ("({})", "{}", "The answer is ({})", "Not (Z), I think. Answer: {}"):
        text = shape.format(letter.lower() if lower else letter) + "".join(tail)
        assert choice_match(text, {"answer": f"({letter})"})["score"] == 1
        assert choice_match(text, {"answer": "(H)"})["score"] == 0


@given(st.sampled_from(["yes", "no", "true", "false", "valid", "invalid"]), st.lists(SAME, max_size=4), st.data())
@settings(max_examples=150, deadline=None)
def test_E2_label_verdict_survives_form(label, tail, data):
    case = data.draw(st.sampled_from([str.lower, str.upper, str.title]))
    for shape in ("{}", "The answer is {}", "Answer: **{}**", "I would say {}, because of that"):
        text = shape.format(case(label)) + "".join(tail)
        assert label_match(text, {"answer": label})["score"] == 1


@given(st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_E2_exact_survives_form_and_nothing_raises(text):
    if text.strip() and exact_match(text, {"answer": text})["score"]:
        for other in (text.upper().lower(), f" {text}\n", text.replace(" ", "  ")):
            if other.casefold() == text.casefold():
                assert exact_match(other, {"answer": text})["score"] == 1
    for matcher, gold in ((number_match, "1"), (choice_match, "(A)"), (label_match, "yes"), (rouge_l, "a b")):
        assert 0 <= matcher(text, {"answer": gold})["score"] <= 1


PIECES = [
    "answer is ",
    "(A",
    "A) ",
    "1,",
    "not ",
    "yes ",
    "#### ",
    "\\frac{",
    "1/",
    " \n",
    "*",
    "- ",
    "```json\n",
    "answer (",
]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", PIECES)
def test_E2_long_replies_do_not_run_away(piece):
    text = piece * 20_000
    parse_number(text)
    parse_choice(text, options_of({"question": text}))
    parse_choice(text, options_of(QUESTION))
    parse_label(text, LABELS)
    parse_label(text, ["billing"], closed=False)
    exact_match(text, {"answer": {"a": 1}})
    rouge_l(text, {"answer": "a b"})


def _manifest():
    path = shared("MANIFEST.json")
    if path is None:
        pytest.skip("the shared benchmark data is not on this machine")
    return json.loads(path.read_text("utf-8"))["tasks"]


def _rows(task, split):
    path = shared(f"{task}/{split}.jsonl")
    assert path is not None
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


def _matcher(spec):
    if spec["match"] == "word_label":
        return make_label_match(spec["labels"])
    return {"number": number_match, "choice_letter": choice_match, "rouge_l_mean": rouge_l}.get(
        spec["match"], exact_match
    )


def _score(matcher, reply, row):
    extra = (row["inputs"],) if matcher is choice_match else ()
    return matcher({"output": reply}, row["outputs"], *extra)["score"]


def test_E3_gold_text_scores_one_on_every_row():
    wrong = []
    for task, spec in _manifest().items():
        matcher = _matcher(spec)
        for split in spec["files"]:
            for row in _rows(task, split):
                gold = row["outputs"]["answer"]
                if matcher is rouge_l:  # a mean over references: 1 only against itself
                    row = {**row, "outputs": {"answer": gold}}
                if _score(matcher, gold, row) != 1:
                    wrong.append(row["metadata"]["id"])
    assert wrong == []


def test_E3_gold_text_behind_a_cue_scores_one():
    wrong = []
    for task, spec in _manifest().items():
        if spec["match"] in {"number", "choice_letter", "word_label"}:
            matcher = _matcher(spec)
            for row in _rows(task, "test")[:150]:
                reply = f"Let us think about 3 things, (A) and (B). The answer is {row['outputs']['answer']}.\n"
                if _score(matcher, reply, row) != 1:
                    wrong.append(row["metadata"]["id"])
    assert wrong == []


def test_E4_shuffled_gold_scores_at_chance():
    for task in ("bbh/navigate", "bbh/formal_fallacies", "bbh/date_understanding", "gsm8k/gpo", "banking77/main"):
        spec, rows = _manifest()[task], _rows(task, "test")
        matcher = _matcher(spec)
        golds = [row["outputs"]["answer"] for row in rows]
        chance = sum((golds.count(g) / len(golds)) ** 2 for g in set(golds))
        replies = golds[:]
        random.Random(7).shuffle(replies)
        score = sum(_score(matcher, reply, row) for reply, row in zip(replies, rows, strict=True)) / len(rows)
        assert abs(score - chance) <= 4 * (chance * (1 - chance) / len(rows)) ** 0.5 + 0.01, task
