"""Where a run's traces go: to a file, or to LangSmith or OpenTelemetry when LangSmith tracing is on.

The client for LangSmith repeats what could not be sent, keeps it on disk, and sends it later. Each evaluation is a
trace of its own, because LangSmith refuses traces of more than 25,000 runs.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import threading
import time
import uuid
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
from langchain_core.tracers.base import BaseTracer
from langsmith import Client
from langsmith.run_helpers import get_tracing_context, tracing_context
from langsmith.utils import (
    LangSmithConflictError,
    LangSmithError,
    LangSmithNotFoundError,
    get_env_var,
    is_truish,
    tracing_is_enabled,
)
from urllib3.util.retry import Retry

from langchain_promptopt._collections import map_values
from langchain_promptopt._langsmith.otel import InOrder, provider, tracing_mode
from langchain_promptopt._langsmith.service import asked_pause, require_key, status_of
from langchain_promptopt._runtime.redact import redact
from langchain_promptopt.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from types import TracebackType

    from langchain_core.tracers.schemas import Run

    from langchain_promptopt._runtime.redact import RowRedaction


class TraceFile(BaseTracer):
    """A tracer that appends a JSON line to `path` as each run ends, so children come before their parents.

    Each line has id, parent_id, trace_id, name, run_type, start, end, metadata, inputs, outputs
    and error. Serialized components are left out: they would repeat every template.
    """

    run_inline = True
    log_missing_parent = False

    def __init__(self, path: str | Path, redaction: RowRedaction | None = None) -> None:
        super().__init__()
        self.path = Path(path)
        self._redaction = redaction
        self._mutex = threading.Lock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError as error:
            msg = f"cannot open the trace file: {error.strerror}"
            raise UnavailableError(msg, where=str(self.path), mend="Name another file.") from error
        self._stream = open(fd, "ab")  # noqa: SIM115 - closed by `close`

    def __enter__(self) -> TraceFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the file. May be called twice."""
        with self._mutex:
            self._stream.close()

    def _persist_run(self, run: Run) -> None:
        """Nothing to do: every run was written as it ended."""

    def _on_run_update(self, run: Run) -> None:
        told = json.dumps(self._kept(_shown(run)), ensure_ascii=False, default=_plain)
        line = told.encode("utf-8", "backslashreplace")
        with self._mutex:
            if not self._stream.closed:
                self._stream.write(line + b"\n")
                self._stream.flush()
        run.child_runs.clear()  # they are on disk; a root that lives for hours must not keep them

    def _kept(self, shown: dict[str, Any]) -> dict[str, Any]:
        """The run without what `redact=` hides."""
        if self._redaction is None:
            return shown
        kept = {}
        for name in ("inputs", "outputs", "error"):
            kept[name] = self._redaction.value(shown[name])
        return shown | kept | {"metadata": self._redaction.traced(shown["metadata"])}


def _shown(run: Run) -> dict[str, Any]:
    return {
        "id": str(run.id),
        "parent_id": None if run.parent_run_id is None else str(run.parent_run_id),
        "trace_id": str(run.trace_id),
        "name": run.name,
        "run_type": run.run_type,
        "start": run.start_time.isoformat(),
        "end": None if run.end_time is None else run.end_time.isoformat(),
        "metadata": dict((run.extra or {}).get("metadata") or {}),
        "inputs": run.inputs,
        "outputs": run.outputs if run.error is None else _without_keys(_as_json(run.outputs)),
        "error": None if run.error is None else redact(run.error),
    }


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value, default=_plain))


def _without_keys(value: Any) -> Any:
    """The outputs of a failed call, redacted: its client may have put the whole request there."""
    if isinstance(value, dict):
        return map_values(_without_keys, value)
    if isinstance(value, list):
        return list(map(_without_keys, value))
    return redact(value) if isinstance(value, str) else value


def _plain(value: Any) -> Any:
    """Values that JSON has no form for: messages and documents by their fields, others as text."""
    dump = getattr(value, "model_dump", None)
    return dump(mode="json") if callable(dump) and not isinstance(value, type) else str(value)


_log = logging.getLogger("langchain_promptopt")

