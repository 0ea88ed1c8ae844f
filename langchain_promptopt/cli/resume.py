"""`promptopt resume`: go on with an interrupted run; nothing that was answered is paid again."""

from typing import Annotated

import typer

from langchain_promptopt.cli.answers import note
from langchain_promptopt.cli.flags import BUDGET, OUTPUT, Given, with_settings
from langchain_promptopt.cli.optimize import Ok, run_and_tell


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog="Example: promptopt resume --usd 10")(resume)


@with_settings("runs_dir", "max_concurrency", *BUDGET, *OUTPUT)
def resume(
    *,
    given: Given,
    run: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help='A run id, a folder, or "latest"; without it, the only unfinished run.'),
    ] = None,
    ok: Ok = None,
) -> int:
    """Go on with a run. The configuration must be the one it was started with; the budget may differ."""
    from langchain_promptopt.cli.journals import find_run, unfinished_run
    from langchain_promptopt.pipeline.step import failures_told, start

    config = given.load_step()
    with failures_told(config):
        folder = unfinished_run(config) if run is None else find_run(config, run)
        if run is None:
            note(f"resuming run {folder.name}, the only unfinished one in {config.runs_dir}")
        return run_and_tell(start(config, resume=folder), ok=ok, as_json=given.as_json)
