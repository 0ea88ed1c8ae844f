"""What the wrong examples were answered, what they should be, and the places of the prompt that this is likely about.

Nothing here asks a model. A small model that is shown a numbered prompt names the line at fault in one case of three;
the line that shares words with the examples, or holds the answer they were given, is the right one far more often
(docs/real-models.md). So the places are found by words and shown beside the question.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from itertools import chain, pairwise, product
from typing import TYPE_CHECKING, Any

from langchain_promptopt._text.words import is_unspaced, slices, word_ranges
from langchain_promptopt.types import told

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from langchain_promptopt.types import Batch, PromptSet, Shown

_UNIT = re.compile(r"(?<=[.!?;])[ \t]+|(?<=[。！？；])|\n")
"""Between sentences and lines."""
_COMMA = re.compile(r"[,;/|、，；]")
"""Between the items of a list."""
_WRAPPED = 60
"""Code points of a line that ends inside a sentence because it is full."""
_STEM = 4
"""Letters that two words must share from their beginning to count as forms of one word."""
_GIVEN = 2.0
"""How much more the answer given tells than one word of the inputs."""
_KEPT = 0.5
"""How much a word of an example that was answered right counts against a place."""
_GROUPS = 5
"""Groups of wrong examples that are shown with their places."""
_LEAST = 0.5
"""A place with a smaller share of the best one's score is not shown."""
_ITEM = 3
"""Words of the longest answer that is passed over in a list of answers."""
_LONGEST = 80
"""Code points of an answer that is repeated; a longer one is referred to by its example alone."""


@dataclass(frozen=True, slots=True)
class Confusion:
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


def confusions(errors: Sequence[Shown]) -> tuple[Confusion, ...]:
    """The wrong examples by what they were answered and what is expected, the largest group first."""
    groups: dict[tuple[str, str], list[Shown]] = defaultdict(list)
    for shown in errors:
        groups[_answers(shown)].append(shown)
    found = [Confusion(given, expected, tuple(group)) for (given, expected), group in groups.items()]
    return tuple(sorted(found, key=lambda c: -len(c.examples)))


def is_listed(text: str, one: str, other: str) -> bool:
    """Whether two answers stand in one list of answers, such as "yes or no".

    In a rule more words are between them, or a colon, as in "Lost cards: Cards".

    >>> is_listed("Queues: billing, shipping, sales.", "billing", "sales")
    True
    >>> is_listed("Refunds belong to billing, parcels to shipping.", "billing", "shipping")
    False
    """
    first, second = (list(_stands(text, answer)) for answer in (one, other))
    for a, b in product(first, second):
        between = text[min(a[1], b[1]) : max(a[0], b[0])]
        before, *items = map(str.split, _COMMA.split(between))
        after = items.pop() if items else []
        if (
            a != b
            and ":" not in between
            and max(len(before), len(after)) <= 1
            and all(len(item) <= _ITEM for item in items)
        ):
            return True
    return False


def _stands(text: str, answer: str) -> Iterator[tuple[int, int]]:
    """Where an answer stands in a text, letter case aside."""
    if answer.strip():
        for found in re.finditer(rf"(?<!\w){re.escape(answer.strip())}(?!\w)", text, re.I):
            yield found.span()


def goes_on(line: str, following: str) -> bool:
    """Whether a sentence of one line goes on in the next one.

    >>> goes_on("On a pavement without a sign:", "yes. In a marked bay: no.")
    True
    """
    full = line.rstrip().endswith((":", ",")) or (len(line) >= _WRAPPED and not line.rstrip().endswith((".", "!", "?")))
    return full and following[:1].islower()


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
class PromptPlace:
    """A sentence or line of the prompt.

    Attributes:
        line: Number of its line, from 1.
        text: Its words, over several lines where the sentence goes on.
    """

    line: int
    text: str

    def __str__(self) -> str:
        return "\n".join(f"{n}| {line}" for n, line in enumerate(self.text.split("\n"), self.line))


class Places:
    """The sentences and lines of a prompt, searched by words.

    Nothing is known of languages: forms of a word are told by their beginning, and scripts that are written without
    spaces by pairs of characters.

    Args:
        prompts: The prompts that are shown; what no edit may touch counts as blank.
    """

    def __init__(self, prompts: PromptSet) -> None:
        text = prompts.document.text
        self._places: list[PromptPlace] = []
        self._said: list[str] = []
        self._index: dict[str, list[tuple[str, int]]] = defaultdict(list)
        editable = _editable(text, prompts.document.frozen)
        for start, end in _units(text):
            if said := _said(editable[start:end]):
                for term in _terms(editable[start:end]):
                    self._index[term[:_STEM]].append((term, len(self._places)))
                self._places.append(PromptPlace(text.count("\n", 0, start) + 1, text[start:end].strip()))
                self._said.append(f" {said} ")

    def holds(self, given: str) -> bool:
        """Whether an answer stands in the prompt, as a label does."""
        answer = _said(given)
        return bool(answer) and any(f" {answer} " in said for said in self._said)

    def likely(
        self, group: Sequence[Shown], correct: Sequence[Shown], confusion: Confusion | None = None, most: int = 3
    ) -> tuple[PromptPlace, ...]:
        """The places that wrong examples are most likely about, best first.

        Args:
            group: The wrong examples.
            correct: Examples that were answered right.
            confusion: The answer that all of the wrong ones were given, and the one expected; None where they differ.
            most: How many places at most.
        """
        scores: dict[int, float] = defaultdict(float)
        for examples, weight in ((group, 1.0), (correct, -_KEPT)):
            for shown in examples:
                for term in sorted(_terms(_flat(shown.inputs))):  # sums of floats depend on the order
                    _share(scores, self._holding(term), weight)
        if confusion is not None:
            _share(scores, self._blamed(confusion), _GIVEN * len(group))
        best = sorted((n for n in scores if scores[n] > 0), key=lambda n: (-scores[n], n))
        return tuple(self._places[n] for n in best[:most] if scores[n] >= _LEAST * scores[best[0]])

    def _blamed(self, confusion: Confusion) -> set[int]:
        """Places with the answer given. Those with the expected one too only if alone, lists of answers never."""
        given, expected = _said(confusion.given), _said(confusion.expected)
        found = {n for n, said in enumerate(self._said) if given and f" {given} " in said}
        rules = {n for n in found if not is_listed(self._places[n].text, confusion.given, confusion.expected)}
        return {n for n in rules if f" {expected} " not in self._said[n]} or rules

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
    labels, others = list[Confusion](), list[Confusion]()
    for confusion in confusions(batch.errors)[:_GROUPS]:
        (labels if places.holds(confusion.given) else others).append(confusion)
    for group in (*zip(labels), others):
        examples = list(chain.from_iterable(confusion.examples for confusion in group))
        found = places.likely(examples, batch.correct, group[0] if len(group) == 1 else None)
        if found:
            out += [*map(str, group), *map(str, found)]
    return "\n".join(out)


def _units(text: str) -> list[tuple[int, int]]:
    """Start and end of each sentence or line; a sentence may go on in the next line."""
    borders, at = list[tuple[int, int]](), 0
    for found in _UNIT.finditer(text):
        start, end = found.span()
        line = text[text.rfind("\n", 0, start) + 1 : start]
        if found.group() != "\n" or not goes_on(line, text[end : end + 1]):
            borders.append((at, start))
            at = end
    return [*borders, (at, len(text))]


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
