"""The journal on disk: one line an event, written with one system call, synced where money was spent.

A line survives `kill -9` as soon as `append` returns, because it is with the operating system by
then; paid lines survive a power cut soon after, because a background thread syncs them in groups.
When a run is resumed it re-emits its events: those that are already there are recognised by
content and not written again. A damaged line is reported and left out: what it held is asked for again.

`MemoryStore` is the store of a run without a folder; `Record` is the face that both share.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from langchain_promptopt.errors import RunBusy, UnavailableError
from langchain_promptopt.events import (
    Called,
    Incident,
    Opened,
    Pushed,
    RolledBack,
    RunFinished,
    RunStarted,
    ScoredRow,
    Tagged,
    Tested,
    event_of,
    opening_key,
)
from langchain_promptopt.store.folder import open_unlinked, private_dir
from langchain_promptopt.store.lines import (
    JOURNAL,
    VERDICTS,
    decode,
    encode,
    event_content,
    mark_of,
    now,
    outcome_of,
    parse_line,
    parse_scored,
)
from langchain_promptopt.types import Cell, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from filelock import BaseFileLock

    from langchain_promptopt.events import Event, Moved


class Record(Protocol):
    """A Store that also answers what a resumed run asks."""

    @property
    def calls(self) -> Mapping[str, Called]:
        """Replies by key; the first of a key counts."""
        ...

    @property
    def cells(self) -> Mapping[Cell, Outcome]:
        """Outcomes of `scored` events by cell; the last of a cell counts."""
        ...

    @property
    def opened(self) -> Mapping[str, str]:
        """The mark of the opening of the test rows, by candidate: a record that is another has another."""
        ...

    @property
    def replayed(self) -> int:
        """Events that were already there when they were appended again."""
        ...

    @property
    def finished(self) -> bool:
        """Whether the run had come to its verdict when the record was opened."""
        ...

    @property
    def voided(self) -> int:
        """Tests that were void when the record was opened, those apart that a budget ended."""
        ...

    def append(self, event: Event) -> None:
        """Add one event; on return it survives the death of this process."""
        ...

    def again(self, cell: Cell) -> None:
        """The row of this cell is used by a resumed run; nothing is written."""
        ...

    def events(self) -> Iterator[Mapping[str, Any]]:
        """All lines so far as {"seq", "time", "type", "data"}."""
        ...

    def flush(self) -> None:
        """Return once everything appended would survive a power cut."""
        ...

    def touch(self) -> None:
        """Make this the latest run."""
        ...

    def close(self) -> None:
        """Flush and let go."""
        ...


class MemoryStore:
    """Keeps the lines a Journal would write; they die with the process."""

    replayed = 0
    recovered = 0
    finished = False
    voided = 0
    damaged: tuple[str, ...] = ()
    version = ""

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self._calls: dict[str, Called] = {}
        self._cells: dict[Cell, Outcome] = {}
        self.opened: dict[str, str] = {}

    def __enter__(self) -> MemoryStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def calls(self) -> Mapping[str, Called]:
        """Replies by key."""
        return self._calls

    @property
    def cells(self) -> Mapping[Cell, Outcome]:
        """Outcomes of `scored` events by cell."""
        return self._cells

    def append(self, event: Event) -> None:
        """Add one event."""
        time = now()
        line = encode(len(self._lines) + 1, time, event.type, event.as_json())
        self._lines.append(line)
        if isinstance(event, Opened):
            _note_opening(self.opened, event, time)
        elif isinstance(event, Called):
            self._calls.setdefault(event.key, _read_back(line))
        elif isinstance(event, ScoredRow):
            self._cells[event.cell] = outcome_of(json.loads(line)["data"])

    def again(self, cell: Cell) -> None:
        """Nothing to do: what is here was written by this process."""

    def events(self) -> Iterator[Mapping[str, Any]]:
        """All lines so far."""
        return map(json.loads, tuple(self._lines))

    def flush(self) -> None:
        """Nothing to do."""

    def touch(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


# ---------------------------------------------------------------- the journal on disk

_LOCK = "journal.lock"
_ALWAYS_WRITTEN = (Incident, Pushed, Tagged, RolledBack)
"""News even in the same words: an outage met again, a prompt pushed once more after a rollback."""
_RECURRING = frozenset({"method", "journal"})
"""Roles whose incidents a resumed run meets again in the same words."""


class Journal:
    """The record of one run at `path`, held by one process at a time.

    Opening repairs what a power cut left: an unfinished last line is cut off. Lines that are no event
    are left out and listed in `damaged`. Safe to append to from several threads.

    Raises:
        RunBusy: Another process holds the run.
        UnavailableError: The place cannot be written, or a link stands in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.recovered = 0
        """Bytes of an unfinished last line that were cut off."""
        self.damaged: list[str] = []
        """What is wrong with the lines that were left out, the place first."""
        self.version = ""
        """The package version that began the run; "" for a new one."""
        self.replayed = 0
        """Events that were already there when they were appended again."""
        private_dir(self.path.parent)
        self._mutex = threading.Lock()
        self._lock = self._take_lock()
        self._fd = self._open()
        self._inode = os.fstat(self._fd).st_ino
        self._known: Counter[bytes] = Counter()
        self._calls: dict[str, Called] = {}
        self._opened: dict[str, str] = {}
        self._cells = Cells(self._fd)
        self._seq = 0
        self._end = 0
        self._closed = False
        self._outcome = ""
        self._void = False
        self.voided = 0
        """Tests that were void when the journal was opened, those apart that a budget ended."""
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
    def calls(self) -> Mapping[str, Called]:
        """Replies by key; the first of a key counts, as it did in the run."""
        return self._calls

    @property
    def opened(self) -> Mapping[str, str]:
        """The mark of the opening of the test rows, by candidate; the first counts, so a resumed run has the same."""
        return self._opened

    @property
    def cells(self) -> Mapping[Cell, Outcome]:
        """Outcomes of `scored` events by cell; the last of a cell counts, so a dropped row can be made good."""
        return self._cells

    @property
    def finished(self) -> bool:
        """Whether the run had come to its verdict when the journal was opened: going on only repeats it.

        A void test is no verdict.
        """
        return self._outcome in VERDICTS and not self._void

    def append(self, event: Event) -> None:
        """Write one event, unless a resumed run is repeating it. It survives `kill -9` on return.

        Raises UnavailableError when the disk is full or the run folder is gone; without the event, the
        journal is whole then.
        """
        data = event.as_json()
        with self._mutex:
            if self._closed:
                msg = f"journal {self.path} is closed"
                raise ValueError(msg)
            if self._repeats(event, data):
                return
            self._check_place()
            time = now()
            line = encode(self._seq + 1, time, event.type, data)
            self._write(line)
            if isinstance(event, Opened):
                _note_opening(self._opened, event, time)
            elif isinstance(event, Called):
                self._calls.setdefault(event.key, _read_back(line))
            self._index(event.cell if isinstance(event, ScoredRow) else None, len(line))
        if event.paid:
            self._syncer.soon()

    def again(self, cell: Cell) -> None:
        """A resumed run uses the row of this cell: as `append` of the event it was read from, without comparing."""
        with self._mutex:
            self.replayed += self._cells.pass_by(cell)

    def _repeats(self, event: Event, data: Mapping[str, Any]) -> bool:
        kind = event.type
        if isinstance(event, ScoredRow) and self._cells.waiting:
            there = self._cells.loaded(event.cell)
            if there is not None and event_content(kind, there) == event_content(kind, data):
                self.replayed += self._cells.pass_by(event.cell)
                return True
        return bool(self._known) and self._repeats_known(event_content(kind, data))

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

    def _check_place(self) -> None:
        """Lines written to a deleted or moved file are lost, and so are the calls they record, which were paid for."""
        try:
            there = os.stat(self.path, follow_symlinks=False).st_ino == self._inode
        except OSError:
            there = False
        if not there:
            msg = "the run folder was deleted or moved while the run was at work"
            raise UnavailableError(msg, where=str(self.path), mend="Put it back and resume, or start a new run.")

    def _cut_back(self) -> None:
        os.ftruncate(self._fd, self._end)

    def _full(self, why: str) -> UnavailableError:
        mend = "The journal is whole up to here: free some space and resume."
        return UnavailableError(f"cannot write the journal: {why}", where=str(self.path), mend=mend)

    def _index(self, cell: Cell | None, size: int, *, loaded: bool = False) -> None:
        """Count a line of `size` bytes; `cell` is that of a row."""
        self._seq += 1
        if cell is not None:
            older = self._cells.note(cell, self._end, size, loaded=loaded)
            if older is not None:  # rare: a dropped row made good later
                self._known[event_content(ScoredRow.type, older)] += 1
        self._end += size

    def events(self) -> Iterator[dict[str, Any]]:
        """All events so far, from the file."""
        with open(open_unlinked(self.path, os.O_RDONLY), "rb") as stream:
            left = self._end
            for line in stream:
                if left <= 0:
                    return
                left -= len(line)
                if (event := _event_of(line)) is not None:
                    yield event

    def flush(self) -> None:
        """Return once everything appended would survive a power cut."""
        self._syncer.flush()

    def touch(self) -> None:
        """Make this the latest run, as `latest` names it: its verdict was asked for once more."""
        with suppress(OSError):  # a folder that is kept read-only
            os.utime(self._fd if os.utime in os.supports_fd else self.path)

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

    def _take_lock(self) -> BaseFileLock:
        from filelock import FileLock, Timeout

        place = self.path.with_name(_LOCK)
        lock = FileLock(place, mode=0o600, thread_local=False)
        try:
            if place.is_symlink():
                os.close(open_unlinked(place, os.O_RDONLY))
            lock.acquire(timeout=0)
        except Timeout as error:
            raise self._busy() from error
        except OSError as error:
            mend = "Remove the link." if error.errno == errno.ELOOP else "Set PROMPTOPT_RUNS_DIR to a local folder."
            msg = f"this run cannot be locked: {error.strerror}"
            raise UnavailableError(msg, where=str(place), mend=mend) from error
        try:
            self._sign()
        except BaseException:
            lock.release()
            raise
        return lock

    def _busy(self) -> RunBusy:
        try:
            with open(open_unlinked(self._holder, os.O_RDONLY), "rb") as stream:
                holder = stream.read(32).decode("ascii", "replace").strip() or "unknown"
        except OSError:
            holder = "unknown"
        msg = f"process {holder} is working on this run"
        mend = "Wait until it ends, or stop it, then try again: two processes cannot write one run."
        return RunBusy(msg, where=str(self.path.parent), mend=mend, pid=holder, run_id=self.path.parent.name)

    @property
    def _holder(self) -> Path:
        """Where the process that holds the lock says who it is: the lock file itself may be unreadable meanwhile."""
        return self.path.with_name("journal.pid")

    def _sign(self) -> None:
        with open(self._open_private(self._holder, os.O_WRONLY | os.O_TRUNC), "wb") as stream:
            stream.write(f"{os.getpid()}\n".encode())

    def _open(self) -> int:
        try:
            fd = self._open_private(self.path, os.O_RDWR | os.O_APPEND)
        except UnavailableError:
            self._lock.release()
            raise
        if hasattr(os, "O_DIRECTORY"):  # not on Windows, where a folder cannot be synced
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)  # a new file's name must survive a power cut too
            finally:
                os.close(folder)
        return fd

    def _open_private(self, path: Path, flags: int) -> int:
        try:
            fd = open_unlinked(path, flags | os.O_CREAT)
        except OSError as error:
            mend = "Remove the link." if error.errno == errno.ELOOP else "Free some space or fix the rights."
            msg = f"cannot open the journal: {error.strerror}"
            raise UnavailableError(msg, where=str(path), mend=mend) from error
        if hasattr(os, "fchmod"):  # not on Windows before Python 3.13
            os.fchmod(fd, 0o600)
        return fd

    def _load(self) -> None:
        with open(self._fd, "rb", closefd=False) as stream:
            for number, line in enumerate(stream, start=1):
                if not line.endswith(b"\n") and not self._finish(line):
                    return
                self._take(line, number)

    def _take(self, line: bytes, number: int) -> None:
        """Take up the event of a line, or note that the line is damaged."""
        size = len(line) + (not line.endswith(b"\n"))
        try:
            found, cell = parse_scored(line)
        except ValueError as error:
            self.damaged.append(f"line {number}: {error}")
            self._seq += 1
            self._end += size
            return
        if found["seq"] != number and not self.damaged:
            self.damaged.append(f"line {number}: it has seq {found['seq']}, so a line was lost, added or moved")
        if cell is not None:  # there may be 100,000: known by their cells, and read when asked for
            self._index(cell, size, loaded=True)
        else:
            self._recall(found)
            self._index(None, size)

    def _recall(self, line: Mapping[str, Any]) -> None:
        """Take up what a loaded line says, and note it, so that it is known when it comes again."""
        event = event_of(line)
        signature = isinstance(event, Incident) and event.role in _RECURRING
        if not isinstance(event, _ALWAYS_WRITTEN) or signature:
            self._known[event_content(line["type"], line["data"])] += 1
        match event:
            case Called():
                self._calls.setdefault(event.key, event)
            case Opened():
                _note_opening(self._opened, event, line["time"])
            case Tested():
                self._void = event.void
                self.voided += event.lost
            case RunFinished():
                self._outcome = event.outcome
            case RunStarted():
                self.version = self.version or event.version
            case _:
                pass

    def _finish(self, line: bytes) -> bool:
        """Mend a last line without its end: keep it if only the newline is missing, else cut it off."""
        try:
            parse_line(line)
        except ValueError:
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
        self._lock.release()


