"""Small models are found by Newton's method, all folds side by side: beside scikit-learn's and closed forms."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.stats import binom
from sklearn import datasets, linear_model
from sklearn.preprocessing import StandardScaler

from algorithms.common.hosts import ONE_HOST
from algorithms.linear_learner import design, losses
from algorithms.linear_learner.design import designs
from algorithms.linear_learner.fit import train
from algorithms.linear_learner.newton import Curved, Values, minimise_together
from algorithms.linear_learner.objective import Objective
from algorithms.linear_learner.preprocessing import study
from algorithms.linear_learner.results import described
from algorithms.linear_learner.selection import calibrate
from algorithms.linear_learner.validation import folds
from recordio.batches import Batch
from tests.algorithms.fakes import FakeJob, MemoryStream, on_hosts
from tests.algorithms.linear_learner.test_defaults import fit, hyperparameters


def test_quadratics_of_different_curvature_end_at_the_solutions_of_their_equations():
    rng = np.random.default_rng(0)
    halves = rng.normal(size=(6, 6)) + 0.1 * rng.normal(size=(4, 6, 6))
    squares = halves @ halves.transpose(0, 2, 1) + np.eye(6)
    right = rng.normal(size=(4, 6))

    def evaluate(numbers, points):
        product = np.einsum("mpq,mq->mp", squares[numbers], points)
        value = 0.5 * np.einsum("mp,mp->m", product, points) - np.einsum("mp,mp->m", right[numbers], points)
        return Values(value, product - right[numbers])

    found = minimise_together(
        evaluate, lambda numbers, _: Curved(squares[numbers].mean(axis=0)), np.zeros((4, 6)), 1e-15, 50
    )
    np.testing.assert_allclose(found, np.linalg.solve(squares, right[:, :, None])[:, :, 0], atol=1e-7)


def test_a_problem_that_lacks_rows_of_what_all_share_is_solved_by_itself():
    rng = np.random.default_rng(0)
    shared, lacking = 1e-6 * np.eye(8), rng.normal(size=(4, 2, 8))
    shared = shared + np.einsum("mhp,mhq->pq", lacking, lacking)
    squares = shared - lacking.transpose(0, 2, 1) @ lacking
    right = np.einsum("mpq,mq->mp", squares, rng.normal(size=(4, 8)))
    asked = []

    def evaluate(numbers, points):
        asked.append(len(numbers))
        product = np.einsum("mpq,mq->mp", squares[numbers], points)
        value = 0.5 * np.einsum("mp,mp->m", product, points) - np.einsum("mp,mp->m", right[numbers], points)
        return Values(value, product - right[numbers])

    def curvature(numbers, _):
        return Curved(shared.copy(), lacking[numbers])

    found = minimise_together(evaluate, curvature, np.zeros((4, 8)), 1e-9, 50)
    np.testing.assert_allclose(np.einsum("mpq,mq->mp", squares, found), right, atol=1e-7)
    assert len(asked) <= 3


@pytest.mark.parametrize("classes", [2, 3])
def test_folds_of_few_rows_and_many_columns_lose_what_scikit_learns_models_lose(classes):
    """Steps by second derivatives that all folds share hardly move the scores of rows that are held out, and ended with
    those of a stronger penalty."""
    rng = np.random.default_rng(0)
    x = (rng.random((60, 200)) < 0.04).astype(np.float32)
    y = (x @ (2 * rng.normal(size=(200, classes)))).argmax(axis=1).astype(np.float32)
    rows = sp.csr_array(x)
    kind = {"num_classes": 3} if classes == 3 else {}
    hp = hyperparameters("multiclass_classifier" if kind else "binary_classifier", wd=2e-4, **kind)
    metric = "multiclass_cross_entropy_objective" if kind else "binary_classification_cross_entropy_objective"
    found = fit(hp, rows, y)[1].values("validation", metric)
    expected = []
    held = folds(Batch(rows, y), hp, 0).held.T
    for wd in (2e-3, 2e-4, 2e-5)[: len(found)]:
        lost = np.zeros(len(y))
        for out in held:
            peer = linear_model.LogisticRegression(C=1 / ((~out).sum() * wd), tol=1e-8, max_iter=10_000)
            chance = peer.fit(x[~out], y[~out]).predict_proba(x[out])
            lost[out] = -np.log(chance[np.arange(out.sum()), y[out].astype(int)])
        expected.append(lost.mean())
    np.testing.assert_allclose(found, expected, rtol=0.07)


def test_where_a_problem_would_lack_more_than_there_is_steps_are_those_of_what_all_share():
    def evaluate(numbers, points):
        return Values(0.5 * (points**2).sum(axis=1) + 1, points)

    def curvature(numbers, _):
        return Curved(np.eye(3), np.full((len(numbers), 1, 3), 2.0))

    np.testing.assert_allclose(minimise_together(evaluate, curvature, np.ones((2, 3)), 1e-9, 50), 0, atol=1e-6)


@pytest.mark.parametrize(("rows", "own"), [(50, True), (100, False)])
def test_folds_that_hold_out_more_rows_than_there_are_weights_share_second_derivatives(rows, own, monkeypatch):
    """Equations of their own take twice as long there, and predict no better."""
    lacked = []

    def recorded(*arguments):
        lacked.append(original(*arguments).lacking is not None)
        return original(*arguments)

    original = Objective.curvature
    monkeypatch.setattr(Objective, "curvature", recorded)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 7)).astype(np.float32)
    fit(hyperparameters("binary_classifier"), x, (x[:, 0] + rng.normal(size=rows) > 0).astype(np.float32))
    assert any(lacked) == own


def test_classes_whose_second_derivatives_float64_does_not_tell_from_less_than_none_train(monkeypatch):
    x, y = datasets.load_iris(return_X_y=True)
    x, y = x[::8].astype(np.float32), y[::8].astype(np.float32)
    hp = hyperparameters("multiclass_classifier", num_classes=3)
    expected = fit(hp, x, y)[0].predict(Batch(x))["score"]
    monkeypatch.setattr("algorithms.linear_learner.objective.SMALLEST_CURVE", -1.0)
    np.testing.assert_allclose(fit(hp, x, y)[0].predict(Batch(x))["score"], expected, atol=0.05)


def test_what_gradients_tell_of_second_derivatives_that_have_changed_saves_steps():
    """Those of rows that are told apart without error vanish as scores grow."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 5))
    y = (x[:, 0] > 0)[:, None].astype(float)
    asked = []

    def evaluate(_, points):
        asked.append(len(points))
        loss, slope = losses.logistic(x @ points.T, y)
        return Values(loss.mean(axis=0) + 5e-5 * (points**2).sum(axis=1), slope.T @ x / len(x) + 1e-4 * points)

    def curvature(_, points):
        curves = losses.logistic_curvature((x @ points.T)[:, :, None])[:, :, 0, 0].mean(axis=1)
        return Curved((x.T * curves) @ x / len(x) + 1e-4 * np.eye(5))

    found = minimise_together(evaluate, curvature, np.zeros((2, 5)), 1e-12, 100)
    assert len(asked) <= 17, "22 without"
    np.testing.assert_allclose(evaluate(None, found).gradient, 0, atol=1e-9)


