"""LangSmith datasets as data: every name for one, its splits and version, people's notes, and failures on the way."""

from __future__ import annotations

import asyncio
import io
import uuid
from datetime import UTC, datetime

import pytest
from langchain_core.prompts import PromptTemplate
from langsmith import Client

from langchain_promptopt._langsmith.datasets import LangSmithRows
from langchain_promptopt._langsmith.service import LangSmithOptions, Service, make_client
from langchain_promptopt.errors import ConfigError, CredentialsError, DataError, EvaluatorError, UnavailableError
from langchain_promptopt.evaluators import resolve_evaluators
from langchain_promptopt.optimizer import Settings
from langchain_promptopt.optimizer.plan import load_rows, use_of
from tests.support.faults import PLATFORM, FaultPlan, Rule
from tests.support.guard import SocketGuard
from tests.support.langsmith_env import KEY, client, dataset, forget

NAME = "support-triage"


def row(n, **metadata):
    return {"inputs": {"ticket": f"ticket {n}"}, "outputs": {"answer": "bug"}, "metadata": {"n": n, **metadata}}


SPLITS = {
    "train": [row(n) for n in range(130)],
    "dev": [row(n) for n in range(200, 220)],
    "test": [row(300 + n) for n in range(9)],
}


def quick():
    return Service(make_client(), sleep=lambda _: None)


def load(data=NAME, write=True, **options):
    splits = options.pop("splits", None)
    langsmith = LangSmithOptions.of(options)
    remote = LangSmithRows(langsmith.as_of, langsmith.metadata, langsmith.queues, quick())
    settings = Settings(data=data, evaluators=None, langsmith=langsmith, splits=splits, remote=remote)
    return load_rows(settings, write=write)


def sizes(data):
    return {split: len(rows) for split, rows in data.splits.items()}


def test_by_name_id_and_url_with_splits_and_more_rows_than_a_page(server):
    made = dataset(server.url, NAME, SPLITS)
    for name in (NAME, str(made.id), f"https://smith.langchain.com/o/{uuid.uuid4()}/datasets/{made.id}?tab=2"):
        data = load(name)
        assert sizes(data) == {"train": 130, "dev": 20, "test": 9}
        assert len({e.id for rows in data.splits.values() for e in rows}) == 159
    assert data["test"][0].inputs["ticket"].startswith("ticket 3")


def test_split_names_are_mapped(server):
    dataset(server.url, NAME, {"training": SPLITS["train"], "validation": SPLITS["dev"], "holdout": SPLITS["test"]})
    data = load(splits={"train": "training", "dev": "validation", "test": "holdout"})
    assert sizes(data) == {"train": 130, "dev": 20, "test": 9}


def test_the_latest_version_is_made_concrete(server):
    made = dataset(server.url, NAME, SPLITS)
    first = load()
    version = client(server.url).read_dataset_version(dataset_id=made.id, tag="latest").as_of
    assert datetime.fromisoformat(first.as_of) == version
    there = client(server.url)
    there.create_examples(
        dataset_id=made.id,
        examples=[{"inputs": {"ticket": "new"}, "reference_outputs": {"answer": "x"}, "split": "train"}],
    )
    assert sizes(load())["train"] == 131
    assert load().as_of != first.as_of
    again = load(as_of=first.as_of)
    assert (sizes(again)["train"], again.as_of) == (130, first.as_of)


def test_a_tag_names_a_version(server):
    made = dataset(server.url, NAME, SPLITS)
    there = client(server.url)
    then = there.read_dataset_version(dataset_id=made.id, tag="latest").as_of
    there.update_dataset_tag(dataset_id=made.id, as_of=then, tag="prod")
    there.create_examples(
        dataset_id=made.id,
        examples=[{"inputs": {"ticket": "new"}, "reference_outputs": {"answer": "x"}, "split": "train"}],
    )
    data = load(as_of="prod")
    assert datetime.fromisoformat(data.as_of) == then
    assert sizes(data)["train"] == 130


def test_a_metadata_filter(server):
    rows = {
        split: [row(i, lang="en" if i % 2 else "de") for i in range(k, k + 20)]
        for k, split in ((0, "train"), (50, "dev"), (90, "test"))
    }
    dataset(server.url, NAME, rows)
    assert sizes(load(metadata={"lang": "de"})) == {"train": 10, "dev": 10, "test": 10}
    with pytest.raises(DataError, match="no examples with metadata"):
        load(metadata={"lang": "fr"})


