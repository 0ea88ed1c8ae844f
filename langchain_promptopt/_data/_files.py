"""What `data=` means: a path, a URL or uuid, "hf:owner/name", a LangSmith name, or rows in memory (product 10.4).

Rows of one file, strictly: wrong bytes and broken lines are errors with their place, never repaired quietly.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from langchain_promptopt.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

Kind: TypeAlias = Literal["folder", "file", "url", "uuid", "hf", "name", "splits", "rows"]
REMOTE: frozenset[Kind] = frozenset({"url", "uuid", "name"})
"""Kinds that only LangSmith can read."""
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}\Z")
_URL = re.compile(r"https?://\S+\Z")
_HF = re.compile(r"hf:([\w.\-]+/[\w.\-]+|[\w.\-]+)(?::([\w.\-]+))?\Z")


_PLACE = re.compile(r"(?:\.{0,2}|~[^/\\]*|[A-Za-z]:)[/\\]")
"""How only a path begins: /, ./, ../, ~/ or a drive."""


@dataclass(frozen=True)
class Source:
    """Where rows come from. `name` is what reports show; `path` is set for files and folders."""

    kind: Kind
    name: str
    path: Path | None = None
    config: str | None = None

    @property
    def remote(self) -> bool:
        """Whether LangSmith has to be asked."""
        return self.kind in REMOTE


def describe_source(data: Any) -> Source:
    """Decide what `data` is, once: a later failure never tries the next meaning.

    >>> describe_source("hf:openai/gsm8k:main")
    Source(kind='hf', name='openai/gsm8k', path=None, config='main')
    >>> describe_source("support-triage").kind
    'name'
    """
    if isinstance(data, Path):
        return _of_path(data.expanduser())
    if isinstance(data, str):
        return _of_text(data)
    if isinstance(data, Mapping):
        if "inputs" in data or "outputs" in data:
            msg = "`data` is a single row"
            raise DataError(msg, mend="Give a list of rows, or a mapping from split name to rows.")
        return Source("splits", "splits in memory")
    if isinstance(data, Iterable):
        return Source("rows", "rows in memory")
    msg = f"`data` cannot be read: it is of type {type(data).__name__}"
    mend = (
        "Give a LangSmith dataset name, id or URL, a file or folder, 'hf:owner/name', a datasets.Dataset or"
        " DatasetDict, a list of rows, or a mapping from split name to rows."
    )
    raise DataError(msg, mend=mend)


def _of_text(text: str) -> Source:
    name = text.strip()
    if not name:
        msg = "`data` is an empty text"
        raise DataError(msg, mend="Name a file, a folder or a dataset.")
    path = Path(name).expanduser()
    if _exists(path) or _PLACE.match(name):
        return _of_path(path)
    if _URL.match(name):
        return Source("url", name)
    if _UUID.match(name):
        return Source("uuid", name)
    if name.startswith("hf:"):
        found = _HF.match(name)
        if found is None:
            msg = f"{name!r} is no name on the Hugging Face hub"
            raise DataError(msg, mend="Write hf:owner/name, or hf:owner/name:config.")
        return Source("hf", found.group(1), config=found.group(2))
    return Source("name", name)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, or holding a null character: no path
        return False


def _of_path(path: Path) -> Source:
    if not _exists(path):
        msg = f"there is no file or folder {str(path)!r}"
        raise DataError(msg, where=f"looked in {Path.cwd()}", mend=f"Check the path.{near(path)}")
    return Source("folder" if path.is_dir() else "file", str(path), path)


def near(path: Path) -> str:
    """A question about the file or folder beside a missing one that has nearly its name, or nothing."""
    try:
        beside = [p.name for p in path.parent.iterdir()]
    except OSError:
        return ""
    close = get_close_matches(path.name, beside, n=1)
    return f" Did you mean {str(path.parent / close[0])!r}?" if close else ""


# ------------------------------------------------------------ Rows of one file, strictly: wrong bytes and broken l

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")
_BOMS = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
_CSV_FIELD = 1 << 28
"""Largest CSV field in characters; Python's own default of 131,072 is below a long document."""


@dataclass(frozen=True)
class Raw:
    """One row as read: its position in its source (from 0), its line (from 1) where there are lines, its split."""

    row: int
    value: Any
    line: int | None = None
    split: str | None = None


@dataclass(frozen=True)
class FileRows:
    """What a file holds. `splits` is set for a JSON object of split name to rows."""

    rows: tuple[Raw, ...]
    skipped_lines: tuple[int, ...] = ()
    splits: Mapping[str, list[Any]] | None = None


