"""Converts data for ``oba`` into a form that the algorithm reads; see ``columns``."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from algorithms.interface import CSV, LABELS_REQUIRED, PARQUET, RECORDIO, ROWS, Channel, Serving
from container.settings import ConfigurationError
from local import inputs, parquet, suffixes
from local.columns import Columns, Form, Table, check, header, opened
from recordio import content_type
from recordio.column_order import ColumnOrder
from recordio.content_type import ContentType
from recordio.readers import ChannelStream, RowFormat, decode
from recordio.record_writer import encode_records
from recordio.sources import FileSource

TRAINED_ON = "the data that the model was trained on"


def converted(
    declared: Mapping[str, Channel],
    files: Mapping[str, Sequence[Path]],
    stated: str | None,
    columns: Columns,
    folder: Path,
) -> dict[str, tuple[list[Path], str | None]]:
    """For each channel its files, or converted ones in ``folder``, and the content type that is stated for them, None
    if their suffixes tell it.

    Raises:
        ConfigurationError: the files cannot be read as tables, or there are options about columns and no table.
    """
    made: dict[str, tuple[list[Path], str | None]] = {}
    names: list[str] | None = None
    of_csv, first = columns, None
    of_parquet = ColumnOrder()
    used = False
    for name in sorted(files, key=lambda name: name != "train"):  # whose columns the others must have
        channel, paths = declared[name], files[name]
        media = _media(channel, paths, stated)
        if media is not None and media.media_type == CSV:
            used = True
            _check(media, columns)
            if first is not None and names is None and columns.named:
                names = _names(*first, ContentType(PARQUET), columns)
                of_csv = _by_name(columns, names, first[0])
            found, names, of_csv, stated_now = _of_csv(channel, paths, media, stated, of_csv, names, folder / name)
            made[name] = found, stated_now
        else:
            place, like = folder / "parquet" / name, names or ()
            order = ColumnOrder(like=of_parquet)
            rewritten = parquet.converted(channel, paths, stated, place, order, of_csv.label, like)
            made[name] = rewritten, stated if rewritten == list(paths) else None
            if media is not None and media.media_type == PARQUET:
                used = True
                first = first or (channel, paths)
    if columns.given and not used:
        _refuse_options(declared, files, stated)
    return {name: made[name] for name in files}


def _refuse_options(
    declared: Mapping[str, Channel], files: Mapping[str, Sequence[Path]], stated: str | None
) -> NoReturn:
    """Refuse options about columns where no file has any; a spreadsheet, an archive or another format that a suffix
    tells is refused with what to do about it."""
    for name, paths in files.items() if stated is None else ():
        for file in inputs.files_of(paths)[:1]:
            if (known := suffixes.other_form(file, declared[name].accepts)) is not None:
                raise ConfigurationError(f"channel '{name}': {file}: {known}")
    raise ConfigurationError(
        "--label and --header are for CSV and Parquet files of rows, and no suffix or --content-type tells of any; "
        "--content-type text/csv does, and 'text/csv; delimiter=tab' where tabs separate"
    )


def _by_name(columns: Columns, names: Sequence[str], channel: Channel) -> Columns:
    """The options with the label's name in place of its number, in a channel whose columns have these ``names``."""
    if columns.label is not None and not parquet.is_place(columns.label):
        return columns
    place = parquet.place_of(columns.label, names, labelled=channel.labels == LABELS_REQUIRED)
    return columns if place is None else replace(columns, label=names[place])


def _media(channel: Channel, paths: Sequence[Path], stated: str | None) -> ContentType | None:
    """The content type of a channel of rows; None if nothing tells it, or the channel does not have rows."""
    if channel.gives != ROWS:
        return None
    if stated is not None:
        return content_type.parse(stated)
    types = {suffixes.media_type(file, channel.accepts) for file in inputs.files_of(paths)}
    media = types.pop() if len(types) == 1 else None
    return None if media is None else ContentType(media)


def _of_csv(
    channel: Channel,
    paths: Sequence[Path],
    media: ContentType,
    stated: str | None,
    columns: Columns,
    names: list[str] | None,
    folder: Path,
) -> tuple[list[Path], list[str] | None, Columns, str | None]:
    """The files, the names of their columns, the options about columns with the label by its name (in the next
    channel's files it may be at another place), and the content type that is stated for the files."""
    files = inputs.files_of(paths)
    if not columns.given:
        flags = False
        for file in files[:1]:
            with opened(inputs.opened(file), media) as text:
                flags = check(text, _form(f"channel '{channel.name}': {file}", media, columns, channel))
        if not flags and (CSV in channel.accepts or RECORDIO not in channel.accepts):
            return list(paths), None, columns, stated
    made = []
    for number, file in enumerate(files):
        form = _form(f"channel '{channel.name}': {file}", media, columns, channel, names)
        name = file.name.lstrip("._").partition(".")[0] or "rows"  # a file that is named is data, whatever its name
        copy = folder / str(number) / f"{name}.csv"
        copy.parent.mkdir(parents=True)
        with opened(inputs.opened(file), media) as text, copy.open("w", newline="") as stream:
            table = Table(text, form)
            names = names or table.names
            columns = columns if table.label is None else replace(columns, label=table.label)
            csv.writer(stream, lineterminator="\n").writerows(table)
        made.append(copy if CSV in channel.accepts else _records(copy, channel))
    label_size = media.parameters.get("label_size")
    kept = f"{CSV};label_size={label_size}" if label_size is not None and CSV in channel.accepts else None
    return made, names, columns, kept


