"""Line charts as SVG, written by hand: no library, the same bytes every time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Lines = Mapping[str, Sequence[tuple[float, float]]]

_W, _H, _LEFT, _TOP, _BOTTOM, _LEGEND = 430, 290, 52, 34, 42, 15
_GREY = "#c4c4c4"
_COLOURS = (
    "#1b6ca8",
    "#c0392b",
    "#2e8b57",
    "#8e44ad",
    "#d98c00",
    "#4d4d4d",
    "#16a2a2",
    "#b03a75",
    "#6b8e23",
    "#8b4513",
)


@dataclass(frozen=True)
class Panel:
    """One chart: lines by name, each through its (x, y) points.

    Args:
        title: Above it.
        x_label: Below it.
        lines: The lines; a name that ends in " dev" is dashed in the colour of the one before it.
        log_x: Equal steps of x are equal factors.
        faint: Names drawn in grey and left out of the legend.
    """

    title: str
    x_label: str
    lines: Lines
    log_x: bool = False
    faint: frozenset[str] = field(default_factory=frozenset)


def line_chart(title: str, x_label: str, lines: Lines) -> str:
    """One chart on a page of its own."""
    return chart_page("", [Panel(title, x_label, lines)], columns=1)


def chart_page(title: str, panels: Sequence[Panel], columns: int = 2) -> str:
    """Charts side by side under one title."""
    named = [sum(n not in p.faint for n in p.lines) for p in panels]
    tall = _H + _LEGEND * math.ceil(max(named, default=0) / 2)
    head = 30 if title else 4
    width, height = _W * min(columns, len(panels)), head + tall * math.ceil(len(panels) / columns)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif"'
        ' font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    if title:
        out.append(f'<text x="{_LEFT}" y="20" font-size="15">{escape(title)}</text>')
    for i, panel in enumerate(panels):
        out.append(f'<g transform="translate({_W * (i % columns)} {head + tall * (i // columns)})">')
        out += [*_panel(panel), "</g>"]
    return "\n".join([*out, "</svg>\n"])


def _panel(panel: Panel) -> list[str]:
    points = [p for line in panel.lines.values() for p in line] or [(0.0, 0.0)]
    across = _Axis(_LEFT, _W - 14, *_ends(p[0] for p in points), log=panel.log_x)
    up = _Axis(_H - _BOTTOM, _TOP, *_ends(p[1] for p in points))
    out = [
        f'<text x="{_LEFT}" y="20" font-size="13">{escape(panel.title)}</text>',
        f'<path d="M{_LEFT} {_TOP}V{_H - _BOTTOM}H{_W - 14}" fill="none" stroke="#333"/>',
        f'<text x="{(_LEFT + _W) / 2:.0f}" y="{_H - 10}" text-anchor="middle">{escape(panel.x_label)}</text>',
    ]
    xs = sorted({p[0] for p in points}) if panel.log_x else across.whole_ticks()
    out += [f'<text x="{across.at(x):.1f}" y="{_H - _BOTTOM + 15}" text-anchor="middle">{x:g}</text>' for x in xs]
    for y in up.ticks():
        out.append(f'<text x="{_LEFT - 6}" y="{up.at(y) + 4:.1f}" text-anchor="end">{y:.2f}</text>')
        out.append(f'<path d="M{_LEFT} {up.at(y):.1f}H{_W - 14}" stroke="#eee"/>')
    drawn, colours = 0, dict[str, str]()
    for name in sorted(panel.lines, key=lambda n: n not in panel.faint):  # grey below the rest
        path = " ".join(f"{across.at(x):.1f},{up.at(y):.1f}" for x, y in panel.lines[name])
        if name in panel.faint:
            out.append(f'<polyline points="{path}" fill="none" stroke="{_GREY}"/>')
            continue
        stem, dev = name.removesuffix(" dev"), name.endswith(" dev")
        colour = colours.setdefault(stem.removesuffix(" test"), _COLOURS[len(colours) % len(_COLOURS)])
        dash = ' stroke-dasharray="4 3"' if dev else ""
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        at = _LEFT + (drawn % 2) * (_W - _LEFT) / 2, _H + _LEGEND * (drawn // 2) + 6
        out.append(f'<path d="M{at[0]:.0f} {at[1] - 4:.0f}h18" stroke="{colour}" stroke-width="2"{dash}/>')
        out.append(f'<text x="{at[0] + 24:.0f}" y="{at[1]:.0f}">{escape(name)}</text>')
        drawn += 1
    return out


def _ends(values: object) -> tuple[float, float]:
    found = list(values)  # type: ignore[call-overload]  # an iterable of numbers
    return min(found), max(found)


@dataclass(frozen=True)
class _Axis:
    """Where a value stands between two places of the page."""

    start: float
    end: float
    low: float
    high: float
    log: bool = False

    def at(self, value: float) -> float:
        low, high, v = (math.log(x) for x in (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        return self.start + (self.end - self.start) * ((v - low) / (high - low) if high > low else 0.0)

    def ticks(self) -> list[float]:
        if self.high <= self.low:
            return [self.low]
        return [self.low + (self.high - self.low) * k / 4 for k in range(5)]

    def whole_ticks(self) -> list[float]:
        """Whole numbers, at most six."""
        step = max(1, math.ceil((self.high - self.low) / 5))
        return [float(x) for x in range(math.ceil(self.low), math.floor(self.high) + 1, step)]
