"""Operations beyond those of a first job: searches, deletions, what an update keeps, the metrics of endpoints."""

from __future__ import annotations

import datetime
import time

import pytest

pytest.importorskip("boto3")
pytest.importorskip("moto")

from tests.local.sagemaker.client import KMEANS, LONG, ROLE, deployed, ended, in_service, request, trained

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def endpoint(up):
    """The name of an endpoint of two variants, `v-a` and `v-b`, and of its configuration."""
    job = trained(up, "of-endpoint")
    container = {"Image": KMEANS, "ModelDataUrl": job["ModelArtifacts"]["S3ModelArtifacts"]}
    for name in ("a", "b"):
        up.sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)
    assert deployed(up, "both", a=1, b=1)["EndpointStatus"] == "InService"
    return "both"


def weights(up, name: str) -> list[tuple[float, float]]:
    in_service(up, name)
    variants = up.sagemaker.describe_endpoint(EndpointName=name)["ProductionVariants"]
    return [(one["CurrentWeight"], one["DesiredWeight"]) for one in variants]


def test_an_update_keeps_what_variants_have_become_where_it_is_asked_to(up, endpoint):
    desired = [{"VariantName": "v-a", "DesiredWeight": 0.25}, {"VariantName": "v-b", "DesiredWeight": 3}]
    up.sagemaker.update_endpoint_weights_and_capacities(EndpointName=endpoint, DesiredWeightsAndCapacities=desired)
    given = {"EndpointName": endpoint, "EndpointConfigName": endpoint, "RetainAllVariantProperties": True}
    up.sagemaker.update_endpoint(**given)
    with pytest.raises(up.sagemaker.exceptions.ClientError, match="Cannot update in-progress endpoint"):
        up.sagemaker.update_endpoint_weights_and_capacities(EndpointName=endpoint, DesiredWeightsAndCapacities=desired)
    assert weights(up, endpoint) == [(0.25, 0.25), (3, 3)]
    excluded = [{"VariantPropertyType": "DesiredWeight"}]
    up.sagemaker.update_endpoint(**given, ExcludeRetainedVariantProperties=excluded)
    assert weights(up, endpoint) == [(1, 1), (1, 1)]


def metric(up, variant: str, name: str, **more: str) -> list[float]:
    dimensions = {"EndpointName": "both", "VariantName": variant, **more}
    now = datetime.datetime.now(datetime.UTC)
    found = up.cloudwatch.get_metric_statistics(
        Namespace="AWS/SageMaker",
        MetricName=name,
        Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
        StartTime=now - datetime.timedelta(minutes=5),
        EndTime=now + datetime.timedelta(minutes=5),
        Period=3600,
        Statistics=["Sum", "Average", "Maximum"],
    )["Datapoints"]
    return [sum(point["Sum"] for point in found), max((point["Maximum"] for point in found), default=0)]


def test_cloudwatch_counts_what_variants_are_asked_and_how_long_it_took(up, endpoint):
    in_service(up, endpoint)
    given = {"EndpointName": endpoint, "ContentType": "text/csv"}
    for _ in range(5):
        up.runtime.invoke_endpoint(**given, Body=b"1,2", TargetVariant="v-a")
    with pytest.raises(up.runtime.exceptions.ModelError) as caught:
        up.runtime.invoke_endpoint(**given, Body=b"a,b\n1", TargetVariant="v-b")
    assert caught.value.response["OriginalStatusCode"] == 400
    deadline = time.monotonic() + 20
    while metric(up, "v-b", "Invocations")[0] < 1 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [metric(up, variant, "Invocations")[0] for variant in ("v-a", "v-b")] == [5, 1]
    assert [metric(up, variant, "Invocation4XXErrors")[0] for variant in ("v-a", "v-b")] == [0, 1]
    assert 100 < metric(up, "v-a", "ModelLatency")[1] < 60e6
    config = up.sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointConfigName"]
    assert metric(up, "v-a", "Invocations", EndpointConfigName=config)[0] == 5
    assert metric(up, "v-a", "Invocations", EndpointConfigName="none")[0] == 0


