"""A small job of any configuration that an algorithm declares, for the tests of all algorithms."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from algorithms.events import Event, Measured, Progress, Score, Throughput
from algorithms.interface import JSON, Algorithm, Configuration
from container.serving.request import Endpoint, Request, respond
from container.settings import Settings
from container.training import dialects
from recordio.batches import Batch
from tests.algorithms import samples
from tests.algorithms.fakes import FakeJob


def strings(algorithm: type[Algorithm], **more: str) -> dict[str, str]:
    """The hyperparameters of the first configuration, and more."""
    return {**algorithm.configurations[0].hyperparameters, **more}


class Case:
    """A configuration of an algorithm, with its rows and jobs."""

    def __init__(self, algorithm: type[Algorithm], configuration: Configuration) -> None:
        self.algorithm = algorithm
        self.configuration = configuration

    def rows(self, seed: int = 0, count: int = samples.COUNT) -> np.ndarray:
        """Rows as the configuration wants them, (count, width) float32."""
        return samples.features(self.configuration, count, samples.width(self.algorithm, self.configuration), seed)

    def values(self, **more: str) -> Any:
        """Its typed hyperparameters."""
        return samples.parsed(self.algorithm, self.configuration, **more)

    def fit(self, rows: Any = None, job: FakeJob | None = None, options: Any = None, **more: str) -> Any:
        """A model that no other check sees."""
        with tempfile.TemporaryDirectory() as folder, samples.around(self.configuration):
            channels = samples.channels(self.algorithm, self.configuration, Path(folder), rows, **(options or {}))
            return self.algorithm.fit(self.values(**more), channels, job or FakeJob())

    def predicted(self, model: Any, seed: int = 1) -> dict[str, Any]:
        """What the model says of rows that it was not trained on, or of requests."""
        if samples.has_rows(self.configuration):
            return model.predict(Batch(self.rows(seed)))
        return {
            f"{media} {number}": np.frombuffer(answered(self.algorithm, model, body, media), np.uint8)
            for number, (media, body) in enumerate(samples.requests(self.algorithm, self.configuration))
        }


@functools.cache
def trained(algorithm: type[Algorithm], name: str) -> tuple[Any, FakeJob]:
    """The model of a configuration, trained once for all checks that only look at it, and its job."""
    job = FakeJob()
    return Case(algorithm, samples.configurations(algorithm.name)[name]).fit(job=job), job


def model_of(case: Case) -> Any:
    return trained(case.algorithm, case.configuration.name)[0]


def saved(model: Any, folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    model.save(folder)
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def answered(algorithm: type[Algorithm], model: Any, body: bytes, media: str) -> bytes:
    endpoint = Endpoint.of(algorithm, model, Settings())
    response = respond(Request(body, media, JSON), endpoint)
    assert response.status == 200, response.body
    return response.body


def same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


ROWS_ONLY: set[Any] = set()
TRAINS: set[Any] = set()


def rows_only(check: Any) -> Any:
    """Marks a check that has a meaning only where channels and requests are rows of features."""
    ROWS_ONLY.add(check)
    return check


def trains(check: Any) -> Any:
    """Marks a check that trains models of its own."""
    TRAINS.add(check)
    return check


def lines(algorithm: type[Algorithm], metric: str) -> Iterator[str]:
    """Every kind of line of the algorithm's dialect that can carry a metric called ``dataset:name``, as CloudWatch
    shows it."""
    dialect = dialects.find(algorithm.log_dialect)(algorithm.title, "algo-1")
    dataset, name, *_ = metric.split(":")
    words = (name, "mse_objective", f"{name.removesuffix('_beta')}_1.000", f"{name}_2", f"{name}_3")
    places = ((None, None), (0, None), (0, 0))
    scores = [Score(dataset, word, 0.25, maximize) for word in words for maximize in (False, True)]
    events: list[Event] = [Measured((score,), *place) for score in scores for place in places]
    for event in (*events, Progress(1, 4), Throughput(1, 4.0)):
        for line in dialect.event(event):
            yield line.text.replace("\t", "#011")
