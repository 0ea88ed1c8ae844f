"""Runs whose cells are tried on workers: the same run, under one limiter and one ledger, whichever worker ends."""

from __future__ import annotations

import asyncio
import json

import pytest

from langchain_promptopt import run_step
from langchain_promptopt.offline import offline_model
from langchain_promptopt.pipeline import Shards, WorkerLost, Workers, evaluate_cells
from langchain_promptopt.store import read_events
from langchain_promptopt.testing.executors import ExecutorTests
from tests.support.elsewhere import ThreadWorker, opened
from tests.support.faults import FaultPlan, Rule
from tests.support.openai_server import OpenAIServer, brain_of
from tests.support.pipeline_task import rows, write_task


def threads(config, root, made, count=2):
    async def start():
        made.append(ThreadWorker(config, root))
        return made[-1]

    return Workers(start, count)


class TestShards(ExecutorTests):
    """What Prefect's task runs are made of."""

    @pytest.fixture
    def run(self, tmp_path):
        config = write_task(tmp_path)

        async def submit(jobs):
            return await asyncio.to_thread(evaluate_cells, config, jobs, root=tmp_path)

        with opened(config, tmp_path, Shards(submit, size=3)) as run:
            yield run

    @pytest.fixture
    def executor(self, run):
        return run.executor

    @pytest.fixture
    def jobs(self, run):
        return run.jobs

    @pytest.fixture
    def expected(self, run):
        return run.expected


class TestWorkers(TestShards):
    @pytest.fixture
    def run(self, tmp_path):
        config = write_task(tmp_path)
        with threads(config, tmp_path, []) as workers, opened(config, tmp_path, workers) as run:
            yield run


JUDGE = """
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult

class Judge(BaseChatModel):
    @property
    def _llm_type(self):
        return "judge"

    def _generate(self, messages, *_, **__):
        said = "1" if "billing" in messages[-1].text else "0"
        message = AIMessage(said, usage_metadata={"input_tokens": 7, "output_tokens": 1, "total_tokens": 8})
        return ChatResult(generations=[ChatGeneration(message=message)])

def judged(outputs, reference_outputs):
    return {"key": "judged", "score": float(Judge().invoke(f"is this right: {outputs}").text), "comment": "asked"}
"""


@pytest.fixture
def judge(tmp_path):
    """A task whose evaluator asks a model."""
    config = write_task(tmp_path)
    (tmp_path / "my_judge.py").write_text(JUDGE)
    return {
        **config,
        "evaluate": {"evaluators": ["exact_match", "my_judge:judged"]},
        "gate": {"primary": "exact_match"},
    }


class TestWorkersWithAJudge(TestShards):
    """Answers wait at their worker until the run has a slot for the judge's call."""

    @pytest.fixture
    def run(self, judge, tmp_path):
        with threads(judge, tmp_path, []) as workers, opened(judge, tmp_path, workers) as run:
            assert run.expected[0].judge.calls == 1
            yield run


def decided(answer):
    return {k: answer[k] for k in ("outcome", "run_id", "test", "edits", "prompts")}


def spent(answer):
    return {k: v for k, v in answer["usage"].items() if k in {"calls", "tokens", "search_calls"}}


def scored(root, answer):
    journal = root / ".promptopt" / "runs" / answer["run_id"] / "journal.jsonl"
    return [event["data"] for event in read_events(journal) if event["type"] == "scored"]


def test_a_run_on_workers_is_the_same_run(tmp_path):
    here = run_step(write_task(tmp_path / "here"), root=tmp_path / "here")
    config, made = write_task(tmp_path / "away"), []
    with threads(config, tmp_path / "away", made) as workers:
        away = run_step(config, root=tmp_path / "away", shards=workers)
    assert away["outcome"] == "improved", away["error"]
    assert decided(away) == decided(here)
    assert spent(away) == spent(here)
    assert all(len(worker.asked) > 10 for worker in made)
    assert len(scored(tmp_path / "away", away)) == away["usage"]["by_role"]["task"]["calls"]


def test_what_is_sent_is_small_and_plain(tmp_path):
    config, made = write_task(tmp_path), []
    with threads(config, tmp_path, made) as workers:
        run_step(config, root=tmp_path, shards=workers)
    sent = [request for worker in made for request in worker.asked]
    assert json.loads(json.dumps(sent)) == sent
    assert max(len(json.dumps(request)) for request in sent) < 2000


@pytest.mark.parametrize("judged", [False, True], ids=["answers", "judged answers"])
def test_a_killed_worker_costs_the_calls_in_flight(tmp_path, judge, judged):
    config, made = judge if judged else write_task(tmp_path), []
    with OpenAIServer(brain_of(offline_model("task")), delay=0.01) as server:
        config["task"] |= {"model": "openai:m", "base_url": server.base_url}
        config["optimize"]["max_concurrency"] = 4

        class Killing:
            def on_event(self, event):
                if event.type == "scored" and server.count > 20 and len(made) == 2:
                    made[0].kill()

        with threads(config, tmp_path, made) as workers:
            answer = run_step(config, root=tmp_path, shards=workers, observers=[Killing()])
        asked = server.count
    assert len(made) == 3
    assert answer["outcome"] == "improved", answer["error"]
    found = scored(tmp_path, answer)
    assert len({(o["candidate_id"], o["split"], o["example_id"], o["repeat"]) for o in found}) == len(found)
    tries = sum(o["tries"] for o in found)
    assert len(found) < tries <= len(found) + 4
    assert tries == answer["usage"]["by_role"]["task"]["calls"]
    assert len(found) <= asked <= tries


