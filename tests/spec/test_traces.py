"""Product contract, section 6: the decision trace, and evaluation traces linked to it and apart from it."""

from __future__ import annotations

import asyncio
import json
from functools import partial

import pytest
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers.base import BaseTracer
from langsmith import traceable, tracing_context

from langchain_promptopt import PromptOptimizer
from tests.support import runs
from tests.support.guard import SocketGuard
from tests.support.langsmith_env import KEY, client, point_at
from tests.support.langsmith_server import LangSmithServer
from tests.support.tasks import chain, improve, optimizer, rows

KEYS = {
    "promptopt_run_id", "promptopt_step", "promptopt_candidate_id", "promptopt_parent_id", "promptopt_method",
    "promptopt_split",
}  # fmt: skip


@pytest.fixture
def server(monkeypatch):
    with LangSmithServer() as running:
        point_at(monkeypatch, running.url, TRACING="true", PROJECT="runs")
        yield running


run = partial(runs.run, data=rows(6, 6, 20))


def told(server, project="runs"):
    """The decision trace, and the evaluation traces."""
    traces = server.traces(project)
    (root,) = (t for t in traces if t.name == "promptopt")
    evaluations = [t for t in traces if t.name == "promptopt.evaluate"]
    assert len(traces) == 1 + len(evaluations), {t.name for t in traces}
    return root, evaluations


def named(tree, name):
    return [t for t in tree.walk() if t.name == name]


def test_the_tree_of_a_local_run(server):
    result = run()
    root, _ = told(server)
    assert [c.name for c in root.children][:2] == ["baseline", "step 1"]
    assert root.children[-1].name == "test"
    step = root.children[1]
    names = [c.name for c in step.children]
    assert set(names) == {
        "textual_gradient", "retrieve_trajectory", "identify_tokens", "local_proposal", "splice", "evaluate", "select",
    }  # fmt: skip
    assert names[-2:] == ["evaluate", "select"]
    assert root.inputs["method"] == "lpo-pe2"
    assert root.inputs["prompts"][0]["messages"][0]["template"].startswith("You sort words")
    assert root.outputs["outcome"] == "improved"
    assert root.outputs["edits"][0]["new"] == "animal"
    assert root.outputs["test"][0]["metric"] == "exact_match"
    assert result.run_id == root.metadata["promptopt_run_id"]


def test_each_step_says_what_it_found(server):
    run()
    root, _ = told(server)
    step = root.children[1]
    gradient, marked, local = (named(step, n)[0] for n in ("textual_gradient", "identify_tokens", "local_proposal"))
    assert "PLANT misleads" in gradient.outputs["feedback"]
    assert gradient.outputs["example_ids"]
    assert "<edit>PLANT</edit>" in marked.outputs["tagged"]
    assert marked.outputs["spans"][0]["text"] == "PLANT"
    assert local.outputs["edits"][0]["reason"] == "the rows expect animal"
    made = named(step, "splice")[0].outputs["children"][0]
    assert "Call every animal a animal." in made["prompts"][0]["messages"][0]["template"]
    kept = named(step, "select")[0].outputs
    assert kept["kept"]
    assert all(set(d) == {"candidate_id", "why"} for d in kept["dropped"])


def test_a_refused_child_names_the_rule(server):
    def breaks(messages):
        reply = improve(messages)
        return (
            json.dumps({"1": {"new": "{word} {other}", "reason": "r"}}) if "JSON object" in messages[-1].text else reply
        )

    run(model=optimizer(breaks))
    root, _ = told(server)
    refused = [r for t in named(root, "splice") for r in t.outputs["refused"]]
    assert refused
    assert all(r["rule"] for r in refused)


def test_retrieval_is_a_retriever_run_with_documents(server):
    run(method="gpo")
    root, _ = told(server)
    found = named(root, "retrieve_trajectory")
    assert {t.run_type for t in found} == {"retriever"}
    documents = [d for t in found for d in t.outputs["documents"]]
    assert documents
    for document in documents:
        assert document["page_content"]
        assert {"candidate_id", "score", "similarity"} <= document["metadata"].keys()


def test_a_global_run_shows_global_proposals(server):
    run(method="gpo")
    root, _ = told(server)
    assert named(root, "global_proposal")
    assert not named(root, "local_proposal")


def test_every_span_of_the_decision_carries_every_key(server):
    run()
    root, evaluations = told(server)
    for span in root.walk():
        assert span.metadata.keys() >= KEYS, span.name
    for trace in evaluations:
        for span in trace.walk():
            assert span.metadata.keys() >= KEYS, span.name
    by_name = {c.name: c.metadata for c in root.children}
    assert by_name["step 1"]["promptopt_step"] == 1
    assert by_name["test"]["promptopt_split"] == "test"
    assert by_name["baseline"]["promptopt_split"] == "dev"


def test_each_evaluation_is_a_trace_of_its_own_with_chain_and_evaluators(server):
    def judged(outputs, reference_outputs):
        return {"key": "judged", "score": outputs["output"] == reference_outputs["answer"], "comment": "compared"}

    result = run(evaluators=["exact_match", judged])
    root, evaluations = told(server)
    scored = [e["data"] for e in result.events() if e["type"] == "scored"]
    cells = sorted((d["candidate_id"], d["split"], d["example_id"]) for d in scored)
    linked = sorted(
        (m["promptopt_candidate_id"], m["promptopt_split"], m["promptopt_example_id"])
        for m in (t.metadata for t in evaluations)
    )
    assert linked == cells
    for trace in evaluations:
        assert [c.name for c in trace.children] == ["RunnableSequence", "exact_match", "judged"]
        assert trace.metadata["promptopt_run_id"] == root.metadata["promptopt_run_id"]
        assert trace.outputs["scores"].keys() == {"exact_match", "judged"}
        assert trace.children[2].outputs["comments"] == {"judged": "compared"}
    parents = {t.metadata["promptopt_candidate_id"]: t.metadata["promptopt_parent_id"] for t in evaluations}
    seed = next(e["data"]["seed_candidate_id"] for e in result.events())
    assert parents.pop(seed) == ""
    assert set(parents.values()) <= {seed, *parents}


