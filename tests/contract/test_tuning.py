"""Hyperparameter tuning outside of SageMaker: a public optimiser (SciPy's differential evolution, or its grid for
networks, whose training takes seconds) reads the log.

It knows no more than SageMaker's tuner: the ranges and the objective metrics that ``describe`` states, and the lines of
the log, of which the last that matches the metric's regular expression counts. From a bad start it must find better.
"""

from __future__ import annotations

import io
import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy.optimize import brute, differential_evolution
from sklearn.datasets import load_digits

from algorithms import hyperparameters, registry
from algorithms.seq2seq.vocabulary import Vocabulary
from container import describe
from container.settings import Settings
from container.training import train
from recordio.framing import write_frame
from recordio.record_writer import encode_records
from recordio.sequences import encode
from tests.algorithms import samples
from tests.opt_ml import OptMl

CSV, RECORDIO = "text/csv", "application/x-recordio-protobuf"
IMAGES = load_digits().data.astype(np.float32)
DIGITS = load_digits().target.astype(np.float32)
TRAINED, HELD_OUT = slice(0, 600), slice(600, 800)


def csv(labels: np.ndarray | None) -> Callable[[slice], bytes]:
    def write(rows: slice) -> bytes:
        table = IMAGES[rows] if labels is None else np.column_stack([labels[rows], IMAGES[rows]])
        return "".join(",".join(f"{value:g}" for value in row) + "\n" for row in table).encode()

    return write


def recordio(labels: np.ndarray | None) -> Callable[[slice], bytes]:
    return lambda rows: encode_records(IMAGES[rows], None if labels is None else labels[rows])


@dataclass(frozen=True)
class Problem:
    """One search: ``searched`` has a range within the declared one, and the bad start in it.

    ``channels`` makes content type and files of each channel; ``grid`` is for networks: the bad start, the middle and
    the other end of the one range; ``around`` is what it happens in.
    """

    metric: str
    searched: Mapping[str, tuple[float, float, float]]
    fixed: Mapping[str, Any]
    channels: Callable[[], Mapping[str, tuple[str, Any]]]
    grid: bool = False
    around: Callable[[], AbstractContextManager[None]] = nullcontext


def rows(write: Callable[[slice], bytes], content_type: str, held_out: str = "test") -> Callable[[], Any]:
    """Digits to train on, and digits to score."""
    return lambda: {"train": (content_type, write(TRAINED)), held_out: (content_type, write(HELD_OUT))}


def pictures() -> Mapping[str, tuple[str, Any]]:
    """Two classes of noisy images, in MXNet's records."""
    media = "application/x-recordio"
    return {name: (media, framed(samples.pictures(count))) for name, count in (("train", 48), ("validation", 16))}


def framed(records: Sequence[bytes]) -> bytes:
    stream = io.BytesIO()
    for record in records:
        write_frame(stream, record)
    return stream.getvalue()


def backwards() -> Mapping[str, tuple[str, Any]]:
    """Words to be written backwards."""
    words = Vocabulary.of(samples.SEQ2SEQ_WORDS).to_json().encode()
    return {
        "train": (RECORDIO, encode(samples.seq2seq_pairs(100))),
        "validation": (RECORDIO, encode(samples.seq2seq_pairs(40, 1))),
        "vocab": ("application/json", {"vocab.src.json": words, "vocab.trg.json": words}),
    }


_LONGER = {"num_training_samples": 48, "mini_batch_size": 16, "epochs": 12}
"""All are told apart then, with the best learning rate; enough steps, of so small a network, that compiling pays."""

PROBLEMS = {
    "kmeans": Problem(
        "test:msd",
        {"extra_center_factor": (4, 10, 4), "epochs": (1, 4, 1)},
        {"k": 40, "feature_dim": 64},
        rows(csv(None), "text/csv;label_size=0"),
    ),
    "linear-learner": Problem(
        "validation:objective_loss",
        {"learning_rate": (1e-5, 0.1, 1e-5), "wd": (1e-7, 1, 1)},
        {"predictor_type": "binary_classifier", "epochs": 3, "mini_batch_size": 100, "num_models": 1},
        rows(csv((DIGITS < 5).astype(np.float32)), CSV, "validation"),
    ),
    "factorization-machines": Problem(
        "test:binary_classification_cross_entropy",
        {"factors_lr": (1e-5, 0.1, 1e-5), "linear_lr": (1e-5, 0.1, 1e-5)},
        {"predictor_type": "binary_classifier", "feature_dim": 64, "num_factors": 4, "epochs": 5},
        rows(recordio((DIGITS < 5).astype(np.float32)), RECORDIO),
    ),
    "lda": Problem(
        "test:pwll",
        {"num_topics": (1, 20, 1), "alpha0": (0.1, 10, 10)},
        {"feature_dim": 64, "mini_batch_size": 600},
        rows(csv(None), "text/csv;label_size=0"),
    ),
    "xgboost": Problem(
        "validation:merror",
        {"eta": (0.1, 0.5, 0.1), "max_depth": (1, 6, 1)},
        {"objective": "multi:softmax", "num_class": 10, "num_round": 4},
        rows(csv(DIGITS), CSV, "validation"),
    ),
    "ntm": Problem(
        "validation:total_loss",
        {"learning_rate": (1e-4, 0.1, 1e-4)},
        {"num_topics": 5, "feature_dim": 64, "optimizer": "adam", "epochs": 2, "mini_batch_size": 100},
        rows(csv(None), "text/csv;label_size=0", "validation"),
        grid=True,
        around=samples.eagerly,
    ),
    "image-classification": Problem(
        "validation:accuracy",
        {"learning_rate": (1e-3, 0.1, 1e-3)},
        {**samples.SAMPLES["image-classification"].hyperparameters, **_LONGER},
        pictures,
        grid=True,
        around=samples.one_unit,
    ),
    "seq2seq": Problem(
        "validation:perplexity",
        {"learning_rate": (5e-5, 0.1, 5e-5)},
        samples.SEQ2SEQ.hyperparameters,
        backwards,
        grid=True,
        around=samples.eagerly,
    ),
}


