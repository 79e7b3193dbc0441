"""A plot with logarithmic axes as SVG text: small, readable in a diff, no library needed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterator

_WIDTH, _HEIGHT = 720, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 40, 50
_SUFFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""), (1e-3, "m"), (1e-6, "µ"))


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
            f'role="img" font-family="sans-serif" font-size="12">'
        )
        yield f"<title>{escape(self.title)}</title>"
        yield f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>'
        yield f'<text x="{_LEFT}" y="22" font-size="15">{escape(self.title)}</text>'
        xs = [x for line in self.lines for x, _ in line.points]
        ys = [y for line in self.lines for _, y in line.points]
        across = _Axis(min(xs), max(xs), _LEFT, _WIDTH - _RIGHT)
        bottom, top = 10 ** math.floor(math.log10(min(ys))), 10 ** math.ceil(math.log10(max(ys)))
        up = _Axis(bottom, top, _HEIGHT - _BOTTOM, _TOP)
        yield from self._grid(across, up)
        for number, line in enumerate(self.lines):
            yield from _draw(line, number, across, up)
        yield "</svg>"

    def _grid(self, across: _Axis, up: _Axis) -> Iterator[str]:
        right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
        power = round(math.log10(up.low))
        while 10.0**power <= up.high * 1.001:
            y = up(10.0**power)
            yield f'<path d="M{_LEFT} {y:.1f}H{right}" stroke="#dddddd"/>'
            text = _engineering(10.0**power)
            yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
            power += 1
        for value, label in self.x_labels.items():
            if across.low <= value <= across.high:
                x = across(value)
                yield f'<path d="M{x:.1f} {_TOP}V{bottom}" stroke="#eeeeee"/>'
                yield f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{label}</text>'
        middle = (_LEFT + right) / 2
        yield (
            f'<text x="{middle:.0f}" y="{_HEIGHT - 12}" text-anchor="middle">'
            f"{escape(self.x_title)}</text>"
        )
        yield (
            f'<text transform="translate(16 {_HEIGHT / 2:.0f}) rotate(-90)" '
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
    y = _TOP + 16 + 18 * number
    yield f'<path d="M{_LEFT + 12} {y - 4}h22" stroke="{line.colour}" stroke-width="2"/>'
    yield f'<text x="{_LEFT + 40}" y="{y}">{escape(line.label)}</text>'


def _engineering(value: float) -> str:
    """Write a power of ten with a metric prefix."""
    for factor, suffix in _SUFFIXES:
        if value >= factor * 0.999:
            return f"{value / factor:g}{suffix}"
    return f"{value:g}"
