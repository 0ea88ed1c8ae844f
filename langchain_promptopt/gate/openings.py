"""How often test rows were looked at: an append-only file beside the config.

Every look at the same rows is another chance for luck, so the gate's level falls with the number of
earlier openings that share a row with this one. An opening is written, and on disk, before its first
paid call. Inputs are kept as hashes only. One line is one JSON object.
"""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO

from langchain_promptopt.store.folder import open_unlinked
from langchain_promptopt.types import content_hash

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = "promptopt.openings.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """The how many-th look at these rows this is.

    `persistent` False means that nothing was recorded, so that the number may be too low; `problem`
    says why, and nothing may then be applied by itself. `repeated` is the same opening resumed.
    """

    number: int
    persistent: bool
    repeated: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True)
class _Line:
    """One recorded opening; None rows stand for a damaged line, which is taken to share every row."""

    key: tuple[str, str]
    rows: frozenset[str] | None


def row_hash(inputs: Mapping[str, Any]) -> str:
    """Hash of a row's inputs, the same for inputs that differ in spacing or Unicode form only.

    >>> row_hash({"q": "two  words "}) == row_hash({"q": "two words"})
    True
    """
    return content_hash(_normal(inputs))


def _normal(value: Any) -> Any:
    if isinstance(value, str):
        return " ".join(unicodedata.normalize("NFKC", value).split())
    if isinstance(value, Mapping):
        return {str(k): _normal(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_normal(v) for v in value]
    return value


class Openings:
    """The record at `path`; None where there is no place for one.

    Processes and threads may record at the same time; each gets its own number.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def number(self, rows: Iterable[str], *, run_id: str | None = None) -> int:
        """1 + the openings so far that share any of these row hashes. Reads only.

        With `run_id` that run's own openings are left out: what a resumed run may ask before its test.
        """
        try:
            text = _read(self._path) if self._path is not None else b""
        except OSError:
            text = b""
        others = [line for line in _lines(text) if line.rows is None or line.key[0] != run_id]
        return 1 + _sharing(others, frozenset(rows))

    def record(self, run_id: str, candidate_id: str, rows: Sequence[str]) -> Opening:
        """Record that `rows` are opened now, and say the how many-th time.

        The same run opening the rows for the same candidate again, as a resumed run does, is the
        same opening and is not written twice.
        """
        wanted, key = frozenset(rows), (run_id, candidate_id)
        if self._path is None:
            return Opening(number=1, persistent=False, problem="there is no place to count openings of the test rows")
        try:
            with _locked(self._path) as file:
                return self._record(file, key, wanted)
        except OSError as error:
            problem = f"openings of the test rows cannot be counted in {self._path.name}: {error.strerror or error}"
            return Opening(number=self.number(wanted), persistent=False, problem=problem)

    def _record(self, file: BinaryIO, key: tuple[str, str], rows: frozenset[str]) -> Opening:
        text = file.read()
        lines = _lines(text)
        known = next((i for i, line in enumerate(lines) if line.key == key and line.rows == rows), None)
        if known is not None:
            return Opening(number=1 + _sharing(lines[:known], rows), persistent=True, repeated=True)
        file.truncate(text.rfind(b"\n") + 1)  # a line without its end was never paid for: it is dropped
        file.seek(0, os.SEEK_END)
        line = {"time": _now(), "run_id": key[0], "candidate_id": key[1], "rows": sorted(rows)}
        file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
        return Opening(number=1 + _sharing(lines, rows), persistent=True)


def _read(path: Path) -> bytes:
    with open(open_unlinked(path, os.O_RDONLY), "rb") as file:
        return file.read()


def _lines(text: bytes) -> list[_Line]:
    whole = text[: text.rfind(b"\n") + 1]
    return [_line(raw) for raw in whole.split(b"\n") if raw.strip()]


def _line(raw: bytes) -> _Line:
    try:
        data = json.loads(raw)
        return _Line((str(data["run_id"]), str(data["candidate_id"])), frozenset(map(str, data["rows"])))
    except (ValueError, KeyError, TypeError):
        return _Line(("", ""), None)


def _sharing(lines: Iterable[_Line], rows: frozenset[str]) -> int:
    return sum(line.rows is None or not line.rows.isdisjoint(rows) for line in lines)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """The file open for reading and appending, held by nobody else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(open_unlinked(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644), "a+b") as file:
        _lock(file)
        try:
            file.seek(0)
            yield file
        finally:
            _unlock(file)


if sys.platform == "win32":
    import msvcrt

    def _lock(file: BinaryIO) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)

    def _unlock(file: BinaryIO) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)

    def _unlock(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)
