"""Reading what an optimizer model sent back: pure, never raises, never guesses."""

from __future__ import annotations

import json
from typing import Any

from langchain_promptopt._text.tags import strip_wrapping
from langchain_promptopt.types import Rejection

_TRIES = 50
"""How many opening brackets are tried before a reply counts as holding no JSON."""


def find_json(reply: str, kind: type) -> Any | None:
    """The first JSON value of `kind` (list or dict) in the reply, whatever stands around it.

    >>> find_json('Sure: [{"quote": "x"}] done', list)
    [{'quote': 'x'}]
    """
    text = strip_wrapping(reply)
    opener, decoder, at = ("[" if kind is list else "{"), json.JSONDecoder(strict=False), -1
    for _ in range(_TRIES):
        at = text.find(opener, at + 1)
        if at < 0:
            return None
        try:
            value, _end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):  # a thousand brackets are no JSON either
            continue
        if isinstance(value, kind):
            return value
    return None


def between_markers(reply: str, start: str = "<START>", end: str = "<END>") -> str | Rejection:
    """The text between exactly one pair of markers; the line ends next to them are dropped (GPO format).

    A missing or doubled marker is a rejection: the whole reply is never taken instead.
    """
    text = strip_wrapping(reply)
    if text.count(start) != 1 or text.count(end) != 1:
        return Rejection("markers", f"found {text.count(start)} {start} and {text.count(end)} {end}")
    a, b = text.index(start) + len(start), text.index(end)
    if b < a:
        return Rejection("markers", f"{end} stands before {start}")
    return text[a:b].strip("\r\n")


def slot_texts(reply: str, count: int) -> dict[int, tuple[str, str]] | Rejection:
    """Replacement and reason by slot number (from 1); unknown slots are a rejection."""
    value = find_json(reply, dict)
    if value is None:
        return Rejection("no_json", "the reply holds no JSON object")
    out: dict[int, tuple[str, str]] = {}
    for key, item in value.items():
        digits = "".join(c for c in str(key) if c.isdigit())
        if not digits or not 1 <= int(digits) <= count:
            return Rejection("unknown_slot", f"slot {key!r}; there are {count}")
        new, reason = (item, "") if isinstance(item, str) else _slot(item)
        if new is None:
            return Rejection("no_text", f"slot {key!r} has no text")
        out[int(digits)] = (new, reason)
    return out if out else Rejection("empty_reply", "no slot was filled")


def _slot(item: Any) -> tuple[str | None, str]:
    if isinstance(item, dict) and isinstance(item.get("new"), str):
        return item["new"], str(item.get("reason", ""))
    return None, ""
