"""What the wrong examples were answered, what they should be, and the places of the prompt that this is likely about.

Nothing here asks a model. A small model that is shown a numbered prompt names the line at fault in one case of three;
the line that shares words with the examples, or holds the answer they were given, is the right one far more often
(docs/real-models.md). So the places are found by words and shown beside the question.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from langchain_promptopt._text.words import is_unspaced, slices, word_ranges
from langchain_promptopt.types import told

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_promptopt.types import Batch, PromptSet, Shown

_UNIT = re.compile(r"(?<=[.!?;])[ \t]+|(?<=[。！？；])|\n")
"""Between sentences and lines."""
_STEM = 4
"""Letters that two words must share from their beginning to count as forms of one word."""
_GIVEN = 2.0
"""How much more the answer given tells than one word of the inputs."""
_KEPT = 0.5
"""How much a word of an example that was answered right counts against a place."""
_LONGEST = 80
"""Code points of an answer that is repeated; a longer one is referred to by its example alone."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """Wrong examples that were given one answer where another one is expected.

    Attributes:
        given: The answer given; empty where it is long or there is no reference.
        expected: The answer expected; empty where `given` is.
        examples: The examples.
    """

    given: str
    expected: str
    examples: tuple[Shown, ...]

    def __str__(self) -> str:
        ids = ", ".join(shown.example_id for shown in self.examples)
        who = f"Row{'s' if len(self.examples) > 1 else ''} {ids}"
        if not self.given:
            return f"{who} went wrong."
        return f'{who}: the answer was "{self.given}"; it should be "{self.expected}".'


def contrasts(errors: Sequence[Shown], most: int = 5) -> tuple[Contrast, ...]:
    """The wrong examples by what they were answered and what is expected, the largest group first.

    Args:
        errors: The wrong examples.
        most: How many groups at most.
    """
    groups: dict[tuple[str, str], list[Shown]] = defaultdict(list)
    for shown in errors:
        groups[_answers(shown)].append(shown)
    found = [Contrast(given, expected, tuple(group)) for (given, expected), group in groups.items()]
    return tuple(sorted(found, key=lambda c: -len(c.examples))[:most])


def _answers(shown: Shown) -> tuple[str, str]:
    """Answer given and answer expected, of the fields that differ."""
    given, expected = told(shown.output), dict(shown.expected)
    if isinstance(given, dict):
        differing = [name for name in expected if name in given and given[name] != expected[name]]
        pair = _fields(given, differing), _fields(expected, differing)
    else:
        pair = str(given), str(next(iter(expected.values()))) if len(expected) == 1 else ""
    fits = all(text.strip() and len(text) <= _LONGEST and "\n" not in text for text in pair)
    return pair if fits and pair[0] != pair[1] else ("", "")


def _fields(values: Mapping[str, Any], names: Sequence[str]) -> str:
    if len(names) == 1:
        return str(values[names[0]])
    return ", ".join(f"{name} {values[name]}" for name in names)


@dataclass(frozen=True, slots=True)
class Place:
    """A sentence or line of the prompt.

    Attributes:
        line: Number of its line, from 1.
        text: Its words.
    """

    line: int
    text: str


class Places:
    """The sentences and lines of a prompt, searched by words.

    Nothing is known of languages: forms of a word are told by their beginning, and scripts that are written without
    spaces by pairs of characters.

    Args:
        prompts: The prompts that are shown; what no edit may touch counts as blank.
    """

    def __init__(self, prompts: PromptSet) -> None:
        document = prompts.document
        text, at = _editable(document.text, document.frozen), 0
        self._places: list[Place] = []
        self._lines: list[str] = []
        self._index: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for unit in _UNIT.split(text):
            start = text.index(unit, at)
            at = start + len(unit)
            if said := _said(unit):
                for term in _terms(unit):
                    self._index[term[:_STEM]].append((term, len(self._places)))
                whole = document.text[start:at].strip()
                self._places.append(Place(text.count("\n", 0, start) + 1, whole))
                self._lines.append(f" {said} ")

    def likely(self, group: Sequence[Shown], correct: Sequence[Shown], given: str, most: int = 3) -> tuple[Place, ...]:
        """The places that wrong examples are most likely about, best first.

        Args:
            group: The wrong examples.
            correct: Examples that were answered right.
            given: The answer that the wrong ones were given, or nothing.
            most: How many places at most.
        """
        scores: dict[int, float] = defaultdict(float)
        for shown, weight in (*((s, 1.0) for s in group), *((s, -_KEPT) for s in correct)):
            for term in _terms(_flat(shown.inputs)):
                _share(scores, self._holding(term), weight)
        answer = _said(given)
        if answer:
            _share(scores, {n for n, line in enumerate(self._lines) if f" {answer} " in line}, _GIVEN * len(group))
        best = sorted((n for n in scores if scores[n] > 0), key=lambda n: -scores[n])
        return tuple(self._places[n] for n in best[:most])

    def _holding(self, term: str) -> set[int]:
        return {n for word, n in self._index.get(term[:_STEM], ()) if _same_stem(term, word)}


def likely_lines(prompts: PromptSet, batch: Batch) -> str:
    """The wrong examples in groups, each with the places that it is likely about, as the optimizer model is shown them.

    Args:
        prompts: The prompts that are shown.
        batch: The examples that are shown.

    Returns:
        One group below the other; nothing where no place shares a word with them.
    """
    places, out = Places(prompts), list[str]()
    for contrast in contrasts(batch.errors):
        found = places.likely(contrast.examples, batch.correct, contrast.given)
        if found:
            out.append("\n".join((str(contrast), *(f"{place.line}| {place.text}" for place in found))))
    return "\n".join(out)


def _share(scores: dict[int, float], found: set[int], weight: float) -> None:
    """What stands in many places tells little about each."""
    for number in found:
        scores[number] += weight / len(found)


def _editable(text: str, frozen: Sequence[tuple[int, int]]) -> str:
    out, at = list[str](), 0
    for start, end in sorted(frozen):
        if end > at:
            start = max(start, at)
            out += (text[at:start], re.sub(r"[^\n]", " ", text[start:end]))
            at = end
    return "".join((*out, text[at:]))


def _flat(value: Any) -> str:
    """All texts of a value, one after the other."""
    plain = told(value)
    if isinstance(plain, dict):
        return " ".join(map(_flat, plain.values()))
    if isinstance(plain, list | tuple):
        return " ".join(map(_flat, plain))
    return str(plain)


def _said(text: str) -> str:
    """The words of a text, one blank between two."""
    folded = text.casefold()
    return " ".join(slices(folded, word_ranges(folded)))


def _terms(text: str) -> frozenset[str]:
    """Words long enough to tell one place from another; pairs of characters where there are no spaces."""
    folded = text.casefold()
    ranges = word_ranges(folded)
    words = {word for word in slices(folded, ranges) if len(word) >= _STEM}
    pairs = {folded[a:d] for (a, b), (c, d) in pairwise(ranges) if b == c and d - a == 2 and is_unspaced(folded[a:d])}
    return frozenset(words | pairs)


def _same_stem(one: str, other: str) -> bool:
    need = max(_STEM, -(-3 * min(len(one), len(other)) // 4))
    return one[:need] == other[:need]
