"""Words as the offline models see them: tokens, a light stemmer, and words that carry no topic."""

from __future__ import annotations

import re
from functools import lru_cache

_CJK = "぀-ヿ㐀-鿿가-힯"
TOKEN = re.compile(rf"[{_CJK}]|[^\W_{_CJK}]+(?:['’][^\W_{_CJK}]+)*")
"""One word, or one character of a script without spaces."""

STOP = frozenset(
    """
    a an the this that these those there here it its i i'm i've i'd i'll me my mine we we're we've our ours us you your
    you're yours he she they them their his her him and or but nor so if then than as at by for from in into of off on
    onto out over to up down with without about above after again all also am any are aren't be because been before
    being both can could did didn't do does doesn't doing don't each few had has hasn't have haven't having how just
    let's more most much must no not now only other own please same shall should since some still such too under until
    very was wasn't were what when where whether which while who whom why will would wouldn't yet isn't can't cannot
    couldn't won't im ive dont cant didnt doesnt whats it's that's there's what's is get gets got getting go going
    want wants would like need needs one two ever even every else hi hello hey thanks thank dear regards make made
    """.split()  # noqa: SIM905 - a readable word list
)
"""Function words: they never tell one topic from another."""

READER = frozenset(
    """
    ticket tickets message messages text texts question questions customer customers user users person people writer
    mention mentions mentioned mentioning contain contains word words say says ask asks asking talk talks anything
    everything something someone thing things case cases kind related regarding concerning concern concerns label
    labels category answer use choose pick include includes including e.g eg etc example tell tells wish wants describe
    describes report reports complaint complaints complain complains query queries sentence input
    """.split()  # noqa: SIM905 - a readable word list
)
"""Words with which instructions speak about the input; they are no cues."""

_SUFFIXES = ("ations", "ation", "ments", "ment", "ings", "ing", "ed", "ly", "es", "s")
_DOUBLED = re.compile(r"([bdfglmnprt])\1$")


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """A rough common form of related words.

    >>> [stem(w) for w in ("Painting", "paints", "painted", "painter's", "sunny")]
    ['paint', 'paint', 'paint', 'painter', 'sun']
    """
    w = word.casefold().replace("’", "'").removesuffix("'s")
    if len(w) <= 3:
        return w
    for suffix in _SUFFIXES:
        if w.endswith(suffix) and len(w) - len(suffix) >= 3 and not w.endswith("ss"):
            w = w[: -len(suffix)]
            break
    if len(w) > 3 and w[-1] in "ey":
        w = w[:-1]
    return _DOUBLED.sub(r"\1", w) if len(w) > 3 else w


def stems(text: str) -> list[str]:
    """The stem of every word of `text`, in order."""
    return list(map(stem, TOKEN.findall(text)))


_DULL = frozenset(map(stem, STOP))
_DULL_READER = _DULL | frozenset(map(stem, READER))


def is_dull(stemmed: str, *, instruction: bool = False) -> bool:
    """Whether a stem carries no topic (in an `instruction` also the words about the input)."""
    return stemmed in (_DULL_READER if instruction else _DULL) or stemmed.isdigit()


def topical(text: str, *, instruction: bool = False) -> list[str]:
    """Stems that carry a topic, in order."""
    return [s for s in stems(text) if not is_dull(s, instruction=instruction)]


def count_spaced(text: str) -> int:
    """How many words `text` has, for usage numbers and word limits."""
    return len(text.split())