def test_a_problem_whose_value_is_small_beside_the_others_does_not_go_on_alone():
    """Its loss is a part of the mean that penalties are compared by."""
    alone = []

    def evaluate(numbers, points):
        alone.append(len(numbers) == 1)
        level = np.where(numbers == 0, 1e-9, 1.0)
        return Values(level + 1e-6 * np.cosh(points[:, 0]), 1e-6 * np.sinh(points))

    def curvature(numbers, points):
        return Curved(np.atleast_2d(1e-6 * np.cosh(points).mean()))

    minimise_together(evaluate, curvature, np.full((4, 1), 5.0), 1e-3, 50)
    assert not any(alone)


@pytest.mark.parametrize("worst", [np.nan, np.inf])
def test_a_problem_without_a_finite_value_neither_ends_the_others_nor_keeps_them(worst):
    asked = []

    def evaluate(numbers, points):
        asked.append(len(numbers))
        return Values(np.where(numbers == 1, worst, 1 + np.log(np.cosh(points - 1)).sum(axis=1)), np.tanh(points - 1))

    def curvature(numbers, points):
        return Curved(np.atleast_2d(1 - np.tanh(points[0] - 1) ** 2))

    found = minimise_together(evaluate, curvature, np.zeros((2, 1)), 1e-9, 50)
    np.testing.assert_allclose(found[0], 1, atol=1e-3)
    assert len(asked) < 60  # 40 of them halve the other's first step


