"""Whether a model's document is safe to give to XGBoost, which trusts what it reads.

An index out of range, a list that is too short, and nodes that form no tree, or too deep a one, end the process: at
once, or at the first prediction. A number that is too large asks for more memory than the file accounts for.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from recordio.limits import (
    DEEPEST_TREE,
    LEAST_MODEL_MEMORY,
    MODEL_MEMORY_PER_BYTE,
    MOST_CLASSES_WITHOUT_TREES,
    MOST_FEATURES,
)
from recordio.quoting import quoted

_PER_NODE = (
    *("left_children", "right_children", "parents", "split_indices", "split_conditions", "default_left"),
    *("base_weights", "loss_changes", "sum_hessian"),
)
_KINDS_OF_FEATURES = ("int", "float", "i", "q", "c")
_NO_PARENT = (-1, 2**31 - 1)
_LARGEST = 2**31 - 1
_AT_ONCE = 1024
"""Arrays that are looked at in one call, which for the few numbers of most trees takes longer than looking."""


def check(document: dict[str, Any], size: int) -> None:
    """Raise ValueError, or what comes of a missing part, unless ``document`` is a model that is safe to use.

    Args:
        size: bytes of the file that it came from, by which the memory that it may ask for is bounded.
    """
    _check_version(document["version"])
    learner = document["learner"]
    parameters = learner["learner_model_param"]
    features, classes = _whole(parameters, "num_feature", 0), _whole(parameters, "num_class", 0)
    if features > MOST_FEATURES:
        raise ValueError(f"it has {features} features, and at most {MOST_FEATURES} can be served")
    targets = _whole(parameters, "num_target", 1) if "num_target" in parameters else 1
    groups = max(classes, targets, 1)
    _check_base_score(parameters["base_score"], groups)
    _check_objective(learner["objective"], classes)
    attributes = learner["attributes"]
    if not isinstance(attributes, dict) or not all(isinstance(value, str) for value in attributes.values()):
        raise ValueError("the attributes are malformed")
    if attributes.get("best_iteration") == "":  # XGBoost's Python package fails on an empty text
        raise ValueError("the attribute best_iteration is empty")
    for what in ("feature_names", "feature_types"):
        if len(learner.get(what, ())) not in (0, features):
            raise ValueError(f"{len(learner[what])} {what} for {features} features")
    if unknown := [kind for kind in learner.get("feature_types", ()) if kind not in _KINDS_OF_FEATURES]:
        raise ValueError(f"{quoted(unknown[0])} is no type of a feature")
    booster = learner["gradient_booster"]
    if booster["name"] == "gblinear":
        _check_linear(booster["model"], features, groups)
        return
    if booster["name"] == "dart":
        weights = booster["weight_drop"]
        if len(weights) != len(booster["gbtree"]["model"]["trees"]):
            raise ValueError("trees and their weights differ in number")
        _check_finite(weights, "a weight of a tree")
        booster = booster["gbtree"]
    if booster["name"] != "gbtree":
        raise ValueError(f"there is no booster {quoted(booster['name'])}")
    _check_forest(booster["model"], features, groups, max(LEAST_MODEL_MEMORY, size * MODEL_MEMORY_PER_BYTE))


def may_be_refused(arrays: Iterator[np.ndarray]) -> bool:
    """Whether ``check`` may refuse a booster that was trained here, by its arrays of float32: one has numbers that are
    not finite, or so many that they may be of the nodes of a tree that is too deep."""
    while some := list(itertools.islice(arrays, _AT_ONCE)):
        if any(len(numbers) > 2 * DEEPEST_TREE for numbers in some) or not np.isfinite(np.concatenate(some)).all():
            return True
    return False


def _check_version(version: Any) -> None:
    """The version must be three whole numbers: XGBoost's error about another one would quote the whole document."""
    if len(version) != 3 or not all(type(part) is int and 0 <= part <= _LARGEST for part in version):
        raise ValueError(f"its version is {quoted(version)}")


def _whole(parameters: dict[str, Any], name: str, at_least: int) -> int:
    """A parameter that XGBoost reads as a 32-bit integer, from the text that it writes for it."""
    number = int(parameters[name])
    if not at_least <= number <= _LARGEST:
        raise ValueError(f"{name} is {number}")
    return number


def _check_finite(values: Any, what: str) -> None:
    """Refuse numbers that are not finite in the 32 bits that XGBoost keeps of each."""
    with np.errstate(over="ignore"):
        kept = np.asarray(values, np.float64).astype(np.float32)
    if not np.isfinite(kept).all():
        raise ValueError(f"{what} is not a finite number")


def _check_base_score(text: str, groups: int) -> None:
    """It must be a number, or since XGBoost 3.1 a list with a number for each output."""
    scores = json.loads(text) if text.startswith("[") else [float(text)]
    if len(scores) not in (1, groups):
        raise ValueError(f"base_score is {text[:50]} for {groups} outputs")
    _check_finite(scores, "base_score")


def _check_objective(objective: dict[str, Any], classes: int) -> None:
    if not isinstance(objective["name"], str):
        raise ValueError("the objective is malformed")
    if objective["name"].startswith("multi:"):
        known = _whole(objective["softmax_multiclass_param"], "num_class", 1)
        if known != classes:  # XGBoost divides by one of them, and cuts rows by the other
            raise ValueError(f"the objective has {known} classes, and the model {classes}")


def _check_linear(model: dict[str, Any], features: int, groups: int) -> None:
    if len(model["weights"]) != (features + 1) * groups:
        raise ValueError(f"{len(model['weights'])} weights for {features} features and {groups} outputs")
    _check_finite(model["weights"], "a weight")


