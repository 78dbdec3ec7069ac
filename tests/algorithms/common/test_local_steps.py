"""Steps that hosts take by themselves, and what they then agree on."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from algorithms import hyperparameters, registry
from algorithms.common import local_steps
from algorithms.common.local_steps import LocalSteps, next_period
from tests.algorithms.fakes import FakeJob, MemoryStream, on_hosts


@pytest.fixture
def soon(monkeypatch):
    """Small jobs, too, come to steps of their own."""
    monkeypatch.setattr(local_steps, "TOGETHER", 8)
    monkeypatch.setattr("algorithms.linear_learner.path.PATH_MEMORY", 0)


@pytest.mark.parametrize("by_rows", [False, True])
@pytest.mark.parametrize("block", [1 << 14, 7])
def test_columns_move_as_far_as_steps_of_all_hosts_would_have_moved_them(by_rows, block, monkeypatch):
    """Against the same in float64, column by column, on three hosts of which one has ended."""
    monkeypatch.setattr(local_steps, "_BLOCK", block)
    rng = np.random.default_rng(0)
    start = rng.standard_normal((50, 4)).astype(np.float32)
    steps = [[rng.permutation(50)[: rng.integers(1, 20)] for _ in range(count)] for count in (6, 4, 0)]
    moves = [[rng.standard_normal((len(columns), 4)).astype(np.float32) for columns in host] for host in steps]

    def run(hosts):
        linear, factors = start[:, 0].copy(), start[:, 1:].copy()
        local = LocalSteps(hosts, [linear, factors], by_rows=by_rows)
        agreed = []
        for period in (slice(0, 4), slice(4, 6)):
            for columns, move in zip(steps[hosts.rank][period], moves[hosts.rank][period], strict=True):
                local.begin(columns, 10 + hosts.rank)
                linear[columns] += move[:, 0]
                factors[columns] += move[:, 1:]
            agreed.append(local.exchange(np.full(2, float(hosts.rank == 1)), stopped=hosts.rank == 1))
        return np.column_stack([linear, factors]), agreed

    expected = start.astype(np.float64)
    for period in (slice(0, 4), slice(4, 6)):
        taken, moved = np.zeros((3, 50)), np.zeros((3, 50, 4))
        for host in range(3):
            for columns, move in zip(steps[host][period], moves[host][period], strict=True):
                taken[host, columns] += 1
                moved[host, columns] += move
        most = max(len(host[period]) for host in steps)
        rows = np.array([(10 + rank) * len(steps[rank][period]) for rank in range(3)])
        if by_rows:
            expected += np.tensordot(rows / rows.sum(), moved, 1)
        else:
            together = most * (1 - np.prod(1 - taken / most, axis=0))
            expected += (together / np.maximum(taken.sum(axis=0), 1))[:, None] * moved.sum(axis=0)
    found = on_hosts(3, run)
    for parameters, agreed in found:
        np.testing.assert_allclose(parameters, expected, atol=1e-5)
        np.testing.assert_array_equal(parameters, found[0][0])
        assert [(one.rows, one.steps, one.stopped) for one in agreed] == [(84, 4, True), (20, 2, True)]
        shares = (40 / 84, 44 / 84) if by_rows else (0.5, 0.5)
        np.testing.assert_allclose(agreed[0].common, shares[1], rtol=1e-6)


@pytest.mark.parametrize(("compiled", "most"), [(True, 4096), (False, 4096), (True, 2)])
def test_rare_columns_wait_and_are_not_lost(compiled, most, monkeypatch):
    """Three hosts, of whose columns one is in all batches, one in every fourth, and the others are rare: in the end
    each has moved as far as all hosts have moved it; in between the rare ones are not exchanged. Hosts start again
    after each exchange, from what they would have in a checkpoint; up to ``most`` exchanges leave out columns."""
    monkeypatch.setattr(local_steps, "MOST_EXCHANGES", most)
    if not compiled:
        monkeypatch.setattr(local_steps, "_keeping", None)
    rng = np.random.default_rng(0)
    start = rng.standard_normal((4000, 2)).astype(np.float32)
    moves = rng.standard_normal((3, 60, 7, 2)).astype(np.float32)

    def columns_of(rank, number):
        rare = 2 + 120 * (10 * rank + number % 10) + np.arange(5)
        return np.append(rare, [0, 1] if number % 4 == 3 else [0])

    def run(hosts):
        parameters = start.copy()
        local, exchanged, after = LocalSteps(hosts, [parameters], by_rows=False), [], []
        for number in range(60):
            columns = columns_of(hosts.rank, number)
            local.begin(columns, 10)
            parameters[columns] += moves[hosts.rank, number, : len(columns)]
            if number % 20 == 19:
                step = None if number == 59 else 1e-9  # so short that an exchange of everything is dear
                exchanged.append(local.exchange(np.zeros(1), stopped=False, step=step).touched)
                after.append(parameters.copy())
                again = LocalSteps(hosts, [parameters], by_rows=False)
                again.from_arrays({name: array.copy() for name, array in local.to_arrays().items()})
                local = again
        return after, exchanged

    found = on_hosts(3, run)
    moved = np.zeros((4000, 2))
    for rank in range(3):
        for number in range(60):
            columns = columns_of(rank, number)
            moved[columns] += moves[rank, number, : len(columns)]
    moved[0] /= 3  # in all batches: the mean
    moved[1] *= (1 - 0.75**3) / 0.75  # together they would have stepped on it in so many of the batches
    for (first, second, last), exchanged in found:
        assert exchanged == [1, 2, 52]
        np.testing.assert_allclose(last, start + moved, atol=5e-5)
        np.testing.assert_array_equal(last, found[0][0][2])
        np.testing.assert_array_equal(first[0], found[0][0][0][0])
        np.testing.assert_array_equal(second[:2], found[0][0][1][:2])
    assert np.array_equal(found[0][0][1], found[1][0][1]) == (most == 2)
    assert not np.allclose(found[0][0][0][1], found[1][0][0][1])


@pytest.mark.parametrize("compiled", [True, False])
def test_a_row_waits_for_as_many_steps_as_are_due(compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(local_steps, "_keeping", None)

    def run(hosts):
        parameters = np.zeros((300, 2), np.float32)
        local, touched = LocalSteps(hosts, [parameters], by_rows=False), []
        for number in range(80):
            columns = np.array([1, 2 + number])
            local.begin(columns, 10, 20)
            parameters[columns] += hosts.rank + 1
            if number % 10 == 9:
                touched.append(local.exchange(np.zeros(1), stopped=False, step=1e-9).touched)
        return touched, parameters[1]

    (one, mine), (other, theirs) = on_hosts(2, run)
    assert one == other == [0, 1] * 4
    np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_allclose(mine, 80 * (1 + 2) / 2)


def test_steps_that_hosts_take_together_end_soon_where_writing_takes_longer_than_learning():
    large = 2 * local_steps.CACHE
    assert local_steps.are_over(local_steps.SOON, 2, 1e-3, 20_000, large)
    assert not local_steps.are_over(local_steps.SOON, 2, 1e-3, 100, large)
    assert not local_steps.are_over(local_steps.SOON, 2, 1e-3, 20_000, local_steps.CACHE), "writing is fast there"
    assert local_steps.are_over(local_steps.TOGETHER, 2, 1e-3, 100, large)


def test_steps_between_exchanges_follow_from_sizes():
    long, short = 1.0, 1e-3
    late = 10**6
    assert next_period(1, 1, short, 100, 10, late) == 1, "one host has nobody to wait for"
    assert next_period(1, 2, long, 100, 10, late) == 1, "a sum is nothing beside such a step"
    period = periods = 1
    while (longer := next_period(period, 2, short, 100, 10, late)) != period:
        period, periods = longer, periods + 1
    assert local_steps.FIRST <= period < local_steps.MOST
    assert local_steps.exchange_seconds(2, 100, 10) <= local_steps.SHARE * period * short
    assert next_period(period, 64, short, 100, 10, late) > period, "more hosts have more to wait for"
    assert next_period(local_steps.MOST, 64, 1e-9, 10**6, 65, late) == local_steps.MOST


def test_periods_grow_with_the_steps_that_a_job_has_taken():
    """By 512 steps a time, jobs of a thousand steps had exchanged but once after the first 256."""
    taken, period, ends = local_steps.TOGETHER, next_period(1, 4, 1e-9, 10**6, 65, local_steps.TOGETHER), []
    while taken < 20_000:
        taken += period
        ends.append(taken)
        period = next_period(period, 4, 1e-9, 10**6, 65, taken)
        assert local_steps.PROGRESS * period <= max(taken, local_steps.PROGRESS * local_steps.FIRST)
    assert sum(end < 1000 for end in ends) > 20
    assert period == local_steps.MOST, "jobs of a minute come to the longest"


def clicks(rows):
    """Sparse rows of six fields, of common and rare values, with classes that pairs of them decide."""
    rng = np.random.default_rng(1)
    values = (300 * rng.random((rows, 6)) ** 3).astype(int) + 300 * np.arange(6)
    x = sp.csr_array((np.ones(values.size, np.float32), values.ravel(), np.arange(0, values.size + 1, 6)))
    x.resize((rows, 1800))
    weights, factors = rng.standard_normal(1800), rng.standard_normal((1800, 3))
    total = x @ factors
    scores = x @ weights + 0.5 * np.square(total).sum(axis=1) - 0.5 * np.square(factors).sum(axis=1)[values].sum(axis=1)
    return x, (scores > np.median(scores)).astype(np.float32)


def numbers(rows):
    """Dense rows of three classes."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal((rows, 12)).astype(np.float32)
    return x, np.argmax(x @ rng.standard_normal((12, 3)) + rng.gumbel(size=(rows, 3)), axis=1).astype(np.float32)


