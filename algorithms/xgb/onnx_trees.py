"""XGBoost's trees as ONNX-ML's TreeEnsembleRegressor, and what the objective makes of their sum.

XGBoost goes left where a value is below the split's, in float32, and where a missing one (NaN) is said to go; both can
be said in ONNX. Categorical splits, vector leaves and votes of several models cannot.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx

from algorithms.common.onnx_graph import FEATURES, ROWS, Graph
from algorithms.errors import ExportError
from algorithms.xgb.model import XGBModel

_IDENTITY = (
    "reg:squarederror", "reg:linear", "reg:absoluteerror", "reg:pseudohubererror", "reg:squaredlogerror",
    "reg:quantileerror", "binary:logitraw", "rank:pairwise", "rank:ndcg", "rank:map",
)  # fmt: skip
_LOGISTIC = ("binary:logistic", "reg:logistic")
_EXPONENTIAL = ("count:poisson", "reg:gamma", "reg:tweedie", "survival:cox", "survival:aft")
_HINGE = "binary:hinge"
_CLASSES = ("multi:softprob", "multi:softmax")


def boosters(model: XGBModel) -> onnx.ModelProto:
    """``score``, as ``Booster.predict`` gives it.

    Raises:
        ExportError: the model has something that ONNX cannot say.
    """
    if len(model.boosters) > 1 and (model.objective in _CLASSES[1:] or model.objective == _HINGE):
        raise _refused(f"{len(model.boosters)} models vote, and ONNX has no vote")
    if model.objective not in (*_IDENTITY, *_LOGISTIC, *_EXPONENTIAL, _HINGE, *_CLASSES):
        raise _refused(f"the objective {model.objective} has no counterpart there")
    graph = Graph()
    documents = [
        json.loads(bytes((booster[:rounds] if rounds else booster).save_raw("json")))["learner"]
        for booster, rounds in zip(model.boosters, model.rounds, strict=True)
    ]
    outputs = _outputs(documents[0])
    if any(_outputs(document) != outputs for document in documents):
        raise _refused("its models have different numbers of outputs")
    scores = [_score(graph, document, model.objective, outputs) for document in documents]
    score = scores[0] if len(scores) == 1 else graph.add("Mean", *scores)
    width = None if outputs == 1 or model.objective == "multi:softmax" else outputs
    features = max(booster.num_features() for booster in model.boosters)
    return graph.model("xgboost", (FEATURES, (ROWS, features)), {"score": (score, "float", width)})


def _refused(reason: str) -> ExportError:
    return ExportError(f"this model of xgboost cannot be exported to onnx: {reason}")


def _outputs(document: dict[str, Any]) -> int:
    """How many numbers the trees give for a row: one for each class, or for each target (a label, or a quantile)."""
    parameters = document["learner_model_param"]
    return max(int(parameters["num_class"]), int(parameters.get("num_target", "1")), 1)


def _score(graph: Graph, document: dict[str, Any], objective: str, groups: int) -> str:
    kind = document["gradient_booster"]["name"]
    base = _base(document["learner_model_param"], objective, groups)
    if kind == "gblinear":
        weights = np.array(document["gradient_booster"]["model"]["weights"], np.float64).reshape(-1, groups)
        missing = graph.add("IsNaN", FEATURES)  # to a linear booster what is missing is 0
        given = graph.add("Where", missing, graph.constant(0), FEATURES)
        margins = graph.affine(given, weights[:-1].T, weights[-1] + base[0])  # gblinear adds the first to all
    else:
        margins = _ensemble(graph, document["gradient_booster"], base, groups)
    return _linked(graph, margins, objective, groups)


def _base(parameters: dict[str, str], objective: str, groups: int) -> np.ndarray:
    """The margin from which the trees start, (groups,). XGBoost 3 writes a list, earlier versions a number; both are
    predictions, to be taken through the inverse of the link."""
    said = json.loads(parameters["base_score"].replace("E", "e"))
    score = np.broadcast_to(np.asarray(said, np.float64).reshape(-1), (groups,))
    if objective in _LOGISTIC:
        return _logit(score)
    return np.log(score) if objective in _EXPONENTIAL else score


def _logit(probability: np.ndarray) -> np.ndarray:
    """The logit of a probability as XGBoost computes it: in float32, clipped away from 0 and 1 by its ``kRtEps``."""
    inner = np.clip(probability.astype(np.float32), np.float32(1e-6), np.float32(1) - np.float32(1e-6))
    return -np.log(np.float32(1) / inner - np.float32(1))


def _ensemble(graph: Graph, booster: dict[str, Any], base: np.ndarray, groups: int) -> str:
    weights = booster.get("weight_drop") if booster["name"] == "dart" else None
    inner = booster["gbtree"]["model"] if booster["name"] == "dart" else booster["model"]
    nodes: dict[str, list[Any]] = {
        name: [] for name in ("treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids")
    }
    if not inner["trees"]:
        raise _refused("it has no trees")
    tracks: list[int] = []
    leaves: dict[str, list[Any]] = {name: [] for name in ("treeids", "nodeids", "ids", "weights")}
    for number, tree in enumerate(inner["trees"]):
        _check(tree)
        weight = 1.0 if weights is None else float(weights[number])
        reached = _reached(tree)
        places = {node: place for place, node in enumerate(reached)}
        for place, node in enumerate(reached):
            left = tree["left_children"][node]
            leaf = left == -1
            condition = float(tree["split_conditions"][node])
            row = (number, place, tree["split_indices"][node], "LEAF" if leaf else "BRANCH_LT")
            ends = (0, 0) if leaf else (places[left], places[tree["right_children"][node]])
            for name, value in zip(nodes, (*row, 0.0 if leaf else condition, *ends), strict=True):
                nodes[name].append(value)
            tracks.append(0 if leaf else int(tree["default_left"][node]))
            if leaf:
                for name, value in zip(
                    leaves, (number, place, inner["tree_info"][number], condition * weight), strict=True
                ):
                    leaves[name].append(value)
    return graph.add(
        "TreeEnsembleRegressor",
        FEATURES,
        domain="ai.onnx.ml",
        n_targets=groups,
        base_values=[float(value) for value in base],
        nodes_missing_value_tracks_true=tracks,
        **{f"nodes_{name}": values for name, values in nodes.items()},
        **{f"target_{name}": values for name, values in leaves.items()},
    )


def _reached(tree: dict[str, Any]) -> list[int]:
    """The numbers of the nodes that can be reached from the root. Nodes that pruning cut off stay in XGBoost's arrays,
    and onnxruntime would take each node that is no other's child for another root, and add its leaf."""
    nodes = [0]
    for node in nodes:  # which grows on the way
        if tree["left_children"][node] != -1:
            nodes += tree["left_children"][node], tree["right_children"][node]
    return nodes


def _check(tree: dict[str, Any]) -> None:
    if any(tree.get("split_type", ())):
        raise _refused("it has splits by sets of categories")
    if int(tree["tree_param"].get("size_leaf_vector", "1")) > 1:
        raise _refused("its trees have a vector in each leaf")


def _linked(graph: Graph, margins: str, objective: str, groups: int) -> str:
    """Margins, (n, groups), to predictions, (n,) where there is one group."""
    if objective == "multi:softprob":
        return graph.add("Softmax", margins, axis=1)
    if objective == "multi:softmax":
        return graph.cast(graph.add("ArgMax", margins, axis=1, keepdims=0), "float")
    score = graph.column(margins) if groups == 1 else margins
    if objective in _LOGISTIC:
        return graph.sigmoid(score)
    if objective in _EXPONENTIAL:
        return graph.add("Exp", score)
    if objective == _HINGE:
        return graph.cast(graph.add("Greater", score, graph.constant(0.0)), "float")
    return score
