"""Bounds of strategy settings, checked when the value is made, before anything is paid for.

What decides a run: the recipe (one field per axis A1..A14), the gate and the budget. All frozen values.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_promptopt.errors import ConfigError, RecipeError
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
    """Raise RecipeError unless `value` is `least` or more."""
    if not value >= least:
        msg = f"{name} must be at least {least:g}, got {value!r}"
        raise RecipeError(msg)


def within(name: str, value: float, low: float, high: float) -> None:
    """Raise RecipeError unless `low` < `value` <= `high`."""
    if not low < value <= high:
        msg = f"{name} must be above {low:g} and at most {high:g}, got {value!r}"
        raise RecipeError(msg)


# ------------------------------------------------------------ What decides a run: the recipe (one field per axis A


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

    def axes(self) -> dict[str, Any]:
        """The strategies by axis name, in the order A1..A14; the trials (A8b) come last."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in {"name", "source"}}


@dataclass(frozen=True, kw_only=True)
class Gate:
    """How a winner is decided (product contract, section 8).

    Args:
        primary: Key of the deciding metric; None takes the only (or first) evaluator.
        weights: Fixed weights of several metrics; then their weighted mean decides.
        guards: Metric -> margin; each must not fall by more than the margin.
        alpha: One-sided error level of the first opening of the test rows.
        min_improvement: The gain that must be exceeded, 0-1 scale.
        repeats: Evaluations per row and side.
        worth: Below this upper bound there is "no gain" rather than "inconclusive".
    """

    primary: str | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    guards: Mapping[str, float] = field(default_factory=dict)
    alpha: float = 0.05
    min_improvement: float = 0.0
    repeats: int = 1
    worth: float = 0.02

    def __post_init__(self) -> None:
        for name, low, high in (("alpha", 0.0, 1.0), ("min_improvement", 0.0, 1.0), ("worth", 0.0, 1.0)):
            value = getattr(self, name)
            if not low <= value <= high:
                msg = f"gate.{name} must be between {low:g} and {high:g}, got {value!r}"
                raise ConfigError(msg)
        if self.repeats < 1:
            msg = f"gate.repeats must be at least 1, got {self.repeats!r}"
            raise ConfigError(msg)
        if self.primary is not None and self.weights:
            msg = "gate.primary and gate.weights are both set"
            raise ConfigError(msg, mend="Name one deciding metric, or give weights; not both.")

    def as_json(self) -> dict[str, Any]:
        """Plain values for journal and run id."""
        return {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}


@dataclass(frozen=True, kw_only=True)
class Budget:
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
            if value is not None and not value > 0:
                msg = f"budget.{f.name} must be above 0, got {value!r}"
                raise ConfigError(msg, mend="Leave it out for no limit.")

    def as_json(self) -> dict[str, Any]:
        """The limits that are set."""
        return {f.name: v for f in dataclasses.fields(self) if (v := getattr(self, f.name)) is not None}


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value
