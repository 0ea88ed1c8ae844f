"""Projection of echoes, quotes, word numbers, differences; replies that are hard to place."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_promptopt._text import Rejection
from langchain_promptopt._text.align import diff_edits, match, project
from langchain_promptopt._text.document import gaps, normal_ranges, subtract
from langchain_promptopt._text.recover import Recovered, Squeezed, recover
from langchain_promptopt._text.spans import find_quote, index_ranges, marked, numbered, splice
from langchain_promptopt._text.tags import insert_tags, parse_tags, pick_tag, strip_wrapping
from langchain_promptopt._text.templates import parse_template, placeholders
from langchain_promptopt._text.words import fit, pad_insertion, strip_talk, word_ranges

RANGES = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=8)
PROSE = st.lists(
    st.sampled_from(["read", "the", "text", "then", "answer", "one", "word", ",", ".", "\n", "never", "请", "回答"]),
    max_size=25,
).map(" ".join)


# ------------------------------------------------------------------ ranges


@given(RANGES)
def test_normal_ranges_gaps_and_subtract_agree_with_sets(raw):
    frozen = normal_ranges(raw, 40)
    inside = {i for a, b in raw for i in range(a, min(b, 40))}
    assert {i for a, b in frozen for i in range(a, b)} == inside
    assert {i for a, b in gaps(frozen, 40) for i in range(a, b)} == set(range(40)) - inside
    assert all(a[1] < b[0] for a, b in pairwise(frozen))
    for start, end in raw:
        left = {i for a, b in subtract(start, end, frozen) for i in range(a, b)}
        assert left == set(range(start, end)) - inside


# ------------------------------------------------------------------ tags


@given(st.text(alphabet=st.sampled_from("ab <>/edit")), RANGES)
def test_tags_round_trip(text, raw):
    ranges = [(a, b) for a, b in normal_ranges(raw, len(text))]
    tag = pick_tag(text)
    tagged = parse_tags(insert_tags(text, ranges, tag), tag)
    assert (tagged.text, list(tagged.ranges)) == (text, ranges)


def test_wrapping():
    assert strip_wrapping("<think>a</think><reasoning>b</reasoning> c") == " c"
    assert strip_wrapping("no opening tag</think>answer") == "answer"
    assert strip_wrapping("<think>never ends") == ""
    assert strip_wrapping("```json\n{}\n```") == "{}"
    assert strip_wrapping("~~~\nx\n~~~") == "x"
    assert strip_wrapping("```\na\n```\nb\n```\nc\n```") == "```\na\n```\nb\n```\nc\n```"
    assert strip_wrapping("<think>x</think> y", keep="Use <think> tags") == "<think>x</think> y"
    assert strip_wrapping("```\nx\n```", keep="```\nprompt\n```") == "```\nx\n```"
    assert strip_wrapping("```unclosed\nx") == "```unclosed\nx"


# ------------------------------------------------------------------ projection


def test_project_direct_and_moved():
    text = "Read the text.  Then answer in one single word, please, and never guess at it."
    assert project(
        parse_tags("Read the <edit>text</edit>.  Then answer in one single word, please, and never guess at it."), text
    ) == ((9, 13),)
    squeezed = "Read the text. Then <edit>answer in one</edit> single word, please, and never guess at it."
    assert marked(project(parse_tags(squeezed), text), text) == ("answer in one",)
    slipped = "Read the text. Then <edit>answer  in one</edit> single word, please, and never guess it.<edit></edit>"
    found = project(parse_tags(slipped), text)
    assert marked(found, text) == ("answer in one", "")
    echo = "Read the text. Then answer in one single word, please, and <edit>never</edit> guess at it."
    talk = f"Here is the marked prompt:\n\n{echo}\n\nDone."
    assert marked(project(parse_tags(talk), text), text) == ("never",)


def test_project_refuses_another_text():
    found = project(
        parse_tags("Something <edit>else</edit> that was not asked for."), "Read the text and answer in one word."
    )
    assert isinstance(found, Rejection)
    assert found.rule == "echo_differs"


def test_project_drops_marks_on_words_that_are_not_there():
    text = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
    echo = text.replace("eight ", "eight <edit>new</edit> ")
    assert project(parse_tags(echo), text) == ()


@given(PROSE, RANGES)
@settings(max_examples=200)
def test_project_is_exact_when_only_white_space_changed(text, raw):
    words = word_ranges(text)
    picked = sorted({words[a % len(words)] for a, _ in raw}) if words else []
    echo = " \n".join(insert_tags(text, picked, "edit").split(" "))
    found = project(parse_tags(echo), text)
    if text.split():
        assert found == tuple(picked)


# ------------------------------------------------------------------ quotes and numbers


@pytest.mark.parametrize(
    ("quote", "nth", "expected"),
    [
        ("brief", 1, (3, 8)),
        ("brief", 2, (25, 30)),
        ("brief", 9, (3, 8)),
        ("Be brief", 1, (0, 8)),
        ("Be  brief", 1, (21, 30)),
        ("be\nbrief", 2, (21, 30)),
        ("“kind”", 1, (15, 19)),
        ("KIND.", 1, (15, 20)),
        ("not there", 1, None),
        ("", 1, None),
        ("  ", 1, None),
    ],
)
def test_find_quote(quote, nth, expected):
    assert find_quote("Be brief, then kind. Be  brief {q}", quote, nth) == expected


def test_find_quote_prefers_text_that_may_change():
    text = "Say yes. Say yes."
    assert find_quote(text, "yes", 1, [(0, 8)]) == (13, 16)
    assert find_quote(text, "yes", 1, [(0, 17)]) is None


@given(PROSE, RANGES)
def test_numbers_name_the_words_they_stand_before(text, raw):
    frozen = normal_ranges(raw, len(text))
    shown = numbered(text, frozen)
    n = shown.count("[")
    found = index_ranges(text, frozen, [{"first": i, "last": i} for i in range(1, n + 1)])
    assert len(found) == n
    for i, (a, b) in enumerate(found, 1):
        assert f"[{i}]{text[a:b]}" in shown
        assert not any(x < b and a < y for x, y in frozen)


def test_index_items():
    text = "Be brief and kind."
    items = [{"first": 2}, {"first": "3", "last": 4.0}, {"first": 4, "last": 2}, {"after": 0}, {"after": 4}]
    assert index_ranges(text, (), items) == ((3, 8), (9, 17), (3, 17), (0, 0), (17, 17))
    bad = [
        {"first": 0},
        {"first": 5},
        {"last": 2},
        {"first": True},
        {"after": 9},
        {},
        {"first": "x"},
        {"first": -1, "last": 2},
    ]
    assert index_ranges(text, (), bad) == ()
    assert index_ranges("", (), [{"after": 0}, {"first": 1}]) == ()


# ------------------------------------------------------------------ differences


@given(PROSE, PROSE)
@settings(max_examples=300)
def test_diff_turns_old_into_new(old, new):
    edits = diff_edits(old, new)
    assert splice(old, edits) == new
    assert all(old[a:b] != text for a, b, text in edits)
    assert edits == sorted(edits)


@given(PROSE, PROSE, PROSE, PROSE)
def test_diff_leaves_frozen_text_alone(a, b, c, d):
    old, new = f"{a}{{q}}{b}", f"{c}{{q}}{d}"
    frozen = parse_template(old, "f-string").atom_ranges
    edits = diff_edits(old, new, frozen)
    assert splice(old, edits) == new
    assert not any(start < y and x < end for start, end, _ in edits for x, y in frozen)


def test_diff_is_small_and_keeps_text_around_lost_variables():
    assert diff_edits("Be brief and kind.", "Be very brief, kind.") == [(3, 3, "very "), (8, 12, ",")]
    old = "one {a} two {b} three"
    frozen = parse_template(old, "f-string").atom_ranges
    assert splice(old, diff_edits(old, "ONE {a} x three", frozen)) == "ONE {a} two {b} three"


def test_match_keeps_order():
    assert match(["a", "b", "c"], ["x", "a", "c"]) == [1, -1, 2]


# ------------------------------------------------------------------ replies


def read(text, span, reply, template_format="f-string"):
    start = text.index(span) if isinstance(span, str) else span
    end = start + len(span) if isinstance(span, str) else span
    frozen = parse_template(text, template_format).atom_ranges
    return recover(reply, text, [(start, end)], frozen, template_format=template_format)


def test_short_anchors_do_not_swallow_the_talk_behind():
    found = read("Be brief.", "brief", "Be kind.\n\nI made it kinder. Let me know.")
    assert found.replacements == ("kind",)
    found = read("Be brief.", "Be", "Sure, here is the new prompt:\nStay brief.")
    assert found.replacements == ("Stay",)


def test_new_text_may_hold_the_words_around_it():
    text = "Sort the mail. Choose a label. Then stop. {mail}"
    reply = "Sort the mail. Read it. Then choose a label. Then think. Then stop. {mail}"
    found = read(text, "Choose a label", reply)
    assert splice(text, [(15, 29, found.replacements[0])]) == reply


def test_lone_matches_inside_new_text_do_not_move_the_edge():
    text = "Check the list. Be brief. The end is near, so hurry up now. {x}"
    reply = "Check the long list. Be kind. The user is a friend. The end is near, so hurry on now. {x}"
    found = read(text, "Be brief", reply)
    assert found.replacements == ("Be kind. The user is a friend",)
    assert not found.exact


def test_spans_without_matched_neighbours_are_kept():
    text = "alpha beta FIRST gamma delta epsilon zeta SECOND eta theta iota kappa"
    spans = [(text.index(w), text.index(w) + len(w)) for w in ("FIRST", "SECOND")]
    found = recover("alpha beta ONE changed delta epsilon zeta TWO eta theta iota kappa", text, spans)
    assert isinstance(found, Recovered)
    assert found.replacements == ("FIRST", "TWO")
    assert found.kept == (0,)


def test_tags_in_another_order_are_refused_even_without_variables():
    text = "First check the sender. A. Then look at the date of the letter. B. Finally sign."
    spans = [(text.index("A."), text.index("A.") + 2), (text.index("B."), text.index("B.") + 2)]
    swapped = (
        "Then look at the date of the letter. <edit>B2.</edit> First check the sender. <edit>A2.</edit> Finally sign."
    )
    found = recover(swapped, text, spans)
    assert isinstance(found, Rejection)
    assert found.rule == "order"


def test_an_anchor_that_stands_twice_is_not_taken_at_its_first_place():
    text = "Check it. ONE and then TWO or stop at once."
    spans = [(10, 13), (text.index("TWO"), text.index("TWO") + 3)]
    reply = "Check it. Look and then think and then act or stop at once."
    found = recover(reply, text, spans)
    assert isinstance(found, Recovered)
    child = splice(text, [(*s, new) for s, new in zip(spans, found.replacements, strict=True)])
    assert child == reply
    assert not found.exact, "the stretch between the spans stands twice"
    doubled = "Check it well now ONE and stop at once."
    found = recover("I say: Check it well now, so Check it well now TWO and stop at once.", doubled, [(18, 21)])
    assert not found.exact, "the beginning stands twice"
    found = recover("Check it well now TWO and stop at once. I wrote: and stop at once. Good?", doubled, [(18, 21)])
    assert not found.exact, "the end stands twice"


def test_leak_limit_and_tags_with_talk_on_both_sides():
    text = "alpha beta gamma delta SPAN epsilon zeta eta theta iota"
    span = [(23, 27)]
    found = recover("alpha beta x delta NEW epsilon y eta z iota", text, span)
    assert isinstance(found, Rejection)
    assert found.rule == "leak"
    short = "Be brief."
    found = recover("Well, I think: Be <edit>kind</edit>. That is what I would do.", short, [(3, 8)])
    assert found.replacements == ("kind",)
    assert found.exact


def test_no_anchor_at_all_takes_the_whole_reply():
    found = recover("Certainly! Here is the prompt:\n\n```\nBe kind.\n```", "Be brief.", [(0, 9)])
    assert found.replacements == ("Be kind.",)


def test_insertion_brings_its_blank():
    text = "Answer the question. {q}"
    found = read(text, 19, "Answer the question politely and in full. {q}")
    assert splice(text, [(19, 19, found.replacements[0])]) == "Answer the question politely and in full. {q}"
    assert read(text, 19, text).replacements == ("",)


def test_literal_prompt_with_braces_is_no_template():
    text = "Say {x} to Bob now please."
    found = recover("Say {x} to {y} now please.", text, [(11, 14)], (), "edit", "literal")
    assert found.replacements == ("{y}",)


def test_mustache_code_is_guessed_from_frozen_text():
    text = "Say {a: 1} to {{bob}} now please."
    frozen = parse_template(text, "mustache").atom_ranges
    found = recover("Say {a: 2} to {{bob}} now please.", text, [(4, 10)], frozen)
    assert found.replacements == ("{a: 2}",)
    found = recover("Say {{al}} to {{bob}} now please.", text, [(4, 10)], frozen)
    assert found.rule == "new_variable"


@pytest.mark.parametrize(
    "reply", ["[" * 50_000, '{"a":' * 20_000, "{" * 50_000, "<edit>" * 9_000, "a " * 40_000, "\x00", "\ud800"]
)
def test_hostile_replies_are_refused_quickly(reply):
    found = recover(reply, "Read the text. Then answer in one word: {q}", [(0, 8)], [(40, 43)])
    assert isinstance(found, Rejection)


# ------------------------------------------------------------------ seams


@pytest.mark.parametrize(
    ("text", "at", "new", "expected"),
    [
        ("Be brief.", 8, "and kind", " and kind"),
        ("Be brief.", 2, "very", " very"),
        ("Be brief.", 3, "very", "very "),
        ("Be brief.", 0, "Please.", "Please. "),
        ("Be brief.", 8, ", kind", ", kind"),
        ("Be brief.", 9, "Be kind.", " Be kind."),
        ("Be brief.\n", 10, "Be kind.", "Be kind."),
        ("请回答。", 1, "简短", "简短"),
        ("(brief)", 1, "very", "very "),
        ("Be brief.", 3, "  ", ""),
    ],
)
def test_pad_insertion(text, at, new, expected):
    assert pad_insertion(text, at, new) == expected


def test_fit_seams_and_line_ends():
    assert fit(" kind ", "Be brief.", (3, 8)) == "kind"
    assert fit("a\nb", "One.\r\nTwo.\r\n", (6, 10)) == "a\r\nb"
    assert fit("a\r\nb", "One.\nTwo.\n", (5, 9)) == "a\nb"
    assert fit("New:", "Old:\n{q}", (0, 5)) == "New:\n", "the span's own line end stays"
    assert fit("New:  ", "Old:\n{q}", (0, 5)) == "New:  "
    assert fit(" ", "Be brief.", (3, 8)) == ""


def test_talk_is_only_stripped_where_nothing_tells_it_from_text():
    reply = "Here is the prompt:\n\nBe kind.\n\nI changed one word."
    assert strip_talk(reply, "Be brief.", True, True) == "Be kind."
    assert strip_talk(reply, "Be brief.", False, False) == reply
    own = "Here is the prompt:\n\nBe brief."
    assert strip_talk(own, own, True, True) == own


@given(st.text(alphabet=st.sampled_from("ab \n\t")))
def test_squeezed_offsets_lead_back(text):
    squeezed = Squeezed(text)
    assert "".join(squeezed.text.split()) == "".join(text.split())
    for i, c in enumerate(squeezed.text):
        if c != " ":
            assert text[squeezed.source(i)] == c
    assert squeezed.source(len(squeezed.text)) == len(text)


def test_placeholders():
    assert placeholders('{a} {{b}} {c!r} {d:>3} { e } {"f": 1} {{{g}}}', "f-string") == (
        "{a}",
        "{c!r}",
        "{d:>3}",
        "{ e }",
        "{g}",
    )
    assert placeholders("{a} {{b}} {{{c}}} {% if d %}", "jinja2") == ("{{b}}", "{{{c}}}", "{% if d %}")
    assert placeholders("{a}", None) == ()
