"""The linear learner with only its required hyperparameters beside scikit-learn's models with theirs."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.stats import norm
from sklearn import datasets, linear_model
from sklearn import metrics as reference
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from algorithms import registry
from algorithms.common.lbfgs import minimise_all
from algorithms.errors import HyperparameterError, TrainingDataError
from algorithms.events import Progress
from algorithms.hyperparameters import parse
from algorithms.linear_learner import LinearLearner, LinearLearnerHyperparameters
from algorithms.linear_learner.model import LinearModel
from algorithms.linear_learner.preprocessing import study
from algorithms.linear_learner.selection import calibrate, half_standard_error
from algorithms.linear_learner.trainer import Trainer
from algorithms.linear_learner.validation import HeldOut, Kept, Rows, folds
from recordio.batches import Batch
from tests.algorithms.fakes import FakeJob, MemoryStream


def hyperparameters(kind: str, **values: object) -> LinearLearnerHyperparameters:
    return parse(LinearLearnerHyperparameters, {"predictor_type": kind} | {k: str(v) for k, v in values.items()})


def fit(hp: LinearLearnerHyperparameters, x, y, **channels) -> tuple[LinearModel, FakeJob]:
    job = FakeJob()
    streams = {"train": MemoryStream(x, y, epochs_left=hp.epochs)}
    streams |= {name: MemoryStream(*data, epochs_left=1) for name, data in channels.items()}
    return LinearLearner.fit(hp, streams, job), job


def text(rows: int, words: int, classes: int, seed: int) -> tuple[sp.csr_array, np.ndarray]:
    """TF-IDF rows of documents whose words follow Zipf's law; each class has favourites of its own."""
    rng = np.random.default_rng(seed)
    favour = np.exp(rng.normal(size=(classes, words)) * (rng.random((classes, words)) < 0.15) * 1.2)
    chances = favour / np.arange(1, words + 1)
    chances /= chances.sum(axis=1, keepdims=True)
    labels = rng.integers(0, classes, rows)
    counts = [np.bincount(rng.choice(words, rng.integers(20, 120), p=chances[c]), minlength=words) for c in labels]
    matrix = np.array(counts, np.float32)
    matrix *= np.log((1 + rows) / (1 + (matrix > 0).sum(axis=0))) + 1
    return sp.csr_array(matrix / np.linalg.norm(matrix, axis=1, keepdims=True)), labels.astype(np.float32)


def rare(seed: int, test: int = 10_000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2400 + test, 30))
    z = x[:, :3].sum(axis=1) - 5.6
    return x.astype(np.float32), (rng.random(len(x)) < 1 / (1 + np.exp(-z))).astype(np.float32)


def log_loss(model: LinearModel, x, y) -> float:
    return float(reference.log_loss(y, model.predict(Batch(x))["score"].astype(float)))


def _probabilities(score: np.ndarray) -> np.ndarray:
    score = score.astype(float)
    return score if score.ndim == 1 else score / score.sum(axis=1, keepdims=True)


@pytest.fixture(autouse=True)
def _by_batches(request, monkeypatch):
    """A case whose id or test says mini-batches trains as data that cannot be kept does."""
    if "mini-batches" in request.node.name or "mini_batches" in request.node.name:
        monkeypatch.setattr("algorithms.linear_learner.path.PATH_MEMORY", 0)


@pytest.mark.parametrize("stored", [sp.csr_array, sp.csr_array.toarray])
@pytest.mark.parametrize(("classes", "rows"), [(2, 1200), (2, 200), (4, 1200)])
def test_text_is_no_worse_than_scikit_learns_best(stored, classes, rows):
    x, y = text(rows + 1000, 3000, classes, seed=classes)
    peer = linear_model.LogisticRegression().fit(x[:rows], y[:rows])
    svm = LinearSVC(random_state=0).fit(x[:rows], y[:rows])
    kind = {"num_classes": classes} if classes > 2 else {}
    hp = hyperparameters("multiclass_classifier" if kind else "binary_classifier", **kind)
    model, _ = fit(hp, stored(x[:rows]), y[:rows])
    result = model.predict(Batch(stored(x[rows:])))
    assert reference.log_loss(y[rows:], _probabilities(result["score"])) <= 1.1 * reference.log_loss(
        y[rows:], peer.predict_proba(x[rows:])
    )
    best = max(peer.score(x[rows:], y[rows:]), svm.score(x[rows:], y[rows:]))
    assert np.mean(result["predicted_label"] == y[rows:]) >= 0.99 * best


