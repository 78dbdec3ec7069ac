"""Text in its plainest spelling, by compiled code (``_text.c``), where that was built.

Each function reads a block of whole lines, or returns None: for anything out of the ordinary, right or wrong, and
where there is no compiled code. What it returns is to the last bit what the code returns that is asked next.
"""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple

import numpy as np

kernel: ModuleType | None
try:
    from recordio import _text as kernel  # type: ignore[attr-defined,no-redef]  # built where there is a compiler
except ImportError:
    kernel = None


def table(text: bytes) -> tuple[np.ndarray, np.ndarray | None] | None:
    """CSV rows of numbers, in quotation marks or not.

    Returns
    -------
        Values, shape (n, width), float32, with NaN for empty fields; and where those are, or None for nowhere.
    """
    if kernel is None:
        return None
    values = np.empty(len(text) // 2 + 1, np.float32)  # a field and its end take two bytes, except for empty ones
    found = kernel.csv(text, values)
    if found is None:
        return None
    count, width, missing = found
    rows = values[:count].reshape(-1, width)
    return rows, np.isnan(rows) if missing else None


class SparseRows(NamedTuple):
    """LIBSVM rows: labels and weights, shape (n,), values and indices, shape (nnz,), and bounds, shape (n + 1,)."""

    labels: np.ndarray
    weights: np.ndarray | None
    values: np.ndarray
    indices: np.ndarray
    bounds: np.ndarray


def sparse_rows(text: bytes, labelled: bool) -> SparseRows | None:
    """LIBSVM rows without comments and query ids, their indices in rising order.

    Parameters
    ----------
    labelled
        rows have labels; where they have none, what is found of them is not returned.
    """
    if kernel is None:
        return None
    rows, pairs = text.count(b"\n"), text.count(b":")
    labels, weights = np.empty(rows, np.float32), np.empty(rows, np.float32)
    bounds, indices, values = np.empty(rows + 1, np.int32), np.empty(pairs, np.int32), np.empty(pairs, np.float32)
    found = kernel.libsvm(text, labelled, labels, weights, bounds, indices, values)
    if found is None:
        return None
    rows, pairs, weighted = found
    return SparseRows(
        labels[:rows], weights[:rows] if weighted else None, values[:pairs], indices[:pairs], bounds[: rows + 1]
    )


def instances(text: bytes, lines: bool) -> np.ndarray | None:
    """The dense rows of a JSON request, shape (n, width), float32; with ``lines``, of JSON Lines."""
    if kernel is None:
        return None
    values = np.empty(text.count(b",") + text.count(b"[") + 1, np.float32)  # each number has one of them before it
    found = kernel.json(text + b"\n\0", lines, values)
    if found is None:
        return None
    count, width = found
    return values[:count].reshape(-1, width)


def tokens(text: bytes, starts: np.ndarray, ends: np.ndarray, values: np.ndarray, first: int) -> int:
    """Read the numbers ``text[starts[i]:ends[i]]`` into ``values``, from number ``first`` on.

    Parameters
    ----------
    text
        ends with a newline.
    starts, ends
        shape (n,), int64.
    values
        shape (n,), float32, int32 or int64.

    Returns
    -------
        The first that is not read; n where all are.
    """
    if kernel is None:
        return first
    kind = {"float32": "f", "int32": "i", "int64": "l"}[values.dtype.name]
    return kernel.tokens(text, np.ascontiguousarray(starts), np.ascontiguousarray(ends), kind, values, first)


def real(text: str) -> float | None:
    """The float32 nearest to a number, as Python's float; None where the code here cannot say."""
    return None if kernel is None else kernel.real(text)
