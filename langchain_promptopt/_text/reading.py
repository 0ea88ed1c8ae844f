"""A reply held against the parent's fixed text, token by token (spec 1.4, reply steps 3 and 4)."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from langchain_promptopt._text.align import match
from langchain_promptopt._text.placeholders import placeholders
from langchain_promptopt._text.rejection import Range, Rejection
from langchain_promptopt._text.words import count_words, solid_tokens

if TYPE_CHECKING:
    from langchain_promptopt._text.templates import TemplateFormat


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
        cuts = [0, *(at for span in self.spans for at in span), len(self.text)]
        return tuple(self.text[a:b] for a, b in zip(cuts[::2], cuts[1::2], strict=True))

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
        frozen = "\n".join(self.text[a:b] for a, b in self.frozen)
        candidates: tuple[TemplateFormat, ...] = ("f-string", "mustache")
        return next((f for f in candidates if placeholders(frozen, f)), None)

    @cached_property
    def codes(self) -> tuple[str, ...]:
        """All variables and marks of the parent, in order."""
        return placeholders(self.text, self.format)

    @cached_property
    def inside(self) -> frozenset[str]:
        """What reads as a variable inside a span already; it is plain text there."""
        return frozenset(p for a, b in self.spans for p in placeholders(self.text[a:b], self.format))


_GAP = -1
"""Stands for a token inside a span: equal to nothing in a reply."""
_REACH = 12
"""How many fixed tokens on each side of a span are checked for lone matches."""


class Reading:
    """A reply aligned with the fixed text of the parent. `partner[i]` is the reply's token for ours, or -1."""

    def __init__(self, said: str, frame: Frame) -> None:
        self.said = said
        self.frame = frame
        self.ours, self.theirs = solid_tokens(frame.text), solid_tokens(said)
        self.spoken = [said[a:b] for a, b in self.theirs]
        self.tokens: list[str | int] = [frame.text[a:b] for a, b in self.ours]
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


def unusable(reading: Reading, *, unclosed: bool) -> Rejection | None:
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


def _lost_code(reading: Reading) -> Rejection | None:
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
