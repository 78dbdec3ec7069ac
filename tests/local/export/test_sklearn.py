"""Models as estimators of scikit-learn and XGBoost, opened where this project is not, and asked beside the models."""

import importlib.util
import pickle
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp
import xgboost

from algorithms import load, registry
from algorithms.errors import ExportError
from algorithms.kmeans.model import KMeansModel
from algorithms.linear_learner.model import LinearModel
from algorithms.loading import LoadedModel
from algorithms.pca.model import PCAModel
from algorithms.xgb.model import XGBModel
from local.export.exporting import exported
from recordio.batches import Batch
from tests.local.toy import oba

pytest.importorskip("sklearn")

RANDOM = np.random.default_rng(3)
ROWS = (3 * RANDOM.normal(size=(200, 4)) + 1).astype(np.float32)
NAMES = ["age", "income", "größe", "a b"]


def loaded(algorithm, model):
    return LoadedModel(registry.find(algorithm), model)


def sklearn_of(algorithm, model, names=None):
    return pickle.loads(exported(algorithm, model, "sklearn", names))  # noqa: S301 - our own


def linear(outputs, kind, loss="logistic", threshold=0.0):
    weight = RANDOM.normal(size=(outputs, 4)).astype(np.float32)
    return LinearModel(weight, RANDOM.normal(size=outputs).astype(np.float32), kind, loss, threshold)


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6)


def test_linear_regression():
    model = linear(1, "regressor", "squared_loss")
    found = sklearn_of("linear-learner", model)
    assert type(found).__name__ == "LinearRegression"
    close(found.predict(ROWS), model.predict(Batch(ROWS))["score"])


@pytest.mark.parametrize("threshold", [0.0, -1.3, 2.5])
@pytest.mark.parametrize("loss", ["logistic", "hinge_loss"])
def test_two_classes_are_told_apart_at_the_threshold_that_was_chosen(loss, threshold):
    model = linear(1, "binary_classifier", loss, threshold)
    found, expected = sklearn_of("linear-learner", model), model.predict(Batch(ROWS))
    np.testing.assert_array_equal(found.predict(ROWS), expected["predicted_label"])
    assert 0 < expected["predicted_label"].sum() < len(ROWS)
    assert found.classes_.tolist() == [0, 1]
    score = found.decision_function(ROWS) if loss == "hinge_loss" else found.predict_proba(ROWS)[:, 1]
    close(score, expected["score"])


@pytest.mark.parametrize("classes", [2, 5])
def test_classes_of_a_multiclass_classifier(classes):
    model = linear(classes, "multiclass_classifier", "softmax_loss")
    found, expected = sklearn_of("linear-learner", model), model.predict(Batch(ROWS))
    np.testing.assert_array_equal(found.predict(ROWS), expected["predicted_label"])
    close(found.predict_proba(ROWS), expected["score"])
    assert found.classes_.tolist() == list(range(classes))


@pytest.mark.parametrize("sparse", [False, True])
def test_kmeans(sparse):
    model = KMeansModel(ROWS[:7].copy())
    rows, expected = ROWS.astype(np.float64), model.predict(Batch(ROWS))
    rows = sp.csr_matrix(rows) if sparse else rows
    found = sklearn_of("kmeans", model)
    np.testing.assert_array_equal(found.predict(rows), expected["closest_cluster"])
    np.testing.assert_allclose(found.transform(rows).min(axis=1), expected["distance_to_cluster"], atol=2e-3)
    assert found.get_feature_names_out().tolist() == [f"kmeans{number}" for number in range(7)]


@pytest.mark.parametrize(("mean", "kind"), [(ROWS.mean(axis=0, keepdims=True), "PCA"), (None, "TruncatedSVD")])
def test_pca_and_its_way_back(mean, kind):
    v = np.linalg.qr(RANDOM.normal(size=(4, 4)))[0].astype(np.float32)
    model = PCAModel(np.arange(1, 5, dtype=np.float32), v, mean)
    found = sklearn_of("pca", model)
    assert type(found).__name__ == kind
    projection = found.transform(ROWS)
    close(projection[:, ::-1], model.predict(Batch(ROWS))["projection"])
    assert found.singular_values_.tolist() == [4, 3, 2, 1]
    np.testing.assert_allclose(found.inverse_transform(projection), ROWS, atol=1e-5)
    assert len(found.get_feature_names_out()) == 4


OBJECTIVES = {
    "reg:squarederror": "XGBRegressor", "reg:logistic": "XGBRegressor", "count:poisson": "XGBRegressor",
    "binary:logitraw": "XGBRegressor", "binary:logistic": "XGBClassifier", "binary:hinge": "XGBClassifier",
    "multi:softprob": "XGBClassifier", "multi:softmax": "XGBClassifier", "rank:pairwise": "XGBRanker",
}  # fmt: skip


def boosted(objective, booster="gbtree", classes=3, **settings):
    labels = RANDOM.integers(0, classes if "multi" in objective else 2, len(ROWS))
    matrix = xgboost.DMatrix(ROWS, labels, qid=np.repeat(range(20), 10) if "rank" in objective else None)
    settings |= {"num_class": classes} if "multi" in objective else {}
    settings |= {"objective": objective, "booster": booster, "max_depth": 3, "verbosity": 0}
    return xgboost.train(settings, matrix, 6)


