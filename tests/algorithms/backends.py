"""What the three networks do in a few steps, on the backend of Keras that a process has loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from algorithms import hyperparameters
from algorithms.common.networks import load_keras
from algorithms.image_classification import ImageClassification
from algorithms.seq2seq import Seq2Seq, data
from tests.algorithms.fakes import FakeJob
from tests.algorithms.ntm import jobs
from tests.algorithms.samples import SAMPLES, one_unit, picture
from tests.algorithms.seq2seq.test_network import SMALL, pairs, translator
from tests.opt_ml import ROOT

QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
"""A few steps are not worth an optimizing compiler."""


def told() -> dict[str, Any]:
    """The backend's name, and of each network what it has measured."""
    keras = load_keras(0)
    return {
        "backend": keras.backend.backend(),
        "ntm": topic_model(),
        "seq2seq": sequences(),
        "image-classification": images(),
    }


def told_by(backend: str) -> dict[str, Any]:
    """The same of a process with another backend than this one has; all networks in one, for it starts slowly.

    Raises:
        AssertionError: it failed; the message is what it wrote.
    """
    environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": QUICK}
    program = (
        "import json\nfrom container.imports import without_unused_packages as lean\n"
        "with lean():  # as in the commands\n"
        "    from tests.algorithms import backends\n    print(json.dumps(backends.told()))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-5000:]
    return json.loads(done.stdout.splitlines()[-1])


def topic_model() -> list[float]:
    """The loss of each epoch."""
    job = FakeJob()
    jobs.fit(jobs.corpus(100)[0], 4, job, epochs=2)
    return job.values("train")


def sequences() -> list[float]:
    """The loss of each step on one batch."""
    from algorithms.seq2seq import network

    ours = translator(rnn_decoder_hidden_dropout="0.1")
    net = network.Network(ours.architecture, ours.parameters, {"rnn_decoder_hidden_dropout": 0.1}, seed=0)
    values = hyperparameters.parse(Seq2Seq.hyperparameters, SMALL | {"learning_rate": "0.05", "weight_decay": "0.001"})
    network.prepare(net, network.make_optimizer(values), accuracy=True)
    batch = data.batch(pairs(), np.arange(7), None if network.DYNAMIC else 5, 8)
    return [float(net.learn(batch)["loss"]) for _ in range(12)]


def images() -> dict[str, Any]:
    """The channels that were scored in an epoch, and the answer of the model that is served.

    Of a few sizes of arrays: JAX compiles each operation for each of them.
    """
    sample, job = SAMPLES["image-classification"], FakeJob()
    given = sample.hyperparameters | {"optimizer": "nag", "mini_batch_size": "12"}
    values = hyperparameters.parse(ImageClassification.hyperparameters, given)
    with tempfile.TemporaryDirectory() as folder, one_unit():
        model = ImageClassification.fit(values, sample.channels(Path(folder)), job)
    answer = model.probabilities(picture(0, 1)).tolist()
    return {"scored": [score.dataset for _, score in job.measured()], "answer": answer}
