"""The journal on disk: one line an event, written with one system call, synced where money was spent.

A line survives `kill -9` as soon as `append` returns, because it is with the operating system by
then; paid lines survive a power cut soon after, because a background thread syncs them in groups.
When a run is resumed it re-emits its events: those that are already there are recognised by
content and not written again.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_promptopt.errors import ResumeError, RunBusy, UnavailableError
from langchain_promptopt.store.folder import private_dir
from langchain_promptopt.store.lines import cell_of, decode, encode, fingerprint, now
from langchain_promptopt.store.places import Cells
from langchain_promptopt.store.reading import parse_line
from langchain_promptopt.store.syncing import Syncer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from langchain_promptopt.events import Event
    from langchain_promptopt.types import Cell, Outcome

VERDICTS = frozenset({"improved", "inconclusive", "no_gain"})
"""Outcomes after which nothing is left to do; a spent budget and an interruption can be resumed."""

_ALWAYS_WRITTEN = frozenset({"incident", "pushed", "tagged", "rolled_back"})
"""News even in the same words: an outage met again, a prompt pushed once more after a rollback."""


class Journal:
    """The record of one run at `path`, held by one process at a time.

    Opening repairs what a power cut left: an unfinished last line is cut off. Any other damage is
    refused. Safe to append to from several threads.

    Raises:
        ResumeError: A line is broken.
        RunBusy: Another process holds the run.
        UnavailableError: The place cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.recovered = 0
        """Bytes of an unfinished last line that were cut off."""
        self.replayed = 0
        """Events that were already there when they were appended again."""
        private_dir(self.path.parent)
        self._mutex = threading.Lock()
        self._lock_fd = self._take_lock()
        self._fd = self._open()
        self._known: Counter[bytes] = Counter()
        self._calls: dict[str, Mapping[str, Any]] = {}
        self._cells = Cells(self._fd)
        self._seq = 0
        self._end = 0
        self._closed = False
        self._outcome = ""
        try:
            self._load()
        except BaseException:
            self._let_go()
            raise
        self._syncer = Syncer(self._fd, str(self.path))

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def calls(self) -> Mapping[str, Mapping[str, Any]]:
        """Data of `called` events by key; the first of a key counts, as it did in the run."""
        return self._calls

    @property
    def cells(self) -> Mapping[Cell, Outcome]:
        """Outcomes of `scored` events by cell; the last of a cell counts, so a dropped row can be made good."""
        return self._cells

    @property
    def pending(self) -> int:
        """Loaded events that have not been re-emitted: 0 once a resumed run has caught up."""
        return self._known.total() + self._cells.waiting

    @property
    def finished(self) -> bool:
        """Whether the run had come to its verdict when the journal was opened: going on only repeats it."""
        return self._outcome in VERDICTS

    def append(self, event: Event) -> None:
        """Write one event, unless a resumed run is repeating it. It survives `kill -9` on return.

        Raises UnavailableError when the disk is full; the journal is whole then, without the event.
        """
        data = event.as_json()
        with self._mutex:
            if self._closed:
                msg = f"journal {self.path} is closed"
                raise ValueError(msg)
            if self._repeats(event.type, data):
                return
            line = encode(self._seq + 1, now(), event.type, data)
            self._write(line)
            self._index(event.type, data if event.type != "called" else decode(line)["data"], len(line))
        if event.paid:
            self._syncer.soon()

    def again(self, cell: Cell) -> None:
        """A resumed run uses the row of this cell: as `append` of the event it was read from, without comparing."""
        with self._mutex:
            self.replayed += self._cells.pass_by(cell)

    def _repeats(self, kind: str, data: Mapping[str, Any]) -> bool:
        if kind == "scored" and self._cells.waiting:
            cell = cell_of(data)
            there = self._cells.loaded(cell)
            if there is not None and fingerprint(kind, there) == fingerprint(kind, data):
                self.replayed += self._cells.pass_by(cell)
                return True
        return bool(self._known) and self._repeats_known(fingerprint(kind, data))

    def _repeats_known(self, mark: bytes) -> bool:
        left = self._known.get(mark, 0)
        if not left:
            return False
        if left > 1:
            self._known[mark] = left - 1
        else:
            del self._known[mark]
        self.replayed += 1
        return True

    def _write(self, line: bytes) -> None:
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            self._cut_back()
            raise self._full(error.strerror or "write failed") from error
        if written != len(line):
            self._cut_back()
            msg = f"only {written} of {len(line)} bytes fit"
            raise self._full(msg)

    def _cut_back(self) -> None:
        os.ftruncate(self._fd, self._end)

    def _full(self, why: str) -> UnavailableError:
        mend = "The journal is whole up to here: free some space and resume."
        return UnavailableError(f"cannot write the journal: {why}", where=str(self.path), mend=mend)

    def _index(self, kind: str, data: Mapping[str, Any], size: int, *, loaded: bool = False) -> None:
        self._seq += 1
        if kind == "called":
            self._calls.setdefault(data["key"], data)
        elif kind == "scored":
            older = self._cells.note(cell_of(data), self._end, size, loaded=loaded)
            if older is not None:  # rare: a dropped row made good later
                self._known[fingerprint(kind, older)] += 1
        self._end += size

    def events(self) -> Iterator[dict[str, Any]]:
        """All events so far, from the file."""
        with self.path.open("rb") as stream:
            left = self._end
            for line in stream:
                if left <= 0:
                    return
                left -= len(line)
                yield decode(line)

    def flush(self) -> None:
        """Return once everything appended would survive a power cut."""
        self._syncer.flush()

    def close(self) -> None:
        """Flush, and let another process have the run. May be called twice."""
        with self._mutex:
            if self._closed:
                return
            self._closed = True
        try:
            self._syncer.close()
        finally:
            self._let_go()

    # ------------------------------------------------------------ opening

    def _take_lock(self) -> int:
        lock = self.path.with_name("journal.lock")
        fd = self._open_private(lock, os.O_RDWR)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            msg = f"process {holder} is working on this run"
            mend = "Wait until it ends, or stop it, then try again: two processes cannot write one run."
            facts = {"pid": holder, "run_id": self.path.parent.name}
            raise RunBusy(msg, where=str(self.path.parent), mend=mend, **facts) from error
        except OSError as error:
            os.close(fd)
            msg = f"this file system cannot lock files: {error.strerror}"
            raise UnavailableError(msg, where=str(lock), mend="Set PROMPTOPT_RUNS_DIR to a local folder.") from error
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        return fd

    def _open(self) -> int:
        try:
            fd = self._open_private(self.path, os.O_RDWR | os.O_APPEND)
        except UnavailableError:
            os.close(self._lock_fd)
            raise
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # a new file's name must survive a power cut too
        finally:
            os.close(folder)
        return fd

    def _open_private(self, path: Path, flags: int) -> int:
        try:
            fd = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            msg = f"cannot open the journal: {error.strerror}"
            raise UnavailableError(msg, where=str(path), mend="Free some space or fix the rights.") from error
        os.fchmod(fd, 0o600)
        return fd

    def _load(self) -> None:
        with open(self._fd, "rb", closefd=False) as stream:
            for number, line in enumerate(stream, start=1):
                if not line.endswith(b"\n") and not self._finish(line, number):
                    return
                event = parse_line(line, number, self.path)
                kind, data = event["type"], event["data"]
                self._recall(kind, data)
                self._index(kind, data, len(line) + (not line.endswith(b"\n")), loaded=True)

    def _recall(self, kind: str, data: Mapping[str, Any]) -> None:
        """Note a loaded event, so that it is known when it comes again; rows are known by their cell."""
        signature = kind == "incident" and data.get("role") == "method"  # these recur in the same words
        if kind != "scored" and (kind not in _ALWAYS_WRITTEN or signature):
            self._known[fingerprint(kind, data)] += 1
        if kind == "run.finished":
            self._outcome = str(data.get("outcome"))

    def _finish(self, line: bytes, number: int) -> bool:
        """Mend a last line without its end: keep it if only the newline is missing, else cut it off."""
        try:
            parse_line(line, number, self.path)
        except ResumeError:
            self.recovered = len(line)
            self._cut_back()
            return False
        try:
            os.write(self._fd, b"\n")
        except OSError as error:
            raise self._full(error.strerror or "write failed") from error
        return True

    def _let_go(self) -> None:
        os.close(self._fd)
        os.close(self._lock_fd)
