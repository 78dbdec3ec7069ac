"""What a million rows cost: processor seconds and the peak of memory, to train on them and to predict.

The rows are those of ``benchmarks.growth`` at their base, more of them; seconds are scaled to a million, memory is not:
it is what the call took at its most beyond the rows themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from algorithms import hyperparameters, registry
from benchmarks.common import apart, cost
from benchmarks.growth import CASES
from container import resources
from recordio.batches import Batch
from tests.algorithms.fakes import FakeJob, MemoryStream

MORE = 16
"""Times the rows of the base; in quick mode a sixteenth of the base."""


class Cost(NamedTuple):
    """Of one algorithm, for a million rows."""

    algorithm: str
    rows: int
    training_seconds: float
    training_megabytes: float
    predicting_seconds: float
    predicting_megabytes: float


def costs(quick: bool = False) -> Sequence[Cost]:
    """Each algorithm in a process of its own."""
    return [apart(measured, name, quick) for name, case in CASES.items() if case.rows is not None]


def measured(name: str, quick: bool) -> Cost:
    """Of one algorithm."""
    case = CASES[name]
    sizes = case.few() if quick else {**case.base, "rows": case.base["rows"] * MORE}
    algorithm = registry.find(case.algorithm)
    strings = {key: str(value) for key, value in case.given(sizes).items()}
    values = hyperparameters.parse(algorithm.hyperparameters, strings)
    rows, labels = case.rows(sizes)
    few = rows[: rows.shape[0] // 10]
    few_labels = None if labels is None else labels[: len(labels) // 10]
    job = partial(FakeJob, memory=resources.memory())
    with case.within():
        algorithm.fit(values, {"train": MemoryStream(few, few_labels)}, job())
        trained = cost(lambda: algorithm.fit(values, {"train": MemoryStream(rows, labels)}, job()))
    trained.result.predict(Batch(few))
    asked = cost(lambda: trained.result.predict(Batch(rows)))
    to_million = 1e6 / sizes["rows"]
    return Cost(
        name,
        sizes["rows"],
        trained.seconds * to_million,
        trained.memory / 1e6,
        asked.seconds * to_million,
        asked.memory / 1e6,
    )
