"""The factors' rate where a job gives none: as large as held-out rows ask for."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import Ridge, RidgeCV

from algorithms import hyperparameters
from algorithms.checkpoints import NoCheckpoints
from algorithms.common.hosts import ONE_HOST
from algorithms.errors import TrainingStopped
from algorithms.factorization_machines import FactorizationMachines, linear, rows, schedule
from algorithms.factorization_machines.rows import Rows, of_channel, parted
from algorithms.factorization_machines.schedule import Schedule
from algorithms.factorization_machines.search import DECAYS, GROUPS, NONE, TIMES, Search, folds
from algorithms.factorization_machines.steps import State
from recordio.batches import Batch
from tests.algorithms.fakes import FakeJob, MemoryStream, on_hosts


def cells(first, second, width):
    """Two ones a row."""
    columns = np.column_stack([first, second]).astype(np.int32)
    starts = np.arange(0, columns.size + 1, 2, dtype=np.int32)
    return sp.csr_array((np.ones(columns.size, np.float32), columns.ravel(), starts), shape=(len(columns), width))


def matrix(rank, seed=0, height=60, width=40, share=0.5):
    """The known cells of a matrix without noise, and the others: (rows, labels) of each."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(height, rank)) @ rng.normal(size=(rank, width)) / np.sqrt(rank)
    known = rng.random(values.shape) < share
    parts = []
    for mask in (known, ~known):
        first, second = rng.permutation(np.argwhere(mask)).T
        parts.append((cells(first, height + second, height + width), values[first, second].astype(np.float32)))
    return parts


def fitted(x, y, job=None, **given):
    values = {"feature_dim": x.shape[1], "num_factors": 8, "predictor_type": "regressor", **given}
    hp = hyperparameters.parse(
        FactorizationMachines.hyperparameters, {name: str(value) for name, value in values.items()}
    )
    return FactorizationMachines.fit(hp, {"train": MemoryStream(x, y)}, job or FakeJob())


BY_STEPS = {"eps": 1e-8}
"""Its own default: a job that is told of its steps takes them, after trials."""


def error(model, x, y):
    return error_of(model.predict(Batch(x))["score"], y)


def error_of(found, y):
    return np.sqrt(np.mean((found - y) ** 2))


def test_a_matrix_of_low_rank_is_filled_in():
    known, asked = matrix(rank=3)
    job = FakeJob()
    assert error(fitted(*known, job, **BY_STEPS), *asked) < 0.1  # of a deviation of 1, which is noise to a linear model
    assert ["rows took factors_lr=0.00" in line for line in job.messages].count(True) == 1


@pytest.mark.parametrize("given", [BY_STEPS, {}])
def test_labels_without_interactions_are_given_none(given):
    rng = np.random.default_rng(3)
    pairs, effects = rng.integers(0, 40, (2600, 2)) + [0, 40], rng.normal(size=80)
    y = (effects[pairs].sum(axis=1) + rng.normal(size=2600)).astype(np.float32)
    x = cells(*pairs.T, 80)
    linear = Ridge(1.0).fit(x[:1600], y[:1600]).predict(x[1600:])
    job = FakeJob()
    model = fitted(x[:1600], y[:1600], job, **given)
    found = error(model, x[1600:], y[1600:])
    assert found <= 1.02 * np.sqrt(np.mean((linear - y[1600:]) ** 2))
    assert np.abs(model.factors).max() < 0.01  # where they started, at 0.001 of deviation
    said = [line for line in job.messages if "rows took factors_lr=0" in line and "took factors_lr=0." not in line]
    assert bool(said) == bool(given)  # without steps there is no rate


def test_a_stop_at_the_start_of_a_later_trial_or_of_the_job_leaves_the_best_whole_trial(monkeypatch):
    monkeypatch.setattr(schedule, "SMALL_STEPS", 3000)
    monkeypatch.setattr(schedule, "PASSES", 100)
    rng = np.random.default_rng(3)
    x = rng.normal(size=(600, 5)).astype(np.float32)
    y = (x @ rng.normal(size=5) + rng.normal(size=600)).astype(np.float32)
    linear = error_of(Ridge(1.0).fit(x[:400], y[:400]).predict(x[400:]), y[400:])
    restart = State.restart

    def stopped_at(start):
        job, starts = FakeJob(), []

        def restarted(state):
            starts.append(state)
            if len(starts) == start:
                job.stop_after = job.stop_readings
            restart(state)

        monkeypatch.setattr(State, "restart", restarted)
        return error(fitted(x[:400], y[:400], job, **BY_STEPS), x[400:], y[400:]), job.warnings, len(starts)

    *_, count = stopped_at(-1)  # all trials, and the job itself
    for start in (2, count):
        found, warnings, _ = stopped_at(start)
        assert found <= 1.05 * linear
        assert any("of a short trial" in line for line in warnings)
    with pytest.raises(TrainingStopped):
        stopped_at(1)


