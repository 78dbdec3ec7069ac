"""`oba up --engine docker` and `--engine buildah`: containers run what processes run, and none stays."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import pytest

pytest.importorskip("boto3")
pytest.importorskip("moto")

from algorithms import registry
from local.sagemaker.engines import BuildahEngine, DockerEngine
from local.sagemaker.errors import AwsError
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
    wait_until_gone,
)

pytestmark = pytest.mark.slow
OTHER = "123456789012.dkr.ecr.us-east-1.amazonaws.com/somebody:1"


SOMEBODY = """
FROM open-algorithms/kmeans
ENV PATH=/usr/local/bin:/usr/bin:/bin
RUN printf '%s\\n' '#!/bin/sh' 'cat /opt/ml/input/data/train/*' 'echo "score=0.5;"' 'cd /opt/ml/model' \\
    'mkdir -m 700 own' 'umask 077' 'echo made > own/weights' > /usr/local/bin/train && chmod +x /usr/local/bin/train
"""
"""Its model is its user's alone, who is root: another user who runs `oba up` has to pack it all the same."""


@pytest.fixture(params=["stand-in", "engine"])
def docker(tmp_path, request):
    """The environment in which `docker` is the stand-in or a real one: with our images, and somebody's `train`."""
    return stand_in(tmp_path) if request.param == "stand-in" else engine()


def engine():
    """A Docker engine of this machine."""
    if shutil.which("docker") is None or subprocess.run(["docker", "info"], capture_output=True).returncode:
        pytest.skip("no Docker engine answers")
    if subprocess.run(["docker", "image", "inspect", "open-algorithms/kmeans"], capture_output=True).returncode:
        pytest.skip("make image ALGORITHM=kmeans makes the image")
    subprocess.run(["docker", "build", "--tag", OTHER, "-"], input=SOMEBODY, text=True, check=True)
    return {}


def stand_in(tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "docker"
    stand_in = ROOT / "tests" / "interop" / "docker_stand_in.py"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} {stand_in} "$@"\n')
    script.chmod(0o755)
    commands = tmp_path / "commands"
    commands.mkdir()
    for name in ("train", "serve"):
        own = commands / name
        own.write_text(
            f'#!/bin/sh\nif [ "$ALGORITHM" = somebody ]; then cat $SAGEMAKER_BASE_DIR/input/data/train/*; '
            f'echo "score=0.5;"; echo made > $SAGEMAKER_BASE_DIR/model/weights; exit 0; fi\n'
            f"exec {Path(sys.executable).with_name(name)}\n"
        )
        own.chmod(0o755)
    images = {"STAND_IN_COMMANDS": str(commands), "STAND_IN_IMAGES": ",".join([*registry.ALGORITHMS, "somebody"])}
    return {"PATH": f"{folder}:{os.environ['PATH']}", "TMPDIR": str(tmp_path), **images}


def containers_of(docker) -> list[str]:
    """The names of what runs, where the engine is a real one."""
    command = ["docker", "ps", "--all", "--filter=name=^oba-", "--format={{.Names}}"]
    return [] if docker else subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def with_data(up) -> None:
    up.s3.create_bucket(Bucket="bucket")
    up.s3.put_object(Bucket="bucket", Key="train/rows.csv", Body=CSV)


def test_docker_runs_our_images_and_others_and_leaves_no_container_when_it_is_killed(tmp_path, docker):
    state = tmp_path / "state"
    with running(state, "--engine", "docker", fresh=True, **docker) as up:
        with_data(up)
        job = trained(up, "two", hosts=2, mode="Pipe")
        container = {"Image": KMEANS, "ModelDataUrl": job["ModelArtifacts"]["S3ModelArtifacts"]}
        up.sagemaker.create_model(ModelName="m", PrimaryContainer=container, ExecutionRoleArn=ROLE)
        deployed(up, "e", m=1)
        answer = up.runtime.invoke_endpoint(EndpointName="e", ContentType="text/csv", Body=CSV)
        assert len(json.load(answer["Body"])["predictions"]) == CSV.count("\n")
        metrics = [{"Name": "score", "Regex": "score=(.*?);"}]
        specification = {"TrainingImage": OTHER, "TrainingInputMode": "File", "MetricDefinitions": metrics}
        other = trained(up, "other", AlgorithmSpecification=specification)
        assert {one["MetricName"]: one["Value"] for one in other["FinalMetricDataList"]} == {"score": 0.5}
        up.sagemaker.create_training_job(**request("missing", image="elsewhere/nobody"))
        assert ended(up, "missing")["FailureReason"].startswith("ClientError: docker: Error response from daemon: ")
        up.sagemaker.create_training_job(**request("stopped", HyperParameters=LONG))
        until_it_trains(up, "stopped")
        up.sagemaker.stop_training_job(TrainingJobName="stopped")
        assert ended(up, "stopped")["TrainingJobStatus"] == "Stopped"
        assert "asked to stop" in (state / "training-jobs" / "stopped" / "algo-1.log").read_text()
        up.sagemaker.create_training_job(**request("runs", HyperParameters=LONG))
        until_it_trains(up, "runs")
        assert processes_of(state) or containers_of(docker)
        up.process.send_signal(signal.SIGKILL)
        up.process.wait()
    wait_until_gone(state)
    deadline = time.monotonic() + 60
    while containers_of(docker) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not containers_of(docker)
    assert not list(tmp_path.glob("stand-in-*"))


