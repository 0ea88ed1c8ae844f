"""`promptopt bench`: how good the methods are at the same number of target calls."""

from pathlib import Path
from typing import Annotated

import typer

from langchain_promptopt.cli.answers import Json, print_json


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog="Example: promptopt bench --task planted:long --method robust --method lpo-pe2 --seeds 5")(bench)


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
    """Run methods with the same seeds and search calls, and compare their held-out scores."""
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