def test_the_evaluate_span_names_its_evaluation_traces(server):
    run()
    root, evaluations = told(server)
    on_dev = {t.id for t in evaluations if t.metadata["promptopt_split"] == "dev"}
    named_ids = {
        i
        for span in [*named(root, "baseline"), *named(root, "evaluate")]
        for ids in span.outputs["traces"].values()
        for i in ids
    }
    assert named_ids == on_dev
    (test,) = named(root, "test")
    assert {i for ids in test.outputs["traces"].values() for i in ids} == {
        t.id for t in evaluations if t.metadata["promptopt_split"] == "test"
    }


def test_what_evaluators_call_hangs_below_them(server):
    judge = RunnableLambda(lambda x: x["output"]).with_config(run_name="judge model")

    @traceable(name="own helper")
    def helper(value):
        return value

    async def asks(outputs, reference_outputs):
        return helper(await judge.ainvoke(outputs)) == reference_outputs["answer"]

    run(evaluators=[asks])
    _, evaluations = told(server)
    for trace in evaluations:
        assert [c.name for c in trace.children] == ["RunnableSequence", "asks"]
        assert [c.name for c in trace.children[1].children] == ["judge model", "own helper"]


def test_a_resumed_process_is_a_new_root_with_the_same_run_id(server, tmp_path):
    first = run(runs_dir=tmp_path)
    again = run(runs_dir=tmp_path)
    assert again.replayed
    roots = [t for t in server.traces("runs") if t.name == "promptopt"]
    assert len(roots) == 2
    assert {t.metadata["promptopt_run_id"] for t in roots} == {first.run_id}


def test_a_caller_that_is_traced_holds_the_decision_and_not_the_evaluations(server):
    there = client(server.url)

    @traceable(name="my pipeline")
    def pipeline():
        return run().outcome

    with tracing_context(enabled=True, client=there, project_name="mine"):
        pipeline()
    there.flush()
    traces = server.traces("mine")
    (mine,) = (t for t in traces if t.name == "my pipeline")
    assert [c.name for c in mine.children] == ["promptopt"]
    assert {t.name for t in traces} == {"my pipeline", "promptopt.evaluate"}
    assert server.traces("runs") == []


def test_the_project_can_be_named(server):
    run(langsmith={"project": "elsewhere"})
    told(server, "elsewhere")


def test_all_runs_arrive_whatever_the_concurrency(server):
    result = run(data=rows(12, 16, 40), max_concurrency=64)
    root, evaluations = told(server)
    scored = [e for e in result.events() if e["type"] == "scored"]
    assert len(evaluations) == len(scored)
    assert all(t.outputs is not None for trace in (root, *evaluations) for t in trace.walk())
    assert server.doubled == {}


# ---------------------------------------------------------------- local tracers


class OutcomeTable(BaseTracer):
    """Whole trees in memory."""

    run_inline = True

    def __init__(self):
        super().__init__()
        self.roots = []

    def _persist_run(self, run):
        self.roots.append(run)


def test_a_local_tracer_sees_the_same_trees_and_nothing_is_sent():
    tracer = OutcomeTable()
    optimizing = PromptOptimizer(
        data=rows(6, 6, 20), evaluators=["exact_match"], method="lpo-pe2", runs_dir=None, openings=None,
        optimizer_model=optimizer(),
    )  # fmt: skip
    with SocketGuard() as seen:
        asyncio.run(optimizing.ainvoke(chain(), {"callbacks": [tracer]}))
    assert seen.attempts == []
    (root,) = (r for r in tracer.roots if r.name == "promptopt")
    assert [c.name for c in root.child_runs][:2] == ["baseline", "step 1"]
    evaluations = [r for r in tracer.roots if r.name == "promptopt.evaluate"]
    assert len(evaluations) + 1 == len(tracer.roots)
    assert [c.name for c in evaluations[0].child_runs] == ["RunnableSequence", "exact_match"]
    retrievals = [c for c in root.child_runs[1].child_runs if c.name == "retrieve_trajectory"]
    assert retrievals
    assert {c.run_type for c in retrievals} == {"retriever"}


def test_the_trace_file_holds_every_run_of_every_tree(server, tmp_path):
    path = tmp_path / "deep" / "trace.jsonl"
    run(trace_file=path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    by_id = {line["id"]: line for line in lines}
    assert len(by_id) == len(lines)
    assert all(line["parent_id"] is None or line["parent_id"] in by_id for line in lines)
    (root,) = (line for line in lines if line["name"] == "promptopt")
    assert root["outputs"]["outcome"] == "improved"
    assert by_id.keys() == server.runs.keys()
    for line in lines:
        assert line["metadata"].keys() >= KEYS
        assert (server.runs[line["id"]]["name"], server.runs[line["id"]]["run_type"]) == (
            line["name"],
            line["run_type"],
        )
    documents = [line["outputs"]["documents"] for line in lines if line["run_type"] == "retriever"]
    assert documents
    assert KEY not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0
