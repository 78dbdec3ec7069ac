"""The linear learner where a job states steps, penalties or models, and where rows are few."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn import datasets, linear_model
from sklearn import metrics as reference
from sklearn.preprocessing import StandardScaler

from algorithms.common.deviations import drawn_together
from algorithms.common.lbfgs import minimise_all
from algorithms.errors import HyperparameterError, TrainingDataError
from algorithms.linear_learner import LinearLearner
from algorithms.linear_learner.preprocessing import study
from algorithms.linear_learner.selection import calibrate
from algorithms.linear_learner.trainer import Trainer
from container.training.train import check_memory
from recordio.batches import Batch
from tests.algorithms.fakes import on_hosts
from tests.algorithms.linear_learner.test_defaults import fit, hyperparameters, text

STEPS = {
    "mini_batch_size": 7, "epochs": 1, "learning_rate": 1e-5, "optimizer": "sgd", "momentum": 0.1, "init_scale": 3,
    "init_bias": 5, "early_stopping_patience": 1, "lr_scheduler_factor": 0.1, "lr_scheduler_step": 3,
}  # fmt: skip


def two_classes(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    x, y = datasets.make_classification(rows, 12, n_informative=6, random_state=seed)
    return (x * np.geomspace(0.1, 100, 12)).astype(np.float32), y.astype(np.float32)


def standardised_loss(x, y, test, test_labels, **how) -> float:
    scaler = StandardScaler().fit(x)
    peer = linear_model.LogisticRegression(**how).fit(scaler.transform(x), y)
    return float(reference.log_loss(test_labels, peer.predict_proba(scaler.transform(test))))


@pytest.fixture(autouse=True)
def _by_batches(request, monkeypatch):
    """A case whose id or test says mini-batches trains as data that cannot be kept does."""
    if "mini-batches" in request.node.name or "mini_batches" in request.node.name:
        monkeypatch.setattr("algorithms.linear_learner.path.PATH_MEMORY", 0)


def test_a_job_of_the_python_sdk_is_trained_exactly_whatever_its_rows():
    """sagemaker.LinearLearner.fit states feature_dim, and min(1000, rows) as mini_batch_size."""
    x, y = two_classes(2300)
    plain, _ = fit(hyperparameters("binary_classifier"), x[:300], y[:300])
    stated, job = fit(hyperparameters("binary_classifier", mini_batch_size=300, feature_dim=12), x[:300], y[:300])
    np.testing.assert_array_equal(stated.weight, plain.weight)
    assert any("Training exactly" in message and "mini_batch_size" in message for message in job.messages)
    found = reference.log_loss(y[300:], stated.predict(Batch(x[300:]))["score"].astype(float))
    assert found <= 1.1 * standardised_loss(x[:300], y[:300], x[300:], y[300:])


def test_steps_do_not_matter_to_a_minimum():
    x, y = two_classes(500)
    plain, _ = fit(hyperparameters("binary_classifier"), x, y)
    stated, job = fit(hyperparameters("binary_classifier", **STEPS), x, y)
    np.testing.assert_array_equal(stated.weight, plain.weight)
    said = next(message for message in job.messages if "Training exactly" in message)
    assert all(name in said for name in STEPS)
    assert max(step or 0 for step, _ in job.measured()) == 0


def test_the_log_says_why_mini_batches_are_taken():
    x, y = two_classes(300)
    _, job = fit(hyperparameters("binary_classifier", num_models=2, l1=0.1), x, y)
    assert any("Training by mini-batches: rows or models exceed" in message for message in job.messages)


@pytest.mark.parametrize(
    "more", [{"num_models": 32}, {"_tuning_objective_metric": "validation:objective_loss"}, {"num_models": 1}]
)
def test_the_number_of_models_does_not_matter_to_a_minimum(more):
    x, y = two_classes(500)
    plain, _ = fit(hyperparameters("binary_classifier"), x, y)
    stated, job = fit(hyperparameters("binary_classifier", **more), x, y)
    np.testing.assert_array_equal(stated.weight, plain.weight)
    assert any("Training exactly" in message for message in job.messages)


def test_a_tuning_jobs_penalties_give_scikit_learns_elastic_net():
    """Both penalties exactly as stated, of features of deviation 1; zeros are the same."""
    x, y = two_classes(600)
    l1, wd = 0.02, 0.01
    metric = "validation:objective_loss"
    hp = hyperparameters("binary_classifier", l1=l1, wd=wd, _tuning_objective_metric=metric)
    model, _ = fit(hp, x, y)
    rows = StandardScaler().fit_transform(x)
    how = {"solver": "saga", "tol": 1e-8, "max_iter": 20_000}
    peer = linear_model.LogisticRegression(C=1 / (600 * (l1 + wd)), l1_ratio=l1 / (l1 + wd), **how).fit(rows, y)
    np.testing.assert_allclose(model.predict(Batch(x))["score"], peer.predict_proba(rows)[:, 1], atol=0.005)
    np.testing.assert_array_equal(model.weight[0] == 0, peer.coef_[0] == 0)
    assert (model.weight == 0).any()


def test_a_tuning_jobs_l1_gives_scikit_learns_lasso():
    x, y = datasets.make_regression(300, 20, n_informative=5, noise=20, random_state=0)
    x, y = x.astype(np.float32), y.astype(np.float32)
    metric = "validation:objective_loss"
    raw = {"normalize_label": "false", "normalize_data": "false"}
    hp = hyperparameters("regressor", l1=10, wd=0, _tuning_objective_metric=metric, **raw)
    model, _ = fit(hp, x, y)
    peer = linear_model.Lasso(alpha=5).fit(x, y)  # half the mean square, hence half the penalty
    np.testing.assert_allclose(model.weight[0], peer.coef_, atol=0.5)
    np.testing.assert_array_equal(model.weight[0] == 0, peer.coef_ == 0)


def test_a_penalty_of_the_bias_gives_scikit_learns_model_with_a_column_of_ones():
    x, y = two_classes(600)
    y[:400] = 1
    wd = 0.05
    metric = "validation:objective_loss"
    hp = hyperparameters("binary_classifier", wd=wd, bias_wd_mult=1, _tuning_objective_metric=metric)
    model, _ = fit(hp, x, y)
    rows = np.c_[StandardScaler().fit_transform(x), np.ones(600)]
    peer = linear_model.LogisticRegression(C=1 / (600 * wd), fit_intercept=False, tol=1e-8, max_iter=1000).fit(rows, y)
    np.testing.assert_allclose(model.predict(Batch(x))["score"], peer.predict_proba(rows)[:, 1], atol=0.005)


def test_the_weight_of_positive_rows_that_the_criterion_likes_is_found_exactly():
    x, y = two_classes(900)
    auto, job = fit(hyperparameters("binary_classifier", positive_example_weight_mult="auto"), x, y)
    assert any("Training exactly" in message for message in job.messages)
    plain, _ = fit(hyperparameters("binary_classifier"), x, y)
    hits = [np.mean(model.predict(Batch(x))["predicted_label"] == y) for model in (auto, plain)]
    assert hits[0] >= hits[1] - 0.01


@pytest.mark.parametrize("wd", [0, 1e-4, 0.01, 0.5])
def test_a_stated_penalty_gives_scikit_learns_model_of_that_penalty(wd):
    """wd counts for the mean loss of features of deviation 1: C is 1 / (n wd). The log names the neighbour that won."""
    x, y = two_classes(600)
    model, job = fit(hyperparameters("binary_classifier", wd=wd, l1=0), x, y)
    best = next(message for message in job.messages if message.startswith("Best model"))
    found = json.loads(best[best.index("{") :])["wd"]
    assert wd / 10.1 <= found <= wd * 10.1
    scaler = StandardScaler().fit(x)
    peer = linear_model.LogisticRegression(C=1 / (len(y) * found) if found else np.inf, tol=1e-8, max_iter=1000)
    expected = peer.fit(scaler.transform(x), y).predict_proba(scaler.transform(x))[:, 1]
    np.testing.assert_allclose(model.predict(Batch(x))["score"], expected, atol=0.01)


@pytest.mark.parametrize("steps", [{"num_models": 32}, {"l1": 1e-6}])
def test_text_by_mini_batches_is_no_worse_than_scikit_learns(steps):
    x, y = text(2200, 3000, 2, seed=2)
    peer = linear_model.LogisticRegression().fit(x[:1200], y[:1200])
    model, _ = fit(hyperparameters("binary_classifier", **steps), x[:1200], y[:1200])
    found = reference.log_loss(y[1200:], model.predict(Batch(x[1200:]))["score"].astype(float))
    assert found <= 1.1 * reference.log_loss(y[1200:], peer.predict_proba(x[1200:]))


def test_a_step_on_sparse_rows_is_that_of_dense_arithmetic_and_leaves_other_columns_alone():
    rng = np.random.default_rng(0)
    x = sp.csr_array(rng.normal(size=(40, 400)) * (rng.random((40, 400)) < 0.01), dtype=np.float32)
    y = (np.arange(40) % 2).astype(np.float32)
    hp = hyperparameters("binary_classifier", num_models=1, learning_rate=0.3, wd=0, l1=0)
    problem = study(Batch(x, y), hp)
    trainer = Trainer(hp, problem, 0)
    trainer.parameters[:] = rng.normal(size=trainer.parameters.shape)
    before = trainer.parameters.copy()
    trainer.update(problem.scaler.rows(x[:8], 1), y[:8])
    rows = np.c_[x[:8].toarray() / problem.scaler.scale, np.ones(8)]
    chance = 1 / (1 + np.exp(-rows @ before))
    np.testing.assert_allclose(trainer.parameters, before - 0.3 * rows.T @ (chance - y[:8, None]) / 8, atol=1e-5)
    untouched = np.append(abs(x[:8]).sum(axis=0) == 0, False)
    np.testing.assert_array_equal(trainer.parameters[untouched], before[untouched])


def test_a_column_that_no_row_of_mini_batches_has_weighs_nothing():
    x, y = text(600, 3000, 2, seed=1)
    x = sp.csr_array((x.data, x.indices, x.indptr), shape=(600, 3100))
    model, _ = fit(hyperparameters("binary_classifier", num_models=4), x, y)
    assert not model.weight[:, 3000:].any()


def test_what_needs_too_much_memory_is_named_with_both_numbers():
    hp = hyperparameters("binary_classifier", feature_dim=2**31 - 1, epochs=3)
    with pytest.raises(HyperparameterError, match=r"\(feature_dim=2147483647\) needs at least [3-9]\d.* has 16\.0 GiB"):
        check_memory(LinearLearner, hp, 1 << 34)


@pytest.mark.parametrize(
    ("kind", "stated"),
    [
        ("binary_classifier", {}),
        ("binary_classifier", {"loss": "hinge_loss"}),
        ("multiclass_classifier", {"num_classes": 3}),
        ("regressor", {"loss": "absolute_loss"}),
        ("regressor", {"loss": "quantile_loss", "quantile": 0.9}),
        ("regressor", {"loss": "huber_loss"}),
    ],
)
def test_mini_batches_that_diverge_to_finite_weights_are_warned_of(kind, stated):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1200, 60)).astype(np.float32)
    z = x[:, 0] + rng.logistic(size=1200)
    y = z if kind == "regressor" else np.digitize(z, [0] if kind == "binary_classifier" else [-1, 1])
    stated = {**stated, "optimizer": "sgd", "num_models": 1, "epochs": 2, "mini_batch_size": 10}
    _, good = fit(hyperparameters(kind, learning_rate=0.001, **stated), x, y.astype(np.float32))
    assert not good.warnings
    _, job = fit(hyperparameters(kind, learning_rate=3, **stated), x, y.astype(np.float32))
    (warning,) = job.warnings
    assert "worse than one without features" in warning
    assert "learning_rate 3 " in warning


def test_mini_batches_of_noise_are_not_called_diverged():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(1200, 5)).astype(np.float32)
    _, job = fit(
        hyperparameters("binary_classifier", learning_rate=0.01), x, (rng.random(1200) < 0.3).astype(np.float32)
    )
    assert not job.warnings


def test_no_two_models_are_alike():
    hp = hyperparameters("binary_classifier", num_models=2**31 - 1, feature_dim=4)
    assert LinearLearner.memory(hp) < 1 << 20
    x, y = two_classes(300)
    trainer = Trainer(hp, study(Batch(x[:, :4], y), hp), 0)
    assert 32 <= len(trainer.settings) == len(set(trainer.settings)) < 1000


def test_rows_held_out_of_mini_batches_are_not_trained_on_in_any_epoch(monkeypatch):
    """The first epoch, which does not know the number of rows, takes other steps than the later ones."""
    epochs: list[list[np.ndarray]] = [[]]
    step, end = Trainer.update, Trainer.end_epoch

    def update(self, features, labels, count):
        epochs[-1].append(np.round(labels * 1.0))
        return step(self, features, labels, count)

    def end_epoch(self, improved):
        epochs.append([])
        return end(self, improved)

    monkeypatch.setattr(Trainer, "update", update)
    monkeypatch.setattr(Trainer, "end_epoch", end_epoch)
    rows = np.arange(200_000, dtype=np.float32)
    hp = hyperparameters(
        "regressor", num_models=1, epochs=2, normalize_label="false", unbias_label="false", learning_rate=1e-9
    )
    fit(hp, (rows % 7)[:, None], rows)
    first, second = (np.concatenate(labels) for labels in epochs[:2])
    assert len(first) == 190_000
    np.testing.assert_array_equal(first, second)
    assert len(epochs[0][0]) != len(epochs[1][0])


@pytest.mark.parametrize(("name", "more"), [("init_scale", {}), ("init_sigma", {"init_method": "normal"})])
def test_a_start_of_mini_batches_that_overflows_is_named(name, more):
    x, y = two_classes(300)
    with pytest.raises(TrainingDataError, match=f"{name} 3.4e\\+38"):
        fit(hyperparameters("binary_classifier", num_models=4, **{name: 3.4e38}, **more), x, y)


def test_a_threshold_is_finite():
    hp = hyperparameters("binary_classifier", binary_classifier_model_selection_criteria="f_beta")
    most = np.finfo(np.float32).max
    assert np.isfinite(calibrate(np.array([[most]], np.float32), np.zeros(1, np.float32), hp).threshold).all()


@pytest.mark.parametrize(
    "criterion", ["accuracy", "f_beta", "precision_at_target_recall", "recall_at_target_precision"]
)
@pytest.mark.parametrize("most", [3e38, np.inf])
def test_classes_at_the_ends_of_float32_are_told_apart_without_a_warning(criterion, most):
    hp = hyperparameters("binary_classifier", binary_classifier_model_selection_criteria=criterion)
    labels = np.repeat(np.array([0, 1], np.float32), 200)
    scores = np.where(labels, most, -most).astype(np.float32)
    np.testing.assert_array_equal(scores >= calibrate(scores[:, None], labels, hp).threshold, labels)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("lost", [np.nan, np.inf])
def test_scores_of_training_that_diverged_are_judged_too(lost):
    """The job's end tells of them; there is nothing to tell where calibration fails before."""
    hp = hyperparameters(
        "binary_classifier",
        binary_classifier_model_selection_criteria="recall_at_target_precision",
        target_precision=0.8,
    )
    scores, labels = np.arange(100, dtype=np.float32), np.repeat(np.array([0, 1], np.float32), 50)
    scores[::7] = lost
    assert calibrate(scores[:, None], labels, hp).value.shape == (1,)


