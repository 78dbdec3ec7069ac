"""What moto does, which has all of AWS but SageMaker here, and what it lacks."""

from __future__ import annotations

import pytest

pytest.importorskip("boto3")
pytest.importorskip("moto")

import boto3
from botocore.exceptions import ClientError

pytestmark = pytest.mark.slow

SCALED = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": "endpoint/e/variant/all",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}


def client(up, service: str):
    names = {"region_name": "AWS_DEFAULT_REGION", "aws_access_key_id": "AWS_ACCESS_KEY_ID"}
    given = {name: up.environment[variable] for name, variable in names.items()}
    return boto3.client(service, endpoint_url=up.url, aws_secret_access_key="oba", **given)


def test_policies_of_scaling_are_taken(up):
    scaling = client(up, "application-autoscaling")
    scaling.register_scalable_target(**SCALED, MinCapacity=1, MaxCapacity=3)
    metric = {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"}
    scaling.put_scaling_policy(
        **SCALED,
        PolicyName="calls",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={"TargetValue": 5.0, "PredefinedMetricSpecification": metric},
    )
    (policy,) = scaling.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]
    assert policy["PolicyName"] == "calls"
    scaling.deregister_scalable_target(**SCALED)


@pytest.mark.parametrize(
    ("service", "operation", "given"),
    [
        ("application-autoscaling", "describe_scaling_activities", {"ServiceNamespace": "sagemaker"}),  # JSON
        ("iam", "change_password", {"OldPassword": "a", "NewPassword": "b"}),  # forms and XML
        ("cloudwatch", "describe_alarm_history", {}),  # CBOR
    ],
)
def test_an_operation_that_moto_lacks_is_named(up, service, operation, given):
    other = service.removeprefix("application-").replace("cloudwatch", "monitoring")
    with pytest.raises(ClientError, match=f"oba up does not have ([a-z-]*{other})'s .*{operation}") as caught:
        getattr(client(up, service), operation)(**given)
    assert caught.value.response["Error"]["Code"] == "UnknownOperationException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_a_service_that_moto_lacks_is_named(up):
    with pytest.raises(ClientError, match="oba up does not have groundstation's .*: moto lacks the service") as caught:
        client(up, "groundstation").list_satellites()
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_an_address_that_moto_lacks_is_named(up):
    store = client(up, "sagemaker-featurestore-runtime")
    with pytest.raises(ClientError, match="oba up does not have sagemaker's GET /FeatureGroup/a, .* no such address"):
        store.get_record(FeatureGroupName="a", RecordIdentifierValueAsString="1")
    with pytest.raises(ClientError, match="NoSuchBucket"):  # what it has and does not find
        up.s3.get_object(Bucket="no-such-bucket", Key="x")
