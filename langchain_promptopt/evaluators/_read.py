"""Reads the answer out of a reply: a number, an option letter or a label (spec 4.2).

Text is compared as a reader sees it: without invisible characters, with one form for letters that look equal. Of a
number only the digits count; separators, signs, widths and currency are form. An option letter is the one after the
last cue, else the only one, else the option whose text is repeated. A label is the whole reply, else exactly one label
as a whole word after the cue.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from langchain_promptopt._values import canonical, content_hash

if TYPE_CHECKING:
    from collections.abc import Iterable

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
    if text.isascii():  # all of it shows, and it has one form
        return text
    return unicodedata.normalize("NFC", _IDLE_JOINER.sub("", text.translate(_INVISIBLE)))


def folded(text: str) -> str:
    r"""`text` for comparison: visible, case folded, white space folded to single blanks.

    >>> folded("  City\n of PARIS ")
    'city of paris'
    """
    if text.isascii():  # as below, which changes nothing else in such a text
        return " ".join(text.casefold().split())
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
        if value.isascii():  # as below, which changes nothing else in such a text
            return " ".join(value.casefold().split())
        compact = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", visible(value)).casefold())
        return _BLANKS.sub(" ", compact).strip()
    if isinstance(value, Mapping):
        return {str(k): normal_form(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return list(map(normal_form, value))
    if isinstance(value, set | frozenset):
        return sorted(map(normal_form, value), key=content_hash)
    by_content = canonical(value)  # printed forms are shortened, and may hold addresses
    if isinstance(by_content, Mapping):
        return by_content
    return normal_form(as_text(value if isinstance(by_content, str) else by_content))


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


def quoted_value(value: Any, limit: int = 120) -> str:
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


# Where a reply announces its answer: "####", "\boxed", "the answer is", and translations

_NOUN = r"(?:answers?|respuesta|respostas?|réponse|risposta|antwort|ответ|الإجابة|الجواب|答案|答え|정답)"
_VERB = r"(?:(?:is|are|es|est|ist|lautet|é|è|هي|هو)\b|[:=\uff1a]|是|为|為|は|은)"
# One class between noun and verb and one bounded bracket: no nested repetition to run away on model text.
_CUE = re.compile(rf"####|\\boxed\b|{_NOUN}(?:\s?\([^()\n]{{0,40}}\))?[\s*_\"'`]*{_VERB}", re.IGNORECASE)
_SOMETHING = re.compile(r"\w|[()\[\]{}<>+\-$€£¥]")


def after_cue(text: str) -> str | None:
    """The text after the last cue that is followed by something, or None without a cue.

    >>> after_cue("The answer is 7. No, the answer is 8.")
    ' 8.'
    """
    last = _last_sign(text)
    ends = [found.end() for found in _CUE.finditer(text) if found.end() <= last]
    return text[ends[-1] :] if ends else None


def _last_sign(text: str) -> int:
    """Where the last character stands that may be a part of an answer; -1 without one."""
    for i in range(len(text) - 1, -1, -1):
        if _SOMETHING.match(text, i):
            return i
    return -1


# The number in a reply

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
    out = []
    for c in text:
        if c.isdecimal() and c > "9":
            out.append(str(unicodedata.decimal(c)))
        else:
            out.append(c)
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
    numbers = []
    for i, g in enumerate(groups):
        numbers.append(Fraction(f"{sign if i == 0 else ''}{g}"))
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
    out: list[Fraction] = []
    for found in _TOKEN.finditer(plain):
        out.extend(_values(found))
    return out


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


# The option letter in a reply (spec 4.2)

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
    found = {}
    for m, end in zip(marks, ends, strict=True):
        found[m.group(1)] = text[m.end() : end].strip().partition("\n")[0]
    if len(found) < 2:  # one option is no choice
        found = {m.group(1): m.group(2) for m in _LISTED.finditer(text)}
    out: dict[str, str] = {}
    for letter, option in found.items():
        if option.strip():
            out[letter] = option.strip()
    return out


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
    names = "|".join(map(re.escape, sorted(wanted, key=len, reverse=True)))
    if not names:
        return None
    found = set()
    for m in re.finditer(rf"(?<!\w)(?:{names})(?!\w)", whole):
        found.add(wanted[m.group()])
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
        if trimmed(plain) in set(map(trimmed, known.values())):
            return _by_text(plain, known)
        if (first := _leading(plain)) is not None:
            return first
        letters = set()
        for m in _LONE.finditer(plain):
            if not _ARTICLE.match(plain[m.start() :]) and m.group(1) != "I" and (not known or m.group(1) in known):
                letters.add(m.group(1))
    if not letters:
        return _by_text(plain, known)
    return letters.pop() if len(letters) == 1 else None


# The label in a reply (spec 4.2)

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
    names = "|".join(map(_whole, sorted(spelt, key=len, reverse=True)))
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

    Args:
        text: The reply.
        labels: All labels known, in the spelling that is returned.
        closed: False where there are labels beyond these.

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