@pytest.fixture(autouse=True)
def logging_as_before():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_every_algorithm_that_can_be_tuned_is_searched_here():
    found = [registry.find(name) for name in registry.ALGORITHMS]
    tunable = {
        algorithm.name
        for algorithm in found
        if any(metric.objective for metric in algorithm.metrics)
        and any(field.tunable for field in hyperparameters.fields(algorithm.hyperparameters).values())
    }
    assert tunable == set(PROBLEMS)


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_search_over_the_logs_metric_finds_better_than_its_start(name, tmp_path, capsys):
    problem, specification = PROBLEMS[name], describe.training_specification(registry.find(name), "image")
    (regex,) = [one["Regex"] for one in specification["MetricDefinitions"] if one["Name"] == problem.metric]
    objectives = {one["MetricName"]: one["Type"] for one in specification["SupportedTuningJobObjectiveMetrics"]}
    sign = -1 if objectives[problem.metric] == "Maximize" else 1
    tried: list[float] = []

    def objective(point: np.ndarray) -> float:
        values = {one: value(name, one, at) for one, at in zip(problem.searched, point, strict=True)}
        log = run(name, problem, values, tmp_path / str(len(tried)), capsys)
        # CloudWatch writes a tab as #011, and so do the expressions.
        tried.append(float(re.findall(regex, log.replace("\t", "#011"))[-1]))
        return sign * tried[-1]

    start = [position(name, one, bad) for one, (_, _, bad) in problem.searched.items()]
    bounds = [(position(name, one, low), position(name, one, high)) for one, (low, high, _) in problem.searched.items()]
    with problem.around():
        if problem.grid:
            assert start == [low for low, _ in bounds]
            best = brute(objective, bounds, Ns=3, finish=None, full_output=True)[1]
        else:
            best = differential_evolution(
                objective, bounds, x0=start, popsize=2, maxiter=1, polish=False, init="halton", rng=1, tol=0
            ).fun
    assert all(map(math.isfinite, tried)) and len(set(tried)) > 1
    assert best < sign * tried[0], tried


def run(name: str, problem: Problem, values: Mapping[str, Any], base: Any, capsys: Any) -> str:
    """The log of a job that has succeeded."""
    job = OptMl(base, thin=True).hyperparameters(
        {**problem.fixed, **values, "_tuning_objective_metric": problem.metric}
    )
    for channel, (content_type, files) in problem.channels().items():
        job.channel(channel, files, content_type)
    code = train.run(job.paths, Settings(base_directory=base, algorithm=name))
    log = capsys.readouterr().out
    assert code == 0, log
    return log


def is_logarithmic(name: str, hyperparameter: str) -> bool:
    """What SageMaker's tuner decides by the range where the scale is Auto."""
    tunable = hyperparameters.fields(registry.find(name).hyperparameters)[hyperparameter].tunable
    assert tunable is not None and tunable.low is not None and tunable.high is not None
    return tunable.scale == "Logarithmic" or (tunable.scale == "Auto" and 0 < 1000 * tunable.low < tunable.high)


def position(name: str, hyperparameter: str, value: float) -> float:
    """Where the optimiser has a value that is in the declared range."""
    tunable = hyperparameters.fields(registry.find(name).hyperparameters)[hyperparameter].tunable
    assert tunable.low <= value <= tunable.high
    return math.log(value) if is_logarithmic(name, hyperparameter) else value


def value(name: str, hyperparameter: str, at: float) -> str:
    """The hyperparameter's value there, as the tuner writes it."""
    field = hyperparameters.fields(registry.find(name).hyperparameters)[hyperparameter]
    number = math.exp(at) if is_logarithmic(name, hyperparameter) else at
    return str(round(number) if field.kind == "integer" else min(max(number, field.tunable.low), field.tunable.high))
