"""XGBoost's first binary model format, which XGBoost 3.1 and later cannot read, turned into its JSON document.

SageMaker's images wrote it until they moved to XGBoost 2.1, and inside pickles before 1.3. All numbers are little
endian; structs are as in XGBoost 1.7's sources (``LearnerModelParamLegacy`` in src/learner.cc, ``GBTreeModelParam`` in
src/gbm/gbtree_model.h, ``TreeParam``, ``Node`` and ``RTreeNodeStat`` in include/xgboost/tree_model.h)::

    learner   136 bytes: base_score, num_feature, num_class, has_attributes, has_metrics, major, minor, reserved
    string    name of the objective         string: u64 length, bytes
    string    name of the booster
    booster   gbtree:   160 bytes, of which num_trees is the first and num_parallel_tree the second; the trees;
                        num_trees times i32: the output group of each tree
              dart:     gbtree, then the weights of the trees (vector: u64 length, f32 each)
              gblinear: 136 bytes, then the weights (vector)
    tree      148 bytes, of which num_nodes is the second and num_deleted the third; the nodes; their statistics
    attributes, where has_attributes: u64 number, pairs of strings
"""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np

HEADER = b"binf"  # written since 1.0; older models start with the learner at once

_NODE = np.dtype([("parent", "<u4"), ("left", "<i4"), ("right", "<i4"), ("split", "<u4"), ("value", "<f4")])
_STATISTICS = np.dtype([("gain", "<f4"), ("hessian", "<f4"), ("weight", "<f4"), ("leaves", "<i4")])
_HIGH_BIT = 0x80000000
_NO_PARENT = 2**31 - 1
_BOOSTERS = ("gbtree", "dart", "gblinear")

# What XGBoost wants to find in an objective's document. These parameters are of use in training only.
_OBJECTIVE_PARAMETERS: dict[str, dict[str, dict[str, str]]] = {
    "count:poisson": {"poisson_regression_param": {"max_delta_step": "0.7"}},
    "reg:tweedie": {"tweedie_regression_param": {"tweedie_variance_power": "1.5"}},
    "reg:pseudohubererror": {"pseudo_huber_param": {"huber_slope": "1"}},
    "survival:aft": {"aft_loss_param": {"aft_loss_distribution": "normal", "aft_loss_distribution_scale": "1"}},
}


class LegacyError(ValueError):
    """Bytes are not a model in the old format."""


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        start, end = self._at, self._at + size
        if size < 0 or end > len(self._data):
            raise LegacyError(f"{size} bytes are announced at byte {start}, and {len(self._data) - start} are left")
        self._at = end
        return self._data[start:end]

    def integers(self, count: int) -> tuple[int, ...]:
        return struct.unpack(f"<{count}i", self.take(4 * count))

    def count(self) -> int:
        return int(struct.unpack("<Q", self.take(8))[0])

    def string(self) -> str:
        try:
            return self.take(self.count()).decode()
        except UnicodeDecodeError:
            raise LegacyError(f"the string before byte {self._at} is not UTF-8") from None

    def array(self, kind: np.dtype, count: int) -> np.ndarray:
        return np.frombuffer(self.take(kind.itemsize * count), kind)

    def vector(self) -> np.ndarray:
        return self.array(np.dtype("<f4"), self.count())


def document(data: bytes) -> dict[str, Any]:
    """The model as the document that XGBoost's JSON format would hold.

    Raises:
        LegacyError: ``data`` is cut off, or not of this format.
    """
    reader = _Reader(data.removeprefix(HEADER))
    try:
        base_score, features = struct.unpack("<fI", reader.take(8))
        classes, has_attributes, _, major, minor = reader.integers(5)
        reader.take(136 - 28)
        objective, booster = reader.string(), reader.string()
    except LegacyError:  # mostly a file of something else, in which a length that is read means nothing
        raise LegacyError("it begins as none of XGBoost's formats does (JSON, UBJSON, pickle, binary)") from None
    if booster not in _BOOSTERS:
        raise LegacyError(f"there is no booster '{booster[:20]}'")
    learned = _linear(reader) if booster == "gblinear" else _trees(reader, features)
    if booster == "dart":
        learned = {"name": "dart", "gbtree": learned, "weight_drop": reader.vector().tolist()}
    attributes = {reader.string(): reader.string() for _ in range(reader.count())} if has_attributes else {}
    return {
        "version": [1, 7, 0],  # the last with this format, and with the meaning that is given to everything here
        "learner": {
            "attributes": {name: value for name, value in attributes.items() if not _is_parameter(name)},
            "feature_names": [],
            "feature_types": [],
            "gradient_booster": learned,
            "learner_model_param": {
                "base_score": repr(_base_score(base_score, objective, (major, minor))),
                "boost_from_average": "1",
                "num_class": str(classes),
                "num_feature": str(features),
                "num_target": "1",
            },
            "objective": _objective(objective, classes),
        },
    }


