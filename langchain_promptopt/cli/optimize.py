"""`promptopt optimize`: search, decide on held-out rows, write back what was proven."""

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_promptopt.cli.answers import note, print_json, print_view
from langchain_promptopt.cli.flags import OPTIMIZE, Given, with_settings

if TYPE_CHECKING:
    from langchain_promptopt.config import Config

Ok = Annotated[
    list[str] | None, typer.Option("--ok", metavar="no_gain", help="Exit with 0 where there is no proven gain.")
]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(
        epilog="Example: promptopt optimize my_app.chain:chain --data tickets.jsonl --evaluator exact_match --usd 5"
    )(optimize)


@with_settings(*OPTIMIZE)
def optimize(
    *,
    given: Given,
    target: Annotated[str | None, typer.Argument(help="module:chain, a prompt file, or owner/prompt:tag.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do all that is free, then stop.")] = False,
    ok: Ok = None,
) -> int:
    """Improve a prompt by small edits and prove them on held-out rows."""
    given.target(target)
    config = given.load()
    config.require("task", "data.source", "evaluate.evaluators", "optimize.model")
    from langchain_promptopt.cli.check import show_check
    from langchain_promptopt.pipeline import prepare

    prepared = prepare(config)
    if dry_run:
        return show_check(prepared.check(), as_json=given.as_json)
    return run_and_tell(prepared, config, ok=ok, as_json=given.as_json)


def run_and_tell(prepared: Any, config: "Config", *, ok: list[str] | None, as_json: bool) -> int:
    """Run what was prepared, with progress on stderr and the answer on stdout; returns the exit code."""
    from langchain_promptopt.cli.progress import watching

    with watching() as observers:
        result = prepared.optimize(observers=observers)
    tell(result, config, as_json=as_json, examples=prepared.examples())
    code: int = result.exit_code
    return 0 if code == 3 and {"no_gain", "inconclusive"} & set(ok or ()) else code


def tell(result: Any, config: "Config", *, as_json: bool, examples: Any = None) -> None:
    """The answer about a result, and the files a pipeline asked for."""
    from langchain_promptopt.report.record import RunRecord
    from langchain_promptopt.report.render import deliver
    from langchain_promptopt.report.terminal import run_view

    record = RunRecord.from_events(list(result.events()), examples)
    out = config.output
    deliver(
        record,
        os.environ,
        summary=config.path(out.summary) if out.summary else None,
        junit=config.path(out.junit) if out.junit else None,
        show_rows=out.show_rows,
    )
    for warning in result.warnings:
        note(f"note: {warning}")
    if as_json:
        print_json(result.as_json())
    else:
        print_view(run_view(record))
        if result.folder is not None:
            note(f"record and report: {result.folder}")
