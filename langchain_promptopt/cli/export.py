"""`promptopt export`: the events of a run, one JSON object a line."""

import json
import sys

import typer

from langchain_promptopt.cli.answers import RunName
from langchain_promptopt.cli.flags import Given, with_settings


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog="Example: promptopt export latest > run.jsonl")(export)


@with_settings("runs_dir")
def export(*, given: Given, run: RunName = "latest") -> int:
    """Print {"seq","time","type","data"} lines. Held-out rows are left out until the test is decided."""
    from langchain_promptopt.cli.journals import events_of, find_run

    for event in events_of(find_run(given.load(), run)):
        sys.stdout.write(json.dumps(event) + "\n")
    return 0
