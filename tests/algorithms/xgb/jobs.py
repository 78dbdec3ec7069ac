"""Small jobs for the tests of the xgboost algorithm."""

from __future__ import annotations

from typing import Any

import numpy as np
import xgboost as xgb

from algorithms import hyperparameters
from algorithms.xgb import XGBoost
from algorithms.xgb.model import XGBModel
from tests.algorithms.fakes import FakeJob, MemoryStream


def rows(count: int = 300, seed: int = 0, missing: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Features of shape (count, 5) with missing values, and noisy labels 0 and 1 that depend on them."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(count, 5)).astype(np.float32)
    labels = (features[:, 0] * features[:, 1] + features[:, 2] + random.normal(size=count) > 0).astype(np.float32)
    features[random.random(features.shape) < missing] = np.nan
    return features, labels


def parse(**given: Any) -> Any:
    """Hyperparameters with 5 rounds and, so that tests do not wait for busy cores, one thread."""
    names = {"lambda_": "lambda", "kfold": "_kfold", "num_cv_round": "_num_cv_round"}
    strings = {names.get(name, name): str(value) for name, value in given.items()}
    return hyperparameters.parse(XGBoost.hyperparameters, {"num_round": "5", "nthread": "1", **strings})


def fit(
    train: Any = None, validation: Any = None, job: FakeJob | None = None, model: Any = None, **given: Any
) -> XGBModel:
    """A model of ``train``, (features, labels) or a stream."""
    channels = {"train": train if train is not None else rows()}
    if validation is not None:
        channels["validation"] = validation
    streams = {name: data if hasattr(data, "batches") else MemoryStream(*data) for name, data in channels.items()}
    if model is not None:
        streams["model"] = model
    return XGBoost.fit(parse(**given), streams, job or FakeJob())


def library(parameters: dict[str, Any], matrix: xgb.DMatrix, rounds: int = 5, **options: Any) -> xgb.Booster:
    """What XGBoost itself makes of the same, on one thread."""
    return xgb.train({"nthread": 1, **parameters}, matrix, rounds, **options)


def round_by_round(parameters: dict[str, Any], matrix: xgb.DMatrix, rounds: int) -> xgb.Booster:
    """The same with a new process, as it were, for each round: a booster that knows nothing but the model so far, and
    draws random numbers from the round's own seed."""
    raw = None
    for number in range(rounds):
        seed = parameters.get("seed", 0) + 1_000_003 * number
        booster = xgb.Booster({"nthread": 1, **parameters, "seed": seed}, [matrix], raw)
        booster.update(matrix, 0)
        raw = booster.save_raw("ubj")
    return booster


def dumped(booster: xgb.Booster) -> bytes:
    """Everything that makes the model, except the attributes."""
    bare = booster.copy()
    bare.set_attr(best_iteration=None, best_score=None)
    return bytes(bare.save_raw("json"))


def groups(count: int = 300, size: int = 10) -> np.ndarray:
    """Query ids that are contiguous but do not rise."""
    return np.repeat(np.arange(count // size)[::-1], size).astype(np.int64)
