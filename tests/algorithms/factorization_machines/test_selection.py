"""Jobs that say nothing of how they are to be learned: variational Bayes, or the linear model."""

from __future__ import annotations

import copy
import json
from functools import partial

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.special import expit
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.linear_model import BayesianRidge, LogisticRegression, Ridge, RidgeCV
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from algorithms.checkpoints import NoCheckpoints
from algorithms.factorization_machines import linear, schedule, selection, steps, variational
from recordio.batches import Batch
from tests.algorithms.factorization_machines.test_search import (
    BY_STEPS,
    EndedError,
    _Kept,
    cells,
    error,
    error_of,
    fitted,
    matrix,
)
from tests.algorithms.fakes import FakeJob, on_hosts

pytestmark = pytest.mark.skipif(steps._kernel is None, reason="the compiled kernel is not built")


def learned(x, y, **changed):
    options = {"factors": 3, "binary": False, "use_bias": True, "use_linear": True, "most": 10**6, "seed": 0}
    return variational.fit(x, y, stopped=lambda: False, **(options | changed))


def test_few_cells_of_a_matrix_of_low_rank_fill_it_in_without_a_rate():
    known, asked = matrix(rank=3, share=0.3)  # seven numbers for each row or column, of which two are seen for one
    job = FakeJob()
    assert error(fitted(*known, job), *asked) < 0.12  # of a deviation of 1, which is noise to a linear model
    assert any("the factors are kept" in line for line in job.messages)


def test_as_many_factors_are_learned_as_there_are():
    (x, y), _ = matrix(rank=2)
    assert np.count_nonzero(learned(x, y / y.std(), factors=8)["factors"].any(axis=0)) == 2


def test_factors_that_shrink_beyond_hope_are_swept_no_more():
    """All 78 sweeps of two factors were made, which took most of a job whose rows show no pairs."""
    rng = np.random.default_rng(0)
    codes = rng.integers(200, size=(2000, 4)) + 200 * np.arange(4)
    x = sp.csr_array((np.ones(codes.size, np.float32), codes.reshape(-1), np.arange(0, codes.size + 1, 4)), (2000, 800))
    y = (rng.random(2000) < expit(x @ (3 * rng.normal(size=800)))).astype(float)
    machine = variational._Machine(x, y, np.ones(2000), np.zeros(800, bool), 8, True, True, True, 0)
    machine.begin()
    machine.learn(10**6, lambda: False, None, lambda steps, make: None)
    assert not machine.found
    assert machine.sweeps <= 24


def test_fewer_factors_than_there_are_come_near_the_best_of_as_many():
    """Of a matrix that is known, by its singular values. Each factor by itself stopped a third above that."""
    mine, best = [], []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        whole = rng.normal(size=(80, 6)) @ rng.normal(size=(6, 60)) / np.sqrt(6)
        first, second = np.divmod(rng.permutation(whole.size), 60)
        x, y, known = cells(first, 80 + second, 140), whole[first, second], slice(2800)
        model = fitted(x[known], (y[known] + 0.1 * rng.normal(size=2800)).astype(np.float32), num_factors=4)
        left, sizes, right = np.linalg.svd(whole)
        nearest = ((left[:, :4] * sizes[:4]) @ right[:4])[first, second]
        mine.append(np.mean((model.scores(Batch(x[2800:])) - y[2800:]) ** 2))
        best.append(np.mean((nearest[2800:] - y[2800:]) ** 2))
    assert np.mean(mine) < 1.1 * np.mean(best)


def test_factors_of_noisy_ratings_are_as_large_as_new_rows_say():
    """Of popular users and items, with a deviation of 2 around scores of 1: by a prior that was set to what numbers
    showed while they grew, factors were half as large again, or none were better than a linear model."""
    losses, slopes = [], []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        popular = [(1 + np.arange(count)) ** -0.6 for count in (100, 300)]
        drawn = [rng.choice(len(share), 24000, p=share / share.sum()) for share in popular]
        first, second = np.divmod(rng.permutation(np.unique(drawn[0] * 300 + drawn[1]))[:11000], 300)
        x = cells(first, 100 + second, 400)
        y = np.einsum("nr,nr->n", rng.normal(size=(100, 6))[first], rng.normal(size=(300, 6))[second]) / np.sqrt(6)
        model = fitted(x[:8000], (y + 2 * rng.normal(size=len(y))).astype(np.float32)[:8000])
        asked, truth = x[8000:], y[8000:]
        scores, linear = model.scores(Batch(asked)), model.bias + asked @ model.linear
        pairs = scores - linear
        losses.append(np.mean((scores - truth) ** 2) / np.mean(truth**2))
        slopes.append(pairs @ (truth - linear) / (pairs @ pairs))
    assert np.mean(losses) < 0.93
    assert np.mean(slopes) > 0.8