_INGEST = ("/runs/multipart", "/runs/batch")
_TRIES = 6
_FIRST_PAUSE = 0.2  # seconds; it is a background thread that waits
_LONGEST_PAUSE = 15.0  # seconds, where LangSmith asks for more
_TIMEOUT_MS = (3_000, 10_000)  # to connect, and between two bytes of an answer
_LAST = 15.0
"""Seconds the end of a run waits for requests in flight; longer than their timeouts, so that each is kept."""
_KEPT_HEADERS = frozenset({"content-type", "content-encoding", "x-pre-compressed-size", "x-post-compressed-size"})
"""Headers kept with a request on disk. The key is not among them; it is added when the request is sent again."""
_FILES = "trace_*.json"
_FINAL = frozenset({400, 401, 403, 404, 413, 422})
"""Statuses for which sending the same body again does not help."""


class TraceClient(Client):
    """The SDK's client, which loses no traces: a batch that cannot be sent is tried again, then kept.

    Run ids are ours, so a batch that is sent twice is stored once. Where inputs or outputs are hidden, the
    templates in `serialized` are left out too; the SDK would send them.

    Args:
        spool: Folder for batches that could not be sent; None keeps them in memory.
        redaction: What inputs, outputs and errors of runs pass.
        sleep: Waits between tries; by default until the time is over or the client ends.
        **settings: The SDK's own.
    """

    def __init__(
        self,
        *,
        spool: Path | None = None,
        redaction: RowRedaction | None = None,
        sleep: Callable[[float], Any] | None = None,
        **settings: Any,
    ) -> None:
        self._spool = spool
        self._redaction = redaction
        if redaction is not None:
            settings = {"anonymizer": redaction.traced, **settings}
        self._late = threading.Event()
        """Set when there is no time left for tries: what has not been sent is kept."""
        self._sleep = sleep if sleep is not None else self._late.wait
        self._flying = 0
        self._waiting: list[dict[str, Any]] = []
        self.spans: Any = None
        """The OpenTelemetry provider made for this client, ended with it."""
        self.ordered: Any = None
        """The OpenTelemetry exporter; its `finish` is called at the end."""
        self._mutex = threading.Lock()
        settings = {
            "retry_config": Retry(0), "omit_traced_runtime_info": True, "timeout_ms": _TIMEOUT_MS, **settings
        }  # fmt: skip
        super().__init__(**settings)
        self._hides = any(is_truish(get_env_var(name)) for name in ("HIDE_INPUTS", "HIDE_OUTPUTS")) or bool(
            settings.keys() & {"hide_inputs", "hide_outputs", "anonymizer"}
        )

    def create_run(self, name: str, inputs: dict[str, Any], run_type: Any, **kwargs: Any) -> None:
        """As the SDK's, without templates where inputs are hidden.

        Args:
            name: The run's name.
            inputs: Its inputs.
            run_type: "chain", "llm" or another of LangSmith's.
            **kwargs: The SDK's own.
        """
        super().create_run(name, inputs, run_type, **self._hiding(kwargs))

    def update_run(self, run_id: Any, **kwargs: Any) -> None:
        """As the SDK's, without templates where inputs are hidden."""
        super().update_run(run_id, **self._hiding(kwargs))

    def _hiding(self, told: dict[str, Any]) -> dict[str, Any]:
        """What is told of a run, without what is to be hidden; the SDK itself hides inputs and outputs."""
        if self._hides:
            told.pop("serialized", None)
        if self._redaction is not None and isinstance(told.get("error"), str):
            told["error"] = self._redaction.text(told["error"])
        return told

    def request_with_retries(self, method: Any, pathname: str, **kwargs: Any) -> requests.Response:
        """As the SDK's; a batch of runs is tried again, and kept if it cannot be sent.

        Args:
            method: The HTTP method.
            pathname: The path below the API's address, or a whole address.
            **kwargs: The SDK's own.

        Returns:
            LangSmith's answer, or one that says "accepted" for a batch that was kept.
        """
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
        """Keep a batch, and return the answer that LangSmith would give, so that the SDK does not drop it."""
        headers = {}
        for k, v in (request.get("headers") or {}).items():
            if k.lower() in _KEPT_HEADERS:
                headers[k] = v
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
        """Send everything, then end threads and connections; returns how many batches are still kept."""
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


