"""Several hosts on one machine: each runs the image's ``train`` in its own folder, at its own loopback address.

Each run has addresses that no other run on the machine has at the same time, and a token by which its hosts know each
other.
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
import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from container.paths import Paths
from container.settings import ConfigurationError
from container.signals import STOPPING
from container.training import failure
from container.training.meeting import PORT
from container.training.output import Output
from container.training.trainee import end_with
from local.lost_hosts import LostHosts, lost_leader

FOLDER = "hosts"
"""The folder of the other hosts' folders, in that of the job."""
_ATTEMPTS = 20
_LOOK_SECONDS = 0.2


def run(paths: Paths, algorithm: str, size: int, output: Output) -> int:
    """Train the job in ``paths``, where the leader works, on ``size`` hosts; the exit code, the same of all hosts.

    The leader's lines and progress go to ``output``, the others' lines to the file ``log`` in their folders.
    """
    token = secrets.token_hex(16)
    with contextlib.ExitStack() as stack:
        names = stack.enter_context(addresses(size))
        paths.resource_config.write_text(_resources(names[0], names))
        started = stack.enter_context(_Started())
        read, written = os.pipe()
        told = stack.enter_context(os.fdopen(read))
        with os.fdopen(written, "w"):  # the leader has it open: it ends with the leader
            begun = _start(paths, algorithm, size, token, subprocess.PIPE, progress=written)
        leader = started.take(stack.enter_context(begun))
        for name in names[1:]:
            started.take(stack.enter_context(_other(paths, algorithm, name, names, token)))
        others = [Paths(paths.base / FOLDER / name) for name in names[1:]]
        lost = LostHosts(names, [one.failure for one in (paths, *others)], token)
        watch = threading.Thread(target=_watch, args=(started.processes, lost))
        watch.start()
        assert leader.stdout is not None
        lock = threading.Lock()
        bar = threading.Thread(target=_show, args=(told, output, lock))
        bar.start()
        for line in leader.stdout:
            with lock:
                output.write(line)
                output.flush()
        bar.join()
        codes = [process.wait() for process in started.processes]
        watch.join()
    if codes[0] < 0:
        text = lost_leader(names[0], codes[0])
        failure.write(text, paths.failure)
        output.write(f"[ERROR] {text}")
        return failure.EXIT_CODE
    return codes[0]


def _watch(processes: Sequence[subprocess.Popen[str]], lost: LostHosts) -> None:
    """See that no host waits for one that has ended, until all have ended."""
    while None in (codes := [process.poll() for process in processes]):
        if lost.look(codes):
            for process in processes:
                process.kill()
        time.sleep(_LOOK_SECONDS)


@contextlib.contextmanager
def addresses(size: int) -> Iterator[list[str]]:
    """The sorted addresses of ``size`` hosts. A run owns 256 addresses of 127.0.0.0/8 while it holds a UDP port of the
    first.

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


def _show(told: TextIO, output: Output, lock: threading.Lock) -> None:
    """Show the progress that the leader reports (``container.training.job.ToldOutput``), until it ends."""
    for line in told:
        kind, *counts = line.split()
        with lock:
            if kind == "rows":
                output.rows(int(counts[0]))
            else:
                output.steps(int(counts[0]), int(counts[1]) or None)


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


def _start(
    paths: Paths, algorithm: str, size: int, token: str, output: int, progress: int | None = None
) -> subprocess.Popen[str]:
    threads = str(max(1, len(os.sched_getaffinity(0)) // size))
    variables = {"SAGEMAKER_BASE_DIR": str(paths.base), "ALGORITHM": algorithm, "OBA_JOB_TOKEN": token}
    variables["OBA_HOSTS_HERE"] = str(size)
    variables["SAGEMAKER_IMAGE_VERSION"] = ""  # models are written as on one host, in the newest format
    if progress is not None:
        variables["OBA_PROGRESS_FILE"] = str(progress)
    return subprocess.Popen(
        [sys.executable, "-m", "container", "train"],
        env={"OMP_NUM_THREADS": threads, **os.environ, **variables},
        cwd=Path(__file__).resolve().parents[1],
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        pass_fds=() if progress is None else (progress,),
        start_new_session=True,  # Ctrl-C comes from here, once
        preexec_fn=partial(_begin, os.getpid()),
    )


def _begin(parent: int) -> None:
    """Prepare a host's process before it starts: it ends with this process, and signals wait until it handles them."""
    end_with(parent)
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)


class _Started:
    """The hosts that were started. SIGTERM and Ctrl-C are passed on to all of them, the leader first."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[str]] = []
        self._came: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Started:
        self._before = {number: signal.signal(number, self._pass_on) for number in STOPPING}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def take(self, process: subprocess.Popen[str]) -> subprocess.Popen[str]:
        """Add a host, and pass the signals on to it that came before it."""
        self.processes.append(process)
        if self._came is not None:
            process.send_signal(self._came)
        return process

    def _pass_on(self, number: int, _: FrameType | None) -> None:
        self._came = number
        for process in self.processes:
            process.send_signal(number)
