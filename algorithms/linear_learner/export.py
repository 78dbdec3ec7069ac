"""A linear model for other programs: see ``docs/export.md``."""

from __future__ import annotations

from typing import Any

import numpy as np

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


def to_sklearn(model: LinearModel) -> Any:
    """A ``LinearRegression``; a ``LogisticRegression``, or ``LinearSVC`` of the hinge loss, of which a
    ``FixedThresholdClassifier`` asks where the threshold is not that of a score of 0.

    Of two classes scikit-learn has one score where a ``multiclass_classifier`` has two: their difference.
    """
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.svm import LinearSVC

    from algorithms.common.sklearn_forms import fitted

    width = model.feature_dim
    if model.predictor_type == "regressor":
        return fitted(LinearRegression(), width, coef_=model.weight[0], intercept_=float(model.bias[0]))
    weight, bias = model.as_one_score()
    classes = np.arange(max(len(model.bias), 2))
    kind = LinearSVC if model.loss == "hinge_loss" else LogisticRegression
    classifier = fitted(kind(), width, coef_=weight, intercept_=bias, classes_=classes)
    if model.predictor_type == "multiclass_classifier" or model.threshold == 0:
        return classifier
    return _from_threshold(classifier, model.threshold)


def _from_threshold(classifier: Any, threshold: float) -> Any:
    """A classifier that says 1 where the other's ``decision_function`` is the threshold or more."""
    from sklearn.model_selection import FixedThresholdClassifier

    from algorithms.common.sklearn_forms import fitted

    chosen = FixedThresholdClassifier(classifier, threshold=threshold, response_method="decision_function")
    return fitted(chosen, classifier.n_features_in_, estimator_=classifier)
