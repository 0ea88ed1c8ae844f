"""Shards as task runs against the laws that every executor keeps."""

from __future__ import annotations

import asyncio

import pytest
from langchain_promptopt_prefect.flows import shards_as_tasks
from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from langchain_promptopt.testing.executors import ExecutorTests
from tests.support.elsewhere import opened
from tests.support.pipeline_task import write_task


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("laws")
    config = write_task(folder)
    with opened(config, folder, shards_as_tasks(config, str(folder), size=3)) as run:
        yield run


class TestShardsAsTaskRuns(ExecutorTests):
    @pytest.fixture
    def executor(self, run):
        return run.executor

    @pytest.fixture
    def jobs(self, run):
        return run.jobs

    @pytest.fixture
    def expected(self, run):
        return run.expected

    def on_a_loop(self, work):
        @flow(name="laws", persist_result=False, task_runner=ThreadPoolTaskRunner(max_workers=2))
        def laws():
            asyncio.run(work())

        laws()
