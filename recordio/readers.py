"""Rows by content type: the one door to the readers, for training channels and for requests alike."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

import scipy.sparse as sp

from recordio.batches import Batch, concatenate, cut, in_multiples, widened
from recordio.column_order import ColumnOrder
from recordio.content_type import CSV, JSON, JSON_LINES, LIBSVM, PARQUET, RECORDIO, ContentType
from recordio.csv_rows import decode_csv, read_csv
from recordio.errors import ContentTypeError, EmptyDataError, ParseError, WidthError
from recordio.framing import frames
from recordio.json_rows import decode_json, decode_json_lines
from recordio.libsvm import decode_libsvm, read_libsvm
from recordio.prefetch import ahead
from recordio.rows import RowFormat, label_columns
from recordio.shares import ALL, Share
from recordio.sources import Named, Source, Stopped, never
from recordio.text import REQUEST

__all__ = ["ChannelRecords", "ChannelStream", "RowFormat", "decode"]

_Reader = TypeVar("_Reader")


def _read_recordio(
    stream: BinaryIO, name: str, rows: RowFormat, content_type: ContentType
) -> Generator[Batch, None, None]:
    from recordio.record_reader import read_records  # protobuf is loaded only where there are records

    yield from read_records(stream, name, rows)


def _decode_recordio(body: bytes, rows: RowFormat, content_type: ContentType) -> Iterator[Batch]:
    return _read_recordio(io.BytesIO(body), REQUEST, rows, content_type)


def _read_parquet(
    stream: BinaryIO,
    name: str,
    rows: RowFormat,
    content_type: ContentType,
    order: ColumnOrder | None = None,
) -> Generator[Batch, None, None]:
    from recordio.parquet import read_parquet  # likewise Arrow, which most images do without

    yield from read_parquet(stream, name, rows, content_type, order)


def _decode_parquet(body: bytes, rows: RowFormat, content_type: ContentType) -> Iterator[Batch]:
    return _read_parquet(io.BytesIO(body), REQUEST, rows, content_type)


_READERS: dict[str, Callable[[BinaryIO, str, RowFormat, ContentType], Generator[Batch, None, None]]] = {
    CSV: read_csv,
    LIBSVM: read_libsvm,
    PARQUET: _read_parquet,
    RECORDIO: _read_recordio,
}

_DECODERS: dict[str, Callable[[bytes, RowFormat, ContentType], Iterator[Batch]]] = {
    CSV: decode_csv,
    LIBSVM: decode_libsvm,
    PARQUET: _decode_parquet,
    RECORDIO: _decode_recordio,
    JSON: decode_json,
    JSON_LINES: decode_json_lines,
}


def decode(body: bytes, content_type: ContentType, rows: RowFormat) -> Batch:
    """The rows of a request, with the readers that training uses.

    Raises
    ------
    ContentTypeError
        no reader takes the content type or its parameters.
    EmptyDataError
        there is no row.
    DataError
        the body is not what it claims to be.
    """
    decoder = _find(_DECODERS, content_type)
    batches = list(decoder(body, rows, content_type))
    if not batches:
        raise EmptyDataError(f"{REQUEST}: there are no rows")
    return concatenate(batches, keep_zeros=rows.missing)


KEPT_BYTES = 512 << 20
"""Most bytes of decoded rows of a channel that are kept in memory from one epoch to the next."""


def first_columns(source: Source) -> list[str]:
    """The columns of the first Parquet file of a source that can be read again, in the order of its schema; none where
    there is no file.

    Raises
    ------
    DataError
        the file is not what it claims to be.
    """
    from recordio.parquet import column_names

    try:
        with source.epoch() as streams:
            return next((column_names(stream, name) for name, stream in streams), [])
    except EmptyDataError:
        return []


class ChannelStream:
    """The rows of a channel as an ``algorithms.interface.Stream``: each call of ``batches`` is one epoch.

    All rows of an epoch have the same width, with one exception: LIBSVM rows without ``feature_dim`` are as wide as
    the widest row so far, since nothing before the end of the data says more.

    Parameters
    ----------
    share
        the rows that are taken; the others are read and dropped.
    may_be_empty
        other readers have the rest of the channel, so that having no rows is no error.
    order
        of Parquet's columns, in all files and epochs; None for that of the channel's first file.

    Raises
    ------
    ContentTypeError
        no reader takes the content type or its parameters.
    """

    def __init__(
        self,
        source: Source,
        content_type: ContentType,
        rows: RowFormat,
        *,
        share: Share = ALL,
        may_be_empty: bool = False,
        order: ColumnOrder | None = None,
    ) -> None:
        self._order = order or ColumnOrder()
        self._reader = _find(_READERS, content_type)
        if content_type.media_type in (CSV, PARQUET):
            label_columns(content_type, rows)
            _ = content_type.delimiter
        self._source = source
        self._content_type = content_type
        self._rows = rows
        self._share = share
        self._may_be_empty = may_be_empty
        self._epochs = 0
        self._kept: list[Batch] | None = None
        self._kept_size: int | None = None

    @property
    def repeats(self) -> bool:
        """It may be read as often as one likes: not so a pipe."""
        return self._source.repeats

    def batches(self, size: int | None = None) -> Generator[Batch]:
        """One epoch in batches of ``size`` rows (the last may be shorter), or as they come where it is None.

        Reading and parsing run ahead in the background, by a bounded number of batches. Leaving the loop early, or
        closing the iterator, stops them and closes what is open. Files that are read a second time are likely to be
        read a third time: up to ``KEPT_BYTES``, what the second epoch reads is kept in memory for the later ones.

        Raises
        ------
        DataError
            the data is not what it claims to be, or there are no rows.
        recordio.sources.ReadingStopped
            a stop was asked for while waiting for data.
        """
        if self._kept is not None:
            aligned = self._kept if size in (None, self._kept_size) else in_multiples(self._kept, size)
            yield from aligned if size is None else cut(aligned, size)
            return

        def produce(left: Stopped) -> Iterator[Batch]:
            with contextlib.closing(self._epoch(left)) as batches:
                mine = self._share.batches(batches)
                yield from mine if size is None else in_multiples(mine, size)

        self._epochs += 1
        keeper = _Keeper(KEPT_BYTES if self._source.repeats and self._epochs > 1 else 0)
        # Cutting is left to the consumer's thread: it is a little Python for each batch, and two threads that ask for
        # the interpreter that often spend their time in waiting for each other. Copying is done in the background.
        with contextlib.closing(ahead(produce)) as ahead_of_us:
            blocks = keeper.watch(ahead_of_us)
            yield from blocks if size is None else cut(blocks, size)
        self._kept, self._kept_size = keeper.kept, size

    def _epoch(self, left: Stopped) -> Generator[Batch, None, None]:
        is_parquet = self._content_type.media_type == PARQUET
        read = partial(_read_parquet, order=self._order) if is_parquet else self._reader
        alike = _Alike(widening=self._content_type.media_type == LIBSVM and self._rows.feature_dim is None)
        with _streams(self._source, left, may_be_empty=self._may_be_empty) as streams:
            for name, stream in streams:
                with contextlib.closing(read(stream, name, self._rows, self._content_type)) as batches:
                    for batch in batches:
                        yield alike.checked(batch, name)
        if alike.empty and not self._may_be_empty:
            raise EmptyDataError(f"{self._source.name}: there are no rows")


class ChannelRecords:
    """The records of a channel as an ``algorithms.interface.RecordStream``: each call of ``records`` is one epoch.

    Parameters
    ----------
    folder
        of the channel's files; None where it is a pipe.
    wrapped
        each object of the channel comes in a record of its own.
    share, may_be_empty
        as of ``ChannelStream``.
    """

    def __init__(
        self,
        source: Source,
        content_type: ContentType,
        *,
        folder: Path | None = None,
        wrapped: bool = False,
        share: Share = ALL,
        may_be_empty: bool = False,
    ) -> None:
        self.media_type = content_type.media_type
        self.parameters = content_type.parameters
        self.folder = folder
        self.wrapped = wrapped
        self.share = share
        self.may_be_empty = may_be_empty
        self._source = source

    def records(self, *, whole: bool = False) -> Generator[bytes]:
        """One epoch of the share's RecordIO records, or of all that are here, read as they are asked for.

        Raises
        ------
        DataError
            the data is not framed, or there is none.
        recordio.sources.ReadingStopped
            a stop was asked for while waiting for data.
        """
        run = 2 if self.wrapped else 1  # an augmented manifest gives an image, then its label
        yield from self._all() if whole else self.share.records(self._all(), run)

    def _all(self) -> Generator[bytes]:
        empty = True
        with _streams(self._source, may_be_empty=self.may_be_empty) as streams:
            for name, stream in streams:
                for record in frames(stream, name):
                    empty = False
                    yield record
        if empty and not self.may_be_empty:
            raise EmptyDataError(f"{self._source.name}: there are no records")


@contextlib.contextmanager
def _streams(source: Source, stopped: Stopped = never, *, may_be_empty: bool) -> Iterator[Iterator[Named]]:
    """The streams of the next epoch; none where there is nothing to open, and that is no error."""
    with contextlib.ExitStack() as opened:
        try:
            streams = opened.enter_context(source.epoch(stopped))
        except EmptyDataError:
            if not may_be_empty:
                raise
            streams = iter(())
        yield streams


class _Keeper:
    """Keeps the batches that pass, read-only, as long as they fit into ``room`` bytes all together.

    Attributes
    ----------
    kept
        all batches of the epoch; None where they do not fit.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self.kept: list[Batch] | None = [] if room else None

    def watch(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches, unchanged."""
        for batch in batches:
            if self.kept is not None:
                self._keep(batch)
            yield batch

    def _keep(self, batch: Batch) -> None:
        assert self.kept is not None
        arrays = batch.arrays()
        self._room -= sum(array.nbytes for array in arrays)
        if self._room < 0:
            self.kept = None
            return
        for array in arrays:
            array.flags.writeable = False
        self.kept.append(batch)


class _Alike:
    """Sees to it that all batches of an epoch have the same width and the same parts."""

    def __init__(self, widening: bool) -> None:
        self._widening = widening
        self._first_name: str | None = None
        self._width = 0
        self._parts: tuple[bool, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there was no batch yet."""
        return self._first_name is None

    def checked(self, batch: Batch, name: str) -> Batch:
        """The batch, widened where that is allowed.

        Raises
        ------
        WidthError
            it is not as wide as the batches before it.
        ParseError
            it has weights or query ids where the batches before it have none, or the reverse.
        """
        parts = (batch.weights is not None, batch.groups is not None)
        if self._first_name is None:
            self._first_name, self._width, self._parts = name, batch.feature_dim, parts
            return batch
        if parts != self._parts:
            raise ParseError(
                f"{name}: all rows of a channel must have a weight and a query id, or none of them, "
                f"but rows here and in {self._first_name} differ"
            )
        if self._widening:
            self._width = max(self._width, batch.feature_dim)
            if batch.feature_dim < self._width:
                return replace(batch, features=widened(sp.csr_array(batch.features), self._width))
            return batch
        if batch.feature_dim != self._width:
            raise WidthError(
                f"{name}: rows have {batch.feature_dim} features, but those of {self._first_name} have {self._width}"
            )
        return batch


def _find(table: dict[str, _Reader], content_type: ContentType) -> _Reader:
    if content_type.media_type not in table:
        raise ContentTypeError(f"'{content_type}' cannot be read here; what can: {', '.join(table)}")
    return table[content_type.media_type]
