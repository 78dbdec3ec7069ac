"""Batch transform jobs: a server for the model, and the files of S3 through it, as ``oba batch`` does."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from algorithms.errors import AlgorithmInputError
from container.logs import logger as batch_logger
from local.batch import transform
from local.batch.client import LOOPBACK, Answer, Client
from local.batch.options import Options
from local.batch.processing import Processing
from local.sagemaker import channels, data_capture, models, s3, without_effect
from local.sagemaker.cloud import Cloud
from local.sagemaker.cloudwatch import Log
from local.sagemaker.errors import AwsError, JobError, invalid
from local.sagemaker.instances import Containers, Instance
from local.sagemaker.operations import listed, operation
from local.sagemaker.records import put_new
from local.sagemaker.servers import Place
from local.sagemaker.store import Record, emptied

KIND = "transform-job"
GROUP = "/aws/sagemaker/TransformJobs"
_REASON = 1024
_logger = logging.getLogger("oba.up")


@operation("CreateTransformJob")
def create(cloud: Cloud, request: Record) -> Record:
    """Queue a job."""
    name = request["TransformJobName"]
    containers = models.containers(cloud, request["ModelName"])
    if containers.direct or any(one.get("Mode") == "MultiModel" for one in containers.definitions):
        raise invalid("A transform job takes a model whose containers have one model each, none of them asked directly")
    if request["TransformInput"].get("SplitType") == "TFRecord":
        raise invalid("TransformInput.SplitType: oba up has None, Line and RecordIO, not TFRecord")
    source = request["TransformInput"]["DataSource"]["S3DataSource"]
    if source["S3DataType"] == channels.AUGMENTED:
        raise invalid(f"TransformInput: S3DataType {channels.AUGMENTED} is for training jobs here")
    if source["S3Uri"].startswith(s3.FILE) and not cloud.only_here:
        raise invalid("TransformInput: file:// addresses are read only where oba up listens on loopback")
    try:
        options(request, cloud.folder).check()
        s3.split(request["TransformOutput"]["S3OutputPath"])
    except (AlgorithmInputError, JobError) as error:
        raise invalid(str(error)) from error
    if capture := request.get("DataCaptureConfig"):
        data_capture.check(capture)
    role = {"RoleArn": (cloud.store.get(models.MODEL, request["ModelName"]) or {}).get("ExecutionRoleArn", "")}
    record = request | role | {"TransformJobStatus": "InProgress", "Containers": containers.definitions}
    with cloud.store.lock:
        try:
            arn = put_new(cloud, KIND, name, record, "A transform job with this name exists already")
        except AwsError as error:
            raise AwsError("ResourceInUse", error.message) from error
        cloud.submit(KIND, name, functools.partial(run, cloud, name))
    return {"TransformJobArn": arn}


def found(cloud: Cloud, name: str) -> Record:
    """The job's record.

    Raises:
        AwsError: there is none.
    """
    record = cloud.store.get(KIND, name)
    if record is None:
        raise AwsError("ResourceNotFound", f'Could not find resource "{cloud.arn(KIND, name)}".')
    return record


@operation("DescribeTransformJob")
def describe(cloud: Cloud, request: Record) -> Record:
    """The job as it is now."""
    record = found(cloud, request["TransformJobName"])
    return record | {"TransformJobArn": record["Arn"]}


@operation("ListTransformJobs")
def list_jobs(cloud: Cloud, request: Record) -> Record:
    """Jobs, a page of them."""
    page, token = listed(cloud.store.all(KIND), request, name="Name", status="TransformJobStatus")
    names = {"Name": "TransformJobName", "Arn": "TransformJobArn"}
    fields = ("Name", "Arn", "TransformJobStatus", "CreationTime", "TransformEndTime", "LastModifiedTime")
    fields_of = [{names.get(key, key): one[key] for key in (*fields, "FailureReason") if key in one} for one in page]
    return {"TransformJobSummaries": fields_of, **token}


@operation("StopTransformJob")
def stop(cloud: Cloud, request: Record) -> None:
    """Stop sending requests; the files that are done are kept. A job in the queue ends at once."""
    name = request["TransformJobName"]
    with cloud.store.lock:
        record = found(cloud, name)
        if record["TransformJobStatus"] != "InProgress":
            raise invalid(f"The transform job is in status {record['TransformJobStatus']} and cannot be stopped.")
        cloud.store.update(KIND, name, TransformJobStatus="Stopping")
        if cloud.stop(KIND, name):
            _end(cloud, name, "Stopped", None)


# ---- the job --------------------------------------------------------------------------------------------------------


def options(job: Record, folder: Path, started: float = 0.0) -> Options:
    """A request as ``oba batch`` has it, with ``input`` and ``output`` below ``folder``; ``started`` is when the job
    did, in seconds since 1970."""
    source, output = job["TransformInput"], job["TransformOutput"]
    client, processing = job.get("ModelClientConfig", {}), job.get("DataProcessing", {})
    capture = job.get("DataCaptureConfig", {})

    def word(value: str | None) -> str | None:
        return None if value == "None" else value

    return Options(
        input=(folder / "input",),
        output=folder / "output",
        content_type=source.get("ContentType", "application/octet-stream"),
        accept=output.get("Accept"),
        compression=source.get("CompressionType", "None"),
        split_type=word(source.get("SplitType")),
        assemble_with=word(output.get("AssembleWith")),
        strategy=job.get("BatchStrategy"),
        max_payload=job.get("MaxPayloadInMB"),
        max_concurrent=job.get("MaxConcurrentTransforms") or None,
        input_filter=processing.get("InputFilter", "$"),
        output_filter=processing.get("OutputFilter", "$"),
        join_source=word(processing.get("JoinSource")),
        retries=client.get("InvocationsMaxRetries", 3),
        timeout=client.get("InvocationsTimeoutInSeconds", 600),
        identified=data_capture.utc(started) if capture.get("GenerateInferenceId") else None,
    )


class _StoppedError(Exception):
    """The job was asked to stop."""


class _Client(Client):
    """Sends a request to one container, its answer to the next; nothing any more once the job is to stop."""

    def __init__(self, ports: Sequence[int], given: Options, stop: threading.Event) -> None:
        super().__init__(f"http://{LOOPBACK}:{ports[0]}", retries=given.retries, timeout=given.timeout)
        self._stop = stop
        self._next = _Client(ports[1:], given, stop) if ports[1:] else None

    def close(self) -> None:
        """End all connections."""
        super().close()
        if self._next:
            self._next.close()

    def invoke(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """The last answer, as ``Client`` gives it. ``Accept`` is for the last container."""
        if self._stop.is_set():
            raise _StoppedError
        if not self._next:
            return super().invoke(body, headers)
        answer = super().invoke(body, {name: value for name, value in headers.items() if name != "Accept"})
        return self._next.invoke(answer.body, dict(headers) | {"Content-Type": answer.media_type})


class _Errors(logging.Handler):
    """What a thread logs as errors, to the job's log; of files below ``folder`` as what they are copies of.

    Args:
        found: these: objects, at least one.
    """

    def __init__(self, log: Log, folder: Path, found: Sequence[s3.Object]) -> None:
        super().__init__(logging.ERROR)
        self.first: str | None = None
        self._log, self._thread, self._folder = log, threading.get_ident(), f"{folder}/"
        self._prefix = f"{found[0].bucket}/{found[0].key.removesuffix(found[0].path)}"

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the first, write all."""
        if record.thread == self._thread:
            text = record.getMessage().replace(self._folder, self._prefix)
            self.first = self.first or text
            self._log.write(text)


