"""Nothing leaves the process unless tracing is on, and then only to where it was pointed: each trap, by its sockets."""

from __future__ import annotations

import builtins
import contextlib
import io
import json
import time
import uuid
from datetime import UTC, datetime
from functools import partial

import pytest
import requests
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langsmith import evaluate, tracing_context
from langsmith._internal.otel._otel_client import get_otlp_tracer_provider
from langsmith.schemas import Example
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from langchain_promptopt import Gate
from langchain_promptopt._langsmith.otel import provider
from langchain_promptopt._langsmith.traces import TraceClient, make_trace_client
from langchain_promptopt.errors import ConfigError, CredentialsError
from tests.support import runs
from tests.support.guard import SocketGuard
from tests.support.http_kit import LoopbackServer
from tests.support.http_messages import Response
from tests.support.langsmith_env import KEY, client, dataset, forget, read_anew
from tests.support.tasks import rows

run = partial(runs.run, data=rows(6, 6, 20))


def by_split(given):
    return {s: [r for r in given if r["metadata"]["split"] == s] for s in ("train", "dev", "test")}


def switch(monkeypatch, **settings):
    for name, value in settings.items():
        monkeypatch.setenv(f"LANGSMITH_{name}", value)
    read_anew()


def test_with_tracing_off_not_one_socket_is_opened(server, monkeypatch, tmp_path):
    del server
    with SocketGuard() as seen:
        run(runs_dir=tmp_path, trace_file=tmp_path / "t.jsonl", gate=Gate(primary="exact_match"))
    assert seen.attempts == []
    forget(monkeypatch)
    with SocketGuard() as seen:
        run()
    assert seen.attempts == []


def test_tracing_off_inside_a_caller_that_says_so(server, monkeypatch):
    switch(monkeypatch, TRACING="true")
    with SocketGuard() as seen, tracing_context(enabled=False):
        run()
    assert seen.attempts == []
    assert server.runs == {}


@pytest.mark.filterwarnings("ignore::langsmith._internal._beta_decorator.LangSmithBetaWarning")
def test_inside_an_evaluation_that_uploads_nothing_nothing_is_uploaded(server):
    """`upload_results=False` sets tracing to "local", which LangChain takes for true and posts nested runs."""

    def target(inputs):
        return {"outcome": run().outcome}

    def scored(outputs):
        return outputs["outcome"] == "improved"

    data = [Example(id=uuid.uuid4(), inputs={"x": 1}, outputs={})]
    quiet = io.StringIO()
    told = {"data": data, "evaluators": [scored], "upload_results": False, "client": client(server.url)}
    with SocketGuard() as seen, contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        found = list(evaluate(target, **told))
    assert found[0]["run"].outputs == {"outcome": "improved"}
    assert seen.beyond_loopback() == []
    names = {r["name"] for r in server.runs.values()}
    assert names.isdisjoint({"promptopt", "promptopt.evaluate", "RunnableSequence", "baseline"})


def test_sdk_evaluators_run_here_and_send_nothing(server):
    from langsmith.evaluation import EvaluationResult, EvaluationResults, run_evaluator

    @run_evaluator
    def exact(run, example):
        return EvaluationResult(key="exact", score=run.outputs["output"] == example.outputs["answer"], comment="c")

    @run_evaluator
    def several(run, example):
        return EvaluationResults(results=[EvaluationResult(key="one", score=1), EvaluationResult(key="two", score=0.5)])

    with SocketGuard() as seen:
        result = run(evaluators=[exact, several], gate=Gate(primary="exact"))
    assert seen.attempts == []
    scored = next(e["data"] for e in result.events() if e["type"] == "scored")
    assert scored["scores"].keys() == {"exact", "one", "two"}
    assert scored["comments"]["exact"] == "c"
    assert server.runs == {}


def test_a_key_is_never_part_of_a_trace_a_journal_or_a_result(server, monkeypatch, tmp_path):
    switch(monkeypatch, TRACING="true")
    result = run(runs_dir=tmp_path, trace_file=tmp_path / "t.jsonl")
    bodies = b"".join(r.body for r in server.requests if r.headers.get("content-encoding") != "zstd")
    told = json.dumps(server.runs, default=str).encode() + bodies
    for path in tmp_path.rglob("*.*"):
        told += path.read_bytes()
    assert server.runs
    assert KEY.encode() not in told
    assert KEY not in json.dumps(result.as_json(), default=str)


def test_traces_carry_no_git_and_no_settings(server, monkeypatch):
    switch(monkeypatch, TRACING="true", SOME_NOTE="note-to-self")
    run()
    told = json.dumps(server.runs, default=str)
    assert "note-to-self" not in told
    for word in ("author_email", "remote_url", '"git"', "revision_id"):
        assert word not in told


