"""What a run will cost before its first call: the closed forms of algorithms 1.5, 2.5 and 6.5.

`shape_of` reads the numbers of a recipe that decide its calls; `estimate_calls` counts the calls.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from langchain_promptopt.protocols import PartialScoring
from langchain_promptopt.strategies.memory import Summary
from langchain_promptopt.strategies.proposals import Gradient, NoFeedback, Paraphrased, Shorten
from langchain_promptopt.strategies.seeding import Induction
from langchain_promptopt.types import Batch, Shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_promptopt.protocols import Scope, Scoring
    from langchain_promptopt.recipe import Recipe

_LIKELY_NEW = 0.85  # share of proposals that survive guards and are new; the rest are duplicates or rejected
_LOW_NEW = 0.5
_LIKELY_DEV = 0.6  # share of dev rows a racing candidate costs on average
_LIKELY_EDITS = 5  # of the winner; few steps are on its way
_MOST_EDITS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The numbers of a run that decide its calls.

    Args:
        n_train: Rows of the evidence split.
        n_dev: Rows of the search split.
        n_val: Rows of the confirmation split.
        n_test: Rows of the test split.
        steps: Step limit T.
        beam: Parents expanded in a step at most, n.
        batches: Evidence batches a parent, m.
        children: Children a batch, k.
        seeds: Candidates before the first step, the baseline included.
        seed_calls: Optimizer calls that make them.
        calls_per_batch: Optimizer calls for a batch's feedback and marks, shared by its children.
        calls_per_child: Optimizer calls for one child; 0 where one call gives all k.
        train_outcomes: Whether a parent is run on all train rows first.
        races: Whether candidates may be dropped before they have seen all dev rows.
        first_rung: Rows a racing candidate sees at the least (algorithms 6.2).
        baseline_rows: Dev rows the baseline sees at the least; None for all.
        top: Candidates confirmed on val.
        repeats: Test evaluations a row and side.
        demos: Evaluations that look for demonstrations.
        target_calls: Model calls of one target call.
        judge_calls: Judge calls of one evaluated row.
        spans: Places that one proposal may change at most; 0 where it writes whole messages anew. The winner is run
            on the dev rows without each of its edits, to keep those that carry it.
    """

    n_train: int
    n_dev: int
    n_val: int = 0
    n_test: int = 0
    steps: int
    beam: int = 1
    batches: int = 1
    children: int = 1
    seeds: int = 1
    seed_calls: int = 0
    calls_per_batch: float = 1.0
    calls_per_child: float = 0.0
    train_outcomes: bool = True
    races: bool = False
    first_rung: int = 16
    baseline_rows: int | None = None
    top: int = 1
    repeats: int = 1
    demos: int = 0
    target_calls: float = 1.0
    judge_calls: float = 0.0
    spans: int = 0


@dataclass(frozen=True, slots=True)
class CallCost:
    """Tokens and dollars of one call of a role. `usd` is None where the price is unknown."""

    input_tokens: float = 0.0
    output_tokens: float = 0.0
    usd: float | None = None


@dataclass(frozen=True, slots=True)
class Assumption:
    """The numbers of one assumption: low, likely or high."""

    calls: Mapping[str, int]
    """By role: "task", "optimizer", "judge"."""
    evaluations: Mapping[str, int]
    """Target calls by split, and those on dev rows that tell which edits of the winner are needed ("pruning").

    `search` of them count against budget.search_calls.
    """
    candidates: int
    tokens: int
    usd: float | None

    @property
    def total_calls(self) -> int:
        """Over all roles."""
        return sum(self.calls.values())

    @property
    def search(self) -> int:
        """Target calls without the test's."""
        return sum(n for split, n in self.evaluations.items() if split != "test")

    def as_json(self) -> dict[str, Any]:
        """Plain numbers for machine output."""
        return {
            "calls": {**self.calls, "total": self.total_calls},
            "evaluations": dict(self.evaluations),
            "candidates": self.candidates,
            "tokens": self.tokens,
            "usd": self.usd,
        }


@dataclass(frozen=True, slots=True)
class Estimate:
    """Low: one step only. Likely: some proposals are rejected. High: every proposal is new and fully evaluated."""

    low: Assumption
    likely: Assumption
    high: Assumption

    def as_json(self) -> dict[str, Any]:
        """The three levels by name."""
        found: dict[str, Any] = {}
        for name in ("low", "likely", "high"):
            found[name] = getattr(self, name).as_json()
        return found


@dataclass(frozen=True, slots=True)
class _Assumed:
    new: float
    dev: float
    steps: int
    baseline: int
    edits: int = 0
    costs: Mapping[str, CallCost] = field(default_factory=dict)


