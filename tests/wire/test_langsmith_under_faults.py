"""The whole LangSmith story while its server fails: no row, run, feedback, commit or experiment lost or doubled.

Data with splits to be written back, notes from a queue, a judge of the workspace, traces, experiments, a
prompt pulled, pushed, tagged, rolled back and pushed again: every endpoint the package uses, each of which fails.
"""

from __future__ import annotations

import re
import uuid
from collections import Counter
from datetime import UTC, datetime

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.prompts.structured import StructuredPrompt
from langchain_core.runnables import RunnableLambda

from langchain_promptopt import optimize
from langchain_promptopt._langsmith import service
from langchain_promptopt._langsmith import traces as sending
from langchain_promptopt._langsmith.hub import PromptHub, pull_template
from langchain_promptopt._langsmith.publish import push_recorded, rollback_recorded
from langchain_promptopt.testing.scripted import ScriptedModel
from tests.support.faults import PLATFORM, FaultPlan
from tests.support.langsmith_env import client, dataset, point_at
from tests.support.langsmith_server import LangSmithServer
from tests.support.tasks import ANIMALS, PROMPT, STONES, answer, improve, optimizer

pytestmark = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
SCHEMA = {"title": "V", "description": "d", "type": "object", "properties": {"right": {"type": "boolean"}}}
MAPPING = {"answer": "output.output", "wanted": "referenceOutput.answer"}
JUDGE = {"prompt_repo_handle": "judge", "commit_hash_or_tag": "latest", "variable_mapping": MAPPING}
REVIEWED = "animal"
"""Rows of this kind are answered wrongly; each is reviewed, so whichever falls into train is evidence."""
ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|(?<=/)[0-9a-f]{64}(?=/|$)")
ENDPOINTS = {
    "GET /annotation-queues", "GET /annotation-queues/ID/runs", "GET /feedback", "GET /settings", "GET /datasets",
    "GET /datasets/ID/version", "GET /examples", "GET /sessions/ID", "POST /sessions", "PATCH /sessions/ID",
    "POST /runs/batch", "POST /runs/multipart", "POST /feedback", "GET /v1/platform/evaluators",
    "GET /commits/-/judge/latest", "GET /commits/-/words/latest", "GET /commits/-/words/staging",
    "POST /commits/-/words", "GET /repos/-/words/tags", "PATCH /repos/-/words/tags/staging",
    "POST /commits/-/fresh", "POST /repos", "POST /repos/-/fresh/tags", "DELETE /repos/-/fresh/tags/tried",
}  # fmt: skip
"""What the story must have asked for, whatever the SDK's version; further calls are the SDK's own."""


class Judge(ScriptedModel):
    """Says whether answer and reference are the same, as an object."""

    def with_structured_output(self, schema, **kwargs):
        def right(messages):
            given, wanted = messages.to_messages()[0].content.split("|")
            return {"right": given == wanted}

        return RunnableLambda(right)


def words():
    """Half animals, half stones, in no split."""
    kinds = {"animal": ANIMALS, "stone": STONES}
    return [
        {"inputs": {"word": f"{name}-{i}"}, "outputs": {"answer": kind}}
        for i in range(4)
        for kind, names in kinds.items()
        for name in names
    ]


def set_up(url):
    """The workspace as colleagues left it: rows, reviewed runs, a judge, a prompt with a tag."""
    there = client(url)
    made = dataset(url, "words", {"": words()})
    there.push_prompt("words", object=ChatPromptTemplate.from_template(PROMPT), commit_tags="staging")
    there.push_prompt("judge", object=StructuredPrompt([("human", "{answer}|{wanted}")], schema_=SCHEMA))
    rows = [e for e in there.list_examples(dataset_id=made.id) if e.outputs == {"answer": REVIEWED}]
    now, ids = datetime.now(UTC), [str(uuid.uuid4()) for _ in rows]
    more = {"start_time": now, "end_time": now, "outputs": {}, "project_name": "live"}
    for row, run in zip(rows, ids, strict=True):
        there.create_run("r", {}, "chain", id=uuid.UUID(run), reference_example_id=row.id, **more)
    queue = there.create_annotation_queue(name="review")
    place = {"session_id": str(there.read_project(project_name="live").id), "start_time": now.isoformat()}
    there.request_with_retries(
        "POST", f"/annotation-queues/{queue.id}/runs/by-key", json={"runs": [{"run_id": run, **place} for run in ids]}
    )
    for run in ids:
        said = {"id": str(uuid.uuid4()), "run_id": run, "key": "k", "comment": "a beast", "score": 0}
        there.request_with_retries("POST", "/feedback", json={**said, "feedback_source": {"type": "app"}})
    return made


