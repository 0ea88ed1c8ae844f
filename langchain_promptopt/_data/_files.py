"""What `data=` means (product 10.4), and the raw rows it gives: files, folders, the hub, memory, LangSmith.

A path, a URL or uuid, "hf:owner/name", "langsmith-project:NAME", a LangSmith name or rows in memory: which of them
is decided once. Files are read strictly: wrong bytes and broken lines are errors with their place, never repaired
quietly.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from langchain_promptopt._collections import all_are
from langchain_promptopt._data._rows import Raw
from langchain_promptopt._data._splits import name_map
from langchain_promptopt.errors import DataError, UnavailableError, UsageError
from langchain_promptopt.types import SPLITS, Note

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = "langsmith-project:"
"""How the name of a LangSmith project begins."""
SourceKind: TypeAlias = Literal["folder", "file", "url", "uuid", "hf", "name", "project", "splits", "rows"]
REMOTE: frozenset[SourceKind] = frozenset({"url", "uuid", "name", "project"})
"""Kinds that only LangSmith can read."""
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}\Z")
_URL = re.compile(r"https?://\S+\Z")
_HF = re.compile(r"hf:([\w.\-]+/[\w.\-]+|[\w.\-]+)(?::([\w.\-]+))?\Z")
_PLACE = re.compile(r"(?:\.{0,2}|~[^/\\]*|[A-Za-z]:)[/\\]")
"""How only a path begins: /, ./, ../, ~/ or a drive."""


@dataclass(frozen=True)
class Source:
    """Where rows come from. `name` is what reports show; `path` is set for files and folders."""

    kind: SourceKind
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
    if records_of(data) is not None:
        return Source("rows", "examples in memory")
    if isinstance(data, Mapping):
        if "inputs" in data or "outputs" in data:
            msg = "`data` is a single example"
            raise DataError(msg, mend="Give a list of examples, or a mapping from split name to examples.")
        return Source("splits", "splits in memory")
    if isinstance(data, Iterable):
        return Source("rows", "examples in memory")
    msg = f"`data` cannot be read: it is of type {type(data).__name__}"
    mend = (
        "Give a LangSmith dataset name, id or URL, 'langsmith-project:NAME', a file or folder, 'hf:owner/name', a"
        " datasets.Dataset or DatasetDict, a list of examples, or a mapping from split name to examples."
    )
    raise DataError(msg, mend=mend)


def records_of(table: Any) -> list[dict[str, Any]] | None:
    """The rows of a table in memory (pandas, polars, pyarrow), or None for anything else; missing values are None."""
    if hasattr(table, "to_dicts") and hasattr(table, "columns"):  # polars
        return list(table.to_dicts())
    if hasattr(table, "to_pylist") and hasattr(table, "schema"):  # pyarrow
        return list(table.to_pylist())
    if hasattr(table, "iloc") and hasattr(table, "columns"):  # pandas
        found = []
        for row in table.to_dict("records"):
            found.append({str(k): _present(v) for k, v in row.items()})
        return found
    return None


def _present(value: Any) -> Any:
    """None for what a table says where there is no value (NaN, NaT, NA)."""
    if type(value).__name__ in {"NAType", "NaTType"} or (isinstance(value, float) and value != value):
        return None
    return value


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
    if name.startswith(PROJECT):
        return Source("project", name)
    if name.startswith("hf:"):
        found = _HF.match(name)
        if found is None:
            msg = f"{name!r} is not a name on the Hugging Face hub"
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


# Reading one file

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
_BOMS = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
_CSV_FIELD = 1 << 28
"""Largest CSV field in characters; Python's own default of 131,072 is below a long document."""


@dataclass(frozen=True)
class FileRows:
    """What a file holds. `splits` is set for a JSON object of split name to rows; `note` says how it was read."""

    rows: tuple[Raw, ...]
    skipped_lines: tuple[int, ...] = ()
    splits: Mapping[str, list[Any]] | None = None
    note: str = ""


