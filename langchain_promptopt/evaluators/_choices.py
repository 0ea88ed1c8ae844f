"""The option letter in a reply: after the last cue, else the only letter, else the option's own text (spec 4.2)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from langchain_promptopt.evaluators._cues import after_cue
from langchain_promptopt.evaluators._normal import trimmed, visible

_BRACKETED = re.compile(r"[(\[]\s?([A-Za-z])\s?[)\]]")
_LISTED = re.compile(r"^[ \t]*([A-Z])[.):][ \t]+(\S.*)$", re.MULTILINE)
_LEAD = " \t\r\n*_`\"'“”{([$:"
_PREFIX = re.compile(r"(?:option|choice|letter)\b|\\text(?:bf)?\{", re.IGNORECASE)
# A small letter counts only when it stands alone or is marked as a letter ("b)", "b."): "a" is also an article.
_ALONE = re.compile(r"([A-Za-z])(?=[\s*_`\"'”.,;:!?})\]$]*\Z|[).:\]}*,;](?!\w))")
_CAPITAL = re.compile(r"([A-Z])(?![\w'’])")
_ARTICLE = re.compile(r"[AI]\s+(?!or\b|and\b)[a-z]")
_SEVERAL = re.compile(r"[A-Z]\s*(?:or\b|and\b|[/,&])\s*[A-Z](?![\w'’])")
_LONE = re.compile(r"(?<![\w'’\-])([A-Z])(?![\w'’\-]|\.\w)")
_EXPLAINED = re.compile(r"[AI]\s+(?:because|since|as|is|and|for|due)\b")


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", visible(text))


def options_of(inputs: Any) -> dict[str, str]:
    r"""Letter to option text, as listed in the texts of a row's inputs.

    >>> options_of({"question": "Which?\nOptions:\n(A) a cat\n(B) a dog"})
    {'A': 'a cat', 'B': 'a dog'}
    """
    values = inputs.values() if isinstance(inputs, Mapping) else [inputs]
    text = _plain("\n".join(v for v in values if isinstance(v, str)))
    marks = [m for m in _BRACKETED.finditer(text) if m.group(1).isupper() and m.group().startswith("(")]
    ends = [*(m.start() for m in marks[1:]), len(text)][: len(marks)]
    found = {m.group(1): text[m.end() : end].strip().partition("\n")[0] for m, end in zip(marks, ends, strict=True)}
    if len(found) < 2:  # one option is no choice
        found = {m.group(1): m.group(2) for m in _LISTED.finditer(text)}
    return {letter: option.strip() for letter, option in found.items() if option.strip()}


def _leading(text: str) -> str | None:
    """The bare letter a text begins with: "B", "option B", "B. because", "**B**"."""
    start = text.lstrip(_LEAD)
    if (prefix := _PREFIX.match(start)) is not None:
        start = start[prefix.end() :].lstrip(_LEAD)
    if _SEVERAL.match(start):
        return None
    if (alone := _ALONE.match(start)) is not None:
        return alone.group(1).upper()
    if _CAPITAL.match(start) is None or (_ARTICLE.match(start) and not _EXPLAINED.match(start)):
        return None
    return start[0]


def _by_text(text: str, options: Mapping[str, str]) -> str | None:
    """The one option whose text stands in `text` as whole words; longer options hide shorter ones inside them."""
    wanted = {trimmed(option): letter for letter, option in options.items()}
    if len(wanted) < len(options):  # two equal options: the text decides nothing
        return None
    if (whole := trimmed(text)) in wanted:
        return wanted[whole]
    names = "|".join(re.escape(o) for o in sorted(wanted, key=len, reverse=True))
    if not names:
        return None
    found = {wanted[m.group()] for m in re.finditer(rf"(?<!\w)(?:{names})(?!\w)", whole)}
    return found.pop() if len(found) == 1 else None


def parse_choice(text: str, options: Mapping[str, str] | None = None) -> str | None:
    """The chosen letter, upper case, or None when the reply names none or several.

    >>> parse_choice("Not (A). The answer is (b)."), parse_choice("It is (A) or (B)")
    ('B', None)
    """
    known = options or {}
    plain = _plain(text)
    rest = after_cue(plain)
    if rest is not None:
        bracketed = _BRACKETED.search(rest)
        if bracketed is not None:
            return bracketed.group(1).upper()
        exact = {trimmed(o): letter for letter, o in known.items()}.get(trimmed(rest))
        return exact or _leading(rest) or _by_text(rest, known)
    return _only_letter(plain, known)


def _only_letter(plain: str, known: Mapping[str, str]) -> str | None:
    letters = {m.group(1).upper() for m in _BRACKETED.finditer(plain)}
    if not letters:
        if trimmed(plain) in {trimmed(o) for o in known.values()}:
            return _by_text(plain, known)
        if (first := _leading(plain)) is not None:
            return first
        letters = {
            m.group(1)
            for m in _LONE.finditer(plain)
            if not _ARTICLE.match(plain[m.start() :]) and m.group(1) != "I" and (not known or m.group(1) in known)
        }
    if not letters:
        return _by_text(plain, known)
    return letters.pop() if len(letters) == 1 else None
