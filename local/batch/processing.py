"""The data processing of a batch transform job: InputFilter, JoinSource, OutputFilter, GenerateInferenceId.

A CSV row is a list of texts to the filters, a line of JSON is what it says. A joined row is the input's fields with
the answer's after them; a joined JSON object is the input with the answer under ``SageMakerOutput``, and where the
input is no object, a new one with ``SageMakerInput`` and ``SageMakerOutput``. An identifier and the time are the last
two fields of a row, ``SageMakerInferenceId`` and ``SageMakerInferenceTime`` of an object.
"""

from __future__ import annotations

import csv
import io
import json
import uuid
from collections.abc import Sequence
from typing import Any

from algorithms.interface import CSV, JSON, JSON_LINES
from container.settings import ConfigurationError
from local.batch import json_path
from local.batch.json_path import PathError
from local.batch.options import INPUT, LINE, Options, media_type_of

OUTPUT_KEY, INPUT_KEY = "SageMakerOutput", "SageMakerInput"
ID_KEY, TIME_KEY = "SageMakerInferenceId", "SageMakerInferenceTime"
_KINDS = (CSV, JSON, JSON_LINES)
_NAMES = ", ".join(_KINDS)


class ProcessingError(ValueError):
    """A record, or the answer to it, cannot be filtered or joined."""


class Processing:
    """The steps of one job, in the order in which they happen to a record: ``request``, then ``answers``."""

    def __init__(self, options: Options) -> None:
        """Raises ConfigurationError where the formats cannot be processed."""
        self._input = json_path.parse(options.input_filter)
        self._output = json_path.parse(options.output_filter)
        self._joins = options.join_source == INPUT
        self._by_line = options.split_type == LINE
        self._media_type = media_type_of(options.content_type)
        self._time = options.identified
        self._chooses = self._joins or not (self._input.selects_all and self._output.selects_all)
        self.active = self._chooses or self._time is not None
        if self._chooses:
            self._check(options)

    def _check(self, options: Options) -> None:
        if self._media_type not in _KINDS:
            raise ConfigurationError(f"InputFilter, JoinSource and OutputFilter need ContentType one of {_NAMES}")
        if self._media_type != JSON and (options.split_type != LINE or options.assemble_with != LINE):
            raise ConfigurationError(
                f"InputFilter, JoinSource and OutputFilter need SplitType and AssembleWith Line for {self._media_type}"
            )
        if self._media_type == JSON and options.split_type not in (None, LINE):
            raise ConfigurationError(f"SplitType {options.split_type} does not go with {JSON}")

    def request(self, record: bytes, place: str) -> bytes:
        """What is sent of a record.

        Raises:
            ProcessingError: naming ``place``.
        """
        if self._input.selects_all:
            return record
        try:
            return _written(self._input.select(_parsed(record, self._media_type)), self._media_type)
        except (PathError, ProcessingError) as error:
            raise ProcessingError(f"{place}: InputFilter {error}") from error

    def answers(self, records: Sequence[bytes], body: bytes, media_type: str) -> bytes:
        """What is written of the answer ``body`` to the request with ``records``.

        Raises:
            ProcessingError: the answer does not have a part for each record, or cannot be filtered or joined.
        """
        if self._joins and (media_type == CSV) != (self._media_type == CSV):
            raise ProcessingError(f"JoinSource Input cannot join {self._media_type} with an answer in {media_type}")
        if self._time is not None and media_type not in _KINDS:
            raise ProcessingError(f"GenerateInferenceId needs an answer in one of {_NAMES}, and it is in {media_type}")
        lines = [line for line in body.split(b"\n") if line.strip()]
        # One JSON document for several records can get an identifier as a whole, but not be filtered or joined.
        whole = media_type == JSON and (len(records) == 1 or not (self._chooses or len(lines) == len(records)))
        parts = [body] if whole else lines
        if len(parts) != len(records) and not whole and (self._joins or self._by_line):
            raise ProcessingError(
                f"the answer has {len(parts)} lines for {len(records)} records"
                + ("; use Accept application/jsonlines, or BatchStrategy SingleRecord" if media_type == JSON else "")
            )
        try:
            if self._joins:
                pairs = zip(records, parts, strict=True)
                written = [self._joined(record, part, media_type) for record, part in pairs]
            else:
                written = [self._selected(part, media_type) for part in parts]
        except PathError as error:
            raise ProcessingError(f"OutputFilter {error}") from error
        if self._time is not None:
            written = [_identified(line, media_type, self._time) for line in written]
        return b"".join(written)

    def _selected(self, part: bytes, media_type: str) -> bytes:
        if not self._chooses:  # it is only identified, and its numbers stay as they are written
            return part.strip(b"\r\n") + b"\n"
        return _written(self._output.select(_parsed(part, media_type)), media_type)

    def _joined(self, record: bytes, part: bytes, media_type: str) -> bytes:
        if media_type == CSV and self._output.selects_all:  # nothing is read that need not be: the fields stay as is
            return record.rstrip(b"\r\n") + b"," + part.strip() + b"\n"
        first, second = _parsed(record, self._media_type), _parsed(part, media_type)
        if media_type == CSV:
            return _written(self._output.select(first + second), CSV)
        pair = first if isinstance(first, dict) else {INPUT_KEY: first}
        return _written(self._output.select(pair | {OUTPUT_KEY: second}), JSON_LINES)


def _identified(line: bytes, media_type: str, time: str) -> bytes:
    """A line of the output with a random identifier and the time."""
    identity = str(uuid.uuid4())
    if media_type == CSV:
        return line.rstrip(b"\n") + f",{identity},{time}\n".encode()
    value = _parsed(line, media_type)
    whole = value if isinstance(value, dict) else {OUTPUT_KEY: value}
    return _written(whole | {ID_KEY: identity, TIME_KEY: time}, JSON_LINES)


def _parsed(text: bytes, media_type: str) -> Any:
    try:
        if media_type != CSV:
            return json.loads(text)
        return next(csv.reader([text.decode().rstrip("\r\n")], strict=True))
    except (ValueError, RecursionError, csv.Error, StopIteration) as error:
        kind = "row of CSV" if media_type == CSV else "JSON"
        raise ProcessingError(f"{text[:60]!r} is not a {kind}: {error}") from error


def _written(value: Any, media_type: str) -> bytes:
    """The value as a line: of JSON, or of CSV, where it may be one field that a filter has selected."""
    if media_type != CSV:
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"  # JSON's own escape
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(value if isinstance(value, list) else [value])
    return line.getvalue().encode()
