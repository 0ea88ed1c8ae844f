"""The verdict as JUnit XML, so that any CI shows it where it shows tests."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from langchain_promptopt.report import wording
from langchain_promptopt.report.privacy import spelled_out

if TYPE_CHECKING:
    from langchain_promptopt.report.record import RunRecord
    from langchain_promptopt.types import MetricEntry

# XML 1.0 has no way to write these, not even as references (section 2.2 of the recommendation).
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SUITE = "promptopt"


def render_junit(record: RunRecord) -> str:
    """One test case for each metric of the gate; a run without a verdict is one case with an error."""
    suites = ET.Element("testsuites", name=_SUITE)
    suite = ET.SubElement(suites, "testsuite", name=f"{_SUITE} {clean(record.run_id)}")
    properties = ET.SubElement(suite, "properties")  # before the cases, where readers expect them
    for name, value in _properties(record).items():
        ET.SubElement(properties, "property", name=name, value=clean(str(value)))
    cases = [_case(suite, record, m) for m in record.metrics] or [_no_verdict(suite, record)]
    counts = {"tests": len(cases)} | {f"{kind}s": cases.count(kind) for kind in ("failure", "error")} | {"skipped": 0}
    for element in (suites, suite):
        for name, count in counts.items():
            element.set(name, str(count))
        element.set("time", "0")
    ET.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(suites, encoding="unicode") + "\n"


def clean(text: str) -> str:
    r"""`text` as XML can carry it: hidden characters spelled out, forbidden ones gone.

    >>> clean("a\x00b\uffff")
    'a⟦U+0000⟧b'
    """
    return _FORBIDDEN.sub("", spelled_out(text))


_NUMBERS = ("baseline", "best", "difference", "p_value", "alpha", "opening", "n", "clusters", "wins", "losses")


def _properties(record: RunRecord) -> dict[str, Any]:
    out: dict[str, Any] = {
        "run_id": record.run_id,
        "method": record.started.method,
        "seed": record.started.seed,
        "outcome": record.outcome or "unfinished",
        "replayed": "true" if record.replayed else "false",
        "edits": len(record.edits),
        **({"reason": record.reason.kind} if record.reason is not None and record.reason.kind else {}),
        "calls": record.total.calls,
        "usd": "unknown" if record.total.usd is None else record.total.usd,
    }
    for entry in record.metrics:
        for name in _NUMBERS:
            if (value := getattr(entry, name)) is not None:
                out[f"{clean(entry.metric)}.{name}"] = value
    return out


def _case(suite: ET.Element, record: RunRecord, entry: MetricEntry) -> str:
    """A case; returns "failure" or "pass"."""
    case = ET.SubElement(suite, "testcase", classname=_SUITE, name=clean(entry.metric), time="0")
    primary = entry is record.metrics[0]
    failed = record.outcome != "improved" if primary else entry.verdict == "broken"
    if failed:
        kind = clean(record.outcome or entry.verdict) if primary else clean(entry.verdict)
        failure = ET.SubElement(case, "failure", type=kind, message=clean(wording.proof(entry)))
        failure.text = clean(_worse_rows(record))
    return "failure" if failed else "pass"


def _no_verdict(suite: ET.Element, record: RunRecord) -> str:
    top = wording.headline(record)
    case = ET.SubElement(suite, "testcase", classname=_SUITE, name="verdict", time="0")
    failed = record.outcome in {"no_gain", "inconclusive"}
    kind = "failure" if failed else "error"
    ET.SubElement(case, kind, type=record.outcome or "unfinished", message=clean(f"{top.sentence} {top.proof}".strip()))
    return kind


def _worse_rows(record: RunRecord) -> str:
    rows = record.rows.get("test")
    if rows is None or not rows.worse:
        return "No held-out example got worse."
    return "Held-out examples that got worse: " + ", ".join(row.example_id for row in rows.worse)
