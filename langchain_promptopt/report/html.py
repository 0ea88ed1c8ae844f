"""The report as one HTML file that loads nothing and runs nothing.

Everything from outside is escaped by jinja2 and has its hidden characters spelled out; a content
security policy forbids scripts, images, frames and every style but the one of this file.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup, escape

from langchain_promptopt.report import wording
from langchain_promptopt.report.charts import interval_chart, steps_chart
from langchain_promptopt.report.facts import data_words, gate_words
from langchain_promptopt.report.text import as_text
from langchain_promptopt.report.visible import parts

if TYPE_CHECKING:
    from langchain_promptopt.report.lineage import FinalEdit
    from langchain_promptopt.report.record import Message, RunRecord

_FOLD, _EDGE = 24, 6
"""Unchanged stretches of more lines than `_FOLD` are folded, `_EDGE` lines at each end excepted."""


@dataclass(frozen=True)
class Segment:
    """A stretch of a shown message: kept text, kept text that is folded, or an edit."""

    kind: str
    text: str = ""
    number: int = 0
    edit: FinalEdit | None = None
    lines: int = 0


def render_html(record: RunRecord) -> str:
    """The report of a run as a complete HTML document."""
    style = _resource("report.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    metric = record.metrics[0] if record.metrics else {}
    interval = wording.interval_of(metric)
    return _template().render(
        record=record,
        style=Markup(style),  # noqa: S704 - our own file
        style_hash=digest,
        headline=wording.headline(record),
        simulated=wording.simulated_note(record),
        interval=Markup(interval_chart(metric["difference"], *interval)) if interval else "",  # noqa: S704 - numbers only
        chart=Markup(steps_chart(record.steps)) if len(record.steps) > 1 else "",  # noqa: S704 - numbers only
        messages=[(m, segments(m)) for m in record.messages],
        w=wording,
        gate=gate_words(record.started["gate"], tuple(e["name"] for e in record.started["evaluators"])),
        data=data_words(record.started["data"]),
    )


def segments(message: Message) -> list[Segment]:
    """A message's text cut at its edits, long unchanged stretches folded."""
    out: list[Segment] = []
    at = 0
    for number, edit in message.edits:
        out += _kept(message.template[at : edit.start], first=at == 0, last=False)
        out.append(Segment("edit", number=number, edit=edit))
        at = edit.end
    return out + _kept(message.template[at:], first=at == 0, last=True)


def _kept(text: str, *, first: bool, last: bool) -> list[Segment]:
    lines = text.splitlines(keepends=True)
    head = 0 if first and not last else _EDGE
    tail = 0 if last and not first else _EDGE
    folded = lines[head : len(lines) - tail]
    if len(lines) <= _FOLD or not folded:
        return [Segment("kept", text)] if text else []
    middle = Segment("folded", "".join(folded), lines=len(folded))
    ends = [Segment("kept", "".join(part)) for part in (lines[:head], lines[len(lines) - tail :])]
    return [s for s in (ends[0], middle, ends[1]) if s.text]


def shown(value: object) -> Markup:
    """A value as escaped text with its hidden characters spelled out."""
    return Markup("").join(
        Markup('<span class="hid" title="hidden character">{}</span>').format(text) if hidden else escape(text)
        for text, hidden in parts(as_text(value))
    )


def _resource(name: str) -> str:
    return (files("langchain_promptopt.report") / "templates" / name).read_text(encoding="utf-8")


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["shown"] = shown
    return environment.from_string(_resource("report.html"))
