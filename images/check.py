"""Train and serve in a built image as SageMaker starts it: ``python images/check.py ALGORITHM IMAGE``.

Every small configuration that the algorithm declares is trained in the image, and served there. Each of its requests
must be answered there as this checkout answers it with the same model. Where the image cannot train, for it was made to
serve alone, it must say so, and this checkout trains.

As a user unknown to the image, who may write to /opt/ml and /tmp alone, then as root, as SageMaker does.
With a Docker engine by ``docker run``, else with buildah in a plain chroot. /opt/ml is a folder mounted from here.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from algorithms import registry  # noqa: E402 - they need the path above
from algorithms.interface import JSON, Algorithm, Configuration  # noqa: E402
from container.serving.request import Endpoint, Request, respond  # noqa: E402
from container.settings import Settings  # noqa: E402
from tests.algorithms import samples  # noqa: E402

START_SECONDS = 300  # of another processor, by emulation on a busy machine: 45
ROOT_USER, OTHER_USER = "0:0", "12345:12345"
ONLY_SERVES = "not installed here"
CLOSE = 1e-4
"""Of numbers that two machines compute from the same model."""
Launch: TypeAlias = Callable[[Path, Mapping[str, str], Sequence[str]], list[str]]


# ---- running an image -----------------------------------------------------------------------------------------------


def has_engine() -> bool:
    """Whether a Docker engine answers."""
    return bool(shutil.which("docker")) and subprocess.run(["docker", "info"], capture_output=True).returncode == 0


def require(image: str) -> None:
    """End with a sentence where there is no such image."""
    engine = "docker" if has_engine() else "buildah"
    if subprocess.run([engine, "inspect", "--type", "image", image], capture_output=True).returncode != 0:
        raise SystemExit(f"there is no image {image}; make image builds it, with the same settings")


def print_sizes(image: str) -> None:
    """How large the image is, and how large it is compressed as registries keep and send it."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "image.tar"
        if has_engine():
            output("docker", "save", "--output", str(archive), image)
        else:
            output("buildah", "push", "--quiet", image, f"docker-archive:{archive}")
        packer, packed = zlib.compressobj(wbits=31), 0
        with archive.open("rb") as stream:
            while block := stream.read(1 << 20):
                packed += len(packer.compress(block))
        packed += len(packer.flush())
        print(f"{image}: {archive.stat().st_size / 1e6:.0f} MB, compressed {packed / 1e6:.0f} MB")


@contextmanager
def launcher(image: str, user: str = ROOT_USER) -> Iterator[Launch]:
    """A function from (/opt/ml, environment, command) to the command line that runs it in the image as ``user``.

    Another user than root gets a read-only file system from Docker; in buildah's chroot the rights of the files see to
    that: the image has no file or folder besides /tmp that such a user may write to.
    """
    if has_engine():
        yield lambda base, variables, command: [
            *("docker", "run", "--rm", "--network=host", f"--volume={base}:/opt/ml", f"--user={user}"),
            *(() if user == ROOT_USER else ("--read-only", "--tmpfs=/tmp")),
            *(f"--env={name}={value}" for name, value in variables.items()),
            *(image, *command),
        ]
        return
    container = output("buildah", "from", image)
    default = json.loads(output("buildah", "inspect", container))["OCIv1"]["config"]["Cmd"]
    try:
        yield lambda base, variables, command: [
            *("buildah", "run", "--isolation=chroot", f"--volume={base}:/opt/ml", f"--user={user}"),
            *(f"--env={name}={value}" for name, value in variables.items()),
            *(container, "--", *(command or default)),
        ]
    finally:
        subprocess.run(["buildah", "rm", container], check=True, stdout=subprocess.DEVNULL)


