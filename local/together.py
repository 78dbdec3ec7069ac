"""Several hosts on one machine: each runs the image's ``train`` in a folder of its own, at 127.0.0.2, 127.0.0.3 …"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from container.paths import Paths
from container.training.job import Output

FOLDER = "hosts"
"""The folder, in that of the job, of the hosts that do not lead."""


def run(paths: Paths, algorithm: str, size: int, output: Output) -> int:
    """Train the job in ``paths`` on ``size`` hosts, of which the leader works there; its exit code, which all have.

    The leader's lines go to ``output``, the others' to the file ``log`` in their folders.
    """
    names = sorted(f"127.0.0.{number + 2}" for number in range(size))
    (paths.config / paths.resource_config.name).write_text(_resources(names[0], names))
    with contextlib.ExitStack() as stack:
        others = [stack.enter_context(_other(paths, algorithm, name, names)) for name in names[1:]]
        leader = stack.enter_context(_start(paths, algorithm, size, subprocess.PIPE))
        with _passing_on_signals(leader):
            assert leader.stdout is not None
            for line in leader.stdout:
                output.write(line)
                output.flush()
            code = leader.wait()
            for process in others:
                process.wait()
    return code


def _resources(host: str, names: list[str]) -> str:
    return json.dumps({"current_host": host, "hosts": names, "network_interface_name": "lo"})


@contextlib.contextmanager
def _other(leader: Paths, algorithm: str, name: str, names: list[str]) -> Iterator[subprocess.Popen[str]]:
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
        yield _start(paths, algorithm, len(names), log.fileno())


def _start(paths: Paths, algorithm: str, size: int, output: int) -> subprocess.Popen[str]:
    threads = str(max(1, len(os.sched_getaffinity(0)) // size))
    variables = {"SAGEMAKER_BASE_DIR": str(paths.base), "ALGORITHM": algorithm}
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
