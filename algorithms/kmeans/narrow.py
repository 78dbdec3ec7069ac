"""The same clustering problem in fewer features: those that occur in sparse rows, or as many as there are rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from algorithms.common.blas import mapped
from recordio.batches import Features

WORTH = 2  # times fewer features than before
_TABLE = 256  # features an entry up to which a table of them all is quicker than searching
CHUNK = 1 << 14  # features of one product
_NOISE = 1e-13  # eigenvalues below this share of the largest are rounding


def occurring(parts: Sequence[Features]) -> np.ndarray | None:
    """The features that are not 0 everywhere, rising, (u,); None where rows are dense, or where these are most."""
    if not parts or not all(sp.issparse(part) for part in parts):
        return None
    sparse: list[Any] = list(parts)
    width = sparse[0].shape[1]
    if width <= WORTH:
        return None
    occurs = np.zeros(width, bool)
    for part in sparse:
        occurs[part.indices] = True
    columns = np.flatnonzero(occurs)
    return columns if len(columns) * WORTH < width else None


def only(features: Any, columns: np.ndarray) -> sp.csr_array:
    """CSR rows (n, d) as rows of these features, (n, u); there are no others in them."""
    if features.shape[1] > _TABLE * features.nnz:
        numbers = np.searchsorted(columns, features.indices)
    else:
        table = np.empty(features.shape[1], np.int32)
        table[columns] = np.arange(len(columns))
        numbers = table.take(features.indices)
    return sp.csr_array((features.data, numbers, features.indptr), shape=(features.shape[0], len(columns)))


class Met:
    """Which features sparse rows have had so far: centers hold these alone, and are 0 in all others.

    Attributes:
        features: (u,), in the order in which they were met.
    """

    def __init__(self, width: int, features: np.ndarray) -> None:
        self.features = np.empty(0, np.int64)
        self._places = np.full(width, -1, np.int32)
        self._add(features)

    @property
    def width(self) -> int:
        """Number of all features, d."""
        return len(self._places)

    def places(self, features: np.ndarray) -> np.ndarray:
        """Where the centers hold these, each of which was met."""
        return self._places[features]

    def meet(self, features: np.ndarray) -> bool:
        """Take in these as well; False, and nothing is done, where all together are too many to be worth it."""
        new = features[self._places[features] < 0]
        if (len(self.features) + len(new)) * WORTH >= self.width:
            return False
        self._add(new)
        return True

    def _add(self, features: np.ndarray) -> None:
        self._places[features] = np.arange(len(self.features), len(self.features) + len(features))
        self.features = np.concatenate([self.features, features])

    def narrowed(self, rows: Any) -> sp.csr_array:
        """CSR rows (n, d), whose features were all met, as the centers hold them: (n, u)."""
        shape = (rows.shape[0], len(self.features))
        # Copies: SciPy sorts by the new numbers, in place.
        return sp.csr_array((rows.data.copy(), self.places(rows.indices), rows.indptr.copy()), shape=shape)


@dataclass(frozen=True)
class Coordinates:
    """Rows (n, d), n < d, in a basis of the space that they span: all distances between them are the same there.

    From the products of the rows with each other (their Gram matrix), so that what is then done with them costs n and
    not d.

    Attributes:
        values: (n, r), r <= n, float64.
    """

    values: np.ndarray
    _rows: np.ndarray
    _mean: np.ndarray
    _inverse: np.ndarray  # (r, n): of values

    @classmethod
    def of(cls, rows: np.ndarray) -> Coordinates:
        """Of rows (n, d), float64."""
        mean = rows.mean(axis=0)
        products = np.zeros((len(rows), len(rows)))

        def of_part(start: int) -> np.ndarray:
            part = rows[:, start : start + CHUNK] - mean[start : start + CHUNK]
            return part @ part.T

        for found in mapped(of_part, [(start,) for start in range(0, rows.shape[1], CHUNK)]):
            products += found
        squares, vectors = np.linalg.eigh(products)
        kept = squares > max(squares[-1] * _NOISE, np.finfo(float).tiny)
        kept[-1] = True  # where all rows are the same, all coordinates are 0
        vectors, lengths = vectors[:, kept], np.sqrt(np.maximum(squares[kept], 0))
        inverse = vectors.T / np.where(lengths > 0, lengths, 1)[:, None]
        return cls(vectors * lengths, rows, mean, inverse)

    def back(self, points: np.ndarray, columns: np.ndarray | None = None) -> np.ndarray:
        """Points of this space, (k, r), where the rows are: (k, d), or (k, u) of u ``columns`` alone."""
        shares = points @ self._inverse
        rest = 1 - shares.sum(axis=1)[:, None]
        width = self._rows.shape[1] if columns is None else len(columns)
        found = np.empty((len(points), width))

        def fill(start: int) -> None:  # the rows may be hundreds of MB: no copy of all
            part: Any = slice(start, start + CHUNK)
            wanted = part if columns is None else columns[part]
            np.matmul(shares, self._rows[:, wanted], out=found[:, part])
            found[:, part] += rest * self._mean[wanted]

        list(mapped(fill, [(start,) for start in range(0, width, CHUNK)]))
        return found