def test_rows_of_many_pairs_have_as_many_factors_as_do_best():
    """Of digits' pixels, which go together: the two of four factors that were nearest, had pixels come independently
    of each other, were further off than two that were learned alone."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    x, y = x[order].astype(np.float32), y[order].astype(np.float32)
    model = fitted(x[:1200], y[:1200], num_factors=2)
    assert np.mean((model.scores(Batch(x[1200:])) - y[1200:]) ** 2) < 0.28 * y.var()


def test_products_of_all_columns_are_learned_by_fewer_factors():
    """105 products of 15 columns, which the 92 numbers that eight factors are free in come near to."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 15)).astype(np.float32)
    y = np.einsum("ni,ij,nj->n", x, np.triu(rng.normal(size=(15, 15)), 1), x)
    model = fitted(x[:1500], (y + 0.5 * rng.normal(size=3000)).astype(np.float32)[:1500], num_factors=8)
    assert np.mean((model.scores(Batch(x[1500:])) - y[1500:]) ** 2) < 0.08 * y.var()


def test_two_of_forty_columns_with_interactions_are_found():
    """All factors were drawn to 0 by the numbers of the other columns, little by little."""
    losses = []
    for seed in (2, 4):
        rng = np.random.default_rng(seed)
        values = rng.integers(6, size=(3000, 40))
        x = sp.csr_array(np.eye(6, dtype=np.float32)[values].reshape(3000, 240))
        pairs = rng.normal(size=(6, 6))[values[:, 0], values[:, 1]]
        y = x @ (rng.normal(size=240) / np.sqrt(40)) + pairs
        model = fitted(x[:1600], (y + 0.5 * rng.normal(size=3000)).astype(np.float32)[:1600])
        linear = Ridge(10).fit(x[:1600], y[:1600]).predict(x[1600:])
        losses.append(np.mean((model.scores(Batch(x[1600:])) - y[1600:]) ** 2) / np.mean((linear - y[1600:]) ** 2))
    assert max(losses) < 0.8, losses


def test_rows_are_pairs_of_two_kinds_of_features():
    first, second = np.array([0, 1, 1, 2]), np.array([3, 3, 4, 5])
    assert variational._are_pairs(cells(first, second, 6))
    assert variational._are_pairs(sp.csr_array(np.eye(3)))
    assert not variational._are_pairs(cells(first, np.array([3, 2, 4, 5]), 6))
    assert not variational._are_pairs(sp.csr_array(np.ones((1, 3))))


def test_a_new_factors_prior_is_told_by_what_rows_say():
    """Of n users and n items that all have met, with labels of precision p, the others' variances v give each number a
    precision of p n v beside the prior's; both are 1 / v, of which the prior has its share."""
    count = 30
    first, second = np.divmod(np.arange(count * count), count)
    labels = np.random.default_rng(0).normal(size=count * count)
    machine = variational._Machine(
        cells(first, count + second, 2 * count),
        labels,
        np.ones(count**2),
        np.zeros(2 * count, bool),
        1,
        *[False] * 3,
        0,
    )
    machine.begin()
    share = variational.SHARE
    expected = share * np.sqrt(machine.precision[0] * count / (1 - share))
    assert machine.start_prior == pytest.approx(expected, rel=0.01)


def test_rows_without_a_pair_tell_nothing_of_a_factor():
    column = np.random.default_rng(0).integers(5, size=300)
    x = sp.csr_array((np.linspace(0.1, 3, 300, dtype=np.float32), column.astype(np.int32), np.arange(301)), (300, 5))
    found = learned(x, x.toarray() @ [1.0, 0.5, 0, -0.5, 0.1])
    np.testing.assert_allclose(found["linear"], [1, 0.5, 0, -0.5, 0.1], atol=0.02)
    assert not found["factors"].any()


def test_a_fit_is_of_what_json_holds():
    (x, y), _ = matrix(rank=3)
    fits = []
    learned(x, y / y.std(), offer=lambda steps, make: fits.append(make()))
    assert fits[-1].numbers["is_settled"]
    assert all(json.loads(json.dumps(fit.numbers)) == fit.numbers for fit in fits)


