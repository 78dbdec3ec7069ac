"""What tests of the neural topic model share."""

from __future__ import annotations

import json

import numpy as np

from algorithms import hyperparameters
from algorithms.ntm import NTM
from algorithms.ntm.model import Affine, NTMModel
from tests.algorithms.fakes import FakeJob, MemoryStream


def parse(**given):
    strings = {name: value if isinstance(value, str) else json.dumps(value) for name, value in given.items()}
    return hyperparameters.parse(NTM.hyperparameters, strings)


def fit(counts, num_topics, job=None, channels=None, **given):
    values = parse(num_topics=num_topics, feature_dim=counts.shape[1], **{"mini_batch_size": 50, **given})
    return NTM.fit(values, {"train": MemoryStream(counts), **(channels or {})}, job or FakeJob())


def corpus(documents=400, words=5, num_topics=4, seed=0):
    """Documents of mostly one topic each, of topics with ``words`` words of their own; and each document's topic."""
    random = np.random.default_rng(seed)
    own = random.integers(num_topics, size=documents)
    beta = np.kron(np.eye(num_topics), np.full(words, 0.9 / words)) + 0.1 / (num_topics * words)
    return np.array([random.multinomial(30, beta[topic]) for topic in own], np.float32), own


def model(seed=0, words=6, hidden=(5, 3), num_topics=4, activation="tanh"):
    random = np.random.default_rng(seed)

    def affine(outputs, inputs):
        return Affine(random.normal(size=(outputs, inputs)).astype("f4"), random.normal(size=outputs).astype("f4"))

    layers = tuple(affine(*shape) for shape in zip(hidden, (words, *hidden), strict=False))
    return NTMModel(layers, activation, affine(num_topics, 3), affine(num_topics, 3), affine(words, num_topics))
