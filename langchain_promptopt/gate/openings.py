"""How often test rows were opened: an append-only file of JSON lines beside the config.

Every opening of the same rows is another chance for luck, so the gate's level falls with the number of earlier openings
that share a row with this one. An opening is on disk before its first paid call. Two openings are the same only if the
run's own journal holds the mark of the first: a run that draws its answers again opens the rows again.
"""

from __future__ import annotations

import json
import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from langchain_promptopt.evaluators import normal_form
from langchain_promptopt.store.folder import open_unlinked
from langchain_promptopt.types import Reading, content_hash

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = "promptopt.openings.jsonl"
_SO = "reuse of these examples cannot be seen, so nothing is applied by itself"
_NO_PLACE = f"there is no place to count openings of the test examples (openings=None): {_SO}"
Values: TypeAlias = frozenset[str]
"""Hashes of some values of one row."""
_TEXT_TYPES = (str, bool, int, float, type(None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """One opening of the test rows; `number` counts from 1.

    `persistent` False means that nothing was recorded, so that the number may be too low; `problem`
    says why, and nothing may then be applied by itself. `repeated` is the same opening resumed.
    """

    number: int
    persistent: bool
    repeated: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True)
class RowMark:
    """By what a test row is recognised: what the prompts read of it, value by value.

    The values are kept as hashes, without their names: a renamed column, letter case or a column that no prompt reads
    changes nothing, and a prompt that reads more or fewer columns than the one before meets the same rows. Lines of
    the first format hold one hash of all inputs; they count too.

    Args:
        read: Hashes of the values that are read: one set for each prompt, two in a comparison.
        every: Hashes of all its values, for what a prompt of an earlier opening read.
        old: Its names in the first format.
    """

    read: tuple[Values, ...]
    every: Values
    old: Values = frozenset()

    @classmethod
    def of(cls, inputs: Mapping[str, Any], readings: Sequence[Reading] = (Reading(),)) -> RowMark:
        """The marks of a row for the prompts of `readings`.

        >>> RowMark.of({"q": "A  b"}).read == RowMark.of({"question": "a B"}).read
        True
        """
        parts = [part_read(inputs, reading) for reading in readings]
        hashes = tuple(frozenset(value_keys(part)) for part in parts)
        rest = [part for part in parts if part.keys() != inputs.keys()]
        every = value_keys(inputs) if rest else ()  # else all its values are read, and hashed above
        old = {row_hash(inputs), *map(row_hash, rest)}
        return cls(hashes, frozenset(every).union(*hashes), frozenset(old))


def part_read(inputs: Mapping[str, Any], reading: Reading) -> dict[str, Any]:
    """What decides which row this is: the inputs that are read, and those that only code can use.

    An array, bytes or another object cannot be shown in a text, so where a row has one, its chain's code uses it.
    """
    read = reading.of(inputs)
    return read | {name: value for name, value in inputs.items() if name not in read and not is_textual(value)}


def is_textual(value: Any) -> bool:
    """Whether a value can stand in a text: text, numbers, dates and ids, and lists and mappings of them."""
    if isinstance(value, _TEXT_TYPES):
        return True
    if isinstance(value, Mapping):
        return all(map(is_textual, value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return all(map(is_textual, value))
    return type(value).__module__ in {"datetime", "decimal", "uuid", "pathlib", "fractions"}


def recorded_rows(rows: Iterable[RowMark]) -> list[str]:
    """Rows as records keep them: the hashes of the values that are read, joined."""
    found: set[str] = set()
    for row in rows:
        for values in row.read:
            found.add("+".join(sorted(values)))
    return sorted(found)


def recorded_inputs(rows: Iterable[Mapping[str, Any]], readings: Sequence[Reading]) -> list[str]:
    """As `recorded_rows` of the marks of these inputs; the marks hold more, which takes longer to make.

    Args:
        rows: Inputs of examples.
        readings: What the prompts read of them.
    """
    found: set[str] = set()
    for inputs in rows:
        for reading in readings:
            found.add("+".join(value_keys(part_read(inputs, reading))))
    return sorted(found)


def rows_among(rows: Iterable[RowMark], recorded: frozenset[str]) -> int:
    """How many of these rows are among those that `recorded_rows` gave."""
    found = 0
    for row in rows:
        if any("+".join(sorted(values)) in recorded for values in row.read):
            found += 1
    return found


def value_keys(values: Mapping[str, Any]) -> list[str]:
    """A hash of each value in its normal form; empty ones are left out where there are others."""
    found = []
    for value in values.values():
        if (form := normal_form(value)) not in _EMPTY:
            found.append(content_hash(form, _SHORT))
    return sorted(set(found)) or [content_hash("", _SHORT)]


_SHORT = 12
"""Hex digits of a value's hash: among a million values one in a thousand files has two alike."""
_EMPTY: tuple[object, ...] = ("", [], {})


def row_hash(inputs: Mapping[str, Any]) -> str:
    """The name of a row in the first format: its inputs with their names, in any spacing or Unicode form.

    >>> row_hash({"q": "two  words "}) == row_hash({"q": "two words"})
    True
    """
    return content_hash(_spaced(inputs))


def _spaced(value: Any) -> Any:
    if isinstance(value, str):
        return " ".join(unicodedata.normalize("NFKC", value).split())
    if isinstance(value, Mapping):
        return {str(k): _spaced(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return list(map(_spaced, value))
    return value


@dataclass(frozen=True)
class _Line:
    """One recorded opening; None rows stand for a damaged line, which is taken to share every row."""

    nonce: str
    rows: frozenset[str] | None

    @cached_property
    def values(self) -> tuple[Values, ...]:
        """Its rows as sets of value hashes; a name of the first format stays alone."""
        return tuple(frozenset(row.split("+")) for row in self.rows or ())


class _Wanted:
    """The rows that are to be opened, indexed by what they are recognised by."""

    def __init__(self, rows: Iterable[RowMark]) -> None:
        self._read = set[Values]().union(*(row.read for row in rows))
        self._old = frozenset[str]().union(*(row.old for row in rows))
        self._having: dict[str, list[Values]] = defaultdict(list)
        for row in rows:
            for value in row.every:
                self._having[value].append(row.every)

    def meets(self, line: _Line) -> bool:
        """Whether any row of an earlier opening is one of these, as its prompt read it or as ours do."""
        if line.rows is None or not line.rows.isdisjoint(self._old):
            return True
        return any(map(self._has_what_was_read, line.values)) or self._reads_what_was_there(line)

    def _has_what_was_read(self, before: Values) -> bool:
        rarest = min((self._having.get(value, []) for value in before), key=len)
        return any(before <= row for row in rarest)

    def _reads_what_was_there(self, line: _Line) -> bool:
        there: dict[str, list[Values]] = defaultdict(list)
        for values in line.values:
            for value in values:
                there[value].append(values)
        for read in self._read:
            rarest = min((there.get(value, []) for value in read), key=len)
            if any(read <= values for values in rarest):
                return True
        return False


class Openings:
    """The record at `path`; None where there is no place for one.

    Processes and threads may record at the same time; each gets its own number.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    @property
    def path(self) -> Path | None:
        """Where the record is."""
        return self._path

    def in_first_format(self, rows: Iterable[str]) -> bool:
        """Whether version 0.1 has opened any of these rows, given by `row_hash`: it had split them in its own way."""
        known = [line.rows for line in self._read() if line.rows and not line.nonce]
        return bool(known) and not frozenset(rows).isdisjoint(frozenset[str]().union(*known))

    def number(self, rows: Iterable[RowMark], *, own: str | None = None) -> int:
        """The number of the next opening of any of these rows, counted from 1. Reads only.

        Args:
            rows: The test rows.
            own: The mark in the asking run's journal, if it has opened the rows: then that opening's number.
        """
        lines = self._read()
        wanted = _Wanted(list(rows))
        return 1 + _sharing(lines[: _place(lines, own)], wanted)

    def record(self, run_id: str, candidate_id: str, rows: Sequence[RowMark], *, nonce: str) -> Opening:
        """Record that `rows` are opened now, and return the number of this opening.

        Args:
            run_id: For people who read the file.
            candidate_id: The same.
            rows: The test rows.
            nonce: The mark that the run has written into its journal for this opening. Opening with the same mark
                again, as a resumed run does, is the same opening and is not written twice.
        """
        wanted = _Wanted(rows)
        if self._path is None:
            return Opening(number=1, persistent=False, problem=_NO_PLACE)
        line: dict[str, object] = {"time": _now(), "run_id": run_id, "candidate_id": candidate_id, "nonce": nonce}
        line["rows"] = recorded_rows(rows)
        try:
            with locked_file(self._path) as file:
                return self._record(file, line, wanted)
        except OSError as error:
            why = error.strerror or error
            problem = f"openings of the test examples cannot be counted in {self._path.name}: {why}; {_SO}"
            return Opening(number=1 + _sharing(self._read(), wanted), persistent=False, problem=problem)

    def _record(self, file: BinaryIO, line: Mapping[str, Any], wanted: _Wanted) -> Opening:
        text = file.read()
        lines = _lines(text)
        known = _place(lines, str(line["nonce"]))
        if known is not None:
            return Opening(number=1 + _sharing(lines[:known], wanted), persistent=True, repeated=True)
        file.truncate(text.rfind(b"\n") + 1)  # a line without its end was never paid for: it is dropped
        file.seek(0, os.SEEK_END)
        file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
        return Opening(number=1 + _sharing(lines, wanted), persistent=True)

    def _read(self) -> list[_Line]:
        if self._path is None:
            return []
        try:
            with open(open_unlinked(self._path, os.O_RDONLY), "rb") as file:
                return _lines(file.read())
        except OSError:
            return []


def _lines(text: bytes) -> list[_Line]:
    whole = text[: text.rfind(b"\n") + 1]
    return [_line(raw) for raw in whole.split(b"\n") if raw.strip()]


def _line(raw: bytes) -> _Line:
    try:
        data = json.loads(raw)
        return _Line(str(data.get("nonce", "")), frozenset(map(str, data["rows"])))
    except (ValueError, KeyError, TypeError, AttributeError):
        return _Line("", None)


def _place(lines: Sequence[_Line], nonce: str | None) -> int | None:
    """Where the opening with this mark stands, or None."""
    return next((i for i, line in enumerate(lines) if nonce and line.nonce == nonce), None)


def _sharing(lines: Iterable[_Line], wanted: _Wanted) -> int:
    return sum(map(wanted.meets, lines))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@contextmanager
def locked_file(path: Path) -> Iterator[BinaryIO]:
    """The file open for reading and appending, held by this process alone. Raises OSError; links are not followed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(open_unlinked(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644), "a+b") as file, _alone(path, file):
        file.seek(0)
        yield file


@contextmanager
def _alone(path: Path, file: BinaryIO) -> Iterator[None]:
    """Hold the lock: on the file itself, which leaves nothing in the user's folder, else on a file that goes again."""
    try:
        import fcntl
    except ImportError:  # Windows, where a lock on the file would keep readers out
        from filelock import FileLock

        with FileLock(path.with_name(f".{path.name}.lock")):
            yield
        return
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)