JOBS = {
    "factorization-machines": ({"feature_dim": 1800, "num_factors": 4, "epochs": 6, "mini_batch_size": 20}, clicks),
    "linear-learner-sparse": ({"epochs": 4, "mini_batch_size": 20, "num_models": 4}, clicks),
    "linear-learner-adam-sparse": ({"epochs": 4, "mini_batch_size": 20, "optimizer": "adam", "num_models": 4}, clicks),
    "linear-learner": ({"epochs": 4, "mini_batch_size": 20, "num_classes": 3, "num_models": 4}, numbers),
}


@pytest.mark.parametrize("job", JOBS)
def test_hosts_that_step_by_themselves_learn_what_they_learn_together(job, soon, monkeypatch):
    values, made = JOBS[job]
    name = "factorization-machines" if job.startswith("fact") else "linear-learner"
    kind = "multiclass_classifier" if "num_classes" in values else "binary_classifier"
    algorithm = registry.find(name)
    hp = hyperparameters.parse(
        algorithm.hyperparameters, {name: str(value) for name, value in {**values, "predictor_type": kind}.items()}
    )
    x, y = made(16_000)

    def train(parts):
        def fit(hosts):
            own = parts[hosts.rank]
            fake = FakeJob(hosts=hosts)
            sums, plain = [0], hosts.sum
            hosts.sum = lambda *arrays: (sums.append(1), plain(*arrays))[1]
            test = MemoryStream(x[6000 + hosts.rank :: len(parts)], y[6000 + hosts.rank :: len(parts)])
            return algorithm.fit(hp, {"train": MemoryStream(x[own], y[own]), "test": test}, fake), fake, sum(sums)

        return on_hosts(len(parts), fit)

    def score(found):
        names = ("binary_classification_accuracy", "multiclass_accuracy")
        return [value for name in names for value in found[0][1].values("test", name)][-1]

    dealt = [np.arange(rank, 6000, 3) for rank in range(3)]
    alone = train(dealt)
    lopsided = train([np.arange(0), np.arange(1000), np.arange(1000, 6000)])
    monkeypatch.setattr(local_steps, "TOGETHER", 0)
    together = train(dealt)
    assert score(alone) > score(together) * 0.995
    assert score(lopsided) > score(together) * 0.97  # its steps are fewer
    assert alone[0][2] < 0.5 * together[0][2]
    for found in (alone, lopsided):
        for model, *_ in found[1:]:
            for array in ("factors", "linear", "weight", "bias"):
                if hasattr(model, array):
                    np.testing.assert_array_equal(getattr(model, array), getattr(found[0][0], array))


