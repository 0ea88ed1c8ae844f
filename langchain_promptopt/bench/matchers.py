"""Matchers of single benchmark tasks, which no user's data needs (algorithms 4.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_BRACKETS = re.compile(r"[\]\)\}>](?:[ \t]*[\]\)\}>])*")


def dyck_match(outputs: Any, reference_outputs: Any) -> dict[str, Any]:
    """1 when the last run of closing brackets is the expected one.

    >>> dyck_match("So the rest is ] ) >", {"answer": "] ) >"})["score"]
    1.0
    """
    runs = _BRACKETS.findall(_text(outputs))
    said = "".join(runs[-1].split()) if runs else ""
    return {"key": "dyck_match", "score": float(said == "".join(_text(reference_outputs).split()))}


def word_order_match(outputs: Any, reference_outputs: Any) -> dict[str, Any]:
    r"""1 when the words stand in the expected order: one a line, or all in a line of the reply.

    >>> word_order_match("Sorted:\nant bee cow", {"answer": "ant bee cow"})["score"]
    1.0
    """
    wanted = _words(_text(reference_outputs))
    lines = [_words(line) for line in _text(outputs).splitlines()]
    single = [line[-1] for line in lines if line]
    right = wanted in lines or single[-len(wanted) :] == wanted
    return {"key": "word_order_match", "score": float(right)}


def _words(text: str) -> list[str]:
    return [
        w.strip(".,;:'\"()").lower() for w in re.sub(r"^\s*(?:[-*]|\d+[.)])\s+", "", text).replace(",", " ").split()
    ]


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return _text(value.get("answer", value.get("output", next(iter(value.values()), ""))))
    content = getattr(value, "content", value)
    return content if isinstance(content, str) else str(content)
