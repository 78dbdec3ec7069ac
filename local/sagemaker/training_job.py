"""One training job, from its data in S3 to its model there: a folder for each host, laid out as /opt/ml, and ``train``.

Several hosts are several processes, at addresses of their own, as those of ``oba train --hosts`` are.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from algorithms.archives import pack
from container.paths import Paths
from container.settings import job
from local import together
from local.lost_hosts import LostHosts
from local.sagemaker import channels, images, pipes, s3, without_effect
from local.sagemaker.checkpoints import Checkpoints
from local.sagemaker.cloud import Cloud
from local.sagemaker.cloudwatch import Log
from local.sagemaker.engines import INSIDE, Run
from local.sagemaker.errors import AwsError, JobError
from local.sagemaker.store import Record, emptied

KIND = "training-job"
GROUP = "/aws/sagemaker/TrainingJobs"
CHECKPOINTS = f"{INSIDE}/checkpoints"
MOST_HOSTS = 20
"""Most instances of a job: SageMaker's default quota, and more than a machine has cores for."""

GRACE_SECONDS = 120
"""Seconds between SIGTERM and SIGKILL, as on SageMaker."""

_PAUSE = 0.02
_REASON = 1024
_logger = logging.getLogger("oba.up")


def run(cloud: Cloud, name: str, stop: threading.Event) -> None:
    """Run a queued job to its end; it raises nothing."""
    try:
        Job(cloud, name, stop).run()
    except (JobError, AwsError) as error:
        _end(cloud, name, "Failed", "Failed", f"ClientError: {error}")
    except Exception as error:
        _logger.exception("Training job %s", name)
        _end(cloud, name, "Failed", "Failed", f"InternalServerError: {type(error).__name__}: {error}")


def end_before_begin(cloud: Cloud, name: str) -> None:
    """End a job that was stopped in the queue."""
    _end(cloud, name, "Stopped", "Stopped")


def instances(job: Record) -> int:
    """How many hosts a job has."""
    resources = job["ResourceConfig"]
    groups = resources.get("InstanceGroups")
    return sum(group["InstanceCount"] for group in groups) if groups else resources.get("InstanceCount", 1)


def transition(cloud: Cloud, name: str, secondary: str, message: str, **changes: Any) -> None:
    """Note a job's secondary status."""
    now = time.time()
    with cloud.store.lock:
        record = cloud.store.get(KIND, name)
        if record is None:
            return
        *before, last = record["SecondaryStatusTransitions"]
        entered = {"Status": secondary, "StartTime": now, "StatusMessage": message}
        transitions = [*before, last | {"EndTime": now}, entered]
        cloud.store.update(KIND, name, SecondaryStatus=secondary, SecondaryStatusTransitions=transitions, **changes)


def _end(cloud: Cloud, name: str, status: str, secondary: str, reason: str = "") -> None:
    record, now = cloud.store.get(KIND, name), time.time()
    if record is None:
        return
    seconds = math.ceil(now - record.get("TrainingStartTime", now))
    told = {
        "Completed": "Training job completed",
        "Stopped": "Training job stopped",
        "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds",
    }
    changes: dict[str, Any] = {
        "TrainingJobStatus": status,
        "TrainingEndTime": now,
        "TrainingTimeInSeconds": seconds,
        "BillableTimeInSeconds": seconds,
    }
    if reason:
        changes["FailureReason"] = reason[:_REASON]
    transition(cloud, name, secondary, told.get(secondary) or reason or "Training job failed", **changes)


class _Host:
    """The process of one host of a job, with its folder and log."""

    def __init__(self, name: str, paths: Paths) -> None:
        self.name, self.paths = name, paths
        self.feeders: list[pipes.Feeder] = []
        self.process: subprocess.Popen[str] | None = None
        self.reader: threading.Thread | None = None


