"""The model of PCA and its artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from algorithms.common import mxnet_files
from algorithms.errors import ModelError, PredictionError
from algorithms.pca import PCA
from recordio.batches import Batch
from tests.algorithms.pca.jobs import digits, train


@pytest.mark.parametrize("subtract_mean", [True, False])
def test_the_artifact_has_the_documented_arrays(tmp_path: Path, subtract_mean: bool) -> None:
    train(digits(), subtract_mean=subtract_mean).save(tmp_path)
    arrays = mxnet_files.load(tmp_path / "model_algo-1")
    assert isinstance(arrays, dict)
    shapes = {"s": (5,), "v": (64, 5)} | ({"mean": (1, 64)} if subtract_mean else {})
    assert {name: array.shape for name, array in arrays.items()} == shapes
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("subtract_mean", [True, False])
def test_a_loaded_model_predicts_the_same_bits(tmp_path: Path, subtract_mean: bool) -> None:
    model = train(digits(), subtract_mean=subtract_mean)
    model.save(tmp_path)
    assert PCA.recognises(tmp_path)
    loaded = PCA.load(tmp_path)
    for rows in (digits(), sp.csr_array(digits())):
        np.testing.assert_array_equal(*(each.predict(Batch(rows))["projection"] for each in (model, loaded)))


@pytest.mark.parametrize("subtract_mean", [True, False])
def test_sparse_and_dense_requests_agree(subtract_mean: bool) -> None:
    model = train(digits(), subtract_mean=subtract_mean)
    dense, sparse = (model.predict(Batch(rows))["projection"] for rows in (digits(), sp.csr_array(digits())))
    assert dense.dtype == sparse.dtype == np.float32
    np.testing.assert_allclose(dense, sparse, atol=1e-4)


@pytest.mark.parametrize("rows", [np.empty((0, 64), np.float32), sp.csr_array((0, 64), dtype=np.float32)])
def test_no_rows_give_no_projections(rows: Any) -> None:
    assert train(digits()).predict(Batch(rows))["projection"].shape == (0, 5)


def test_a_request_of_another_width_is_refused() -> None:
    with pytest.raises(PredictionError, match="rows have 63 features, but the model has 64"):
        train(digits()).predict(Batch(np.zeros((1, 63), np.float32)))


S, V = np.ones(2, np.float32), np.ones((3, 2), np.float32)


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ([V], "1 arrays without names instead of s, v"),
        ({"v": V}, "it has v instead of s, v"),
        ({"s": S, "v": S}, r"v has the shape \(2,\)"),
        ({"s": S[:1], "v": V}, r"s has the shape \(1,\), but v the shape \(3, 2\)"),
        ({"s": S, "v": V, "mean": S[None]}, r"mean has the shape \(1, 2\)"),
        ({"s": S, "v": V * np.nan}, "array v has values that are NaN"),
    ],
)
def test_arrays_that_are_no_pca_model_are_refused(tmp_path: Path, arrays: Any, problem: str) -> None:
    mxnet_files.save(tmp_path / "model_algo-1", arrays)
    with pytest.raises(ModelError, match=problem):
        PCA.load(tmp_path)


def test_an_empty_folder_is_no_model(tmp_path: Path) -> None:
    assert not PCA.recognises(tmp_path)
    with pytest.raises(ModelError, match="it holds: nothing"):
        PCA.load(tmp_path)
