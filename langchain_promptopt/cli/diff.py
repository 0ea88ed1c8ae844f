"""`promptopt diff`: what a run changed, as edits in place or as a patch."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_promptopt.cli.answers import RunName, print_exact, print_json, print_view
from langchain_promptopt.cli.flags import Given, with_settings

if TYPE_CHECKING:
    from langchain_promptopt.report.record import RunRecord


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog="Example: promptopt diff latest --patch | git apply")(diff)


@with_settings("runs_dir")
def diff(
    *,
    given: Given,
    run: RunName = "latest",
    patch: Annotated[bool, typer.Option("--patch", help="A patch that `git apply` takes.")] = False,
    file: Annotated[
        Path | None, typer.Option("--file", help="File that holds the prompt, where the run does not know.")
    ] = None,
) -> int:
    """Show the edits between the old and the new prompt."""
    from langchain_promptopt.cli.journals import find_run, record_of
    from langchain_promptopt.report.terminal import diff_view

    config = given.load()
    record = record_of(find_run(config, run))
    if patch:
        from langchain_promptopt.cli.prompts import patch_of

        print_exact(patch_of(record, config, file))
    elif given.as_json:
        print_json({"run_id": record.run_id, "edits": [e.as_json() for e in record.edits], "prompts": _prompts(record)})
    else:
        print_view(diff_view(record))
    return 0


def _prompts(record: "RunRecord") -> dict[str, Any]:
    return {
        "old": record.candidates[record.seed_id].prompts,
        "new": record.candidates[record.best_id].prompts,
    }
