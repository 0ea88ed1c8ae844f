"""The hand-made edge cases: rows R01-R15 and files F01-F08 of the shared data, and cases of our own."""

from __future__ import annotations

import base64
import json

import pytest
from langchain_core.prompts import PromptTemplate

from langchain_promptopt._data import Columns, inspect_rows, load_data
from langchain_promptopt._data._splits import as_named, conflicts, leaks
from langchain_promptopt.errors import DataError
from langchain_promptopt.evaluators import as_text, exact_match, label_match, number_match, rouge_l
from tests.support.shared_data import shared


def tricky(name, case):
    path = shared(f"tricky/{name}.jsonl")
    if path is None:
        pytest.skip("the shared edge cases are not on this machine")
    found = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
    return next(c for c in found if c["id"] == case)


def inspected(case):
    variables = ["question"] if "{question}" in case.get("template", "") else None
    return inspect_rows(case["rows"], columns=Columns(), variables=variables)


def named(case):
    return as_named(inspected(case).rows, None, drop_leaks=False)[0]


@pytest.mark.parametrize("number", range(1, 15))
def test_tricky_rows_usable_and_problems(number):
    case = tricky("dataset_rows", f"R{number:02}")
    seen, expect = inspected(case), case["expect"]
    assert [p.row.position for p in seen.rows] == expect["usable"]
    assert [{"row": p["row"], "field": p["field"]} for p in seen.problems] == expect.get("problems", [])


@pytest.mark.parametrize("number", range(4, 10))
def test_tricky_rows_matches(number):
    case = tricky("dataset_rows", f"R{number:02}")
    for match in case["expect"]["match"]:
        outputs = case["rows"][match["row"]]["outputs"]
        numeric = isinstance(outputs["answer"], int | float) and not isinstance(outputs["answer"], bool)
        for matcher in (exact_match, number_match) if numeric else (exact_match,):
            assert bool(matcher({"output": match["reply"]}, outputs)["score"]) is match["ok"], match


def test_tricky_R04_as_text_and_labels():
    case = tricky("dataset_rows", "R04")
    assert [as_text(row["outputs"]["answer"]) for row in case["rows"]] == case["expect"]["as_text"]
    assert label_match("True", case["rows"][2]["outputs"])["score"] == 1
    assert label_match("1", case["rows"][2]["outputs"])["score"] == 0


def test_tricky_R05_all_alternatives_are_references():
    row = tricky("dataset_rows", "R05")["rows"][0]
    assert rouge_l("City of Paris", row["outputs"])["score"] == pytest.approx((1 + 0.5) / 2)


def test_tricky_R07_controls_are_kept_in_what_is_sent():
    case = tricky("dataset_rows", "R07")
    assert inspected(case).rows[0].row.example.inputs == case["rows"][0]["inputs"]


def test_tricky_R10_long_input_loads_whole():
    case = tricky("dataset_rows", "R10")
    example = inspected(case).rows[0].row.example
    assert len(example.inputs["question"].encode()) > 100_000
    assert example.inputs == case["rows"][0]["inputs"]


@pytest.mark.parametrize("name", ["R11", "R12"])
def test_tricky_template_syntax_in_inputs_is_data(name):
    case = tricky("dataset_rows", name)
    example = inspected(case).rows[0].row.example
    prompt = PromptTemplate.from_template(case["template"], template_format=case["template_format"])
    assert [prompt.format(**example.inputs)] == case["expect"]["rendered"]


def test_tricky_R13_tags_in_inputs_are_data():
    case = tricky("dataset_rows", "R13")
    example = inspected(case).rows[0].row.example
    (span,) = case["expect"]["editable_spans_in_prompt"]
    clean = case["template"].replace("<edit>", "").replace("</edit>", "")
    assert PromptTemplate.from_template(clean).format(**example.inputs) == f"{span}\nText: {example.inputs['question']}"


def test_tricky_R14_leak_names_both_rows():
    case = tricky("dataset_rows", "R14")
    assert [[p.first.row.position, p.second.row.position] for p in leaks(named(case))] == case["expect"]["leaks"]
    with pytest.raises(DataError, match="train example 0 and test example 1"):
        load_data(case["rows"])
    found = load_data(case["rows"], drop_leaks=True)
    assert {n: len(r) for n, r in found.splits.items()} == {"test": 2, "train": 0}


def test_tricky_R15_conflict_is_reported_and_both_are_kept():
    case = tricky("dataset_rows", "R15")
    assert [[p.first.row.position, p.second.row.position] for p in conflicts(named(case))] == case["expect"][
        "conflicts"
    ]
    found = load_data(case["rows"])
    assert len(found["train"]) == 2
    assert any("train example 0 and train example 1" in note.text for note in found.notes)


def loaded_file(tmp_path, case, **settings):
    path = tmp_path / case["filename"]
    path.write_bytes(base64.b64decode(case["content_base64"]))
    found = load_data(path, **settings)
    rows = sorted((e for rows in found.splits.values() for e in rows), key=lambda e: str(e.inputs))
    return found, rows


@pytest.mark.parametrize("name", ["F01", "F02", "F06"])
def test_tricky_files_that_load(tmp_path, name):
    case = tricky("dataset_files", name)
    _, rows = loaded_file(tmp_path, case)
    expect = case["expect"]
    assert len(rows) == expect["rows"]
    assert sorted(e.outputs["answer"] for e in rows) == sorted(expect["answers"])
    assert all(set(e.inputs) == {"question"} for e in rows)
    if "questions" in expect:
        assert sorted(e.inputs["question"] for e in rows) == sorted(expect["questions"])


