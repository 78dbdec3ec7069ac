"""Several hosts on one machine: each runs the image's ``train`` in its own folder, at its own loopback address.

Each run has addresses that no other run on the machine has at the time, and a token that its hosts know each other by.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from container.paths import Paths
from container.settings import ConfigurationError
from container.training.job import Output
from container.training.meeting import PORT

FOLDER = "hosts"
"""The folder, in that of the job, of the hosts that do not lead."""
_ATTEMPTS = 20


def run(paths: Paths, algorithm: str, size: int, output: Output) -> int:
    """Train the job in ``paths`` on ``size`` hosts, of which the leader works there; its exit code, which all have.

    The leader's lines go to ``output``, the others' to the file ``log`` in their folders.
    """
    token = secrets.token_hex(16)
    with contextlib.ExitStack() as stack:
        names = stack.enter_context(_addresses(size))
        paths.resource_config.write_text(_resources(names[0], names))
        others = [stack.enter_context(_other(paths, algorithm, name, names, token)) for name in names[1:]]
        leader = stack.enter_context(_start(paths, algorithm, size, token, subprocess.PIPE))
        with _passing_on_signals(leader):
            assert leader.stdout is not None
            for line in leader.stdout:
                output.write(line)
                output.flush()
            code = leader.wait()
            for process in others:
                process.wait()
    return code


@contextlib.contextmanager
def _addresses(size: int) -> Iterator[list[str]]:
    """The sorted addresses of so many hosts: 256 of 127.0.0.0/8 are a run's, while it holds a UDP port of the first.

    Raises:
        ConfigurationError: no such block was found.
    """
    for _ in range(_ATTEMPTS):
        block = f"127.{1 + secrets.randbelow(254)}.{secrets.randbelow(256)}"
        names = sorted(f"{block}.{number + 2}" for number in range(size))
        with socket.socket(type=socket.SOCK_DGRAM) as held, socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the leader does
            try:
                held.bind((f"{block}.1", PORT))
                tried.bind((names[0], PORT))
            except OSError as error:
                reason = error.strerror
                continue
            tried.close()
            yield names
            return
    raise ConfigurationError(
        f"{size} hosts cannot train on this machine: port {PORT}, on which they meet, cannot be had on any of "
        f"{_ATTEMPTS} addresses such as {names[0]}: {reason}"
    )


def _resources(host: str, names: list[str]) -> str:
    return json.dumps({"current_host": host, "hosts": names, "network_interface_name": "lo"})


@contextlib.contextmanager
def _other(leader: Paths, algorithm: str, name: str, names: list[str], token: str) -> Iterator[subprocess.Popen[str]]:
    """A running host that does not lead, with the leader's data and configuration."""
    paths = Paths(leader.base / FOLDER / name)
    paths.config.mkdir(parents=True)
    paths.data.symlink_to(leader.data)
    if leader.checkpoints.exists():
        paths.checkpoints.symlink_to(leader.checkpoints.resolve())
    for file in (leader.hyperparameters, leader.input_data_config):
        (paths.config / file.name).write_bytes(file.read_bytes())
    paths.resource_config.write_text(_resources(name, names))
    with (paths.base / "log").open("w") as log:
        yield _start(paths, algorithm, len(names), token, log.fileno())


def _start(paths: Paths, algorithm: str, size: int, token: str, output: int) -> subprocess.Popen[str]:
    threads = str(max(1, len(os.sched_getaffinity(0)) // size))
    variables = {"SAGEMAKER_BASE_DIR": str(paths.base), "ALGORITHM": algorithm, "OBA_JOB_TOKEN": token}
    return subprocess.Popen(
        [sys.executable, "-m", "container", "train"],
        env={"OMP_NUM_THREADS": threads, **os.environ, **variables},
        cwd=Path(__file__).resolve().parents[1],
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # Ctrl-C comes from here, once
    )


@contextlib.contextmanager
def _passing_on_signals(leader: subprocess.Popen[str]) -> Iterator[None]:
    """SIGTERM and Ctrl-C go to the leader, which tells the others."""

    def pass_on(number: int, _: FrameType | None) -> None:
        leader.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