@pytest.mark.parametrize(("value", "given"), [(1, BY_STEPS), (6, BY_STEPS), (6, {})])
def test_copies_of_one_row_which_are_in_one_fold_are_learned(value, given, monkeypatch):
    monkeypatch.setattr(schedule, "SMALL_STEPS", 3000)
    x, y = np.full((40, 3), value, np.float32), np.arange(40, dtype=np.float32) % 3
    found = fitted(x, y, **given).predict(Batch(x[:1]))["score"]
    np.testing.assert_allclose(found, y.mean(), atol=0.1)  # all that there is to learn


def test_dense_columns_beside_users_and_items_hide_no_interactions():
    """Factors of theirs are learned first, and make a machine at a low rate worse than a linear model."""
    rng = np.random.default_rng(1)
    pairs, tastes = rng.integers(0, 30, (3000, 2)) + [0, 30], 0.7 * rng.normal(size=(60, 3))
    labels = np.einsum("nk,nk->n", tastes[pairs[:, 0]], tastes[pairs[:, 1]]) + 0.3 * rng.normal(size=3000)
    y = labels.astype(np.float32)
    x = sp.csr_array(sp.hstack([cells(*pairs.T, 60), rng.normal(size=(3000, 5)).astype(np.float32)]))
    linear = Ridge(1.0).fit(x[:1000], y[:1000]).predict(x[1000:])
    assert error(fitted(x[:1000], y[:1000], **BY_STEPS), x[1000:], y[1000:]) < 0.6 * error_of(linear, y[1000:])


def test_a_rate_that_is_given_is_kept_to():
    known, _ = matrix(rank=3)
    job = FakeJob()
    model = fitted(*known, job, factors_lr=0.0001)
    assert not any("took factors_lr" in line for line in job.messages)
    assert np.abs(model.factors).max() < 1  # it cannot move further


@pytest.mark.parametrize("keep", [0, 1 << 25])
def test_several_hosts_come_to_the_same_rate_and_fill_in_the_matrix(keep, monkeypatch):
    monkeypatch.setattr(rows, "LEAST_MEMORY", keep)
    monkeypatch.setattr(schedule, "PASSES", 30)
    monkeypatch.setattr(schedule, "SMALL_STEPS", 300)
    known, asked = matrix(rank=3)

    def fit(hosts):
        mine = slice(hosts.rank, None, hosts.size)
        job = FakeJob(hosts=hosts)
        return fitted(known[0][mine], known[1][mine], job, **BY_STEPS), job

    found = on_hosts(2, fit)
    assert error(found[0][0], *asked) < 0.3
    np.testing.assert_array_equal(found[0][0].factors, found[1][0].factors)
    assert found[0][1].messages[-1] == found[1][1].messages[-1]


class EndedError(Exception):
    pass


class _Kept(NoCheckpoints):
    """Ends the job at its n-th point, with a checkpoint of it."""

    def __init__(self, last, found=None):
        self.left, self.found = last, found

    def latest(self, **_):
        return self.found

    def offer(self, make, **_):
        self.left -= 1
        if self.left == 0:
            self.found = copy.deepcopy(make())
            raise EndedError


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.99])
def test_a_job_that_was_interrupted_among_its_trials_ends_as_one_that_was_not(share, monkeypatch):
    monkeypatch.setattr(schedule, "SMALL_STEPS", 300)
    monkeypatch.setattr(schedule, "PASSES", 30)
    known, _ = matrix(rank=2, height=30, width=20)
    counted = _Kept(-1)
    expected = fitted(*known, FakeJob(checkpoints=counted), **BY_STEPS)
    points = -1 - counted.left
    kept = _Kept(max(int(share * points), 1))
    with pytest.raises(EndedError):
        fitted(*known, FakeJob(checkpoints=kept), **BY_STEPS)
    model = fitted(*known, FakeJob(checkpoints=_Kept(-1, kept.found)), **BY_STEPS)
    np.testing.assert_array_equal(model.factors, expected.factors)
    np.testing.assert_array_equal(model.linear, expected.linear)


