"""The planted-fault world: a good prompt, known faults in it, and a task model that is a function of its words.

A prompt is a list of sentences; a sentence is a rule when it holds a topic, a value and its frame
word. A row mentions one to three topics and is answered rightly when the prompt holds the right
rule for each of them. Nothing here calls a model, so thousands of rows are answered in a second. The numbers
were fixed before anything was measured with them (docs/design/003-planted-world.md).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from random import Random
from typing import TYPE_CHECKING, Protocol

from langchain_promptopt._collections import map_values
from langchain_promptopt.protocols import rng_at
from langchain_promptopt.types import Example, Message, Outcome, Prompt, PromptSet, Usage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Container, Mapping, Sequence

    from langchain_promptopt.ports import Job

    pass

TOP_EASY = 0.99
"""Chance of a right answer on an easy row when the prompt holds all it needs."""
TOP_HARD = 0.75
"""The same on a hard row."""
HARD_SHARE = 0.3
"""Share of hard rows."""
LUCK_WRONG = 0.10
"""Factor on that chance for each needed rule that is wrong."""
LUCK_MISSING = 0.30
"""Factor for each needed rule that is missing: a model knows a little by itself."""
WORDING = 0.3
"""Share of (prompt, row) pairs whose luck depends on the wording rather than on the row alone."""
OLD_FRAME = 0.45
"""Factor when the whole prompt is written in the wrong frame."""
MIXED_FRAME = 0.30
"""Factor when a prompt mixes the good and the wrong frame: the valley that small edits cannot cross."""
PURE = 0.9
"""Share of sentences from which on a frame counts as the frame of the whole."""

TOPICS_IN_ROW = (0.35, 0.45, 0.20)
"""Chance that a row needs one, two or three rules."""
FREQUENCY_SHIFT = 12
"""Topic i is in rows with weight 1 / (i + this): some rules matter more than others."""
FAULT_KINDS = {"value": 0.5, "topic": 0.25, "phrase": 0.25}
"""A wrong value, a wrong topic, or a garbled stretch of words."""

LIFT_BY_REASONS = 0.3
"""Share of what skill lacks that a turn of reasons makes up for."""
WITHOUT_ERRORS = 0.5
"""Factor on skill where only rows without answers are shown."""
BLAME = 0.7
"""Chance that an error which is not understood is blamed on an innocent sentence."""
MEDDLE = 0.5
"""Chance that a marked place without a known fault gets another value."""
MISWRITE = 0.25
"""Share of what skill lacks at which a place that was understood still gets a wrong value."""
LEAVE_OUT = 0.15
"""Chance, at temperature 1, that a reply leaves a place as it is: what makes repeated replies differ."""
KNOWLEDGE = 0.03
"""Chance that a fault no row shows is mended all the same in one reply."""
REWORD = 0.3
"""Chance that a rewrite puts a sentence into other words."""
MANGLE = 0.33
"""Share of the drop rate at which a rewrite spoils a sentence instead of dropping it."""
RECALL = 0.5
"""Chance that a rule missing here is taken over from an earlier prompt that is shown and scored no worse."""
ALLOWED_FREELY = 100
"""Words of stated allowance at which a rewrite is as careless as without one."""
HEAT = 0.7
"""Temperature at which carelessness is as stated; it grows in proportion to half of the excess."""
COLLATERAL = 1.0
"""Factor on the drop rate for each further sentence word inside a mark."""

ROWS = {"train": 100, "dev": 100, "test": 400}
"""Rows of each split (PE2's sizes for MultiArith, spec 1.1)."""


@dataclass(frozen=True)
class WorldSettings:
    """What a bench may vary.

    Args:
        words: Length of the good prompt: 5, 50 or 500 words.
        faults: Planted faults; None takes one for each two, three or six sentences by length.
        rewrite: The world in which only a full rewrite helps.
        skill: Chance that the optimizer understands a fault which an error shows.
        drop_rate: Chance for each sentence to be lost in a rewrite.
        label_noise: Share of rows with a wrong expected answer.
        shuffled: Expected answers drawn at random for each row: no prompt is better than another.
        temperature: Factor on the temperatures the recipe asks for.
    """

    words: int = 500
    faults: int | None = None
    rewrite: bool = False
    skill: float = 0.6
    drop_rate: float = 0.03
    label_noise: float = 0.05
    shuffled: bool = False
    temperature: float = 1.0


LOCAL_LONG = WorldSettings()
"""Local faults in a long prompt."""
LOCAL_MEDIUM = WorldSettings(words=50)
"""Local faults in a prompt of usual length."""
LOCAL_SHORT = WorldSettings(words=5)
"""A prompt so short that one mark can cover it."""
REWRITE = WorldSettings(words=50, rewrite=True)
"""A full rewrite is needed: local must lose."""
WORLDS: dict[str, WorldSettings] = {
    "long": LOCAL_LONG,
    "medium": LOCAL_MEDIUM,
    "short": LOCAL_SHORT,
    "rewrite": REWRITE,
}


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
FRAME, OLD_FRAME_WORD = "answer", "ledger"

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
        """Start and end of the first such word."""
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
        words = []
        for w in _WORD.finditer(m.group().lstrip()):
            words.append((start + w.start(), start + w.end(), w.group().lower()))
        said = [w for _, _, w in words]
        topic, value, decoy = _first_of(_TOPICS, said), _first_of(_VALUES, said), _first_of(_DECOYS, said)
        poison = not _POISON.isdisjoint(said)
        out.append(Unit(start, m.end(), topic, value, poison, OLD_FRAME_WORD in said, decoy, tuple(words)))
    return tuple(out)


def _first_of(known: Container[str], words: Sequence[str]) -> str:
    return next((w for w in words if w in known), "")


def topics_in(text: str) -> list[str]:
    """Topics a row mentions, in order."""
    return [w for w in map(str.lower, _WORD.findall(text)) if w in _TOPICS]


def sentence(
    topic: str, value: str, rng: Random, *, short: bool = False, old: bool = False, fault: tuple[str, str] | None = None
) -> str:
    """A rule in words, spoilt by a (kind, text) fault where one is given.

    Args:
        topic: The word that a row must mention.
        value: The right answer for it.
        rng: Draws the shape of the sentence.
        short: Whether to write topic and value alone.
        old: Whether to use the frame word that does not help.
        fault: Kind and text of a fault: ("topic" | "value" | "phrase", words); None for a right rule.
    """
    shape = "{t} {v};" if short else rng.choice(_SHAPES)[0]
    kind, spoilt = fault or ("", "")
    frame = OLD_FRAME_WORD if old else FRAME
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
    """A fault: the rule it spoils, its kind, and the words that replace the good ones."""

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
        kinds, weights = list(FAULT_KINDS), list(FAULT_KINDS.values())
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
        said = []
        for t, v in self.truth.items():
            said.append(sentence(t, v, rng, short=self.settings.words < 20, old=bad_frame, fault=_fault(faults.get(t))))
        if self.settings.words < 20:
            return " ".join([*said, "Politely."])
        return "\n\n".join(" ".join(said[i : i + 5]) for i in range(0, len(said), 5))

    @cached_property
    def prompts(self) -> PromptSet:
        """The start as the prompts of a run."""
        return prompts_of(self.start)

    @cached_property
    def rows(self) -> Mapping[str, tuple[Example, ...]]:
        """All splits."""
        made = {}
        for split, n in ROWS.items():
            made[split] = [self._row(split, i) for i in range(n)]
        return map_values(tuple, made)

    def _row(self, split: str, i: int) -> Example:
        rng = self.rng("row", split, i)
        topics = list(self.truth)
        weights = [1 / (k + FREQUENCY_SHIFT) for k in range(len(topics))]
        wanted = rng.choices((1, 2, 3), TOPICS_IN_ROW)[0]
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

    def chance(self, text: str, example: Example) -> float:
        """Probability of a right answer."""
        known, frame = rules_read(text)
        top = TOP_HARD if self._luck("hard", example.id) < HARD_SHARE else TOP_EASY
        p = top * frame
        for topic, value in needs(example):
            held = known.get(topic)
            if held != value:
                p *= self._luck_missing if held is None else LUCK_WRONG
        return p

    @property
    def _luck_missing(self) -> float:
        """With labels drawn at random a rule that is not there is worth as much as any rule that is."""
        return LUCK_WRONG + (1 - LUCK_WRONG) / len(VALUES) if self.settings.shuffled else LUCK_MISSING

    def answer(self, candidate_id: str, text: str, example: Example, repeat: int = 0) -> tuple[str, float]:
        """What the task model says, and whether that is right.

        Args:
            candidate_id: The candidate, for its own share of luck.
            text: Its instructions.
            example: The row.
            repeat: Number of the repeat, from 0.

        Returns:
            The answer, and its score: 1.0 or 0.0.
        """
        own_way = self._luck("way", candidate_id, example.id) < WORDING
        luck = self._luck("luck", candidate_id if own_way else "", example.id, repeat)
        expected = str(example.outputs["answer"])
        if luck < self.chance(text, example):
            return expected, 1.0
        known, _ = rules_read(text)
        said = " ".join(known.get(t, "unsure") for t, _ in needs(example))
        return (said if said != expected else "unsure"), 0.0

    def _luck(self, *place: str | int) -> float:
        key = "/".join(map(str, (self.seed, *place))).encode()
        return int.from_bytes(hashlib.blake2b(key, digest_size=7).digest(), "big") / 2**56

    def held_out(self, prompts: PromptSet) -> float:
        """Expected score on the test rows: exact, without the noise of one sample."""
        text = instructions_of(prompts)
        rows = self.rows["test"]
        return sum(self.chance(text, r) for r in rows) / len(rows)


def _fault(planted: Planted | None) -> tuple[str, str] | None:
    return None if planted is None else (planted.kind, planted.text)


def needs(example: Example) -> tuple[tuple[str, str], ...]:
    """Topics of a row with the values its expected answer gives them."""
    topics = topics_in(str(example.inputs["text"]))
    return tuple(zip(topics, str(example.outputs["answer"]).split(), strict=False))


_READ: dict[str, tuple[Mapping[str, str], float]] = {}


def rules_read(text: str) -> tuple[Mapping[str, str], float]:
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
    return known, OLD_FRAME if old >= PURE * len(framed) else MIXED_FRAME


def prompts_of(text: str) -> PromptSet:
    """Instructions as the prompts of a run."""
    return PromptSet((Prompt("main", (Message("human", f"{text}\n\n{{text}}"),)),))


_TAIL = re.compile(r"\s*\{text\}\s*$")


def instructions_of(prompts: PromptSet) -> str:
    """The instructions of a candidate."""
    return _TAIL.sub("", prompts["main"].messages[0].template)


class Playable(Protocol):
    """What a search needs of a world."""

    @property
    def seed(self) -> int:
        """Decides every draw."""
        ...

    @property
    def rows(self) -> Mapping[str, tuple[Example, ...]]:
        """All splits."""
        ...

    @property
    def prompts(self) -> PromptSet:
        """The start."""
        ...

    def answer(self, candidate_id: str, text: str, example: Example, repeat: int = 0) -> tuple[str, float]:
        """What the task model says under instructions `text`, and its score.

        Args:
            candidate_id: The candidate, for its own share of luck.
            text: Its instructions.
            example: The row.
            repeat: Number of the repeat, from 0.

        Returns:
            The answer and its score, from 0 to 1.
        """
        ...


@dataclass
class WorldExecutor:
    """Answers cells from the world; `charge` is called for each before its outcome is reported."""

    world: Playable
    charge: Callable[[Job], None]

    async def evaluate(self, jobs: Sequence[Job], done: Callable[[Outcome], Awaitable[None]]) -> None:
        """Answer the jobs in their order."""
        texts: dict[str, str] = {}
        for job in jobs:
            self.charge(job)
            text = texts.get(job.candidate.id)
            if text is None:
                text = texts[job.candidate.id] = instructions_of(job.candidate.prompts)
            said, score = self.world.answer(job.cell.candidate_id, text, job.example, job.cell.repeat)
            await done(Outcome(job.cell, {"right": score}, said, usage=Usage(calls=1)))
