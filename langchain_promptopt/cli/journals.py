"""Finding runs on disk and reading them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_promptopt.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_promptopt.config import Config
    from langchain_promptopt.report.record import RunRecord

JOURNAL = "journal.jsonl"


def run_folders(config: Config) -> list[Path]:
    """All run folders, the latest first."""
    root = config.runs_dir
    found = [p for p in root.iterdir() if (p / JOURNAL).is_file()] if root.is_dir() else []
    return sorted(found, key=lambda p: ((p / JOURNAL).stat().st_mtime_ns, p.name), reverse=True)


def find_run(config: Config, name: str) -> Path:
    """The folder of a run: by id, a beginning of it, a path, or "latest". Raises UsageError."""
    if (Path(name) / JOURNAL).is_file():
        return Path(name)
    folders = run_folders(config)
    found = folders[:1] if name == "latest" else [p for p in folders if p.name.startswith(name)]
    exact = [p for p in found if p.name == name]
    if len(exact or found) == 1:
        return (exact or found)[0]
    said = "several runs begin with" if found else "there is no run"
    msg = f"{said} {name!r}"
    raise UsageError(msg, where=str(config.runs_dir), mend="`promptopt runs` lists them; --runs-dir looks elsewhere.")


def events_of(folder: Path) -> list[Mapping[str, Any]]:
    """The journal's lines as anybody may see them: test rows stay hidden until the test is decided."""
    from langchain_promptopt.store import visible_events

    return list(visible_events(folder / JOURNAL))


def record_of(folder: Path, examples: Mapping[str, Mapping[str, Any]] | None = None) -> RunRecord:
    """A run as a value."""
    from langchain_promptopt.report.record import RunRecord

    return RunRecord.from_events(events_of(folder), examples)


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
        "error": None,
    }
