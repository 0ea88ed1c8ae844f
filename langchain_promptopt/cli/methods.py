"""The methods: which there are, what each does on its axes, what it is expected to call, and how they compare."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from langchain_promptopt.cli.flags import verb
from langchain_promptopt.cli.output import Json, print_json, print_prose, print_table

_WHAT = ("evidence", "feedback", "memory", "scope", "control")
_HOW = ("scoring", "search", "stop")
Train = Annotated[int, typer.Option("--train", min=1, help="Train examples that calls are estimated for.")]
Dev = Annotated[int, typer.Option("--dev", min=1, help="Dev examples that calls are estimated for.")]
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
    found = [_method(n, recipe, train, dev) for n, recipe in recipes.items()]
    if as_json:
        print_json([m | {"default": m["name"] == DEFAULT} for m in found])
        return 0
    if name is not None:
        _show_one(found[0], recipes[name])
        return 0
    axes = {n: recipe.axes() for n, recipe in recipes.items()}
    what = []
    for m in found:
        what.append([m["name"], *(_short(axes[m["name"]][a]) for a in _WHAT), m["source"]])
    how = []
    for m in found:
        own = axes[m["name"]]
        how.append([m["name"], _writes(own), *(_short(own[a]) for a in _HOW), *_calls(m["expected"])])
    print_table(("method", *_WHAT, "source"), what)
    print_table(("method", "children", *_HOW, "calls to the task model", "to the optimizer"), how, numbers=(5, 6))
    print_prose(
        f"The default is {DEFAULT}. `promptopt methods {DEFAULT}` shows every axis of one method. Local methods also go"
        " with `:index` (marks by word number) or `:quote` (marks as quotes), those called lpo-* with `:paper` (echo,"
        " reply, audit)."
    )
    return 0


def _show_one(method: dict[str, Any], recipe: Any) -> None:
    """One method with all its axes, what each strategy does, and its settings."""
    from langchain_promptopt.presets import PRESETS

    made = PRESETS.get(method["name"].partition(":")[0])
    said = (made.__doc__ or "").strip().splitlines()[0] if made is not None else ""
    task, optimizer = _calls(method["expected"])
    rows = method["rows"]
    print_prose(f"{method['name']}: {said}\nSource: {method['source']}.")
    print_table(
        ("", "axis", "strategy", "what it does", "settings"),
        [
            [f"A{i}", axis, type(s).__name__, _said(s), _settings(s)]
            for i, (axis, s) in enumerate(recipe.axes().items(), 1)
        ],
    )
    print_prose(
        f"Expected for {rows['train']} train and {rows['dev']} dev examples, the test not counted: {task} calls to the"
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


def _method(name: str, recipe: Any, train: int, dev: int) -> dict[str, Any]:
    from langchain_promptopt.strategies.cost import Sizes, estimate_calls, shape_of
    from langchain_promptopt.strategies.registry import dump

    levels = estimate_calls(shape_of(recipe, Sizes(train=train, dev=dev)))
    return {
        "name": name,
        "source": recipe.source,
        "axes": {axis: repr(strategy) for axis, strategy in recipe.axes().items()},
        "recipe": dump(recipe),
        "rows": {"train": train, "dev": dev},
        "expected": {level: dict(getattr(levels, level).calls) for level in ("low", "likely", "high")},
    }


def _calls(expected: dict[str, dict[str, int]]) -> list[str]:
    """Likely calls, and at most how many where that is more."""
    levels = []
    for role in ("task", "optimizer"):
        levels.append([expected[level][role] for level in ("likely", "high")])
    found: list[str] = []
    for likely, high in levels:
        if likely == high:
            found.append(f"{likely:,}")
        else:
            found.append(f"{likely:,} to {high:,}")
    return found


def _writes(axes: dict[str, Any]) -> str:
    """How children are written, and batches a parent times children a batch."""
    proposals = axes["proposals"]
    return f"{getattr(axes['refine'], 'goal', 'custom')} {proposals.per_parent}x{proposals.per_call}"


def _short(strategy: Any) -> str:
    """A strategy as its name and its first number: `Beam(width=4)` reads as "beam 4"."""
    name = type(strategy).__name__
    if name.startswith("No"):
        return "–"
    if (inner := getattr(strategy, "inner", None)) is not None:
        return f"{name.lower()} {_short(inner)}"
    values = [getattr(strategy, f.name) for f in dataclasses.fields(strategy)]
    numbers = []
    for v in values:
        if isinstance(v, int) and not isinstance(v, bool):
            numbers.append(str(v))
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
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Folder with <task>/train.jsonl, dev.jsonl, test.jsonl.")
    ] = None,
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