def test_steps_that_go_too_far_are_halved():
    """Newton's steps on log cosh part from its minimum if they start beyond 1.09; one problem starts at its minimum."""
    asked = []

    def evaluate(numbers, points):
        asked.append(len(numbers))
        return Values((np.logaddexp(points, -points) - np.log(2)).sum(axis=1) + 1, np.tanh(points))

    def curvature(numbers, points):
        return Curved((1 - np.tanh(points[-1:]) ** 2).copy())

    found = minimise_together(evaluate, curvature, np.array([[0.0], [3.0], [-5.0]]), 1e-12, 50)
    np.testing.assert_allclose(found, 0, atol=1e-6)
    assert asked[0] == 3 and max(asked[1:]) == 2


def test_a_step_that_is_ten_thousand_million_times_too_long_is_halved_until_it_is_not():
    """The square root of x^2 + e^2 is all but straight away from its minimum."""
    asked = []

    def evaluate(numbers, points):
        asked.append(len(numbers))
        value = np.hypot(points, 1e-7)
        return Values(value[:, 0], points / value)

    def curvature(numbers, points):
        return Curved(np.mean(1e-14 / np.hypot(points, 1e-7) ** 3, axis=0, keepdims=True))

    found = minimise_together(evaluate, curvature, np.ones((3, 1)), 1e-9, 50)
    np.testing.assert_allclose(found, 0, atol=1e-2)
    assert len(asked) < 500


def test_a_problem_that_no_step_makes_smaller_stays_where_it_is_and_holds_up_no_other():
    asked = []

    def evaluate(numbers, points):
        asked.append(len(numbers))
        wrong = np.where(numbers == 1, np.nan, 1.0)[:, None]
        return Values((points[:, 0] - 3) ** 2 + 1, 2 * (points - 3) * wrong)

    found = minimise_together(evaluate, lambda *_: Curved(np.array([[2.0]])), np.zeros((2, 1)), 1e-9, 50)
    np.testing.assert_allclose(found[:, 0], [3, 0], atol=1e-6)
    assert len(asked) < 50


def test_where_no_step_helps_any_problem_all_stay_where_they_are():
    def curvature(numbers, points):
        assert len(numbers)
        return Curved(np.array([[2.0]]))

    found = minimise_together(
        lambda numbers, points: Values(np.full(len(points), np.nan), points + np.nan),
        curvature,
        np.ones((2, 1)),
        1e-9,
        50,
    )
    np.testing.assert_array_equal(found, 1)


def test_second_derivatives_beyond_float64_leave_steps_down_the_slope():
    def evaluate(numbers, points):
        return Values((points**2).sum(axis=1) / 2 + 1, points)

    found = minimise_together(evaluate, lambda *_: Curved(-np.ones((2, 2)) + np.eye(2) * 2), np.ones((1, 2)), 1e-9, 50)
    np.testing.assert_allclose(found, 0, atol=1e-6)


