"""`promptopt bench`: how good the methods are on the tasks that are at hand."""

from collections.abc import Sequence
from typing import Annotated

import typer

from langchain_promptopt.cli.answers import Json, print_json, print_view


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog="Example: promptopt bench --task demo --method lpo-pe2 --method pe2")(bench)


def bench(
    *,
    task: Annotated[list[str] | None, typer.Option("--task", help="Task; may be repeated.")] = None,
    method: Annotated[list[str] | None, typer.Option("--method", help="Preset; may be repeated.")] = None,
    as_json: Json = False,
) -> int:
    """Run methods on benchmark tasks with the same budget and compare their held-out gains."""
    return _run(task or ["demo"], method or ["lpo-pe2", "pe2"], as_json=as_json)


def _run(tasks: Sequence[str], methods: Sequence[str], *, as_json: bool) -> int:
    from langchain_promptopt.bench import run_bench
    from langchain_promptopt.report.terminal import facts_view

    table = run_bench(tasks, methods)
    if as_json:
        print_json(table)
    else:
        print_view(facts_view(table))
    return 0
