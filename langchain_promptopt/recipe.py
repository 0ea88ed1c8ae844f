"""What decides a run: the recipe (one field per axis A1..A14), the gate and the budget.

All are frozen values; their bounds are checked when a value is made, before anything is paid for.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, TypeVar, cast, get_args

from langchain_promptopt.errors import ConfigError, RecipeError, did_you_mean
from langchain_promptopt.protocols import NoTrials

if TYPE_CHECKING:
    from langchain_promptopt.protocols import (
        Control,
        Evidence,
        Final,
        Guards,
        Incumbent,
        Memory,
        Proposals,
        Refinement,
        Reflection,
        Scope,
        Scoring,
        Search,
        Seeding,
        Stopping,
        Trials,
    )


def at_least(name: str, value: float, least: float) -> None:
    """Check a setting that has a lower bound.

    Args:
        name: The setting as the user writes it, for the message.
        value: What was given.
        least: The least that is allowed.

    Raises:
        RecipeError: `value` is less.
    """
    if not value >= least:
        msg = f"{name} must be at least {least:g}, got {value!r}"
        raise RecipeError(msg)


def within(name: str, value: float, low: float, high: float) -> None:
    """Check a setting that has two bounds.

    Args:
        name: The setting as the user writes it, for the message.
        value: What was given.
        low: Must be exceeded.
        high: The most that is allowed.

    Raises:
        RecipeError: `value` is outside.
    """
    if not low < value <= high:
        msg = f"{name} must be above {low:g} and at most {high:g}, got {value!r}"
        raise RecipeError(msg)


MOST_ALPHA = 0.5
"""The largest level of a test: above it, a candidate that does worse could pass."""


def check_number(
    name: str, value: object, low: float, high: float = math.inf, *, whole: bool = False, mend: str = ""
) -> None:
    """Raise ConfigError unless `value` is a number from `low` to `high`.

    Args:
        name: How the user writes it, for the message.
        value: What was given; a bool, a text and not-a-number are no numbers.
        low: The least that is allowed.
        high: The most that is allowed; with infinity, any finite number is.
        whole: Whether it must be a whole number.
        mend: What to write instead.
    """
    kind = "a whole number" if whole else "a number"
    right = isinstance(value, int) if whole else isinstance(value, int | float)
    if not right or isinstance(value, bool):
        msg = f"{name} must be {kind}, got {value!r}"
        raise ConfigError(msg, mend=mend)
    assert isinstance(value, int | float)  # noqa: S101 - for the type checker
    if not low <= value <= high or math.isinf(value):
        bounds = f"at least {low:g}" if math.isinf(high) else f"between {low:g} and {high:g}"
        msg = f"{name} must be {bounds}, got {value!r}"
        raise ConfigError(msg, mend=mend)


class ByName:
    """A value whose fields are given by name. Other arguments raise ConfigError, with the names that there are."""

    def __new__(cls, *args: Any, **given: Any) -> Self:
        """As for any class; the arguments are checked first."""
        known = [f.name for f in dataclasses.fields(cast("Any", cls)) if f.init]
        named = f"{cls.__name__}({known[0]}=...)"
        if args:
            msg = f"{cls.__name__} takes its values by name, got {args[0]!r}"
            raise ConfigError(msg, mend=f"Write {named}. Known are {', '.join(known)}.")
        for name in given:
            if name not in known:
                msg = f"{cls.__name__} has no {name!r}"
                raise ConfigError(msg, mend=f"{did_you_mean(name, known)}Known are {', '.join(known)}.")
        return super().__new__(cls)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A method as data: one strategy per axis (algorithms 5.2). `lpo(recipe)` changes one field."""

    name: str
    seeding: Seeding
    evidence: Evidence
    feedback: Reflection
    memory: Memory
    scope: Scope
    control: Control
    refine: Refinement
    proposals: Proposals
    guards: Guards
    scoring: Scoring
    search: Search
    incumbent: Incumbent
    stop: Stopping
    final: Final
    trials: Trials = field(default_factory=NoTrials)
    source: str = ""

    @property
    def shortens(self) -> bool:
        """Whether it looks for a shorter prompt: then the test asks whether the winner is not worse."""
        return bool(getattr(self.scoring, "shortens", False))

    def axes(self) -> dict[str, Any]:
        """The strategies by axis name, in the order A1..A14; the trials (A8b) come last."""
        found: dict[str, Any] = {}
        for f in dataclasses.fields(self):
            if f.name not in {"name", "source"}:
                found[f.name] = getattr(self, f.name)
        return found


