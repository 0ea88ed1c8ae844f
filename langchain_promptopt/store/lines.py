"""How an event becomes a line of JSON, and when two events are the same event.

Reading journals without locking them: for `show`, `export`, reports and orchestrators.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_promptopt.errors import ResumeError
from langchain_promptopt.types import Cell, Failure, Outcome, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator

_LINE = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=str)
_CANONICAL = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"), default=str, sort_keys=True)
_READER = json.JSONDecoder()
_ENDS = frozenset({"", "\n"})


def now() -> str:
    """The time as journals write it: RFC 3339, UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def encode(seq: int, time: str, kind: str, data: Mapping[str, Any]) -> bytes:
    r"""One line, newline included. Strict JSON whatever a chain has put into its output.

    >>> encode(1, "t", "x", {"a": float("nan")})
    b'{"seq":1,"time":"t","type":"x","data":{"a":"NaN"}}\n'
    """
    line = {"seq": seq, "time": time, "type": kind, "data": data}
    try:
        text = _LINE.encode(line)
    except (TypeError, ValueError):
        text = _LINE.encode(_strict(line))
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:  # half of a surrogate pair: only an escape can carry it
        return json.dumps(json.loads(text), separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Any:
    """The value on a line of a journal. Raises ValueError where it is not JSON in UTF-8."""
    text = line.decode()
    value, end = _READER.raw_decode(text)  # as `decode`, without looking for white space we never write
    return value if text[end:] in _ENDS else _READER.decode(text)


def _strict(value: Any) -> Any:
    """`value` with text in place of what JSON cannot say: keys that are no strings, NaN and infinity."""
    if isinstance(value, Mapping):
        return {str(k): _strict(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"inf": "Infinity", "-inf": "-Infinity"}.get(str(value), "NaN")
    return value


def fingerprint(kind: str, data: Mapping[str, Any]) -> bytes:
    """Equal for two events that differ in nothing but how long calls took, in memory or read back.

    Nor is the start of a run another one when it goes on under another budget or output.
    """
    plain = _timeless(data)
    if kind == "run.started":
        plain = {k: v for k, v in plain.items() if k != "config"}
    try:
        text = _CANONICAL.encode(plain)
    except (TypeError, ValueError):
        text = _CANONICAL.encode(_strict(plain))
    return hashlib.blake2b(f"{kind}\n{text}".encode(), digest_size=16).digest()


def _timeless(data: Mapping[str, Any]) -> Mapping[str, Any]:
    timed = {k: _without_seconds(v) for k in ("usage", "judge") if isinstance(v := data.get(k), dict)}
    return {**data, **timed} if timed else data


def _without_seconds(usage: dict[str, Any]) -> dict[str, Any]:
    plain = {k: v for k, v in usage.items() if k != "seconds"}
    return {k: _without_seconds(v) if isinstance(v, dict) else v for k, v in plain.items()}


def outcome_of(data: Mapping[str, Any], cell: Cell | None = None) -> Outcome:
    """The outcome a `scored` event records; its `cell`, where that is known already."""
    failure = data.get("failure")
    return Outcome(
        cell=cell_of(data) if cell is None else cell,
        scores=data["scores"],
        output=data.get("output"),
        comments=data.get("comments") or {},
        failure=None if failure is None else Failure(failure["kind"], failure["message"], failure["scored_zero"]),
        usage=Usage.from_json(data.get("usage")),
        model_served=data.get("model_served"),
        cached=data.get("cached", False),
        judge=Usage.from_json(data.get("judge")),
        tries=data.get("tries", 1),
    )


def cell_of(data: Mapping[str, Any]) -> Cell:
    """The cell a `scored` event is about."""
    return Cell(data["candidate_id"], data["split"], data["example_id"], data.get("repeat", 0))


# ------------------------------------------------------------ Reading journals without locking them: for `show`, `

_SEALED = {"scored", "evaluated"}


def parse_line(line: bytes, number: int, path: Path) -> dict[str, Any]:
    """The event on a whole line. Raises ResumeError naming file and line."""
    try:
        event: Any = decode(line)
    except ValueError as error:
        msg = f"line {number} of the journal is not JSON: {str(error)[:120]}"
        raise ResumeError(msg, where=f"{path}:{number}", mend=_MEND) from error
    if not isinstance(event, dict) or not _is_event(event):
        msg = f"line {number} of the journal is no event: {line[:80]!r}"
        raise ResumeError(msg, where=f"{path}:{number}", mend=_MEND)
    if event["seq"] != number:
        msg = f"line {number} of the journal has seq {event['seq']}: a line was lost, added or moved"
        raise ResumeError(msg, where=f"{path}:{number}", mend=_MEND)
    return event


def _is_event(line: dict[str, Any]) -> bool:
    get = line.get
    texts = isinstance(get("time"), str) and isinstance(get("type"), str)
    return texts and isinstance(get("seq"), int) and isinstance(get("data"), dict)


_MEND = "Restore the file from a copy, or start the run anew in another folder."


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """All events of the journal at `path`, while another process may be writing it.

    A last line that is not finished is left out. Raises ResumeError on any other broken line.
    """
    path = Path(path)
    try:
        stream = path.open("rb")
    except FileNotFoundError as error:
        msg = "there is no journal"
        raise ResumeError(msg, where=str(path), mend="Name a run of `promptopt runs`.") from error
    with stream:
        for number, line in enumerate(stream, start=1):
            if not line.endswith(b"\n"):
                return
            yield parse_line(line, number, path)


def visible_events(path: Path) -> Iterator[dict[str, Any]]:
    """The events people may see: nothing about rows of split `test` before the `tested` that opens them."""
    opened = max((event["seq"] for event in read_events(path) if event["type"] == "tested"), default=0)
    for event in read_events(path):
        sealed = event["type"] in _SEALED and event["data"].get("split") == "test"
        if not sealed or event["seq"] < opened:
            yield event