def read_file(path: Path, *, skip_bad_lines: bool = False) -> FileRows:
    """The rows of a .jsonl, .json, .csv, .tsv or .parquet file.

    Raises DataError naming line or byte; `skip_bad_lines` leaves broken JSON lines out and counts them.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        msg = f"{path.name!r} has an unknown ending"
        raise DataError(msg, where=str(path), mend=f"Known are {', '.join(SUFFIXES)}.")
    if suffix == ".parquet":
        return FileRows(_numbered(_parquet(path)))
    text = _text(path)
    if suffix in {".csv", ".tsv"}:
        found = _table(text, path)
    elif suffix == ".json" or text.lstrip().startswith("["):
        found = _json(text, path)
    else:
        found = _jsonl(text, path, skip_bad_lines=skip_bad_lines)
    if not found.rows and not found.splits and not found.skipped_lines:
        msg = f"{path.name!r} has no examples"
        raise DataError(msg, where=str(path), mend="Give a file with at least one example.", reason="no rows")
    return found


def _numbered(values: list[Any]) -> tuple[Raw, ...]:
    return tuple(starmap(Raw, enumerate(values)))


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
    """NaN and Infinity are neither JSON nor an answer: they become missing values."""
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
                msg = f"line {number} of {path.name!r} is not valid JSON: {_problem(error)}"
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
    """An array of rows, an object of split name to arrays, or an object around one array."""
    if not text.strip():
        return FileRows(())
    try:
        value = _parsed(text)
    except (ValueError, RecursionError) as error:
        msg = f"{path.name!r} is not valid JSON: {_problem(error)}"
        line = getattr(error, "lineno", None)
        raise DataError(msg, where=f"{path}, line {line}" if line else str(path), line=line) from error
    if isinstance(value, list):
        return FileRows(_numbered(value))
    if isinstance(value, dict) and (wrapped := _wrapped(value, path)) is not None:
        return wrapped
    if isinstance(value, dict) and value and all_are(value.values(), list):
        return FileRows((), splits=value)
    msg = f"{path.name!r} holds neither an array of examples nor an object of split name to examples"
    if isinstance(value, dict):
        msg += f"; its keys are {', '.join(map(str, value))}"
    raise DataError(
        msg, where=str(path), mend="Write [example, example, ...], or {'train': [...], 'dev': [...], 'test': [...]}."
    )


_SPLIT_WORDS = frozenset({*SPLITS, "training", "validation", "valid", "eval", "evaluation", "testing", "holdout"})
"""Names that mean a split, though not all of them are ours."""


def _wrapped(value: Mapping[str, Any], path: Path) -> FileRows | None:
    """The rows of the one list of rows in an object, under a name that is no split; None for other objects."""
    lists = {key: rows for key, rows in value.items() if isinstance(rows, list) and _are_rows(rows)}
    if len(lists) != 1 or (key := next(iter(lists))).lower() in _SPLIT_WORDS:
        return None
    rest = [name for name in value if name != key]
    note = f"{path.name}: the examples are the list under {key!r}" + (f"; not used: {', '.join(rest)}" if rest else "")
    return FileRows(_numbered(lists[key]), note=note)


def _are_rows(values: list[Any]) -> bool:
    return bool(values) and all_are(values, dict)


@contextmanager
def _long_fields() -> Iterator[None]:
    before = csv.field_size_limit(_CSV_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(before)


_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_SAMPLE = 20
"""Records by which the separator is found."""


def _table(text: str, path: Path) -> FileRows:
    """Rows of a file of separated values with a header; every value stays a string."""
    sign = "\t" if path.suffix.lower() == ".tsv" else _separator(text)
    rows = tuple(_separated(text, path, sign))
    usual = sign == "," or path.suffix.lower() == ".tsv"
    return FileRows(rows, note="" if usual else f"{path.name}: its columns are separated by {_SEPARATORS[sign]}")


def _separator(text: str) -> str:
    """The sign that cuts header and first records into equally many fields, more than one; a comma in doubt.

    `csv.Sniffer` is not asked: it takes a letter for the separator where texts are long.
    """
    widths: dict[str, int] = {}
    for sign in _SEPARATORS:
        records = _first_records(text, sign)
        if records:
            width = len(records[0])
            if width > 1 and all(len(record) == width for record in records):
                return sign
            widths[sign] = width
    return max(widths, key=lambda sign: widths[sign]) if widths else ","


def _first_records(text: str, sign: str) -> list[list[str]]:
    with _long_fields():
        reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=sign)
        try:
            return [fields for fields, _ in zip(reader, range(_SAMPLE), strict=False) if fields]
        except csv.Error:
            return []


def _separated(text: str, path: Path, sign: str) -> Iterator[Raw]:
    with _long_fields():
        reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=sign)
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
                    mend = f"Put fields with {_SEPARATORS[sign]} in double quotes."
                    raise DataError(msg, where=str(path), mend=mend, line=reader.line_num)
                yield Raw(count, dict(zip(header, fields, strict=True)), reader.line_num)
                count += 1
        except csv.Error as error:
            msg = f"line {reader.line_num} of {path.name!r} is not valid CSV: {error}"
            mend = "Look for a double quote that is not closed, or not doubled inside a field."
            raise DataError(msg, where=str(path), mend=mend, line=reader.line_num) from error


def _check_header(header: list[str], path: Path) -> None:
    twice = {name for name in header if header.count(name) > 1}
    if twice:
        msg = f"{path.name!r} has the column {min(twice)!r} twice"
        raise DataError(msg, where=str(path), mend="Rename one of them.")


def _parquet(path: Path) -> list[Any]:
    import pyarrow as pa  # type: ignore[import-untyped]  # ships no types
    import pyarrow.parquet as pq  # type: ignore[import-untyped]  # ships no types

    try:
        rows: list[Any] = pq.read_table(path).to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        msg = f"{path.name!r} is not a parquet file: {error}"
        raise DataError(msg, where=str(path)) from error
    if not rows:
        msg = f"{path.name!r} has no examples"
        raise DataError(msg, where=str(path), reason="no rows")
    return rows


# All rows of a source


@dataclass
class Gathered:
    """Raw rows of a source, with what was noticed while reading them."""

    rows: list[Raw] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def add(self, path: Path, split: str | None, *, skip_bad_lines: bool) -> None:
        """Read a file into these rows.

        Args:
            path: The file.
            split: The data's name for the split of its rows; None where the rows say it, or none is known.
            skip_bad_lines: Leave broken lines of JSONL files out and note them.

        Raises:
            DataError: A broken file, or one without rows.
        """
        found = read_file(path, skip_bad_lines=skip_bad_lines)
        if found.skipped_lines:
            lines = ", ".join(map(str, found.skipped_lines))
            self.notes.append(Note("unused", f"{path.name}: skipped broken line(s) {lines}"))
        if found.note:
            self.notes.append(Note("data", found.note))
        self.rows += [Raw(r.row, r.value, r.line, split) for r in found.rows]
        for name, rows in (found.splits or {}).items():
            self.rows += [Raw(i, value, None, name) for i, value in enumerate(rows)]


def gather(
    data: Any,
    source: Source,
    splits: Mapping[str, str] | None,
    *,
    skip_bad_lines: bool,
    remote: Callable[[str], Iterable[Any]] | None,
) -> Gathered:
    """The raw rows of a source.

    Args:
        data: What the user gave.
        source: What it was found to be.
        splits: Our split name to the data's, for the files of a folder.
        skip_bad_lines: Leave broken lines of JSONL files out.
        remote: Reads a LangSmith dataset.

    Raises:
        DataError: Nothing to read, or a broken file.
        UnavailableError: The hub is out of reach.
    """
    found = Gathered()
    if source.remote:
        if remote is None:
            msg = f"{source.name!r} is not a file or folder here, so it is taken as a LangSmith dataset"
            raise DataError(msg, where=f"looked in {Path.cwd()}", mend="Correct the path, or configure LangSmith.")
        found.rows += list(starmap(Raw, enumerate(_remote(source, remote))))
    elif source.path is not None and source.kind == "folder":
        _folder(found, source.path, splits, skip_bad_lines=skip_bad_lines)
    elif source.path is not None:
        found.add(source.path, None, skip_bad_lines=skip_bad_lines)
    else:
        _in_memory(found, _from_hub(source) if source.kind == "hf" else data, skip_bad_lines=skip_bad_lines)
    if not found.rows:
        msg = f"{source.name!r} has no examples"
        raise DataError(msg, mend="Give at least one example.", reason="no rows")
    return found


def _remote(source: Source, remote: Callable[[str], Iterable[Any]]) -> Iterable[Any]:
    """LangSmith's rows; an error about a bare name says first that no such file is here."""
    try:
        return list(remote(source.name))
    except UsageError as error:
        if source.kind == "name":
            error.amend(
                before=f"{source.name!r} is not a file or folder here, so it is taken as a LangSmith dataset: ",
                after=f"If you meant a path, it is relative to {Path.cwd()}.{near(Path(source.name))}",
            )
        raise


