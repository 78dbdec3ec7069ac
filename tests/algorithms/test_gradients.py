"""Networks on several hosts follow the sum of the hosts' gradients: the step of one host with all rows."""

import numpy as np
import pytest

from algorithms.common.hosts import ONE_HOST
from algorithms.common.networks import load_keras
from tests.algorithms.fakes import on_hosts


class TwoHosts:
    """The leader of two hosts, of which the other gives what it is told to."""

    rank, size = 0, 2

    def __init__(self, others):
        self.others = others

    def sum(self, *arrays):
        return [one + other for one, other in zip(arrays, self.others, strict=True)]

    def gather(self, value):
        return [value, value]


@pytest.fixture(scope="module")
def keras():
    return load_keras(0)


def network(keras, optimizer):
    """A small network from the same weights each time, whose loss is the sum over rows."""
    layers = [keras.layers.Dense(5, activation="tanh"), keras.layers.BatchNormalization(), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((3,)), *layers])
    random = np.random.default_rng(2)
    for layer in (layers[0], layers[2]):
        layer.kernel.assign(random.standard_normal(layer.kernel.shape).astype(np.float32))
    layers[1].trainable = False  # a batch norm sees other batches on two hosts than on one
    model.compile(optimizer, keras.losses.MeanSquaredError(reduction="sum"))
    return model


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_two_hosts_make_the_steps_of_one(keras, name):
    from algorithms.common.gradients import Kept, Together

    random = np.random.default_rng(1)
    options = {"learning_rate": 0.05, "clipvalue": 3.0}
    one = network(keras, getattr(keras.optimizers, name)(**options))
    kept, others = Kept(), Kept()
    first, second = network(keras, kept), network(keras, others)
    optimizer = getattr(keras.optimizers, name)(**options)
    optimizer.build(first.trainable_variables)
    hosts = TwoHosts([])
    together = Together(first, kept, optimizer, hosts)
    for step in range(3):
        rows, values = random.standard_normal((9, 3)).astype(np.float32), random.standard_normal((9, 1))
        split = 4 if step < 2 else 0  # in the end the leader has no rows left
        one.train_on_batch(rows, values)
        second.train_on_batch(rows[split:], values[split:])
        if split:
            first.train_on_batch(rows[:split], values[:split])
        gradients = [np.asarray(gradient) for gradient in others.gradients]
        averages = [(9 - split) * np.asarray(second.layers[1].get_weights()[number]) for number in (2, 3)]
        hosts.others = [*gradients, *averages, np.array([9 - split, step == 2], np.float32)]
        assert together.step(split, lambda: False) == (9, step == 2)
        second.set_weights(first.get_weights())
    for found, expected in zip(first.get_weights(), one.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    hosts.others = [np.zeros_like(one) for one in (*gradients, *averages)] + [np.zeros(2, np.float32)]
    before = first.get_weights()
    assert together.step(0, lambda: False) == (0, False)
    for found, expected in zip(first.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_what_batch_norms_have_seen_is_averaged_in_each_step(keras):
    from algorithms.common.gradients import Kept, Together

    kept = Kept()
    model = network(keras, kept)
    optimizer = keras.optimizers.SGD()
    optimizer.build(model.trainable_variables)
    kept.build(model.trainable_variables)
    norm = model.layers[1]
    norm.moving_mean.assign(np.full(5, 3.0))
    zeros = [np.zeros(variable.shape, np.float32) for variable in model.trainable_variables]
    others = [*zeros, np.full(5, 2 * 6.0), np.full(5, 2 * 4.0), np.array([2, 0], np.float32)]
    assert Together(model, kept, optimizer, TwoHosts(others)).step(1) == (3, False)
    np.testing.assert_allclose(np.asarray(norm.moving_mean), 5)  # of 3 on one row, and 6 on two
    np.testing.assert_allclose(np.asarray(norm.moving_variance), 3)  # of 1 and 4


def test_the_step_of_means_is_that_of_the_mean_over_all_rows(keras):
    """Of hosts with 2 and 7 rows; the loss of each is the mean over its own."""
    from algorithms.common import gradients

    random = np.random.default_rng(3)
    rows, values = random.standard_normal((9, 3)).astype(np.float32), random.standard_normal((9, 1))
    models = [network(keras, "sgd") for _ in range(3)]

    def optimizer():
        return keras.optimizers.Adam(0.05)

    assert gradients.compiled(models[0], optimizer(), ONE_HOST, loss="mse") is None
    models[0].train_on_batch(rows, values)

    def train(hosts):
        model, part = models[1 + hosts.rank], slice(2) if hosts.rank else slice(2, 9)
        together = gradients.compiled(model, optimizer(), hosts, loss="mse")
        model.train_on_batch(rows[part], values[part])
        assert together.step(len(rows[part])) == (9, False)

    on_hosts(2, train)
    for one, first, second in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_allclose(first, one, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(first, second)
