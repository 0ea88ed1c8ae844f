"""A prompt that says too little: gains add up one rule at a time, under noisy scores and weak proposals."""

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

TOPICS = (
    *("invoice", "refund", "password", "router", "parcel", "warranty", "booking", "licence"),
    *("payroll", "charger", "holiday", "upgrade", "contract", "printer", "seating", "voucher"),
    *("firewall", "mileage", "allergy", "receipt", "backup", "parking", "catering", "visa"),
)
DESKS = ("north", "south", "east", "west", "upper", "lower")

TOP = 0.95
"""Chance of a right answer when every rule the row needs stands in the prompt."""
MISSING = 0.4
"""Factor for each rule that is missing."""
WRONG = 0.15
"""Factor for each rule that names the wrong desk."""
TURNED = 1 / 12
"""Share of scores that the scorer turns over."""
TWO_TOPICS = 0.4
"""Share of rows that need two rules."""
USEFUL = 0.5
"""Chance that an idea is a right rule; otherwise it is a wrong or an empty one."""
HARMFUL = 0.4
"""Share of the other ideas that send a topic to the wrong desk."""

_RULE = re.compile(r"Notes about (\w+) go to the (\w+) desk\.|The (\w+) desk takes notes about (\w+)\.")
_EMPTY = ("Read every note twice.", "Be exact.", "Think about what the sender needs.", "Do not guess.")


@dataclass(frozen=True)
class Rules(World):
    """Notes go to desks; the prompt does not say which."""

    @cached_property
    def truth(self) -> Mapping[str, str]:
        """The desk of each topic."""
        rng = self.rng("truth")
        return {t: rng.choice(DESKS) for t in TOPICS}

    @property
    def start(self) -> str:
        """The instructions a run starts from."""
        names = ", ".join(DESKS)
        return (
            "You sort notes at the front desk of a large office. Each note belongs to one desk.\n"
            f"The desks are {names}. Look at what the note is about and name the desk.\n"
            "Where a note is about two things, name both desks in the order of the note."
        )

    @property
    def good(self) -> str:
        """The same with every rule."""
        return "\n".join((self.start, *(f"Notes about {t} go to the {d} desk." for t, d in self.truth.items())))

    def row(self, split: str, i: int) -> Example:
        """A note about one topic or two; early topics are more frequent."""
        rng = self.rng("row", split, i)
        weights = [1 / (k + 10) for k in range(len(TOPICS))]
        needed = [rng.choices(TOPICS, weights)[0]]
        if rng.random() < TWO_TOPICS:
            needed.append(rng.choice([t for t in TOPICS if t not in needed]))
        text = f"Note {split} {i}: it is about the {' and the '.join(needed)}, please take care of it."
        return Example(f"{split}-{i:03d}", {"text": text}, {"answer": " ".join(self.truth[t] for t in needed)})

    def chance(self, text: str, example: Example) -> float:
        """Probability that the scorer calls the answer right."""
        known, p = rules_of(text), TOP
        for topic in _topics(example):
            desk = known.get(topic)
            if desk != self.truth[topic]:
                p *= MISSING if desk is None else WRONG
        return p * (1 - TURNED) + (1 - p) * TURNED

    def said(self, text: str, example: Example) -> str:
        """Another desk than the right one, at least for the first topic."""
        known = rules_of(text)
        said = [known.get(t, "upper") for t in _topics(example)]
        return " ".join(said) if said != str(example.outputs["answer"]).split() else "no desk"

    def ideas(self, text: str, rows: Sequence[Mapping[str, object]], thought: Random, skill: float) -> list[Change]:
        """One rule a look: right with chance `USEFUL`, else wrong or empty; it may replace a wrong rule."""
        known = rules_of(text)
        seen = [(t, d) for row in rows for t, d in _pairs(row) if known.get(t) != d]
        if not seen:
            return []
        topic, desk = thought.choice(seen)
        if thought.random() >= USEFUL * skill:
            if thought.random() >= HARMFUL:
                return [_added(text, thought.choice(_EMPTY), thought, "the prompt is too vague")]
            desk = thought.choice([d for d in DESKS if d != desk])
        why = f"nothing says that {topic} is for {desk}"
        place = next((m.span() for m in _RULE.finditer(text) if topic in m.groups()), None)
        sentence = f"Notes about {topic} go to the {desk} desk."
        return [Change(*place, sentence, why=why) if place else _added(text, sentence, thought, why)]

    def reworded(self, sentence: str) -> str:
        """The other form of a rule; other sentences stay."""
        found = _RULE.fullmatch(sentence)
        if found is None:
            return sentence
        topic, desk = found.group(1) or found.group(4), found.group(2) or found.group(3)
        return (
            f"The {desk} desk takes notes about {topic}."
            if found.group(1)
            else f"Notes about {topic} go to the {desk} desk."
        )


def _added(text: str, sentence: str, thought: Random, why: str) -> Change:
    """A new sentence: at the end in half of the cases, else behind another one."""
    ends = [m.end() for m in re.finditer(r"\.(?=\s|$)", text)] or [len(text)]
    at = ends[-1] if thought.random() < 0.5 else thought.choice(ends)
    return Change(at, at, f" {sentence}", why=why)


def rules_of(text: str) -> dict[str, str]:
    """Desk by topic as the text says it; of two rules about one topic the first counts."""
    known: dict[str, str] = {}
    for m in _RULE.finditer(text):
        topic, desk = m.group(1) or m.group(4), m.group(2) or m.group(3)
        known.setdefault(topic, desk)
    return known


def _topics(example: Example) -> list[str]:
    return [w for w in re.findall(r"\w+", str(example.inputs["text"])) if w in TOPICS]


def _pairs(row: Mapping[str, object]) -> list[tuple[str, str]]:
    inputs, expected = row["inputs"], row["expected"]
    assert isinstance(inputs, dict)
    assert isinstance(expected, dict)
    topics = [w for w in re.findall(r"\w+", str(inputs.get("text", ""))) if w in TOPICS]
    return list(zip(topics, str(expected.get("answer", "")).split(), strict=False))
