"""The numbers of a recipe that decide its calls: the closed forms of algorithms 1.5, 2.5 and 6.5."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from langchain_promptopt._runtime.estimate import Shape
from langchain_promptopt.protocols import PartialScoring
from langchain_promptopt.strategies.feedback import Gradient, NoFeedback
from langchain_promptopt.strategies.memory import Summary
from langchain_promptopt.strategies.proposals import Paraphrased
from langchain_promptopt.strategies.seeding import Induction
from langchain_promptopt.types import Batch, Shown

if TYPE_CHECKING:
    from langchain_promptopt.protocols import Scoring
    from langchain_promptopt.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Rows by split, and how often the gate runs each test row on each side."""

    train: int
    dev: int
    val: int = 0
    test: int = 0
    repeats: int = 1


def shape_of(recipe: Recipe, sizes: Sizes) -> Shape:
    """What `estimate_calls` needs, all of it for one parent: children, optimizer calls, train rows."""
    seeds = recipe.seeding.subsets * recipe.seeding.each if isinstance(recipe.seeding, Induction) else 0
    return Shape(
        n_train=_train_rows(recipe, sizes.train),
        n_dev=sizes.dev,
        n_val=sizes.val,
        n_test=sizes.test,
        steps=recipe.stop.total(sizes.train),
        beam=getattr(recipe.search, "width", 1),
        batches=1,
        children=_scored(recipe),
        seeds=1 + seeds,
        seed_calls=seeds,
        calls_per_batch=_optimizer_calls(recipe),
        calls_per_child=0.0,
        races=not recipe.scoring.eager,
        first_rung=recipe.scoring.least(sizes.dev),
        baseline_rows=_first_rows(recipe.scoring, sizes.dev),
        top=recipe.final.top,
        repeats=sizes.repeats,
    )


def _branches(recipe: Recipe) -> int:
    """Proposals a batch leads to: one for each reason."""
    return recipe.feedback.reasons if isinstance(recipe.feedback, Gradient) else 1


def _made(recipe: Recipe) -> int:
    """Children of one parent, paraphrases included."""
    children = recipe.proposals.per_parent * _branches(recipe) * recipe.proposals.per_call
    q = recipe.proposals.q if isinstance(recipe.proposals, Paraphrased) else 0
    return children * (1 + q) + q  # A1: 14 by default


def _scored(recipe: Recipe) -> int:
    """Children of one parent that see dev rows."""
    if isinstance(recipe.proposals, Paraphrased):
        return min(recipe.proposals.keep, _made(recipe))
    return recipe.trials.passing(_made(recipe))


def _first_rows(scoring: Scoring, rows: int) -> int:
    """Dev rows the baseline is run on before the first step."""
    return scoring.first(rows) if isinstance(scoring, PartialScoring) else rows


def _optimizer_calls(recipe: Recipe) -> float:
    """Calls for one parent without second tries: feedback, summary, marks, and each child."""
    batches = recipe.proposals.per_parent
    marks = recipe.scope.name == "spans"
    each = (not isinstance(recipe.feedback, NoFeedback)) + isinstance(recipe.memory, Summary)
    return float(batches * (each + marks * _branches(recipe)) + _made(recipe))


def _train_rows(recipe: Recipe, n: int) -> int:
    """Train rows run for one parent: its own, and those its children are tried on."""
    own = len(recipe.evidence.wanted(tuple(str(i) for i in range(n)), Random(0)))
    return own + recipe.trials.rows(_batch(recipe)) * _made(recipe)


def _batch(recipe: Recipe) -> Batch:
    """A batch as large as the evidence makes them."""
    errors, correct = getattr(recipe.evidence, "size", 0), getattr(recipe.evidence, "correct", 0)
    blank = Shown("", {}, {}, None, 0.0)
    return Batch(errors=(blank,) * errors, correct=(blank,) * correct)
