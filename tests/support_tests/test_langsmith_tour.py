"""The tour: the unmodified LangSmith SDK's public calls against our server."""

from __future__ import annotations

import asyncio
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.prompts.structured import StructuredPrompt
from langchain_core.runnables import RunnableLambda
from langsmith import Client, aevaluate, evaluate, traceable, tracing_context
from langsmith.utils import LangSmithConflictError, LangSmithError, LangSmithNotFoundError

from tests.support.langsmith_server import LangSmithServer

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from langsmith.schemas import Dataset


@pytest.fixture
def server() -> Iterator[LangSmithServer]:
    with LangSmithServer() as running:
        yield running
    assert running.errors == []


@pytest.fixture
def client(server: LangSmithServer) -> Iterator[Client]:
    ours = Client(api_url=server.url, api_key="k")
    yield ours
    ours.close()


def filled(client: Client, rows: int = 6, name: str = "support") -> Dataset:
    dataset = client.create_dataset(name, description="d", metadata={"team": "a"})
    examples = [
        {
            "inputs": {"q": str(number)},
            "reference_outputs": {"a": str(number % 2)},
            "split": ["train", "hard"] if number < 2 else "dev",
            "metadata": {"k": number, "even": number % 2 == 0},
        }
        for number in range(rows)
    ]
    assert client.create_examples(dataset_id=dataset.id, examples=examples)["count"] == rows
    return dataset


def awaited(client: Client, work: Coroutine[Any, Any, Any]) -> Any:
    """Run one coroutine and close the SDK's asynchronous half, which `Client.close` leaves open."""

    async def closing() -> Any:
        try:
            return await work
        finally:
            await client._get_langsmith_api().close()
            client._langsmith_api = None

    return asyncio.run(closing())


def questions(client: Client, dataset: Dataset, **kw: Any) -> set[str]:
    return {example.inputs["q"] for example in client.list_examples(dataset_id=dataset.id, **kw) if example.inputs}


def test_datasets_are_made_found_listed_and_gone(server: LangSmithServer, client: Client) -> None:
    dataset = filled(client)
    assert client.has_dataset(dataset_name="support")
    assert client.read_dataset(dataset_name="support").id == client.read_dataset(dataset_id=dataset.id).id == dataset.id
    assert client.read_dataset(dataset_id=dataset.id).example_count == 6
    client.create_dataset("other")
    assert [one.name for one in client.list_datasets(dataset_name_contains="supp")] == ["support"]
    assert [one.name for one in client.list_datasets(metadata={"team": "a"})] == ["support"]
    with pytest.raises(LangSmithConflictError):
        client.create_dataset("other")
    client.delete_dataset(dataset_name="other")
    with pytest.raises(LangSmithNotFoundError):
        client.read_dataset(dataset_name="other")
    assert server.unserved == []


def test_examples_by_split_metadata_filter_and_id(client: Client) -> None:
    dataset = filled(client)
    assert questions(client, dataset, splits=["train"]) == {"0", "1"}
    assert questions(client, dataset, splits=["dev", "hard"]) == {"0", "1", "2", "3", "4", "5"}
    assert questions(client, dataset, metadata={"even": True}) == {"0", "2", "4"}
    assert questions(client, dataset, filter='and(has(metadata, \'{"k": 3}\'), exists(metadata, "even"))') == {"3"}
    (train, *_) = client.list_examples(dataset_id=dataset.id, splits=["train"])
    assert train.metadata is not None
    assert train.metadata["dataset_split"] == ["train", "hard"]
    assert [one.id for one in client.list_examples(example_ids=[train.id])] == [train.id]
    assert client.read_example(train.id).outputs == train.outputs
    assert len(list(client.list_examples(dataset_name="support", limit=3))) == 3