@pytest.mark.parametrize("rows", [20, 100, 1000])
def test_chance_moves_no_threshold_and_a_skewed_model_does(rows):
    hp, moved, skewed = hyperparameters("binary_classifier"), [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        scores = rng.normal(size=(rows, 1)).astype(np.float32)
        labels = (rng.random(rows) < 1 / (1 + np.exp(-scores[:, 0]))).astype(np.float32)
        moved.append(calibrate(scores, labels, hp).threshold[0] != 0)
        skewed.append(calibrate(scores + 3, labels, hp).threshold[0] > 1)
    assert np.mean(moved) <= 0.1
    assert np.mean(skewed) >= {20: 0, 100: 0.5, 1000: 1}[rows]


def test_deviations_of_few_rows_are_drawn_together_by_chance_alone():
    rng = np.random.default_rng(0)
    alike = np.log(drawn_together(rng.normal(size=(3, 50)).std(axis=0), 3))
    assert alike.std() <= 0.3  # as they come: 0.6
    own = np.geomspace(1e-4, 1e4, 50)
    kept = drawn_together((rng.normal(size=(3, 50)) * own).std(axis=0), 3)
    assert np.corrcoef(np.log(kept), np.log(own))[0, 1] > 0.98
    assert np.ptp(np.log10(kept)) > 7


def test_columns_a_million_times_apart_are_told_apart_by_three_rows():
    kept = drawn_together(np.array([1e-6, 1.0]), 3)
    assert kept[1] > 3e5 * kept[0]  # both were 1e-3, by which the second one dwarfs every penalty
    together = drawn_together(np.array([0.1, 1.0]), 3)
    np.testing.assert_allclose(together[0], together[1])  # as chance alone may bring about


def test_two_rows_that_nearly_agree_in_a_column_do_not_make_it_weigh_most():
    """Even if columns differ in scale: on new rows the squared error was 174 times their variance, and is twice."""
    excesses = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(202, 40)) * 10.0 ** rng.uniform(-5, 5, 40)
        y = (x / x.std(axis=0)) @ rng.normal(size=40)
        model, _ = fit(hyperparameters("regressor"), x[:2].astype(np.float32), y[:2].astype(np.float32))
        error = model.predict(Batch(x[2:].astype(np.float32)))["score"] - y[2:]
        excesses.append(np.mean(error**2) / y.var())
    assert np.mean(excesses) < 4


