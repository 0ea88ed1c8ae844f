"""`promptopt check`: everything that costs nothing, and with `--pilot` a little that does."""

from typing import Annotated, Any

import typer

from langchain_promptopt.cli.answers import note, print_json, print_view
from langchain_promptopt.cli.flags import OPTIMIZE, Given, with_settings


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog="Example: promptopt check")(check)


@with_settings(*OPTIMIZE)
def check(
    *,
    given: Given,
    target: Annotated[str | None, typer.Argument(help="module:chain, a prompt file, or owner/prompt:tag.")] = None,
    pilot: Annotated[
        int, typer.Option("--pilot", min=0, metavar="N", help="Also run N search rows twice; this costs.")
    ] = 0,
) -> int:
    """Render every row, count splits, estimate cost, and say what the held-out rows can prove."""
    given.target(target)
    config = given.load()
    config.require("task", "data.source", "evaluate.evaluators")
    from langchain_promptopt.pipeline.check import check_config

    return show_check(check_config(config, pilot), as_json=given.as_json)


def show_check(report: Any, *, as_json: bool) -> int:
    """Print a check; returns the exit code it asks for."""
    data = report.as_json()
    if as_json:
        print_json(data)
    else:
        from langchain_promptopt.report.terminal import check_view

        print_view(check_view(data))
    for error in report.missing:
        note(f"promptopt: {error}")
    return int(data.get("exit_code", 0))
