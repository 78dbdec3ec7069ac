"""The encoder of a topic model for other programs: see ``docs/export.md``."""

from __future__ import annotations

from typing import Any

from algorithms.common.documents import arrays_as_json as to_json  # noqa: F401 - oba export looks for it here
from algorithms.ntm.model import NTMModel

WHY_NOT = {"sklearn": "scikit-learn has no topic model that encodes documents by a network; onnx and json have it"}
_ACTIVATIONS = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu"}


def to_onnx(model: NTMModel) -> Any:
    """``topic_weights`` of documents, given as counts of words."""
    from algorithms.common.onnx_graph import FEATURES, ROWS, Graph

    graph = Graph()
    rows = graph.add("Log", graph.add("Add", FEATURES, graph.constant(1.0)))
    for layer in model.layers:
        rows = graph.add(_ACTIVATIONS[model.activation], graph.affine(rows, layer.weight, layer.bias))
    weights = graph.add("Softmax", graph.affine(rows, model.mean.weight, model.mean.bias), axis=1)
    return graph.model(
        "ntm", (FEATURES, (ROWS, model.feature_dim)), {"topic_weights": (weights, "float", len(model.mean.bias))}
    )
