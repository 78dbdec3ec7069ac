"""Parquet for algorithms that do not read it themselves: rewritten as RecordIO-protobuf, which all of them read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from algorithms.interface import LABELS_REQUIRED, PARQUET, RECORDIO, ROWS, Channel
from container.extras import installing
from container.settings import ConfigurationError
from local import inputs, suffixes
from recordio.record_writer import encode_records

_ROWS = 8192


def converted(channel: Channel, paths: Sequence[Path], stated: str | None, folder: Path) -> list[Path]:
    """The same paths, or RecordIO files in ``folder`` where the channel has Parquet files and does not take them.

    As in CSV, the label is the first column where the channel has labels.

    Raises:
        ConfigurationError: pyarrow is missing, a file is damaged, or a column has no numbers.
    """
    files = inputs.files_of(paths)
    parquet = [file for file in files if suffixes.media_type(file, ()) == PARQUET]
    wanted = stated in (None, PARQUET) and channel.gives == ROWS and PARQUET not in channel.accepts
    if not wanted or not files or parquet != files or RECORDIO not in channel.accepts:
        return list(paths)
    try:
        import pyarrow
    except ImportError as error:
        raise ConfigurationError(
            f"channel '{channel.name}': Parquet needs the package pyarrow: {installing('local')}"
        ) from error
    folder.mkdir(parents=True)
    written = []
    for number, file in enumerate(files):
        copy = folder / f"{number}-{file.stem}.pbr"
        try:
            _convert(file, copy, labelled=channel.labels == LABELS_REQUIRED)
        except (pyarrow.ArrowException, OSError) as error:
            raise ConfigurationError(f"channel '{channel.name}': {file} is not a Parquet file: {error}") from error
        except ConfigurationError as error:
            raise ConfigurationError(f"channel '{channel.name}': {file}: {error}") from error
        written.append(copy)
    return written


def _convert(file: Path, copy: Path, *, labelled: bool) -> None:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.parquet.ParquetFile(file)
    numeric = (pyarrow.types.is_integer, pyarrow.types.is_floating, pyarrow.types.is_boolean)
    for column in table.schema_arrow:
        if not any(kind(column.type) for kind in numeric):
            raise ConfigurationError(f"column {column.name!r} is of type {column.type}, and numbers are expected")
    with copy.open("wb") as stream:
        for part in table.iter_batches(_ROWS):
            columns = [np.asarray(one.to_numpy(zero_copy_only=False), np.float32) for one in part.columns]
            rows = np.column_stack(columns[1:] if labelled else columns)
            stream.write(encode_records(rows, columns[0] if labelled else None))
