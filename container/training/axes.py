"""Curves, points and heat maps between axes, as SVG. Colours and sizes of text are those of the page's style."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from algorithms.figures import Heatmap, Lines, short
from container.training.shades import coloured, png, signed, squeezed

STYLES = 6
"""Colours of series that the page's style has: classes s0, s1 and so on."""
_WIDTH, _HEIGHT = 400, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 16, 32, 42
_RIGHT_EDGE, _FLOOR = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
_DIGIT, _GAP = 9, 7
"""The width of a digit as the page's style has it, and what is left beside a label."""
_LONGEST_NAME = 16
_MOST_POINTS = 400
_MOST_DOTTED = 40
_LARGEST = 1e300
"""Beyond it the length of an axis is no float any more, and below its inverse there is none between two ticks."""
_NEAR_ZERO = 1 / 3
_NOTHING = "<p>There is nothing to draw.</p>"

Place: TypeAlias = Callable[[float, float], tuple[float, float]]
"""From a point of the data to a point of the drawing."""


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers from ``low`` to ``high``, about as many as wanted.

    >>> ticks(0, 1)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    >>> ticks(3, 3), ticks(0, 2e-15)
    ([3.0], [0.0, 5e-16, 1e-15, 1.5e-15, 2e-15])
    """
    if not high > low:
        return [float(low)]
    rough = (high - low) / wanted
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 3 - math.floor(math.log10(step))) for number in range(first, last + 1)]


def labels(values: Sequence[float]) -> list[str]:
    """The values of ``ticks`` with the digits that tell them apart.

    >>> labels([0.0, 0.5, 1.0]), labels([99990.0, 99995.0]), labels([0.0, 2e7])
    (['0', '0.5', '1'], ['99990', '99995'], ['0', '2e+07'])
    """
    most = max(map(abs, values), default=0.0)
    step = min((b - a for a, b in zip(values, values[1:], strict=False)), default=most) or 1.0
    digits = 1 + max(0, math.floor(math.log10(most or 1.0)) - math.floor(math.log10(abs(step))))
    return [f"{value + 0.0:.{max(digits, 5 if most < 1e5 else digits)}g}" for value in values]


def lines(one: Lines) -> str:
    """Curves or points, and the marks among them."""
    series = {name: _thinned(points) for name, points in one.series.items()}
    every = [point for points in (*series.values(), list(one.marks.values())) for point in points]
    if not every:
        return _NOTHING
    low_x, high_x = _range([x for x, _ in every])
    low_y, high_y = _from_zero(*_range([y for _, y in every]))
    up = ticks(low_y, high_y)
    left = _left_of(labels(up))

    def place(x: float, y: float) -> tuple[float, float]:
        right, down = (x - low_x) / (high_x - low_x), (high_y - y) / (high_y - low_y)
        return left + right * (_RIGHT_EDGE - left), _TOP + down * (_FLOOR - _TOP)

    across = _marks_of(low_x, high_x, one.whole, _RIGHT_EDGE - left)
    parts = [_grid(across, up, place, left), _names(one.x, one.y)]
    parts += [_series(number, points, place, joined=one.joined) for number, points in enumerate(series.values())]
    for number, point in enumerate(one.marks.values(), start=len(series)):
        x, y = place(*point)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" class="mark s{number % STYLES}"/>')
    return _svg(one.title, parts) + _legend(list(series), list(one.marks), joined=one.joined)


def _left_of(names: Sequence[str]) -> int:
    """Where the drawing begins, for these labels to have room before it: half of the width at most."""
    return min(max(_LEFT, _GAP + 2 + _DIGIT * max(map(len, names))), _WIDTH // 2)


def _marks_of(low: float, high: float, whole: bool, width: int) -> list[float]:
    """Ticks of the axis across, as many as have room; of whole numbers alone where it counts."""
    found: list[float] = []
    for wanted in (5, 4, 3, 2, 1):
        found = [tick for tick in ticks(low, high, wanted) if not whole or tick == round(tick)]
        if len(found) * (_GAP + _DIGIT * max(map(len, labels(found)), default=0)) <= width:
            break
    return found


def _series(number: int, points: Sequence[tuple[float, float]], place: Place, *, joined: bool) -> str:
    places = [place(*point) for point in points]
    drawn = ""
    if joined:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        drawn = f'<polyline points="{path}" class="line s{number % STYLES}"/>'
    if not joined or len(points) <= _MOST_DOTTED:
        drawn += "".join(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" class="dot s{number % STYLES}"/>' for x, y in places
        )
    return drawn


def _svg(title: str, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"><title>{html.escape(title)}</title>{"".join(parts)}</svg>'


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Finite points, no more than can be told apart, the last among them."""
    values = np.asarray(points, np.float64).reshape(-1, 2)
    finite = values[np.isfinite(values).all(axis=1)]
    step = max(1, -(-len(finite) // _MOST_POINTS))
    kept = finite[::step]
    if step > 1 and (len(finite) - 1) % step:
        kept = np.concatenate([kept, finite[-1:]])
    drawable = np.where(np.abs(kept) < 1 / _LARGEST, 0.0, np.clip(kept, -_LARGEST, _LARGEST))
    return [(x, y) for x, y in drawable.tolist()]


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    if low == high:
        margin = abs(low) / 10 or 1.0
        return low - margin, high + margin
    return low, high


def _from_zero(low: float, high: float) -> tuple[float, float]:
    """With zero where it is not far: the distance from it is then to be seen."""
    return (0.0 if 0 < low < _NEAR_ZERO * high else low), high


def _grid(across: Sequence[float], up: Sequence[float], place: Place, left: int) -> str:
    parts = []
    for x, label in zip(across, labels(across), strict=True):
        at = place(x, 0)[0]
        parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{_FLOOR}" class="grid"/>')
        parts.append(_text(min(at, _WIDTH - len(label) * _DIGIT / 2), _FLOOR + 19, label, "middle"))
    for y, label in zip(up, labels(up), strict=True):
        at = place(0, y)[1]
        kind = "zero" if y == 0 else "grid"
        parts.append(f'<line x1="{left}" x2="{_RIGHT_EDGE}" y1="{at:.1f}" y2="{at:.1f}" class="{kind}"/>')
        parts.append(_text(left - _GAP, at + 4, label, "end"))
    return "".join(parts)


def _names(x: str, y: str) -> str:
    """What the axes are: the one upwards is named above it, where it can be read without turning the head."""
    return _text(4, 14, y, "start", "axis") + _text(_RIGHT_EDGE, _HEIGHT - 6, x, "end", "axis")


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{f" class={kind}" if kind else ""}>'
        f"{html.escape(text)}</text>"
    )


def _legend(series: Sequence[str], marks: Sequence[str], *, joined: bool) -> str:
    if len(series) + len(marks) < 2:
        return ""
    kinds = ["key" if joined else "point"] * len(series) + ["point"] * len(marks)
    named = (
        f'<span><i class="{kind} s{number % STYLES}"></i>{html.escape(name)}</span>'
        for number, (kind, name) in enumerate(zip(kinds, [*series, *marks], strict=True))
    )
    return f'<div class="legend">{"".join(named)}</div>'


# ---- heat maps ------------------------------------------------------------------------------------------------------


def heatmap(one: Heatmap) -> str:
    """Shades between two axes; numbers in a table where they are counts to be read."""
    if not np.size(one.values):
        return _NOTHING
    if one.written:
        return _written(one, np.asarray(one.values, np.float64))
    size = np.shape(one.values)
    values = np.nan_to_num(squeezed(np.asarray(one.values)).astype(np.float64))  # large ones without a second copy
    left = _left_of([name for _, name in _ends(one.rows, size[0])])
    width, height = _RIGHT_EDGE - left, _FLOOR - _TOP
    parts = [
        f'<image href="{png(coloured(values))}" x="{left}" y="{_TOP}" width="{width}" height="{height}" '
        'preserveAspectRatio="none"/>',
        f'<rect x="{left}" y="{_TOP}" width="{width}" height="{height}" class="frame"/>',
        *(
            _text(left + at * width, _FLOOR + 19, name, anchor)
            for (at, name), anchor in zip(_ends(one.columns, size[1]), ("start", "end"), strict=True)
        ),
        *(
            _text(left - _GAP, _TOP + at * height + down, name, "end")
            for (at, name), down in zip(_ends(one.rows, size[0]), (11, -2), strict=True)
        ),
        _names(one.x, one.y),
    ]
    return _svg(one.title, parts) + _scale(values)


def _ends(names: Sequence[str], size: int) -> list[tuple[float, str]]:
    """Where the first and the last row or column are, from 0 to 1, and their names, or numbers from 0."""
    first, last = (str(names[0]), str(names[-1])) if len(names) else ("0", str(size - 1))
    return [(0.0, _cut(first)), (1.0, _cut(last))]


def _cut(name: str) -> str:
    """As much of a name as has room beside another one."""
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _scale(values: np.ndarray) -> str:
    most = float(np.abs(values).max())
    low, kind = (-most, "both") if signed(values) else (float(values.min()), "one")
    return (
        f'<div class="legend scale"><span>{short(low)}</span><i class="{kind}"></i><span>'
        f"{short(most if kind == 'both' else float(values.max()))}</span></div>"
    )


def _written(one: Heatmap, values: np.ndarray) -> str:
    shades = values / (values.sum(axis=1, keepdims=True) + 1e-300)
    head = "".join(f"<th scope=col>{html.escape(name)}</th>" for name in one.columns)
    rows = "".join(
        f"<tr><th scope=row>{html.escape(name)}</th>"
        + "".join(
            f'<td style="--share:{shade:.2f}">{value:g}</td>' for value, shade in zip(line, shade_row, strict=True)
        )
        + "</tr>"
        for name, line, shade_row in zip(one.rows, values, shades, strict=True)
    )
    corner = f"{html.escape(one.y)} \\ {html.escape(one.x)}"
    return (
        f'<div class=scroll role=region tabindex=0 aria-label="{html.escape(one.title)}">'
        f"<table class=cells><tr><th scope=col>{corner}</th>{head}</tr>{rows}</table></div>"
    )
