"""The two ways of naming a place without repeating the prompt: quotes, and numbers of words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from langchain_promptopt._text.ranges import editable_words, normal_ranges, subtract

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_promptopt._text.rejection import Range

_QUOTE_MARKS = "\"'`“”„‘’«»「」『』"


def find_quote(text: str, quote: str, occurrence: int = 1, frozen: Sequence[Range] = ()) -> Range | None:
    """Where the `occurrence`-th `quote` (from 1) stands: exactly, else with other white space, else other case.

    A place inside frozen text gives way to the first one that is not; None when there is none.

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
    return r"\s++".join(re.escape(part) for part in wanted.split())


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

    >>> index_ranges("Be brief and kind.", (), [{"first": 2, "last": 4}, {"after": 1}])
    ((3, 17), (2, 2))
    """
    words = editable_words(text, normal_ranges(frozen, len(text)))
    found = (_indexed(item, words) for item in items)
    return tuple(r for r in found if r is not None)


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
