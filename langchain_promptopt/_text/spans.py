"""Spans: from what a model marked to places that may lawfully change, and back into text.

Everything works on one flat text with ranges in code points. `legalise` is steps 3-6 of spec 1.4;
children are built by `splice` and nothing else, so text outside the spans is kept by construction.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import regex

from langchain_promptopt._text.align import diff_edits as diff_edits
from langchain_promptopt._text.align import project as project
from langchain_promptopt._text.lines import BULLET
from langchain_promptopt._text.quotes import find_quote as find_quote
from langchain_promptopt._text.quotes import index_ranges as index_ranges
from langchain_promptopt._text.quotes import numbered as numbered
from langchain_promptopt._text.ranges import editable_words, gaps, normal_ranges, subtract
from langchain_promptopt._text.rejection import Range
from langchain_promptopt._text.words import (
    count_words,
    snap_point,
    snap_range,
    solid_tokens,
    word_limit,
    words_inside,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LONG_PROMPT = 100
"""Above this many words a span may also be a whole line or list item (product section 9)."""
LONGEST_LINE = 100
"""A whole line may hold this many words; a longer one is a paragraph and bound like any text."""


@dataclass(frozen=True, slots=True)
class SpanLimits:
    """How much may be marked (spec 1.3). `w_max` None lifts the limits on words altogether.

    Args:
        w_max: Most words in a span before merging; doubled where characters are counted.
        k_max: Most spans before merging.
        f_max: Most words marked in all, as a share of the editable ones, unless the text has 2 * w_max or fewer.
        insertions: Whether an empty span, a place to insert, is kept.
        whole_lines: Whether long prompts may have a whole line or list item as a span.
    """

    w_max: int | None = 5
    k_max: int = 5
    f_max: float = 0.5
    insertions: bool = True
    whole_lines: bool = True

    def allows_lines(self, text: str) -> bool:
        """Whether a whole line of `text` may be a span."""
        return self.whole_lines and count_words(text) > LONG_PROMPT


def splice(text: str, edits: Iterable[tuple[int, int, str]]) -> str:
    """Replace all ranges at once; every character outside them is kept.

    >>> splice("Be brief. Be kind.", [(10, 17, "Show work")])
    'Be brief. Show work.'
    """
    out, at = [], 0
    for start, end, new in sorted(edits, key=lambda e: e[:2]):
        if not at <= start <= end <= len(text):
            msg = f"edit {start}-{end} overlaps another or leaves the text of {len(text)} characters"
            raise ValueError(msg)
        out += [text[at:start], new]
        at = end
    return "".join((*out, text[at:]))


def marked(ranges: Sequence[Range], text: str) -> tuple[str, ...]:
    """The texts under the ranges."""
    return tuple(text[a:b] for a, b in ranges)


def legalise(ranges: Iterable[Range], text: str, frozen: Sequence[Range], limits: SpanLimits) -> tuple[Range, ...]:
    """Sorted, disjoint spans on editable text; spans with only white space between are one.

    >>> legalise([(3, 8), (9, 12)], "Be brief and kind to {name}.", [(21, 27)], SpanLimits())
    ((3, 12),)
    """
    return merge_spans(legalise_premerge(ranges, text, frozen, limits), text, frozen)


def legalise_premerge(
    ranges: Iterable[Range], text: str, frozen: Sequence[Range], limits: SpanLimits
) -> tuple[Range, ...]:
    """`legalise` before its last step; applied to its own result it changes nothing (L3)."""
    ground = _Ground(text, normal_ranges(frozen, len(text)), limits)
    kept: list[Range] = []
    for start, end in sorted({piece for r in ranges for piece in ground.pieces(*r)}):
        if not kept or start >= kept[-1][1]:
            kept.append((start, end))
    return ground.within_share(kept[: limits.k_max])


def merge_spans(spans: Sequence[Range], text: str, frozen: Sequence[Range]) -> tuple[Range, ...]:
    """Join neighbours with nothing but editable white space between, so that words have one owner (L8)."""
    walls, out = normal_ranges(frozen, len(text)), list[Range]()
    for start, end in spans:
        if out and not text[out[-1][1] : start].strip() and not subtracted(out[-1][1], start, walls):
            out[-1] = (out[-1][0], end)
        else:
            out.append((start, end))
    return tuple(out)


def subtracted(start: int, end: int, frozen: Sequence[Range]) -> bool:
    """Whether frozen text cuts the range or stands in it."""
    return subtract(start, end, frozen) != ([(start, end)] if end > start else [])


@dataclass(frozen=True)
class _Ground:
    """A text with what may be marked on it."""

    text: str
    frozen: tuple[Range, ...]
    limits: SpanLimits

    @cached_property
    def words(self) -> tuple[Range, ...]:
        return editable_words(self.text, self.frozen)

    @cached_property
    def tokens(self) -> tuple[Range, ...]:
        return solid_tokens(self.text)

    @cached_property
    def w_max(self) -> int | None:
        return None if self.limits.w_max is None else word_limit(self.text, self.limits.w_max)

    def pieces(self, start: int, end: int) -> list[Range]:
        """The lawful spans one mark stands for: none, one, or several where frozen text splits it."""
        start, end = (max(0, min(at, len(self.text))) for at in sorted((start, end)))
        first, last = _stripped(self.text, start, end)
        if first == last:
            return self._point(start)
        inner = subtract(*snap_range(first, last, self.tokens), self.frozen)
        pieces = [p for p in (_stripped(self.text, *r) for r in inner) if p[0] < p[1]]
        worded = [p for p in pieces if self._count(*p)]
        # between a variable and a word a mark leaves crumbs such as ": "; they are not worth a span
        return [p for piece in worded or pieces[:1] if (p := self._fitted(*piece)) is not None]

    def _point(self, at: int) -> list[Range]:
        if not self.limits.insertions:
            return []
        at = snap_point(at, self.tokens)
        at -= self.text[at - 1 : at + 1] == "\r\n"
        beside = subtract(max(0, at - 1), min(len(self.text), at + 1), self.frozen)
        # text must be editable on one side, or a frozen message could be added to at its end
        return [(at, at)] if any(a <= at <= b for a, b in beside) else []

    def _count(self, start: int, end: int) -> int:
        first, last = words_inside(self.words, start, end)
        return last - first

    def _fitted(self, start: int, end: int) -> Range | None:
        """Trimmed to `w_max`, or None when far too long (step 5)."""
        n = self._count(start, end)
        if self.w_max is None or n <= self.w_max or self._is_line(start, end):
            return (start, end)
        return self._trimmed(start, self.w_max) if n <= 2 * self.w_max else None

    def _trimmed(self, start: int, n: int) -> Range:
        first = bisect_left(self.words, start, key=lambda w: w[0])
        return (start, self.words[first + n - 1][1])

    def within_share(self, spans: list[Range]) -> tuple[Range, ...]:
        """At most `f_max` of the editable words; later spans yield (1.6, "whole prompt tagged")."""
        if self.w_max is None or len(self.words) <= 2 * self.w_max:
            return tuple(spans)
        left, out = max(1, int(self.limits.f_max * len(self.words))), list[Range]()
        for start, end in spans:
            n = self._count(start, end)
            if n <= left:
                out.append((start, end))
                left -= n
            elif not out and n <= self.w_max:
                out.append(self._trimmed(start, left))
                left = 0
        return tuple(out)

    def _is_line(self, start: int, end: int) -> bool:
        return words_inside(self.words, start, end) in self._lines

    @cached_property
    def _lines(self) -> frozenset[tuple[int, int]]:
        """Whole lines and list items between frozen ranges, as index ranges of `words`."""
        if not self.limits.allows_lines(self.text):
            return frozenset()
        free, longest, out = gaps(self.frozen, len(self.text)), word_limit(self.text, LONGEST_LINE), set()
        for start, end in _line_units(self.text):
            at = bisect_right(free, start, key=lambda g: g[1])
            while at < len(free) and free[at][0] < end:
                first, last = words_inside(self.words, max(start, free[at][0]), min(end, free[at][1]))
                if 0 < last - first <= longest:
                    out.add((first, last))
                at += 1
        return frozenset(out)


_LINE = regex.compile(r"[^\r\n]++")


def _line_units(text: str) -> list[Range]:
    """Lines, the same without their list mark, and list items with the indented lines that go on with them."""
    out, item, before = list[Range](), tuple[int, ...](), 0
    for line in _LINE.finditer(text):
        start, end = line.span()
        bullet = BULLET.match(text, start, end)
        if bullet or text[start] not in " \t" or text.count("\n", before, start) != 1:
            out += [(at, before) for at in item]
            item = (start, bullet.end()) if bullet else ()
        out.append((start, end))
        before = end
    return out + [(at, before) for at in item]


def _stripped(text: str, start: int, end: int) -> Range:
    inner = text[start:end]
    if not inner.strip():
        return (start, start)
    return (start + len(inner) - len(inner.lstrip()), end - len(inner) + len(inner.rstrip()))
