"""Faults that need two edits together: half of a repair makes things worse."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from benchmarks.worlds.world import World
from langchain_promptopt.bench.planted_optimizer import Change
from langchain_promptopt.types import Example

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random

GOODS = (
    *("apples", "barley", "cement", "denim", "enamel", "flour", "gravel"),
    *("honey", "indigo", "jute", "kelp", "linen", "marble", "nickel"),
)
CODES = tuple(f"{a}{b}" for a in "KLMNPQR" for b in "27")
SHEDS = ("red", "blue", "green", "amber", "white", "black", "brown", "grey")

FAULTY = 8
"""Goods whose two sentences are both wrong at the start."""
TOP = 0.97
"""Chance of a right answer when both sentences are right."""
BOTH_WRONG = 0.25
"""Chance when both are wrong: the model then goes by what it knows."""
HALF = 0.1
"""Chance when only one of the two is right: the prompt then misleads it."""
LUCKY = 0.3
"""Share of rows whose luck is raised to the middle: easy rows, so that not every error is telling."""
SEES = 0.6
"""Chance, at full skill, to see each of the two faults behind an error."""
BLAMES = 0.3
"""Chance to blame a sentence that is right when nothing is seen."""

_HAS = re.compile(r"(\w+) has code (\w+)\.|Code (\w+) belongs to (\w+)\.")
_MEANS = re.compile(r"Code (\w+) means the (\w+) shed\.|The (\w+) shed is code (\w+)\.")


@dataclass(frozen=True)
class Pairs(World):
    """Goods have codes, codes mean sheds; a row asks for the shed of one good."""

    @cached_property
    def truth(self) -> Mapping[str, tuple[str, str]]:
        """Code and shed of each good; every good has a code of its own."""
        rng = self.rng("truth")
        codes = rng.sample(CODES, len(GOODS))
        return {g: (c, rng.choice(SHEDS)) for g, c in zip(GOODS, codes, strict=True)}

    @cached_property
    def faulty(self) -> tuple[str, ...]:
        """Goods with two wrong sentences."""
        return tuple(self.rng("faulty").sample(GOODS, FAULTY))

    @property
    def good(self) -> str:
        """The right instructions."""
        return self._written({}, {})

    @cached_property
    def start(self) -> str:
        """The codes of faulty goods changed round, and the meanings of their codes wrong."""
        rng = self.rng("spoilt")
        codes = [self.truth[g][0] for g in self.faulty]
        wrong_codes = dict(zip(self.faulty, [*codes[1:], codes[0]], strict=True))
        sheds = {self.truth[g][0]: rng.choice([s for s in SHEDS if s != self.truth[g][1]]) for g in self.faulty}
        return self._written(wrong_codes, sheds)

    def _written(self, codes: Mapping[str, str], sheds: Mapping[str, str]) -> str:
        said = [f"{g.capitalize()} has code {codes.get(g, c)}." for g, (c, _) in self.truth.items()]
        meant = [f"Code {c} means the {sheds.get(c, s)} shed." for c, s in self.truth.values()]
        return (
            "You say in which shed of the yard goods are kept.\n\nFirst look up the code of the goods.\n"
            + " ".join(said)
            + "\n\nThen look up the shed of the code.\n"
            + " ".join(meant)
            + "\n\nAnswer with the name of the shed alone."
        )

    def row(self, split: str, i: int) -> Example:
        """A question about one good."""
        rng = self.rng("row", split, i)
        good = rng.choice(GOODS)
        text = f"Question {split} {i}: where are {rng.randint(2, 90)} crates of {good}?"
        return Example(f"{split}-{i:03d}", {"text": text}, {"answer": self.truth[good][1]})

    def chance(self, text: str, example: Example) -> float:
        """Probability of a right answer."""
        good = _good(str(example.inputs["text"]))
        code, shed = self.truth[good]
        codes, sheds = reading_of(text)
        right = (codes.get(good) == code) + (sheds.get(code) == shed)
        p = (BOTH_WRONG, HALF, TOP)[right]
        easy = self._luck("easy", example.id) < LUCKY
        return max(p, 0.5) if easy else p

    def said(self, text: str, example: Example) -> str:
        """Another shed."""
        codes, sheds = reading_of(text)
        found = sheds.get(codes.get(_good(str(example.inputs["text"])), ""), "unknown")
        return found if found != example.outputs["answer"] else "unknown"

    def ideas(self, text: str, rows: Sequence[Mapping[str, object]], thought: Random, skill: float) -> list[Change]:
        """Each of the two faults behind an error is seen or not, independently of the other."""
        out: list[Change] = []
        for row in rows:
            inputs = row["inputs"]
            assert isinstance(inputs, dict)
            good = _good(str(inputs.get("text", "")))
            code, shed = self.truth[good]
            seen = [c for c in (_code_change(text, good, code), _shed_change(text, code, shed)) if c is not None]
            found = [c for c in seen if thought.random() < SEES * skill]
            if not found and thought.random() < BLAMES:
                found = [c for c in [_shed_change(text, code, thought.choice(SHEDS))] if c is not None]
            out += [c for c in found if all(c.end <= o.start or o.end <= c.start for o in out)]
        return out

    def reworded(self, sentence: str) -> str:
        """The other form of a sentence."""
        has, means = _HAS.fullmatch(sentence), _MEANS.fullmatch(sentence)
        if has is not None and has.group(1):
            return f"Code {has.group(2)} belongs to {has.group(1).lower()}."
        if has is not None:
            return f"{has.group(4).capitalize()} has code {has.group(3)}."
        if means is not None and means.group(1):
            return f"The {means.group(2)} shed is code {means.group(1)}."
        return f"Code {means.group(4)} means the {means.group(3)} shed." if means is not None else sentence


def _good(text: str) -> str:
    return next(w for w in re.findall(r"\w+", text) if w in GOODS)


def reading_of(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """Code by good and shed by code, as the text says it; the first sentence counts."""
    codes: dict[str, str] = {}
    sheds: dict[str, str] = {}
    for m in _HAS.finditer(text):
        codes.setdefault((m.group(1) or m.group(4)).lower(), m.group(2) or m.group(3))
    for m in _MEANS.finditer(text):
        sheds.setdefault(m.group(1) or m.group(4), m.group(2) or m.group(3))
    return codes, sheds


def _code_change(text: str, good: str, code: str) -> Change | None:
    for m in _HAS.finditer(text):
        if (m.group(1) or m.group(4)).lower() == good:
            at = m.span(2 if m.group(1) else 3)
            return Change(*at, code, why=f"{good} has code {code}") if text[slice(*at)] != code else None
    return None


def _shed_change(text: str, code: str, shed: str) -> Change | None:
    for m in _MEANS.finditer(text):
        if (m.group(1) or m.group(4)) == code:
            at = m.span(2 if m.group(1) else 3)
            return Change(*at, shed, why=f"code {code} means {shed}") if text[slice(*at)] != shed else None
    return None
