"""A row is what the prompts read of it: leaks, clusters and splits go by that, and by nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from langchain_core.messages import HumanMessage

from langchain_promptopt._data import Columns, keep_splits, load_data, references_needed, unused_columns
from langchain_promptopt.errors import DataError
from langchain_promptopt.evaluators import exact_match, resolve_evaluators
from langchain_promptopt.gate import OPENINGS_FILE, Openings, row_hash
from langchain_promptopt.types import Reading, RowUse
from tests.support.shared_data import ROOT

TICKET = RowUse((Reading(("ticket",)),))
TICKETS = [f"ticket number {i}" for i in range(40)]


def flat(texts, **columns):
    """Rows of these tickets; each further column is a function of the row's number."""
    return [{"ticket": t, "label": "x"} | {n: f(i) for n, f in columns.items()} for i, t in enumerate(texts)]


def places(data, name="ticket"):
    return {e.inputs[name].casefold(): split for split, rows in data.splits.items() for e in rows}


def clusters(data):
    return {e.cluster for rows in data.splits.values() for e in rows}


UNREAD = [
    {"serial": lambda i: i},
    {"exported_at": lambda i: f"2026-11-{i % 28 + 1:02}T10:00"},
    {"Unnamed: 0": str, "tags": lambda i: [i]},
    {"meta": lambda i: {"nr": {"n": i}}},
]


@pytest.mark.parametrize("columns", UNREAD)
def test_a_column_nobody_reads_hides_no_leak(columns):
    rows = flat(["one", "two", "ONE "], split=["train", "dev", "test"].__getitem__, **columns)
    with pytest.raises(DataError, match=r"1 leak.*\(the prompts read ticket\): train example 0 and test example 2"):
        load_data(rows, use=TICKET)
    dropped = load_data(rows, use=TICKET, drop_leaks=True)
    assert {s: len(r) for s, r in dropped.splits.items()} == {"train": 0, "dev": 1, "test": 1}


@pytest.mark.parametrize("columns", UNREAD)
def test_repeats_behind_it_count_once(columns):
    data = load_data(flat(TICKETS[:12] * 8, **columns), use=TICKET)
    assert len(clusters(data)) == 12
    assert any("84 repeated input(s)" in note.text for note in data.notes)


@pytest.mark.parametrize("columns", UNREAD)
def test_it_moves_no_row_to_another_split(columns):
    assert places(load_data(flat(TICKETS, **columns), use=TICKET)) == places(load_data(flat(TICKETS), use=TICKET))


def test_letter_case_spaces_and_the_columns_name_move_nothing():
    before = places(load_data(flat(TICKETS), use=TICKET))
    shouted = load_data(flat([f" {t.upper()}  " for t in TICKETS]), use=TICKET)
    assert {k.strip(): v for k, v in places(shouted).items()} == before
    renamed = [{"question": t, "label": "x"} for t in TICKETS]
    assert places(load_data(renamed, use=RowUse((Reading(("question",)),))), "question") == before
    mapped = load_data([{"text": t, "label": "x"} for t in TICKETS], columns=Columns({"ticket": "text"}, ["label"]))
    assert places(mapped) == before


def test_a_group_of_its_own_does_not_hide_a_repeat():
    rows = flat(TICKETS[:6] * 4, thread=lambda i: f"t{i}")
    data = load_data(rows, columns=Columns(group="thread"), use=TICKET)
    assert len(clusters(data)) == 6


def test_what_only_code_can_use_is_read_by_code():
    rows = flat(["same"] * 3, split=["train", "dev", "test"].__getitem__, image=lambda i: bytes([i]))
    assert len(clusters(load_data(rows, use=TICKET))) == 3
    same = flat(["same"] * 3, split=["train", "dev", "test"].__getitem__, image=lambda _: b"one")
    with pytest.raises(DataError, match="leak"):
        load_data(same, use=TICKET)


def test_large_arrays_count_with_all_their_numbers():
    numpy = pytest.importorskip("numpy")

    def pixels(i):
        found = numpy.zeros(5000)
        found[2500] = i
        return found

    rows = flat(["same"] * 3, split=["train", "dev", "test"].__getitem__, pixels=pixels)
    assert len(clusters(load_data(rows, use=TICKET))) == 3


