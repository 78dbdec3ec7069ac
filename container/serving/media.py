"""Requests to batches and columns to responses, by media type: the only place that knows both HTTP and rows.

Reading is recordio's, the same as for training. Writing follows from the declared columns alone, so that every
algorithm answers in every format:

- JSON: ``{"predictions": [{"score": 0.5}, ...]}``, where the list's name is the algorithm's.
- JSON Lines: the elements of that list, one a line.
- CSV: the columns in order, a line a row.
- RecordIO-protobuf: a Record a row, the columns in its ``label`` map.

Numbers are written with the fewest digits that give the same float32 (or float64) back. All are finite
(``answers``), but for selected outputs that mean nothing for the model: these are NaN, which is written to JSON as
Python's json module and XGBoost's container do, ``NaN``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from algorithms.errors import PredictionError
from algorithms.interface import CSV, IMAGES, JSON, JSON_LINES, RECORDIO, TEXTS, Items, Serving
from container.serving import texts
from container.serving.dialects import FIRST, WRAPPED, Dialect
from container.serving.responses import EmptyBodyError, NotAcceptableError, UnsupportedTypeError
from recordio import content_type, record_writer
from recordio.batches import Batch
from recordio.content_type import ContentType
from recordio.errors import ContentTypeError, ValueRangeError
from recordio.readers import RowFormat, decode

_NON_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
_WEIGHT = re.compile(r"[01](?:\.[0-9]{0,3})?|\.[0-9]{1,3}")
_ANYTHING = ("*/*", "*")
"""The range of all media types; Java's HttpURLConnection writes ``*; q=.2``, where the standard has ``*/*;q=0.2``."""


def read(body: bytes, declared: ContentType, serving: Serving, feature_dim: int | None) -> Batch | Items:
    """The items of a request: rows, images or texts. ``feature_dim`` is the model's.

    Raises:
        DataError: the body is not what it claims to be.
    """
    if serving.takes == IMAGES:
        return Items([body])
    if serving.takes == TEXTS:
        return texts.read(body, declared.media_type)
    batch = decode(body, declared, row_format(serving, feature_dim))
    check_finite(batch, serving)
    return batch


def row_format(serving: Serving, feature_dim: int | None) -> RowFormat:
    """What the rows of a request must look like."""
    return RowFormat(
        feature_dim=feature_dim,
        leading_label=False,
        missing=serving.missing_values,
        finite=not serving.missing_values,
    )


def check_finite(batch: Batch, serving: Serving) -> None:
    """Refuse infinite values where readers let NaN pass: NaN is a missing value, infinity is a mistake.

    Raises:
        ValueRangeError: there is an infinite value.
    """
    if serving.missing_values:
        values = batch.features.data if batch.is_sparse else batch.features
        if np.isinf(values).any():
            raise ValueRangeError("the rows have an infinite value; values must be finite, or missing")


def request_type(body: bytes, header: str | None, serving: Serving, dialect: Dialect) -> ContentType:
    """The content type of a request.

    Raises:
        EmptyBodyError: the body is empty.
        UnsupportedTypeError: the algorithm has no reader for the content type.
    """
    accepted = ", ".join(serving.accepts)
    if not body:
        raise EmptyBodyError("the request has no body")
    if not header:
        if dialect.default_request is None:
            raise UnsupportedTypeError(f"there is no Content-Type header; send one of {accepted}")
        return ContentType(dialect.default_request)
    try:
        declared = content_type.parse(header)
    except ContentTypeError as error:
        raise UnsupportedTypeError(dialect.unsupported.format(header, accepted)) from error
    if declared.media_type not in serving.accepts:
        raise UnsupportedTypeError(dialect.unsupported.format(header, accepted))
    if dialect.label_size is not None and declared.media_type == CSV:
        return _without_label_size(declared, header, dialect.label_size)
    return declared