def test_templates_do_not_leave_where_inputs_are_hidden(server, monkeypatch):
    """`serialized` of prompt runs carries the template; the SDK's own switches leave it in."""
    switch(monkeypatch, TRACING="true", HIDE_INPUTS="true", HIDE_OUTPUTS="true")
    run()
    assert server.runs
    told = json.dumps(server.runs, default=str)
    assert "You sort words" not in told
    assert "PLANT" not in told.replace("promptopt", "")
    assert not any(r.get("serialized") for r in server.runs.values())


def test_without_hiding_the_switch_is_what_makes_the_difference(server):
    prompt = ChatPromptTemplate([("human", "secret recipe {q}")]) | RunnableLambda(lambda v: v)
    for hide in (True, False):
        sending = TraceClient(api_url=server.url, api_key=KEY, hide_inputs=hide, hide_outputs=hide)
        with tracing_context(enabled=True, client=sending, project_name=str(hide)):
            prompt.invoke({"q": "x"})
        sending.end(10)
    told = {
        name: json.dumps([r for r in server.runs.values() if r["session_id"] == server.state.session(name)["id"]])
        for name in ("True", "False")
    }
    assert "secret recipe" not in told["True"]
    assert "secret recipe" in told["False"]


def test_tracing_on_without_a_key_is_told_before_anything_is_sent(monkeypatch):
    forget(monkeypatch)
    switch(monkeypatch, TRACING="true")
    with SocketGuard() as seen, pytest.raises(CredentialsError, match="LANGSMITH_TRACING=false"):
        run()
    assert seen.attempts == []


# ---------------------------------------------------------------- OpenTelemetry


class Collector(LoopbackServer):
    """Takes OTLP over HTTP and keeps the spans and headers it was sent."""

    def __init__(self):
        self.spans, self.heads = [], []
        super().__init__(self._take)

    def _take(self, request):
        import gzip

        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        self.heads.append(dict(request.headers))
        body = gzip.decompress(request.body) if request.headers.get("content-encoding") == "gzip" else request.body
        sent = ExportTraceServiceRequest.FromString(body)
        self.spans += [s for r in sent.resource_spans for scope in r.scope_spans for s in scope.spans]
        return Response(b"", content_type="application/x-protobuf")


def plain(span):
    return {a.key: a.value.string_value or a.value.int_value or a.value.double_value for a in span.attributes}


@pytest.fixture
def collector(monkeypatch):
    with Collector() as running:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.url)
        yield running


def test_opentelemetry_gets_the_tree_and_neither_the_key_nor_langsmith_anything(server, monkeypatch, collector):
    switch(monkeypatch, TRACING="true", TRACING_MODE="otel")
    with SocketGuard() as seen:
        run()
    seen.assert_loopback_only()
    assert seen.to(collector.url)
    assert seen.to(server.url) == []
    assert server.count == 0
    assert collector.heads
    for head in collector.heads:
        assert "x-api-key" not in head
        assert KEY not in json.dumps(head)
    by_id = {s.span_id: s for s in collector.spans}
    names = {s.name for s in collector.spans}
    assert {"promptopt", "baseline", "step 1", "textual_gradient", "retrieve_trajectory", "identify_tokens"} <= names
    assert {"local_proposal", "splice", "evaluate", "select", "test", "promptopt.evaluate"} <= names
    (root,) = (s for s in collector.spans if s.name == "promptopt")
    (step,) = (s for s in collector.spans if s.name == "step 1")
    assert by_id[step.parent_span_id] is root
    evaluations = [s for s in collector.spans if s.name == "promptopt.evaluate"]
    assert all(not s.parent_span_id and s.trace_id != root.trace_id for s in evaluations)
    for span in collector.spans:
        told = plain(span)
        assert told["openinference.span.kind"]
        assert told["input.value"]
        assert json.loads(told["metadata"])["promptopt_run_id"] == told["session.id"]
    kinds = {s.name: plain(s)["openinference.span.kind"] for s in collector.spans}
    assert (kinds["retrieve_trajectory"], kinds["ChatPromptTemplate"], kinds["promptopt"]) == (
        "RETRIEVER",
        "PROMPT",
        "CHAIN",
    )
    assert json.loads(plain(root)["output.value"])["outcome"] == "improved"


def test_hidden_inputs_and_templates_are_hidden_from_opentelemetry_too(server, monkeypatch, collector):
    switch(monkeypatch, TRACING="true", TRACING_MODE="otel", HIDE_INPUTS="true", HIDE_OUTPUTS="true")
    run()
    assert server.count == 0
    told = json.dumps([plain(s) for s in collector.spans], default=str)
    assert "promptopt_run_id" in told
    assert "You sort words" not in told
    assert "PLANT" not in told.replace("promptopt", "")


def test_hybrid_mode_sends_to_both_and_the_key_to_one(server, monkeypatch, collector):
    switch(monkeypatch, TRACING="true", TRACING_MODE="hybrid", PROJECT="both")
    run()
    assert len(server.runs) == len({s.span_id for s in collector.spans})
    assert all("x-api-key" not in head for head in collector.heads)