def output(*command: str) -> str:
    """What a command prints, without the last newline."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def check(algorithm: type[Algorithm], configuration: Configuration, launch: Launch, named: bool) -> bool:
    """Train and serve a configuration in an image, which is told the algorithm where it is not ``named`` after it.
    Returns whether the image trains.

    Raises:
        AssertionError, SystemExit: something is not as it should be.
    """
    what, variables = f"{algorithm.name} {configuration.name}", {} if named else {"ALGORITHM": algorithm.name}
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        lay_out(base, algorithm, configuration)
        started = time.perf_counter()
        done = subprocess.run(launch(base, variables, []), capture_output=True, text=True)  # no command: it trains
        trains = ONLY_SERVES not in done.stdout + done.stderr
        if not trains:
            print(f"{what}: the image only serves; training here")
            done = train_here(base, algorithm)
        seconds = time.perf_counter() - started
        assert done.returncode == 0, done.stdout + done.stderr
        print(f"{what}: trained in {seconds:.1f} s, {', '.join(path.name for path in (base / 'model').iterdir())}")
        endpoint = Endpoint.of(algorithm, algorithm.load(base / "model"), Settings.from_environment({}))
        requests = samples.requests(algorithm, configuration)
        with server(launch, base, variables) as (address, started_in):
            answers = [respond(Request(body, content_type, JSON), endpoint) for content_type, body in requests]
            assert any(answer.status == HTTPStatus.OK for answer in answers)
            for (content_type, body), expected in zip(requests, answers, strict=True):
                status, answer = ask(address, content_type, body)
                assert status == expected.status, (content_type, status, answer)
                assert alike(parsed(expected.body), parsed(answer)), (content_type, expected.body, answer)
        print(f"{what}: healthy after {started_in:.1f} s, {len(requests)} requests answered as here")
    return trains


def train_here(base: Path, algorithm: type[Algorithm]) -> subprocess.CompletedProcess[str]:
    """Train by this checkout what lies in a folder like /opt/ml."""
    (base / "output" / "failure").unlink(missing_ok=True)
    variables = os.environ | {"SAGEMAKER_BASE_DIR": str(base), "ALGORITHM": algorithm.name}
    return subprocess.run(
        [sys.executable, "-m", "container", "train"], cwd=ROOT, env=variables, capture_output=True, text=True
    )


def alike(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same, numbers nearly so."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, int | float) and isinstance(other, int | float):
        return bool(np.isclose(one, other, rtol=CLOSE, atol=CLOSE))
    return bool(one == other)


def lay_out(base: Path, algorithm: type[Algorithm], configuration: Configuration) -> None:
    """The folders and files of SageMaker's /opt/ml before training; any user may write there."""
    files = samples.files(algorithm, configuration)
    for name in ("input/config", "model", "output", *(f"input/data/{channel}" for channel in files)):
        (base / name).mkdir(parents=True)
    for folder in (base, *base.rglob("*")):
        folder.chmod(0o777)
    channels = {}
    for channel, (content_type, contents) in files.items():
        channels[channel] = {"TrainingInputMode": "File", "ContentType": content_type}
        for name, content in contents.items():
            (base / "input/data" / channel / name).write_bytes(content)
    config = base / "input/config"
    (config / "hyperparameters.json").write_text(json.dumps(dict(configuration.hyperparameters)))
    (config / "inputdataconfig.json").write_text(json.dumps(channels))
    (config / "resourceconfig.json").write_text(json.dumps({"current_host": "algo-1", "hosts": ["algo-1"]}))


@contextmanager
def server(launch: Launch, base: Path, variables: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    """A server in the image: its address, and after how many seconds it said that it is healthy."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = launch(base, {**variables, "SAGEMAKER_BIND_TO_PORT": str(port)}, ["serve"])
    started = time.perf_counter()
    log = base / "serve.log"
    with log.open("w") as stream:
        process = subprocess.Popen(command, start_new_session=True, stdout=stream, stderr=stream)
    try:
        while not healthy(address):
            if process.poll() is not None or time.perf_counter() - started > START_SECONDS:
                raise SystemExit(f"serve did not start: {log.read_text()}")
            time.sleep(0.02)
        yield address, time.perf_counter() - started
    finally:
        with suppress(ProcessLookupError):  # of a server that did not start, which the error above tells
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def healthy(address: str) -> bool:
    """Whether GET /ping answers 200."""
    try:
        with urllib.request.urlopen(f"{address}/ping", timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def ask(address: str, content_type: str, body: bytes) -> tuple[int, bytes]:
    """Status and body of the answer to a request."""
    headers = {"Content-Type": content_type, "Accept": JSON}
    request = urllib.request.Request(f"{address}/invocations", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read()


def parsed(body: bytes) -> Any:
    """JSON, or the text of a refusal."""
    try:
        return json.loads(body)
    except ValueError:
        return body.decode()


def main(name: str, image: str) -> None:
    """Check the image of one algorithm, or all of them in the image of all."""
    require(image)
    print_sizes(image)
    is_of_one = name != "all"
    with launcher(image, OTHER_USER) as launch:
        first = registry.find(name if is_of_one else next(iter(registry.ALGORITHMS)))
        trains = check(first, first.configurations[0], launch, is_of_one)
        print(f"that was as user {OTHER_USER}, who may write to /opt/ml and /tmp alone; now as root")
    with launcher(image) as launch, tempfile.TemporaryDirectory() as folder:
        look = "from xgboost import collective, tracker; print('hosts')"  # by which several hosts are connected
        assert not trains or output(*launch(Path(folder), {}, ["python3", "-c", look])) == "hosts"
        for one in registry.ALGORITHMS if not is_of_one else [name]:
            algorithm = registry.find(one)
            for configuration in algorithm.configurations:
                check(algorithm, configuration, launch, is_of_one)


if __name__ == "__main__":
    main(*sys.argv[1:])
