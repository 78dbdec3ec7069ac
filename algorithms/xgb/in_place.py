"""Predictions straight from rows in memory, through XGBoost's C interface.

``Booster.inplace_predict`` makes the same call. Of the 200 us that it takes for one row and 100 trees, 140 are Python,
which finds out of which of a dozen kinds the rows are, and 30 make a matrix anew, for which XGBoost reads how many
processors the control group has. Here rows are of one kind, and each thread keeps its matrix.

Source: https://xgboost.readthedocs.io/en/stable/dev/group__Prediction.html
"""

from __future__ import annotations

import ctypes
import json
import math
import threading
from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
import xgboost as xgb

from algorithms.xgb.library import check, library
from algorithms.xgb.walk import FEW_ROWS, Walk, laid_out


class InPlace:
    """Predicts with the trees of a booster; threads may share it, as long as nothing else is done with the booster.

    Parameters
    ----------
    rounds
        how many of the booster's rounds count; 0 for all.
    """

    def __init__(self, booster: xgb.Booster, rounds: int) -> None:
        self._booster, self._rounds = booster, rounds
        self._walk: Walk | None = None
        asked = {"type": 0, "training": False, "strict_shape": False, "cache_id": 0}
        span = {"iteration_begin": 0, "iteration_end": rounds}
        self._configuration = json.dumps({**asked, **span, "missing": math.nan}).encode()

    def lay_out(self) -> None:
        """Have few rows answered without XGBoost (``walk``) from now on, if answers are the same.

        They are compared on rows made of the model, so that another version of XGBoost cannot answer otherwise for few
        rows than for many.
        """
        walk = laid_out(self._booster, self._rounds)
        if walk is not None and np.array_equal(walk.predict(probes := walk.probes()), self.predict(probes, walk.width)):
            self._walk = walk

    def predict(self, rows: np.ndarray | sp.csr_array, width: int) -> np.ndarray:
        """As ``Booster.predict`` has it, float32, of shape (n,), or (n, classes) and the like.

        Parameters
        ----------
        rows
            shape (n, width), or narrower where they are sparse; missing values are NaN, or absent.

        Raises
        ------
        xgboost.core.XGBoostError
            XGBoost cannot take the rows.
        """
        if self._walk is not None and rows.shape[0] <= FEW_ROWS:
            return self._walk.predict(rows)
        if isinstance(rows, np.ndarray):
            return self._asked(library().XGBoosterPredictFromDense, [rows.astype(np.float32, copy=False)])
        parts = [rows.indptr, rows.indices, rows.data]
        return self._asked(library().XGBoosterPredictFromCSR, parts, ctypes.c_uint64(width))

    def _asked(self, function: Callable[..., int], arrays: list[np.ndarray], *columns: ctypes.c_uint64) -> np.ndarray:
        place = _place()
        held = [np.require(one, requirements=["C", "A"]) for one in arrays]
        check(function(self._booster.handle, *map(_described, held), *columns, self._configuration, *place.arguments))
        return place.result()


class _Place:
    """What a thread keeps between calls: a matrix that refers to rows, and where XGBoost says what the answer is.

    The matrix refers to the rows of the last call even when they are gone; nothing looks there before the next call.
    """

    def __init__(self) -> None:
        self._matrix = ctypes.c_void_p()
        self._free = library().XGDMatrixFree  # at the interpreter's end the module's names may be gone
        check(library().XGProxyDMatrixCreate(ctypes.byref(self._matrix)))
        self._shape, self._values = ctypes.POINTER(ctypes.c_uint64)(), ctypes.POINTER(ctypes.c_float)()
        self._dimensions = ctypes.c_uint64()
        outcome = (self._shape, self._dimensions, self._values)
        self.arguments = (self._matrix, *map(ctypes.byref, outcome))

    def __del__(self) -> None:
        self._free(self._matrix)

    def result(self) -> np.ndarray:
        """A copy of the answer to the last call, whose memory XGBoost will use again."""
        shape = self._shape[: self._dimensions.value]
        return np.array(np.ctypeslib.as_array(self._values, shape))


_places = threading.local()


def _place() -> _Place:
    """The calling thread's, made when it first predicts."""
    try:
        return _places.own
    except AttributeError:
        _places.own = _Place()
        return _places.own


def _described(values: np.ndarray) -> bytes:
    """A C-contiguous array in NumPy's array interface, as JSON."""
    shape = ", ".join(map(str, values.shape))
    described = values.__array_interface__
    place = described["data"][0]
    return f'{{"data": [{place}, true], "shape": [{shape}], "typestr": "{values.dtype.str}", "version": 3}}'.encode()
