"""How an event becomes a line of JSON and is read again; when two events are the same; which runs lie in a folder.

A journal is read without locking it by `show`, `export`, reports and orchestrators. A line that is no
event (garbled by a disk, edited by hand) is left out wherever a journal is read: a damaged line costs
its own event, never the run.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_promptopt._collections import without
from langchain_promptopt.errors import ResumeError, UsageError
from langchain_promptopt.events import Called, Opened, RunFinished, RunStarted, ScoredRow, Tested, TestRows, event_of
from langchain_promptopt.store.folder import open_unlinked
from langchain_promptopt.types import Cell, Failure, Outcome, StepAnswer, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator

VERDICTS = frozenset({"improved", "inconclusive", "no_gain"})
"""Outcomes after which nothing is left to do; a spent budget and an interruption can be resumed."""

JOURNAL = "journal.jsonl"
_LINE = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=str)
_CANONICAL = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"), default=str, sort_keys=True)
_READER = json.JSONDecoder()
_scan: Callable[[str, int], tuple[Any, int]] = _READER.scan_once  # type: ignore[attr-defined]  # not in the stubs
_FINISHED = b'"type":"%s"' % RunFinished.type.encode()
_TESTED = b'"type":"%s"' % Tested.type.encode()
_ENDS = frozenset({"", "\n"})
_OPENED = b'"type":"%s"' % Opened.type.encode()
_HEAD = 100
"""Bytes of a line within which its type stands."""


def now() -> str:
    """The time as journals write it: RFC 3339, UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def mark_of(time: str, candidate_id: str) -> str:
    """The mark of one opening of the test rows: made of the time of its line, so a run that starts anew has another."""
    return hashlib.sha256(f"{time}/{candidate_id}".encode()).hexdigest()[:16]


def opening_mark(path: Path) -> str | None:
    """The mark of the last opening in a journal, None where it has none or is not there; other lines are not parsed."""
    found = None
    try:
        with path.open("rb") as stream:
            for line in stream:
                if _OPENED in line[:_HEAD] and line.endswith(b"\n"):
                    data = decode(line)
                    event = event_of(data)
                    if isinstance(event, Opened):
                        found = mark_of(data["time"], event.candidate_id)
    except (OSError, ValueError, KeyError):
        return None
    return found


