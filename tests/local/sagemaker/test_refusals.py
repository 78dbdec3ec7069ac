"""What an attack on `oba up` tried: inputs that are malformed or hostile, and stops and names at the wrong moment."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

pytest.importorskip("boto3")
pytest.importorskip("moto")

from tests.local.sagemaker.client import (
    CSV,
    KMEANS,
    LONG,
    ROLE,
    ROOT,
    deployed,
    ended,
    processes_of,
    request,
    running,
    trained,
    with_rows,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def up(state):
    """Jobs run one after the other."""
    with with_rows(state, "--jobs", "1") as server:
        yield server


def asked(up, operation: str, body: str):
    """Status and answer of a request as it stands, which boto3 would not send."""
    target = {"X-Amz-Target": f"SageMaker.{operation}"}
    try:
        with urllib.request.urlopen(urllib.request.Request(up.url, body.encode(), target)) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


# ---- requests -------------------------------------------------------------------------------------------------------


def test_no_page_of_another_origin_may_read_answers(tmp_path):
    """Of a server as a user starts it: what allows that is decided when moto is imported, which its forks find done."""
    with running(tmp_path, fresh=True) as server:
        asking = urllib.request.Request(
            f"{server.url}/?Action=GetCallerIdentity&Version=2011-06-15",
            headers={
                "Origin": "http://elsewhere.invalid",
                "Authorization": "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/sts/aws4_request",
            },
        )
        with urllib.request.urlopen(asking) as answer:
            assert answer.status == 200 and "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("token", ["9" * 5000, "zzz", "-1", "1" * 10, "٣"])
@pytest.mark.parametrize("operation", ["ListTrainingJobs", "ListEndpoints", "ListHyperParameterTuningJobs"])
def test_a_token_that_no_page_gave_is_refused(up, operation, token):
    status, answer = asked(up, operation, json.dumps({"NextToken": token}))
    assert (status, answer["__type"]) == (400, "ValidationException")
    assert "NextToken" in answer["message"]


@pytest.mark.parametrize(
    "uri", ["https://example.org/a", "https://s3.amazonaws.com/", "https://s3.amazonaws.com.example.org/b"]
)
def test_an_address_that_is_not_of_s3_is_refused_before_a_job_begins(up, uri):
    with pytest.raises(up.sagemaker.exceptions.ClientError, match="Channel 'train': .* is not an S3 URI"):
        up.sagemaker.create_training_job(**request("elsewhere", uri=uri))


def test_a_path_that_is_no_endpoints_is_refused(up):
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{up.url}/endpoints/..%2f%0a..%2f/invocations", b"1,2")
    assert (caught.value.code, json.loads(caught.value.read())["__type"]) == (400, "ValidationError")


@pytest.mark.parametrize("value", ["x\0y", "\ud800"])
def test_an_environment_that_no_process_can_have_is_refused(up, value):
    container = {"Image": KMEANS, "Environment": {"A": value}}
    model = {"ModelName": "env", "PrimaryContainer": container, "ExecutionRoleArn": ROLE}
    bodies = {"CreateModel": model, "CreateTrainingJob": request("env", Environment={"A": value})}
    for operation, body in bodies.items():
        status, answer = asked(up, operation, json.dumps(body))
        assert (status, answer["__type"]) == (400, "ValidationException")
        assert ".A.member' failed to satisfy constraint" in answer["message"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400"])
def test_what_is_no_number_is_refused(up, number):
    status, answer = asked(up, "ListTrainingJobs", f'{{"CreationTimeAfter": {number}}}')
    assert (status, answer["__type"]) == (400, "SerializationException")


def test_a_whole_number_may_be_written_with_an_exponent(up):
    """As paws, the AWS client of R, writes 10 and 100000: by ``as.character``."""
    assert asked(up, "ListTrainingJobs", '{"MaxResults": 1e+01}')[0] == 200
    status, answer = asked(up, "ListTrainingJobs", '{"MaxResults": 1e+05}')
    assert (status, answer["__type"]) == (400, "ValidationException")
    assert "Value '100000' at 'maxResults'" in answer["message"]
    assert asked(up, "ListTrainingJobs", '{"MaxResults": 1.5e+00}')[0] == 400


def test_a_member_that_is_null_is_as_one_that_is_left_out(up):
    container = {"Image": KMEANS, "Environment": None, "ModelPackageName": None}
    package = {"ModelPackageName": "null", "InferenceSpecification": {"Containers": [container]}, "SourceUri": None}
    assert asked(up, "CreateModelPackage", json.dumps(package | {"ModelPackageGroupName": None}))[0] == 200
    for name, given in {"null-1": container, "null-2": {"ModelPackageName": "null", "Environment": None}}.items():
        model = {"ModelName": name, "PrimaryContainer": given, "ExecutionRoleArn": ROLE}
        status, answer = asked(up, "CreateModel", json.dumps(model))
        assert status == 200, answer
        assert up.sagemaker.describe_model(ModelName=name)["PrimaryContainer"]["Image"] == KMEANS


def test_a_length_of_thousands_of_digits_is_no_fault_of_the_server(up):
    with contextlib.closing(http.client.HTTPConnection(up.url.removeprefix("http://"))) as connection:
        connection.putrequest("POST", "/")
        connection.putheader("Authorization", "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/iam/aws4_request")
        connection.putheader("Content-Length", "9" * 5000)
        connection.endheaders()
        assert 400 <= connection.getresponse().status < 500


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("s3://No Such_Bucket!/x", "Invalid bucket name"),
        (f"s3://bucket/long/{'n' * 256}", "is no file's path"),
        ("s3://bucket/twice/", "another object has the file"),
    ],
)
def test_data_that_cannot_be_brought_fails_the_job_as_the_users(up, uri, told):
    up.s3.put_object(Bucket="bucket", Key=f"long/{'n' * 256}", Body=CSV)
    for key in ("twice/a.csv", "twice//a.csv"):
        up.s3.put_object(Bucket="bucket", Key=key, Body=CSV)
    name = f"uri-{abs(hash(uri))}"
    up.sagemaker.create_training_job(**request(name, uri=uri))
    reason = ended(up, name)["FailureReason"]
    assert reason.startswith("ClientError: s3://")
    assert told in reason


def test_a_streamed_object_that_is_not_there_fails_the_job_instead_of_shortening_it(up):
    up.s3.put_object(
        Bucket="bucket", Key="short/manifest", Body='[{"prefix": "s3://bucket/train/"}, "rows.csv", "none"]'
    )
    up.sagemaker.create_training_job(
        **request("short", mode="Pipe", kind="ManifestFile", uri="s3://bucket/short/manifest")
    )
    reason = ended(up, "short")["FailureReason"]
    assert reason == "ClientError: s3://bucket/train/none cannot be read: The specified key does not exist."


@pytest.mark.parametrize("path", ["/a%00b", "/..%2fx%2f", "/.oba", "/a%20b", "/%c3%a4bc"])
def test_a_bucket_that_is_no_name_is_refused_and_harms_no_other(up, path):
    signed = {"Authorization": "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request"}
    try:
        urllib.request.urlopen(urllib.request.Request(up.url + path, headers=signed, method="PUT"))
    except urllib.error.HTTPError as error:
        assert 400 <= error.code < 500, error.read()
    else:
        raise AssertionError("made")
    up.s3.put_object(Bucket="bucket", Key="still", Body=b"works")


# ---- metrics --------------------------------------------------------------------------------------------------------


def test_a_pattern_that_backtracks_for_ever_leaves_the_server_answering(up):
    specification = request("x")["AlgorithmSpecification"]
    slow = [{"Name": "slow", "Regex": r"(.|..|...)+$(?<!.)(x)?"}]
    up.sagemaker.create_training_job(
        **request("slow", AlgorithmSpecification=specification | {"MetricDefinitions": slow})
    )
    longest, job = 0.0, {"TrainingJobStatus": "InProgress"}
    while job["TrainingJobStatus"] == "InProgress":
        begun = time.monotonic()
        job = up.sagemaker.describe_training_job(TrainingJobName="slow")
        longest = max(longest, time.monotonic() - begun)
        time.sleep(0.05)
    assert job["TrainingJobStatus"] == "Completed"
    assert longest < 30
    assert "train:msd" in {metric["MetricName"] for metric in job["FinalMetricDataList"]}
    log = urllib.request.urlopen(f"{up.url}/_oba/training-job/slow/algo-1.log").read().decode()
    assert "The Regex of the metric slow took more than" in log


# ---- stops ----------------------------------------------------------------------------------------------------------


def test_a_job_that_waits_for_its_turn_is_stopped_at_once(up):
    for name in ("runs", "waits"):
        up.sagemaker.create_training_job(**request(name, mode="Pipe", HyperParameters=LONG))
    begun = time.monotonic()
    up.sagemaker.stop_training_job(TrainingJobName="waits")
    job = up.sagemaker.describe_training_job(TrainingJobName="waits")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "Stopped")
    assert time.monotonic() - begun < 60
    assert up.sagemaker.describe_training_job(TrainingJobName="runs")["TrainingJobStatus"] == "InProgress"
    up.sagemaker.stop_training_job(TrainingJobName="runs")
    ended(up, "runs")


@pytest.mark.parametrize("seconds", [0.2, 0.7, 1.2])
def test_a_stop_reaches_all_hosts_however_early_it_comes(up, seconds):
    name = f"hosts-{int(seconds * 10)}"
    up.sagemaker.create_training_job(**request(name, hosts=2, HyperParameters=LONG, distribution="ShardedByS3Key"))
    time.sleep(seconds)
    begun = time.monotonic()
    up.sagemaker.stop_training_job(TrainingJobName=name)
    assert ended(up, name)["TrainingJobStatus"] == "Stopped"
    assert time.monotonic() - begun < 60  # by itself: what does not end is killed after 90 seconds


# ---- endpoints ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sound(up):
    """The name of a model that serves."""
    job = trained(up, "model")
    container = {"Image": KMEANS, "ModelDataUrl": job["ModelArtifacts"]["S3ModelArtifacts"]}
    up.sagemaker.create_model(ModelName="sound", PrimaryContainer=container, ExecutionRoleArn=ROLE)
    return "sound"


@pytest.mark.parametrize(("name", "url"), [("no-key", "s3://bucket/"), ("no-bucket", "s3://bad_bucket!/m.tar.gz")])
def test_an_endpoint_fails_whatever_its_model_is_and_its_other_servers_end(up, state, sound, name, url):
    container = {"Image": KMEANS, "ModelDataUrl": url}
    up.sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)
    endpoint = deployed(up, name, **{sound: 1, name: 1})
    assert endpoint["EndpointStatus"] == "Failed"
    assert f"production variant v-{name}" in endpoint["FailureReason"]
    up.sagemaker.delete_endpoint(EndpointName=name)
    assert processes_of(state) == []


@pytest.mark.parametrize("what", ["port", "state"])
def test_what_another_server_has_is_refused_in_one_line(up, state, tmp_path, what):
    options = {"--port": "0", "--state": str(tmp_path)}
    options |= {"--port": up.url.rpartition(":")[2]} if what == "port" else {"--state": str(state)}
    command = [sys.executable, "-m", "local", "up", *itertools.chain(*options.items())]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    (line,) = done.stderr.splitlines()
    told = "cannot be listened on: Address already in use" if what == "port" else "or give another folder"
    assert done.returncode == 1 and line.startswith("Error: --") and line.endswith(told)


def test_a_program_of_the_users_is_refused_instead_of_left_out(up):
    """As the SDK states an ``entry_point``: quoted in a job's hyperparameters, plain in a model's environment."""
    job = request("script", HyperParameters={"k": "3", "feature_dim": "2", "sagemaker_program": '"train.py"'})
    with pytest.raises(up.sagemaker.exceptions.ClientError, match=r"train\.py.*script mode"):
        up.sagemaker.create_training_job(**job)
    container = {"Image": KMEANS, "ModelDataUrl": "s3://bucket/m.tar.gz"}
    with pytest.raises(up.sagemaker.exceptions.ClientError, match=r"serve\.py.*script mode"):
        environment = {"SAGEMAKER_PROGRAM": "serve.py"}
        up.sagemaker.create_model(
            ModelName="script", PrimaryContainer=container | {"Environment": environment}, ExecutionRoleArn=ROLE
        )
    empty = container | {"Environment": {"SAGEMAKER_PROGRAM": ""}}
    up.sagemaker.create_model(ModelName="no-script", PrimaryContainer=empty, ExecutionRoleArn=ROLE)
