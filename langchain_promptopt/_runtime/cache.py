"""Evaluations kept between runs: SQLite in WAL mode, several processes at once.

Losing a cache does no harm, so its errors never end a run: a broken file is set aside, a full disk turns the
cache off, and both are reported as incidents. Reads are single lookups on the caller's thread (readers do not wait
in WAL mode); writes are batched on a thread of their own.
"""

from __future__ import annotations

import json
import os
import queue
import sqlite3
import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_promptopt._collections import members
from langchain_promptopt._runtime.redact import message_of
from langchain_promptopt.events import Incident
from langchain_promptopt.types import content_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_SCHEMA = "create table if not exists evaluations (key text primary key, value text not null) without rowid"
_PUT = "insert or replace into evaluations (key, value) values (?, ?)"
_GET = "select value from evaluations where key = ?"
_BUSY_SECONDS = 30.0  # how long a writer waits for another process's transaction
_BATCH = 500
_LINGER = 0.05  # seconds a first write waits for others, so that one transaction stores many

_Write: TypeAlias = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class CacheKey:
    """The address of one evaluation: everything that may change its outcome.

    Args:
        rendered: The rendered prompt, or the candidate id where the chain renders it inside.
        inputs: The example's inputs.
        model: Model id; empty where the chain's models are part of `more`.
        endpoint: Base URL: the same model may answer differently on another server.
        parameters: Sampling and other request parameters.
        evaluators: Hash of the code by name.
        repeat: Number of the repetition, and of several identical requests the k-th: each has its own reply.
        more: Anything else that changes the outcome, such as reference outputs that evaluators read.
    """

    rendered: Any
    inputs: Mapping[str, Any]
    model: str
    endpoint: str
    parameters: Mapping[str, Any]
    evaluators: Mapping[str, str]
    repeat: int = 0
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Hash of all of it."""
        return content_hash(members(self), 64)


class EvaluationCache:
    """JSON values by key. Use as a context manager, or call `close`: it writes what is pending.

    Args:
        path: The database file; made, with its folder, for this user only.
        on_incident: Called with each incident, on the thread that met it.
    """

    def __init__(self, path: Path, on_incident: Callable[[Incident], None] | None = None) -> None:
        self.path = Path(path)
        self.incidents: list[Incident] = []
        """What went wrong so far."""
        self.hits = 0
        self.misses = 0
        self._on_incident = on_incident
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._pending: dict[str, str] = {}
        self._writes: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._off = False
        self._generation = 0
        self._prepare()
        self._writer = threading.Thread(target=self._write_all, name="promptopt-cache", daemon=True)
        self._writer.start()

    def __enter__(self) -> EvaluationCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, key: str) -> Any | None:
        """The value of `key`, or None. Values written a moment ago are found too."""
        text = self._pending.get(key)
        if text is None and not self._off:
            text = self._look_up(key)
        value = None if text is None else _loads(text)
        if value is None:
            self.misses += 1
        else:
            self.hits += 1
        return value

    def put(self, key: str, value: Any) -> None:
        """Keep `value` (plain JSON, not None) under `key`; written soon, and at the latest by `close`."""
        text = json.dumps(value, ensure_ascii=True)
        if self._off:
            return
        with self._lock:
            self._pending[key] = text
        self._writes.put((key, text))

    def close(self) -> None:
        """Write what is pending and close the file. May be called twice."""
        if self._writer.is_alive():
            self._writes.put(None)
            self._writer.join()
        self._off = True
        self._let_go()

    def _prepare(self) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            self._make()
        except OSError as error:
            self._turn_off(error)
        except sqlite3.DatabaseError as error:
            self._broken(error)

    def _make(self) -> None:
        """Open or create the database. Two processes that do so at once lock each other out for a moment."""
        until = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                connection = self._connection()
                connection.execute("pragma journal_mode = wal")
                connection.execute(_SCHEMA)
                connection.execute(_GET, ("",)).fetchone()
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or time.monotonic() > until:
                    raise
                time.sleep(_LINGER)
            else:
                return

    def _connection(self) -> sqlite3.Connection:
        """This thread's connection to the present file."""
        held: tuple[int, sqlite3.Connection] | None = getattr(self._local, "held", None)
        if held is not None and held[0] == self._generation:
            return held[1]
        connection = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        connection.execute("pragma synchronous = normal")
        self._local.held = (self._generation, connection)
        with self._lock:
            self._connections.append(connection)
        return connection

    def _look_up(self, key: str) -> str | None:
        try:
            row = self._connection().execute(_GET, (key,)).fetchone()
        except sqlite3.DatabaseError as error:
            self._broken(error)
            return None
        return None if row is None else str(row[0])

    def _broken(self, error: sqlite3.DatabaseError) -> None:
        """Handle an error of the database: a miss while it is busy, off where it cannot be used, else a new file."""
        if _is_busy(error):
            self._report("cache_busy", "missed", error)
        elif isinstance(error, sqlite3.OperationalError):
            self._turn_off(error)
        else:
            self._set_aside(error)

    def _set_aside(self, error: sqlite3.DatabaseError) -> None:
        """Rename the broken file and begin a new one; the cache is off if even that fails."""
        self._let_go()
        if self._is_sound():
            return  # another process has set the broken one aside already
        self._let_go()
        aside = self.path.with_name(f"{self.path.name}.broken-{time.time_ns()}")
        try:
            for ending in ("", "-wal", "-shm"):
                with suppress(FileNotFoundError):
                    os.replace(f"{self.path}{ending}", f"{aside}{ending}")
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            self._make()
        except (OSError, sqlite3.Error) as second:
            self._turn_off(second)
            return
        self._report("cache_broken", f"set aside as {aside.name}", error)

    def _let_go(self) -> None:
        with self._lock:
            connections, self._connections = self._connections, []
            self._generation += 1
        for connection in connections:
            with suppress(sqlite3.Error):
                connection.close()

    def _is_sound(self) -> bool:
        try:
            self._make()
            return bool(self._connection().execute("pragma quick_check(1)").fetchone() == ("ok",))
        except sqlite3.Error:
            return False

    def _turn_off(self, error: Exception) -> None:
        self._off = True
        self._report("cache_unusable", "the run goes on without it", error)

    def _report(self, kind: str, action: str, error: Exception) -> None:
        incident = Incident(role="cache", kind=kind, retryable=False, action=action, detail=message_of(error))
        self.incidents.append(incident)
        if self._on_incident is not None:
            self._on_incident(incident)

    def _write_all(self) -> None:
        open_ended = True
        while open_ended:
            first = self._writes.get()
            if first is None:
                return
            batch, open_ended = self._gather(first)
            self._write(batch)

    def _gather(self, first: _Write) -> tuple[list[_Write], bool]:
        """`first` and what comes soon after it, and whether more may come."""
        batch, until = [first], time.monotonic() + _LINGER
        while len(batch) < _BATCH:
            try:
                item = self._writes.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            if item is None:
                return batch, False
            batch.append(item)
        return batch, True

    def _write(self, batch: list[_Write]) -> None:
        for _ in range(2):  # once more into the new file where the old one was set aside
            if self._off:
                break
            generation = self._generation
            try:
                with closing(self._connection().cursor()) as cursor:
                    cursor.execute("begin immediate")
                    cursor.executemany(_PUT, batch)
                    cursor.execute("commit")
                break
            except sqlite3.DatabaseError as error:
                with suppress(sqlite3.Error):
                    self._connection().execute("rollback")
                self._broken(error)
                if self._generation == generation:
                    break
        with self._lock:
            for key, text in batch:
                if self._pending.get(key) == text:
                    del self._pending[key]


def _loads(text: str) -> Any | None:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))
