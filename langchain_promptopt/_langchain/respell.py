r"""Changing text inside a literal while keeping the spelling of everything that stays.

A literal of any language is a row of *spellings*, one per decoded character (`\n`, `\u00e9`,
`""`). New text keeps the spellings of the characters it shares with the old and spells only the
new ones, so that a one-word edit is a one-word change in the file.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_WORDS = re.compile(r"\w+\s*|[^\w\s]\s*|\s+")


def changes(old: str, new: str) -> Iterator[tuple[int, int, str]]:
    """Replacements (start, end, text) that turn `old` into `new`, in order and apart.

    >>> list(changes("a b c", "a x c"))
    [(2, 3, 'x')]
    """
    lead = _common(old, new)
    tail = _common_end(old[lead:], new[lead:])
    a, b = _WORDS.findall(old[lead : len(old) - tail]), _WORDS.findall(new[lead : len(new) - tail])
    at_a, at_b = _starts(a, lead), _starts(b, lead)
    for tag, i, j, k, m in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        was, now = old[at_a[i] : at_a[j]], new[at_b[k] : at_b[m]]
        same = _common(was, now)
        end = _common_end(was[same:], now[same:])
        yield at_a[i] + same, at_a[j] - end, now[same : len(now) - end]


def respell(spellings: Sequence[str], old: str, new: str, spell: Callable[[str, int], str]) -> list[str]:
    """The spellings of `old`'s characters, changed so that together they spell `new`.

    The result is as long as `spellings`: removed characters are empty, new text stands with the
    character it replaces or follows, so that a caller can tell which token it landed in.

    Args:
        spellings: One per character of `old`, which is not empty.
        old: The decoded text.
        new: What it shall decode to.
        spell: Spells new text that lands at a character of `old`.
    """
    out = list(spellings)
    for start, end, text in changes(old, new):
        if end > start:
            out[start:end] = [spell(text, start), *[""] * (end - start - 1)]
        elif start:
            out[start - 1] += spell(text, start - 1)
        else:
            out[0] = spell(text, 0) + out[0]
    return out


def _common(a: str, b: str) -> int:
    """How many characters both begin with."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _common_end(a: str, b: str) -> int:
    return _common(a[::-1], b[::-1])


def _starts(words: Sequence[str], at: int) -> list[int]:
    starts = [at]
    for word in words:
        starts.append(starts[-1] + len(word))
    return starts
