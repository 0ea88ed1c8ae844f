"""The planted-fault world: a good prompt, known faults in it, and a task model that is a function of its words.

A prompt is a list of sentences; a sentence is a rule when it holds a topic, a value and its frame
word. A row mentions one to three topics and is answered rightly when the prompt holds the right
rule for each of them. Nothing here calls a model, so thousands of rows are answered in a second.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from langchain_promptopt.protocols import rng_at
from langchain_promptopt.testing import planted_constants as c
from langchain_promptopt.testing.planted_text import DECOYS, POISON, TOPICS, VALUES, Unit, sentence, topics_in, units_of
from langchain_promptopt.types import Example, Message, Outcome, Prompt, PromptSet, Usage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from random import Random

    from langchain_promptopt.ports import Job
    from langchain_promptopt.testing.planted_constants import WorldSettings

_WORDS_A_RULE = 7
_RULES = {5: 2}
_FAULTS_EVERY = {5: 2, 50: 3, 500: 6}
_ASIDE = (
    "please see the note below when there is time",
    "kindly look at this one before the end of today",
    "writing again since nobody came back to me last week",
    "this came in by mail and needs a decision soon",
)


@dataclass(frozen=True)
class Planted:
    """A fault: the rule it spoils, its kind, and the words that stand where good ones were."""

    topic: str
    kind: str
    text: str


@dataclass(frozen=True)
class World:
    """One seeded world: truth, prompts, rows and the task model's luck."""

    settings: WorldSettings
    seed: int

    def rng(self, *place: str | int) -> Random:
        """Randomness of this world at a place."""
        return rng_at(self.seed, "world", *place)

    @cached_property
    def truth(self) -> Mapping[str, str]:
        """The right value of each topic, in the order of the good prompt."""
        rng = self.rng("truth")
        n = _RULES.get(self.settings.words, max(2, self.settings.words // _WORDS_A_RULE))
        return {t: rng.choice(VALUES) for t in rng.sample(TOPICS, n)}

    @cached_property
    def planted(self) -> tuple[Planted, ...]:
        """The faults, in the order of their topics."""
        rng = self.rng("faults")
        every = _FAULTS_EVERY.get(self.settings.words, 6)
        n = self.settings.faults if self.settings.faults is not None else max(1, len(self.truth) // every)
        kinds, weights = list(c.FAULT_KINDS), list(c.FAULT_KINDS.values())
        out = []
        for topic in rng.sample(list(self.truth), min(n, len(self.truth))):
            kind = "value" if self.settings.words < 20 else rng.choices(kinds, weights)[0]
            out.append(Planted(topic, kind, self._spoilt(kind, topic, rng)))
        return tuple(out)

    def _spoilt(self, kind: str, topic: str, rng: Random) -> str:
        if kind == "value":
            return rng.choice([v for v in VALUES if v != self.truth[topic]])
        if kind == "topic":
            return rng.choice(DECOYS)
        return " ".join(rng.sample(POISON, rng.randint(4, 8)))

    @cached_property
    def good(self) -> str:
        """The instructions without a fault."""
        return self._written({})

    @cached_property
    def start(self) -> str:
        """The instructions a run starts from: the good ones with the faults planted."""
        return self._written({p.topic: p for p in self.planted})

    def _written(self, faults: Mapping[str, Planted]) -> str:
        rng = self.rng("style")
        bad_frame = self.settings.rewrite and bool(faults)
        said = [
            sentence(t, v, rng, short=self.settings.words < 20, old=bad_frame, fault=_fault(faults.get(t)))
            for t, v in self.truth.items()
        ]
        if self.settings.words < 20:
            return " ".join([*said, "Politely."])
        return "\n\n".join(" ".join(said[i : i + 5]) for i in range(0, len(said), 5))

    @cached_property
    def prompts(self) -> PromptSet:
        """The start as the prompts of a run."""
        return prompts_of(self.start)

    # ------------------------------------------------------------ rows

    @cached_property
    def rows(self) -> Mapping[str, tuple[Example, ...]]:
        """All splits."""
        made = {split: [self._row(split, i) for i in range(n)] for split, n in c.ROWS.items()}
        return {split: tuple(rows) for split, rows in made.items()}

    def _row(self, split: str, i: int) -> Example:
        rng = self.rng("row", split, i)
        topics = list(self.truth)
        weights = [1 / (k + c.FREQUENCY_SHIFT) for k in range(len(topics))]
        wanted = rng.choices((1, 2, 3), c.TOPICS_IN_ROW)[0]
        needed: list[str] = []
        while len(needed) < min(wanted, len(topics)):
            topic = rng.choices(topics, weights)[0]
            needed += [topic] if topic not in needed else []
        values = [self.truth[t] for t in needed]
        if rng.random() < self.settings.label_noise:
            k = rng.randrange(len(values))
            values[k] = rng.choice([v for v in VALUES if v != values[k]])
        if self.settings.shuffled:
            values = [rng.choice(VALUES) for _ in needed]
        text = f"Case {i} about {' and '.join(needed)}, {rng.choice(_ASIDE)}"
        return Example(f"{split}-{i:03d}", {"text": text}, {"answer": " ".join(values)})

    # ------------------------------------------------------------ the task model

    def chance(self, text: str, example: Example) -> float:
        """Probability of a right answer."""
        known, frame = reading_of(text)
        top = c.TOP_HARD if self._luck("hard", example.id) < c.HARD_SHARE else c.TOP_EASY
        p = top * frame
        for topic, value in needs(example):
            held = known.get(topic)
            if held != value:
                p *= self._luck_missing if held is None else c.LUCK_WRONG
        return p

    @property
    def _luck_missing(self) -> float:
        """With labels drawn at random a rule that is not there is worth as much as any rule that is."""
        return c.LUCK_WRONG + (1 - c.LUCK_WRONG) / len(VALUES) if self.settings.shuffled else c.LUCK_MISSING

    def answer(self, candidate_id: str, text: str, example: Example, repeat: int = 0) -> tuple[str, float]:
        """What the task model says, and whether that is right."""
        own_way = self._luck("way", candidate_id, example.id) < c.WORDING
        luck = self._luck("luck", candidate_id if own_way else "", example.id, repeat)
        expected = str(example.outputs["answer"])
        if luck < self.chance(text, example):
            return expected, 1.0
        known, _ = reading_of(text)
        said = " ".join(known.get(t, "unsure") for t, _ in needs(example))
        return (said if said != expected else "unsure"), 0.0

    def _luck(self, *place: str | int) -> float:
        key = "/".join(map(str, (self.seed, *place))).encode()
        return int.from_bytes(hashlib.blake2b(key, digest_size=7).digest(), "big") / 2**56

    def held_out(self, prompts: PromptSet) -> float:
        """Expected score on the test rows: exact, without the noise of one sample."""
        text = text_of(prompts)
        rows = self.rows["test"]
        return sum(self.chance(text, r) for r in rows) / len(rows)


def _fault(planted: Planted | None) -> tuple[str, str] | None:
    return None if planted is None else (planted.kind, planted.text)


def needs(example: Example) -> tuple[tuple[str, str], ...]:
    """Topics of a row with the values its expected answer gives them."""
    topics = topics_in(str(example.inputs["text"]))
    return tuple(zip(topics, str(example.outputs["answer"]).split(), strict=False))


_READ: dict[str, tuple[Mapping[str, str], float]] = {}


def reading_of(text: str) -> tuple[Mapping[str, str], float]:
    """The rules a text holds (of two on one topic the first counts), and the factor of its frame."""
    found = _READ.get(text)
    if found is None:
        if len(_READ) > 4096:
            _READ.clear()
        found = _READ[text] = _read(units_of(text))
    return found


def _read(units: Sequence[Unit]) -> tuple[Mapping[str, str], float]:
    known: dict[str, str] = {}
    framed = [u for u in units if u.topic and u.value and not u.poison]
    for unit in framed:
        known.setdefault(unit.topic, unit.value)
    old = sum(u.old_frame for u in framed)
    if not old:
        return known, 1.0
    return known, c.OLD_FRAME if old >= c.PURE * len(framed) else c.MIXED_FRAME


def prompts_of(text: str) -> PromptSet:
    """Instructions as the prompts of a run."""
    return PromptSet((Prompt("main", (Message("human", f"{text}\n\n{{text}}"),)),))


_TAIL = re.compile(r"\s*\{text\}\s*$")


def text_of(prompts: PromptSet) -> str:
    """The instructions of a candidate."""
    return _TAIL.sub("", prompts["main"].messages[0].template)


@dataclass
class WorldExecutor:
    """Answers cells from the world; `charge` is told of every one before its outcome is reported."""

    world: World
    charge: Callable[[Job], None]

    async def evaluate(self, jobs: Sequence[Job], done: Callable[[Outcome], Awaitable[None]]) -> None:
        """Answer the jobs in their order."""
        texts: dict[str, str] = {}
        for job in jobs:
            self.charge(job)
            text = texts.get(job.candidate.id)
            if text is None:
                text = texts[job.candidate.id] = text_of(job.candidate.prompts)
            said, score = self.world.answer(job.cell.candidate_id, text, job.example, job.cell.repeat)
            await done(Outcome(job.cell, {"right": score}, said, usage=Usage(calls=1)))
