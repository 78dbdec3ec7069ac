"""What a client may ask for instead of the score: classes, probabilities and raw scores, made from the predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

KEYS = ("predicted_label", "labels", "probability", "probabilities", "raw_score", "raw_scores", "predicted_score")
_LABELS = ("predicted_label", "labels")
_PROBABILITIES = ("probability", "probabilities")
_RAW = ("raw_score", "raw_scores")

SELECTABLE: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("reg:squarederror", "reg:linear", "reg:logistic", "reg:gamma", "reg:absoluteerror", "reg:tweedie"),
        ("predicted_score",),
    ),
    **dict.fromkeys(("binary:logistic", "multi:softprob"), (*_LABELS, *_PROBABILITIES, *_RAW)),
    **dict.fromkeys(("binary:logitraw", "binary:hinge", "multi:softmax"), (*_LABELS, *_RAW)),
}
"""Keys that have a meaning, by objective; the others are NaN."""


def predicted_classes(objective: str, predictions: np.ndarray) -> np.ndarray:
    """Class numbers, shape (n,), from predictions of shape (n,) or, for multi:softprob, (n, k)."""
    if predictions.ndim == 2:
        return predictions.argmax(axis=1)
    if objective in ("binary:logistic", "reg:logistic"):
        return (predictions > 0.5).astype(np.int64)
    if objective == "binary:logitraw":
        return (predictions > 0).astype(np.int64)
    return predictions  # binary:hinge and multi:softmax predict the class itself


def select(objective: str, classes: int, predictions: np.ndarray, keys: Sequence[str]) -> dict[str, np.ndarray]:
    """The outputs named by ``keys``, each of shape (n,) or (n, classes); NaN where a key has no meaning.

    Raises:
        NotImplementedError: no output can be selected for the objective.
    """
    if objective not in SELECTABLE:
        raise NotImplementedError(f"Objective `{objective}` unsupported for selectable inference predictions.")
    made = {key: _make(key, objective, classes, predictions) for key in keys if key in SELECTABLE[objective]}
    return {key: made.get(key, np.full(len(predictions), np.nan)) for key in keys}


def _make(key: str, objective: str, classes: int, predictions: np.ndarray) -> Any:
    if key == "predicted_label":
        return predicted_classes(objective, predictions)
    if key == "labels":
        return np.tile(np.arange(classes), (len(predictions), 1))
    if key == "predicted_score" or (predictions.ndim == 1 and key in ("probability", "raw_score")):
        return predictions
    if predictions.ndim == 2:
        return predictions.max(axis=1) if key in ("probability", "raw_score") else predictions
    ones = predictions.astype(np.float64)
    return np.stack([1.0 - ones, ones], axis=1)  # SageMaker's definition, for raw scores too
