"""Verbs that read runs: runs, show, report, export, and watch, which follows one that another process works on."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from langchain_promptopt._collections import all_as_json
from langchain_promptopt.cli.flags import DATA, Given, verb, with_settings
from langchain_promptopt.cli.output import RunName, answer_stream, note, print_json, print_table, print_view, said
from langchain_promptopt.errors import PromptOptError, UsageError
from langchain_promptopt.store.lines import JOURNAL, find_run, run_folders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from langchain_promptopt.config import Config
    from langchain_promptopt.events import Event, RunFinished
    from langchain_promptopt.report.record import RunRecord


def events_of(folder: Path) -> list[Mapping[str, Any]]:
    """The journal's lines that may be shown: test rows stay hidden until the test is decided."""
    from langchain_promptopt.store import visible_events

    return list(visible_events(folder / JOURNAL))


def record_of(folder: Path, examples: Mapping[str, Mapping[str, Any]] | None = None) -> RunRecord:
    """A run as a value."""
    from langchain_promptopt.report.record import RunRecord

    return RunRecord.from_events(events_of(folder), examples)


def with_rows(record: RunRecord, config: Config, given: Given) -> RunRecord:
    """The record with the rows' texts.

    Args:
        record: The run.
        config: The settings of now.
        given: With `--data`, rows are loaded from there; else from where the run had them, if that is here.

    Returns:
        The record; without texts, and with a note on stderr, where the rows cannot be had.
    """
    if "data.source" in given.overrides:
        from langchain_promptopt.pipeline import prepare
        from langchain_promptopt.pipeline.recorded import redacting

        return replace(record, examples=prepare(redacting(config, record.started)).examples())
    from langchain_promptopt.pipeline.recorded import recalled

    examples, why_not = recalled(config, record.started)
    if why_not:
        note(f"note: {why_not}")
    return replace(record, examples=examples or {})


@verb("promptopt runs --runs-dir /var/lib/promptopt")
@with_settings("runs_dir")
def runs(*, given: Given) -> int:
    """List runs with their outcome, gain and cost."""
    config = given.load()
    found = list(map(_run_line, run_folders(config.runs_dir)))
    if given.as_json:
        print_json(all_as_json(found))
    elif not found:
        note(f"No runs in {config.runs_dir}.")
    else:
        columns = ("run", "started", "method", "outcome", "difference", "edits", "calls", "cost")
        print_table(columns, [run.cells() for run in found], numbers=range(4, 8))
    return 0


@dataclass(frozen=True)
class _RunLine:
    """A run as the list shows it."""

    run_id: str
    started: str
    method: str
    outcome: str | None
    difference: float | None
    edits: int
    calls: int
    usd: float | None

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def cells(self) -> list[str]:
        """The cells of its row in the table."""
        from langchain_promptopt.report import wording

        return [
            self.run_id,
            self.started[:16].replace("T", " "),
            self.method,
            self.outcome or "not finished",
            wording.signed(self.difference),
            str(self.edits),
            wording.number(self.calls),
            wording.money(self.usd),
        ]


@dataclass(frozen=True)
class _Unreadable:
    """A run whose journal cannot be read, and why."""

    run_id: str
    error: PromptOptError

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"run_id": self.run_id, "outcome": "unreadable", "error": self.error.as_json()}

    def cells(self) -> list[str]:
        """The cells of its row in the table."""
        return [self.run_id, "", "", "unreadable", "", "", "", ""]


def _run_line(folder: Path) -> _RunLine | _Unreadable:
    from langchain_promptopt.report.record import RunRecord

    try:
        events = events_of(folder)
        record = RunRecord.from_events(events)
    except PromptOptError as error:  # one broken journal must not hide the others
        return _Unreadable(folder.name, error)
    return _RunLine(
        run_id=record.run_id,
        started=events[0]["time"],
        method=record.started.method,
        outcome=record.outcome,
        difference=record.metrics[0].difference if record.metrics else None,
        edits=len(record.edits),
        calls=record.total.calls,
        usd=record.total.usd,
    )


@verb("promptopt show latest")
@with_settings("runs_dir")
def show(*, given: Given, run: RunName = "latest") -> int:
    """Show a run: verdict, edits with reasons, examples that got worse and better, cost."""
    from langchain_promptopt.optimizer.answer import of_record
    from langchain_promptopt.report.terminal import run_view

    config = given.load()
    record = replace(record_of(find_run(config.runs_dir, run)), replayed=True)
    if given.as_json:
        print_json(of_record(record).as_json())
    else:
        print_view(run_view(with_rows(record, config, given)))
    return 0