def test_many_rare_features_with_a_faint_signal_are_learned():
    rng = np.random.default_rng(0)
    columns = (100_000 * rng.random((20_000, 20)) ** 3).astype(np.int32)
    x = sp.csr_array(
        (np.ones(400_000, np.float32), columns.ravel(), np.arange(0, 400_001, 20)), shape=(20_000, 100_000)
    )
    x.sum_duplicates()
    chance = 1 / (1 + np.exp(-(x @ rng.normal(size=100_000))))
    y = (rng.random(20_000) < chance).astype(np.float32)
    peer = linear_model.LogisticRegression().fit(x[:16_000], y[:16_000])
    model, _ = fit(hyperparameters("binary_classifier"), x[:16_000], y[:16_000])
    expected = reference.log_loss(y[16_000:], peer.predict_proba(x[16_000:]))
    assert log_loss(model, x[16_000:], y[16_000:]) <= 1.02 * expected


def test_a_faint_signal_in_few_sparse_rows_is_not_taken_for_none():
    """Scores that are all but equal leave it to the share of classes which of them is predicted."""
    shares, ratios = [], []
    for draw in range(8):
        rng = np.random.default_rng(draw)
        x = sp.csr_array(sp.random_array((3200, 1000), density=0.02, rng=rng, format="csr", dtype=np.float32))
        x.data[:] = 1
        y = (rng.random(3200) < 1 / (1 + np.exp(-0.4 * (x @ rng.normal(size=1000))))).astype(np.float32)
        model, _ = fit(hyperparameters("binary_classifier"), x[:200], y[:200])
        peer = linear_model.LogisticRegression().fit(x[:200], y[:200])
        shares.append(
            np.mean(model.predict(Batch(x[200:]))["predicted_label"] == y[200:]) / peer.score(x[200:], y[200:])
        )
        ratios.append(log_loss(model, x[200:], y[200:]) / reference.log_loss(y[200:], peer.predict_proba(x[200:])))
    assert np.mean(shares) >= 0.97
    assert np.mean(ratios) <= 1


def test_a_bias_of_few_texts_does_not_outweigh_their_words():
    """Left free it cost a quarter of the log loss and .3 % of the accuracy; peers are scikit-learn's models that have
    none."""
    ratios, shares = [], []
    for seed in (0, 1, 3):
        x, y = text(700, 5000, 2, seed)
        model, _ = fit(hyperparameters("binary_classifier"), x[:200], y[:200])
        peers = [linear_model.LogisticRegression(C=c, fit_intercept=False, max_iter=300) for c in (100, 1e4)]
        losses = [reference.log_loss(y[200:], peer.fit(x[:200], y[:200]).predict_proba(x[200:])) for peer in peers]
        ratios.append(log_loss(model, x[200:], y[200:]) / min(losses))
        best = max(peer.score(x[200:], y[200:]) for peer in peers)
        shares.append(np.mean(model.predict(Batch(x[200:]))["predicted_label"] == y[200:]) / best)
    assert np.mean(ratios) <= 1
    assert np.mean(shares) >= 0.997


def test_a_bias_is_free_where_all_rows_are_far_from_zero():
    """A year beside rare ones: what the bias must take away from its weight is far from any usual one."""
    rng = np.random.default_rng(0)
    y = (rng.random(1400) < 0.5).astype(np.float32)
    year = 100 + 5 * rng.normal(size=(1400, 1)) + 10 * (y[:, None] - 0.5)
    ones = sp.random_array((1400, 300), density=0.01, rng=rng, format="csr")
    rows = sp.csr_array(sp.hstack([year, ones]), dtype=np.float32)
    model, _ = fit(hyperparameters("binary_classifier"), rows[:400], y[:400])
    peer = linear_model.LogisticRegression().fit((year[:400] - 100) / 10, y[:400])
    expected = reference.log_loss(y[400:], peer.predict_proba((year[400:] - 100) / 10))
    assert log_loss(model, rows[400:], y[400:]) <= 1.1 * expected


