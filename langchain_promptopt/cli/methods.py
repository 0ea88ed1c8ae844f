"""`promptopt methods`: the presets, what each does on the axes that matter, and the calls it expects to make."""

import dataclasses
from typing import Annotated, Any

import typer

from langchain_promptopt.cli.answers import Json, print_json, print_table

_WHAT = ("evidence", "feedback", "memory", "scope", "control")
_HOW = ("scoring", "search", "incumbent", "stop")
Rows = Annotated[int, typer.Option(min=1, help="Rows to reckon with.")]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog="Example: promptopt methods --train 50 --dev 100 --json")(methods)


def methods(*, train: Rows = 50, dev: Rows = 100, as_json: Json = False) -> int:
    """List the methods of `--method`: axes, source, and expected calls for that many rows (the test comes on top)."""
    from langchain_promptopt.presets import DEFAULT, PRESETS

    found = [_method(name, make(), train, dev) for name, make in PRESETS.items()]
    if as_json:
        print_json([m | {"default": m["name"] == DEFAULT} for m in found])
        return 0
    axes = {name: make().axes() for name, make in PRESETS.items()}
    what = [[m["name"], *(_short(axes[m["name"]][a]) for a in _WHAT), m["source"]] for m in found]
    how = [[m["name"], *(_short(axes[m["name"]][a]) for a in _HOW), *_calls(m["expected"])] for m in found]
    print_table(("method", *_WHAT, "source"), what)
    print_table(("method", *_HOW, "calls to the task model", "to the optimizer"), how, numbers=(5, 6))
    return 0


def _method(name: str, recipe: Any, train: int, dev: int) -> dict[str, Any]:
    from langchain_promptopt._runtime.estimate import estimate_calls
    from langchain_promptopt.strategies.registry import dump
    from langchain_promptopt.strategies.shape import Sizes, shape_of

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
    levels = [[expected[level][role] for level in ("likely", "high")] for role in ("task", "optimizer")]
    return [f"{likely:,}" if likely == high else f"{likely:,} to {high:,}" for likely, high in levels]


def _short(strategy: Any) -> str:
    """A strategy as its name and its first number: `Beam(width=4)` reads as "beam 4"."""
    name = type(strategy).__name__
    if name.startswith("No"):
        return "–"
    values = [getattr(strategy, f.name) for f in dataclasses.fields(strategy)]
    numbers = [str(v) for v in values if isinstance(v, int) and not isinstance(v, bool)]
    return " ".join([name.lower(), *numbers[:1]])
