"""Where a run's traces go: nowhere unless LangSmith tracing is on, and then through a client that loses none.

Evaluations are traces of their own, because LangSmith refuses traces past 25,000 runs.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langsmith.run_helpers import get_tracing_context, tracing_context
from langsmith.utils import tracing_is_enabled

from langchain_promptopt._langsmith.otel import InOrder, provider, tracing_mode
from langchain_promptopt._langsmith.sending import TraceClient
from langchain_promptopt._langsmith.service import require_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from langsmith import Client

_log = logging.getLogger("langchain_promptopt")
_FLUSH = 30.0
"""Seconds the end of a run waits for its traces; what is not sent by then is kept and sent by the next run."""
_OPEN = 30 * 24 * 3600
"""Seconds an OpenTelemetry span may be open. The SDK ends those of an hour ago, and the root of a run lasts longer."""
_NOWHERE = "http://127.0.0.1:9"


@dataclass(frozen=True)
class Tracing:
    """How a run is traced. `isolate` is the context in which an evaluation is a trace of its own."""

    on: bool
    isolate: Callable[[], AbstractContextManager[Any]] = nullcontext


@asynccontextmanager
async def tracing(project: str | None = None, spool: Path | None = None) -> AsyncIterator[Tracing]:
    """Trace what happens inside, if the user's settings or the caller's context say so.

    LangSmith's "local" mode, in which LangChain would upload all the same, counts as off.

    Args:
        project: Where traces go; None as LANGSMITH_PROJECT says.
        spool: Folder for traces that could not be sent.

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
    client: Client = theirs if theirs is not None else make_client(project, spool)
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


def make_client(project: str | None, spool: Path | None) -> TraceClient:
    """The client for a run's traces, in the mode that the LANGSMITH_* settings name."""
    mode = tracing_mode()
    spans = provider(project) if mode != "langsmith" else None
    more: dict[str, Any] = {"tracing_mode": mode}
    if spans is not None:
        more["otel_tracer_provider"] = spans.provider
    if mode == "otel":  # nothing of ours may go to LangSmith then, not even a question
        more |= {"api_url": _NOWHERE, "api_key": "unused", "info": {}}
    else:
        require_key("Set LANGSMITH_API_KEY, or LANGSMITH_TRACING=false.")
    client = TraceClient(spool=spool, **more)
    if client.otel_exporter is not None:
        queue = client.tracing_queue
        patient = type(client.otel_exporter)(tracer_provider=more["otel_tracer_provider"], span_ttl_seconds=_OPEN)
        client.ordered = InOrder(patient, queue.qsize if queue is not None else int)
        client.otel_exporter = client.ordered
    client.spans = spans.provider if spans is not None and spans.ours else None
    return client


def _finish(client: Client) -> None:
    """Have the traces sent. An unreachable service is a warning: the run itself is not at fault."""
    if not isinstance(client, TraceClient):
        client.flush(timeout=_FLUSH)
        return
    kept = client.end(_FLUSH)
    if kept:
        _log.warning("%d batches of traces could not be sent; they are kept and sent with the next run", kept)
