"""Model files of every format that XGBoost ever wrote, checked before XGBoost sees them.

XGBoost's own readers trust their input: a damaged file can end the process, in loading or later in predicting. So a
file is first read by code that cannot be harmed, its trees are checked to be trees, and only then is it given to
XGBoost. UBJSON and JSON go on as they are; the formats that XGBoost 3 dropped are turned into JSON.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xgboost as xgb

from algorithms.errors import ModelError
from algorithms.xgb import legacy, pickled, ubjson
from algorithms.xgb.messages import first_line

_HEAD = 4096
_MODERN = [1, 7, 0]
_PER_NODE = (
    *("left_children", "right_children", "parents", "split_indices", "split_conditions", "default_left"),
    *("base_weights", "loss_changes", "sum_hessian"),
)


def looks_like_model(head: bytes) -> bool:
    """Whether a file that starts with ``head`` may be an XGBoost model, of any format."""
    if head[:1] == b"{":
        return b"learner" in head[:_HEAD] or b"gradient_booster" in head[:_HEAD]
    return head.startswith(legacy.HEADER) or (pickled.is_pickle(head) and b"xgboost" in head[:_HEAD])


def load_booster(data: bytes, name: str) -> xgb.Booster:
    """The model in ``data``; ``name`` is what messages call it.

    Raises:
        ModelError: it is damaged, of no known format, or a pickle of anything but one Booster.
    """
    try:
        document, native = _document(data)
        _check(document)
    except pickled.PickleRefused as error:
        raise ModelError(
            f"{name} is a Python pickle that is not opened, since opening one can run any code: {error}. If you trust "
            "it, open it yourself, save its Booster with booster.save_model('xgboost-model'), and use that file"
        ) from None
    except (ubjson.UBJSONError, legacy.LegacyError, json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{name} is not an XGBoost model, or is damaged: {error}") from None
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ModelError(f"{name} is damaged: {error}") from None
    booster = xgb.Booster()
    try:
        booster.load_model(bytearray(data if native else json.dumps(document, default=np.ndarray.tolist).encode()))
        booster.save_config()  # XGBoost reads objective and parameters when first asked for them
    except (xgb.core.XGBoostError, ValueError, TypeError) as error:
        raise ModelError(f"{name} is not a model that XGBoost can load: {first_line(error)}") from None
    return booster


def _document(data: bytes) -> tuple[dict[str, Any], bool]:
    """The model's document, and whether XGBoost itself reads ``data``."""
    if pickled.is_pickle(data):
        return _modern(_serialised(pickled.booster_state(data))), False
    if data[:1] == b"{":
        document = _object(data)
        native = list(document.get("version", ())) >= _MODERN
        return document if native else _modern(document), native
    return legacy.document(data), False


def _modern(document: dict[str, Any]) -> dict[str, Any]:
    """Documents of 1.0 to 1.5, which XGBoost announces to drop, hold what those of 1.7 do."""
    document["version"] = max(list(document.get("version", ())), _MODERN)
    return document


def _object(data: bytes) -> dict[str, Any]:
    if data[1:2].isspace() or data[1:2] in (b'"', b"}"):
        return json.loads(data)
    return ubjson.loads(data)


def _serialised(state: bytes) -> dict[str, Any]:
    """The document in a Booster's memory image: the model, and since 1.0 the configuration beside it."""
    if state[:1] == b"{":
        return _object(state)["Model"]
    offset = b"CONFIG-offset:"  # 1.0 to 1.2: an i64 follows, then the model, and at that offset the configuration
    return legacy.document(state[len(offset) + 8 :] if state.startswith(offset) else state)


