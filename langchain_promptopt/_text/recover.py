"""From the whole prompt as a model sent it back to the new text of each span (spec 1.4).

Nothing of the reply's fixed text is ever taken: the replacements go into the parent's own bytes.
First the fixed stretches are looked for as they are, white space aside; where that is not
unambiguous, tokens are aligned and a span is accepted only between two matched neighbours.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from langchain_promptopt._text import Range, Rejection
from langchain_promptopt._text.align import match
from langchain_promptopt._text.tags import TaggedReply, parse_tags, strip_wrapping
from langchain_promptopt._text.templates import placeholders
from langchain_promptopt._text.words import count_words, fit, slices, solid_tokens, strip_talk

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from langchain_promptopt._text.templates import TemplateFormat

_BLANKS = re.compile(r"\s+")


class Squeezed:
    """A text with every run of white space as one blank; `source` turns its offsets into those of the original.

    >>> s = Squeezed("a  b")
    >>> s.text, s.source(s.text.index("b"))
    ('a b', 3)
    """

    def __init__(self, original: str) -> None:
        parts, at, length = list[str](), 0, 0
        self._narrow, self._wide = [0], [0]
        for run in _BLANKS.finditer(original):
            parts += [original[at : run.start()], " "]
            length += run.start() - at + 1
            at = run.end()
            self._narrow.append(length)
            self._wide.append(at)
        self.text = "".join((*parts, original[at:]))

    def source(self, offset: int) -> int:
        """Original offset of a squeezed one; the blank of a run stands at the run's beginning."""
        i = bisect_right(self._narrow, offset) - 1
        return self._wide[i] + offset - self._narrow[i]


# A reply held against the parent's fixed text, token by token (spec 1.4, reply steps 3 and 4)

_WEAK = 3
"""An end of fewer words is no anchor: the talk around a reply may hold it by chance."""


@dataclass(frozen=True)
class Frame:
    """The parent's text and its spans, seen as fixed stretches with holes."""

    text: str
    spans: tuple[Range, ...]
    frozen: tuple[Range, ...]
    asked_format: TemplateFormat | None = None

    @cached_property
    def fixed(self) -> tuple[str, ...]:
        """The stretches f_0 .. f_n between the spans."""
        return tuple(_around(self.text, self.spans))

    @cached_property
    def open_ends(self) -> tuple[bool, bool]:
        """Whether a span stands at the very beginning, and at the very end."""
        return not self.fixed[0].strip(), not self.fixed[-1].strip()

    @cached_property
    def weak_ends(self) -> tuple[bool, bool]:
        """Whether the fixed text at the beginning, and at the end, is too short to tell talk from prompt."""
        return count_words(self.fixed[0]) < _WEAK, count_words(self.fixed[-1]) < _WEAK

    @cached_property
    def format(self) -> TemplateFormat | None:
        """The given format, or the one whose variables the frozen text holds."""
        if self.asked_format is not None:
            return self.asked_format
        frozen = "\n".join(slices(self.text, self.frozen))
        candidates: tuple[TemplateFormat, ...] = ("f-string", "mustache")
        return next((f for f in candidates if placeholders(frozen, f)), None)

    @cached_property
    def codes(self) -> tuple[str, ...]:
        """All variables and marks of the parent, in order."""
        return placeholders(self.text, self.format)

    @cached_property
    def inside(self) -> frozenset[str]:
        """What reads as a variable inside a span already; it is plain text there."""
        found: set[str] = set()
        for a, b in self.spans:
            found.update(placeholders(self.text[a:b], self.format))
        return frozenset(found)


_GAP = -1
"""Stands for a token inside a span: equal to nothing in a reply."""
_REACH = 12
"""How many fixed tokens on each side of a span are checked for lone matches."""


