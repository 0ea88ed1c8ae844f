"""Looks at the same test rows are counted, whoever makes them: nights, comparisons, other exports of the same rows."""

from __future__ import annotations

import json
import logging
import shutil
from math import comb
from random import Random

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from langchain_promptopt import Gate, compare, optimize
from langchain_promptopt.gate import OPENINGS_FILE, Openings, RowMark, alpha_at
from langchain_promptopt.pipeline import run_step
from langchain_promptopt.testing.scripted import ScriptedModel
from tests.support.pipeline_task import write_task
from tests.support.tasks import chain, optimizer, rows

NIGHTS, SERIES, ROWS = 30, 30, 24


def sign_test(rng):
    """One-sided p of a night on which neither prompt is better: each row is won, lost or tied by chance."""
    differences = [rng.choice((-1, 0, 0, 1)) for _ in range(ROWS)]
    wins, decided = differences.count(1), ROWS - differences.count(0)
    return sum(comb(decided, k) for k in range(wins, decided + 1)) / 2**decided


def test_thirty_nights_with_a_journal_of_their_own_keep_the_level(tmp_path):
    """The openings file is kept and the run folder is not: each night draws its answers anew."""
    marks = [RowMark.of({"q": f"row {i}"}) for i in range(ROWS)]
    improved = first_looks = 0
    for series in range(SERIES):
        rng, openings = Random(f"night/{series}"), Openings(tmp_path / f"{series}.jsonl")
        for night in range(NIGHTS):
            opening = openings.record("the same run", "c", marks, nonce=f"{series}/{night}")
            assert opening.number == night + 1
            p = sign_test(rng)
            first_looks += p < alpha_at(0.05, 1)
            if p < alpha_at(0.05, opening.number):
                improved += 1
                break
    assert improved <= 0.05 * SERIES
    assert first_looks > 0.05 * SERIES  # at the level of a first look they would not


def coin(seed, stop=None):
    """A model that answers by chance; while the file is there, its twelfth call is stopped from the keyboard."""
    rng, asked = Random(seed), []

    def answer(_):
        asked.append(1)
        if stop is not None and stop.exists() and len(asked) > 11:
            raise KeyboardInterrupt
        return rng.choice(["animal", "plant"])

    return ScriptedModel(fn=answer)


def compared(openings, model=None, **more):
    model = model or coin(0)
    sides = [ChatPromptTemplate.from_template(f"{word} {{word}}") | model | StrOutputParser() for word in "AB"]
    given = {"data": rows(test=20), "evaluators": ["exact_match"], "openings": openings, "runs_dir": None}
    return compare(*sides, **given | more)


@pytest.fixture
def openings(tmp_path):
    return tmp_path / OPENINGS_FILE


def test_each_comparison_without_its_journal_is_another_look_and_says_so_before(openings, caplog, tmp_path):
    caplog.set_level(logging.WARNING, "langchain_promptopt")
    first = compared(openings)
    assert first.test[0]["opening"] == 1
    assert not caplog.records
    for k in (2, 3):
        runs = tmp_path / f"runs-{k}"
        result = compared(openings, runs_dir=runs)
        assert result.test[0]["opening"] == k
        said = f"this is look {k}"
        assert any(said in warning for warning in result.warnings)
        assert any(said in record.getMessage() for record in caplog.records)
        shutil.rmtree(runs)
    assert len(openings.read_text().splitlines()) == 3


def test_a_comparison_whose_journal_is_kept_is_the_same_look(openings, tmp_path):
    results = [compared(openings, runs_dir=tmp_path / "runs") for _ in range(2)]
    assert [(r.test[0]["opening"], r.replayed) for r in results] == [(1, False), (1, True)]
    assert len(openings.read_text().splitlines()) == 1


def test_a_test_that_was_broken_off_goes_on_as_the_same_look(openings, tmp_path):
    runs, stop = tmp_path / "runs", tmp_path / "stop"
    stop.touch()
    with pytest.raises(KeyboardInterrupt):
        compared(openings, coin(3, stop), runs_dir=runs)
    stop.unlink()
    (line,) = openings.read_text().splitlines()
    (journal,) = runs.glob("*/journal.jsonl")
    assert [json.loads(at)["type"] for at in journal.read_text().splitlines()].count("opened") == 1
    result = compared(openings, coin(3, stop), runs_dir=runs)
    assert (result.test[0]["opening"], result.replayed) == (1, False)
    assert openings.read_text().splitlines() == [line]


def found(openings, data, target=None, **more):
    given = {"evaluators": ["exact_match"], "method": "lpo-pe2", "runs_dir": None, "openings": openings, **more}
    return optimize(target or chain(), data=data, optimizer_model=optimizer(), **given)


def exported(day):
    """The rows of the task, flat, as exported on a day."""
    return [
        {"word": r["inputs"]["word"].upper() if day == "upper" else r["inputs"]["word"], "exported_at": f"{day} {i}",
         "answer": r["outputs"]["answer"], "split": r["metadata"]["split"]}
        for i, r in enumerate(rows())
    ]  # fmt: skip


def test_another_export_of_the_same_rows_is_another_look(openings):
    looks = [found(openings, exported(day)).test[0]["opening"] for day in ("monday", "tuesday")]
    assert looks == [1, 2]
    assert any("not used: exported_at" in w for w in found(openings, exported("friday")).warnings)


def test_edits_are_not_proven_on_rows_they_were_found_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = write_task(tmp_path)
    assert run_step(config, root=tmp_path)["exit_code"] in {0, 3}
    turn = {"train": "test", "dev": "train", "test": "dev"}
    made = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    for row in made:
        row["metadata"]["split"] = turn[row["metadata"]["split"]]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
    refused = run_step({**config, "optimize": {**config["optimize"], "from_run": "latest"}}, root=tmp_path)
    assert refused["exit_code"] == 2
    assert "test examples were search examples of the run whose edits are tried again" in refused["error"]["message"]


def test_without_a_record_it_is_said_and_nothing_is_applied():
    live = chain()
    result = found(None, rows(), live, gate=Gate())
    assert (result.outcome, result.applied) == ("improved", False)
    assert any("reuse of these examples cannot be seen" in warning for warning in result.warnings)