def _check(document: dict[str, Any]) -> None:
    """Raise ValueError, or what comes of a missing part, unless ``document`` is a model that is safe to use."""
    learner = document["learner"]
    features = int(learner["learner_model_param"]["num_feature"])
    groups = max(int(learner["learner_model_param"]["num_class"]), 1)
    groups = max(groups, int(learner["learner_model_param"].get("num_target", 1)))
    if not isinstance(learner["objective"]["name"], str) or not isinstance(learner["attributes"], dict):
        raise ValueError("the objective or the attributes are malformed")
    booster = learner["gradient_booster"]
    if booster["name"] == "gblinear":
        if len(booster["model"]["weights"]) != (features + 1) * groups:
            raise ValueError(f"{len(booster['model']['weights'])} weights for {features} features")
        return
    if booster["name"] == "dart":
        if len(booster["weight_drop"]) != len(booster["gbtree"]["model"]["trees"]):
            raise ValueError("trees and their weights differ in number")
        booster = booster["gbtree"]
    if booster["name"] != "gbtree":
        raise ValueError(f"there is no booster '{booster['name']}'")
    _check_forest(booster["model"], features, groups)


def _check_forest(model: dict[str, Any], features: int, groups: int) -> None:
    trees, info = model["trees"], np.asarray(model["tree_info"])
    if not len(trees) == len(info) == int(model["gbtree_model_param"]["num_trees"]):
        raise ValueError(f"{len(trees)} trees, and {len(info)} output groups of trees")
    if len(info) and not (info.min() >= 0 and info.max() < groups):
        raise ValueError("a tree belongs to an output that does not exist")
    if int(model["gbtree_model_param"].get("num_parallel_tree", 1)) < 1:
        raise ValueError("a round has no trees")
    ends = np.asarray(model.get("iteration_indptr", [0, len(trees)]))
    if ends[0] != 0 or ends[-1] != len(trees) or (np.diff(ends) < 0).any():
        raise ValueError("the rounds do not cover the trees")
    for number, tree in enumerate(trees):
        try:
            _check_tree(tree, features)
        except ValueError as error:
            raise ValueError(f"tree {number}: {error}") from None


def _check_tree(tree: dict[str, Any], features: int) -> None:
    """Every node but the root is the child of one node, which it names as its parent: so there are no cycles."""
    nodes = {name: np.asarray(tree[name]) for name in _PER_NODE}
    size = int(tree["tree_param"]["num_nodes"])
    vector = max(int(tree["tree_param"]["size_leaf_vector"]), 1)
    if vector > 1:
        raise ValueError("trees with several values a leaf are not supported")
    if size < 1 or any(values.shape != (size,) for values in nodes.values()):
        raise ValueError(f"its {size} nodes have parts of different lengths")
    left, right, parents = nodes["left_children"], nodes["right_children"], nodes["parents"]
    inner = np.flatnonzero(left != -1)
    children = np.concatenate([left[inner], right[inner]])
    if len(children) and not (children.min() > 0 and children.max() < size):
        raise ValueError("a node's child does not exist")
    if (parents[children] != np.tile(inner, 2)).any() or (left[inner] == right[inner]).any():
        raise ValueError("a node's child belongs to another node")
    split = nodes["split_indices"][inner]
    if len(split) and not (split.min() >= 0 and split.max() < features):
        raise ValueError(f"a split is on a feature that the model's {features} do not include")
    _check_categories(tree, size)


def _check_categories(tree: dict[str, Any], size: int) -> None:
    """The nodes that split by category are named in order, each with its piece of the list of categories."""
    kinds = np.asarray(tree.get("split_type", np.zeros(size)))
    nodes, starts, sizes = (np.asarray(tree.get(f"categories_{part}", ())) for part in ("nodes", "segments", "sizes"))
    if kinds.shape != (size,) or not nodes.shape == starts.shape == sizes.shape:
        raise ValueError("its categories have parts of different lengths")
    if not np.array_equal(nodes, np.flatnonzero(kinds)) or not np.isin(kinds, (0, 1)).all():
        raise ValueError("its categories belong to other nodes")
    if len(nodes):
        categories = np.asarray(tree["categories"])
        if starts.min() < 0 or sizes.min() < 1 or (starts + sizes).max() > len(categories):
            raise ValueError("a node's categories do not exist")
        if categories.min() < 0 or categories.max() >= 2**24:  # larger ones are no floats any more
            raise ValueError("a category is out of range")
