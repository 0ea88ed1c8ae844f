"""The loop driven from outside: sessions in JSON, shards in other processes, kills in the middle."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from langchain_promptopt import PromptOptimizer, run_step
from langchain_promptopt.errors import ConfigError
from langchain_promptopt.offline import offline_model
from langchain_promptopt.pipeline import Shards, evaluate_cells
from langchain_promptopt.pipeline.orchestration import Spool
from langchain_promptopt.store import read_events
from langchain_promptopt.types import Cell, Failure, Outcome
from tests.support.openai_server import OpenAIServer, brain_of
from tests.support.pipeline_task import PROMPT, rows, write_task

IN_FLIGHT = 8


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_task(tmp_path)


def worker(config, jobs, root):
    """`evaluate_cells` in a process of its own, JSON through pipes."""
    script = (
        "import json, sys\n"
        "from langchain_promptopt.pipeline import evaluate_cells\n"
        "given = json.load(sys.stdin)\n"
        "print(json.dumps(evaluate_cells(given['config'], given['jobs'])))\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    text = json.dumps({"config": config, "jobs": jobs})
    done = subprocess.run(
        [sys.executable, "-c", script], input=text, capture_output=True, text=True, check=False, cwd=root, env=env
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def decided(answer):
    return {k: answer[k] for k in ("outcome", "run_id", "test", "edits", "prompts")}


def spent(answer):
    return {k: v for k, v in answer["usage"].items() if k in {"calls", "tokens", "search_calls"}}


def test_a_run_whose_cells_are_evaluated_by_other_processes_is_the_same_run(config, tmp_path):
    sizes = []

    async def submit(jobs):
        sizes.append(len(jobs))
        if len(sizes) <= 2:  # a process costs seconds; two of them show that nothing but JSON is needed
            return await asyncio.to_thread(worker, config, jobs, tmp_path)
        return await asyncio.to_thread(evaluate_cells, config, jobs)

    away = run_step(config, shards=Shards(submit, size=30))
    assert away["outcome"] == "improved", away["error"]
    assert max(sizes) <= 30
    here = run_step(write_task(tmp_path / "here"), root=tmp_path / "here")
    assert decided(away) == decided(here)
    assert spent(away) == spent(here)


def test_a_session_in_json_is_the_same_run(config, tmp_path):
    answer = run_step(config, root=tmp_path)
    from langchain_core.prompts import ChatPromptTemplate

    made = PromptOptimizer(
        data=str(tmp_path / "rows.jsonl"), evaluators=["exact_match"], optimizer_model="offline", task_model="offline",
        method="lpo-pe2", runs_dir=None, openings=tmp_path / "its-own.jsonl",
    )  # fmt: skip
    calls = 0
    with made.session(ChatPromptTemplate.from_template(PROMPT)) as session:
        assert session.run_id == answer["run_id"]
        while jobs := session.propose_json():
            assert json.loads(json.dumps(jobs)) == jobs
            assert {"run_id", "cell", "prompts", "inputs"} <= jobs[0].keys()
            half = len(jobs) // 2
            for part in (jobs[:half], jobs[half:]):
                calls += len(part)
                session.tell_json(json.loads(json.dumps(evaluate_cells(config, part, root=tmp_path))))
        result = session.result()
    assert result.test == answer["test"]
    assert calls == answer["usage"]["by_role"]["task"]["calls"]
    assert result.usage["by_role"]["task"]["calls"] == calls


def test_calls_made_elsewhere_count_on_the_budget(config, tmp_path):
    async def submit(jobs):
        return await asyncio.to_thread(evaluate_cells, config, jobs)

    answer = run_step(config | {"budget": {"calls": 70}}, shards=Shards(submit))
    assert answer["usage"]["calls"] <= 70
    assert answer["usage"]["by_role"]["task"]["calls"] > 0


def test_a_worker_on_other_data_or_code_is_refused(config, tmp_path):
    jobs = []

    async def submit(found):
        jobs.extend(found)
        raise ConfigError("enough")

    assert run_step(config, shards=Shards(submit))["exit_code"] == 2
    other = write_task(tmp_path / "other", data=rows(test=26))
    with pytest.raises(ConfigError, match="the cells are of run"):
        evaluate_cells(other, jobs, root=tmp_path / "other")
    bent = [json.loads(json.dumps(jobs[0]).replace("Choose", "Pick"))]
    with pytest.raises(ConfigError, match="arrive as candidate"):
        evaluate_cells(config, bent)
    short = [jobs[0] | {"prompts": []}]
    with pytest.raises(ConfigError, match="not those of this task"):
        evaluate_cells(config, short)
    assert evaluate_cells(config, []) == []


def test_a_shard_that_was_answered_is_not_paid_again(config, tmp_path):
    jobs = []

    async def submit(found):
        jobs.extend(found)
        raise ConfigError("enough")

    with OpenAIServer(brain_of(offline_model("task"))) as server:
        served = config | {"task": {"prompt": "prompt.txt", "model": "openai:m", "base_url": server.base_url}}
        run_step(served, shards=Shards(submit))
        first = evaluate_cells(served, jobs[:5])
        assert server.count == 5
        again = evaluate_cells(served, jobs[3:8])
        assert server.count == 8
        assert again[:2] == first[3:]
        assert [o["example_id"] for o in again] == [j["cell"]["example_id"] for j in jobs[3:8]]


def test_answers_survive_a_torn_line(tmp_path):
    spool = Spool(tmp_path / "run" / "cells.jsonl")
    one, two = (Outcome(Cell("c", "dev", name), {"m": 1.0}, output={"a": "ü\n"}) for name in "ab")
    spool.add(one)
    with spool.path.open("ab") as stream:
        stream.write(b'\n{"candidate_id": "c", "spl')
    spool.add(two)
    assert spool.read() == {one.cell: one, two.cell: two}
    assert spool.path.stat().st_mode & 0o077 == 0


def test_a_worker_gives_up_when_models_stay_out_of_reach():
    from langchain_promptopt.pipeline.orchestration import ShardWorker
    from langchain_promptopt.ports import Job
    from langchain_promptopt.types import Candidate, Example, PromptSet

    asked = []

    class Down:
        async def evaluate(self, jobs, done):
            for job in jobs:
                asked.append(job)
                await done(Outcome(job.cell, {}, failure=Failure("connection", "refused")))

    class Nowhere:
        def add(self, outcome):
            raise AssertionError(outcome)

    jobs = [
        Job(Cell("c", "dev", str(i)), Candidate(PromptSet(())), Example(str(i), {}, {"answer": "a"})) for i in range(40)
    ]
    found = asyncio.run(ShardWorker(Nowhere()).evaluate(Down(), jobs))
    assert len(asked) == 10
    assert [found[job.cell].dropped for job in jobs] == [True] * 40


SCRIPT = """
import asyncio, json, sys
from langchain_promptopt import run_step
from langchain_promptopt.pipeline import Shards, evaluate_cells
config = json.load(open("config.json"))
async def submit(jobs):
    return await asyncio.to_thread(evaluate_cells, config, jobs)
