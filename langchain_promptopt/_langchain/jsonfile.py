"""Prompts that are values in a JSON file, changed without touching the rest of the file."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_promptopt._langchain.respell import respell
from langchain_promptopt.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Iterator

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_KEY = re.compile(r"\s*:")
_PIECE = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.|.", re.DOTALL)
_LIST = re.compile(r'\[\s*"(?:[^"\\]|\\.)*"\s*(?:,\s*"(?:[^"\\]|\\.)*"\s*)*\]', re.DOTALL)


@dataclass(frozen=True)
class Value:
    """A text in the file: a string, or a list of strings that are its lines."""

    start: int
    end: int
    text: str


def rewrite_json(source: str, old: str, new: str, where: str) -> str:
    """The file with the one value that is `old` being `new`; key order, indent and spelling stay.

    Raises:
        PromptError: It is no JSON, or no value or several are the prompt.
    """
    try:
        json.loads(source)
    except ValueError as error:
        msg = f"the file is no JSON: {error}"
        raise PromptError(msg, where=where) from error
    found = [value for value in _values(source) if value.text == old]
    if len(found) != 1:
        msg = f"{len(found) or 'no'} values in the file are the prompt"
        raise PromptError(msg, where=where, mend="It must stand there exactly once, as a string or a list of lines.")
    value = found[0]
    token = source[value.start : value.end]
    made = _list(token, new) if token.startswith("[") else _string(token, old, new, ascii_only=_ascii_only(source))
    if _meaning(made) != new:
        msg = "the new text cannot be written in the file's style"
        raise PromptError(msg, where=where, mend="Change it by hand.")
    return source[: value.start] + made + source[value.end :]


def _values(source: str) -> Iterator[Value]:
    """All strings that are no keys, and all lists of two strings and more."""
    at = 0
    while match := _STRING.search(source, at):
        at = match.end()
        if _KEY.match(source, at):
            continue
        yield Value(*match.span(), json.loads(match[0]))
        lines = _LIST.match(source, _open_bracket(source, match.start()))
        joined = _meaning(lines[0]) if lines else None
        if lines and joined is not None and "," in source[at : lines.end()]:
            yield Value(*lines.span(), joined)


def _open_bracket(source: str, at: int) -> int:
    """Where a list opens whose first element stands at `at`; `at` itself, which is none, otherwise."""
    before = len(source[:at].rstrip())
    return before - 1 if before and source[before - 1] == "[" else at


def _meaning(token: str) -> str | None:
    value: Any = json.loads(token)
    if isinstance(value, list):
        return "".join(value) if all(isinstance(line, str) for line in value) else None
    return value if isinstance(value, str) else None


def _ascii_only(source: str) -> bool:
    """Whether the file spells non-ASCII characters as escapes."""
    return source.isascii() and re.search(r"\\u00[89a-fA-F]|\\u0[1-9a-fA-F]|\\u[1-9a-fA-F]", source) is not None


def _string(token: str, old: str, new: str, *, ascii_only: bool) -> str:
    pieces = _PIECE.findall(token[1:-1])
    if not old or [json.loads(f'"{p}"') for p in pieces] != list(old):
        return json.dumps(new, ensure_ascii=ascii_only)
    made = respell(pieces, old, new, lambda text, _: json.dumps(text, ensure_ascii=ascii_only)[1:-1])
    return f'"{"".join(made)}"'


def _list(token: str, new: str) -> str:
    """Lines in the layout of the list that was there."""
    lead = re.match(r"\[(\s*)", token)
    tail = re.search(r"(\s*)\]$", token)
    between = re.search(r",(\s*)\"", token)
    first, last = (lead[1] if lead else ""), (tail[1] if tail else "")
    gap = between[1] if between else (first or " ")
    lines = [json.dumps(line, ensure_ascii=token.isascii()) for line in new.splitlines(keepends=True)] or ['""']
    return "[" + first + ("," + gap).join(lines) + last + "]"
