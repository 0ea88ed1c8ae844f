"""`promptopt apply`: write what a run found into a file, or take it back."""

from pathlib import Path
from typing import Annotated

import typer

from langchain_promptopt.cli.answers import Force, RunName, said
from langchain_promptopt.cli.flags import Given, with_settings
from langchain_promptopt.errors import UsageError

To = Annotated[Path | None, typer.Option("--to", metavar="FILE", help="Text, YAML, JSON or Python file to change.")]
Edits = Annotated[str, typer.Option("--edits", metavar="1,3", help="Only these edits, numbered as `show` does.")]
Revert = Annotated[bool, typer.Option("--revert", help="Undo what this run wrote.")]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog="Example: promptopt apply latest --edits 1,3 --to prompts/triage.yaml")(apply)


@with_settings("runs_dir")
def apply(
    *,
    given: Given,
    run: RunName = "latest",
    to: To = None,
    edits: Edits = "",
    revert: Revert = False,
    force: Force = False,
) -> int:
    """Write the new prompt into FILE, keeping the file's formatting."""
    from langchain_promptopt.cli.journals import find_run, record_of
    from langchain_promptopt.cli.prompts import chosen_edits, revert_files, write_edits

    config = given.load()
    folder = find_run(config, run)
    record = record_of(folder)
    if revert:
        files = revert_files(record, folder)
        said({"run_id": record.run_id, "reverted": files}, f"reverted: {', '.join(files)}", as_json=given.as_json)
        return 0
    if record.outcome != "improved" and not force:
        msg = f"the gate did not pass (outcome {record.outcome or 'not finished'!r}), so nothing proves these edits"
        raise UsageError(msg, where=f"run {record.run_id}", mend="Add --force to write them all the same.")
    numbers = chosen_edits(edits, len(record.edits))
    file = write_edits(record, folder, numbers, to, config)
    said(
        {"run_id": record.run_id, "edits": numbers, "file": file},
        f"wrote {len(numbers)} edits to {file}",
        as_json=given.as_json,
    )
    return 0
