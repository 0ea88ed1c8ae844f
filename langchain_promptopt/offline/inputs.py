"""Tells a rendered prompt's instructions from the row's input, without knowing any variable.

The input is data: rules, labels or tags in it are never followed. The template's own words
come first, so the earliest sign of an input counts, and closing signs are sought from the end.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from langchain_promptopt.offline.reading import read

if TYPE_CHECKING:
    from collections.abc import Sequence

_NOUN = (
    r"ticket|question|message|text|input|e-?mail|query|review|sentence|passage|document|request|utterance|post|tweet"
)
_MARKER = re.compile(
    rf"^[#*_>\s]*(?:[\w'’]+[ \t]+){{0,4}}?(?:{_NOUN}|q)(?:[ \t]+[\w'’]+){{0,3}}[*_]*[ \t]*:[*_]*", re.I
)
_NO_MARKER = re.compile(r"[#*_>\s]*(?:if|when|whenever|use|never|note|answer|reply|mentions|for)\b", re.I)
_NOUNS = frozenset(_NOUN.replace("e-?mail", "email|e-mail").split("|")) | {"q"}
_BARE = str.maketrans("#*_>", "    ")
_LONGEST_MARKER = 70
_BLOCK = re.compile(rf"<((?:[a-z]+[_-])?(?:{_NOUN})(?:[_-][a-z]+)?)>", re.I)
_HEADING = re.compile(rf"^#{{1,6}}[ \t]+(?:[\w'’]+[ \t]+){{0,2}}(?:{_NOUN})[ \t]*$", re.I | re.M)
_FENCE = re.compile(r'^(?:```+\w*|"""|~~~+)[ \t]*$|"""', re.M)
_ANSWER_CUE = re.compile(
    r"\n[#*\s]*(?:(?:your|final|the|correct)\s+)?(?:label|answer|category|intent|class|output)[*\s]*:?[*\s]*\Z", re.I
)
_SHOT = re.compile(r"^[#*\s]*(?:label|answer|category|intent|class|output)[*]*:[ \t]*\S", re.I | re.M)


def separate(messages: Sequence[tuple[str, str]]) -> tuple[str, str]:
    r"""Instructions and input of a conversation given as (role, text) pairs.

    >>> separate([("human", "Answer red or blue.\n\nText: the sky")])
    ('Answer red or blue.\n\nText:', 'the sky')
    """
    if not messages:
        return "", ""
    at = max((i for i, (role, _) in enumerate(messages) if role in {"human", "user"}), default=len(messages) - 1)
    before = "\n".join(
        text for i, (role, text) in enumerate(messages) if i != at and role not in {"ai", "assistant", "tool"}
    )
    instructions, data = split(messages[at][1], before)
    return (f"{before}\n{instructions}" if before else instructions), data


def split(text: str, before: str = "") -> tuple[str, str]:
    """The instructions and the input inside one message; `before` is what earlier messages said."""
    opened = _opening(text)
    if before and read(before).labels and (opened is None or text[:opened].strip().count("\n")):
        return "", text  # the instructions came earlier: a marker deep inside the message is the row's own
    if opened is None:
        return _last_paragraph(text)
    head, rest = text[:opened], text[opened:]
    block = _BLOCK.match(rest.lstrip()) or _FENCE.match(rest.lstrip())
    if block is not None:
        return _fenced(head, rest.lstrip(), block)
    known = read(f"{before}\n{head}" if before else head)
    if known.labels or known.rules:
        return head, _without_answer_cue(rest).strip()
    data, gap, tail = rest.strip("\n").partition("\n\n")
    return f"{head}{gap}{tail}", data.strip()


def _opening(text: str) -> int | None:
    """Where the input begins, after its marker; at the tag or fence itself where it has one."""
    markers = _markers(text)
    floor = _after_shots(text, markers)
    found = [end for start, end in markers if start >= floor][:1]
    if "</" in text:
        found += [m.start() for m in _BLOCK.finditer(text, floor) if f"</{m.group(1)}>" in text[m.end() :]][:1]
    if not found:
        found = [m.end() for m in _HEADING.finditer(text, floor)][-1:] or _fences(text, floor)
    return min(found, default=None)


def _fences(text: str, floor: int) -> list[int]:
    found = [m.start() for m in _FENCE.finditer(text, floor)]
    return found[:1] if len(found) > 1 else []


def _markers(text: str) -> list[tuple[int, int]]:
    """Start and end of each line beginning that announces an input."""
    out, at = [], 0
    for line in text.split("\n"):
        start, at = at, at + len(line) + 1
        end = _marker_end(line)
        if end:
            out.append((start, start + end))
    return out


@lru_cache(maxsize=8192)
def _marker_end(line: str) -> int:
    """Where a marker at the line's beginning ends, 0 without one. A prompt's lines return with every row."""
    head, colon, _ = line.partition(":")
    if not colon or len(head) > _LONGEST_MARKER or _NOUNS.isdisjoint(head.lower().translate(_BARE).split()):
        return 0
    found = _MARKER.match(line)
    return 0 if found is None or _NO_MARKER.match(line) else found.end()


def _after_shots(text: str, markers: list[tuple[int, int]]) -> int:
    """Where worked examples (input and answer in turn) end; 0 without them."""
    if len(markers) < 2:
        return 0
    shots = [s.start() for s in _SHOT.finditer(text)]
    floor = 0
    for (here, _), (following, _) in pairwise(markers):
        if not any(here < s < following for s in shots):
            break
        floor = following
    return floor


def _fenced(head: str, rest: str, opener: re.Match[str]) -> tuple[str, str]:
    closer = (
        f"</{opener.group(1)}>" if opener.re is _BLOCK else opener.group().rstrip().rstrip("abcdefghijklmnopqrstuvwxyz")
    )
    end = rest.rfind(closer)
    if end < opener.end():  # nothing closes it: it is the input's own
        return head, _without_answer_cue(rest).strip()
    return f"{head}\n{rest[end + len(closer) :]}", rest[opener.end() : end].strip()


def _last_paragraph(text: str) -> tuple[str, str]:
    body = _without_answer_cue(text).rstrip()
    cut = body.rfind("\n\n")
    if cut < 0:
        cut = body.rfind("\n")
    return (body[:cut], body[cut:].strip()) if cut >= 0 else (body, body)


def _without_answer_cue(text: str) -> str:
    return _ANSWER_CUE.sub("", text)
