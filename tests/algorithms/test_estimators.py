"""The estimators: scikit-learn's own checks, and its tools around them."""

from __future__ import annotations

import inspect
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import xgboost
from scipy.special import expit, softmax
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_diabetes, load_digits, load_iris, make_blobs
from sklearn.decomposition import PCA as TheirPCA  # noqa: N811
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import algorithms
from algorithms import estimators
from algorithms.errors import HyperparameterError, ModelError
from algorithms.factorization_machines import schedule

SMALL = [
    estimators.KMeans(k=3),
    estimators.PCA(num_components=1),
    estimators.LDA(num_topics=2),
    estimators.LinearLearnerClassifier(),
    estimators.LinearLearnerRegressor(),
    estimators.FactorizationMachinesClassifier(num_factors=2),
    estimators.FactorizationMachinesRegressor(num_factors=2),
    estimators.XGBoostClassifier(num_round=10),
    estimators.XGBoostRegressor(num_round=10),
]
SMALL += [
    getattr(estimators, name)()
    for name in sorted(set(estimators.__all__) - {"NTM"} - {type(one).__name__ for one in SMALL})
]
"""NTM, which takes a second a model, has tests of its own. New ones that need no argument are checked."""

BITS = "float32: sums in another order differ in the last bit, and the check wants float64's"
AFTER_FIT = "it calls partial_fit after fit, which keeps the model alone: refused, rather than its rows forgotten"
EXPECTED: dict[str, dict[str, str]] = {
    "KMeans": {"check_fit_score_takes_y": AFTER_FIT},
    "PCA": {"check_fit_score_takes_y": AFTER_FIT},
    "LDA": {
        "check_fit2d_1feature": "two topics of one word are refused by the name of the hyperparameter, num_topics",
    },
    "FactorizationMachinesClassifier": {
        "check_methods_sample_order_invariance": BITS,
        "check_fit_score_takes_y": AFTER_FIT,
    },
    "FactorizationMachinesRegressor": {
        "check_methods_sample_order_invariance": BITS,
        "check_fit_score_takes_y": AFTER_FIT,
    },
    "LinearLearnerRegressor": {"check_methods_sample_order_invariance": BITS},
    "XGBoostClassifier": {
        "check_sample_weight_equivalence_on_dense_data": BITS,
        "check_sample_weight_equivalence_on_sparse_data": BITS,
    },
}


