"""The report in Markdown, for pull requests and CI summaries; also of a step that failed.

It starts with a hidden marker, by which a later run finds and replaces its own comment. Text from
outside is in code spans and blocks or is escaped, so that it cannot format, link, mention or close
anything. Row text is left out unless asked for: more people read comments than data.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from langchain_promptopt.report import wording
from langchain_promptopt.report.junit import clean
from langchain_promptopt.report.privacy import discreet, reserved, shortened, spelled_out
from langchain_promptopt.report.wording import value_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_promptopt.report.record import RunRecord
    from langchain_promptopt.report.rows import ComparedRow, ComparedRows, EditPlace
    from langchain_promptopt.types.edits import FinalEdit

_TITLES = {"interrupted": "⏸️ Prompt optimization: interrupted", "budget": "⏸️ Prompt optimization: budget spent"}
_ROOM = 3_000
"""Characters of an error's message that are shown."""


@dataclass(frozen=True)
class Failed:
    """A step that failed, without any key or header in its texts.

    Args:
        outcome: "failed", "interrupted" or "budget".
        run_id: The run, if it began.
        kind: The kind of the error.
        message: What is wrong.
        public: The same without the texts of rows.
        retryable: Whether the same step can go on as it is.
    """

    outcome: str
    run_id: str | None
    kind: str
    message: str
    public: str
    retryable: bool

    def told(self, *, show_rows: bool) -> str:
        """The message that these readers may see."""
        return self.message if show_rows else self.public


def failure_markdown(failed: Failed, record: RunRecord | None = None, *, show_rows: bool = False) -> str:
    """The error first, then the report of the run as far as it came.

    Args:
        failed: The failure.
        record: The run, if it began.
        show_rows: Show row text, in the error's message too.
    """
    title = _TITLES.get(failed.outcome, "❌ Prompt optimization: failed")
    lines = [MARKER, f"## {title}", f"**{prose(failed.told(show_rows=show_rows))[:_ROOM]}**"]
    if failed.retryable:
        lines.append("Run the same step again: it goes on where it stopped, and pays for nothing twice.")
    head = "\n\n".join(lines) + "\n"
    if record is None:
        return head
    record = record if show_rows or record.examples else reserved(record)
    rest = render_markdown(record, show_rows=show_rows, limit=LIMIT - 2 * _ROOM).removeprefix(MARKER)
    return head + rest.replace("\n## ", "\n### ", 1)


def failure_junit(failed: Failed, *, show_rows: bool = False) -> str:
    """One test case with an error, so that no CI takes a step without a verdict for a passed one."""
    counts = {"tests": "1", "failures": "0", "errors": "1", "skipped": "0", "time": "0"}
    suites = ET.Element("testsuites", {"name": "promptopt", **counts})
    suite = ET.SubElement(suites, "testsuite", {"name": clean(f"promptopt {failed.run_id or ''}".strip()), **counts})
    case = ET.SubElement(suite, "testcase", classname="promptopt", name="verdict", time="0")
    ET.SubElement(case, "error", type=clean(failed.kind), message=clean(failed.told(show_rows=show_rows)))
    ET.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(suites, encoding="unicode") + "\n"


MARKER = "<!-- promptopt-gate -->"
LIMIT = 65_000
"""UTF-16 units of a report: GitHub refuses comments of more than 65,536."""
_KINDS = ("optimization", "comparison")
_HEALTH = 400
"""Characters of one fact about the optimizer model."""
_SIGNS = {"good": "✅", "unsure": "❔", "flat": "➖", "stopped": "⏸️", "bad": "❌"}
_UNTOUCHED = "- nothing was applied or pushed: the old prompt stays until the new one is merged; a revert restores it"
_MARKUP = re.compile(r"([\\`*_\[\]#!|~<>&$])")
_REFERENCE = re.compile(r"(@|\b(?:https?|ftp|mailto):|\bwww)(?=[\w/.])", re.IGNORECASE)


@dataclass(frozen=True)
class _Room:
    """How much is shown; the first that fits is taken."""

    rows: int
    edits: int
    text: int


_ROOMS = (_Room(50, 500, 4000), _Room(20, 100, 1200), _Room(10, 40, 500), _Room(5, 15, 200), _Room(3, 5, 100))


