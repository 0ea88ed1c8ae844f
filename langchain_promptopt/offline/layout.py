"""The lines of a prompt: headings, list items, and the lines that define labels."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_promptopt.offline.manual import Place

_HEADING = re.compile(
    r"^\s*(?:#{1,6}\s+(?P<a>.+?)|\*\*(?P<b>[^*]{1,60})\*\*:?|(?P<c>[A-Z][^.!?:]{0,60}):|(?P<d>\[[^\]]+\]))\s*$"
)
_UNDERLINE = re.compile(r"={3,}$|-{3,}$")
_LABEL_TITLE = re.compile(
    r"\b(?:label|categor|class|intent|topic|option|queue|tag|department|answers)(?:y|ies|es|s)?\b", re.I
)
_ITEM = re.compile(r"^\s*(?:[-*•–+]|\d{1,3}[.)]|\([a-zA-Z0-9]\))\s+")
_PAIR = re.compile(
    r"^[`\"'*_]*(?P<name>[^\s:`\"'*(][^:`\"*()=\n]{0,60}?)[`\"'*_]*\s*"
    r"(?::\s|\s[—–=-]{1,2}\s|\s*—\s*|(?=\s\()|:?$)\s*(?P<body>.*)$"
)
_RULE_START = re.compile(
    r"^(?:if|when|whenever|never|use|answer|do|don't|choose|pick|mentions?|anything|always|prefer|note|treat)\b", re.I
)
_INLINE = re.compile(
    r"(?:\b(?:labels?|categories|classes|intents|topics|options|tags|queues)\b[^:\n.]{0,60}:"
    r"|\bone of(?:\s+(?:these|the following|the))?(?:\s+\w+){0,2}?\s*:"
    r"|\b(?:one of|choose (?:from|between|among)|either)\b"
    r"|\b(?:classify|sort|label|tag|categori[sz]e|assign|answer|reply|respond|mark)\b[^:.\n]{0,60}?\b(?:as|into|to|with|in)\b:?"
    r"|\b(?:answer|reply|respond|say)\b)"
    r"[ \t]+(?P<list>[^\n]+)",
    re.I,
)
_SPLIT = re.compile(r"\s*(?:,\s*(?:or|and)\s+|[,|/;]|\bor\b|\band\b)\s*", re.I)
_NAME = re.compile(r"^[`\"'*“(]*([^\s`\"'*“”(){}<>:]+(?:[ \t][^\s`\"'*“”(){}<>:]+){0,2})[`\"'*”)]*$")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the text, without its list mark."""

    start: int
    end: int
    text: str
    item: bool
    heading: str | None
    section: str


@dataclass(frozen=True, slots=True)
class Pair:
    """`name` and description of a line that defines a label."""

    name: str
    place: Place
    body: Place
    line: Line


def lines_of(text: str) -> list[Line]:
    """All lines that are not blank, each with the heading it stands under."""
    out: list[Line] = []
    at, section = 0, ""
    for raw in text.split("\n"):
        start, at = at, at + len(raw) + 1
        stripped = raw.strip()
        if not stripped:
            continue
        begin = start + len(raw) - len(raw.lstrip())
        if out and _UNDERLINE.match(stripped) and out[-1].heading is None and not out[-1].item:
            section = out[-1].text
            out[-1] = replace(out[-1], heading=section, section=section)
            continue
        found = _HEADING.match(raw)
        if found is not None:
            section = next(g for g in found.groups() if g)
            out.append(Line(begin, begin + len(stripped), stripped, item=False, heading=section, section=section))
            continue
        mark = _ITEM.match(raw)
        if mark is not None:
            begin = start + mark.end()
        end = start + len(raw.rstrip())
        out.append(Line(begin, end, text[begin:end], item=mark is not None, heading=None, section=section))
    return out


def label_pairs(text: str, lines: list[Line]) -> list[Pair]:
    """The lines that define labels: under a heading that says so, else listed in a sentence, else a run of pairs."""
    candidates = [p for p in map(_pair, lines) if p is not None]
    titled = [p for p in candidates if _LABEL_TITLE.search(p.line.section) and p.line.item]
    titled = titled or [p for p in candidates if _LABEL_TITLE.search(p.line.section) and p.body[1] > p.body[0]]
    if len(titled) > 1:
        return _distinct(titled)
    inline = _inline(text, lines)
    if inline:
        named = {p.name.casefold() for p in inline}
        described = [p for p in candidates if p.name.casefold() in named and p.line.item]
        covered = {p.name.casefold() for p in described}
        return _distinct([p for p in inline if p.name.casefold() not in covered] + described if described else inline)
    return _longest_run(lines, [p for p in candidates if p.line.item and p.body[1] > p.body[0]])


def _pair(line: Line) -> Pair | None:
    if line.heading is not None or _RULE_START.match(line.text):
        return None
    found = _PAIR.match(line.text)
    if found is None or len(found["name"].split()) > 4:
        return None
    name = found["name"].rstrip(" .,;")
    at = line.start + found.start("name")
    end = line.start + len(line.text[: found.end("body")].rstrip(" .;,"))
    body = line.start + found.start("body")
    return Pair(name, (at, at + len(name)), (body, max(body, end)), line)


def _distinct(pairs: list[Pair]) -> list[Pair]:
    seen: set[str] = set()
    return [p for p in pairs if not (p.name.casefold() in seen or seen.add(p.name.casefold()))]  # type: ignore[func-returns-value]  # set.add as a memo


def _longest_run(lines: list[Line], pairs: list[Pair]) -> list[Pair]:
    place = {id(line): i for i, line in enumerate(lines)}
    runs: list[list[Pair]] = []
    for pair in pairs:
        at = place[id(pair.line)]
        if runs and place[id(runs[-1][-1].line)] == at - 1:
            runs[-1].append(pair)
        else:
            runs.append([pair])
    best = max(runs, key=len, default=[])
    return _distinct(best) if len(best) > 1 else []


def _inline(text: str, lines: list[Line]) -> list[Pair]:
    """Labels listed inside a sentence, as in "one of: red, green or blue"."""
    best: list[Pair] = []
    for line in lines:
        for found in _openings(line.text):
            pairs = _listed(text, line, line.start + found.start("list"), found["list"])
            if len(pairs) > max(1, len(best)):
                best = pairs
    return best


def _openings(line: str) -> Iterator[re.Match[str]]:
    """Every beginning of a list, also one inside another ("answer with one of: ...")."""
    found = _INLINE.search(line)
    while found is not None:
        yield found
        found = _INLINE.search(line, found.start() + 1)


def _listed(text: str, line: Line, at: int, listing: str) -> list[Pair]:
    listing = re.split(
        r"(?<=[\w\"'`)])[.;!?](?:\s|$)|\s[—–]\s|\b(?:only|depending|according|and nothing else|without)\b", listing
    )[0]
    pairs = []
    for piece in _SPLIT.split(listing):
        found = _NAME.match(piece.strip())
        if found is None:
            if piece.strip():
                break
            continue
        start = text.find(found.group(1), at)
        name = found.group(1).rstrip(".,;:")
        at = start + len(name)
        pairs.append(Pair(name, (start, at), (at, at), line))
    return _distinct(pairs)
