"""The record of openings: counted by shared rows, before the first call, once a run, by any number of processes."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_promptopt.gate import OPENINGS_FILE, Openings, row_hash
from tests.support.shared_data import ROOT


def test_the_first_opening_is_the_first(tmp_path):
    openings = Openings(tmp_path / OPENINGS_FILE)
    opened = openings.record("run", "c1", ["a", "b"])
    assert (opened.number, opened.persistent, opened.repeated) == (1, True, False)
    (line,) = (tmp_path / OPENINGS_FILE).read_text().splitlines()
    data = json.loads(line)
    assert data["rows"] == ["a", "b"]
    assert data["run_id"] == "run"
    assert data["time"].endswith("Z")


def test_an_opening_that_shares_any_row_counts(tmp_path):
    openings = Openings(tmp_path / OPENINGS_FILE)
    openings.record("r1", "c", ["a", "b"])
    openings.record("r2", "c", ["x", "y"])
    assert openings.number(["b", "z"]) == 2
    assert openings.number(["z"]) == 1
    assert openings.record("r3", "c", ["b", "x"]).number == 3


def test_a_resumed_run_is_not_counted_twice(tmp_path):
    openings = Openings(tmp_path / OPENINGS_FILE)
    openings.record("r0", "c", ["a"])
    first = openings.record("r1", "c", ["a"])
    openings.record("r2", "c", ["a"])
    again = Openings(tmp_path / OPENINGS_FILE).record("r1", "c", ["a"])
    assert (first.number, again.number, again.repeated) == (2, 2, True)
    assert openings.number(["a"]) == 4
    assert openings.number(["a"], run_id="r2") == 3


def test_another_candidate_of_the_same_run_is_another_opening(tmp_path):
    """A subset chosen after the test, or a run repeated from nothing with other replies."""
    openings = Openings(tmp_path / OPENINGS_FILE)
    assert openings.record("r1", "whole", ["a"]).number == 1
    assert openings.record("r1", "subset", ["a"]).number == 2


def test_a_line_cut_off_by_a_crash_is_dropped(tmp_path):
    path = tmp_path / OPENINGS_FILE
    openings = Openings(path)
    openings.record("r1", "c", ["a"])
    whole = path.read_bytes()
    openings.record("r2", "c", ["a"])
    for cut in range(len(whole) + 1, len(path.read_bytes())):
        path.write_bytes((whole + b'{"time":"' + b"x" * 99)[:cut])
        assert openings.number(["a"]) == 2
    assert openings.record("r3", "c", ["a"]).number == 2
    assert [json.loads(line)["run_id"] for line in path.read_text().splitlines()] == ["r1", "r3"]


def test_a_damaged_line_in_the_middle_counts_as_an_opening_of_everything(tmp_path):
    path = tmp_path / OPENINGS_FILE
    path.write_text('{"run_id": "r0", "candi\n\n{"run_id":"r1","candidate_id":"c","rows":["a"]}\n[]\n')
    assert Openings(path).number(["a"]) == 4
    assert Openings(path).number(["other"]) == 3


def test_no_place_means_no_record(tmp_path):
    opened = Openings(None).record("r", "c", ["a"])
    assert (opened.number, opened.persistent) == (1, False)
    assert "no place" in opened.problem
    assert Openings(None).number(["a"]) == 1


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / OPENINGS_FILE, tmp_path):
        opened = Openings(place).record("r", "c", ["a"])
        assert (opened.number, opened.persistent) == (1, False)
        assert "cannot be counted" in opened.problem


def test_threads_get_numbers_of_their_own(tmp_path):
    path = tmp_path / OPENINGS_FILE
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda i: Openings(path).record(f"r{i}", "c", ["a", str(i)]).number, range(24)))
    assert sorted(numbers) == list(range(1, 25))


_PROCESS = """
import sys
from pathlib import Path
from langchain_promptopt.gate.openings import Openings
for i in range(10):
    print(Openings(Path(sys.argv[1])).record(f"{sys.argv[2]}-{i}", "c", ["a"]).number)
"""


def test_processes_get_numbers_of_their_own(tmp_path):
    path = tmp_path / OPENINGS_FILE
    running = [
        subprocess.Popen(
            [sys.executable, "-c", _PROCESS, str(path), str(i)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for i in range(3)
    ]
    numbers = [int(n) for process in running for n in process.communicate(timeout=60)[0].split()]
    assert sorted(numbers) == list(range(1, 31))


def test_hashes_ignore_spacing_and_unicode_form_and_hide_the_text():
    assert row_hash({"q": " Café\n au lait "}) == row_hash({"q": "Cafe\u0301 au lait"})
    assert row_hash({"q": "a", "r": "b"}) == row_hash({"r": "b", "q": "a"})
    assert row_hash({"q": "a"}) != row_hash({"r": "a"})
    assert row_hash({"q": ["a ", {"b": " c"}]}) == row_hash({"q": ["a", {"b": "c"}]})
    assert "secret" not in row_hash({"q": "secret"})


@given(st.lists(st.frozensets(st.sampled_from("abcdef"), min_size=1), max_size=8))
@settings(max_examples=40, deadline=None)
def test_numbers_are_one_more_than_earlier_openings_that_share_a_row(tmp_path_factory, sets):
    openings = Openings(tmp_path_factory.mktemp("o") / OPENINGS_FILE)
    for i, rows in enumerate(sets):
        expected = 1 + sum(bool(rows & earlier) for earlier in sets[:i])
        assert openings.number(rows) == expected
        assert openings.record(f"r{i}", "c", sorted(rows)).number == expected


def test_a_link_in_place_of_the_record_is_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("a last line without its end")
    (tmp_path / OPENINGS_FILE).symlink_to(victim)
    openings = Openings(tmp_path / OPENINGS_FILE)
    opened = openings.record("run", "c", ["a"])
    assert (opened.persistent, victim.read_text()) == (False, "a last line without its end")
    assert "symbolic link" in opened.problem
    assert openings.number(["a"]) == 1
