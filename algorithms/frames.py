"""Frames of pandas and polars, by what they have in common."""

from __future__ import annotations

from typing import Any

import numpy as np

_SHOWN = 50
_NUMBERS = "biufc"
"""Kinds of dtypes that hold no text."""


def no_number(frame: Any) -> str | None:
    """Of values that could not be made numbers: the first column and value that is none, for a message.

    None where ``frame`` has no columns with names, or all can be numbers.
    """
    for name in getattr(frame, "columns", ()):
        values = np.asarray(frame[name]).ravel()
        if values.dtype.kind in _NUMBERS:
            continue
        for value in values:
            if isinstance(value, str) and not _is_number(value):
                return f"column {str(name)[:_SHOWN]!r} has the text {value[:_SHOWN]!r}"
    return None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
