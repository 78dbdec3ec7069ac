"""What a job is: two that train otherwise are told apart, though their values be the same."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from algorithms.common.hosts import ONE_HOST
from algorithms.factorization_machines import FactorizationMachines
from algorithms.linear_learner import LinearLearner
from container.training import config
from container.training.hosts import description
from container.training.identity import differences, identity
from tests.opt_ml import OptMl

MACHINES = {"feature_dim": 2, "num_factors": 2, "predictor_type": "regressor"}
LINEAR = {"predictor_type": "regressor"}


def told(tmp_path, algorithm, **values):
    """What a job is to its checkpoints, and to the other hosts."""
    opt_ml = OptMl(Path(tempfile.mkdtemp(dir=tmp_path))).hyperparameters(values)
    opt_ml.channel("train", b"1,2,3\n", "application/x-recordio-protobuf")
    configured = config.read(opt_ml.paths, algorithm)
    return identity(algorithm, configured, opt_ml.paths, ONE_HOST), description(opt_ml.paths, algorithm, configured)


@pytest.mark.parametrize(
    ("algorithm", "values", "stated"),
    [
        (FactorizationMachines, MACHINES, {"factors_lr": "0.0001"}),  # else by trials
        (FactorizationMachines, MACHINES, {"linear_wd": "0.001"}),
        (FactorizationMachines, MACHINES, {"factors_init_sigma": "0.001"}),
        (LinearLearner, LINEAR, {"mini_batch_size": "1000"}),  # else by the number of rows
        (LinearLearner, LINEAR, {"normalize_data": "true"}),
        (LinearLearner, LINEAR, {"init_sigma": "0.01"}),  # else from 0
    ],
)
def test_a_default_that_is_stated_is_another_job_where_the_data_would_decide(tmp_path, algorithm, values, stated):
    absent, of_absent = told(tmp_path, algorithm, **values)
    one, of_one = told(tmp_path, algorithm, **values, **stated)
    assert list(differences(absent, one)) == [
        f'hyperparameters stated at their defaults was null and is ["{next(iter(stated))}"]'
    ]
    assert of_absent != of_one


def test_a_default_that_is_stated_is_the_same_job_where_an_absent_value_is_that_default(tmp_path):
    stated = {"use_bias": "true", "mini_batch_size": "1000"}
    assert told(tmp_path, FactorizationMachines, **MACHINES) == told(
        tmp_path, FactorizationMachines, **MACHINES, **stated
    )