def test_without_splits_they_are_made_said_and_written_back_when_asked(server):
    made = dataset(server.url, NAME, {"": [row(n) for n in range(60)]})
    there = client(server.url)
    quiet = load()
    assert any(note.kind == "split_by_hash" for note in quiet.notes)
    assert there.list_dataset_splits(dataset_id=made.id) == ["base"]
    told = load(write_splits=True)
    assert any("written to the LangSmith dataset" in note.text for note in told.notes)
    assert told.as_of > quiet.as_of
    written = {s: {str(e.id) for e in there.list_examples(dataset_id=made.id, splits=[s])} for s in told.splits}
    assert written == {s: {e.id for e in rows} for s, rows in told.splits.items()}
    after = load(write_splits=True)
    assert sizes(after) == sizes(told)
    assert after.as_of == told.as_of


def test_the_same_inputs_give_the_same_splits_whatever_their_labels(server):
    dataset(server.url, "a", {"": [row(n) for n in range(60)]})
    dataset(server.url, "b", {"": [{**row(n), "outputs": {"answer": "other"}} for n in reversed(range(60))]})
    one, two = load("a"), load("b")
    assert {s: {e.inputs["ticket"] for e in rows} for s, rows in one.splits.items()} == {
        s: {e.inputs["ticket"] for e in rows} for s, rows in two.splits.items()
    }


# ---------------------------------------------------------------- notes


def reviewed(server, made):
    """A run of an example, reviewed in a queue; and an example made from a run with feedback."""
    there = client(server.url)
    example = next(there.list_examples(dataset_id=made.id, splits=["train"]))
    now = datetime.now(UTC)
    ids = {name: uuid.uuid4() for name in ("queued", "source")}
    for name, uid in ids.items():
        reference = {"reference_example_id": example.id} if name == "queued" else {}
        there.create_run(
            "r", {"q": name}, "chain", id=uid, start_time=now, end_time=now, outputs={}, project_name="p", **reference
        )
    queue = there.create_annotation_queue(name="review")
    project = there.read_project(project_name="p")
    there.add_runs_to_annotation_queue(
        queue.id, runs=[{"run_id": ids["queued"], "session_id": project.id, "start_time": now}]
    )
    said = [(ids[n], "app", f"from {n}", 0) for n in ids]
    said += [(ids["queued"], "model", "by a model", 0), (ids["queued"], "app", None, 1)]
    for n, (uid, source, comment, score) in enumerate(said):
        body = {"id": str(uuid.uuid4()), "run_id": str(uid), "key": f"k{n}", "comment": comment, "score": score}
        there.request_with_retries("POST", "/feedback", json={**body, "feedback_source": {"type": source}})
    (second,) = there.create_examples(
        dataset_id=made.id,
        examples=[
            {
                "inputs": {"ticket": "traced"},
                "reference_outputs": {"answer": "x"},
                "split": "train",
                "source_run_id": ids["source"],
            }
        ],
    )["example_ids"]
    return str(example.id), str(second)


@pytest.mark.filterwarnings("ignore:.*removed after Jan 31, 2027:DeprecationWarning")  # the SDK's way to fill a queue
def test_what_people_wrote_becomes_the_rows_note(server):
    made = dataset(server.url, NAME, SPLITS)
    queued, traced = reviewed(server, made)
    notes = {e.id: e.note for rows in load(queues=("review",)).splits.values() for e in rows if e.note}
    assert notes == {queued: "from queued", traced: "from source"}
    without = {e.id: e.note for rows in load().splits.values() for e in rows if e.note}
    assert without == {traced: "from source"}


def test_an_unknown_queue_is_said(server):
    dataset(server.url, NAME, SPLITS)
    with pytest.raises(CredentialsError, match="no annotation queue 'nobody'"):
        load(queues=("nobody",))


def test_an_unknown_option_is_said():
    with pytest.raises(ConfigError, match="no option 'as_off'"):
        LangSmithOptions.of({"as_off": "x"})


# ---------------------------------------------------------------- failures


def test_an_unknown_dataset_is_wrong_usage(server):
    for name in ("nothing", str(uuid.uuid4()), f"https://x/datasets/{uuid.uuid4()}"):
        with pytest.raises(CredentialsError, match="no LangSmith dataset") as raised:
            load(name)
        assert raised.value.exit_code == 2
    with pytest.raises(DataError, match="holds no dataset id"):
        load("https://smith.langchain.com/datasets")