def test_250_rows_are_paged_without_loss_or_repeat(client: Client) -> None:
    dataset = filled(client, 250)
    rows = list(client.list_examples(dataset_id=dataset.id))
    assert len(rows) == len({row.id for row in rows}) == 250
    assert [row.id for row in client.list_examples(dataset_id=dataset.id, offset=240)] == [row.id for row in rows[240:]]
    assert len(list(client.list_examples(dataset_id=dataset.id, splits=["dev"], limit=205))) == 205


def test_splits_move_and_every_change_is_a_version_to_read_again(client: Client) -> None:
    dataset = filled(client)
    first = client.read_dataset_version(dataset_id=dataset.id, tag="latest")
    client.update_dataset_tag(dataset_id=dataset.id, as_of=first.as_of, tag="run-1")
    rows = {row.inputs["q"]: row for row in client.list_examples(dataset_id=dataset.id) if row.inputs}
    client.update_dataset_splits(dataset_id=dataset.id, split_name="test", example_ids=[rows["4"].id, rows["5"].id])
    client.update_dataset_splits(dataset_id=dataset.id, split_name="dev", example_ids=[rows["5"].id], remove=True)
    client.update_example(rows["0"].id, inputs={"q": "zero"}, metadata={"k": 100})
    client.update_examples(dataset_id=dataset.id, updates=[{"id": rows["1"].id, "outputs": {"a": "9"}, "split": "x"}])
    client.delete_example(rows["2"].id)
    client.create_example(inputs={"q": "new"}, reference_outputs={"a": "1"}, dataset_id=dataset.id)

    assert questions(client, dataset) == {"zero", "1", "3", "4", "5", "new"}
    assert questions(client, dataset, as_of="run-1") == {"0", "1", "2", "3", "4", "5"}
    assert questions(client, dataset, as_of=first.as_of, splits=["dev"]) == {"2", "3", "4", "5"}
    assert questions(client, dataset, splits=["dev"]) == {"3", "4"}
    assert questions(client, dataset, splits=["test"]) == {"4", "5"}
    assert questions(client, dataset, as_of=first.as_of - timedelta(days=1)) == set()
    assert client.list_dataset_splits(dataset_id=dataset.id) == ["base", "dev", "hard", "test", "train", "x"]
    assert client.list_dataset_splits(dataset_id=dataset.id, as_of="run-1") == ["dev", "hard", "train"]
    changed = client.read_example(rows["0"].id)
    assert (changed.metadata, changed.outputs) == ({"k": 100, "dataset_split": ["train", "hard"]}, {"a": "0"})
    assert client.read_example(rows["0"].id, as_of=first.as_of).inputs == {"q": "0"}
    with pytest.raises(LangSmithNotFoundError):
        client.read_example(rows["2"].id)

    versions = list(client.list_dataset_versions(dataset_id=dataset.id))
    assert len(versions) == 7
    assert (versions[0].tags, versions[-1].tags) == (["latest"], ["run-1"])
    assert client.read_dataset_version(dataset_id=dataset.id, as_of=datetime.now(UTC)).as_of == versions[0].as_of
    assert client.read_dataset_version(dataset_id=dataset.id, tag="run-1").as_of == first.as_of
    diff = client.diff_dataset_versions(dataset.id, from_version="run-1", to_version=versions[0].as_of)
    assert [*map(len, (diff.examples_added, diff.examples_removed, diff.examples_modified))] == [1, 1, 4]


def test_ids_of_ours_are_kept_and_a_repeat_is_a_conflict_not_a_double(client: Client) -> None:
    dataset, mine = filled(client), uuid.uuid4()
    client.create_examples(dataset_id=dataset.id, examples=[{"id": mine, "inputs": {"q": "mine"}}])
    with pytest.raises(LangSmithConflictError):
        client.create_examples(dataset_id=dataset.id, examples=[{"id": mine, "inputs": {"q": "mine"}}])
    assert client.read_example(mine).metadata == {"dataset_split": ["base"]}
    client.delete_examples([mine])
    assert "mine" not in questions(client, dataset)


