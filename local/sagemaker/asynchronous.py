"""InvokeEndpointAsync: the request's payload comes from S3, and the answer goes there when it is ready.

A request is kept in the state folder until it is answered. So requests that a server has not answered when it ends are
answered by the next one; those that were being answered are sent a second time.
"""

from __future__ import annotations

import functools
import http.client
import json
import logging
import random
import re
import shutil
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from werkzeug.datastructures import Headers

from local.sagemaker import endpoints, notifications, protocol, s3
from local.sagemaker.cloud import Cloud
from local.sagemaker.errors import AwsError, JobError, invalid
from local.sagemaker.instances import Instance
from local.sagemaker.servers import Answer
from local.sagemaker.store import Record, whole

_PREFIX = "X-Amzn-SageMaker-"
_MEMBERS = {
    "ContentType": "Content-Type",
    "Accept": "Accept",
    "CustomAttributes": "Custom-Attributes",
    "InferenceId": "Inference-Id",
    "InputLocation": "InputLocation",
    "S3OutputPathExtension": "S3OutputPathExtension",
    "Filename": "Filename",
    "RequestTTLSeconds": "RequestTTLSeconds",
    "InvocationTimeoutSeconds": "InvocationTimeoutSeconds",
}
_NUMBERS, _NUMBER = ("RequestTTLSeconds", "InvocationTimeoutSeconds"), re.compile(r"[0-9]{1,9}")
_TTL_SECONDS = 6 * 3600
"""Seconds that a request waits at most before it is sent, unless it states another time."""

_AT_ONCE = 4
"""Requests at a time for each server, unless the configuration states another number."""

_PAUSE = 0.1
_BODY = ".body"
_NO_ANSWER = 599
"""The status of an invocation without an answer of the model."""

_logger = logging.getLogger("oba.up")


@dataclass(frozen=True)
class _Invocation:
    """One request and its places in S3; ``failed_to`` is None where the configuration has none.

    Attributes:
        file: has it all until it is answered; its neighbour ``.body`` has the payload that came with it.
        came: when, in seconds since 1970.
    """

    file: Path
    endpoint: str
    region: str
    request: Record
    put_to: str
    failed_to: str | None
    came: float

    @property
    def identity(self) -> str:
        """The identifier that the client gave, or one that was made."""
        own: str = self.request.get("InferenceId", self.file.stem)
        return own

    def keep(self, body: bytes) -> None:
        """Write it to disk, the payload first: what has a record is whole."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        partial = self.file.with_suffix(".partial")
        self.file.with_suffix(_BODY).write_bytes(body)
        partial.write_text(json.dumps({**vars(self), "file": self.file.name}))
        partial.replace(self.file)

    def body(self) -> bytes:
        """The payload that came with it."""
        return self.file.with_suffix(_BODY).read_bytes()

    def forget(self) -> None:
        """Remove its files, as it is answered."""
        self.file.unlink(missing_ok=True)
        self.file.with_suffix(_BODY).unlink(missing_ok=True)


def invoke(cloud: Cloud, name: str, body: bytes, headers: Headers) -> tuple[Record, dict[str, str]]:
    """Take a request: the answer's body and headers, which say where the result will be.

    Raises:
        AwsError: it is refused.
    """
    request = _read(name, headers)
    config = endpoints.running(cloud, name)[0].get("AsyncInferenceConfig")
    if config is None:
        raise invalid(f"Endpoint {name} is not asynchronous: its configuration has no AsyncInferenceConfig")
    if ("InputLocation" in request) == bool(body):
        raise invalid("Either InputLocation or Body is required, and not both")
    output, identity = config["OutputConfig"], uuid.uuid4()
    parts = (output["S3OutputPath"].rstrip("/"), request.get("S3OutputPathExtension", "").strip("/"))
    put_to = "/".join([*filter(None, parts), request.get("Filename", f"{identity}.out")])
    failures = output.get("S3FailurePath")
    failed_to = f"{failures.rstrip('/')}/{identity}-error.out" if failures else None
    with cloud.store.lock:
        file = endpoints.invocations(cloud, name) / f"{identity}.json"
        invocation = _Invocation(file, name, cloud.region, request, put_to, failed_to, time.time())
        _keep(invocation, body)
        _submit(cloud, endpoints.running(cloud, name)[0], invocation)
    places = {f"{_PREFIX}OutputLocation": put_to} | ({f"{_PREFIX}FailureLocation": failed_to} if failed_to else {})
    return {"InferenceId": invocation.identity}, places


def _keep(invocation: _Invocation, body: bytes) -> None:
    try:
        invocation.keep(body)
    except OSError as error:
        invocation.forget()
        raise AwsError("InternalFailure", f"The request cannot be kept: {error.strerror}", 500) from error


def _submit(cloud: Cloud, endpoint: Record, invocation: _Invocation) -> None:
    """Queue it. As many run at a time as the endpoint's instances may be given."""
    name, config = endpoint["Name"], endpoint["AsyncInferenceConfig"]
    at_once = config.get("ClientConfig", {}).get("MaxConcurrentInvocationsPerInstance", _AT_ONCE)
    servers = sum(variant.get("InitialInstanceCount", 1) for variant in endpoint["Variants"])
    if name not in cloud.waiting:
        cloud.waiting[name] = ThreadPoolExecutor(at_once * servers)
    cloud.waiting[name].submit(functools.partial(_run, cloud, invocation))


