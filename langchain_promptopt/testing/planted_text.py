"""The language of the planted world: its words, its sentences, and how a text is read back into rules."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from random import Random


def _coined(n: int, consonants: str, vowels: str, salt: str) -> tuple[str, ...]:
    """`n` different words that no natural language has."""
    rng, out = Random(salt), dict[str, None]()
    while len(out) < n:
        out["".join(rng.choice(consonants) + rng.choice(vowels) for _ in range(3))] = None
    return tuple(out)


TOPICS = _coined(120, "bdgklmnprt", "aeio", "topics")
VALUES = _coined(12, "fvzw", "aou", "values")
DECOYS = _coined(40, "hjc", "aeiu", "decoys")
POISON = ("whichever", "gently", "perhaps", "sideways", "blurry", "maybe", "elsewhere", "somehow", "vaguely", "halfway")
FRAME, OLD_FRAME = "answer", "ledger"

_SHAPES = (
    ("Messages about {t} get the {f} {v}.", "Letters about {t} get the {f} {v}."),
    ("For {t} the right {f} is {v}.", "With {t} the proper {f} is {v}."),
    ("Whoever mentions {t} takes {f} {v} always.", "Whoever writes about {t} takes {f} {v}."),
    ("A note on {t} means {f} {v}.", "A remark on {t} means {f} {v}."),
)
_WORD = re.compile(r"[^\W\d_]+")
_UNIT = re.compile(r"[^.;\n]+[.;]?")
_TOPICS, _VALUES, _POISON, _DECOYS = frozenset(TOPICS), frozenset(VALUES), frozenset(POISON), frozenset(DECOYS)


@dataclass(frozen=True, slots=True)
class Unit:
    """One sentence of a text with what it means; `words` are (start, end, word) in the text."""

    start: int
    end: int
    topic: str
    value: str
    poison: bool
    old_frame: bool
    decoy: str
    words: tuple[tuple[int, int, str], ...]

    def place(self, word: str) -> tuple[int, int]:
        """Where the first such word stands."""
        return next((a, b) for a, b, w in self.words if w == word)

    @property
    def poisoned(self) -> tuple[int, int]:
        """The stretch of garbled words."""
        bad = [(a, b) for a, b, w in self.words if w in _POISON]
        return bad[0][0], bad[-1][1]


@lru_cache(maxsize=512)
def units_of(text: str) -> tuple[Unit, ...]:
    """The sentences of a text, in order."""
    out = []
    for m in _UNIT.finditer(text):
        if not m.group().strip(" .;"):
            continue
        start = m.start() + len(m.group()) - len(m.group().lstrip())
        words = tuple(
            (start + w.start(), start + w.end(), w.group().lower()) for w in _WORD.finditer(m.group().lstrip())
        )
        said = [w for _, _, w in words]
        out.append(
            Unit(
                start,
                m.end(),
                next((w for w in said if w in _TOPICS), ""),
                next((w for w in said if w in _VALUES), ""),
                any(w in _POISON for w in said),
                OLD_FRAME in said,
                next((w for w in said if w in _DECOYS), ""),
                words,
            )
        )
    return tuple(out)


def topics_in(text: str) -> list[str]:
    """Topics a row mentions, in order."""
    return [w for w in map(str.lower, _WORD.findall(text)) if w in _TOPICS]


def sentence(
    topic: str, value: str, rng: Random, *, short: bool = False, old: bool = False, fault: tuple[str, str] | None = None
) -> str:
    """A rule in words, spoilt by a (kind, text) fault where one is given."""
    shape = "{t} {v};" if short else rng.choice(_SHAPES)[0]
    kind, spoilt = fault or ("", "")
    frame = OLD_FRAME if old else FRAME
    if kind == "phrase":
        return f"Messages about {topic} {spoilt}."
    return shape.format(t=spoilt if kind == "topic" else topic, v=spoilt if kind == "value" else value, f=frame)


def rule(topic: str, value: str) -> str:
    """The plain sentence a writer adds for a rule that is missing."""
    return _SHAPES[1][0].format(t=topic, v=value, f=FRAME)


def reworded(said: str) -> str:
    """The same sentence in its other shape; what it means stays."""
    for one, other in _SHAPES:
        for a, b in ((one, other), (other, one)):
            pattern = re.escape(a).replace(r"\{t\}", "(?P<t>[a-z]+)").replace(r"\{f\}", "(?P<f>[a-z]+)")
            found = re.fullmatch(pattern.replace(r"\{v\}", "(?P<v>[a-z]+)"), said)
            if found is not None:
                return b.format(**found.groupdict())
    return said
