"""Figures as SVG and HTML that need nothing else: no script, no font, no network.

Drawn by hand, because a plotting library would take more room in the image than every algorithm together.
"""

from __future__ import annotations

import html
import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from algorithms.figures import Bars, Card, Cards, Figure, Heatmap, Lines, Pictures, Table, short
from container.training.axes import heatmap, lines, ticks
from container.training.shades import grey, png, squeezed
from container.training.style import STYLE

__all__ = ["as_data", "document", "figure", "plain", "png", "table", "ticks"]

_PICTURE = 88
_HALF_PAGE, _CELL, _LETTER = 460, 36, 7
"""Pixels."""
_LONGEST_NUMBER = 24
"""Characters; a number of more must break on a phone."""
_MANY = 64
"""Numbers from which on all of them are rounded at once."""
_NUMBER = re.compile(r"[-+−]?[\d., ]*\d(e[-+]?\d+)?( ?%)?")


def document(title: str, content: str, style: str = "") -> str:
    """A page of HTML with this content, in the style of the charts; ``style`` is added to it."""
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}{style}</style>\n<main>{content}</main>\n"
    )


def figure(one: Figure) -> str:
    """A figure with its title and note."""
    drawn = _DRAWN[type(one)](one)
    note = f"<p>{html.escape(one.note)}</p>" if one.note else ""
    wide = isinstance(one, (Pictures, Table, Cards)) or (isinstance(one, Heatmap) and _is_wide(one))
    return f"<figure{' class=wide' if wide else ''}><h2>{_text(one.title)}</h2>{drawn}{note}</figure>"


