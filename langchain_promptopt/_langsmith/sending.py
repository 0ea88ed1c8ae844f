"""A tracing client that loses no run: sends again, keeps on disk what would not go, and sends that later."""

from __future__ import annotations

import base64
import json
import logging
import os
import threading
import time
import uuid
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import requests
from langsmith import Client
from langsmith.utils import LangSmithConflictError, LangSmithError, LangSmithNotFoundError, get_env_var, is_truish
from urllib3.util.retry import Retry

from langchain_promptopt._langsmith.service import asked_pause, status_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

_log = logging.getLogger("langchain_promptopt")

_INGEST = ("/runs/multipart", "/runs/batch")
_TRIES = 6
_FIRST_PAUSE = 0.2  # seconds; it is a background thread that waits
_LONGEST_PAUSE = 15.0  # seconds, where LangSmith asks for more
_TIMEOUT_MS = (3_000, 10_000)  # to connect, and between two bytes of an answer
_LAST = 15.0
"""Seconds the end of a run waits for requests that hang; longer than any may, so that each is kept."""
_KEPT_HEADERS = frozenset({"content-type", "content-encoding", "x-pre-compressed-size", "x-post-compressed-size"})
"""Of a spooled request. Keys never reach the disk; they are added when it is sent again."""
_FILES = "trace_*.json"
_FINAL = frozenset({400, 401, 403, 404, 413, 422})
"""Statuses that sending the same body again cannot mend."""


