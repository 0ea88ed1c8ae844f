"""Which part of an answer is compared with which part of its reference: field by field where both have fields."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_promptopt.errors import EvaluatorError
from langchain_promptopt.evaluators._read import as_text
from langchain_promptopt.types import answer_of

ANSWER_NAMES = ("answer", "output", "label", "expected", "expected_output", "reference", "target")
"""Names under which people keep the reference of a plain text; the first wins, otherwise exactly one must be there."""
_REPLY_NAMES = ("messages", "answer", "text", "content", "result", "response")
_STRUCTURED = ("structured_response", "parsed")
_FENCE = re.compile(r"\A\s*```[A-Za-z]*\n(.*?)\n?```\s*\Z", re.DOTALL)


class _Missing:
    """In place of a field that an answer does not have."""

    def __repr__(self) -> str:
        return "nothing"


MISSING = _Missing()


@dataclass(frozen=True)
class ComparedPart:
    """A part of an answer, and the alternatives it is compared with.

    Args:
        name: The field's; empty where the whole is compared.
        reply: What the answer says.
        references: Any of them is right.
        typed: Whether the answer was JSON text, so that a text in it was meant as a text.
    """

    name: str
    reply: Any
    references: tuple[Any, ...]
    typed: bool = False


def pairs_of(outputs: Any, reference_outputs: Any) -> tuple[ComparedPart, ...]:
    """What is compared: one pair for each field of the reference, or the whole where one side is no dict of fields.

    >>> [(p.name, p.reply) for p in pairs_of({"label": "a", "urgent": True}, {"label": "a", "urgent": False})]
    [('label', 'a'), ('urgent', True)]
    >>> pairs_of({"output": "4"}, {"answer": ["4", "four"]})
    (ComparedPart(name='', reply='4', references=('4', 'four'), typed=False),)
    """
    if type(outputs) is dict and type(reference_outputs) is dict and len(outputs) == len(reference_outputs) == 1:
        ((name, wanted),) = reference_outputs.items()
        reply = outputs.get("output")
        if isinstance(reply, str) and type(wanted) is type(name) is str and name != "output" and wanted.strip():
            said = answer_of(reply)
            if type(said) is str:  # nearly all rows; what follows says the same of them, step by step
                return (ComparedPart("", said, (wanted,)),)
    # plain values: every mapping in them is a dict, and asking for that is far quicker than asking for a Mapping
    answer, reference = _unwrapped(answer_of(outputs), reference_outputs), answer_of(reference_outputs)
    fields = _fields_of(answer, reference)
    typed = isinstance(answer, str)
    if fields is not None:
        return tuple(_compared("", fields, reference, typed=typed))
    references = references_of(reference)
    if len(references) == 1 and isinstance(references[0], dict):
        fields = _fields_of(answer, references[0])
        if fields is None:
            return (ComparedPart("", answer, references),)
        return tuple(_compared("", fields, references[0], typed=typed))
    objects = any(isinstance(part, dict) for part in references) and isinstance(answer, dict)
    return (ComparedPart("", answer if objects else reply_of(answer, reference), references),)


def _unwrapped(answer: Any, reference: Any) -> Any:
    """The answer without the `output` that LangSmith puts around what is no dict."""
    if isinstance(answer, dict) and len(answer) == 1 and "output" in answer:
        named = isinstance(reference, dict | Mapping) and "output" in reference
        return answer if named and not isinstance(answer["output"], dict) else answer["output"]
    return answer


def _fields_of(answer: Any, reference: Any) -> Mapping[str, Any] | None:
    """The answer's fields where it shares some with the reference; a JSON text has fields too."""
    if not isinstance(reference, dict) or not reference:
        return None
    if isinstance(answer, str) and len(reference) > 1:
        answer = json_of(answer)[0]
    if not isinstance(answer, dict):
        return None
    if answer.keys() & reference.keys():
        return answer
    return _fields_of(_structured(answer), reference)


def _structured(answer: Mapping[str, Any]) -> Any:
    """The structured answer in an agent's state, or beside the raw message of `include_raw`; None where is none."""
    found = [answer[name] for name in _STRUCTURED if isinstance(answer.get(name), dict)]
    return found[0] if len(found) == 1 else None


