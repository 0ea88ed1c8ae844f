"""A run's traces at Langfuse's OTLP address, as the README says to send them."""

from __future__ import annotations

import base64
import json

import offline
from langchain_core.prompts import ChatPromptTemplate
from langsmith.utils import get_env_var
from server import PUBLIC, SECRET

from langchain_promptopt.offline import demo_prompt


def test_the_tree_of_a_run_arrives_with_inputs_and_outputs(server, monkeypatch, tmp_path):
    key = base64.b64encode(f"{PUBLIC}:{SECRET}".encode()).decode()
    monkeypatch.setenv("LANGSMITH_TRACING", "true")
    monkeypatch.setenv("LANGSMITH_TRACING_MODE", "otel")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"{server.url}/api/public/otel")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"Authorization=Basic%20{key}")
    get_env_var.cache_clear()
    prompt = ChatPromptTemplate([("human", demo_prompt())])
    result = offline.optimized(prompt, tmp_path, every=6, budget={"search_calls": 80})
    spans = server.project.spans
    monkeypatch.undo()
    get_env_var.cache_clear()
    by_id, told = {s.span_id: s for s in spans}, {}
    for span in spans:
        told[span.span_id] = {a.key: a.value.string_value for a in span.attributes}
        assert not span.parent_span_id or span.parent_span_id in by_id
        assert told[span.span_id]["input.value"]
        assert told[span.span_id]["openinference.span.kind"]
        assert told[span.span_id]["session.id"] == result.run_id
    (root,) = (s for s in spans if s.name == "promptopt")
    assert json.loads(told[root.span_id]["output.value"])["outcome"] == result.outcome
    (step,) = (s for s in spans if s.name == "step 1")
    assert by_id[step.parent_span_id] is root
    model = next(s for s in spans if told[s.span_id]["openinference.span.kind"] == "LLM")
    assert model.parent_span_id
    assert told[model.span_id]["output.value"]