@pytest.mark.parametrize("booster", ["gbtree", "gblinear"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_xgboosts_objectives(objective, booster):
    model = XGBModel([boosted(objective, booster)])
    found, score = sklearn_of("xgboost", model), model.predict(Batch(ROWS))["score"]
    assert type(found).__name__ == OBJECTIVES[objective]
    if objective == "binary:logistic":
        close(found.predict_proba(ROWS)[:, 1], score)
        np.testing.assert_array_equal(found.predict(ROWS), score > 0.5)
    elif objective == "multi:softprob":
        close(found.predict_proba(ROWS), score)
        np.testing.assert_array_equal(found.predict(ROWS), score.argmax(axis=1))
    else:
        close(found.predict(ROWS), score)
    assert found.n_features_in_ == 4


def test_two_classes_of_softprob_are_two_classes():
    model = XGBModel([boosted("multi:softprob", classes=2)])
    found, score = sklearn_of("xgboost", model), model.predict(Batch(ROWS))["score"]
    close(found.predict_proba(ROWS), score)
    np.testing.assert_array_equal(found.predict(ROWS), score.argmax(axis=1))


def test_of_an_early_stop_the_best_rounds_are_exported():
    booster = boosted("reg:squarederror")
    booster.set_attr(best_iteration="2")
    model = XGBModel([booster])
    close(sklearn_of("xgboost", model).predict(ROWS), model.predict(Batch(ROWS))["score"])


def test_several_models_are_refused_with_the_reason():
    with pytest.raises(ExportError, match="2 models that answer together"):
        exported("xgboost", XGBModel([boosted("reg:squarederror")] * 2), "sklearn")


@pytest.mark.parametrize("name", ["lda", "ntm", "factorization-machines", "seq2seq", "image-classification"])
def test_what_scikit_learn_has_no_model_for_is_refused_with_the_reason(name):
    with pytest.raises(ExportError, match="cannot be exported to sklearn: (scikit-learn has no|LatentDirichlet)"):
        exported(name, None, "sklearn")


@pytest.mark.parametrize(
    ("algorithm", "make"),
    [
        ("linear-learner", lambda: linear(1, "binary_classifier", threshold=0.7)),
        ("kmeans", lambda: KMeansModel(ROWS[:3].copy())),
        ("xgboost", lambda: XGBModel([boosted("binary:logistic")])),
    ],
)
@pytest.mark.filterwarnings("error")
def test_names_of_features_are_those_of_a_frame(algorithm, make):
    pandas = pytest.importorskip("pandas")
    found = sklearn_of(algorithm, model := make(), NAMES)
    assert found.feature_names_in_.tolist() == NAMES
    expected = model.predict(Batch(ROWS))
    frame = pandas.DataFrame(ROWS.astype(np.float64), columns=NAMES)
    column = {"kmeans": "closest_cluster", "linear-learner": "predicted_label", "xgboost": "score"}[algorithm]
    labels = expected[column] > 0.5 if column == "score" else expected[column]
    np.testing.assert_array_equal(found.predict(frame), labels)
    with pytest.raises(ValueError, match=r"feature.names"):
        found.predict(frame[NAMES[::-1]])
    with pytest.raises(ExportError, match="has 4 features, and 3 names are given"):
        exported(algorithm, model, "sklearn", NAMES[:3])


def test_all_forms_have_the_names(tmp_path):
    model = loaded("kmeans", KMeansModel(ROWS[:3].copy()))
    assert model.export("json", NAMES)["feature_names"] == NAMES
    if importlib.util.find_spec("onnx"):
        (said,) = model.export("onnx", NAMES).metadata_props
        assert said.key == "feature_names"
        assert said.value == '["age", "income", "gr\\u00f6\\u00dfe", "a b"]'
    with pytest.raises(ExportError, match="there is no form 'pmml' of models; there are onnx, sklearn, json"):
        model.export("pmml")


ALONE = """
import pickle, sys
import numpy as np
class Gone:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("algorithms", "recordio", "container", "local"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Gone())
rows = np.load(sys.argv[1])
for file in sys.argv[2:]:
    print(pickle.load(open(file, "rb")).predict(rows).tolist())
"""


@pytest.mark.slow
def test_the_command_writes_what_opens_without_this_project(tmp_path, capsys):
    models = {
        "linear": ("linear-learner", linear(1, "binary_classifier", threshold=0.7)),
        "kmeans": ("kmeans", KMeansModel(ROWS[:3].copy())),
        "xgboost": ("xgboost", XGBModel([boosted("binary:logistic")])),
    }
    np.save(tmp_path / "rows.npy", ROWS.astype(np.float64))
    for name, (_, model) in models.items():
        (folder := tmp_path / name).mkdir()
        model.save(folder)
        assert oba("export", "--model", folder, "--to", "sklearn", "--output", tmp_path / f"{name}.pkl") == 0
        assert load(folder).export("sklearn").n_features_in_ == 4
    assert "linear.pkl: linear-learner as FixedThresholdClassifier, " in capsys.readouterr().out
    command = [sys.executable, "-c", ALONE, tmp_path / "rows.npy", *(tmp_path / f"{name}.pkl" for name in models)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path).stdout.splitlines()
    expected = [
        models["linear"][1].predict(Batch(ROWS))["predicted_label"],
        models["kmeans"][1].predict(Batch(ROWS))["closest_cluster"],
        models["xgboost"][1].predict(Batch(ROWS))["score"] > 0.5,
    ]
    assert lines == [str(one.astype(int).tolist()) for one in expected]
