"""Where runs lie, and what lies in a run's folder: private to the user, and no link is followed there.

A cloned repository may bring a `.promptopt/` along whose files are links to files of the user's.
"""

from __future__ import annotations

import errno
import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_promptopt.errors import ConfigError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

OWN_FOLDER = ".promptopt"
"""What is kept beside a config: runs, and the state of what is sent elsewhere."""
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}")


def runs_dir(config_dir: Path) -> Path:
    """The folder of runs: `PROMPTOPT_RUNS_DIR` where it is set, else `.promptopt/runs` beside the config."""
    moved = os.environ.get("PROMPTOPT_RUNS_DIR")
    return Path(moved).expanduser() if moved else Path(config_dir) / OWN_FOLDER / "runs"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of one run below `base`."""

    base: Path
    run_id: str

    def __post_init__(self) -> None:
        if not _RUN_ID.fullmatch(self.run_id):
            msg = f"{self.run_id!r} cannot be a run id"
            raise ConfigError(msg, mend="Take one that `promptopt runs` lists.")

    @property
    def path(self) -> Path:
        """The folder itself."""
        return self.base / self.run_id

    @property
    def journal(self) -> Path:
        """The append-only record."""
        return self.path / "journal.jsonl"

    @property
    def batches(self) -> Path:
        """What was submitted to the Batch API."""
        return self.path / "batches.jsonl"

    @property
    def result(self) -> Path:
        """The outcome as JSON."""
        return self.path / "result.json"

    @property
    def report(self) -> Path:
        """The report for people."""
        return self.path / "report.html"

    def create(self) -> RunFolder:
        """Make the folder, for this user only. Raises UnavailableError where that is not possible."""
        private_dir(self.path)
        return self

    def write_result(self, data: Mapping[str, Any]) -> None:
        """Write `result.json` whole or not at all."""
        self._write(self.result, json.dumps(data, ensure_ascii=False, indent=2, default=str) + "\n")

    def write_report(self, html: str) -> None:
        """Write `report.html` whole or not at all."""
        self._write(self.report, html)

    def _write(self, path: Path, text: str) -> None:
        self.create()
        write_whole(path, text)


def write_whole(path: Path, text: str) -> None:
    """Write a file for this user only, whole or not at all; its folder must be there."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(open_unlinked(beside, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), "wb") as stream:
            stream.write(text.encode("utf-8", "backslashreplace"))
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(beside, path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        msg = f"cannot write: {error.strerror}"
        raise UnavailableError(msg, where=str(path), mend="Free some space or fix the rights.") from error


def list_runs(base: Path) -> list[RunFolder]:
    """The runs below `base` that have a journal, the latest touched first."""
    if not base.is_dir():
        return []
    found = []
    for p in base.iterdir():
        if p.is_dir() and _RUN_ID.fullmatch(p.name):
            found.append(RunFolder(base, p.name))
    runs = [run for run in found if run.journal.is_file()]
    return sorted(runs, key=lambda run: (-run.journal.stat().st_mtime_ns, run.run_id))


def private_dir(path: Path) -> None:
    """Make `path` and what is missing above it, each for this user only; close an existing `path` to others."""
    missing = [p for p in (path, *path.parents) if not p.exists()]
    try:
        if any(p.is_symlink() for p in _made_here(path)):
            raise OSError(errno.ELOOP, _LINK)
        for parent in reversed(missing):
            parent.mkdir(mode=0o700, exist_ok=True)
        if path.stat().st_mode & 0o077:
            path.chmod(0o700)
        _keep_out_of_git(path)
    except OSError as error:
        msg = f"cannot make the folder: {error.strerror}"
        mend = _UNLINK if error.errno == errno.ELOOP else "Free some space or fix the rights."
        raise UnavailableError(msg, where=str(path), mend=mend) from error


def _made_here(path: Path) -> list[Path]:
    """The folders of `path` that this package makes: from `.promptopt` down, or only the last one."""
    below = [path, *path.parents]
    homes = [i for i, p in enumerate(below) if p.name == OWN_FOLDER]
    return below[: homes[-1] + 1] if homes else below[:1]


_LINK = "a symbolic link is in its place, and links are not followed here"
_UNLINK = "Remove the link, or set PROMPTOPT_RUNS_DIR to another folder."


def open_unlinked(path: Path, flags: int, mode: int = 0o600) -> int:
    """A file descriptor of `path` itself, never of what a link in its place points to.

    Args:
        path: The file.
        flags: As of `os.open`.
        mode: The rights of a file that is made now.

    Raises:
        OSError: With ELOOP where `path` is a link.
    """
    try:
        return os.open(path, flags | _UNFOLLOWED, mode)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.EMLINK} or path.is_symlink():
            raise OSError(errno.ELOOP, _LINK, str(path)) from error
        raise


_UNFOLLOWED = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def _keep_out_of_git(path: Path) -> None:
    """Records hold rows and answers: `.promptopt/` ignores itself, as the caches of other tools do."""
    home = next((p for p in (path, *path.parents) if p.name == OWN_FOLDER), None)
    if home is not None and not (home / ".gitignore").exists():
        with suppress(FileExistsError), open(open_unlinked(home / ".gitignore", _NEW), "wb") as stream:
            stream.write(b"*\n")


_NEW = os.O_CREAT | os.O_EXCL | os.O_WRONLY