def test_old_style_examples_without_multipart() -> None:
    with LangSmithServer(multipart=False) as server:
        client = Client(api_url=server.url, api_key="k")
        dataset = filled(client)
        row = client.create_example(inputs={"q": "one"}, dataset_id=dataset.id, split="late")
        client.update_example(row.id, outputs={"a": "b"}, dataset_id=dataset.id)
        assert client.read_example(row.id).outputs == {"a": "b"}
        assert questions(client, dataset, splits=["late"]) == {"one"}
        client.close()


def chain() -> Any:
    prompt = ChatPromptTemplate([("system", "Answer."), ("human", "{q}")])
    last: Any = RunnableLambda(lambda value: str(int(value.messages[-1].content) % 2)).with_config(run_name="model")
    return prompt | last | StrOutputParser()


def exact(outputs: dict[str, Any], reference_outputs: dict[str, Any]) -> dict[str, Any]:
    return {"key": "exact", "score": outputs["output"] == reference_outputs["a"], "comment": "compared"}


def mean(outputs: list[dict[str, Any]], reference_outputs: list[dict[str, Any]]) -> dict[str, Any]:
    return {"key": "mean", "score": len(outputs) / len(reference_outputs)}


DEPRECATED = pytest.mark.filterwarnings("ignore:.*removed after Jan 31, 2027:DeprecationWarning")
SDK_WARNS = pytest.mark.filterwarnings("ignore:The following arguments are no longer used:DeprecationWarning")


@SDK_WARNS  # about its own summary evaluators, and loses their score when that is an error
def test_evaluate_uploads_an_experiment_with_its_trees_and_scores(server: LangSmithServer, client: Client) -> None:
    dataset = filled(client)
    options: Any = {"evaluators": [exact], "summary_evaluators": [mean], "client": client, "metadata": {"step": 1}}
    first = evaluate(chain(), data="support", experiment_prefix="first", num_repetitions=2, **options)
    dev = list(client.list_examples(dataset_id=dataset.id, splits=["dev"]))
    second = asyncio.run(experiment(chain(), dev, options))
    client.flush(timeout=10)

    one, two = server.experiments(dataset.id)
    assert (one["name"], one["run_count"], one["error_rate"]) == (first.experiment_name, 12, 0)
    assert one["feedback_stats"]["exact"] == {"n": 12, "avg": 1.0, "values": {}}
    assert one["session_feedback_stats"]["mean"]["avg"] == 1.0
    assert (two["name"], two["run_count"], two["extra"]["metadata"]["step"]) == (second, 4, 1)
    tree = server.traces(first.experiment_name)[0]
    assert tree.outline() == [
        "Target", "  RunnableSequence", "    ChatPromptTemplate", "    model", "    StrOutputParser",
    ]  # fmt: skip
    assert server.runs[tree.id]["reference_example_id"] in {str(row.id) for row in client.list_examples(dataset.id)}
    assert {run.name for run in server.traces("evaluators")} == {"exact", "mean"}
    names = [project.name for project in client.list_projects(reference_dataset_id=dataset.id)]
    assert names == [second, first.experiment_name]
    assert [p.name for p in client.list_projects(metadata={"step": 1}, name_contains="first")] == [names[1]]
    assert client.read_project(project_name=second, include_stats=True).feedback_stats
    assert server.unserved == []
    assert server.doubled == {}


async def experiment(target: Any, rows: list[Any], options: dict[str, Any]) -> str:
    results = await aevaluate(target, data=rows, experiment_prefix="second", max_concurrency=4, **options)
    await results.wait()
    return results.experiment_name