def test_copies_of_a_dense_row_are_held_out_together():
    x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    copies = Rows(lambda: iter([Batch(np.tile(x, (20, 1)))]), 1 << 20)
    sizes = []
    for fold in range(5):
        known, held_out = (
            {tuple(row) for batch in part.batches() for row in batch.features}
            for part in parted(copies, fold, 5, 0, ONE_HOST)
        )
        assert not known & held_out
        sizes.append(len(held_out))
    assert sum(sizes) == 40
    assert max(sizes) < 20


@pytest.mark.parametrize(
    ("losses", "tried", "best"),
    [
        ({0: 9, 1: 5, 3: 4, 10: 3, 30: 2}, [*TIMES], 30),
        ({0: 9, 1: 5, 3: 4, 10: 4.5, 30: 2}, [0, 1, 3, 10], 3),
        ({0: 4, 1: 5, 3: 4.5}, [0, 1, 3], NONE),
        ({0: 4, 1: 5, 3: 3, 10: 2, 30: 2.5}, [*TIMES], 10),
        ({0: 6, 1: 5, 3: 1e30}, [0, 1, 3], 1),
    ],
)
def test_rates_are_tried_upwards_as_long_as_they_are_better(losses, tried, best):
    search = Search(folds=2, schedule=Schedule(300, 32))
    more = True
    while more:
        search.take(np.full(GROUPS, losses[search.setting[0]]) + np.arange(GROUPS) % 2)
        more = search.more()
    assert list(search.losses) == [(times, 1) for times in tried]
    assert search.best() == (best, 1)


@pytest.mark.parametrize(
    ("by_decay", "tried", "best"),
    [((5, 4, 3), [1, 10, 100], 100), ((5, 4, 4.5), [1, 10, 100], 10), ((5, 6, 1), [1, 10], 1)],
)
def test_decays_are_tried_at_the_best_rate_as_long_as_they_are_better(by_decay, tried, best):
    search = Search(folds=1, schedule=Schedule(300, 32), decays=True)
    more = True
    while more:
        times, decay = search.setting
        search.take(np.full(GROUPS, {0: 9.0, 1: 5.0, 3: 7.0}[times] + by_decay[DECAYS.index(decay)]))
        more = search.more()
        search = Search.from_json(json.loads(json.dumps(search.to_json())))
    assert list(search.losses) == [(0, 1), (1, 1), (3, 1), *((1, decay) for decay in tried[1:])]
    assert search.best() == (1, best)


def test_a_gain_within_its_standard_error_is_no_reason_to_change_the_rate():
    search = Search(folds=1, schedule=Schedule(300, 32))
    rng = np.random.default_rng(0)
    noise = rng.normal(size=GROUPS)
    noise = (noise - noise.mean()) / noise.std()

    def best(gain, first, second):
        search.losses = {first: np.ones(GROUPS).tolist(), second: (1 - gain + noise).tolist()}
        return search.best()

    assert best(0.9 / 8, (1.0, 1.0), (3.0, 1.0)) == (1.0, 1.0)
    assert best(1.1 / 8, (1.0, 1.0), (3.0, 1.0)) == (3.0, 1.0)
    assert best(1.9 / 8, (NONE, 1.0), (1.0, 1.0)) == (NONE, 1.0)
    assert best(2.1 / 8, (NONE, 1.0), (1.0, 1.0)) == (1.0, 1.0)


@pytest.mark.parametrize("given", [BY_STEPS, {}])
def test_noise_and_few_rows_are_no_worse_than_a_linear_model(given, monkeypatch):
    """25 rows of a linear signal, and ratings that are mostly noise: Ridge by cross-validation is the measure."""
    monkeypatch.setattr(schedule, "SMALL_STEPS", 3000)
    monkeypatch.setattr(schedule, "PASSES", 100)
    rng = np.random.default_rng(3)
    few = rng.normal(size=(1525, 5)).astype(np.float32)
    labels = few[:, :3].sum(axis=1) + rng.normal(size=1525).astype(np.float32)
    pairs = rng.integers(60, size=(2500, 2)) + [0, 60]
    rows = cells(*pairs.T, 120)
    noise = 0.3 * rng.normal(size=120)[pairs].sum(axis=1) + rng.normal(size=2500)
    for features, known, count in ((few, labels, 25), (rows, noise.astype(np.float32), 1000)):
        model = fitted(features[:count], known[:count], **given)
        peer = RidgeCV(np.logspace(-3, 3, 13)).fit(features[:count], known[:count])
        mine, theirs = (
            np.mean((predicted - known[count:]) ** 2)
            for predicted in (model.predict(Batch(features[count:]))["score"], peer.predict(features[count:]))
        )
        assert mine <= 1.05 * theirs