@pytest.fixture
def fewer_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of factorization machines, which else would take most of this module's time: enough for the checks' data."""
    monkeypatch.setattr(schedule, "SMALL_STEPS", 1000)
    monkeypatch.setattr(schedule, "PASSES", 50)


@pytest.mark.usefixtures("fewer_steps")
@parametrize_with_checks(
    SMALL, expected_failed_checks=lambda one: EXPECTED.get(type(one).__name__, {}), xfail_strict=False
)
def test_scikit_learns_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def test_arguments_are_the_declarations(tmp_path: Path) -> None:
    signature = inspect.signature(estimators.XGBoostRegressor)
    assert signature.parameters["eta"].default == 0.3
    assert signature.parameters["lambda_"].default == 1
    assert {"feature_dim", "kvstore", "_kvstore"}.isdisjoint(inspect.signature(estimators.PCA).parameters)
    assert "Number of" in estimators.KMeans.__init__.__doc__
    assert "A JSON list" in estimators.KMeans.__init__.__doc__
    assert "above -2147483648" in estimators.XGBoostClassifier.__init__.__doc__
    with pytest.raises(TypeError, match=r"KMeans.__init__\(\) takes 1 positional"):
        estimators.KMeans(3)
    with pytest.raises(TypeError, match="n_clusters"):
        estimators.KMeans(n_clusters=3)
    with pytest.raises(HyperparameterError, match="'k'"):
        estimators.KMeans(k="many").fit(np.eye(3))
    with pytest.raises(HyperparameterError, match="No value"):
        estimators.KMeans().fit(np.eye(3))


def test_beside_scikit_learns_own() -> None:
    rows, labels = load_iris(return_X_y=True)
    ours = cross_val_score(estimators.LinearLearnerClassifier(random_state=0), rows, labels, cv=5)
    theirs = cross_val_score(LogisticRegression(max_iter=1000), rows, labels, cv=5)
    assert ours.mean() >= theirs.mean() - 0.02
    components = estimators.PCA(num_components=3).fit(rows)
    their = TheirPCA(3).fit(rows)
    np.testing.assert_allclose(np.abs(components.components_ @ their.components_.T), np.eye(3), atol=1e-3)
    np.testing.assert_allclose(np.abs(components.transform(rows)), np.abs(their.transform(rows)), atol=1e-2)
    np.testing.assert_allclose(
        components.inverse_transform(components.transform(rows)),
        their.inverse_transform(their.transform(rows)),
        atol=1e-3,
    )


def test_in_somebody_elses_pipeline_and_search() -> None:
    rows, numbers = load_digits(return_X_y=True)
    rows, numbers = rows[:600], numbers[:600]
    search = GridSearchCV(
        make_pipeline(estimators.PCA(num_components=20), estimators.XGBoostClassifier(num_round=30, max_depth=3)),
        {"xgboostclassifier__eta": [0.01, 0.5]},
        cv=2,
    ).fit(rows[:400], numbers[:400])
    assert search.best_params_ == {"xgboostclassifier__eta": 0.5}
    assert search.score(rows[400:], numbers[400:]) > 0.6  # XGBClassifier on their PCA: 0.69


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_frames_with_names(kind: str) -> None:
    frames = pytest.importorskip(kind)
    rows, numbers = load_diabetes(return_X_y=True)
    names = [f"f{i}" for i in range(rows.shape[1])]
    frame = frames.DataFrame(rows, columns=names) if kind == "pandas" else frames.DataFrame(rows, schema=names)
    one = estimators.LinearLearnerRegressor(random_state=0).fit(frame, numbers)
    other = estimators.LinearLearnerRegressor(random_state=0).fit(rows, numbers)
    assert one.feature_names_in_.tolist() == names
    np.testing.assert_allclose(one.predict(frame), other.predict(rows), rtol=1e-5)
    assert one.score(frame, numbers) > 0.4


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_a_text_in_a_frame_is_named_with_its_column(kind: str, tmp_path: Path) -> None:
    frames = pytest.importorskip(kind)
    frame = frames.DataFrame({"size": [1.0, 2, 3, 4], "color": ["1", "red", "blue", "red"]})
    told = "column 'color' has the text 'red'"
    with pytest.raises(ValueError, match=f"{told}.*OneHotEncoder"):
        estimators.KMeans(k=2).fit(frame)
    with pytest.raises(ValueError, match=told):
        estimators.XGBoostClassifier(num_round=2).fit(frame, [0, 1, 0, 1])
    fitted = estimators.KMeans(k=2).fit(np.eye(4)[:, :2])
    fitted.save(tmp_path / "model.tar.gz")
    with pytest.raises(ValueError, match=told):
        algorithms.load(tmp_path / "model.tar.gz").predict(frame)


def test_what_is_saved_opens_anywhere(tmp_path: Path) -> None:
    rows, _ = make_blobs(200, centers=3, random_state=0)
    fitted = estimators.KMeans(k=3, random_state=0).fit(rows)
    fitted.save(tmp_path / "model.tar.gz")
    found = algorithms.load(tmp_path / "model.tar.gz").predict(rows)
    assert found["closest_cluster"].tolist() == fitted.labels_.tolist()
    assert clone(fitted).get_params() == fitted.get_params()


@pytest.mark.parametrize("estimator", SMALL, ids=lambda one: type(one).__name__)
def test_what_is_saved_is_loaded_as_an_estimator_again(estimator: Any, tmp_path: Path) -> None:
    rows, numbers = load_iris(return_X_y=True)
    rows, labels = rows[:100], np.array(["setosa", "versicolor"])[numbers[:100]]
    is_one_of_classes = type(estimator).__name__.endswith("Classifier")
    fitted = clone(estimator).fit(rows, labels if is_one_of_classes else numbers[:100])
    fitted.save(tmp_path / "model.tar.gz")
    more = {"classes": fitted.classes_} if is_one_of_classes else {}
    loaded = type(estimator).load(tmp_path / "model.tar.gz", **more)
    for method in ("predict", "predict_proba", "transform"):
        if hasattr(fitted, method):
            one, other = getattr(loaded, method)(rows), getattr(fitted, method)(rows)
            if one.dtype.kind in "if":
                np.testing.assert_allclose(one, other, rtol=1e-6)  # the artifact is of float32
            else:
                assert one.tolist() == other.tolist()
    kept = {"cluster_centers_", "components_", "singular_values_", "mean_", "alpha_", "classes_", "n_features_in_"}
    for name in kept & vars(fitted).keys() - ({"n_features_in_"} if "XGBoost" in type(estimator).__name__ else set()):
        one, other = np.asarray(getattr(loaded, name)), np.asarray(getattr(fitted, name))
        assert one.tolist() == other.tolist() if one.dtype.kind == "U" else np.allclose(one, other, rtol=1e-6)
    if is_one_of_classes:
        assert type(estimator).load(tmp_path / "model.tar.gz").predict(rows[:1]).tolist() == [0]
        with pytest.raises(ValueError, match="3 labels; .* 2 classes"):
            type(estimator).load(tmp_path / "model.tar.gz", classes=["a", "b", "c"])
        with pytest.raises(ValueError, match="twice: a, a"):
            type(estimator).load(tmp_path / "model.tar.gz", classes=["a", "a"])


def test_a_model_of_another_kind_is_not_loaded(tmp_path: Path) -> None:
    rows, numbers = load_iris(return_X_y=True)
    for made, other in (
        (estimators.XGBoostClassifier(num_round=2), estimators.XGBoostRegressor),
        (estimators.XGBoostRegressor(num_round=2), estimators.XGBoostClassifier),
        (estimators.LinearLearnerClassifier(), estimators.LinearLearnerRegressor),
        (estimators.LinearLearnerRegressor(), estimators.LinearLearnerClassifier),
        (estimators.KMeans(k=2), estimators.PCA),
    ):
        made.fit(rows, numbers).save(tmp_path / "model.tar.gz")
        with pytest.raises(ModelError):
            other.load(tmp_path / "model.tar.gz")
    with pytest.raises(FileNotFoundError):
        estimators.KMeans.load(tmp_path / "nothing")
    estimators.LinearLearnerRegressor().fit(rows, numbers).save(tmp_path / "model.tar.gz")
    with pytest.raises(ModelError, match="is a model of linear-learner, and not of kmeans"):
        estimators.KMeans.load(tmp_path / "model.tar.gz")
    (tmp_path / "job" / "model").mkdir(parents=True)
    shutil.unpack_archive(tmp_path / "model.tar.gz", tmp_path / "job" / "model", filter="data")
    with pytest.raises(ModelError, match="There is a model in its folder 'model'"):
        estimators.LinearLearnerRegressor.load(tmp_path / "job")


def test_a_booster_that_names_classes_is_loaded_without_probabilities(tmp_path: Path) -> None:
    """As the hyperparameter objective=multi:softmax makes it, which AWS's notebooks use."""
    xgboost = pytest.importorskip("xgboost")
    rows, numbers = load_iris(return_X_y=True)
    data = xgboost.DMatrix(rows, numbers)
    booster = xgboost.train({"objective": "multi:softmax", "num_class": 3}, data, 5)
    (tmp_path / "xgboost-model").write_bytes(booster.save_raw("ubj"))
    loaded = estimators.XGBoostClassifier.load(tmp_path)
    assert loaded.score(rows, numbers) > 0.95
    assert not hasattr(loaded, "predict_proba")


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32, str])
def test_labels_of_each_type_are_classes(dtype: Any) -> None:
    y = (np.arange(12) % 2).astype(dtype)
    made = estimators.LinearLearnerClassifier().fit(np.eye(12), y)
    np.testing.assert_array_equal(made.classes_, np.unique(y))
    assert made.predict(np.eye(12)).dtype == y.dtype


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
@pytest.mark.parametrize("last", [0.5, 2.25, 1e300])
def test_numbers_that_are_no_classes_are_refused_in_scikit_learns_words(last: float) -> None:
    y = np.append(np.arange(11) % 2, last)
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        estimators.LinearLearnerClassifier().fit(np.eye(12), y)


