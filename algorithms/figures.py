"""What a model has to show: figures as plain data, for whoever draws them.

>>> calibration(np.array([0, 1, 1, 0]), np.array([0.1, 0.9, 0.9, 0.1])).series["model"]
[(0.1, 0.0), (0.9, 1.0)]
>>> confusion(np.array([0, 1, 1]), np.array([0, 1, 0])).values
array([[1, 0],
       [1, 1]])
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from recordio.batches import Batch

MOST_BARS = 30
MOST_CLASSES = 40
_BINS = 10


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Curves over one axis: named series of points (x, y). ``joined``: points that follow each other; else they are
    drawn alone."""

    title: str
    x: str
    y: str
    series: Mapping[str, Sequence[tuple[float, float]]]
    note: str = ""
    joined: bool = True


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
    """Small grey pictures, (n, height, width), with a caption each."""

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


@dataclass(frozen=True)
class Sample:
    """Rows of a channel, evenly from all of it, to show how the model does. ``dataset`` is the channel's name."""

    dataset: str
    rows: Batch


Figure: TypeAlias = Lines | Bars | Heatmap | Pictures | Table


def largest(title: str, values: np.ndarray, names: Sequence[str] | None = None, note: str = "") -> Bars:
    """The values furthest from zero, (n,), falling; features are numbered from 0 where they have no names."""
    sizes = np.abs(values)
    first = np.argpartition(-sizes, MOST_BARS)[:MOST_BARS] if len(values) > MOST_BARS else np.arange(len(values))
    order = first[np.argsort(-sizes[first], kind="stable")]
    labels = [str(names[index]) if names is not None else f"feature {index}" for index in order]
    more = f" The {len(order)} largest of {len(values)}." if len(values) > len(order) else ""
    return Bars(title=title, labels=labels, values=[float(values[index]) for index in order], note=note + more)


def effects(title: str, weights: np.ndarray, sample: Sample | None) -> Bars:
    """Weights, (d,), times the standard deviation of their features in ``sample``: how much a feature moves the score.

    The bare weights where there is no sample.
    """
    if sample is None:
        return largest(title, weights)
    features = sample.rows.features
    mean = np.asarray(features.mean(axis=0)).reshape(-1)
    squares = np.asarray((features**2).mean(axis=0)).reshape(-1)
    deviation = np.sqrt(np.maximum(squares - mean**2, 0))
    return largest(title, weights * deviation, note="Each times the standard deviation of its feature.")


def confusion(labels: np.ndarray, predicted: np.ndarray, note: str = "") -> Heatmap:
    """How many rows of each class, (n,) class numbers, were taken for which."""
    classes = np.unique(np.concatenate([labels, predicted]).astype(np.int64))
    counts = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(counts, (np.searchsorted(classes, labels), np.searchsorted(classes, predicted)), 1)
    names = [str(one) for one in classes]
    right = np.trace(counts) / max(counts.sum(), 1)
    return Heatmap(
        title="Confusion",
        values=counts,
        x="predicted",
        y="label",
        rows=names,
        columns=names,
        written=len(classes) <= MOST_CLASSES // 2,
        note=f"{right:.1%} on the diagonal. {note}".strip(),
    )


def calibration(labels: np.ndarray, probabilities: np.ndarray, note: str = "") -> Lines:
    """How often rows of a predicted probability, (n,), were positive, in ten bins of equal width; and the Brier score
    (G. Brier, 1950), the mean squared difference of the two."""
    bins = np.minimum((probabilities * _BINS).astype(int), _BINS - 1)
    points = [
        (float(probabilities[bins == one].mean()), float(labels[bins == one].mean()))
        for one in range(_BINS)
        if np.any(bins == one)
    ]
    brier = float(np.mean((probabilities - labels) ** 2))
    return Lines(
        title="Calibration",
        x="predicted probability",
        y="share of positives",
        series={"model": points, "ideal": [(0.0, 0.0), (1.0, 1.0)]},
        note=f"Brier score {brier:.4f}. {note}".strip(),
    )


def against(labels: np.ndarray, predicted: np.ndarray, note: str = "") -> Heatmap:
    """Predictions of a regression against labels, both (n,), as shares of rows on a grid of 24 by 24."""
    low, high = np.quantile(np.concatenate([labels, predicted]), [0.005, 0.995])
    edges = np.linspace(low, high if high > low else low + 1, 25)
    counts, _, _ = np.histogram2d(np.clip(labels, low, high), np.clip(predicted, low, high), [edges, edges])
    names = [f"{edge:.4g}" for edge in edges[:-1]]
    error = float(np.sqrt(np.mean((labels - predicted) ** 2)))
    return Heatmap(
        title="Predictions against labels",
        values=counts[::-1],
        x="predicted",
        y="label",
        rows=names[::-1],
        columns=names,
        note=f"Root mean squared error {error:.4g}. {note}".strip(),
    )


def classified(labels: np.ndarray, probabilities: np.ndarray, predicted: np.ndarray, note: str = "") -> list[Figure]:
    """Confusion, and for two classes calibration.

    Args:
        labels, predicted: class numbers, (n,). probabilities: of class 1, (n,), or of every class, (n, classes).
    """
    figures: list[Figure] = [confusion(labels, predicted, note)]
    if probabilities.ndim == 1 and len(labels) and probabilities.min() >= 0 and probabilities.max() <= 1:
        figures.append(calibration((labels > 0).astype(float), probabilities.astype(float), note))
    return figures


def answered(sample: Sample | None, predict: Callable[[Batch], Mapping[str, np.ndarray]], kind: str) -> list[Figure]:
    """How well a linear model or factorization machine answers ``sample``; nothing where that has no labels.

    Args:
        predict: gives ``score`` and, but for ``kind`` ``regressor``, ``predicted_label``.
    """
    if sample is None or sample.rows.labels is None:
        return []
    labels, answers = sample.rows.labels.reshape(-1), predict(sample.rows)
    note = f"{len(labels):,} rows of {sample.dataset}."
    if kind == "regressor":
        return [against(labels, answers["score"], note)]
    return classified(labels, answers["score"], answers["predicted_label"], note)
