"""Recipes as plain values and back, and the rules for which strategies may be combined.

Every strategy is a frozen dataclass, known by its class name. A combination that cannot work is refused before
any model is called (algorithms 5.3).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from random import Random
from typing import TYPE_CHECKING, Any

from langchain_promptopt._collections import map_values
from langchain_promptopt.errors import RecipeError, did_you_mean, nearest
from langchain_promptopt.recipe import Recipe
from langchain_promptopt.strategies.control import NoControl
from langchain_promptopt.strategies.memory import TopEdits
from langchain_promptopt.strategies.proposals import Gradient, Reasoning, Refine
from langchain_promptopt.strategies.scoring import Bandit
from langchain_promptopt.strategies.seeding import Manual
from langchain_promptopt.strategies.selection import BestVal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import ModuleType

UNBUILT: dict[str, tuple[str, ...]] = {
    "seeding": ("empty", "file", "pool"),
    "evidence": ("accumulative", "mostwrong"),
    "feedback": ("summar", "errorsraw", "scoreonly", "human"),
    "memory": ("feedback", "display", "all"),
    "scope": ("message", "fence", "user"),
    "control": ("temperature", "perspan"),
    "refine": ("taggedtext", "paraphrase", "generate", "edit", "slotfill"),
    "proposals": ("errorscore", "lint", "novel"),
    "guards": ("off",),
    "scoring": ("sampledrejects", "ssr", "replicates", "ladder", "uniform", "ucb"),
    "search": ("pareto", "evolution", "genetic", "banditover", "parentbandit", "mcts"),
    "incumbent": ("equal", "strict"),
    "stop": ("target", "budget", "plateau", "saturation", "gap"),
    "final": ("onestandarderror", "simplest", "paired", "reporttest"),
}
"""Axis -> parts of the names (letters and digits only) of the field's options that are no strategy here."""

METHODS: dict[str, str] = {
    "gepa": "It needs Pareto selection, which is not built; 'robust' is the nearest.",
    "protegi": "ProTeGi is 'apo'.",
    "textgrad": "'apo-pe2' uses one textual gradient a batch.",
    "mipro": "Demonstrations are not optimized; 'robust' edits instructions.",
    "miprov2": "Demonstrations are not optimized; 'robust' edits instructions.",
    "evoprompt": "Evolution is not built; 'ape-iter' varies the best prompts.",
    "promptbreeder": "Evolution is not built; 'ape-iter' varies the best prompts.",
    "lpo": "LPO is a change of scope: 'lpo-pe2', 'lpo-apo', 'lpo-gpo', or lpo(recipe).",
}
"""Methods people may ask for by a name that is no preset."""

_SLIP = 0.9
"""Names more alike than this are a slip of the finger."""
_PLAIN = re.compile(r"[^a-z0-9]")


def refuse_option(axis: str, got: str, known: Iterable[str]) -> RecipeError:
    """The error for a strategy name that is not there: misspelt, of another axis, or an option that is not built.

    Args:
        axis: Field of `Recipe`.
        got: The name that was given.
        known: Names of the strategies of this axis.
    """
    names = sorted(known)
    plain = _PLAIN.sub("", got.lower())
    unbuilt = any(part in plain for part in UNBUILT.get(axis, ()))
    if unbuilt and nearest(got, names, _SLIP) is None:
        return RecipeError(f"the {axis} option {got!r} is not built", mend=f"Known: {', '.join(names)}.")
    return RecipeError(f"unknown {axis} strategy {got!r}", mend=f"{did_you_mean(got, names)}Known: {', '.join(names)}.")


AXES: dict[str, tuple[str, str]] = {
    "seeding": ("seeding", "seeds"),
    "evidence": ("evidence", "batches"),
    "feedback": ("proposals", "reflect"),
    "memory": ("memory", "retrieve"),
    "scope": ("scope", "resolve"),
    "control": ("control", "allowance"),
    "refine": ("proposals", "propose"),
    "proposals": ("proposals", "augment"),
    "guards": ("guards", "check"),
    "scoring": ("scoring", "score"),
    "search": ("selection", "admit"),
    "incumbent": ("selection", "accepts"),
    "stop": ("selection", "reason"),
    "final": ("selection", "pick"),
    "trials": ("trials", "sift"),
}
"""Field of Recipe -> its module in `strategies`, and the method that makes a class an option; in the order A1..A14."""
_MODEL_NAMES = ("model", "model_name", "model_id", "repo_id")


