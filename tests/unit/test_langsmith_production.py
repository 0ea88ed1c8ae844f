"""Runs of a LangSmith project as rows: window, references, repeats, samples, remarks, and failures on the way."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from langchain_core.prompts import PromptTemplate

from langchain_promptopt._langsmith.production import ProjectRows, Window, run_answer
from langchain_promptopt._langsmith.service import LangSmithOptions, Service, make_client
from langchain_promptopt.errors import ConfigError, CredentialsError, DataError
from langchain_promptopt.evaluators import resolve_evaluators
from langchain_promptopt.optimizer import Settings
from langchain_promptopt.optimizer.plan import load_rows, use_of
from tests.support.faults import PLATFORM, FaultPlan
from tests.support.langsmith_env import point_at
from tests.support.langsmith_server import LangSmithServer
from tests.support.langsmith_traffic import NOON, Traffic

MIDNIGHT = datetime(2026, 11, 28, tzinfo=UTC)
DATA = "langsmith-project:live"


def remote(seed=0, references=True, now=MIDNIGHT + timedelta(hours=2), **options):
    service = Service(make_client(), sleep=lambda _: None)
    return ProjectRows(LangSmithOptions.of(options), seed, references, service, now=lambda: now)


def read(**options):
    """Rows by the text of their ticket."""
    return {row["inputs"]["ticket"]: row for row in remote(**options)(DATA)}


def load(prompt="{ticket}", seed=0, now=MIDNIGHT + timedelta(hours=2), openings=None, **options):
    use = use_of([PromptTemplate.from_template(prompt)], resolve_evaluators(["exact_match"]))
    source = remote(seed, use.references, now, **options)
    settings = Settings(
        data=DATA, evaluators=None, langsmith=source.options, remote=source, seed=seed, openings=openings
    )
    return load_rows(settings, use)


def ticket(text, output="bug", **more):
    return {"inputs": {"ticket": text}, "outputs": {"output": output}, **more}


def placed(data):
    return {e.inputs["ticket"]: split for split, rows in data.splits.items() for e in rows}


def test_windows_end_at_a_full_unit_so_that_a_retry_reads_the_same():
    late = MIDNIGHT + timedelta(hours=2, minutes=40)
    for text in ("24h", "1d"):
        assert Window.of(text, None, late) == Window(MIDNIGHT - timedelta(days=1), MIDNIGHT)
    assert Window.of("2h", None, late).end == MIDNIGHT + timedelta(hours=2)
    assert Window.of("30m", None, late).end == late
    assert Window.of("1w", "2026-11-20 sha256:ab", late).end == datetime(2026, 11, 20, tzinfo=UTC)
    given = Window.of("2026-11-27T01:00+01:00/2026-11-27T12:00Z", "2026-11-20", late)
    assert given == Window(datetime(2026, 11, 27, tzinfo=UTC), NOON)
    for text in ("", " ", "24", "0d", "yesterday", "2026-11-27/2026-11-26", "2026-11-27/soon"):
        with pytest.raises(ConfigError, match="window"):
            Window.of(text or "x", None, late)


def test_only_finished_root_runs_of_the_window_are_read_once(server):
    live = Traffic(server.url)
    live.runs([ticket(f"t{n}") for n in range(230)])
    live.runs([ticket("failed", error="boom"), ticket("old", at=NOON - timedelta(days=2))])
    live.runs([ticket("today", at=MIDNIGHT), ticket("first", at=MIDNIGHT - timedelta(days=1))])
    found = read(window="1d", references=False)
    assert set(found) == {"first", *(f"t{n}" for n in range(230))}
    assert all(row["outputs"] is None for row in found.values())
    assert found["t7"]["metadata"]["answer"] == {"output": "bug"}
    assert found["t7"]["metadata"]["window"] == "2026-11-27T00:00:00+00:00 to 2026-11-28T00:00:00+00:00"
    asked = server.asked("POST", "/api/v2/runs/query")
    assert len(asked) == 3
    server._runs.v1_only = True
    assert read(window="1d", references=False) == found


def test_references_come_from_corrections_ratings_and_values_the_latest_first(server):
    live = Traffic(server.url)
    names = ["corrected", "liked", "disliked", "told", "judged", "silent", "comment", "twice", "both"]
    runs = dict(zip(names, live.runs([ticket(name) for name in names]), strict=True))
    live.feedback(runs["corrected"], "note", correction={"label": "billing"}, comment="see manual")
    live.feedback(runs["liked"], "user", score=1)
    live.feedback(runs["disliked"], "user", score=0, comment="wrong")
    live.feedback(runs["told"], "user", value="account")
    live.feedback(runs["judged"], "user", by="model", score=1)
    live.feedback(runs["comment"], "user", comment="hm")
    live.feedback(runs["twice"], "user", value="first")
    live.feedback(runs["twice"], "user", value="second")
    live.feedback(runs["both"], "user", score=0, correction="refund")

    def references(of):
        return {name: row["outputs"] for name, row in read(window="1d", reference=of).items()}

    bug = {"output": "bug"}
    assert references("correction") == {"corrected": {"label": "billing"}, "both": {"output": "refund"}}
    told = {"told": {"output": "account"}, "twice": {"output": "second"}, "both": {"output": "refund"}}
    assert references("feedback:user") == {"liked": bug, **told}
    assert references("feedback:user>=0") == {"liked": bug, "disliked": bug, **told}
    assert references("evaluator:user") == {"judged": bug}
    kept = read(window="1d", reference="feedback:user", references=False)
    assert kept["disliked"]["outputs"] is None
    assert kept["disliked"]["note"] == "wrong"
    assert kept["disliked"]["metadata"]["people"] == {"user": 0}
    assert kept["judged"]["metadata"]["evaluators"] == {"user": 1}
    assert read(window="1d", reference="correction")["corrected"]["note"] == (
        "see manual; should have been: {'label': 'billing'}"
    )


def test_a_preferred_answer_is_a_reference_and_the_other_a_remark(server):
    live = Traffic(server.url)
    a, b, c, d = live.runs([ticket("x", "long"), ticket("x", "short"), ticket("y", "one"), ticket("y", "two")])
    for run, group, score in ((a, 1, 0), (b, 1, 1), (c, 2, 1), (d, 2, 1)):
        live.feedback(run, "better", score=score, feedback_group_id=f"00000000-0000-4000-8000-00000000000{group}")
    found = read(window="1d", reference="preference:better")
    assert {name: row["outputs"] for name, row in found.items()} == {"x": {"output": "short"}}
    assert found["x"]["metadata"]["rejected"] == [{"output": "long"}]
    assert found["x"]["note"] == "people preferred {'output': 'short'} to {'output': 'long'}"


def test_queues_filters_issues_and_insights(server):
    live = Traffic(server.url)
    ids = live.runs([ticket(f"t{n}", metadata={"lang": "en" if n % 2 else "de"}) for n in range(6)])
    queue = live.there.create_annotation_queue(name="review")
    place = {"session_id": str(live.there.read_project(project_name="live").id), "start_time": NOON.isoformat()}
    rows = {"runs": [{"run_id": run, **place} for run in ids[:3]]}
    live.there.request_with_retries("POST", f"/annotation-queues/{queue.id}/runs/by-key", json=rows)
    assert set(read(window="1d", references=False, queues="review")) == {"t0", "t1", "t2"}
    english = 'and(eq(metadata_key, "lang"), eq(metadata_value, "en"))'
    assert set(read(window="1d", references=False, filter=english)) == {"t1", "t3", "t5"}
    live.feedback(ids[1], "user", score=1)
    assert set(read(window="1d", filter=english, reference="feedback:user")) == {"t1"}
    server.projects.issues = [{"project": "live", "title": "Slow", "description": "waits", "trace_ids": [ids[4]]}]
    report = server.projects.report("live", {"refunds": [ids[4], ids[5]]})
    noted = read(window="1d", references=False, issues=True, insights=report)
    assert noted["t4"]["note"] == "issue: Slow: waits; insight: refunds: about refunds"
    assert noted["t5"]["note"] == "insight: refunds: about refunds"
    assert "note" not in noted["t3"]


def test_a_sample_depends_on_the_seed_alone_and_stays_when_runs_are_added(server):
    live = Traffic(server.url)
    live.runs([ticket(f"t{n}") for n in range(120)])
    few = read(window="1d", references=False, sample=0.3, seed=1)
    assert 15 < len(few) < 60
    assert read(window="1d", references=False, sample=0.3, seed=1) == few
    assert set(read(window="1d", references=False, sample=0.3, seed=2)) != set(few)
    live.runs([ticket(f"u{n}") for n in range(120)])
    more = read(window="1d", references=False, sample=0.3, seed=1)
    assert {name for name in more if name[0] == "t"} == set(few)
    assert len(read(window="1d", references=False, limit=10)) == 10


def test_metadata_of_runs_is_never_taken_for_split_or_id(server):
    live = Traffic(server.url)
    mine = {"split": "test", "id": "same", "dataset_split": ["x"], "thread_id": "T"}
    live.runs([ticket(f"t{n}", metadata=mine) for n in range(30)])
    for row in read(window="1d", references=False).values():
        assert not {"split", "id", "dataset_split"} & set(row["metadata"])
        assert row["metadata"]["thread_id"] == "T"


def labelled(live, rows, at=NOON):
    """Runs whose answers people have accepted or corrected."""
    ids = live.runs(rows, at)
    for run, row in zip(ids, rows, strict=True):
        live.feedback(run, "label", value=row["outputs"]["output"])
    return ids


def test_a_repeated_input_is_one_row_by_what_the_prompt_reads(server):
    live = Traffic(server.url)
    rows = [ticket(f"Help  me {n % 40}" if n < 40 else f"help me {n % 40}") for n in range(80)]
    for n, row in enumerate(rows):
        row["inputs"]["number"] = n
    labelled(live, rows)
    live.runs([{"inputs": {"ticket": "help me 3", "number": 99}, "outputs": {"output": "new"}}])
    data = load(window="1d", reference="feedback:label")
    assert len(data.examples) == 40
    assert any("40 of 80 runs repeat the input" in note.text for note in data.notes)
    newest = {e.inputs["number"] for e in data.examples}
    assert newest == set(range(40, 80))
    assert len(load("{ticket} {number}", window="1d", reference="feedback:label").examples) == 80


def test_the_latest_reference_counts_where_people_disagree(server):
    live = Traffic(server.url)
    labelled(live, [ticket(f"t{n}", "old") for n in range(20)])
    labelled(live, [ticket("t3", "new")])
    data = load(window="1d", reference="feedback:label")
    assert {e.outputs["output"] for e in data.examples if e.inputs["ticket"] == "t3"} == {"new"}
    assert any("1 of them had another reference" in note.text for note in data.notes)


@pytest.mark.parametrize("seed", range(3))
def test_a_growing_dataset_keeps_its_splits_whatever_comes_in_which_order(server, seed):
    draw = random.Random(seed)  # noqa: S311 - a test
    live, known = Traffic(server.url), {}
    for day in range(4):
        fresh = [ticket(f"s{seed} d{day} {n}", draw.choice("abc")) for n in range(draw.randint(20, 60))]
        again = [ticket(text.upper(), draw.choice("abc")) for text in draw.sample(sorted(known), min(len(known), 9))]
        rows = fresh + again
        draw.shuffle(rows)
        labelled(live, rows, NOON + timedelta(days=day))
        data = load(now=MIDNIGHT + timedelta(days=day), window="30d", reference="feedback:label")
        now = {text.casefold(): split.replace("val", "dev") for text, split in placed(data).items()}
        assert len(now) == len(data.examples)
        assert known.items() <= now.items()
        known = now
    assert {"train", "dev", "test"} <= set(known.values())


def test_the_version_is_the_windows_end_and_a_hash_that_feedback_changes(server):
    live = Traffic(server.url)
    ids = labelled(live, [ticket(f"t{n}") for n in range(20)])
    first = load(window="1d", reference="feedback:label")
    assert first.as_of.startswith("2026-11-28T00:00:00+00:00 sha256:")
    live.runs([ticket("later", at=MIDNIGHT + timedelta(hours=1))])
    assert load(window="1d", reference="feedback:label").as_of == first.as_of
    days_later = load(window="1d", reference="feedback:label", as_of=first.as_of, now=MIDNIGHT + timedelta(days=9))
    assert days_later.as_of == first.as_of
    live.feedback(ids[4], "label", value="other")
    assert load(window="1d", reference="feedback:label").as_of != first.as_of
    assert any("20 runs, 20 examples" in note.text for note in first.notes)


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_lost_or_doubled_when_three_calls_in_ten_fail(monkeypatch, seed):
    draw = random.Random(seed)  # noqa: S311 - a test
    plan = FaultPlan(rate=0.3, seed=seed, kinds=PLATFORM)
    with LangSmithServer() as server:
        seeded = Traffic(server.url)
        rows = [ticket(f"t{n}", draw.choice("abc")) for n in range(330)]
        ids = seeded.runs(rows)
        for run in draw.sample(ids, 90):
            seeded.feedback(run, "label", value=draw.choice("abc"))
        point_at(monkeypatch, server.url)
        options = {"window": "1d", "reference": "feedback:label", "references": False}
        want, labelled_ones = read(**options), read(**options | {"references": True})
        server.faults = plan
        assert read(**options) == want
        assert read(**options | {"references": True}) == labelled_ones
        assert len(labelled_ones) == 90
        assert plan.fired


def test_what_cannot_be_used_is_said_with_the_form_that_works(server):
    live = Traffic(server.url)
    live.runs([ticket("t")])
    with pytest.raises(CredentialsError, match="no LangSmith project 'other'"):
        remote(references=False)("langsmith-project:other")
    with pytest.raises(ConfigError, match="no LangSmith project is named"):
        remote(references=False)("langsmith-project: ")
    with pytest.raises(ConfigError, match=r"data\.reference"):
        read(window="1d")
    for wrong in ("feedback", "feedback:", "correct", "feedback:a<3"):
        with pytest.raises(ConfigError, match="where references come from"):
            read(reference=wrong)
    with pytest.raises(ConfigError, match="share of the runs"):
        read(references=False, sample=2)
    with pytest.raises(ConfigError, match="limit is 0"):
        read(references=False, limit=0)
    with pytest.raises(DataError, match="0 runs were read"):
        read(references=False, window="2020-01-01/2020-01-02")
    with pytest.raises(DataError, match="0 runs were read"):
        read(window="1d", reference="feedback:never")
    options = LangSmithOptions(window="1d", reference="correction")
    settings = Settings(data=[{"q": "a"}], evaluators=None, langsmith=options)
    with pytest.raises(ConfigError, match=r"window, reference is for runs of a LangSmith project"):
        load_rows(settings)


@pytest.mark.parametrize(
    ("outputs", "answer"),
    [
        (None, None),
        ({}, None),
        ({"output": "x"}, {"output": "x"}),
        ({"label": "x", "why": ["y"]}, {"label": "x", "why": ["y"]}),
        ({"output": {"type": "ai", "content": "x", "id": "1"}}, {"output": "x"}),
        ({"output": {"type": "ai", "content": [{"type": "text", "text": "x"}]}}, {"output": "x"}),
        (
            {"output": {"lc": 1, "type": "constructor", "id": ["a", "AIMessage"], "kwargs": {"content": "x"}}},
            {"output": "x"},
        ),
        ({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "x"}]}, {"output": "x"}),
    ],
)
def test_the_answer_of_a_run_is_text_and_fields(outputs, answer):
    assert run_answer({"outputs": outputs}) == answer
