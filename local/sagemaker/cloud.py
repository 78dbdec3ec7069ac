"""The state that every operation gets: records, processes, the queue of jobs, and clients of other services."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from local.sagemaker.data_capture import Captures
from local.sagemaker.engines import Engine
from local.sagemaker.invocation_metrics import InvocationMetrics
from local.sagemaker.processes import Processes
from local.sagemaker.s3 import LocalClient
from local.sagemaker.store import Store

ACCOUNT = "123456789012"
"""moto's."""


@dataclass
class Queued:
    """A job that waits in the queue, or runs.

    Attributes:
        stop: is set when the job is to end.
    """

    stop: threading.Event
    future: Future[None] | None = None


@dataclass(frozen=True)
class Cloud:
    """SageMaker in one region, as a request addresses it. All regions share records, processes and queue.

    Attributes:
        engine: starts the processes of images.
        url: of this server, where the logs are, too, and S3.
        s3: of another server that has S3.
        folder: of the state.
        jobs: by kind and name, those that are queued or run.
        running: the servers of each endpoint, by its name; ``endpoints`` keeps them.
        only_here: whether only this machine can reach the server, so that requests may name its files.
        kept: the file with the bytes of an object, by bucket and key; None where S3 is another server's.
        waiting: by endpoint, the threads that do its asynchronous requests.
        metrics: of the invocations of endpoints.
        captures: the requests and answers of endpoints with data capture.
        tuning: the tuning jobs of each region; ``tuning_jobs`` keeps them.
    """

    store: Store
    processes: Processes
    engine: Engine
    queue: ThreadPoolExecutor
    at_once: int
    url: str
    folder: Path
    jobs: dict[tuple[str, str], Queued]
    running: dict[str, Any]
    region: str
    s3: str | None = None
    only_here: bool = True
    kept: Callable[[str, str], Path | None] | None = None
    waiting: dict[str, ThreadPoolExecutor] = field(default_factory=dict)
    metrics: InvocationMetrics = field(default_factory=InvocationMetrics)
    captures: Captures = field(default_factory=Captures)
    tuning: dict[str, Any] = field(default_factory=dict)

    def at(self, region: str) -> Cloud:
        """This cloud in another region."""
        return replace(self, region=region)

    def arn(self, kind: str, name: str) -> str:
        """The ARN of the resource of this kind and name."""
        return f"arn:aws:sagemaker:{self.region}:{ACCOUNT}:{kind}/{name.lower()}"

    def client(self, service: str) -> Any:
        """boto3's client of another service of this server, or of the S3 that stands for its own."""
        client = _client(service, self.region, self.s3 if service == "s3" and self.s3 else self.url, self.url)
        return LocalClient(client, self.kept) if service == "s3" and self.kept else client

    def submit(self, kind: str, name: str, work: Callable[[threading.Event], None]) -> None:
        """Queue ``work``, which gets the event that tells it to stop.

        The caller must hold the lock of ``store``; so must that of ``stop``.
        """
        queued = self.jobs[kind, name] = Queued(threading.Event())

        def run() -> None:
            try:
                work(queued.stop)
            finally:
                del self.jobs[kind, name]

        queued.future = self.queue.submit(run)

    def stop(self, kind: str, name: str) -> bool:
        """Tell a job to stop. True where it had not begun: it never will."""
        queued = self.jobs[kind, name]
        queued.stop.set()
        if queued.future is None or not queued.future.cancel():
            return False
        del self.jobs[kind, name]
        return True


_making = threading.Lock()


def _client(service: str, region: str, url: str, own: str) -> Any:
    with _making:  # boto3 makes one client at a time
        return _made(service, region, url, own)


@functools.cache
def _made(service: str, region: str, url: str, own: str) -> Any:
    """Of the user's own AWS configuration, keys and proxies are read for another S3; nothing for this server."""
    path = {"addressing_style": "path"}
    if url != own:
        return boto3.session.Session().client(
            service, region_name=region, endpoint_url=url, verify=True, config=Config(s3=path)
        )
    return boto3.session.Session().client(
        service,
        region_name=region,
        endpoint_url=url,
        aws_access_key_id="oba",
        aws_secret_access_key="oba",
        config=Config(s3=path, retries={"max_attempts": 2}, proxies={}),
    )