def test_where_the_reading_is_unknown_all_inputs_count_and_that_is_said():
    rows = flat(TICKETS[:12] * 3, serial=lambda i: i)
    data = load_data(rows)
    assert len(clusters(data)) == 36
    assert any("36 examples differ from others only in 'serial'" in note.text for note in data.notes)
    two = [{"question": t, "context": c, "answer": "x"} for t in TICKETS[:6] for c in ("a", "b")]
    assert not any("alone" in note.text for note in load_data(two).notes)  # an input like any other


@pytest.mark.parametrize(
    ("row", "field"),
    [
        (lambda i, t: {"mail": {"body": t, "id": i}}, "'mail.id'"),
        (lambda i, t: {"parts": [{"text": t, "nr": f"{i}-{k}"} for k in range(2)]}, "'parts[].nr'"),
        (lambda i, t: {"mail": {"body": f"{t} {i}", "lang": "en"}}, ""),
        (lambda i, t: {"mail": [{"role": "user", "content": t, "id": i}]}, ""),
    ],
)
@pytest.mark.parametrize("use", [RowUse(), RowUse((Reading(("mail", "parts")),))])
def test_a_nested_field_that_may_not_be_read_is_named(row, field, use):
    rows = [{"inputs": row(i, t), "outputs": {"answer": "x"}} for i, t in enumerate(TICKETS[:12] * 3)]
    notes = [note.text for note in load_data(rows, use=use).notes if "differ from others only in" in note.text]
    assert bool(notes) == bool(field)
    assert all(f"36 examples differ from others only in {field}" in note for note in notes)


def test_both_sides_of_a_comparison_tell_rows_apart():
    sides = RowUse((Reading(("subject",)), Reading(("body",))))
    rows = [{"subject": s, "body": b, "label": "x", "split": "test"} for s, b in ("aa", "ab", "bb", "cc")]
    assert len(clusters(load_data(rows, use=sides))) == 2
    assert len(clusters(load_data(rows, use=RowUse((Reading(("body",)),))))) == 3


# ------------------------------------------------------------ splits stay


def test_a_prompt_that_reads_others_moves_no_row(tmp_path):
    openings = Openings(tmp_path / OPENINGS_FILE)
    rows = [r | {"subject": f"about {i}"} for i, r in enumerate(flat(TICKETS))]
    first = load_data(rows, use=TICKET, openings=openings)
    keep_splits(first, openings)
    other = RowUse((Reading(("subject",)),))
    assert places(load_data(rows, use=other)) != places(first)
    now = load_data([*rows, *flat(["a new ticket"], subject=lambda _: "new")], use=other, openings=openings)
    assert places(now).items() >= places(first).items()
    keep_splits(now, openings)
    assert places(load_data(rows, use=TICKET, openings=openings)) == places(first)


def test_other_rows_are_split_anew(tmp_path):
    openings = Openings(tmp_path / OPENINGS_FILE)
    keep_splits(load_data(flat(TICKETS), use=TICKET, openings=openings), openings)
    others = [{"subject": f"quite another {i}", "label": "x"} for i in range(40)]
    use = RowUse((Reading(("subject",)),))
    assert places(load_data(others, use=use, openings=openings), "subject") == places(
        load_data(others, use=use), "subject"
    )


BEFORE = ["dev", "dev", "dev", "train", "train", "test", "train", "train", "dev", "train", "train", "test"]
"""Where version 0.1, which hashed all inputs with their names, put the first of these rows."""


def test_rows_that_version_0_1_opened_stay_where_it_put_them(tmp_path):
    path = tmp_path / OPENINGS_FILE
    opened = [row_hash({"ticket": t, "n": i}) for i, t in enumerate(TICKETS)]
    path.write_text(json.dumps({"time": "t", "run_id": "r", "candidate_id": "c", "rows": opened}) + "\n")
    data = load_data(flat(TICKETS, n=lambda i: i), use=TICKET, openings=Openings(path))
    assert [places(data)[t] for t in TICKETS[:12]] == BEFORE
    assert places(data) != places(load_data(flat(TICKETS, n=lambda i: i), use=TICKET))