def _is_parameter(name: str) -> bool:
    """Whether XGBoost put an attribute there to keep a parameter of training."""
    return name in ("objective", "metrics") or name.startswith("SAVED_PARAM_")


def _base_score(stored: float, objective: str, version: tuple[int, int]) -> float:
    """The first prediction as XGBoost 1.3 and later store it: on the scale of the labels, except for binary:logitraw.

    Before 1.0 the margin was stored instead; until 1.2 binary:logitraw had the base score of a probability.
    """
    if objective == "binary:logitraw" and (1, 0) <= version < (1, 3):
        return math.log(stored / (1 - stored))
    if version >= (1, 0):
        return stored
    if objective in ("binary:logistic", "reg:logistic"):
        return 1 / (1 + math.exp(-stored))
    if objective in ("count:poisson", "reg:gamma", "reg:tweedie", "survival:cox"):
        return math.exp(stored)
    return stored


def _objective(name: str, classes: int) -> dict[str, Any]:
    if name.startswith("multi:"):
        return {"name": name, "softmax_multiclass_param": {"num_class": str(classes)}}
    if name.startswith("rank:"):
        return {"name": name, "lambdarank_param": {}}
    return {"name": name, **_OBJECTIVE_PARAMETERS.get(name, {"reg_loss_param": {"scale_pos_weight": "1"}})}


def _linear(reader: _Reader) -> dict[str, Any]:
    reader.take(136)
    return {"name": "gblinear", "model": {"boosted_rounds": 0, "weights": reader.vector()}}


def _trees(reader: _Reader, features: int) -> dict[str, Any]:
    count, parallel = reader.integers(2)
    reader.take(160 - 8)
    trees = [_tree(reader, number, features) for number in range(count)]
    return {
        "name": "gbtree",
        "model": {
            "gbtree_model_param": {"num_trees": str(count), "num_parallel_tree": str(max(parallel, 1))},
            "tree_info": list(reader.integers(count)),
            "trees": trees,
        },
    }


def _tree(reader: _Reader, number: int, features: int) -> dict[str, Any]:
    _, size, deleted = reader.integers(3)
    reader.take(148 - 12)
    nodes, statistics = reader.array(_NODE, size), reader.array(_STATISTICS, size)
    inner = nodes["left"] >= 0
    return {
        "id": number,
        "tree_param": {
            "num_deleted": str(deleted),
            "num_feature": str(features),
            "num_nodes": str(size),
            "size_leaf_vector": "1",
        },
        # the high bit of the parent says which of its two children a node is; all bits are set at the root
        "parents": np.where(nodes["parent"] == 2**32 - 1, _NO_PARENT, nodes["parent"] & ~np.uint32(_HIGH_BIT)),
        "left_children": nodes["left"],
        "right_children": nodes["right"],
        # the high bit of the feature's number says where missing values go
        "split_indices": (nodes["split"] & ~np.uint32(_HIGH_BIT)),
        "default_left": ((nodes["split"] & np.uint32(_HIGH_BIT)) > 0).astype(np.uint8),
        "split_conditions": nodes["value"],
        "split_type": np.zeros(size, np.uint8),
        "base_weights": np.where(inner, statistics["weight"], nodes["value"]),
        "loss_changes": statistics["gain"],
        "sum_hessian": statistics["hessian"],
        **{name: [] for name in ("categories", "categories_nodes", "categories_segments", "categories_sizes")},
    }
