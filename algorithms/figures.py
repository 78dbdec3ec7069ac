"""What a model has to show: figures as plain data, for whoever draws them.

>>> largest("Weights", np.array([1.0, -3.0])).labels
['feature 1', 'feature 0']
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from recordio.batches import Batch

MOST_BARS = 30
_MOST_ROWS, _MOST_NAMES = 30, 5


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Curves over one axis: named series of points (x, y).

    Attributes:
        x, y: what the axes are, with the unit where there is one.
        joined: points that follow each other; else they are drawn alone.
        marks: single points that matter, by name.
        whole: x counts something, so that there is nothing between 1 and 2.
    """

    title: str
    x: str
    y: str
    series: Mapping[str, Sequence[tuple[float, float]]]
    note: str = ""
    joined: bool = True
    marks: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    whole: bool = False


@dataclass(frozen=True, kw_only=True)
class Bars:
    """A value, of either sign, for each label; drawn in the order given."""

    title: str
    labels: Sequence[str]
    values: Sequence[float]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Heatmap:
    """Numbers in rows and columns. ``written``: they are counts to be read, not only shades."""

    title: str
    values: np.ndarray
    x: str
    y: str
    rows: Sequence[str] = ()
    columns: Sequence[str] = ()
    written: bool = False
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Small pictures with a caption each: (n, height, width) numbers, drawn in grey, or (n, height, width, 3) uint8."""

    title: str
    images: np.ndarray
    captions: Sequence[str]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells of text."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]] = field(default_factory=list)
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Card:
    """One of several things of a kind, such as a topic.

    Attributes:
        share: of the whole, from 0 to 1.
        words: with how much each weighs.
        facts: a line of what was measured of it.
        examples: a line each.
    """

    title: str
    share: float
    words: Sequence[tuple[str, float]]
    facts: str = ""
    examples: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Cards:
    """Things of a kind side by side."""

    title: str
    cards: Sequence[Card]
    note: str = ""


@dataclass(frozen=True)
class Sample:
    """Rows of a channel, evenly from all of it, to show how the model does. ``dataset`` is the channel's name.

    ``names`` are those of the features, in their order; none where nobody says.
    """

    dataset: str
    rows: Batch
    names: Sequence[str] = ()


Figure: TypeAlias = Lines | Bars | Heatmap | Pictures | Table | Cards


def short(value: float, digits: int = 4) -> str:
    """A number for people, of so many significant digits; without an exponent from 0.0001 to below 10^9.

    >>> short(0.98765432), short(18812.34), short(-2117000000), short(0.00001)
    ('0.9877', '18812', '-2.117e+09', '1e-05')
    """
    return f"{value:.0f}" if 10**digits <= abs(value) < 1e9 else f"{value:.{digits}g}"


def largest(title: str, values: np.ndarray, names: Sequence[str] = (), note: str = "") -> Bars:
    """The values furthest from zero, (n,), falling; features are numbered from 0 where they have no names."""
    sizes = np.abs(values)
    first = np.argpartition(-sizes, MOST_BARS)[:MOST_BARS] if len(values) > MOST_BARS else np.arange(len(values))
    order = first[np.argsort(-sizes[first], kind="stable")]
    labels = [str(names[index]) if names else f"feature {index}" for index in order]
    more = f" The {len(order)} largest of {len(values)}." if len(values) > len(order) else ""
    return Bars(title=title, labels=labels, values=[float(values[index]) for index in order], note=note + more)


def effects(title: str, weights: np.ndarray, sample: Sample | None) -> Bars:
    """Weights, (d,), times the standard deviation of their features in ``sample``: how much a feature moves the score.

    The bare weights where there is no sample.
    """
    if sample is None:
        return largest(title, weights)
    _, deviation = spread(sample)
    note = "Each times the standard deviation of its feature."
    return largest(title, weights * deviation, sample.names, note)


def spread(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the standard deviation of each feature, (d,) each."""
    features = sample.rows.features
    mean = np.asarray(features.mean(axis=0)).reshape(-1)
    squares = np.asarray((features**2).mean(axis=0)).reshape(-1)
    return mean, np.sqrt(np.maximum(squares - mean**2, 0))


def names_of(sample: Sample | None) -> Sequence[str]:
    """Those of the features; none where nobody says."""
    return () if sample is None else sample.names


def strongest(
    title: str, values: np.ndarray, row: str, sample: Sample | None, *, first: int = 0, note: str = ""
) -> list[Table]:
    """Of each row of values, (n, d), the names of the features whose values are furthest from 0, with these; nothing
    where features have no names. ``row`` is what a row is, numbered from ``first``."""
    names = names_of(sample)
    if not names:
        return []
    shown = values[:_MOST_ROWS]
    order = np.argsort(-np.abs(shown), axis=1, kind="stable")[:, :_MOST_NAMES]
    rows = [
        [str(number), ", ".join(f"{names[index]} ({line[index]:.2g})" for index in found)]
        for number, (line, found) in enumerate(zip(shown, order, strict=True), first)
    ]
    more = f" The first {len(shown)} of {len(values)}." if len(shown) < len(values) else ""
    return [Table(title=title, columns=(row, "features"), rows=rows, note=note + more)]
