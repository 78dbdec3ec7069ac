"""What a model answers, checked before it goes out: by servers, ``algorithms.load`` and the estimators alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from algorithms.errors import PredictionError
from algorithms.interface import NO_PARAMETERS, Model


def answer(model: Model, batch: Any, parameters: Mapping[str, str] = NO_PARAMETERS) -> dict[str, Any]:
    """What ``model.predict`` gives, if all of it is finite: JSON has neither NaN nor infinities, and a model of finite
    weights has such answers where its products with a row are beyond float32.

    Raises
    ------
    PredictionError
        a value is not finite, or the rows do not fit the model.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        columns = model.predict(batch, parameters)
    check_finite(columns)
    return columns


def selected(model: Model, batch: Any, outputs: Sequence[str]) -> dict[str, Any]:
    """As ``answer``, of named outputs; those that have no meaning for the model are NaN in every row.

    Raises
    ------
    NotImplementedError
        the model has no outputs that could be selected.
    PredictionError
        see ``answer``.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        columns = model.select(batch, outputs)
    check_finite({name: values for name, values in columns.items() if not np.isnan(values).all()})
    return columns


def check_finite(columns: Mapping[str, Any]) -> None:
    """Raises PredictionError where a value of these named arrays is not finite."""
    for name, values in columns.items():
        if isinstance(values, np.ndarray) and values.dtype.kind == "f" and not np.isfinite(values).all():
            row, *_ = np.argwhere(~np.isfinite(values))[0]
            raise PredictionError(
                f"{name} of row {row + 1} is not a finite number: what the model makes of the row's values is beyond "
                "float32, which ends at 3.4e38"
            )
