"""Training jobs of `oba up` as boto3 sees them: a real server process, and real jobs behind it."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("boto3")
pytest.importorskip("moto")

from tests.local.sagemaker.client import CSV, ROOT, ROWS, ended, object_at, request, trained
from tests.local.sagemaker.forked import oba

pytestmark = pytest.mark.slow


def centers(up, job) -> np.ndarray:
    """The centers in the job's artifact, read by k-means itself, in order."""
    from algorithms import registry

    archive = io.BytesIO(object_at(up, job["ModelArtifacts"]["S3ModelArtifacts"]))
    with tarfile.open(fileobj=archive) as tar, tempfile.TemporaryDirectory() as folder:
        tar.extractall(folder, filter="data")
        found = registry.find("kmeans").load(Path(folder)).centers
    return found[np.lexsort(found.T)]


# ---- training -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("file", {}),
        ("fast-file", {"mode": "FastFile"}),
        ("pipe", {"mode": "Pipe"}),
        ("manifest", {"kind": "ManifestFile", "uri": "s3://bucket/manifest"}),
        ("two-hosts", {"hosts": 2, "distribution": "ShardedByS3Key"}),
        ("other-account", {"image": "1.dkr.ecr.eu-west-1.amazonaws.com/mirror/kmeans@sha256:00"}),
    ],
)
def test_a_job_finds_the_centers_however_its_data_comes(up, name, more):
    manifest = [{"prefix": "s3://bucket/train/"}, *(f"part-{number}" for number in range(4))]
    up.s3.put_object(Bucket="bucket", Key="manifest", Body=json.dumps(manifest))
    job = trained(up, name, **more)
    expected = np.array([part.mean(axis=0) for part in np.split(ROWS, 3)])
    np.testing.assert_allclose(centers(up, job), expected[np.lexsort(expected.T)], atol=0.05)


def test_a_job_tells_its_course_its_log_and_its_metrics(up):
    job = trained(up, "told")
    transitions = job["SecondaryStatusTransitions"]
    assert [one["Status"] for one in transitions] == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert all(one["EndTime"] == after["StartTime"] for one, after in zip(transitions, transitions[1:], strict=False))
    assert job["BillableTimeInSeconds"] <= 60
    group = "/aws/sagemaker/TrainingJobs"
    (stream,) = up.logs.describe_log_streams(logGroupName=group, logStreamNamePrefix="told/")["logStreams"]
    assert re.fullmatch(r"told/algo-1-\d+", stream["logStreamName"])
    events = up.logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True)
    text = "\n".join(event["message"] for event in events["events"])
    assert '#metrics {"StartTime"' in text
    metrics = {metric["MetricName"]: metric["Value"] for metric in job["FinalMetricDataList"]}
    # k-means's objective by its definition, on the same rows and the centers of the artifact
    found = centers(up, job)
    distances = ((ROWS[:, None] - found[None]) ** 2).sum(axis=2).min(axis=1)
    assert metrics["train:msd"] == pytest.approx(distances.mean(), rel=0.1)
    watched = up.cloudwatch.list_metrics(Namespace=group)["Metrics"]
    assert {"Name": "TrainingJobName", "Value": "told"} in [one for metric in watched for one in metric["Dimensions"]]


def test_a_wrong_hyperparameter_fails_the_job_with_its_reason(up):
    up.sagemaker.create_training_job(**request("wrong", HyperParameters={"k": "many", "feature_dim": "2"}))
    job = ended(up, "wrong")
    assert job["TrainingJobStatus"] == job["SecondaryStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: Hyperparameter 'k': 'many' is not an integer")
    assert job["FailureReason"].endswith(", exit code: 1")
    assert "ModelArtifacts" not in job or not job["ModelArtifacts"].get("S3ModelArtifacts")


def test_hosts_and_folders_are_called_as_on_sagemaker(up):
    up.s3.put_object(Bucket="bucket", Key="narrow/part-0", Body="1,2\n3,4\n")
    up.s3.put_object(Bucket="bucket", Key="narrow/part-1", Body="1,2,3\n")
    given = {"uri": "s3://bucket/narrow/", "hosts": 2, "distribution": "ShardedByS3Key"}
    up.sagemaker.create_training_job(**request("hosts-told", **given))
    assert ended(up, "hosts-told")["FailureReason"].startswith("ClientError: Host algo-2: train/part-1, line 1")
    up.s3.put_object(Bucket="bucket", Key="hollow/part-0", Body="")
    up.sagemaker.create_training_job(**request("folder-told", uri="s3://bucket/hollow/"))
    assert "/opt/ml/input/data/train has no data files" in ended(up, "folder-told")["FailureReason"]
    group = "/aws/sagemaker/TrainingJobs"
    for name in ("hosts-told", "folder-told"):
        for stream in up.logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{name}/")["logStreams"]:
            of_stream = {"logGroupName": group, "logStreamName": stream["logStreamName"]}
            text = json.dumps(up.logs.get_log_events(**of_stream)["events"])
            assert "training-jobs" not in text and "127." not in text


