"""A real Dask cluster: the laws of executors, whole runs, a worker killed by its process id."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time

import offline
import pytest
from langchain_promptopt_dask import dask_workers

from langchain_promptopt import run_step
from langchain_promptopt.offline import offline_model
from langchain_promptopt.store import read_events
from langchain_promptopt.testing.executors import WorkersTests
from tests.support.elsewhere import opened
from tests.support.openai_server import OpenAIServer, brain_of
from tests.support.pipeline_task import write_task


def served(folder, server, in_flight=4):
    config = write_task(folder)
    config["task"] |= {"model": "openai:m", "base_url": server.base_url}
    config["optimize"]["max_concurrency"] = in_flight
    return config


@pytest.fixture(scope="module")
def laws(tmp_path_factory, cluster):
    """One run and its workers for all laws: an actor takes seconds to start."""
    folder = tmp_path_factory.mktemp("laws")
    with OpenAIServer(brain_of(offline_model("task")), delay=0.1) as models:
        config = served(folder, models)
        with (
            dask_workers(cluster, config, root=folder) as workers,
            opened(config, folder, workers, splits=("dev", "test")) as run,
        ):
            yield workers, run


class TestDaskWorkers(WorkersTests):
    @pytest.fixture
    def workers(self, laws):
        return laws[0]

    @pytest.fixture
    def executor(self, laws):
        return laws[1].executor

    @pytest.fixture
    def jobs(self, laws):
        return laws[1].jobs

    @pytest.fixture
    def expected(self, laws):
        return laws[1].expected


class Watching:
    """Kills a worker once some rows are scored."""

    def __init__(self, workers, after):
        self.workers, self.after, self.scored, self.killed = workers, after, 0, []
        self.work = None

    def on_event(self, event):
        self.scored += event.type == "scored"
        if self.scored == self.after and self.work is None:
            self.work = asyncio.ensure_future(self.kill())

    async def kill(self):
        pid = (await self.workers.hello())[0]["pid"]
        os.kill(pid, signal.SIGKILL)
        self.killed.append(pid)


def test_a_run_with_a_worker_killed_is_the_same_run(tmp_path, cluster):
    """Nothing that was journaled is lost or asked again; only what was in flight at the dead worker is."""
    with OpenAIServer(brain_of(offline_model("task")), delay=0.1) as server:
        here = run_step(served(tmp_path / "here", server), root=tmp_path / "here")
        alone = server.count
        config = served(tmp_path / "away", server)
        with dask_workers(cluster, config, root=tmp_path / "away") as workers:
            watching = Watching(workers, after=20)
            answer = run_step(config, root=tmp_path / "away", shards=workers, observers=[watching])
        asked = server.count - alone
        assert server.peak <= 4
    assert len(watching.killed) == 1
    assert answer["outcome"] == "improved", answer["error"]
    assert [answer[k] for k in ("test", "edits", "prompts")] == [here[k] for k in ("test", "edits", "prompts")]
    journal = tmp_path / "away" / ".promptopt" / "runs" / answer["run_id"] / "journal.jsonl"
    scored = [e["data"] for e in read_events(journal) if e["type"] == "scored"]
    cells = {(o["candidate_id"], o["split"], o["example_id"], o["repeat"]) for o in scored}
    assert len(cells) == len(scored) == alone
    tries = sum(o["tries"] for o in scored)
    print(f"calls: {asked} at the server, {tries} booked, {alone} that the run needs")
    assert alone < tries <= alone + 4
    assert alone <= asked <= tries
    assert answer["usage"]["by_role"]["task"]["calls"] == tries


def test_a_cluster_without_workers_ends_the_run(tmp_path):
    from distributed import Client, LocalCluster

    config = write_task(tmp_path)
    with (
        LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address=None) as empty,
        Client(empty, set_as_default=False) as client,
        dask_workers(client, config, root=tmp_path, patience=0.5) as workers,
    ):
        answer = run_step(config, root=tmp_path, shards=workers)
    assert answer["exit_code"] == 5
    assert "no worker can be started" in answer["error"]["message"]


def test_nothing_is_left_in_the_cluster(tmp_path, cluster):
    """A cluster outlives many runs: their threads and what they prepared must not pile up in its workers."""
    config = write_task(tmp_path)
    before = sum(cluster.run(threads_of_runs).values())  # of tests before, whose ends are not waited for here
    with dask_workers(cluster, config, root=tmp_path) as workers:
        assert run_step(config, root=tmp_path, shards=workers)["exit_code"] == 0
        assert min(cluster.run(threads_of_runs).values()) >= 1
    end = time.monotonic() + 60
    while sum(cluster.run(threads_of_runs).values()) > before:
        assert time.monotonic() < end
        time.sleep(0.2)


def threads_of_runs():
    return sum(thread.name == "promptopt-cells" for thread in threading.enumerate())


def test_the_example(tmp_path, cluster):
    answer = offline.run(cluster, tmp_path)
    assert (answer["exit_code"], answer["replayed"]) in {(0, False), (3, False)}
