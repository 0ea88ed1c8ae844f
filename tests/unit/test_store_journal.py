"""The journal: no line lost, none doubled, none half."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langchain_promptopt.errors import ResumeError, RunBusy, UnavailableError
from langchain_promptopt.events import Called, Evaluated, FeedbackGiven, Incident, RunFinished, ScoredRow
from langchain_promptopt.store import Journal, MemoryStore, read_events
from langchain_promptopt.types import Cell, Failure, Outcome, Usage

CALL = Called(key="1/p/0", role="optimizer", step=1, reply="Réponse\n“x”", usage=Usage(1, 10, 5, 0, 0.001, 0.2))
NOTE = FeedbackGiven(candidate_id="c", text="Too long.", example_ids=("e1", "e2"), step=1)
OUTAGE = Incident(role="task", kind="rate_limited", retryable=True, action="try 2 in 1.0 s")


def scored(i, split="dev", **more):
    cell = Cell(f"c{i // 10}", split, f"e{i % 10}", 0)
    values = {"scores": {"exact_match": float(i % 2)}, "output": f"answer {i}", "usage": Usage(1, 9, 3, 0, 0.1, 0.5)}
    return ScoredRow.of(Outcome(cell, **(values | more)))


def evaluated(seconds):
    return Evaluated(
        candidate_id="c", split="dev", n=1, score=1.0, failures=0, cached=0, usage=Usage(1, 1, 1, 0, 0.0, seconds)
    )


EVENTS = [CALL, NOTE, *(scored(i) for i in range(5)), OUTAGE, evaluated(0.5)]


def write(path, events):
    with Journal(path) as journal:
        for event in events:
            journal.append(event)
    return path


def bodies(path):
    return [(e["type"], e["data"]) for e in read_events(path)]


# ------------------------------------------------------------ form


def test_lines_are_the_contracts(tmp_path):
    path = write(tmp_path / "run" / "journal.jsonl", EVENTS)
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert [set(line) for line in lines] == [{"seq", "time", "type", "data"}] * len(EVENTS)
    assert [line["seq"] for line in lines] == list(range(1, len(EVENTS) + 1))
    assert all(line["time"].endswith("Z") and "T" in line["time"] for line in lines)
    assert [line["type"] for line in lines] == [e.type for e in EVENTS]
    assert lines[0]["data"]["reply"] == CALL.reply


def test_private_to_the_user_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        path = write(tmp_path / "runs" / "r" / "journal.jsonl", EVENTS)
    finally:
        os.umask(before)
    for folder in (path.parent, path.parent.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(f.stat().st_mode) for f in path.parent.iterdir()} == {0o600}


def test_an_open_folder_is_closed_to_others(tmp_path):
    folder = tmp_path / "r"
    folder.mkdir(mode=0o755)
    write(folder / "journal.jsonl", [NOTE])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "output",
    [float("nan"), [float("inf")], {1: "a", (2, 3): "b"}, object(), "\ud800 half", "a\u2028b\x00\r\n", {"x": {4}}],
)
def test_any_output_of_a_chain_becomes_strict_json(tmp_path, output):
    path = write(tmp_path / "journal.jsonl", [scored(1, output=output), NOTE])

    def refuse(constant):
        raise AssertionError(constant)

    assert [json.loads(line, parse_constant=refuse)["seq"] for line in path.read_bytes().splitlines()] == [1, 2]
    with Journal(path) as journal:
        journal.append(scored(1, output=output))
        assert journal.replayed == 1
        assert journal.cells[Cell("c0", "dev", "e1")].scores == {"exact_match": 1.0}


# ------------------------------------------------------------ the index


def test_replies_and_outcomes_come_back(tmp_path):
    failed = Outcome(Cell("c", "test", "e", 2), {"m": 0.0}, None, {"m": "no"}, Failure("refusal", "I cannot", True))
    dropped = Outcome(Cell("d", "dev", "e"), {}, failure=Failure("timeout", "late"))
    path = write(tmp_path / "journal.jsonl", [CALL, ScoredRow.of(failed), ScoredRow.of(dropped), scored(3)])
    with Journal(path) as journal:
        assert journal.calls["1/p/0"] == CALL
        assert journal.cells[failed.cell] == failed
        assert journal.cells[dropped.cell].dropped
        assert set(journal.cells) == {failed.cell, dropped.cell, Cell("c0", "dev", "e3")}
        assert journal.cells.get(Cell("c", "dev", "e", 2)) is None


@pytest.mark.parametrize("make", [lambda p: Journal(p / "journal.jsonl"), lambda p: MemoryStore()])
def test_both_stores_answer_alike_while_a_run_goes_on(tmp_path, make):
    with make(tmp_path) as store:
        for event in EVENTS:
            store.append(event)
        assert [e["type"] for e in store.events()] == [e.type for e in EVENTS]
        assert store.calls["1/p/0"].step == 1
        assert store.cells[Cell("c0", "dev", "e4")].output == "answer 4"
        assert (store.replayed, store.recovered, store.finished) == (0, 0, False)
        store.append(scored(4, output="again"))
        assert store.cells[Cell("c0", "dev", "e4")].output == "again"
        store.append(replace(CALL, reply="other"))
        assert store.calls["1/p/0"] == CALL
        store.flush()


@pytest.mark.parametrize(
    ("outcomes", "finished"),
    [
        (["improved"], True),
        (["no_gain"], True),
        (["interrupted"], False),
        (["budget"], False),
        (["budget", "inconclusive"], True),
    ],
)
def test_finished_means_a_verdict(tmp_path, outcomes, finished):
    ends = [RunFinished(outcome=o, exit_code=0, best_candidate_id="c", usage={}) for o in outcomes]
    path = write(tmp_path / "journal.jsonl", [NOTE, *ends])
    with Journal(path) as journal:
        assert journal.finished is finished


# ------------------------------------------------------------ resuming


def test_a_resumed_run_repeats_nothing(tmp_path):
    path = write(tmp_path / "journal.jsonl", EVENTS)
    before = path.read_bytes()
    with Journal(path) as journal:
        for event in EVENTS:
            journal.append(event)
        assert journal.replayed == len(EVENTS) - 1
        journal.append(scored(7))
    added = path.read_bytes()[len(before) :].splitlines()
    assert path.read_bytes().startswith(before)
    assert [json.loads(line)["type"] for line in added] == ["incident", "scored"]


def test_equal_events_are_counted(tmp_path):
    path = write(tmp_path / "journal.jsonl", [NOTE, NOTE])
    write(path, [NOTE, NOTE, NOTE])
    assert len(bodies(path)) == 3


def test_a_row_that_is_used_again_is_not_written_and_counts_once(tmp_path):
    path = write(tmp_path / "journal.jsonl", [scored(1), scored(2)])
    before = path.read_bytes()
    with Journal(path) as journal:
        for cell in (Cell("c0", "dev", "e1"), Cell("c0", "dev", "e1"), Cell("c0", "dev", "unknown")):
            journal.again(cell)
        assert journal.replayed == 1
    assert path.read_bytes() == before


def test_another_outcome_of_a_journaled_row_is_written_and_counts(tmp_path):
    path = write(tmp_path / "journal.jsonl", [scored(1, output="first")])
    with Journal(path) as journal:
        journal.append(scored(1, output="second"))
        journal.append(scored(1, output="first"))
        assert journal.replayed == 1
        assert journal.cells[Cell("c0", "dev", "e1")].output == "second"
        assert len(journal.cells) == 1
    assert [data["output"] for _, data in bodies(path)] == ["first", "second"]


def test_how_long_calls_took_does_not_matter(tmp_path):
    path = write(tmp_path / "journal.jsonl", [evaluated(0.5), replace(CALL, usage=replace(CALL.usage, seconds=9.0))])
    write(path, [evaluated(0.7), CALL, replace(CALL, usage=replace(CALL.usage, calls=2))])
    assert [t for t, _ in bodies(path)] == ["evaluated", "called", "called"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 8), max_size=30), st.integers(0, 30), st.randoms(use_true_random=False))
def test_interrupted_anywhere_and_resumed_in_any_order_gives_the_same_events(tmp_path, plan, cut, rng):
    events = [EVENTS[i] for i in plan if EVENTS[i] is not OUTAGE]
    path = Path(tempfile.mkdtemp(dir=tmp_path)) / "journal.jsonl"
    write(path, events[:cut])
    again = list(events)
    rng.shuffle(again)
    write(path, again)
    found = Counter(json.dumps(b, sort_keys=True) for b in bodies(path))
    assert found == Counter(json.dumps((e.type, json.loads(json.dumps(e.as_json()))), sort_keys=True) for e in events)


# ------------------------------------------------------------ damage


def test_cut_at_every_byte(tmp_path):
    """A power cut leaves any prefix; whole lines stay, the rest goes, and the run can go on."""
    whole = write(tmp_path / "whole" / "journal.jsonl", [NOTE, evaluated(0.5), replace(CALL, reply="é")]).read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == 10]
    for at in range(len(whole) + 1):
        path = tmp_path / "cut" / "journal.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(whole[:at])
        kept = sum(end <= at for end in ends)
        newline_missing = at + 1 in ends
        with Journal(path) as journal:
            lines = kept + newline_missing
            assert len(list(journal.events())) == lines
            tail = at - (ends[kept - 1] if kept else 0)
            assert journal.recovered == (0 if newline_missing else tail)
            journal.append(NOTE if lines != 1 else OUTAGE)
        assert path.read_bytes()[: at - tail] == whole[: at - tail]
        assert [e["seq"] for e in read_events(path)] == list(range(1, len(list(read_events(path))) + 1))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2000), st.binary(min_size=1, max_size=40).filter(lambda b: b"\n" not in b))
def test_garbage_after_a_cut_goes_too(tmp_path, at, garbage):
    whole = write(tmp_path / "w" / "journal.jsonl", EVENTS).read_bytes()
    (tmp_path / "w" / "journal.jsonl").unlink()
    path = tmp_path / "journal.jsonl"
    at = min(at, len(whole) - 2)
    path.write_bytes(whole[:at] + garbage + b"\0" * 100)
    kept = whole[:at].count(b"\n")
    with Journal(path) as journal:
        assert len(list(journal.events())) == kept
        assert journal.recovered > 100


DAMAGE = {
    "garbled": (lambda lines: [*lines[:2], b'{"half', *lines[3:]], 3),
    "empty": (lambda lines: [b"", *lines[1:]], 1),
    "a comma too many": (lambda lines: [*lines[:4], lines[4][:-1] + b",", *lines[5:]], 5),
    "lost": (lambda lines: [*lines[:3], *lines[4:]], 4),
    "doubled": (lambda lines: [*lines[:3], lines[2], *lines[3:]], 4),
    "a list": (lambda lines: [*lines[:-1], b"[]"], len(EVENTS)),
    "no event": (lambda lines: [*lines[:-1], b'{"seq": 9}'], len(EVENTS)),
    "endless brackets": (lambda lines: [*lines[:3], b"[" * 100_000, *lines[4:]], 4),
    "not UTF-8": (lambda lines: [*lines[:3], b"\xff" + lines[3], *lines[4:]], 4),
}


def spoilt(field, value):
    """The fourth line, a row, with another value."""

    def damage(lines):
        event = json.loads(lines[3])
        event["data"][field] = value
        return [*lines[:3], json.dumps(event).encode(), *lines[4:]]

    return damage, 4


DAMAGE |= {
    f"{field} {str(value)[:20]}": spoilt(field, value)
    for field, value in [
        ("scores", {"exact_match": float("nan")}),
        ("scores", {"exact_match": "1"}),
        ("scores", {"exact_match": 7}),
        ("scores", {"exact_match": 10**400}),
        ("scores", None),
        ("scores", [1]),
        ("usage", {"calls": -5}),
        ("usage", {"input_tokens": 10**20}),
        ("usage", {"calls": "1"}),
        ("usage", {"unknown": 1}),
        ("usage", {"usd": float("nan")}),
        ("usage", 5),
        ("failure", "no"),
        ("failure", {}),
    ]
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_line_is_told_and_left_out_and_the_run_goes_on(tmp_path, name):
    damage, number = DAMAGE[name]
    path = write(tmp_path / "journal.jsonl", EVENTS)
    path.write_bytes(b"\n".join([*damage(path.read_bytes().splitlines()), b""]))
    for _ in range(2):  # told again by each process that opens it
        with Journal(path) as journal:
            assert len(journal.damaged) == 1
            assert journal.damaged[0].startswith(f"line {number}: ")
            for event in EVENTS:
                journal.append(event)
            assert {c.example_id for c in journal.cells} == {f"e{i}" for i in range(5)}, (
                "each row is there or made good"
            )
            assert all(0 <= o.scores["exact_match"] <= 1 for o in journal.cells.values())
            assert CALL.key in journal.calls
    assert [e["type"] for e in read_events(path)].count("scored") >= 5


def test_what_is_written_after_a_damaged_line_is_read_again(tmp_path):
    path = write(tmp_path / "journal.jsonl", EVENTS)
    path.write_bytes(path.read_bytes() + b"garbage\n")
    write(path, [scored(7)])
    with Journal(path) as journal:
        assert journal.damaged == [f"line {len(EVENTS) + 1}: Expecting value: line 1 column 1 (char 0)"]
        assert any(c.example_id == "e7" for c in journal.cells)


def test_a_file_that_is_no_journal_is_named(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b"hello\nworld\n")
    with pytest.raises(ResumeError, match="no line of the journal is an event"):
        list(read_events(path))


# ------------------------------------------------------------ links, and a folder that goes away


@pytest.mark.parametrize("name", ["journal.jsonl", "journal.lock", "journal.pid"])
def test_a_link_in_the_run_folder_is_refused_and_what_it_points_to_is_left_alone(tmp_path, name):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    victim.chmod(0o644)
    folder = tmp_path / "runs" / "r"
    folder.mkdir(parents=True)
    (folder / name).symlink_to(victim)
    with pytest.raises(UnavailableError, match="symbolic link") as caught:
        Journal(folder / "journal.jsonl")
    assert name in caught.value.where
    assert (victim.read_text(), stat.S_IMODE(victim.stat().st_mode)) == ("precious", 0o644)
    (folder / name).unlink()
    Journal(folder / "journal.jsonl").close()


def test_a_run_folder_that_is_a_link_is_refused(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "r").symlink_to(elsewhere)
    with pytest.raises(UnavailableError, match="symbolic link"):
        Journal(tmp_path / "runs" / "r" / "journal.jsonl")
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o755
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("link", [".promptopt", ".promptopt/runs"])
def test_a_link_above_the_run_folder_is_refused(tmp_path, link):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / link).parent.mkdir(exist_ok=True)
    (tmp_path / link).symlink_to(elsewhere)
    with pytest.raises(UnavailableError, match="symbolic link"):
        Journal(tmp_path / ".promptopt" / "runs" / "r" / "journal.jsonl")
    assert list(elsewhere.iterdir()) == []


def test_a_folder_of_the_users_own_may_be_behind_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "records").symlink_to(tmp_path / "disk")
    Journal(tmp_path / "records" / "r" / "journal.jsonl").close()
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["r"]


def test_the_folder_of_runs_ignores_itself_in_git(tmp_path):
    Journal(tmp_path / ".promptopt" / "runs" / "r" / "journal.jsonl").close()
    ignore = tmp_path / ".promptopt" / ".gitignore"
    assert ignore.read_text() == "*\n"
    ignore.write_text("of mine\n")
    Journal(tmp_path / ".promptopt" / "runs" / "s" / "journal.jsonl").close()
    assert ignore.read_text() == "of mine\n"


@pytest.mark.parametrize("how", ["deleted", "moved", "replaced"])
def test_a_run_folder_that_goes_away_ends_the_run_early(tmp_path, how):
    path = tmp_path / "r" / "journal.jsonl"
    with Journal(path) as journal:
        journal.append(CALL)
        if how == "moved":
            path.parent.rename(tmp_path / "other")
        else:
            path.unlink()
        if how == "replaced":
            path.write_bytes(b"")
        with pytest.raises(UnavailableError, match="deleted or moved") as caught:
            journal.append(NOTE)
        assert caught.value.exit_code == 5


# ------------------------------------------------------------ processes


def child(body, *args):
    return subprocess.Popen(
        [sys.executable, "-u", "-c", textwrap.dedent(body), *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


WRITER = """
    import sys
    from pathlib import Path
    from langchain_promptopt.events import FeedbackGiven
    from langchain_promptopt.store import Journal
    journal = Journal(Path(sys.argv[1]))
    for i in range(1_000_000):
        journal.append(FeedbackGiven(candidate_id="c", text=f"note {i} " + "x" * 500, example_ids=()))
        print(i)
