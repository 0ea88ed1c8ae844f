"""Hand-made edge cases: prompts that are hard to read, replies that are hard to use.

Our own cases lie in `cases/`. The shared ones (P01.., L01..) are read from the developers' data
folder and are skipped, with the reason shown, where there is none.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from langchain_promptopt._text import Rejection
from langchain_promptopt._text.recover import recover
from langchain_promptopt._text.spans import SpanLimits, legalise, marked
from langchain_promptopt._text.tags import TAG, insert_tags, parse_tags, pick_tag
from langchain_promptopt._text.templates import (
    Template,
    check_new_text,
    check_user_marks,
    find_edit_marks,
    parse_template,
    same_code,
)
from langchain_promptopt._text.words import abbreviated, count_words, is_unspaced, word_limit, words_changed
from langchain_promptopt.errors import PromptError
from tests.spec.span_cases import made
from tests.support.shared_data import shared

CASES = Path(__file__).parent / "cases"
EVERYTHING = SpanLimits(w_max=None, k_max=99)


def own(name: str) -> list[Any]:
    return [pytest.param(c, id=c["id"]) for c in json.loads((CASES / name).read_text("utf-8"))]


def others(name: str) -> list[Any]:
    path = shared(f"tricky/{name}")
    if path is None:
        reason = "the shared edge cases are not on this machine"
        return [pytest.param(None, id="absent", marks=pytest.mark.skip(reason=reason))]
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [pytest.param(row, id=row["id"]) for row in rows]


# ------------------------------------------------------------------ prompts


@pytest.mark.parametrize("case", own("text_prompts.json"))
def test_own_prompts(case):
    if "error" in case:
        with pytest.raises(PromptError) as caught:
            parse_template(case["prompt"], case["template_format"])
        assert case["error"] in str(caught.value)
        assert caught.value.mend, "an error says how to mend it"
        return
    template = parse_template(case["prompt"], case["template_format"])
    assert list(template.variables) == case["variables"]
    assert list(template.required) == case.get("required", case["variables"])
    if "editable" in case:
        assert list(editable(template)) == case["editable"]
    if "note" in case:
        assert any(case["note"] in note for note in template.notes)
    found = find_edit_marks(case["prompt"])
    assert (None if found is None else found.what) == case.get("marks_error")


def editable(template: Template) -> tuple[str, ...]:
    text = template.source
    return marked(legalise([(0, len(text))], text, template.atom_ranges, EVERYTHING), text)


@pytest.mark.parametrize("case", others("prompts.jsonl"))
def test_tricky_prompts(case):
    """Variables and errors as expected.

    `editable_spans` is a verdict about fences that a user draws with tags. The product takes
    balanced tags in a user's prompt as plain text for now (ruling 12), so for it the whole text is
    editable; what is tested instead is that the same tags are read so when they are ours.
    """
    prompt, template = case["prompt"], parse_template(case["prompt"], case["template_format"])
    assert list(template.variables) == case.get("variables", [])
    problem = find_edit_marks(prompt)
    may_fail = "expected_error" in case or {"error": True} in case.get("one_of", [])
    if problem is not None:
        assert may_fail
        assert problem.what == case["expected_error"]
        assert "freeze" in problem.mend
        with pytest.raises(PromptError, match="at character"):
            check_user_marks(prompt)
        check_user_marks(prompt, ((0, len(prompt)),))  # frozen marks are plain text
        return
    assert "expected_error" not in case
    if TAG.search(prompt):
        assert pick_tag(prompt) != "edit", "ours cannot be mistaken for the user's"
        assert_read_as_ours(case, template)


def assert_read_as_ours(case: dict[str, Any], template: Template) -> None:
    tagged = parse_tags(case["prompt"])
    wanted = [c["editable_spans"] for c in (case, *case.get("one_of", [])) if "editable_spans" in c]
    inner = parse_template(tagged.text, case["template_format"])
    lawful = marked(legalise(tagged.ranges, tagged.text, inner.atom_ranges, EVERYTHING), tagged.text)
    if case["id"] == "P17":
        return  # read as ours, 'Paste' would be a span: the nonce tag above is what prevents it
    assert list(marked(tagged.ranges, tagged.text)) in wanted or list(lawful) in wanted
    assert not any(code in piece for code in template.signature for piece in lawful), "code is never inside a span"


def prompts_by_id() -> dict[str, Any]:
    path = shared("tricky/prompts.jsonl")
    if path is None:
        pytest.skip("the shared edge cases are not on this machine")
    return {row["id"]: row for row in map(json.loads, path.read_text("utf-8").splitlines())}


def test_tricky_P08_field_names_are_no_inputs_of_the_caller():
    template = parse_template(prompts_by_id()["P08"]["prompt"], "mustache")
    assert template.required == ("customer_name", "items", "raw_note")
    assert "HTML-escapes" in template.notes[0]


def test_tricky_P10_block_marks_stay_fixed():
    tagged = parse_tags(prompts_by_id()["P10"]["prompt"])
    template = parse_template(tagged.text, "jinja2")
    spans = legalise(tagged.ranges, tagged.text, template.atom_ranges, EVERYTHING)
    assert marked(spans, tagged.text) == ("Use a formal tone.",)
    assert same_code(template, made(tagged.text, [(*spans[0], "Use a stiff tone.")])) is None


def test_tricky_P11_goes_by_the_declared_format_and_warns():
    case = prompts_by_id()["P11"]
    (note,) = parse_template(case["prompt"], "f-string").notes
    assert "'text'" in note
    assert "check template_format" in note
    other = case["other_reading"]
    assert list(parse_template(case["prompt"], other["template_format"]).variables) == other["variables"]


def test_tricky_P12_chinese_is_counted_by_characters():
    case = prompts_by_id()["P12"]
    span = case["editable_spans"][0]
    assert count_words(span) == 48
    assert is_unspaced(span)
    assert count_words(span) > word_limit(span, 20), "twenty words do not rewrite it all"
    assert words_changed(span, span.replace("简短", "简单")) == 1


def test_tricky_P13_P14_words_and_letters():
    cases = prompts_by_id()
    for name in ("P13", "P14"):
        prompt = parse_tags(cases[name]["prompt"]).text
        assert count_words(prompt) == cases[name]["facts"]["whitespace_words"]
        assert not is_unspaced(prompt)
        template = parse_template(prompt, "f-string")
        assert made(prompt, []) == prompt
        assert template.signature == ("{message}",)
    hindi = cases["P14"]["prompt"]
    for n in range(1, 80):
        cut = abbreviated(hindi, n)
        assert len(cut) <= n
        assert not cut.endswith("\u094d…"), "cut behind a virama"


def test_tricky_P15_one_word_is_still_editable():
    text = prompts_by_id()["P15"]["prompt"]
    assert marked(legalise([(0, 9)], text, (), SpanLimits(f_max=0.1)), text) == ("Translate",)


def test_tricky_P16_slips_far_from_the_span_do_not_matter():
    case = prompts_by_id()["P16"]
    tagged = parse_tags(case["prompt"])
    assert count_words(tagged.text) == case["facts"]["whitespace_words"]
    (span,) = tagged.ranges
    edited = made(tagged.text, [(*span, "Rule 101: pass every message on.")])
    reply = edited.replace("room 015 writes a message", "room 15 writes a massage").replace(
        "today. Rule 200", "Rule 200"
    )
    found = recover(reply, tagged.text, [span])
    assert not isinstance(found, Rejection)
    assert made(tagged.text, [(*span, found.replacements[0])]) == edited
    assert 0 < found.leak < 0.01


def test_tricky_P17_literal_marks_are_text_and_ours_are_not_mixed_up():
    prompt = prompts_by_id()["P17"]["prompt"]
    tag = pick_tag(prompt)
    start = prompt.index("List every")
    shown = insert_tags(prompt, [(start, start + 4)], tag)
    tagged = parse_tags(shown, tag)
    assert tagged.text == prompt
    assert marked(tagged.ranges, prompt) == ("List",)
    assert find_edit_marks(prompt) is None
    fenced = prompt.index("<edit>Paste")
    assert find_edit_marks(prompt, ((fenced, fenced + len("<edit>Paste</edit>")),)) is None


# ------------------------------------------------------------------ replies


def verdict_on(case: dict[str, Any]) -> tuple[str | None, Rejection | None, str]:
    """Final prompt, or the refusal; and the prompt it started from.

    In the cases a span may hold a variable. Variables are frozen for us, so such a span is what
    is left of it; the final prompt is the same.
    """
    tagged = parse_tags(case["tagged_prompt"])
    template = parse_template(tagged.text, case["template_format"])
    spans = legalise(tagged.ranges, tagged.text, template.atom_ranges, EVERYTHING)
    found = recover(case["reply"], tagged.text, spans, template.atom_ranges, "edit", template.format)
    if isinstance(found, Rejection):
        return None, found, tagged.text
    edits = []
    for (start, end), new in zip(spans, found.replacements, strict=True):
        old = tagged.text[start:end]
        source = old if new == old else check_new_text(new, template)
        if isinstance(source, Rejection):
            return None, source, tagged.text
        edits.append((start, end, source))
    child = made(tagged.text, edits)
    refusal = same_code(template, child)
    return (None, refusal, tagged.text) if refusal else (child, None, tagged.text)


@pytest.mark.parametrize("case", own("text_replies.json"))
def test_own_replies(case):
    final, refusal, _ = verdict_on(case)
    assert final == case["final_prompt"]
    assert (refusal.rule if refusal else None) == case["rule"]


@pytest.mark.parametrize("case", others("replies.jsonl"))
def test_tricky_replies(case):
    final, refusal, parent = verdict_on(case)
    allowed = {"reject"} & {case["verdict"], *(v for v in case["also_ok"] if isinstance(v, str))}
    finals = {case["final_prompt"], *(v["final_prompt"] for v in case["also_ok"] if isinstance(v, dict))} - {None}
    if refusal is not None:
        assert allowed, f"{refusal} although {case['expected']}"
        assert refusal.detail
        return
    assert final in finals
    assert not TAG.search(final)
    assert (final == parent) == (case["id"] == "L19")


RULES = {
    "L07": "lost_variable",
    "L08": "lost_variable",
    "L09": "new_variable",
    "L10": "empty_reply",
    "L11": "truncated",
    "L12": "refusal",
    "L14": "duplicate_span",
    "L16": "order",
    "L18": "lost_variable",
}


def test_tricky_replies_rules_and_repairs():
    """Our choices among the allowed verdicts: each rule names its cause, everything repairable is repaired."""
    path = shared("tricky/replies.jsonl")
    if path is None:
        pytest.skip("the shared edge cases are not on this machine")
    for case in map(json.loads, path.read_text("utf-8").splitlines()):
        final, refusal, _ = verdict_on(case)
        assert (refusal.rule if refusal else None) == RULES.get(case["id"]), case["id"]
        assert final == case["final_prompt"], case["id"]
