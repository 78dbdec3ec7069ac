"""Notifications of asynchronous inference (``NotificationConfig``) to SNS topics, which moto has, with their queues.

Source: "Check prediction results" and "Create an asynchronous inference endpoint" in Amazon SageMaker's developer
guide, and the API reference's ``AsyncInferenceNotificationConfig``; ``failureReason`` and ``responseBody`` as handlers
of such messages have them in public repositories.
"""

from __future__ import annotations

import base64
import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime

from botocore.exceptions import BotoCoreError, ClientError

from local.sagemaker.cloud import Cloud
from local.sagemaker.servers import Answer
from local.sagemaker.store import Record

LARGEST_BODY = 128 << 10
"""Bytes of an answer that a message may have in it; of a larger one it has none."""

_INCLUDED = "IncludeInferenceResponseIn"
_EVENT = {"eventVersion": "1.0", "eventSource": "aws:sagemaker"}
_MEMBERS = ("Accept", "ContentType", "CustomAttributes", "EndpointName", "InputLocation")
_logger = logging.getLogger("oba.up")


@dataclass(frozen=True)
class Outcome:
    """How a request ended.

    Attributes:
        request: its members, by the names of InvokeEndpointAsync.
        inference: its identifier.
        received: when it came, in seconds since 1970.
        reason: why it failed; None where it did not.
        answer: the model's; None where it gave none.
        put_to: the S3 URI of the answer or of the failure; None where it is nowhere.
    """

    request: Record
    inference: str
    received: float
    reason: str | None
    answer: Answer | None
    put_to: str | None


def test(cloud: Cloud, config: Record | None) -> None:
    """Tell the topics of an ``AsyncInferenceConfig`` that its endpoint is made or changed, as AWS does for a test."""
    for arn in dict.fromkeys(_topics(config).values()):
        if (why := _publish(cloud, arn, _EVENT | {"eventName": "TestNotification"})) is not None:
            _logger.warning("%s", why)


def tell(cloud: Cloud, config: Record | None, outcome: Outcome) -> str | None:
    """Tell the topic that is for such an outcome, where there is one; why it could not be told, else None."""
    failed = outcome.reason is not None
    arn = _topics(config).get("ErrorTopic" if failed else "SuccessTopic")
    if arn is None:
        return None
    wanted = "ERROR_NOTIFICATION_TOPIC" if failed else "SUCCESS_NOTIFICATION_TOPIC"
    return _publish(cloud, arn, _message(cloud.region, outcome, whole=wanted in _settings(config).get(_INCLUDED, ())))


def _settings(config: Record | None) -> Record:
    settings: Record = (config or {}).get("OutputConfig", {}).get("NotificationConfig") or {}
    return settings


def _topics(config: Record | None) -> dict[str, str]:
    return {kind: arn for kind, arn in _settings(config).items() if kind in ("SuccessTopic", "ErrorTopic") and arn}


def _message(region: str, outcome: Outcome, *, whole: bool) -> Record:
    request, answer = outcome.request, outcome.answer
    asked = {name[0].lower() + name[1:]: request[name] for name in _MEMBERS if name in request}
    message: Record = {
        "awsRegion": region,
        "eventTime": _time(datetime.now(UTC).timestamp()),
        "receivedTime": _time(outcome.received),
        "invocationStatus": "Completed" if outcome.reason is None else "Failed",
    }
    if outcome.reason is not None:
        message["failureReason"] = outcome.reason
    message["requestParameters"] = asked
    if answer is not None and outcome.put_to is not None:
        media_type = answer.headers.get("content-type")
        message["responseParameters"] = {"contentType": media_type, "outputLocation": outcome.put_to}
    if whole and answer is not None and len(answer.body) <= LARGEST_BODY:
        message["responseBody"] = {
            "content": base64.b64encode(answer.body).decode(),
            "message": "Check S3 path location(if configured) or Cloudwatch for additional details.",
            "encoding": "BASE64",
        }
    return message | {"inferenceId": outcome.inference} | _EVENT | {"eventName": "InferenceResult"}


def _time(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"


def _publish(cloud: Cloud, arn: str, message: Record) -> str | None:
    """Why a topic, which may be of another region, could not be told; None where it was."""
    region = arn.split(":")[3]
    try:
        cloud.at(region or cloud.region).client("sns").publish(TopicArn=arn, Message=json.dumps(message))
    except (ClientError, BotoCoreError) as error:
        # moto says of a topic that is not there "Endpoint does not exist", which here is something else.
        absent = isinstance(error, ClientError) and error.response["Error"]["Code"] == "NotFound"
        why = "there is none here; SNS's CreateTopic makes one, and says its ARN" if absent else str(error)
        return f"The topic {arn} was not told: {why}"
    return None