def test_two_experiments_are_compared_pairwise(server: LangSmithServer, client: Client) -> None:
    dataset = filled(client)
    names = [evaluate(chain(), data="support", client=client, evaluators=[exact]).experiment_name for _ in range(2)]
    client.flush(timeout=10)

    def prefer(runs: Any, example: Any) -> dict[Any, Any]:
        return {"key": "better", "scores": {runs[0].id: 1, runs[1].id: 0}}

    results = evaluate((names[0], names[1]), evaluators=[prefer], client=client)
    assert len(list(results)) == 6
    assert len(server.projects.comparisons) == 1
    assert sum(feedback["key"] == "better" for feedback in server.feedback) == 12
    assert server.unserved == []

    async def experiment_runs() -> list[Any]:
        ids = [str(client.read_project(project_name=name).id) for name in names]
        pages = client.datasets.experiment_runs.query(
            str(dataset.id), experiment_ids=ids, selects=["ID", "OUTPUTS", "FEEDBACK_STATS"], page_size=4
        )
        return [row async for row in pages]

    rows = awaited(client, experiment_runs())
    assert [len(row.runs) for row in rows] == [2] * 6
    assert rows[0].runs[0].feedback_stats["better"].n == 1


@pytest.mark.parametrize("kind", ["zstd", "multipart", "batch", "single", "v2_only"])
def test_traces_arrive_whole_in_every_form_of_ingest(kind: str) -> None:
    with LangSmithServer(zstd=kind == "zstd", multipart=kind != "batch", v2_only=kind == "v2_only") as server:
        client = Client(api_url=server.url, api_key="k", auto_batch_tracing=kind != "single")
        while kind == "zstd" and client.compressed_traces is None:
            time.sleep(0.001)  # the SDK's thread first asks for /info; until then it posts uncompressed

        @traceable(run_type="retriever", metadata={"deep": True})
        def look(key: str) -> list[str]:
            return [key]

        @traceable(name="outer", tags=["t"])
        def outer(number: int) -> str:
            look("ü" * number)
            if number == 3:
                raise ValueError(str(number))
            return str(chain().invoke({"q": str(number)}))

        with tracing_context(enabled=True, client=client, project_name="p"):
            for number in range(5):
                if number == 3:
                    with pytest.raises(ValueError, match="3"):
                        outer(number)
                else:
                    outer(number, langsmith_extra={"metadata": {"promptopt_step": number}})
        client.flush(timeout=10)

        trees = server.traces("p")
        assert [tree.outline()[:3] for tree in trees[:3]] == [["outer", "  look", "  RunnableSequence"]] * 3
        assert [tree.metadata.get("promptopt_step") for tree in trees] == [0, 1, 2, None, 4]
        assert [tree.outputs for tree in trees][:3] == [{"output": "0"}, {"output": "1"}, {"output": "0"}]
        assert "ValueError" in str(trees[3].error)
        look_run = trees[2].children[0]
        assert (look_run.run_type, look_run.inputs, look_run.metadata["deep"]) == ("retriever", {"key": "üü"}, True)
        assert server.tree(trees[0].id) == trees[0]
        assert len(server.runs) == 4 * 6 + 2
        assert server.doubled == {}
        encodings = {request.headers.get("content-encoding") for request in server.asked("POST", "/runs/multipart")}
        assert encodings == {"zstd": {"zstd"}, "batch": set(), "single": set()}.get(kind, {None})
        client.close()


def test_runs_are_queried_old_and_new(server: LangSmithServer, client: Client) -> None:
    with tracing_context(enabled=True, client=client, project_name="p"):
        for number in range(3):
            chain().invoke({"q": str(number)}, config={"metadata": {"n": number}, "tags": ["even"][number % 2 :]})
    client.flush(timeout=10)
    project = str(client.read_project(project_name="p").id)

    async def new(**kw: Any) -> list[Any]:
        return [run async for run in client.runs.query(project_ids=[project], page_size=2, **kw)]

    async def one(**kw: Any) -> Any:
        return await client.runs.retrieve(**kw)

    selects: Any = ["ID", "NAME", "RUN_TYPE", "STATUS", "METADATA", "DOTTED_ORDER", "IS_ROOT", "OUTPUTS"]
    assert len(awaited(client, new())) == 12
    roots = awaited(client, new(is_root=True, selects=selects))
    assert [(run.name, run.run_type, run.status) for run in roots] == [("RunnableSequence", "CHAIN", "SUCCESS")] * 3
    assert [run.metadata["n"] for run in roots] == [2, 1, 0]
    assert len(awaited(client, new(run_type="PROMPT"))) == 3
    assert len(awaited(client, new(is_root=True, filter='has(tags, "even")'))) == 2
    assert len(awaited(client, new(filter='and(eq(metadata_key, "n"), eq(metadata_value, 2), eq(name, "model"))'))) == 1
    assert len(awaited(client, new(tree_filter="eq(metadata_value, 1)"))) == 4
    assert awaited(client, one(run_id=roots[0].id, project_id=project, selects=selects)).outputs == roots[0].outputs
    with pytest.warns(DeprecationWarning, match="list_runs"):
        old = list(client.list_runs(project_name="p", is_root=True, limit=2))
    assert [str(run.id) for run in old] == [run.id for run in roots[:2]]