def run(cloud: Cloud, name: str, stop: threading.Event) -> None:
    """Run a queued job to its end; it raises nothing."""
    status, reason = "Completed", None
    try:
        reason = _transform(cloud, name, stop)
        status = "Failed" if reason else status
    except _StoppedError:
        pass
    except (JobError, AwsError, AlgorithmInputError, OSError) as error:
        status, reason = "Failed", f"ClientError: {error}"
    except Exception as error:
        _logger.exception("Transform job %s", name)
        status, reason = "Failed", f"InternalServerError: {type(error).__name__}: {error}"
    if stop.is_set():
        status, reason = "Stopped", None
    _end(cloud, name, status, reason)


def _end(cloud: Cloud, name: str, status: str, reason: str | None) -> None:
    shown = reason[:_REASON] if reason else None
    cloud.store.update(KIND, name, TransformJobStatus=status, FailureReason=shown, TransformEndTime=time.time())


def _transform(cloud: Cloud, name: str, stop: threading.Event) -> str | None:
    """Why the job failed; None where it did not."""
    job, client = found(cloud, name), cloud.client("s3")
    folder = emptied(cloud.folder / "transform-jobs" / name)
    started = time.time()
    cloud.store.update(KIND, name, TransformStartTime=started)
    inputs = channels.objects(client, job["TransformInput"], job)
    s3.download(client, inputs, folder / "input")
    given = options(job, folder, started)
    processing, files = Processing(given), transform.sources(given)
    variables = job.get("Environment", {}) | given.environment()
    place = Place(folder / "server", GROUP, f"{name}/i-0", variables)
    instance = Instance(cloud, Containers(job["Containers"]), place)
    log = Log(cloud, folder / "data.log", GROUP, f"{name}/i-0/data-log")
    if told := without_effect.told(KIND, job):
        log.write(told)
    errors = _Errors(log, folder / "input", inputs)
    batch_logger.addHandler(errors)
    try:
        instance.wait()
        asked = _Client([server.port for server in instance.servers], given, stop)
        failed = transform.run(files, given.completed(asked.execution_parameters()), processing, asked)
        asked.close()
    finally:
        batch_logger.removeHandler(errors)
        instance.close()
        log.close()
        output = job["TransformOutput"]["S3OutputPath"].rstrip("/")
        done = [(file, path) for file, path in s3.files(given.output) if not file.name.endswith(".partial")]
        for file, path in done:
            s3.upload(client, file, f"{output}/{path}")
    if capture := job.get("DataCaptureConfig"):
        data_capture.put_manifests(client, capture, started, inputs, output, [path for _, path in done])
    return f"ClientError: {failed} of {len(files)} files were not transformed. {errors.first}" if failed else None


def recover(cloud: Cloud) -> None:
    """Fail the jobs that ran when an earlier server ended."""
    for record in cloud.store.all(KIND):
        if record["TransformJobStatus"] in ("InProgress", "Stopping"):
            _end(cloud, record["Name"], "Failed", "InternalServerError: oba up was ended while the job ran.")
