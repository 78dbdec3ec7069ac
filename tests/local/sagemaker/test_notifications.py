"""The messages of asynchronous inference, without a server: what is in them, and topics that cannot be told."""

from __future__ import annotations

import base64
import json

import pytest

pytest.importorskip("boto3")
pytest.importorskip("moto")

from botocore.exceptions import ClientError

from local.sagemaker import notifications
from local.sagemaker.notifications import Outcome
from local.sagemaker.servers import Answer

SUCCESS, ERROR = (f"arn:aws:sns:eu-west-1:123456789012:{name}" for name in ("good", "bad"))
ANSWER = Answer(200, {"content-type": "text/csv"}, b"1\n")
BOTH = ["SUCCESS_NOTIFICATION_TOPIC", "ERROR_NOTIFICATION_TOPIC"]


class Topics:
    """Stands for a Cloud, and for its client of SNS."""

    region = "us-east-1"

    def __init__(self, known=(SUCCESS, ERROR)):
        self.known, self.regions, self.told = known, [], []

    def at(self, region):
        self.regions.append(region)
        return self

    def client(self, service):
        assert service == "sns"
        return self

    def publish(self, *, TopicArn, Message):
        if TopicArn not in self.known:
            raise ClientError({"Error": {"Code": "NotFound", "Message": "Endpoint does not exist"}}, "Publish")
        self.told.append((TopicArn, json.loads(Message)))


def config(**more):
    return {"OutputConfig": {"NotificationConfig": {"SuccessTopic": SUCCESS, "ErrorTopic": ERROR, **more}}}


def outcome(reason=None, answer=ANSWER, put_to="s3://bucket/a.out"):
    request = {"EndpointName": "e", "Accept": "text/csv", "InputLocation": "s3://bucket/in", "RequestTTLSeconds": 60}
    return Outcome(request, "id", 1643150760.455, reason=reason, answer=answer, put_to=put_to)


def test_an_answer_is_told_of_as_the_guide_shows_it():
    topics = Topics()
    assert notifications.tell(topics, config(), outcome()) is None
    ((arn, message),) = topics.told
    assert (arn, topics.regions) == (SUCCESS, ["eu-west-1"])  # a topic may be of another region
    assert message.pop("eventTime") > "2022"
    assert message == {
        "awsRegion": "us-east-1",
        "receivedTime": "2022-01-25T22:46:00.455Z",
        "invocationStatus": "Completed",
        "requestParameters": {"accept": "text/csv", "endpointName": "e", "inputLocation": "s3://bucket/in"},
        "responseParameters": {"contentType": "text/csv", "outputLocation": "s3://bucket/a.out"},
        "inferenceId": "id",
        "eventVersion": "1.0",
        "eventSource": "aws:sagemaker",
        "eventName": "InferenceResult",
    }


@pytest.mark.parametrize("reason", [None, "ClientError: no"])
def test_an_answer_is_in_the_message_where_it_is_asked_for_and_small_enough(reason):
    for size, there in ((notifications.LARGEST_BODY, True), (notifications.LARGEST_BODY + 1, False)):
        topics, answer = Topics(), Answer(200, {"content-type": "text/csv"}, b"1" * size)
        notifications.tell(topics, config(IncludeInferenceResponseIn=BOTH), outcome(reason, answer))
        ((arn, message),) = topics.told
        assert (arn, message.get("failureReason")) == (ERROR if reason else SUCCESS, reason)
        assert ("responseBody" in message) == there
        assert not there or base64.b64decode(message["responseBody"]["content"]) == answer.body


def test_what_the_model_never_answered_has_no_answer():
    topics = Topics()
    notifications.tell(topics, config(IncludeInferenceResponseIn=BOTH), outcome("ClientError: no", None, None))
    ((_, message),) = topics.told
    assert not {"responseParameters", "responseBody"} & message.keys()
    assert message["invocationStatus"] == "Failed"


def test_a_topic_that_is_not_there_is_named():
    told = notifications.tell(Topics([SUCCESS]), config(), outcome("no"))
    assert told == f"The topic {ERROR} was not told: there is none here; SNS's CreateTopic makes one, and says its ARN"


@pytest.mark.parametrize("given", [None, {"OutputConfig": {}}, {"OutputConfig": {"NotificationConfig": {}}}])
def test_nobody_is_told_where_no_topic_is_named(given):
    topics = Topics()
    assert notifications.tell(topics, given, outcome()) is None
    notifications.test(topics, given)
    assert topics.told == []


def test_one_topic_for_both_is_tested_once():
    topics = Topics()
    notifications.test(topics, config(ErrorTopic=SUCCESS))
    assert [(arn, message["eventName"]) for arn, message in topics.told] == [(SUCCESS, "TestNotification")]
