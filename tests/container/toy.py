"""An algorithm small enough to be checked by eye: its model is the mean of the training rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from algorithms.errors import ModelError, TrainingDataError, TrainingStopped
from algorithms.events import FinalScore, Measured, Progress
from algorithms.hyperparameters import Hyperparameters, Tunable, choice, flag, integer, listing, real
from algorithms.interface import CSV, FILE, JSON, PIPE, RECORDIO, Algorithm, Channel, Column, Metric, Model, Serving
from recordio.batches import Batch


@dataclass(frozen=True, kw_only=True)
class ToyHyperparameters(Hyperparameters):
    feature_dim: int = integer(at_least=1, help="Number of features.")
    epochs: int = integer(default=1, at_least=1, at_most=100, help="Passes.", tunable=Tunable(low=1, high=10))
    rate: float = real(default=0.5, above=0, below=1, help="A rate | with a bar.")
    factor: int | str = integer(default="auto", at_least=1, auto=True, help="A factor.")
    tuned_factor: int | str = integer(default="auto", auto=True, help="Another.", tunable=Tunable(low=1, high=9))
    method: str = choice("plain", "fancy", default="plain", help="How.")
    centre: bool = flag(default=True, help="Whether.")
    scores: tuple[str, ...] = listing(default=("msd",), choices=("msd", "ssd"), help="Which scores.")


class ToyModel(Model):
    def __init__(self, mean: np.ndarray) -> None:
        self.mean = np.asarray(mean, dtype=np.float32)

    @property
    def feature_dim(self) -> int:
        return len(self.mean)

    def predict(self, batch: Batch, parameters: Any = None) -> dict[str, np.ndarray]:
        return {"distance": np.linalg.norm(np.asarray(batch.features) - self.mean, axis=1)}

    def save(self, directory: Path) -> None:
        (directory / "model_algo-1").write_bytes(self.mean.tobytes())


class Toy(Algorithm):
    """The mean."""

    name = "toy"
    title = "Toy"
    summary = "Finds the mean."
    hyperparameters = ToyHyperparameters
    channels = (
        Channel(name="train", help="Rows.", required=True, accepts=(RECORDIO, CSV)),
        Channel(name="test", help="Scored rows.", accepts=(RECORDIO, CSV), modes=(FILE, PIPE)),
    )
    columns = (Column("distance", "To the mean."),)
    metrics = (Metric(name="test:msd", regex=r"#quality_metric: host=\S+, test msd <loss>=(\S+)", objective=True),)
    serving = Serving(accepts=(CSV, JSON))

    @classmethod
    def fit(cls, hyperparameters: Any, channels: Any, job: Any) -> Model:
        total, rows = np.zeros(hyperparameters.feature_dim), 0
        for epoch in range(hyperparameters.epochs):
            with job.timer("update.time"):
                for batch in channels["train"].batches(100):
                    if job.stop_requested:
                        raise TrainingStopped("the toy was asked to stop")
                    total += np.asarray(batch.features).sum(axis=0)
                    rows += len(batch)
            job.report(Progress(epoch + 1, hyperparameters.epochs))
        if not rows:
            raise TrainingDataError("no rows")
        model = ToyModel(total / rows)
        for batch in channels["test"].batches() if "test" in channels else ():
            value = float(np.mean(model.predict(batch)["distance"] ** 2))
            job.report(FinalScore("test", "msd", value))
            job.report(Measured.of("test", "msd", value))
        return model

    @classmethod
    def load(cls, directory: Path) -> Model:
        file = directory / "model_algo-1"
        if not file.is_file():
            raise ModelError(f"{directory} holds no model_algo-1")
        return ToyModel(np.frombuffer(file.read_bytes(), np.float32))

    @classmethod
    def recognises(cls, directory: Path) -> bool:
        return (directory / "model_algo-1").is_file()
