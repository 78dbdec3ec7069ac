"""What the rows of a channel or request must look like, and the checks that all readers share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from recordio.batches import Batch
from recordio.content_type import ContentType
from recordio.errors import ContentTypeError, ValueRangeError, WidthError


@dataclass(frozen=True, kw_only=True)
class RowFormat:
    """What rows must look like, whatever the format.

    Attributes
    ----------
    feature_dim
        number of features of a row; None where the data decides.
    labels
        ``"required"``, or ``"none"``: there are none, and any that are found are left out.
    label_size
        the only value of the content type's ``label_size`` that the algorithm takes; None takes any.
    weights
        the column after the label of CSV and Parquet rows holds instance weights.
    missing
        an empty CSV field or a Parquet or JSON null becomes NaN; elsewhere it is an error. What a sparse row does not
        have is then missing, too, where it is 0 otherwise.
    leading_label
        rows without stated ``label_size`` that are one column wider than ``feature_dim`` start with a label. So it is
        for training, whose CSV has a label by default; a request has none that it does not state.
    finite
        NaN and infinity are errors, except the NaN of a missing value that is allowed. Labels and weights must be
        finite in any case.
    """

    feature_dim: int | None = None
    labels: Literal["none", "required"] = "none"
    label_size: int | None = None
    weights: bool = False
    missing: bool = False
    leading_label: bool = True
    finite: bool = True


def label_columns(content_type: ContentType, rows: RowFormat) -> int | None:
    """How many leading columns of a CSV or Parquet row are labels; None where the width of the rows decides.

    ``label_size`` of the content type wins. Without it, rows that must have labels have one; rows that need none
    have one exactly if they are one wider than ``feature_dim``, and not in requests (``RowFormat.leading_label``).
    Values are never looked at.

    An algorithm that takes only one ``label_size`` (XGBoost: 1) shares that rule between training and serving, so in
    a request without labels the parameter is checked, says nothing, and the width decides.

    Raises
    ------
    ContentTypeError
        ``label_size`` is malformed, or a value that the algorithm does not take.
    """
    stated = content_type.label_size
    if stated is not None and rows.label_size not in (None, stated):
        raise ContentTypeError(
            f"{content_type} is not an accepted csv ContentType. "
            f"Optional parameter label_size must be equal to {rows.label_size}"
        )
    if rows.labels == "required":
        if stated == 0:
            raise ContentTypeError(f"{content_type}: label_size is 0, but the rows of this channel must have labels")
        return 1 if stated is None else stated
    return stated if rows.label_size is None else None


@dataclass(frozen=True)
class Columns:
    """Which columns of a CSV or Parquet row are what: labels first, then the weight, then features."""

    labels: int
    weights: int

    @property
    def features(self) -> int:
        """Index of the first column of features."""
        return self.labels + self.weights


def columns(width: int, labels: int | None, rows: RowFormat, name: str) -> Columns:
    """The columns of rows that are ``width`` columns wide; ``labels`` as ``label_columns`` says.

    Raises
    ------
    WidthError
        there is no column of features, or their number is not ``rows.feature_dim``.
    """
    weights = int(rows.weights)
    if labels is None:
        wider = rows.feature_dim is not None and width == rows.feature_dim + weights + 1
        labels = int(wider and rows.leading_label)
    found = Columns(labels, weights)
    feature_dim = width - found.features
    if feature_dim < 1:
        raise WidthError(f"{name}: rows of {width} columns have {_taken(found)} and no features")
    if rows.feature_dim not in (None, feature_dim):
        raise WidthError(
            f"{name}: rows of {width} columns have {_taken(found)} and {feature_dim} features, "
            f"but feature_dim is {rows.feature_dim}; how many leading columns are labels is said by label_size, "
            "as in 'text/csv; label_size=0'"
        )
    return found


def _taken(found: Columns) -> str:
    weights = ", a weight" if found.weights else ""
    return f"{found.labels} label{'' if found.labels == 1 else 's'}{weights}"


def first_non_finite(values: np.ndarray, allowed: np.ndarray | None = None) -> tuple[int, ...] | None:
    """Index of the first NaN or infinity that is not ``allowed``; None where there is none.

    The sum of all values is finite in nearly every batch, and is ten times cheaper than the full look.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if allowed is None and np.isfinite(values.sum()):
            return None
    wrong = ~np.isfinite(values)
    if allowed is not None:
        wrong &= ~allowed
    position = int(wrong.argmax()) if wrong.size else 0
    if not wrong.size or not wrong.flat[position]:
        return None
    return tuple(int(i) for i in np.unravel_index(position, values.shape))


def not_finite(place: str, value: float, what: str) -> ValueRangeError:
    """The error for a NaN or infinite ``value``; ``what`` it is, such as 'feature 3' or 'label'."""
    return ValueRangeError(f"{place}: {what} is {value:g}; it must be a finite number")


def checked(
    head: np.ndarray,
    features: np.ndarray,
    missing: np.ndarray | None,
    layout: Columns,
    rows: RowFormat,
    place: Callable[[int, int], str],
) -> Batch:
    """The batch of n rows of a table, in which no value is missing, NaN or infinite that may not be.

    Parameters
    ----------
    head
        labels and weight as ``layout`` has them, shape (n, h), float32, with NaN where a value is missing.
    features
        likewise, shape (n, d), C-contiguous.
    missing
        where values are missing, shape (n, h + d); None for nowhere.
    place
        names the file, row and column of an index into the table.

    Raises
    ------
    ValueRangeError
        a value may not be what it is.
    """
    first = layout.features
    if missing is not None:
        wrong = missing[:, :first] if rows.missing else missing
        if wrong.any():
            row, column = map(int, np.argwhere(wrong)[0])
            raise ValueRangeError(f"{place(row, column)}: the value is missing")
    if found := first_non_finite(head):
        raise not_finite(place(*found), float(head[found]), "the value")
    allowed = None if missing is None else missing[:, first:]
    if rows.finite and (found := first_non_finite(features, allowed)):
        raise not_finite(place(found[0], first + found[1]), float(features[found]), "the value")
    labels = weights = None
    if rows.labels == "required":
        labels = (head[:, 0] if layout.labels == 1 else head[:, : layout.labels]).copy()
    if layout.weights:
        weights = head[:, layout.labels].copy()
    return Batch(features, labels, weights)
