"""What may be seen of a journal, and where runs lie."""

from __future__ import annotations

import json
import os
import stat

import pytest

import langchain_promptopt.events as ev
from langchain_promptopt.errors import ConfigError, ResumeError, UnavailableError
from langchain_promptopt.events import Evaluated, FeedbackGiven, ScoredRow
from langchain_promptopt.store import Journal, RunFolder, list_runs, read_events, runs_dir, visible_events
from langchain_promptopt.types import Cell, Outcome, Usage

NOTE = FeedbackGiven(candidate_id="c", text="x", example_ids=())
TABLE = ev.Tested(metrics=[], verdict="improved", opening=1)


def row(split, example="e"):
    return ScoredRow.of(Outcome(Cell("c", split, example), {"m": 1.0}))


def mean(split):
    return Evaluated(candidate_id="c", split=split, n=1, score=1.0, failures=0, cached=0, usage=Usage())


def journal(tmp_path, events):
    path = tmp_path / "journal.jsonl"
    with Journal(path) as out:
        for event in events:
            out.append(event)
    return path


def seen(path):
    return [(e["type"], e["data"].get("split")) for e in visible_events(path)]


def test_nothing_of_an_unfinished_test_is_shown(tmp_path):
    path = journal(tmp_path, [row("dev"), mean("dev"), row("test"), mean("test"), NOTE])
    assert seen(path) == [("scored", "dev"), ("evaluated", "dev"), ("feedback", None)]
    assert len(list(read_events(path))) == 5


def test_tested_opens_the_rows_before_it_and_no_later_ones(tmp_path):
    path = journal(tmp_path, [row("test", "a"), TABLE, NOTE, row("test", "b"), mean("test")])
    assert seen(path) == [("scored", "test"), ("tested", None), ("feedback", None)]


def test_a_journal_that_is_being_written_can_be_read(tmp_path):
    path = journal(tmp_path, [NOTE])
    with Journal(path) as live:
        live.append(row("dev"))
        assert [e["type"] for e in read_events(path)] == ["feedback", "scored"]
    with path.open("ab") as stream:
        stream.write(b'{"seq": 3, "ti')
    assert len(list(read_events(path))) == 2


def test_a_missing_journal_is_named_and_broken_lines_are_left_out(tmp_path):
    with pytest.raises(ResumeError, match="no journal"):
        list(read_events(tmp_path / "journal.jsonl"))
    path = journal(tmp_path, [NOTE, NOTE])
    path.write_bytes(b"oops\n" + path.read_bytes())
    assert [e["type"] for e in read_events(path)] == [NOTE.type, NOTE.type]


def test_a_journal_that_is_a_link_is_not_read(tmp_path):
    path = journal(tmp_path, [NOTE])
    link = tmp_path / "link.jsonl"
    link.symlink_to(path)
    with pytest.raises(ResumeError, match="symbolic link"):
        list(read_events(link))


def test_runs_lie_beside_the_config_unless_moved(tmp_path, monkeypatch):
    assert runs_dir(tmp_path) == tmp_path / ".promptopt" / "runs"
    monkeypatch.setenv("PROMPTOPT_RUNS_DIR", str(tmp_path / "elsewhere"))
    assert runs_dir(tmp_path) == tmp_path / "elsewhere"


@pytest.mark.parametrize("name", ["", "..", "a/b", "../x", "-x", ".hidden", "a" * 81, "a\n"])
def test_a_run_id_is_no_path(tmp_path, name):
    with pytest.raises(ConfigError, match="run id"):
        RunFolder(tmp_path, name)


def test_results_are_written_whole_and_private(tmp_path):
    folder = RunFolder(tmp_path / "runs", "abc123").create()
    folder.write_result({"outcome": "improved", "text": "é"})
    folder.write_result({"outcome": "no_gain"})
    folder.write_report("<p>half \ud800</p>")
    assert json.loads(folder.result.read_text()) == {"outcome": "no_gain"}
    assert {p.name for p in folder.path.iterdir()} == {"result.json", "report.html"}
    assert all(stat.S_IMODE(p.stat().st_mode) == 0o600 for p in folder.path.iterdir())
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700


def test_a_result_that_cannot_be_written_leaves_the_old_one(tmp_path):
    folder = RunFolder(tmp_path, "r").create()
    folder.result.mkdir()
    with pytest.raises(UnavailableError, match="cannot write"):
        folder.write_result({})
    assert [p.name for p in folder.path.iterdir()] == ["result.json"]


def test_runs_are_listed_latest_first(tmp_path):
    assert list_runs(tmp_path / "none") == []
    for i, name in enumerate(["old", "new", "mid"]):
        folder = RunFolder(tmp_path, name).create()
        Journal(folder.journal).close()
        os.utime(folder.journal, ns=(0, [10, 30, 20][i]))
    RunFolder(tmp_path, "empty").create()
    (tmp_path / "stray.txt").write_text("x")
    assert [run.run_id for run in list_runs(tmp_path)] == ["new", "mid", "old"]
