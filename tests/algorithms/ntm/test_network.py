"""The loss of the neural topic model by hand and by scipy, and optimizers beside MXNet's formulas."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.stats import multivariate_normal

from algorithms.errors import (
    HyperparameterError,
)
from algorithms.events import Throughput
from algorithms.ntm import seeding
from algorithms.ntm.model import TOPIC_WEIGHTS, Affine, NTMModel
from recordio.batches import Batch
from tests.algorithms.fakes import FakeJob
from tests.algorithms.ntm.jobs import corpus, fit, model, parse
from tests.algorithms.samples import eagerly


@pytest.fixture(autouse=True)
def _eagerly():
    with eagerly():
        yield


# ---- the loss -------------------------------------------------------------------------------------------------------


def test_the_divergence_is_that_of_the_two_normal_distributions():
    one = model()
    counts = np.float32([[3, 0, 1, 0, 0, 2]])
    hidden = np.tanh(one.layers[1](np.tanh(one.layers[0](np.log1p(counts)))))
    mean, variance = one.mean(hidden)[0], np.exp(one.log_variance(hidden)[0])
    random = np.random.default_rng(0)
    q, p = multivariate_normal(mean, np.diag(variance)), multivariate_normal(np.zeros(4))
    draws = q.rvs(200_000, random_state=random)
    expected = np.mean(q.logpdf(draws) - p.logpdf(draws)) / 6  # by its definition, for each of six words
    assert one.loss([Batch(counts)], random).divergence == pytest.approx(expected, rel=0.02)


def test_the_loss_by_hand():
    """Two words, two topics, an encoder that says the same of every document: mean (0, 0), almost no variance."""
    zero = Affine(np.zeros((2, 2), np.float32), np.zeros(2, np.float32))
    still = Affine(np.zeros((2, 2), np.float32), np.full(2, -20, np.float32))
    decoder = Affine(np.float32([[2, 0], [0, 0]]), np.zeros(2, np.float32))  # z = (1/2, 1/2): logits (1, 0)
    loss = NTMModel((zero,), "relu", zero, still, decoder).loss(
        [Batch(np.float32([[1, 0], [3, 1], [0, 0]]))], np.random.default_rng(0)
    )
    first = np.log(np.e / (np.e + 1))
    second = (3 * first + np.log(1 / (np.e + 1))) / 4
    assert loss.documents == 2  # one without words says nothing
    assert loss.reconstruction == pytest.approx(-(first + second) / 2, abs=1e-3)
    # Each part of h: (exp(-20) + 20 - 1) / 2, in documents of one and of four words.
    assert loss.divergence == pytest.approx(2 * 9.5 * (1 + 1 / 4) / 2, rel=1e-4)


def test_the_network_and_numpy_compute_the_same_loss():
    import keras

    from algorithms.ntm.network import Losses, Network

    counts, _ = corpus(40)
    values = parse(num_topics=4, feature_dim=20, encoder_layers="7,3", batch_norm=True, learning_rate=0.01)
    network = Network(values, 40, 1.0, seeding.find(sp.csr_array(counts), 4, np.random.default_rng(0)), 0)
    for _ in range(3):
        network.step(sp.csr_array(counts))
    network.losses()
    found = network.model()
    graph = network._graph
    latent = keras.Model(graph.model.inputs, [graph.mean.output, graph.log_variance.output])
    mean, log_variance = (keras.ops.convert_to_numpy(value) for value in latent([counts], training=False))
    weights = found.predict(Batch(counts))[TOPIC_WEIGHTS]
    np.testing.assert_allclose(weights, np.exp(mean) / np.exp(mean).sum(axis=1, keepdims=True), rtol=1e-4)

    noise = np.random.default_rng(5).standard_normal(mean.shape, np.float32)
    z = np.exp(mean + np.exp(log_variance / 2) * noise)
    logits = graph.projection(keras.ops.convert_to_tensor(z / z.sum(axis=1, keepdims=True)))
    expected = keras.ops.convert_to_numpy(Losses()(counts, logits, mean, log_variance)).mean(axis=0)
    loss = found.loss([Batch(counts)], np.random.default_rng(5))
    np.testing.assert_allclose([loss.reconstruction, loss.divergence], expected, rtol=1e-4)


def test_the_training_loss_is_the_mean_over_all_documents():
    """With steps too small to matter, it is the loss of the model at the end; the last batch is a short one."""
    counts, _ = corpus(107)
    job = FakeJob()
    found = fit(counts * np.arange(1, 108)[:, None], 4, job, epochs=1, optimizer="sgd", learning_rate=1e-6)
    loss = found.loss([Batch(counts * np.arange(1, 108, dtype=np.float32)[:, None])], np.random.default_rng(0))
    assert job.last("train", "total_loss") == pytest.approx(loss.total, rel=0.01)
    assert job.of(Throughput)[0].rows == loss.documents == 107


# ---- optimizers -----------------------------------------------------------------------------------------------------


def mxnet_step(name, weight, gradient, wd):
    """The first two steps with the same gradient, of the formulas in MXNet 1.x's documentation."""
    state = [0.0, 0.0]
    for step in (1, 2):
        g = gradient + wd * weight if name in ("adam", "rmsprop") else gradient
        if name == "sgd":
            weight = weight - 0.1 * (g + wd * weight)
        if name == "adam":
            state = [0.9 * state[0] + 0.1 * g, 0.999 * state[1] + 0.001 * g**2]
            rate = 0.1 * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
            weight = weight - rate * state[0] / (np.sqrt(state[1]) + 1e-8)
        if name == "adagrad":
            state[0] += g**2
            weight = weight - 0.1 * (g / np.sqrt(state[0] + 1e-7) + wd * weight)
        if name == "adadelta":
            state[0] = 0.9 * state[0] + 0.1 * g**2
            delta = np.sqrt(state[1] + 1e-5) / np.sqrt(state[0] + 1e-5) * g
            state[1] = 0.9 * state[1] + 0.1 * delta**2
            weight = weight - delta - wd * weight
        if name == "rmsprop":
            state[0] = 0.9 * state[0] + 0.1 * g**2
            weight = weight - 0.1 * g / np.sqrt(state[0] + 1e-8)
    return weight


