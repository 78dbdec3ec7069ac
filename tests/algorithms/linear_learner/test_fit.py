from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn import linear_model
from sklearn import metrics as reference

from algorithms.errors import HyperparameterError, ModelError, PredictionError, TrainingDataError
from algorithms.events import FinalScore, Progress
from algorithms.hyperparameters import parse
from algorithms.linear_learner import LinearLearner, LinearLearnerHyperparameters, metrics
from algorithms.linear_learner.grid import settings
from algorithms.linear_learner.model import LinearModel, load, recognises
from algorithms.linear_learner.preprocessing import study
from algorithms.linear_learner.scaling import DenseRows, UnscaledRows, feature_scaler
from algorithms.linear_learner.selection import calibrate
from algorithms.linear_learner.trainer import Trainer
from recordio.batches import Batch
from tests.algorithms.fakes import FakeJob, MemoryStream

RNG = np.random.default_rng(11)


def hyperparameters(kind: str = "regressor", **values: object) -> LinearLearnerHyperparameters:
    return parse(LinearLearnerHyperparameters, {"predictor_type": kind} | {k: str(v) for k, v in values.items()})


def regression_data(n: int = 2000, d: int = 5) -> tuple[np.ndarray, np.ndarray]:
    x = (RNG.normal(size=(n, d)) * [1, 10, 0.1, 5, 1] + [0, 100, 3, -2, 0.5]).astype(np.float32)
    y = x @ [1.0, 0.2, -4, 0.3, 2] + 7 + RNG.normal(size=n)
    return x, y.astype(np.float32)


def binary_data(n: int = 3000, d: int = 6) -> tuple[np.ndarray, np.ndarray]:
    x = RNG.normal(size=(n, d)).astype(np.float32)
    probability = 1 / (1 + np.exp(-(x @ np.linspace(-2, 2, d) - 0.5)))
    return x, (RNG.random(n) < probability).astype(np.float32)


def fit(hp: LinearLearnerHyperparameters, x, y, **channels) -> tuple[LinearModel, FakeJob]:
    job = FakeJob()
    streams = {"train": MemoryStream(x, y, epochs_left=hp.epochs)}
    streams |= {name: MemoryStream(*data, epochs_left=1) for name, data in channels.items()}
    return LinearLearner.fit(hp, streams, job), job


@pytest.fixture(autouse=True)
def _by_batches(request, monkeypatch):
    """A case whose id or test says mini-batches trains as data that cannot be kept does."""
    if "mini-batches" in request.node.name or "mini_batches" in request.node.name:
        monkeypatch.setattr("algorithms.linear_learner.path.PATH_MEMORY", 0)


@pytest.mark.parametrize("unbias", [True, False])
@pytest.mark.parametrize("container", [sp.csr_array, np.asarray])
def test_rows_scale_without_being_touched(unbias, container):
    x = (RNG.normal(size=(30, 8)) * (RNG.random((30, 8)) < 0.3) + 0).astype(np.float32)
    scaler = feature_scaler(Batch(x), unbias=unbias, normalize=True)
    dense, thin = DenseRows(x, scaler), UnscaledRows(container(x), scaler)
    w, g = RNG.normal(size=(8, 3)).astype(np.float32), RNG.normal(size=(30, 3)).astype(np.float32)
    np.testing.assert_allclose(thin.scores(w), dense.scores(w), rtol=1e-4, atol=1e-5)
    a, b = np.empty((8, 3), np.float32), np.empty((8, 3), np.float32)
    dense.gradient(g, a)
    thin.gradient(g, b)
    np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-4)


def test_rows_far_from_zero_are_shifted_before_products():
    x = RNG.normal(size=(500, 3)).astype(np.float32)
    far = feature_scaler(Batch(x + np.float32(1000)), unbias=True, normalize=True)
    assert isinstance(far.rows(x + np.float32(1000), 2), DenseRows)
    near = feature_scaler(Batch(x), unbias=True, normalize=True)
    assert isinstance(near.rows(x, 2), UnscaledRows)


