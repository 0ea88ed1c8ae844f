"""The LangSmith server while it fails: what is lost, what is doubled, and that the tests can see both."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import requests
from langchain_core.prompts import ChatPromptTemplate
from langsmith import Client, traceable, tracing_context
from langsmith.utils import LangSmithAuthError, LangSmithConflictError, LangSmithError, LangSmithNotFoundError
from urllib3.util import Retry

from tests.support.faults import PLATFORM, FaultPlan, Rule
from tests.support.langsmith_server import LangSmithServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOUD = ("429", "429-retry-after", "500", "503", "reset", "lost", "truncated")
"""Faults that no client can mistake for an answer."""


@pytest.fixture
def server() -> Iterator[LangSmithServer]:
    with LangSmithServer() as running:
        yield running
    assert running.errors == []


@pytest.fixture
def client(server: LangSmithServer) -> Iterator[Client]:
    retry = Retry(total=3, backoff_factor=0, status_forcelist=[429, 500, 503], allowed_methods=None)
    ours = Client(api_url=server.url, api_key="k", retry_config=retry)
    _ = ours.info
    yield ours
    ours.close()


def stubborn(call: Callable[[], Any]) -> Any:
    """Call until it works; a conflict means that an earlier try had worked."""
    for _ in range(8):
        try:
            return call()
        except LangSmithConflictError:
            return None
        except (LangSmithError, requests.RequestException, ValueError):
            time.sleep(0.001)
    raise AssertionError("never answered")


def test_runs_outlive_faults_and_a_lost_answer_shows_as_a_double(server: LangSmithServer, client: Client) -> None:
    server.faults = FaultPlan(
        Rule("lost", path="/runs/multipart", times=1), rate=0.3, kinds=LOUD, seed=2, retry_after="0"
    )

    @traceable
    def step(number: int) -> int:
        return number

    with tracing_context(enabled=True, client=client, project_name="p"):
        for number in range(20):
            step(number)
            client.flush(timeout=10)
    assert sorted(tree.outputs["output"] for tree in server.traces("p") if tree.outputs) == list(range(20))
    assert "lost" in {fired.kind for fired in server.faults.fired}
    assert len(server.doubled) >= 1


def test_rows_outlive_thirty_percent_of_faults_on_every_endpoint(server: LangSmithServer, client: Client) -> None:
    server.faults = FaultPlan(rate=0.3, kinds=PLATFORM, seed=11, retry_after="0")
    stubborn(lambda: client.create_dataset("rows"))
    dataset = stubborn(lambda: client.read_dataset(dataset_name="rows"))
    ids = [uuid.UUID(int=number) for number in range(1, 31)]
    for number, uid in enumerate(ids):
        row: Any = {"id": uid, "inputs": {"n": number}, "split": "dev"}
        stubborn(lambda row=row: client.create_examples(dataset_id=dataset.id, examples=[row]))  # type: ignore[misc]  # mypy takes no default here
    assert {row.id for row in stubborn(lambda: list(client.list_examples(dataset_id=dataset.id)))} == set(ids)
    assert len(server.datasets.get(str(dataset.id)).versions) == 30
    assert len(server.faults.fired) > 4


def test_a_commit_whose_answer_was_lost_exists_once_and_its_repeat_conflicts(
    server: LangSmithServer, client: Client
) -> None:
    one, two = (ChatPromptTemplate([("human", f"v{number} {{q}}")]) for number in (1, 2))
    client.push_prompt("triage", object=one)
    server.faults = FaultPlan(Rule("lost", path="/commits/*", method="POST", attempts={0}))
    with pytest.raises(LangSmithConflictError):  # the transport repeats the POST by itself
        client.create_commit("triage", two)
    newest, oldest = client.list_prompt_commits("triage")
    assert newest.parent_commit_hash == oldest.commit_hash


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("401", LangSmithAuthError),
        ("403", LangSmithError),
        ("404", LangSmithNotFoundError),
        ("409", LangSmithConflictError),
        ("malformed", ValueError),
        ("html", ValueError),
    ],
)
def test_refusals_are_the_sdks_own_errors(
    server: LangSmithServer, client: Client, kind: str, error: type[Exception]
) -> None:
    server.faults = FaultPlan(Rule(kind, path="/datasets", times=1))
    with pytest.raises(error):
        list(client.list_datasets())
    assert list(client.list_datasets()) == []


def test_a_body_cut_short_stores_nothing(server: LangSmithServer) -> None:
    head = {"Content-Type": "multipart/form-data; boundary=b"}
    whole = b'--b\r\nContent-Disposition: form-data; name="post.%s"\r\n\r\n{"name": "x"}\r\n--b--\r\n' % b"1"
    for body, status, stored in ((whole[:-6], 422, 0), (b"junk", 422, 0), (whole, 202, 1)):
        with requests.post(f"{server.url}/runs/multipart", body, headers=head, timeout=5) as answer:
            assert (answer.status_code, len(server.runs)) == (status, stored)
    server.state.runs["2"] = {**server.runs["1"], "id": "2", "parent_run_id": "9"}
    with pytest.raises(AssertionError, match="without their parent"):
        server.tree("1")
