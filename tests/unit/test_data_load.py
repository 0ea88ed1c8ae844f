"""Rows: columns, checks, ids, splits, leaks. What is wrong is named, nothing is filled in."""

from __future__ import annotations

import random
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langsmith.schemas import Example as LangSmithExample

from langchain_promptopt._data import Columns, inspect_rows, load_data
from langchain_promptopt.errors import CredentialsError, DataError
from langchain_promptopt.types import Example


def row(question, answer="x", split=None, **more):
    metadata = {} if split is None else {"split": split}
    return {"inputs": {"question": question}, "outputs": {"answer": answer}, "metadata": metadata} | more


def sizes(data):
    return {name: len(rows) for name, rows in data.splits.items()}


def fields(rows, variables=None, columns=None):
    seen = inspect_rows(rows, columns=columns or Columns(), variables=variables)
    return [(p["row"], p["field"]) for p in seen.problems]


def test_flat_rows_with_named_columns():
    rows = [{"text": "hi", "label": "a", "id": f"i{n}", "thread": {"id": n}, "lang": "en"} for n in range(3)]
    columns = Columns({"ticket": "text"}, ["label"], id="id", group="thread.id")
    seen = inspect_rows(rows, columns=columns, variables=["ticket"])
    assert [p.row.example for p in seen.rows] == [
        Example(f"i{n}", {"ticket": "hi"}, {"label": "a"}, {"thread": {"id": n}, "lang": "en"}, str(n))
        for n in range(3)
    ]


def test_columns_reach_into_shaped_rows():
    rows = [{"inputs": {"text": "hi"}, "outputs": {"a": {"b": 1}}, "metadata": {"thread_id": "t"}}]
    columns = Columns({"ticket": "text"}, {"gold": "a.b"}, group="thread_id")
    example = inspect_rows(rows, columns=columns).rows[0].row.example
    assert (example.inputs, example.outputs, example.group) == ({"ticket": "hi"}, {"gold": 1}, "t")


def test_a_name_with_a_dot_is_a_column_before_it_is_a_path():
    rows = [{"a.b": "flat", "a": {"b": "nested"}, "y": "1"}]
    example = inspect_rows(rows, columns=Columns({"x": "a.b"}, ["y"])).rows[0].row.example
    assert example.inputs == {"x": "flat"}


def test_unnamed_columns_are_taken_only_when_clear_and_that_is_said():
    seen = inspect_rows([{"question": "q", "answer": "a", "id": "7"}], columns=Columns())
    assert seen.rows[0].row.example.inputs == {"question": "q"}
    assert "no columns were named" in seen.notes[0].text
    for rows in ([{"question": "q", "gold": "a"}], [{"question": "q", "label": "a", "target": "b"}]):
        with pytest.raises(DataError, match="which columns"):
            inspect_rows(rows, columns=Columns())


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"inputs": {"question": "q"}}, "outputs"),
        ({"inputs": {"question": "q"}, "outputs": None}, "outputs"),
        ({"inputs": {"question": "q"}, "outputs": {}}, "outputs"),
        ({"inputs": {"question": "q"}, "outputs": "x"}, "outputs"),
        ({"inputs": {"question": "q"}, "outputs": {"answer": None}}, "outputs.answer"),
        ({"inputs": {"question": "q"}, "outputs": {"answer": " \u200b\n"}}, "outputs.answer"),
        ({"inputs": {"question": "q"}, "outputs": {"answer": float("nan")}}, "outputs.answer"),
        ({"inputs": {"question": "q"}, "outputs": {"answer": []}}, "outputs.answer"),
        ({"inputs": {"question": "q"}, "outputs": {"answer": ["x", ""]}}, "outputs.answer"),
        ({"inputs": {"question": "q"}, "outputs": {"answer": "\ud83d"}}, "outputs.answer"),
        ({"inputs": {"question": "\udc00"}, "outputs": {"answer": "x"}}, "inputs.question"),
        ({"inputs": {"question": None}, "outputs": {"answer": "x"}}, "inputs.question"),
        ({"inputs": {"question": "  "}, "outputs": {"answer": "x"}}, "inputs.question"),
        ({"inputs": {"query": "q"}, "outputs": {"answer": "x"}}, "inputs.question"),
        ({"inputs": ["q"], "outputs": {"answer": "x"}}, "inputs"),
        ({"outputs": {"answer": "x"}}, "inputs"),
        ("just text", ""),
        (None, ""),
    ],
)
def test_an_unusable_row_is_named_with_its_field(bad, field):
    assert fields([row("fine"), bad], variables=["question"]) == [(1, field)]