def test_tricky_F03_broken_line(tmp_path):
    case = tricky("dataset_files", "F03")
    with pytest.raises(DataError, match="line 3") as caught:
        loaded_file(tmp_path, case)
    assert caught.value.facts["line"] == case["expect"]["error"]["line"]
    found, rows = loaded_file(tmp_path, case, skip_bad_lines=True)
    assert len(rows) == case["expect"]["lenient"]["rows"]
    assert any("skipped broken line(s) 3" in note.text for note in found.notes)


@pytest.mark.parametrize(("name", "reason"), [("F04", "encoding"), ("F05", "encoding"), ("F07", "no rows")])
def test_tricky_files_that_are_refused(tmp_path, name, reason):
    case = tricky("dataset_files", name)
    for lenient in (False, True):
        with pytest.raises(DataError, match=case["filename"]) as caught:
            loaded_file(tmp_path, case, skip_bad_lines=lenient)
        assert caught.value.facts["reason"] == reason
        byte = case["expect"].get("error", {}).get("first_bad_byte")
        assert caught.value.facts.get("first_bad_byte") == byte


def test_tricky_F08_nan_is_a_missing_answer(tmp_path):
    case = tricky("dataset_files", "F08")
    with pytest.raises(DataError, match=r"1 of 2 examples") as caught:
        loaded_file(tmp_path, case)
    (problem,) = caught.value.facts["problems"]
    assert (problem["row"], problem["field"], caught.value.facts["usable"]) == (1, "outputs.answer", [0])


def own(question, answer, split=None):
    metadata = {} if split is None else {"split": split}
    return {"inputs": {"question": question}, "outputs": {"answer": answer}, "metadata": metadata}


OWN_MATCHES = [
    ("right-to-left with isolates", "\u2068ירושלים\u2069", "ירושלים", True),
    ("tatweel is a letter, not decoration to us", "سـلام", "سلام", False),
    ("Persian joiner matters between joining letters", "می\u200cخواهم", "میخواهم", False),
    ("joiner beside Latin does not", "Os\u200dlo", "Oslo", True),
    ("soft hyphen", "Donau\u00addampf", "Donaudampf", True),
    ("Hangul as letters or syllables", "한국", "한국", True),
    ("Turkish capital I with dot", "İstanbul", "istanbul", False),
    ("Greek final sigma", "ΟΔΟΣ", "οδος", True),
    ("ligature is another text", "ﬁne", "fine", True),
    ("emoji with and without selector", "☎\ufe0f", "☎", True),
    ("skin tones differ", "👍🏽", "👍", False),
    ("flags are whole", "🇫🇷", "🇩🇪", False),
    ("ideographic space and stop", "東京　都。", "東京 都", True),
    ("no-break space before a colon", "Oui\u202f:", "oui", True),
    ("a reply of invisible characters is empty", "\u200b\u200f\ufeff", "x", False),
]


@pytest.mark.parametrize(("what", "reply", "answer", "same"), OWN_MATCHES, ids=[c[0] for c in OWN_MATCHES])
def test_tricky_own_matches(what, reply, answer, same):
    assert bool(exact_match({"output": reply}, {"answer": answer})["score"]) is same


OWN_LEAKS = [
    ("width and case", "ＡＢＣ １２", "abc 12", True),
    ("no-break and line ends", "a\u00a0b\r\nc", "A b c", True),
    ("bidi marks", "\u202bשלום\u202c", "שלום", True),
    ("composed and decomposed", "cafe\u0301", "CAFÉ", True),
    ("sharp s", "Straße", "STRASSE", True),
    ("a digit as number and as text", 3, "3", True),
    ("punctuation counts", "really?", "really", False),
    ("accents count", "resume", "résumé", False),
]


@pytest.mark.parametrize(("what", "one", "two", "leak"), OWN_LEAKS, ids=[c[0] for c in OWN_LEAKS])
def test_tricky_own_leaks(what, one, two, leak):
    rows = [own(one, "x", "dev"), own(two, "x", "test")]
    assert bool(leaks(as_named(inspect_rows(rows, columns=Columns()).rows, None, drop_leaks=False)[0])) is leak


def test_tricky_own_nested_inputs_leak_too():
    turns = [{"role": "user", "content": "Hello  there"}]
    again = [{"role": "user", "content": "hello there"}]
    with pytest.raises(DataError, match="leak"):
        load_data([own(turns, "x", "train"), own(again, "x", "test")])


def test_tricky_own_relabelled_twin_is_still_a_leak():
    with pytest.raises(DataError, match="leak"):
        load_data([own("same?", "yes", "train"), own("same?", "no", "test")])


@pytest.mark.parametrize("template_format", ["f-string", "mustache", "jinja2"])
def test_tricky_own_braces_survive_every_engine(template_format):
    text = "{x} {{y}} {{{z}}} {% raw %} {# c #} $a %s \\n &amp; <b>"
    template = (
        "Q: {q}" if template_format == "f-string" else "Q: {{{q}}}" if template_format == "mustache" else "Q: {{ q }}"
    )
    example = inspect_rows([{"inputs": {"q": text}, "outputs": {"answer": "x"}}], columns=Columns()).rows[0].row.example
    prompt = PromptTemplate.from_template(template, template_format=template_format)
    assert prompt.format(**example.inputs) == f"Q: {text}"