def test_a_client_in_otel_mode_makes_a_provider_that_sends_the_key_and_ours_is_not_it(server, monkeypatch, collector):
    """The SDK's clients set up a provider for the whole process. Ours must not, and a user's is not used."""
    unset = trace.get_tracer_provider()
    assert isinstance(unset, trace.ProxyTracerProvider)
    dataset(server.url, "words", by_split(rows(6, 6, 20)))
    switch(monkeypatch, TRACING="true", TRACING_MODE="otel")
    run(data="words")
    assert trace.get_tracer_provider() is unset
    monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", get_otlp_tracer_provider())
    run(data="words", seed=1)
    assert len({s.trace_id for s in collector.spans if s.name == "promptopt"}) == 2
    assert all("x-api-key" not in head for head in collector.heads)


def test_a_slow_collector_gets_every_span(collector):
    """A search makes more spans than the SDK's own queue holds, which drops what does not fit."""
    collector.delay = 0.1
    made = provider("p")
    tracer = made.provider.get_tracer("t")
    for i in range(6000):
        tracer.start_span(str(i)).end()
    made.provider.force_flush()
    made.provider.shutdown()
    assert len({s.name for s in collector.spans}) == 6000


def test_a_collector_has_a_minute_to_answer_unless_the_settings_say_otherwise(monkeypatch, collector):
    """After OpenTelemetry's own 10 seconds the spans of a request would be lost."""
    waited, sends = [], requests.Session.send

    def send(self, request, **settings):
        waited.append(settings["timeout"])
        return sends(self, request, **settings)

    monkeypatch.setattr(requests.Session, "send", send)
    for name in ("one", "other"):
        made = provider("p").provider
        made.get_tracer("t").start_span(name).end()
        made.shutdown()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3")
    assert {s.name for s in collector.spans} == {"one", "other"}
    assert [max(w) if isinstance(w, tuple) else round(w) for w in waited] == [60, 3]


def test_the_root_of_a_run_of_many_hours_is_whole(monkeypatch, collector):
    """The SDK ends what has been open for an hour, without its outputs."""
    switch(monkeypatch, TRACING="true", TRACING_MODE="otel")
    later, now = time.time() + 30 * 3600, datetime.now(UTC)
    client = make_trace_client("p", None)
    mine, other = (
        {"id": uid, "trace_id": uid, "dotted_order": f"20260101T000000000000Z{uid}"}
        for uid in (uuid.uuid4(), uuid.uuid4())
    )
    client.create_run("promptopt", {"q": 1}, "chain", start_time=now, project_name="p", **mine)
    client.flush()
    with monkeypatch.context() as patch:
        patch.setattr("time.time", lambda: later)
        client.create_run("other", {"q": 1}, "chain", start_time=now, project_name="p", **other)
        client.flush()
    client.update_run(mine.pop("id"), outputs={"a": 1}, end_time=now, **mine)
    client.end(10)
    (span,) = (s for s in collector.spans if s.name == "promptopt")
    assert plain(span)["output.value"]


def test_a_provider_of_the_application_is_used_and_its_spans_show_kinds(server, monkeypatch):
    """As after `phoenix.otel.register()`: the spans go where the application sends its own, and read as well there."""
    kept = InMemorySpanExporter()
    theirs = TracerProvider(resource=Resource({"service.name": "their app"}))
    theirs.add_span_processor(SimpleSpanProcessor(kept))
    monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", theirs)
    switch(monkeypatch, TRACING="true", TRACING_MODE="otel")
    with SocketGuard() as seen:
        run()
    assert seen.attempts == []
    assert server.count == 0
    spans = kept.get_finished_spans()
    assert {"promptopt", "step 1", "local_proposal", "promptopt.evaluate"} <= {s.name for s in spans}
    for span in spans:
        assert span.resource.attributes["service.name"] == "their app"
        assert span.attributes["openinference.span.kind"]
        assert span.attributes["input.value"]
    with theirs.get_tracer("app").start_as_current_span("their own"):
        pass
    assert "openinference.span.kind" not in kept.get_finished_spans()[-1].attributes


def test_a_missing_opentelemetry_package_is_an_error_and_no_upload(server, monkeypatch):
    """The SDK itself would warn and send the traces to LangSmith."""
    switch(monkeypatch, TRACING="true", TRACING_MODE="otel")
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("opentelemetry"):
            raise ImportError(f"No module named {name!r}", name=name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with SocketGuard() as seen, pytest.raises(ConfigError, match=r"langchain-promptopt\[otel\]"):
        run()
    assert seen.attempts == []
    assert server.runs == {}


def test_an_unknown_mode_is_said(server, monkeypatch):
    del server
    switch(monkeypatch, TRACING="true", TRACING_MODE="otle")
    with pytest.raises(ConfigError, match="langsmith, otel, hybrid"):
        run()
