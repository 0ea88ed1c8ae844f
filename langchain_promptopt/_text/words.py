"""Words in any script: where they are, how many changed, where a cut may fall.

A word is a run of letters, marks and digits, joined over apostrophes, hyphens and inner dots.
In scripts written without spaces every character counts (spec 6.4); limits given in words are
then doubled by `word_limit`. `fit` and its neighbours make text from a reply fit its place.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from functools import lru_cache
from typing import TYPE_CHECKING

import regex
from rapidfuzz.distance import Levenshtein

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from langchain_promptopt._text import Range

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\u30fc\p{Bopomofo}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}"
# joiners are \w in Unicode, but alone they belong to emoji
_LETTER = rf"[\w--[{_UNSPACED}\u200c\u200d]][[\w\p{{M}}\u200c\u200d]--[{_UNSPACED}]]*+"
_CHARACTER = rf"[[{_UNSPACED}]&&[\p{{L}}\p{{N}}]]\p{{M}}*+"
_WORD = rf"{_CHARACTER}|{_LETTER}(?:['’.\-\u2011]{_LETTER})*+"
_WORDS = regex.compile(_WORD, regex.V1)
_TOKENS = regex.compile(rf"{_WORD}|\s++|\X", regex.V1)
_IS_CHARACTER = regex.compile(_CHARACTER, regex.V1)
_CLUSTER = regex.compile(r"\X")


@lru_cache(maxsize=128)
def word_ranges(text: str) -> tuple[Range, ...]:
    """Start and end of each word.

    >>> [t for a, b in word_ranges("Don't re-read 3.5 日本 pages!") for t in ["Don't re-read 3.5 日本 pages!"[a:b]]]
    ["Don't", 're-read', '3.5', '日', '本', 'pages']
    """
    return tuple(m.span() for m in _WORDS.finditer(text))


def slices(text: str, ranges: Iterable[Range]) -> list[str]:
    """What stands at each of these places of a text.

    >>> slices("Be brief.", word_ranges("Be brief."))
    ['Be', 'brief']
    """
    return [text[start:end] for start, end in ranges]


def items_of_list(text: str) -> list[str]:
    """The items of a list with commas, as settings and flags have it.

    >>> items_of_list("a, b,,c ")
    ['a', 'b', 'c']
    """
    return [item.strip() for item in text.split(",") if item.strip()]


def counts_text(counts: Mapping[str, object]) -> str:
    """Names with their numbers, as a sentence has them.

    >>> counts_text({"train": 40, "dev": 20})
    'train 40, dev 20'
    """
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def words_between(text: str, start: int, end: int) -> tuple[Range, ...]:
    """Words of `text[start:end]` as offsets in `text`.

    Args:
        text: The text.
        start: Start of the stretch.
        end: End of the stretch, exclusive.
    """
    return tuple(m.span() for m in _WORDS.finditer(text, start, end))


def count_words(text: str) -> int:
    """How many words; one for each character in scripts without spaces."""
    return len(word_ranges(text))


BYTES_A_TOKEN = 4
"""UTF-8 bytes of a token: a rule of thumb that needs no tokenizer, because most come from the network."""


def count_tokens(text: str) -> int:
    """About how many tokens a model reads: a quarter of the UTF-8 bytes, the same for every model.

    >>> count_tokens("Answer with one word."), count_tokens("")
    (6, 0)
    """
    return -(-len(text.encode("utf-8", "replace")) // BYTES_A_TOKEN)


@lru_cache(maxsize=32)
def token_ranges(text: str) -> tuple[Range, ...]:
    """Words, white space runs and single other characters, without gaps: what alignment compares."""
    return tuple(m.span() for m in _TOKENS.finditer(text))


@lru_cache(maxsize=256)
def is_unspaced(text: str) -> bool:
    """True when most words of `text` are characters of a script without spaces."""
    words = word_ranges(text)
    characters = sum(1 for a, _ in words if _IS_CHARACTER.match(text, a))
    return characters * 2 > len(words)


def word_limit(text: str, w_max: int) -> int:
    """A limit in words as it holds for `text`: twice as many where characters are counted (spec 6.4).

    >>> word_limit("Be brief.", 5), word_limit("请简短回答。", 5)
    (5, 10)
    """
    return w_max * 2 if is_unspaced(text) else w_max


def words_changed(old: str, new: str) -> int:
    """Word-level Levenshtein distance; at least 1 when anything but white space differs.

    >>> words_changed("Be brief and kind.", "Be very brief, kind.")
    2
    """
    distance: int = Levenshtein.distance(slices(old, word_ranges(old)), slices(new, word_ranges(new)))
    return distance or int("".join(old.split()) != "".join(new.split()))


def solid_tokens(text: str) -> tuple[Range, ...]:
    """Tokens that are not white space: words, and other characters as the reader sees them."""
    return tuple((a, b) for a, b in token_ranges(text) if not text[a].isspace())


def snap_range(start: int, end: int, tokens: Sequence[Range]) -> Range:
    """The range grown to the edges of the words and letters it cuts (spec 1.4 step 3).

    Args:
        start: Start of the range.
        end: End of the range, exclusive.
        tokens: `solid_tokens` of the text.
    """
    before, after = _token_at(start, tokens), _token_at(end, tokens)
    return (before[0] if before else start, after[1] if after else end)


def snap_point(at: int, tokens: Sequence[Range]) -> int:
    """The nearest edge of the word or letter that `at` stands in, or `at`."""
    inside = _token_at(at, tokens)
    if inside is None:
        return at
    return inside[0] if at - inside[0] <= inside[1] - at else inside[1]


def _token_at(at: int, tokens: Sequence[Range]) -> Range | None:
    """The token with `at` strictly inside."""
    i = bisect_left(tokens, (at, 0)) - 1
    return tokens[i] if i >= 0 and tokens[i][0] < at < tokens[i][1] else None


def words_inside(words: Sequence[Range], start: int, end: int) -> tuple[int, int]:
    """Indices `i, j` such that `words[i:j]` lie wholly in the range.

    Args:
        words: Sorted ranges of words, as `word_ranges` gives them.
        start: Start of the range.
        end: End of the range, exclusive.
    """
    first = bisect_left(words, start, key=lambda w: w[0])
    last = bisect_right(words, end, key=lambda w: w[1])
    return first, max(first, last)


def abbreviated(text: str, n: int) -> str:
    """At most `n` code points, the last an ellipsis where text was cut; letters are never broken.

    >>> abbreviated("Be brief and kind", 9)
    'Be brief…'
    """
    if len(text) <= n:
        return text
    end = 0
    for cluster in _CLUSTER.finditer(text):
        if cluster.end() > n - 1:
            break
        end = cluster.end()
    return text[:end].rstrip() + "…" if n > 0 else ""


# Making text from a reply fit its place

_TALK_BEFORE = re.compile(
    r"\s*(?:sure|certainly|of course|okay|ok|here(?:['’]s| is| are)|absolutely|great|got it"
    r"|the (?:improved|revised|new|updated|rewritten|edited) (?:prompt|version)"
    r"|(?:improved|revised|new|updated) prompt)\b"
    r"[^\n]{0,200}:[*_]{0,2}[ \t]*\r?\n",
    re.IGNORECASE,
)
_TALK_AFTER = re.compile(
    r"\n[ \t]*\r?\n[*_(]{0,3}(?:i (?:made|changed|have|kept|replaced|added|removed|hope)|let me know|note\b|notes\b"
    r"|changes\b|explanation\b|rationale\b|this (?:version|prompt|revision|change)|the (?:changes?|edits?) )",
    re.IGNORECASE,
)
_FENCED = re.compile(r"(?:\A|\n)```[^\n`]{0,40}\r?\n")


def strip_talk(said: str, text: str, open_begin: bool, open_end: bool) -> str:  # noqa: FBT001
    r"""A reply without preamble and closing remark, where no fixed text tells them from new text.

    Args:
        said: The reply.
        text: The parent's text; what it holds itself is not taken for talk.
        open_begin: Whether no fixed text marks the beginning.
        open_end: Whether no fixed text marks the end.

    >>> strip_talk("Sure! Here is the prompt:\n\nBe kind.", "Be brief.", True, True)
    'Be kind.'
    """
    if open_begin and open_end and "```" not in text:
        said = _only_fence(said)
    if open_begin and not _TALK_BEFORE.match(text) and (found := _TALK_BEFORE.match(said)):
        said = said[found.end() :].lstrip("\r\n")
    if open_end and not _TALK_AFTER.search(text) and (found := _TALK_AFTER.search(said)):
        said = said[: found.start()]
    return said


def _only_fence(said: str) -> str:
    """The inside of the one fenced block of a reply, if it has exactly one."""
    opening = _FENCED.search(said)
    if opening is None or said.count("```") != 2:
        return said
    return said[opening.end() : said.rindex("```")].rstrip("\r\n")


def fit(raw: str, text: str, span: Range) -> str:
    """`raw`, read from between fixed text, as the replacement of `text[span]`.

    White space at a seam belongs to the side that has it in `text`; an insertion brings its own.

    Args:
        raw: What the reply has between the fixed stretches.
        text: The parent's text.
        span: The range of `text` that is replaced.
    """
    start, end = span
    old, new = text[start:end], _line_ends(raw, text)
    if not old.strip():
        return old if not new.strip() else pad_insertion(text, start, new.strip()) if start == end else new
    body = new.strip()
    head, tail = old[: len(old) - len(old.lstrip())], old[len(old.rstrip()) :]
    if head and new[:1].isspace():
        head = new[: len(new) - len(new.lstrip())]
    if tail and new[-1:].isspace():
        tail = new[len(new.rstrip()) :]
    return head + body + tail if body else ""


def _line_ends(new: str, text: str) -> str:
    """Line ends as the text has them; models answer with their own."""
    plain = new.replace("\r\n", "\n")
    return plain.replace("\n", "\r\n") if "\r\n" in text and "\n" not in text.replace("\r\n", "") else plain


def pad_insertion(text: str, at: int, new: str) -> str:
    """`new` with the blanks it needs so that words do not grow together at `at` (spec 1.4 step 6).

    Args:
        text: The text to insert into.
        at: Where, in `text`.
        new: What is inserted.

    >>> pad_insertion("Be brief.", 8, "and kind"), pad_insertion("请回答。", 3, "简短")
    (' and kind', '简短')
    """
    if not new.strip():
        return ""
    before, after = text[at - 1 : at] if at else "", text[at : at + 1]
    if before and not before.isspace() and not _joins(before, new[0]) and before not in "([{\"'“‘«「『<":
        new = " " + new
    if after and (after.isalnum() or after in "{<([") and not new[-1].isspace() and not _joins(new[-1], after):
        new += " "
    return new


def _joins(left: str, right: str) -> bool:
    """Whether the two characters may stand side by side."""
    if right.isspace() or right in ",.;:!?)]}»”’」』。，、；：！？）":
        return True
    return is_unspaced(left) or is_unspaced(right) or left in "。，、；：！？）「『"


_HALF_PAIR = regex.compile(r"[\ud800-\udfff]")


def whole_text(text: str) -> str:
    r"""`text` with the replacement character for halves of surrogate pairs, which no UTF-8 can carry.

    >>> whole_text("lab\ud800")
    'lab�'
    """
    return text if text.isascii() else _HALF_PAIR.sub("\ufffd", text)
