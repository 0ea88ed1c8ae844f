"""Reading journals without locking them: for `show`, `export`, reports and orchestrators."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_promptopt.errors import ResumeError
from langchain_promptopt.store.lines import decode

if TYPE_CHECKING:
    from collections.abc import Iterator

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
