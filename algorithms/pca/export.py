"""Principal components for other programs: see ``docs/export.md``."""

from __future__ import annotations

from typing import Any

import numpy as np

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


def to_sklearn(model: PCAModel) -> Any:
    """A ``PCA``, or a ``TruncatedSVD`` where the mean is not subtracted, whose ``transform`` is ``projection`` with the
    largest component first, as scikit-learn has it. What only training knows is not there; ``explained_variance_``,
    which some versions of scikit-learn look for, is NaN: the number of rows is not in the artifact."""
    from sklearn.decomposition import PCA, TruncatedSVD

    from algorithms.common.sklearn_forms import fitted

    width, count = model.v.shape
    learned = {"components_": model.v.T[::-1], "singular_values_": model.s[::-1]}
    if model.mean is None:
        return fitted(TruncatedSVD(n_components=count), width, **learned)
    learned |= {"mean_": model.mean[0], "explained_variance_": np.full(count, np.nan)}
    return fitted(PCA(n_components=count), width, n_components_=count, **learned)