def test_noise_is_given_no_interactions():
    (x, y), _ = matrix(rank=2)
    assert not fitted(x, np.random.default_rng(0).normal(size=len(y)).astype(np.float32)).factors.any()


def test_weights_without_interactions_are_those_of_bayesian_ridge():
    """Empirical Bayes of a linear model of few orthogonal columns, by scikit-learn."""
    rng = np.random.default_rng(0)
    x = np.linalg.qr(rng.normal(size=(200, 5)))[0] * np.sqrt(200)
    x -= x.mean(axis=0)
    y = x @ [1.0, 0.5, 0, -0.5, 0.1] + rng.normal(size=200)
    found = learned(x.astype(np.float32), y, factors=1)
    peer = BayesianRidge().fit(x, y)
    np.testing.assert_allclose(found["linear"], peer.coef_, atol=5e-3)
    np.testing.assert_allclose(found["bias"], peer.intercept_, atol=5e-3)


@pytest.mark.parametrize("given", [{}, BY_STEPS])
def test_rows_are_not_held_out_by_the_numbers_that_made_their_labels(given):
    """The job's seed is 0, and people make data by ``default_rng(0)``: whole groups were held out, of which then no
    word was known."""
    rng = np.random.default_rng(0)
    group = rng.integers(20, size=(6000, 1))
    words = np.where(rng.random((6000, 10)) < 0.3, group * 20, 0) + rng.integers(20, size=(6000, 10))
    x = sp.csr_array((np.ones(words.size, np.float32), words.ravel(), np.arange(0, words.size + 1, 10)), (6000, 400))
    y = (group[:, 0] < 10).astype(np.float32)
    x.sum_duplicates()
    model = fitted(x[:5000], y[:5000], predictor_type="binary_classifier", **given)
    peer = LogisticRegression(max_iter=500).fit(x[:5000], y[:5000])
    ours = log_loss(y[5000:], expit(model.scores(Batch(x[5000:])).astype(float)))
    assert ours <= 1.1 * log_loss(y[5000:], peer.predict_proba(x[5000:])[:, 1])


@pytest.mark.parametrize("nonzeros", [2, 4])
def test_a_sweep_sets_a_number_to_that_of_least_squares(nonzeros):
    """The first, of which the others' means are known and have no variance."""
    rng = np.random.default_rng(0)
    x = sp.csr_array(rng.normal(size=(30, 6)) * (rng.random((30, 6)) < nonzeros / 6), dtype=np.float32)
    dense, y = x.toarray().astype(float), rng.normal(size=30)
    mean, variance = rng.normal(size=6), np.zeros(6)
    before = mean.copy()

    def scores(v):
        return 0.5 * ((dense @ v) ** 2 - dense**2 @ v**2)

    columns = sp.csc_array(x)
    cells = columns.data, columns.indices.astype(np.int32), columns.indptr.astype(np.int64)
    residual, spread = y - scores(mean), np.zeros(30)
    steps._kernel.sweep_factor(*cells, np.full(30, 2.0), residual, mean, variance, 3.0, 6.0, 0.01, 1, True, spread)
    slope = dense[:, 0] * (dense[:, 1:] @ before[1:])
    rest = y - scores(np.concatenate([[0.0], before[1:]]))
    np.testing.assert_allclose(mean[0], 2 * slope @ rest / (3 + 2 * slope @ slope), rtol=1e-5)
    np.testing.assert_allclose(residual, y - scores(mean), atol=1e-5)


def test_sweeps_of_many_rows_ask_for_them_ahead_and_end_in_the_same_numbers():
    """The loops are compiled twice, for many rows and for few. Rows that are all there twice, at half of the precision,
    say the same as they do once."""
    rng = np.random.default_rng(0)
    rows, width = 1 << 15, 10
    places, labels = rng.integers(width, size=(rows, 2)) + [0, width], rng.normal(size=rows)
    start = rng.normal(size=2 * width)

    def swept(times):
        count = times * rows
        ends = np.arange(0, 2 * count + 1, 2)
        x = sp.csr_array((np.ones(2 * count, np.float32), np.tile(places.ravel(), times), ends), (count, 2 * width))
        columns = sp.csc_array(x)
        cells = columns.data, columns.indices.astype(np.int32), columns.indptr.astype(np.int64)
        mean, variance = start.copy(), np.full(2 * width, 0.3)
        residual, spread, precision = np.tile(labels, times), np.zeros(count), np.full(count, 1 / times)
        steps._kernel.sweep_factor(*cells, precision, residual, mean, variance, 1.0, 4.0, 0.01, 3, True, spread)
        return mean, variance, residual[:rows], spread[:rows]

    for few, many in zip(swept(1), swept(2), strict=True):
        np.testing.assert_allclose(many, few, rtol=1e-4, atol=1e-6)