def story(folder, judge, read):
    """Everything the package does with LangSmith, as a user asks for it; `read` gets what the optimizer model reads."""

    def improves(messages):
        read.append(str(messages[-1].text))
        return improve(messages)

    pulled = pull_template("acme/words:staging")
    chain = pulled | ScriptedModel(fn=answer, model_name="task") | StrOutputParser()
    result = optimize(
        chain, data="words", evaluators=["exact_match", "langsmith:right"], method="lpo-pe2",
        optimizer_model=optimizer(improves), runs_dir=folder / "runs", openings=folder / "openings.jsonl",
        max_concurrency=8,
        langsmith={"experiments": True, "write_splits": True, "queues": ["review"], "judge_model": judge},
    )  # fmt: skip
    place = folder / "runs" / result.run_id
    result.push("acme/words", tag="staging")
    rollback_recorded(place)
    again = push_recorded(place, "acme/words", tag="staging")
    fresh = push_recorded(place, "acme/fresh", tag="tried")
    hub = PromptHub()
    hub.drop_tag(hub.address("acme/fresh"), "tried")
    return result, again, fresh


def asked(requests):
    return {f"{r.method} {ID.sub('ID', r.path.rstrip('/'))}" for r in requests}


def check(server, made, read, result, again, fresh):
    """Rows, splits, notes, runs, feedback, experiments and commits: each there, and there once."""
    there = client(server.url)
    assert result.outcome == "improved", result.warnings
    assert result.links["experiments"], result.warnings
    events = list(result.events())
    scored = [e["data"] for e in events if e["type"] == "scored"]
    splits = next(e["data"]["data"]["splits"] for e in events)
    assert sum(splits.values()) == len(words())
    for split, n in splits.items():
        assert len(list(there.list_examples(dataset_id=made.id, splits=[split]))) == n
    assert len(list(there.list_examples(dataset_id=made.id))) == len(words())
    # traces: one tree for the run, one for each evaluation, every span ended
    traces = server.traces("default")
    assert Counter(t.name for t in traces) == {"promptopt": 1, "promptopt.evaluate": len(scored)}
    cells = Counter((d["candidate_id"], d["split"], d["example_id"]) for d in scored)
    names = ("promptopt_candidate_id", "promptopt_split", "promptopt_example_id")
    assert Counter(tuple(t.metadata[n] for n in names) for t in traces if t.name == "promptopt.evaluate") == cells
    assert all(run.outputs is not None for t in traces for run in t.walk())
    # experiments: a run a row, and each score once
    experiments = server.experiments(made.id)
    assert len(experiments) == len({e["name"] for e in experiments}) == 2
    for experiment in experiments:
        mine = experiment["extra"]["metadata"]["promptopt_candidate_id"]
        rows = {d["example_id"] for d in scored if d["candidate_id"] == mine}
        runs = [r for r in server.runs.values() if r["session_id"] == experiment["id"]]
        assert Counter(r["reference_example_id"] for r in runs) == Counter(rows)
        given = Counter((f["run_id"], f["key"]) for f in server.feedback if f.get("run_id") in {r["id"] for r in runs})
        assert given == Counter((r["id"], key) for r in runs for key in ("exact_match", "right"))
    # prompts: one commit on the old one, one new prompt, tags where they belong
    _, ours = server.prompts.all["words"].commits
    assert ours["commit_hash"] == again
    assert [c["commit_hash"] for c in server.prompts.all["fresh"].commits] == [fresh]
    hub = PromptHub()
    assert hub.tags(hub.address("acme/words")) == {"staging": again}
    assert hub.tags(hub.address("acme/fresh")) == {}
    assert server.unserved == []
    assert any("a beast" in text for text in read), "what a person wrote in the queue reaches the optimizer model"


def run(monkeypatch, tmp_path, faults):
    monkeypatch.setattr(service, "_FIRST_PAUSE", 0.0)
    monkeypatch.setattr(sending, "_FIRST_PAUSE", 0.0)
    with LangSmithServer() as server:
        point_at(monkeypatch, server.url)
        made, read = set_up(server.url), []
        server.evaluators.add("right", type="llm", llm_evaluator=JUDGE, feedback_keys=["right"])
        point_at(monkeypatch, server.url, TRACING="true")
        first = len(server.requests)
        server.faults = faults
        done = story(tmp_path, Judge(fn=lambda _: "", model_name="judge"), read)
        server.faults = None
        requests = list(server.requests)[first:]
        check(server, made, read, *done)
    return requests


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.campaign)])
def test_thirty_percent_of_all_requests_fail(monkeypatch, tmp_path, seed):
    faults = FaultPlan(rate=0.3, kinds=PLATFORM, seed=seed, retry_after="0")
    requests = run(monkeypatch, tmp_path, faults)
    assert len(faults.fired) > len(requests) / 6


def test_every_endpoint_fails_before_it_answers(monkeypatch, tmp_path):
    """Each request fails the first time it is made, in one of all the ways; so none is left that was never tried."""
    faults = FaultPlan(rate=1.0, kinds=PLATFORM, seed=3, most=1, retry_after="0")
    requests = run(monkeypatch, tmp_path, faults)
    assert asked(requests) >= ENDPOINTS, ENDPOINTS - asked(requests)
    assert asked(r for r in requests if r.fault) == asked(requests)
    assert {fired.kind for fired in faults.fired} == set(PLATFORM)
