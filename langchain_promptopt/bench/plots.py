"""Line charts as SVG, written by hand: no library, the same bytes every time."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_W, _H, _LEFT, _TOP, _RIGHT, _BOTTOM = 720, 400, 60, 40, 180, 50
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


def line_chart(title: str, x_label: str, lines: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """One line a name through its (x, y) points, with axes and a legend."""
    points = [p for line in lines.values() for p in line] or [(0.0, 0.0)]
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    low_x, high_x, low_y, high_y = min(xs), max(xs), min(ys), max(ys)
    wide, tall = _W - _LEFT - _RIGHT, _H - _TOP - _BOTTOM

    def at(x: float, y: float) -> tuple[float, float]:
        dx = (x - low_x) / (high_x - low_x or 1)
        dy = (y - low_y) / (high_y - low_y or 1)
        return _LEFT + wide * dx, _TOP + tall * (1 - dy)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_W} {_H}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_W}" height="{_H}" fill="white"/>',
        f'<text x="{_LEFT}" y="22" font-size="15">{escape(title)}</text>',
        f'<path d="M{_LEFT} {_TOP}V{_TOP + tall}H{_LEFT + wide}" fill="none" stroke="#333"/>',
        f'<text x="{_LEFT + wide / 2:.0f}" y="{_H - 10}" text-anchor="middle">{escape(x_label)}</text>',
    ]
    for k in range(5):
        y, x = low_y + (high_y - low_y) * k / 4, low_x + (high_x - low_x) * k / 4
        out.append(f'<text x="{_LEFT - 6}" y="{at(low_x, y)[1] + 4:.1f}" text-anchor="end">{y:.2f}</text>')
        out.append(f'<text x="{at(x, low_y)[0]:.1f}" y="{_TOP + tall + 18}" text-anchor="middle">{x:g}</text>')
    for i, (name, line) in enumerate(lines.items()):
        colour = _COLOURS[i % len(_COLOURS)]
        path = " ".join(f"{at(*p)[0]:.1f},{at(*p)[1]:.1f}" for p in line)
        dash = ' stroke-dasharray="6 3"' if i >= len(_COLOURS) else ""
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        out.append(f'<text x="{_LEFT + wide + 10}" y="{_TOP + 14 * (i + 1)}" fill="{colour}">{escape(name)}</text>')
    return "\n".join([*out, "</svg>\n"])
