"""Words in any script: where they are, how many changed, where a cut may fall.

A word is a run of letters, marks and digits, joined over apostrophes, hyphens and inner dots.
In scripts written without spaces every character counts (spec 6.4); limits given in words are
then doubled by `word_limit`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from functools import lru_cache
from typing import TYPE_CHECKING

import regex
from rapidfuzz.distance import Levenshtein

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_promptopt._text.rejection import Range

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


def words_between(text: str, start: int, end: int) -> tuple[Range, ...]:
    """Words of `text[start:end]` as offsets in `text`."""
    return tuple(m.span() for m in _WORDS.finditer(text, start, end))


def count_words(text: str) -> int:
    """How many words; one for each character in scripts without spaces."""
    return len(word_ranges(text))


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
    distance: int = Levenshtein.distance(*(tuple(t[a:b] for a, b in word_ranges(t)) for t in (old, new)))
    return distance or int("".join(old.split()) != "".join(new.split()))


def solid_tokens(text: str) -> tuple[Range, ...]:
    """Tokens that are not white space: words, and other characters as the reader sees them."""
    return tuple((a, b) for a, b in token_ranges(text) if not text[a].isspace())


def snap_range(start: int, end: int, tokens: Sequence[Range]) -> Range:
    """The range grown to the edges of the words and letters it cuts (spec 1.4 step 3)."""
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
    """Indices `i, j` such that `words[i:j]` lie wholly in the range."""
    first = bisect_left(words, start, key=lambda w: w[0])
    last = bisect_right(words, end, key=lambda w: w[1])
    return first, max(first, last)


def shorten(text: str, n: int) -> str:
    """At most `n` code points, the last an ellipsis where text was cut; letters are never broken.

    >>> shorten("Be brief and kind", 9)
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
