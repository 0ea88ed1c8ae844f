"""The HTML report: self-contained, complete, and inert whatever the text in it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_promptopt.report.html import escaped_value, render_html, segments
from langchain_promptopt.report.privacy import spelled_out
from langchain_promptopt.report.record import EditedMessage, RunRecord
from tests.support.hostile import ALL, HOSTILE
from tests.support.journals import SYSTEM, Journal, edit, improved_run, rows_of, usage

ALLOWED = {
    "html", "head", "meta", "title", "style", "body", "main", "section", "article", "header", "div", "p", "span", "b",
    "h1", "h2", "h3", "a", "code", "del", "ins", "details", "summary", "dl", "dt", "dd", "table", "thead", "tbody",
    "tfoot", "tr", "th", "td", "svg", "line", "circle", "polyline", "text", "ul", "li",
    "form", "fieldset", "legend", "label", "input", "button", "textarea", "script",
}  # fmt: skip
VOID = {"meta", "input"}


class Reader(HTMLParser):
    """Reads a document as a browser would: tags, attributes, text; fails on what may not be there."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.text: list[str] = []
        self.metas: list[dict] = []
        self.scripts: list[tuple[str, str]] = []
        self.titles = 0

    def handle_starttag(self, tag, attrs):
        assert tag in ALLOWED, tag
        for name, value in attrs:
            assert not name.startswith("on"), name
            assert name not in {"src", "srcset", "action", "style", "background", "formaction"}, name
            if name == "href":
                assert re.fullmatch(r"#edit-\d+", value), value
            assert name != "open" or tag == "details"
        if tag == "meta":
            self.metas.append(dict(attrs))
        if tag == "script":
            self.scripts.append((dict(attrs).get("type", ""), ""))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open, f"stray </{tag}>"
        assert self.open.pop() == tag

    def handle_comment(self, data):
        raise AssertionError(f"comment {data!r}")

    def handle_data(self, data):
        if "script" in self.open:
            kind, so_far = self.scripts[-1]
            self.scripts[-1] = (kind, so_far + data)
        elif "style" not in self.open:
            self.text.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def hostile_run(text: str) -> list[dict]:
    """`text` wherever text from outside can stand."""
    system = f"Sort. {text} Answer with a label.\n" * 2
    journal = Journal()
    seed = journal.start(
        system=system, method=text, run_id=text, version=text,
        models={"task": text, "optimizer": text}, evaluators=[{"name": text, "hash": text}],
        gate={"primary": text, "weights": {}}, data={"source": text, "as_of": text, "splits": {text: 3}},
    )  # fmt: skip
    child = journal.propose(seed, 1, edit(system, "Sort.", f"Sort {text}.", reason=text, rows=(text,)))
    for split in ("dev", "test"):
        for candidate, value in ((seed[0], 1.0), (child[0], 0.0)):
            journal.score(
                candidate, split, [value], [text], scores={text: value}, comments={text: text}, example_id=text
            )
    journal.add("rejected", parent_id=seed[0], step=1, rule=text, detail=text)
    journal.add("incident", role=text, kind=text, retryable=True, action=text)
    metric = {
        "metric": text,
        "baseline": 1.0,
        "best": 0.0,
        "difference": -1.0,
        "interval": [-1.0, -0.5],
        "p_value": 1.0,
    }
    metric |= {"n": 1, "wins": 0, "losses": 1, "verdict": text, "opening": 2}
    journal.add("tested", metrics=[metric], verdict=text, opening=2, detail={})
    journal.add("pushed", actor=text, target=text, commit=text, candidate_id=child[0])
    journal.add(
        "run.finished", outcome="no_gain", exit_code=3, best_candidate_id=child[0],
        usage={"calls": 1, "by_role": {text: usage()}},
    )  # fmt: skip
    return journal.lines


def hostile_page(text: str) -> str:
    rows = {text: {"inputs": {text: text}, "outputs": {"label": text}}}
    return render_html(RunRecord.from_events(hostile_run(text), rows))


def test_the_report_says_what_a_reader_needs():
    lines = improved_run()
    text = "".join(read(render_html(RunRecord.from_events(lines, rows_of(lines)))).text)
    for expected in (
        "Improved", "58.3 to 91.7", "interval +8.0 to +58.0", "is always billing",
        "only when money was taken or is missing", "Three messages ask where a refunded parcel is",
        "train-17", "got worse 1", "got better 5", "test-7", "16 words changed", "rate_limit", "VARS",
        "promptopt apply c0ffee12ab34cd56 --to FILE", "promptopt rollback c0ffee12ab34cd56", "gpt-4o-mini", "$0.042",
    ):  # fmt: skip
        assert expected in text, expected


def test_every_held_out_example_is_in_the_table_the_worse_ones_first():
    lines = improved_run()
    record = RunRecord.from_events(lines, rows_of(lines))
    page = render_html(record)
    table = page.split('aria-label="table of examples, test"')[1].split("</table>")[0]
    ids = re.findall(r'<td data-label="example"><code>(.*?)</code>', table)
    assert sorted(ids) == sorted(row.example_id for row in record.rows["test"].all)
    order = [status for status, _ in groupby(re.findall(r'data-status="(\w+)"', table))]
    assert order[:2] == ["worse", "better"]


