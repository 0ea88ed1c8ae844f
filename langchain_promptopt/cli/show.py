"""`promptopt show`: one run, in the terminal."""

import typer

from langchain_promptopt.cli.answers import RunName, print_json, print_view
from langchain_promptopt.cli.flags import Given, with_settings


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog="Example: promptopt show latest")(show)


@with_settings("runs_dir")
def show(*, given: Given, run: RunName = "latest") -> int:
    """Show a run: verdict, edits with reasons, rows that got worse and better, cost."""
    from langchain_promptopt.cli.journals import find_run, record_of, summary_json, with_rows
    from langchain_promptopt.report.terminal import run_view

    config = given.load()
    record = record_of(find_run(config, run))
    if given.as_json:
        print_json(summary_json(record))
    else:
        print_view(run_view(with_rows(record, config, given)))
    return 0