@pytest.mark.parametrize("rows", [2, 5])
def test_regression_on_a_handful_of_rows_is_no_worse_than_least_squares(rows):
    ours, theirs = [], []
    for seed in range(20):
        x, y = datasets.make_regression(500 + rows, 10, n_informative=5, noise=30, random_state=seed)
        peer = linear_model.LinearRegression().fit(x[:rows], y[:rows])
        model, _ = fit(hyperparameters("regressor"), x[:rows], y[:rows])
        ours.append(np.mean((model.predict(Batch(x[rows:].astype(np.float32)))["score"] - y[rows:]) ** 2))
        theirs.append(np.mean((peer.predict(x[rows:]) - y[rows:]) ** 2))
    assert np.mean(ours) <= 1.1 * np.mean(theirs)


@pytest.mark.parametrize("rows", [10, 20])
def test_classes_of_a_handful_of_rows_are_told_apart(rows):
    """Few rows often speak for no feature at all; a model of the more frequent class alone loses accuracy."""
    losses, accuracies = [], []
    for seed in range(25):
        x, y = datasets.make_classification(500 + rows, 8, n_informative=4, random_state=200 + seed)
        y[:2] = 0, 1
        peer = linear_model.LogisticRegression().fit(x[:rows], y[:rows])
        model, _ = fit(hyperparameters("binary_classifier"), x[:rows], y[:rows])
        result = model.predict(Batch(x[rows:].astype(np.float32)))
        losses.append(
            [
                reference.log_loss(y[rows:], p)
                for p in (result["score"].astype(float), peer.predict_proba(x[rows:])[:, 1])
            ]
        )
        accuracies.append([np.mean(result["predicted_label"] == y[rows:]), peer.score(x[rows:], y[rows:])])
    (loss, peers_loss), (accuracy, peers_accuracy) = np.mean(losses, axis=0), np.mean(accuracies, axis=0)
    assert loss <= 1.05 * peers_loss
    assert accuracy >= 0.94 * peers_accuracy