def _folder(found: Gathered, folder: Path, splits: Mapping[str, str] | None, *, skip_bad_lines: bool) -> None:
    """A file for each split: train.jsonl, dev.csv, test.parquet ..."""
    out = []
    for p in folder.iterdir():
        if p.suffix.lower() in SUFFIXES and p.is_file():
            out.append(p)
    files = sorted(out)
    stems = [p.stem for p in files]
    names = name_map(splits, stems)
    twice = {s for s in stems if stems.count(s) > 1 and s in names}
    if twice:
        same = ", ".join(p.name for p in files if p.stem == min(twice))
        msg = f"the split `{min(twice)}` has several files: {same}"
        raise DataError(msg, where=str(folder), mend="Keep one.")
    used = [p for p in files if p.stem in names]
    if not used:
        wanted = ", ".join(f"{s}.jsonl" for s in ("train", "dev", "test"))
        msg = f"the folder has no file for a split; it holds {', '.join(p.name for p in files) or 'no data files'}"
        raise DataError(msg, where=str(folder), mend=f"Name them {wanted}, or give the names in `splits`.")
    for path in used:
        found.add(path, path.stem, skip_bad_lines=skip_bad_lines)
    ignored = ", ".join(p.name for p in files if p not in used)
    if ignored:
        found.notes.append(Note("unused", f"not used: {ignored}"))


