"""A server of an endpoint or a transform job: the process of ``serve`` with a model from S3, and its requests."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import shutil
import subprocess
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from algorithms.archives import ArchiveError, extract
from container.paths import Paths
from local.batch.client import LOOPBACK, free_port
from local.sagemaker import images, s3
from local.sagemaker.cloud import Cloud
from local.sagemaker.cloudwatch import Log
from local.sagemaker.engines import INSIDE, Run
from local.sagemaker.errors import JobError
from local.sagemaker.store import Record, emptied

START_SECONDS = 240
"""Seconds that SageMaker gives a container to become healthy."""

ANSWER_SECONDS = 120
"""Seconds of a request; more than the 60 s after which SageMaker, and the container itself, end it."""

MULTI = "MultiModel"
_ports: set[int] = set()
"""Ports of servers that run or start: if one listens late, another must not take its port and answer its pings."""
_claiming = threading.Lock()
_PAUSE = 0.03
_NO_MEMORY, _CONFLICT, _GONE = 507, 409, 404


class Answer(NamedTuple):
    """A container's response; names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Place(NamedTuple):
    """The folder, log and environment of a server.

    Attributes:
        folder: gets the model; what is there before is removed.
        group, stream: of its lines in CloudWatch Logs.
        variables: besides the container's own.
        notes: lines that its log begins with.
    """

    folder: Path
    group: str
    stream: str
    variables: Mapping[str, str] = MappingProxyType({})
    notes: Sequence[str] = ()

    def below(self, name: str) -> Place:
        """The place of one of several."""
        return self._replace(folder=self.folder / name, stream=f"{self.stream}/{name}")


class Server:
    """A process that serves the model of one container definition.

    Args:
        container: of CreateModel's request.
    """

    def __init__(self, cloud: Cloud, container: Record, place: Place) -> None:
        self._client, self._container = cloud.client("s3"), container
        self._processes, self._engine = cloud.processes, cloud.engine
        self._paths = Paths(emptied(place.folder))
        self._loaded: OrderedDict[str, None] = OrderedDict()
        self._loading = threading.Lock()
        self.many = container.get("Mode") == MULTI
        if not self.many:
            _bring_model(self._client, container, self._paths.model)
        own = {"SAGEMAKER_MULTI_MODEL": "true" if self.many else "false"}
        # An instance is one process here: there may be several, and jobs beside them.
        given = {"SAGEMAKER_MODEL_SERVER_WORKERS": "1", **container.get("Environment", {}), **place.variables, **own}
        if stated := images.version(container["Image"]):
            given.setdefault("SAGEMAKER_IMAGE_VERSION", stated)
        self._log = Log(cloud, place.folder.parent / f"{place.folder.name}.log", place.group, place.stream)
        for note in place.notes:
            self.tell(note)
        self.port = _claimed_port()
        try:
            self._process = cloud.engine.start(
                Run(container["Image"], "serve", self._paths.base, self._paths.base, given, self.port)
            )
        except Exception:
            _ports.discard(self.port)
            self._log.close()
            raise
        self._reader = threading.Thread(target=self._follow, args=(self._process,), daemon=True)
        self._reader.start()

    def wait(self) -> None:
        """Until it is healthy.

        Raises:
            JobError: it does not become so.
        """
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                if self.ask("GET", "/ping").status == 200:
                    return
            except (OSError, http.client.HTTPException):
                pass
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise JobError("did not pass the ping health check. Please check CloudWatch logs for this endpoint.")
            time.sleep(_PAUSE)

    def tell(self, line: str) -> None:
        """Write a line into its log, unless it has ended."""
        with contextlib.suppress(ValueError):
            self._log.write(line)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        seconds: float = ANSWER_SECONDS,
    ) -> Answer:
        """The answer to one request, which may take so many seconds.

        Raises:
            OSError, http.client.HTTPException: there was none.
        """
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=seconds)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(
                response.status, {key.lower(): value for key, value in response.getheaders()}, response.read()
            )
        finally:
            connection.close()

    def invoke(
        self, body: bytes, headers: Mapping[str, str], target: str | None, seconds: float | None = None
    ) -> Answer:
        """The model's answer; that of the model ``target`` below the prefix of a multi-model container.

        Raises:
            JobError: the target is not there, or cannot be loaded.
            OSError, http.client.HTTPException: there was no answer.
        """
        if target is None:
            return self.ask("POST", "/invocations", body, headers, seconds or ANSWER_SECONDS)
        name = hashlib.sha256(target.encode()).hexdigest()
        for _ in range(2):
            self._load(name, target)
            answer = self.ask("POST", f"/models/{name}/invoke", body, headers)
            if answer.status != _GONE:
                break
            self._loaded.pop(name, None)  # the process was replaced by one without models
        return answer

    def close(self) -> None:
        """End it."""
        self._processes.end(self._process)
        _ports.discard(self.port)
        self._reader.join()
        self._log.close()

    def _load(self, name: str, target: str) -> None:
        with self._loading:
            if name in self._loaded:
                self._loaded.move_to_end(name)
                return
            folder = self._paths.models / name
            if not folder.exists():
                uri = f"{self._container['ModelDataUrl'].rstrip('/')}/{target.lstrip('/')}"
                _unpack(self._client, uri, folder)
            request = f'{{"model_name": "{name}", "url": "{self._engine.inside(folder, self._paths.base)}"}}'.encode()
            answer = self.ask("POST", "/models", request, {"Content-Type": "application/json"})
            while answer.status == _NO_MEMORY and self._loaded:
                longest_unused, _ = self._loaded.popitem(last=False)
                self.ask("DELETE", f"/models/{longest_unused}")
                answer = self.ask("POST", "/models", request, {"Content-Type": "application/json"})
            if answer.status not in (200, _CONFLICT):
                raise JobError(f"Failed to load model {target}: {answer.body.decode(errors='replace')[:500]}")
            self._loaded[name] = None

    def _follow(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._log.write(line.replace(f"{self._paths.base}/", f"{INSIDE}/"))


def _claimed_port() -> int:
    with _claiming:
        while (port := free_port()) in _ports:
            pass
        _ports.add(port)
    return port


def _bring_model(client: object, container: Record, folder: Path) -> None:
    """The container's model in ``folder``; an empty folder where it has none."""
    source = container.get("ModelDataSource", {}).get("S3DataSource")
    uri = source["S3Uri"] if source else container.get("ModelDataUrl")
    if uri is None:
        folder.mkdir(parents=True)
    elif source and source.get("CompressionType") == "None":
        found = s3.below(client, uri)
        if not found:
            raise JobError(f"Could not find model data at {uri}.")
        s3.download(client, found, folder)
    else:
        _unpack(client, uri, folder)


def _unpack(client: object, uri: str, folder: Path) -> None:
    """The files of the archive at ``uri``."""
    bucket, key = s3.split(uri)
    with tempfile.NamedTemporaryFile(suffix=".tar.gz") as archive:
        try:
            for piece in s3.body(client, bucket, key).iter_chunks(1 << 20):
                archive.write(piece)
        except JobError as error:
            raise JobError(f"Could not find model data at {uri}.") from error
        archive.flush()
        folder.mkdir(parents=True)
        try:
            extract(Path(archive.name), folder)
        except ArchiveError as error:
            shutil.rmtree(folder)
            raise JobError(f"{uri} is not a model archive: {error}") from error
