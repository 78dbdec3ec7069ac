"""A small job and small requests for each algorithm whose data are no rows, for the checks of the contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Sample:
    """What ``test_contract`` needs to train and ask a model.

    Attributes:
        hyperparameters: the required ones, and what makes the job small.
        channels: makes the channels of a job, as ``fit`` gets them, with their files in the folder it is given.
        requests: pairs of media type and body.
    """

    hyperparameters: dict[str, str]
    channels: Callable[[Path], dict[str, Any]]
    requests: Callable[[], Iterator[tuple[str, bytes]]]


SAMPLES: dict[str, Sample] = {}
