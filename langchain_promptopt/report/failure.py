"""What a step that failed leaves for its pipeline: the error, and what the run had got to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from langchain_promptopt.report.discretion import reserved
from langchain_promptopt.report.junit import clean
from langchain_promptopt.report.markdown import LIMIT, MARKER, prose, render_markdown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_promptopt.report.record import RunRecord

_TITLES = {"interrupted": "⏸️ Prompt optimization: interrupted", "budget": "⏸️ Prompt optimization: budget spent"}
_ROOM = 3_000


def failure_markdown(answer: Mapping[str, Any], record: RunRecord | None = None, *, show_rows: bool = False) -> str:
    """The error first, then the report of the run as far as it came."""
    title = _TITLES.get(answer["outcome"], "❌ Prompt optimization: failed")
    error = answer["error"]
    lines = [MARKER, f"## {title}", f"**{prose(_message(error, show_rows=show_rows))[:_ROOM]}**"]
    if error["retryable"]:
        lines.append("Run the same step again: it goes on where it stopped, and pays for nothing twice.")
    head = "\n\n".join(lines) + "\n"
    if record is None:
        return head
    record = record if show_rows or record.examples else reserved(record)
    rest = render_markdown(record, show_rows=show_rows, limit=LIMIT - 2 * _ROOM).removeprefix(MARKER)
    return head + rest.replace("\n## ", "\n### ", 1)


def _message(error: Mapping[str, Any], *, show_rows: bool) -> str:
    return str(error["message"] if show_rows else error.get("public", error["message"]))


def failure_junit(answer: Mapping[str, Any], *, show_rows: bool = False) -> str:
    """One test case with an error, so that no CI takes a step without a verdict for a passed one."""
    counts = {"tests": "1", "failures": "0", "errors": "1", "skipped": "0", "time": "0"}
    suites = ET.Element("testsuites", {"name": "promptopt", **counts})
    suite = ET.SubElement(suites, "testsuite", {"name": clean(f"promptopt {answer['run_id'] or ''}".strip()), **counts})
    case = ET.SubElement(suite, "testcase", classname="promptopt", name="verdict", time="0")
    error = answer["error"]
    ET.SubElement(case, "error", type=clean(str(error["kind"])), message=clean(_message(error, show_rows=show_rows)))
    ET.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(suites, encoding="unicode") + "\n"