def _in_memory(found: Gathered, data: Any, *, skip_bad_lines: bool) -> None:
    if not isinstance(data, Mapping):
        table = records_of(data)
        values = data if table is None else table
        found.rows += list(starmap(Raw, enumerate(values)))
        return
    for name, rows in data.items():
        if isinstance(rows, str | Path):
            found.add(Path(rows).expanduser(), str(name), skip_bad_lines=skip_bad_lines)
        elif (table := records_of(rows)) is not None:
            found.rows += [Raw(i, value, None, str(name)) for i, value in enumerate(table)]
        elif isinstance(rows, Mapping) or not isinstance(rows, Iterable):
            msg = f"split {name!r} is a {type(rows).__name__}, not a list of examples"
            raise DataError(msg, mend="Give examples, or a path, for each split.")
        else:
            found.rows += [Raw(i, value, None, str(name)) for i, value in enumerate(rows)]


def _from_hub(source: Source) -> Any:
    from datasets import load_dataset

    try:
        return load_dataset(source.name, source.config)
    except ConnectionError as error:
        msg = f"the Hugging Face hub is out of reach for {source.name!r}: {error}"
        raise UnavailableError(msg, role="data") from error
    except (OSError, ValueError) as error:
        msg = f"{source.name!r} cannot be loaded from the Hugging Face hub: {error}"
        raise DataError(msg, mend="Check owner, name and config (hf:owner/name:config).") from error
