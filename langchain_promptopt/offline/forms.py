"""Reads how the answer is to be put, and puts it so."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from langchain_promptopt.offline.manual import Form, Place

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_promptopt.offline.layout import Line

_NEGATED = re.compile(r"\b(?:no|not|never|without|don't|avoid|instead of)\b[^.;:]{0,25}$", re.I)
_THING = r"(?:label|name|category|answer|class|intent|word)"
_TRAITS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("upper", re.compile(r"\b(?:(?:in )?(?:all )?upper[ -]?case|(?:in )?(?:all )?capital letters|all caps)\b", re.I)),
    ("lower", re.compile(r"\b(?:in )?(?:all )?lower[ -]?case\b", re.I)),
    ("json", re.compile(r"\bjson\b", re.I)),
    (
        "reason",
        re.compile(r"\b(?:reason(?:ing)?|explain|explanation|justify|justification|step by step|why you)\b", re.I),
    ),
    (
        "only",
        re.compile(
            rf"\b(?:only (?:the |its |one )?{_THING}|{_THING} only|just the {_THING}|nothing else)\b",
            re.I,
        ),
    ),
    ("quoted", re.compile(r"\bin (?:double |single )?(?:quotes|quotation marks)\b", re.I)),
    ("sentence", re.compile(r"\b(?:in|as|with) (?:a|one) (?:full |complete |short |whole )?sentence\b", re.I)),
    (
        "prefix",
        re.compile(
            r"\b(?:form|format|like this|line|written as|looks like|start with)\b[^\n\"`]{0,20}"
            r"[\"`](?P<prefix>[A-Z][\w ]{1,20}):",
            re.I,
        ),
    ),
)
_KEY = re.compile(r"\{{1,2}\s*\"(\w+)\"\s*:")
_CLEARS = {"only": ("reason", "sentence"), "upper": ("lower",), "lower": ("upper",), "json": ("prefix",)}


def find_form(text: str, lines: list[Line]) -> Form:
    """The form the lines ask for; of two statements that conflict the later one counts."""
    places: dict[str, Place] = {}
    prefix = ""
    for line in lines:
        for name, start, end, wanted, said in _traits(line.text):
            if not wanted:
                places.pop(name, None)
                continue
            for other in _CLEARS.get(name, ()):
                places.pop(other, None)
            places[name] = (line.start + start, line.start + end)
            prefix = said if name == "prefix" else prefix
    key = _KEY.search(text) if "json" in places else None
    return Form(
        case="upper" if "upper" in places else "lower" if "lower" in places else "",
        json_key=(key.group(1) if key else "label") if "json" in places else "",
        reason="reason" in places,
        quoted="quoted" in places,
        sentence="sentence" in places,
        prefix=prefix if "prefix" in places else "",
        places=places,
    )


@lru_cache(maxsize=8192)
def _traits(line: str) -> tuple[tuple[str, int, int, bool, str], ...]:
    """Traits a line speaks of: name, start, end, whether it asks for it, and the prefix it spells out."""
    hits = sorted((m.start(), name, m) for name, pattern in _TRAITS for m in pattern.finditer(line))
    return tuple(
        (name, at, m.end(), not _NEGATED.search(line[:at]), m["prefix"] if name == "prefix" else "")
        for at, name, m in hits
    )


def put(answer: str, form: Form, because: Callable[[], str]) -> str:
    """`answer` in that form; `because` gives the reason where one is asked for.

    >>> put("red", Form(case="upper", json_key="colour"), lambda: "")
    '{"colour": "RED"}'
    """
    cased = answer.upper() if form.case == "upper" else answer.lower() if form.case == "lower" else answer
    if form.json_key:
        value: dict[str, Any] = {"reason": because()} if form.reason else {}
        return json.dumps(value | {form.json_key: cased}, ensure_ascii=False)
    shown = f'"{cased}"' if form.quoted else cased
    if form.prefix:
        shown = f"{form.prefix}: {shown}"
    if form.sentence:
        shown = f"The right label here is {shown}."
    if form.reason:
        return f"{because()}\n{shown if form.prefix else f'Answer: {shown}'}"
    return shown
