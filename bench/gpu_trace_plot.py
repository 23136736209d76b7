"""Curves over arrival as a plain SVG: no library needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_WIDTH, _HEIGHT, _LEFT, _TOP = 760, 460, 60, 20
_PLOT_WIDTH, _PLOT_HEIGHT = 480, 380
_FROM_X, _TO_X, _FROM_Y, _TO_Y = 80, 130, 80, 100
_COLOURS = ("#888888", "#d62728", "#9467bd", "#1f77b4", "#ff7f0e", "#2ca02c")


def plot(curves: Mapping[str, Sequence[float]], published: Mapping[str, Sequence[float]]) -> str:
    """Return an SVG: each curve by percent arrived, published ones dashed in the same colour."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        *_axes(),
    ]
    for number, (name, curve) in enumerate(curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        parts.append(_line(curve, colour, ""))
        theirs = published.get(f"{name} (published)")
        if theirs is not None:
            parts.append(_line(theirs, colour, "4 3"))
        y = _TOP + 14 + 18 * number
        x = _LEFT + _PLOT_WIDTH + 20
        parts.append(f'<text x="{x}" y="{y}" fill="{colour}">{name} {curve[_TO_X]:.1f} %</text>')
    note_y = _TOP + 30 + 18 * len(curves)
    parts.append(
        f'<text x="{_LEFT + _PLOT_WIDTH + 20}" y="{note_y}" fill="#444">dashed: published</text>'
    )
    return "\n".join([*parts, "</svg>", ""])


def _axes() -> list[str]:
    parts = []
    for percent in range(_FROM_Y, _TO_Y + 1, 5):
        y = _y(percent)
        parts.append(
            f'<line x1="{_LEFT}" x2="{_LEFT + _PLOT_WIDTH}" y1="{y}" y2="{y}" stroke="#ddd"/>'
            f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{percent}</text>'
        )
    for percent in range(_FROM_X, _TO_X + 1, 10):
        x = _x(percent)
        bottom = _TOP + _PLOT_HEIGHT
        parts.append(f'<text x="{x}" y="{bottom + 18}" text-anchor="middle">{percent}</text>')
    middle = _LEFT + _PLOT_WIDTH / 2
    parts.append(
        f'<text x="{middle}" y="{_HEIGHT - 14}" text-anchor="middle">GPUs asked for, in % of all; '
        "upwards: GPUs allocated, in % of all</text>"
    )
    return parts


def _line(curve: Sequence[float], colour: str, dashes: str) -> str:
    points = " ".join(
        f"{_x(percent):.1f},{_y(max(curve[percent], _FROM_Y)):.1f}"
        for percent in range(_FROM_X, _TO_X + 1)
    )
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"{dashed}/>'


def _x(percent: float) -> float:
    return _LEFT + _PLOT_WIDTH * (percent - _FROM_X) / (_TO_X - _FROM_X)


def _y(percent: float) -> float:
    return _TOP + _PLOT_HEIGHT * (_TO_Y - percent) / (_TO_Y - _FROM_Y)
