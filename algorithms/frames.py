"""Frames of pandas and polars, by what they have in common: columns with names and types; and tables of Arrow
by their names and times."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from algorithms.errors import PredictionError
from recordio.quoting import quoted

_SHOWN = 50
_BEYOND = 1 << 1023
"""Integers from here on are near the end of a double's range, or beyond it."""
_NUMBERS, _TIMES, _COMPLEX = "biuf", "mM", "c"
"""Kinds of NumPy's dtypes: booleans are 0 and 1."""
_ARROW_TIMES = ("timestamp", "date", "time", "duration")
"""How Arrow's names of such types begin."""


def no_number(rows: Any) -> str | None:
    """The first column whose values are no numbers, with one of them or its type, for a message; None where all are.

    Numbers are also booleans, decimals, texts and categories that say a number, and what is missing. Dates, times and
    durations are none, though NumPy would count their days or nanoseconds: which of the two, the frame does not tell.

    Args:
        rows: a frame; or an array, which has no names of columns.

    Raises:
        PredictionError: a frame of polars that is lazy.
    """
    if _is_lazy(rows):
        raise PredictionError("a LazyFrame has no rows yet: frame.collect() gives them")
    if _is_arrow(rows):
        found = next((field for field in rows.schema if str(field.type).startswith(_ARROW_TIMES)), None)
        return found and f"column {found.name[:_SHOWN]!r} has dates, times or durations ({found.type})"
    dtypes = getattr(rows, "dtypes", None)
    if dtypes is None or not hasattr(rows, "columns"):
        kind = getattr(getattr(rows, "dtype", None), "kind", None)
        return f"the array has dates, times or durations ({rows.dtype})" if kind in ("m", "M") else None
    for number, (name, dtype) in enumerate(zip(rows.columns, dtypes, strict=True)):
        if (found := _by_type(dtype)) is None:
            found = _by_value(rows.iloc[:, number] if hasattr(rows, "iloc") else rows[:, number])
        if found:
            return f"column {str(name)[:_SHOWN]!r} has {found}"
    return None


def by_names(rows: Any, names: Sequence[str]) -> Any:
    """A frame, or a table of Arrow, with its columns in the order of ``names``; as it is where they are not called by
    texts, or where it is neither.

    Raises:
        PredictionError: its columns are others.
    """
    if _is_lazy(rows) or (columns := _columns(rows)) is None:
        return rows
    found = list(columns)
    if found == list(names) or not all(isinstance(name, str) for name in found):
        return rows
    for others, text in (
        (set(names) - set(found), "lacks"),
        (set(found) - set(names), "has besides"),
        ({name for name in found if found.count(name) > 1}, "has twice"),
    ):
        if others:
            raise PredictionError(
                f"the frame {text} the column {quoted(min(others))}, unlike the data that the model was trained on; "
                "frame.to_numpy() is taken by the places of its columns"
            )
    return rows.select(list(names)) if _is_arrow(rows) else rows[list(names)]


def _columns(rows: Any) -> Any:
    """The names of a frame's columns; those of a table of Arrow, too. None where it is neither."""
    if hasattr(rows, "dtypes") and hasattr(rows, "columns"):
        return rows.columns
    return rows.column_names if _is_arrow(rows) else None


def _is_arrow(rows: Any) -> bool:
    return hasattr(rows, "column_names") and hasattr(rows, "schema")


def _is_lazy(rows: Any) -> bool:
    return hasattr(type(rows), "collect") and hasattr(type(rows), "collect_schema")


def _by_type(dtype: Any) -> str | None:
    """What keeps all values of this type, of pandas or polars, from being numbers; "" for nothing, None where only the
    values tell."""
    if hasattr(dtype, "is_temporal"):  # of polars
        if dtype.is_numeric() or str(dtype) in ("Boolean", "Null"):
            return ""
        return f"dates, times or durations ({dtype})" if dtype.is_temporal() else None
    if dtype.kind in _TIMES:
        return f"dates, times or durations ({dtype})"
    if dtype.kind in _COMPLEX:
        return f"complex numbers ({dtype})"
    return "" if dtype.kind in _NUMBERS else None


def _by_value(column: Any) -> str:
    """The first value that is no number; "" for none."""
    values = np.asarray(column)
    if values.ndim > 1:
        return f"several values in a row ({column.dtype})"
    for value in values:
        if isinstance(value, str):
            if not _is_number(value):
                return f"the text {value[:_SHOWN]!r}"
        elif isinstance(value, int) and not -_BEYOND < value < _BEYOND:
            return f"an integer of {value.bit_length()} bits"
        elif not (_is_real(value) or _is_missing(value)):
            return f"the {type(value).__name__} {str(value)[:_SHOWN]}"
    return ""


def _is_real(value: Any) -> bool:
    if isinstance(value, np.generic):  # NumPy's durations are registered as numbers
        return value.dtype.kind in _NUMBERS
    return isinstance(value, numbers.Number) and not isinstance(value, complex)  # decimals are numbers, but not Real


def _is_missing(value: Any) -> bool:
    return value is None or type(value).__name__ == "NAType"  # pandas' NA


def not_numbered(frame: Any) -> str | None:
    """What to say to who asks a model that takes categories, where values of one of pandas' columns of categories are
    not the numbers of these.

    None where there is no such column, or where it is no frame of pandas.
    """
    if not hasattr(frame, "iloc") or not hasattr(frame, "columns"):
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