def test_classes_of_which_most_rows_have_their_own_are_warned_of_in_scikit_learns_words() -> None:
    with pytest.warns(UserWarning, match="greater than 50%"):
        estimators.LinearLearnerClassifier().fit(np.eye(24), np.arange(24) // 1.5)


def test_labels_of_any_kind_and_classes_that_cannot_be() -> None:
    rows, numbers = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[numbers]
    for estimator in (estimators.LinearLearnerClassifier(), estimators.XGBoostClassifier(num_round=5)):
        assert estimator.fit(rows, names).score(rows, names) > 0.9
        assert estimator.predict_proba(rows).sum(axis=1) == pytest.approx(1, abs=1e-5)
    with pytest.raises(ValueError, match="one class: 0.0$"):
        estimators.LinearLearnerClassifier().fit(rows, np.zeros(150))
    with pytest.raises(ValueError, match="binary"):
        estimators.FactorizationMachinesClassifier(num_factors=2).fit(rows, names)
    margins = estimators.LinearLearnerClassifier(loss="hinge_loss").fit(rows[:100], names[:100])
    assert not hasattr(margins, "predict_proba")


@pytest.mark.parametrize(
    ("classes", "options"),
    [
        (2, {}),
        (2, {"loss": "hinge_loss"}),
        (2, {"binary_classifier_model_selection_criteria": "recall_at_target_precision"}),
        (3, {}),
    ],
)
def test_decision_function_is_that_of_scikit_learn(classes: int, options: dict[str, Any], tmp_path: Path) -> None:
    """Of the hinge loss it is all that calibration, ROC and one-against-rest have."""
    rows, numbers = load_iris(return_X_y=True)
    rows, labels = rows[50 * (3 - classes) :], np.array(["a", "b", "c"])[numbers[50 * (3 - classes) :]]
    fitted = estimators.LinearLearnerClassifier(random_state=0, **options).fit(rows, labels)
    found = fitted.decision_function(rows)
    predicted = found.argmax(axis=1) if classes == 3 else (found > 0).astype(int)
    assert fitted.classes_[predicted].tolist() == fitted.predict(rows).tolist()
    fitted.save(tmp_path / "model.tar.gz")
    peer = algorithms.load(tmp_path / "model.tar.gz").export("sklearn")
    if isinstance(peer, FixedThresholdClassifier):
        expected = peer.estimator_.decision_function(rows) - peer.threshold
    else:
        expected = peer.decision_function(rows)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_margins_are_calibrated_and_ranked() -> None:
    rows, numbers = load_iris(return_X_y=True)
    margins = estimators.LinearLearnerClassifier(loss="hinge_loss", random_state=0)
    two = rows[50:], numbers[50:]
    assert CalibratedClassifierCV(margins, cv=3).fit(*two).score(*two) > 0.9
    assert cross_val_score(margins, *two, cv=3, scoring="roc_auc").min() > 0.9
    assert OneVsRestClassifier(margins).fit(rows, numbers).score(rows, numbers) > 0.9
    with pytest.raises(ValueError, match="decision_function of row 1 is not a finite number"):
        margins.fit(*two).decision_function([[3e38, -3e38, 3e38, 3e38]])


@pytest.mark.parametrize("make", [lambda: estimators.XGBoostRegressor(num_round=5), estimators.LinearLearnerRegressor])
def test_repeated_entries_of_sparse_rows_are_summed(make: Any) -> None:
    """XGBoost's own reading of such rows ended the process."""
    random = np.random.default_rng(0)
    columns, values = np.tile([3, 2, 0, 0], 60), random.normal(size=240)
    repeated = sp.csr_array((values, columns, np.arange(0, 241, 4)), shape=(60, 4))
    numbers = random.normal(size=60)
    summed = repeated.copy()
    summed.sum_duplicates()
    one, other = make().fit(repeated, numbers), make().fit(summed, numbers)
    np.testing.assert_allclose(one.predict(repeated), other.predict(summed), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("booster", ["gbtree", "dart"])
@pytest.mark.parametrize("strided", ["indices", "data", "indptr"])
def test_arrays_of_sparse_rows_need_not_be_contiguous(booster: str, strided: str) -> None:
    """XGBoost read what lies between the columns of np.nonzero, and the process ended by a signal."""
    rows = sp.random_array((60, 4), density=0.5, format="csr", dtype=np.float32, rng=np.random.default_rng(0))
    apart = rows.copy()
    setattr(apart, strided, np.stack([getattr(rows, strided), np.full_like(getattr(rows, strided), 9)], axis=1)[:, 0])
    labels = np.arange(60) % 2

    def make() -> Any:
        return estimators.XGBoostClassifier(num_round=5, booster=booster)

    one, other = make().fit(apart, labels), make().fit(rows, labels)
    for asked in (apart, rows):
        np.testing.assert_array_equal(one.predict_proba(asked), other.predict_proba(rows))


@pytest.mark.parametrize("make", [lambda: estimators.XGBoostRegressor(num_round=5), lambda: estimators.KMeans(k=2)])
@pytest.mark.parametrize("place", [-1, 9, 1 << 30])
@pytest.mark.parametrize("form", [sp.csr_array, sp.csc_array, sp.csc_matrix, sp.bsr_array])
def test_sparse_rows_whose_indices_are_outside_are_refused(make: Any, place: int, form: Any) -> None:
    """XGBoost, or SciPy on the way to it, wrote there, and the process ended by a signal."""
    rows = form(np.ones((9, 4), np.float32), **({"blocksize": (1, 1)} if form is sp.bsr_array else {}))
    fitted = make().fit(rows, np.arange(9))
    rows.indices[5] = place
    for refused in (lambda: make().fit(rows, np.arange(9)), lambda: fitted.predict(rows)):
        with pytest.raises(ValueError, match=r"the sparse rows are damaged: .*ind"):
            refused()


@pytest.mark.parametrize(
    "make",
    [
        estimators.LinearLearnerRegressor,
        estimators.LinearLearnerClassifier,
        lambda random_state: estimators.FactorizationMachinesRegressor(num_factors=2, random_state=random_state),
        lambda random_state: estimators.FactorizationMachinesClassifier(num_factors=2, random_state=random_state),
    ],
)
def test_zeros_that_sparse_rows_store_change_no_model(make: Any) -> None:
    """Rows of 3 % non-zeros, half of whose zeros are stored: they were scaled as dense ones are."""
    random = np.random.default_rng(0)
    rows = sp.random_array((200, 60), density=0.03, format="csr", dtype=np.float32, rng=random)
    mask = (rows.toarray() != 0) | (random.random((200, 60)) < 0.5)
    stored = sp.csr_array((rows.toarray()[mask], np.nonzero(mask)), shape=(200, 60))
    assert stored.nnz > 10 * rows.nnz
    labels = random.integers(2, size=200) + rows.sum(axis=1).round()
    labels = labels if "Regressor" in repr(make(random_state=0)) else labels > 0
    plain, other = make(random_state=0).fit(rows, labels), make(random_state=0).fit(stored, labels)
    for asked in (rows, stored):
        np.testing.assert_allclose(other.predict(asked), plain.predict(rows), rtol=1e-5)
    assert stored.nnz > 10 * rows.nnz  # they are the caller's


def test_a_package_that_training_lacks_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(ImportError, match=r"NTM is trained with the package 'keras'.*\[ntm\]"):
        estimators.NTM(num_topics=2).fit(np.eye(4))


def test_labels_beyond_float32_are_refused() -> None:
    with pytest.raises(ValueError, match="float32"):
        estimators.LinearLearnerRegressor().fit(np.eye(4), [1e300, 0, 1, 2])


@pytest.mark.parametrize(
    ("estimator", "rows", "words"),
    [
        (estimators.XGBoostRegressor(num_round=1, objective="count:poisson"), np.eye(3), "^The data, row 2: .* -1"),
        (estimators.LDA(num_topics=2), np.zeros((3, 3)), "^no document of the data has a word"),
    ],
    ids=["a label", "documents"],
)
def test_errors_about_the_data_speak_of_no_channel(estimator: Any, rows: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        estimator.fit(rows, np.array([1, -1, 1]))


def test_columns_have_names_and_all_estimators_are_listed() -> None:
    pandas = pytest.importorskip("pandas")
    rows, _ = load_iris(return_X_y=True, as_frame=True)
    found = make_pipeline(StandardScaler(), estimators.PCA(num_components=2)).set_output(transform="pandas")
    assert isinstance(found.fit_transform(rows), pandas.DataFrame)
    assert estimators.KMeans(k=3).fit(rows).get_feature_names_out().tolist() == ["kmeans0", "kmeans1", "kmeans2"]
    assert "XGBoostClassifier" in estimators.__all__


def test_missing_values_and_weights_of_xgboost() -> None:
    rows, numbers = load_diabetes(return_X_y=True)
    rows = np.where(np.random.default_rng(0).random(rows.shape) < 0.2, np.nan, rows)
    doubled = estimators.XGBoostRegressor(num_round=5).fit(np.vstack([rows, rows]), np.hstack([numbers, numbers]))
    weighted = estimators.XGBoostRegressor(num_round=5).fit(rows, numbers, sample_weight=np.full(len(rows), 2))
    np.testing.assert_allclose(doubled.predict(rows), weighted.predict(rows), rtol=1e-4)
    for train in (weighted.fit, weighted.partial_fit):  # XGBoost's own error is none of values
        with pytest.raises(ValueError, match="Negative values"):
            train(rows, numbers, sample_weight=np.append(np.ones(len(rows) - 1), -1))
    with pytest.raises(ValueError, match="NaN"):
        estimators.LinearLearnerRegressor().fit(rows, numbers)


@pytest.mark.parametrize("estimator", [one for one in SMALL if not type(one).__name__.startswith("XGBoost")])
def test_weights_of_rows_are_refused_in_the_name_of_the_estimator(estimator: Any) -> None:
    for method in (estimator.fit, getattr(estimator, "partial_fit", estimator.fit)):
        with pytest.raises(
            TypeError, match=f"{type(estimator).__name__} is fitted without the argument 'sample_weight'"
        ):
            method(np.eye(4), [0, 1, 0, 1], sample_weight=[1, 1, 1, 2])


def test_what_selectors_and_explainers_look_for() -> None:
    """scikit-learn's SelectFromModel, RFE and SHAP ask for these by name."""
    from sklearn.feature_selection import SelectFromModel

    random = np.random.default_rng(0)
    features = random.normal(size=(200, 5)).astype(np.float32)
    labels = np.where(features[:, 2] - features[:, 4] > 0, "yes", "no")
    for classes in (labels, np.where(features[:, 0] > 1, "more", labels)):
        linear = estimators.LinearLearnerClassifier(random_state=0).fit(features, classes)
        scores = features @ linear.coef_.T + linear.intercept_
        several = len(linear.classes_) > 2
        assert linear.coef_.shape == ((3, 5) if several else (1, 5))
        expected = softmax(scores, axis=1)[:, 1] if several else expit(scores[:, 0])
        np.testing.assert_allclose(linear.predict_proba(features)[:, 1], expected, rtol=1e-4)
    regressor = estimators.LinearLearnerRegressor(random_state=0).fit(features, features[:, 1])
    np.testing.assert_allclose(
        features @ regressor.coef_ + regressor.intercept_, regressor.predict(features), atol=1e-5
    )
    assert SelectFromModel(linear).fit(features, classes).get_support().any()

    ours = estimators.XGBoostClassifier(num_round=5, max_depth=3).fit(features, labels)
    theirs = xgboost.XGBClassifier(n_estimators=5, max_depth=3).fit(features, labels == "yes")
    np.testing.assert_allclose(ours.feature_importances_, theirs.feature_importances_, rtol=1e-5)
    linear = estimators.XGBoostRegressor(num_round=1, booster="gblinear").fit(features, features[:, 0])
    assert not hasattr(linear, "feature_importances_")
