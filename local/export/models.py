"""The graphs of the models that are a few products. Their input is ``features``, (rows, d) float32; their outputs have
the names and meanings of the columns that a server answers."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto

from algorithms.factorization_machines.model import FactorizationMachine
from algorithms.kmeans.model import KMeansModel
from algorithms.linear_learner.model import LinearModel
from algorithms.ntm.model import NTMModel
from algorithms.pca.model import PCAModel
from local.export.graph import ROWS, Graph

FEATURES = "features"
_ACTIVATIONS = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu"}


def linear(model: LinearModel) -> onnx.ModelProto:
    """``score`` and, for classifiers, ``predicted_label``."""
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
    label = _from(graph, score, model.threshold)
    if model.loss != "hinge_loss":
        score = graph.add("Sigmoid", score)
    return graph.model(
        "linear-learner", given, {"score": (score, "float", None), "predicted_label": (label, "int64", None)}
    )


def _from(graph: Graph, score: str, threshold: float) -> str:
    """1 from the threshold on, else 0."""
    reached = graph.add("GreaterOrEqual", score, graph.constant(threshold))
    return graph.add("Cast", reached, to=TensorProto.INT64)


def kmeans(model: KMeansModel) -> onnx.ModelProto:
    """``closest_cluster`` and ``distance_to_cluster``, by ||x||^2 - 2 x.c + ||c||^2 in float64: in float32 the distance
    to a near center would drown in the rounding of the norms."""
    graph = Graph()
    wide = model.centers.astype(np.float64)
    rows = graph.add("Cast", FEATURES, to=TensorProto.DOUBLE)
    norms = graph.add("ReduceSumSquare", rows, axes=[1], keepdims=1)
    products = graph.add("MatMul", rows, graph.constant(-2 * wide.T, np.float64))
    squared = graph.add("Add", graph.add("Add", products, graph.constant((wide**2).sum(axis=1), np.float64)), norms)
    closest = graph.add("ArgMin", squared, axis=1, keepdims=0)
    least = graph.add("ReduceMin", squared, axes=[1], keepdims=0)
    distance = graph.add("Sqrt", graph.add("Max", least, graph.constant(0.0, np.float64)))
    outputs = {
        "closest_cluster": (closest, "int64", None),
        "distance_to_cluster": (graph.add("Cast", distance, to=TensorProto.FLOAT), "float", None),
    }
    return graph.model("kmeans", (FEATURES, (ROWS, model.feature_dim)), outputs)


def pca(model: PCAModel) -> onnx.ModelProto:
    """``projection``."""
    graph = Graph()
    rows = FEATURES if model.mean is None else graph.add("Sub", FEATURES, graph.constant(model.mean))
    projection = graph.add("MatMul", rows, graph.constant(model.v))
    return graph.model(
        "pca", (FEATURES, (ROWS, model.feature_dim)), {"projection": (projection, "float", model.v.shape[1])}
    )


def factorization_machine(model: FactorizationMachine) -> onnx.ModelProto:
    """``score`` and, for classification, ``predicted_label``; pairs by Rendle's (sum^2 - sum of squares) / 2."""
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
    probability = graph.add("Sigmoid", score)
    label = _from(graph, probability, 0.5)
    return graph.model(
        "factorization-machines",
        given,
        {"score": (probability, "float", None), "predicted_label": (label, "int64", None)},
    )


def topics(model: NTMModel) -> onnx.ModelProto:
    """``topic_weights`` of documents, given as counts of words."""
    graph = Graph()
    rows = graph.add("Log", graph.add("Add", FEATURES, graph.constant(1.0)))
    for layer in model.layers:
        rows = graph.add(_ACTIVATIONS[model.activation], graph.affine(rows, layer.weight, layer.bias))
    weights = graph.add("Softmax", graph.affine(rows, model.mean.weight, model.mean.bias), axis=1)
    return graph.model(
        "ntm", (FEATURES, (ROWS, model.feature_dim)), {"topic_weights": (weights, "float", len(model.mean.bias))}
    )
