"""`promptopt optimize`: search, decide on held-out rows, write back what was proven."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from langchain_promptopt.cli.answers import log_is_public, note, print_json, print_view
from langchain_promptopt.cli.flags import OPTIMIZE, Given, with_settings


class NoGain(StrEnum):
    """Outcomes that `--ok` takes for a success."""

    NO_GAIN = "no_gain"


Ok = Annotated[
    list[NoGain] | None, typer.Option("--ok", help="Exit with 0 where there is no proven gain, instead of 3.")
]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(
        epilog="Example: promptopt optimize my_app.chain:chain --data tickets.jsonl --evaluator exact_match --usd 5"
    )(optimize)


@with_settings(*OPTIMIZE)
def optimize(
    *,
    given: Given,
    target: Annotated[str | None, typer.Argument(help="module:chain, a prompt file, or owner/prompt:tag.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do all that is free, then stop.")] = False,
    ok: Ok = None,
) -> int:
    """Improve a prompt by small edits and prove them on held-out rows."""
    given.target(target)
    config = given.load_step()
    from langchain_promptopt.cli.check import show_check
    from langchain_promptopt.pipeline.check import check_config
    from langchain_promptopt.pipeline.step import NEEDED, failures_told, start

    with failures_told(config):
        if dry_run:
            config.require(*NEEDED)
            return show_check(check_config(config), as_json=given.as_json)
        return run_and_tell(start(config), ok=ok, as_json=given.as_json)


def run_and_tell(prepared: Any, *, ok: list[NoGain] | None, as_json: bool) -> int:
    """Run what was prepared, with progress on stderr and the answer on stdout; returns the exit code."""
    from langchain_promptopt.cli.progress import watching

    with watching() as observers:
        result = prepared.optimize(observers=observers)
    from langchain_promptopt.report.terminal import run_view

    show_rows = prepared.config.output.show_rows or not log_is_public()
    return tell(result, run_view(prepared.record, show_rows=show_rows), ok=ok, as_json=as_json)


def tell(result: Any, view: Any, *, ok: list[NoGain] | None, as_json: bool) -> int:
    """The answer about a result; returns the exit code, which is also the one in the answer."""
    code: int = 0 if result.exit_code == 3 and ok else result.exit_code
    for warning in result.warnings:
        note(f"note: {warning}")
    if as_json:
        print_json(result.as_json() | {"exit_code": code})
        return code
    if estimate := result.usage.get("estimate"):
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
    """What a run took beside what was estimated before its first call."""
    from langchain_promptopt.report.wording import money

    used, first = f"{usage['calls']:,} model calls", f"{low['total']:,} to {high['total']:,}"
    if usage.get("usd") is not None:
        used += f", {money(usage['usd'])}"
        first += f" calls, {money(low['usd'])} to {money(high['usd'])}" if high["usd"] is not None else ""
    return f"{used}; estimated before the run: {first}"
