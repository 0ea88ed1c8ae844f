"""Verbs that run or prepare a run: demo, init, check, optimize, compare, resume."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_promptopt._collections import all_as_json, map_values
from langchain_promptopt.cli.flags import BUDGET, DATA, GATE, OPTIMIZE, OUTPUT, TASK, Given, verb, with_settings
from langchain_promptopt.cli.output import (
    log_is_public,
    note,
    print_json,
    print_prose,
    print_table,
    print_view,
)
from langchain_promptopt.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_promptopt._langchain.target import Listed
    from langchain_promptopt.config import Config
    from langchain_promptopt.pipeline.check import CheckReport
    from langchain_promptopt.types import Prompt


@verb("promptopt demo")
@with_settings("runs_dir", "method", "seed")
def demo(*, given: Given) -> int:
    """Optimize a support-ticket prompt offline: what changed, why, examples better and worse, the held-out result."""
    from langchain_promptopt.pipeline import demo_task

    config = given.load(without_file=True)
    if not given.as_json:
        note(
            "Models: built-in offline programs, free and without a network; their scores say nothing about real models."
        )
    return run_and_tell(demo_task(config), ok=None, as_json=given.as_json)


@verb("promptopt init my_app.chain:chain --data mails.csv --input email=Body --output Team")
@with_settings(*DATA, "task_model", "template_format", "evaluator", "method", "model", "usd")
def init(
    *,
    given: Given,
    target: Annotated[str, typer.Argument(help="module:chain, a prompt file, or owner/prompt:tag.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.")] = Path("promptopt.toml"),
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
) -> int:
    """List prompts, variables and splits, guess the columns, and write a commented promptopt.toml.

    Args:
        given: Flags and settings.
        target: The chain or prompt: "module:chain", a prompt file, or "owner/prompt:tag".
        out: The file to write.
        force: Replace the file if it exists.

    Returns:
        The exit code (product section 4).

    Raises:
        UsageError: The file exists, or a column cannot be guessed.
    """
    from langchain_promptopt.config import toml_text
    from langchain_promptopt.pipeline.initial import first_settings, relative_to

    if out.exists() and not force:
        msg = f"{out} exists"
        raise UsageError(msg, mend="Add --force to replace it, or --out FILE for another name.")
    given.target(target)
    config = given.load(without_file=True)
    config.require("task", "data.source")
    found = first_settings(config, given.overrides)
    values = {}
    for section, keys in found.values.items():
        values[section] = {k: relative_to(v, out.parent) if isinstance(v, str) else v for k, v in keys.items()}
    out.write_text(toml_text(values, found.remarks), encoding="utf-8")
    splits, made = map_values(len, found.data.splits), dict(found.data.made)
    if given.as_json:
        prompts = found.prompts.as_json()
        said = {"file": str(out), "prompts": prompts, "off": list(found.off), "splits": splits, "splits_made": made}
        print_json(said | {"notes": list(found.notes)})
        return 0
    off = [(name, f'off; tune = ["{name}"] lets it change', "") for name in found.off]
    print_table(("prompt", "messages", "variables"), [*map(_line, found.prompts), *off])
    print_view("")
    print_table(("split", "examples", "made"), [(*size, made.get(size[0], "")) for size in splits.items()], numbers=[1])
    for text in found.notes:
        print_prose(f"- {text}")
    print_prose(f"\nwrote {out}; next: promptopt check" + ("" if out.name == "promptopt.toml" else f" {out}"))
    return 0


@verb("promptopt import promptfooconfig.yaml")
@with_settings()
def import_(
    *,
    given: Given,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of promptim, OpenAI or promptfoo.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Settings file to write.")] = Path("promptopt.toml"),
) -> int:
    """Make settings, examples and prompt of a file of promptim, OpenAI (chat or evals JSONL) or promptfoo.

    Args:
        given: Flags and settings.
        file: The file of the other tool.
        out: The settings file to write; examples and prompt go beside it.

    Returns:
        The exit code.

    Raises:
        UsageError: The format is not known, or a file to write exists.
    """
    from langchain_promptopt.config import toml_text
    from langchain_promptopt.pipeline.importing import read_foreign

    found = read_foreign(file)
    files = found.files(file.stem)
    texts = {out: toml_text(found.values), **{out.parent / name: text for name, text in files.items()}}
    if taken := [str(path) for path in texts if path.exists()]:
        msg = f"{', '.join(taken)} {'exists' if len(taken) == 1 else 'exist'} already"
        raise UsageError(msg, mend="Nothing is overwritten: move it away, or name another settings file with --out.")
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    if given.as_json:
        print_json({"tool": found.tool, "files": list(map(str, texts)), "not_taken": found.left})
        return 0
    print_prose(f"{found.tool}: {len(found.examples)} examples")
    for path in texts:
        print_prose(f"wrote {path}")
    if found.left:
        print_prose("\nNot taken:")
    for text in found.left:
        print_prose(f"- {text}")
    print_prose("\nnext: promptopt check" + ("" if out.name == "promptopt.toml" else f" {out}"))
    return 0


def _line(prompt: Prompt) -> list[str]:
    roles = ", ".join(message.role for message in prompt.messages)
    return [prompt.name, roles, ", ".join(prompt.variables)]


@verb("promptopt prompts my_app.agent:app --data tickets.jsonl")
@with_settings(*DATA, "task_model", "template_format", "freeze", "tune")
def prompts(
    *,
    given: Given,
    target: Annotated[str | None, typer.Argument(help="module:chain, a prompt file, or owner/prompt:tag.")] = None,
) -> int:
    """List the prompts of a program: where each is, whether it is sent, and whether a run may change it.

    Args:
        given: Flags and settings.
        target: The chain, prompt or settings file; None takes it from the settings.

    Returns:
        The exit code: 0, or 2 where there is no prompt.
    """
    given.target(target)
    config = given.load()
    config.require("task", "data.source")
    from langchain_promptopt.pipeline.initial import list_prompts
    from langchain_promptopt.report.wording import placed

    found = list_prompts(config)
    if given.as_json:
        print_json({"prompts": all_as_json(found)})
        return 0
    rows = []
    for p in found:
        rows.append((p.name, p.kind, placed(p.where, _target(config)), "yes" if p.sent else "no", _change(p)))
    print_table(("prompt", "kind", "where", "sent", "may change"), rows)
    return 0


def _change(found: Listed) -> str:
    may = "yes" if found.may_change else "no"
    return may + (f": {found.why}" if found.why else "")


@verb("promptopt check")
@with_settings(*OPTIMIZE)
def check(
    *,
    given: Given,
    target: Annotated[str | None, typer.Argument(help="module:chain, a prompt file, or owner/prompt:tag.")] = None,
    pilot: Annotated[
        int, typer.Option("--pilot", min=0, metavar="N", help="Also run N search examples twice; this costs.")
    ] = 0,
) -> int:
    """Render every example, count splits, estimate cost, and say what the held-out examples can prove.

    Args:
        given: Flags and settings.
        target: The chain, prompt or settings file; None takes it from the settings.
        pilot: Search rows to run twice, which costs; 0 for none.

    Returns:
        The exit code: 0, 2 where a run would be refused, 5 where an endpoint is out of reach.
    """
    given.target(target)
    config = given.load()
    config.require("task", "data.source", "evaluate.evaluators")
    from langchain_promptopt.pipeline.check import check_config

    return show_check(check_config(config, pilot), _target(config), as_json=given.as_json)


def _target(config: Config) -> str:
    """The chain or prompt as people name it: files below the working directory by their path from there."""
    named = config.task.chain or config.task.prompt or ""
    return named.removeprefix(str(Path.cwd()) + os.sep)


def show_check(report: CheckReport, target: str, *, as_json: bool) -> int:
    """Print a check of `target`; returns the exit code it asks for."""
    if as_json:
        print_json(report.as_json())
    else:
        from langchain_promptopt.cli.check_view import check_view

        print_view(check_view(report, target))
    for error in report.missing:
        note(f"promptopt: {error}")
    return report.exit_code


class NoGain(StrEnum):
    """Outcomes that `--ok` takes for a success."""

    NO_GAIN = "no_gain"


Ok = Annotated[
    list[NoGain] | None, typer.Option("--ok", help="Exit with 0 where there is no proven gain, instead of 3.")
]


@verb("promptopt optimize my_app.chain:chain --data tickets.jsonl --evaluator exact_match --usd 5")
@with_settings(*OPTIMIZE)
def optimize(
    *,
    given: Given,
    target: Annotated[str | None, typer.Argument(help="module:chain, a prompt file, or owner/prompt:tag.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do all that is free, then stop.")] = False,
    ok: Ok = None,
) -> int:
    """Improve a prompt by small edits and prove them on held-out examples.

    Args:
        given: Flags and settings.
        target: The chain, prompt or settings file; None takes it from the settings.
        dry_run: Do only what is free.
        ok: Outcomes that exit with 0.

    Returns:
        The exit code (product section 4).
    """
    given.target(target)
    config = given.load_step()
    from langchain_promptopt.pipeline.check import check_config
    from langchain_promptopt.pipeline.delivering import failures_told
    from langchain_promptopt.pipeline.prepare import NEEDED, start

    with failures_told(config):
        if dry_run:
            config.require(*NEEDED)
            return show_check(check_config(config), _target(config), as_json=given.as_json)
        return run_and_tell(start(config), ok=ok, as_json=given.as_json)


def run_and_tell(prepared: Any, *, ok: list[NoGain] | None, as_json: bool) -> int:
    """Run what was prepared, with progress on stderr and the answer on stdout.

    Args:
        prepared: What `start` or `demo_task` returned.
        ok: Outcomes that exit with 0.
        as_json: Whether the answer is one JSON document.

    Returns:
        The exit code.
    """
    from langchain_promptopt.optimizer.progress import progress_shown
    from langchain_promptopt.pipeline.delivering import winners_folder

    with progress_shown(prepared.config.optimize.progress is not False) as observers:
        result = prepared.optimize(observers=observers)
    from langchain_promptopt.report.terminal import run_view

    if (folder := winners_folder(prepared.config, result)) is not None:
        shown = os.path.relpath(folder)
        files = ", ".join(f"{shown}/{path.name}" for path in sorted(folder.glob("*.json")))
        note(f'wrote {files}; load it at start with load_prompts(chain, "{shown}")')
    show_rows = prepared.config.output.show_rows or not log_is_public()
    return tell(result, run_view(prepared.record, show_rows=show_rows), ok=ok, as_json=as_json)


def tell(result: Any, view: Any, *, ok: list[NoGain] | None, as_json: bool) -> int:
    """Print the answer about a result, and remarks on stderr.

    Args:
        result: The run that ended.
        view: The answer for people, as drawn by `report.terminal`.
        ok: Outcomes that exit with 0.
        as_json: Whether the answer is one JSON document.

    Returns:
        The exit code, which is also the one in the answer.
    """
    code: int = 0 if result.exit_code == 3 and ok else result.exit_code
    for warning in result.warnings:
        note(f"note: {warning}")
    if as_json:
        print_json(result.as_json() | {"exit_code": code})
        return code
    if result.replayed:
        note(f"run {result.run_id} was finished before: this is its record, and nothing was called")
    elif estimate := result.usage.get("estimate"):
        note(against_estimate(result.usage, estimate["low"], estimate["high"]))
    print_view(view)
    for told in result.summary:
        note(f"{told['metric']} on {told['split']} (n={told['n']}): {told.get('baseline')} -> {told.get('best')}")
    if result.folder is not None:
        note(f"record and report: {result.folder}")
    for what, url in result.links.items():
        note(f"{what}: {url}")
    return code


def against_estimate(usage: Mapping[str, Any], low: Mapping[str, Any], high: Mapping[str, Any]) -> str:
    """What a run took, beside what was estimated before its first call.

    Args:
        usage: Calls and money of the run.
        low: The low estimate.
        high: The high estimate; its money is None where a price is unknown.
    """
    from langchain_promptopt.report.wording import money, number

    used, first = f"{number(usage['calls'])} model calls", f"{number(low['total'])} to {number(high['total'])}"
    if usage.get("usd") is not None:
        used += f", {money(usage['usd'])}"
        if high["usd"] is not None:
            least, most = money(low["usd"]), money(high["usd"])
            first += f" calls, {least}" + (f" to {most}" if most != least else "")
    return f"{used}; estimated before the run: {first}"


@verb("promptopt compare old.txt new.txt --task-model offline --data tickets.jsonl")
@with_settings(*TASK, *GATE, "max_concurrency", "usd", "calls", "tokens", "summary", "junit", "show_rows")
def compare(
    *,
    given: Given,
    old: Annotated[str, typer.Argument(help="What runs now: a prompt file, owner/prompt:tag, or module:chain.")],
    new: Annotated[str, typer.Argument(help="What might replace it.")],
    ok: Ok = None,
) -> int:
    """Decide on held-out examples whether NEW is better than OLD.

    Args:
        given: Flags and settings.
        old: What runs now: a prompt file, "owner/prompt:tag", or "module:chain".
        new: What might replace it.
        ok: Outcomes that exit with 0.

    Returns:
        The exit code (product section 4).
    """
    from rich.console import Group

    from langchain_promptopt.optimizer.progress import progress_shown
    from langchain_promptopt.pipeline import prepare
    from langchain_promptopt.pipeline.delivering import failures_told
    from langchain_promptopt.report.terminal import safe_text, sides_view, test_view
    from langchain_promptopt.report.wording import replayed_note, void_sentence
    from langchain_promptopt.types import MetricEntry

    given.target(old)
    config = given.load_step()
    with failures_told(config):
        config.require("data.source", "evaluate.evaluators")
        prepared = prepare(config)
        with progress_shown(config.optimize.progress is not False) as observers:
            result = prepared.compare(old, new, observers=observers)
    said = [safe_text(replayed_note(result.run_id), "yellow")] if result.replayed else []
    void = void_sentence(result.reason, result.run_id) if result.reason and not result.test else ""
    table = test_view(result.outcome, tuple(map(MetricEntry.of, result.test)), void)
    view = Group(*said, table, sides_view(result.usage["by_side"]))
    return tell(result, view, ok=ok, as_json=given.as_json)


_LISTED = 10
"""Unfinished runs that are named beside the one that goes on."""


@verb("promptopt resume --usd 10")
@with_settings("runs_dir", "max_concurrency", *BUDGET, *OUTPUT)
def resume(
    *,
    given: Given,
    run: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help='A run id, a folder, or "latest"; without it, the latest unfinished run.'),
    ] = None,
    ok: Ok = None,
) -> int:
    """Go on with a run. The configuration must be the one it was started with; the budget may differ.

    Args:
        given: Flags and settings.
        run: A run id, a folder, or "latest"; None is the latest unfinished run.
        ok: Outcomes that exit with 0.

    Returns:
        The exit code (product section 4).

    Raises:
        ResumeError: What decides the result has changed since the run began.
    """
    from langchain_promptopt.pipeline.delivering import failures_told
    from langchain_promptopt.pipeline.prepare import start
    from langchain_promptopt.store.lines import find_run, unfinished_runs

    config = given.load_step()
    with failures_told(config):
        if run is not None:
            folder = find_run(config.runs_dir, run)
        else:
            folder, *older = unfinished_runs(config.runs_dir)
            which = f"the latest of {len(older) + 1} unfinished ones" if older else "the only unfinished one"
            also = f"; also unfinished: {', '.join(f.name for f in older[:_LISTED])}" if older else ""
            note(f"resuming run {folder.name}, {which} in {config.runs_dir}{also}")
        return run_and_tell(start(config, resume=folder), ok=ok, as_json=given.as_json)