"""


def test_kill_9_loses_no_line_that_was_appended(tmp_path):
    path = tmp_path / "journal.jsonl"
    with child(WRITER, path) as writer:
        told = [writer.stdout.readline() for _ in range(200)]
        writer.send_signal(signal.SIGKILL)
        told += writer.stdout.readlines()  # what it said before it died; the last line may be cut
    last = int([line for line in told if line.endswith("\n")][-1])
    with Journal(path) as journal:
        texts = [e["data"]["text"].split()[1] for e in journal.events()]
    assert texts[: last + 1] == [str(i) for i in range(last + 1)]
    assert len(texts) <= last + 3


def test_two_processes_cannot_write_one_run(tmp_path):
    path = tmp_path / "journal.jsonl"
    writer = child(WRITER, path)
    writer.stdout.readline()
    with pytest.raises(RunBusy, match=f"process {writer.pid} is working"):
        Journal(path)
    writer.kill()
    writer.communicate(timeout=30)
    Journal(path).close()


def test_two_journals_of_one_process_cannot_either(tmp_path):
    with Journal(tmp_path / "journal.jsonl"), pytest.raises(RunBusy, match=str(os.getpid())):
        Journal(tmp_path / "journal.jsonl")


@contextlib.contextmanager
def files_at_most(size):
    """A real limit of the system: writes beyond it fail, or come out short, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize("room", [0, 1, 100])