def test_feedback_is_made_in_both_ways_listed_changed_and_deleted(server: LangSmithServer, client: Client) -> None:
    with tracing_context(enabled=True, client=client, project_name="p"):
        chain().invoke({"q": "1"})
    client.flush(timeout=10)
    (tree,) = server.traces("p")
    project = client.read_project(project_name="p").id
    posted = client.create_feedback(tree.id, "human", score=0.5, comment="too long", session_id=project)
    client.create_feedback(tree.id, "queued", value="good", trace_id=tree.id, session_id=project)
    client.create_feedback(key="whole", score=1, project_id=project)
    client.flush(timeout=10)
    rows = {row.key: row for row in client.list_feedback(run_ids=[tree.id])}
    assert (rows["human"].comment, rows["queued"].value, rows["queued"].score) == ("too long", "good", None)
    assert rows.keys() == {"human", "queued"}
    assert [row.key for row in client.list_feedback(feedback_key=["whole"])] == ["whole"]
    client.update_feedback(posted.id, score=1)
    assert client.read_feedback(posted.id).score == 1
    client.delete_feedback(posted.id)
    assert [row.key for row in client.list_feedback(run_ids=[tree.id])] == ["queued"]


@DEPRECATED
def test_annotation_queues_hold_runs_to_be_reviewed(server: LangSmithServer, client: Client) -> None:
    with tracing_context(enabled=True, client=client, project_name="p"):
        for number in "12":
            chain().invoke({"q": number})
    client.flush(timeout=10)
    queue = client.create_annotation_queue(name="review", description="d", rubric_instructions="be fair")
    project = client.read_project(project_name="p").id
    keys: Any = [
        {"run_id": tree.id, "session_id": project, "start_time": server.runs[tree.id]["start_time"]}
        for tree in server.traces("p")
    ]
    client.add_runs_to_annotation_queue(queue.id, runs=keys)
    client.add_runs_to_annotation_queue(queue.id, runs=keys)
    assert [one.name for one in client.list_annotation_queues(name="review")] == ["review"]
    assert client.read_annotation_queue(queue.id).rubric_instructions == "be fair"  # type: ignore[attr-defined]  # declared on the class it really returns
    assert client.get_run_from_annotation_queue(queue.id, index=1).inputs == {"q": "2"}

    async def reviewed() -> list[str]:
        items = client.annotation_queues.items
        project_id = str(project)
        again = [{"item_type": "RUN", "run_id": key["run_id"], "project_id": project_id} for key in keys]
        await items.create(str(queue.id), items=again)  # type: ignore[arg-type]  # times are optional
        first, _ = [item async for item in items.list(str(queue.id), status="needs_my_review", page_size=1)]
        await items.create_status(str(first.id), status="completed")
        return [str(item.run_id) async for item in items.list(str(queue.id), status="archived")]

    assert awaited(client, reviewed()) == [server.traces("p")[0].id]
    assert [run.inputs for run in client.list_runs_from_annotation_queue(queue.id)] == [{"q": "1"}, {"q": "2"}]
    with pytest.raises(LangSmithNotFoundError):
        client.get_run_from_annotation_queue(queue.id, index=1)
    client.update_annotation_queue(queue.id, name="old")
    client.delete_run_from_annotation_queue(queue.id, run_id=server.traces("p")[0].id)
    assert len(list(client.list_runs_from_annotation_queue(queue.id))) == 1
    client.delete_annotation_queue(queue.id)
    assert list(client.list_annotation_queues()) == []


