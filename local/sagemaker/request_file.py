"""``oba run``: one CreateTrainingJob request to its end, without a server that others reach."""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from container.settings import ConfigurationError
from local import inputs
from local.sagemaker import channels, operations, protocol, s3, server
from local.sagemaker.cloud import Cloud
from local.sagemaker.errors import AwsError, JobError
from local.sagemaker.request_data import Data, missing
from local.sagemaker.store import Record
from local.sagemaker.training_job import KIND

_PAUSE = 0.05


def run(file: Path, data: Data, output: Path) -> int:
    """Run the job: 0 where it is completed, else 1, with its failure reason on standard error.

    Args:
        data: S3 prefixes and the files or folders that stand for them.
        output: gets model.tar.gz, output.tar.gz and the log.

    Raises:
        ConfigurationError: the request is refused, or a file is not there.
    """
    try:
        request = json.loads(file.read_bytes())
    except ValueError as error:
        raise ConfigurationError(f"{file} is not JSON: {error}") from error
    if not isinstance(request, dict) or "TrainingJobName" not in request:
        raise ConfigurationError(
            f"{file}: expected a request of CreateTrainingJob, CreateTransformJob or "
            "CreateHyperParameterTuningJob, an object with the name of its job"
        )
    with tempfile.TemporaryDirectory() as state, server.started(server.Options(state=Path(state))) as cloud:
        try:
            protocol.check(protocol.model("CreateTrainingJob").input_shape, request)
            put_all(cloud, data)
            _check_data(cloud, request)
            make_bucket(cloud, request["OutputDataConfig"]["S3OutputPath"])
            operations.call(cloud, "CreateTrainingJob", request)
        except (AwsError, JobError) as error:
            raise ConfigurationError(f"{file}: {error}") from error
        return _follow(cloud, request["TrainingJobName"], output)


def put_all(cloud: Cloud, data: Data) -> None:
    """What the prefixes stand for, in the server's S3.

    Raises:
        ConfigurationError: a file is not there, or two would be the same object.
    """
    put: dict[str, Path] = {}
    for prefix, text in data:
        bucket, key = s3.split(prefix)
        make_bucket(cloud, prefix)
        for found in inputs.found(text, f"--data {prefix}"):
            for file, name in s3.files(found) if found.is_dir() else [(found, found.name)]:
                uri = f"s3://{bucket}/{'/'.join(filter(None, (key.rstrip('/'), name)))}"
                if uri in put:
                    raise ConfigurationError(f"--data {prefix}: {put[uri]} and {file} would both be {uri}")
                put[uri] = file
                s3.upload(cloud.client("s3"), file, uri)


def _check_data(cloud: Cloud, request: Record) -> None:
    """Refuse channels without data: whoever runs one request has no S3 to look into.

    Raises:
        ConfigurationError: naming each, and the option that it lacks.
    """
    problems = []
    for channel in request.get("InputDataConfig", ()):
        if (source := channel["DataSource"].get("S3DataSource")) is not None:
            try:
                channels.objects(cloud.client("s3"), channel, request)
            except JobError:
                problems.append(missing(channel["ChannelName"], source["S3Uri"]))
    if problems:
        raise ConfigurationError("; ".join(problems))


def make_bucket(cloud: Cloud, uri: str) -> None:
    """The bucket of an S3 URI, where there is none."""
    with contextlib.suppress(ClientError, JobError):  # it is there already, or the request is refused for it
        cloud.client("s3").create_bucket(Bucket=s3.split(uri)[0])


def told(model: Path) -> str:
    """The last lines: where the model is, and what may be done next."""
    return f"Model   {model}\nNext    oba predict --model {shlex.quote(str(model))} --input FILE\n"


def _follow(cloud: Cloud, name: str, output: Path) -> int:
    """Print the job's log until its end, and keep what came."""
    folder = cloud.folder / "training-jobs" / name
    shown = 0
    while True:
        job: dict[str, Any] = cloud.store.get(KIND, name) or {}
        with contextlib.suppress(FileNotFoundError), (folder / "algo-1.log").open() as log:
            log.seek(shown)
            sys.stdout.write(log.read())
            shown = log.tell()
            sys.stdout.flush()
        if job["TrainingJobStatus"] not in ("InProgress", "Stopping"):
            break
        time.sleep(_PAUSE)
    output.mkdir(parents=True, exist_ok=True)
    for result in (*folder.glob("*.tar.gz"), *folder.glob("*.log")):
        shutil.copy(result, output / result.name)
    if job["TrainingJobStatus"] == "Completed":
        sys.stdout.write(told(output / "model.tar.gz"))
        return 0
    sys.stderr.write(f"{job['SecondaryStatus']}: {job.get('FailureReason', 'the job was stopped')}\n")
    return 1
