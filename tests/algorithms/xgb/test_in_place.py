"""Predictions through XGBoost's C interface are those of its Python package, bit for bit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse as sp
import xgboost as xgb

from algorithms.xgb.in_place import InPlace
from tests.algorithms.xgb.jobs import library

WIDTH = 6
BOOSTERS = {
    "regression": {"objective": "reg:squarederror"},
    "logistic": {"objective": "binary:logistic", "base_score": 0.3},
    "hinge": {"objective": "binary:hinge"},
    "classes": {"objective": "multi:softmax", "num_class": 3},
    "probabilities": {"objective": "multi:softprob", "num_class": 3},
    "poisson": {"objective": "count:poisson"},
    "forests": {"num_parallel_tree": 3, "subsample": 0.5},
    "categories": {"max_cat_to_onehot": 2},
    "quantiles": {"objective": "reg:quantileerror", "quantile_alpha": [0.2, 0.8], "tree_method": "hist"},
    "one leaf": {"max_depth": 1, "gamma": 1e9},
}


def booster(name: str, rounds: int = 5) -> xgb.Booster:
    random = np.random.default_rng(0)
    features = random.normal(size=(200, WIDTH)).astype(np.float32)
    features[:, 2] = random.integers(0, 9, 200)
    features[random.random(features.shape) < 0.2] = np.nan
    labels = (features[:, 2] % 3 + (features[:, 0] > 0)) // 1 % 3
    labels = np.nan_to_num(labels if "num_class" in BOOSTERS[name] else labels > 0).astype(np.float32)
    types = ["c" if name == "categories" and column == 2 else "q" for column in range(WIDTH)]
    matrix = xgb.DMatrix(features, labels, feature_types=types, enable_categorical=True)
    return library({"nthread": 1, **BOOSTERS[name]}, matrix, rounds)


def rows(count: int) -> np.ndarray:
    random = np.random.default_rng(1)
    found = random.normal(size=(count, WIDTH)).astype(np.float32)
    found[:, 2] = random.integers(0, 9, count)
    found[random.random(found.shape) < 0.3] = np.nan
    return found


def sparse(dense: np.ndarray) -> sp.csr_array:
    """Rows without the missing values of dense ones."""
    kept = ~np.isnan(dense)
    pointers = np.concatenate([[0], kept.sum(axis=1).cumsum()])
    return sp.csr_array((dense[kept], np.nonzero(kept)[1], pointers), shape=dense.shape)


@pytest.mark.parametrize("name", list(BOOSTERS))
@pytest.mark.parametrize("count", [1, 2, 70])
def test_every_kind_of_booster_answers_as_by_the_package(name, count):
    trained, dense = booster(name), rows(count)
    narrow = sparse(dense[:, :3])
    for rounds in (0, 2):
        predictor = InPlace(trained, rounds)
        expected = trained.predict(xgb.DMatrix(dense), iteration_range=(0, rounds), validate_features=False)
        for features in (dense, sparse(dense), dense[::-1][::-1], np.asfortranarray(dense), dense.astype(np.float64)):
            found = predictor.predict(features, WIDTH)
            assert found.dtype == np.float32
            np.testing.assert_array_equal(found, expected)
        wide = sp.csr_matrix((narrow.data, narrow.indices, narrow.indptr), shape=dense.shape)
        expected = trained.inplace_predict(wide, iteration_range=(0, rounds), validate_features=False)
        np.testing.assert_array_equal(predictor.predict(narrow, WIDTH), expected)


def test_an_answer_is_not_changed_by_the_next_one_nor_by_other_models():
    first, second = (InPlace(booster(name), 0) for name in ("regression", "probabilities"))
    one, other = rows(1), rows(9)
    found, copy = first.predict(one, WIDTH), first.predict(one, WIDTH).copy()
    assert second.predict(other, WIDTH).shape == (9, 3)
    assert first.predict(sparse(other), WIDTH).shape == (9,)
    np.testing.assert_array_equal(found, copy)


def test_rows_need_not_be_aligned():
    dense = rows(3)
    apart = np.frombuffer(b"x" + dense.tobytes(), np.float32, offset=1).reshape(dense.shape)
    assert not apart.flags.aligned
    predictor = InPlace(booster("regression"), 0)
    np.testing.assert_array_equal(predictor.predict(apart, WIDTH), predictor.predict(dense, WIDTH))


def test_rows_without_any_value_are_answered():
    trained = booster("regression")
    empty = sp.csr_array((2, WIDTH), dtype=np.float32)
    expected = trained.inplace_predict(np.full((2, WIDTH), np.nan, np.float32))
    np.testing.assert_array_equal(InPlace(trained, 0).predict(empty, WIDTH), expected)


def test_what_xgboost_refuses_is_its_error():
    predictor = InPlace(booster("regression"), 0)
    with pytest.raises(xgb.core.XGBoostError, match="column"):
        predictor.predict(np.zeros((1, WIDTH + 1), np.float32), WIDTH)
    np.testing.assert_array_equal(predictor.predict(rows(1), WIDTH), predictor.predict(rows(1), WIDTH))


def test_threads_share_a_booster():
    predictor, dense = InPlace(booster("probabilities"), 0), rows(50)
    expected = predictor.predict(dense, WIDTH)

    def ask(number: int) -> bool:
        found = (predictor.predict(dense[row : row + 1], WIDTH) for row in range(number % 7, 50, 7))
        return all(
            np.array_equal(one[0], expected[row]) for one, row in zip(found, range(number % 7, 50, 7), strict=True)
        )

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(ask, range(40)))