@pytest.mark.parametrize("wd", [0.0, 0.01])
@pytest.mark.parametrize("name", ["sgd", "adam", "adagrad", "adadelta", "rmsprop"])
def test_optimizers_step_as_mxnets(name, wd):
    import keras

    from algorithms.ntm.network import _COUPLED, _optimizer

    values = parse(num_topics=2, feature_dim=3, optimizer=name, learning_rate=0.1, weight_decay=wd)
    optimizer = _optimizer(values)
    start, gradient = np.float32([1, -2, 0.5]), np.float32([0.3, -0.02, 0.001])
    variable = keras.Variable(start, name="kernel")
    for _ in range(2):
        # For these two the decay comes from the regularizer of the layers.
        penalty = wd * variable.numpy() if name in _COUPLED else 0
        optimizer.apply([keras.ops.convert_to_tensor(gradient + penalty)], [variable])
    np.testing.assert_allclose(variable.numpy(), mxnet_step(name, start, gradient, wd), rtol=2e-3)


@pytest.mark.parametrize(("name", "rate"), [("adam", 0.005), ("rmsprop", 0.005), ("sgd", 0.001), ("adadelta", 1.0)])
def test_each_optimizer_has_a_rate_where_none_is_given(name, rate):
    assert parse(num_topics=2, feature_dim=3, optimizer=name).rate == rate
    assert parse(num_topics=2, feature_dim=3, optimizer=name, learning_rate=0.02).rate == (rate if rate == 1 else 0.02)


@pytest.mark.parametrize("given", [{"clip_gradient": 0.001}, {"rescale_gradient": 0.001}])
def test_gradients_are_cut_and_rescaled_before_the_step(given):
    """One step of SGD of rate 1 on one mini-batch moves a component by no more than its limit, or by a thousandth."""
    counts, _ = corpus(50)

    def first_layer(rate, **more):
        return fit(counts, 4, optimizer="sgd", learning_rate=rate, epochs=1, **more).layers[0].weight

    start = first_layer(1e-6, clip_gradient=0.001)  # as good as not moved
    plain, limited = first_layer(1.0) - start, first_layer(1.0, **given) - start
    expected = np.clip(plain, -0.001, 0.001) if "clip_gradient" in given else plain / 1000
    assert np.abs(plain).max() > 0.1
    np.testing.assert_allclose(limited, expected, atol=1e-5)


@pytest.mark.parametrize(
    "given",
    [
        *({"optimizer": name} for name in ("sgd", "adam", "adagrad", "rmsprop")),
        {"encoder_layers": "8", "encoder_layers_activation": "relu"},
        {"encoder_layers": [9, 5], "encoder_layers_activation": "tanh", "batch_norm": "True"},
        {"sub_sample": 0.3, "weight_decay": 0.001, "clip_gradient": "Infinity"},
    ],
    ids=lambda given: "-".join(map(str, given.values())),
)
def test_every_setting_trains(given):
    counts, _ = corpus(100)
    job = FakeJob()
    fit(counts, 4, job, epochs=4, **given, **({"learning_rate": 0.01} if "optimizer" in given else {}))
    losses = job.values(metric="total_loss")
    assert losses[-1] < losses[0]


def test_encoder_layers_are_built_as_asked():
    counts, _ = corpus(60)
    assert [len(layer.bias) for layer in fit(counts, 4, epochs=1, encoder_layers=[9, 5]).layers] == [9, 5]
    assert [len(layer.bias) for layer in fit(counts, 3, epochs=1).layers] == [9, 6]


@pytest.mark.parametrize("value", ["0", "3,x", "[1.5]", "-2"])
def test_layers_without_a_size_are_refused(value):
    with pytest.raises(HyperparameterError, match="'encoder_layers'.* is not an integer from 1 to 9,999,999"):
        parse(num_topics=2, feature_dim=3, encoder_layers=value)
