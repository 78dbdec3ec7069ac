"""XGBoost's C interface (https://xgboost.readthedocs.io/en/stable/c.html), for calls whose Python costs too much."""

from __future__ import annotations

import ctypes
from functools import cache

import xgboost as xgb


@cache
def library() -> ctypes.CDLL:
    """The library that the package ``xgboost`` has loaded."""
    found = ctypes.CDLL(xgb.libpath.find_lib_path()[0])
    found.XGBGetLastError.restype = ctypes.c_char_p
    return found


def check(status: int) -> None:
    """Raises XGBoostError where a call of the library says that it failed."""
    if status:
        raise xgb.core.XGBoostError(library().XGBGetLastError().decode())
