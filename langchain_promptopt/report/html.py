"""The report as one HTML file that loads nothing from anywhere.

Everything from outside is escaped by jinja2 and has its hidden characters spelled out. A content security policy
forbids images, frames, connections, and every style and script but the two of this file. Without the script the page
still shows everything; with it examples can be filtered and edits taken out.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup, escape

from langchain_promptopt.report import wording
from langchain_promptopt.report.charts import interval_chart, steps_chart
from langchain_promptopt.report.privacy import parts, spelled_out
from langchain_promptopt.report.wording import points, value_text
from langchain_promptopt.types import MetricEntry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_promptopt.report.record import EditedMessage, RunRecord
    from langchain_promptopt.types.edits import FinalEdit

_HASH = 12


def gate_words(gate: Mapping[str, Any], evaluators: tuple[str, ...] = ()) -> str:
    """The rules of the test in one sentence.

    >>> gate_words({"primary": "em", "alpha": 0.05, "guards": {"policy": 0.05}, "repeats": 2, "min_improvement": 0.01})
    'em decides, level 0.05; the gain must exceed 1.0 points; policy may lose 5.0 points; each example 2 times'
    """
    weights = gate.get("weights") or {}
    decides = " and ".join(f"{name} ({share:g})" for name, share in weights.items())
    decides = decides or gate.get("primary") or next(iter(evaluators), "the first metric")
    said = [f"{decides} decides, level {gate.get('alpha', 0.05):g}"]
    if gate.get("min_improvement"):
        said.append(f"the gain must exceed {points(gate['min_improvement'])} points")
    said += [f"{name} may lose {points(margin)} points" for name, margin in (gate.get("guards") or {}).items()]
    if (gate.get("repeats") or 1) > 1:
        said.append(f"each example {gate['repeats']} times")
    return "; ".join(said)


def data_words(data: Mapping[str, Any]) -> str:
    """Where the rows came from, which version, and how many there were.

    >>> data_words({"source": "rows.jsonl", "as_of": "sha256:0123456789abcdef", "splits": {"train": 8, "test": 9}})
    'rows.jsonl, version sha256:0123456789ab; train 8, test 9'
    """
    version = str(data.get("as_of") or "")
    kind, colon, digest = version.partition(":")
    if colon and kind == "sha256":
        version = f"{kind}:{digest[:_HASH]}"
    source = f"{data.get('source', 'unknown source')}{f', version {version}' if version else ''}"
    splits = wording.split_words(data)
    return f"{source}; {splits}" if splits else source


_STATUSES = (
    ("all", "all"),
    ("worse", "got worse"),
    ("better", "got better"),
    ("wrong", "still wrong"),
    ("right", "right before and after"),
    ("dropped", "dropped"),
)
_TONES = {"worse": "bad", "better": "good", "wrong": "unsure", "right": "", "dropped": ""}
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
    style, script = _resource("report.css"), _resource("report.js")
    primary = record.metrics[0] if record.metrics else MetricEntry()
    messages = [(m, segments(m)) for m in record.messages]
    return _template().render(
        record=record,
        style=Markup(style),  # noqa: S704 - our own file
        style_hash=_digest(style),
        script=Markup(script),  # noqa: S704 - our own file
        script_hash=_digest(script),
        headline=wording.headline(record),
        simulated=wording.simulated_note(record),
        interval=Markup(interval_chart(primary)),  # noqa: S704 - numbers only
        chart=Markup(steps_chart(record.steps)) if len(record.steps) > 1 else "",  # noqa: S704 - numbers only
        messages=messages,
        parts=_parts_json(record.messages),
        apply_command=_apply_command(record),
        statuses=_STATUSES,
        status_words=dict(_STATUSES),
        tones=_TONES,
        w=wording,
        gate=gate_words(record.started.gate, record.started.evaluator_names),
        data=data_words(record.started.data),
    )


def render_summary(record: RunRecord) -> str:
    """The verdict and the edits as a piece of HTML without script, for a notebook's cell."""
    headline = wording.headline(record)
    tone = {"good": "#1a7f4b", "bad": "#b4353a"}.get(headline.tone, "#9a6a00")
    simulated = wording.simulated_note(record)
    return _template("summary.html").render(record=record, headline=headline, tone=tone, simulated=simulated, w=wording)


def _digest(text: str) -> str:
    """What the security policy knows a style or script by."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _parts_json(messages: Sequence[EditedMessage]) -> Markup:
    """The messages cut at their edits, for the script that puts them together again.

    JSON in ASCII with `<`, `>` and `&` spelled out, so that no text can end the element it stands in.
    """
    data = []
    for message in messages:
        parts: list[str | dict[str, str | int]] = []
        at = 0
        for number, edit in message.edits:
            parts += [message.template[at : edit.start], {"n": number, "old": edit.old, "new": edit.new}]
            at = edit.end
        parts.append(message.template[at:])
        data.append({"parts": parts})
    text = json.dumps(data)
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)  # noqa: S704 - nothing of HTML is left in it


def _apply_command(record: RunRecord) -> tuple[str, str] | None:
    """The command that writes the edits, in two parts: `--edits` goes between them."""
    for _, command in wording.how_to(record):
        start, found, rest = command.partition(f"promptopt apply {record.run_id}")
        if found and not start and "--edits" not in rest:
            return found, rest
    return None


def segments(message: EditedMessage) -> list[Segment]:
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
    ends = []
    for part in (lines[:head], lines[len(lines) - tail :]):
        ends.append(Segment("kept", "".join(part)))
    return [s for s in (ends[0], middle, ends[1]) if s.text]


def escaped_value(value: object) -> Markup:
    """A value as escaped text with its hidden characters spelled out."""
    mark = Markup('<span class="hid" title="hidden character">{}</span>')
    pieces = [mark.format(text) if hidden else escape(text) for text, hidden in parts(value_text(value))]
    return Markup("").join(pieces)


def _resource(name: str) -> str:
    return (files("langchain_promptopt.report") / "templates" / name).read_text(encoding="utf-8")


@cache
def _template(name: str = "report.html") -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["shown"] = escaped_value
    environment.filters["plain"] = lambda value: spelled_out(str(value))  # in attributes, where no element may stand
    return environment.from_string(_resource(name))