@pytest.mark.parametrize("answer", [0, False, 0.0, "0", {}, {"a": None}, ["x"], "None", "nan"])
def test_an_answer_that_says_something_is_kept(answer):
    assert fields([row("q", answer)]) == []


def test_an_empty_context_is_no_problem_but_a_missing_one_is():
    rows = [{"inputs": {"question": "q", "context": c}, "outputs": {"answer": "x"}} for c in ("", None)]
    assert fields(rows, variables=["question", "context"]) == [(1, "inputs.context")]


def test_a_missing_column_is_named():
    seen = inspect_rows([{"txt": "a", "label": "b"}], columns=Columns({"ticket": "text"}, ["label"]))
    assert seen.problems[0]["field"] == "inputs.ticket"
    assert "'text'" in seen.problems[0]["problem"]
    assert "txt" in seen.problems[0]["problem"]


def test_what_is_wrong_with_every_example_is_said_once():
    rows = [{"text": f"t{i}", "label": "b"} for i in range(9)]
    with pytest.raises(DataError, match="9 of 9 examples") as caught:
        load_data(rows, columns=Columns({"ticket": "text"}, ["label"], group="thread"))
    assert str(caught.value).count("column 'thread' is missing") == 1
    assert "example 3, example 4 and 4 more: `group` column 'thread'" in str(caught.value)


def test_a_split_column_that_no_example_has_is_refused():
    rows = [{"text": f"t{i}", "label": "b"} for i in range(9)]
    with pytest.raises(DataError, match="no example has a value in the split column 'fold'"):
        load_data(rows, columns=Columns({"ticket": "text"}, ["label"], split="fold"))


def test_a_tenth_may_be_unusable_and_is_reported():
    rows = [row(f"q{i}") for i in range(18)] + [row("a", ""), row("b", None)]
    found = load_data(rows)
    assert [p["row"] for p in found.problems] == [18, 19]
    assert sum(sizes(found).values()) == 18
    assert any("2 of 20 examples cannot be scored" in note.text for note in found.notes)
    with pytest.raises(DataError, match="3 of 21 examples") as caught:
        load_data([*rows, row("c", "")])
    assert caught.value.facts["usable"] == list(range(18))
    assert caught.value.exit_code == 2


def test_langsmith_examples_are_rows():
    ids = [uuid.uuid4() for _ in range(3)]
    rows = [
        LangSmithExample(id=i, inputs={"q": n}, outputs={"a": n}, metadata={"dataset_split": ["dev", "hard"]})
        for n, i in enumerate(ids)
    ]
    assert [e.id for e in load_data(rows)["dev"]] == [str(i) for i in ids]


def test_datasets_objects_are_rows():
    from datasets import Dataset, DatasetDict

    flat = Dataset.from_list([{"question": f"q{i}", "answer": str(i)} for i in range(4)])
    assert sum(sizes(load_data(flat)).values()) == 4
    both = DatasetDict({"train": flat.select([0, 1]), "test": flat.select([2, 3])})
    assert sizes(load_data(both)) == {"train": 2, "test": 2}


