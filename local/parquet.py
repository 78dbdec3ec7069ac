"""Parquet for algorithms that do not read it themselves: rewritten as RecordIO-protobuf, which all of them read."""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from algorithms.interface import LABELS_REQUIRED, PARQUET, RECORDIO, ROWS, Channel
from container.extras import installing
from container.settings import ConfigurationError
from local import fields, inputs, suffixes
from local.columns import leave_out
from local.parameters import did_you_mean
from recordio.column_order import ColumnOrder
from recordio.errors import ParseError
from recordio.quoting import quoted
from recordio.record_writer import encode_records

if TYPE_CHECKING:
    import pyarrow

_ROWS = 8192


def converted(
    channel: Channel,
    paths: Sequence[Path],
    stated: str | None,
    folder: Path,
    order: ColumnOrder,
    label: str | None = None,
    like: Sequence[str] = (),
) -> list[Path]:
    """The same paths, or RecordIO files in ``folder`` where the channel has Parquet files and does not take them as
    they are, or where ``like`` has the names of another channel's CSV files, whose order these take.

    As in CSV, the label is the first column where the channel has labels, or the one that ``label`` names. ``order`` is
    the channel's, which ``like`` or the first file settles.

    Raises:
        ConfigurationError: pyarrow is missing, a file is damaged, a column has no numbers, or the columns are others
            than ``like``.
    """
    files = inputs.files_of(paths)
    parquet = [file for file in files if suffixes.media_type(file, ()) == PARQUET]
    rewritten = label is not None or PARQUET not in channel.accepts or len(like) > 0
    wanted = stated in (None, PARQUET) and channel.gives == ROWS and rewritten
    if not wanted or not files or parquet != files or RECORDIO not in channel.accepts:
        return list(paths)
    folder.mkdir(parents=True)
    if like:
        order.settle(like)
    written = list[Path]()
    for number, file in enumerate(files):
        copy = folder / f"{number}-{file.stem}.pbr"
        with _errors(f"channel '{channel.name}': {file}"):
            _convert(file, copy, label, order, labelled=channel.labels == LABELS_REQUIRED)
        written.append(copy)
    return written


def request(body: bytes, label: str | None, what: str, names: Sequence[str] | None = None) -> bytes:
    """The rows of a Parquet file as RecordIO-protobuf, without the label's column where ``label`` names one.

    Features take the order of ``names``, where they are known.

    Raises:
        ConfigurationError: naming ``what``: pyarrow is missing, the file is damaged, a column has no numbers, or the
            columns are others than ``names``.
    """
    with tempfile.TemporaryDirectory() as folder, _errors(what):
        file, copy = Path(folder) / "rows.parquet", Path(folder) / "rows.pbr"
        file.write_bytes(body)
        found = _names(file)
        place = place_of(label, found, labelled=False) if label is not None and is_place(label) else None
        label = label if place is None else found[place]  # a number is a place in the file, not in the model's order
        _convert(file, copy, label, _order(found, label, names or ()), labelled=False)
        return copy.read_bytes()


def _order(found: Sequence[str], label: str | None, names: Sequence[str]) -> ColumnOrder:
    """The order for a request's columns: ``names``, then the label; without names, the order of the file.

    Raises:
        ConfigurationError: they are others.
    """
    features = [name for name in found if name != label]
    order = ColumnOrder()
    if not names or list(names) == features:
        return order
    for missing, text in ((set(names) - set(features), "lacks"), (set(features) - set(names), "has besides")):
        if missing:
            name = min(missing)
            told = f"it {text} the column {quoted(name)}, unlike the data that the model was trained on"
            raise ConfigurationError(told + (leave_out(name) if len(features) == len(names) + 1 else ""))
    order.settle([*names, *(name for name in found if name == label)])
    return order


def columns(file: Path, what: str) -> list[str]:
    """The names of the columns of a Parquet file, of which the first is the label where no other is named.

    Raises:
        ConfigurationError: naming ``what``: pyarrow is missing, or the file is damaged.
    """
    with _errors(what):
        return _names(file)


