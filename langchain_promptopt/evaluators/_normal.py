"""Text as a reader sees it: invisible characters gone, one form for equal-looking letters."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

# Bidi controls, zero-width marks and variation selectors: they change the look of no letter.
_MARKS = (0x00AD, 0x061C, 0x180E, 0x200B, 0x200E, 0x200F, 0xFE0E, 0xFE0F, 0xFEFF)
_INVISIBLE = dict.fromkeys((*_MARKS, *range(0x202A, 0x202F), *range(0x2060, 0x2065), *range(0x2066, 0x206A)))
# Joiners shape Arabic, Indic and emoji clusters, so they go only beside Latin, Greek and Cyrillic, or at an end.
_IDLE_JOINER = re.compile(
    r"(?<=[\u0000-\u052f])[\u200c\u200d]+|[\u200c\u200d]+(?=[\u0000-\u052f]|\Z)|\A[\u200c\u200d]+"
)
_BLANKS = re.compile(r"\s+")
_FINAL = " .,;:!?。，、；：！？…।،؛؟۔"  # the final punctuation of other scripts is meant


def visible(text: str) -> str:
    r"""`text` in NFC without characters that show nothing.

    >>> visible("Os\u200blo\ufeff")
    'Oslo'
    """
    return unicodedata.normalize("NFC", _IDLE_JOINER.sub("", text.translate(_INVISIBLE)))


def folded(text: str) -> str:
    r"""`text` for comparison: visible, case folded, white space folded to single blanks.

    >>> folded("  City\n of PARIS ")
    'city of paris'
    """
    return _BLANKS.sub(" ", unicodedata.normalize("NFC", visible(text).casefold())).strip()


def trimmed(text: str) -> str:
    r"""`folded` without final punctuation; a text of punctuation alone stays as it is.

    >>> trimmed("Paris.\n"), trimmed("!")
    ('paris', '!')
    """
    whole = folded(text)
    return whole.rstrip(_FINAL) or whole


def normal_form(value: Any) -> Any:
    r"""A value in which rows that differ only in letter case, width, spacing or invisible marks are equal.

    Numbers become text, so that 3 and "3" are one input; mappings keep their keys.

    >>> normal_form("How many  legs do \uff13 spiders have? ") == normal_form("how many legs do 3 spiders have?")
    True
    """
    if isinstance(value, str):
        compact = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", visible(value)).casefold())
        return _BLANKS.sub(" ", compact).strip()
    if isinstance(value, Mapping):
        return {str(k): normal_form(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [normal_form(v) for v in value]
    return normal_form(as_text(value))


def as_text(value: Any) -> str:
    """How a reference value reads: 42.0 is "42", True is "true", objects are JSON.

    >>> as_text(42.0), as_text(True), as_text({"b": 1, "a": None})
    ('42', 'true', '{"a": null, "b": 1}')
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:  # exact in a double
        return str(int(value))
    if value is None or isinstance(value, int | float):
        return "" if value is None else repr(value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)


def shown(value: Any, limit: int = 120) -> str:
    """`value` quoted on one line for a comment, cut between what a reader sees as characters."""
    text = _BLANKS.sub(" ", visible(as_text(value))).strip()
    if len(text) > limit:
        import regex

        clusters = regex.findall(r"\X", text[: limit * 8])
        kept = ""
        for cluster in clusters:
            if len(kept) + len(cluster) > limit:
                break
            kept += cluster
        text = kept.rstrip() + "…"
    return f"'{text}'"
