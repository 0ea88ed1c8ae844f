"""Verbs for what production brings: harvest, agree."""

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


@verb("promptopt agree correct --data rows.jsonl --evaluator my_app.evals:helpful")
@with_settings(*PROJECT, "evaluator", "max_concurrency", *DATA)
def agree(
    *,
    given: Given,
    people: Annotated[str, typer.Argument(metavar="KEY", help='People\'s feedback, as "correct" or "stars>=4".')],
    least: Annotated[float, typer.Option("--least", help="Kappa that every metric must reach.")] = -1.0,
) -> int:
    """Measure how far evaluators agree with people, on answers of production that people have scored.

    Args:
        given: Flags and settings.
        people: The feedback key of people.
        least: The kappa that every metric must reach.

    Returns:
        0; 3 where a metric does not reach `least`.
    """
    from langchain_promptopt.pipeline.agreement import agreement

    found = agreement(given.load(), people)
    told = {"agreement": [a.as_json() for a in found]}
    said(told, "\n".join(map(str, found)), as_json=given.as_json)
    return 3 if least > -1.0 and not all(a.reaches(least) for a in found) else 0