def test_hosts_whose_processors_round_otherwise_have_the_same_values():
    x, y = datasets.load_iris(return_X_y=True)
    hp = hyperparameters("multiclass_classifier", num_classes=3)

    def value(hosts):
        mine = slice(hosts.rank, None, hosts.size)
        batch = Batch(x[mine].astype(np.float32), y[mine].astype(np.float32))
        problem = study(batch, hp, hosts)
        held = np.empty((len(batch.labels), 0), bool)
        design = next(iter(designs(problem, batch, hp, held, len(x), hosts)))
        objective = Objective(hp, problem, design, batch.labels, held, len(batch) * hosts.size, hosts)
        objective.penalty = 0.1 * (1 + hosts.rank * 1e-6)  # much farther apart than roundings are
        return objective.values(np.array([0]), np.ones((1, objective.size))).value.tolist()

    first, second = on_hosts(2, value)
    assert first == second


def test_the_log_names_no_other_method():
    x, y = datasets.load_iris(return_X_y=True)
    hp = hyperparameters("multiclass_classifier", num_classes=3)
    trained = train(hp, MemoryStream(x.astype(np.float32), y.astype(np.float32)), None, FakeJob())
    assert json.loads(described(trained, hp))["optimizer"] == "exact"


@pytest.mark.parametrize("classes", [2, 3])
def test_second_derivatives_are_those_of_numerical_differentiation(classes):
    rng = np.random.default_rng(1)
    outputs = 1 if classes == 2 else classes
    z, h = 3 * rng.normal(size=(20, 2, outputs)), 1e-6
    y = rng.integers(0, classes, 20)

    def slopes(z):
        return losses.softmax(z, y)[1] if classes > 2 else losses.logistic(z[:, :, 0], y[:, None])[1][:, :, None]

    found = losses.CURVATURES["softmax_loss" if classes > 2 else "logistic"](z)
    for column in range(outputs):
        step = h * (np.arange(outputs) == column)
        np.testing.assert_allclose(found[..., column], (slopes(z + step) - slopes(z - step)) / (2 * h), atol=1e-5)


@pytest.mark.parametrize("name", ["breast_cancer", "wine", "iris", "diabetes"])
def test_a_stated_penalty_gives_scikit_learns_model(name):
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    x, rows = StandardScaler().fit_transform(x).astype(np.float32), len(y)
    if name == "diabetes":
        y = (y - y.mean()) / y.std()
        model, _ = fit(hyperparameters("regressor", wd=0.02, num_models=1), x, y.astype(np.float32))
        peer = linear_model.Ridge(alpha=0.02 * rows / 2).fit(x.astype(float), y)
        np.testing.assert_allclose(model.weight[0], peer.coef_, atol=1e-4)
        return
    classes = int(y.max()) + 1
    kind = {"num_classes": classes} if classes > 2 else {}
    hp = hyperparameters("multiclass_classifier" if kind else "binary_classifier", wd=0.02, num_models=1, **kind)
    model, _ = fit(hp, x, y.astype(np.float32))
    peer = linear_model.LogisticRegression(C=1 / (rows * 0.02), tol=1e-9, max_iter=10_000).fit(x, y)
    score = model.predict(Batch(x))["score"]
    np.testing.assert_allclose(score, peer.predict_proba(x)[:, 1 if classes == 2 else slice(None)], atol=2e-4)


def test_where_no_threshold_holds_a_target_precision_the_one_that_most_probably_does_is_taken():
    """Of all cuts the one whose hits would be the most surprising if its precision were just below the target."""
    hp = hyperparameters(
        "binary_classifier",
        binary_classifier_model_selection_criteria="recall_at_target_precision",
        target_precision=0.9,
    )
    for draw in range(20):
        rng = np.random.default_rng(draw)
        scores = np.sort(rng.normal(size=300))[::-1].astype(np.float32)
        labels = (rng.random(300) < 1 / (1 + np.exp(9 - 4.5 * scores))).astype(np.float32)
        found = calibrate(scores[:, None], labels, hp)
        confidence = binom.cdf(np.cumsum(labels) - 1, np.arange(1, 301), 0.9)
        assert found.value[0] < 0 and confidence.max() > 1e-3
        assert np.sum(scores >= found.threshold[0]) == confidence.argmax() + 1


