"""Predictions for few rows, which take XGBoost a tenth of its time: the rest it spends before it begins.

For one row and 100 trees XGBoost's call takes 45 us. It reads its arguments from JSON, compiles a regular expression,
and walks all trees to see how deep they are; the row's own way to its leaves takes 3. Here nothing else is done.
Answers are XGBoost's to the bit: leaves are added in its order, and objectives that need more than a sum, or a sum's
logistic function, are left to it, as are categories.

Source: https://github.com/dmlc/xgboost, src/predictor and src/objective; https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html
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
_LOGISTIC = {"binary:logistic": True, "reg:logistic": True} | dict.fromkeys(
    ("reg:squarederror", "reg:squaredlogerror", "reg:absoluteerror", "reg:pseudohubererror", "rank:pairwise")
    + ("rank:ndcg", "rank:map"),
    False,
)
"""The objectives whose scores are sums of leaves, by whether the logistic function is taken of them."""

_WIDEST = 1 << 12
"""Most features: sparse rows are made dense."""

_LARGEST = 1 << 24
"""Bytes of the largest model: to lay out its trees takes a third of the time of loading it."""

_PROBES, _PROBED = 64, 256


class Walk:
    """The trees of a booster, laid out for the way of a row from the roots to the leaves.

    Parameters
    ----------
    nodes, roots
        of all trees, of type ``_NODE``; the number of each tree's first node, int32.
    width
        the number of features.
    base
        ``base_score``: what a row without trees is answered.
    is_logistic
        whether the logistic function is taken of a row's sum.
    """

    def __init__(self, nodes: np.ndarray, roots: np.ndarray, width: int, base: np.float32, is_logistic: bool) -> None:
        self._nodes, self._roots, self._base, self._is_logistic = nodes, roots, base, is_logistic
        self.width = width

    def predict(self, rows: np.ndarray | sp.csr_array) -> np.ndarray:
        """As ``Booster.predict`` has it, (n,) float32, of rows (n, width); sparse ones may be narrower.

        Missing values are NaN, or absent.
        """
        dense = rows if isinstance(rows, np.ndarray) else _dense(rows, self.width)
        scores = np.empty(len(dense), np.float32)
        held = np.require(dense, np.float32, ["C", "A"])
        _walk.predict(self._nodes, self._roots, held, scores, self._base, self._is_logistic)
        return scores

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
    objective, parameters = learner["objective"]["name"], learner["learner_model_param"]
    bases = np.atleast_1d(json.loads(parameters["base_score"]))
    if objective not in _LOGISTIC or int(parameters.get("num_target", "1")) > 1 or len(bases) > 1:
        return None
    model = learner["gradient_booster"]["model"]
    trees = model["trees"][: model["iteration_indptr"][rounds] if rounds else None]
    if any(tree is None for tree in trees):
        return None
    roots = np.cumsum([0, *map(len, trees)], dtype=np.int32)[:-1]
    for nodes, root in zip(trees, roots, strict=True):
        nodes["left"] += np.where(nodes["left"] == -1, 0, root)
        nodes["missing"] += root
    return Walk(np.concatenate([np.empty(0, _NODE), *trees]), roots, width, np.float32(bases[0]), _LOGISTIC[objective])


def _nodes(members: dict[str, Any]) -> Any:
    """The nodes of a tree, counted from its root; any other object of the document as it is.

    None where the tree compares more than numbers, or its nodes do not lie as XGBoost grows them: the right child after
    the left one, and both after their parent.
    """
    left, right = members.get("left_children"), members.get("right_children")
    if not (
        isinstance(left, np.ndarray) and isinstance(right, np.ndarray)
    ):  # an attribute may have the name, as a text
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
