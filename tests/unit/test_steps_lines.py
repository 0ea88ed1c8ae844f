"""The line protocol: one reply marks and rewrites."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage

from langchain_promptopt._engine.context import OptimizerModel
from langchain_promptopt._text.spans import SpanLimits
from langchain_promptopt.errors import ConfigError
from langchain_promptopt.steps import IdentifyTokens, LocalProposal
from langchain_promptopt.steps.base import as_workpiece, lined
from langchain_promptopt.steps.line_protocol import anchored, parse_lines, unlined
from langchain_promptopt.store.journal import MemoryStore
from langchain_promptopt.testing.scripted import ScriptedModel
from langchain_promptopt.types import Rejection, Usage
from tests.support.tasks import MAIL as PROMPT


def reply(*changes, **more):
    return json.dumps({"changes": [dict(zip(("why", "line", "old", "new"), c, strict=True)) for c in changes]} | more)


def run(*replies, prompt=PROMPT, children=1):
    left = list(replies)
    model = ScriptedModel(fn=lambda _: left.pop(0))
    piece = IdentifyTokens(model=model, protocol="line").invoke({"prompt": prompt, "errors": [{"inputs": "x"}]})
    if piece.spans:
        piece = LocalProposal(model=model).invoke(piece)
    return piece, model


def child(*replies, prompt=PROMPT):
    piece, model = run(*replies, prompt=prompt)
    return piece.drafts[0].prompts.document.text, model


@pytest.mark.parametrize(
    ("change", "old", "new"),
    [
        (("w", 4, "legal", "delivery"), "- legal:", "- delivery:"),
        (("w", 4, "- legal: parcels that are late", "- delivery: parcels that are late"), "- legal:", "- delivery:"),
        (("w", 4, "4| - legal: parcels that are late", "4| - post: parcels that are late"), "- legal:", "- post:"),
        (("w", 5, "legal", "delivery"), "- legal:", "- delivery:"),  # a line too far down
        (("w", "line 4", "LEGAL", "post"), "- legal:", "- post:"),
        (("w", 8, "Mail: {mail}", "E-mail: {mail}"), "Mail: {mail}", "E-mail: {mail}"),  # the variable stays
    ],
)
def test_one_reply_marks_and_rewrites(change, old, new):
    text, model = child(reply(change))
    assert text == PROMPT.replace(old, new)
    assert len(model.calls) == 1


def test_a_rule_is_added_as_an_item_of_its_own():
    text, _ = child(reply(("w", 5, "", "billing: invoices")))
    assert text == PROMPT.replace("is broken\n", "is broken\n- billing: invoices\n")


def test_marks_without_texts_ask_for_the_texts():
    marks = json.dumps([{"quote": "legal", "reason": "parcels are no matter of law"}])
    text, model = child(marks, '{"1": {"new": "delivery", "reason": "r"}}')
    assert text == PROMPT.replace("legal", "delivery")
    assert len(model.calls) == 2


@pytest.mark.parametrize(
    "broken",
    [
        '{"changes": [{"why": "w", "line": 4, "old": "legal", "new": "delivery"}',  # cut
        "{'changes': [{'why': 'w', 'line': 4, 'old': 'legal', 'new': 'delivery'}]}",  # not JSON
        '{"why": "w", "line": 4, "old": "legal", "new": "delivery"}',  # one change instead of a list
        '```json\n[{"why": "w", "line": 4, "old": "legal", "new": "delivery"},]\n```',
        'I think: {"changes": [{"why": "w" "line": 4, "old": "legal", "new": "delivery"}]} Done.',
    ],
)
def test_small_faults_of_the_reply_are_read_over(broken):
    text, model = child(broken)
    assert text == PROMPT.replace("legal", "delivery")
    assert len(model.calls) == 1


def test_the_second_try_is_told_what_the_line_says():
    good = reply(("w", 4, "legal", "delivery"))
    piece, model = run(reply(("w", 4, "lawyers", "delivery")), good)
    assert "line 4 does not hold the words 'lawyers'" in model.calls[1][-1].text
    assert "- legal: parcels that are late" in model.calls[1][-1].text
    assert piece.drafts


def test_a_change_that_changes_nothing_is_asked_for_again():
    piece, _ = run(reply(("w", 4, "legal", "legal")), reply(("w", 4, "legal", "post")))
    assert [r.rule for r in piece.rejections] == ["no_change"]
    assert piece.drafts


def test_more_than_one_child_asks_for_further_texts():
    left = [reply(("w", 4, "legal", "delivery")), '{"1": {"new": "post", "reason": "r"}}']
    model = ScriptedModel(fn=lambda _: left.pop(0))
    piece = as_workpiece({"prompt": PROMPT, "errors": [{"inputs": "x"}]})
    object.__setattr__(piece, "children", 2)
    out = LocalProposal(model=model).invoke(IdentifyTokens(model=model, protocol="line").invoke(piece))
    assert [d.edits[0].new for d in out.drafts] == ["delivery", "post"]


def test_what_never_changes_stands_in_front_for_prefix_caches():
    _, model = run(reply(("w", 4, "legal", "post")))
    turns = [m.text for m in model.calls[0]]
    assert "1| You are shown an animal." in turns[1]  # the worked example, the same in every request
    assert turns[-1].index("1| You sort mail.") < turns[-1].index("<errors>") < turns[-1].index("Reply with JSON")
    assert "<prompt>" not in turns[-1]


@given(st.text(alphabet="ab |0\n", max_size=30))
def test_line_numbers_come_off_again(text):
    plain = "\n".join(line.rstrip() for line in text.split("\n"))
    assert unlined(lined(text)) == plain


@given(st.data())
def test_an_anchored_place_is_found_again(data):
    text = data.draw(st.text(alphabet="ab \n", min_size=1, max_size=40).filter(str.strip))
    start = data.draw(st.integers(0, len(text) - 1))
    stop = text.find("\n", start)
    end = data.draw(st.integers(start, len(text) if stop < 0 else stop))
    number, low, high = anchored(text, start, end)
    assert low <= start <= end <= high
    line = text.split("\n")[number - 1]
    assert text[low:high] in line
    whole = text.rfind("\n", 0, start) + 1
    assert line.count(text[low:high]) == 1 or (low, high) == (whole, whole + len(line)) or not text[low:high].strip()


@given(st.text(max_size=80))
def test_no_reply_breaks_the_reading(junk):
    prompts = as_workpiece({"prompt": PROMPT}).prompts
    found = parse_lines(junk, prompts, SpanLimits())
    assert isinstance(found, Rejection) or all(0 <= m.start <= m.end <= len(PROMPT) for m in found)


def asked_for_a_schema(refuses):
    """Two calls that ask for a schema, at an endpoint that refuses what `refuses` says; what arrived and was noted."""
    arrived, noted = [], []

    async def transport(messages, config, kwargs, step):
        arrived.append(kwargs)
        if refuses(kwargs):
            raise ConfigError("the request is refused", failure="bad_request")
        return AIMessage("{}"), Usage(calls=1)

    hub = OptimizerModel(None, transport, MemoryStore(), noted.append, lambda *_, **__: None)
    body = {"top_k": 1, "response_format": {"type": "json_schema"}}

    async def twice():
        for n in (1, 2):
            await hub.at((n,)).ainvoke([("human", "x")], extra_body=body)

    asyncio.run(twice())
    return [kwargs["extra_body"] for kwargs in arrived], [e for e in noted if e.type == "incident"]


def test_an_endpoint_without_schemas_is_found_out_once_and_asked_in_words():
    bodies, incidents = asked_for_a_schema(lambda kwargs: "response_format" in kwargs["extra_body"])
    assert ["response_format" in body for body in bodies] == [True, False, False]
    assert all(body["top_k"] == 1 for body in bodies)  # the user's own settings stay
    assert [e.kind for e in incidents] == ["no_schema"]


def test_an_endpoint_with_schemas_is_asked_for_them():
    bodies, incidents = asked_for_a_schema(lambda kwargs: False)
    assert ["response_format" in body for body in bodies] == [True, True]
    assert incidents == []


def test_a_request_that_is_refused_in_words_too_ends_as_it_did():
    with pytest.raises(ConfigError, match="the request is refused"):
        asked_for_a_schema(lambda kwargs: True)


def marks_of(change, prompt=PROMPT, errors=()):
    given = {"prompt": prompt, "errors": [{"inputs": "x", "expected": e, "answer": a} for e, a in errors]}
    piece = as_workpiece(given)
    found = parse_lines(reply(change), piece.prompts, SpanLimits(), piece.batch.errors)
    text = piece.prompts.document.text
    return [(text[: m.start].count("\n") + 1, text[m.start : m.end], m.new) for m in found]


TURNED = "Name the class.\nA late parcel: legal, and never delivery.\nMail: {mail}"


@pytest.mark.parametrize(
    ("errors", "marked"),
    [
        ([("delivery", "legal")], [(2, "legal", "delivery")]),  # the expected answer would have gone
        ([("delivery", "legal"), ("legal", "sales")], [(2, "delivery", "legal")]),  # both are expected of some row
        ([], [(2, "delivery", "legal")]),
    ],
)
def test_a_change_that_would_replace_the_expected_answer_by_the_given_one_is_turned(errors, marked):
    assert marks_of(("w", 2, "delivery", "legal"), TURNED, errors) == marked


@pytest.mark.parametrize(
    ("change", "prompt"),
    [
        ((2, "yes", "no"), "Is it late?\nAnswer with yes or no and nothing else.\n{mail}"),
        ((2, "account", "sales"), "Sort the mail.\nQueues: billing, account, parcel post, sales.\n{mail}"),
        ((2, "yes or", "no or"), "Is it late?\nAnswer: yes/no, yes or no.\n{mail}"),
    ],
)
def test_an_answer_is_not_put_into_a_list_of_answers_twice(change, prompt):
    errors = [("no", "yes"), ("sales", "account")]
    given = as_workpiece({"prompt": prompt, "errors": [{"inputs": "x", "expected": e, "answer": a} for e, a in errors]})
    found = parse_lines(reply(("w", *change)), given.prompts, SpanLimits(), given.batch.errors)
    assert isinstance(found, Rejection)
    assert found.rule == "answer_list"
    assert f"{change[2].split()[0]!r} twice" in found.detail


def test_an_answer_takes_the_place_of_another_one_in_a_rule_that_names_both():
    text = "Sort the mail.\nParcels belong to sales, invoices belong to sales.\n{mail}"
    assert marks_of(("w", 2, "Parcels belong to sales", "Parcels belong to post"), text, [("post", "sales")]) == [
        (2, "sales", "post")
    ]
    both = text.replace("invoices belong to sales", "letters belong to post")
    assert marks_of(("w", 2, "sales", "post"), both, [("post", "sales")]) == [(2, "sales", "post")]


def test_an_answer_of_the_worked_example_is_not_copied():
    given = as_workpiece({"prompt": PROMPT, "errors": [{"inputs": "x", "expected": "post", "answer": "legal"}]})
    found = parse_lines(reply(("w", 4, "legal", "mammal")), given.prompts, SpanLimits(), given.batch.errors)
    assert isinstance(found, Rejection)
    assert found.rule == "copied"
    assert marks_of(("w", 4, "legal", "mammal"), PROMPT, [("mammal", "legal")]) == [(4, "legal", "mammal")]


def test_new_words_that_stand_in_the_prompt_and_old_ones_that_do_not_are_turned():
    assert marks_of(("w", 4, "delivery", "legal")) == [(4, "legal", "delivery")]


def test_words_that_the_named_line_lacks_are_looked_for_where_the_reason_points():
    prompt = "New, unopened: full refund.\nOld: none.\n\nSale items: full refund.\nCase: {mail}"
    assert marks_of(("a sale item was refunded", 2, "full", "no"), prompt) == [(4, "full", "no")]
    assert marks_of(("an unopened one was refunded", 2, "full", "no"), prompt) == [(1, "full", "no")]
    assert marks_of(("w", 3, "full", "no"), prompt) == [(4, "full", "no")]
