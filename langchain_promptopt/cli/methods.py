"""The methods: which there are, what each does on its axes, what it is expected to call, and how they compare."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_promptopt._collections import map_values
from langchain_promptopt.cli.flags import verb
from langchain_promptopt.cli.output import Json, print_json, print_prose, print_table

if TYPE_CHECKING:
    from langchain_promptopt.recipe import Recipe
    from langchain_promptopt.strategies.cost import Estimate

_WHAT = ("evidence", "feedback", "memory", "scope", "control")
_HOW = ("scoring", "search", "stop")
Train = Annotated[int, typer.Option("--train", min=1, help="Train examples that calls are estimated for.")]
Dev = Annotated[int, typer.Option("--dev", min=1, help="Dev examples that calls are estimated for.")]
Folder = Annotated[Path | None, typer.Option("--folder", help="Folder with <task>/train.jsonl, dev.jsonl, test.jsonl.")]
Name = Annotated[str | None, typer.Argument(metavar="[METHOD]", help="Show every axis of this one.")]


@verb("promptopt methods robust --train 50 --dev 100")
def methods(*, name: Name = None, train: Train = 50, dev: Dev = 100, as_json: Json = False) -> int:
    """List the methods of `--method`: axes, source, and expected calls for that many examples (the test comes on top).

    Args:
        name: The method to show in full; None lists all.
        train: Train rows that calls are estimated for.
        dev: Dev rows that calls are estimated for.
        as_json: Whether the answer is one JSON document.

    Returns:
        The exit code.
    """
    from langchain_promptopt.presets import DEFAULT, PRESETS, recipe_of

    recipes = {n: make() for n, make in PRESETS.items()} if name is None else {name: recipe_of(name)}
    found = [_Method(n, recipe, train, dev) for n, recipe in recipes.items()]
    if as_json:
        print_json([method.as_json() | {"default": method.name == DEFAULT} for method in found])
        return 0
    if name is not None:
        _show_one(found[0])
        return 0
    what, how = [], []
    for method in found:
        axes = method.recipe.axes()
        what.append([method.name, *(_short(axes[axis]) for axis in _WHAT), method.recipe.source])
        how.append([method.name, _writes(method.recipe), *(_short(axes[axis]) for axis in _HOW), *method.calls])
    print_table(("method", *_WHAT, "source"), what)
    print_table(("method", "children", *_HOW, "calls to the task model", "to the optimizer"), how, numbers=(5, 6))
    print_prose(
        f"The default is {DEFAULT}. `promptopt methods {DEFAULT}` shows every axis of one method. Local methods also go"
        " with `:index` (marks by word number) or `:quote` (marks as quotes), those called lpo-* with `:paper` (echo,"
        " reply, audit)."
    )
    return 0


@dataclass(frozen=True)
class _Method:
    """A method, and the numbers of examples that its calls are estimated for."""

    name: str
    recipe: Recipe
    train: int
    dev: int

    @cached_property
    def expected(self) -> Estimate:
        """Calls by role, low to high."""
        from langchain_promptopt.strategies.cost import Sizes, estimate_calls, shape_of

        return estimate_calls(shape_of(self.recipe, Sizes(train=self.train, dev=self.dev)))

    @property
    def calls(self) -> tuple[str, str]:
        """Likely calls to the task model and to the optimizer model, and at most how many where that is more."""
        return _likely_to_most(self.expected, "task"), _likely_to_most(self.expected, "optimizer")

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        from langchain_promptopt.strategies.registry import dump

        levels = {"low": self.expected.low, "likely": self.expected.likely, "high": self.expected.high}
        axes = map_values(repr, self.recipe.axes())
        return {
            "name": self.name,
            "source": self.recipe.source,
            "axes": axes,
            "recipe": dump(self.recipe),
            "rows": {"train": self.train, "dev": self.dev},
            "expected": {name: dict(level.calls) for name, level in levels.items()},
        }


def _likely_to_most(expected: Estimate, role: str) -> str:
    from langchain_promptopt.report.wording import number

    likely, most = expected.likely.calls[role], expected.high.calls[role]
    return number(likely) if likely == most else f"{number(likely)} to {number(most)}"


def _show_one(method: _Method) -> None:
    """One method with all its axes, what each strategy does, and its settings."""
    from langchain_promptopt.presets import PRESETS

    made = PRESETS.get(method.name.partition(":")[0])
    said = (made.__doc__ or "").strip().splitlines()[0] if made is not None else ""
    task, optimizer = method.calls
    print_prose(f"{method.name}: {said}\nSource: {method.recipe.source}.")
    rows = []
    for i, (axis, strategy) in enumerate(method.recipe.axes().items(), 1):
        rows.append([f"A{i}", axis, type(strategy).__name__, _said(strategy), _settings(strategy)])
    print_table(("", "axis", "strategy", "what it does", "settings"), rows)
    print_prose(
        f"Expected for {method.train} train and {method.dev} dev examples, the test not counted: {task} calls to the"
        f" task model, {optimizer} to the optimizer."
    )


def _said(strategy: Any) -> str:
    """The first sentence about a strategy."""
    return (type(strategy).__doc__ or "").strip().splitlines()[0]


def _settings(strategy: Any) -> str:
    """Its fields in words; a strategy inside shows its own."""
    if not dataclasses.is_dataclass(strategy):
        return ""
    told = []
    for f in dataclasses.fields(strategy):
        value = getattr(strategy, f.name)
        inside = dataclasses.is_dataclass(value)
        shown = f"{type(value).__name__}({_settings(value)})" if inside else _plain(value)
        told.append(f"{f.name} {shown}")
    return ", ".join(told)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def _writes(recipe: Recipe) -> str:
    """How children are written, and batches a parent times children a batch."""
    proposals = recipe.proposals
    return f"{getattr(recipe.refine, 'goal', 'custom')} {proposals.per_parent}x{proposals.per_call}"


def _short(strategy: Any) -> str:
    """A strategy as its name and its first number: `Beam(width=4)` reads as "beam 4"."""
    name = type(strategy).__name__
    if name.startswith("No"):
        return "–"
    if (inner := getattr(strategy, "inner", None)) is not None:
        return f"{name.lower()} {_short(inner)}"
    numbers = []
    for f in dataclasses.fields(strategy):
        value = getattr(strategy, f.name)
        if isinstance(value, int) and not isinstance(value, bool):
            numbers.append(str(value))
    return " ".join([name.lower(), *numbers[:1]])


@verb("promptopt bench --task planted:long --method robust --method lpo-pe2 --seeds 5")
def bench(  # noqa: PLR0913
    *,
    task: Annotated[
        list[str] | None, typer.Option("--task", help='"planted[:world]" or a benchmark task; may be repeated.')
    ] = None,
    method: Annotated[list[str] | None, typer.Option("--method", help="Preset; may be repeated.")] = None,
    seeds: Annotated[int, typer.Option("--seeds", help="Runs of each method.")] = 3,
    budget: Annotated[int, typer.Option("--budget", help="Search calls of each run.")] = 1000,
    model: Annotated[
        str | None, typer.Option("--model", help='Task model of benchmark tasks: "offline" or "provider:name".')
    ] = None,
    optimizer: Annotated[str | None, typer.Option("--optimizer", help="Optimizer model; --model unless given.")] = None,
    folder: Folder = None,
    as_json: Json = False,
) -> int:
    """Run methods with the same seeds and search calls, and compare their held-out scores.

    Args:
        task: "planted", "planted:<world>", or benchmark tasks.
        method: Names of presets.
        seeds: Runs of each method; their seeds are 0, 1, 2 and so on.
        budget: Search calls of each run.
        model: The task model of benchmark tasks.
        optimizer: The optimizer model; None is the task model.
        folder: Folder of the tasks' rows; None loads them from the hub.
        as_json: Whether the answer is one JSON document.

    Returns:
        The exit code.
    """
    from langchain_promptopt.bench import run_bench
    from langchain_promptopt.bench.running import as_markdown

    table = run_bench(
        task or ["planted"],
        method or ["robust", "lpo-pe2", "pe2"],
        seeds=seeds,
        search_calls=budget,
        model=model,
        optimizer=optimizer,
        folder=folder,
    )
    if as_json:
        print_json(table)
    else:
        typer.echo(as_markdown(table))
    return 0
