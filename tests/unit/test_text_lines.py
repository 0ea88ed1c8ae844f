"""Frames of whole lines: a rule that goes takes its list mark and its line along, and nothing else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_promptopt import IdentifyTokens, LocalProposal
from langchain_promptopt._text.document import subtract
from langchain_promptopt._text.spans import framed, reframed, splice, unframed
from langchain_promptopt.testing.scripted import ScriptedModel

LIST = "## Rules\n- Be brief.\n* Be kind\n  to all.\n(3) Never lie.\n{x}\n- Last one."


def frame_of(text: str, part: str, frozen=()) -> str:
    at = text.index(part)
    ((start, end),) = framed([(at, at + len(part))], text, [(0, len(text))], frozen)
    return text[start:end]


@pytest.mark.parametrize(
    ("part", "frame"),
    [
        ("Be brief.", "- Be brief.\n"),
        ("- Be brief.", "- Be brief.\n"),
        ("Be kind\n  to all.", "* Be kind\n  to all.\n"),
        ("Never lie.", "(3) Never lie.\n"),
        ("Last one.", "\n- Last one."),
        ("brief.", "brief."),
        ("Never", "Never"),
        ("to all.", "  to all.\n"),
    ],
)
def test_a_whole_line_is_widened_and_a_part_of_it_is_not(part, frame):
    assert frame_of(LIST, part) == frame


def test_frames_keep_off_frozen_text_other_spans_and_other_messages():
    at = LIST.index("- Be brief")
    assert frame_of(LIST, "Be brief.", [(at, at + 1)]) == "Be brief."
    text = "- One.\n- Two."
    both = framed([(2, 6), (9, 13)], text, [(0, len(text))], [])
    assert [text[a:b] for a, b in both] == ["- One.\n", "Two."], "the only line break between them has one owner"
    assert framed([(2, 6)], text, [(2, 6), (7, 13)], []) == ((2, 6),)


@given(
    st.lists(st.text("ab .{}-*1)\r\n", max_size=12), min_size=1, max_size=6).map("\n".join),
    st.data(),
    st.text("xy -\n", max_size=9),
)
def test_frames_change_nothing_but_what_is_asked(text, data, core):
    """Identity (L1) and LOCAL hold with frames as without."""
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    part = text[start:end]
    start, end = start + len(part) - len(part.lstrip()), end - len(part) + len(part.rstrip())
    if start >= end:
        return
    ((low, high),) = framed([(start, end)], text, [(0, len(text))], [])
    assert low <= start < end <= high
    old = text[low:high]
    before, was, after = unframed(old)
    assert before + was + after == old
    assert splice(text, [(low, high, reframed(old, was))]) == text
    child = splice(text, [(low, high, reframed(old, core))])
    assert child.startswith(text[:low])
    assert child.endswith(text[high:])
    assert subtract(low, high, []) == [(low, high)]


def test_a_repeated_list_mark_is_written_once():
    assert reframed("- Be brief.\n", "- Be short.") == "- Be short.\n"
    assert reframed("- Be brief.\n", "Be short.\n- Be kind.") == "- Be short.\n- Be kind.\n"
    assert reframed("  2. Be brief.\r\n", "Be short.") == "  2. Be short.\r\n"
    assert reframed("\n- \r11", "\r11") == "\n- \r11"  # what did not change stays, whatever its first character is
    assert reframed("Be brief.", "") == reframed("\n- Be brief.", " ") == ""


FILLER = " ".join(f"word{i}" for i in range(110))
PROMPT = f"{FILLER}\n\n## Rules\n- Refunds are always billing.\n- When in doubt, ask.\n\nTicket: {{ticket}}"


@pytest.mark.parametrize("protocol", ["slots", "reply"])
@pytest.mark.parametrize(
    ("new", "gone"),
    [
        ("", "## Rules\n- When in doubt, ask.\n"),
        ("Refunds have a queue.", "## Rules\n- Refunds have a queue.\n- When in doubt, ask.\n"),
    ],
)
def test_a_wrong_rule_is_removed_with_its_mark_or_replaced_behind_it(protocol, new, gone):
    def optimizer(messages):
        request = str(messages[-1].text)
        if "JSON list" in request:
            return json.dumps([{"message": 0, "quote": "Refunds are always billing.", "occurrence": 1, "reason": "r"}])
        if protocol == "reply":
            return PROMPT.replace("Refunds are always billing.", new)
        assert '1 (message 0): "Refunds are always billing."' in request
        return json.dumps({"1": {"new": new, "reason": "it has a queue of its own"}})

    model = ScriptedModel(fn=optimizer)
    steps = IdentifyTokens(model=model) | LocalProposal(model=model, protocol=protocol)
    errors = [{"inputs": {"ticket": "money back"}, "expected": {"label": "refund"}, "answer": "billing"}]
    piece = steps.invoke({"prompt": PROMPT, "errors": errors})
    (draft,) = piece.drafts
    (edit,) = draft.edits
    assert edit.old == "- Refunds are always billing.\n"
    assert gone in draft.prompts["main"].messages[0].template
    assert edit.span in piece.spans
    assert "<edit>Refunds are always billing.</edit>" in piece.tagged