def ratings(rows):
    """One of 300 users and one of 1,000 films in each row, films by how well they are known; what users think of films
    is a product of tastes, beside what either adds."""
    rng = np.random.default_rng(3)
    users, films = rng.integers(300, size=rows), (1000 * rng.random(rows) ** 3).astype(int)
    tastes, add = rng.standard_normal((1300, 3)) / 2, rng.standard_normal(1300) / 3
    y = 3 + add[users] + add[300 + films] + np.einsum("nk,nk->n", tastes[users], tastes[300 + films])
    columns = np.column_stack([users, 300 + films]).ravel()
    x = sp.csr_array((np.ones(2 * rows, np.float32), columns, np.arange(0, 2 * rows + 1, 2)), shape=(rows, 1300))
    return x, (y + rng.standard_normal(rows) / 2).astype(np.float32)


def test_four_hosts_of_a_short_job_with_large_learning_rates_learn_what_one_does():
    """Most films are rare: what four hosts had each moved by up to 11 steps of their own was added up at the end."""
    algorithm = registry.find("factorization-machines")
    x, y = ratings(40_000)
    rates = {"linear_lr": 0.0075, "factors_lr": 0.0075, "bias_lr": 0.02, "factors_init_sigma": 0.01}

    def rmse(hosts, batch):
        values = {"feature_dim": 1300, "num_factors": 16, "predictor_type": "regressor", "epochs": 4, **rates}
        given = {name: str(value) for name, value in {**values, "mini_batch_size": batch}.items()}
        hp = hyperparameters.parse(algorithm.hyperparameters, given)

        def fit(group):
            own, unseen = np.arange(group.rank, 30_000, hosts), np.arange(30_000 + group.rank, 40_000, hosts)
            job = FakeJob(hosts=group)
            channels = {"train": MemoryStream(x[own], y[own]), "test": MemoryStream(x[unseen], y[unseen])}
            algorithm.fit(hp, channels, job)
            return job.values("test", "rmse")[-1]

        return on_hosts(hosts, fit)[0]

    assert rmse(4, 50) < 1.005 * rmse(1, 200), "of as many steps by as many rows"
