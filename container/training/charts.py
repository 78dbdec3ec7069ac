"""Figures as SVG and HTML that need nothing else: no script, no font, no network.

Drawn by hand, because a plotting library would take more room in the image than every algorithm together.
"""

from __future__ import annotations

import base64
import html
import math
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from algorithms.figures import Bars, Figure, Heatmap, Lines, Pictures, Table

COLOURS = ("#2f6db3", "#e07b28", "#3d8f55", "#c0392b", "#7d5ba6", "#79706e")
_WIDTH, _HEIGHT = 480, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 12, 44
_MOST_POINTS = 400
_MOST_CELLS = 250
_PICTURE = 72


Place: TypeAlias = Callable[[float, float], tuple[float, float]]
"""From a point of the data to a point of the drawing."""


def figure(one: Figure) -> str:
    """A figure with its title and note."""
    drawn = _DRAWN[type(one)](one)
    note = f"<p>{html.escape(one.note)}</p>" if one.note else ""
    wide = isinstance(one, (Pictures, Table))
    return f"<figure{' class=wide' if wide else ''}><h3>{html.escape(one.title)}</h3>{drawn}{note}</figure>"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of text."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


# ---- curves ---------------------------------------------------------------------------------------------------------


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers from ``low`` to ``high``, about as many as wanted.

    >>> ticks(0, 1)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    >>> ticks(3, 3)
    [3.0]
    """
    if not high > low:
        return [float(low)]
    rough = (high - low) / wanted
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _lines(one: Lines) -> str:
    series = {name: _thinned(points) for name, points in one.series.items()}
    every = [point for points in series.values() for point in points]
    if not every:
        return "<p>There is nothing to draw.</p>"
    xs, ys = [x for x, _ in every], [y for _, y in every]
    low_x, high_x = _range(xs)
    low_y, high_y = _range(ys)

    def place(x: float, y: float) -> tuple[float, float]:
        right, down = (x - low_x) / (high_x - low_x), (high_y - y) / (high_y - low_y)
        return _LEFT + right * (_WIDTH - _LEFT - _RIGHT), _TOP + down * (_HEIGHT - _TOP - _BOTTOM)

    parts = [_grid(ticks(low_x, high_x), ticks(low_y, high_y), place)]
    for number, points in enumerate(series.values()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
        if one.joined:
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if len(points) <= 40 or not one.joined:
            parts += [
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in (place(*p) for p in points)
            ]
    parts.append(_axis_names(one.x, one.y))
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}">{"".join(parts)}</svg>{_legend(list(series))}'


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Finite points, no more than can be told apart, the last among them."""
    finite = [(float(x), float(y)) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    step = -(-len(finite) // _MOST_POINTS) if finite else 1
    return finite[::step] + (finite[-1:] if step > 1 and (len(finite) - 1) % step else [])


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    if low == high:
        margin = abs(low) / 10 or 1.0
        return low - margin, high + margin
    return low, high


def _grid(across: Sequence[float], up: Sequence[float], place: Place) -> str:
    parts = []
    for x in across:
        at = place(x, 0)[0]
        parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}" class="grid"/>')
        parts.append(f'<text x="{at:.1f}" y="{_HEIGHT - _BOTTOM + 15}" text-anchor="middle">{x:g}</text>')
    for y in up:
        at = place(0, y)[1]
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}" class="grid"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{y:.5g}</text>')
    return "".join(parts)


def _axis_names(x: str, y: str) -> str:
    middle = _TOP + (_HEIGHT - _TOP - _BOTTOM) / 2
    return (
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 8}" text-anchor="middle">{html.escape(x)}</text>'
        f'<text transform="translate(12 {middle}) rotate(-90)" text-anchor="middle">{html.escape(y)}</text>'
    )


def _legend(names: Sequence[str]) -> str:
    marks = (
        f'<span><i style="background:{COLOURS[number % len(COLOURS)]}"></i>{html.escape(name)}</span>'
        for number, name in enumerate(names)
    )
    return f'<div class="legend">{"".join(marks)}</div>'


# ---- bars -----------------------------------------------------------------------------------------------------------


def _bars(one: Bars) -> str:
    values = [value if math.isfinite(value) else 0.0 for value in one.values]
    low, high = min([0.0, *values]), max([0.0, *values])
    scale = 100 / ((high - low) or 1)
    rows = []
    for label, value in zip(one.labels, values, strict=True):
        start, width = (min(value, 0) - low) * scale, abs(value) * scale
        colour = COLOURS[0] if value >= 0 else COLOURS[3]
        rows.append(
            f"<tr><td>{html.escape(label)}</td><td class=bar>"
            f'<i style="margin-left:{start:.1f}%;width:{width:.1f}%;background:{colour}"></i></td>'
            f"<td class=number>{value:.4g}</td></tr>"
        )
    return f"<table class=bars>{''.join(rows)}</table>"