def _names(file: Path) -> list[str]:
    import pyarrow.parquet

    from recordio.parquet import without_index

    return [column.name for column in without_index(pyarrow.parquet.read_schema(file))]


@contextlib.contextmanager
def _errors(what: str) -> Iterator[None]:
    """Turn errors of reading a Parquet file into ones that name ``what``."""
    try:
        import pyarrow
    except ImportError as error:
        raise ConfigurationError(f"{what}: Parquet needs the package pyarrow: {installing('local')}") from error
    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        raise ConfigurationError(f"{what} is not a Parquet file: {error}") from error
    except (ConfigurationError, ParseError) as error:
        raise ConfigurationError(f"{what}: {error}") from error


def _convert(file: Path, copy: Path, label: str | None, order: ColumnOrder, *, labelled: bool) -> None:
    import pyarrow
    import pyarrow.parquet

    from recordio.parquet import float32, is_numeric, without_index

    table = pyarrow.parquet.ParquetFile(file)
    kept = without_index(table.schema_arrow)
    if label not in [column.name for column in kept]:
        kept = [column for column in table.schema_arrow if column in kept or column.name == label]
    if twice := [name for name, count in Counter(column.name for column in kept).items() if count > 1]:
        raise ConfigurationError(f"two columns are called {quoted(twice[0])}")
    names = order.of_file([column.name for column in kept], file.name)
    kept.sort(key=lambda column: names.index(column.name))
    place = place_of(label, names, labelled=labelled)
    for number, column in enumerate(kept):
        if number == place and not labelled:
            continue  # it is left out
        if not is_numeric(column.type):
            raise ConfigurationError(_refused(column, _first_text(table, column.name), is_label=number == place))
    with copy.open("wb") as stream:
        for part in (one.select(names) for one in table.iter_batches(_ROWS, columns=names)):
            rows = np.column_stack([float32(one) for number, one in enumerate(part.columns) if number != place])
            labels = float32(part.columns[place]) if labelled and place is not None else None
            stream.write(encode_records(rows, labels))


def _first_text(table: pyarrow.parquet.ParquetFile, column: str) -> str:
    """The first text in a column's first rows; "" if there is none."""
    first = next(table.iter_batches(_ROWS, columns=[column]), None)
    values = [] if first is None else first.column(0).to_pylist()
    return next((value for value in values if isinstance(value, str) and value), "")


def _refused(column: pyarrow.Field, text: str, *, is_label: bool) -> str:
    """Why a column that has no numbers is refused, and what to do about it; ``text`` is one of its texts, if any."""
    from pyarrow import types

    name = quoted(column.name)
    kind = "label" if is_label else "column"
    if said := fields.text_of_time(text, name):
        return f"{kind} {name} is of type {column.type}: {quoted(text)} {said}"
    if types.is_date(column.type) or types.is_timestamp(column.type):
        advice = fields.numbers_of_dates(name)
    elif types.is_duration(column.type):
        advice = f"make seconds of it, as pandas does: frame[{name}].dt.total_seconds()"
    elif fields.number(text):
        advice = f"make numbers of its texts, as pandas does: frame[{name}].astype(float)"
    else:
        advice = fields.numbers_of_text(name, is_label=is_label)
    return f"{kind} {name} is of type {column.type}, and numbers are expected; {advice}"


def place_of(label: str | None, names: Sequence[str], *, labelled: bool) -> int | None:
    """The label's column; None where there is none.

    Raises:
        ConfigurationError: it is not among the ``names``.
    """
    if label is None:
        return 0 if labelled else None
    if label in names:
        return names.index(label)
    if is_place(label) and -len(names) <= int(label) < len(names):
        return int(label) % len(names)
    raise ConfigurationError(f"there is no column {quoted(label)}; {did_you_mean(label, names)}")


def is_place(label: str) -> bool:
    """Whether it is the number of a column."""
    return label.removeprefix("-").isdecimal()
