"""Principal components for other programs: see ``docs/export.md``."""

from __future__ import annotations

from typing import Any

from algorithms.common.documents import arrays_as_json as to_json  # noqa: F401 - oba export looks for it here
from algorithms.pca.model import PCAModel


def to_onnx(model: PCAModel) -> Any:
    """``projection``."""
    from algorithms.common.onnx_graph import FEATURES, ROWS, Graph

    graph = Graph()
    rows = FEATURES if model.mean is None else graph.add("Sub", FEATURES, graph.constant(model.mean))
    projection = graph.add("MatMul", rows, graph.constant(model.v))
    return graph.model(
        "pca", (FEATURES, (ROWS, model.feature_dim)), {"projection": (projection, "float", model.v.shape[1])}
    )