class AlignedReply:
    """A reply aligned with the fixed text of the parent. `partner[i]` is the reply's token for ours, or -1."""

    def __init__(self, said: str, frame: Frame) -> None:
        self.said = said
        self.frame = frame
        self.ours, self.theirs = solid_tokens(frame.text), solid_tokens(said)
        self.spoken = slices(said, self.theirs)
        self.tokens: list[str | int] = [*slices(frame.text, self.ours)]
        for start, end in frame.spans:
            first = bisect_right(self.ours, start, key=lambda t: t[1])
            last = bisect_left(self.ours, end, key=lambda t: t[0])
            self.tokens[first:last] = [_GAP] * (last - first)
        self.partner = match(self.tokens, self.spoken)
        for start, end in frame.spans:
            self._slide(self._before(start), -1)
            self._slide(self._after(end), 1)
        self.fixed = [i for i, t in enumerate(self.tokens) if t != _GAP]

    def _slide(self, edge: int, step: int) -> None:
        """Move lone matches beside a span to where the fixed text goes on, so that none sits inside new text."""
        reach, i = list[int](), edge
        while 0 <= i < len(self.tokens) and self.tokens[i] != _GAP and len(reach) < _REACH:
            reach.append(i)
            i += step
        for i in reversed(reach[:-1]):
            place = self.partner[i + step] - step
            matched = self.partner[i] >= 0 and self.partner[i + step] >= 0
            if matched and 0 <= place < len(self.spoken) and self.spoken[place] == self.tokens[i]:
                self.partner[i] = place

    def _before(self, at: int) -> int:
        return bisect_right(self.ours, at, key=lambda t: t[1]) - 1

    def _after(self, at: int) -> int:
        return bisect_left(self.ours, at, key=lambda t: t[0])

    @cached_property
    def matched(self) -> list[int]:
        """Indices of our fixed tokens that came back."""
        return [i for i in self.fixed if self.partner[i] >= 0]

    @property
    def leak(self) -> float:
        """Share of fixed tokens that did not come back."""
        return 1 - len(self.matched) / len(self.fixed) if self.fixed else 0.0

    @property
    def core(self) -> str:
        """The reply from the first to the last matched token, or to an end that no fixed text bounds."""
        if not self.matched:
            return self.said
        first, last = self.theirs[self.partner[self.matched[0]]], self.theirs[self.partner[self.matched[-1]]]
        open_begin, open_end = self.frame.open_ends
        return self.said[0 if open_begin else first[0] : None if open_end else last[1]]

    @property
    def ends_early(self) -> bool:
        """None of the words behind the last span came back (variables alone are a loss, not an early end)."""
        if not self.frame.spans:
            return False
        tail = self.frame.fixed[-1]
        for code in placeholders(tail, self.frame.format):
            tail = tail.replace(code, " ")
        behind = self._after(self.frame.spans[-1][1])
        return count_words(tail) > 0 and (not self.matched or self.matched[-1] < behind)

    @property
    def lacks_tail(self) -> bool:
        """The last fixed token did not come back."""
        return bool(self.fixed) and not self.frame.open_ends[1] and self.partner[self.fixed[-1]] < 0

    def replacement(self, span: Range) -> str | None:
        """What stands between the matched neighbours of `span`, or None where one is missing."""
        i, j = self._before(span[0]), self._after(span[1])
        start, end = 0, len(self.said)
        if i >= 0:
            if self.partner[i] < 0:
                return None
            start = self.theirs[self.partner[i]][1]
        if j < len(self.ours):
            if self.partner[j] < 0:
                return None
            end = self.theirs[self.partner[j]][0]
        return self.said[start:end] if start <= end else None


_HOPELESS = 0.8
_SUSPECT = 0.5
_REFUSAL = re.compile(
    r"\W{0,20}(?:i['’]?m (?:very |so )?sorry|sorry|i (?:can(?:no|['’])t|won['’]t|am (?:unable|not able))"
    r"|unfortunately|as an ai|i apologi[sz]e)\b",
    re.IGNORECASE,
)


def unusable(reading: AlignedReply, *, unclosed: bool) -> Rejection | None:
    """Why no replacement may be read out of an aligned reply, most telling reason first."""
    if reading.leak > _SUSPECT and _REFUSAL.match(reading.said):
        return Rejection("refusal", "the reply refuses the task")
    if unclosed and reading.lacks_tail:
        return Rejection("truncated", "a mark is not closed and the text after it is missing")
    if reading.leak > _HOPELESS:
        return Rejection("leak", f"{reading.leak:.0%} of the fixed text did not come back")
    if reading.ends_early:
        return Rejection("truncated", "the reply ends before the fixed text after the last span")
    return _lost_code(reading)


def _lost_code(reading: AlignedReply) -> Rejection | None:
    """Compare the variables of parent and reply: none lost, none new, same order (VARS)."""
    ours = reading.frame.codes
    spoken = placeholders(reading.core, reading.frame.format)
    lost, new = Counter(ours) - Counter(spoken), Counter(spoken) - Counter(ours)
    strange = [c for c in placeholders(reading.said, reading.frame.format) if c not in ours] or [*new]
    if lost:
        also = f", {strange[0]!r} is unknown" if strange else ": the model would no longer see it"
        return Rejection("lost_variable", f"{next(iter(lost))!r} is missing{also}")
    if strange:
        return Rejection("new_variable", f"{strange[0]!r} is not in the prompt")
    return None if spoken == ours else Rejection("order", "the variables came back in another order")


