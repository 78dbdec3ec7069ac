"""The options of a batch transform job, by the names of CreateTransformJob, and their defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from algorithms.interface import CSV
from container.settings import MIB, ConfigurationError
from local.batch import json_path
from recordio import content_type
from recordio.errors import ContentTypeError

LINE, RECORDIO = "Line", "RecordIO"
SINGLE, MULTI = "SingleRecord", "MultiRecord"
INPUT = "Input"
GZIP, UNCOMPRESSED = "Gzip", "None"
LARGEST_MIB = 100
"""MaxPayloadInMB, and also its product with MaxConcurrentTransforms."""

LONGEST_SECONDS = 3600
"""InvocationsTimeoutInSeconds."""

_FROM_SERVER = {"SINGLE_RECORD": SINGLE, "SINGLERECORD": SINGLE, "MULTI_RECORD": MULTI, "MULTIRECORD": MULTI}


@dataclass(frozen=True, kw_only=True)
class Options:
    """One job. What is None is left to ``/execution-parameters``, then to the platform's defaults.

    Attributes:
        input: files, or one folder with the files of the job; they exist. output: gets their answers.
        compression: ``Gzip``, or ``None`` for files that are sent as they are; None goes by their content.
        split_type: ``Line``, ``RecordIO`` or None. assemble_with: ``Line`` or None.
        strategy: ``SingleRecord`` or ``MultiRecord``.
        max_payload: MiB of a request; 0 for no limit. max_concurrent: requests at a time.
        retries: how often a request is sent again after the server was at fault. timeout: seconds of a request.
        header: the first line of each file has the names of its columns, and is not sent.
        features: the names of the model's features, where they are known: those of a header must be the same.
        identified: the time that each answer's record has besides an identifier; None for neither.
    """

    input: tuple[Path, ...]
    output: Path
    content_type: str
    accept: str | None = None
    compression: str | None = None
    split_type: str | None = None
    assemble_with: str | None = None
    strategy: str | None = None
    max_payload: int | None = None
    max_concurrent: int | None = None
    input_filter: str = "$"
    output_filter: str = "$"
    join_source: str | None = None
    retries: int = 3
    timeout: int = 600
    header: bool = False
    features: Sequence[str] | None = None
    identified: str | None = None

    @property
    def limit(self) -> int | None:
        """Bytes of a request; None for no limit."""
        return self.max_payload * MIB if self.max_payload else None

    def check(self) -> None:
        """Refuse what the platform refuses when a job is made.

        Raises:
            ConfigurationError: with a line for each problem.
        """
        problems = []
        if self.max_payload is not None and not 0 <= self.max_payload <= LARGEST_MIB:
            problems.append(f"MaxPayloadInMB: {self.max_payload} is not an integer from 0 to {LARGEST_MIB}")
        if self.max_concurrent is not None and self.max_concurrent < 1:
            problems.append(f"MaxConcurrentTransforms: {self.max_concurrent} is not an integer of at least 1")
        elif (self.max_payload or 0) * (self.max_concurrent or 0) > LARGEST_MIB:
            problems.append(
                f"MaxConcurrentTransforms * MaxPayloadInMB: {self.max_concurrent} * {self.max_payload} is more than "
                f"{LARGEST_MIB}"
            )
        if not 1 <= self.timeout <= LONGEST_SECONDS:
            problems.append(
                f"InvocationsTimeoutInSeconds: {self.timeout} is not an integer from 1 to {LONGEST_SECONDS}"
            )
        for name, header in (("ContentType", self.content_type), ("Accept", self.accept or "")):
            if not header.isprintable() or not header.isascii():
                problems.append(f"{name}: {header[:60]!r} is not a media type")
        if self.header:
            problems += _header_problems(self.content_type)
        folders = [path.resolve() for path in self.input if path.is_dir()]
        if any(self.output.resolve().is_relative_to(folder) for folder in folders):
            problems.append(f"--output {self.output}: lies in --input, where a second run would take it for input")
        for name, text in (("InputFilter", self.input_filter), ("OutputFilter", self.output_filter)):
            try:
                json_path.parse(text)
            except json_path.PathError as error:
                problems.append(f"{name}: {error}")
        if problems:
            raise ConfigurationError(*problems)

    def environment(self) -> dict[str, str]:
        """The server's environment variables from the platform; all but the first are there only if the job states
        them."""
        given = {
            "SAGEMAKER_BATCH": "true",
            "SAGEMAKER_MAX_PAYLOAD_IN_MB": self.max_payload,
            "SAGEMAKER_BATCH_STRATEGY": {SINGLE: "SINGLE_RECORD", MULTI: "MULTI_RECORD"}.get(self.strategy or ""),
            "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": self.max_concurrent,
        }
        return {name: str(value) for name, value in given.items() if value is not None}

    def completed(self, parameters: Mapping[str, Any]) -> Options:
        """The options with those that the job leaves open from the server's ``/execution-parameters``, or by default.

        >>> job = Options(input=(Path("a"),), output=Path("b"), content_type="text/csv")
        >>> job.completed({"MaxPayloadInMB": 2}).limit
        2097152
        """
        strategy = _FROM_SERVER.get(str(parameters.get("BatchStrategy", "")).upper(), MULTI)
        concurrent = _count(parameters.get("MaxConcurrentTransforms"), 1)
        payload = _count(parameters.get("MaxPayloadInMB"), 6)
        return replace(
            self,
            strategy=self.strategy or strategy,
            max_concurrent=self.max_concurrent or max(1, concurrent),
            max_payload=payload if self.max_payload is None else self.max_payload,
        )


def media_type_of(header: str) -> str:
    """The media type of a Content-Type, or the header itself where it is malformed: the server says what is wrong."""
    try:
        return content_type.parse(header).media_type
    except ContentTypeError:
        return header


def _header_problems(stated: str) -> list[str]:
    """Why no header can be read in files of this content type."""
    try:
        found = content_type.parse(stated)
        charset, _ = found.recoding, found.delimiter
    except ContentTypeError as error:
        return [f"--header: {error}"]
    if found.media_type != CSV:
        return [f"--header: {found.media_type} has none; it is for {CSV}"]
    if charset is not None:  # the end of a line is another there, and what follows lacks the byte order mark
        return [f"--header: the end of a line is not found in charset {charset}; convert the files to UTF-8"]
    return []


def _count(value: Any, default: int) -> int:
    """A number that a server states, or ``default`` if it is no whole number from 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else default