def until_it_trains(up, name: str) -> None:
    """Until its first lines of metrics are there."""
    group, prefix = "/aws/sagemaker/TrainingJobs", f"{name}/"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for stream in up.logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=prefix)["logStreams"]:
            given = {"logGroupName": group, "logStreamName": stream["logStreamName"]}
            if any("#metrics" in event["message"] for event in up.logs.get_log_events(**given)["events"]):
                return
        time.sleep(0.1)
    raise AssertionError(f"{name} does not train")


@pytest.mark.parametrize("engine", ["docker", "buildah"])
def test_an_engine_that_is_not_here_is_said_at_once(tmp_path, engine):
    command = [sys.executable, "-m", "local", "up", "--port", "0", "--state", str(tmp_path), "--engine", engine]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PATH": "/nowhere"}, capture_output=True, text=True)
    assert done.returncode != 0
    assert f"--engine {engine}: there is no program {engine} on PATH" in done.stderr


@pytest.mark.parametrize("engine", [DockerEngine, BuildahEngine])
def test_an_image_is_no_option_of_the_engine(engine):
    """``docker run … --volume=/:/all train`` would run an image called train, with all of the machine."""
    checked = engine(Mock()).check
    for image in ("--volume=/:/all", "-it", "", "a b", "a\n", "a;b", "$(x)"):
        with pytest.raises(AwsError, match="cannot be run"):
            checked(image)
    for image in (OTHER, KMEANS, "python", "localhost:5000/a_b/c.d:1-2", "[::1]:5000/a@sha256:" + 64 * "0"):
        checked(image)


@pytest.mark.parametrize("image", ["docker-archive:/etc/x.tar", "dir:x", "oci:/x", "docker://a/b:1", "tarball:/x.tar"])
def test_a_place_of_this_machine_is_no_image_for_buildah(image):
    """``buildah from docker-archive:/path`` would take a file that whoever asks names."""
    with pytest.raises(AwsError, match="is a place to buildah"):
        BuildahEngine(Mock()).check(image)


def has_image(name: str) -> bool:
    if shutil.which("buildah") is None:
        return False
    return subprocess.run(["buildah", "inspect", "--type=image", name], capture_output=True).returncode == 0


@pytest.mark.skipif(not has_image("open-algorithms/kmeans"), reason="make image ALGORITHM=kmeans makes the image")
def test_buildah_trains_serves_and_stops_in_a_chroot(tmp_path):
    with running(tmp_path / "state", "--engine", "buildah", fresh=True) as up:
        with_data(up)
        trained(up, "job", HyperParameters={"k": "3", "feature_dim": "2", "epochs": "100"})
        log = (tmp_path / "state/training-jobs/job/algo-1.log").read_text()
        assert "totaltime" in log.splitlines()[-2]  # what buildah itself loses: the last lines of many
        container = {"Image": KMEANS, "Mode": "MultiModel", "ModelDataUrl": "s3://bucket/out/"}
        up.sagemaker.create_model(ModelName="m", PrimaryContainer=container, ExecutionRoleArn=ROLE)
        deployed(up, "e", m=1)
        given = {"EndpointName": "e", "ContentType": "text/csv", "TargetModel": "job/output/model.tar.gz"}
        answer = up.runtime.invoke_endpoint(**given, Body=CSV)
        assert len(json.load(answer["Body"])["predictions"]) == CSV.count("\n")
        up.sagemaker.create_training_job(**request("stopped", HyperParameters=LONG))
        until_it_trains(up, "stopped")
        up.sagemaker.stop_training_job(TrainingJobName="stopped")
        assert ended(up, "stopped")["TrainingJobStatus"] == "Stopped"
        assert "asked to stop" in (tmp_path / "state/training-jobs/stopped/algo-1.log").read_text()
