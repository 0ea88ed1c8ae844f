"""Arithmetic on sorted ranges, and several messages laid end to end as one flat text for finding spans."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from langchain_promptopt._text.words import words_between

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from langchain_promptopt._text import Range
    from langchain_promptopt._text.templates import TemplateFormat


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


def covers(ranges: Iterable[Range], at: int) -> bool:
    """Whether one of the ranges holds the character at this place.

    >>> covers([(2, 4)], 3), covers([(2, 4)], 4)
    (True, False)
    """
    return any(start <= at < end for start, end in ranges)


def overlaps(ranges: Iterable[Range], start: int, end: int) -> bool:
    """Whether one of the ranges shares text with this one.

    >>> overlaps([(2, 4)], 3, 9), overlaps([(2, 4)], 4, 9)
    (True, False)
    """
    return any(start < b and a < end for a, b in ranges)


def subtract(start: int, end: int, frozen: Sequence[Range]) -> list[Range]:
    """Parts of the range outside normal ranges `frozen`.

    Args:
        start: Start of the range.
        end: End of the range, exclusive.
        frozen: Sorted, disjoint ranges; see `normal_ranges`.

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
    found: list[Range] = []
    for a, b in gaps(frozen, len(text)):
        found.extend(words_between(text, a, b))
    return tuple(found)


# Several messages laid end to end


@dataclass(frozen=True)
class Piece:
    """One message's text with the ranges that may not change (atoms and the user's frozen text)."""

    prompt: str
    message: int
    role: str
    text: str
    frozen: tuple[tuple[int, int], ...]
    template_format: TemplateFormat


@dataclass(frozen=True)
class Document:
    """Pieces under header lines. A single message is shown bare, without a header.

    >>> d = Document(
    ...     (
    ...         Piece("main", 0, "system", "Be brief.", (), "f-string"),
    ...         Piece("main", 1, "human", "{q}", ((0, 3),), "f-string"),
    ...     )
    ... )
    >>> print(d.text)
    [message 0: system]
    Be brief.
    [message 1: human]
    {q}
    """

    pieces: tuple[Piece, ...]

    @cached_property
    def _layout(self) -> tuple[str, tuple[int, ...]]:
        if len(self.pieces) == 1:
            return self.pieces[0].text, (0,)
        several = len({p.prompt for p in self.pieces}) > 1
        text, starts = "", []
        for i, piece in enumerate(self.pieces):
            name = f"prompt {piece.prompt}, " if several else ""
            text += f"[{name}message {piece.message}: {piece.role}]\n"
            starts.append(len(text))
            text += piece.text + ("\n" if i < len(self.pieces) - 1 else "")
        return text, tuple(starts)

    @property
    def text(self) -> str:
        """The flat text that is shown, marked and aligned."""
        return self._layout[0]

    @property
    def starts(self) -> tuple[int, ...]:
        """Where each piece begins in `text`."""
        return self._layout[1]

    @cached_property
    def frozen(self) -> tuple[tuple[int, int], ...]:
        """Sorted, merged ranges of `text` that may not change: headers, atoms, the user's frozen text."""
        ranges, at = [], 0
        for piece, start in zip(self.pieces, self.starts, strict=True):
            ranges.append((at, start))
            ranges += [(start + a, start + b) for a, b in piece.frozen]
            at = start + len(piece.text)
        ranges.append((at, len(self.text)))
        return normal_ranges(ranges, len(self.text))

    @cached_property
    def editable(self) -> tuple[Range, ...]:
        """The stretches of `text` between frozen ones that hold more than white space."""
        free = gaps(self.frozen, len(self.text))
        return tuple((a, b) for a, b in free if self.text[a:b].strip())

    def locate(self, start: int, end: int) -> tuple[int, int, int]:
        """Index of the piece and the offsets inside it. Raises ValueError across pieces."""
        for i, (piece, at) in enumerate(zip(self.pieces, self.starts, strict=True)):
            if at <= start and end <= at + len(piece.text):
                return i, start - at, end - at
        msg = f"{start}-{end} is not inside one message"
        raise ValueError(msg)