@dataclass(frozen=True, kw_only=True)
class Gate(ByName):
    """How a test decides on the winner (product contract, section 8).

    Args:
        primary: Key of the deciding metric; None takes the only (or first) evaluator.
        weights: Fixed weights of several metrics; then their weighted mean decides.
        guards: Metric -> margin; each must not fall by more than the margin.
        alpha: One-sided error level of the first opening of the test examples.
        min_improvement: The gain that must be exceeded, 0-1 scale.
        repeats: Evaluations per example and side.
        worth: Below this upper bound there is "no gain" rather than "inconclusive".
        margin: How much the deciding metric may fall, 0-1 scale: the winner must then be shown not to be worse, and
            no gain is asked for. None asks for a gain; with `method="shorten"` it is 0.05.
    """

    primary: str | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    guards: Mapping[str, float] = field(default_factory=dict)
    alpha: float = 0.05
    min_improvement: float = 0.0
    repeats: int = 1
    worth: float = 0.02
    margin: float | None = None

    def __post_init__(self) -> None:
        primary: object = self.primary
        if primary is not None and not isinstance(primary, str):
            msg = f"gate.primary must be the key of a metric, got {primary!r}"
            raise ConfigError(msg, mend='Write Gate(primary="exact_match").')
        for name in ("min_improvement", "worth"):
            check_number(f"gate.{name}", getattr(self, name), 0, 1)
        self._check_alpha()
        check_number("gate.repeats", self.repeats, 1, whole=True)
        self._check_metrics()
        self._check_margin()
        if self.primary is not None and self.weights:
            msg = "gate.primary and gate.weights are both set"
            raise ConfigError(msg, mend="Name one deciding metric, or give weights; not both.")

    @property
    def floor(self) -> float:
        """What the difference must be shown to exceed: a gain, or a fall that is allowed."""
        return self.min_improvement if self.margin is None else -self.margin

    def _check_alpha(self) -> None:
        given: Any = self.alpha
        sure = isinstance(given, int | float) and MOST_ALPHA < given < 1
        meant = f"for {given:.0%} confidence write {1 - given:.3g}" if sure else "usual is 0.05"
        mend = f"It is how often a candidate that is no better may pass: {meant}."
        check_number("gate.alpha", given, 0, MOST_ALPHA, mend=mend)
        if not given:
            msg = "gate.alpha must be above 0"
            raise ConfigError(msg, mend=mend)

    def _check_margin(self) -> None:
        if self.margin is None:
            return
        given: Any = self.margin
        points = isinstance(given, int | float) and 1 < given <= 100
        mend = f"Scores are 0 to 1: {given:g} points are {given / 100:g}." if points else ""
        check_number("gate.margin", given, 0, 1, mend=mend)
        if not self.margin:
            msg = "gate.margin must be above 0"
            raise ConfigError(msg, mend="Leave it out to ask for a gain.")
        if self.min_improvement:
            msg = "gate.margin, which allows a fall, and gate.min_improvement, which asks for a gain, are both set"
            raise ConfigError(msg, mend="Leave one of them out.")

    def _check_metrics(self) -> None:
        for name, form in (("guards", 'Gate(guards={"policy": 0.05})'), ("weights", 'Gate(weights={"a": 2, "b": 1})')):
            if not isinstance(getattr(self, name), Mapping):
                msg = f"gate.{name} must map metrics to numbers, got {getattr(self, name)!r}"
                raise ConfigError(msg, mend=f"Write {form}.")
        given: Mapping[str, object] = self.guards
        for metric, margin in given.items():
            mend = ""
            if isinstance(margin, int | float) and 1 < margin <= 100:
                mend = f"Scores are 0 to 1: {margin} points are {margin / 100:g}."
            check_number(f"gate.guards[{metric!r}]", margin, 0, 1, mend=mend)
        for metric, weight in self.weights.items():
            check_number(f"gate.weights[{metric!r}]", weight, 0)
        if self.weights and not sum(self.weights.values()):
            msg = "gate.weights are all 0"
            raise ConfigError(msg, mend="Give at least one metric a weight above 0.")

    @classmethod
    def of(cls, given: object) -> Gate:
        """The gate that was given: a Gate, a mapping of its fields, or None for the default. Raises ConfigError."""
        return _made(cls, given, "gate", 'Gate(primary="exact_match")')

    def as_json(self) -> dict[str, Any]:
        """Plain values for journal and run id."""
        found: dict[str, Any] = {}
        for f in dataclasses.fields(self):
            if f.name != "margin" or self.margin is not None:  # the run ids of other gates stay as they are
                found[f.name] = _plain(getattr(self, f.name))
        return found


MARGIN = 0.05
"""How much the deciding metric may fall where `shorten` is not told otherwise."""


