"""Traces through OpenTelemetry: the SDK's own mode, with attributes that Phoenix and MLflow read.

Traces leave the process as OTLP only. The exporter is ours, so that the SDK does not add the LangSmith key to
requests, and a missing package is an error, not an upload to LangSmith.
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langsmith.utils import get_env_var, is_env_var_truish

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
class Spans:
    """The provider of the SDK's spans. `ours` is whether we made it, and so have to shut it down."""

    provider: Any
    ours: bool


def provider(project: str | None, exporter: SpanExporter | None = None) -> Spans:
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
        return Spans(_with_attributes(current), ours=False)
    name = project or get_env_var("PROJECT") or "promptopt"
    made = TracerProvider(resource=Resource.create({"openinference.project.name": name, "service.name": "promptopt"}))
    most = None if os.environ.get("OTEL_BSP_MAX_QUEUE_SIZE") else _WAITING  # the SDK drops what does not fit
    made.add_span_processor(BatchSpanProcessor(mapped(exporter if exporter is not None else _otlp()), most))
    return Spans(made, ours=True)


def _with_attributes(theirs: trace.TracerProvider) -> trace.TracerProvider:
    """The application's provider, with OpenInference's attributes put on each span of ours before it ends."""
    from opentelemetry import trace

    class Tracer(trace.Tracer):
        def __init__(self, tracer: trace.Tracer) -> None:
            self._tracer = tracer

        def start_span(self, *args: Any, **kwargs: Any) -> trace.Span:
            return _completed_at_end(self._tracer.start_span(*args, **kwargs))

        def start_as_current_span(self, *args: Any, **kwargs: Any) -> Any:
            return self._tracer.start_as_current_span(*args, **kwargs)

    class Provider(trace.TracerProvider):
        def get_tracer(self, *args: Any, **kwargs: Any) -> trace.Tracer:
            return Tracer(theirs.get_tracer(*args, **kwargs))

    return Provider()


def _completed_at_end(span: trace.Span) -> trace.Span:
    end = span.end

    def completed(end_time: int | None = None) -> None:
        told = getattr(span, "attributes", None) or {}
        span.set_attributes({k: v for k, v in openinference(told).items() if k not in told})
        end(end_time)

    span.end = completed  # type: ignore[method-assign]  # of this span alone
    return span


def _otlp() -> SpanExporter:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise _missing(error) from error
    return OTLPSpanExporter()


def mapped(inner: SpanExporter) -> SpanExporter:
    """An exporter that adds OpenInference's attributes before `inner` gets the spans."""
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

    def translated(span: ReadableSpan) -> ReadableSpan:
        attributes = openinference(span.attributes or {})
        return ReadableSpan(attributes=attributes, **{name: getattr(span, name) for name in _KEPT})

    class Mapped(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> Any:
            return inner.export([translated(span) for span in spans])

        def shutdown(self) -> None:
            inner.shutdown()

        def force_flush(self, timeout_millis: int = 30000) -> bool:
            return inner.force_flush(timeout_millis)

    return Mapped()


class InOrder:
    """The SDK's exporter, which gets the end of each run after its start and after its children's starts.

    The SDK's queue may deliver an end before its start, or before children that are in the next batch; the
    exporter would drop the former and turn the latter into root spans.

    Args:
        inner: The SDK's.
        waiting: Number of operations still queued; ends are held back until it is 0.
    """

    def __init__(self, inner: Any, waiting: Callable[[], int]) -> None:
        self._inner, self._waiting = inner, waiting
        self._started: set[Any] = set()
        self._ends: dict[Any, Any] = {}
        self._mutex = threading.Lock()

    def export_batch(self, operations: Sequence[Any], contexts: Mapping[Any, Any]) -> None:
        """Export what can be; called by the SDK's sending threads."""
        with self._mutex:
            starts = [op for op in operations if op.operation == "post"]
            self._started |= {op.id for op in starts}
            self._ends |= {op.id: op for op in operations if op.operation != "post"}
            self._inner.export_batch(starts, dict(contexts))
            if not self._waiting():
                self._end()

    def finish(self) -> None:
        """Export the ends that are left."""
        with self._mutex:
            self._end()

    def _end(self) -> None:
        ready = {key: op for key, op in self._ends.items() if key in self._started}
        self._inner.export_batch(list(ready.values()), {})
        self._started -= ready.keys()
        for key in ready:
            del self._ends[key]


def _missing(error: ImportError) -> ConfigError:
    msg = f"traces go to OpenTelemetry, and its package {error.name} is missing"
    mend = "Install langchain-promptopt[otel], or set LANGSMITH_TRACING=false."
    return ConfigError(msg, mend=mend)