@pytest.mark.filterwarnings("ignore:The number of unique classes")
def test_the_only_row_of_a_class_is_never_held_out():
    """No model that has not seen the class says anything of it; judged by such rows, no signal at all had won."""
    shares = []
    for draw in range(3):
        rng = np.random.default_rng(draw)
        middles, y = 1.5 * rng.normal(size=(30, 15)), rng.integers(0, 30, 1025)
        x = (middles[y] + rng.normal(size=(1025, 15))).astype(np.float32)
        hp = hyperparameters("multiclass_classifier", num_classes=30)
        held, *_ = folds(Batch(x[:25], y[:25].astype(np.float32)), hp, 0)
        assert (held.any(axis=1) == (np.bincount(y[:25])[y[:25]] > 1)).all()
        model, _ = fit(hp, x[:25], y[:25])
        peer = linear_model.LogisticRegression().fit(x[:25], y[:25])
        shares.append(np.mean(model.predict(Batch(x[25:]))["predicted_label"] == y[25:]) / peer.score(x[25:], y[25:]))
    assert np.mean(shares) >= 0.99


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("spread", [0, 3])
def test_a_factor_of_the_rows_products_stands_for_singular_vectors(sparse, spread, monkeypatch):
    """Fewer rows than columns, some of them copies, of columns that differ by orders of magnitude: to Newton's method
    one basis is as good as another."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 200)) * (rng.random((60, 200)) < 0.2) * 10.0 ** rng.uniform(-spread, spread, 200)
    x[50:] = x[:10]
    y = (rng.normal(size=60) + x[:, :3].sum(axis=1) / x[:, :3].std() > 0).astype(np.float32)
    rows = sp.csr_array(x.astype(np.float32)) if sparse else x.astype(np.float32)
    kept, _ = fit(hyperparameters("binary_classifier"), rows, y)
    monkeypatch.setattr(design, "pays", lambda *_: False)
    by_vectors, _ = fit(hyperparameters("binary_classifier"), rows, y)
    scores = (model.predict(Batch(rows))["score"] for model in (kept, by_vectors))
    np.testing.assert_allclose(*scores, atol=2e-3)


def test_rows_of_a_factor_have_the_products_that_it_is_of():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(30, 50)) * 10.0 ** rng.uniform(-3, 3, 30)[:, None]
    rows[20:] = rows[:10]
    products = rows @ rows.T
    factor, inner = design._factored(products)
    assert factor.shape == inner.shape == (30, 20)
    np.testing.assert_allclose(factor @ factor.T, products, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(inner.T @ products @ inner, np.eye(20), atol=1e-6)
    assert not np.any(design._factored(np.zeros((3, 3)))[0])


@pytest.mark.parametrize("classes", [2, 3])
def test_another_scaling_begins_with_the_scores_of_the_last_one(classes):
    x, y = datasets.load_iris(return_X_y=True)
    chosen = slice(50 if classes == 2 else 0, None, 2)
    x, y = x[chosen] * [1, 10, 100, 0.1], y[chosen] - (3 - classes)
    kind = {"num_classes": 3} if classes == 3 else {}
    hp = hyperparameters("multiclass_classifier" if kind else "binary_classifier", **kind)
    batch = Batch(x.astype(np.float32), y.astype(np.float32))
    held, problem = folds(batch, hp, 0).held, study(batch, hp)
    made = designs(problem, batch, hp, held, len(y), ONE_HOST)
    first, *others = (Objective(hp, problem, made_, batch.labels, held, len(y), ONE_HOST) for made_ in made)
    first.penalty = 1e-3
    points = first.minimise(first.folds, [first.nothing() for _ in first.folds])
    assert len(others) == classes - 1
    for other in others:
        np.testing.assert_allclose(other.scores(other.like(first, points)), first.scores(points), rtol=1e-3, atol=1e-3)
