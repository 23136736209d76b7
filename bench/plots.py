"""Plots of what benchmarks measured, as SVG; FOG_BENCH_PLOTS names the folder to write them to.

A few lines of text in place of a library: everybody who starts the product would install it, and
the one that is well kept takes 75 MB.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

VARIABLE = "FOG_BENCH_PLOTS"
Point = tuple[float, float]

# Where things lie, in pixels.
_WIDTH, _HEIGHT = 760, 460
_LEFT, _TOP, _RIGHT, _BOTTOM = 70, 20, 550, 400
_LINE_HEIGHT = 18
_LOGARITHMIC = 10
_COLOURS = ("#888888", "#d62728", "#9467bd", "#1f77b4", "#ff7f0e", "#2ca02c")


class Axis(NamedTuple):
    """What an axis is of, and the values that stand at it, the least and the most included.

    It is logarithmic where its last value is ten times the first or more.
    """

    title: str
    values: Sequence[float]

    def share(self, value: float) -> float:
        """Return how far along the axis a value lies, 0 to 1; what is beyond lies at its end."""
        least, most = self.values[0], self.values[-1]
        value = min(max(value, least), most)
        if most >= _LOGARITHMIC * least:
            return math.log(value / least) / math.log(most / least)
        return (value - least) / (most - least)


class Curve(NamedTuple):
    """Points in order; `beside` is what they are compared with, dashed in the same colour."""

    name: str
    points: list[Point]
    beside: list[Point]


def write_if_wanted(
    name: str, across: Axis, upwards: Axis, curves: Sequence[Curve], dashed: str
) -> None:
    """Write a plot of that name into the folder that the environment names, if it does."""
    folder = os.environ.get(VARIABLE)
    if folder:
        written = Path(folder) / f"{name}.svg"
        written.write_text(plot(across, upwards, curves, dashed))
        print(f"plot: {written}")


def plot(across: Axis, upwards: Axis, curves: Sequence[Curve], dashed: str) -> str:
    """Return the SVG; its legend says what is `dashed`."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}">',
        "<style>text { font: 12px sans-serif }</style>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        *_axes(across, upwards),
    ]
    legend = []
    for number, curve in enumerate(curves):
        colour = _COLOURS[number % len(_COLOURS)]
        legend.append((curve.name, colour))
        for points, dashes in ((curve.points, ""), (curve.beside, ' stroke-dasharray="4 3"')):
            if points:
                parts.append(
                    f'<polyline points="{_places(across, upwards, points)}" fill="none" '
                    f'stroke="{colour}" stroke-width="1.6"{dashes}/>'
                )
    legend.append((f"dashed: {dashed}", "#444"))
    for number, (words, colour) in enumerate(legend):
        parts.append(_text(_RIGHT + 20, _TOP + 14 + _LINE_HEIGHT * number, words, colour=colour))
    return "\n".join([*parts, "</svg>", ""])


def _axes(across: Axis, upwards: Axis) -> Iterator[str]:
    for value in upwards.values:
        y = _y(upwards, value)
        yield f'<line x1="{_LEFT}" x2="{_RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
        yield _text(_LEFT - 8, y + 4, f"{value:,}", anchor="end")
    for value in across.values:
        yield _text(_x(across, value), _BOTTOM + _LINE_HEIGHT, f"{value:,}", anchor="middle")
    title = f"{across.title}; upwards: {upwards.title}"
    yield _text((_LEFT + _RIGHT) / 2, _HEIGHT - 14, title, anchor="middle")


def _text(x: float, y: float, words: str, *, anchor: str = "start", colour: str = "black") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">'
        f"{escape(words)}</text>"
    )


def _places(across: Axis, upwards: Axis, points: Sequence[Point]) -> str:
    return " ".join(f"{_x(across, x):.1f},{_y(upwards, y):.1f}" for x, y in points)


def _x(axis: Axis, value: float) -> float:
    return _LEFT + (_RIGHT - _LEFT) * axis.share(value)


def _y(axis: Axis, value: float) -> float:
    return _BOTTOM - (_BOTTOM - _TOP) * axis.share(value)