def _compared(
    above: str, answer: Mapping[str, Any], reference: Mapping[str, Any], *, typed: bool = False
) -> Iterator[ComparedPart]:
    for name, wanted in reference.items():
        place = f"{above}.{name}" if above else str(name)
        given = answer.get(name, MISSING)
        if isinstance(wanted, dict) and wanted and isinstance(given, dict):
            yield from _compared(place, given, wanted, typed=typed)
            continue
        if isinstance(given, dict) and given:
            given = reply_of(given)
        if len(reference) == 1 and not above:
            yield ComparedPart(place, given, references_of(wanted), typed)
        else:
            yield ComparedPart(place, given, tuple(wanted) if isinstance(wanted, list) and wanted else (wanted,), typed)


def references_of(reference_outputs: Any) -> tuple[Any, ...]:
    """The alternatives of a reference, each a text, number, truth value or object.

    >>> references_of({"answer": ["Paris", "City of Paris"]})
    ('Paris', 'City of Paris')
    """
    value = reference_outputs
    if isinstance(value, dict | Mapping):
        if "answer" in value:
            value = value["answer"]
        elif len(value) == 1:
            value = next(iter(value.values()))
        elif (name := _only(value, ANSWER_NAMES)) is not None:
            value = value[name]
    found = tuple(value) if isinstance(value, list | tuple) else (value,)
    if not found or any(map(_says_nothing, found)) or value == {}:
        msg = f"the reference {reference_outputs!r} holds no answer"
        raise EvaluatorError(msg, mend="Leave examples without a reference out.")
    return found


def _says_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _only(mapping: Mapping[str, Any], names: Sequence[str]) -> str | None:
    found = [name for name in names if name in mapping]
    return found[0] if len(found) == 1 else None


def reply_of(outputs: Any, reference_outputs: Any = None) -> Any:
    """What the chain answered: a text, or the plain value where it is structured.

    >>> reply_of({"output": "4"}), reply_of({"answer": "4", "steps": []}, {"answer": "5"})
    ('4', '4')
    """
    answer = answer_of(outputs)
    if isinstance(answer, dict) and answer:
        return _reply_in(answer, reference_outputs)
    return "" if answer is None or answer == {} else answer


def _reply_in(answer: Mapping[str, Any], reference: Any) -> Any:
    if "output" in answer:
        return reply_of(answer["output"], reference)
    if len(answer) == 1:
        return reply_of(next(iter(answer.values())), reference)
    if (structured := _structured(answer)) is not None:
        return reply_of(structured, reference)
    wanted = [name for name in reference if name in answer] if isinstance(reference, dict | Mapping) else []
    name = wanted[0] if len(wanted) == 1 else _only(answer, _REPLY_NAMES)
    return answer if name is None else reply_of(answer[name])


def reply_text(reply: Any, key: str) -> str:
    """A reply as text. Raises EvaluatorError when several fields could be meant."""
    if isinstance(reply, Mapping):
        msg = f"`{key}` needs one text, and the output has the fields {', '.join(map(str, reply))}"
        mend = f"Return one of them, or call `{key}(outputs[...], reference_outputs)` in an evaluator of your own."
        raise EvaluatorError(msg, mend=mend)
    return as_text(reply)


def text_references(references: Sequence[Any], key: str) -> tuple[str, ...]:
    """Alternatives as text, for a metric that compares text; objects are refused."""
    for value in references:
        if isinstance(value, Mapping | list | tuple):
            msg = f"`{key}` compares text, and the reference is an object: {as_text(value)[:200]}"
            mend = "Use `exact_match`, which compares objects as JSON, or name one column in `outputs`."
            raise EvaluatorError(msg, mend=mend)
    return tuple(map(as_text, references))


def json_of(reply: Any) -> tuple[Any, bool]:
    """The JSON value a reply stands for, and whether it is JSON at all. A code fence around it is ignored."""
    if not isinstance(reply, str):
        return reply, True
    fenced = _FENCE.match(reply)
    try:
        return json.loads(fenced.group(1) if fenced else reply), True
    except (ValueError, RecursionError):
        return None, False


def same_json(left: Any, right: Any) -> bool:
    """JSON equality: key order free, 1 equals 1.0, true is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(same_json(v, right[k]) for k, v in left.items())
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(same_json, left, right))
    return bool(left == right)
