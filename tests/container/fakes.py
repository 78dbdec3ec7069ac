"""The least algorithm there can be, to look at the container alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from algorithms.errors import ModelError, PredictionError
from algorithms.hyperparameters import Hyperparameters
from algorithms.interface import CSV, JSON, JSON_LINES, LIBSVM, RECORDIO, Algorithm, Column, Model, Serving
from container.serving import dialects
from recordio.batches import Batch

WIDTH = 3


class Sums(Model):
    """``total``: the sum of a row. ``ends``: its first and its last feature. A row of sevens is its undoing."""

    feature_dim = WIDTH

    def predict(self, batch: Batch, parameters: Any = None) -> dict[str, np.ndarray]:
        dense = batch.features.toarray() if batch.is_sparse else batch.features
        if (dense == 7).all(axis=1).any():
            raise RuntimeError("secret of the inside")
        if (dense == 6).all(axis=1).any():
            raise PredictionError("a row of sixes has no sum")
        return {"total": dense.sum(axis=1), "ends": dense[:, [0, -1]]}

    def select(self, batch: Batch, outputs: Sequence[str]) -> dict[str, Any]:
        n = len(batch)
        known = {
            "label": np.ones(n, np.int64),
            "pair": np.tile(np.array([0.25, 0.75], np.float32), (n, 1)),
        }
        return {name: known.get(name, np.full(n, np.nan)) for name in outputs}

    def save(self, directory: Path) -> None:
        (directory / "sums").write_text("sums")


class Fake(Algorithm):
    name = "fake"
    title = "Fake"
    summary = "Adds."
    hyperparameters = Hyperparameters
    channels = ()
    columns = (Column("total", help="Sum."), Column("ends", help="First and last.", shape=(2,)))
    metrics = ()
    serving = Serving(accepts=(CSV, JSON, JSON_LINES, RECORDIO))

    @classmethod
    def fit(cls, hyperparameters: Any, channels: Mapping[str, Any], job: Any) -> Model:
        return Sums()

    @classmethod
    def load(cls, directory: Path) -> Model:
        if (directory / "sums").read_text() != "sums":
            raise ModelError(f"{directory / 'sums'} does not hold sums")
        return Sums()

    @classmethod
    def recognises(cls, directory: Path) -> bool:
        return (directory / "sums").exists()


class LikeXGBoost(Fake):
    """With every habit of XGBoost's container."""

    name = "like-xgboost"
    serving = replace(
        Fake.serving,
        accepts=(CSV, LIBSVM, RECORDIO),
        answers=(JSON, JSON_LINES, RECORDIO, CSV),
        dialect="like-xgboost",
        missing_values=True,
        outputs=("label", "pair"),
        multi_model=True,
    )


dialects._DIALECTS["like-xgboost"] = replace(
    dialects.XGBOOST,
    unsupported="{0} is not an accepted ContentType: csv, libsvm",
    unreadable_prefix="Loading data failed: ",
)