def test_one_limiter_for_all_workers(tmp_path):
    """A refusal that one worker meets slows all down; no more calls are in flight than the run allows."""
    config, made = write_task(tmp_path), []
    faults = FaultPlan(Rule("429", skip=10, times=3))
    with OpenAIServer(brain_of(offline_model("task")), faults=faults, delay=0.01) as server:
        config["task"] |= {"model": "openai:m", "base_url": server.base_url}
        config["optimize"]["max_concurrency"] = 3
        with threads(config, tmp_path, made, count=4) as workers:
            answer = run_step(config, root=tmp_path, shards=workers)
        assert server.peak <= 3
        asked = server.count
    assert answer["outcome"] == "improved", answer["error"]
    assert len(faults.fired) == 3
    assert sum(o["tries"] for o in scored(tmp_path, answer)) == asked


def test_one_ledger_for_all_workers(tmp_path):
    config = write_task(tmp_path)
    with OpenAIServer(brain_of(offline_model("task"))) as server:
        config["task"] |= {"model": "openai:m", "base_url": server.base_url}
        with threads(config, tmp_path, []) as workers:
            answer = run_step(config | {"budget": {"calls": 70}}, root=tmp_path, shards=workers)
        assert server.count == answer["usage"]["by_role"]["task"]["calls"]
    assert 0 < answer["usage"]["calls"] <= 70


def test_a_worker_on_other_data_ends_the_run_before_it_costs(tmp_path):
    config = write_task(tmp_path / "a")
    other = write_task(tmp_path / "b", data=rows(test=26))
    with threads(other, tmp_path / "b", []) as workers:
        answer = run_step(config, root=tmp_path / "a", shards=workers)
    assert answer["exit_code"] == 2
    assert "this worker would be on run" in answer["error"]["message"]
    assert answer["usage"]["by_role"].get("task", {"calls": 0})["calls"] == 0


def test_a_worker_without_the_code_says_what_is_missing(tmp_path):
    config = write_task(tmp_path)
    broken = config | {"evaluate": {"evaluators": ["nowhere_at_all:judge"]}}
    with threads(broken, tmp_path, []) as workers:
        answer = run_step(config, root=tmp_path, shards=workers)
    assert answer["exit_code"] == 2
    assert "nowhere_at_all" in answer["error"]["message"]


def test_a_stop_of_the_service_ends_the_run_with_its_code(tmp_path):
    config = write_task(tmp_path)
    with OpenAIServer(brain_of(offline_model("task")), faults=FaultPlan(Rule("401", skip=12))) as server:
        config["task"] |= {"model": "openai:m", "base_url": server.base_url}
        with threads(config, tmp_path, []) as workers:
            answer = run_step(config, root=tmp_path, shards=workers)
    assert answer["exit_code"] == 2
    assert answer["error"]["kind"] == "credentials"


def test_a_service_that_asks_for_an_hour_ends_the_run(tmp_path):
    config = write_task(tmp_path)
    faults = FaultPlan(Rule("429-retry-after", skip=12, times=1), retry_after="3600")
    with OpenAIServer(brain_of(offline_model("task")), faults=faults) as server:
        config["task"] |= {"model": "openai:m", "base_url": server.base_url}
        with threads(config, tmp_path, []) as workers:
            answer = run_step(config, root=tmp_path, shards=workers)
    assert answer["exit_code"] == 5
    assert answer["error"]["retry_after_s"] == 3600


def nowhere(tmp_path, start, **more):
    config = write_task(tmp_path)
    answer = run_step(config, root=tmp_path, shards=Workers(start, 2, **more))
    assert answer["exit_code"] == 5
    assert answer["usage"]["calls"] == 0
    return answer["error"]["message"]


def test_workers_that_cannot_be_started_end_the_run_with_the_reason(tmp_path):
    async def start():
        raise WorkerLost("the node has no such package")

    assert "the node has no such package" in nowhere(tmp_path, start)


def test_a_cluster_without_room_does_not_hang_the_run(tmp_path):
    async def start():
        await asyncio.Event().wait()

    assert "not ready within 0.01 s" in nowhere(tmp_path, start, patience=0.01)


def test_an_error_of_the_engine_is_no_score(tmp_path, monkeypatch):
    from langchain_promptopt._runtime.retry import RetryPolicy

    monkeypatch.setattr(RetryPolicy, "pause", lambda *_: 0.0)
    config = write_task(tmp_path)

    class Broken(ThreadWorker):
        async def call(self, request):
            if request["do"] != "hello":
                raise KeyError("the engine's serializer")
            return await super().call(request)

    async def start():
        return Broken(config, tmp_path)

    with Workers(start, 2) as workers:
        answer = run_step(config, root=tmp_path, shards=workers)
    assert answer["exit_code"] == 5
    assert scored(tmp_path, answer) == [] or all(
        o["failure"]["kind"] == "worker_lost" for o in scored(tmp_path, answer)
    )