def test_a_mapping_of_splits_takes_rows_and_paths(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("question,answer\nfar,1\n")
    found = load_data({"train": [row("near")], "test": path})
    assert sizes(found) == {"train": 1, "test": 1}
    for wrong in ({"train": row("x")}, {"train": 3}):
        with pytest.raises(DataError, match="not a list of examples"):
            load_data(wrong)
    with pytest.raises(DataError, match="no example is in a split of ours"):
        load_data({"training": [row("x")]})


def test_ids_given_hashed_and_repeated():
    found = load_data(
        [
            row("a", split="dev", id=7),
            row("b", split="dev"),
            {**row("c", split="dev"), "metadata": {"id": "m", "split": "dev"}},
        ]
    )
    first, second, third = found["dev"]
    assert (first.id, third.id) == ("7", "m")
    assert second.id == load_data([row("b", "other", split="test")])["test"][0].id
    with pytest.raises(DataError, match="'7' is used twice: train example 0 and dev example 1"):
        load_data([row("a", split="train", id=7), row("b", split="dev", id="7")])


def test_repeats_are_kept_noted_and_one_cluster():
    found = load_data([row("a", split="test"), row(" A ", split="test"), row("b", split="test")])
    assert len({e.id for e in found["test"]}) == 3
    assert len({e.cluster for e in found["test"]}) == 2
    assert any("1 repeated input(s): test example 0 and test example 1" in note.text for note in found.notes)
    torn = load_data([row("a", "yes", split="dev"), row("A", "no", split="train")])
    assert any("1 conflict(s)" in note.text for note in torn.notes)


LEAKY = [
    row("How many legs do 3 spiders have?", split="train"),
    row("\u200bhow many  LEGS do ３ spiders have?", split="test"),
]


def test_leaks_are_refused_or_dropped_from_the_other_split():
    rows = [*LEAKY, row("other", split="train"), row("third", split="dev")]
    with pytest.raises(DataError, match="train example 0 and test example 1") as caught:
        load_data(rows)
    assert caught.value.facts["leaks"] == [{"rows": [0, 1], "splits": ["train", "test"], "reason": "input"}]
    found = load_data(rows, drop_leaks=True)
    assert sizes(found) == {"train": 1, "dev": 1, "test": 1}
    assert any("removed 1 example(s) of train" in note.text and "(2 -> 1)" in note.text for note in found.notes)


def test_a_group_in_test_and_elsewhere_is_a_leak():
    rows = [
        {"q": f"{i}", "answer": "x", "g": g, "metadata": {"split": s}}
        for i, (g, s) in enumerate([("a", "train"), ("a", "test"), ("b", "dev")])
    ]
    with pytest.raises(DataError, match="same group"):
        load_data(rows, columns=Columns({"q": "q"}, ["answer"], group="g"))


def test_a_row_in_two_splits_is_refused():
    rows = [{**row("a"), "metadata": {"dataset_split": ["train", "test"]}}]
    with pytest.raises(DataError, match="several splits: test, train"):
        load_data(rows)
    assert sizes(load_data(rows, drop_leaks=True)) == {"test": 1}


def test_a_place_that_is_not_there_is_no_dataset_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tickets.jsonl").write_text("{}")
    for place in ("./tickts.jsonl", "../nope/x.csv", "/nope/x.csv", "~/nope/x.csv"):
        with pytest.raises(DataError, match="there is no file or folder"):
            load_data(place, remote=lambda _: pytest.fail("LangSmith was asked"))
    with pytest.raises(DataError, match=r"Did you mean 'tickets.jsonl'"):
        load_data("./tickts.jsonl")


def test_a_failing_dataset_name_says_that_it_is_no_file_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tickets.jsonl").write_text("{}")

    def refuse(name):
        raise CredentialsError("no key is set", mend="Set the key.", role="data")

    with pytest.raises(CredentialsError) as caught:
        load_data("tickts.jsonl", remote=refuse)
    said = str(caught.value)
    assert said.startswith("'tickts.jsonl' is not a file or folder here, so it is taken as a LangSmith dataset: no key")
    assert "Set the key. If you meant a path" in said
    assert said.endswith("Did you mean 'tickets.jsonl'?")
    assert caught.value.as_json()["message"] == said
    assert caught.value.role == "data"


def test_splits_are_named_not_guessed():
    rows = [row("a", split="training"), row("b", split="validation"), row("c", split="test"), row("d")]
    found = load_data(rows)
    assert sizes(found) == {"test": 1}
    assert any("1 example of split 'validation' is not used" in note.text for note in found.notes)
    named = load_data(rows, splits={"train": "training", "dev": "validation"})
    assert sizes(named) == {"train": 1, "dev": 1}
    for splits, said in (
        ({"dev": "valid"}, "no split `valid`"),
        ({"deev": "test"}, "nearest is `dev`"),
        ({"dev": "test", "test": "test"}, "both"),
    ):
        with pytest.raises(DataError, match=said):
            load_data(rows, splits=splits)


def test_unsplit_rows_get_the_shares_and_base_is_unsplit():
    rows = [{**row(f"question {i}"), "metadata": {"dataset_split": ["base"]}} for i in range(2000)]
    found = load_data(rows)
    total = sizes(found)
    assert abs(total["train"] / 2000 - 0.3) < 0.04
    assert abs(total["test"] / 2000 - 0.4) < 0.04
    assert total["val"] >= total["dev"]
    assert sum(total.values()) == 2000


def places(found):
    return {e.inputs["question"]: name for name, rows in found.splits.items() for e in rows}


@given(st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=40), st.integers(0, 10))
@settings(max_examples=40, deadline=None)
def test_relabelling_and_reordering_move_nothing(questions, seed):
    rows = [row(q, "old") for q in dict.fromkeys(questions)]
    again = [row(r["inputs"]["question"].upper(), f"new{i}") for i, r in enumerate(rows)]
    random.Random(seed).shuffle(again)
    moved = {q.lower(): name for q, name in places(load_data(again)).items()}
    assert moved == places(load_data(rows))