def render_markdown(record: RunRecord, *, show_rows: bool = False, limit: int = LIMIT) -> str:
    """The report in GitHub's Markdown.

    Args:
        record: The run.
        show_rows: Show row text; else rows are named by id only.
        limit: Most UTF-16 units of the result; GitHub takes 65,536 in a comment.
    """
    text, record = "", record if show_rows else discreet(record)
    for room in _ROOMS:
        text = "\n\n".join(filter(None, _blocks(record, room, show_rows=show_rows))) + "\n"
        if _size(text) <= limit:
            return text
    while _size(text) > limit:  # whole blocks from the end, so that nothing is cut open
        text = text.rstrip("\n").rpartition("\n\n")[0] + "\n"
    return text


def _size(text: str) -> int:
    """Length as the strictest reader counts: UTF-16 units."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _blocks(record: RunRecord, room: _Room, *, show_rows: bool) -> list[str]:
    top = wording.headline(record)
    blocks = [
        MARKER,
        f"## {_SIGNS[top.tone]} Prompt {_KINDS[wording.is_comparison(record)]}: {top.title.lower()}",
        f"**{top.sentence}** {prose(top.proof)}".rstrip(),
        prose(top.ended),
        f"> {wording.replayed_note(record.run_id)}" if record.replayed else "",
        f"> {simulated}" if (simulated := wording.simulated_note(record)) else "",
        prose(wording.made_note(record)),
        prose(wording.destination_note(record)),
        _metrics(record),
        _by_model(record),
        _by_prompt(record),
    ]
    for split, rows in record.rows.items():
        if split == "test" or "test" not in record.rows:
            blocks += [*_worse(rows, room, show_rows=show_rows), _better(rows, room, show_rows=show_rows)]
    blocks += [*_edits(record, room), _changes(record), _tradeoffs(record), _health(record), _commands(record)]
    run, method = code(record.run_id), code(record.started.method)
    blocks.append(f"<sub>run {run}, method {method}; all of it: `promptopt report {_word(record.run_id)}`</sub>")
    return blocks


def _metrics(record: RunRecord) -> str:
    if not record.metrics:
        return ""
    lines = [
        "| metric | old | new | difference | interval | better / worse | verdict |",
        "|---|--:|--:|--:|--:|--:|---|",
    ]
    for c in map(wording.metric_cells, record.metrics):
        cells = [prose(c.name), c.old, c.new, c.difference, c.interval, c.moves, prose(c.verdict)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _worse(rows: ComparedRows, room: _Room, *, show_rows: bool) -> list[str]:
    kind = "held-out" if rows.split == "test" else f"search ({rows.split})"
    out = [
        f"### Examples that got worse: {len(rows.worse)} of {len(rows.all)} {kind}",
        f"{len(rows.better)} got better, {rows.same} stayed the same.",
    ]
    listed = "\n".join(_row(row, room, show_rows=show_rows) for row in rows.worse[: room.rows])
    more = len(rows.worse) - room.rows
    return [*out, listed, f"… and {more} more in the full report." if more > 0 else ""]


def _better(rows: ComparedRows, room: _Room, *, show_rows: bool) -> str:
    """The gains, folded: a reviewer reads the losses first."""
    if not rows.better:
        return ""
    listed = "\n".join(_row(row, room, show_rows=show_rows) for row in rows.better[: room.rows])
    more = len(rows.better) - room.rows
    rest = f"\n\n… and {more} more in the full report." if more > 0 else ""
    title = f"Examples that got better: {len(rows.better)}"
    return f"<details>\n<summary>{title}</summary>\n\n{listed}{rest}\n\n</details>"


def _row(row: ComparedRow, room: _Room, *, show_rows: bool) -> str:
    line = f"- {code(row.example_id)}: {wording.points(row.before.score)} → {wording.points(row.after.score)}"
    if not show_rows:
        return line
    facts: list[tuple[str, Any]] = [*(row.inputs or {}).items()]
    facts += [("expected", row.expected), ("before", row.before.output), ("after", row.after.output)]
    facts += [("remark", row.after.comment)]
    told = []
    for name, value in facts:
        if value_text(value):
            told.append(f"  - {prose(name)}: {code(shortened(value_text(value), room.text))}")
    return "\n".join([line, *told])


def _edits(record: RunRecord, room: _Room) -> list[str]:
    if not record.edits:
        return ["### Edits", "None."]
    out = [f"### Edits: {len(record.edits)}, {wording.changed_words(record)}"]
    for number, edit in enumerate(record.edits[: room.edits], start=1):
        unsaid = "" if wording.is_comparison(record) else "No reason was given."
        reasons = " ".join(edit.reasons) or unsaid
        told = f"**{number}.** {prose(shortened(reasons, room.text))}{_evidence(edit)}"
        out += [told.rstrip(), _diff(record.place(edit), room.text)]
    more = len(record.edits) - room.edits
    return [*out, f"… and {more} more in the full report." if more > 0 else ""]


def _evidence(edit: FinalEdit) -> str:
    if not edit.example_ids:
        return ""
    return f" (evidence: {', '.join(map(code, edit.example_ids[:8]))}{', …' if len(edit.example_ids) > 8 else ''})"


def _diff(place: EditPlace, limit: int) -> str:
    lines = [f"@@ {spelled_out(place.title)} @@"]
    for sign, changed in (("-", place.removed), ("+", place.added)):
        text = place.left + shortened(changed, limit) + place.right
        lines += [f"{sign} {line}" for line in spelled_out(text).splitlines()] if text.strip() else []
    return block("\n".join(lines), "diff")


def _changes(record: RunRecord) -> str:
    costs = wording.answer_costs(record)
    if not costs:
        return ""
    lines = [f"- {what}: {old} → {new} ({by})" for what, old, new, by in costs]
    total = f"- this run: {wording.number(record.total.calls)} calls, {wording.money(record.total.usd)}"
    return "\n".join(["### Length and cost of an answer", "", *lines, total])


def _by_model(record: RunRecord) -> str:
    rows = wording.by_model_rows(record)
    return _table(prose(wording.by_model_title(record)), wording.BY_MODEL, rows) if rows else ""


def _by_prompt(record: RunRecord) -> str:
    rows = wording.by_prompt_rows(record)
    return _table(wording.BY_PROMPT_TITLE, wording.BY_PROMPT, rows, wording.BY_PROMPT_NOTE)


def _tradeoffs(record: RunRecord) -> str:
    rows = wording.tradeoff_rows(record)
    return _table(wording.TRADEOFFS_TITLE, wording.TRADEOFFS, rows, wording.TRADEOFFS_NOTE)


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> str:
    """A table whose second to fifth columns are numbers; "" where it has no rows.

    Args:
        title: Its heading, as Markdown.
        heads: Of the columns.
        rows: The cells as plain text.
        note: A sentence below it.
    """
    if not rows:
        return ""
    rule = ["---", *["--:"] * 4, *["---"] * (len(heads) - 5)]
    lines = [f"| {' | '.join(heads)} |", f"|{'|'.join(rule)}|"]
    for row in rows:
        lines.append(f"| {' | '.join(map(prose, row))} |")
    return "\n".join([f"### {title}", "", *lines, *(["", note] if note else [])])


def _health(record: RunRecord) -> str:
    facts = [] if wording.is_comparison(record) else wording.health_facts(record.health)
    lines = []
    for what, value in facts:
        lines.append(f"- {what}: {prose(shortened(value, _HEALTH))}")
    return "\n".join(["### How the optimizer model did", "", *lines]) if facts else ""


def _commands(record: RunRecord) -> str:
    commands = []
    for what, line in wording.how_to(record):
        commands.append(f"- {what}: `{_word(line)}`")
    if not commands:
        return ""
    if wording.is_comparison(record):
        return "\n".join(["### How to roll back", "", *commands, _UNTOUCHED])
    return "\n".join(["### How to apply it, and how to roll back", "", *commands])


def prose(text: str) -> str:
    r"""Text from outside as Markdown that reads as the same text.

    >>> prose("*hi* <b>")
    '\\*hi\\* &lt;b&gt;'
    """
    flat = " ".join(spelled_out(text).split())
    held = _REFERENCE.sub("\\1\u2060", flat)  # an invisible joiner: no mention, no automatic link
    return _MARKUP.sub(lambda m: {"<": "&lt;", ">": "&gt;", "&": "&amp;"}.get(m[1], "\\" + m[1]), held)


def code(text: str) -> str:
    """Text from outside as a code span that it cannot close.

    >>> code("a`b"), code("plain")
    ('`` a`b ``', '`plain`')
    """
    flat = " ".join(spelled_out(text).split()) or " "
    fence = "`" * (_longest(flat) + 1)
    gap = " " if len(fence) > 1 or flat != flat.strip("`") else ""
    return f"{fence}{gap}{flat}{gap}{fence}"


def block(text: str, language: str = "") -> str:
    """Text from outside as a fenced block that it cannot close."""
    fence = "`" * max(3, _longest(text) + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _longest(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


def _word(text: str) -> str:
    """A command of ours: run ids are hex, anything else loses what could end the code span."""
    return spelled_out(text).replace("`", "")
