"""Frames of pandas and polars, by what they have in common."""

from __future__ import annotations

from typing import Any

import numpy as np

_SHOWN = 50


def no_number(frame: Any) -> str | None:
    """Of values that could not be made numbers: the first column and value that is none, for a message.

    None where ``frame`` has no columns with names, or all can be numbers.
    """
    for name in getattr(frame, "columns", ()):
        for value in np.asarray(frame[name]).ravel():
            try:
                float(value)
            except (TypeError, ValueError):
                if isinstance(value, str):
                    return f"column {str(name)[:_SHOWN]!r} has the text {value[:_SHOWN]!r}"
    return None
