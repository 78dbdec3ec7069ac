"""Every algorithm goes on from its checkpoints: the model of a job that was interrupted, wherever and however often, is
that of one that was not, bit for bit, and each epoch has its lines in the log once."""

from __future__ import annotations

import random
from contextlib import nullcontext
from pathlib import Path

import pytest

from algorithms import registry
from algorithms.interface import Configuration
from tests import resuming
from tests.algorithms import samples
from tests.opt_ml import OptMl

MORE = {
    "kmeans": {"epochs": "3", "mini_batch_size": "11", "half_life_time_size": "40"},
    "factorization-machines": {"epochs": "4"},
    "ntm": {"epochs": "4", "mini_batch_size": "13", "sub_sample": "0.8"},
    "seq2seq": {"max_num_epochs": "3", "batch_size": "16", "checkpoint_frequency_num_batches": "3"},
    "image-classification": {"epochs": "3"},
    "pca": {},
    "lda": {},
    "linear-learner": {"epochs": "4", "mini_batch_size": "8", "early_stopping_patience": "4", "num_models": "4"},
}
"""What makes the jobs of the configurations long enough to be interrupted; ``xgboost`` has tests of its own."""

SLOW = ("ntm", "seq2seq", "image-classification")
"""Each start of these takes about a second, of which several are made."""


def jobs() -> list[tuple[str, str, dict[str, str]]]:
    """Algorithm, configuration, and hyperparameters on top."""
    found = [(name, configuration.name, more) for name, more in MORE.items() for configuration in configurations(name)]
    image = configurations("image-classification")[0].name
    return [
        *found,
        ("image-classification", image, {"epochs": "3", "checkpoint_frequency": "1"}),
        ("image-classification", image, {"epochs": "4", "checkpoint_frequency": "3"}),
    ]


def configurations(name: str) -> tuple[Configuration, ...]:
    """Those that are tried: all, where that is fast."""
    return registry.find(name).configurations[: 2 if name in SLOW else None]


def job(base: Path, name: str, configuration: str, more: dict[str, str]) -> OptMl:
    """A job with a folder for checkpoints."""
    algorithm = registry.find(name)
    chosen = next(one for one in algorithm.configurations if one.name == configuration)
    values = {name: value for name, value in {**chosen.hyperparameters, **more}.items() if value}
    opt_ml = OptMl(base).hyperparameters(values)
    for channel, (content_type, files) in samples.files(algorithm, chosen).items():
        opt_ml.channel(channel, files, content_type)
    opt_ml.paths.checkpoints.mkdir()
    return opt_ml


@pytest.mark.parametrize(("name", "configuration", "more"), jobs())
def test_an_interrupted_job_ends_as_one_that_was_not(tmp_path, name, configuration, more):
    with samples.eagerly() if name == "image-classification" else nullcontext():
        plain = job(tmp_path / "plain", name, configuration, more)
        plain.paths.checkpoints.rmdir()
        undisturbed = resuming.run(name, plain)
        assert undisturbed.code == 0, undisturbed.log
        whole = job(tmp_path / "whole", name, configuration, more)
        points = resuming.run(name, whole).writes
        assert points > 1
        assert resuming.artifact(whole) == resuming.artifact(plain)  # writing them changes nothing
        moments = random.Random(f"{name} {configuration}")
        most = points / (2 if name in SLOW else 8)  # checkpoints between two interruptions, on average
        disturbed = job(tmp_path / "disturbed", name, configuration, more)
        runs = []
        for one in resuming.runs(name, disturbed, lambda writes: not runs or moments.random() < 1 / most):
            runs.append(one)
            assert len(runs) <= points, one.log
        assert len(runs) > 1
        assert resuming.artifact(disturbed) == resuming.artifact(plain)
        assert told(name, runs) == told(name, [undisturbed])


def told(name: str, runs: list[resuming.Run]) -> list[str]:
    """The lines about epochs. Each start of the linear learner reads the first rows, for their scale, and says so."""
    lines = [line for run in runs for line in run.told]
    return [line for line in lines if name != "linear-learner" or "_data_iter" not in line]
