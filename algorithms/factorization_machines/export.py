"""A factorization machine for other programs: see ``docs/export.md``."""

from __future__ import annotations

from typing import Any

import numpy as np

from algorithms.common.documents import arrays_as_json as to_json  # noqa: F401 - oba export looks for it here
from algorithms.factorization_machines.model import FactorizationMachine

WHY_NOT = {"sklearn": "scikit-learn has no factorization machines; onnx and json have them"}


def to_onnx(model: FactorizationMachine) -> Any:
    """``score`` and, for classification, ``predicted_label``; pairs by Rendle's (sum^2 - sum of squares) / 2."""
    from algorithms.common.onnx_graph import FEATURES, ROWS, Graph

    graph = Graph()
    products = graph.add("MatMul", FEATURES, graph.constant(model.factors))
    squares = graph.add("Mul", FEATURES, FEATURES)
    weights = (model.factors.astype(np.float64) ** 2).sum(axis=1, keepdims=True)
    twice = graph.add(
        "Sub",
        graph.add("ReduceSumSquare", products, axes=[1], keepdims=1),
        graph.add("MatMul", squares, graph.constant(weights)),
    )
    pairs = graph.add("Mul", twice, graph.constant(0.5))
    score = graph.column(graph.add("Add", graph.affine(FEATURES, model.linear[None], model.bias), pairs))
    given = (FEATURES, (ROWS, model.feature_dim))
    if model.predictor_type == "regressor":
        return graph.model("factorization-machines", given, {"score": (score, "float", None)})
    probability = graph.sigmoid(score)
    label = graph.reached(probability, 0.5)
    return graph.model(
        "factorization-machines",
        given,
        {"score": (probability, "float", None), "predicted_label": (label, "int64", None)},
    )