# ------------------------------------------------------------ values


_PROCESS = """
from langchain_promptopt._data import load_data
rows = [{"ticket": str(i), "tags": {"a", "b", "c", str(i)}, "label": "x"} for i in range(20)]
said = load_data(rows).as_of
"""


def test_sets_are_the_same_in_every_process():
    here: dict[str, str] = {}
    exec(_PROCESS, here)
    there = subprocess.run(
        [sys.executable, "-c", f"{_PROCESS}print(said)"], cwd=ROOT, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONHASHSEED": "1"},
    )  # fmt: skip
    assert there.stdout.strip() == here["said"]


@pytest.mark.parametrize(
    "other",
    [
        [{"role": "user", "content": "Where is it?", "id": "m7"}],
        [{"type": "human", "content": "Where is it?"}],
        [("user", "Where is it?")],
        [["human", "Where is it?"]],
        [HumanMessage("Where is it?", id="m8")],
    ],
)
def test_messages_are_the_same_however_they_are_written(other):
    rows = [{"ms": [{"role": "human", "content": "Where is it?"}]}, {"ms": other}]
    rows += [{"ms": [{"role": "ai", "content": "Where is it?"}]}, {"ms": [("human", "Who?")]}, {"ms": ["user", "Who?"]}]
    data = load_data([{"inputs": row, "outputs": {"answer": "x"}} for row in rows])
    assert len({e.cluster for e in data.examples}) == 4


# ------------------------------------------------------------ what is not used


def reads_inputs(inputs, outputs):
    return outputs["output"] == inputs["lang"]


def reads_a_field(inputs, outputs):
    return outputs["output"] == inputs["lang"]["code"]


def sees_all(run, example):
    return True


@pytest.mark.parametrize(
    ("evaluators", "unused"),
    [
        ([exact_match], ("lang", "thread")),
        ([reads_inputs], ("thread",)),
        ([reads_a_field], ("thread",)),
        ([sees_all], ()),
        ([exact_match, lambda outputs, **more: True], ()),
    ],
)
def test_columns_without_effect_are_named(evaluators, unused):
    rows = flat(TICKETS, lang=lambda _: "en", thread=str, id=str)
    resolved = resolve_evaluators(evaluators)
    assert unused_columns(load_data(rows, use=TICKET), resolved) == unused


def test_mapped_columns_are_used_and_columns_beside_inputs_are_not():
    rows = flat(TICKETS, lang=lambda _: "en", thread=str)
    columns = Columns({"ticket": "ticket", "lang": "lang"}, ["label"], group="thread")
    assert unused_columns(load_data(rows, columns=columns, use=TICKET), resolve_evaluators([exact_match])) == ()
    shaped = [{"inputs": {"ticket": t}, "outputs": {"label": "x"}, "lang": "en"} for t in TICKETS]
    assert unused_columns(load_data(shaped), resolve_evaluators([exact_match])) == ("lang",)


# ------------------------------------------------------------ references


def needs_none(inputs, outputs):
    return True


def compares(outputs, reference_outputs):
    return outputs == reference_outputs


def ignores(inputs, outputs, reference_outputs):
    return bool(outputs)


@pytest.mark.parametrize(
    ("evaluators", "asked"),
    [
        ([exact_match], True),
        ([needs_none], False),
        ([compares], True),
        ([ignores], False),
        ([needs_none, exact_match], True),
        ([lambda outputs, reference_outputs=None: True], False),
    ],
)
def test_references_are_asked_for_where_an_evaluator_uses_them(evaluators, asked):
    assert references_needed(resolve_evaluators(evaluators)) is asked


@pytest.mark.parametrize("shape", [lambda t: {"inputs": {"ticket": t}}, lambda t: {"ticket": t, "id": t}])
def test_rows_without_references_are_rows_where_nobody_asks(shape):
    rows = [shape(t) for t in TICKETS]
    data = load_data(rows, use=RowUse(references=False))
    assert sum(map(len, data.splits.values())) == 40
    assert {tuple(e.inputs) for e in data["test"]} == {("ticket",)}
    with pytest.raises(DataError):
        load_data(rows)