def test_data_that_is_not_there_fails_the_job_as_on_sagemaker(up):
    up.sagemaker.create_training_job(**request("no-data", uri="s3://bucket/nothing"))
    reason = ended(up, "no-data")["FailureReason"]
    assert reason.startswith('ClientError: Data download failed:No S3 objects found under S3 URL "s3://bucket/nothing"')


def test_a_key_cannot_leave_the_folder_of_the_job(up):
    up.s3.put_object(Bucket="bucket", Key="bad/manifest", Body='[{"prefix": "s3://bucket/train/"}, "../../../x"]')
    up.sagemaker.create_training_job(**request("escape", kind="ManifestFile", uri="s3://bucket/bad/manifest"))
    assert "leads out of the channel's folder" in ended(up, "escape")["FailureReason"]


def test_a_job_that_is_stopped_leaves_no_process_and_what_it_has(up):
    up.sagemaker.create_training_job(
        **request("stopped", HyperParameters={"k": "3", "feature_dim": "2", "epochs": "10000000"}, mode="Pipe")
    )
    while up.sagemaker.describe_training_job(TrainingJobName="stopped")["SecondaryStatus"] != "Training":
        time.sleep(0.05)
    time.sleep(1.5)
    up.sagemaker.stop_training_job(TrainingJobName="stopped")
    job = ended(up, "stopped")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "Stopped")
    assert "Stopping" in [one["Status"] for one in job["SecondaryStatusTransitions"]]
    with pytest.raises(up.sagemaker.exceptions.ClientError, match="is in status Stopped"):
        up.sagemaker.stop_training_job(TrainingJobName="stopped")


def test_a_job_ends_when_its_time_is_up(up):
    hyperparameters = {"k": "3", "feature_dim": "2", "epochs": "10000000"}
    up.sagemaker.create_training_job(
        **request("long", HyperParameters=hyperparameters, StoppingCondition={"MaxRuntimeInSeconds": 2}, mode="Pipe")
    )
    job = ended(up, "long")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")


def test_spot_jobs_keep_their_checkpoints_in_s3_and_go_on_from_them(up):
    more = {
        "EnableManagedSpotTraining": True,
        "CheckpointConfig": {"S3Uri": "s3://bucket/checkpoints/"},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60},
    }
    trained(up, "spot", **more)
    kept = up.s3.list_objects_v2(Bucket="bucket", Prefix="checkpoints/")
    assert kept["KeyCount"] > 0
    again = trained(up, "spot-again", **more)
    group, prefix = "/aws/sagemaker/TrainingJobs", "spot-again/"
    (stream,) = up.logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=prefix)["logStreams"]
    events = up.logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"])["events"]
    assert any("heckpoint" in event["message"] for event in events)
    assert again["EnableManagedSpotTraining"]


