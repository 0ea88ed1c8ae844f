"""Text that is safe to show: hidden characters are spelled out, and quotations from rows can be left out.

A right-to-left override can make a prompt read as something it is not, zero-width characters can hide
instructions, and an escape sequence can rewrite a terminal. Letters of any script, emoji joiners and line
breaks stay. Quotations are left out of comments and logs, which more people read than the rows.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain_promptopt._text.words import word_ranges
from langchain_promptopt.report.wording import value_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from langchain_promptopt.report.record import RunRecord

_HIDDEN = re.compile(
    "\r(?!\n)"
    "|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # control characters, escape among them
    "\u00ad\u061c\u180e\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # invisible, bidi
    "\ud800-\udfff"  # halves of characters: no UTF-8
    "\U000e0000-\U000e007f]"  # tags, which spell hidden ASCII
)


def parts(text: str) -> Iterator[tuple[str, bool]]:
    r"""`text` in stretches: (shown, True where it stands for a hidden character). CRLF becomes a newline.

    >>> list(parts("a\u202eb"))
    [('a', False), ('⟦U+202E⟧', True), ('b', False)]
    """
    plain = text.replace("\r\n", "\n")
    at = 0
    for found in _HIDDEN.finditer(plain):
        if found.start() > at:
            yield plain[at : found.start()], False
        yield f"⟦U+{ord(found[0]):04X}⟧", True
        at = found.end()
    if at < len(plain):
        yield plain[at:], False


def spelled_out(text: str) -> str:
    r"""`text` with every hidden character spelled out.

    >>> spelled_out("red\x1b[31m")
    'red⟦U+001B⟧[31m'
    """
    return "".join(shown for shown, _ in parts(text))


def shortened(text: str, limit: int) -> str:
    """At most `limit` characters, the cut marked.

    >>> shortened("abcdef", 4)
    'abc…'
    """
    return text if len(text) <= limit else text[: limit - 1] + "…"


_RUN = 5
"""Words in a row that make a quotation; a shorter input counts as a whole, from two words on."""
_LEFT_OUT = "[example text]"
_ELSEWHERE = "The reason is in the full report."


def discreet(record: RunRecord) -> RunRecord:
    """The record with whatever the reasons of its edits quote from its rows left out."""
    quotes = [*_values(record, "inputs", 2), *_values(record, "expected", _RUN), *_values(record, "outputs", _RUN)]
    if not quotes:
        return record
    edits = []
    for edit in record.edits:
        reasons = tuple(without_quotes(reason, quotes) for reason in edit.reasons)
        edits.append(replace(edit, reasons=reasons))
    return replace(record, edits=tuple(edits))


def reserved(record: RunRecord) -> RunRecord:
    """The record without reasons, for where its rows are not at hand."""
    edits = []
    for edit in record.edits:
        edits.append(replace(edit, reasons=(_ELSEWHERE,) if edit.reasons else ()))
    return replace(record, edits=tuple(edits))


def without_quotes(text: str, quotes: Iterable[tuple[str, int]]) -> str:
    """`text` with stretches of these texts left out; each comes with the fewest words that count.

    >>> without_quotes(
    ...     'Row 3, "my parcel never came, refund it", is delivery', [("My parcel never came, refund it!", 2)]
    ... )
    'Row 3, "[example text]", is delivery'
    >>> without_quotes("a refund is delivery", [("refund", 2), ("delivery", 5)])
    'a refund is delivery'
    """
    ranges = word_ranges(text)
    words = [text[a:b].casefold() for a, b in ranges]
    places: dict[int, dict[tuple[str, ...], list[int]]] = {}
    quoted: set[int] = set()
    for quote, least in quotes:
        theirs = [quote[a:b].casefold() for a, b in word_ranges(quote)]
        n = min(_RUN, len(theirs))
        if n < least:
            continue
        if n not in places:
            places[n] = defaultdict(list)
            for i in range(len(words) - n + 1):
                places[n][tuple(words[i : i + n])].append(i)
        for i in range(len(theirs) - n + 1):
            for at in places[n].get(tuple(theirs[i : i + n]), ()):
                quoted.update(range(at, at + n))
    return _cut(text, ranges, quoted)


def _cut(text: str, ranges: tuple[tuple[int, int], ...], quoted: set[int]) -> str:
    out, done = [], 0
    for i in sorted(quoted):
        start, end = ranges[i]
        if i - 1 not in quoted:
            out += [text[done:start], _LEFT_OUT]
        done = end
    return "".join([*out, text[done:]])


def _values(record: RunRecord, part: str, least: int) -> list[tuple[str, int]]:
    """Every value in a part of the rows, as text."""
    found: list[tuple[str, int]] = []
    for example in record.examples.values():
        value: Any = example.get(part)
        held = value.values() if isinstance(value, Mapping) else [value]
        for text in filter(None, map(value_text, held)):
            found.append((text, least))
    return found