@cache
def options(axis: str) -> dict[str, type]:
    """The strategies of an axis by class name."""
    name, method = AXES[axis]
    module = import_module(f"langchain_promptopt.strategies.{name}")
    classes = {}
    for n, c in vars(module).items():
        if isinstance(c, type) and dataclasses.is_dataclass(c):
            classes[n] = c
    return {n: c for n, c in classes.items() if hasattr(c, method) and _is_option(module, n, c)}


def _is_option(module: ModuleType, name: str, cls: type) -> bool:
    """A strategy of the module's own, or one that it names as its own."""
    named: Sequence[str] | None = getattr(module, "__all__", None)
    own = cls.__module__ == module.__name__ and not name.startswith("_")
    return own if named is None else name in named


def dump(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain JSON values."""
    return {"name": recipe.name, "source": recipe.source} | map_values(dump_one, recipe.axes())


def dump_one(strategy: Any) -> dict[str, Any]:
    """A strategy as {"kind": class name, its fields}; nested strategies (wrappers) likewise."""
    if not dataclasses.is_dataclass(strategy):
        return {"kind": f"{type(strategy).__module__}:{type(strategy).__qualname__}"}
    out: dict[str, Any] = {"kind": type(strategy).__name__}
    for f in dataclasses.fields(strategy):
        value = getattr(strategy, f.name)
        out[_key(f.name)] = dump_one(value) if dataclasses.is_dataclass(value) else _plain(value)
    return out


def _key(field: str) -> str:
    """How a field is called in plain data: "kind" is taken by the class."""
    return "kind_" if field == "kind" else field


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return list(map(_plain, value))
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return _named(value)


def _named(value: Any) -> str:
    """A foreign object by its class, and by its model where it has one: two embedding models are two recipes."""
    name = f"{type(value).__module__}:{type(value).__qualname__}"
    model = _model_of(value)
    return f"{name}({model})" if model else name


def _model_of(value: Any) -> str:
    for name in _MODEL_NAMES:
        model = getattr(value, name, None)
        if isinstance(model, str):
            return model
    return ""


def load(data: Mapping[str, Any]) -> Recipe:
    """The recipe of `dump`. Unknown axes, kinds and fields raise RecipeError (N5), impossible combinations too."""
    unknown = set(data) - set(AXES) - {"name", "source"}
    if unknown:
        _refuse("axis", sorted(unknown)[0], AXES)
    missing = set(AXES) - set(data) - {"trials"}
    if missing:
        msg = f"the recipe has no {sorted(missing)[0]!r}"
        raise RecipeError(msg, mend="Give a strategy for every axis, or start from a preset.")
    axes = {axis: load_one(axis, data[axis]) for axis in AXES if axis in data}
    recipe = Recipe(name=str(data.get("name", "custom")), source=str(data.get("source", "")), **axes)
    check_recipe(recipe)
    return recipe


def load_one(axis: str, data: Mapping[str, Any]) -> Any:
    """A strategy of `axis` from {"kind": ..., fields}."""
    kinds = options(axis)
    kind = str(data.get("kind"))
    if kind not in kinds:
        raise refuse_option(axis, kind, kinds)
    cls = kinds[kind]
    names = {_key(f.name): f.name for f in dataclasses.fields(cls)}
    values = {}
    for name, value in data.items():
        if name == "kind":
            continue
        if name not in names:
            _refuse(f"field of {kind}", name, names)
        nested = isinstance(value, Mapping) and "kind" in value
        values[names[name]] = load_one(axis, value) if nested else (tuple(value) if isinstance(value, list) else value)
    return cls(**values)


def _refuse(what: str, got: str, known: Iterable[str]) -> None:
    msg = f"unknown {what} {got!r}"
    raise RecipeError(msg, mend=f"{did_you_mean(got, known)}Known: {', '.join(sorted(known))}.")


_WHOLE = {"global", "section"}
BANDIT_ROWS = 50
"""Fewer dev rows than this are all used: a bandit has nothing to save."""


def check_recipe(recipe: Recipe) -> None:
    """Raise RecipeError for a combination that cannot work, naming both axes and the way out."""
    for check in _CHECKS:
        found = check(recipe)
        if found is not None:
            problem, mend = found
            msg = f"method {recipe.name!r}: {problem}"
            raise RecipeError(msg, mend=mend)


def shows_errors(recipe: Recipe) -> bool:
    """Whether the evidence runs the parent on train rows, so that there are errors to talk about."""
    return bool(recipe.evidence.wanted(("a", "b"), Random(0)))


def _memory_of_edits(recipe: Recipe) -> tuple[str, str] | None:
    if isinstance(recipe.memory, TopEdits) and recipe.scope.name == "global":
        return (
            "a memory of edits needs a local scope, and scope is global",
            "Use scope Spans, or a memory of prompts (TopByScore, Relevance, Recency).",
        )
    return None


def _feedback_without_errors(recipe: Recipe) -> tuple[str, str] | None:
    if isinstance(recipe.feedback, Gradient | Reasoning) and not shows_errors(recipe):
        kinds = type(recipe.feedback).__name__, type(recipe.evidence).__name__
        return (
            f"feedback {kinds[0]} explains errors, and evidence {kinds[1]} shows none",
            "Use evidence ErrorBatches or ErrorGroups, or feedback NoFeedback.",
        )
    return None


def _span_budget(recipe: Recipe) -> tuple[str, str] | None:
    unit = "words" if isinstance(recipe.control, NoControl) else getattr(recipe.control, "unit", "words")
    if unit == "spans" and recipe.scope.name in _WHOLE:
        return (
            f"control counts spans, and scope {recipe.scope.name} has none",
            'Use unit="words", or scope Spans.',
        )
    return None


def _enforcement(recipe: Recipe) -> tuple[str, str] | None:
    refine = recipe.refine
    if recipe.scope.name != "global" or not isinstance(refine, Refine):
        return None
    if refine.protocol != "slots" or refine.enforce != "strict":
        return (
            f"refine protocol {refine.protocol!r} with enforce {refine.enforce!r} is about spans, and scope is global",
            "Use scope Spans, or leave protocol and enforce as they are.",
        )
    return None


def _lone_reply(recipe: Recipe) -> tuple[str, str] | None:
    refine = recipe.refine
    if isinstance(refine, Refine) and refine.enforce != "strict" and refine.protocol == "slots":
        return (
            f"enforce {refine.enforce!r} takes a reply as it is, and protocol 'slots' has no such reply",
            'Use protocol="reply" with it.',
        )
    return None


def _nothing_to_do(recipe: Recipe) -> tuple[str, str] | None:
    if isinstance(recipe.seeding, Manual) and recipe.stop.total(1_000) == 0:
        return ("no step and no further seed: nothing would be tried", "Allow a step, or use seeding Induction.")
    return None


_CHECKS: tuple[Callable[[Recipe], tuple[str, str] | None], ...] = (
    _memory_of_edits,
    _feedback_without_errors,
    _span_budget,
    _enforcement,
    _lone_reply,
    _nothing_to_do,
)


def recipe_notes(recipe: Recipe, *, n_dev: int, n_val: int) -> tuple[str, ...]:
    """What does not apply to data of this size, for the user to know before the run.

    Args:
        recipe: The recipe.
        n_dev: Rows of the dev split.
        n_val: Rows of the val split.
    """
    return tuple(_notes(recipe, n_dev, n_val))


def _notes(recipe: Recipe, n_dev: int, n_val: int) -> Iterator[str]:
    if not n_val and isinstance(recipe.final, BestVal):
        yield (
            "there is no val split, so the dev examples choose the winner, too"
            " (with 100 dev examples or more, some of them become val)"
        )
    if isinstance(recipe.scoring, Bandit) and n_dev < BANDIT_ROWS:
        yield f"dev has {n_dev} examples; a bandit saves nothing below {BANDIT_ROWS}, so each candidate sees all"
