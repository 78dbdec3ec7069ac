"""Answers for few rows are those of XGBoost, bit for bit, whether it is asked or not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import xgboost as xgb

from algorithms.xgb import in_place, walk
from algorithms.xgb.in_place import InPlace
from algorithms.xgb.model import load
from algorithms.xgb.walk import FEW_ROWS, Walk, laid_out
from tests.algorithms.xgb.jobs import library

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "xgboost"
WIDTH = 7

pytestmark = pytest.mark.skipif(walk._walk is None, reason="there was no C compiler")

WALKED = {
    "regression": {"objective": "reg:squarederror"},
    "from elsewhere": {"objective": "reg:squarederror", "base_score": -1e7},
    "median": {"objective": "reg:absoluteerror"},
    "pseudo-huber": {"objective": "reg:pseudohubererror", "base_score": 0.1},
    "squared log": {"objective": "reg:squaredlogerror", "base_score": 0.7},
    "logistic": {"objective": "binary:logistic"},
    "from a rare class": {"objective": "binary:logistic", "base_score": 1e-9, "eta": 3},
    "from a certain class": {"objective": "binary:logistic", "base_score": 1 - 1e-7, "eta": 3},
    "logistic regression": {"objective": "reg:logistic", "base_score": 0.123456789},
    "ranking": {"objective": "rank:ndcg"},
    "pairs": {"objective": "rank:pairwise", "base_score": 0.3},
    "forests": {"num_parallel_tree": 3, "subsample": 0.5},
    "deep": {"max_depth": 30, "min_child_weight": 0, "lambda": 0},
    "leaf by leaf": {"grow_policy": "lossguide", "max_leaves": 9, "max_depth": 0},
    "pruned": {"tree_method": "approx", "gamma": 0.5},
    "exact": {"tree_method": "exact", "gamma": 0.5},
    "one leaf": {"max_depth": 1, "gamma": 1e9},
    "classes": {"objective": "multi:softmax", "num_class": 3},
    "probabilities": {"objective": "multi:softprob", "num_class": 3, "eta": 2},
    "two classes": {"objective": "multi:softprob", "num_class": 2, "base_score": 0.5},
    "forests of classes": {"objective": "multi:softprob", "num_class": 3, "num_parallel_tree": 2, "subsample": 0.5},
    "counts": {"objective": "count:poisson"},
    "positive numbers": {"objective": "reg:gamma", "base_score": 3},
    "amounts": {"objective": "reg:tweedie"},
    "hazards": {"objective": "survival:cox"},
    "times": {"objective": "survival:aft"},
}

ASKED = {
    "hinge": {"objective": "binary:hinge"},
    "quantiles": {"objective": "reg:quantileerror", "quantile_alpha": [0.2, 0.8]},
    "categories": {"max_cat_to_onehot": 2},
}


def some_rows(count: int, seed: int = 1) -> np.ndarray:
    """Of whole and of real numbers, signed zeros and missing values among them."""
    random = np.random.default_rng(seed)
    found = random.normal(size=(count, WIDTH)).astype(np.float32)
    found[:, 2] = random.integers(0, 9, count)
    found[:, 3] = random.choice([-0.0, 0.0, 1.0], count)
    found[random.random(found.shape) < 0.2] = np.nan
    return found


def trained(parameters: dict, kind: str = "", rounds: int = 20) -> xgb.Booster:
    features = some_rows(500, seed=0)
    labels = np.nan_to_num(features[:, 2] % 3 > features[:, 0]).astype(np.float32)
    if parameters.get("objective") in ("reg:gamma", "survival:cox", "survival:aft"):
        labels += 1
    types = ["c" if kind == "categories" and column == 2 else "q" for column in range(WIDTH)]
    matrix = xgb.DMatrix(features, labels, feature_types=types, enable_categorical=True)
    if parameters.get("objective") == "survival:aft":
        matrix.set_info(label_lower_bound=labels, label_upper_bound=labels)
    return library(parameters, matrix, rounds)


def sparse(dense: np.ndarray) -> sp.csr_array:
    kept = ~np.isnan(dense)
    ends = np.concatenate([[0], kept.sum(axis=1).cumsum()])
    return sp.csr_array((dense[kept], np.nonzero(kept)[1], ends), shape=dense.shape)


@pytest.mark.parametrize("kind", WALKED)
def test_answers_are_those_of_xgboost(kind):
    booster = trained(WALKED[kind])
    for rounds in (0, 1, 7):
        own = laid_out(booster, rounds)
        assert own is not None
        for rows in (some_rows(2000), own.probes(), np.full((1, WIDTH), np.nan, np.float32)):
            expected = booster.predict(xgb.DMatrix(rows), iteration_range=(0, rounds), validate_features=False)
            np.testing.assert_array_equal(own.predict(rows), expected)
            np.testing.assert_array_equal(own.predict(sparse(rows)), expected)
            np.testing.assert_array_equal(own.predict(np.asfortranarray(rows)), expected)


def test_sparse_rows_may_be_narrower():
    booster = trained(WALKED["regression"])
    own, rows = laid_out(booster, 0), some_rows(9)
    assert own is not None
    narrow, rows[:, 4:] = sparse(rows[:, :4]), np.nan
    np.testing.assert_array_equal(own.predict(narrow), booster.predict(xgb.DMatrix(rows)))


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.model")), ids=lambda path: path.stem)
def test_models_of_all_versions_answer_for_few_rows_as_for_many(path, tmp_path):
    (tmp_path / "xgboost-model").write_bytes(path.read_bytes())
    model = load(tmp_path)
    (booster,) = model.boosters
    rows = np.random.default_rng(0).normal(size=(200, booster.num_features())).astype(np.float32)
    if model._in_place[0] is not None:
        expected = model._ask(0, rows)
        for row in range(len(rows)):
            np.testing.assert_array_equal(model._ask(0, rows[row : row + 1]), expected[row : row + 1])


@pytest.mark.parametrize("kind", ASKED)
def test_xgboost_is_asked_for_what_is_more_than_a_sum_of_leaves(kind):
    booster = trained(ASKED[kind], kind)
    assert laid_out(booster, 0) is None
    predictor = InPlace(booster, 0)
    predictor.lay_out()
    np.testing.assert_array_equal(predictor.predict(some_rows(3), WIDTH), booster.inplace_predict(some_rows(3)))


def test_xgboost_is_asked_where_a_right_child_is_not_behind_the_left_one():
    leaf = np.array([-1, -1])
    tree = {name: np.zeros(3, np.int32) for name in ("split_type", "split_conditions", "split_indices", "default_left")}
    tree |= {"left_children": np.array([1, *leaf]), "right_children": np.array([2, *leaf])}
    assert walk._nodes(tree) is not None
    assert (
        walk._nodes({**tree, "left_children": tree["right_children"], "right_children": np.array([1, *leaf])}) is None
    )


def test_attributes_may_have_the_names_of_the_parts_of_a_tree():
    booster = trained(WALKED["regression"])
    booster.set_attr(left_children="1", right_children="2")
    own = laid_out(booster, 0)
    assert own is not None
    np.testing.assert_array_equal(own.predict(some_rows(9)), booster.predict(xgb.DMatrix(some_rows(9))))


def test_large_and_wide_models_are_left_as_they_are(monkeypatch):
    booster = trained(WALKED["regression"])
    monkeypatch.setattr(walk, "_WIDEST", WIDTH - 1)
    assert laid_out(booster, 0) is None
    monkeypatch.undo()
    monkeypatch.setattr(walk, "_LARGEST", 1000)
    assert laid_out(booster, 0) is None


@dataclass
class Counted:
    """Counts the rows that a walk is asked for."""

    own: Walk
    rows: int = 0

    def predict(self, rows: np.ndarray) -> np.ndarray:
        self.rows += rows.shape[0]
        return self.own.predict(rows)


def test_a_loaded_model_asks_xgboost_for_many_rows_alone(tmp_path):
    booster = trained(WALKED["logistic"])
    (tmp_path / "xgboost-model").write_bytes(booster.save_raw("ubj"))
    (predictor,) = load(tmp_path)._in_place
    assert predictor is not None
    assert predictor._walk is not None
    predictor._walk = counted = Counted(predictor._walk)
    for count in (1, FEW_ROWS, FEW_ROWS + 1):
        rows = some_rows(count)
        np.testing.assert_array_equal(predictor.predict(rows, WIDTH), booster.predict(xgb.DMatrix(rows)))
    assert counted.rows == 1 + FEW_ROWS


def test_trees_are_not_walked_where_answers_would_differ(monkeypatch):
    booster = trained(WALKED["logistic"])
    own = laid_out(booster, 0)
    assert own is not None
    nodes, roots, groups, starts = own._trees
    other = Walk(nodes, roots, groups, starts * np.float32(1 + 1e-6), own.width, "binary:logistic")
    for found, is_used in ((own, True), (other, False)):
        monkeypatch.setattr(in_place, "laid_out", lambda booster, rounds, found=found: found)
        predictor = InPlace(booster, 0)
        predictor.lay_out()
        assert (predictor._walk is not None) == is_used


@pytest.mark.parametrize(
    "node", [(0.0, 0, 1, 0), (0.0, 2, 1, 0), (0.0, 1, 3, 0), (0.0, 1, 0, 0), (0.0, 1, 2, 1), (0.0, 2**31 - 1, 1, 0)]
)
def test_nodes_that_do_not_exist_are_refused(node):
    nodes = np.array([node, (1.0, -1, 0, 0), (2.0, -1, 0, 0)], walk._NODE)
    nothing = np.zeros(1, np.int32)
    own = Walk(nodes, nothing, nothing, np.zeros(1, np.float32), 1, "reg:squarederror")
    with pytest.raises(ValueError, match="does not exist"):
        own.predict(np.zeros((1, 1), np.float32))
