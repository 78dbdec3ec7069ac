"""What outlives `oba up`: nothing of its processes, all of its objects, logs, jobs, models and endpoints."""

from __future__ import annotations

import json
import signal
import time

import numpy as np
import pytest

pytest.importorskip("boto3")
pytest.importorskip("moto")

from tests.local.sagemaker.client import (
    CSV,
    KMEANS,
    ROLE,
    deployed,
    in_service,
    object_at,
    processes_of,
    request,
    running,
    trained,
    wait_until_gone,
)

pytestmark = pytest.mark.slow

LARGE = np.random.default_rng(0).bytes(11 << 20)


def put_objects(up) -> None:
    """One of each kind that S3 has: with metadata and tags, in parts, in versions, deleted, with an unusual key."""
    up.s3.create_bucket(Bucket="far", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    up.s3.put_bucket_tagging(Bucket="far", Tagging={"TagSet": [{"Key": "team", "Value": "a"}]})
    up.s3.put_object(
        Bucket="far", Key="a b/ä//.", Body=b"unusual", ContentType="text/plain", Metadata={"who": "me"}, Tagging="x=1"
    )
    up.s3.put_object_tagging(Bucket="far", Key="a b/ä//.", Tagging={"TagSet": [{"Key": "x", "Value": "2"}]})
    up.s3.copy_object(Bucket="far", Key="copy", CopySource={"Bucket": "far", "Key": "a b/ä//."})
    up.s3.put_object(Bucket="far", Key="empty", Body=b"")
    up.s3.put_object(Bucket="far", Key="twice", Body=b"first")
    up.s3.put_object(Bucket="far", Key="twice", Body=b"second")
    for key in ("gone-1", "gone-2"):
        up.s3.put_object(Bucket="far", Key=key, Body=b"gone")
    up.s3.delete_object(Bucket="far", Key="gone-1")
    up.s3.delete_objects(Bucket="far", Delete={"Objects": [{"Key": "gone-2"}]})
    upload = up.s3.create_multipart_upload(Bucket="far", Key="parts")["UploadId"]
    parts = []
    for number, start in enumerate(range(0, len(LARGE), 6 << 20), 1):
        given = {"Bucket": "far", "Key": "parts", "UploadId": upload, "PartNumber": number}
        etag = up.s3.upload_part(**given, Body=LARGE[start : start + (6 << 20)])["ETag"]
        parts.append({"PartNumber": number, "ETag": etag})
    up.s3.complete_multipart_upload(Bucket="far", Key="parts", UploadId=upload, MultipartUpload={"Parts": parts})
    up.s3.create_bucket(Bucket="versions")
    up.s3.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
    for body in (b"one", b"two"):
        up.s3.put_object(Bucket="versions", Key="key", Body=body)
    up.s3.put_object(Bucket="versions", Key="deleted", Body=b"once")
    up.s3.delete_object(Bucket="versions", Key="deleted")
    up.s3.create_bucket(Bucket="removed")
    up.s3.delete_bucket(Bucket="removed")


def objects(up) -> dict[str, object]:
    """All that S3 answers of them."""
    found: dict[str, object] = {"buckets": sorted(up.s3.list_buckets()["Buckets"], key=lambda one: one["Name"])}
    for bucket in ("far", "versions"):
        found[f"{bucket} at"] = up.s3.get_bucket_location(Bucket=bucket)["LocationConstraint"]
        for entry in up.s3.list_objects_v2(Bucket=bucket)["Contents"]:
            answer = up.s3.get_object(Bucket=bucket, Key=entry["Key"])
            told = {name: answer[name] for name in ("ContentType", "Metadata", "ETag", "LastModified", "ContentLength")}
            tags = up.s3.get_object_tagging(Bucket=bucket, Key=entry["Key"])["TagSet"]
            found[f"{bucket}/{entry['Key']}"] = (entry, told, tags, answer["Body"].read())
    versions = up.s3.list_object_versions(Bucket="versions")
    found["versions"] = versions["Versions"], versions["DeleteMarkers"]
    found["tags"] = up.s3.get_bucket_tagging(Bucket="far")["TagSet"]
    first = next(one for one in versions["Versions"] if one["Key"] == "key" and not one["IsLatest"])
    one = up.s3.get_object(Bucket="versions", Key="key", VersionId=first["VersionId"])
    return found | {"first": one["Body"].read()}


def told_by_cloudwatch(up) -> tuple[list[str], list[float]]:
    """A job's lines, and the values of its metric."""
    group = "/aws/sagemaker/TrainingJobs"
    (stream,) = up.logs.describe_log_streams(logGroupName=group, logStreamNamePrefix="done/")["logStreams"]
    given = {"logGroupName": group, "logStreamName": stream["logStreamName"], "startFromHead": True}
    lines = [(event["timestamp"], event["message"]) for event in up.logs.get_log_events(**given)["events"]]
    values = up.cloudwatch.get_metric_statistics(
        Namespace=group,
        MetricName="train:msd",
        Dimensions=[{"Name": "TrainingJobName", "Value": "done"}],
        StartTime=lines[0][0] / 1000 - 60,
        EndTime=lines[-1][0] / 1000 + 60,
        Period=60,
        Statistics=["Average", "SampleCount"],
    )["Datapoints"]
    return lines, [(one["Average"], one["SampleCount"]) for one in values]


def asked(up, name: str) -> list[float]:
    answer = up.runtime.invoke_endpoint(EndpointName=name, ContentType="text/csv", Body=CSV)
    return [row["distance_to_cluster"] for row in json.loads(answer["Body"].read())["predictions"]]


def test_a_killed_server_leaves_no_process_and_the_next_has_all_that_it_had(tmp_path):
    state = tmp_path / "state"
    with running(state, fresh=True) as up:
        put_objects(up)
        up.s3.create_bucket(Bucket="bucket")
        up.s3.put_object(Bucket="bucket", Key="train/a.csv", Body=CSV)
        jobs = {"done": trained(up, "done")}
        output = {"S3OutputPath": "s3://bucket/files", "CompressionType": "NONE"}
        jobs["files"] = trained(up, "files", OutputDataConfig=output)
        place = jobs["files"]["ModelArtifacts"]["S3ModelArtifacts"]
        source = {"S3DataSource": {"S3Uri": place, "S3DataType": "S3Prefix", "CompressionType": "None"}}
        models = {
            "m": {"ModelDataUrl": jobs["done"]["ModelArtifacts"]["S3ModelArtifacts"]},
            "n": {"ModelDataSource": source},
        }
        answers = {}
        for name, data in models.items():
            up.sagemaker.create_model(ModelName=name, PrimaryContainer={"Image": KMEANS, **data}, ExecutionRoleArn=ROLE)
            assert deployed(up, f"e-{name}", **{name: 1})["EndpointStatus"] == "InService"
            answers[name] = asked(up, f"e-{name}")
        up.sagemaker.create_training_job(
            **request("runs", HyperParameters={"k": "3", "feature_dim": "2", "epochs": "10000000"})
        )
        while up.sagemaker.describe_training_job(TrainingJobName="runs")["SecondaryStatus"] != "Training":
            time.sleep(0.05)
        assert len(processes_of(state)) >= 2
        before, told = objects(up), told_by_cloudwatch(up)
        up.process.send_signal(signal.SIGKILL)
        up.process.wait()
    wait_until_gone(state)
    with running(state, fresh=True) as up:
        runs = up.sagemaker.describe_training_job(TrainingJobName="runs")
        assert runs["TrainingJobStatus"] == "Failed"
        assert "oba up was ended while the job ran" in runs["FailureReason"]
        for name, job in jobs.items():
            again = up.sagemaker.describe_training_job(TrainingJobName=name)
            assert again["TrainingJobStatus"] == "Completed"
            assert again["ModelArtifacts"] == job["ModelArtifacts"]
        assert objects(up) == before
        assert told_by_cloudwatch(up) == told
        assert before["first"] == b"one"
        for name in models:
            assert in_service(up, f"e-{name}")["EndpointStatus"] == "InService"
            assert asked(up, f"e-{name}") == answers[name]
        trained(up, "new")
        up.s3.delete_object(Bucket="far", Key="parts")
        up.process.terminate()
        assert up.process.wait(120) == 0
    assert not any(file.stat().st_size == len(LARGE) for file in (state / "s3" / "far").iterdir())
    with running(state, fresh=True) as up:
        assert "parts" not in [entry["Key"] for entry in up.s3.list_objects_v2(Bucket="far")["Contents"]]
        assert object_at(up, "s3://bucket/train/a.csv").decode() == CSV
        in_service(up, "e-n")
        assert asked(up, "e-n") == answers["n"]