def estimate_calls(shape: Shape, costs: Mapping[str, CallCost] | None = None) -> Estimate:
    """The estimate of a run of that shape; `costs` gives tokens and money a call by role.

    >>> pe2 = Shape(n_train=50, n_dev=100, steps=3, beam=4, batches=4, calls_per_batch=2)
    >>> high = estimate_calls(pe2).high
    >>> high.candidates, high.evaluations["dev"], high.evaluations["train"], high.calls["optimizer"]
    (37, 3700, 450, 72)
    """
    costs = costs or {}
    first_rung = min(1.0, shape.first_rung / shape.n_dev) if shape.races and shape.n_dev else 1.0
    race = max(first_rung, _LIKELY_DEV) if shape.races else 1.0
    least = shape.n_dev if shape.baseline_rows is None else min(shape.baseline_rows, shape.n_dev)
    likely = min(_LIKELY_EDITS, shape.steps * min(1, shape.spans))
    most = min(_MOST_EDITS, shape.steps * shape.spans)
    return Estimate(
        low=_level(shape, _Assumed(_LOW_NEW, first_rung, min(1, shape.steps), least, costs=costs)),
        likely=_level(shape, _Assumed(_LIKELY_NEW, race, shape.steps, shape.n_dev, likely, costs)),
        high=_level(shape, _Assumed(1.0, 1.0, shape.steps, shape.n_dev, most, costs)),
    )


def _level(shape: Shape, assumed: _Assumed) -> Assumption:
    parents = fresh = 0
    optimizer = float(shape.seed_calls)
    pool = shape.seeds
    for _ in range(assumed.steps):
        width = min(shape.beam, pool)
        parents += width
        batches = width * shape.batches
        optimizer += batches * (shape.calls_per_batch + shape.children * shape.calls_per_child)
        new = math.ceil(batches * shape.children * assumed.new)
        fresh += new
        pool += new
    evaluations = {
        "train": parents * shape.n_train if shape.train_outcomes else 0,
        "dev": assumed.baseline
        + (shape.seeds - 1) * shape.n_dev
        + math.ceil(fresh * shape.n_dev * assumed.dev)
        + shape.demos,
        "val": min(shape.top + 1, 1 + fresh) * shape.n_val,  # the baseline is confirmed beside them
        "test": 2 * shape.n_test * shape.repeats,
        # a single edit is all of the winner; of several each is left out once, and then those that are not needed
        "pruning": (assumed.edits + 1) * shape.n_dev if assumed.edits > 1 else 0,
    }
    rows = sum(evaluations.values())
    calls = {
        "task": math.ceil(rows * shape.target_calls),
        "optimizer": math.ceil(optimizer),
        "judge": math.ceil(rows * shape.judge_calls),
    }
    tokens, usd = _priced(calls, assumed.costs)
    return Assumption(calls, evaluations, shape.seeds + fresh, tokens, usd)


def _priced(calls: Mapping[str, int], costs: Mapping[str, CallCost]) -> tuple[int, float | None]:
    """Tokens and money; money is unknown as soon as a role that calls has no price."""
    tokens, usd = 0.0, 0.0
    known = True
    for role, n in calls.items():
        cost = costs.get(role, CallCost())
        tokens += n * (cost.input_tokens + cost.output_tokens)
        usd += n * (cost.usd or 0.0)
        known = known and (n == 0 or cost.usd is not None)
    return math.ceil(tokens), usd if known else None


# ---------------------------------------------------------------- the numbers of a recipe


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
        spans=0 if recipe.shortens else _spans(recipe.scope),
    )


def _spans(scope: Scope) -> int:
    """Places that one proposal may change at most, by the scope itself or the one that it wraps."""
    inner = getattr(scope, "inner", None)
    return getattr(scope, "k_max", 0) if inner is None else _spans(inner)


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
    written = 1 if isinstance(recipe.refine, Shorten) else _made(recipe)  # the others leave text out by themselves
    return float(batches * (each + marks * _branches(recipe)) + written)


def _train_rows(recipe: Recipe, n: int) -> int:
    """Train rows run for one parent: its own, and those its children are tried on."""
    own = len(recipe.evidence.wanted(tuple(map(str, range(n))), Random(0)))
    return own + recipe.trials.rows(_batch(recipe)) * _made(recipe)


def _batch(recipe: Recipe) -> Batch:
    """A batch as large as the evidence makes them."""
    errors, correct = getattr(recipe.evidence, "size", 0), getattr(recipe.evidence, "correct", 0)
    blank = Shown("", {}, {}, None, 0.0)
    return Batch(errors=(blank,) * errors, correct=(blank,) * correct)