@pytest.mark.parametrize("dense", [False, True])
def test_hosts_hold_out_the_rows_that_one_host_does(dense):
    x = np.random.default_rng(1).normal(size=(201, 3)).astype(np.float32)

    def held_out(hosts):
        mine = x[hosts.rank :: hosts.size]
        batches = [Batch(part if dense else sp.csr_array(part)) for part in np.array_split(mine, 7)]
        _, out = parted(Rows(lambda: iter(batches), 1 << 20), 1, 5, 0, hosts)
        return {tuple(row) for batch in out.batches() for row in sp.csr_array(batch.features).toarray()}

    first, second = on_hosts(2, held_out)
    assert first | second == held_out(ONE_HOST)


def test_folds_part_the_rows_by_chance_and_rows_are_read_once_where_they_fit():
    x = np.arange(3000, dtype=np.float32)[:, None]
    stream = MemoryStream(x, x[:, 0])
    whole = of_channel(stream, 100, None, None)
    seen = []
    for fold in range(5):
        known, held_out = (
            np.concatenate([batch.labels for batch in part.batches()]) for part in parted(whole, fold, 5, 0, ONE_HOST)
        )
        assert sorted([*known, *held_out]) == x[:, 0].tolist()
        assert 500 < len(held_out) < 700
        seen += held_out.tolist()
    assert sorted(seen) == x[:, 0].tolist()
    passes = []

    def make():
        passes.append(1)
        yield Batch(x)

    kept = Rows(make, 1 << 20)
    for _ in range(3):
        assert len(next(iter(kept.batches()))) == 3000  # a pass that is left early is none
        assert sum(map(len, kept.batches())) == 3000
    assert len(passes) == 2
    assert (folds(100), folds(3000), folds(10**6)) == (3, 2, 1)
    bounds = {None: 32, 1 << 30: 32, 8 << 30: 128, 64 << 30: 256}
    assert {memory: rows.most(memory) >> 20 for memory in bounds} == bounds


@pytest.mark.parametrize("given", [BY_STEPS, {}])
def test_sparse_columns_of_very_different_sizes_are_learned_as_by_a_linear_model(given):
    rng = np.random.default_rng(0)
    plain = sp.random(1500, 40, 0.2, random_state=0, format="csr")
    effects = rng.normal(size=40)
    y = (plain @ effects + 0.3 * rng.normal(size=1500)).astype(np.float32)
    x = sp.csr_array(plain @ sp.diags_array(10 ** rng.uniform(-3, 3, 40)), dtype=np.float32)
    peer = RidgeCV(np.logspace(-3, 3, 13)).fit(plain[:700], y[:700])
    found = error(fitted(x[:700], y[:700], **given), x[700:], y[700:])
    assert found <= 1.03 * error_of(peer.predict(plain[700:]), y[700:])


@pytest.mark.parametrize("binary", [False, True])
def test_losses_of_hosts_of_which_one_has_no_rows(binary):
    """As in a fold of a host of few rows. Hosts can add up only what is of one dtype."""
    x, y, weights = np.eye(70), np.arange(70) % 2.0, np.full(71, 0.25)

    def on(hosts):
        mine = slice(70 * hosts.rank)  # the first host has none
        return linear.losses_of(linear.Part(x[mine], y[mine], np.zeros(70)[mine]), weights, binary, hosts)

    losses = np.where(y > 0, np.log1p(np.exp(-0.5)), np.log1p(np.exp(0.5))) if binary else np.square(0.5 - y)
    expected = losses[:GROUPS].copy()
    expected[: 70 - GROUPS] += losses[GROUPS:]
    np.testing.assert_allclose(on_hosts(2, on), [expected] * 2)
    assert linear._squares(sp.csr_array((3, 4))).dtype == np.float64  # of rows that have no value
