"""Centers for other programs: see ``docs/export.md``."""

from __future__ import annotations

from typing import Any

import numpy as np

from algorithms.common.documents import arrays_as_json as to_json  # noqa: F401 - oba export looks for it here
from algorithms.kmeans.model import KMeansModel


def to_onnx(model: KMeansModel) -> Any:
    """``closest_cluster`` and ``distance_to_cluster``, by ||x||^2 - 2 x.c + ||c||^2 in float64: in float32 the distance
    to a near center would drown in the rounding of the norms."""
    from algorithms.common.onnx_graph import FEATURES, ROWS, Graph

    graph = Graph()
    wide = model.centers.astype(np.float64)
    rows = graph.cast(FEATURES, "double")
    norms = graph.add("ReduceSumSquare", rows, axes=[1], keepdims=1)
    products = graph.add("MatMul", rows, graph.constant(-2 * wide.T, np.float64))
    squared = graph.add("Add", graph.add("Add", products, graph.constant((wide**2).sum(axis=1), np.float64)), norms)
    closest = graph.add("ArgMin", squared, axis=1, keepdims=0)
    least = graph.add("ReduceMin", squared, axes=[1], keepdims=0)
    distance = graph.add("Sqrt", graph.add("Max", least, graph.constant(0.0, np.float64)))
    outputs = {
        "closest_cluster": (closest, "int64", None),
        "distance_to_cluster": (graph.cast(distance, "float"), "float", None),
    }
    return graph.model("kmeans", (FEATURES, (ROWS, model.feature_dim)), outputs)


def to_sklearn(model: KMeansModel) -> Any:
    """A ``KMeans`` whose ``predict`` is ``closest_cluster``, and the least distance of ``transform``
    ``distance_to_cluster``. What only training has (``inertia_``, ``labels_``) is not there."""
    from sklearn.cluster import KMeans

    from algorithms.common.sklearn_forms import fitted

    count, width = model.centers.shape
    # The threads are what fit would count on its machine; another may open this, and one is everywhere.
    private = {"_n_threads": 1, "_n_features_out": count}
    return fitted(KMeans(n_clusters=count), width, cluster_centers_=model.centers, **private)