_FLUSH = 30.0
"""Seconds the end of a run waits for its traces; what is not sent by then is kept and sent by the next run."""
_OPEN = 30 * 24 * 3600
"""Seconds an OpenTelemetry span may be open. The SDK ends those of an hour ago, and the root of a run lasts longer."""
_NOWHERE = "http://127.0.0.1:9"


@dataclass(frozen=True)
class Tracing:
    """Whether a run is traced; `isolate` makes the context in which an evaluation is a trace of its own."""

    on: bool
    isolate: Callable[[], AbstractContextManager[Any]] = nullcontext


@asynccontextmanager
async def tracing(
    project: str | None = None, spool: Path | None = None, redaction: RowRedaction | None = None
) -> AsyncIterator[Tracing]:
    """Trace what happens inside the block, if the user's settings or the caller's context ask for it.

    LangSmith's "local" mode counts as off: LangChain would upload traces even then.

    Args:
        project: The project of the traces; None is LANGSMITH_PROJECT.
        spool: Folder for traces that could not be sent.
        redaction: What the user gave as `redact=`; a client of the caller's own is used as it is.

    Raises:
        CredentialsError: Tracing is on and the hosted service has no key.
        ConfigError: Tracing goes to OpenTelemetry and its packages are missing.
    """
    enabled, given = tracing_is_enabled(), get_tracing_context()
    if enabled is not True:
        quiet = {**given, "enabled": False}
        with tracing_context(**quiet):
            yield Tracing(on=False, isolate=lambda: tracing_context(**{**quiet, "parent": False}))
        return
    theirs = given["client"] or (given["parent"].client if given["parent"] is not None else None)
    client: Client = theirs if theirs is not None else make_trace_client(project, spool, redaction)
    chosen = {**given, "client": client, "project_name": project or given["project_name"], "enabled": True}
    apart = {**chosen, "parent": False, "distributed_parent_id": None}
    try:
        with tracing_context(**chosen):
            yield Tracing(on=True, isolate=lambda: tracing_context(**apart))
    finally:
        await asyncio.shield(asyncio.to_thread(_finish, client))


def untraced() -> AbstractContextManager[Any]:
    """A context in which nothing is traced: for runs of the user's chain that are no evaluations."""
    return tracing_context(**{**get_tracing_context(), "parent": False, "enabled": False})


def make_trace_client(project: str | None, spool: Path | None, redaction: RowRedaction | None = None) -> TraceClient:
    """The client for a run's traces, in the mode that the LANGSMITH_* settings name.

    Args:
        project: The project of the traces; None is the one the settings name.
        spool: Folder for batches that could not be sent.
        redaction: What inputs, outputs and errors of runs pass.
    """
    mode = tracing_mode()
    spans = provider(project) if mode != "langsmith" else None
    more: dict[str, Any] = {"tracing_mode": mode}
    if spans is not None:
        more["otel_tracer_provider"] = spans.provider
    if mode == "otel":  # nothing may be sent to LangSmith then, not even a request for its settings
        more |= {"api_url": _NOWHERE, "api_key": "unused", "info": {}}
    else:
        require_key("Set LANGSMITH_API_KEY, or LANGSMITH_TRACING=false.")
    client = TraceClient(spool=spool, redaction=redaction, **more)
    if client.otel_exporter is not None:
        make = partial(type(client.otel_exporter), span_ttl_seconds=_OPEN)
        client.ordered = InOrder(make, more["otel_tracer_provider"])
        client.otel_exporter = client.ordered
    client.spans = spans.provider if spans is not None and spans.ours else None
    return client


def _finish(client: Client) -> None:
    """Send the traces. Where that fails, it is only a warning: the run itself succeeded."""
    if not isinstance(client, TraceClient):
        client.flush(timeout=_FLUSH)
        return
    kept = client.end(_FLUSH)
    if kept:
        _log.warning("%d batches of traces could not be sent; they are kept and sent with the next run", kept)
