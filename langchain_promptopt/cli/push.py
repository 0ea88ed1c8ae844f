"""`promptopt push` and `promptopt rollback`: LangSmith prompts, only when asked."""

from typing import Annotated

import typer

from langchain_promptopt.cli.answers import RunName, said
from langchain_promptopt.cli.flags import Given, with_settings
from langchain_promptopt.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add both verbs."""
    app.command(epilog="Example: promptopt push latest me/triage --tag staging")(push)
    app.command(epilog="Example: promptopt rollback latest")(rollback)


@with_settings("runs_dir")
def push(
    *,
    given: Given,
    run: RunName,
    name: Annotated[
        str | None, typer.Argument(metavar="OWNER/NAME", help="LangSmith prompt; default is output.push.")
    ] = None,
    tag: Annotated[str | None, typer.Option("--tag", help="Commit tag to move to the new commit.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Push although the gate did not pass.")] = False,
) -> int:
    """Commit a run's new prompt to LangSmith."""
    from langchain_promptopt.cli.journals import find_run
    from langchain_promptopt.pipeline import push_run

    config = given.load()
    target = name or config.output.push
    if target is None:
        msg = "no LangSmith prompt is named"
        raise UsageError(msg, mend='Write `promptopt push RUN owner/name`, or output.push = "owner/name".')
    tag = tag or config.output.tag
    commit = push_run(find_run(config, run), target, tag=tag, force=force)
    said(
        {"run": run, "target": target, "commit": commit, "tag": tag},
        f"pushed {target} as {commit}" + (f"; the tag {tag!r} stands on it" if tag else ""),
        as_json=given.as_json,
    )
    return 0


@with_settings("runs_dir")
def rollback(*, given: Given, run: RunName) -> int:
    """Take back what a run pushed: the tag moves to the commit it stood on before."""
    from langchain_promptopt.cli.journals import find_run
    from langchain_promptopt.pipeline import rollback_run
    from langchain_promptopt.store import read_events

    folder = find_run(given.load(), run)
    commit = rollback_run(folder)
    target = [e["data"]["target"] for e in read_events(folder / "journal.jsonl") if e["type"] == "rolled_back"][-1]
    told = f"rolled back: {target} stands on {commit}" if commit else f"rolled back: {target} is gone again"
    said({"run": run, "target": target, "commit": commit}, told, as_json=given.as_json)
    return 0