def encode(seq: int, time: str, kind: str, data: Mapping[str, Any]) -> bytes:
    r"""One line, newline included. Strict JSON whatever a chain has put into its output.

    Args:
        seq: Number of the event in its journal, counted from 1.
        time: As `now` writes it.
        kind: Type of the event.
        data: Its fields.

    >>> encode(1, "t", "x", {"a": float("nan")})
    b'{"seq":1,"time":"t","type":"x","data":{"a":"NaN"}}\n'
    """
    line = {"seq": seq, "time": time, "type": kind, "data": data}
    try:
        text = _LINE.encode(line)
    except (TypeError, ValueError, RecursionError):
        text = _LINE.encode(_strict(line))
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:  # half of a surrogate pair: only an escape can carry it
        return json.dumps(json.loads(text), separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Any:
    """The value on a line of a journal. Raises ValueError where it is not JSON in UTF-8."""
    text = line.decode()
    try:
        value, end = _scan(text, 0)  # as `decode`, without looking for white space we never write
    except StopIteration:
        value, end = _READER.raw_decode(text)  # which says what is wrong
    return value if text[end:] in _ENDS else _READER.decode(text)


def _strict(value: Any, depth: int = 0) -> Any:
    """`value` with text in place of what JSON cannot say: keys that are no strings, NaN, endless nesting and digits."""
    if depth > _DEEPEST:
        return f"{type(value).__name__} nested more than {_DEEPEST} times"
    if isinstance(value, Mapping):
        return {str(k): _strict(v, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(v, depth + 1) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"inf": "Infinity", "-inf": "-Infinity"}.get(str(value), "NaN")
    if isinstance(value, int) and abs(value) > _LARGEST:
        return hex(value)
    return value


_DEEPEST = 200
_LARGEST = 10**4000
"""Python refuses to read or write integers of many more digits."""


def event_content(kind: str, data: Mapping[str, Any]) -> bytes:
    """Equal for two events that differ in nothing but how long calls took, in memory or read back.

    The start of a run is the same event under another budget, output or version of this package.
    """
    plain = _timeless(data)
    if kind == RunStarted.type:
        plain = without(plain, {"config", "version"})
    try:
        text = _CANONICAL.encode(plain)
    except (TypeError, ValueError, RecursionError):
        text = _CANONICAL.encode(_strict(plain))
    return hashlib.blake2b(f"{kind}\n{text}".encode(), digest_size=16).digest()


def _timeless(data: Mapping[str, Any]) -> Mapping[str, Any]:
    timed = {}
    for k in ("usage", "judge"):
        if isinstance(v := data.get(k), dict):
            timed[k] = _without_seconds(v)
    return {**data, **timed} if timed else data


def _without_seconds(usage: dict[str, Any]) -> dict[str, Any]:
    plain = without(usage, {"seconds"})
    found: dict[str, Any] = {}
    for k, v in plain.items():
        if isinstance(v, dict):
            found[k] = _without_seconds(v)
        else:
            found[k] = v
    return found


def outcome_of(data: Mapping[str, Any], cell: Cell | None = None) -> Outcome:
    """The outcome a `scored` event records; its `cell`, where that is known already.

    Raises ValueError or TypeError where the data cannot be an outcome, a KeyError where some is missing.
    """
    said = {**_UNSAID, **data}  # one look at the defaults: a run that goes on reads a line for each of its evaluations
    scores, failure, usage, judge, steps = said["scores"], said["failure"], said["usage"], said["judge"], said["steps"]
    for score in scores.values():
        if not (type(score) is float or isinstance(score, int | float)) or not 0 <= score <= 1:
            msg = f"scores must be numbers from 0 to 1, not {scores!r:.80}"
            raise ValueError(msg)
    return Outcome(
        cell_of(said) if cell is None else cell,
        scores,
        said["output"],
        said["comments"] or {},
        None if failure is None else Failure(failure["kind"], failure["message"], failure["scored_zero"]),
        Usage.from_json(usage),
        said["model_served"],
        said["cached"],
        Usage.from_json(judge) if judge else _NO_USAGE,
        said["tries"],
        None if said["rendered"] is None else tuple(said["rendered"]),
        tuple(map(StepAnswer.from_json, steps)) if steps else (),
    )


_UNSAID: Mapping[str, Any] = {
    "output": None,
    "comments": None,
    "failure": None,
    "usage": None,
    "model_served": None,
    "cached": False,
    "judge": None,
    "tries": 1,
    "rendered": None,
    "steps": None,
}
"""What a `scored` event that does not have one of these fields means by that."""
_NO_USAGE = Usage()
_NO_USAGE_SAID = _NO_USAGE.as_json()
_MOST = 2**53
"""As `Usage.from_json`: more than any run uses."""


def _is_ordinary(data: Mapping[str, Any]) -> bool:
    """Whether `outcome_of` takes these data, seen without making an outcome, which takes longer.

    True for nearly all lines; False says nothing.
    """
    said = {"scores": None, **_UNSAID, **data}
    scores, usage = said["scores"], said["usage"]
    plain = said["failure"] is None and said["rendered"] is None and not said["judge"] and not said["steps"]
    if not plain or type(scores) is not dict or type(usage) is not dict or usage.keys() != _NO_USAGE_SAID.keys():
        return False
    for score in scores.values():
        if type(score) is not float or not 0 <= score <= 1:
            return False
    for name, nothing in _NO_USAGE_SAID.items():
        if type(usage[name]) is not type(nothing) or not 0 <= usage[name] < _MOST:
            return False
    return True


def cell_of(data: Mapping[str, Any]) -> Cell:
    """The cell a `scored` event is about."""
    return Cell(data["candidate_id"], data["split"], data["example_id"], data.get("repeat", 0))


_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError)


def parse_line(line: bytes) -> dict[str, Any]:
    """The event on a whole line. Raises ValueError saying what is wrong with it."""
    return parse_scored(line)[0]


def parse_scored(line: bytes) -> tuple[dict[str, Any], Cell | None]:
    """As `parse_line`, with the cell where the event is `scored`."""
    try:
        event: Any = decode(line)
        if not isinstance(event, dict) or not _is_event(event):
            msg = f"it is not an event: {line[:80]!r}"
            raise ValueError(msg)
        if event["type"] == ScoredRow.type:
            data = event["data"]
            return event, cell_of(data) if _is_ordinary(data) else outcome_of(data).cell
        if event["type"] == Called.type:
            _check_call(event["data"])
    except _UNREADABLE as error:
        msg = str(error)[:120] or type(error).__name__
        raise ValueError(msg) from error
    return event, None


def _is_event(line: dict[str, Any]) -> bool:
    try:
        seq, time, kind, data = line["seq"], line["time"], line["type"], line["data"]
    except KeyError:
        return False
    return isinstance(time, str) and isinstance(kind, str) and isinstance(seq, int) and isinstance(data, dict)


def _check_call(data: Mapping[str, Any]) -> None:
    Usage.from_json(data.get("usage"))
    if not isinstance(data["key"], str) or not isinstance(data["reply"], str):
        msg = "key and reply of a call must be texts"
        raise TypeError(msg)


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """All events of the journal at `path`, while another process may be writing it.

    Lines that are no event are left out, and so is a last line that is not finished. Raises
    ResumeError where there is no journal, or not one line of one.
    """
    path = Path(path)
    try:
        stream = open(open_unlinked(path, os.O_RDONLY), "rb")  # noqa: SIM115 - closed by the `with` below
    except FileNotFoundError as error:
        msg = "there is no journal"
        raise ResumeError(msg, where=str(path), mend="Name a run of `promptopt runs`.") from error
    except OSError as error:
        msg = f"the journal cannot be read: {error.strerror}"
        raise ResumeError(msg, where=str(path), mend="Name a run of `promptopt runs`.") from error
    first, found = "", False
    with stream:
        for line in stream:
            if not line.endswith(b"\n"):
                break
            try:
                event = parse_line(line)
            except ValueError as error:
                first = first or str(error)
                continue
            found = True
            yield event
    if first and not found:
        msg = f"no line of the journal is an event: {first}"
        raise ResumeError(msg, where=str(path), mend="Restore the file from a copy, or start a new run.")


class Tail:
    """Reads a journal that another process is writing: each call of `more` gives the events that were added."""

    def __init__(self, path: Path) -> None:
        self._path = Path(path)
        self._at = 0

    def more(self) -> list[dict[str, Any]]:
        """Events whose lines are complete, and were not given before. Lines that are no event are left out."""
        with open(open_unlinked(self._path, os.O_RDONLY), "rb") as stream:
            stream.seek(self._at)
            text = stream.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._at += len(whole)
        found = []
        for line in whole.splitlines(keepends=True):
            with suppress(ValueError):
                found.append(parse_line(line))
        return found


def visible_events(path: Path) -> Iterator[Mapping[str, Any]]:
    """The events people may see: nothing about rows of split `test` but of a test that came to a verdict."""
    return TestRows.of(read_events(path)).shown(read_events(path))


# ---------------------------------------------------------------- finding a run by what a person types


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
    if name == "latest" and not folders:
        msg = "there is no run yet"
        raise UsageError(msg, where=str(base), mend="`promptopt optimize` starts one; --runs-dir looks elsewhere.")
    said = "several runs begin with" if found else "there is no run"
    msg = f"{said} {name!r}"
    raise UsageError(msg, where=str(base), mend="`promptopt runs` lists them; --runs-dir looks elsewhere.")


def unfinished_runs(base: Path) -> list[Path]:
    """The runs below `base` that a resume would go on with, the latest first; there is at least one.

    Runs out of budget and runs whose test was void count; comparisons do not, nor do journals that cannot be
    read. Raises UsageError that says why none of the runs can go on.
    """
    why: Counter[str] = Counter()
    found = []
    for folder in run_folders(base):
        if reason := _over(folder):
            why[reason] += 1
        else:
            found.append(folder)
    if found:
        return found
    told = "; ".join(f"{n} {reason}" for reason, n in why.items())
    msg = f"there is no unfinished run{f' among {why.total()} ({told})' if told else ''}"
    raise UsageError(msg, where=str(base), mend="`promptopt runs` lists all; `promptopt optimize` starts one.")


def _over(folder: Path) -> str:
    """Why going on with a run would change nothing; "" where it can go on."""
    try:
        first = next(islice(read_events(folder / JOURNAL), 1), None)
    except ResumeError:
        return "cannot be read"
    started = None if first is None else event_of(first)
    if not isinstance(started, RunStarted):
        return "never began"
    if started.method == "compare":
        return "a comparison: run `compare` again"
    finished, void = _last_end(folder)
    if finished is None:
        return ""
    if finished.outcome in VERDICTS and not void:
        return "ended with a verdict"
    failed = finished.outcome == "failed" and not finished.retryable
    return "failed for a reason that does not pass by itself" if failed else ""


def _last_end(folder: Path) -> tuple[RunFinished | None, bool]:
    """The last `run.finished`, and whether the last test was void; of other lines there may be many."""
    finished, void = None, False
    with (folder / JOURNAL).open("rb") as stream:
        for line in stream:
            if not line.endswith(b"\n"):
                continue
            with suppress(ValueError):  # a damaged line is told by the run that goes on
                if _FINISHED in line[:_HEAD] or _TESTED in line[:_HEAD]:
                    event = event_of(parse_line(line))
                    if isinstance(event, RunFinished):
                        finished = event
                    elif isinstance(event, Tested):
                        void = event.void
    return finished, void
