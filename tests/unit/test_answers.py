"""What a chain said, as one plain value, and how it is compared with a reference that has fields."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import NamedTuple

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.load import dumpd
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.prompt_values import ChatPromptValue, StringPromptValue
from pydantic import BaseModel, RootModel

from langchain_promptopt.errors import ConfigError, EvaluatorError
from langchain_promptopt.evaluators import (
    choice_match,
    exact_match,
    label_match,
    make_label_match,
    number_match,
    rouge_l,
)
from langchain_promptopt.evaluators._calls import outputs_of
from langchain_promptopt.types import answer_of


class Label(BaseModel):
    label: str
    urgent: bool = False


class Open(BaseModel, extra="allow"):
    label: str


class Labels(RootModel[list[str]]):
    pass


class Slotted:
    __slots__ = ("_of", "label")

    def __init__(self, label):
        self.label, self._of = label, self


@dataclass
class Sorted:
    label: str
    why: list[str]


class Pair(NamedTuple):
    label: str
    score: int


class Kind(Enum):
    REFUND = "refund"


class Quiet:
    pass


class Held:
    def __init__(self):
        self.label = "refund"


def said(text, **more):
    usage = {"input_tokens": 3, "output_tokens": 1, "total_tokens": 4}
    return AIMessage(text, id="run--17", response_metadata={"token_usage": 4}, usage_metadata=usage, **more)


CALL = {"name": "sort", "args": {"label": "refund"}, "id": "call_9", "type": "tool_call"}
BLOCKS = [
    {"type": "thinking", "thinking": "hm"},
    {"type": "text", "text": "ref"},
    {"type": "text", "text": "und"},
    {"type": "image_url", "image_url": {"url": "data:"}},
]
SHAPES = {
    "text": ("refund", "refund"),
    "message": (said("refund"), "refund"),
    "blocks": (said(BLOCKS), "refund"),
    "thinking alone": (said([{"type": "reasoning", "text": "hm"}]), ""),
    "tool call": (said("", tool_calls=[CALL]), {"tool_calls": [{"name": "sort", "args": {"label": "refund"}}]}),
    "messages": ([HumanMessage("sort"), said("refund")], "refund"),
    "state": ({"messages": [HumanMessage("sort"), said("refund"), ToolMessage("ok", tool_call_id="1")]}, "refund"),
    "state with fields": ({"messages": [said("refund")], "label": "a"}, {"messages": "refund", "label": "a"}),
    "state of dicts": ({"messages": [{"role": "user", "content": "?"}, {"role": "ai", "content": "refund"}]}, "refund"),
    "nested message": ({"answer": said("refund"), "n": 2}, {"answer": "refund", "n": 2}),
    "dumped message": (said("refund").model_dump(mode="json"), "refund"),
    "a dict that is no message": ({"type": "bug", "content": "x"}, {"type": "bug", "content": "x"}),
    "pydantic": (Label(label="refund"), {"label": "refund", "urgent": False}),
    "dataclass": (Sorted("refund", ["a"]), {"label": "refund", "why": ["a"]}),
    "named tuple": (Pair("refund", 2), {"label": "refund", "score": 2}),
    "enum": (Kind.REFUND, "refund"),
    "document": (Document("refund", id="17"), {"page_content": "refund", "metadata": {}}),
    "generations": (LLMResult(generations=[[ChatGeneration(message=said("refund"))]]), "refund"),
    "numpy": ({"score": np.float32(0.5), "of": np.array([1, 2])}, {"score": 0.5, "of": [1, 2]}),
    "date": (date(2026, 1, 2), "2026-01-02"),
    "set": ({"b", "a"}, ["a", "b"]),
    "attributes": (Held(), {"label": "refund"}),
    "nothing to say": (Quiet(), "Quiet"),
    "pydantic with more fields": (Open(label="refund", why="late"), {"label": "refund", "why": "late"}),
    "pydantic list": (Labels(["refund"]), ["refund"]),
    "slots": (Slotted("refund"), {"label": "refund"}),
    "rendered prompt": (ChatPromptValue(messages=[HumanMessage("refund")]), "refund"),
    "rendered text": (StringPromptValue(text="refund"), "refund"),
    "refusal block": (said([{"type": "refusal", "refusal": "I cannot"}]), "I cannot"),
    "refusal": (said("", additional_kwargs={"refusal": "I cannot"}), "I cannot"),
    "spoken": (said("", additional_kwargs={"audio": {"id": "a", "transcript": "refund"}}), "refund"),
    "function call": (
        said("", additional_kwargs={"function_call": {"name": "sort", "arguments": "{}"}}),
        {"tool_calls": [{"name": "sort", "args": {}}]},
    ),
    "broken tool call": (
        said("", invalid_tool_calls=[{"name": "sort", "args": "{bad", "id": "1", "error": "no JSON"}]),
        {"invalid_tool_calls": [{"name": "sort", "args": "{bad"}]},
    ),
    "serialized message": (dumpd(said("refund")), "refund"),
    "tool calls of a dict": ({"tool_calls": [CALL]}, {"tool_calls": [{"name": "sort", "args": {"label": "refund"}}]}),
    "not a number": (float("nan"), "nan"),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_an_answer_is_plain_and_says_what_the_chain_said(shape):
    value, plain = SHAPES[shape]
    assert answer_of(value) == plain
    assert json.loads(json.dumps(answer_of(value))) == plain, "it comes back from the journal as it was"


@pytest.mark.parametrize("answer", [(c for c in "ab"), iter(["ab"]), map(str, [1])])
def test_an_answer_that_is_still_to_be_read_is_refused(answer):
    with pytest.raises(ConfigError, match="joined text"):
        answer_of({"text": answer})


def test_an_answer_that_holds_itself_ends():
    loop: dict[str, object] = {"label": "refund"}
    loop["me"] = loop
    assert "..." in json.dumps(answer_of(loop))


def test_a_client_s_own_reply_is_its_text():
    class Block:
        type, text = "text", "refund"

    class Message:
        role, content, tool_calls = "assistant", [Block()], None

    class Choice:
        message = Message()

    class Completion:
        id, choices = "chatcmpl-1", [Choice()]

    assert answer_of(Completion()) == answer_of(Message()) == "refund"


def test_evaluators_are_handed_what_langsmith_hands_them():
    message = outputs_of(said("refund"))
    assert (message["content"], message["type"]) == ("refund", "ai")
    assert message["output"].text == "refund"
    assert outputs_of(Label(label="a")) == {"label": "a", "urgent": False}
    assert outputs_of({"a": 1}) == {"a": 1}
    assert outputs_of("x") == {"output": "x"}


SEVERAL = {"kind": "access", "urgent": False, "total": 12, "note": None, "tags": ["a", "b"], "who": {"name": "Ann"}}


@pytest.mark.parametrize("matcher", [exact_match, number_match, label_match, rouge_l])
@pytest.mark.parametrize("reference", [{"label": "access", "urgent": False, "total": 3}, SEVERAL])
def test_an_answer_equal_to_its_reference_scores_one(matcher, reference):
    for outputs in (dict(reference), {"output": dict(reference)}, {"output": json.dumps(reference)}):
        assert matcher(outputs, reference)["score"] == 1.0, outputs
    assert matcher({"output": dict(reference)}, {"answer": reference})["score"] == 1.0


def test_closed_labels_and_choices_compare_the_fields_they_apply_to():
    intents = make_label_match(["refund", "access"])
    assert intents({"intent": "access", "n": 2}, {"intent": "access", "n": 2})["score"] == 1
    assert intents({"intent": "refund", "n": 2}, {"intent": "access", "n": 2})["score"] == 0
    assert choice_match({"choice": "(b)", "sure": True}, {"choice": "B", "sure": True})["score"] == 1


def test_one_wrong_field_is_a_wrong_answer_and_is_named():
    right = {"label": "access", "urgent": False}
    found = exact_match({"label": "access", "urgent": True}, right)
    assert (found["score"], found["comment"]) == (0.0, "urgent: expected 'false', got 'true'")
    found = exact_match({"label": "access"}, right)
    assert (found["score"], found["comment"]) == (0.0, "urgent: the answer has no field `urgent`")
    assert exact_match({"label": "access", "urgent": False, "why": "password"}, right)["score"] == 1.0
    assert exact_match(said(json.dumps(right)), right)["score"] == 1.0


def test_a_number_rule_applies_to_numbers_and_the_rest_is_compared_exactly():
    reference = {"total": 12, "currency": "EUR"}
    assert number_match({"total": "about 12.0", "currency": "eur"}, reference)["score"] == 1
    assert number_match({"total": 12, "currency": "USD"}, reference)["score"] == 0
    with pytest.raises(EvaluatorError, match="needs a number"):
        number_match({"a": "x", "b": "y"}, {"a": "x", "b": "z"})


def test_a_text_answer_is_compared_with_the_field_that_is_named_as_the_answer():
    assert exact_match("4", {"answer": "4", "rationale": "2 and 2"})["score"] == 1
    assert exact_match({"messages": [HumanMessage("?"), said("4")]}, {"answer": "4"})["score"] == 1


AS_LABEL = {"label": "access", "urgent": False}


@pytest.mark.parametrize(
    ("outputs", "reference", "score"),
    [
        ({"messages": [said("done")], "structured_response": Label(label="access")}, AS_LABEL, 1),
        ({"messages": [said("done")], "structured_response": Label(label="refund")}, AS_LABEL, 0),
        ({"raw": said("{}"), "parsed": Label(label="access"), "parsing_error": None}, AS_LABEL, 1),
        ({"raw": said("refund"), "parsed": {"category": "access"}, "parsing_error": None}, {"label": "access"}, 1),
        ({"raw": said("access"), "parsed": None, "parsing_error": ValueError("no JSON")}, AS_LABEL, 0),
        ({"input": "access", "output": "refund"}, {"answer": "access"}, 0),
        ({"category": "refund", "why": "access"}, {"label": "access"}, 0),
        ({"output": said("", tool_calls=[CALL])}, {"tool_calls": [CALL | {"id": "call_1"}]}, 1),
        ({"output": Decimal("1.50")}, {"total": 1.5}, 1),
        ({"output": np.bool_(True)}, {"urgent": True}, 1),
        ({"output": True}, {"total": 1}, 0),
        ({"output": {"b", "a"}}, {"labels": ["a", "b"]}, 1),
        (
            {"messages": [said("4")]},
            {"messages": [{"role": "user", "content": "?"}, {"role": "ai", "content": "4"}]},
            1,
        ),
    ],
)
def test_an_answer_in_a_wrapping_is_compared_by_what_it_says(outputs, reference, score):
    assert exact_match(outputs, reference)["score"] == score