def test_relabelling_and_reordering_keep_val():
    rows = [row(f"q{i}", split="dev") for i in range(150)]
    again = [row(f"q{i}", "other", split="dev") for i in reversed(range(150))]
    assert places(load_data(rows)) == places(load_data(again))
    assert sizes(load_data(rows)) == {"dev": 75, "val": 75}
    assert sizes(load_data(rows[:99])) == {"dev": 99}
    assert sizes(load_data(rows[:100])) == {"dev": 50, "val": 50}
    given_val = [*rows, row("own", split="val")]
    assert sizes(load_data(given_val)) == {"dev": 150, "val": 1}


def test_data_without_a_dev_split_lends_some_of_train_and_growing_moves_none():
    rows = [row(f"q{i}", split="train") for i in range(60)] + [row(f"t{i}", split="test") for i in range(10)]
    found = load_data(rows)
    assert sum(sizes(found).values()) == 70
    assert sizes(found)["test"] == 10
    assert 20 <= sizes(found)["dev"] <= 40
    assert any("taken from train by hash, as the data has no dev split" in note.text for note in found.notes)
    assert found.made == {"dev": "from train"}
    before = places(load_data(rows[:40]))
    after = places(found)
    assert before == {question: after[question] for question in before}
    assert sizes(load_data(rows[:7])) == {"train": 7}
    named = load_data([*rows, row("own", split="dev")])
    assert sizes(named) == {"train": 60, "dev": 1, "test": 10}
    assert named.made == {}


def test_what_the_data_does_not_name_is_said_to_be_made_here():
    assert load_data([row(f"q{i}") for i in range(60)]).made == dict.fromkeys(("train", "dev", "test"), "by hash")
    assert load_data([row(f"q{i}", split="dev") for i in range(100)]).made == {"val": "from dev"}


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 8)), min_size=1, max_size=60))
@settings(max_examples=40, deadline=None)
def test_hashing_never_cuts_a_group_or_an_input(pairs):
    rows = [{"q": str(q), "answer": "x", "g": str(g)} for q, g in pairs]
    found = load_data(rows, columns=Columns({"q": "q"}, ["answer"], group="g"))
    where: dict[tuple[str, str], set[str]] = {}
    for name, examples in found.splits.items():
        for e in examples:
            where.setdefault(("q", e.inputs["q"]), set()).add(name)
            where.setdefault(("g", e.group), set()).add(name)
    assert all(len(names) == 1 for names in where.values())
    assert sum(sizes(found).values()) == len(rows)


def test_the_version_follows_the_rows():
    rows = [row("a", split="dev"), row("b", split="test")]
    base = load_data(rows).as_of
    assert base == load_data([dict(r) for r in rows]).as_of
    assert base != load_data([row("a", "y", split="dev"), rows[1]]).as_of
    assert base != load_data([row("a", split="train"), rows[1]]).as_of


def test_small_and_missing_tests_are_said():
    assert any(
        "at least 6 independent" in n.text for n in load_data([row(str(i), split="test") for i in range(5)]).notes
    )
    assert not any(
        "at least 6 independent" in n.text for n in load_data([row(str(i), split="test") for i in range(6)]).notes
    )
    assert any("no test split" in n.text for n in load_data([row("a", split="dev")]).notes)
    grouped = [{"q": str(i), "answer": "x", "g": "same", "metadata": {"split": "test"}} for i in range(9)]
    assert any(
        "test has 1 independent" in n.text
        for n in load_data(grouped, columns=Columns({"q": "q"}, ["answer"], group="g")).notes
    )
