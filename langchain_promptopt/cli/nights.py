"""Verbs for what production brings: harvest."""

from __future__ import annotations

from typing import Annotated

import typer

from langchain_promptopt.cli.flags import DATA, PROJECT, Given, verb, with_settings
from langchain_promptopt.cli.output import note, said


@verb('promptopt harvest support --window 24h --reference "feedback:correct" --to rows.jsonl')
@with_settings(*PROJECT, "redact", "evaluator", *(name for name in DATA if name != "data"))
def harvest(
    *,
    given: Given,
    project: Annotated[
        str | None, typer.Argument(metavar="PROJECT", help="LangSmith project; default is data.source.")
    ] = None,
    to: Annotated[
        str, typer.Option("--to", metavar="FILE", help='A .jsonl file that grows, or "langsmith:NAME" for a dataset.')
    ] = "rows.jsonl",
    retire: Annotated[
        bool, typer.Option("--retire", help="Take test examples that a gate has looked at out of later tests.")
    ] = False,
) -> int:
    """Write runs of a LangSmith project as examples.

    Args:
        given: Flags and settings.
        project: The project's name; None is `data.source`.
        to: Where the examples go.
        retire: Take test examples that a gate has looked at out of later tests.

    Returns:
        The exit code.
    """
    from langchain_promptopt.pipeline.harvesting import harvest as gather

    if project is not None:
        given.overrides["data.source"] = f"langsmith-project:{project.removeprefix('langsmith-project:')}"
    found = gather(given.load(), to, retire=retire)
    for text in found.notes:
        note(f"note: {text}")
    said(found.as_json(), str(found), as_json=given.as_json)
    return 0