def _note_opening(opened: dict[str, str], event: Opened, time: str) -> None:
    opened.setdefault(opening_key(event.candidate_id, event.attempt), mark_of(time, event.candidate_id))


def _read_back(line: bytes) -> Called:
    """The reply as it stands on its line, which is what a resumed run will read: an escape may have replaced a sign."""
    return cast("Called", event_of(decode(line)))


def is_worked_on(folder: Path) -> bool:
    """Whether a process holds the run of this folder; nothing is written."""
    from filelock import FileLock, Timeout

    place = folder / _LOCK
    if not place.exists() or place.is_symlink():
        return False
    lock = FileLock(place, mode=0o600, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        return True
    lock.release()
    return False


def _event_of(line: bytes) -> dict[str, Any] | None:
    try:
        return parse_line(line)
    except ValueError:
        return None


_EVERY = 0.05  # seconds between syncs at most as often; one fsync a row would cost more than the row


class Syncer:
    """Syncs a file soon after it was asked to, on a thread that starts with the first request."""

    def __init__(self, fd: int, name: str) -> None:
        self._fd = fd
        self._name = name
        self._asked = 0
        self._done = 0
        self._stop = False
        self._error: OSError | None = None
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def soon(self) -> None:
        """Have what is written by now on disk within about 50 ms. Raises what an earlier sync met."""
        with self._changed:
            self._raise()
            self._asked += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="promptopt-journal", daemon=True)
                self._thread.start()
            elif self._asked == self._done + 1:
                self._changed.notify()

    def flush(self) -> None:
        """Have what is written by now on disk. Raises UnavailableError where the disk refuses."""
        with self._changed:
            self._raise()
            self._sync()
            self._raise()

    def close(self) -> None:
        """Flush and end the thread."""
        with self._changed:
            self._stop = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        self.flush()

    def _run(self) -> None:
        with self._changed:
            while not self._stop:
                while self._asked == self._done and not self._stop:
                    self._changed.wait()
                self._gather()
                if not self._stop:
                    self._sync()

    def _gather(self) -> None:
        """Wait for company, unless the end comes first."""
        self._changed.wait_for(lambda: self._stop, timeout=_EVERY)

    def _sync(self) -> None:
        """Sync without holding up those who append meanwhile."""
        asked = self._asked
        self._changed.release()
        try:
            os.fsync(self._fd)
            error = None
        except OSError as failed:
            error = failed
        finally:
            self._changed.acquire()
        self._error = error or self._error
        self._done = max(self._done, asked)

    def _raise(self) -> None:
        if self._error is not None:
            msg = f"cannot sync the journal: {self._error.strerror}"
            raise UnavailableError(msg, where=self._name, mend="Check the disk, then resume.") from self._error