@pytest.mark.filterwarnings("ignore:The class `StructuredPrompt` is in beta")
def test_prompts_are_pushed_pulled_tagged_and_guarded_by_their_parent(server: LangSmithServer, client: Client) -> None:
    def text(ref: str) -> str:
        return str(client.pull_prompt(ref, skip_cache=True).messages[0].prompt.template)

    one, two = (ChatPromptTemplate([("human", f"v{number} {{q}}")]) for number in (1, 2))
    url = client.push_prompt("triage", object=one, commit_tags=["staging"], commit_description="first", tags=["x"])
    assert "/prompts/triage/" in url
    client.push_prompt("triage", object=two, commit_tags="best", description="d")
    newest, oldest = client.list_prompt_commits("triage")
    assert (newest.parent_commit_hash, oldest.description) == (oldest.commit_hash, "first")
    assert newest.commit_hash is not None
    assert oldest.commit_hash is not None
    assert (text("triage"), text("triage:staging"), text("triage:best")) == ("v2 {q}", "v1 {q}", "v2 {q}")
    assert text(f"triage:{oldest.commit_hash[:8]}") == text(f"triage:{oldest.commit_hash}") == "v1 {q}"
    owned = client.pull_prompt_commit("acme/triage:best", skip_cache=True, dangerously_pull_public_prompt=True)
    assert owned.commit_hash == newest.commit_hash
    with pytest.raises(LangSmithNotFoundError):
        client.pull_prompt("triage:absent", skip_cache=True)

    with pytest.raises(LangSmithConflictError, match="Nothing to commit"):
        client.create_commit("triage", two)
    with pytest.raises(LangSmithConflictError, match="not the latest"):
        client.create_commit("triage", one, parent_commit_hash=oldest.commit_hash)
    client.create_commit("triage", one, parent_commit_hash=newest.commit_hash, tags="staging")
    assert text("triage:staging") == text("triage") == "v1 {q}"
    assert len(list(client.list_prompt_commits("triage", limit=2))) == 2

    prompt = client.get_prompt("triage")
    assert prompt is not None
    assert (prompt.num_commits, prompt.tags, prompt.description, prompt.owner) == (3, ["x"], "d", "acme")
    client.update_prompt("triage", description="better")
    assert [one.description for one in client.list_prompts(query="tri").repos] == ["better"]
    schema = {"title": "T", "description": "t", "type": "object", "properties": {"a": {"type": "string"}}}
    client.push_prompt("structured", object=StructuredPrompt([("human", "{q}")], schema))
    assert isinstance(client.pull_prompt("structured"), StructuredPrompt)
    client.delete_prompt("triage")
    assert client.get_prompt("triage") is None
    assert server.unserved == []


def test_evaluators_kept_in_the_workspace_can_be_read(server: LangSmithServer, client: Client) -> None:
    kept = server.evaluators.add("helpful", type="code", code_evaluator={"code": "def perform_eval(run): ..."})
    server.evaluators.add("other", type="llm", llm_evaluator={"prompt_repo_handle": "judge", "commit_hash_or_tag": "v"})

    async def read() -> tuple[list[str | None], Any]:
        rows = [row async for row in client.evaluators.list(name_contains="help")]
        return [row.name for row in rows], await client.evaluators.retrieve(kept["id"])

    names, one = awaited(client, read())
    assert names == ["helpful"]
    assert one.code_evaluator.code.startswith("def perform_eval")


def test_what_is_not_served_says_so(server: LangSmithServer, client: Client) -> None:
    with pytest.raises(LangSmithError, match=r"501.*not served here: POST /likes/-/triage"):
        client.like_prompt("triage")
    assert server.unserved == ["POST /likes/-/triage"]
