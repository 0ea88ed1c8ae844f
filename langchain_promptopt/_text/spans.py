"""Spans: from what a model marked, quoted or numbered to places that may change, and back into text.

Everything works on one flat text with ranges in code points. `legalise` is steps 3-6 of spec 1.4;
children are built by `splice` and nothing else (`PromptSet.apply`), and the guard checks that with `kept_outside`.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import regex

from langchain_promptopt._collections import present
from langchain_promptopt._text import Range
from langchain_promptopt._text.align import diff_edits as diff_edits
from langchain_promptopt._text.align import project as project
from langchain_promptopt._text.document import editable_words, gaps, normal_ranges, subtract
from langchain_promptopt._text.words import (
    count_words,
    slices,
    snap_point,
    snap_range,
    solid_tokens,
    word_limit,
    words_inside,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


_QUOTE_MARKS = "\"'`“”„‘’«»「」『』"


def find_quote(text: str, quote: str, occurrence: int = 1, frozen: Sequence[Range] = ()) -> Range | None:
    """Where the `occurrence`-th `quote` (from 1) stands: exactly, else with other white space, else other case.

    A place inside frozen text gives way to the first one that is not; None when there is none.

    Args:
        text: Where to look.
        quote: The words that a model quoted.
        occurrence: Which of several places is meant, counted from 1; the first one where there are fewer.
        frozen: Ranges of `text` that may not change.

    >>> find_quote("Be brief.  Be kind.", "be kind")
    (11, 18)
    """
    walls = normal_ranges(frozen, len(text))
    for wanted in dict.fromkeys((quote, quote.strip(), quote.strip().strip(_QUOTE_MARKS).strip())):
        if not wanted.strip():
            continue
        for pattern in (re.escape(wanted), _flexible(wanted)):
            for flags in (0, re.IGNORECASE):
                places = [m.span() for m in re.finditer(pattern, text, flags)]
                if places:
                    return _choose(places, occurrence, walls)
    return None


def _flexible(wanted: str) -> str:
    """Possessive blanks between escaped words: nothing to backtrack into."""
    return r"\s++".join(map(re.escape, wanted.split()))


def _choose(places: list[Range], occurrence: int, frozen: Sequence[Range]) -> Range | None:
    wanted = places[occurrence - 1] if 1 <= occurrence <= len(places) else places[0]
    if subtract(*wanted, frozen):
        return wanted
    return next((p for p in places if subtract(*p, frozen)), None)


def numbered(text: str, frozen: Sequence[Range] = ()) -> str:
    """`text` with a number before each word that may change; frozen words carry none.

    >>> numbered("Be brief, {name}.", [(10, 16)])
    '[1]Be [2]brief, {name}.'
    """
    out, at = [], 0
    for n, (start, end) in enumerate(editable_words(text, normal_ranges(frozen, len(text))), 1):
        out += [text[at:start], f"[{n}]", text[start:end]]
        at = end
    return "".join((*out, text[at:]))


def index_ranges(text: str, frozen: Sequence[Range], items: Sequence[Mapping[str, Any]]) -> tuple[Range, ...]:
    """Ranges of items {"first": 12, "last": 14} or {"after": 20} over the words of `numbered`.

    Numbers outside the text drop their item; `last` may be missing; 0 is the place before the first word.

    Args:
        text: The text that was shown with numbers.
        frozen: Ranges of `text` that may not change.
        items: Items of the reply; numbers may come as texts.

    >>> index_ranges("Be brief and kind.", (), [{"first": 2, "last": 4}, {"after": 1}])
    ((3, 17), (2, 2))
    """
    words = editable_words(text, normal_ranges(frozen, len(text)))
    found = (_indexed(item, words) for item in items)
    return tuple(present(found))


def _indexed(item: Mapping[str, Any], words: Sequence[Range]) -> Range | None:
    after = _number(item.get("after"))
    if after is not None and "first" not in item:
        if after == 0 and words:
            return (words[0][0],) * 2
        return (words[after - 1][1],) * 2 if 1 <= after <= len(words) else None
    first = _number(item.get("first"))
    last = _number(item.get("last", first))
    if first is None or last is None:
        return None
    first, last = min(first, last), max(first, last)
    if not 1 <= first <= last <= len(words):
        return None
    return (words[first - 1][0], words[last - 1][1])


def _number(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit() and len(value.strip()) < 10:
        return int(value)
    return value if isinstance(value, int) else None


# Whole lines and list items

BULLET = regex.compile(r"\s*+(?:[-*+•–]|\(?\d{1,3}[.):]|\(?[A-Za-z][.)])\s++")
_MARGIN = regex.compile(r"[^\S\r\n]*+(?:(?:[-*+•–]|\(?\d{1,3}[.):]|\(?[A-Za-z][.)])[^\S\r\n]++)?+")
_BREAK = regex.compile(r"\r?\n")


def framed(ranges: Sequence[Range], text: str, bounds: Sequence[Range], frozen: Sequence[Range]) -> tuple[Range, ...]:
    r"""The ranges, those over whole lines widened to their frames, wherever all of a frame may change.

    The *frame* of a line or list item is its list mark, text and line break: a rule that is removed takes its list
    mark and its line with it. A model sees and returns only the text, the *core* (`unframed`, `reframed`).

    Args:
        ranges: Lawful spans, sorted.
        text: The flat text.
        bounds: Where each message begins and ends in it; a frame stays inside one.
        frozen: What may not change.

    >>> framed([(2, 11)], "- Be brief\n- Be kind\n", [(0, 22)], [])
    ((2, 11),)
    >>> framed([(2, 10)], "- Be brief\n- Be kind\n", [(0, 21)], [])
    ((0, 11),)
    """
    out: list[Range] = []
    for start, end in ranges:
        low, high = next(((a, b) for a, b in bounds if a <= start and end <= b), (start, end))
        wide = _frame(text, start, end, low, high)
        after = [s for s, _ in ranges if s >= end and (s, _) != (start, end)]
        free = wide is not None and subtract(*wide, frozen) == [wide]
        if wide is None or not free or (out and wide[0] < out[-1][1]) or (after and wide[1] > min(after)):
            out.append((start, end))
        else:
            out.append(wide)
    return tuple(out)


def unframed(text: str) -> tuple[str, str, str]:
    r"""What stands before the core of a span's text, the core, and what stands behind it.

    >>> unframed("- Be brief.\n"), unframed("Be brief."), unframed("\n2. Be kind.")
    (('- ', 'Be brief.', '\n'), ('', 'Be brief.', ''), ('\n2. ', 'Be kind.', ''))
    """
    lead, tail = _BREAK.match(text), _BREAK.search(text, pos=max(0, len(text.rstrip("\r\n"))))
    if lead is None and (tail is None or tail.end() != len(text)):
        return "", text, ""
    at = lead.end() if lead is not None else 0
    margin = _MARGIN.match(text, at)
    start = margin.end() if margin is not None else at
    stop = len(text) if lead is not None or tail is None else tail.start()
    core = text[start:stop]
    return text[:start], core.rstrip(), core[len(core.rstrip()) :] + text[stop:]


def reframed(old: str, core: str) -> str:
    """The text of a span whose core became `core`: nothing at all where nothing is left of it."""
    before, was, after = unframed(old)
    if core == was:
        return old
    if not before + after:
        return core
    if not core.strip():
        return ""
    margin = before.lstrip("\r\n").strip()
    kept = core.strip("\r\n")
    if margin and not was.startswith(margin) and kept.lstrip().startswith(f"{margin} "):
        kept = kept.lstrip()[len(margin) + 1 :]  # the model repeated the list mark that stays anyway
    return f"{before}{kept}{after}"


def _frame(text: str, start: int, end: int, low: int, high: int) -> Range | None:
    """The frame of a range that holds all words of its lines; None where it does not."""
    first = max(low, text.rfind("\n", 0, start) + 1)
    stop = text.find("\n", end, high)
    last = high if stop < 0 else stop
    margin = _MARGIN.match(text, first, last)
    if start == end or margin is None or not start <= margin.end() < end or text[end:last].strip():
        return None
    if stop >= 0:
        return first, stop + 1
    if first > low:
        return first - 1 - (text[max(low, first - 2) : first] == "\r\n"), last
    return None


# Marked ranges to spans, and spans back into text

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


Replacement: TypeAlias = tuple[int, int, str]
"""Start, end (exclusive) and the text that is to stand there, in offsets of the text before any replacement."""


def splice(text: str, edits: Iterable[Replacement]) -> str:
    """Replace all ranges at once; every character outside them is kept. The only splice of the package.

    Two insertions at one place stand in the order of their texts, so that the order in which they came does not matter.

    >>> splice("Be brief. Be kind.", [(10, 17, "Show work")])
    'Be brief. Show work.'
    """
    out, at = [], 0
    for start, end, new in sorted(edits):
        if not at <= start <= end <= len(text):
            msg = f"edit {start}-{end} overlaps another or leaves the text of {len(text)} characters"
            raise ValueError(msg)
        out += [text[at:start], new]
        at = end
    return "".join((*out, text[at:]))


def kept_outside(text: str, edits: Iterable[Replacement], child: str) -> bool:
    """Whether `child` is `text` with `edits` made and nothing else changed, read off the two texts themselves.

    No text is built here, so this holds `splice` to account: every untouched stretch of `text` and every
    replacement must stand in `child`, in order and without anything between.

    Args:
        text: The text before the edits.
        edits: Replacements in offsets of `text`, in any order.
        child: The text after them.

    >>> kept_outside("a  b.", [(0, 1, "x")], "x  b."), kept_outside("a  b.", [(0, 1, "x")], "x b.")
    (True, False)
    """
    read, at = 0, 0  # how far each text is accounted for: `text` up to `read`, `child` up to `at`
    for start, end, new in (*sorted(edits), (len(text), len(text), "")):
        if not read <= start <= end:
            return False
        for piece in (text[read:start], new):
            if child[at : at + len(piece)] != piece:
                return False
            at += len(piece)
        read = end
    return at == len(child)


def shifted(place: Range, edits: Iterable[Replacement]) -> Range:
    """Where the range stands after `edits`, each of which lies inside it or outside of it.

    An insertion at an edge stays outside, unless the range is that very place.

    >>> shifted((3, 6), [(0, 1, "abc"), (4, 5, ""), (6, 6, "x")])
    (5, 7)
    """
    before = inside = 0
    for start, end, new in edits:
        longer = len(new) - (end - start)
        if (start, end) == place or (place[0] < end and start < place[1]):
            inside += longer
        elif end <= place[0]:
            before += longer
    return place[0] + before, place[1] + before + inside


def marked(ranges: Sequence[Range], text: str) -> tuple[str, ...]:
    """The texts under the ranges."""
    return tuple(slices(text, ranges))


def legalise(ranges: Iterable[Range], text: str, frozen: Sequence[Range], limits: SpanLimits) -> tuple[Range, ...]:
    """Sorted, disjoint spans on editable text; spans with only white space between are one.

    Args:
        ranges: Marked ranges, in any order; an empty one is a place to insert.
        text: The flat text.
        frozen: Ranges of `text` that may not change.
        limits: Most words, spans and share of the text (spec 1.3).

    >>> legalise([(3, 8), (9, 12)], "Be brief and kind to {name}.", [(21, 27)], SpanLimits())
    ((3, 12),)
    """
    return merge_spans(legalise_premerge(ranges, text, frozen, limits), text, frozen)


def legalise_premerge(
    ranges: Iterable[Range], text: str, frozen: Sequence[Range], limits: SpanLimits
) -> tuple[Range, ...]:
    """`legalise` before its last step; applied to its own result it changes nothing (L3).

    Args:
        ranges: Marked ranges, in any order; an empty one is a place to insert.
        text: The flat text.
        frozen: Ranges of `text` that may not change.
        limits: Most words, spans and share of the text (spec 1.3).
    """
    ground = _Ground(text, normal_ranges(frozen, len(text)), limits)
    pieces: set[Range] = set()
    for start, end in ranges:
        pieces.update(ground.pieces(start, end))
    kept: list[Range] = []
    for start, end in sorted(pieces):
        if not kept or start >= kept[-1][1]:
            kept.append((start, end))
    return ground.within_share(kept[: limits.k_max])


def merge_spans(spans: Sequence[Range], text: str, frozen: Sequence[Range]) -> tuple[Range, ...]:
    """Join neighbours with nothing but editable white space between, so that words have one owner (L8).

    Args:
        spans: Sorted, disjoint spans.
        text: The flat text.
        frozen: Ranges of `text` that may not change.
    """
    walls, out = normal_ranges(frozen, len(text)), list[Range]()
    for start, end in spans:
        if out and not text[out[-1][1] : start].strip() and not subtracted(out[-1][1], start, walls):
            out[-1] = (out[-1][0], end)
        else:
            out.append((start, end))
    return tuple(out)


def subtracted(start: int, end: int, frozen: Sequence[Range]) -> bool:
    """Whether frozen text cuts the range or stands in it.

    Args:
        start: Start of the range.
        end: End of the range, exclusive.
        frozen: Sorted, disjoint ranges; see `normal_ranges`.
    """
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
        stripped = [_stripped(self.text, *r) for r in inner]
        pieces = [(a, b) for a, b in stripped if a < b]
        worded = [p for p in pieces if self._count(*p)]
        # between a variable and a word a mark leaves crumbs such as ": "; they are not worth a span
        found: list[Range] = []
        for piece in worded or pieces[:1]:
            if (p := self._fitted(*piece)) is not None:
                found.append(p)
        return found

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


_SENTENCE_END = regex.compile(r"(?<=[.!?]['\")\]]?)\s+(?=\S)|(?<=[。！？])")
_TITLE = regex.compile(r"\s*(?:#{1,6}\s|[-=*_]{3,}\s*$|</?[\w-]+[^>]*>\s*$)")


def removable(text: str, frozen: Sequence[Range]) -> tuple[Range, ...]:
    r"""Sentences, and whole lines that hold one, that may be left out: nothing of them is frozen, and none is a title.

    A line that goes takes its line break along.

    Args:
        text: The flat text.
        frozen: Sorted, disjoint ranges that may not change.

    >>> text = "# Rules\nBe brief. Be kind.\nNever guess.\n{q}"
    >>> [text[a:b] for a, b in removable(text, [(40, 43)])]
    ['Be brief. ', ' Be kind.', 'Never guess.\n']
    """
    out: list[Range] = []
    for line in _LINE.finditer(text):
        if _TITLE.match(line.group()):
            continue
        start, end = line.span()
        cuts = [start, *(start + m.end() for m in _SENTENCE_END.finditer(line.group())), end]
        parts = [(a, b) for a, b in pairwise(cuts) if count_words(text[a:b])]
        if len(parts) > 1 and parts[-1][1] == end:  # the last sentence takes the blanks before it along
            last = parts.pop()
            parts.append((start + len(text[start : last[0]].rstrip()), end))
        if len(parts) == 1:
            low, high = start, end
            if text[end : end + 1] == "\n":
                high = end + 1
            parts = [(low, high)] if subtract(low, high, frozen) == [(low, high)] else [(start, end)]
        out += [(a, b) for a, b in parts if subtract(a, b, frozen) == [(a, b)]]
    return tuple(out)