def test_each_edit_shows_what_its_step_won_and_lost():
    record = RunRecord.from_events(improved_run())
    text = "".join(read(render_html(record)).text)
    for number, effects in record.effects.items():
        for effect in effects:
            assert number in effect.together
            assert f"{len(effect.rows.better)} won" in text
    assert any(effect.rows.all for effects in record.effects.values() for effect in effects)


def test_the_script_gets_the_prompt_in_parts_that_make_the_old_and_the_new_text():
    record = RunRecord.from_events(improved_run())
    (_, data), (_, script) = read(render_html(record)).scripts
    parts = json.loads(data)
    texts = {
        side: ["".join(p if isinstance(p, str) else p[side] for p in m["parts"]) for m in parts]
        for side in ("old", "new")
    }
    old, new = (record.candidates[i].prompts for i in (record.seed_id, record.best_id))
    assert texts["old"] == [m.template for m in old.messages]
    assert texts["new"] == [m.template for m in new.messages]
    assert "fetch(" not in script
    assert "XMLHttpRequest" not in script
    assert "innerHTML" not in script


def test_every_mark_of_a_chart_has_its_numbers_for_hover_and_screen_readers():
    lines = improved_run()
    page = render_html(RunRecord.from_events(lines, rows_of(lines)))
    marks = re.findall(r"<(circle)\b[^>]*>(.{0,7})", page)
    assert len(marks) >= 3
    assert all(inside == "<title>" for _, inside in marks)
    titles = re.findall(r"<circle[^>]*><title>([^<]+)</title>", page)
    assert all(re.search(r"\d", title) for title in titles)
    assert "the old prompt: " in page


def test_every_candidate_is_in_the_tree():
    record = RunRecord.from_events(improved_run())
    tree = render_html(record).split('class="card tree"')[1].split("</section>")[0]
    assert tree.count("<li") == len(record.candidates)
    assert tree.count('class="led"') == len(record.line)


def test_the_page_loads_nothing_and_runs_one_script_of_ours():
    page = render_html(RunRecord.from_events(improved_run()))
    policy = next(m["content"] for m in read(page).metas if m.get("http-equiv") == "Content-Security-Policy")
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (script,) = (text for kind, text in read(page).scripts if kind != "application/json")
    ours = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; script-src 'sha256-{ours}'; "
        "base-uri 'none'; form-action 'none'"
    )
    assert "url(" not in style
    assert "@import" not in style
    assert "://" not in page


@pytest.mark.parametrize("text", [*HOSTILE, ALL], ids=[*map(str, range(len(HOSTILE))), "all"])
def test_hostile_text_is_inert_everywhere(text):
    page = hostile_page(text)
    shown_text = "".join(read(page).text)
    assert spelled_out(text).replace("\n", "") in shown_text.replace("\n", "")
    page.encode("utf-8")
    for char in "\u202e\u2066\u200b\ufeff\x1b\x9b\x07\x00\ud800\U000e0041":
        assert char not in page


@settings(max_examples=40, deadline=None)
@given(st.text(st.characters(exclude_categories=()), min_size=1, max_size=30))
def test_any_text_is_inert(text):
    read(hostile_page(text))


@given(st.text(max_size=60))
def test_shown_text_reads_as_the_text(text):
    assert re.sub(r"<[^>]*>", "", str(escaped_value(text))) == str(escaped_value(spelled_out(text)))


def test_right_to_left_text_gets_its_own_direction():
    page = hostile_page("مرحبا بالعالم")
    assert re.search(r'<div class="prompt" dir="auto">', page)
    assert "مرحبا بالعالم" in page


def test_long_unchanged_stretches_are_folded_and_nothing_is_lost():
    template = "".join(f"line {i}\n" for i in range(300))
    journal = Journal()
    seed = journal.start(system=template)
    child = journal.propose(seed, 1, edit(template, "line 150", "line one hundred and fifty"))
    journal.score(seed[0], "dev", [0.0])
    journal.score(child[0], "dev", [1.0])
    message = RunRecord.from_events(journal.lines).messages[0]
    parts = segments(message)
    assert [p.kind for p in parts] == ["folded", "kept", "edit", "kept", "folded"]
    assert "".join(p.edit.old if p.edit else p.text for p in parts) == template


@given(st.text(st.sampled_from("a\n"), max_size=120), st.integers(0, 120), st.integers(0, 10))
def test_segments_hold_every_character(template, start, length):
    start = min(start, len(template))
    end = min(start + length, len(template))
    found = edit("x", "x", "y") | {"start": start, "end": end}
    from langchain_promptopt.types.edits import FinalEdit

    final = FinalEdit("main", 0, found["start"], found["end"], template[start:end], "new")
    parts = segments(EditedMessage("main", 0, "system", template, ((1, final),)))
    assert "".join(p.edit.old if p.edit else p.text for p in parts) == template


def test_an_unfinished_run_and_one_without_edits_have_a_report_too():
    journal = Journal()
    seed = journal.start()
    assert "Not finished" in render_html(RunRecord.from_events(journal.lines))
    journal.score(seed[0], "dev", [1.0])
    journal.add(
        "run.finished", outcome="no_gain", exit_code=3, best_candidate_id=seed[0], usage={"calls": 1, "by_role": {}}
    )
    page = "".join(read(render_html(RunRecord.from_events(journal.lines))).text)
    assert "nothing better than the prompt you have" in page
    assert SYSTEM.splitlines()[0] in page