_SIZE_BITS = 40


if hasattr(os, "pread"):
    _read_at = os.pread
else:  # Windows: appending does not care where the descriptor stands

    def _read_at(fd: int, size: int, offset: int) -> bytes:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, size)


class Cells(Mapping[Cell, Outcome]):
    """Outcomes by cell, read from the file when asked for: 100,000 rows with long outputs stay small in memory.

    A place is one number (offset, size, and whether a resumed run has still to reach it), and names
    are shared, so a cell costs about 100 bytes.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._at: dict[tuple[str, str, int], dict[str, int]] = {}
        self._names: dict[str, str] = {}
        self._size = 0
        self.waiting = 0
        """Loaded lines that no resumed run has reached."""

    def note(self, cell: Cell, offset: int, size: int, *, loaded: bool = False) -> Mapping[str, Any] | None:
        """Remember the line of this cell; a later line of the same cell counts.

        Returns the data of the line that thereby counts no more, if a resumed run might still repeat it.

        Args:
            cell: Candidate, split, example and repeat.
            offset: Where its line begins in the file, in bytes.
            size: Length of the line in bytes.
            loaded: Whether the line was in the file before this run went on.
        """
        part = (cell.candidate_id, cell.split, cell.repeat)
        rows = self._at.get(part)
        if rows is None:
            rows = self._at[part] = {}
        name = self._names.setdefault(cell.example_id, cell.example_id)
        before = rows.get(name)
        rows[name] = (offset << _SIZE_BITS | size) << 1 | loaded
        self.waiting += loaded
        self._size += before is None
        if before is None or not before & 1:
            return None
        self.waiting -= 1
        return self._read(before)

    def loaded(self, cell: Cell) -> Mapping[str, Any] | None:
        """The data of this cell's line, if a resumed run has still to reach it."""
        place = self._place(cell)
        return self._read(place) if place is not None and place & 1 else None

    def pass_by(self, cell: Cell) -> bool:
        """Note that a resumed run has reached the line of this cell; False where there is none or it had before."""
        place = self._place(cell)
        if place is None or not place & 1:
            return False
        self._at[cell.candidate_id, cell.split, cell.repeat][cell.example_id] = place & ~1
        self.waiting -= 1
        return True

    def _place(self, cell: Cell) -> int | None:
        rows = self._at.get((cell.candidate_id, cell.split, cell.repeat))
        return None if rows is None else rows.get(cell.example_id)

    def _read(self, place: int) -> Mapping[str, Any]:
        at = place >> 1
        line = _read_at(self._fd, at & ((1 << _SIZE_BITS) - 1), at >> _SIZE_BITS)
        data: Mapping[str, Any] = decode(line)["data"]
        return data

    def __getitem__(self, cell: Cell) -> Outcome:
        place = self._place(cell)
        if place is None:
            raise KeyError(cell)
        return outcome_of(self._read(place), cell)

    def get(self, cell: Cell, default: Any = None) -> Any:
        """The outcome of this cell, or `default`: most cells asked for are not there, and a raise is slow."""
        place = self._place(cell)
        return default if place is None else outcome_of(self._read(place), cell)

    def __contains__(self, cell: object) -> bool:
        return isinstance(cell, Cell) and self._place(cell) is not None

    def __iter__(self) -> Iterator[Cell]:
        for (candidate_id, split, repeat), rows in self._at.items():
            for example_id in rows:
                yield Cell(candidate_id, split, example_id, repeat)

    def __len__(self) -> int:
        return self._size


def record_moves(folder: Path | None, events: Iterable[Moved]) -> None:
    """Append to a finished run's journal where its prompt went; a run kept in memory has none."""
    if folder is None:
        return
    with Journal(Path(folder) / JOURNAL) as journal:
        for event in events:
            journal.append(event)
