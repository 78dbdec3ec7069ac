"""`oba up --s3`: jobs and models of another S3 server, which is a second process of moto here."""

from __future__ import annotations

import subprocess
import sys
import time

import boto3
import pytest

pytest.importorskip("moto")

from tests.local.sagemaker.client import CSV, KMEANS, ROLE, ROOT, deployed, object_at, running, trained
from tests.server import free_port

pytestmark = pytest.mark.slow

KEYS = {"AWS_ACCESS_KEY_ID": "minioadmin", "AWS_SECRET_ACCESS_KEY": "secret"}


@pytest.fixture
def other():
    """The URL of another S3 server."""
    port = free_port()
    command = [sys.executable, "-c", "from moto.server import main; main()", "-H", "127.0.0.1", "-p", str(port)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **quiet) as process:
        client = boto3.client(
            "s3", endpoint_url=f"http://127.0.0.1:{port}", aws_access_key_id="a", aws_secret_access_key="b"
        )
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            try:
                client.create_bucket(Bucket="bucket")
                break
            except Exception:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
        process.terminate()


def test_a_job_and_its_endpoint_use_another_s3(tmp_path, other):
    with running(tmp_path / "state", "--s3", other, **KEYS) as up:
        up.s3.put_object(Bucket="bucket", Key="train/a.csv", Body=CSV)
        place = trained(up, "job")["ModelArtifacts"]["S3ModelArtifacts"]
        assert object_at(up, place).startswith(b"\x1f\x8b")
        container = {"Image": KMEANS, "ModelDataUrl": place}
        up.sagemaker.create_model(ModelName="m", PrimaryContainer=container, ExecutionRoleArn=ROLE)
        assert deployed(up, "e", m=1)["EndpointStatus"] == "InService"
        keys = {"aws_access_key_id": KEYS["AWS_ACCESS_KEY_ID"], "aws_secret_access_key": "secret"}
        wrong = boto3.client("s3", endpoint_url=up.url, **keys)
        with pytest.raises(wrong.exceptions.ClientError, match=f"S3 is at {other}: set AWS_ENDPOINT_URL_S3"):
            wrong.list_buckets()
        assert up.sts.get_caller_identity()["Arn"] == "arn:aws:sts::123456789012:assumed-role/SageMaker/oba"
        assert not list((tmp_path / "state").glob("s3/*"))


@pytest.mark.parametrize(
    ("url", "keys", "told"),
    [("minio:9000", KEYS, "expected http://HOST:PORT"), ("http://127.0.0.1:1", {}, "no keys for it")],
)
def test_what_cannot_be_is_refused_before_anything_starts(tmp_path, url, keys, told):
    command = [sys.executable, "-m", "local", "up", "--port", "0", "--state", str(tmp_path), "--s3", url]
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "AWS_EC2_METADATA_DISABLED": "true", **keys}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert told in done.stderr