def test_scaling_is_folded_into_weights_for_raw_rows():
    x = regression_data(50)[0]
    scaler = feature_scaler(Batch(x), unbias=True, normalize=True)
    w, b = RNG.normal(size=(5, 2)).astype(np.float32), np.array([1, -1], np.float32)
    raw_w, raw_b = scaler.unscale(w, b)
    np.testing.assert_allclose(x @ raw_w + raw_b, scaler.rows(x, 2).scores(w) + b, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("way", [{}, {"num_models": 32}], ids=["exact", "mini-batches"])
def test_squared_loss_reaches_least_squares(way):
    x, y = regression_data()
    design = np.c_[x.astype(float), np.ones(len(x))]
    residual = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    model, _ = fit(hyperparameters(wd=0, l1=0, **way), x, y)
    error = model.predict(Batch(x))["score"] - y
    assert np.mean(error**2) <= np.mean(residual**2) * 1.003


@pytest.mark.parametrize("way", [{}, {"num_models": 32}], ids=["exact", "mini-batches"])
@pytest.mark.parametrize(
    ("loss", "peer"),
    [
        ("absolute_loss", linear_model.QuantileRegressor(quantile=0.5, alpha=0)),
        ("quantile_loss", linear_model.QuantileRegressor(quantile=0.9, alpha=0)),
    ],
)
def test_quantile_losses_reach_scikit_learns_optimum(loss, peer, way):
    x, y = regression_data(1500)
    quantile = 0.9 if loss == "quantile_loss" else 0.5
    expected = reference.mean_pinball_loss(y, peer.fit(x, y).predict(x), alpha=quantile)
    extra = {"quantile": 0.9} if loss == "quantile_loss" else {}
    model, _ = fit(hyperparameters(loss=loss, wd=0, l1=0, epochs=30, **extra, **way), x, y)
    found = reference.mean_pinball_loss(y, model.predict(Batch(x))["score"], alpha=quantile)
    assert found <= expected * 1.02


@pytest.mark.parametrize("way", [{}, {"num_models": 32}], ids=["exact", "mini-batches"])
def test_logistic_loss_reaches_scikit_learns_optimum(way):
    x, y = binary_data()
    peer = linear_model.LogisticRegression(C=np.inf).fit(x, y)
    expected = reference.log_loss(y, peer.predict_proba(x))
    hp = hyperparameters(
        "binary_classifier", wd=0, l1=0, binary_classifier_model_selection_criteria="loss_function", **way
    )
    model, _ = fit(hp, x, y)
    assert reference.log_loss(y, model.predict(Batch(x))["score"].astype(float)) <= expected * 1.01


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop"])
def test_softmax_loss_is_near_scikit_learns_optimum_with_every_optimizer(optimizer):
    x = RNG.normal(size=(3000, 4)).astype(np.float32)
    y = np.argmax(x @ RNG.normal(size=(4, 3)) + RNG.gumbel(size=(3000, 3)), axis=1)
    expected = reference.log_loss(y, linear_model.LogisticRegression(C=np.inf).fit(x, y).predict_proba(x))
    model, _ = fit(hyperparameters("multiclass_classifier", num_classes=3, optimizer=optimizer, num_models=32), x, y)
    result = model.predict(Batch(x))
    np.testing.assert_allclose(result["score"].sum(axis=1), 1, rtol=1e-5)
    true = result["score"][np.arange(len(y)), y].astype(float)
    assert -np.log(true).mean() <= expected * 1.02


def test_sparse_rows_train_as_dense_ones_do():
    x, y = binary_data(1500)
    x[RNG.random(x.shape) < 0.6] = 0
    hp = hyperparameters("binary_classifier", num_models=2, epochs=3)
    dense, _ = fit(hp, x, y)
    wide = sp.csr_array(np.c_[x, np.zeros((len(x), 200), np.float32)])  # 3 % of the cells: stays sparse
    thin, _ = fit(hp, wide, y)
    same = np.abs(dense.predict(Batch(x))["score"] - thin.predict(Batch(wide))["score"])
    assert np.mean(same) < 0.05


@pytest.mark.parametrize(
    "criterion", ["accuracy", "f_beta", "precision_at_target_recall", "recall_at_target_precision"]
)
def test_thresholds_are_as_good_as_the_best_of_all_cuts(criterion):
    rows = 5000 if criterion == "recall_at_target_precision" else 300  # of few rows no cut holds a precision
    rng = np.random.default_rng(0)
    labels = (rng.random(rows) < 0.3).astype(np.float32)
    scores = (1.5 * labels[:, None] + rng.normal(size=(rows, 2))).astype(np.float32)
    hp = hyperparameters(
        "binary_classifier",
        binary_classifier_model_selection_criteria=criterion,
        target_recall=0.7,
        target_precision=0.6,
    )

    def value(threshold: float, column: int) -> float:
        predicted = scores[:, column] >= threshold
        if criterion == "accuracy":
            return reference.accuracy_score(labels, predicted)
        if criterion == "f_beta":
            return reference.f1_score(labels, predicted)
        recall = reference.recall_score(labels, predicted)
        if criterion == "precision_at_target_recall" and recall < 0.7:
            return -1
        precision = reference.precision_score(labels, predicted, zero_division=0)
        if criterion == "precision_at_target_recall":
            return precision
        return recall if precision >= 0.6 else -1

    for column, threshold_ in enumerate(calibrate(scores, labels, hp).threshold):
        if criterion == "recall_at_target_precision":
            precision, recall, _ = reference.precision_recall_curve(labels, scores[:, column])
            best = recall[precision >= 0.6].max()
        else:
            best = max(value(cut, column) for cut in scores[:, column])
        tolerance = 0.03 if criterion in ("accuracy", "f_beta") else 0.2  # a target is exceeded, to hold on new rows
        assert value(float(threshold_), column) >= best - tolerance


@pytest.mark.parametrize("way", [{}, {"num_models": 32}], ids=["exact", "mini-batches"])
def test_targets_are_met_on_the_validation_channel(way):
    x, y = binary_data(6000)
    hp = hyperparameters(
        "binary_classifier",
        binary_classifier_model_selection_criteria="precision_at_target_recall",
        target_recall=0.9,
        epochs=5,
        **way,
    )
    model, job = fit(hp, x[:4000], y[:4000], validation=(x[4000:], y[4000:]))
    predicted = model.predict(Batch(x[4000:]))["predicted_label"]
    recall = reference.recall_score(y[4000:], predicted)
    assert 0.9 <= recall < 0.93
    assert {event.metric: event.value for event in job.of(FinalScore)}["recall"] == pytest.approx(recall)


def test_metrics_are_those_of_scikit_learn():
    labels = RNG.integers(0, 2, 200).astype(float)
    scores = np.round(RNG.normal(size=200) + labels, 1)  # ties
    found = metrics.binary(scores, labels, 0.5, beta=2.0)
    predicted = scores >= 0.5
    assert found["roc_auc_score"] == pytest.approx(reference.roc_auc_score(labels, scores))
    assert found["binary_f_2.000"] == pytest.approx(reference.fbeta_score(labels, predicted, beta=2))
    assert found["precision"] == pytest.approx(reference.precision_score(labels, predicted))
    assert found["recall"] == pytest.approx(reference.recall_score(labels, predicted))
    classes = RNG.integers(0, 4, 200)
    probability = RNG.dirichlet(np.ones(5), 200)  # the fifth class never occurs, but may be predicted
    many = metrics.multiclass(probability, classes, top_k=2, beta=1.0)
    chosen = probability.argmax(axis=1)
    assert many["multiclass_accuracy"] == pytest.approx(reference.accuracy_score(classes, chosen))
    top = reference.top_k_accuracy_score(classes, probability, k=2, labels=range(5))
    assert many["multiclass_top_k_accuracy_2"] == pytest.approx(top)
    assert many["macro_f_1.000"] == pytest.approx(reference.f1_score(classes, chosen, average="macro"))
    precision = reference.precision_score(classes, chosen, average="macro", zero_division=0)
    assert many["macro_precision"] == pytest.approx(precision)
    loss = reference.log_loss(classes, probability, labels=range(5))
    assert many["multiclass_log_loss"] == pytest.approx(loss)
    gain = reference.ndcg_score(np.eye(5)[classes], probability)
    assert many["dcg"] == pytest.approx(gain)
    error = metrics.regression(scores, labels)
    assert error["mse"] == pytest.approx(reference.mean_squared_error(labels, scores))
    assert error["absolute_loss"] == pytest.approx(reference.mean_absolute_error(labels, scores))


def test_balancing_raises_the_recall_of_rare_classes():
    x, y = binary_data(4000)
    keep = (y == 0) | (RNG.random(4000) < 0.05)
    x, y = x[keep], y[keep]
    chosen = {"binary_classifier_model_selection_criteria": "loss_function", "epochs": 5}
    plain, _ = fit(hyperparameters("binary_classifier", **chosen), x, y)
    balanced, _ = fit(hyperparameters("binary_classifier", positive_example_weight_mult="balanced", **chosen), x, y)

    def recall(model: LinearModel) -> float:
        return reference.recall_score(y, model.predict(Batch(x))["predicted_label"])

    assert recall(balanced) > recall(plain) + 0.2


@pytest.mark.parametrize("kind", ["binary_classifier", "multiclass_classifier"])
def test_balancing_counts_all_rows_however_few_tell_the_scales(kind):
    """Rows in the order of their classes, of which the first 50 are all of one."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 3)).astype(np.float32), np.repeat([0, 1, 2], [240, 30, 30]).astype(np.float32)
    more = {"num_classes": 3, "balance_multiclass_weights": "true"}
    if kind == "binary_classifier":
        y, more = np.minimum(y, 1), {"positive_example_weight_mult": "balanced"}
    model, _ = fit(hyperparameters(kind, num_point_for_scaler=50, **more), x, y)
    score = model.predict(Batch(x))["score"].reshape(len(x), -1).mean(axis=0)
    np.testing.assert_allclose(score, 1 / 3 if "num_classes" in more else 1 / 2, atol=0.15)


def test_the_given_setting_is_the_first_of_its_neighbours():
    hp = hyperparameters(learning_rate=0.005, wd=0.0001, l1=0)
    found = settings(hp, 12, (1.0,))
    assert (found[0].learning_rate, found[0].wd, found[0].l1) == (0.005, 0.0001, 0)
    assert len(set(found)) == 12


def test_a_tuning_job_trains_one_model():
    x, y = regression_data(500)
    tuned = hyperparameters(_tuning_objective_metric="validation:mse", num_models=16)
    assert len(Trainer(tuned, study(Batch(x, y), tuned), 0).settings) == 1
    free = hyperparameters()
    assert len(Trainer(free, study(Batch(x, y), free), 0).settings) == 32


def test_log_has_every_metric_of_every_channel():
    x, y = binary_data(1500)
    hp = hyperparameters("binary_classifier", epochs=2, num_models=2)
    _, job = fit(hp, x, y, validation=(x, y), test=(x, y))
    names = {"binary_classification_cross_entropy_objective", "binary_classification_accuracy", "binary_f_1.000"}
    names |= {"precision", "recall", "roc_auc_score"}
    for dataset in ("train", "validation", "test"):
        final = {score.metric for step, score in job.measured(dataset) if step is None}
        assert final == names
    assert job.of(Progress) == [Progress(1, 2), Progress(2, 2)]


def test_model_survives_saving_bit_for_bit(tmp_path):
    x, y = binary_data(1200)
    model, _ = fit(hyperparameters("binary_classifier", epochs=1), x, y)
    model.save(tmp_path)
    assert recognises(tmp_path)
    with zipfile.ZipFile(tmp_path / "model_algo-1") as archive:
        assert archive.namelist() == [
            "additional-params.json",
            "manifest.json",
            "mx-mod-symbol.json",
            "mx-mod-0000.params",
        ]
    again = load(tmp_path)
    for name, values in model.predict(Batch(x)).items():
        np.testing.assert_array_equal(again.predict(Batch(x))[name], values)


@pytest.mark.parametrize(
    ("weight", "kind", "expected"),
    [
        ((1, 3), "binary_classifier", "binary_classifier"),
        ((1, 3), "regressor", "regressor"),
        ((4, 3), "multiclass_classifier", "multiclass_classifier"),
    ],
)
def test_a_model_without_our_parameters_is_told_by_its_symbol(tmp_path, weight, kind, expected):
    LinearModel(np.ones(weight, np.float32), np.zeros(weight[0], np.float32), kind, "logistic").save(tmp_path)
    path = tmp_path / "model_algo-1"
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist() if name != "additional-params.json"}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("additional-params.json", json.dumps({"unknown": 1}))
        for name, content in members.items():
            archive.writestr(name, content)
    assert load(tmp_path).predictor_type == expected


def test_a_damaged_model_is_refused(tmp_path):
    with pytest.raises(ModelError):
        load(tmp_path)
    LinearModel(np.ones((1, 3), np.float32), np.zeros(1, np.float32), "regressor", "").save(tmp_path)
    path = tmp_path / "model_algo-1"
    whole = path.read_bytes()
    for cut in (0, 30, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:cut])
        with pytest.raises(ModelError):
            load(tmp_path)


def test_bad_input_is_named():
    x, y = binary_data(200)
    with pytest.raises(TrainingDataError, match="0 to 1, but one is 3"):
        fit(hyperparameters("binary_classifier"), x, y + 2 * (y == 1))
    with pytest.raises(TrainingDataError, match="No training data processed"):
        LinearLearner.fit(hyperparameters(), {"train": MemoryStream([])}, FakeJob())
    with pytest.raises(TrainingDataError, match="'validation' has 2 features, channel 'train' 6"):
        fit(hyperparameters(), x, y, validation=(x[:, :2], y))
    with pytest.raises(PredictionError, match="2 features, but the model has 6"):
        fit(hyperparameters(epochs=1), x, y)[0].predict(Batch(x[:, :2]))


def test_rules_between_hyperparameters():
    with pytest.raises(HyperparameterError, match="'num_classes' is required"):
        hyperparameters("multiclass_classifier")
    with pytest.raises(HyperparameterError, match="'loss': 'hinge_loss' is not for a regressor"):
        hyperparameters(loss="hinge_loss")
    for few in (1, 2):
        with pytest.raises(HyperparameterError, match=f"'num_classes': {few} is below 3"):
            hyperparameters("multiclass_classifier", num_classes=few)


@pytest.mark.parametrize("kind", ["binary_classifier", "regressor"])
@pytest.mark.parametrize("classes", [1, 2, 5])
def test_num_classes_is_ignored_but_for_many_classes(kind, classes):
    """The guide says so; the SDK's class takes 1 and 2, and 1 is the default in SageMaker's logs."""
    assert hyperparameters(kind, num_classes=classes).check() == []


def test_criteria_are_taken_by_their_earlier_names():
    criterion = "binary_classifier_model_selection_criteria"
    f1 = hyperparameters("binary_classifier", f_beta=2, **{criterion: "f1"})
    assert (f1.criterion, f1.f_beta) == ("f_beta", 1)
    assert hyperparameters("binary_classifier", **{criterion: "cross_entropy_loss"}).criterion is None


@pytest.mark.parametrize(
    ("member", "content", "named"),
    [
        ("additional-params.json", '{"feature_dim": 4, "outputs": 1}', "states feature_dim 4, but the weights have 3"),
        ("additional-params.json", '{"feature_dim": 3, "outputs": 2}', "states outputs 2, but the weights have 1"),
        ("additional-params.json", '{"threshold": Infinity}', "Infinity is not a number of JSON"),
        ("additional-params.json", "[" * 100_000, "nested too deeply"),
        ("mx-mod-symbol.json", "[" * 100_000, "nested too deeply"),
    ],
)
def test_parts_of_a_model_that_do_not_fit_each_other_are_refused(tmp_path, member, content, named):
    LinearModel(np.ones((1, 3), np.float32), np.zeros(1, np.float32), "regressor", "").save(tmp_path)
    path = tmp_path / "model_algo-1"
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()} | {member: content.encode()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    with pytest.raises(ModelError, match=named):
        load(tmp_path)
