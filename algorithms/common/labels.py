"""What labels of a regression must be, whichever algorithm learns them."""

from __future__ import annotations

import numpy as np

from algorithms.errors import TrainingDataError

LARGEST = 1e37
"""Float32 ends at 3.4e38: predictions of larger labels, and their differences from them, would be beyond it."""


def check_size(labels: np.ndarray) -> None:
    """Raise TrainingDataError where one of the labels (n,) is larger than ``LARGEST``, or below its negative."""
    large = np.abs(labels) > LARGEST
    if large.any():
        raise TrainingDataError(
            f"labels must be from -{LARGEST:g} to {LARGEST:g}, since predictions are float32, but one is "
            f"{labels[large][0]:g}: divide the labels by a number that brings them to values around 1"
        )
