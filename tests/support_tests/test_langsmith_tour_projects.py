"""The tour, continued: projects, and runs sent one by one."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import pytest
from langsmith import Client

from tests.support.langsmith_server import LangSmithServer


@pytest.mark.filterwarnings("ignore:.*removed after Jan 31, 2027:DeprecationWarning")  # `read_run` is what is toured
def test_projects_and_single_runs() -> None:
    now, uid = datetime.now(UTC), uuid.uuid4()
    with LangSmithServer() as server:
        client = Client(api_url=server.url, api_key="k", auto_batch_tracing=False)
        made = client.create_project("first", metadata={"team": "a"}, description="d")
        assert (client.has_project("first"), client.has_project("other")) == (True, False)
        assert client.read_project(project_name="first").id == made.id
        client.update_project(made.id, name="second", metadata={"team": "b"})
        client.create_run("r", {"q": 1}, "chain", id=uid, start_time=now, project_name="second")
        client.update_run(uid, outputs={"a": 1}, end_time=now)
        run = client.read_run(uid)
        assert (run.outputs, run.session_id) == ({"a": 1}, made.id)
        assert str(made.id) in client.get_run_url(run=run)
        dataset = client.create_dataset("from runs")
        example = client.create_example_from_run(run, dataset_id=dataset.id)
        assert (example.inputs, example.outputs) == ({"q": 1}, {"a": 1})
        assert client.create_prompt("empty", is_public=False).repo_handle == "empty"
        client.delete_project(project_name="second")
        assert not client.has_project("second")
        assert server.unserved == []
        client.close()
    assert server.errors == []
