"""`promptopt watch`: the progress of a run that another process works on."""

from __future__ import annotations

import json

import pytest
from filelock import FileLock

from langchain_promptopt.cli import runs
from langchain_promptopt.cli.app import run
from langchain_promptopt.store.lines import Tail
from tests.support.journals import improved_run

RUN = "c0ffee12ab34cd56"
LINES = [json.dumps({**line, "seq": i}) + "\n" for i, line in enumerate(improved_run(), start=1)]


@pytest.fixture
def journal(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / ".promptopt" / "runs" / RUN
    folder.mkdir(parents=True)
    return folder / "journal.jsonl"


@pytest.fixture
def growing(journal, monkeypatch):
    """A run under way: whenever the watcher waits, the next lines are written; after the last the run is let go."""
    lock = FileLock(journal.with_name("journal.lock"), thread_local=False)
    lock.acquire()
    left = list(LINES)
    journal.write_text(left.pop(0) + left[0][:20])

    def wait(seconds):
        assert seconds > 0
        if not left:
            lock.release()
            return
        with journal.open("w") as stream:
            done = len(LINES) - len(left) + 10
            del left[:10]
            stream.write("".join(LINES[:done]))

    monkeypatch.setattr(runs.time, "sleep", wait)
    yield
    lock.release()


def test_a_run_under_way_is_followed_to_its_end(growing, capfd):
    assert run(["watch"]) == 0
    out, err = capfd.readouterr()
    assert "run c0ffee12ab34cd56: lpo-pe2 on support-triage" in err
    assert "baseline 50.0 on 10 search examples" in err
    assert err.index("baseline") < err.index("test decided: improved")
    assert "Improved" in out


def test_json_gives_a_line_a_piece_of_progress_and_the_outcome_last(growing, capfd):
    assert run(["watch", "c0ff", "--json"]) == 0
    said = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert said[0]["line"].startswith(f"run {RUN}")
    assert {"phase", "share", "calls", "usd", "best"} <= said[0].keys()
    assert said[-1] == {"outcome": "improved", "exit_code": 0, "run_id": RUN}
    assert len([entry for entry in said if entry.get("line") == "test decided: improved"]) == 1


def test_a_run_that_nobody_works_on_is_said_to_have_stopped(journal, capfd):
    journal.write_text("".join(LINES[:30]))
    assert run(["watch"]) == 130
    assert f"promptopt resume {RUN}" in capfd.readouterr().err
    assert run(["watch", "--json"]) == 130
    assert json.loads(capfd.readouterr().out.splitlines()[-1])["outcome"] == "interrupted"


def test_the_exit_code_is_the_runs(journal, capfd):
    lines = [dict(line) for line in improved_run()]
    lines[-1]["data"] = {**lines[-1]["data"], "outcome": "no_gain", "exit_code": 3}
    assert lines[-1]["type"] == "run.finished"
    journal.write_text("".join(json.dumps({**line, "seq": i}) + "\n" for i, line in enumerate(lines, 1)))
    assert run(["watch", "latest"]) == 3


def test_no_score_of_a_test_row_is_shown(journal, capfd):
    """Rows of the test count for the bar; their scores stay hidden until the test is decided."""
    until = next(i for i, line in enumerate(LINES) if json.loads(line)["type"] == "tested")
    journal.write_text("".join(LINES[:until]))
    run(["watch", "--json"])
    seen = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert seen[-2]["phase"] == "test"
    assert {entry.get("best") for entry in seen if entry.get("phase") == "test"} == {0.8}


def test_a_tail_gives_each_whole_line_once(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text(LINES[0] + "garbled\n" + LINES[1][:30])
    tail = Tail(path)
    assert [event["seq"] for event in tail.more()] == [1]
    assert tail.more() == []
    path.write_text(LINES[0] + "garbled\n" + LINES[1])
    assert [event["seq"] for event in tail.more()] == [2]


def test_there_is_nothing_to_watch(journal, capfd):
    assert run(["watch", "beef"]) == 2
    assert "there is no run 'beef'" in capfd.readouterr().err