def read_file(path: Path, *, skip_bad_lines: bool = False) -> FileRows:
    """The rows of a .jsonl, .json, .csv or .parquet file.

    Raises DataError naming line or byte; `skip_bad_lines` leaves broken JSON lines out and counts them.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        msg = f"{path.name!r} has an unknown ending"
        raise DataError(msg, where=str(path), mend=f"Known are {', '.join(SUFFIXES)}.")
    if suffix == ".parquet":
        return FileRows(_numbered(_parquet(path)))
    text = _text(path)
    if suffix == ".csv":
        found = FileRows(tuple(_csv(text, path)))
    elif suffix == ".json" or text.lstrip().startswith("["):
        found = _json(text, path)
    else:
        found = _jsonl(text, path, skip_bad_lines=skip_bad_lines)
    if not found.rows and not found.splits and not found.skipped_lines:
        msg = f"{path.name!r} has no rows"
        raise DataError(msg, where=str(path), mend="Give a file with at least one row.", reason="no rows")
    return found


def _numbered(values: list[Any]) -> tuple[Raw, ...]:
    return tuple(Raw(i, value) for i, value in enumerate(values))


def _text(path: Path) -> str:
    """The file as UTF-8 text. Raises DataError naming the encoding seen or the first bad byte."""
    try:
        data = path.read_bytes()
    except OSError as error:
        msg = f"{path.name!r} cannot be read: {error.strerror}"
        raise DataError(msg, where=str(path)) from error
    for mark, name in _BOMS:
        if data.startswith(mark):
            msg = f"{path.name!r} is {name}, not UTF-8"
            mend = f"Convert it: iconv -f {name} -t UTF-8 {path.name} > utf8-{path.name}"
            raise DataError(msg, where=str(path), mend=mend, reason="encoding", encoding=name)
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        msg = f"{path.name!r} is not UTF-8: byte {error.start} is 0x{data[error.start]:02X}"
        mend = f"If it is Windows text: iconv -f WINDOWS-1252 -t UTF-8 {path.name} > utf8-{path.name}"
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            msg, where=f"{path}, line {line}", mend=mend, reason="encoding", first_bad_byte=error.start, line=line
        ) from error


def _missing(_: str) -> None:
    """NaN and Infinity are no JSON and no answer: they become missing values."""
    return


def _parsed(text: str) -> Any:
    return json.loads(text, parse_constant=_missing)


def _problem(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg.removesuffix(' at')} at character {error.pos}"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _jsonl(text: str, path: Path, *, skip_bad_lines: bool) -> FileRows:
    """One object a line. Only a line feed ends a line: U+2028 and U+0085 are characters of a string."""
    rows: list[Raw] = []
    skipped: list[int] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = _parsed(line)
        except (ValueError, RecursionError) as error:
            if not skip_bad_lines:
                msg = f"line {number} of {path.name!r} is no JSON: {_problem(error)}"
                mend = "Repair the line, or leave broken lines out with skip_bad_lines."
                raise DataError(msg, where=str(path), mend=mend, line=number) from error
            skipped.append(number)
            continue
        if not isinstance(value, dict):
            msg = f"line {number} of {path.name!r} holds a {type(value).__name__}, not an object"
            mend = "Write one object a line, or one array of objects in the file."
            raise DataError(msg, where=str(path), mend=mend, line=number)
        rows.append(Raw(len(rows), value, number))
    return FileRows(tuple(rows), tuple(skipped))


def _json(text: str, path: Path) -> FileRows:
    """An array of rows, or an object of split name to arrays."""
    if not text.strip():
        return FileRows(())
    try:
        value = _parsed(text)
    except (ValueError, RecursionError) as error:
        msg = f"{path.name!r} is no JSON: {_problem(error)}"
        line = getattr(error, "lineno", None)
        raise DataError(msg, where=f"{path}, line {line}" if line else str(path), line=line) from error
    if isinstance(value, list):
        return FileRows(_numbered(value))
    if isinstance(value, dict) and value and all(isinstance(rows, list) for rows in value.values()):
        return FileRows((), splits=value)
    msg = f"{path.name!r} holds neither an array of rows nor an object of split name to rows"
    raise DataError(
        msg, where=str(path), mend="Write [row, row, ...], or {'train': [...], 'dev': [...], 'test': [...]}."
    )


@contextmanager
def _long_fields() -> Iterator[None]:
    before = csv.field_size_limit(_CSV_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _csv(text: str, path: Path) -> Iterator[Raw]:
    """Rows of a comma-separated file with a header; every value stays a string."""
    with _long_fields():
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        try:
            header = next(reader, None)
            if header is None:
                return
            _check_header(header, path)
            count = 0
            for fields in reader:
                if not fields:
                    continue
                if len(fields) != len(header):
                    msg = f"line {reader.line_num} of {path.name!r} has {len(fields)} fields, the header {len(header)}"
                    mend = "Put fields with commas in double quotes."
                    raise DataError(msg, where=str(path), mend=mend, line=reader.line_num)
                yield Raw(count, dict(zip(header, fields, strict=True)), reader.line_num)
                count += 1
        except csv.Error as error:
            msg = f"line {reader.line_num} of {path.name!r} is no CSV: {error}"
            mend = "Look for a double quote that is not closed, or not doubled inside a field."
            raise DataError(msg, where=str(path), mend=mend, line=reader.line_num) from error


def _check_header(header: list[str], path: Path) -> None:
    twice = {name for name in header if header.count(name) > 1}
    if twice:
        msg = f"{path.name!r} has the column {min(twice)!r} twice"
        raise DataError(msg, where=str(path), mend="Rename one of them.")
    for sign, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and sign in header[0]:
            msg = f"{path.name!r} seems to be separated by {name}"
            raise DataError(msg, where=str(path), mend="Save it with commas between the columns.")


def _parquet(path: Path) -> list[Any]:
    import pyarrow as pa  # type: ignore[import-untyped]  # ships no types
    import pyarrow.parquet as pq  # type: ignore[import-untyped]  # ships no types

    try:
        rows: list[Any] = pq.read_table(path).to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        msg = f"{path.name!r} is no parquet file: {error}"
        raise DataError(msg, where=str(path)) from error
    if not rows:
        msg = f"{path.name!r} has no rows"
        raise DataError(msg, where=str(path), reason="no rows")
    return rows
