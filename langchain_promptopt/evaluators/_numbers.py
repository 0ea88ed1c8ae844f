"""The number in a reply, exact: separators, signs, widths and currency are form, digits are not."""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

from langchain_promptopt.evaluators._cues import after_cue
from langchain_promptopt.evaluators._normal import visible

_SEPARATORS = ",'’_\u00a0\u2009\u202f"
_SIGNS = str.maketrans(
    dict.fromkeys("\u2212\uff0d\ufe63\u2010\u2011\u2012\u2013", "-") | {"＋": "+", "，": ",", "．": "."}
)
_ARABIC = str.maketrans({"٬": ",", "٫": "."})
_LATEX_FRACTION = re.compile(r"\\[dt]?frac\{(-?\d{1,40})\}\{(\d{1,40})\}")
_CURRENCY_WORD = re.compile(r"\b(?:USD|EUR|GBP|INR|CHF|JPY|AUD|CAD|Rs\.?|US(?=\$))(?=[\d$-])")
# Runs of digits joined by single separators are matched whole and judged in code, so matching stays linear.
_TOKEN = re.compile(
    rf"(?<![A-Za-z_\d])(?P<sign>(?<![\w)\]])[-+])?[$€£¥₹₩]?"
    rf"(?P<whole>\d+(?:[{_SEPARATORS}]\d+)*|(?<![\w.])(?=\.\d))(?P<part>\.\d+)?"
    r"(?P<power>[eE][-+]?\d{1,3}(?!\w))?(?:/(?P<below>\d{1,40})(?![\d/]))?"
)
_LONGEST = 400
"""Digits beyond which a run is noise rather than an answer."""


def _ascii_digits(text: str) -> str:
    out = [str(unicodedata.decimal(c)) if c.isdecimal() and c > "9" else c for c in text]
    return _LATEX_FRACTION.sub(r"\1/\2", "".join(out).translate(_SIGNS).translate(_ARABIC)).replace("{,}", ",")


def _grouped(groups: list[str]) -> bool:
    """Whether the digit groups are one number: 1,234,567 or 12,34,567 but not 3,4 or 1,2345."""
    first, *middle, last = groups
    return 1 <= len(first) <= 3 and len(last) == 3 and all(len(g) in {2, 3} for g in middle)


def _values(found: re.Match[str]) -> list[Fraction]:
    """The numbers one token stands for; more than one where separators only list them."""
    if len(found.group()) > _LONGEST:
        return []
    sign, whole, part = found["sign"] or "", found["whole"], found["part"] or ""
    tail = part + (found["power"] or "")
    groups = re.split(f"[{_SEPARATORS}]", whole)
    if len(groups) > 1 and _grouped(groups):
        groups = ["".join(groups)]
    groups[-1] += tail
    numbers = [Fraction(f"{sign if i == 0 else ''}{g}") for i, g in enumerate(groups)]
    below = found["below"]
    if below is None:
        return numbers
    is_date = found.start() > 0 and found.string[found.start() - 1] == "/"
    if is_date or int(below) == 0:
        return [*numbers, Fraction(below)]
    return [*numbers[:-1], numbers[-1] / int(below)]


def numbers_in(text: str) -> list[Fraction]:
    r"""All numbers of a text, in order.

    >>> numbers_in("From 1,234 to \u22125.50 (3rd, H2O)")
    [Fraction(1234, 1), Fraction(-11, 2), Fraction(3, 1)]
    """
    plain = _CURRENCY_WORD.sub("", _ascii_digits(visible(text)))
    return [number for found in _TOKEN.finditer(plain) for number in _values(found)]


def parse_number(text: str) -> Fraction | None:
    """The answer: the first number after the last cue, without a cue the last number.

    >>> parse_number("3 + 4 = 7, so the answer is $7.00.")
    Fraction(7, 1)
    """
    rest = after_cue(visible(text))
    found = numbers_in(text if rest is None else rest)
    if not found:
        return None
    return found[-1] if rest is None else found[0]


def is_only_number(text: str) -> bool:
    """Whether nothing but one number (with sign, currency, unit sign and final punctuation) is there."""
    plain = _CURRENCY_WORD.sub("", _ascii_digits(visible(text))).strip(" \n\t\r*_`\"'$€£¥₹₩%")
    plain = plain.rstrip(".,;:!?。 ").rstrip("*_`$ ")
    found = _TOKEN.match(plain)
    return found is not None and found.end() == len(plain) and len(_values(found)) == 1