class TraceClient(Client):
    """The SDK's client, with patience for ingestion.

    Run ids are ours, so that sending a batch twice is storing it once. Where inputs or outputs
    are hidden, templates inside `serialized` are left out too, which the SDK itself forgets.

    Args:
        spool: Folder for batches that would not go; None keeps them in memory.
        sleep: Waits between tries; None waits until the client is about to end.
        **settings: The SDK's own.
    """

    def __init__(
        self, *, spool: Path | None = None, sleep: Callable[[float], Any] | None = None, **settings: Any
    ) -> None:
        self._spool = spool
        self._late = threading.Event()
        """Set when there is no time left for tries: whatever has not gone is kept."""
        self._sleep = sleep if sleep is not None else self._late.wait
        self._flying = 0
        self._waiting: list[dict[str, Any]] = []
        self.spans: Any = None
        """The OpenTelemetry provider made for this client, ended with it."""
        self.ordered: Any = None
        """The OpenTelemetry exporter, which is told when no more is to come."""
        self._mutex = threading.Lock()
        settings = {
            "retry_config": Retry(0), "omit_traced_runtime_info": True, "timeout_ms": _TIMEOUT_MS, **settings
        }  # fmt: skip
        super().__init__(**settings)
        self._hides = any(is_truish(get_env_var(name)) for name in ("HIDE_INPUTS", "HIDE_OUTPUTS")) or bool(
            settings.keys() & {"hide_inputs", "hide_outputs", "anonymizer"}
        )

    def create_run(self, name: str, inputs: dict[str, Any], run_type: Any, **kwargs: Any) -> None:
        """As the SDK's, without templates where inputs are hidden."""
        if self._hides:
            kwargs.pop("serialized", None)
        super().create_run(name, inputs, run_type, **kwargs)

    def update_run(self, run_id: Any, **kwargs: Any) -> None:
        """As the SDK's, without templates where inputs are hidden."""
        if self._hides:
            kwargs.pop("serialized", None)
        super().update_run(run_id, **kwargs)

    def request_with_retries(self, method: Any, pathname: str, **kwargs: Any) -> requests.Response:
        """As the SDK's; a batch of runs is tried again, and kept if it will not go."""
        if method != "POST" or not pathname.endswith(_INGEST):
            return super().request_with_retries(method, pathname, **kwargs)
        request = dict(kwargs.pop("request_kwargs", None) or {})
        request |= {"data": _bytes(request.get("data")), "timeout": tuple(ms / 1000 for ms in self.timeout_ms)}
        if self._late.is_set():
            return self._keep(pathname, request)
        with self._counted():
            try:
                return self._send(pathname, request, kwargs)
            except (LangSmithConflictError, LangSmithNotFoundError):  # stored already; or the SDK tries another form
                raise
            except (LangSmithError, requests.RequestException) as error:
                _log.warning("traces could not be sent (%s); they are kept and sent again later", type(error).__name__)
                return self._keep(pathname, request)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._mutex:
            self._flying += 1
        try:
            yield
        finally:
            with self._mutex:
                self._flying -= 1

    def _send(self, pathname: str, request: dict[str, Any], more: dict[str, Any]) -> requests.Response:
        more = {**more, "stop_after_attempt": 1}  # the SDK would sleep for half a minute at each 429
        for number in range(1, _TRIES + 1):
            try:
                return super().request_with_retries("POST", pathname, request_kwargs=request, **more)
            except LangSmithConflictError:
                raise
            except (LangSmithError, requests.RequestException) as error:
                if number == _TRIES or self._late.is_set() or status_of(error) in _FINAL:
                    raise
                asked = min(asked_pause(error) or 0.0, _LONGEST_PAUSE)
            self._sleep(max(_FIRST_PAUSE * 2 ** (number - 1), asked))
        raise LangSmithError(pathname)

    def _keep(self, pathname: str, request: Mapping[str, Any]) -> requests.Response:
        """Put a batch by, and answer in LangSmith's place that it was taken."""
        headers = {k: v for k, v in (request.get("headers") or {}).items() if k.lower() in _KEPT_HEADERS}
        envelope = {
            "version": 1,
            "endpoint": _INGEST[pathname.endswith(_INGEST[1])].removeprefix("/"),
            "headers": headers,
            "body_base64": base64.b64encode(request["data"]).decode(),
        }
        if self._spool is None:
            with self._mutex:
                self._waiting.append(envelope)
            return _accepted()
        self._spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._spool / f"trace_{time.time():.6f}_{uuid.uuid4().hex[:8]}.json"
        with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "w", encoding="ascii") as stream:
            json.dump(envelope, stream)
        return _accepted()

    def send_kept(self) -> int:
        """Send what was kept, by this process or an earlier one; returns how many batches are still kept."""
        with self._mutex:
            waiting, self._waiting = self._waiting, []
        left = [e for e in waiting if not self._resend(e)]
        with self._mutex:
            self._waiting += left
        files = sorted(self._spool.glob(_FILES)) if self._spool is not None else []
        kept = len(left)
        for path in files:
            if self._resend(json.loads(path.read_text(encoding="ascii"))):
                path.unlink(missing_ok=True)
            else:
                kept += 1
        if self._spool is not None and not kept:
            with suppress(OSError):
                self._spool.rmdir()
        return kept

    def end(self, timeout: float) -> int:
        """Send all there is and let go of threads and connections; returns how many batches are still kept."""
        self.flush(timeout=timeout)
        if self._behind():
            self._late.set()
            self.flush(timeout=_LAST)
            kept = self._kept()
        else:
            kept = self.send_kept()
        if self.ordered is not None:
            self.ordered.finish()
        if self.spans is not None:
            self.spans.force_flush(int(timeout * 1000))
            self.spans.shutdown()
        self.close(timeout=0)
        return kept

    def _behind(self) -> bool:
        """Whether something is still to be sent after a flush."""
        queued = self.tracing_queue is not None and self.tracing_queue.unfinished_tasks
        return bool(queued) or self._flying > 0

    def _kept(self) -> int:
        return len(self._waiting) + (len(list(self._spool.glob(_FILES))) if self._spool is not None else 0)

    def _resend(self, envelope: Mapping[str, Any]) -> bool:
        request = {"data": base64.b64decode(envelope["body_base64"]), "headers": dict(envelope["headers"])}
        try:
            self._send(f"{self.api_url}/{envelope['endpoint']}", request, {})
        except LangSmithConflictError:
            return True
        except (LangSmithError, requests.RequestException):
            return False
        return True


def _bytes(data: Any) -> bytes:
    """A request's body, to be sent more than once."""
    if isinstance(data, str):
        return data.encode()
    if isinstance(data, bytes | bytearray):
        return bytes(data)
    if hasattr(data, "to_bytes"):
        whole: bytes = data.to_bytes()
        return whole
    return bytes(data.read()) if data is not None else b""


def _accepted() -> requests.Response:
    response = requests.Response()
    response.status_code = 202
    return response
