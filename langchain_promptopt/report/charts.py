"""Two small drawings in SVG, made of numbers only, so nothing in them can be text from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_promptopt.report.wording import points, signed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_promptopt.report.course import StepScore

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
