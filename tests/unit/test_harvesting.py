"""`promptopt harvest`: examples that grow in a file or a dataset, splits that stay, texts that are hidden."""

from __future__ import annotations

import json
import random
import re

import pytest

from langchain_promptopt._data import load_data
from langchain_promptopt._langsmith import service
from langchain_promptopt.cli.app import run as promptopt
from langchain_promptopt.config import config_from_dict
from langchain_promptopt.gate.openings import FILE_NAME, Openings, RowMark
from langchain_promptopt.pipeline.harvesting import harvest
from langchain_promptopt.types import Reading
from tests.support.faults import PLATFORM, FaultPlan
from tests.support.langsmith_env import client, point_at
from tests.support.langsmith_server import LangSmithServer
from tests.support.langsmith_traffic import Traffic

WINDOW = "2026-11-27T00:00Z/2026-11-28T00:00Z"
MAIL = re.compile(r"[\w.]+@[\w.]+")


def hide(text):
    return MAIL.sub("MAIL", text)


def settings(folder, **more):
    (folder / "prompt.txt").write_text("Label this: {ticket}")
    data = {"source": "langsmith-project:live", "window": WINDOW, "reference": "feedback:label"}
    return {"task": {"prompt": "prompt.txt", "model": "offline"}, "data": data, **more}


def harvested(folder, to, *, retire=False, **more):
    return harvest(config_from_dict(settings(folder, **more), root=folder), to, retire=retire)


def labelled(live, texts, label="bug"):
    ids = live.runs([{"inputs": {"ticket": text}, "outputs": {"output": "x"}} for text in texts])
    for run in ids:
        live.feedback(run, "label", value=label)
    return ids


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def by_text(rows):
    return {row["inputs"]["ticket"]: row for row in rows}


def test_a_file_grows_without_repeats_and_a_correction_changes_the_reference_alone(server, tmp_path):
    live, file = Traffic(server.url), tmp_path / "rows.jsonl"
    labelled(live, [f"t{n}" for n in range(40)])
    first = harvested(tmp_path, file)
    assert first.as_json() | {"splits": 0, "notes": 0} == {
        "source": "langsmith-project:live", "to": str(file), "version": first.version, "added": 40, "changed": 0,
        "retired": 0, "total": 40, "splits": 0, "notes": 0,
    }  # fmt: skip
    before = by_text(lines(file))
    assert before["t3"]["metadata"]["window"] == "2026-11-27T00:00:00+00:00 to 2026-11-28T00:00:00+00:00"
    assert (file.stat().st_mode & 0o777) == 0o600
    labelled(live, ["T3", *(f"u{n}" for n in range(20))], "other")
    again = harvested(tmp_path, file)
    after = by_text(lines(file))
    assert (len(again.growth.added), len(again.growth.changed), len(after)) == (20, 1, 60)
    assert after["t3"] == before["t3"] | {"outputs": {"output": "other"}}
    assert {t: r for t, r in after.items() if t in before and t != "t3"} == {
        t: r for t, r in before.items() if t != "t3"
    }
    assert harvested(tmp_path, file).growth.added == []
    data = load_data(str(file))
    assert {e.inputs["ticket"]: split for split, rows in data.splits.items() for e in rows} == {
        text: row["metadata"]["split"] for text, row in after.items()
    }


def test_personal_data_is_hidden_before_anything_is_written(server, tmp_path):
    live, file = Traffic(server.url), tmp_path / "rows.jsonl"
    live.runs([{"inputs": {"ticket": f"t{n} from a{n}@b.example"}, "outputs": {"output": "x"}} for n in range(10)])
    ids = labelled(live, [f"t{n} from c{n}@b.example" for n in range(30)], "to d@b.example")
    live.feedback(ids[0], "label", value="to d@b.example", comment="e@b.example was rude")
    harvested(tmp_path, file, optimize={"redact": "tests.unit.test_harvesting:hide"})
    text = file.read_text()
    assert not MAIL.search(text)
    assert text.count("\n") == 30
    assert "MAIL was rude" in text


