"""Traces as a file: one JSON object a line for each run of a tree, written as it ends. Needs no service."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_core.tracers.base import BaseTracer

from langchain_promptopt._runtime.redact import redact
from langchain_promptopt.errors import UnavailableError

if TYPE_CHECKING:
    from types import TracebackType

    from langchain_core.tracers.schemas import Run


class TraceFile(BaseTracer):
    """A tracer that appends to `path`; children stand before their parents.

    Each line holds id, parent_id, trace_id, name, run_type, start, end, metadata, inputs, outputs
    and error. Serialized components are left out: they would repeat every template.
    """

    run_inline = True
    log_missing_parent = False

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.path = Path(path)
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
        line = json.dumps(_shown(run), ensure_ascii=False, default=_plain).encode("utf-8", "backslashreplace")
        with self._mutex:
            if not self._stream.closed:
                self._stream.write(line + b"\n")
                self._stream.flush()
        run.child_runs.clear()  # they are on disk; a root that lives for hours must not keep them


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
    """What a failed call left behind: its client may have put the whole request there."""
    if isinstance(value, dict):
        return {key: _without_keys(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_keys(inner) for inner in value]
    return redact(value) if isinstance(value, str) else value


def _plain(value: Any) -> Any:
    """What JSON cannot say: messages and documents by their fields, anything else as text."""
    dump = getattr(value, "model_dump", None)
    return dump(mode="json") if callable(dump) and not isinstance(value, type) else str(value)