def _without_label_size(declared: ContentType, header: str, only: int) -> ContentType:
    parameters = dict(declared.parameters)
    if parameters.pop("label_size", str(only)) != str(only):
        raise UnsupportedTypeError(
            f"{header} is not an accepted csv ContentType. Optional parameter label_size must be equal to {only}"
        )
    return ContentType(declared.media_type, parameters)


def accept_parameters(header: str | None, media_type: str) -> dict[str, str]:
    """The parameters that an Accept header gives ``media_type``, without its weight.

    >>> accept_parameters("text/csv;q=0.2, application/json; verbose=true", "application/json")
    {'verbose': 'true'}
    """
    for text in (header or "").split(","):
        try:
            found = content_type.parse(text)
        except ContentTypeError:
            continue
        if found.media_type == media_type:
            return {name: value for name, value in found.parameters.items() if name != "q"}
    return {}


def check_writable(batch: Batch | Items, media_type: str) -> None:
    """Refuse, before predicting, a format that cannot hold what is asked for.

    Raises:
        PredictionError: a matrix was asked for in a format that has none.
    """
    if isinstance(batch, Items) and media_type != JSON:
        for parameters in batch.parameters:
            if parameters.get(texts.MATRIX) == "true":
                raise PredictionError(
                    f"an attention matrix is given in {JSON} only; the answer is asked for in {media_type}"
                )


def negotiate(header: str | None, answers: Sequence[str], default: str, tolerated: Sequence[str] = ()) -> str:
    """The media type of the response, as RFC 9110 section 12.5.1 has it.

    The highest weight wins, then the more specific range, then what the client names first, then ``default``, then
    the order of ``answers``. A malformed range is left out. Where none of these is asked for, but one of the
    ``tolerated`` media types is, it is ``default``, which the standard allows.

        >>> negotiate("text/*;q=0.5, application/json", ["text/csv", "application/json"], default="text/csv")
        'application/json'
        >>> negotiate(None, ["text/csv", "application/json"], default="text/csv")
        'text/csv'

    Raises:
        NotAcceptableError: nothing that is asked for can be made.
    """
    if header is None or header.strip() in ("", "*/*"):
        return default
    ranges = [parsed for position, text in enumerate(header.split(",")) if (parsed := _range(text, position))]
    if (best := _most_welcome((default, *answers), ranges)) is None:
        if _most_welcome(tolerated, ranges) is not None:
            return default
        raise NotAcceptableError(
            f"Accept type {header} is not supported. Please use supported accept types: {list(answers)}."
        )
    return best


def _most_welcome(answers: Iterable[str], ranges: Sequence[tuple[str, int, int, float]]) -> str | None:
    """The answer to which an Accept of these ranges gives the highest weight; None if it accepts none."""
    best, best_rank = None, (0.0, 0, 0)
    for answer in answers:
        # Of the ranges that match, only the most specific gives the weight.
        matching = [(specific, -position, weight) for name, specific, position, weight in ranges if _in(answer, name)]
        if matching:
            specific, order, weight = max(matching)
            if weight > 0 and (best is None or (weight, specific, order) > best_rank):
                best, best_rank = answer, (weight, specific, order)
    return best


def _range(text: str, position: int) -> tuple[str, int, int, float] | None:
    """(media range, how specific it is, its position, its weight); None where it is malformed."""
    name, *parameters = (part.strip(" \t") for part in text.split(";"))
    weight = next((value[2:].strip() for value in parameters if value.lower().startswith("q=")), "1")
    if not _WEIGHT.fullmatch(weight) or float(weight) > 1:
        return None
    name = name.lower()
    if name in _ANYTHING:
        return "", 0, position, float(weight)
    if name.endswith("/*"):
        return name[:-1], 1, position, float(weight)
    try:
        return content_type.parse(name).media_type, 2, position, float(weight)
    except ContentTypeError:
        return None


def _in(answer: str, name: str) -> bool:
    return answer == name or (name.endswith("/") or not name) and answer.startswith(name)


