"""Traces through OpenTelemetry: the SDK's own mode, with attributes that Phoenix and MLflow read.

Traces leave the process as OTLP only. The exporter is ours, so that the SDK does not add the LangSmith key to
requests, and a missing package is an error, not an upload to LangSmith.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from langsmith.utils import get_env_var, is_env_var_truish

from langchain_promptopt._collections import without
from langchain_promptopt.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry import trace
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

MODES = ("langsmith", "otel", "hybrid")

_KINDS = {
    "llm": "LLM",
    "chain": "CHAIN",
    "tool": "TOOL",
    "retriever": "RETRIEVER",
    "embedding": "EMBEDDING",
    "prompt": "PROMPT",
    "parser": "CHAIN",
}
_COPIED = {
    "gen_ai.prompt": "input.value",
    "gen_ai.completion": "output.value",
    "gen_ai.request.model": "llm.model_name",
    "gen_ai.usage.input_tokens": "llm.token_count.prompt",
    "gen_ai.usage.output_tokens": "llm.token_count.completion",
    "gen_ai.usage.total_tokens": "llm.token_count.total",
}
_METADATA = "langsmith.metadata."
_SDKS_OWN = "langsmith.internal_provider"
"""Marks the global provider that a LangSmith client makes; it sends the key to any OTLP endpoint."""
_WAITING = 200_000
"""Spans that may wait to be sent: a search makes thousands a second, more than a collector takes at once."""
_REMEMBERED = 50_000
"""Runs that are remembered after their end, and starts that may wait for their parents."""
_PATIENCE = 10.0
"""Seconds that a start waits for its parent, which another thread of the SDK may still hold."""
_ANSWER = 60.0
"""Seconds for one request. A busy MLflow takes longer than the 10 after which OpenTelemetry drops the spans."""
_KEPT = (
    "name", "context", "parent", "resource", "events", "links", "kind", "status", "start_time", "end_time",
    "instrumentation_scope",
)  # fmt: skip


def tracing_mode() -> str:
    """Where the SDK's settings send traces: "langsmith", "otel" or "hybrid". Raises ConfigError for another word."""
    mode = (get_env_var("TRACING_MODE") or "").lower()
    if mode and mode not in MODES:
        msg = f"LANGSMITH_TRACING_MODE is {mode!r}"
        raise ConfigError(msg, mend=f"It is one of {', '.join(MODES)}.")
    if mode:
        return mode
    if not is_env_var_truish("OTEL_ENABLED"):
        return "langsmith"
    return "otel" if is_env_var_truish("OTEL_ONLY") else "hybrid"


