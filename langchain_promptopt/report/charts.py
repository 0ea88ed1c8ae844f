"""Drawings of a report in SVG, made of numbers only, so that no text from outside can be in them.

Every mark carries its numbers as a `<title>`, which browsers show on hover and screen readers read.
"""

from __future__ import annotations

from itertools import chain
from math import ceil
from typing import TYPE_CHECKING, TypeAlias

from langchain_promptopt.report.wording import points, signed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from langchain_promptopt.report.candidates import StepScore
    from langchain_promptopt.types import MetricEntry

    Coordinate: TypeAlias = Callable[[float], float]

_WIDTH, _HEIGHT = 720, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 24, 18, 48
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5)
"""Distances between the lines of a scale, as shares of 1: the round ones."""


def interval_chart(primary: MetricEntry) -> str:
    """The difference of two prompts with its interval on a scale in points, zero in the middle; "" without one."""
    if primary.interval is None or primary.difference is None:
        return ""
    difference, (low, high) = primary.difference, primary.interval
    width, middle = 420, 26
    reach = max(abs(low), abs(high), abs(difference), 0.01) * 1.15

    def x(value: float) -> float:
        return round(width / 2 + value / reach * (width / 2 - 24), 1)

    side = "above" if low > 0 else "below" if high < 0 else "across"
    label = f"difference {signed(difference)} points, interval {signed(low)} to {signed(high)}"
    scale = ""
    for v in _scale(-reach, reach, most=7):
        scale += (
            f'<line class="axis" x1="{x(v)}" y1="{middle - 4}" x2="{x(v)}" y2="{middle + 4}"/>'
            f'<text x="{x(v)}" y="{middle + 22}" text-anchor="middle">{_tick(v)}</text>'
        )
    return (
        f'<svg class="interval {side}" viewBox="0 0 {width} 72" role="img" aria-label="{label}">'
        f'<line class="axis" x1="0" y1="{middle}" x2="{width}" y2="{middle}"/>{scale}'
        f'<line class="zero" x1="{x(0)}" y1="6" x2="{x(0)}" y2="{middle + 8}"/>'
        f'<line class="range" x1="{x(low)}" y1="{middle}" x2="{x(high)}" y2="{middle}"/>'
        f'<circle class="dot" cx="{x(difference)}" cy="{middle}" r="6"><title>{label}</title></circle>'
        f'<text x="4" y="68">old is better</text>'
        f'<text x="{width - 4}" y="68" text-anchor="end">new is better</text></svg>'
    )


def steps_chart(steps: Sequence[StepScore]) -> str:
    """Search scores by step: a dot for each candidate, a line for the prompt that led."""
    scores = list(chain.from_iterable(step.scores for step in steps))
    lowest, highest = min(scores), max(scores)
    pad = max((highest - lowest) * 0.12, 0.01)
    low, high = max(0.0, lowest - pad), min(1.0, highest + pad)
    last = max(steps[-1].step, 1)

    def x(step: float) -> float:
        return round(_LEFT + step / last * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(score: float) -> float:
        return round(_TOP + (high - score) / ((high - low) or 1.0) * (_HEIGHT - _TOP - _BOTTOM), 1)

    grid = ""
    for v in _scale(low, high, most=6):
        grid += (
            f'<line class="grid" x1="{_LEFT}" y1="{y(v)}" x2="{_WIDTH - _RIGHT}" y2="{y(v)}"/>'
            f'<text x="{_LEFT - 8}" y="{y(v) + 4}" text-anchor="end">{_tick(v)}</text>'
        )
    names = ""
    for s in steps:
        names += f'<text x="{x(s.step)}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{_step_name(s.step)}</text>'
    led = " ".join(f"{x(s.step)},{y(s.best)}" for s in steps)
    start = steps[0].best
    return (
        f'<svg class="steps" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="best search score'
        f' {points(start)} at the start, {points(steps[-1].best)} at the end">{grid}{names}'
        f'<line class="baseline" x1="{_LEFT}" y1="{y(start)}" x2="{_WIDTH - _RIGHT}" y2="{y(start)}">'
        f"<title>the old prompt: {points(start)}</title></line>"
        f'{"".join(_tries(steps, x, y))}<polyline points="{led}"/>'
        f"{''.join(_leaders(steps, x, y))}"
        f'<text x="{(_LEFT + _WIDTH) / 2}" y="{_HEIGHT - 6}" text-anchor="middle">step</text>'
        f'<text x="4" y="12">search score, points</text></svg>'
    )


def _tries(steps: Sequence[StepScore], x: Coordinate, y: Coordinate) -> Iterator[str]:
    for step in steps:
        for score in step.scores:
            title = f"{_step_name(step.step)}: a candidate with {points(score)}"
            yield f'<circle class="try" cx="{x(step.step)}" cy="{y(score)}" r="4"><title>{title}</title></circle>'


def _leaders(steps: Sequence[StepScore], x: Coordinate, y: Coordinate) -> Iterator[str]:
    for step in steps:
        title = f"{_step_name(step.step)}: the best had {points(step.best)}"
        yield f'<circle class="best" cx="{x(step.step)}" cy="{y(step.best)}" r="5"><title>{title}</title></circle>'


def _step_name(step: int) -> str:
    return "start" if step == 0 else str(step)


def _scale(low: float, high: float, *, most: int) -> list[float]:
    """Round values between `low` and `high`, at most `most` of them."""
    step = next((s for s in _STEPS if (high - low) / s <= most), 1.0)
    first = ceil(low / step)
    return [k * step for k in range(first, int(high // step) + 1)]


def _tick(value: float) -> str:
    """A value of a scale in whole points.

    >>> _tick(0.25), _tick(-0.1), _tick(0.0)
    ('25', '−10', '0')
    """
    shown = round(value * 100)
    return f"−{-shown}" if shown < 0 else str(shown)
