"""A plot with logarithmic axes as SVG text: small, readable in a diff, no library needed.

It has no background, and its text has the colour of the text around it (``currentColor``), so that
a page with a light and a dark theme can put it in either; alone it is a grey that both can show.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterator

_WIDTH, _HEIGHT = 640, 460
_LEFT, _RIGHT, _TOP, _BOTTOM = 92, 24, 92, 56
_STEPS = (1, 2, 5)


class Line(NamedTuple):
    """One measured line."""

    label: str
    colour: str
    points: list[tuple[float, float]]


class Plot(NamedTuple):
    """A plot.

    Attributes:
        title: What it shows.
        x_title: What is on the horizontal axis.
        y_title: What is on the vertical axis.
        lines: The lines.
        x_labels: Ticks of the horizontal axis.
    """

    title: str
    x_title: str
    y_title: str
    lines: list[Line]
    x_labels: dict[int, str]

    def svg(self) -> str:
        """Return the file's text."""
        return "\n".join(self._parts()) + "\n"

    def _parts(self) -> Iterator[str]:
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
            f'role="img" font-family="sans-serif" font-size="16" '
            f'fill="currentColor" color="#777777">'
        )
        yield f"<title>{escape(self.title)}</title>"
        yield f'<text x="{_LEFT}" y="24" font-weight="bold">{escape(self.title)}</text>'
        xs = [x for line in self.lines for x, _ in line.points]
        ys = [y for line in self.lines for _, y in line.points]
        across = _Axis(min(xs), max(xs), _LEFT, _WIDTH - _RIGHT)
        bottom = max(tick for tick in _ticks(min(ys) / 10, max(ys)) if tick <= min(ys))
        top = min(tick for tick in _ticks(min(ys), max(ys) * 10) if tick >= max(ys))
        up = _Axis(bottom, top, _HEIGHT - _BOTTOM, _TOP)
        yield from self._grid(across, up)
        for number, line in enumerate(self.lines):
            yield from _draw(line, number, across, up)
        yield "</svg>"

    def _grid(self, across: _Axis, up: _Axis) -> Iterator[str]:
        right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
        for value in _ticks(up.low, up.high):
            y = up(value)
            opacity = 0.3 if value == 10 ** round(math.log10(value)) else 0.1
            yield (
                f'<path d="M{_LEFT} {y:.1f}H{right}" stroke="currentColor" '
                f'stroke-opacity="{opacity}"/>'
            )
            yield f'<text x="{_LEFT - 8}" y="{y + 5:.1f}" text-anchor="end">{value:,g}</text>'
        for value, label in self.x_labels.items():
            if across.low <= value <= across.high:
                x = across(value)
                yield (
                    f'<path d="M{x:.1f} {_TOP}V{bottom}" stroke="currentColor" '
                    f'stroke-opacity="0.1"/>'
                )
                yield f'<text x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">{label}</text>'
        middle = (_LEFT + right) / 2
        yield (
            f'<text x="{middle:.0f}" y="{_HEIGHT - 10}" text-anchor="middle">'
            f"{escape(self.x_title)}</text>"
        )
        yield (
            f'<text transform="translate(18 {_HEIGHT / 2:.0f}) rotate(-90)" '
            f'text-anchor="middle">{escape(self.y_title)}</text>'
        )


class _Axis:
    """Maps a value to a coordinate, logarithmically."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high = low, high
        self._start = start
        self._scale = (end - start) / math.log(high / low) if high > low else 0.0

    def __call__(self, value: float) -> float:
        return self._start + math.log(value / self.low) * self._scale


def _draw(line: Line, number: int, across: _Axis, up: _Axis) -> Iterator[str]:
    places = [(across(x), up(y)) for x, y in line.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    yield f'<polyline points="{path}" fill="none" stroke="{line.colour}" stroke-width="2"/>'
    for x, y in places:
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{line.colour}"/>'
    # The key stands above, in two columns, where no line can run through it.
    x, y = _LEFT + 250 * (number % 2), 50 + 22 * (number // 2)
    yield f'<path d="M{x} {y - 5}h22" stroke="{line.colour}" stroke-width="3"/>'
    yield f'<text x="{x + 30}" y="{y}">{escape(line.label)}</text>'


def _ticks(low: float, high: float) -> list[float]:
    """Return the round numbers 1, 2, 5, 10, … between two values."""
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    # A power of ten of a float is not exact: 10.0**-2 * 5 is not 0.05.
    values = [float(f"{step}e{power}") for power in powers for step in _STEPS]
    return [value for value in values if low * 0.999 <= value <= high * 1.001]
