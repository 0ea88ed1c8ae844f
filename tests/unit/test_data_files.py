"""Files: bytes, lines, columns. Strict by default, with the place of every fault."""

from __future__ import annotations

import csv
import json
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_promptopt._data import Columns, describe_source, load_data
from langchain_promptopt._data._files import read_file
from langchain_promptopt.errors import DataError


def write(folder, name, data):
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8"))
    return path


def rows_of(path, **settings):
    return [raw.value for raw in read_file(path, **settings).rows]


def test_jsonl_ends_lines_at_line_feeds_only(tmp_path):
    text = '{"a": "x\u2028y\x85z"}\r\n\n   \n{"a": 2}'
    assert rows_of(write(tmp_path, "a.jsonl", text)) == [{"a": "x\u2028y\x85z"}, {"a": 2}]


def test_jsonl_with_byte_order_mark(tmp_path):
    assert rows_of(write(tmp_path, "a.jsonl", b'\xef\xbb\xbf{"a": 1}\n')) == [{"a": 1}]


@pytest.mark.parametrize(
    "text", ['{"a": 1}\n{"a": \n{"a": 3}', '{"a": 1}\nnull x\n{"a": 3}', '{"a": 1}\n' + "[" * 9000]
)
def test_a_broken_line_is_named_and_skipped_only_when_asked(tmp_path, text):
    path = write(tmp_path, "a.jsonl", text)
    with pytest.raises(DataError, match="line 2") as caught:
        read_file(path)
    assert caught.value.facts["line"] == 2
    found = read_file(path, skip_bad_lines=True)
    assert found.skipped_lines == (2,)
    assert found.rows[0].value == {"a": 1}


@pytest.mark.parametrize("line", ["[1]", '"text"', "3", "null"])
def test_a_line_that_is_no_object_is_an_error(tmp_path, line):
    with pytest.raises(DataError, match=r"line 2 .* not an object"):
        read_file(write(tmp_path, "a.jsonl", '{"a": 1}\n' + line))


def test_encodings_are_named_with_the_first_bad_byte(tmp_path):
    with pytest.raises(DataError, match="byte 9 is 0xE9") as caught:
        read_file(write(tmp_path, "a.jsonl", '{"a": "caf\u00e9"}'[1:].encode("cp1252")))
    assert caught.value.facts["first_bad_byte"] == 9
    for codec, name in (("utf-16", "UTF-16"), ("utf-16-be", None), ("utf-32", "UTF-32")):
        data = '{"a": 1}'.encode(codec)
        with pytest.raises(DataError, match=name or "not valid JSON"):
            read_file(write(tmp_path, "b.jsonl", data))


def test_json_array_object_of_splits_and_nan(tmp_path):
    assert rows_of(write(tmp_path, "a.jsonl", ' [{"a": NaN}, {"a": -Infinity}]')) == [{"a": None}, {"a": None}]
    assert rows_of(write(tmp_path, "a.json", '[{"a": 1}]')) == [{"a": 1}]
    found = read_file(write(tmp_path, "b.json", '{"train": [{"a": 1}], "test": [{"a": 2}]}'))
    assert found.splits == {"train": [{"a": 1}], "test": [{"a": 2}]}
    for text in ('{"a": 1}', '"x"', "{"):
        with pytest.raises(DataError, match=r"c\.json"):
            read_file(write(tmp_path, "c.json", text))


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.jsonl", ""), ("a.jsonl", "\n \n"), ("a.json", ""), ("a.json", "[]"), ("a.csv", ""), ("a.csv", "q,a\n")],
)
def test_no_rows_is_said(tmp_path, name, text):
    with pytest.raises(DataError, match="no examples"):
        load_data(write(tmp_path, name, text))


def test_csv_keeps_strings_and_long_fields(tmp_path):
    before = csv.field_size_limit()
    path = write(tmp_path, "a.csv", 'q,a\r\n"x, ""y""\nz",007\r\n' + "w" * 200_000 + ",1.0\r\n")
    assert rows_of(path) == [{"q": 'x, "y"\nz', "a": "007"}, {"q": "w" * 200_000, "a": "1.0"}]
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("q,a\n1,2,3\n", "line 2 .* 3 fields"),
        ("q,a\n1\n", "line 2 .* 1 fields"),
        ("q,q\n1,2\n", "'q' twice"),
        ("q;a\n1;2;3\n", "line 2 .* 3 fields"),
        ('q,a\n"x,2\n', "not valid CSV"),
        ('q,a\n"x"y,2\n', "not valid CSV"),
    ],
)
def test_csv_faults_are_named(tmp_path, text, said):
    with pytest.raises(DataError, match=said):
        read_file(write(tmp_path, "a.csv", text))


@pytest.mark.parametrize(
    ("name", "text", "note"),
    [
        ("a.csv", "q;a\n1, 2;3\n4;5, 6, 7\n", "semicolons"),
        ("a.csv", "q\ta\n1, 2\t3\n4\t5\n", "tabs"),
        ("a.csv", "q|a\n1, 2|3\n4|5\n", "vertical bars"),
        ("a.tsv", "q\ta\n1, 2\t3\n4\t5\n", ""),
    ],
)
def test_separators_are_found_and_said(tmp_path, name, text, note):
    found = read_file(write(tmp_path, name, text))
    assert found.rows[0].value == {"q": "1, 2", "a": "3"}
    assert note in found.note
    assert bool(found.note) is bool(note)


