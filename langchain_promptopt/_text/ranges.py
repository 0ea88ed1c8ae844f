"""Arithmetic on sorted ranges: union, gaps, difference. Nothing here knows what a prompt is."""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from typing import TYPE_CHECKING

from langchain_promptopt._text.words import words_between

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from langchain_promptopt._text.rejection import Range


def normal_ranges(ranges: Iterable[Range], length: int) -> tuple[Range, ...]:
    """Sorted, merged, non-empty and inside the text; ranges that touch become one.

    >>> normal_ranges([(4, 9), (0, 2), (2, 3)], 8)
    ((0, 3), (4, 8))
    """
    out: list[Range] = []
    for start, end in sorted((max(0, a), min(b, length)) for a, b in ranges):
        if end <= start:
            continue
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((start, end))
    return tuple(out)


def gaps(frozen: Sequence[Range], length: int) -> list[Range]:
    """What normal ranges leave free, empty stretches left out."""
    out, at = [], 0
    for start, end in (*frozen, (length, length)):
        if start > at:
            out.append((at, start))
        at = end
    return out


def subtract(start: int, end: int, frozen: Sequence[Range]) -> list[Range]:
    """Parts of the range outside normal ranges `frozen`.

    >>> subtract(0, 9, [(2, 4), (8, 12)])
    [(0, 2), (4, 8)]
    """
    out, at = [], start
    for a, b in frozen[bisect_right(frozen, start, key=lambda r: r[1]) :]:
        if a >= end:
            break
        if a > at:
            out.append((at, a))
        at = max(at, b)
    return [*out, (at, end)] if at < end else out


@lru_cache(maxsize=64)
def editable_words(text: str, frozen: tuple[Range, ...]) -> tuple[Range, ...]:
    """Words outside normal ranges `frozen`; a word that frozen text cuts counts by its free parts."""
    return tuple(w for a, b in gaps(frozen, len(text)) for w in words_between(text, a, b))
