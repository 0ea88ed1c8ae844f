"""Verbs for what production brings: harvest, agree, loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_promptopt._collections import all_as_json
from langchain_promptopt.cli.flags import DATA, PROJECT, Given, verb, with_settings
from langchain_promptopt.cli.output import note, said
from langchain_promptopt.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping


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
    loop_sentence = {"agreement": all_as_json(found)}
    said(loop_sentence, "\n".join(map(str, found)), as_json=given.as_json)
    return 3 if least > -1.0 and not all(a.reaches(least) for a in found) else 0


@verb("promptopt loop night.toml --json")
@with_settings("runs_dir")
def loop(
    *,
    given: Given,
    settings: Annotated[
        str | None, typer.Argument(metavar="SETTINGS", help="A .toml file; default is ./promptopt.toml.")
    ] = None,
    approve: Annotated[bool, typer.Option("--approve", help="Put the proposed prompt into use.")] = False,
    reject: Annotated[
        bool, typer.Option("--reject", help="Drop the proposal, or take a promoted prompt back.")
    ] = False,
    status: Annotated[bool, typer.Option("--status", help="Show where the loop is, and do nothing.")] = False,
    trust_judge: Annotated[
        bool, typer.Option("--trust-judge", help="Let a judge decide whatever its agreement with people is.")
    ] = False,
) -> int:
    """Do what is due between runs of production and an approved prompt: harvest, optimize, propose, promote, watch.

    Args:
        given: Flags and settings.
        settings: The settings' file.
        approve: Put the proposed prompt into use.
        reject: Drop the proposal, or take a promoted prompt back.
        status: Show where the loop is.
        trust_judge: Let a judge decide whatever its agreement with people is.

    Returns:
        0; 3 where this call found no gain, or took a prompt back.

    Raises:
        UsageError: Both answers were given, or there is nothing to answer.
    """
    from langchain_promptopt.optimizer.progress import progress_shown
    from langchain_promptopt.pipeline.loop import Loop

    if approve and reject:
        msg = "--approve and --reject are both given"
        raise UsageError(msg, mend="Give one of them.")
    given.target(settings)
    config = given.load()
    before = Loop(config).read()
    if status:
        said(before.as_json(), loop_sentence(before.step, before.facts), as_json=given.as_json)
        return 0
    with progress_shown(config.optimize.progress is not False) as observers:
        answer = True if approve else False if reject else None
        found = Loop(config, trust_judge=trust_judge, observers=observers).advance(approve=answer)
    moved = found.since != before.since
    said(found.as_json(), loop_sentence(found.step, found.facts, moved=moved), as_json=given.as_json)
    return 3 if moved and found.step in {"no_gain", "rolled_back"} else 0


def loop_sentence(step: str, facts: Mapping[str, Any], *, moved: bool = True) -> str:
    """Where a loop is, in a sentence or two.

    Args:
        step: Its step.
        facts: What the night knows.
        moved: Whether this call changed anything.
    """
    run = f"run {facts.get('run_id')}"
    watch = facts.get("watch") or {}
    words = {
        "idle": "nothing was done yet",
        "proposed": f"proposed: {_figures(facts)}\nreport: {facts.get('report')}\n"
        "`promptopt loop --approve` puts it into use, `--reject` drops it",
        "promoted": f"promoted at {facts.get('promoted')}: {run} is in use and is watched",
        "no_gain": f"no gain: {facts.get('reason') or _figures(facts)}",
        "kept": f"kept: {run} is in use; on fresh examples: {watch.get('reason') or _figures(watch)}",
        "rolled_back": f"rolled back: the former prompt is in use again; on fresh examples: {_figures(watch)}",
        "rejected": f"rejected: {run} is dropped, and the former prompt is in use",
    }
    idle = "" if moved else "; nothing is due"
    return words.get(step, f"interrupted at {step!r}; the next call goes on") + idle


def _figures(facts: Mapping[str, Any]) -> str:
    """The deciding metric of a test."""
    rows = facts.get("test") or ()
    if not rows or rows[0].get("baseline") is None:
        return str(facts.get("outcome"))
    row = rows[0]
    return f"{row['metric']} {row['baseline']:.3f} -> {row['best']:.3f} on {row['n']} examples ({facts.get('outcome')})"