# From the whole reply to the new text of each span

LEAK_MAX = 0.3
"""Share of lost fixed text above which a reply is refused (spec 1.5)."""
_MANY = 100
"""More tags than this are compared pair by pair no longer."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """New text of each span. `kept` are indices of spans the reply did not let us read; they stay as they are.

    `leak` is the share of fixed tokens the reply did not keep, `exact` whether all of it was found.
    """

    replacements: tuple[str, ...]
    leak: float = 0.0
    kept: tuple[int, ...] = ()
    exact: bool = False


def recover(
    reply: str,
    text: str,
    spans: Sequence[Range],
    frozen: Sequence[Range] = (),
    tag: str = "edit",
    template_format: TemplateFormat | None = None,
) -> Recovered | Rejection:
    """Read the replacements of `spans` out of a reply that repeats `text` with changes.

    Args:
        reply: What the model sent: with or without tags, fenced, with talk around, as JSON.
        text: The parent's flat text.
        spans: Sorted, disjoint, outside frozen text.
        frozen: Ranges of `text` that may not change; variables are among them.
        tag: The tag shown to the model; "" when none was.
        template_format: How variables are written; without it the frozen text is asked.

    >>> recover("Be kind, {name}.", "Be brief, {name}.", [(3, 8)], [(10, 16)])
    Recovered(replacements=('kind',), leak=0.0, kept=(), exact=True)
    """
    if not reply.strip():
        return Rejection("empty_reply", "the reply is empty")
    body = strip_wrapping(reply, keep=text)
    if not body.strip():
        return Rejection("empty_reply", "the reply holds nothing but thinking")
    frame = Frame(text, tuple(spans), tuple(frozen), template_format)
    inner = _unwrap_json(body, frame, tag)
    return _recover(body, frame, tag) if inner is None else inner


def _recover(body: str, frame: Frame, tag: str) -> Recovered | Rejection:
    tagged = parse_tags(body, tag)
    if len(tagged.ranges) > len(frame.spans):
        detail = f"{len(tagged.ranges)} marked places came back for {len(frame.spans)}: choosing is a guess"
        return Rejection("duplicate_span", detail)
    found = _moved(tagged, frame) or _by_tags(tagged, frame) or _from_text(tagged, frame)
    if isinstance(found, Rejection):
        return found
    for new in found.replacements:
        for name in placeholders(new, frame.format):
            if name not in frame.inside:
                return Rejection("new_variable", f"{name!r} would be a variable in the new text")
    return found


def _from_text(tagged: TaggedReply, frame: Frame) -> Recovered | Rejection:
    """The reply read without its tags."""
    said = strip_talk(tagged.text, frame.text, *frame.weak_ends)
    exact = None if tagged.unclosed else _exactly(said, frame)
    return exact or _by_alignment(AlignedReply(said, frame), unclosed=tagged.unclosed > 0)


# Wrappers


_PROMPT_KEYS = ("prompt", "new_prompt", "improved_prompt", "template", "text", "content")


def _unwrap_json(body: str, frame: Frame, tag: str) -> Recovered | Rejection | None:
    """The reading of the one string in a JSON reply that is the prompt; None when the reply is no JSON."""
    bare = body.strip()
    if not bare.startswith(("{", "[", '"')) or bare[:1] == frame.text.lstrip()[:1]:
        return None
    try:
        value = json.loads(bare, strict=False)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, str):
        return _recover(value, frame, tag)
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    results = {str(k): _recover(v, frame, tag) for k, v in members if isinstance(v, str) and v.strip()}
    read = {k: r for k, r in results.items() if isinstance(r, Recovered)}
    choices = []
    for pool in (read, results):
        for k in _PROMPT_KEYS:
            if k in pool:
                choices.append(pool[k])
    if len(read) == 1:
        return next(iter(read.values()))
    return choices[0] if choices else Rejection("no_slot", "no single field of the JSON reply holds the prompt")


# Tags that came back


def _around(text: str, ranges: Iterable[Range]) -> list[str]:
    """What stands before, between and after these places, empty stretches included."""
    stretches, at = [], 0
    for start, end in ranges:
        stretches.append(text[at:start])
        at = end
    return [*stretches, text[at:]]


def _squeezed(texts: Iterable[str]) -> list[str]:
    return [" ".join(text.split()) for text in texts]


def _by_tags(tagged: TaggedReply, frame: Frame) -> Recovered | None:
    """What stands in the tags, when they are as many as the spans and the text around them is the parent's."""
    if not frame.spans or tagged.unclosed or len(tagged.ranges) != len(frame.spans):
        return None
    ours, theirs = _squeezed(frame.fixed), _squeezed(_around(tagged.text, tagged.ranges))
    if not (theirs[0].endswith(ours[0]) and theirs[-1].startswith(ours[-1]) and theirs[1:-1] == ours[1:-1]):
        return None
    pairs = zip(frame.spans, tagged.ranges, strict=True)
    return Recovered(tuple(fit(tagged.text[a:b], frame.text, span) for span, (a, b) in pairs), exact=True)


