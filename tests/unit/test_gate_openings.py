"""The record of openings: counted by shared rows, before the first call, once a journal, by any number of processes."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_promptopt.gate import OPENINGS_FILE, Openings, RowMark, row_hash
from langchain_promptopt.types import Reading
from tests.support.shared_data import ROOT


def marks(texts):
    return [RowMark.of({"q": text}) for text in texts]


def recorded(path, name, texts):
    return Openings(path).record(name, "c", marks(texts), nonce=f"journal of {name}")


def seen(inputs, *paths):
    return [RowMark.of(inputs, [Reading(paths or None)])]


@pytest.fixture
def path(tmp_path):
    return tmp_path / OPENINGS_FILE


def test_the_first_opening_is_the_first(path):
    opened = recorded(path, "run", "ab")
    assert (opened.number, opened.persistent, opened.repeated) == (1, True, False)
    (line,) = path.read_text().splitlines()
    data = json.loads(line)
    assert len(data["rows"]) == 2
    assert (data["run_id"], data["nonce"]) == ("run", "journal of run")
    assert data["time"].endswith("Z")


def test_an_opening_that_shares_any_row_counts(path):
    recorded(path, "r1", "ab")
    recorded(path, "r2", "xy")
    assert Openings(path).number(marks("bz")) == 2
    assert Openings(path).number(marks("z")) == 1
    assert recorded(path, "r3", "bx").number == 3


def test_an_opening_is_the_same_only_by_the_mark_in_the_journal(path):
    """Run, candidate and rows may be equal: a journal that is another has drawn its answers anew."""
    openings = Openings(path)
    assert openings.record("r", "c", marks("a"), nonce="first").number == 1
    assert openings.record("r", "c", marks("a"), nonce="second").number == 2
    again = openings.record("r", "c", marks("a"), nonce="first")
    assert (again.number, again.repeated) == (1, True)
    assert len(path.read_text().splitlines()) == 2


def test_a_resumed_run_asks_for_the_number_it_has(path):
    for name in ("r0", "r1", "r2"):
        recorded(path, name, "a")
    assert Openings(path).number(marks("a")) == 4
    assert Openings(path).number(marks("a"), own="journal of r1") == 2
    assert Openings(path).number(marks("a"), own="journal of another") == 4


# ------------------------------------------------------------ the same row


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (seen({"q": "a", "n": 1}, "q"), seen({"q": "a", "n": 2}, "q")),  # a column nobody reads
        (seen({"q": "Where  is it?"}), seen({"q": "where is IT? "})),  # letter case and spaces
        (seen({"q": "a"}), seen({"question": "a"})),  # a renamed column
        (seen({"q": "a", "z": "b"}), seen({"k": "b", "m": "a"})),  # two of them, in another order
        (seen({"q": "a", "n": 1}, "q"), seen({"q": "a", "n": 1}, "n")),  # a prompt that reads another column
        (seen({"q": "a", "n": 1}, "q", "n"), seen({"q": "a", "n": 2}, "q")),  # one that reads less
        (seen({"q": "a"}, "q"), seen({"q": "a", "more": "b"}, "q", "more")),  # one that reads more
        (seen({"q": "a", "at": "monday"}), seen({"q": "a", "at": "friday"}, "q")),  # a chain that could not be read
        (seen({"mail": {"body": "a", "id": 1}}, "mail.body"), seen({"mail": {"body": "a", "id": 2}}, "mail.body")),
        (seen({"q": {"x", "y"}}), seen({"q": {"y", "x"}})),
    ],
)
def test_a_row_is_what_is_read_of_it(path, before, now):
    openings = Openings(path)
    openings.record("r", "c", before, nonce="1")
    assert openings.number(now) == 2


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (seen({"q": "a", "n": 1}, "q"), seen({"q": "b", "n": 1}, "q")),
        (seen({"q": "a", "n": 1}), seen({"q": "a", "n": 2})),  # nobody knows what is read, so all of it counts
        (seen({"q": "a", "lang": "en"}, "q", "lang"), seen({"q": "b", "lang": "en"}, "q", "lang")),
        (seen({"q": "a", "x": ""}), seen({"q": "b", "x": ""})),
        (seen({"q": "a", "pixels": b"one"}, "q"), seen({"q": "a", "pixels": b"two"}, "q")),  # for code alone
    ],
)
def test_rows_that_differ_in_what_is_read_are_others(path, before, now):
    openings = Openings(path)
    openings.record("r", "c", before, nonce="1")
    assert openings.number(now) == 1


def test_both_sides_of_a_comparison_are_read(path):
    openings = Openings(path)
    sides = [Reading(("old",)), Reading(("new",))]
    openings.record("r", "c", [RowMark.of({"old": "a", "new": "b"}, sides)], nonce="1")
    assert [openings.number(seen({"q": text})) for text in "abc"] == [2, 2, 1]


def test_records_of_the_first_format_keep_their_weight(path):
    rows = [row_hash({"q": "Café", "n": 1})]
    path.write_text(json.dumps({"time": "t", "run_id": "r", "candidate_id": "c", "rows": rows}) + "\n")
    assert Openings(path).number(seen({"q": " Cafe\u0301", "n": 1}, "q")) == 2
    assert Openings(path).record("r", "c", seen({"q": "Café", "n": 1}, "q"), nonce="x").number == 2
    assert Openings(path).number(seen({"q": "Tea", "n": 1}, "q")) == 1


def test_texts_are_hidden(path):
    recorded(path, "r", ["a secret"])
    assert "secret" not in path.read_text()


# ------------------------------------------------------------ the file


def test_a_line_cut_off_by_a_crash_is_dropped(path):
    recorded(path, "r1", "a")
    whole = path.read_bytes()
    recorded(path, "r2", "a")
    for cut in range(len(whole) + 1, len(path.read_bytes())):
        path.write_bytes((whole + b'{"time":"' + b"x" * 99)[:cut])
        assert Openings(path).number(marks("a")) == 2
    assert recorded(path, "r3", "a").number == 2
    assert [json.loads(line)["run_id"] for line in path.read_text().splitlines()] == ["r1", "r3"]


def test_a_damaged_line_in_the_middle_counts_as_an_opening_of_everything(path):
    recorded(path, "r", "a")
    path.write_text('{"run_id": "r0", "candi\n\n' + path.read_text() + "[]\n")
    assert Openings(path).number(marks("a")) == 4
    assert Openings(path).number(marks(["other"])) == 3


def test_no_place_means_no_record():
    opened = Openings(None).record("r", "c", marks("a"), nonce="1")
    assert (opened.number, opened.persistent) == (1, False)
    assert "no place to count" in opened.problem
    assert "nothing is applied by itself" in opened.problem
    assert Openings(None).number(marks("a")) == 1


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / OPENINGS_FILE, tmp_path):
        opened = Openings(place).record("r", "c", marks("a"), nonce="1")
        assert (opened.number, opened.persistent) == (1, False)
        assert "cannot be counted" in opened.problem


def test_a_link_is_not_followed(tmp_path, path):
    victim = tmp_path / "victim"
    victim.write_text("a line without an end")
    path.symlink_to(victim)
    opened = recorded(path, "r", "a")
    assert not opened.persistent
    assert "symbolic link" in opened.problem
    assert Openings(path).number(marks("a")) == 1
    assert victim.read_text() == "a line without an end"


def test_threads_get_numbers_of_their_own(path):
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda i: recorded(path, f"r{i}", ["a", str(i)]).number, range(24)))
    assert sorted(numbers) == list(range(1, 25))


_PROCESS = """
import sys
from pathlib import Path
from langchain_promptopt.gate.openings import Openings, RowMark
for i in range(10):
    name = f"{sys.argv[2]}-{i}"
    print(Openings(Path(sys.argv[1])).record(name, "c", [RowMark.of({"q": "a"})], nonce=name).number)
