"""Which strategies go together, said before any model is called (algorithms 5.3, orthogonality notes)."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from langchain_promptopt.errors import RecipeError
from langchain_promptopt.strategies.control import NoControl
from langchain_promptopt.strategies.feedback import Gradient, Reasoning
from langchain_promptopt.strategies.final import BestVal
from langchain_promptopt.strategies.memory import TopEdits
from langchain_promptopt.strategies.refine import Refine
from langchain_promptopt.strategies.scoring import Bandit
from langchain_promptopt.strategies.seeding import Manual

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_promptopt.recipe import Recipe

_WHOLE = {"global", "section"}
BANDIT_ROWS = 50
"""Fewer dev rows than this are all used: a bandit has nothing to save (spec 5.3, note 8)."""


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
    """What does not apply to data of this size, for the user to know before the run."""
    return tuple(_notes(recipe, n_dev, n_val))


def _notes(recipe: Recipe, n_dev: int, n_val: int) -> Iterator[str]:
    if not n_val and isinstance(recipe.final, BestVal):
        yield (
            "there is no val split, so the stop on a dev-val gap is off and the winner is chosen on dev"
            " (val is carved from dev at 100 rows or more)"
        )
    if isinstance(recipe.scoring, Bandit) and n_dev < BANDIT_ROWS:
        yield f"dev has {n_dev} rows; a bandit saves nothing below {BANDIT_ROWS}, so every candidate sees all of them"
