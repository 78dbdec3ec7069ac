"""A model as a fitted estimator of scikit-learn, whose attributes are set instead of learned.

It holds scikit-learn's own classes and NumPy's arrays alone, in float64, so that it opens where this project is not
installed.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

E = TypeVar("E")


def fitted(estimator: E, width: int, **learned: Any) -> E:
    """The estimator with attributes as after ``fit`` on ``width`` features; arrays of floats become float64."""
    for name, value in (learned | {"n_features_in_": width}).items():
        is_float = isinstance(value, np.ndarray) and value.dtype.kind == "f"
        setattr(estimator, name, value.astype(np.float64) if is_float else value)
    return estimator
