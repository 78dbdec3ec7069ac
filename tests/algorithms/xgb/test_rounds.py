"""Rounds through XGBoost's C interface, beside ``xgboost.train``."""

import numpy as np
import pytest
import xgboost as xgb

from algorithms.xgb import monitor
from algorithms.xgb.rounds import Rounds
from tests.algorithms.fakes import FakeJob
from tests.algorithms.xgb.jobs import fit

PARAMETERS = {"objective": "binary:logistic", "eval_metric": ["auc", "logloss"], "subsample": 0.7, "nthread": 1}


def rows(seed, labels=None):
    """60 rows of 4 features with a few missing."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(60, 4)).astype(np.float32)
    features[random.random(features.shape) < 0.1] = np.nan
    return xgb.DMatrix(features, random.integers(0, 2, 60) if labels is None else labels, nthread=1)


def half(predictions, matrix):
    """A metric of ours, which XGBoost calls in Python."""
    return [("half", float(np.mean(predictions > 0.5)))]


def told(booster, matrices, metric=None, rounds=4):
    """The scores of each round, as XGBoost logs them."""
    boosting = Rounds(booster, matrices, metric)
    lines = []
    for number in range(rounds):
        boosting.grow(number)
        lines.append(boosting.scores(number))
    return lines


@pytest.mark.parametrize("metric", [None, half])
def test_model_and_scores_are_those_of_the_librarys_own_loop(metric):
    matrices = [(rows(1), "train"), (rows(2), "validation")]
    log = {}
    expected = xgb.train(PARAMETERS, matrices[0][0], 4, evals=matrices, evals_result=log, custom_metric=metric,
                         verbose_eval=False)  # fmt: skip
    booster = xgb.Booster(PARAMETERS, [matrix for matrix, _ in matrices])
    lines = told(booster, matrices, metric)
    assert booster.save_raw() == expected.save_raw()
    for number, line in enumerate(lines):
        head, *scores = line.split("\t")
        assert head == f"[{number}]"
        found = dict(score.split(":") for score in scores)
        assert {name: float(value) for name, value in found.items()} == {
            f"{dataset}-{name}": values[number] for dataset, metrics in log.items() for name, values in metrics.items()
        }


def test_what_xgboost_refuses_is_its_error():
    bad = [(rows(1, np.append(np.zeros(59), 2)), "train")]
    with pytest.raises(xgb.core.XGBoostError, match="label must be in"):
        told(xgb.Booster(PARAMETERS, [bad[0][0]]), bad)


def test_short_rounds_are_reported_together_and_before_an_error(monkeypatch):
    asked, grow = [], Rounds.grow

    def fails_late(self, number):
        asked.append(len(job.rounds))
        if number == 3:
            raise xgb.core.XGBoostError("Check failed: out of luck")
        grow(self, number)

    job = FakeJob()
    monkeypatch.setattr(monitor, "TOLD_SECONDS", 3600)
    monkeypatch.setattr(Rounds, "grow", fails_late)
    with pytest.raises(xgb.core.XGBoostError, match="out of luck"):
        fit(job=job, num_round=5)
    assert asked == [0, 0, 0, 0]
    assert [step for step, _ in job.rounds] == [0, 1, 2]
