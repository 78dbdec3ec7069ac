"""InvokeEndpointAsync: the request's payload comes from S3, and the answer goes there when it is ready."""

from __future__ import annotations

import functools
import http.client
import logging
import random
import re
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from werkzeug.datastructures import Headers

from local.sagemaker import endpoints, protocol, s3
from local.sagemaker.cloud import Cloud
from local.sagemaker.errors import AwsError, JobError, invalid
from local.sagemaker.servers import Answer, Server
from local.sagemaker.store import Record

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
"""A request that has waited longer is not sent, where it does not say otherwise."""

_AT_ONCE = 4
"""Requests at a time for each server, where the configuration does not say."""

_NO_ANSWER = 599
"""Stands for a status where the model gave none."""

_logger = logging.getLogger("oba.up")


@dataclass(frozen=True)
class _Invocation:
    """One request and its places in S3; ``failed_to`` is None where the configuration has none."""

    endpoint: str
    request: Record
    body: bytes
    put_to: str
    failed_to: str | None
    came: float


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
    invocation = _Invocation(name, request, body, put_to, failed_to, time.time())
    at_once = config.get("ClientConfig", {}).get("MaxConcurrentInvocationsPerInstance", _AT_ONCE)
    with cloud.store.lock:
        servers = sum(len(variant.servers) for variant in endpoints.running(cloud, name)[1])
        if name not in cloud.waiting:
            cloud.waiting[name] = ThreadPoolExecutor(at_once * servers)
        cloud.waiting[name].submit(functools.partial(_run, cloud, invocation))
    places = {f"{_PREFIX}OutputLocation": put_to} | ({f"{_PREFIX}FailureLocation": failed_to} if failed_to else {})
    return {"InferenceId": request.get("InferenceId", str(identity))}, places


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
    """Send it, and put the answer or the failure where it belongs: nothing is raised."""
    server: Server | None = None
    try:
        server = random.choice(endpoints.chosen(cloud, invocation.endpoint).servers)
        answer = _answer(cloud, invocation, server)
        told = f"answered with status {answer.status}"
    except Exception as error:
        if not isinstance(error, (AwsError, JobError, OSError, http.client.HTTPException)):
            _logger.exception("Asynchronous invocation of %s", invocation.endpoint)
        told = str(error) or type(error).__name__
        answer = Answer(_NO_ANSWER, {"content-type": "text/plain"}, told.encode())
    place = invocation.put_to if answer.status < 400 else invocation.failed_to
    try:
        if place is not None:
            s3.put(cloud.client("s3"), place, answer.body, answer.headers.get("content-type"))
    except JobError as error:
        told = f"{told}; {error}"
    if server is not None:
        server.tell(f"Asynchronous invocation {invocation.put_to}: {told}")


def _answer(cloud: Cloud, invocation: _Invocation, server: Server) -> Answer:
    request = invocation.request
    if time.time() - invocation.came > request.get("RequestTTLSeconds", _TTL_SECONDS):
        raise JobError("the request has waited longer than RequestTTLSeconds")
    body, media_type = invocation.body, None
    if "InputLocation" in request:
        body, media_type = s3.get(cloud.client("s3"), request["InputLocation"])
    sent = {
        "Content-Type": request.get("ContentType", media_type),
        "Accept": request.get("Accept"),
        "X-Amzn-SageMaker-Custom-Attributes": request.get("CustomAttributes"),
    }
    given = {name: value for name, value in sent.items() if value is not None}
    return server.invoke(body, given, None, request.get("InvocationTimeoutSeconds"))
