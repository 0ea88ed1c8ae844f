"""Finding runs on disk and reading them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain_promptopt.store import finding
from langchain_promptopt.store.finding import JOURNAL

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from langchain_promptopt.cli.flags import Given
    from langchain_promptopt.config import Config
    from langchain_promptopt.report.record import RunRecord


def run_folders(config: Config) -> list[Path]:
    """All run folders, the latest first."""
    return finding.run_folders(config.runs_dir)


def find_run(config: Config, name: str) -> Path:
    """The folder of a run: by id, a beginning of it, a path, or "latest". Raises UsageError."""
    return finding.find_run(config.runs_dir, name)


def unfinished_run(config: Config) -> Path:
    """The folder of the one run that has not come to its verdict. Raises UsageError where that is none or several."""
    return finding.unfinished_run(config.runs_dir)


def events_of(folder: Path) -> list[Mapping[str, Any]]:
    """The journal's lines as anybody may see them: test rows stay hidden until the test is decided."""
    from langchain_promptopt.store import visible_events

    return list(visible_events(folder / JOURNAL))


def record_of(folder: Path, examples: Mapping[str, Mapping[str, Any]] | None = None) -> RunRecord:
    """A run as a value."""
    from langchain_promptopt.report.record import RunRecord

    return RunRecord.from_events(events_of(folder), examples)


def with_rows(record: RunRecord, config: Config, given: Given) -> RunRecord:
    """The record with the rows' texts: from `--data`, else from where the run had them, if that is here."""
    from langchain_promptopt.cli.answers import note

    if "data.source" in given.overrides:
        from langchain_promptopt.pipeline import prepare

        return replace(record, examples=prepare(config).examples())
    from langchain_promptopt.pipeline.recalled import recalled

    examples, why_not = recalled(config, record.started)
    if why_not:
        note(f"note: {why_not}")
    return replace(record, examples=examples or {})


def summary_json(record: RunRecord) -> dict[str, Any]:
    """A recorded run as machine output, with the keys of `optimize --json`."""
    finished = record.finished or {}
    return {
        "outcome": record.outcome,
        "exit_code": finished.get("exit_code"),
        "run_id": record.run_id,
        "replayed": False,
        "prompts": record.candidates[record.best_id].prompts,
        "test": list(record.metrics),
        "edits": [e.as_json() for e in record.edits],
        "usage": finished.get("usage", {}),
        "health": record.health.as_json(),
        "error": None,
    }