def _check_forest(model: dict[str, Any], features: int, groups: int, memory: int) -> None:
    trees, info = model["trees"], np.asarray(model["tree_info"])
    if not len(trees) == len(info) == int(model["gbtree_model_param"]["num_trees"]):
        raise ValueError(f"{len(trees)} trees, and {len(info)} output groups of trees")
    if groups > max(len(trees), MOST_CLASSES_WITHOUT_TREES):
        raise ValueError(f"{groups} outputs, and {len(trees)} trees")
    if len(info) and not (info.dtype.kind in "iu" and info.min() >= 0 and info.max() < groups):
        raise ValueError("a tree belongs to an output that does not exist")
    parallel = int(model["gbtree_model_param"].get("num_parallel_tree", 1))
    if not 1 <= parallel * groups <= _LARGEST:
        raise ValueError(f"a round has {parallel} trees for each of {groups} outputs")
    ends = np.asarray(model.get("iteration_indptr", [0, len(trees)]))
    if ends[0] != 0 or ends[-1] != len(trees) or (np.diff(ends) < 0).any() or len(ends) > max(len(trees), 1) + 1:
        raise ValueError("the rounds do not cover the trees")
    ids = np.asarray([tree["id"] for tree in trees])
    if not np.array_equal(np.sort(ids), np.arange(len(trees))):  # XGBoost puts each tree where its id says
        raise ValueError("the ids of the trees are not their numbers")
    _check_names_of_categories(model.get("cats"))
    for number, tree in enumerate(trees):
        try:
            memory -= _check_tree(tree, features)
        except ValueError as error:
            raise ValueError(f"tree {number}: {error}") from None
        if memory < 0:
            raise ValueError("its categories take more memory than a file of its size may ask for")


def _check_tree(tree: dict[str, Any], features: int) -> int:
    """Refuse nodes that form no tree: every node but the root must be the child of the one node that it names as its
    parent.

    Returns:
        Bytes that its sets of categories will take.
    """
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
    if parents[0] not in _NO_PARENT:
        raise ValueError("its root has a parent")
    split = nodes["split_indices"][inner]
    if len(split) and not (split.min() >= 0 and split.max() < features):
        raise ValueError(f"a split is on a feature that the model's {features} do not include")
    _check_finite(nodes["split_conditions"][left == -1], "a leaf's value")
    _check_depth(left, right)
    return _check_categories(tree, size)


def _check_depth(left: np.ndarray, right: np.ndarray) -> None:
    """XGBoost walks a tree by recursion: one of some 100,000 levels overflows the stack."""
    level, depth = np.zeros(1, np.int64), 0
    while len(level := level[left[level] != -1]):
        level = np.concatenate([left[level], right[level]])
        depth += 1
        if depth > DEEPEST_TREE:
            raise ValueError(f"it is more than {DEEPEST_TREE} levels deep")


def _check_categories(tree: dict[str, Any], size: int) -> int:
    """The nodes that split by category must be listed in order, each with its part of the list of categories.

    Returns:
        Bytes of the sets that XGBoost makes of them: a bit for each category up to the largest of the node.
    """
    kinds = np.asarray(tree.get("split_type", np.zeros(size)))
    nodes, starts, sizes = (np.asarray(tree.get(f"categories_{part}", ())) for part in ("nodes", "segments", "sizes"))
    if kinds.shape != (size,) or not nodes.shape == starts.shape == sizes.shape:
        raise ValueError("its categories have parts of different lengths")
    if not np.array_equal(nodes, np.flatnonzero(kinds)) or not np.isin(kinds, (0, 1)).all():
        raise ValueError("its categories belong to other nodes")
    if not len(nodes):
        return 0
    categories = np.asarray(tree["categories"])
    if starts.min() < 0 or sizes.min() < 1 or starts.max() > len(categories) or sizes.max() > len(categories):
        raise ValueError("a node's categories do not exist")
    if (starts + sizes).max() > len(categories):
        raise ValueError("a node's categories do not exist")
    if categories.min() < 0 or categories.max() >= 2**24:  # larger ones are no floats any more
        raise ValueError("a category is out of range")
    largest = (categories[start : start + count].max() for start, count in zip(starts, sizes, strict=True))
    return sum(4 * (int(number) // 32 + 1) for number in largest)


def _check_names_of_categories(names: dict[str, Any] | None) -> None:
    """What XGBoost 3.1 and later keep of a data frame's categories: for each feature a list of them, which is empty
    where the feature is a number."""
    if names is None:
        return
    columns, ends, order = names["enc"], np.asarray(names["feature_segments"]), np.asarray(names["sorted_idx"])
    if not len(columns) and not ends.any() and not len(order):
        return
    bounds = [_bounds_of_names(column) for column in columns]
    counts = [len(offsets) - 1 for offsets in bounds]
    if not np.array_equal(ends, np.cumsum([0, *counts])) or len(order) != ends[-1]:
        raise ValueError("the names of its categories differ in number")
    for column, offsets, start in zip(columns, bounds, ends, strict=False):
        places = np.asarray(order[start : start + len(offsets) - 1])
        if not np.array_equal(np.sort(places), np.arange(len(offsets) - 1)):
            raise ValueError("the order of its categories is none")
        if offsets[0] != 0 or offsets[-1] != len(column["values"]) or (np.diff(offsets) < 0).any():
            raise ValueError("the names of its categories do not exist")


def _bounds_of_names(column: dict[str, Any]) -> np.ndarray:
    """Where each name of a feature's categories begins in its values, and where the last ends. Names that are numbers
    take one value each."""
    if "offsets" not in column:
        return np.arange(len(column["values"]) + 1)
    offsets = np.asarray(column["offsets"])
    return offsets if len(offsets) else np.zeros(1, np.int64)
