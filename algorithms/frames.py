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


def not_numbered(frame: Any) -> str | None:
    """What to say to who asks a model that takes categories, where values of one of pandas' columns of categories are
    not the numbers of these.

    None where there is no such column, or where it is no frame of pandas.
    """
    if not hasattr(frame, "iloc"):
        return None
    for name, kind in zip(frame.columns, frame.dtypes, strict=True):
        names = getattr(kind, "categories", None)
        if names is not None and names.tolist() != list(range(len(names))):
            shown = ", ".join(str(one)[:_SHOWN] for one in names[:3]) + (" and others" if len(names) > 3 else "")
            return (
                f"column {str(name)[:_SHOWN]!r} has the categories {shown}, and "
                "the model takes the numbers of categories, in their order when it was trained: frame[NAME].cat.codes, "
                "after cat.set_categories with those of training"
            )
    return None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