def names(channel: Channel, paths: Sequence[Path], stated: str | None, columns: Columns) -> list[str]:
    """The names of a channel's columns in the order in which the algorithm reads them, a label first; an empty list if
    the files, which ``converted`` must have accepted, have no names.

    Raises:
        ConfigurationError: a Parquet file cannot be read.
    """
    media = _media(channel, paths, stated)
    found = [] if media is None else _names(channel, paths, media, columns)
    if not found:
        return []
    labelled, label = channel.labels == LABELS_REQUIRED, columns.label
    if label is not None and label not in found and not parquet.is_place(label):  # the index of a frame
        return [label, *found] if labelled else found
    place = parquet.place_of(label, found, labelled=labelled)
    features = [name for number, name in enumerate(found) if number != place]
    return [found[place], *features] if labelled and place is not None else features


def label_by_default(channel: Channel, names: Sequence[str], stated: str | None, columns: Columns) -> str | None:
    """The name of the first column, if it is the label because the command does not name one; else None."""
    given = columns.label is not None or (stated is not None and "label_size" in content_type.parse(stated).parameters)
    return None if given or channel.labels != LABELS_REQUIRED else next(iter(names), None)


def _names(channel: Channel, paths: Sequence[Path], media: ContentType, columns: Columns) -> list[str]:
    """The names of the columns in the first file of a channel; an empty list if it has none."""
    file = inputs.files_of(paths)[0]
    if media.media_type == PARQUET:
        return parquet.columns(file, f"channel '{channel.name}': {file}")
    if media.media_type != CSV or not columns.named:
        return []
    with opened(inputs.opened(file), media) as text:
        return header(text, media.delimiter.decode())


def _check(media: ContentType, columns: Columns) -> None:
    _ = media.recoding, media.delimiter  # refuse what is unknown
    if columns.label is not None and "label_size" in media.parameters:
        raise ConfigurationError(f"--label {columns.label} and '{media}' both say where the label is; leave one out")


def _form(
    what: str, media: ContentType, columns: Columns, channel: Channel | None = None, like: list[str] | None = None
) -> Form:
    return Form(
        columns=columns,
        what=what,
        delimiter=media.delimiter.decode(),
        labelled=channel is not None and channel.labels == LABELS_REQUIRED,
        missing=channel is not None and channel.missing_values,
        like=like,
    )


def _records(file: Path, channel: Channel) -> Path:
    """The same rows as RecordIO-protobuf."""
    labelled = channel.labels == LABELS_REQUIRED
    rows = RowFormat(labels="required" if labelled else "none", missing=channel.missing_values)
    stream = ChannelStream(FileSource(file), ContentType(CSV, {"label_size": str(int(labelled))}), rows)
    copy = file.with_suffix(".pbr")
    with copy.open("wb") as out:
        for batch in stream.batches():
            out.write(encode_records(batch.features, batch.labels))
    file.unlink()
    return copy


def request(
    body: bytes,
    stated: str,
    columns: Columns,
    serving: Serving,
    what: str,
    feature_dim: int | None,
    names: Sequence[str] | None = None,
) -> tuple[bytes, str]:
    """A request's body and content type, as the model reads them: without the label, and columns with names in the
    order of those that the model was trained on.

    Args:
        feature_dim: how many features the model takes; None where it does not say.
        names: what they are called; None where that is not known.

    Raises:
        ConfigurationError: the body cannot be read as a table, or there are options about columns and it is no table.
    """
    media = content_type.parse(stated)
    if media.media_type == PARQUET and serving.takes == ROWS and RECORDIO in serving.accepts:
        return parquet.request(body, columns.label, what, names), RECORDIO
    if media.media_type != CSV or serving.takes != ROWS:
        if columns.given:
            raise ConfigurationError(
                f"--label and --header are for rows in CSV and Parquet, and {what} is {media.media_type}"
            )
        return body, stated
    body, media = _request_of_csv(body, media, columns, serving, what, feature_dim, names)
    if CSV in serving.accepts or RECORDIO not in serving.accepts:
        return body, str(media)
    rows = RowFormat(labels="none", missing=serving.missing_values)
    features = decode(body, ContentType(CSV, {"label_size": "0", **media.parameters}), rows).features
    return encode_records(features), RECORDIO


def _request_of_csv(
    body: bytes,
    media: ContentType,
    columns: Columns,
    serving: Serving,
    what: str,
    feature_dim: int | None,
    names: Sequence[str] | None,
) -> tuple[bytes, ContentType]:
    """As ``request``, of a body in CSV: rewritten only if the options, or its first rows, ask for it."""
    if columns.header and columns.label is None and media.label_size == 1:
        columns = replace(columns, label="0")
        media = ContentType(CSV, {name: value for name, value in media.parameters.items() if name != "label_size"})
    _check(media, columns)
    form = replace(_form(what, media, columns), features=None if "label_size" in media.parameters else feature_dim)
    if not columns.given and not check(opened(io.BytesIO(body), media), form):
        return body, media
    out = io.StringIO(newline="")
    form = replace(form, missing=serving.missing_values, like=names, whose=TRAINED_ON)
    csv.writer(out, lineterminator="\n").writerows(Table(opened(io.BytesIO(body), media), form))
    kept = {name: value for name, value in media.parameters.items() if name == "label_size"}
    return out.getvalue().encode(), ContentType(CSV, kept)
