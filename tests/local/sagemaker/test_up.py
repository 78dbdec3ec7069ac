"""`oba up` as boto3 sees it: a real server process, real jobs and endpoints behind it."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

boto3 = pytest.importorskip("boto3")
pytest.importorskip("moto")

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
ROLE = "arn:aws:iam::123456789012:role/service-role/x"
KMEANS = "382416733822.dkr.ecr.us-east-1.amazonaws.com/kmeans:1"
CENTERS = np.array([[0, 0], [10, 10], [0, 10]], np.float64)
ROWS = np.concatenate([center + np.random.default_rng(3).normal(0, 0.1, (40, 2)) for center in CENTERS])
CSV = "".join(f"{x},{y}\n" for x, y in ROWS)


@contextmanager
def running(state: Path):
    """A server process and boto3's clients of it, as its printed environment makes them."""
    command = [sys.executable, "-m", "local", "up", "--port", "0", "--state", str(state)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        environment: dict[str, str] = {}
        assert process.stdout is not None
        for line in process.stdout:
            if match := re.match(r"export (\w+)=(.*)", line):
                environment[match[1]] = match[2]
            if "Ctrl-C" in line:
                break
        names = {
            "endpoint_url": "AWS_ENDPOINT_URL",
            "region_name": "AWS_DEFAULT_REGION",
            "aws_access_key_id": "AWS_ACCESS_KEY_ID",
            "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY",
        }
        given = {name: environment[variable] for name, variable in names.items()}
        services = ("s3", "sagemaker", "sagemaker-runtime", "logs", "cloudwatch")
        clients = {name.rpartition("-")[2]: boto3.client(name, **given) for name in services}
        try:
            yield SimpleNamespace(process=process, url=given["endpoint_url"], **clients)
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    with running(tmp_path_factory.mktemp("state")) as server:
        server.s3.create_bucket(Bucket="bucket")
        for number, part in enumerate(np.array_split(ROWS, 4)):
            text = "".join(f"{x},{y}\n" for x, y in part)
            server.s3.put_object(Bucket="bucket", Key=f"train/part-{number}", Body=text)
        yield server


def request(name: str, mode: str = "File", uri: str = "s3://bucket/train", kind: str = "S3Prefix", **more):
    source = {"S3DataType": kind, "S3Uri": uri, "S3DataDistributionType": more.pop("distribution", "FullyReplicated")}
    channel = {"ChannelName": "train", "ContentType": "text/csv;label_size=0", "DataSource": {"S3DataSource": source}}
    return {
        "TrainingJobName": name,
        "RoleArn": ROLE,
        "AlgorithmSpecification": {"TrainingImage": more.pop("image", KMEANS), "TrainingInputMode": mode},
        "HyperParameters": {"k": "3", "feature_dim": "2"},
        "InputDataConfig": [channel],
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/out/"},
        "ResourceConfig": {"InstanceCount": more.pop("hosts", 1), "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
        **more,
    }


def ended(up, name: str):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        job = up.sagemaker.describe_training_job(TrainingJobName=name)
        if job["TrainingJobStatus"] not in ("InProgress", "Stopping"):
            return job
        time.sleep(0.05)
    raise AssertionError(f"{name} does not end: {job}")


def trained(up, name: str, **more):
    up.sagemaker.create_training_job(**request(name, **more))
    job = ended(up, name)
    assert job["TrainingJobStatus"] == "Completed", job
    return job


def object_at(up, uri: str) -> bytes:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return up.s3.get_object(Bucket=bucket, Key=key)["Body"].read()


def centers(up, job) -> np.ndarray:
    """The centers in the job's artifact, read by k-means itself, in order."""
    from algorithms import registry

    with tarfile.open(fileobj=io.BytesIO(object_at(up, job["ModelArtifacts"]["S3ModelArtifacts"]))) as tar:
        folder = Path(os.environ.get("TMPDIR", "/tmp")) / f"up-{os.getpid()}-{job['TrainingJobName']}"
        tar.extractall(folder, filter="data")
    found = registry.find("kmeans").load(folder).centers
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


def test_invocations_of_other_kinds_are_refused_and_not_made_up(up):
    with pytest.raises(up.runtime.exceptions.ClientError, match="no async-invocations"):
        up.runtime.invoke_endpoint_async(EndpointName="any", InputLocation="s3://bucket/train/part-0")
    with pytest.raises(up.runtime.exceptions.ClientError, match="no invocations-response-stream"):
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


# ---- endpoints ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models(up):
    """Two jobs' models: of 3 and of 2 clusters."""
    place = {}
    for name, k in (("three", 3), ("two", 2)):
        job = trained(up, name, HyperParameters={"k": str(k), "feature_dim": "2"})
        place[name] = job["ModelArtifacts"]["S3ModelArtifacts"]
        up.sagemaker.create_model(
            ModelName=name, PrimaryContainer={"Image": KMEANS, "ModelDataUrl": place[name]}, ExecutionRoleArn=ROLE
        )
    return place


def in_service(up, name: str):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        endpoint = up.sagemaker.describe_endpoint(EndpointName=name)
        if endpoint["EndpointStatus"] not in ("Creating", "Updating"):
            return endpoint
        time.sleep(0.1)
    raise AssertionError(endpoint)


def deployed(up, name: str, **weights: float):
    variants = [
        {"VariantName": f"v-{model}", "ModelName": model, "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
        | {"InitialVariantWeight": weight}
        for model, weight in weights.items()
    ]
    up.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants)
    up.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    return in_service(up, name)


def test_an_endpoint_answers_by_its_variants_and_is_gone_when_deleted(up, models):
    endpoint = deployed(up, "ab", three=1, two=0)
    assert endpoint["EndpointStatus"] == "InService"

    def invoke(**more):
        return up.runtime.invoke_endpoint(EndpointName="ab", ContentType="text/csv", Body=CSV, **more)

    answer = invoke()
    rows = json.loads(answer["Body"].read())["predictions"]
    assert answer["InvokedProductionVariant"] == "v-three"
    labels = np.array([row["closest_cluster"] for row in rows]).reshape(3, 40)
    assert (labels == labels[:, :1]).all()
    assert len(set(labels[:, 0])) == 3
    other = invoke(TargetVariant="v-two", Accept="application/x-recordio-protobuf")
    assert other["InvokedProductionVariant"] == "v-two"
    assert other["ContentType"] == "application/x-recordio-protobuf"
    binary = other["Body"].read()
    assert binary.startswith(b"\x0a\x23\xd7\xce")
    with pytest.raises(up.runtime.exceptions.ModelError) as caught:
        up.runtime.invoke_endpoint(
            EndpointName="ab", ContentType="application/x-recordio-protobuf", Body=b"\xff\x00\xfe"
        )
    assert caught.value.response["OriginalStatusCode"] == 400
    assert "RecordIO" in caught.value.response["OriginalMessage"]
    up.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName="ab",
        DesiredWeightsAndCapacities=[
            {"VariantName": "v-three", "DesiredWeight": 0},
            {"VariantName": "v-two", "DesiredWeight": 2},
        ],
    )
    assert invoke()["InvokedProductionVariant"] == "v-two"
    up.sagemaker.delete_endpoint(EndpointName="ab")
    with pytest.raises(up.runtime.exceptions.ClientError, match="Endpoint ab of account 123456789012 not found"):
        invoke()
    with pytest.raises(up.sagemaker.exceptions.ClientError, match="Could not find endpoint"):
        up.sagemaker.describe_endpoint(EndpointName="ab")


def test_a_multi_model_endpoint_loads_models_as_they_are_asked_for(up, models):
    container = {"Image": KMEANS, "ModelDataUrl": "s3://bucket/out/", "Mode": "MultiModel"}
    up.sagemaker.create_model(ModelName="many", PrimaryContainer=container, ExecutionRoleArn=ROLE)
    assert deployed(up, "many", many=1)["EndpointStatus"] == "InService"

    def clusters(target: str) -> int:
        answer = up.runtime.invoke_endpoint(EndpointName="many", ContentType="text/csv", Body=CSV, TargetModel=target)
        return len({row["closest_cluster"] for row in json.loads(answer["Body"].read())["predictions"]})

    assert [clusters(f"{name}/output/model.tar.gz") for name in ("three", "two", "three")] == [3, 2, 3]
    with pytest.raises(up.runtime.exceptions.ClientError, match="Could not find model data at s3://bucket/out/none"):
        clusters("none")
    up.sagemaker.delete_endpoint(EndpointName="many")


def test_an_endpoint_whose_model_is_broken_fails_with_the_reason(up):
    up.s3.put_object(Bucket="bucket", Key="broken.tar.gz", Body=b"no archive")
    container = {"Image": KMEANS, "ModelDataUrl": "s3://bucket/broken.tar.gz"}
    up.sagemaker.create_model(ModelName="broken", PrimaryContainer=container, ExecutionRoleArn=ROLE)
    endpoint = deployed(up, "broken", broken=1)
    assert endpoint["EndpointStatus"] == "Failed"
    assert "s3://bucket/broken.tar.gz is not a model archive" in endpoint["FailureReason"]


def transformed(up, name: str, key: str):
    up.sagemaker.create_transform_job(
        TransformJobName=name,
        ModelName="three",
        TransformInput={
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://bucket/{key}/"}},
            "ContentType": "text/csv",
            "SplitType": "Line",
        },
        TransformOutput={"S3OutputPath": f"s3://bucket/{name}", "Accept": "text/csv", "AssembleWith": "Line"},
        DataProcessing={"JoinSource": "Input"},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        job = up.sagemaker.describe_transform_job(TransformJobName=name)
        if job["TransformJobStatus"] != "InProgress":
            return job
        time.sleep(0.1)
    raise AssertionError(job)


def test_a_transform_job_joins_answers_to_its_input_and_names_what_it_cannot_read(up, models):
    up.s3.put_object(Bucket="bucket", Key="asked/a/b.csv", Body=CSV)
    assert transformed(up, "joined", "asked")["TransformJobStatus"] == "Completed"
    lines = object_at(up, "s3://bucket/joined/a/b.csv.out").decode().splitlines()
    rows = np.array([line.split(",")[:3] for line in lines], np.float64)
    np.testing.assert_allclose(rows[:, :2], ROWS, rtol=1e-6)
    assert len(set(rows[:40, 2])) == 1
    up.s3.put_object(Bucket="bucket", Key="asked/wrong.csv", Body="1,x\n")
    job = transformed(up, "wrong-rows", "asked")
    assert job["TransformJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: 1 of 2 files were not transformed.")
    assert "wrong.csv" in job["FailureReason"]


# ---- the server's own end -------------------------------------------------------------------------------------------


def processes_of(state: Path) -> list[int]:
    """Processes whose environment names the state folder."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                if f"SAGEMAKER_BASE_DIR={state}".encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


def test_a_killed_server_leaves_no_process_and_the_next_has_its_jobs_and_endpoints(tmp_path):
    state = tmp_path / "state"
    with running(state) as up:
        up.s3.create_bucket(Bucket="bucket")
        up.s3.put_object(Bucket="bucket", Key="train/a.csv", Body=CSV)
        job = trained(up, "done")
        container = {"Image": KMEANS, "ModelDataUrl": job["ModelArtifacts"]["S3ModelArtifacts"]}
        up.sagemaker.create_model(ModelName="m", PrimaryContainer=container, ExecutionRoleArn=ROLE)
        assert deployed(up, "e", m=1)["EndpointStatus"] == "InService"
        up.sagemaker.create_training_job(
            **request("runs", HyperParameters={"k": "3", "feature_dim": "2", "epochs": "10000000"})
        )
        while up.sagemaker.describe_training_job(TrainingJobName="runs")["SecondaryStatus"] != "Training":
            time.sleep(0.05)
        assert len(processes_of(state)) >= 2
        up.process.send_signal(signal.SIGKILL)
        up.process.wait()
    deadline = time.monotonic() + 20
    while processes_of(state) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(state) == []
    with running(state) as up:
        runs = up.sagemaker.describe_training_job(TrainingJobName="runs")
        assert runs["TrainingJobStatus"] == "Failed"
        assert "oba up was ended while the job ran" in runs["FailureReason"]
        assert up.sagemaker.describe_training_job(TrainingJobName="done")["TrainingJobStatus"] == "Completed"
        assert in_service(up, "e")["EndpointStatus"] == "InService"
        answer = up.runtime.invoke_endpoint(EndpointName="e", ContentType="text/csv", Body=CSV)
        assert len(json.loads(answer["Body"].read())["predictions"]) == len(ROWS)


# ---- the page, and one request --------------------------------------------------------------------------------------


def test_the_page_shows_jobs_and_links_to_logs_and_reports(up):
    import urllib.request

    trained(up, "shown")
    page = urllib.request.urlopen(up.url).read().decode()
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

    def run(request: Path):
        command = [sys.executable, "-m", "local", "run", str(request), "--data", f"s3://bucket/train={folder}"]
        done = subprocess.run([*command, "--output", str(tmp_path / "out")], cwd=ROOT, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    code, told, errors = run(file)
    assert (code, errors) == (0, "")
    assert "#metrics" in told
    with tarfile.open(tmp_path / "out" / "model.tar.gz") as tar:
        assert tar.getnames()
    code, told, errors = run(wrong)
    assert code == 1
    assert errors.startswith("Failed: ClientError: Hyperparameter 'k': '0' is not an integer of at least 1")