def test_the_variance_of_scores_is_that_of_draws():
    rng = np.random.default_rng(0)
    x = sp.csr_array(rng.normal(size=(5, 4)), dtype=np.float32)
    columns = sp.csc_array(x)
    cells = columns.data, columns.indices.astype(np.int32), columns.indptr.astype(np.int64)
    mean, variance, spread = rng.normal(size=4), np.full(4, 0.3), np.zeros(5)
    steps._kernel.sweep_factor(*cells, np.ones(5), rng.normal(size=5), mean, variance, 1.0, 4.0, 0.01, 1, True, spread)
    draws = mean + np.sqrt(variance) * rng.normal(size=(200_000, 4))
    dense = x.toarray().astype(float)
    pairs = 0.5 * ((draws @ dense.T) ** 2 - draws**2 @ (dense**2).T)
    np.testing.assert_allclose(spread, pairs.var(axis=0), rtol=0.03)


def test_a_classifier_finds_interactions_and_is_none_the_worse_where_there_are_none():
    rng = np.random.default_rng(1)
    (x, y), (asked, truth) = matrix(rank=2)
    known, labels = ((rng.random(len(one)) < 1 / (1 + np.exp(-3 * one))).astype(np.float32) for one in (y, truth))
    model = fitted(x, known, predictor_type="binary_classifier")
    assert log_loss(labels, model.predict(Batch(asked))["score"]) < 0.55  # 0.693 to a linear model


@pytest.mark.parametrize(("rank", "share", "seed"), [(2, 0.25, 0), (3, 0.35, 2)])
def test_factors_of_classes_grow_where_rows_tell_little(rank, share, seed):
    """A prior that is set to a factor while that is small draws it to 0: of these it left one or two."""
    rng = np.random.default_rng(seed)
    (x, y), (asked, truth) = matrix(rank=rank, seed=seed, height=80, width=60, share=share)
    known, labels = ((rng.random(len(one)) < 1 / (1 + np.exp(-3 * one))).astype(np.float32) for one in (y, truth))
    model = fitted(x, known, predictor_type="binary_classifier")
    assert log_loss(labels, model.predict(Batch(asked))["score"]) < 0.54  # 0.56 so


def test_small_dense_data_are_learned_as_by_a_linear_model():
    ratios = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        for features, labels, count in (
            (*load_diabetes(return_X_y=True), 40),
            (*load_breast_cancer(return_X_y=True), 60),
        ):
            order = rng.permutation(len(labels))
            x, y = features[order].astype(np.float32), labels[order].astype(np.float32)
            classes = len(np.unique(labels)) == 2
            given = {"predictor_type": "binary_classifier"} if classes else {}
            found = fitted(x[:count], y[:count], **given).predict(Batch(x[count:]))["score"]
            penalised = LogisticRegression() if classes else RidgeCV(np.logspace(-3, 3, 13))
            peer = make_pipeline(StandardScaler(), penalised).fit(x[:count].astype(float), y[:count])
            if classes:
                theirs = peer.predict_proba(x[count:])[:, 1]
                ratios.append(log_loss(y[count:], found) / log_loss(y[count:], theirs))
            else:
                ratios.append(error_of(found, y[count:]) / error_of(peer.predict(x[count:]), y[count:]))
    assert np.mean(ratios) <= 1.1


def test_hosts_to_which_rows_were_dealt_find_the_model_of_one_host():
    known, _ = matrix(rank=2)
    alone = fitted(*known)

    def fit(hosts):
        mine = slice(hosts.rank, None, hosts.size)
        return fitted(known[0][mine], known[1][mine], FakeJob(hosts=hosts))

    for model in on_hosts(2, fit):
        np.testing.assert_allclose(model.factors, alone.factors, atol=1e-4)
        np.testing.assert_allclose(model.linear, alone.linear, atol=1e-4)


