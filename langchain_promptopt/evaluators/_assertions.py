"""The evaluator `assertions`: what an answer must contain, match or be, listed with each example.

`promptopt import` writes such lists from promptfoo's tests, whose words they use. An example's reference outputs hold
them: `{"assert": [{"type": "icontains", "value": "refund"}, {"type": "not-regex", "value": "[Ss]orry"}]}`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from langchain_promptopt._text.words import items_of_list
from langchain_promptopt.errors import EvaluatorError
from langchain_promptopt.evaluators._read import as_text, quoted_value
from langchain_promptopt.evaluators._reply import json_of, reply_of, same_json

_READER = json.JSONDecoder()
Check = Callable[[str, Any], bool]
"""Whether an answer meets an assertion with this value."""


def _equals(text: str, value: Any) -> bool:
    if isinstance(value, Mapping | list):
        found, is_json = json_of(text)
        return is_json and same_json(found, value)
    return text.strip() == as_text(value).strip()


def _contains(text: str, value: Any) -> bool:
    return as_text(value) in text


def _starts_with(text: str, value: Any) -> bool:
    return text.startswith(as_text(value))


def _regex(text: str, value: Any) -> bool:
    return re.search(as_text(value), text) is not None


def _any(text: str, value: Any) -> bool:
    return any(part in text for part in _parts(value))


def _all(text: str, value: Any) -> bool:
    return all(part in text for part in _parts(value))


def _is_json(text: str, value: Any) -> bool:  # noqa: ARG001 - a Check; a schema is refused
    return json_of(text)[1]


def _contains_json(text: str, value: Any) -> bool:  # noqa: ARG001 - a Check; a schema is refused
    for start in re.finditer(r"[{\[]", text):
        try:
            _READER.raw_decode(text, start.start())
        except ValueError:
            continue
        return True
    return False


def _no_case(check: Check) -> Check:
    def folded(text: str, value: Any) -> bool:
        low = [as_text(v).casefold() for v in value] if isinstance(value, list) else as_text(value).casefold()
        return check(text.casefold(), low)

    return folded


def _parts(value: Any) -> list[str]:
    """The texts of a list, or of a text with commas between them, as promptfoo's CSV has them."""
    if isinstance(value, list):
        return list(map(as_text, value))
    return items_of_list(as_text(value))


CHECKS: dict[str, Check] = {
    "equals": _equals,
    "contains": _contains,
    "icontains": _no_case(_contains),
    "contains-any": _any,
    "icontains-any": _no_case(_any),
    "contains-all": _all,
    "icontains-all": _no_case(_all),
    "starts-with": _starts_with,
    "regex": _regex,
    "is-json": _is_json,
    "contains-json": _contains_json,
}
"""The kinds of assertions, by promptfoo's names; `not-` before one turns it round."""


def is_assertion(kind: str) -> bool:
    """Whether this kind of assertion can be checked here.

    >>> is_assertion("not-icontains"), is_assertion("llm-rubric")
    (True, False)
    """
    return kind.removeprefix("not-") in CHECKS


def assertions(outputs: Any, reference_outputs: Any) -> dict[str, Any]:
    """The share of an example's assertions that the answer meets, by weight: `contains`, `regex`, `is-json` and others.

    >>> asked = {"assert": [{"type": "icontains", "value": "refund"}, {"type": "not-contains", "value": "Sorry"}]}
    >>> found = assertions({"output": "Sorry, no refund."}, asked)
    >>> found["score"], found["comment"]
    (0.5, "not-contains 'Sorry' is not met")
    """
    asked = reference_outputs.get("assert") if isinstance(reference_outputs, Mapping) else None
    if not isinstance(asked, list) or not asked:
        msg = "`assertions` needs a list of assertions as reference, and there is none"
        raise EvaluatorError(msg, mend='Give {"assert": [{"type": "contains", "value": "refund"}]} as outputs.')
    text = as_text(reply_of(outputs))
    met = total = 0.0
    failed = []
    for one in asked:
        weight = float(one.get("weight", 1))
        total += weight
        if _meets(text, one):
            met += weight
        else:
            value = f" {quoted_value(one['value'])}" if "value" in one else ""
            failed.append(f"{one['type']}{value} is not met")
    result: dict[str, Any] = {"key": "assertions", "score": met / total if total else 1.0}
    result["metadata"] = {"parse_ok": bool(text.strip())}
    return result | ({"comment": "; ".join(failed)} if failed else {})


def _meets(text: str, asked: Mapping[str, Any]) -> bool:
    kind = str(asked.get("type"))
    check = CHECKS.get(kind.removeprefix("not-"))
    if kind.endswith("json") and asked.get("value") is not None:
        msg = f"`assertions` checks no schema, and {kind!r} has one"
        raise EvaluatorError(msg, mend="Take its `value` out, and check the schema in an evaluator of your own.")
    if check is None:
        msg = f"`assertions` does not know the kind {kind!r}"
        raise EvaluatorError(msg, mend=f"Known are {', '.join(CHECKS)}, each also with `not-` before it.")
    try:
        return check(text, asked.get("value")) != kind.startswith("not-")
    except re.error as error:
        msg = f"{asked.get('value')!r} is no regular expression of Python: {error}"
        raise EvaluatorError(msg, mend="Correct it in the examples.") from error
