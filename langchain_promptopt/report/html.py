"""Two small drawings in SVG, made of numbers only, so nothing in them can be text from outside.

How a run was set up, in words: its gate and the version of its rows.

The report as one HTML file that loads nothing and runs nothing.

Everything from outside is escaped by jinja2 and has its hidden characters spelled out; a content
security policy forbids scripts, images, frames and every style but the one of this file.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup, escape

from langchain_promptopt.report import wording
from langchain_promptopt.report.privacy import parts
from langchain_promptopt.report.wording import as_text, points, signed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_promptopt.report.record import Message, RunRecord, StepScore
    from langchain_promptopt.types.edits import FinalEdit

_WIDTH, _HEIGHT = 720, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 24, 18, 34


def interval_chart(difference: float, low: float, high: float) -> str:
    """The difference with its interval against zero."""
    width, height, middle = 420, 64, 24
    reach = max(abs(low), abs(high), abs(difference), 0.01) * 1.15

    def x(value: float) -> float:
        return round(width / 2 + value / reach * (width / 2 - 12), 1)

    side = "above" if low > 0 else "below" if high < 0 else "across"
    label = f"difference {signed(difference)} points, interval {signed(low)} to {signed(high)}"
    return (
        f'<svg class="interval {side}" viewBox="0 0 {width} {height}" role="img" aria-label="{label}">'
        f'<line class="axis" x1="0" y1="{middle}" x2="{width}" y2="{middle}"/>'
        f'<line class="zero" x1="{x(0)}" y1="6" x2="{x(0)}" y2="{middle + 18}"/>'
        f'<line class="range" x1="{x(low)}" y1="{middle}" x2="{x(high)}" y2="{middle}"/>'
        f'<circle class="dot" cx="{x(difference)}" cy="{middle}" r="6"/>'
        f'<text x="{x(0)}" y="{height - 4}" text-anchor="middle">no difference</text>'
        f'<text x="4" y="{height - 4}">old is better</text>'
        f'<text x="{width - 4}" y="{height - 4}" text-anchor="end">new is better</text></svg>'
    )


def steps_chart(steps: Sequence[StepScore]) -> str:
    """Search scores by step: a dot for each candidate, a line for the best so far."""
    scores = [s for step in steps for s in step.scores]
    low, high = min(scores), max(scores)
    pad = max((high - low) * 0.12, 0.01)
    low, high = max(0.0, low - pad), min(1.0, high + pad)
    last = max(steps[-1].step, 1)

    def x(step: float) -> float:
        return round(_LEFT + step / last * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(score: float) -> float:
        return round(_TOP + (high - score) / ((high - low) or 1.0) * (_HEIGHT - _TOP - _BOTTOM), 1)

    ticks = [low + (high - low) * i / 4 for i in range(5)]
    grid = "".join(
        f'<line class="grid" x1="{_LEFT}" y1="{y(t)}" x2="{_WIDTH - _RIGHT}" y2="{y(t)}"/>'
        f'<text x="{_LEFT - 8}" y="{y(t) + 4}" text-anchor="end">{points(t)}</text>'
        for t in ticks
    )
    names = "".join(
        f'<text x="{x(s.step)}" y="{_HEIGHT - 10}" text-anchor="middle">{"start" if s.step == 0 else s.step}</text>'
        for s in steps
    )
    line = " ".join(f"{x(s.step)},{y(s.best)}" for s in steps)
    dots = "".join(f'<circle class="try" cx="{x(s.step)}" cy="{y(v)}" r="4"/>' for s in steps for v in s.scores)
    best = "".join(f'<circle class="best" cx="{x(s.step)}" cy="{y(s.best)}" r="5"/>' for s in steps)
    label = f"best search score {points(steps[0].best)} at the start, {points(steps[-1].best)} at the end"
    return (
        f'<svg class="steps" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">'
        f'{grid}{names}{dots}<polyline points="{line}"/>{best}</svg>'
    )


# ------------------------------------------------------------ How a run was set up, in words: its gate and the ver

_HASH = 12


def gate_words(gate: Mapping[str, Any], evaluators: tuple[str, ...] = ()) -> str:
    """The rules of the test in one sentence.

    >>> gate_words({"primary": "em", "alpha": 0.05, "guards": {"policy": 0.05}, "repeats": 2, "min_improvement": 0.01})
    'em decides, level 0.05; the gain must exceed 1.0 points; policy may lose 5.0 points; each row 2 times'
    """
    weights = gate.get("weights") or {}
    decides = " and ".join(f"{name} ({share:g})" for name, share in weights.items())
    decides = decides or gate.get("primary") or next(iter(evaluators), "the first metric")
    said = [f"{decides} decides, level {gate.get('alpha', 0.05):g}"]
    if gate.get("min_improvement"):
        said.append(f"the gain must exceed {points(gate['min_improvement'])} points")
    said += [f"{name} may lose {points(margin)} points" for name, margin in (gate.get("guards") or {}).items()]
    if (gate.get("repeats") or 1) > 1:
        said.append(f"each row {gate['repeats']} times")
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
    splits = ", ".join(f"{name} {n}" for name, n in (data.get("splits") or {}).items())
    return f"{source}; {splits}" if splits else source


# ------------------------------------------------------------ The report as one HTML file that loads nothing and r

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