def test_a_stop_leaves_what_was_found():
    known, asked = matrix(rank=3)
    found = []
    for readings in (5, 60, 10**6):
        job = FakeJob(stop_after=readings)
        found.append(error(fitted(*known, job), *asked))
    assert all(np.isfinite(found))
    assert found[0] < 1.2
    assert found[2] < 0.1


@pytest.mark.parametrize("given", [{"factors_wd": 1e-5}, {"linear_lr": 0.001}, {"factors_init_sigma": 0.01}])
def test_what_is_given_of_steps_is_kept_to(given, monkeypatch):
    def none(*_):
        raise AssertionError("steps are to be taken")

    monkeypatch.setattr(selection, "run", none)
    monkeypatch.setattr(schedule, "SMALL_STEPS", 300)
    rng = np.random.default_rng(0)
    fitted(cells(*rng.integers(0, 5, (2, 50)) + [[0], [5]], 10), rng.normal(size=50).astype(np.float32), **given)


class _Last(NoCheckpoints):
    """Keeps the last point of the choice: that which is written at a stop."""

    found = None

    def offer(self, make, **_):
        if selection.is_of(point := make()):
            self.found = copy.deepcopy(point)


def test_a_job_that_was_stopped_in_its_choice_ends_as_one_that_was_not():
    known, _ = matrix(rank=3)
    expected = fitted(*known)
    kept = _Last()
    stopped = fitted(*known, FakeJob(checkpoints=kept, stop_after=60))
    assert np.abs(stopped.factors - expected.factors).max() > 0.01
    assert kept.found is not None
    model = fitted(*known, FakeJob(checkpoints=_Kept(-1, kept.found)))
    np.testing.assert_array_equal(model.factors, expected.factors)
    np.testing.assert_array_equal(model.linear, expected.linear)


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.7, 1.0])
def test_a_choice_that_was_killed_goes_on_to_the_same_model(share, binary):
    (x, y), _ = matrix(rank=3)
    y = (y > 0).astype(np.float32) if binary else y
    kind = {"predictor_type": "binary_classifier"} if binary else {}
    counted = _Kept(-1)
    expected = fitted(x, y, FakeJob(checkpoints=counted), **kind)
    points = -1 - counted.left
    assert points > 12  # not only of the pass that scores the model
    kept = _Kept(max(int(share * points), 1))
    with pytest.raises(EndedError):
        fitted(x, y, FakeJob(checkpoints=kept), **kind)
    job = FakeJob(checkpoints=_Kept(-1, kept.found))
    for name in ("bias", "linear", "factors"):
        np.testing.assert_array_equal(getattr(expected, name), getattr(fitted(x, y, job, **kind), name))


class _Every(NoCheckpoints):
    """Keeps every point that was offered."""

    def __init__(self):
        self.found = []

    def offer(self, make, **_):
        self.found.append(copy.deepcopy(make()))


def on_two(known, jobs):
    """The models of two hosts to which the rows were dealt."""

    def fit(hosts):
        mine = slice(hosts.rank, None, 2)
        jobs[hosts.rank].hosts = hosts
        return fitted(known[0][mine], known[1][mine], jobs[hosts.rank])

    return on_hosts(2, fit)


