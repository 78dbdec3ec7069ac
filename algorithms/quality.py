"""How well a model answers rows whose labels are known, as figures.

>>> calibration(np.array([0, 1, 1, 0]), np.array([0.1, 0.9, 0.9, 0.1])).series["model"]
[(0.1, 0.0), (0.9, 1.0)]
>>> confusion(np.array([0, 1, 1]), np.array([0, 1, 0])).values
array([[1, 0],
       [1, 1]])
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from algorithms.figures import Figure, Heatmap, Lines, Sample, short
from recordio.batches import Batch

_BINS = 10
_WRITTEN_CLASSES = 20
"""With more of them, a confusion matrix is shades and no numbers."""
_MOST_POINTS = 400
"""Of a figure, as many as can be told apart: the page and its data are then small, and soon written."""
_MOST_CELLS = 250
"""Each way, as can be told apart: 4,096 rows may have 8,192 classes, of which all pairs would take half a gigabyte."""


def confusion(labels: np.ndarray, predicted: np.ndarray, note: str = "") -> Heatmap:
    """How many rows of each class, (n,) class numbers, were taken for which."""
    classes = np.unique(np.concatenate([labels, predicted]).astype(np.int64))
    size = min(len(classes), _MOST_CELLS)
    counts = np.zeros((size, size), np.int64)
    cells = [np.searchsorted(classes, one) * size // max(len(classes), 1) for one in (labels, predicted)]
    np.add.at(counts, tuple(cells), 1)
    names = [str(classes[-(-cell * len(classes) // size)]) for cell in range(size)]
    right = np.mean(labels == predicted) if len(labels) else 0.0
    together = " Neighbouring classes are drawn together, named by the first." if size < len(classes) else ""
    return Heatmap(
        title="Confusion",
        values=counts,
        x="predicted",
        y="label",
        rows=names,
        columns=names,
        written=len(classes) <= _WRITTEN_CLASSES,
        note=f"{right:.1%} on the diagonal.{together} {note}".strip(),
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
    names = [short(edge, 3) for edge in edges]
    error = float(np.sqrt(np.mean((labels - predicted) ** 2)))
    return Heatmap(
        title="Predictions against labels",
        values=counts[::-1],
        x="prediction",
        y="label",
        rows=names[::-1],
        columns=names,
        note=f"Root mean squared error {short(error)}. {note}".strip(),
    )


def residuals(labels: np.ndarray, predicted: np.ndarray, note: str = "") -> Lines:
    """What a regression missed, label less prediction, over what it predicted; both (n,). Of many rows some."""
    missed = labels.astype(float) - predicted.astype(float)
    return Lines(
        title="Residuals",
        x="prediction",
        y="label − prediction",
        series={"rows": _points(predicted.astype(float), missed)},
        joined=False,
        note=f"Mean {short(missed.mean())}, median of their sizes {short(np.median(np.abs(missed)))}. {note}".strip(),
    )


def separation(labels: np.ndarray, scores: np.ndarray, predicted: np.ndarray, note: str = "") -> list[Figure]:
    """The ROC curve and the curve of precision over recall of scores (n,), with the point that the model's threshold
    chooses: what ``predicted`` says. Nothing where all rows are of one class.

    The area under the first is the probability that a positive row scores higher than a negative one; average precision
    is the mean of the precisions at each positive row (as in scikit-learn's ``average_precision_score``).
    """
    positive = labels > 0
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return []
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)  # rows of equal scores go together
    found, taken = np.cumsum(positive[order])[last], last + 1
    recall, fall_out, precision = found / positives, (taken - found) / negatives, found / taken
    area = float(np.trapezoid(np.append(0, recall), np.append(0, fall_out)))
    average = float(np.sum(np.diff(np.append(0, recall)) * precision))
    chosen = predicted > 0
    hits, size = int((chosen & positive).sum()), int(chosen.sum())
    at = hits / positives
    roc = Lines(
        title="ROC",
        x="false positive rate",
        y="true positive rate (recall)",
        series={"model": [(0.0, 0.0), *_points(fall_out, recall)], "chance": [(0.0, 0.0), (1.0, 1.0)]},
        marks={"chosen threshold": ((size - hits) / negatives, at)},
        note=f"Area under the curve {area:.4f}. {note}".strip(),
    )
    base = positives / len(labels)
    pr = Lines(
        title="Precision and recall",
        x="recall",
        y="precision",
        series={"model": _points(recall, precision), "chance": [(0.0, base), (1.0, base)]},
        marks={"chosen threshold": (at, hits / size)} if size else {},
        note=f"Average precision {average:.4f}. {note}".strip(),
    )
    return [roc, pr]


def _points(x: np.ndarray, y: np.ndarray) -> list[tuple[float, float]]:
    """Evenly many of both (n,), the first and the last among them."""
    if len(x) > _MOST_POINTS:
        kept = np.linspace(0, len(x) - 1, _MOST_POINTS).astype(np.int64)
        x, y = x[kept], y[kept]
    return list(zip(x.tolist(), y.tolist(), strict=True))


def classified(labels: np.ndarray, scores: np.ndarray, predicted: np.ndarray, note: str = "") -> list[Figure]:
    """Confusion; for two classes what a threshold does; and for probabilities of one of them how true they are.

    Args:
        labels, predicted: class numbers, (n,). scores: of class 1, (n,), or of every class, (n, classes).
    """
    figures: list[Figure] = [confusion(labels, predicted, note)]
    if scores.ndim == 1 and len(labels):
        figures += separation(labels, scores, predicted, note)
        if scores.min() >= 0 and scores.max() <= 1:
            figures.append(calibration((labels > 0).astype(float), scores.astype(float), note))
    return figures


def answered(sample: Sample | None, predict: Callable[[Batch], Mapping[str, np.ndarray]], kind: str) -> list[Figure]:
    """How well a linear model or factorization machine answers ``sample``; nothing where that has no labels.

    Args:
        predict: gives ``score`` and, except for ``kind`` ``regressor``, ``predicted_label``.
    """
    if sample is None or sample.rows.labels is None:
        return []
    labels, answers = sample.rows.labels.reshape(-1), predict(sample.rows)
    note = f"{len(labels):,} rows of {sample.dataset}."
    if kind == "regressor":
        return regressed(labels, answers["score"], note)
    return classified(labels, answers["score"], answers["predicted_label"], note)


def regressed(labels: np.ndarray, predicted: np.ndarray, note: str = "") -> list[Figure]:
    """Predictions against labels, both (n,), and what is between them."""
    return [against(labels, predicted, note), residuals(labels, predicted, note)]
