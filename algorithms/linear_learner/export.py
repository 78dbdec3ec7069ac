"""A linear model for other programs: see ``docs/export.md``."""

from __future__ import annotations

from typing import Any

from algorithms.common.documents import arrays_as_json as to_json  # noqa: F401 - oba export looks for it here
from algorithms.linear_learner.model import LinearModel


def to_onnx(model: LinearModel) -> Any:
    """``score`` and, for classifiers, ``predicted_label``."""
    from algorithms.common.onnx_graph import FEATURES, ROWS, Graph

    graph = Graph()
    raw = graph.affine(FEATURES, model.weight, model.bias)
    given = (FEATURES, (ROWS, model.feature_dim))
    if model.predictor_type == "multiclass_classifier":
        label = graph.add("ArgMax", raw, axis=1, keepdims=0)
        score = graph.add("Softmax", raw, axis=1)
        outputs = {"score": (score, "float", len(model.bias)), "predicted_label": (label, "int64", None)}
        return graph.model("linear-learner", given, outputs)
    score = graph.column(raw)
    if model.predictor_type == "regressor":
        return graph.model("linear-learner", given, {"score": (score, "float", None)})
    label = graph.reached(score, model.threshold)
    if model.loss != "hinge_loss":
        score = graph.sigmoid(score)
    return graph.model(
        "linear-learner", given, {"score": (score, "float", None), "predicted_label": (label, "int64", None)}
    )