def assert_equal(found, expected):
    for name in ("bias", "linear", "factors"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_hosts_go_on_from_a_checkpoint_of_all_of_them_to_the_same_model():
    known, _ = matrix(rank=3)
    kept = [_Every(), _Every()]
    expected = on_two(known, [FakeJob(checkpoints=one) for one in kept])[0]
    assert [point.position for point in kept[0].found] == [point.position for point in kept[1].found]
    count = len(kept[0].found)
    assert count > 12
    for at in (0, count // 3, count - 2):
        jobs = [FakeJob(checkpoints=_Kept(-1, one.found[at])) for one in kept]
        for model in on_two(known, jobs):
            assert_equal(model, expected)
        assert all(-1 - job.checkpoints.left < count - at + 1 for job in jobs)  # what was learned is not learned again


@pytest.mark.parametrize("rank", [0, 1])
def test_a_stop_that_one_host_hears_stops_the_choice_of_all(rank, monkeypatch):
    monkeypatch.setattr(selection, "_SILENT", 0.0)
    known, _ = matrix(rank=3)
    expected = on_two(known, [FakeJob(), FakeJob()])[0]
    jobs = [FakeJob(checkpoints=_Last(), stop_after=60 if rank == place else None) for place in range(2)]
    stopped = on_two(known, jobs)[0]
    assert np.abs(stopped.factors - expected.factors).max() > 0.01
    again = [FakeJob(checkpoints=_Kept(-1, job.checkpoints.found)) for job in jobs]
    assert_equal(on_two(known, again)[0], expected)


@pytest.mark.parametrize(("spread", "given"), [(0, {}), (2e6, {}), (2e8, {}), (2e6, {"factors_lr": "0.003"})])
def test_a_time_beside_a_user_and_an_item_hides_no_interactions(spread, given):
    """Seconds since 1970: of one value, of three weeks and of six years; by sweeps, and by steps."""
    (x, y), (asked, truth) = matrix(rank=2)
    share = np.random.default_rng(0).random((x.shape[0] + asked.shape[0], 1))
    times = sp.csr_array((1.2e9 + spread * share).astype(np.float32))
    effect = share[:, 0] if spread else np.zeros(len(share))
    known, other = (sp.csr_array(sp.hstack(pair)) for pair in ((x, times[: len(y)]), (asked, times[len(y) :])))
    model = fitted(known, (y + effect[: len(y)]).astype(np.float32), **given)
    found = error(model, other, (truth + effect[len(y) :]).astype(np.float32))
    assert found < 0.3  # of a deviation of 1, which is noise to a linear model


def test_columns_that_no_row_has_cost_nothing():
    known, asked = matrix(rank=2)
    far = [
        sp.csr_array((one.data, one.indices * 5_000, one.indptr), (one.shape[0], 500_000))
        for one in (known[0], asked[0])
    ]
    model = fitted(far[0], known[1], num_factors=3)
    assert error(model, far[1], asked[1]) == pytest.approx(error(fitted(*known, num_factors=3), *asked), rel=0.05)


@pytest.mark.parametrize("kind", ["regressor", "binary_classifier"])
def test_four_rows_are_learned_about_as_by_a_constant(kind):
    mine, constant = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(504, 3)).astype(np.float32), rng.normal(size=504).astype(np.float32)
        y = (y > 0).astype(np.float32) if kind == "binary_classifier" else y
        y[:2] = 0, 1
        found = fitted(x[:4], y[:4], predictor_type=kind).predict(Batch(x[4:]))["score"]
        if kind == "regressor":
            mine.append(np.mean((found - y[4:]) ** 2))
            constant.append(np.mean((y[:4].mean() - y[4:]) ** 2))
        else:
            mine.append(log_loss(y[4:], found))
            constant.append(log_loss(y[4:], np.full(500, y[:4].mean())))
    assert np.median(mine) < 1.3 * np.median(constant)


@pytest.mark.parametrize("stored", [np.asarray, sp.csr_array], ids=["dense", "sparse"])
def test_copies_of_rows_do_not_pass_for_rows_that_no_model_knows(stored):
    """50 rows that were copied 20 times, and positives that were copied 20 times."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5000, 20)).astype(np.float32)
    score = 1.2 * x[:, :3].sum(axis=1)
    for rows, shift, more in ((50, 0, 20), (1000, 4, 1)):
        y = (rng.random(5000) < 1 / (1 + np.exp(shift - score))).astype(np.float32)
        copied = np.concatenate([np.tile(np.arange(rows), more), *[np.flatnonzero(y[:rows])] * (20 - more)])
        model = fitted(stored(x[copied]), y[copied], predictor_type="binary_classifier")
        loss = partial(log_loss, y[rows:], sample_weight=np.where(y[rows:] > 0, 21 - more, 1))
        peers = [LogisticRegression(C=c).fit(x[copied], y[copied]) for c in (0.001, 0.01, 0.1)]
        ours = model.predict(Batch(stored(x[rows:])))["score"].astype(float)
        assert loss(ours) <= 1.15 * min(loss(peer.predict_proba(x[rows:])) for peer in peers)


@pytest.mark.parametrize("stored", [np.asarray, sp.csr_array], ids=["dense", "sparse"])
def test_a_table_that_was_repeated_tells_no_more_than_it(stored):
    """10 rows 100 times: the loss was 0.98, where that of a constant is 0.74."""
    losses = []
    for seed in range(500, 512):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(1010, 5)).astype(np.float32)
        y = (rng.random(1010) < expit(1.5 * x[:, :3].sum(axis=1))).astype(np.float32)
        y[:2] = 0, 1
        known, asked = np.repeat(np.arange(10), 100), slice(10, None)
        model = fitted(stored(x[known]), y[known], predictor_type="binary_classifier", num_factors=4)
        peer = LogisticRegression().fit(x[:10], y[:10]).predict_proba(x[asked])[:, 1]
        found = model.predict(Batch(stored(x[asked])))["score"].astype(float)
        losses.append([log_loss(y[asked], one) for one in (found, peer, np.full(1000, y[:10].mean()))])
    mine, theirs, constant = np.mean(losses, axis=0)
    assert mine <= 1.05 * min(theirs, constant)


@pytest.mark.parametrize("stored", [np.asarray, sp.csr_array], ids=["dense", "sparse"])
@pytest.mark.parametrize("anew", [False, True])
def test_many_copies_of_a_few_positives_say_no_more_than_these(stored, anew):
    """Scaled by all copies, columns in which positives happen to agree would tell those that are held out, too; and by
    chance all positives may be in folds that are not."""
    rng = np.random.default_rng(1)
    for positives in (3, 5):
        x, times = rng.normal(size=(300 + positives + 4000, 60)).astype(np.float32), 100
        y = np.arange(len(x)) < positives
        y[300 + positives :] = rng.random(4000) < 0.05
        more = rng.choice(positives, (times - 1) * positives) if anew else np.repeat(np.arange(positives), times - 1)
        known = np.concatenate([np.arange(300 + positives), more])
        model = fitted(stored(x[known]), y[known].astype(np.float32), predictor_type="binary_classifier")
        asked, weights = y[300 + positives :], np.where(y[300 + positives :], times, 1)
        ours = model.predict(Batch(stored(x[300 + positives :])))["score"].astype(float)
        constant = log_loss(asked, np.full(4000, y[known].mean()), sample_weight=weights)
        assert log_loss(asked, ours, sample_weight=weights) <= 1.1 * constant


@pytest.mark.parametrize("rows", [2, 3])
def test_two_or_three_rows_are_learned_as_by_a_linear_model(rows):
    """Their deviations are chance: columns in which two rows nearly agree had weights of hundreds."""
    errors, losses = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(rows + 500, 3)).astype(np.float32)
        y = (x.sum(axis=1) + 0.3 * rng.normal(size=len(x))).astype(np.float32)
        ridge = Ridge().fit(x[:rows], y[:rows])
        errors.append([error_of(p, y[rows:]) ** 2 for p in (_scores(x, y, rows), ridge.predict(x[rows:]))])
        kinds = (rng.random(len(x)) < 1 / (1 + np.exp(-2 * y))).astype(np.float32)
        kinds[:2] = 0, 1
        peer = LogisticRegression().fit(x[:rows], kinds[:rows])
        ours = _scores(x, kinds, rows, predictor_type="binary_classifier")
        losses.append([log_loss(kinds[rows:], p) for p in (ours, peer.predict_proba(x[rows:])[:, 1])])
    for found in (errors, losses):
        mine, theirs = np.mean(found, axis=0)
        assert mine <= 1.3 * theirs


def test_a_column_in_which_two_rows_nearly_agree_is_given_no_large_weight():
    rng = np.random.default_rng(0)
    x = np.concatenate([[[0, 0, 0], [1e-4, 1, 1]], rng.normal(size=(500, 3))]).astype(np.float32)
    y = x.sum(axis=1)
    theirs = error_of(Ridge().fit(x[:2], y[:2]).predict(x[2:]), y[2:])
    assert error_of(_scores(x, y, 2), y[2:]) <= 1.1 * theirs


def _scores(x, y, rows, **given) -> np.ndarray:
    return fitted(x[:rows], y[:rows], **given).predict(Batch(x[rows:]))["score"].astype(float)


def test_losses_and_slopes_of_the_linear_model_keep_their_digits_far_out():
    """A slope of 1e-48 led a bias that nothing holds further on than one of 0, and to another choice of model."""
    scores = np.array([-800.0, -110.0, -37.0, -1.0, 0.0, 2.0, 40.0, 800.0])
    for label in (0.0, 1.0):
        losses, slopes = linear._logistic(scores, np.full(len(scores), label))
        np.testing.assert_allclose(losses, np.logaddexp(0, scores) - label * scores, rtol=1e-13, atol=1e-16)
        np.testing.assert_allclose(slopes, expit(scores) - label, rtol=1e-13, atol=1e-300)
