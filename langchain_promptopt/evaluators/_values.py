"""What an evaluator is handed, unwrapped: the reply in `outputs`, the alternatives in `reference_outputs`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_promptopt.errors import EvaluatorError
from langchain_promptopt.evaluators._normal import as_text

ANSWER_NAMES = ("answer", "output", "label", "expected", "expected_output", "reference", "target")
"""Names under which people keep the reference; the first wins, otherwise exactly one must be there."""
_REPLY_NAMES = ("answer", "text", "content", "result", "response")
_FENCE = re.compile(r"\A\s*```[A-Za-z]*\n(.*?)\n?```\s*\Z", re.DOTALL)


def _only(mapping: Mapping[str, Any], names: Sequence[str]) -> str | None:
    found = [name for name in names if name in mapping]
    return found[0] if len(found) == 1 else None


def references_of(reference_outputs: Any) -> tuple[Any, ...]:
    """The alternatives of a reference, each a text, number, truth value or object.

    >>> references_of({"answer": ["Paris", "City of Paris"]})
    ('Paris', 'City of Paris')
    """
    value = reference_outputs
    if isinstance(value, Mapping):
        if "answer" in value:
            value = value["answer"]
        elif len(value) == 1:
            value = next(iter(value.values()))
        elif (name := _only(value, ANSWER_NAMES)) is not None:
            value = value[name]
    found = tuple(value) if isinstance(value, list | tuple) else (value,)
    if not found or any(v is None or (isinstance(v, str) and not v.strip()) for v in found) or value == {}:
        msg = f"the reference {reference_outputs!r} holds no answer"
        raise EvaluatorError(msg, mend="Leave rows without a reference out.")
    return found


def text_references(reference_outputs: Any, key: str) -> tuple[str, ...]:
    """The alternatives as text, for a metric that compares text; objects are refused."""
    found = references_of(reference_outputs)
    for value in found:
        if isinstance(value, Mapping | list | tuple):
            msg = f"`{key}` compares text, and the reference is an object: {as_text(value)[:200]}"
            raise EvaluatorError(
                msg, mend="Use `exact_match`, which compares objects as JSON, or name one column in `outputs`."
            )
    return tuple(as_text(value) for value in found)


def reply_of(outputs: Any, reference_outputs: Any = None) -> Any:
    """What the chain answered: a text, or the value itself where it is structured.

    >>> reply_of({"output": "4"}), reply_of({"answer": "4", "steps": []}, {"answer": "5"})
    ('4', '4')
    """
    if isinstance(outputs, Mapping) and outputs:
        return _reply_in(outputs, reference_outputs)
    if hasattr(outputs, "content"):  # a chat message
        return _content(outputs.content)
    if hasattr(outputs, "model_dump"):  # a structured reply
        return outputs.model_dump(mode="json")
    return "" if outputs is None or outputs == {} else outputs


def _reply_in(outputs: Mapping[str, Any], reference: Any) -> Any:
    if "output" in outputs:
        return reply_of(outputs["output"], reference)
    if outputs.get("messages"):
        return reply_of(outputs["messages"][-1], reference)
    if len(outputs) == 1:
        return reply_of(next(iter(outputs.values())), reference)
    wanted = [name for name in reference if name in outputs] if isinstance(reference, Mapping) else []
    name = wanted[0] if len(wanted) == 1 else _only(outputs, _REPLY_NAMES)
    return reply_of(outputs[name]) if name is not None else outputs


def _content(content: Any) -> Any:
    """The text of a message whose content may be a list of blocks."""
    if not isinstance(content, list):
        return content
    blocks = [b if isinstance(b, str) else b.get("text", "") for b in content if isinstance(b, str | Mapping)]
    return "".join(blocks)


def reply_text(outputs: Any, reference_outputs: Any, key: str) -> str:
    """The reply as text. Raises EvaluatorError when several outputs could be meant."""
    reply = reply_of(outputs, reference_outputs)
    if isinstance(reply, Mapping):
        msg = f"`{key}` needs one text, and the output has the keys {', '.join(map(str, reply))}"
        raise EvaluatorError(
            msg, mend=f"Return one of them, or call `{key}(outputs[...], reference_outputs)` yourself."
        )
    return as_text(reply)


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
