"""Every algorithm goes on from its checkpoints: the model of a job that was interrupted, wherever and however often, is
that of one that was not, bit for bit, and each epoch has its lines in the log once."""

from __future__ import annotations

import importlib
import os
import random
import signal
from contextlib import nullcontext

import numpy as np
import pytest

from algorithms import registry
from algorithms.common.networks import variables_from_arrays
from algorithms.errors import ModelError
from algorithms.interface import Configuration
from algorithms.ntm.model import NTMModel
from tests import resuming
from tests.algorithms import samples

THOROUGH = bool(os.environ.get("OBA_THOROUGH"))
SLOW = ("ntm", "seq2seq", "image-classification")
"""Each start of these takes about a second, of which several are made."""


def jobs() -> list[tuple[str, str, dict[str, str]]]:
    """Algorithm, configuration, and hyperparameters on top."""
    found = [
        (name, configuration.name, more)
        for name, more in {**dict.fromkeys(registry.ALGORITHMS, {}), **resuming.MORE}.items()
        for configuration in configurations(name)
        if name != "xgboost"
    ]
    image = configurations("image-classification")[0].name
    frequencies = [{"epochs": "3", "checkpoint_frequency": "1"}, {"epochs": "4", "checkpoint_frequency": "3"}]
    return found + [("image-classification", image, more) for more in frequencies if THOROUGH]


def configurations(name: str) -> tuple[Configuration, ...]:
    """Those that are tried: all, where that is fast."""
    return registry.find(name).configurations[: 1 if name in SLOW and not THOROUGH else None]


@pytest.fixture(autouse=True)
def mini_batches(monkeypatch):
    """The linear learner's rows fit into no memory: its exact training, of seconds, begins anew after a stop."""
    monkeypatch.setattr("algorithms.linear_learner.path.PATH_MEMORY", 0)


@pytest.fixture
def eager():
    with samples.eagerly():
        yield


@pytest.mark.parametrize(("name", "configuration", "more"), jobs())
def test_an_interrupted_job_ends_as_one_that_was_not(tmp_path, name, configuration, more):
    with samples.eagerly(shallow=True) if name in SLOW else nullcontext():
        plain = resuming.job(tmp_path / "plain", name, configuration, more)
        plain.paths.checkpoints.rmdir()
        undisturbed = resuming.run(name, plain)
        assert undisturbed.code == 0, undisturbed.log
        whole = resuming.job(tmp_path / "whole", name, configuration, more)
        points = resuming.run(name, whole).writes
        assert points > 1
        assert resuming.artifact(whole) == resuming.artifact(plain)  # writing them changes nothing
        moments = random.Random(f"{name} {configuration}")
        most = points / (2 if name in SLOW else 8)  # checkpoints between two interruptions, on average
        disturbed = resuming.job(tmp_path / "disturbed", name, configuration, more)
        runs = []
        for one in resuming.runs(name, disturbed, lambda writes: not runs or moments.random() < 1 / most):
            runs.append(one)
            assert len(runs) <= points + 1, one.log
        assert len(runs) > 1
        assert resuming.artifact(disturbed) == resuming.artifact(plain)
        assert told(name, runs) == told(name, [undisturbed])


def told(name: str, runs: list[resuming.Run]) -> list[str]:
    """The lines about epochs. Each start of the linear learner reads the first rows, for their scale, and says so."""
    lines = [line for run in runs for line in run.told]
    return [line for line in lines if name != "linear-learner" or "_data_iter" not in line]


@pytest.mark.usefixtures("eager")
def test_ntm_that_is_stopped_while_it_scores_goes_on_from_there(tmp_path, monkeypatch):
    configuration = configurations("ntm")[0].name
    plain, stopped = (resuming.job(tmp_path / name, "ntm", configuration, resuming.MORE["ntm"]) for name in "ab")
    undisturbed = resuming.run("ntm", plain)
    scored, score = [], NTMModel.loss

    def loss(*arguments):
        scored.append(1)
        if len(scored) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return score(*arguments)

    monkeypatch.setattr(NTMModel, "loss", loss)
    runs = []
    for one in (1, 2):
        runs.append(resuming.run("ntm", stopped))
        assert runs[-1].code == (128 + signal.SIGTERM if one == 1 else 0), runs[-1].log
    assert "from checkpoint" in runs[1].log
    assert resuming.artifact(stopped) == resuming.artifact(plain)
    assert told("ntm", runs) == told("ntm", [undisturbed])


@pytest.mark.usefixtures("eager")
def test_ntm_that_is_stopped_in_the_midst_of_an_epoch_tells_of_it_once(tmp_path, monkeypatch):
    network = importlib.import_module("algorithms.ntm.network")  # imports Keras, which takes seconds
    configuration = configurations("ntm")[0].name
    plain, stopped = (resuming.job(tmp_path / name, "ntm", configuration, resuming.MORE["ntm"]) for name in "ab")
    undisturbed = resuming.run("ntm", plain)
    steps, learn = [], network.Network.step

    def step(*arguments):
        steps.append(1)
        if len(steps) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return learn(*arguments)

    monkeypatch.setattr(network.Network, "step", step)
    runs = [resuming.run("ntm", stopped) for _ in range(2)]
    assert [one.code for one in runs] == [128 + signal.SIGTERM, 0]
    assert resuming.artifact(stopped) == resuming.artifact(plain)
    assert told("ntm", runs) == told("ntm", [undisturbed])


class Variable:
    """Of Keras, as far as checkpoints ask."""

    def __init__(self, value):
        self.value = np.float32(value)
        self.shape = self.value.shape

    def assign(self, value):
        self.value = value


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ([[0, 0], [[1, 2, 3], [4, 5, 6]]], r"array variable.1 has shape \(2, 3\), and this network's \(3, 2\)"),
        ([[0, 0]], "has 1 arrays, and this network 2"),
        ([[0, 0], [[1, 2], [3, 4], [5, 6]], [7]], "has 3 arrays, and this network 2"),
    ],
)
def test_a_checkpoint_of_a_network_that_other_code_laid_out_says_what_to_do(stored, said):
    variables = [Variable([1, 1]), Variable(np.ones((3, 2)))]
    arrays = {f"variable.{number}": np.float32(value) for number, value in enumerate(stored)}
    with pytest.raises(ModelError, match=f"{said}: other code than this wrote it; empty the folder of checkpoints"):
        variables_from_arrays(variables, arrays)
    assert all((variable.value == 1).all() for variable in variables)