shards = Shards(submit, size=12) if sys.argv[1] == "shards" else None
print(json.dumps(run_step(config, shards=shards)))
"""


@pytest.mark.parametrize("how", ["alone", "shards"])
@pytest.mark.parametrize(
    "after", [pytest.param(5, marks=pytest.mark.campaign), 21, pytest.param(60, marks=pytest.mark.campaign)]
)
def test_a_step_killed_in_the_middle_pays_at_most_for_the_calls_in_flight(config, tmp_path, how, after):
    """Counted where the calls arrive: at the server."""
    with OpenAIServer(brain_of(offline_model("task")), delay=0.02) as server:
        section = {"prompt": "prompt.txt", "model": "openai:m", "base_url": server.base_url}
        served = config | {"task": section, "optimize": config["optimize"] | {"max_concurrency": IN_FLIGHT}}
        (tmp_path / "config.json").write_text(json.dumps(served))
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        command = [sys.executable, "-c", SCRIPT, how]
        with subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True) as process:
            while server.count < after and process.poll() is None:
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
        at_kill = server.count
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
        answer = json.loads(done.stdout)
        total = server.count
    assert at_kill >= after
    assert (answer["outcome"], answer["replayed"]) == ("improved", False)
    paid = answer["usage"]["by_role"]["task"]["calls"]
    assert paid <= total <= paid + IN_FLIGHT * (4 if how == "shards" else 1)
    journal = tmp_path / ".promptopt" / "runs" / answer["run_id"] / "journal.jsonl"
    assert sum(e["type"] == "scored" for e in read_events(journal)) == paid