def recover(cloud: Cloud) -> None:
    """Queue the requests that an earlier server did not answer, the oldest first."""
    for folder in sorted((cloud.folder / endpoints.INVOCATIONS).glob("*/")):
        endpoint = cloud.store.get(endpoints.KIND, folder.name)
        if endpoint is None or not endpoint.get("AsyncInferenceConfig"):
            shutil.rmtree(folder)
            continue
        kept = [_Invocation(**record | {"file": file}) for file in folder.glob("*.json") if (record := whole(file))]
        for invocation in sorted(kept, key=lambda one: one.came):
            _submit(cloud.at(invocation.region), endpoint, invocation)


def _read(name: str, headers: Headers) -> Record:
    """The request's members, checked by botocore's model."""
    request: dict[str, Any] = {"EndpointName": name}
    for member, header in _MEMBERS.items():
        if (text := headers.get(f"{_PREFIX}{header}")) is not None:
            request[member] = int(text) if member in _NUMBERS and _NUMBER.fullmatch(text) else text
    protocol.check(protocol.model("InvokeEndpointAsync", "sagemaker-runtime").input_shape, request)
    return request


# ---- later ----------------------------------------------------------------------------------------------------------


def _run(cloud: Cloud, invocation: _Invocation) -> None:
    """Send it, and put the answer or the failure where it belongs: nothing is raised.

    One that is gone from the disk went with its endpoint.
    """
    _wait_for_start(cloud, invocation)
    if not invocation.file.exists():
        return
    instance: Instance | None = None
    answer: Answer | None = None
    try:
        instance = random.choice(endpoints.chosen(cloud, invocation.endpoint).instances)
        answer = _answer(cloud, invocation, instance)
        told, reason = f"answered with status {answer.status}", _reason(answer)
    except Exception as error:
        if not isinstance(error, (AwsError, JobError, OSError, http.client.HTTPException)):
            _logger.exception("Asynchronous invocation of %s", invocation.endpoint)
        told = str(error) or type(error).__name__
        reason = f"ClientError: {told}"
    place = invocation.put_to if reason is None else invocation.failed_to
    result = answer or Answer(_NO_ANSWER, {"content-type": "text/plain"}, told.encode())
    try:
        if place is not None:
            s3.put(cloud.client("s3"), place, result.body, result.headers.get("content-type"))
    except JobError as error:
        told, reason, place = f"{told}; {error}", reason or f"ClientError: {error}", None
    if (untold := _notify(cloud, invocation, reason, answer, place)) is not None:
        told = f"{told}; {untold}"
    invocation.forget()
    if instance is not None:
        instance.tell(f"Asynchronous invocation {invocation.put_to}: {told}")


def _notify(
    cloud: Cloud, invocation: _Invocation, reason: str | None, answer: Answer | None, place: str | None
) -> str | None:
    """Tell the endpoint's topics how it ended; why they could not be told, else None."""
    endpoint = cloud.store.get(endpoints.KIND, invocation.endpoint) or {}
    outcome = notifications.Outcome(
        invocation.request, invocation.identity, invocation.came, reason=reason, answer=answer, put_to=place
    )
    return notifications.tell(cloud.at(invocation.region), endpoint.get("AsyncInferenceConfig"), outcome)


def _reason(answer: Answer) -> str | None:
    """Why an invocation failed, in AWS's words; None where it did not."""
    if answer.status < 400:
        return None
    kind = "client" if answer.status < 500 else "server"
    return (
        f"ClientError: Received {kind} error ({answer.status}) from model. See the SageMaker Endpoint logs in your "
        "account for more information."
    )


def _wait_for_start(cloud: Cloud, invocation: _Invocation) -> None:
    """Until the endpoint that a new server starts again runs, or has failed, or is deleted."""
    while invocation.file.exists() and invocation.endpoint not in cloud.running:
        record = cloud.store.get(endpoints.KIND, invocation.endpoint)
        if record is None or record["EndpointStatus"] == "Failed":
            return
        time.sleep(_PAUSE)


def _answer(cloud: Cloud, invocation: _Invocation, instance: Instance) -> Answer:
    request = invocation.request
    if time.time() - invocation.came > request.get("RequestTTLSeconds", _TTL_SECONDS):
        raise JobError("the request has waited longer than RequestTTLSeconds")
    body, media_type = invocation.body(), None
    if "InputLocation" in request:
        body, media_type = s3.get(cloud.client("s3"), request["InputLocation"])
    sent = {
        "Content-Type": request.get("ContentType", media_type),
        "Accept": request.get("Accept"),
        "X-Amzn-SageMaker-Custom-Attributes": request.get("CustomAttributes"),
    }
    given = {name: value for name, value in sent.items() if value is not None}
    return instance.invoke(body, given, seconds=request.get("InvocationTimeoutSeconds"))[0]
