"""What a reader takes from a prompt: labels with their cues, rules, and how to put the answer.

Everything keeps its place in the text it was read from, so that a diagnosis can point at words.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

Place: TypeAlias = tuple[int, int]


def moved(place: Place, by: int) -> Place:
    """`place`, `by` characters further on."""
    return place[0] + by, place[1] + by


@dataclass(frozen=True, slots=True)
class Cue:
    """A word or phrase of a label's line, placed from where the description begins. `weight` below 0 speaks against."""

    stems: tuple[str, ...]
    place: Place
    weight: float


@dataclass(frozen=True, slots=True)
class Label:
    """A possible answer: its name as written, its whole line, and the description with its cues."""

    name: str
    place: Place
    line: Place
    body: Place
    cues: tuple[Cue, ...] = ()


@dataclass(frozen=True, slots=True)
class Trigger:
    """Words a rule waits for. `exact` phrases must stand together, others anywhere."""

    stems: tuple[str, ...]
    place: Place
    exact: bool = True

    def moved(self, by: int) -> Trigger:
        """The trigger as it stands `by` characters further on."""
        return Trigger(self.stems, moved(self.place, by), self.exact)


@dataclass(frozen=True, slots=True)
class Rule:
    """If a trigger is met (and no exception), answer `label`; with `never`, do not."""

    label: int
    target: Place
    line: Place
    sentence: Place
    triggers: tuple[Trigger, ...]
    exceptions: tuple[Trigger, ...] = ()
    never: bool = False
    needs_all: bool = False

    def moved(self, by: int) -> Rule:
        """The rule as it stands `by` characters further on."""
        return replace(
            self,
            target=moved(self.target, by),
            line=moved(self.line, by),
            sentence=moved(self.sentence, by),
            triggers=tuple(t.moved(by) for t in self.triggers),
            exceptions=tuple(t.moved(by) for t in self.exceptions),
        )


@dataclass(frozen=True, slots=True)
class Form:
    """How the answer is put. `places` are the words that asked for each trait."""

    case: Literal["", "upper", "lower"] = ""
    json_key: str = ""
    reason: bool = False
    quoted: bool = False
    sentence: bool = False
    prefix: str = ""
    places: Mapping[str, Place] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fallback:
    """The label for inputs nothing else fits, and where the text names it."""

    label: int
    target: Place
    sentence: str


Order: TypeAlias = Literal["", "first", "last"]


@dataclass(frozen=True)
class Manual:
    """Instructions, read. The indexes are derived once, so that an answer costs microseconds."""

    labels: tuple[Label, ...]
    rules: tuple[Rule, ...]
    form: Form
    order: Order
    fallback: Fallback | None
    words: Mapping[str, tuple[tuple[int, float], ...]]
    """Stem -> (label, weight) for single-word cues."""
    phrases: Mapping[str, tuple[tuple[int, tuple[str, ...], float], ...]]
    """First stem -> (label, stems, weight) for phrases that must stand together."""
    names: tuple[frozenset[str], ...]
    """Topical stems of each label's name."""
    triggers: Mapping[str, tuple[tuple[int, int], ...]]
    """First stem -> (rule, trigger)."""
