"""The model of k-means and its artifact."""

import doctest
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.cluster import KMeans as Reference

from algorithms.common import mxnet_files
from algorithms.errors import HyperparameterError, ModelError, PredictionError
from algorithms.hyperparameters import parse
from algorithms.kmeans import KMeans, KMeansHyperparameters, KMeansModel
from algorithms.kmeans.lloyd import Points, nearest
from recordio.batches import Batch
from tests.algorithms.kmeans.jobs import digits, fit, msd, rng

README = Path(__file__).resolve().parents[3] / "algorithms" / "kmeans" / "README.md"


def test_predictions_by_hand():
    model = KMeansModel(np.float32([[0, 0], [3, 4], [0, 0], [6, 0]]))
    answers = model.predict(Batch(np.float32([[3, 4], [0, 0], [3, 0], [9, 4]])))
    assert answers["closest_cluster"].tolist() == [1, 0, 0, 3]  # ties go to the lowest index
    np.testing.assert_array_equal(answers["distance_to_cluster"], np.float32([0, 0, 3, 5]))
    assert all(values.dtype == np.float32 for values in answers.values())


@pytest.mark.parametrize("as_given", [np.asarray, sp.csr_array])
def test_distances_are_accurate_next_to_large_values(as_given):
    centers = (rng().normal(size=(5, 7)) + 1e4).astype(np.float32)
    X = (centers[rng(1).integers(5, size=300)] + rng(2).normal(scale=1e-2, size=(300, 7))).astype(np.float32)
    exact = np.sqrt(((X[:, None].astype(np.float64) - centers[None].astype(np.float64)) ** 2).sum(axis=2))
    answers = KMeansModel(centers).predict(Batch(as_given(X)))
    np.testing.assert_array_equal(answers["closest_cluster"], exact.argmin(axis=1))
    np.testing.assert_allclose(answers["distance_to_cluster"], exact.min(axis=1), rtol=1e-6)


def test_predictions_are_scikit_learns():
    X = digits()
    reference = Reference(30, n_init=1, random_state=0).fit(X)
    answers = KMeansModel(reference.cluster_centers_).predict(Batch(X))
    np.testing.assert_array_equal(answers["closest_cluster"], reference.predict(X))
    np.testing.assert_allclose(answers["distance_to_cluster"], reference.transform(X).min(axis=1), rtol=1e-5)


@pytest.mark.parametrize("rows", [0, 1])
def test_predicting_none_and_one(rows):
    model = KMeansModel(np.ones((3, 4), np.float32))
    assert {name: values.shape for name, values in model.predict(Batch(np.ones((rows, 4), np.float32))).items()} == {
        "closest_cluster": (rows,),
        "distance_to_cluster": (rows,),
    }


def test_rows_of_another_width_are_refused():
    with pytest.raises(PredictionError, match="rows have 3 features, but the model has 4"):
        KMeansModel(np.ones((3, 4), np.float32)).predict(Batch(np.ones((2, 3), np.float32)))


def test_the_artifact_is_a_list_of_one_array(tmp_path):
    model = fit(digits(), 10)
    model.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model_algo-1"]
    assert (tmp_path / "model_algo-1").stat().st_size == 72 + 4 * 10 * 64
    (centers,) = mxnet_files.load(tmp_path / "model_algo-1")
    np.testing.assert_array_equal(centers, model.centers)
    assert KMeans.recognises(tmp_path)
    np.testing.assert_array_equal(KMeans.load(tmp_path).centers, model.centers)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_model_made_by_hand_is_served(tmp_path, dtype):
    mxnet_files.save(tmp_path / "model_algo-1", [np.array([[0, 0], [1, 1]], dtype)])
    assert KMeans.recognises(tmp_path)
    answers = KMeans.load(tmp_path).predict(Batch(np.float32([[1, 2]])))
    assert answers["closest_cluster"].tolist() == [1]


@pytest.mark.parametrize(
    "arrays",
    [
        [],
        [np.float32([1, 2])],
        [np.ones((2, 2), np.float32)] * 2,
        {"v": np.ones((2, 2), np.float32)},
        [np.ones((2, 2, 2), np.float32)],
    ],
)
def test_other_artifacts_are_refused(tmp_path, arrays):
    mxnet_files.save(tmp_path / "model_algo-1", arrays)
    assert not KMeans.recognises(tmp_path)
    with pytest.raises(ModelError, match="model_algo-1"):
        KMeans.load(tmp_path)


def test_an_empty_folder_and_centers_that_are_not_numbers_are_refused(tmp_path):
    assert not KMeans.recognises(tmp_path)
    with pytest.raises(ModelError):
        KMeans.load(tmp_path)
    mxnet_files.save(tmp_path / "model_algo-1", [np.float32([[1, np.nan]])])
    with pytest.raises(ModelError, match="NaN, infinite"):
        KMeans.load(tmp_path)


def test_what_the_sdk_sends_is_accepted_and_the_rest_refused():
    sent = {"k": "10", "feature_dim": "784", "force_dense": "True", "_tuning_objective_metric": "test:msd"}
    assert parse(KMeansHyperparameters, sent).k == 10
    with pytest.raises(HyperparameterError) as caught:
        parse(KMeansHyperparameters, {"k": "0", "eval_metrics": '["mse"]', "local_lloyd_tol": "2", "kk": "1"})
    for name in ("'k'", "eval_metrics", "local_lloyd_tol", "'kk'", "'feature_dim'"):
        assert name in str(caught.value)


def test_msd_of_points_is_the_plain_mean():
    X = digits()
    centers = X[:9].astype(np.float64)
    assert nearest(Points.of(X), centers).distances.mean() == pytest.approx(msd(X, centers), rel=1e-5)


def test_the_readme_runs():
    assert doctest.testfile(str(README), module_relative=False) == (0, 8)