def test_a_comma_file_with_other_signs_in_its_texts_stays_one(tmp_path):
    text = "q,a\n" + "".join(f"one; two; three {i},x|y\n" for i in range(30))
    found = read_file(write(tmp_path, "a.csv", text))
    assert (found.rows[0].value, found.note) == ({"q": "one; two; three 0", "a": "x|y"}, "")


def test_one_column_is_a_table_too(tmp_path):
    assert rows_of(write(tmp_path, "a.csv", "q\none\ntwo\n")) == [{"q": "one"}, {"q": "two"}]


@pytest.mark.parametrize("key", ["data", "rows", "examples", "items"])
def test_one_list_of_rows_in_an_object_is_read_and_said(tmp_path, key):
    value = {"version": 2, key: [{"q": "a"}, {"q": "b"}], "tags": ["x"]}
    found = read_file(write(tmp_path, "a.json", json.dumps(value)))
    assert [r.value for r in found.rows] == [{"q": "a"}, {"q": "b"}]
    assert repr(key) in found.note
    assert "not used: version, tags" in found.note


@pytest.mark.parametrize("key", ["training", "validation", "test"])
def test_a_list_under_a_name_of_a_split_is_that_split(tmp_path, key):
    found = read_file(write(tmp_path, "a.json", json.dumps({key: [{"q": "a"}]})))
    assert found.splits == {key: [{"q": "a"}]}


def test_an_object_without_rows_is_refused_with_its_keys(tmp_path):
    with pytest.raises(DataError, match="its keys are ticket, label"):
        read_file(write(tmp_path, "a.json", json.dumps({"ticket": {"0": "x"}, "label": {"0": "y"}})))


def test_parquet(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist([{"q": "x", "n": {"a": 1}}, {"q": None, "n": {"a": None}}]), path)
    assert rows_of(path) == [{"q": "x", "n": {"a": 1}}, {"q": None, "n": {"a": None}}]
    with pytest.raises(DataError, match="not a parquet"):
        read_file(write(tmp_path, "b.parquet", b"nonsense"))
    with pytest.raises(DataError, match="unknown ending"):
        read_file(write(tmp_path, "b.xlsx", b"nonsense"))


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)


@given(st.lists(st.dictionaries(st.sampled_from(["q", "a"]), TEXT, min_size=2), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_what_is_written_comes_back(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("files")
    jsonl = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    assert rows_of(write(folder, "a.jsonl", jsonl)) == rows
    with (folder / "a.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["q", "a"])
        writer.writeheader()
        writer.writerows(rows)
    assert rows_of(folder / "a.csv") == rows


def test_a_source_is_decided_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "support-triage").mkdir()
    write(tmp_path, "rows.jsonl", '{"inputs": {"q": 1}, "outputs": {"a": 1}}')
    assert describe_source("support-triage").kind == "folder"
    assert describe_source("rows.jsonl").kind == "file"
    assert describe_source("https://example.invalid/d").kind == "url"
    assert describe_source(str(uuid.uuid4())).kind == "uuid"
    assert describe_source("hf:openai/gsm8k").kind == "hf"
    assert describe_source("absent.jsonl").kind == "name"
    assert describe_source("a\0b").kind == "name"
    assert describe_source({"train": []}).kind == "splits"
    assert describe_source([]).kind == "rows"
    with pytest.raises(DataError, match="no file or folder"):
        describe_source(tmp_path / "absent.jsonl")
    for wrong in (3, None, " ", "hf:", {"inputs": {}, "outputs": {}}):
        with pytest.raises(DataError):
            describe_source(wrong)


def test_names_go_to_the_remote_and_nowhere_else():
    asked = []

    def remote(name):
        asked.append(name)
        return [
            {"id": str(i), "inputs": {"q": i}, "outputs": {"a": i}, "metadata": {"dataset_split": ["test"]}}
            for i in range(6)
        ]

    assert len(load_data("support-triage", remote=remote)["test"]) == 6
    assert asked == ["support-triage"]
    with pytest.raises(DataError, match="taken as a LangSmith dataset"):
        load_data("support-triage")


def test_the_hub_is_offline_here_and_says_so():
    with pytest.raises(Exception, match="hub") as caught:
        load_data("hf:nobody-here/nothing-there")
    assert getattr(caught.value, "exit_code", None) in {2, 5}


def test_folders_hold_a_file_for_each_split(tmp_path):
    row = '{"inputs": {"q": "%s"}, "outputs": {"answer": "x"}}\n'
    write(tmp_path, "train.jsonl", row % "1")
    write(tmp_path, "validation.csv", "q,answer\n2,x\n")
    write(tmp_path, "test.json", "[" + row % "3" + "]")
    write(tmp_path, "notes.txt", "x")
    found = load_data(tmp_path)
    assert {name: len(rows) for name, rows in found.splits.items()} == {"train": 1, "test": 1}
    assert any("validation.csv" in note.text for note in found.notes)
    named = load_data(tmp_path, splits={"dev": "validation", "test": "test"}, columns=Columns({"q": "q"}, ["answer"]))
    assert {name: len(rows) for name, rows in named.splits.items()} == {"dev": 1, "test": 1}
    with pytest.raises(DataError, match="Did you mean `validation`"):
        load_data(tmp_path, splits={"dev": "validaton"})
    write(tmp_path, "train.csv", "q,answer\n4,x\n")
    with pytest.raises(DataError, match=r"several files: train\.csv, train\.jsonl"):
        load_data(tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="no file for a split"):
        load_data(empty)