def write(
    columns: Mapping[str, Any], media_type: str, serving: Serving, dialect: Dialect, *, batch: bool = False
) -> bytes:
    """The columns of n rows, each of shape (n, ...), as the body of a response; ``batch`` in batch transform."""
    if serving.takes == TEXTS:
        return texts.write(columns, media_type, serving.json_key)
    if media_type == RECORDIO:
        return record_writer.encode_columns({name: values.astype(np.float32) for name, values in columns.items()})
    if media_type == CSV or (batch and dialect.lines_in_batch and media_type in (JSON, JSON_LINES)):
        on_one_line = dialect.one_line_csv and not batch
        rows = _csv_rows(columns, "[{}]" if dialect.bracket_csv and (batch or on_one_line) else None)
        return ",".join(rows).encode() if on_one_line else _lines(rows)
    if media_type == JSON and dialect.json_form != WRAPPED:
        values = _texts(next(iter(columns.values())), "[{}]", ", ", _json_numbers)
        return values[0].encode() if dialect.json_form == FIRST else f"[{', '.join(values)}]".encode()
    rows = _json_rows(columns)
    if media_type == JSON_LINES:
        return _lines(rows)
    return f'{{"{serving.json_key}": [{", ".join(rows)}]}}'.encode()


def write_selected(
    columns: Mapping[str, np.ndarray], media_type: str, serving: Serving, dialect: Dialect, *, batch: bool
) -> bytes:
    """Outputs that were selected (``SAGEMAKER_INFERENCE_OUTPUT``): as ``write``, except for CSV.

    There, as in XGBoost's container, a list is one quoted field, and the last line ends only in batch transform.
    """
    if media_type != CSV:
        return write(columns, media_type, serving, dialect)
    body = _lines(_csv_rows(columns, '"[{}]"'))
    return body if batch else body.removesuffix(b"\n")


def _lines(rows: Iterable[str]) -> bytes:
    text = "\n".join(rows)
    return f"{text}\n".encode() if text else b""


def _csv_rows(columns: Mapping[str, np.ndarray], list_form: str | None) -> Iterable[str]:
    """A line a row. ``list_form`` is the form of several values in one field; None gives each a field of its own."""
    separator, form = (",", "{}") if list_form is None else (", ", list_form)
    fields = [_texts(values, form, separator, numbers) for values in columns.values()]
    return fields[0] if len(fields) == 1 else map(",".join, zip(*fields, strict=True))


def _json_rows(columns: Mapping[str, np.ndarray]) -> Iterable[str]:
    members = ", ".join(f'"{name}": %s' for name in columns)
    template = f"{{{members}}}"
    fields = [_texts(values, "[{}]", ", ", _json_numbers) for values in columns.values()]
    return [template % row for row in zip(*fields, strict=True)]


def _texts(
    values: np.ndarray, form: str, separator: str, write_numbers: Callable[[np.ndarray], list[str]]
) -> list[str]:
    """A text a row: a number, or the numbers of the row within ``form``."""
    texts = write_numbers(values)
    if values.ndim == 1:
        return texts
    width = int(np.prod(values.shape[1:]))
    return [form.format(separator.join(texts[i * width : (i + 1) * width])) for i in range(len(values))]


def numbers(values: np.ndarray) -> list[str]:
    """Shortest texts that give the same numbers back, in C order; those of real numbers have a point or an exponent.

    >>> numbers(np.array([0.1, 3, 1e20], np.float32))
    ['0.1', '3.0', '1e+20']
    """
    return values.ravel().astype(str).tolist()


def _json_numbers(values: np.ndarray) -> list[str]:
    texts = numbers(values)
    if values.dtype.kind == "f" and not (finite := np.isfinite(values)).all():
        for index in np.flatnonzero(~finite).tolist():
            texts[index] = _NON_FINITE[texts[index]]
    return texts
