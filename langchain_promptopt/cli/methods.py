"""`promptopt methods`: the presets and what each does on the axes that matter."""

from typing import Any

import typer

from langchain_promptopt.cli.answers import Json, print_json, print_table

_AXES = ("scope", "feedback", "memory", "control", "search", "stop")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog="Example: promptopt methods --json")(methods)


def methods(*, as_json: Json = False) -> int:
    """List the methods of `--method`."""
    from langchain_promptopt.presets import PRESETS

    recipes = {name: make() for name, make in PRESETS.items()}
    if as_json:
        print_json(
            [
                {"name": name, "source": r.source, "axes": {axis: repr(value) for axis, value in r.axes().items()}}
                for name, r in recipes.items()
            ]
        )
        return 0
    rows = [[name, *(_short(recipe.axes()[axis]) for axis in _AXES), recipe.source] for name, recipe in recipes.items()]
    print_table(("method", *_AXES, "after"), rows)
    return 0


def _short(strategy: Any) -> str:
    """A strategy as its name and what was set on it: `Beam(width=4)` reads as "beam 4"."""
    name = type(strategy).__name__
    return "–" if name.startswith("No") else name.lower()