"""


def test_processes_get_numbers_of_their_own(path):
    running = [
        subprocess.Popen(
            [sys.executable, "-c", _PROCESS, str(path), str(i)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for i in range(3)
    ]
    numbers = [int(n) for process in running for n in process.communicate(timeout=60)[0].split()]
    assert sorted(numbers) == list(range(1, 31))


def test_hashes_of_the_first_format_ignore_spacing_and_unicode_form():
    assert row_hash({"q": " Café\n au lait "}) == row_hash({"q": "Cafe\u0301 au lait"})
    assert row_hash({"q": "a", "r": "b"}) == row_hash({"r": "b", "q": "a"})
    assert row_hash({"q": "a"}) != row_hash({"r": "a"})
    assert row_hash({"q": ["a ", {"b": " c"}]}) == row_hash({"q": ["a", {"b": "c"}]})


@given(st.lists(st.frozensets(st.sampled_from("abcdef"), min_size=1), max_size=8))
@settings(max_examples=40, deadline=None)
def test_numbers_are_one_more_than_earlier_openings_that_share_a_row(tmp_path_factory, sets):
    path = tmp_path_factory.mktemp("o") / OPENINGS_FILE
    for i, rows in enumerate(sets):
        expected = 1 + sum(bool(rows & earlier) for earlier in sets[:i])
        assert Openings(path).number(marks(rows)) == expected
        assert recorded(path, f"r{i}", sorted(rows)).number == expected