# ---- numbers as shades ----------------------------------------------------------------------------------------------


def _heatmap(one: Heatmap) -> str:
    if not np.size(one.values):
        return "<p>There is nothing to draw.</p>"
    if one.written:
        return _written(one, np.asarray(one.values, np.float64))
    values = np.nan_to_num(_squeezed(np.asarray(one.values)).astype(np.float64))  # large ones without a second copy
    down, across = (f"{names[0]} … {names[-1]}" if names else "" for names in (one.rows, one.columns))
    return (
        f'<img class=heat src="{png(_coloured(values))}" alt="{html.escape(one.title)}">'
        f'<div class="legend"><span>down: {html.escape(one.y)} {html.escape(down)}</span>'
        f"<span>across: {html.escape(one.x)} {html.escape(across)}</span>"
        f"<span>{_scale(values)}</span></div>"
    )


_BLUE, _RED = np.array([208, 146, 76]), np.array([42, 157, 171])  # what the full colour takes from white


def _coloured(values: np.ndarray) -> np.ndarray:
    """Colours (height, width, 3) of numbers: from white to blue; where they are of both signs, white is zero, blue
    above and red below it, by one measure."""
    if not _signed(values):
        return 255 - _shades(values)[..., None] * _BLUE
    shares = values / np.abs(values).max()
    return 255 - np.where(shares[..., None] > 0, shares[..., None] * _BLUE, -shares[..., None] * _RED)


def _signed(values: np.ndarray) -> bool:
    return bool(values.min() < 0 < values.max())


def _scale(values: np.ndarray) -> str:
    if not _signed(values):
        return f"white {values.min():.4g}, blue {values.max():.4g}"
    most = np.abs(values).max()
    return f"red {-most:.4g}, white 0, blue {most:.4g}"


def _written(one: Heatmap, values: np.ndarray) -> str:
    shades = values / (values.sum(axis=1, keepdims=True) + 1e-300)
    head = "".join(f"<th>{html.escape(name)}</th>" for name in one.columns)
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th>"
        + "".join(
            f'<td style="--share:{shade:.2f}">{value:g}</td>' for value, shade in zip(line, shade_row, strict=True)
        )
        + "</tr>"
        for name, line, shade_row in zip(one.rows, values, shades, strict=True)
    )
    corner = f"{html.escape(one.y)} \\ {html.escape(one.x)}"
    return f"<div class=scroll><table class=cells><tr><th>{corner}</th>{head}</tr>{rows}</table></div>"


def _squeezed(values: np.ndarray) -> np.ndarray:
    """At most so many cells each way: the means of neighbours where there are more."""
    for axis in (0, 1):
        size = values.shape[axis]
        if size > _MOST_CELLS:
            starts = np.linspace(0, size, _MOST_CELLS, endpoint=False).astype(int)
            sums = np.add.reduceat(values, starts, axis=axis)
            counts = np.diff([*starts, size])
            values = sums / (counts[:, None] if axis == 0 else counts)
    return values


def _shades(values: np.ndarray) -> np.ndarray:
    low, high = values.min(), values.max()
    return (values - low) / ((high - low) or 1)


def _pictures(one: Pictures) -> str:
    cards = "".join(
        f'<div><img src="{png(_grey(image))}" width={_PICTURE} '
        f'alt="{html.escape(caption)}"><span>{html.escape(caption)}</span></div>'
        for image, caption in zip(np.asarray(one.images, np.float64), one.captions, strict=True)
    )
    return f"<div class=pictures>{cards}</div>"


def _grey(image: np.ndarray) -> np.ndarray:
    """A picture (height, width, 3) of numbers (height, width), in colours where they are of both signs."""
    return _coloured(image) if _signed(image) else np.repeat(255 * (1 - _shades(image)[:, :, None]), 3, axis=2)


def png(pixels: np.ndarray) -> str:
    """A picture, (height, width, 3) from 0 to 255, as a data address (PNG, ISO/IEC 15948)."""
    height, width, _ = pixels.shape
    lines = b"".join(b"\0" + line.tobytes() for line in np.clip(pixels, 0, 255).astype(np.uint8))
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines)),
        (b"IEND", b""),
    )
    chunks = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + chunks).decode()


def _table(one: Table) -> str:
    return f"<div class=scroll>{table(one.columns, one.rows)}</div>"


_DRAWN: dict[type, Callable[[Any], str]] = {
    Lines: _lines,
    Bars: _bars,
    Heatmap: _heatmap,
    Pictures: _pictures,
    Table: _table,
}
