"""Markdown, JUnit, terminal, and the files of a CI job: complete, bounded, and safe with hostile text."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from langchain_promptopt.errors import ConfigError
from langchain_promptopt.report.junit import render_junit
from langchain_promptopt.report.markdown import (
    LIMIT,
    MARKER,
    Failed,
    block,
    code,
    failure_markdown,
    prose,
    render_markdown,
)
from langchain_promptopt.report.privacy import parts, shortened, spelled_out, without_quotes
from langchain_promptopt.report.record import RunRecord
from langchain_promptopt.report.render import (
    deliver,
    error_line,
    output_lines,
    step_outputs,
    write_outputs,
    write_report,
    write_summary,
)
from langchain_promptopt.report.terminal import diff_view, facts_view, run_view, safe_text, test_view
from tests.support.hostile import ALL, HOSTILE
from tests.support.journals import Journal, edit, improved_run, rows_of
from tests.unit.test_report_html import hostile_run

test_view.__test__ = False
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b\ufeff]")


@pytest.fixture
def record():
    lines = improved_run()
    return RunRecord.from_events(lines, rows_of(lines))


# ------------------------------------------------------------------ Markdown


def test_a_reviewer_finds_what_they_need(record):
    text = render_markdown(record)
    assert text.startswith(MARKER + "\n")
    for expected in (
        "improved", "interval +8.0 to +58.0", "Examples that got worse: 1 of 12 held-out", "`test-7`: 100.0 → 0.0",
        "Edits: 2, 16 words changed", '@@ line 10, under "Rules" @@',
        "- 2. A message about a refund is always billing.",
        "+ 2. A message about a refund is billing only when money was taken or is missing",
        "<summary>Examples that got better: 5</summary>",
        "Three messages ask where a refunded parcel is", "output tokens: 12 → 12",
        "promptopt rollback c0ffee12ab34cd56",
    ):  # fmt: skip
        assert expected in text, expected


def test_row_text_is_there_only_when_asked_for(record):
    assert "Where is my refund" not in render_markdown(record)
    shown = render_markdown(record, show_rows=True)
    assert "`Where is my refund? (test-7)`" in shown
    assert "expected: `billing`" in shown


def plain_markdown(text: str) -> str:
    """What is left of Markdown when code spans and blocks are taken out, as CommonMark delimits them."""
    text = re.sub(r"(?ms)^(`{3,})[^`\n]*\n.*?\n\1$", "", text)
    return re.sub(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "", text, flags=re.DOTALL)


@pytest.mark.parametrize("text", [*HOSTILE, ALL], ids=[*map(str, range(len(HOSTILE))), "all"])
@pytest.mark.parametrize("show_rows", [False, True])
def test_hostile_text_cannot_format_link_mention_or_close(text, show_rows):
    rows = {text: {"inputs": {text: text}, "outputs": {"label": text}}}
    out = render_markdown(RunRecord.from_events(hostile_run(text), rows), show_rows=show_rows)
    assert out.count(MARKER) == 1 or MARKER in text
    left = plain_markdown(out).removeprefix(MARKER)
    assert not re.search(r"<(?!/?sub>|https?$)[a-zA-Z!/]", left), left
    assert not re.search(r"(?<!\\)\]\(", left)
    assert not re.search(r"@\w|https?://|www\.\w", left)
    assert not re.search(r"(?<!\\)#\d", left)
    assert not CONTROL.search(out.replace("\n", ""))
    assert not [line for line in left.splitlines() if re.match(r"\s*(#|```|~~~|:?-+:?\|)", line) and not known(line)]


def known(line: str) -> bool:
    """Headings of ours."""
    return bool(re.match(r"(## \S+ Prompt optimization: |### )", line))


@given(st.text(max_size=60))
def test_a_code_span_holds_its_text(text):
    out = code(text)
    fence = re.match("`+", out)[0]
    inside = out[len(fence) : -len(fence)]
    assert out.endswith(fence)
    assert fence not in re.findall("`+", inside)
    assert "\n" not in out


@given(st.text(max_size=80))
def test_a_block_holds_its_text(text):
    out = block(text).split("\n")
    assert out[0] == out[-1]
    assert not [line for line in out[1:-1] if line.strip().startswith(out[0])]


@given(st.text(max_size=60))
def test_prose_has_no_live_markup(text):
    out = prose(text)
    assert "\n" not in out
    assert not re.search(r"(?<!\\)(\\\\)*[*_`\[\]<>|]", out)


def long_run(edits: int, rows: int) -> RunRecord:
    system = "".join(
        f"Rule {i:04}: say what rule {i} says, at some length, so that there is text.\n" for i in range(edits)
    )
    journal = Journal()
    seed = journal.start(system=system)
    changes = [edit(system, f"Rule {i:04}", f"Law {i:04} 🙂", "Because " + "of that " * 40) for i in range(edits)]
    child = journal.propose(seed, 1, *changes)
    for split in ("dev", "test"):
        journal.score(seed[0], split, [1.0] * rows)
        journal.score(child[0], split, [0.0] * rows)
    journal.add("tested", metrics=[], verdict="no_gain", opening=1, detail={})
    journal.add("run.finished", outcome="no_gain", exit_code=3, best_candidate_id=child[0], usage={"by_role": {}})
    return RunRecord.from_events(journal.lines)


@pytest.mark.parametrize(("edits", "rows"), [(3, 200), (400, 5), (1200, 200)])
def test_the_comment_is_never_too_long(edits, rows):
    record = long_run(edits, rows)
    for limit in (LIMIT, 4000, 600):
        out = render_markdown(record, limit=limit)
        assert len(out.encode("utf-16-le")) // 2 <= limit
        assert out.startswith(MARKER)
        assert "No gain" in out or "no gain" in out
        assert out.count("```") % 2 == 0


def test_a_reason_does_not_carry_row_text_either(record):
    """A model that quotes the row it learned from must not publish it; labels and ids stay."""
    said = 'In test-7 "Where is my refund? (test-7)" should be billing, as in dev-1 and everywhere.'
    record = replace(record, edits=tuple(replace(e, reasons=(said,)) for e in record.edits))
    text = render_markdown(record)
    assert "Where is my refund" not in text
    assert "example text" in text
    assert "should be billing, as in dev-1" in text
    assert "Where is my refund" not in drawn(run_view(record, show_rows=False))
    assert "Where is my refund" in drawn(run_view(record))
    failed = Failed("budget", record.run_id, "budget", "spent", "spent", retryable=True)
    blind = failure_markdown(failed, replace(record, examples={}))
    assert "Where is my refund" not in blind
    assert "The reason is in the full report" in blind


@given(st.lists(st.sampled_from(["my", "parcel", "never", "came", "is", "late"]), min_size=2, max_size=14))
def test_no_five_words_of_a_row_in_a_row_are_left(words):
    row = "my parcel never came and it is late my parcel never came"
    left = without_quotes(" ".join(words), [(row, 2)]).split()
    held = row.split()
    runs = {tuple(held[i : i + 5]) for i in range(len(held) - 4)}
    assert not any(tuple(left[i : i + 5]) in runs for i in range(len(left) - 4))
    assert without_quotes(" ".join(words), []) == " ".join(words)


# --------------------------------------------------------------------- JUnit


def test_a_gain_passes_and_properties_come_first(record):
    suite = ET.fromstring(render_junit(record)).find("testsuite")
    assert suite[0].tag == "properties"
    values = {p.get("name"): p.get("value") for p in suite[0]}
    assert values["outcome"] == "improved"
    assert float(values["exact_match.difference"]) == 0.333
    assert [c.get("name") for c in suite.findall("testcase")] == ["exact_match"]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("1", "0", "0")


@pytest.mark.parametrize(
    ("outcome", "kind"), [("no_gain", "failure"), ("inconclusive", "failure"), ("budget", "error"), (None, "error")]
)
def test_no_gain_fails_and_no_verdict_is_an_error(outcome, kind):
    lines = improved_run()
    if kind == "error":
        lines = [e for e in lines if e["type"] != "tested"]
    lines[-1]["data"]["outcome"] = outcome
    if outcome is None:
        lines.pop()
    suite = ET.fromstring(render_junit(RunRecord.from_events(lines))).find("testsuite")
    assert [e.tag for e in suite.find("testcase")] == [kind]
    assert suite.get(kind + "s") == "1"
    if kind == "failure":
        assert "test-7" in suite.find("testcase/failure").text


def test_a_broken_guard_is_a_failure_of_its_own():
    lines = improved_run()
    tested = next(e for e in lines if e["type"] == "tested")["data"]
    guard = tested["metrics"][0] | {"metric": "policy", "role": "guard", "verdict": "broken"}
    tested["metrics"].append(guard)
    cases = ET.fromstring(render_junit(RunRecord.from_events(lines))).findall("testsuite/testcase")
    assert [(c.get("name"), len(c)) for c in cases] == [("exact_match", 0), ("policy", 1)]


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=()), min_size=1, max_size=40) | st.sampled_from(HOSTILE))
def test_junit_is_xml_whatever_the_text(text):
    out = render_junit(RunRecord.from_events(hostile_run(text)))
    suite = ET.fromstring(out.encode()).find("testsuite")
    assert suite.find("testcase").get("classname") == "promptopt"


# ------------------------------------------------------------------ terminal


def drawn(view, *, color: bool = False) -> str:
    out = io.StringIO()
    Console(file=out, width=100, force_terminal=color, color_system="truecolor" if color else None).print(view)
    return out.getvalue()


def test_the_terminal_shows_the_whole_story(record):
    text = drawn(run_view(record))
    for expected in (
        "Improved",
        "is always billing",
        "A refund that never arrived",
        "train-3",
        "1 worse, 5 better",
        "$0.042",
    ):
        assert expected in text
    assert "promptopt apply" in text
    assert "first one in the list" in drawn(diff_view(record))
    assert "+33.3" in drawn(test_view("improved", record.metrics, ""))


@pytest.mark.parametrize("text", [*HOSTILE, ALL], ids=[*map(str, range(len(HOSTILE))), "all"])
def test_hostile_text_reaches_the_terminal_as_text(text):
    record = RunRecord.from_events(hostile_run(text), {text: {"inputs": {text: text}, "outputs": {"l": text}}})
    views = [
        run_view(record),
        diff_view(record),
        test_view(text, record.metrics, ""),
        facts_view({text: [{text: text}], "n": 1}),
    ]
    for view in views:
        assert not CONTROL.search(drawn(view).replace("\n", ""))
        in_color = re.sub(r"\x1b\[[0-9;]*m", "", drawn(view, color=True))
        assert not CONTROL.search(in_color.replace("\n", ""))
        assert "\x1b]8" not in drawn(view, color=True)


@given(st.text(max_size=60))
def test_markup_is_shown_and_not_obeyed(text):
    assert safe_text(text).plain == spelled_out(text)
    assert drawn(safe_text("[red]x[/red]")).strip() == "[red]x[/red]"


# ------------------------------------------------------------- visible, files


@given(st.text(st.characters(exclude_categories=()), max_size=60))
def test_nothing_invisible_is_left_and_plain_text_is_kept(text):
    out = spelled_out(text)
    assert not CONTROL.search(out.replace("\n", "").replace("\t", ""))
    out.encode("utf-8")
    kept = "".join(shown for shown, hidden in parts(text) if not hidden)
    assert all(char in text for char in kept)


def test_letters_joiners_and_line_breaks_stay():
    for text in ("Zürich 東京 مرحبا עברית ไทย", "👩‍👩‍👧 é", "a\nb\tc", "می‌خواهم"):
        assert spelled_out(text) == text
    assert spelled_out("a\r\nb\rc") == "a\nb⟦U+000D⟧c"
    assert shortened("abcdef", 3) == "ab…"


def test_step_files_are_appended(tmp_path, record):
    env = {"GITHUB_STEP_SUMMARY": str(tmp_path / "s.md"), "GITHUB_OUTPUT": str(tmp_path / "out")}
    (tmp_path / "s.md").write_text("before\n")
    files = deliver(record, env, summary=tmp_path / "deep" / "comment.md", junit=tmp_path / "j.xml")
    assert {f.name for f in files} == {"comment.md", "j.xml", "s.md", "out"}
    assert (tmp_path / "s.md").read_text("utf-8").startswith("before\n" + MARKER)
    assert "outcome=improved\n" in (tmp_path / "out").read_text()
    assert step_outputs(record)["difference"] == "0.333"
    assert deliver(record, {}) == []
    assert (write_summary("x", {}), write_outputs({"a": "b"}, {})) == (None, None)


def parse_outputs(text: str) -> dict[str, str]:
    """As the runner reads the file."""
    out, lines = {}, text.split("\n")
    while lines:
        line = lines.pop(0)
        if "<<" in line and ("=" not in line or line.index("<<") < line.index("=")):
            name, mark = line.split("<<", 1)
            value = []
            while lines[0] != mark:
                value.append(lines.pop(0))
            lines.pop(0)
            out[name] = "\n".join(value)
        elif line:
            name, _, out[name] = line.partition("=")
    return out


@given(
    st.lists(
        st.text(st.sampled_from("a=<\nEND_"), max_size=20) | st.sampled_from(["END", "a\nEND", "x\nEND\nv0=evil"]),
        min_size=1,
        max_size=4,
    )
)
def test_a_value_cannot_set_another_output(values):
    text = "".join(output_lines(f"v{i}", value) for i, value in enumerate(values))
    assert parse_outputs(text) == {f"v{i}": value for i, value in enumerate(values)}


def test_an_annotation_is_one_line():
    env = {"GITHUB_ACTIONS": "true"}
    assert error_line("a:b,c", "x\r\n::error::y%", env) == "::error title=a%3Ab%2Cc::x%0D%0A::error::y%25"
    assert error_line("a", "b", {}) is None


@pytest.mark.parametrize(("name", "start"), [("r.html", "<!doctype html>"), ("r.md", MARKER), ("r.xml", "<?xml")])
def test_the_ending_says_the_format(tmp_path, name, start):
    file = write_report(improved_run(), tmp_path / "new" / name)
    assert file.read_text("utf-8").lstrip().startswith(start)
    with pytest.raises(ConfigError, match=r"\.docx"):
        write_report(improved_run(), tmp_path / "r.docx")