Format = Annotated[Literal["html", "markdown", "junit"], typer.Option("--format", help="What to write.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help='File; "-" is stdout. HTML goes beside the journal.')]


@verb("promptopt report latest --format markdown")
@with_settings(*DATA, "show_rows", "redact")
def report(
    *,
    given: Given,
    run: RunName = "latest",
    fmt: Format = "html",
    out: Out = None,
) -> int:
    """Write the report of a run. HTML becomes a file, Markdown and JUnit go to stdout unless --out says otherwise.

    Args:
        given: Flags and settings.
        run: A run id or its beginning, a folder, or "latest".
        fmt: The format.
        out: The file to write; "-" is stdout, None the usual place of the format.

    Returns:
        The exit code.

    Raises:
        UsageError: There is no such run or folder.
    """
    from langchain_promptopt.report.render import render, write_text

    config = given.load()
    if out is not None and not out.parent.is_dir():
        msg = f"there is no folder {str(out.parent)!r}"
        raise UsageError(msg, where="--out", mend="Make it first, or name another file.")
    folder = find_run(config.runs_dir, run)
    record = with_rows(record_of(folder), config, given)
    text = render(record, fmt, show_rows=config.output.show_rows)
    file = out or (folder / "report.html" if fmt == "html" else None)
    if file is None or str(file) == "-":
        print_view(text)
    else:
        write_text(file, text)
        said({"run_id": record.run_id, "format": fmt, "file": str(file)}, str(file), as_json=given.as_json)
    return 0


@verb("promptopt export latest > run.jsonl")
@with_settings("runs_dir")
def export(*, given: Given, run: RunName = "latest") -> int:
    """Print {"seq","time","type","data"} lines. Held-out examples are left out until the test is decided."""
    for event in events_of(find_run(given.load().runs_dir, run)):
        answer_stream().write(json.dumps(event) + "\n")
    return 0


_EVERY = 0.3
"""Seconds between two looks at the journal of a run that is watched."""


@verb("promptopt watch latest")
@with_settings("runs_dir")
def watch(*, given: Given, run: RunName = "latest") -> int:
    """Follow a run from another terminal until it ends. With --json, each line is one JSON object.

    Args:
        given: Flags and settings.
        run: A run id or its beginning, a folder, or "latest".

    Returns:
        The exit code of the run; 130 where it stopped before its end.
    """
    from langchain_promptopt.optimizer.progress import Streamed, progress_shown

    folder = find_run(given.load().runs_dir, run)
    if given.as_json:
        ended = _last(folder, Streamed(_print_line).on_event)
        outcome, code = ("interrupted", 130) if ended is None else (ended.outcome, ended.exit_code)
        _print_line({"outcome": outcome, "exit_code": code, "run_id": folder.name})
        return code
    with progress_shown(True) as watchers:  # noqa: FBT003 - the argument of `optimize`
        ended = _last(folder, watchers[0].on_event)
    if ended is None:
        note(f"run {folder.name} stopped before its end; go on with: promptopt resume {folder.name}")
        return 130
    _show_verdict(folder)
    return ended.exit_code


def _last(folder: Path, take: Callable[[Event], None]) -> RunFinished | None:
    """Give every event to `take`; returns how the run ended, None where no process works on it and it has not."""
    from langchain_promptopt.events import Called, RunFinished, ScoredRow

    ended = None
    for event in _followed(folder):
        take(event)
        if isinstance(event, RunFinished):
            ended = event
        elif isinstance(event, Called | ScoredRow):  # a run that was resumed
            ended = None
    return ended


def _followed(folder: Path) -> Iterator[Event]:
    """Events of the journal, until no process works on the run any more."""
    from langchain_promptopt.events import event_of
    from langchain_promptopt.store.journal import is_worked_on
    from langchain_promptopt.store.lines import Tail

    tail = Tail(folder / JOURNAL)
    while True:
        going = is_worked_on(folder)  # asked before reading, so that nothing written meanwhile is missed
        lines = tail.more()
        for line in lines:
            event = event_of(line)
            if event is not None:
                yield event
        if not going:
            return
        if not lines:
            time.sleep(_EVERY)


def _show_verdict(folder: Path) -> None:
    """The verdict, as `show` begins."""
    from langchain_promptopt.report.terminal import verdict_view

    print_view(verdict_view(record_of(folder)))
    note(f"the whole answer: promptopt show {folder.name}")


def _print_line(data: Mapping[str, Any]) -> None:
    out = answer_stream()
    out.write(json.dumps(data, default=str) + "\n")
    out.flush()
