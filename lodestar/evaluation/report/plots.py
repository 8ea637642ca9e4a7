"""SVG charts inlined in the reports; colours come from the page's stylesheet, so they follow light and dark mode."""

import math
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from lodestar.evaluation.intervals import Interval
from lodestar.schema.arrays import Doubles, Float64

WIDTH, HEIGHT = 480, 300
LEFT, RIGHT, TOP, BOTTOM = 74, 24, 14, 50
BAR_HEIGHT = 22
NUM_TICKS = 5
FEW_POINTS = 60  # lines with at most this many points have markers


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a chart, x ascending; `style` is a class of the page's stylesheet."""

    style: str
    x: Float64[Doubles, " points"]
    y: Float64[Doubles, " points"]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """The label of an axis and the format of its ticks (percent if `is_share`)."""

    label: str
    is_share: bool = False

    def text(self, tick: float, ticks: list[float]) -> str:
        """The label of a tick, with as many digits as the distance of the `ticks` needs."""
        digits = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
        return f"{tick:.{max(0, digits - 2)}%}" if self.is_share else f"{tick:.{digits}f}"


def lines(drawn: list[Line], x: Axis, y: Axis, description: str) -> Markup:
    """Line chart with two axes; `description` is its aria-label for screen readers."""
    ticks_x, ticks_y = (_ticks(np.concatenate([getattr(line, side) for line in drawn])) for side in "xy")
    parts = [_grid_x(_across(tick, ticks_x), x.text(tick, ticks_x)) for tick in ticks_x]
    parts += [_grid_y(_down(tick, ticks_y), y.text(tick, ticks_y)) for tick in ticks_y]
    parts += [_line(line, ticks_x, ticks_y) for line in drawn]
    middle_x, middle_y = LEFT + (WIDTH - LEFT - RIGHT) / 2, TOP + (HEIGHT - TOP - BOTTOM) / 2
    parts.append(Markup('<text x="{:.0f}" y="{}" text-anchor="middle">{}</text>').format(middle_x, HEIGHT - 6, x.label))
    turned = Markup('<text transform="translate(14 {:.0f}) rotate(-90)" text-anchor="middle">{}</text>')
    parts.append(turned.format(middle_y, y.label))
    frame = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>')
    return frame.format(WIDTH, HEIGHT, description, Markup("").join(parts))


def bar(interval: Interval, most: float, style: str) -> Markup:
    """Horizontal bar of a value with its interval as a whisker; `most` is the value at full width."""
    value, low, high = (100 * max(0.0, end) / most if most > 0 else 0.0 for end in (interval.value, interval.low, interval.high))
    middle = BAR_HEIGHT / 2
    whisker = Markup('<line class="whisker" x1="{:.2f}%" x2="{:.2f}%" y1="{:g}" y2="{:g}"/>')
    ends = [whisker.format(end, end, middle - 4, middle + 4) for end in (low, high)]
    frame = Markup(
        '<svg class="bar {}" width="100%" height="{}" aria-hidden="true"><rect width="{:.2f}%" y="2" height="{}" rx="3"/>{}{}</svg>'
    )
    return frame.format(style, BAR_HEIGHT, value, BAR_HEIGHT - 4, whisker.format(low, high, middle, middle), Markup("").join(ends))


def _ticks(values: NDArray[np.float64]) -> list[float]:
    """Round tick values that span the values."""
    least, most = float(values.min()), float(values.max())
    spread = most - least or abs(most) or 1.0
    rough = spread / NUM_TICKS
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)
    first, last = math.floor(least / step + 1e-9), max(math.ceil(most / step - 1e-9), math.floor(least / step + 1e-9) + 1)
    return [round(place * step, 10) for place in range(first, last + 1)]


def _across(value: float, ticks: list[float]) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * (value - ticks[0]) / (ticks[-1] - ticks[0])


def _down(value: float, ticks: list[float]) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - ticks[0]) / (ticks[-1] - ticks[0])


def _grid_x(across: float, text: str) -> Markup:
    shape = Markup(
        '<line class="grid" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/><text x="{0:.1f}" y="{3}" text-anchor="middle">{4}</text>'
    )
    return shape.format(across, TOP, HEIGHT - BOTTOM, HEIGHT - BOTTOM + 20, text)


def _grid_y(down: float, text: str) -> Markup:
    shape = Markup('<line class="grid" x1="{1}" x2="{2}" y1="{0:.1f}" y2="{0:.1f}"/><text x="{3}" y="{4:.1f}" text-anchor="end">{5}</text>')
    return shape.format(down, LEFT, WIDTH - RIGHT, LEFT - 6, down + 4, text)


def _line(line: Line, ticks_x: list[float], ticks_y: list[float]) -> Markup:
    points = [(_across(x, ticks_x), _down(y, ticks_y)) for x, y in zip(line.x.tolist(), line.y.tolist(), strict=True)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    marks = [Markup('<circle cx="{:.1f}" cy="{:.1f}" r="2.5"/>').format(x, y) for x, y in points] if len(points) <= FEW_POINTS else []
    return Markup('<g class="{}"><polyline points="{}"/>{}</g>').format(line.style, path, Markup("").join(marks))