def test_a_shadow_variant_is_asked_what_the_other_is_as_often_as_its_weight_says(up, endpoint):
    one = {"InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    given = {
        "EndpointConfigName": "shadowed",
        "ProductionVariants": [one | {"VariantName": "seen", "ModelName": "a", "InitialVariantWeight": 2}],
        "ShadowProductionVariants": [one | {"VariantName": "shadow", "ModelName": "b", "InitialVariantWeight": 1}],
    }
    up.sagemaker.create_endpoint_config(**given)
    up.sagemaker.create_endpoint(EndpointName="shadowed", EndpointConfigName="shadowed")
    described = in_service(up, "shadowed")
    assert [one["VariantName"] for one in described["ProductionVariants"]] == ["seen"]
    (shadow,) = described["ShadowProductionVariants"]
    assert (shadow["VariantName"], shadow["CurrentInstanceCount"]) == ("shadow", 1)
    of_shadow = {"Filters": [{"Name": "ModelName", "Operator": "Equals", "Value": "b"}]}
    (model,) = up.sagemaker.search(Resource="Model", SearchExpression=of_shadow)["Results"]
    assert "shadowed" in [one["EndpointName"] for one in model["Model"]["Endpoints"]]
    count = 60
    for _ in range(count):
        answer = up.runtime.invoke_endpoint(EndpointName="shadowed", Body=b"1,2", ContentType="text/csv")
        assert answer["InvokedProductionVariant"] == "seen"

    def asked(variant: str) -> float:
        return metric(up, variant, "Invocations", EndpointName="shadowed")[0]

    deadline = time.monotonic() + 20
    while (asked("seen") < count or not asked("shadow")) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert asked("seen") == count
    assert 10 < asked("shadow") < 50  # fewer or more of 60 at one half: once in 10 million
    with pytest.raises(up.runtime.exceptions.ValidationError, match="not found"):
        up.runtime.invoke_endpoint(EndpointName="shadowed", Body=b"1,2", TargetVariant="shadow")
    up.sagemaker.update_endpoint(EndpointName="shadowed", EndpointConfigName=endpoint)
    assert "ShadowProductionVariants" not in in_service(up, "shadowed")


def test_the_runtime_calls_its_errors_as_its_model_does(up, endpoint):
    for given in ({"EndpointName": "none"}, {"EndpointName": endpoint, "TargetVariant": "none"}):
        with pytest.raises(up.runtime.exceptions.ValidationError, match="not found"):
            up.runtime.invoke_endpoint(**given, Body=b"1,2", ContentType="text/csv")


def found(up, *filters: tuple[str, str, str], operator: str = "And", **more) -> list[str]:
    named = [{"Name": name, "Operator": how} | ({"Value": value} if value else {}) for name, how, value in filters]
    expression = {"Filters": named, "Operator": operator}
    results = up.sagemaker.search(Resource="TrainingJob", SearchExpression=expression, **more)["Results"]
    return [one["TrainingJob"]["TrainingJobName"] for one in results]


