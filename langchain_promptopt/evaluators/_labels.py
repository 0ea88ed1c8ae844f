"""The label in a reply: the whole reply, else exactly one label as a whole word after the cue (spec 4.2)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from langchain_promptopt.evaluators._cues import after_cue
from langchain_promptopt.evaluators._normal import folded, trimmed, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_OPPOSITES: tuple[frozenset[str], ...] = (
    frozenset({"yes", "no"}),
    frozenset({"true", "false"}),
    frozenset({"valid", "invalid"}),
)
_DENIED = re.compile(r"(?:\bnot|n't|n’t|\bnever|\bneither)(?:\s+(?:an?|the|really))?[\s\"'*`_]+\Z")
# Beside other items: "billing, refund", "billing or refund", "- billing - refund". "billing, because" is no list.
_MORE_BEFORE = re.compile(r"(?:[,/;|]|\b(?:or|and))\s?\Z")
_MORE_AFTER = re.compile(r"\s?(?:[/;|]|,(?!\s?(?:because|since|as|so|for|which|given)\b)|(?:or|and)\b|- )")
_FIRST_SENTENCE = re.compile(r"[.!?。！？\n]")
_QUOTES = "*_`\"'“”«»"
_MARKUP = " \t\r\n*_`\"'“”«»「」()[]{}$:"


def known_opposites(label: str) -> tuple[str, ...]:
    """The closed pair a label belongs to ("yes" and "no"), or the label alone."""
    name = folded(label)
    return next((tuple(sorted(pair)) for pair in _OPPOSITES if name in pair), (label,))


@dataclass(frozen=True)
class _Table:
    """A label set prepared once: spellings by folded form, and one pattern for all."""

    spelt: Mapping[str, str]
    trimmed: Mapping[str, str]
    pattern: re.Pattern[str]


@lru_cache(maxsize=256)
def _table(labels: tuple[str, ...]) -> _Table:
    """The longest label stands first in the pattern, so that "invalid" is never read as "valid"."""
    spelt = {folded(label): label for label in labels}
    names = "|".join(_whole(label) for label in sorted(spelt, key=len, reverse=True))
    return _Table(spelt, {trimmed(label): label for label in labels}, re.compile(names))


def is_label(text: str, labels: tuple[str, ...]) -> bool:
    """Whether `text` is one of the labels, case apart."""
    return folded(text) in _table(labels).spelt


def _whole(label: str) -> str:
    """`label` between word edges; scripts written without blanks have none."""
    before = r"(?<!\w)(?<!\w[-'’])" if _has_edge(label[0]) else ""
    after = r"(?!\w|[-'’]\w)" if _has_edge(label[-1]) else ""
    return before + re.escape(label) + after


def _has_edge(letter: str) -> bool:
    return (letter.isalnum() or letter == "_") and not "\u0e00" <= letter <= "\u0eff" and letter < "\u3040"


def _named(text: str, table: _Table, *, closed: bool) -> set[str]:
    """Labels standing in folded `text`; a denied one ("not valid") makes the text say nothing.

    Where not all labels are known, a label in a list says nothing either: listing all would always be right.
    """
    found = set()
    for match in table.pattern.finditer(text):
        before, after = text[max(0, match.start() - 24) : match.start()], text[match.end() : match.end() + 24]
        if _DENIED.search(before):
            return set()
        quoted = before.rstrip(_QUOTES), after.lstrip(_QUOTES)
        if not closed and (_MORE_BEFORE.search(quoted[0]) or _MORE_AFTER.match(quoted[1])):
            return set()
        found.add(table.spelt[match.group()])
    return found


def parse_label(text: str, labels: Iterable[str], *, closed: bool = True) -> str | None:
    """The one label a reply names, as it is spelt in `labels`, or None when it names none or several.

    `closed=False` says that there are labels beyond these.

    >>> parse_label("Label: INVALID.", ["valid", "invalid"]), parse_label("yes and no", ["yes", "no"])
    ('invalid', None)
    """
    table = _table(tuple(labels))
    whole = trimmed(text)
    for form in (whole, whole.strip(_MARKUP), trimmed(whole.strip(_MARKUP))):
        if form in table.trimmed:
            return table.trimmed[form]
    rest = after_cue(visible(text))
    found = _named(folded(text if rest is None else rest), table, closed=closed)
    if len(found) > 1 and rest is not None:
        first = trimmed(_FIRST_SENTENCE.split(rest.strip(_MARKUP), maxsplit=1)[0]).strip(_MARKUP)
        found = {table.trimmed[first]} if first in table.trimmed else found
    return found.pop() if len(found) == 1 else None
