"""Finding a run on disk by what a person types."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

from langchain_promptopt.errors import ResumeError, UsageError
from langchain_promptopt.store.journal import VERDICTS
from langchain_promptopt.store.lines import decode, read_events

JOURNAL = "journal.jsonl"
_FINISHED = b'"type":"run.finished"'
_HEAD = 100  # bytes of a line within which its type stands
_LISTED = 10


def run_folders(base: Path) -> list[Path]:
    """All run folders below `base`, the latest first."""
    found = [p for p in base.iterdir() if (p / JOURNAL).is_file()] if base.is_dir() else []
    return sorted(found, key=lambda p: ((p / JOURNAL).stat().st_mtime_ns, p.name), reverse=True)


def find_run(base: Path, name: str) -> Path:
    """The folder of a run: by id, a beginning of it, a path, or "latest". Raises UsageError."""
    if (Path(name) / JOURNAL).is_file():
        return Path(name)
    folders = run_folders(base)
    found = folders[:1] if name == "latest" else [p for p in folders if p.name.startswith(name)]
    exact = [p for p in found if p.name == name]
    if len(exact or found) == 1:
        return (exact or found)[0]
    said = "several runs begin with" if found else "there is no run"
    msg = f"{said} {name!r}"
    raise UsageError(msg, where=str(base), mend="`promptopt runs` lists them; --runs-dir looks elsewhere.")


def unfinished_run(base: Path) -> Path:
    """The one run below `base` that a resume would go on with.

    Runs out of budget count, comparisons do not, nor do journals that cannot be read. Raises UsageError
    that lists the runs, the latest first, where there are several, and where there is none.
    """
    found = [(folder, first) for folder in run_folders(base) if (first := _unfinished(folder)) is not None]
    if len(found) == 1:
        return found[0][0]
    if not found:
        msg, mend = "there is no unfinished run", "`promptopt runs` lists all; `promptopt optimize` starts one."
        raise UsageError(msg, where=str(base), mend=mend)
    named = [f"{folder.name} ({first['data']['method']}, {first['time'][:16]})" for folder, first in found]
    more = f" and {len(named) - _LISTED} more" if len(named) > _LISTED else ""
    msg = f"{len(named)} runs are unfinished: {', '.join(named[:_LISTED])}{more}"
    raise UsageError(msg, where=str(base), mend=f"Name one: promptopt resume {found[0][0].name}")


def _unfinished(folder: Path) -> dict[str, Any] | None:
    """The first event of a run that has not come to its verdict; None of all others."""
    try:
        first = next(islice(read_events(folder / JOURNAL), 1), None)
    except ResumeError:
        return None
    if first is None or first["type"] != "run.started" or first["data"].get("method") == "compare":
        return None
    return None if _ended(folder) else first


def _ended(folder: Path) -> bool:
    """Whether going on would change nothing: there is a verdict, or an error that waiting does not mend."""
    last = _last_end(folder)
    error = last.get("error") or {}
    return last.get("outcome") in VERDICTS or (last.get("outcome") == "failed" and not error.get("retryable"))


def _last_end(folder: Path) -> dict[str, Any]:
    """The data of the journal's last `run.finished`; other lines are not parsed, as there may be many."""
    last: dict[str, Any] = {}
    with (folder / JOURNAL).open("rb") as stream:
        for line in stream:
            if _FINISHED in line[:_HEAD] and line.endswith(b"\n"):
                last = decode(line)["data"]
    return last
