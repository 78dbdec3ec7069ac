"""What PCA learns, and what its data must be."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from algorithms.errors import TrainingDataError

_TOO_LARGE = "the features are too large: their squares exceed the range of float32 numbers"


class Components(NamedTuple):
    """What is learned: float32, in ascending order of s.

    Attributes:
        s: shape (k,), singular values of the rows, centred where there is a mean.
        v: shape (d, k), orthonormal columns.
        mean: shape (1, d); None where it was not subtracted.
        total: sum of the squared distances of all rows from the mean (of their squares where it is not subtracted),
            of which the components hold the sum of ``s ** 2``.
    """

    s: np.ndarray
    v: np.ndarray
    mean: np.ndarray | None
    total: float

    @property
    def explained(self) -> float:
        """The share of ``total`` that the components hold."""
        return min(float(np.square(self.s, dtype=np.float64).sum()) / self.total, 1.0) if self.total > 0 else 1.0


def ordered(s: np.ndarray, v: np.ndarray, mean: np.ndarray | None, total: float) -> Components:
    """``s`` and the columns of ``v`` in ascending order. Signs: the largest entry of a column is positive."""
    signs = np.where(v.max(axis=0) >= -v.min(axis=0), 1.0, -1.0)  # without a copy of v, which may be large
    centre = None if mean is None else mean[None].astype(np.float32)
    return Components(
        s.astype(np.float32),
        np.multiply(v, signs, out=np.empty(v.shape, np.float32), casting="same_kind"),
        centre,
        total,
    )


def check_rows(rows: int, k: int) -> None:
    """Raises TrainingDataError where there are fewer rows than components."""
    if rows < k:
        raise TrainingDataError(f"num_components is {k}, but channel 'train' has only {rows} rows")


def check_finite(products: np.ndarray) -> None:
    """Raises TrainingDataError where a product is not finite."""
    if not np.isfinite(products).all():
        raise TrainingDataError(_TOO_LARGE)


def check_range(total: float) -> None:
    """Raises TrainingDataError where the sum of squares is beyond float32."""
    if not total <= np.finfo(np.float32).max:
        raise TrainingDataError(_TOO_LARGE)