def test_steps_whose_squares_are_below_single_precision_end_a_search():
    for slope in np.geomspace(2e-23, 2e-22, 60):
        least = slope / 0.7

        def evaluate(numbers, points, least=least):
            gaps = [float(point[0]) - least for point in points]
            return [(0.35 * gap * gap, np.array([0.7 * gap], np.float32)) for gap in gaps]

        found = minimise_all(evaluate, [np.zeros(1, np.float32)], np.ones(1, np.float32), 1e-9, 50)
        assert abs(found[0][0] - least) <= least


@pytest.mark.parametrize("stored", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("scale", [1e-44, 1e-38, 1e30, 3e38])
def test_features_at_the_ends_of_single_precision_train(stored, scale):
    rng = np.random.default_rng(0)
    x = np.zeros((300, 200), np.float32)
    x[:, :4] = rng.uniform(-1, 1, size=(300, 4)) * (rng.random((300, 4)) < 0.5) * scale
    y = (np.arange(300) % 2).astype(np.float32)
    model, _ = fit(hyperparameters("binary_classifier"), stored(x), y)
    assert np.isfinite(model.predict(Batch(stored(x)))["score"]).all()


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("rows", [1, 2, 3, 50])
@pytest.mark.parametrize("kind", ["binary_classifier", "regressor", "multiclass_classifier"])
def test_equal_labels_are_predicted(kind, rows, label):
    x = np.random.default_rng(0).normal(size=(rows, 4)).astype(np.float32)
    more = {"num_classes": 3} if kind.startswith("multi") else {}
    model, _ = fit(hyperparameters(kind, **more), x, np.full(rows, label))
    result = model.predict(Batch(x))
    np.testing.assert_allclose(result.get("predicted_label", result["score"]), label, atol=1e-3)


def test_hosts_whose_numbers_round_otherwise_search_together():
    """Each by itself would end after another number of sums, and the others wait."""

    def run(hosts):
        def value(numbers, points):
            slope = points[0] - np.arange(3.0)
            loss, gradient = hosts.sum(np.array([0.5 * slope @ slope]), slope)
            return [(float(loss[0]) * (1 + 1e-9 * hosts.rank), gradient * (1 + 0.1 * hosts.rank))]

        return minimise_all(value, [np.full(3, 9.0)], np.ones(3), 1e-9, 100, hosts=hosts)[0]

    found = on_hosts(3, run)
    np.testing.assert_allclose(found[0], np.arange(3.0), atol=1e-5)
    np.testing.assert_array_equal(found, [found[0]] * 3)