def _moved(tagged: TaggedReply, frame: Frame) -> Rejection | None:
    """Refuse tags whose surroundings came back in another order: it is unclear which span is which."""
    if len(tagged.ranges) != len(frame.spans) or not 2 <= len(frame.spans) <= _MANY:
        return None
    theirs = list(map(_bag, _around(tagged.text, tagged.ranges)))
    for i, ours in enumerate(map(_bag, frame.fixed)):
        if not ours or _share(ours, theirs[i]) >= 0.5:
            continue
        elsewhere = []
        for j, bag in enumerate(theirs):
            if j != i and _share(ours, bag) >= 0.7:
                elsewhere.append(j)
        if elsewhere:
            return Rejection("order", f"the fixed text before mark {i + 1} came back before mark {elsewhere[0] + 1}")
    return None


def _bag(text: str) -> Counter[str]:
    return Counter(text[a:b] for a, b in solid_tokens(text) if text[a].isalnum())


def _share(ours: Counter[str], theirs: Counter[str]) -> float:
    return (ours & theirs).total() / ours.total()


# Replies without tags


def _exactly(said: str, frame: Frame) -> Recovered | None:
    """Anchors found one after the other, by plain search; None where one is missing or stands twice."""
    reply = Squeezed(said)
    anchors = _squeezed(frame.fixed)
    edges = _first_and_last(reply.text, anchors)
    if edges is None:
        return None
    at, stop = edges
    cuts = [at]
    for anchor in anchors[1:-1]:
        found = reply.text.find(anchor, at, stop)
        if found < 0 or reply.text.find(anchor, found + 1, stop) >= 0:
            return None
        at = found + len(anchor)
        cuts += [found, at]
    cuts.append(stop)
    pairs = zip(frame.spans, zip(cuts[::2], cuts[1::2], strict=True), strict=True)
    raws = []
    for span, (a, b) in pairs:
        raws.append((span, said[reply.source(a) : reply.source(b)]))
    return Recovered(tuple(fit(raw, frame.text, span) for span, raw in raws), exact=True)


def _first_and_last(reply: str, anchors: list[str]) -> tuple[int, int] | None:
    """Where the changed part of the squeezed reply begins and ends."""
    if len(anchors) < 2:
        return None
    first, last = anchors[0], anchors[-1]
    begin = 0 if reply.startswith(first) else reply.find(first)
    if begin < 0 or (begin > 0 and reply.find(first, begin + 1) >= 0):
        return None
    at = begin + len(first)
    bare = reply.rstrip()
    end = len(bare) - len(last) if bare.endswith(last) else reply.rfind(last)
    if end < at or (end + len(last) < len(bare) and reply.find(last, at) != end):
        return None
    return (at, end if last else len(reply))


def _by_alignment(reading: AlignedReply, *, unclosed: bool) -> Recovered | Rejection:
    """Aligned tokens: a span counts only between two matched neighbours, else it stays as it is."""
    refusal = unusable(reading, unclosed=unclosed)
    if refusal is not None:
        return refusal
    frame = reading.frame
    taken = [(span, reading.replacement(span)) for span in frame.spans]
    kept = tuple(i for i, (_, new) in enumerate(taken) if new is None)
    if len(kept) == len(taken):
        return Rejection("no_slot", "no span stands between fixed text that came back")
    if reading.leak > LEAK_MAX:
        return Rejection("leak", f"{reading.leak:.0%} of the fixed text did not come back")
    texts = []
    for (start, end), new in taken:
        texts.append(frame.text[start:end] if new is None else fit(new, frame.text, (start, end)))
    return Recovered(tuple(texts), reading.leak, kept)