def test_a_full_disk_leaves_the_journal_whole(tmp_path, room):
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.append(CALL)
        size = path.stat().st_size
        with files_at_most(size + room), pytest.raises(UnavailableError, match="cannot write the journal") as caught:
            journal.append(NOTE)
        assert str(path) in str(caught.value)
        assert caught.value.exit_code == 5
        assert path.stat().st_size == size
        journal.append(NOTE)
    assert [t for t, _ in bodies(path)] == ["called", "feedback"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UnavailableError, match="file"):
        Journal(tmp_path / "file" / "journal.jsonl")


def test_threads_share_a_journal(tmp_path):
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        threads = [
            threading.Thread(target=lambda w=w: [journal.append(scored(w * 100 + i)) for i in range(100)])
            for w in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    events = list(read_events(path))
    assert [e["seq"] for e in events] == list(range(1, 801))
    with Journal(path) as journal:
        assert len(journal.cells) == 800
        assert all(o.output.startswith("answer") for o in journal.cells.values())


# ------------------------------------------------------------ syncing


def test_paid_events_are_synced_in_groups(tmp_path, monkeypatch):
    synced, real = [], os.fsync
    with Journal(tmp_path / "journal.jsonl") as journal:
        monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.fstat(fd).st_size), real(fd))[1])
        journal.append(NOTE)
        assert synced == []
        for i in range(500):
            journal.append(scored(i))
        size = (tmp_path / "journal.jsonl").stat().st_size
        for _ in range(1000):
            if synced and synced[-1] == size:
                break
            threading.Event().wait(0.01)
        assert synced[-1] == size
        assert len(synced) < 100
        before = len(synced)
        journal.flush()
        assert len(synced) == before + 1


def test_a_disk_that_refuses_to_sync_is_reported(tmp_path, monkeypatch):
    def refuse(fd):
        raise OSError(5, "Input/output error")

    journal = Journal(tmp_path / "journal.jsonl")
    monkeypatch.setattr(os, "fsync", refuse)
    journal.append(CALL)
    with pytest.raises(UnavailableError, match="Input/output error"):
        journal.flush()
    with pytest.raises(UnavailableError):
        journal.append(CALL)
    with pytest.raises(UnavailableError):
        journal.close()
    monkeypatch.undo()
    with Journal(tmp_path / "journal.jsonl") as again:
        assert len(list(again.events())) == 2


def test_a_closed_journal_takes_nothing(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.close()
    journal.close()
    with pytest.raises(ValueError, match="closed"):
        journal.append(NOTE)


@pytest.mark.campaign
def test_100_000_rows_load_in_bounded_memory(tmp_path):
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        for i in range(100_000):
            journal.append(scored(i, output="x" * 2000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with Journal(path) as journal:
        assert len(journal.cells) == 100_000
        assert journal.cells[Cell("c9999", "dev", "e9")].output == "x" * 2000
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert path.stat().st_size > 200_000_000
    assert grown < 120, f"{grown:.0f} MB"
