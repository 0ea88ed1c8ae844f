"""`promptopt runs`: what was run, the latest first."""

from pathlib import Path
from typing import Any

import typer

from langchain_promptopt.cli.answers import note, print_json, print_table
from langchain_promptopt.cli.flags import Given, with_settings


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog="Example: promptopt runs --runs-dir /var/lib/promptopt")(runs)


@with_settings("runs_dir")
def runs(*, given: Given) -> int:
    """List runs with their outcome, gain and cost."""
    from langchain_promptopt.cli.journals import run_folders

    config = given.load()
    found = [_line(folder) for folder in run_folders(config)]
    if given.as_json:
        print_json(found)
    elif not found:
        note(f"No runs in {config.runs_dir}.")
    else:
        columns = ("run", "started", "method", "outcome", "difference", "edits", "calls", "cost")
        print_table(columns, [_cells(line) for line in found], numbers=range(4, 8))
    return 0


def _line(folder: Path) -> dict[str, Any]:
    from langchain_promptopt.cli.journals import events_of
    from langchain_promptopt.errors import PromptOptError
    from langchain_promptopt.report.record import RunRecord

    try:
        events = events_of(folder)
        record = RunRecord.from_events(events)
    except PromptOptError as error:  # one broken journal must not hide the others
        return {"run_id": folder.name, "outcome": "unreadable", "error": error.as_json()}
    return {
        "run_id": record.run_id,
        "started": events[0]["time"],
        "method": record.started["method"],
        "outcome": record.outcome,
        "difference": record.metrics[0]["difference"] if record.metrics else None,
        "edits": len(record.edits),
        "calls": record.total.calls,
        "usd": record.total.usd,
    }


def _cells(line: dict[str, Any]) -> list[Any]:
    from langchain_promptopt.report import wording

    if line["outcome"] == "unreadable":
        return [line["run_id"], "", "", "unreadable", "", "", "", ""]
    return [
        line["run_id"],
        line["started"][:16].replace("T", " "),
        line["method"],
        line["outcome"] or "not finished",
        wording.signed(line["difference"]),
        str(line["edits"]),
        wording.number(line["calls"]),
        wording.money(line["usd"]),
    ]
