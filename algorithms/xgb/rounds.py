"""Rounds of boosting through XGBoost's C interface (https://xgboost.readthedocs.io/en/stable/c.html).

``xgboost.train`` asks the matrices for the names of their features in every round, and takes the scores apart before
its callbacks see them. On some thousand rows that takes a tenth of the time of growing trees.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import xgboost as xgb

from algorithms.xgb.library import check, library


class Rounds:
    """Grows ``booster`` on the first of ``matrices``, and scores it on all of them.

    Args:
        booster: made with ``matrices`` as its cache, so that names and types of features were compared.
        matrices: with the names of their data sets.
        metric: a ``custom_metric`` of ``xgboost.train``, besides the metrics that the booster has; None for none.
    """

    def __init__(self, booster: xgb.Booster, matrices: Sequence[tuple[xgb.DMatrix, str]], metric: Any = None) -> None:
        self._booster, self._matrices, self._metric = booster, matrices, metric
        self._handles = (ctypes.c_void_p * len(matrices))(*(matrix.handle for matrix, _ in matrices))
        self._names = (ctypes.c_char_p * len(matrices))(*(name.encode() for _, name in matrices))
        self._told = ctypes.c_char_p()

    def grow(self, number: int) -> None:
        """One more round, which is the ``number``-th of this run, from 0.

        Raises:
            XGBoostError: as ``xgboost.train`` does.
        """
        check(library().XGBoosterUpdateOneIter(self._booster.handle, number, self._matrices[0][0].handle))

    def scores(self, number: int) -> str:
        """The scores after the round, as XGBoost logs them: a tab before each, ``train-rmse:0.5``.

        Raises:
            XGBoostError: as ``xgboost.train`` does.
        """
        if self._metric is not None:
            return self._booster.eval_set(self._matrices, number, self._metric, output_margin=False)
        size = ctypes.c_uint64(len(self._matrices))
        told = ctypes.byref(self._told)
        check(library().XGBoosterEvalOneIter(self._booster.handle, number, self._handles, self._names, size, told))
        return (self._told.value or b"").decode()