# ---- requests -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"TrainingJobName": "-x"}, "Value '-x' at 'trainingJobName' failed to satisfy constraint: Member must"),
        ({"RoleArn": "nobody"}, "Value 'nobody' at 'roleArn' failed to satisfy constraint: Member must have"),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": 0}}, "at 'stoppingCondition.maxRuntimeInSeconds'"),
        ({"TrainingJobName": None}, "Value null at 'trainingJobName' failed to satisfy constraint: Member must not"),
        ({"Nonsense": 1}, "'nonsense' is not a member of CreateTrainingJobRequest"),
        ({"HyperParameters": {"k": 3}}, "Value '3' at 'hyperParameters.k.member' failed"),
    ],
)
def test_a_malformed_request_is_refused_as_aws_does(up, change, told):
    import urllib.error
    import urllib.request

    body = json.dumps(request("malformed") | change).encode()
    asked = urllib.request.Request(up.url, body, {"X-Amz-Target": "SageMaker.CreateTrainingJob"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(asked)
    answer = json.loads(caught.value.read())
    assert caught.value.code == 400
    assert answer["__type"] == "ValidationException"
    assert told in answer["message"]


def test_a_page_elsewhere_cannot_ask_under_a_name_of_its_own(up):
    import urllib.request

    asked = urllib.request.Request(up.url, b"{}", {"X-Amz-Target": "SageMaker.ListModels", "Host": "rebound.example"})
    with pytest.raises(OSError, match="403"):
        urllib.request.urlopen(asked)


def test_what_is_not_there_is_refused_by_name(up):
    errors = up.sagemaker.exceptions
    with pytest.raises(errors.ClientError, match="its repository's name is 'blazingtext'"):
        up.sagemaker.create_training_job(**request("image", image="8.dkr.ecr.us-east-1.amazonaws.com/blazingtext:1"))
    with pytest.raises(errors.ClientError, match="oba up does not have ListProcessingJobs") as caught:
        up.sagemaker.list_processing_jobs()
    assert caught.value.response["Error"]["Code"] == "UnknownOperationException"
    with pytest.raises(errors.ClientError, match="Requested resource not found"):
        up.sagemaker.describe_training_job(TrainingJobName="none")
    for regex, told in (("(((", "cannot be used"), (".*", "has no group")):
        specification = {"MetricDefinitions": [{"Name": "a", "Regex": regex}], **request("x")["AlgorithmSpecification"]}
        with pytest.raises(errors.ClientError, match=f"the Regex of a {told}"):
            up.sagemaker.create_training_job(**request("regex", AlgorithmSpecification=specification))
    trained(up, "twice")
    with pytest.raises(errors.ResourceInUse, match="names must be unique"):
        up.sagemaker.create_training_job(**request("twice"))


def test_invocations_of_other_kinds_are_not_made_up(up):
    with pytest.raises(up.runtime.exceptions.ClientError, match="Endpoint any of account 123456789012 not found"):
        up.runtime.invoke_endpoint_async(EndpointName="any", InputLocation="s3://bucket/train/part-0")
    with pytest.raises(up.runtime.exceptions.ClientError, match="Endpoint any of account 123456789012 not found"):
        up.runtime.invoke_endpoint_with_response_stream(EndpointName="any", Body=b"1,2")


def test_lists_are_paged_filtered_and_sorted_and_tags_are_kept(up):
    names = ["listed-1", "listed-2", "listed-3"]
    for name in names:
        up.sagemaker.create_training_job(**request(name, Tags=[{"Key": "a", "Value": name}]))
    for name in names:
        ended(up, name)
    pages = up.sagemaker.get_paginator("list_training_jobs").paginate(
        NameContains="listed", SortBy="Name", SortOrder="Ascending", PaginationConfig={"PageSize": 2}
    )
    found = [[job["TrainingJobName"] for job in page["TrainingJobSummaries"]] for page in pages]
    assert found == [["listed-1", "listed-2"], ["listed-3"]]
    arn = up.sagemaker.describe_training_job(TrainingJobName="listed-1")["TrainingJobArn"]
    up.sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "b", "Value": "2"}])
    tags = {tag["Key"]: tag["Value"] for tag in up.sagemaker.list_tags(ResourceArn=arn)["Tags"]}
    assert tags == {"a": "listed-1", "b": "2"}


# ---- the page, and one request --------------------------------------------------------------------------------------


def test_the_page_shows_jobs_and_links_to_logs_and_reports(up):
    import urllib.request

    job = trained(up, "shown", HyperParameters={"k": "3", "feature_dim": "2", "epochs": "6"})
    page = urllib.request.urlopen(up.url).read().decode()
    log = urllib.request.urlopen(f"{up.url}/_oba/training-job/shown/algo-1.log").read().decode()
    for metric in ("train:msd", "train:progress"):
        (regex,) = [one["Regex"] for one in job["AlgorithmSpecification"]["MetricDefinitions"] if one["Name"] == metric]
        count = len(re.findall(regex, log))
        assert (f"{metric}: {count} values" in page) == (count > 1 and metric == "train:msd")
    assert "shown" in page
    assert "train:msd" in page
    links = re.findall(r'href="(/_oba/training-job/shown/[^"]+)"', page)
    assert [link.rpartition("/")[2] for link in links] == ["algo-1.log", "report.html", "model.tar.gz", "output.tar.gz"]
    assert b"#metrics" in urllib.request.urlopen(up.url + links[0]).read()
    report = urllib.request.urlopen(up.url + links[1])
    assert report.headers["Content-Type"].startswith("text/html")
    with pytest.raises(OSError, match="404"):
        urllib.request.urlopen(up.url + "/_oba/training-job/shown/../../../records/lock")


def test_one_request_runs_without_a_server(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.csv").write_text(CSV)
    file, wrong = tmp_path / "request.json", tmp_path / "wrong.json"
    file.write_text(json.dumps(request("alone")))
    wrong.write_text(json.dumps(request("alone", HyperParameters={"k": "0", "feature_dim": "2"})))

    def words(request: Path) -> list[str]:
        return ["run", str(request), "--data", f"s3://bucket/train={folder}", "--output", str(tmp_path / "out")]

    done = subprocess.run([sys.executable, "-m", "local", *words(file)], cwd=ROOT, capture_output=True, text=True)
    told = done.stdout
    assert (done.returncode, done.stderr) == (0, "")
    assert "#metrics" in told
    with tarfile.open(tmp_path / "out" / "model.tar.gz") as tar:
        assert tar.getnames()
    assert told.endswith(f"Next    oba predict --model {tmp_path}/out/model.tar.gz --input FILE\n")
    code, _, errors = oba(*words(wrong))
    assert code == 1
    assert errors.startswith("Failed: ClientError: Hyperparameter 'k': '0' is not an integer of at least 1")
