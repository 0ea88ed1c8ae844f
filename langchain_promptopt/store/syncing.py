"""Group commit: many appended lines, one sync to disk."""

from __future__ import annotations

import os
import threading

from langchain_promptopt.errors import UnavailableError

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
