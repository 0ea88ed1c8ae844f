"""Ctrl-C and SIGTERM over real HTTP: what is in flight comes in, nothing new begins, nothing is paid for twice."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from langchain_promptopt.offline import offline_model
from langchain_promptopt.store import read_events
from langchain_promptopt.types import Outcome, Usage
from tests.support import online
from tests.support.faults import FaultPlan, Rule
from tests.support.killing import PAID, in_child, resumed, run_in, whole
from tests.support.openai_server import OpenAIServer, brain_of
from tests.support.pipeline_task import GOOD, write_task

CONFIG = """
[task]
prompt = "prompt.txt"
model = "openai:task"
base_url = "{url}"

[data]
source = "rows.jsonl"

[evaluate]
evaluators = ["exact_match"]

[optimize]
model = "openai:optimizer"
base_url = "{url}"
method = "lpo-pe2"
max_concurrency = 4
"""


@contextmanager
def models(**more):
    """The offline programs behind HTTP, slow enough that calls are in flight."""
    brains = {"task": brain_of(offline_model("task")), "optimizer": brain_of(offline_model("optimizer"))}
    with OpenAIServer(brains, **{"delay": 0.1} | more) as server:
        yield server


def job(folder, server):
    """A folder in which `promptopt optimize` finds everything."""
    write_task(folder)
    (folder / "promptopt.toml").write_text(CONFIG.format(url=server.base_url))
    return folder


def started(folder, *words):
    """The real command line in a process of its own."""
    command = [sys.executable, "-m", "langchain_promptopt", *words, "--json"]
    env = {**os.environ, "OPENAI_API_KEY": "k", "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    return subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process):
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()  # where the test has failed: nothing of it is left
    return process.returncode, json.loads(out) if out else None, err


def at(count, process_of, number, model=""):
    """A delay that signals as the call number `count` (of this model) arrives: that one is in flight for certain."""
    seen = []

    def delay(request):
        if request.method == "POST" and model.encode() in request.body:
            seen.append(request)
            if len(seen) == count:
                process_of().send_signal(number)
        return 0.1

    return delay


def journaled(folder):
    [path] = (folder / ".promptopt" / "runs").glob("*/journal.jsonl")
    return sum(event["type"] in PAID for event in read_events(path))


def told(answer):
    usage = {role: used["calls"] for role, used in answer["usage"]["by_role"].items()}
    return {key: answer[key] for key in ("outcome", "exit_code", "test", "edits")} | usage


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """What the uninterrupted run says, and the calls it makes; another port is another run id."""
    with models(delay=0.0) as server:
        code, answer, err = ended(started(job(tmp_path_factory.mktemp("plain"), server), "optimize"))
        assert code == 0, err
        return told(answer), server.count


@pytest.mark.parametrize(
    ("count", "number", "model"),
    [
        (3, signal.SIGINT, ""),
        (1, signal.SIGINT, '"optimizer"'),
        (60, signal.SIGTERM, ""),
        pytest.param(20, signal.SIGTERM, "", marks=pytest.mark.campaign),
    ],
)
def test_calls_in_flight_come_in_and_are_not_paid_again(count, number, model, plain, tmp_path):
    process = None
    with models(delay=at(count, lambda: process, number, model)) as server:
        process = started(job(tmp_path, server), "optimize")
        code, answer, err = ended(process)
        assert (code, answer["outcome"]) == (128 + number, "interrupted"), err
        assert "stopping: waiting up to 5 s for" in err
        assert "again to quit now" in err
        assert "did not come in" not in answer["error"]["message"]
        assert model or count <= server.count <= count + 3  # those that were on their way with it
        assert journaled(tmp_path) == server.count
        code, answer, err = ended(started(tmp_path, "resume", "latest"))
        assert code == 0, err
        assert (told(answer), server.count) == plain


def test_a_comparison_stops_in_the_same_way(tmp_path):
    process = None
    with models(delay=at(10, lambda: process, signal.SIGTERM)) as server:
        job(tmp_path, server)
        (tmp_path / "new.txt").write_text(GOOD)
        words = ("compare", "prompt.txt", "new.txt")
        process = started(tmp_path, *words)
        code, answer, err = ended(process)
        assert (code, answer["outcome"]) == (143, "interrupted"), err
        assert "go on with: the same comparison" in err
        assert journaled(tmp_path) == server.count < 48
        code, answer, err = ended(started(tmp_path, *words))
        assert (code, answer["outcome"], server.count) == (0, "improved", 48), err


def test_a_hung_server_is_cut_off(plain, tmp_path):
    process = None
    faults = FaultPlan(Rule("hang", method="POST", skip=9, times=1))
    with models(delay=at(13, lambda: process, signal.SIGINT), faults=faults) as server:
        process = started(job(tmp_path, server), "optimize")
        code, answer, err = ended(process)
        assert code == 130, err
        assert "1 in flight did not come in" in answer["error"]["message"]
        assert journaled(tmp_path) == server.count - 1
        code, answer, err = ended(started(tmp_path, "resume", "latest"))
        assert code == 0, err
        assert (told(answer), server.count) == (plain[0], plain[1] + 1)


def test_a_free_question_that_hangs_holds_nothing_up(plain, tmp_path):
    with models(delay=0.0, faults=FaultPlan(Rule("hang", method="GET"))) as server:
        code, answer, err = ended(started(job(tmp_path, server), "optimize"))
        assert code == 0, err
        assert (told(answer), server.count) == plain


def test_a_signal_while_the_free_question_hangs_ends_the_run(tmp_path):
    with models(faults=FaultPlan(Rule("hang", method="GET"))) as server:
        process = started(job(tmp_path, server), "optimize")
        while not server.inflight and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        code, answer, err = ended(process)
        assert (code, answer["outcome"], server.count) == (130, "interrupted", 0), err


def test_a_second_signal_quits_at_once(tmp_path):
    process = None
    with models(
        delay=at(13, lambda: process, signal.SIGINT), faults=FaultPlan(Rule("hang", method="POST", skip=9))
    ) as server:
        process = started(job(tmp_path, server), "optimize")
        assert any(line.startswith("stopping:") for line in process.stderr)
        process.send_signal(signal.SIGTERM)
        code, answer, _ = ended(process)
    assert (code, answer) == (-signal.SIGTERM, None)


def test_a_call_that_waits_to_be_tried_again_is_not_waited_for(tmp_path):
    faults = FaultPlan(Rule("429-retry-after", method="POST", skip=8), retry_after="300")
    with models(faults=faults) as server:
        process = started(job(tmp_path, server), "optimize")
        while (len(faults.fired) < 4 or server.inflight) and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        code, answer, err = ended(process)
    assert code == 130, err
    assert "in flight" not in answer["error"]["message"]


# ------------------------------------------------------------ in Python


class StopAt:
    """An observer that signals its own process at the n-th event."""

    def __init__(self, n):
        self.left = n

    def on_event(self, event):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("n", [40, *(pytest.param(n, marks=pytest.mark.campaign) for n in (5, 90))])
def test_an_answer_is_still_judged_where_the_judge_is_a_model(n, tmp_path):
    with online.server(delay=0.02) as up:

        def judge(seconds):  # no connection is shared over a fork
            return {"evaluators": [online.judged_by(up.base_url, timeout=seconds)], "max_concurrency": 4}

        plain = whole(tmp_path / "whole", up, **judge(11))
        before = up.count
        code = in_child(lambda: run_in(tmp_path / "stopped", up, observers=[StopAt(n)], **judge(12)))
        assert code == 130
        asked = up.count - before
        found = resumed(tmp_path / "stopped", up, plain, asked, **judge(13))
    assert found.same
    assert found.paid_twice(plain) == 0


class Elsewhere:
    """A foreign executor that notes what it starts, one after the other."""

    def __init__(self, path):
        self.path = path

    async def evaluate(self, jobs, done):
        for n, one in enumerate(jobs):
            with self.path.open("a") as notes:
                notes.write("x")
            await asyncio.sleep(0.01)
            await done(Outcome(one.cell, {"exact_match": float(n % 2)}, "a", usage=Usage(1, 1, 1)))


def test_what_was_handed_to_a_foreign_executor_comes_in(tmp_path):
    notes = tmp_path / "notes"
    with online.server() as up:
        code = in_child(lambda: run_in(tmp_path / "run", up, observers=[StopAt(4)], executor=Elsewhere(notes)))
    assert code == 130
    [path] = (tmp_path / "run").glob("*/journal.jsonl")
    scored = sum(event["type"] == "scored" for event in read_events(path))
    assert scored == len(notes.read_text()) > 4


HANGING = """
import threading

def hanging(outputs, reference_outputs):
    if "account" in str(outputs):
        print("HANGS", file=__import__("sys").stderr, flush=True)
        threading.Event().wait()
    return {"key": "hanging", "score": float(reference_outputs["label"] in str(outputs))}
"""


@pytest.mark.parametrize("end", ["budget", "SIGTERM"])
def test_an_evaluator_that_never_returns_does_not_keep_the_process_alive(end, tmp_path):
    write_task(tmp_path)
    (tmp_path / "evals.py").write_text(HANGING)
    config = CONFIG.replace('base_url = "{url}"\n', "").replace("openai:task", "offline")
    config = config.replace("openai:optimizer", "offline").replace('"exact_match"', '"evals:hanging"')
    (tmp_path / "promptopt.toml").write_text(config + ("[budget]\nseconds = 1\n" if end == "budget" else ""))
    process = started(tmp_path, "optimize")
    if end == "SIGTERM":
        while "HANGS" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
    code, answer, err = ended(process)
    assert code == (143 if end == "SIGTERM" else 4), err
    assert answer["exit_code"] == code
