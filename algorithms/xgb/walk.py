"""Predictions for few rows, which take XGBoost a tenth of its time: the rest it spends before it begins.

For one row and 100 trees XGBoost's call takes 45 us. It reads its arguments from JSON, compiles a regular expression,
and walks all trees to see how deep they are; the row's own way to its leaves takes 3. Here nothing else is done.
Answers are XGBoost's to the bit: leaves are added in its order. Categories are left to it, and objectives that are not
listed below.

Sources: https://github.com/dmlc/xgboost (src/predictor, src/objective),
https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import scipy.sparse as sp
import xgboost as xgb

from algorithms.xgb import ubjson

try:
    from algorithms.xgb import _walk  # type: ignore[attr-defined]
except ImportError:  # no compiler was at hand
    _walk = None

FEW_ROWS = 16
"""Most rows that are answered sooner here; of 32, XGBoost has the time back that it spends before it begins."""

_NODE = np.dtype([("value", "f4"), ("left", "i4"), ("missing", "i4"), ("feature", "i4")])  # that of _walk.c
_SUM, _LOGISTIC, _EXPONENTIAL, _SOFTMAX = range(4)  # those of _walk.c
_ARGMAX = "multi:softmax"
_KINDS = {
    **dict.fromkeys(("reg:squarederror", "reg:squaredlogerror", "reg:absoluteerror", "reg:pseudohubererror"), _SUM),
    **dict.fromkeys(("rank:pairwise", "rank:ndcg", "rank:map", _ARGMAX), _SUM),
    **dict.fromkeys(("binary:logistic", "reg:logistic"), _LOGISTIC),
    **dict.fromkeys(("count:poisson", "reg:gamma", "reg:tweedie", "survival:cox", "survival:aft"), _EXPONENTIAL),
    "multi:softprob": _SOFTMAX,
}
"""What scores are of sums of leaves, by the objective. A class is the place of the largest sum."""

_WIDEST = 1 << 12
"""Most features: sparse rows are made dense."""

_LARGEST = 1 << 24
"""Bytes of the largest model: to lay out its trees takes a third of the time of loading it."""

_PROBES, _PROBED = 64, 256


class Walk:
    """The trees of a booster, laid out for the way of a row from the roots to the leaves.

    Parameters
    ----------
    nodes
        of all trees, of type ``_NODE``.
    roots, groups
        of each tree the number of its first node, and of the output that it adds to, int32.
    starts
        what the sum of each output starts from, float32.
    width
        the number of features.
    objective
        one of ``_KINDS``.
    """

    def __init__(
        self, nodes: np.ndarray, roots: np.ndarray, groups: np.ndarray, starts: np.ndarray, width: int, objective: str
    ) -> None:
        self.width = width
        self._nodes, self._trees, self._outputs = nodes, (nodes, roots, groups, starts), len(starts)
        self._kind, self._is_class = _KINDS[objective], objective == _ARGMAX

    def predict(self, rows: np.ndarray | sp.csr_array) -> np.ndarray:
        """As ``Booster.predict`` has it, (n,) or (n, classes) float32, of rows (n, width); sparse ones may be narrower.

        Missing values are NaN, or absent.
        """
        dense = rows if isinstance(rows, np.ndarray) else _dense(rows, self.width)
        scores = np.empty((len(dense), self._outputs) if self._outputs > 1 else len(dense), np.float32)
        held = np.require(dense, np.float32, ["C", "A"])
        _walk.predict(*self._trees, held, scores, len(held), self._kind)
        return scores.argmax(axis=1).astype(np.float32) if self._is_class else scores

    def probes(self) -> np.ndarray:
        """Rows (64, width) to compare answers by: their values are those of splits, or just below, or missing."""
        random = np.random.default_rng(0)
        rows = np.full((_PROBES, self.width), np.nan, np.float32)
        splits = self._nodes[self._nodes["left"] != -1]
        if len(splits):
            picked = random.choice(splits, (_PROBES, min(self.width, _PROBED)))
            with np.errstate(over="ignore"):
                below = np.nextafter(picked["value"], np.float32(-np.inf))
            values = np.where(random.random(picked.shape) < 0.5, picked["value"], below)
            rows[np.arange(_PROBES)[:, np.newaxis], picked["feature"]] = values
        return rows


def laid_out(booster: xgb.Booster, rounds: int) -> Walk | None:
    """The trees of the first ``rounds`` rounds of a booster of kind gbtree, 0 for all; None where XGBoost has to be
    asked."""
    width = booster.num_features()
    if _walk is None or not 0 < width <= _WIDEST:
        return None
    data = booster.save_raw("ubj")
    if len(data) > _LARGEST:
        return None
    learner = ubjson.loads(data, _nodes)["learner"]
    model, starts = learner["gradient_booster"]["model"], _starts(learner)
    trees = model["trees"][: model["iteration_indptr"][rounds] if rounds else None]
    if starts is None or any(tree is None for tree in trees):
        return None
    roots = np.cumsum([0, *map(len, trees)], dtype=np.int32)[:-1]
    for nodes, root in zip(trees, roots, strict=True):
        nodes["left"] += np.where(nodes["left"] == -1, 0, root)
        nodes["missing"] += root
    joined, groups = np.concatenate([np.empty(0, _NODE), *trees]), np.array(model["tree_info"][: len(trees)], np.int32)
    return Walk(joined, roots, groups, starts, width, learner["objective"]["name"])


def _starts(learner: dict[str, Any]) -> np.ndarray | None:
    """What the sum of each output starts from, float32; None where outputs are more than functions of sums."""
    objective, parameters = learner["objective"]["name"], learner["learner_model_param"]
    outputs = max(int(parameters["num_class"]), 1)
    bases = np.atleast_1d(json.loads(parameters["base_score"]))
    if objective not in _KINDS or int(parameters.get("num_target", "1")) > 1:
        return None
    if (outputs > 1) != objective.startswith("multi:") or len(bases) not in (1, outputs):
        return None
    return np.array([_walk.start(base, _KINDS[objective]) for base in np.resize(bases, outputs)], np.float32)


def _nodes(members: dict[str, Any]) -> Any:
    """The nodes of a tree, counted from its root; any other object of the document as it is.

    None where the tree compares more than numbers, or its nodes do not lie as XGBoost grows them: the right child after
    the left one, and both after their parent.
    """
    left, right = members.get("left_children"), members.get("right_children")
    # (attributes, which are texts, may have any name)
    if not isinstance(left, np.ndarray) or not isinstance(right, np.ndarray):
        return members
    inner = np.flatnonzero(left != -1)
    if np.any(members["split_type"]) or (left[inner] <= inner).any() or (right[inner] != left[inner] + 1).any():
        return None
    found = np.empty(len(left), _NODE)
    found["value"], found["feature"] = members["split_conditions"], members["split_indices"]
    found["left"], found["missing"] = left, left + 1 - members["default_left"]
    return found


def _dense(rows: sp.csr_array, width: int) -> np.ndarray:
    """Sparse rows (n, at most width) as dense ones (n, width), float32; what is absent is NaN."""
    dense = np.full((rows.shape[0], width), np.nan, np.float32)
    numbers = np.repeat(np.arange(len(dense)), np.diff(rows.indptr))
    dense[numbers, rows.indices] = rows.data
    return dense