def test_sparse_columns_are_divided_by_their_sizes_only_where_rows_speak_for_it():
    """Sizes of a hundredth of the columns decided: words that only a long text has are small, and blown up to the size
    of others they made of 200 texts a model of three times the loss."""
    x, y = text(1400, 3000, 2, 2)
    long = np.random.default_rng(0).random((20, 1500)).astype(np.float32) * 1e-3
    rows = sp.csr_array(sp.hstack([x, sp.csr_array(np.vstack([long, np.zeros((1380, 1500), np.float32)]))]))
    plain, _ = fit(hyperparameters("binary_classifier"), x[:200], y[:200])
    model, _ = fit(hyperparameters("binary_classifier"), rows[:200], y[:200])
    assert log_loss(model, rows[200:], y[200:]) <= 1.1 * log_loss(plain, x[200:], y[200:])
    unlike = rows.multiply(np.geomspace(1, 1e4, rows.shape[1])[np.random.default_rng(1).permutation(rows.shape[1])])
    model, _ = fit(hyperparameters("binary_classifier"), sp.csr_array(unlike)[:200], y[:200])
    assert log_loss(model, sp.csr_array(unlike)[200:], y[200:]) <= 0.6


def test_wide_rows_are_no_worse_than_scikit_learns():
    rng = np.random.default_rng(3)
    y = np.arange(1200) % 2
    x = (rng.normal(size=(1200, 10_000)) + (y[:, None] - 0.5) * 0.6 * (np.arange(10_000) < 200)).astype(np.float32)
    peer = linear_model.LogisticRegression().fit(x[:200], y[:200])
    model, _ = fit(hyperparameters("binary_classifier"), x[:200], y[:200])
    assert log_loss(model, x[200:], y[200:]) <= 1.1 * reference.log_loss(y[200:], peer.predict_proba(x[200:]))


@pytest.mark.parametrize("rows", [20, 100, 455])
def test_small_tables_are_no_worse_than_scikit_learns(rows):
    x, y = datasets.load_breast_cancer(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order].astype(np.float32), y[order]
    scaler = StandardScaler().fit(x[:rows])
    peer = linear_model.LogisticRegression().fit(scaler.transform(x[:rows]), y[:rows])
    model, _ = fit(hyperparameters("binary_classifier"), x[:rows], y[:rows])
    expected = reference.log_loss(y[rows:], peer.predict_proba(scaler.transform(x[rows:])))
    assert log_loss(model, x[rows:], y[rows:]) <= 1.1 * expected


def test_a_path_ends_at_the_first_penalty_that_is_surely_worse():
    x, y = datasets.load_breast_cancer(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))[:455]
    job = fit(hyperparameters("binary_classifier", normalize_data="true"), x[order].astype(np.float32), y[order])[1]
    losses = job.values("validation", "binary_classification_cross_entropy_objective")
    assert len(losses) == int(np.argmin(losses)) + 2


@pytest.mark.parametrize(("loss", "quantile"), [("absolute_loss", 0.5), ("quantile_loss", 0.9), ("auto", None)])
def test_regression_is_as_good_as_the_exact_optimum(loss, quantile):
    rng = np.random.default_rng(5)
    x = (rng.normal(size=(6279, 8)) * np.geomspace(0.01, 1000, 8) + 3).astype(np.float32)
    y = (x @ (1 / np.geomspace(0.01, 1000, 8)) + rng.standard_t(4, size=6279)).astype(np.float32)
    hp = hyperparameters("regressor", loss=loss, **({"quantile": quantile} if loss == "quantile_loss" else {}))
    model, _ = fit(hp, x[:1279], y[:1279])
    if quantile is None:
        peer = linear_model.LinearRegression().fit(x[:1279].astype(float), y[:1279])
        ours, theirs = (
            np.mean((p - y[1279:]) ** 2) for p in (model.predict(Batch(x[1279:]))["score"], peer.predict(x[1279:]))
        )
    else:
        peer = linear_model.QuantileRegressor(quantile=quantile, alpha=0).fit(x[:1279], y[:1279])
        ours, theirs = (
            reference.mean_pinball_loss(y[1279:], p, alpha=quantile)
            for p in (model.predict(Batch(x[1279:]))["score"], peer.predict(x[1279:]))
        )
    assert ours <= 1.01 * theirs


