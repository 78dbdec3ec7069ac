"""Data capture: an endpoint's requests and answers as JSON Lines in S3; for transform jobs, the names of their objects.

Source: "Data capture" in Amazon SageMaker's developer guide (the files' names and members), and the API reference's
``DataCaptureConfig``, ``CaptureContentTypeHeader`` and ``BatchDataCaptureConfig``.
"""

from __future__ import annotations

import base64
import json
import random
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from werkzeug.datastructures import Headers

from local.sagemaker import s3
from local.sagemaker.errors import JobError, invalid
from local.sagemaker.store import Record

_EVERY = 0.5
"""Seconds between the first line and the file that has it: an invocation must not wait for S3."""
_AT_THE_END = 5.0
"""Most seconds that a server waits for S3 when it ends."""

_INPUT, _OUTPUT = {"Input", "InputAndOutput"}, {"Output", "InputAndOutput"}
_ATTRIBUTES, _IDENTITY = "X-Amzn-SageMaker-Custom-Attributes", "X-Amzn-SageMaker-Inference-Id"


def check(config: Record) -> None:
    """Refuse a ``DataCaptureConfig`` without a place for what it captures. Raises AwsError."""
    try:
        s3.split(config["DestinationS3Uri"])
    except JobError as error:
        raise invalid(f"DataCaptureConfig.DestinationS3Uri: {error}") from error


def described(config: Record | None) -> Record | None:
    """What DescribeEndpoint says of a ``DataCaptureConfig``."""
    if config is None:
        return None
    enabled = config.get("EnableCapture", False)
    return {
        "EnableCapture": enabled,
        "CaptureStatus": "Started" if enabled else "Stopped",
        "CurrentSamplingPercentage": config["InitialSamplingPercentage"],
        "DestinationS3Uri": config["DestinationS3Uri"],
        "KmsKeyId": config.get("KmsKeyId", ""),
    }


@dataclass
class _File:
    """Lines that wait for being put into S3 by its ``client``; ``tell`` hears why they could not be."""

    client: Any
    tell: Callable[[str], None]
    lines: list[str] = field(default_factory=list)


class Captures:
    """Collects lines, and puts them into S3 a little later."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._delivering = threading.Lock()
        self._waiting: dict[str, _File] = {}

    def add(self, client: Any, config: Record, place: str, line: str, tell: Callable[[str], None]) -> None:
        """Have ``line`` put below the configuration's destination, in the folder ``place``.

        Args:
            client: of S3.
            tell: is told why a file could not be written.
        """
        prefix = f"{config['DestinationS3Uri'].rstrip('/')}/{place}"
        with self._lock:
            if prefix in self._waiting:
                self._waiting[prefix].lines.append(line)
                return
            self._waiting[prefix] = _File(client, tell, [line])
        timer = threading.Timer(_EVERY, self._deliver, (prefix,))
        timer.daemon = True
        timer.start()

    def close(self) -> None:
        """Put what still waits, as far as S3 takes it soon."""
        last = threading.Thread(target=self._deliver_all, daemon=True)
        last.start()
        last.join(_AT_THE_END)

    def _deliver_all(self) -> None:
        for prefix in list(self._waiting):
            self._deliver(prefix)
        with self._delivering:  # what a timer has begun
            pass

    def _deliver(self, prefix: str) -> None:
        with self._delivering:
            with self._lock:
                file = self._waiting.pop(prefix, None)
            if file is None:
                return  # it was the end
            now = datetime.now(UTC)
            name = f"{now:%Y/%m/%d/%H/%M-%S}-{now.microsecond // 1000:03}-{uuid.uuid4()}.jsonl"
            try:
                s3.put(file.client, f"{prefix}/{name}", "".join(f"{line}\n" for line in file.lines).encode(), None)
            except JobError as error:
                file.tell(f"Data capture: {error}")


def line(config: Record, headers: Headers, body: bytes, answer: bytes, answer_type: str | None) -> str | None:
    """A request and its answer as one line; None where they are not captured: not switched on, or not sampled.

    Args:
        headers: of the request.
        answer_type: the answer's media type.
    """
    if not config.get("EnableCapture"):
        return None
    if random.random() * 100 >= config["InitialSamplingPercentage"]:
        return None
    modes = {one["CaptureMode"] for one in config["CaptureOptions"]}
    encodings = config.get("CaptureContentTypeHeader", {})
    data = {}
    if modes & _INPUT:
        data["endpointInput"] = _side("INPUT", body, headers.get("Content-Type"), encodings)
    if modes & _OUTPUT:
        data["endpointOutput"] = _side("OUTPUT", answer, answer_type, encodings)
    event: Record = {"eventId": str(uuid.uuid4())}
    if (attributes := headers.get(_ATTRIBUTES)) is not None:
        event["customAttributes"] = [attributes]
    if (identity := headers.get(_IDENTITY)) is not None:
        event["inferenceId"] = identity
    event["inferenceTime"] = utc(time.time())
    return json.dumps({"captureData": data, "eventMetadata": event, "eventVersion": "0"})


def _side(mode: str, body: bytes, media_type: str | None, encodings: Record) -> Record:
    """One of both. What is of none of the configuration's types of text is in base64."""
    kind = (media_type or "").partition(";")[0].strip().lower()
    named = {"CSV": encodings.get("CsvContentTypes", ()), "JSON": encodings.get("JsonContentTypes", ())}
    encoding = next((name for name, kinds in named.items() if kind in [one.lower() for one in kinds]), "BASE64")
    data = base64.b64encode(body).decode() if encoding == "BASE64" else body.decode(errors="replace")
    return {"observedContentType": media_type, "mode": mode, "data": data, "encoding": encoding}


# ---- transform jobs -------------------------------------------------------------------------------------------------


def utc(seconds: float) -> str:
    """A time, in seconds since 1970, as captured data has it."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def put_manifests(
    client: Any, config: Record, started: float, inputs: Sequence[s3.Object], output: str, answers: Sequence[str]
) -> None:
    """Name the objects of a transform job in manifests below the destination's ``input`` and ``output``.

    Args:
        client: of S3.
        started: when the job did, in seconds since 1970: the folders are of that hour.
        output: the S3 URI of the answers, without a slash at its end. answers: their paths below it.

    Raises:
        JobError: S3 takes none.
    """
    first = inputs[0]
    source = f"s3://{first.bucket}/" if first.bucket else s3.FILE
    prefixes = {
        "input": (f"{source}{first.key.removesuffix(first.path)}", [one.path for one in inputs]),
        "output": (f"{output}/", list(answers)),
    }
    hour = f"{datetime.fromtimestamp(started, UTC):%Y/%m/%d/%H}"
    for side, (prefix, paths) in prefixes.items():
        place = f"{config['DestinationS3Uri'].rstrip('/')}/{side}/{hour}/{uuid.uuid4()}.jsonl"
        s3.put(client, place, json.dumps([{"prefix": prefix}, *paths]).encode(), None)
