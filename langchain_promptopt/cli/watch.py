"""`promptopt watch RUN`: the progress of a run that another process works on, until it ends."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from langchain_promptopt.cli.flags import Given, verb, with_settings
from langchain_promptopt.cli.output import RunName, answer_stream, note, print_view
from langchain_promptopt.store.lines import JOURNAL, find_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from langchain_promptopt.events import Event, RunFinished

_EVERY = 0.3
"""Seconds between two looks at the journal."""


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
    _show(folder)
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


def _show(folder: Path) -> None:
    """The verdict, as `show` begins."""
    from langchain_promptopt.cli.runs import record_of
    from langchain_promptopt.report.terminal import verdict_view

    print_view(verdict_view(record_of(folder)))
    note(f"the whole answer: promptopt show {folder.name}")


def _print_line(data: Mapping[str, Any]) -> None:
    out = answer_stream()
    out.write(json.dumps(data, default=str) + "\n")
    out.flush()