def test_test_rows_that_a_gate_has_seen_are_retired(server, tmp_path):
    live, file = Traffic(server.url), tmp_path / "rows.jsonl"
    labelled(live, [f"t{n}" for n in range(60)])
    harvested(tmp_path, file)
    tested = [row for row in lines(file) if row["metadata"]["split"] == "test"]
    marks = [RowMark.of(row["inputs"], (Reading(("ticket",)),)) for row in tested]
    Openings(tmp_path / FILE_NAME).record("r", "c", marks, nonce="n")
    labelled(live, [f"u{n}" for n in range(60)])
    found = harvested(tmp_path, file, retire=True)
    assert found.growth.retired == len(tested)
    assert f"{len(tested)} retired" in str(found)
    data = load_data(str(file))
    assert data["test"]
    assert all(e.inputs["ticket"].startswith("u") for e in data["test"])
    fresh = [RowMark.of(e.inputs, (Reading(("ticket",)),)) for e in data["test"]]
    assert Openings(tmp_path / FILE_NAME).number(fresh) == 1
    assert harvested(tmp_path, file, retire=True).growth.retired == 0


@pytest.mark.parametrize("seed", range(2))
def test_a_dataset_grows_with_nothing_lost_or_doubled_when_three_calls_in_ten_fail(monkeypatch, tmp_path, seed):
    monkeypatch.setattr(service.time, "sleep", lambda _: None)
    monkeypatch.setattr(service.Service.__init__, "__kwdefaults__", {"sleep": lambda _: None, "tries": 7})
    draw, plan = random.Random(seed), FaultPlan(rate=0.3, seed=seed, kinds=PLATFORM)  # noqa: S311 - a test
    with LangSmithServer() as server:
        point_at(monkeypatch, server.url)
        live = Traffic(server.url)
        for day in range(2):
            server.faults = None
            rows = [f"s{seed} d{day} {n}" for n in range(draw.randint(90, 130))]
            labelled(live, [*rows, *draw.choices(rows, k=12)])
            server.faults = plan
            found = harvested(tmp_path, "langsmith:kept")
            assert len(found.growth.added) == len(rows)
            assert harvested(tmp_path, "langsmith:kept").growth.added == []
        server.faults = None
        made = client(server.url).read_dataset(dataset_name="kept")
        there = list(client(server.url).list_examples(dataset_id=made.id))
        assert len(there) == len({e.inputs["ticket"] for e in there}) == len(found.growth.rows)
        assert {s for e in there for s in e.metadata["dataset_split"]} == {"train", "dev", "test"}
        assert {str(e.source_run_id) for e in there} <= set(server.runs)
        run = labelled(live, [there[0].inputs["ticket"]])[0]
        live.feedback(run, "label", value="other")
        server.faults = plan
        assert len(harvested(tmp_path, "langsmith:kept").growth.changed) == 1
        server.faults = None
        again = client(server.url).read_example(there[0].id)
        assert (again.outputs, again.metadata["dataset_split"]) == (
            {"output": "other"},
            there[0].metadata["dataset_split"],
        )
        assert plan.fired
        assert len(server.datasets.all) == 1


def test_the_verb_says_what_it_did_and_refuses_what_it_cannot_do(server, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    labelled(Traffic(server.url), [f"t{n}" for n in range(40)])
    words = ["harvest", "live", "--window", WINDOW, "--reference", "feedback:label"]
    assert promptopt([*words, "--to", "rows.jsonl"]) == 0
    shown = capfd.readouterr()
    assert shown.out.startswith("40 examples added, 0 with a new reference; rows.jsonl holds 40: ")
    assert "40 runs, 40 examples" in shown.err
    assert promptopt([*words, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["added"] == 0
    for to, said in (("rows.csv", "no file that examples"), ("langsmith:", "no dataset is named")):
        assert promptopt([*words, "--to", to]) == 2
        assert said in capfd.readouterr().err
    assert promptopt([*words, "--to", "langsmith:x", "--retire"]) == 2
    (tmp_path / "promptopt.toml").write_text('[data]\nsource = "rows.jsonl"\n')
    assert promptopt(["harvest"]) == 2
    assert "a harvest reads a LangSmith project" in capfd.readouterr().err
