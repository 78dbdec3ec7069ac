"""Networks on several hosts follow the sum of the hosts' gradients: the step of one host with all rows."""

import numpy as np
import pytest

from algorithms.common.hosts import ONE_HOST
from algorithms.common.networks import load_keras
from tests.algorithms.fakes import on_hosts


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
    batches = [(random.standard_normal((9, 3)).astype(np.float32), random.standard_normal((9, 1))) for _ in range(3)]

    def optimizer():
        return getattr(keras.optimizers, name)(learning_rate=0.05, clipvalue=3.0)

    models = [network(keras, optimizer())]
    for rows, values in batches:
        models[0].train_on_batch(rows, values)
    keeping = [Kept(), Kept()]
    models += [network(keras, kept) for kept in keeping]

    def train(hosts):
        model, kept, followed = models[1 + hosts.rank], keeping[hosts.rank], optimizer()
        followed.build(model.trainable_variables)
        kept.build(model.trainable_variables)
        together = Together(model, kept, followed, hosts)
        for step, (rows, values) in enumerate(batches):
            split = 4 if step < 2 else 0  # in the end the leader has no rows left
            part = slice(split) if hosts.rank == 0 else slice(split, 9)
            if len(rows[part]):
                model.train_on_batch(rows[part], values[part])
            stops = step == 2 and hosts.rank == 1
            assert together.step(len(rows[part]), lambda stops=stops: stops) == (9, step == 2)
        before = model.get_weights()
        assert together.step(0) == (0, False)
        for found, expected in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(found, expected)

    on_hosts(2, train)
    for one, first, second in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_allclose(first, one, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(first, second)


def test_what_batch_norms_have_seen_is_averaged_in_each_step(keras):
    from algorithms.common.gradients import Kept, Together

    keeping = [Kept(), Kept()]
    models = [network(keras, kept) for kept in keeping]

    def train(hosts):
        model, kept, optimizer = models[hosts.rank], keeping[hosts.rank], keras.optimizers.SGD()
        optimizer.build(model.trainable_variables)
        kept.build(model.trainable_variables)
        norm = model.layers[1]
        norm.moving_mean.assign(np.full(5, 6.0 if hosts.rank else 3.0))
        norm.moving_variance.assign(np.full(5, 4.0 if hosts.rank else 1.0))
        assert Together(model, kept, optimizer, hosts).step(1 + hosts.rank) == (3, False)
        np.testing.assert_allclose(np.asarray(norm.moving_mean), 5)  # of 3 on one row, and 6 on two
        np.testing.assert_allclose(np.asarray(norm.moving_variance), 3)

    on_hosts(2, train)


def test_gradients_of_every_kind_are_kept_in_one_vector(keras):
    """Those of embeddings, which TensorFlow has as slices with a row again and again; none, of a weight without use."""
    from algorithms.common.gradients import Kept

    class Sums(keras.Model):
        def __init__(self):
            super().__init__()
            self.rows = self.add_weight(name="rows", shape=(5, 3), initializer="ones")
            self.unused = self.add_weight(name="unused", shape=(4,), initializer="ones")
            self.last = self.add_weight(name="last", shape=(), initializer="ones")

        def call(self, numbers):
            return self.last * keras.ops.sum(keras.ops.take(self.rows, numbers, axis=0), axis=1)

    kept, model = Kept(), Sums()
    model.compile(kept, loss=lambda truth, found: keras.ops.sum(found))
    kept.build(model.trainable_variables)
    model.train_on_batch(np.array([1, 4, 1]), np.zeros((3, 3)))
    expected = np.zeros((5, 3))
    expected[1], expected[4] = 2, 1
    found = np.asarray(kept.gradients)
    np.testing.assert_array_equal(found[:15].reshape(5, 3), expected)
    np.testing.assert_array_equal(found[15:], [0] * 17 + [9] + [0] * 15)


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


@pytest.mark.parametrize("shapes", [[(3, 4)], [(), (16,)], [(0, 3), (5,)]])
def test_a_vector_gives_its_arrays_back(keras, shapes):
    from algorithms.common.gradients import Vector

    arrays = [np.random.default_rng(0).standard_normal(shape).astype(np.float32) for shape in shapes]
    vector = Vector(shapes)
    joined = keras.ops.convert_to_numpy(vector.joined(arrays))
    assert joined.shape == (vector.size,)
    for part, array in zip(vector.parts(np.array(joined)), arrays, strict=True):
        np.testing.assert_array_equal(part, array)
    for found, array in zip(vector.split(joined), arrays, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(found), array)
