"""From patches to marks: the words somebody must be allowed to change so that a patch can be made."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_promptopt.offline.manual import Place
    from langchain_promptopt.offline.patches import Fix, Patch

_WORD = re.compile(r"[\w'’\-]+")
_NEAR = 40
_HEADER = re.compile(r"^\[(?:prompt .+, )?message (\d+): [\w-]+\]$", re.M)
_NUMBERED = re.compile(r"\[(\d+)\](?=\S)")


@dataclass(frozen=True, slots=True)
class MarkLimits:
    """How much may be marked: words a mark, or a whole line where lines are allowed."""

    w_max: int | None
    whole_lines: bool


@dataclass(frozen=True, slots=True)
class Mark:
    """A place to point at, and why."""

    place: Place
    reason: str


def place_of(text: str, patch: Patch) -> Place:
    """The whole words a patch touches; for an insertion the word before it.

    >>> from langchain_promptopt.offline.patches import Patch
    >>> place_of("red, blue", Patch(3, 9, "")), place_of("red, blue", Patch(9, 9, ", sky"))
    ((0, 9), (5, 9))
    """
    start, end = patch.start, patch.end
    floor = text.rfind("\n", 0, start) + 1 if start == end or text[start - 1 : start] != "\n" else start
    before = [m.start() for m in _WORD.finditer(text, floor, start)]
    touches = start > floor and not text[start - 1].isspace()
    if before and (touches or start == end):
        start = before[-1]
    blank_behind = patch.start < end and text[end - 1].isspace()
    following = _WORD.search(text, end, end + _NEAR) if blank_behind else None
    if following is not None and "\n" not in text[end : following.end()]:
        end = following.end()  # a mark ends with a word, and the blank must be inside it
    tail = re.compile(r"[\w'’\-]*").match(text, end)
    if tail is not None and end > patch.start and text[end - 1 : end].isalnum():
        end = tail.end()
    if not text[start:end].strip() and start == end:
        return start, end
    inner = text[start:end]
    return start + len(inner) - len(inner.lstrip()), end - len(inner) + len(inner.rstrip())


def markable(text: str, patch: Patch, limits: MarkLimits | None) -> bool:
    """Whether the place a patch needs may be marked."""
    if limits is None or limits.w_max is None:
        return True
    start, end = place_of(text, patch)
    if len(_WORD.findall(text[start:end])) <= limits.w_max:
        return True
    return limits.whole_lines and _is_line(text, start, end)


def _is_line(text: str, start: int, end: int) -> bool:
    before = text[text.rfind("\n", 0, start) + 1 : start]
    stop = text.find("\n", end)
    after = text[end : stop if stop >= 0 else len(text)]
    return not _WORD.search(after) and re.fullmatch(r"\s*(?:[-*+•–]|\(?\w{1,3}[.)])?\s*", before) is not None


def marks_of(text: str, fixes: Sequence[Fix], k_max: int) -> list[Mark]:
    """The places of all patches, in order of the fixes, at most `k_max`, none overlapping."""
    out: list[Mark] = []
    for fix in fixes:
        for patch in sorted(fix.patches):
            place = place_of(text, patch)
            free = all(place[1] <= m.place[0] or m.place[1] <= place[0] for m in out)
            if free and len(out) < k_max and place not in [m.place for m in out]:
                out.append(Mark(place, fix.reason))
    return out


def as_quotes(text: str, marks: Sequence[Mark]) -> str:
    """The JSON list of the quote form."""
    items = []
    for mark in marks:
        number, low, high = _message_at(text, mark.place[0])
        start, end = mark.place
        item: dict[str, object] = {"message": number, "quote": text[start:end]}
        if start == end:
            item["after"] = text[max(low, start - 40) : start].rsplit("\n", 1)[-1].strip()
        else:
            item["occurrence"] = _occurrence(text[low:high], start - low, text[start:end])
        items.append(item | {"reason": mark.reason})
    return json.dumps(items, ensure_ascii=False)


def _message_at(text: str, at: int) -> tuple[int, int, int]:
    """Number and bounds of the message around `at`."""
    if _HEADER.match(text) is None:
        return 0, 0, len(text)
    number, low, high = 0, 0, len(text)
    for header in _HEADER.finditer(text):
        if header.start() > at:
            high = header.start() - 1
            break
        number, low = int(header.group(1)), header.end() + 1
    return number, low, high


def _occurrence(body: str, at: int, quote: str) -> int:
    places = [m.start() for m in re.finditer(re.escape(quote), body)]
    return places.index(at) + 1 if at in places else 1


def as_echo(text: str, marks: Sequence[Mark], tag: str) -> str:
    """The prompt again with tags around the marks."""
    out, at = [], 0
    for mark in sorted(marks, key=lambda m: m.place):
        start, end = mark.place
        out += [text[at:start], f"<{tag}>", text[start:end], f"</{tag}>"]
        at = end
    return "".join([*out, text[at:]])


def as_numbers(numbered: str, text: str, marks: Sequence[Mark]) -> str:
    """The JSON list of the index form, by the numbers that stand before the words."""
    words = _numbered_words(numbered, text)
    items = []
    for mark in marks:
        start, end = mark.place
        inside = [n for n, at in words if start <= at < end]
        if inside:
            items.append({"first": inside[0], "last": inside[-1], "reason": mark.reason})
    return json.dumps(items, ensure_ascii=False)


def _numbered_words(numbered: str, text: str) -> list[tuple[int, int]]:
    """(number, offset in the plain text) of each numbered word; marks that are the text's own are skipped."""
    out: list[tuple[int, int]] = []
    at, plain, expected = 0, 0, 1
    for found in _NUMBERED.finditer(numbered):
        if int(found.group(1)) != expected:
            continue
        plain += found.start() - at
        at = found.end()
        out.append((expected, plain))
        expected += 1
    return out if plain <= len(text) else []