def openinference(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes with the names of OpenInference beside the SDK's own.

    >>> openinference({"langsmith.span.kind": "retriever"})["openinference.span.kind"]
    'RETRIEVER'
    """
    found = dict(attributes)
    found.setdefault("openinference.span.kind", _KINDS.get(str(found.get("langsmith.span.kind")), "CHAIN"))
    for theirs, ours in _COPIED.items():
        if theirs in found:
            found.setdefault(ours, found[theirs])
            if ours.endswith(".value"):
                found.setdefault(ours.replace(".value", ".mime_type"), "application/json")
    if found["openinference.span.kind"] == "RETRIEVER":
        found |= _documents(found.get("gen_ai.completion"))
    metadata = {}
    for k, v in found.items():
        if k.startswith(_METADATA):
            metadata[k.removeprefix(_METADATA)] = v
    if metadata:
        found.setdefault("metadata", json.dumps(metadata, default=str))
    if run := metadata.get("promptopt_run_id"):
        found.setdefault("session.id", str(run))
    return found


def _documents(completion: Any) -> dict[str, Any]:
    """What a retriever found, one attribute for each part of each document, as OpenInference spells it."""
    try:
        listed = json.loads(str(completion))["documents"]
    except (ValueError, KeyError, TypeError):
        return {}
    found: dict[str, Any] = {}
    for i, document in enumerate(listed):
        at, metadata = f"retrieval.documents.{i}.document.", document.get("metadata") or {}
        found[at + "content"] = str(document.get("page_content", ""))
        found[at + "metadata"] = json.dumps(metadata, default=str)
        for name, value in (("id", metadata.get("candidate_id")), ("score", metadata.get("score"))):
            if value is not None:
                found[at + name] = value
    return found


@dataclass(frozen=True)
class SpanProvider:
    """The provider of the SDK's spans. `ours` is whether we made it, and so have to shut it down."""

    provider: Any
    ours: bool


def provider(project: str | None, exporter: SpanExporter | None = None) -> SpanProvider:
    """A tracer provider for the SDK: the application's own if it has one, else one that sends OTLP.

    In both cases spans have OpenInference's attributes.

    Args:
        project: The name Phoenix files the traces under.
        exporter: Where spans go; None is OTLP over HTTP, as the OTEL_EXPORTER_OTLP_* variables say.

    Raises:
        ConfigError: The OpenTelemetry packages are missing.
    """
    try:
        from opentelemetry import trace
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise _missing(error) from error
    current = trace.get_tracer_provider()
    theirs = isinstance(current, TracerProvider) and not current.resource.attributes.get(_SDKS_OWN)
    if theirs and exporter is None:
        return SpanProvider(_seen(current, _completed_at_end), ours=False)
    name = project or get_env_var("PROJECT") or "promptopt"
    made = TracerProvider(resource=Resource.create({"openinference.project.name": name, "service.name": "promptopt"}))
    most = None if os.environ.get("OTEL_BSP_MAX_QUEUE_SIZE") else _WAITING  # the SDK drops what does not fit
    made.add_span_processor(BatchSpanProcessor(mapped(exporter if exporter is not None else _otlp()), most))
    return SpanProvider(made, ours=True)


def _seen(theirs: trace.TracerProvider, each: Callable[[trace.Span], trace.Span]) -> trace.TracerProvider:
    """A provider as `theirs`, each span of which passes `each` as it starts."""
    from opentelemetry import trace

    class Tracer(trace.Tracer):
        def __init__(self, tracer: trace.Tracer) -> None:
            self._tracer = tracer

        def start_span(self, *args: Any, **kwargs: Any) -> trace.Span:
            return each(self._tracer.start_span(*args, **kwargs))

        def start_as_current_span(self, *args: Any, **kwargs: Any) -> Any:
            return self._tracer.start_as_current_span(*args, **kwargs)

    class Provider(trace.TracerProvider):
        def get_tracer(self, *args: Any, **kwargs: Any) -> trace.Tracer:
            return Tracer(theirs.get_tracer(*args, **kwargs))

    return Provider()


def _completed_at_end(span: trace.Span) -> trace.Span:
    """The application's span, on which OpenInference's attributes are put before it ends."""
    end = span.end

    def completed(end_time: int | None = None) -> None:
        told = getattr(span, "attributes", None) or {}
        span.set_attributes(without(openinference(told), told))
        end(end_time)

    span.end = completed  # type: ignore[method-assign]  # of this span alone
    return span


def _otlp() -> SpanExporter:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise _missing(error) from error
    given = any(os.environ.get(f"OTEL_EXPORTER_OTLP_{which}TIMEOUT") for which in ("", "TRACES_"))
    return OTLPSpanExporter() if given else OTLPSpanExporter(timeout=_ANSWER)


def mapped(inner: SpanExporter) -> SpanExporter:
    """An exporter that adds OpenInference's attributes before `inner` gets the spans."""
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

    def translated(span: ReadableSpan) -> ReadableSpan:
        attributes = openinference(span.attributes or {})
        return ReadableSpan(attributes=attributes, **{name: getattr(span, name) for name in _KEPT})

    class Mapped(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> Any:
            return inner.export(list(map(translated, spans)))

        def shutdown(self) -> None:
            inner.shutdown()

        def force_flush(self, timeout_millis: int = 30000) -> bool:
            return inner.force_flush(timeout_millis)

    return Mapped()


class InOrder:
    """The SDK's exporter, which gets each run's start after its parent's and its end after its start.

    The SDK's threads send runs in any order. Its exporter makes a root of a run whose parent has not started yet or
    has ended already, and drops an end that comes before its start. Here the former wait, and the context of those
    that ended is remembered. A run whose parent does not come within `patience` seconds becomes a root, with its
    children below it.

    Args:
        make: Makes the SDK's exporter for a tracer provider.
        provider: The provider of the spans.
        patience: Number of seconds that a start waits for its parent.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        make: Callable[[trace.TracerProvider], Any],
        provider: trace.TracerProvider,
        patience: float = _PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner = make(_seen(provider, self._note))
        self._patience, self._clock = patience, clock
        self._made: trace.Span | None = None
        self._open: dict[Any, trace.Span | None] = {}
        self._over: OrderedDict[Any, trace.SpanContext] = OrderedDict()
        """The runs that ended last: a child of theirs may still come."""
        self._held: dict[Any, _Start] = {}
        """Starts that wait, the oldest first."""
        self._children: dict[Any, list[Any]] = {}
        """Ids of starts that wait, by the parent they wait for."""
        self._ends: dict[Any, list[Any]] = {}
        """What came before its start."""
        self._mutex = threading.Lock()

    def export_batch(self, operations: Sequence[Any], contexts: Mapping[Any, Any]) -> None:
        """Export what can be; called by the SDK's sending threads."""
        with self._mutex:
            for op in operations:
                self._take(op, contexts.get(op.id))
            self._release(self._clock() - self._patience)

    def finish(self) -> None:
        """Export what is left: starts whose parents were never seen, and runs that never ended."""
        with self._mutex:
            self._release(math.inf)
            for uid, span in list(self._open.items()):
                if span is not None:
                    span.end()
                self._close(uid)
            self._ends.clear()

    def _take(self, op: Any, context: Any) -> None:
        if op.operation != "post":
            if op.id in self._open:
                self._update(op)
            elif op.id not in self._over:
                self._ends.setdefault(op.id, []).append(op)
                _forget(self._ends)
            return
        parent = _told(op).get("parent_run_id")
        start = _Start(op, context, None if parent is None else uuid.UUID(str(parent)), self._clock())
        if start.parent is None or start.parent in self._open or start.parent in self._over:
            self._start(start)
        else:
            self._held[op.id] = start
            self._children.setdefault(start.parent, []).append(op.id)

    def _release(self, before: float) -> None:
        """Start what has waited too long, or is too much to keep: each with what waits below it."""
        while self._held:
            uid, start = next(iter(self._held.items()))
            if start.since > before and len(self._held) <= _REMEMBERED:
                return
            above = {uid}
            while start.parent in self._held and start.parent not in above:
                uid = start.parent
                start = self._held[uid]
                above.add(uid)
            del self._held[uid]
            self._children[start.parent].remove(uid)
            if not self._children[start.parent]:
                del self._children[start.parent]
            self._start(start)

    def _start(self, first: _Start) -> None:
        """Export a start, what came for it before, and the starts that waited for it."""
        ready = [first]
        while ready:
            op, context, parent, _ = ready.pop()
            self._made = None
            self._inner.export_batch([op], {op.id: self._inside(parent) or context})
            self._open[op.id] = self._made
            ready += list(map(self._held.pop, self._children.pop(op.id, ())))
            if _told(op).get("end_time"):
                self._close(op.id)
            for later in self._ends.pop(op.id, ()):
                if op.id in self._open:
                    self._update(later)

    def _update(self, op: Any) -> None:
        self._inner.export_batch([op], {})
        if _told(op).get("end_time"):
            self._close(op.id)

    def _close(self, uid: Any) -> None:
        """Keep of an ended run what its children need. The SDK would keep the whole of one that was sent at once."""
        span = self._open.pop(uid)
        self._inner._span_info.pop(uid)
        if span is not None:
            self._over[uid] = span.get_span_context()
            _forget(self._over)

    def _inside(self, parent: Any) -> Any:
        """The context of a child of this run; None where the run has no span."""
        from opentelemetry import trace

        span = self._open.get(parent)
        found = self._over.get(parent) if span is None else span.get_span_context()
        return None if found is None else trace.set_span_in_context(trace.NonRecordingSpan(found))

    def _note(self, span: trace.Span) -> trace.Span:
        self._made = span
        return span


class _Start(NamedTuple):
    op: Any
    context: Any
    """What the SDK gave."""
    parent: uuid.UUID | None
    since: float


def _told(op: Any) -> dict[str, Any]:
    told: dict[str, Any] = op.deserialize_run_info()
    return told


def _forget(kept: dict[Any, Any]) -> None:
    """Drop the oldest of what is too much to keep."""
    if len(kept) > _REMEMBERED:
        del kept[next(iter(kept))]


def _missing(error: ImportError) -> ConfigError:
    msg = f"traces go to OpenTelemetry, and its package {error.name} is missing"
    mend = "Install langchain-promptopt[otel], or set LANGSMITH_TRACING=false."
    return ConfigError(msg, mend=mend)
