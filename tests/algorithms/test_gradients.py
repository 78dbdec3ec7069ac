"""Networks on several hosts follow the sum of the hosts' gradients: the step of one host with all rows."""

import numpy as np
import pytest

from algorithms.common.networks import load_keras


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
        hosts.others = [*gradients, np.array([9 - split, step == 2], np.float32)]
        assert together.step(split, lambda: False) == (9, step == 2)
        second.set_weights(first.get_weights())
    for found, expected in zip(first.get_weights(), one.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    hosts.others = [np.zeros_like(gradient) for gradient in gradients] + [np.zeros(2, np.float32)]
    before = first.get_weights()
    assert together.step(0, lambda: False) == (0, False)
    for found, expected in zip(first.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_what_batch_norms_have_seen_is_averaged(keras):
    from algorithms.common.gradients import Kept, Together

    kept = Kept()
    model = network(keras, kept)
    optimizer = keras.optimizers.SGD()
    optimizer.build(model.trainable_variables)
    norm = model.layers[1]
    norm.moving_mean.assign(np.full(5, 3.0))
    Together(model, kept, optimizer, TwoHosts([np.full(5, 1.0), np.full(5, 5.0)])).align()
    np.testing.assert_allclose(np.asarray(norm.moving_mean), 2)  # of 3 and 1
    np.testing.assert_allclose(np.asarray(norm.moving_variance), 3)  # of 1 and 5