def test_a_search_finds_jobs_by_all_kinds_of_properties(up):
    started = datetime.datetime.now(datetime.UTC).isoformat()
    for name, k in (("s-one", "1"), ("s-two", "2"), ("s-three", "3")):
        hyperparameters = {"k": k, "feature_dim": "2"}
        up.sagemaker.create_training_job(
            **request(name, HyperParameters=hyperparameters, Tags=[{"Key": "team", "Value": name[-1]}])
        )
    for name in ("s-one", "s-two", "s-three"):
        assert ended(up, name)["TrainingJobStatus"] == "Completed"
    ours = ("TrainingJobName", "Contains", "S-")
    by_metric = {"SortBy": "Metrics.train:msd", "SortOrder": "Ascending"}
    # more clusters, smaller distances: the order by k is the other way round
    assert found(up, ours, **by_metric) == ["s-three", "s-two", "s-one"]
    assert found(up, ours, ("HyperParameters.k", "GreaterThan", "1"), **by_metric) == ["s-three", "s-two"]
    assert found(up, ours, ("HyperParameters.k", "In", "1, 3"), **by_metric) == ["s-three", "s-one"]
    assert found(up, ("Tags.team", "Equals", "o"), ours, **by_metric) == ["s-two"]
    assert found(up, ours, ("Metrics.train:msd", "LessThan", "0.5")) == ["s-three"]
    assert found(up, ours, ("ModelArtifacts.S3ModelArtifacts", "NotExists", "")) == []
    either = [("TrainingJobName", "Equals", "s-one"), ("HyperParameters.k", "Equals", "2")]
    assert set(found(up, *either, operator="Or")) == {"s-one", "s-two"}
    assert set(found(up, ("CreationTime", "GreaterThan", started))) == {"s-one", "s-two", "s-three"}
    nested = {
        "NestedPropertyName": "InputDataConfig.DataSource.S3DataSource",
        "Filters": [
            {
                "Name": "InputDataConfig.DataSource.S3DataSource.S3Uri",
                "Operator": "Contains",
                "Value": "bucket/train",
            }
        ],
    }
    named = [{"Name": "TrainingJobName", "Operator": "Equals", "Value": "s-one"}]
    expression = {"NestedFilters": [nested], "SubExpressions": [{"Filters": named}]}
    (only,) = up.sagemaker.search(Resource="TrainingJob", SearchExpression=expression)["Results"]
    assert only["TrainingJob"]["TrainingJobName"] == "s-one"
    pages = up.sagemaker.get_paginator("search").paginate(
        Resource="TrainingJob", SearchExpression={"Filters": named}, PaginationConfig={"PageSize": 1}
    )
    assert sum(len(page["Results"]) for page in pages) == 1
    assert up.sagemaker.search(Resource="ExperimentTrialComponent")["Results"] == []
    with pytest.raises(up.sagemaker.exceptions.ClientError, match="compares numbers and times, not 'many'"):
        found(up, ours, ("HyperParameters.k", "GreaterThan", "many"))


def test_a_search_finds_models_with_their_endpoints_and_the_packages_of_a_group(up, endpoint):
    def results(resource: str, name: str, value: str) -> list[dict]:
        expression = {"Filters": [{"Name": name, "Operator": "Equals", "Value": value}]}
        return [one[resource] for one in up.sagemaker.search(Resource=resource, SearchExpression=expression)["Results"]]

    (model,) = results("Model", "ModelName", "a")
    assert model["Model"]["ModelArn"] == up.sagemaker.describe_model(ModelName="a")["ModelArn"]
    assert endpoint in [one["EndpointName"] for one in model["Endpoints"]]
    up.sagemaker.create_model_package_group(ModelPackageGroupName="searched")
    for status in ("Approved", "Rejected"):
        up.sagemaker.create_model_package(ModelPackageGroupName="searched", ModelApprovalStatus=status)
    (group,) = results("ModelPackageGroup", "ModelPackageGroupName", "searched")
    assert group["ModelPackageGroupStatus"] == "Completed"
    assert len(results("ModelPackage", "ModelPackageGroupName", "searched")) == 2
    (approved,) = results("ModelPackage", "ModelApprovalStatus", "Approved")
    assert approved["ModelPackageArn"].endswith("model-package/searched/1")


def test_a_job_is_deleted_when_it_has_ended(up, state):
    up.sagemaker.create_training_job(**request("gone", HyperParameters=LONG))
    with pytest.raises(up.sagemaker.exceptions.ResourceInUse, match="stop it first"):
        up.sagemaker.delete_training_job(TrainingJobName="gone")
    up.sagemaker.stop_training_job(TrainingJobName="gone")
    ended(up, "gone")
    plan = "arn:aws:sagemaker:us-east-1:123456789012:training-plan/none"
    for none in ({"WarmPoolStatusEquals": "Available"}, {"TrainingPlanArnEquals": plan}):
        assert up.sagemaker.list_training_jobs(**none)["TrainingJobSummaries"] == []
    up.sagemaker.delete_training_job(TrainingJobName="gone")
    with pytest.raises(up.sagemaker.exceptions.ClientError, match="Requested resource not found"):
        up.sagemaker.describe_training_job(TrainingJobName="gone")
    assert not (state / "training-jobs" / "gone").exists()
