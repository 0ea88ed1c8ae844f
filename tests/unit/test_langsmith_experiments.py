"""Experiments made from a run's journal: comparable, linked, complete, and never published twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from langchain_promptopt._langsmith.datasets import LangSmithRows
from langchain_promptopt._langsmith.service import Service, make_client
from langchain_promptopt._runtime.concurrency import run_sync
from langchain_promptopt.optimizer.arguments import settings_of
from langchain_promptopt.optimizer.run import run_task
from tests.support.faults import PLATFORM, FaultPlan, Rule
from tests.support.langsmith_env import dataset
from tests.support.tasks import answer, chain, optimizer, rows

NAME = "words"


@pytest.fixture
def made(server):
    splits = {}
    for row in rows(6, 6, 20):
        splits.setdefault(row["metadata"]["split"], []).append({"inputs": row["inputs"], "outputs": row["outputs"]})
    return dataset(server.url, NAME, splits)


def run(tmp_path, **more):
    given = {
        "data": NAME, "evaluators": ["exact_match"], "method": "lpo-pe2", "runs_dir": tmp_path / "runs",
        "openings": tmp_path / "openings.jsonl", "optimizer_model": optimizer(), "langsmith": {"experiments": True},
        **more,
    }  # fmt: skip
    task = given.pop("task", None) or chain()
    remote = LangSmithRows(service=Service(make_client(), sleep=lambda _: None))
    return run_sync(lambda: run_task(task, replace(settings_of(given), remote=remote)))


def published(server, made):
    return {e["extra"]["metadata"]["promptopt_role"]: e for e in server.experiments(made.id)}


def test_baseline_winners_and_final_are_experiments_of_the_dataset(server, made, tmp_path):
    result = run(tmp_path)
    found = published(server, made)
    assert found.keys() == {"baseline", "final"}
    metadata = {role: e["extra"]["metadata"] for role, e in found.items()}
    assert metadata["baseline"]["promptopt_parent_id"] == ""
    assert metadata["final"]["promptopt_parent_id"] == metadata["baseline"]["promptopt_candidate_id"]
    assert metadata["final"]["promptopt_candidate_id"] == result.best.id
    assert {m["promptopt_run_id"] for m in metadata.values()} == {result.run_id}
    version = next(e["data"]["data"]["as_of"] for e in result.events())
    assert {m["dataset_version"] for m in metadata.values()} == {version}
    assert all(e["end_time"] for e in found.values())


def test_their_rows_and_scores_are_those_of_the_journal(server, made, tmp_path):
    result = run(tmp_path)
    found = published(server, made)
    journal = {}
    for event in result.events():
        if event["type"] == "scored":
            data = event["data"]
            journal[data["candidate_id"], data["example_id"]] = data
    for experiment in found.values():
        candidate = experiment["extra"]["metadata"]["promptopt_candidate_id"]
        runs = [r for r in server.runs.values() if r["session_id"] == experiment["id"]]
        mine = {example: data for (c, example), data in journal.items() if c == candidate}
        assert {r["reference_example_id"] for r in runs} == mine.keys()
        for each in runs:
            data = mine[each["reference_example_id"]]
            assert each["outputs"] == {"output": data["output"]}
            (feedback,) = [f for f in server.feedback if f["run_id"] == each["id"]]
            assert (feedback["key"], feedback["score"]) == ("exact_match", data["scores"]["exact_match"])
            assert "word" in each["inputs"]
        assert experiment["feedback_stats"]["exact_match"]["n"] == len(mine)


def test_what_is_comparable_stands_on_the_experiment_itself(server, made, tmp_path):
    """Candidates are run on different rows; the means of each split, and summary evaluators, compare them."""

    def share_of_animals(outputs, reference_outputs):
        assert len(outputs) == len(reference_outputs)
        return {"key": "animals", "score": sum(o["output"] == "animal" for o in outputs) / len(outputs)}

    result = run(tmp_path, summary_evaluators=[share_of_animals])
    assert {(s["metric"], s["split"]): (s["baseline"], s["best"], s["n"]) for s in result.summary} == {
        ("animals", "dev"): (0.0, 0.5, 6), ("animals", "test"): (0.0, 0.5, 20),
    }  # fmt: skip
    stats = {role: e["session_feedback_stats"] for role, e in published(server, made).items()}
    assert {key: s["avg"] for key, s in stats["baseline"].items()} == {
        "exact_match (train)": 0.5, "exact_match (dev)": 0.5, "exact_match (test)": 0.5,
        "animals (train)": 0.0, "animals (dev)": 0.0, "animals (test)": 0.0,
    }  # fmt: skip
    assert stats["final"]["exact_match (test)"]["avg"] == 1.0
    assert stats["final"]["animals (test)"]["avg"] == 0.5
    assert all("exact_match (test)" not in e["feedback_stats"] for e in published(server, made).values())


def test_the_link_compares_them(server, made, tmp_path):
    result = run(tmp_path)
    ids = [e["id"] for e in published(server, made).values()]
    assert str(made.id) in result.links["experiments"]
    assert all(i in result.links["experiments"] for i in ids)
    assert result.as_json()["links"] == result.links


def test_publishing_calls_no_model_and_twice_is_once(server, made, tmp_path):
    calls = []

    def counted(messages):
        calls.append(1)
        return answer(messages)

    first = run(tmp_path, task=chain(counted), langsmith={})
    assert server.experiments(made.id) == []
    paid = len(calls)
    second = run(tmp_path, task=chain(counted))
    assert second.replayed
    assert len(calls) == paid
    assert first.run_id == second.run_id
    runs, feedback = dict(server.runs), len(server.feedback)
    assert runs
    run(tmp_path, task=chain(counted))
    assert server.runs == runs
    assert len(server.feedback) == feedback
    assert server.doubled == {}
    assert len(server.experiments(made.id)) == 2


def test_nothing_about_machine_or_repository_is_sent(server, made, tmp_path):
    run(tmp_path)
    sent = b"".join(r.body for r in server.requests if r.method in {"POST", "PATCH"}).lower()
    for word in (b'"git"', b"author", b"email", b"remote_url", b"hostname", b"branch"):
        assert word not in sent


def test_a_failure_is_said_and_the_next_call_completes_it(server, made, tmp_path):
    server.faults = FaultPlan(Rule("500", "/feedback", "POST", skip=3))
    broken = run(tmp_path)
    assert broken.outcome == "improved"
    assert any("experiments were not published" in w for w in broken.warnings)
    server.faults = None
    whole = run(tmp_path)
    assert whole.links
    experiments = published(server, made)
    ids = {e["id"] for e in experiments.values()}
    runs = [r for r in server.runs.values() if r["session_id"] in ids]
    assert len([f for f in server.feedback if f["run_id"]]) == len(runs)


@pytest.mark.parametrize("seed", range(3))
def test_a_third_of_all_requests_failing_loses_and_doubles_nothing(server, made, tmp_path, seed):
    server.faults = FaultPlan(rate=0.3, kinds=PLATFORM, seed=seed, retry_after="0")
    result = run(tmp_path)
    assert server.faults.fired
    server.faults = None
    assert result.links, result.warnings
    rows_of = {}
    for event in result.events():
        if event["type"] == "scored":
            rows_of.setdefault(event["data"]["candidate_id"], set()).add(event["data"]["example_id"])
    experiments = server.experiments(made.id)
    assert len(experiments) == 2
    for experiment in experiments:
        runs = [r for r in server.runs.values() if r["session_id"] == experiment["id"]]
        wanted = rows_of[experiment["extra"]["metadata"]["promptopt_candidate_id"]]
        assert {r["reference_example_id"] for r in runs} == wanted
        assert len(runs) == len(wanted)
        assert experiment["feedback_stats"]["exact_match"]["n"] == len(wanted)


def test_rows_from_elsewhere_make_no_experiments_and_that_is_said(server, tmp_path):
    result = run(tmp_path, data=rows(6, 6, 20))
    assert any("experiments need a LangSmith dataset" in w for w in result.warnings)
    assert not server.requests