@dataclass(frozen=True, kw_only=True)
class Budget(ByName):
    """Hard limits of a run; any mix. None is no limit.

    Args:
        usd: Money over all roles, the gate included.
        tokens: Input plus output tokens over all roles, the gate included.
        calls: Model calls over all roles, the gate included.
        search_calls: Target calls of the search alone.
        seconds: Wall time.
    """

    usd: float | None = None
    tokens: int | None = None
    calls: int | None = None
    search_calls: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if value is None:
                continue
            mend = "Leave it out for no limit."
            check_number(f"budget.{f.name}", value, 0, whole=f.name not in {"usd", "seconds"}, mend=mend)
            if not value > 0:
                msg = f"budget.{f.name} must be above 0, got {value!r}"
                raise ConfigError(msg, mend=mend)

    @classmethod
    def of(cls, given: object) -> Budget:
        """The budget that was given: a Budget, a mapping of its limits, or None for no limit. Raises ConfigError."""
        return _made(cls, given, "budget", "Budget(usd=5)")

    def as_json(self) -> dict[str, Any]:
        """The limits that are set."""
        found: dict[str, Any] = {}
        for f in dataclasses.fields(self):
            if (v := getattr(self, f.name)) is not None:
                found[f.name] = v
        return found


Choice: TypeAlias = Literal["random", "similar", "gain"]
"""How demonstrations are chosen."""
Where: TypeAlias = Literal["auto", "start", "end"]
"""Where in its message a block of demonstrations stands."""


@dataclass(frozen=True, kw_only=True)
class Demos(ByName):
    """Demonstrations: train examples that the prompt answers right, shown in it where that raises the score.

    Args:
        how: "random"; "similar" takes those most like the train examples that the prompt gets wrong; "gain" those
            that alone gain most on other train examples.
        number: How many are shown at most.
        prompt: Name of the prompt that shows them; may be left out where only one can.
        place: "start" or "end" of its message; "auto" is the end of the system message, else before the first
            variable and its label or heading.
        tries: With "gain": how many are measured alone; 8 where it is left out.
    """

    how: Choice = "random"
    number: int = 4
    prompt: str | None = None
    place: Where = "auto"
    tries: int | None = None

    def __post_init__(self) -> None:
        for name, known in (("how", get_args(Choice)), ("place", get_args(Where))):
            value = getattr(self, name)
            if value not in known:
                msg = f"demos.{name} must be one of {', '.join(map(repr, known))}, got {value!r}"
                raise ConfigError(msg, mend=did_you_mean(str(value), known))
        check_number("demos.number", self.number, 1, whole=True, mend='Leave demos out, or write "none", for none.')
        if self.tries is not None:
            check_number("demos.tries", self.tries, 1, whole=True)
            if self.how != "gain":
                msg = f"demos.tries changes nothing with how={self.how!r}: nothing is measured alone"
                raise ConfigError(msg, mend='Leave it out, or use how="gain".')
        prompt: object = self.prompt
        if prompt is not None and not isinstance(prompt, str):
            msg = f"demos.prompt must be the name of a prompt, got {prompt!r}"
            raise ConfigError(msg, mend="`promptopt prompts` lists the names.")

    @classmethod
    def of(cls, given: object) -> Demos | None:
        """What was given: Demos, how to choose, a mapping of fields; None and "none" are off. Raises ConfigError."""
        if given is None or given == "none":
            return None
        if isinstance(given, str):
            if given not in get_args(Choice):
                known = ("none", *get_args(Choice))
                msg = f"demos must be one of {', '.join(map(repr, known))}, or Demos(...), got {given!r}"
                raise ConfigError(msg, mend=did_you_mean(given, known))
            return cls(how=cast("Choice", given))
        return _made(cls, given, "demos", 'Demos(how="gain", number=3)')

    @property
    def measured(self) -> int:
        """How many are measured alone with "gain"."""
        return _TRIES if self.tries is None else self.tries

    def cells(self, train: int, judged: int) -> int:
        """Evaluations that the search for demonstrations takes at most.

        Args:
            train: Train examples.
            judged: Dev and val examples.
        """
        looked_at = min(train, POOL)
        sets = DRAWS if self.how == "random" else 1
        singles = min(self.measured, looked_at) * min(OTHERS, looked_at) if self.how == "gain" else 0
        return looked_at + singles + sets * judged

    def as_json(self) -> dict[str, Any]:
        """Plain values for the run id: what changes nothing is left out."""
        return dataclasses.asdict(self) | {"tries": self.measured if self.how == "gain" else None}


_TRIES = 8
POOL = 40
"""Train examples that are looked at for demonstrations."""
DRAWS = 3
"""Sets of demonstrations that are tried at random."""
OTHERS = 12
"""Train examples on which the gain of one demonstration is measured."""

_T = TypeVar("_T", Gate, Budget, Demos)


def _made(kind: type[_T], given: object, name: str, form: str) -> _T:
    """A value of this kind from what a caller gave. Raises ConfigError with the form that works."""
    if isinstance(given, kind):
        return given
    if given is None:
        return kind()
    if not isinstance(given, Mapping):
        msg = f"{name} must be a {kind.__name__}, got {given!r}"
        raise ConfigError(msg, mend=f"Write {name}={form}.")
    known = [f.name for f in dataclasses.fields(kind)]
    for key in given:
        if key not in known:
            msg = f"a {name} has no {key!r}"
            raise ConfigError(msg, mend=f"{did_you_mean(str(key), known)}Known are {', '.join(known)}.")
    return kind(**given)


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value