@pytest.mark.parametrize(
    "steps",
    [{}, {"num_models": 32}, {"num_models": 32, "mini_batch_size": 100}],
    ids=["exact", "mini-batches", "small mini-batches"],
)
@pytest.mark.parametrize("criterion", ["accuracy", "f_beta", "precision_at_target_recall"])
def test_no_untrained_model_wins_where_positives_are_rare(steps, criterion):
    x, y = rare(6)
    peer = linear_model.LogisticRegression().fit(x[:2400], y[:2400])
    hp = hyperparameters("binary_classifier", binary_classifier_model_selection_criteria=criterion, **steps)
    model, _ = fit(hp, x[:2400], y[:2400])
    expected = reference.log_loss(y[2400:], peer.predict_proba(x[2400:]))
    assert log_loss(model, x[2400:], y[2400:]) <= (1.3 if steps else 1.1) * expected


def with_target(seed, shift, criterion, **target):
    """A model of the first 2,400 of 22,400 rows, and all rows with their labels."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(22_400, 10)).astype(np.float32)
    y = (rng.random(len(x)) < 1 / (1 + np.exp(shift - 2 * x[:, :2].sum(axis=1)))).astype(np.float32)
    hp = hyperparameters("binary_classifier", binary_classifier_model_selection_criteria=criterion, **target)
    return fit(hp, x[:2400], y[:2400])[0], x, y


@pytest.mark.parametrize("target", [0.7, 0.9])
@pytest.mark.parametrize("shift", [2.0, 4.0])
def test_a_target_recall_holds_on_rows_to_come(target, shift):
    held = []
    for seed in range(20):
        model, x, y = with_target(seed, shift, "precision_at_target_recall", target_recall=target)
        predicted = model.predict(Batch(x[2400:]))["predicted_label"]
        held.append(reference.recall_score(y[2400:], predicted))
        assert reference.precision_score(y[2400:], predicted) > 1.5 * y.mean()
    assert sum(recall >= target for recall in held) >= 18, held
    assert min(held) >= target - 0.04


@pytest.mark.parametrize(("shift", "target", "cost"), [(0.0, 0.8, 0.95), (0.0, 0.9, 0.85), (5.0, 0.5, 0.7)])
def test_a_target_precision_holds_on_rows_to_come_at_little_cost(shift, target, cost):
    """2,400 rows, of which half or 5 % are positive; the best recall is that of the very model on the rows to come."""
    held, shares = [], []
    for seed in range(12):
        model, x, y = with_target(seed, shift, "recall_at_target_precision", target_precision=target)
        answer = model.predict(Batch(x[2400:]))
        held.append(reference.precision_score(y[2400:], answer["predicted_label"]) >= target)
        precision, recall, _ = reference.precision_recall_curve(y[2400:], answer["score"])
        best = recall[precision >= target].max()
        shares.append(reference.recall_score(y[2400:], answer["predicted_label"]) / best)
    assert sum(held) >= 11
    assert np.mean(shares) >= cost


@pytest.mark.parametrize("share", [0.3, 0.6, 0.8])
def test_no_lucky_cut_passes_for_a_target_precision(share):
    """Scores that tell nothing: no cut has more than the target on rows to come, and 2 % of jobs may say so."""
    hp = hyperparameters(
        "binary_classifier",
        binary_classifier_model_selection_criteria="recall_at_target_precision",
        target_precision=share,
    )
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(1000, 1)).astype(np.float32)
    said = [calibrate(scores, (rng.random(1000) < share).astype(np.float32), hp).value[0] >= 0 for _ in range(500)]
    assert sum(said) <= 17  # 10 are allowed for, and chance exceeds 17 once in a hundred times
    sure = calibrate(scores, (scores[:, 0] > 1.6).astype(np.float32), hp)  # 50 positives, the highest
    assert sure.value[0] == 1 and 1.5 < sure.threshold[0] < 1.7


def test_the_bound_on_recall_is_the_binomials():
    """The fewest of 20 positives to claim, so that a recall of 0.7 holds with 98 %: a sum of binomial probabilities."""
    from scipy.stats import binom

    labels, scores = np.ones(20, np.float32), np.arange(20, dtype=np.float32)[:, None]
    hp = hyperparameters(
        "binary_classifier",
        binary_classifier_model_selection_criteria="precision_at_target_recall",
        target_recall=0.7,
    )
    both = np.concatenate([labels, np.zeros(5, np.float32)]), np.vstack([scores, scores[:5] - 0.5])
    threshold = float(calibrate(both[1], both[0], hp).threshold[0])
    fewest = min(j for j in range(1, 21) if binom.cdf(j - 1, 20, 0.7) >= 0.98)
    assert np.sum(scores[:, 0] >= threshold) == fewest


@pytest.mark.parametrize(
    ("criterion", "target", "copied"),
    [("target_recall", 0.8, 1), ("target_precision", 0.9, 1), ("target_precision", 0.6, 0)],
)
def test_a_target_holds_where_rows_of_a_class_are_copies(criterion, target, copied):
    """Normal scores of which one class was copied 20 times: what a threshold has on rows to come is known."""
    rng, times, held, sure = np.random.default_rng(0), np.array([1, 1]), [], 0
    times[copied] = 20
    names = {"target_recall": "precision_at_target_recall", "target_precision": "recall_at_target_precision"}
    chosen = {"binary_classifier_model_selection_criteria": names[criterion], criterion: target}
    hp = hyperparameters("binary_classifier", **chosen)
    labels = np.repeat([1.0, 0.0], [60, 300]) if copied else np.repeat([1.0, 0.0], [600, 100])
    for _ in range(100):
        scores, copies = rng.normal(2.5 * labels), times[labels.astype(int)]
        rows = np.repeat(np.arange(len(labels)), copies)
        found = calibrate(scores[rows, None].astype(np.float32), labels[rows].astype(np.float32), hp, copies[rows])
        above = norm.sf(found.threshold[0] - np.array([0, 2.5])) * times * np.array([sum(labels == 0), sum(labels)])
        value = above[1] / above.sum() if criterion == "target_precision" else above[1] / times[1] / sum(labels)
        if found.value[0] >= 0:
            sure += 1
            held.append(value >= target)
    assert sure >= 50
    assert np.mean(held) >= 0.94


def test_copies_of_rows_are_known_where_a_job_finds_its_threshold():
    hp = hyperparameters(
        "binary_classifier", binary_classifier_model_selection_criteria="precision_at_target_recall", target_recall=0.8
    )
    recalls = []
    for seed in range(4):
        x, y = rare(seed, test=60_000)
        known = np.repeat(np.arange(2400), np.where(y[:2400] > 0, 20, 1))
        model, _ = fit(hp, x[known], y[known])
        recalls.append(model.predict(Batch(x[2400:]))["predicted_label"][y[2400:] > 0].mean())
    assert min(recalls) >= 0.8


def test_a_share_of_one_is_not_certain():
    assert half_standard_error(1.0, 5) > 0.05


def test_the_rows_of_a_pipe_are_read_once():
    x, y = rare(1, test=0)
    job = FakeJob()
    stream = MemoryStream(x, y, epochs_left=1)
    LinearLearner.fit(hyperparameters("binary_classifier"), {"train": stream}, job)
    assert stream.epochs_begun == 1
    assert {score.dataset for step, score in job.measured() if step == 0} == {"train", "validation"}
    assert job.of(Progress)[-1] == Progress(15, 15)


def test_data_beyond_the_bound_train_by_mini_batches(monkeypatch):
    x, y = rare(2)
    monkeypatch.setattr("algorithms.linear_learner.path.PATH_MEMORY", 200_000)
    model, job = fit(hyperparameters("binary_classifier"), x, y)
    assert "Training 32 models in parallel." in job.messages
    peer = linear_model.LogisticRegression().fit(x, y)
    assert log_loss(model, x, y) <= 1.05 * reference.log_loss(y, peer.predict_proba(x))


def test_models_that_cannot_fit_are_refused_once_the_features_are_counted_by_mini_batches(monkeypatch):
    monkeypatch.setattr("algorithms.linear_learner.path.PATH_MEMORY", 0)
    x = sp.csr_array((np.ones(100), (np.arange(100), np.arange(100) * 10_000)), shape=(100, 1_000_000))
    x, y = x.astype(np.float32), np.arange(100) % 2
    job = FakeJob(memory=100 << 20)
    tracemalloc.start()
    with pytest.raises(TrainingDataError, match=r"models of 1000000 features.* need at least \d.\d GiB .* has 0.1 GiB"):
        LinearLearner.fit(hyperparameters("binary_classifier", num_models=100_000), {"train": MemoryStream(x, y)}, job)
    assert tracemalloc.get_traced_memory()[1] < 4 * x.shape[1]  # before there is any array as wide as the rows
    tracemalloc.stop()


def test_folds_spread_labels_and_hold_each_row_out_once():
    labels = (np.arange(500) < 25).astype(np.float32)  # sorted, and rare
    rows = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32)
    held, *_ = folds(Batch(rows, labels), hyperparameters("binary_classifier"), 0)
    assert (held.sum(axis=1) == 1).all()
    assert (labels @ held == 5).all()


def test_minimum_of_quadratics_is_the_solution_of_their_equations():
    rng = np.random.default_rng(0)
    halves = [rng.normal(size=(20, 20)) for _ in range(3)]
    squares = [half @ half.T + np.eye(20) for half in halves]
    right = [rng.normal(size=20) for _ in range(3)]

    def evaluate(numbers, points):
        found = []
        for number, point in zip(numbers, points, strict=True):
            product = squares[number] @ point
            value = 0.5 * point @ product - right[number] @ point + 10
            found.append((float(value), (product - right[number]).astype(np.float32)))
        return found

    found = minimise_all(evaluate, [np.zeros(20, np.float32)] * 3, np.ones(20, np.float32), 1e-9, 200)
    for square, b, x in zip(squares, right, found, strict=True):
        np.testing.assert_allclose(square @ x, b, atol=0.02)


@pytest.mark.parametrize("rows", [1, 2, 5, 99, 100, 1000, 1500])
@pytest.mark.parametrize("kind", ["binary_classifier", "regressor", "multiclass_classifier"])
@pytest.mark.parametrize(
    "steps", [{}, {"mini_batch_size": 1, "epochs": 1, "num_models": 2}], ids=["exact", "mini-batches"]
)
def test_any_number_of_rows_trains(rows, kind, steps):
    rng = np.random.default_rng(rows)
    x, y = rng.normal(size=(rows, 3)).astype(np.float32), np.arange(rows) % 2
    classes = {"num_classes": 3} if kind.startswith("multi") else {}
    model, _ = fit(hyperparameters(kind, **classes, **steps), x, y)
    assert np.isfinite(model.weight).all()


EXTREMES = {
    "accuracy_top_k": (1, 10**9), "beta_1": (0, 0.999999), "beta_2": (0, 0.999999), "bias_lr_mult": (1e-9, 100),
    "bias_wd_mult": (0, 100), "early_stopping_patience": (1, 10**9), "early_stopping_tolerance": (1e-12, 1e9),
    "epochs": (1, 50), "f_beta": (1e-9, 1e9), "huber_delta": (1e-9, 1e9), "init_bias": (-1e3, 1e3),
    "init_scale": (1e-9, 10), "init_sigma": (1e-9, 10), "l1": (0, 1e6), "learning_rate": (1e-12, 1),
    "loss_insensitivity": (1e-9, 1e9), "lr_scheduler_factor": (1e-9, 0.999999), "lr_scheduler_minimum_lr": (1e-12, 1),
    "lr_scheduler_step": (1, 10**9), "margin": (1e-9, 1e3), "mini_batch_size": (1, 10**9), "momentum": (0, 0.999),
    "num_calibration_samples": (1, 10**9), "num_models": (1, 100), "num_point_for_scaler": (1, 10**9),
    "positive_example_weight_mult": (1e-5, 1e5), "quantile": (1e-6, 1 - 1e-6), "target_precision": (1e-6, 1 - 1e-6),
    "target_recall": (1e-6, 1 - 1e-6), "wd": (0, 1),
}  # fmt: skip
COMPANY = {
    "accuracy_top_k": {"predictor_type": "multiclass_classifier", "num_classes": 3},
    "huber_delta": {"predictor_type": "regressor", "loss": "huber_loss"},
    "init_sigma": {"init_method": "normal"},
    "loss_insensitivity": {"predictor_type": "regressor", "loss": "eps_insensitive_absolute_loss"},
    "margin": {"loss": "hinge_loss"},
    "momentum": {"optimizer": "sgd"},
    "quantile": {"predictor_type": "regressor", "loss": "quantile_loss"},
    "target_precision": {"binary_classifier_model_selection_criteria": "recall_at_target_precision"},
    "target_recall": {"binary_classifier_model_selection_criteria": "precision_at_target_recall"},
}
"""What makes a hyperparameter count."""


@pytest.mark.parametrize("rows", [1, 1200])
@pytest.mark.parametrize(("name", "end"), [(name, end) for name in EXTREMES for end in (0, 1)])
@pytest.mark.parametrize("way", ["exact", "mini-batches"])
def test_every_extreme_of_every_hyperparameter_trains(name, end, rows, way):
    given = {"predictor_type": "binary_classifier"} | COMPANY.get(name, {})
    given |= {"epochs": 2, "num_models": 2}
    given["mini_batch_size"] = given.get("mini_batch_size", 300)
    given[name] = EXTREMES[name][end]
    kind = str(given.pop("predictor_type"))
    x, y = rare(3, test=0)
    y[::7] = 1
    model, _ = fit(hyperparameters(kind, **given), x[:rows], y[:rows])
    assert np.isfinite(model.weight).all()


def test_the_extremes_are_those_of_every_number():
    numbers = {
        name
        for name, value in vars(hyperparameters("regressor")).items()
        if name in LinearLearnerHyperparameters.__annotations__ and not isinstance(value, (bool, str))
    }
    assert numbers <= set(EXTREMES) | {"num_classes", "feature_dim"}


def test_held_out_rows_of_single_row_batches_are_a_share():
    held = HeldOut(1, rows=10_000)
    parts = [held.split(index, Batch(np.zeros((1, 2), np.float32))) for index in range(1000)]
    assert sum(part is not None for _, part in parts) == 100
    assert sum(len(rest) for rest, _ in parts) == 900


def test_keeping_rows_looks_at_each_batch_once():
    kept, batch = Kept(HeldOut(1, rows=0)), Batch(np.zeros((1, 2), np.float32))

    class Counting(list):
        looked_at = 0

        def __iter__(self):
            Counting.looked_at += len(self)
            return super().__iter__()

    kept.rows = Counting()
    for index in range(300):
        kept.take(index, batch)
    assert Counting.looked_at == 0


def test_rows_are_scored_in_blocks_that_shrink_with_the_columns():
    x = np.zeros((5000, 2), np.float32)
    hp = hyperparameters("regressor")
    problem = study(Batch(x, np.arange(5000, dtype=np.float32)), hp)
    assert len(Rows.of(Batch(x, x[:, 0]), problem, 1 << 20).blocks) == 1250


def test_memory_is_reckoned_from_the_hyperparameters():
    many = hyperparameters("multiclass_classifier", num_classes=1_000_000, feature_dim=100_000)
    assert LinearLearner.memory(many) >= 4 * 10**11
    with pytest.raises(HyperparameterError, match="num_classes"):
        hyperparameters("multiclass_classifier", num_classes=2_000_000_000)
    few = hyperparameters("binary_classifier", feature_dim=10, num_models=4)
    problem = study(Batch(np.eye(10, dtype=np.float32), np.zeros(10, np.float32)), few)
    trainer = Trainer(few, problem, 0)
    arrays = trainer.parameters.nbytes + trainer.gradient.nbytes + 2 * trainer.parameters.nbytes
    assert LinearLearner.memory(few) == arrays


@pytest.mark.parametrize("after", [0, 2])
def test_a_job_that_is_stopped_goes_on_to_a_penalty_that_leaves_a_model(after):
    """Of the strong ones, which are the first, a model of digits is right in a fifth of the rows."""
    x, y = datasets.load_digits(return_X_y=True)
    hp = hyperparameters("multiclass_classifier", num_classes=10)
    model = LinearLearner.fit(hp, {"train": MemoryStream(x[:1200], y[:1200])}, FakeJob(stop_after=after))
    least = (
        linear_model.LogisticRegression(C=1, max_iter=300).fit(x[:1200] / 16, y[:1200]).score(x[1200:] / 16, y[1200:])
    )
    assert (model.predict(Batch(x[1200:].astype(np.float32)))["predicted_label"] == y[1200:]).mean() >= 0.98 * least


@pytest.mark.parametrize("algorithm", ["linear-learner", "factorization-machines", "xgboost"])
def test_labels_beyond_what_float32_can_predict_are_refused_by_value(algorithm):
    found = registry.find(algorithm)
    given = {
        "linear-learner": {"predictor_type": "regressor"},
        "factorization-machines": {"predictor_type": "regressor", "feature_dim": "2", "num_factors": "2"},
        "xgboost": {"num_round": "2"},
    }[algorithm]
    x, y = np.random.default_rng(0).normal(size=(60, 2)), np.where(np.arange(60) % 2, 3e38, -3e38)
    with pytest.raises(TrainingDataError, match=r"is -3e\+38"):
        found.fit(parse(found.hyperparameters, given), {"train": MemoryStream(x, y)}, FakeJob())
    model = found.fit(parse(found.hyperparameters, given), {"train": MemoryStream(x, y / 1e10)}, FakeJob())
    assert np.isfinite(model.predict(Batch(x.astype(np.float32)))["score"]).all()


@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
def test_few_rows_repeated_give_the_model_of_one_of_each(predictor_type: str) -> None:
    """Deviations of columns, too, are known no better by copies; weights were off by up to 70 %."""
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(9, 6)).astype(np.float32)
    labels = (rows @ rng.normal(size=6) + 0.3 * rng.normal(size=9)).astype(np.float32)
    if predictor_type == "binary_classifier":
        labels = (labels > 0).astype(np.float32)
    once, _ = fit(hyperparameters(predictor_type), rows, labels)
    copied, _ = fit(hyperparameters(predictor_type), np.tile(rows, (6, 1)), np.tile(labels, 6))
    np.testing.assert_allclose(copied.weight, once.weight, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("given", [{}, {"wd": 0.01}])
@pytest.mark.parametrize(("value", "columns"), [(0, 2), (-7, 1), (1e12, 2), (0.1, 200)])
@pytest.mark.parametrize("classes", [2, 3])
def test_rows_that_are_all_alike_leave_the_shares_of_the_classes(classes, value, columns, given):
    """Each class was as likely as any other, as the bias stayed 0."""
    x = np.full((100, columns), value, np.float32)
    counts = [30, 70] if classes == 2 else [10, 20, 70]
    y = np.repeat(np.arange(classes), counts).astype(np.float32)
    if classes == 2:
        hp = hyperparameters("binary_classifier", **given)
    else:
        hp = hyperparameters("multiclass_classifier", num_classes=classes, **given)
    score = fit(hp, x, y)[0].predict(Batch(x[:1]))["score"]
    np.testing.assert_allclose(np.ravel(score), 0.7 if classes == 2 else [0.1, 0.2, 0.7], atol=0.03)


def test_a_strong_penalty_of_columns_that_are_nearly_one_leaves_the_bias_free():
    random = np.random.default_rng(0)
    first = random.normal(size=100)
    x = np.column_stack([first, first + 1e-5 * random.normal(size=100)]).astype(np.float32)
    y = np.repeat([0, 1], [30, 70]).astype(np.float32)
    score = fit(hyperparameters("binary_classifier", wd=1e9), x, y)[0].predict(Batch(x))["score"]
    np.testing.assert_allclose(score, 0.7, atol=0.001)