@pytest.mark.parametrize(("kind", "error", "code"), [("401", CredentialsError, 2), ("403", CredentialsError, 2)])
def test_refusals(server, kind, error, code):
    dataset(server.url, NAME, SPLITS)
    server.faults = FaultPlan(Rule(kind))
    with pytest.raises(error) as raised:
        load()
    assert raised.value.exit_code == code


def test_out_of_reach_is_code_5(server):
    dataset(server.url, NAME, SPLITS)
    server.stop()
    with pytest.raises(UnavailableError) as raised:
        load()
    assert raised.value.exit_code == 5


def test_without_key_and_endpoint_it_is_said_and_no_socket_is_opened(monkeypatch):
    forget(monkeypatch)
    with SocketGuard() as seen, pytest.raises(CredentialsError, match="no LangSmith key"):
        load_rows(Settings(data=NAME, evaluators=None))
    assert seen.attempts == []


@pytest.mark.parametrize(("asked", "kept"), [("3", 3.0), ("600", 60.0)])
def test_the_pause_asked_for_is_kept_and_nobody_else_sleeps(server, monkeypatch, asked, kept):
    """The SDK by itself would sleep half a minute at a 429 in the middle of writing splits."""
    dataset(server.url, NAME, {"": SPLITS["train"]})
    slept, pauses = [], []
    monkeypatch.setattr("time.sleep", slept.append)
    server.faults = FaultPlan(Rule("429-retry-after", attempts={0}), retry_after=asked)
    remote = LangSmithRows(service=Service(make_client(), sleep=pauses.append))
    options = LangSmithOptions(write_splits=True)
    load_rows(Settings(data=NAME, evaluators=None, langsmith=options, remote=remote))
    assert set(pauses) == {kept}
    assert slept == []


@pytest.mark.parametrize("seed", range(6))
def test_a_third_of_all_requests_failing_loses_and_doubles_no_row(server, seed):
    made = dataset(server.url, NAME, {"": SPLITS["train"]})
    server.faults = FaultPlan(Rule("503", times=1), rate=0.3, kinds=PLATFORM, seed=seed, retry_after="0")
    data = load(write_splits=True)
    assert server.faults.fired
    server.faults = None
    assert sum(sizes(data).values()) == 130
    there = client(server.url)
    written = {s: {str(e.id) for e in there.list_examples(dataset_id=made.id, splits=[s])} for s in data.splits}
    assert written == {s: {e.id for e in rows} for s, rows in data.splits.items()}


class WithFiles(Client):
    """LangSmith whose examples have a file each: the test server keeps none."""

    def list_examples(self, *args, include_attachments=False, **more):
        for example in super().list_examples(*args, **more):
            if include_attachments:
                file = {"presigned_url": "u", "mime_type": "text/plain", "reader": io.BytesIO(b"a photo")}
                yield example.model_copy(update={"attachments": {"photo": file}})
            else:
                yield example


class OldClient(Client):
    """An SDK from before attachments."""

    def list_examples(self, dataset_id=None, as_of=None, metadata=None):
        return super().list_examples(dataset_id=dataset_id, as_of=as_of, metadata=metadata)


def sees(attachments):
    return attachments["photo"]["reader"].read() == b"a photo"


def with_files(server, client, evaluators):
    dataset(server.url, NAME, SPLITS)
    service = Service(client(api_url=server.url, api_key=KEY), sleep=lambda _: None)
    settings = Settings(data=NAME, evaluators=None, remote=LangSmithRows(service=service))
    return load_rows(settings, use_of([PromptTemplate.from_template("{ticket}")], resolve_evaluators(evaluators)))


def test_attachments_of_a_dataset_are_read_where_an_evaluator_asks_for_them(server):
    data = with_files(server, WithFiles, [sees])
    (judge,) = resolve_evaluators([sees])
    for example in data["test"]:
        assert set(asyncio.run(judge.score(example, "bug")).scores.values()) == {1.0}


def test_attachments_that_nobody_asks_for_are_not_downloaded(server):
    data = with_files(server, WithFiles, ["exact_match"])
    assert not any(e.attachments for e in data["test"])


def test_an_sdk_without_attachments_is_named(server):
    with pytest.raises(EvaluatorError, match="the installed langsmith cannot read those of a dataset"):
        with_files(server, OldClient, [sees])