def _is_wide(one: Heatmap) -> bool:
    """Whether it is a table that half a page has no room for."""
    if not one.written:
        return False
    longest = max(len(f"{value:g}") for value in np.asarray(one.values, np.float64).flat) if np.size(one.values) else 0
    columns = sum(max(_CELL, _LETTER * max(len(name), longest) + 16) for name in one.columns)
    corner = max(len(one.x) + len(one.y) + 3, *map(len, one.rows), 0)
    return columns + _LETTER * corner > _HALF_PAGE


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of text, in which numbers stand to the right and never break."""
    head = "".join(f"<th scope=col>{html.escape(name)}</th>" for name in columns)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(text: str) -> str:
    kind = " class=number" if len(text) <= _LONGEST_NUMBER and _NUMBER.fullmatch(text) else ""
    return f"<td{kind}>{_text(text)}</td>"


def _text(text: str) -> str:
    """Names of several words may break between them."""
    return html.escape(text).replace("_", "_<wbr>")


def _bars(one: Bars) -> str:
    values = [value if math.isfinite(value) else 0.0 for value in one.values]
    low, high = min([0.0, *values]), max([0.0, *values])
    scale = 100 / ((high - low) or 1)
    rows = []
    for label, value in zip(one.labels, values, strict=True):
        start, width = (min(value, 0) - low) * scale, abs(value) * scale
        rows.append(
            f"<tr><th scope=row>{_text(label)}</th><td class=bar>"
            f'<i class=s{0 if value >= 0 else 1} style="margin-left:{start:.1f}%;width:{width:.1f}%"></i></td>'
            f"<td class=number>{short(value)}</td></tr>"
        )
    return f"<table class=bars>{''.join(rows)}</table>"


def _pictures(one: Pictures) -> str:
    cards = "".join(
        f'<div><img src="{png(_pixels(np.asarray(image)))}" width={_PICTURE} height={_PICTURE} alt="">'
        f"<span>{html.escape(caption)}</span></div>"
        for image, caption in zip(one.images, one.captions, strict=True)
    )
    return f"<div class=pictures>{cards}</div>"


def _pixels(image: np.ndarray) -> np.ndarray:
    """Colours as they are, numbers in shades of grey."""
    return image if image.ndim == 3 else grey(image.astype(np.float64))


def _cards(one: Cards) -> str:
    largest = max((card.share for card in one.cards), default=0) or 1
    return f"<div class=cards>{''.join(_card(card, largest) for card in one.cards)}</div>"


def _card(card: Card, largest: float) -> str:
    most = max((size for _, size in card.words), default=0) or 1
    words = " ".join(
        f'<span style="font-size:{0.85 + 0.55 * size / most:.2f}em">{html.escape(word)}</span>'
        for word, size in card.words
    )
    examples = "".join(f"<li>{html.escape(text)}</li>" for text in card.examples)
    listed = f"<details><summary>Examples</summary><ol>{examples}</ol></details>" if examples else ""
    return (
        f"<article><h3>{html.escape(card.title)}<small>{card.share:.1%}</small></h3>"
        f'<div class=share><i style="width:{100 * card.share / largest:.1f}%"></i></div>'
        f"<p class=words>{words}</p><p>{html.escape(card.facts)}</p>{listed}</article>"
    )


def _table(one: Table) -> str:
    return (
        f'<div class=scroll role=region tabindex=0 aria-label="{html.escape(one.title)}">'
        f"{table(one.columns, one.rows)}</div>"
    )


_DRAWN: dict[type, Callable[[Any], str]] = {
    Lines: lines,
    Bars: _bars,
    Heatmap: heatmap,
    Pictures: _pictures,
    Table: _table,
    Cards: _cards,
}


# ---- the same as data -----------------------------------------------------------------------------------------------


def as_data(one: Figure) -> dict[str, Any]:
    """A figure as JSON can say it: its kind, and what it is made of; null for a number that is not finite. Pictures are
    left to the page, and of large heat maps there are the cells that it draws."""
    fields = {name: value for name, value in vars(one).items() if not isinstance(one, Pictures) or name != "images"}
    return {"kind": type(one).__name__.lower(), **{name: plain(value) for name, value in fields.items()}}


def plain(value: Any) -> Any:
    """What JSON can say of a value: seven digits of a float, lists for arrays."""
    match value:
        case list() | tuple():
            numbers = _numbers(value)
            return [plain(one) for one in value] if numbers is None else _rounded(numbers).tolist()
        case float() | np.floating():
            return float(f"{value:.7g}") if math.isfinite(value) else None
        case np.ndarray():
            value = squeezed(value) if value.ndim == 2 else value
            return _rounded(value).tolist() if _are_usual(value) else plain(value.tolist())
        case Card():
            return plain(vars(value))
        case Mapping():
            return {str(name): plain(one) for name, one in value.items()}
        case np.integer():
            return int(value)
    return value


def _numbers(values: Sequence[Any]) -> np.ndarray | None:
    """Many floats of usual size, or pairs of them, as an array; None for anything else."""
    if len(values) < _MANY:
        return None
    pairs = set(map(type, values)) == {tuple} and set(map(len, values)) == {2}
    flat = list(itertools.chain.from_iterable(values)) if pairs else values
    if set(map(type, flat)) != {float}:
        return None
    numbers = np.array(flat).reshape(-1, 2) if pairs else np.array(flat)
    return numbers if _are_usual(numbers) else None


def _are_usual(values: np.ndarray) -> bool:
    """Whether these are floats that ``_rounded`` takes."""
    if values.dtype.kind != "f":
        return False
    sizes = np.abs(values)
    return bool(((sizes == 0) | ((sizes > 1e-15) & (sizes < 1e15))).all())


def _rounded(values: np.ndarray) -> np.ndarray:
    """Seven significant digits of each: a whole number over or times a power of ten that float64 has exactly, so that
    the result is the nearest to those digits."""
    values = values.astype(np.float64)
    places = 6 - np.floor(np.log10(np.where(values == 0, 1, np.abs(values)))).astype(np.int64)
    below, above = 10.0 ** np.maximum(places, 0), 10.0 ** np.maximum(-places, 0)
    return np.rint(values * below / above) / below * above
