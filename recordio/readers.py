"""Rows by content type: the one door to the readers, for training channels and for requests alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from recordio.batches import Batch
from recordio.content_type import ContentType
from recordio.sources import Source


@dataclass(frozen=True, kw_only=True)
class RowFormat:
    """What the rows of a channel or request must look like, whatever the format.

    Attributes:
        feature_dim: number of features of a row; None where the data decides.
        labels: ``"required"``, or ``"none"``: there are none, and any that are found are left out.
        label_size: the only value of the content type's ``label_size`` that the algorithm takes; None takes any.
        weights: the column after the label of CSV and Parquet rows holds instance weights.
        missing: an empty CSV field or a Parquet null becomes NaN; elsewhere it is an error.
        finite: NaN and infinity are errors, but for the NaN of a missing value that is allowed.
    """

    feature_dim: int | None = None
    labels: Literal["none", "required"] = "none"
    label_size: int | None = None
    weights: bool = False
    missing: bool = False
    finite: bool = True


class ChannelStream:
    """The rows of a channel as an ``algorithms.interface.Stream``: each call of ``batches`` is one epoch."""

    def __init__(self, source: Source, content_type: ContentType, rows: RowFormat) -> None:
        self._source = source
        self._content_type = content_type
        self._rows = rows

    def batches(self, size: int | None = None) -> Iterator[Batch]:
        """One epoch in batches of ``size`` rows, or as they come; reading runs ahead in a thread of its own."""
        raise NotImplementedError


def decode(body: bytes, content_type: ContentType, rows: RowFormat) -> Batch:
    """The rows of a request.

    Raises:
        DataError: the body is empty, or is not what it claims to be.
    """
    raise NotImplementedError