class Job:
    """A job that runs."""

    def __init__(self, cloud: Cloud, name: str, stop: threading.Event) -> None:
        record = cloud.store.get(KIND, name)
        assert record is not None
        self._record, self._cloud, self._name, self._stop = record, cloud, name, stop
        self._s3 = cloud.client("s3")
        self._folder = emptied(cloud.folder / "training-jobs" / name)
        self._timed_out = False
        self._hosts: list[_Host] = []

    def run(self) -> None:
        """From the first status to the last.

        Raises:
            JobError: it fails for a reason that its user can act on.
        """
        with contextlib.ExitStack() as stack:
            size = instances(self._record)
            names = stack.enter_context(together.addresses(size)) if size > 1 else ["algo-1"]
            self._hosts = [_Host(host, Paths(self._folder / f"algo-{rank}")) for rank, host in enumerate(names, 1)]
            self._run()

    def _run(self) -> None:
        transition(self._cloud, self._name, "Downloading", "Downloading input data", TrainingStartTime=time.time())
        self._lay_out()
        checkpoints = Checkpoints(self._s3, self._record, self._hosts[0].paths)
        checkpoints.fetch()
        for host in self._hosts[1:]:
            if self._hosts[0].paths.checkpoints.exists():
                host.paths.checkpoints.symlink_to(self._hosts[0].paths.checkpoints)
        if self._stop.is_set():
            _end(self._cloud, self._name, "Stopped", "Stopped")
            return
        told = "Training image download completed. Training in progress."
        transition(self._cloud, self._name, "Training", told)
        codes = self._train(checkpoints)
        self._finish(codes[0] or max(codes, key=abs))

    def _finish(self, code: int) -> None:
        leader = self._hosts[0].paths
        stopped = self._stop.is_set() or self._timed_out
        failed = code != 0 and not stopped
        transition(self._cloud, self._name, "Uploading", "Uploading generated training model")
        model = None if failed else self._upload_model(leader)
        self._upload_output(leader)
        if model:
            self._cloud.store.update(KIND, self._name, ModelArtifacts={"S3ModelArtifacts": model})
        if self._timed_out and not self._stop.is_set():
            _end(self._cloud, self._name, "Stopped", "MaxRuntimeExceeded")
        elif stopped:
            _end(self._cloud, self._name, "Stopped", "Stopped")
        elif failed:
            _end(self._cloud, self._name, "Failed", "Failed", self._reason(code))
        else:
            _end(self._cloud, self._name, "Completed", "Completed")

    def _reason(self, code: int) -> str:
        """The failure file of the first host that has one, as SageMaker shows it."""
        for host in self._hosts:
            with contextlib.suppress(OSError):
                text = self._as_there(host.paths.failure.read_text(errors="replace").strip())
                known = text.startswith(("ClientError: ", "AlgorithmError: "))
                return f"{text if known else f'AlgorithmError: {text}'}, exit code: {code}"
            log = (self._folder / f"{host.paths.base.name}.log").read_text(errors="replace")
            if why := self._cloud.engine.why_not(code, log):
                return f"ClientError: {why}"
        if code < 0:
            return f"AlgorithmError: the process was ended by signal {-code}; see the log"
        return f"AlgorithmError: , exit code: {code}"

    def _as_there(self, text: str) -> str:
        """What a host says, with the names of hosts and folders that it has on SageMaker."""
        hosts = sorted(self._hosts, key=lambda host: -len(host.name))  # 127.28.0.12 is no 127.28.0.1 with a 2
        for host in hosts:
            text = text.replace(f"{host.paths.base}/", f"{INSIDE}/").replace(host.name, host.paths.base.name)
        return text

    # ---- before ------------------------------------------------------------------------------------------------------

    def _lay_out(self) -> None:
        """Each host's configuration and data."""
        names = [host.name for host in self._hosts]
        for host in self._hosts:
            for folder in (host.paths.config, host.paths.data, host.paths.model, host.paths.output_data):
                folder.mkdir(parents=True)
            network = "lo" if len(names) > 1 else "eth0"
            resources = {"current_host": host.name, "hosts": names, "network_interface_name": network}
            _write(host.paths.resource_config, resources)
            _write(host.paths.hyperparameters, self._record.get("HyperParameters", {}))
            _write(host.paths.input_data_config, channels.configuration(self._record))
        for channel in self._record.get("InputDataConfig", ()):
            if channels.mode(self._record, channel) == "Pipe":
                self._stream(channel)
            else:
                self._bring(channel, channels.objects(self._s3, channel, self._record))

    def _stream(self, channel: Record) -> None:
        content, size = pipes.content(self._s3, channel, self._record), len(self._hosts)
        for rank, host in enumerate(self._hosts):
            share = (rank, size) if channels.sharded(channel) else (0, 1)
            host.feeders.append(pipes.Feeder(content, host.paths, channel, share))

    def _bring(self, channel: Record, found: list[s3.Object]) -> None:
        name, size, seed = channel["ChannelName"], len(self._hosts), channels.seed(channel)
        found = found if seed is None else channels.shuffled(found, seed, 0)
        fast = channels.mode(self._record, channel) == "FastFile" and self._cloud.kept
        for rank, host in enumerate(self._hosts):
            mine = found[rank::size] if channels.sharded(channel) else found
            if rank and not channels.sharded(channel):
                host.paths.channel(name).symlink_to(self._hosts[0].paths.channel(name))
            else:
                s3.download(self._s3, mine, host.paths.channel(name), **({"kept": fast} if fast else {}))

    # ---- training ----------------------------------------------------------------------------------------------------

    def _train(self, checkpoints: Checkpoints) -> list[int]:
        """Run the processes to their end; their exit codes."""
        limit = self._record["StoppingCondition"].get("MaxRuntimeInSeconds")
        deadline = time.monotonic() + limit if limit else math.inf
        with contextlib.ExitStack() as stack:
            for host in self._hosts:
                stack.enter_context(self._started(host))
            processes = [host.process for host in self._hosts if host.process]
            lost = self._lost_hosts()
            killed = math.inf
            while any(process.poll() is None for process in processes):
                now = time.monotonic()
                self._timed_out = self._timed_out or now > deadline
                if killed == math.inf and (self._stop.is_set() or self._timed_out):
                    killed = now + GRACE_SECONDS
                    for process in processes:  # each: who has not met the others yet hears of nothing from them
                        self._cloud.engine.ask_to_end(process)
                elif killed == math.inf and processes[0].poll() is not None:
                    killed = now + GRACE_SECONDS
                if now > killed or self._unfed() or lost.look([process.poll() for process in processes]):
                    break
                checkpoints.store_now_and_then()
                time.sleep(_PAUSE)
            for host in self._hosts:
                if host.process:
                    self._cloud.processes.end(host.process)
        checkpoints.store()
        if error := self._unfed():
            raise error
        return [process.returncode for process in processes]

    def _lost_hosts(self) -> LostHosts:
        names, failures = [host.name for host in self._hosts], [host.paths.failure for host in self._hosts]
        return LostHosts(names, failures, job(self._environment()))

    def _unfed(self) -> Exception | None:
        """Why a channel that is streamed stays short; None where none does."""
        return next((feeder.error for host in self._hosts for feeder in host.feeders if feeder.error), None)

    @contextlib.contextmanager
    def _started(self, host: _Host) -> Iterator[None]:
        """A running process, whose lines are followed."""
        leads = host is self._hosts[0]
        stream = f"{self._name}/{host.paths.base.name}-{int(time.time())}"
        file = self._folder / f"{host.paths.base.name}.log"
        dimension = ("TrainingJobName", self._name)
        log = Log(self._cloud, file, GROUP, stream, self._patterns() if leads else None, dimension)
        if leads and (told := without_effect.told(KIND, self._record)):
            log.write(told)
        host.process = self._cloud.engine.start(
            Run(
                self._record["AlgorithmSpecification"]["TrainingImage"],
                "train",
                host.paths.base,
                self._folder,
                self._environment(),
                meets=len(self._hosts) > 1,
            )
        )
        for feeder in host.feeders:
            feeder.start()
        reader = threading.Thread(target=self._follow, args=(host.process, log, leads), daemon=True)
        reader.start()
        try:
            yield
        finally:
            reader.join()
            for feeder in host.feeders:
                feeder.close()
            log.close()

    def _follow(self, process: subprocess.Popen[str], log: Log, leads: bool) -> None:
        known = 0.0
        assert process.stdout is not None
        for line in process.stdout:
            log.write(self._as_there(line))
            if leads and log.latest and max(when for _, when in log.latest.values()) > known:
                known = max(when for _, when in log.latest.values())
                metrics = [
                    {"MetricName": name, "Value": value, "Timestamp": when}
                    for name, (value, when) in log.latest.items()
                ]
                self._cloud.store.update(KIND, self._name, FinalMetricDataList=metrics)

    def _patterns(self) -> dict[str, str]:
        return {one["Name"]: one["Regex"] for one in self._record["AlgorithmSpecification"]["MetricDefinitions"]}

    def _environment(self) -> dict[str, str]:
        sharing = self._cloud.at_once * len(self._hosts)
        threads = str(max(1, len(os.sched_getaffinity(0)) // sharing))
        version = images.version(self._record["AlgorithmSpecification"]["TrainingImage"])
        return {
            "OMP_NUM_THREADS": threads,
            "OBA_HOSTS_HERE": str(len(self._hosts)),
            **({"SAGEMAKER_IMAGE_VERSION": version} if version else {}),
            **self._record.get("Environment", {}),
            "TRAINING_JOB_NAME": self._name,
            "TRAINING_JOB_ARN": self._record["Arn"],
            "AWS_REGION": self._cloud.region,
        }

    # ---- after -------------------------------------------------------------------------------------------------------

    def _upload_model(self, paths: Paths) -> str | None:
        """Where the model went; None where there is none, as after an early stop."""
        if not any(paths.model.iterdir()):
            return None
        output = self._record["OutputDataConfig"]
        place = f"{output['S3OutputPath'].rstrip('/')}/{self._name}/output"
        if output.get("CompressionType") == "NONE":
            for file, name in s3.files(paths.model):
                s3.upload(self._s3, file, f"{place}/model/{name}")
            return f"{place}/model/"
        s3.upload(self._s3, pack(paths.model, self._folder / "model.tar.gz"), f"{place}/model.tar.gz")
        return f"{place}/model.tar.gz"

    def _upload_output(self, paths: Paths) -> None:
        if any(paths.output_data.iterdir()):
            place = f"{self._record['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{self._name}/output"
            archive = pack(paths.output_data, self._folder / "output.tar.gz")
            s3.upload(self._s3, archive, f"{place}/output.tar.gz")


def _write(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, indent=2))
