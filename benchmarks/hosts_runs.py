"""One job on one host or several of one core each: real ``train`` processes, each with its own /opt/ml."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.hosts_jobs import Job
from container.paths import Paths

ADDRESS = "127.9.9.{}"
_MET = "hosts are here"


class Run(NamedTuple):
    """What a job took and left.

    Attributes:
        seconds: by the clock. together: of these, since all hosts had met. cpu: processor seconds of the busiest host.
        log, model: the leader's. checkpoint: bytes of the newest checkpoint of a host; 0 without any.
    """

    seconds: float
    together: float
    cpu: float
    log: str
    model: Path
    checkpoint: int


def run(
    job: Job,
    data: Path,
    base: Path,
    size: int,
    *,
    sharded: bool,
    names: Sequence[str] = (),
    prefixes: Sequence[Sequence[str]] = (),
    checkpoints: bool = False,
    core: int = 0,
) -> Run:
    """Train on ``size`` hosts, with the files of the channel ``train`` in ``data``.

    Args:
        sharded: each host has its part of them, instead of all.
        names: addresses of the hosts, by default loopback ones. prefixes: what goes before their commands.
        checkpoints: each host keeps some.
        core: that of the first host; the others have the next ones.
    """
    names = names or [ADDRESS.format(100 + host) for host in range(size)]
    folders = [Paths(base / name) for name in names]
    started = met = time.perf_counter()
    processes = []
    for host, paths in enumerate(folders):
        _prepare(job, data, paths, names, host, sharded=sharded)
        if checkpoints:
            paths.checkpoints.mkdir()
        processes.append(_start(job, paths, core + host, prefixes[host] if prefixes else ()))
    log = folders[0].base / "log"
    while size > 1 and _MET not in log.read_text() and processes[0].poll() is None:
        time.sleep(0.01)
        met = time.perf_counter()
    ends = [_ended(process) for process in processes]
    over = time.perf_counter()
    assert not any(status for status, _ in ends), "\n".join((paths.base / "log").read_text() for paths in folders)
    newest = max((_newest(paths.checkpoints) for paths in folders), default=0)
    return Run(
        over - started, over - met, max(seconds for _, seconds in ends), log.read_text(), folders[0].model, newest
    )


def _newest(folder: Path) -> int:
    """Bytes of the checkpoint that was written last; those of models that it shares with others are no part of it."""
    files = [file for file in folder.glob("*") if file.is_file() and file.suffix not in (".part", ".lines")]
    return max(files, key=lambda file: file.stat().st_mtime).stat().st_size if files else 0


def _prepare(job: Job, data: Path, paths: Paths, names: Sequence[str], host: int, *, sharded: bool) -> None:
    """The folders and files of a host, as SageMaker makes them."""
    paths.config.mkdir(parents=True)
    paths.channel("train").mkdir(parents=True)
    for number, file in enumerate(sorted(data.iterdir())):
        if not sharded or number % len(names) == host:
            (paths.channel("train") / file.name).symlink_to(file)
    distribution = "ShardedByS3Key" if sharded else "FullyReplicated"
    channels = {"train": _channel(job.content_type, distribution)}
    for name, (content_type, files) in job.whole.items():
        channels[name] = _channel(content_type, "FullyReplicated")
        paths.channel(name).mkdir()
        for file_name, content in files.items():
            (paths.channel(name) / file_name).write_bytes(content)
    paths.hyperparameters.write_text(json.dumps({name: str(value) for name, value in job.hyperparameters.items()}))
    paths.input_data_config.write_text(json.dumps(channels))
    paths.resource_config.write_text(json.dumps({"current_host": names[host], "hosts": list(names)}))


def _channel(content_type: str, distribution: str) -> dict[str, str]:
    return {"TrainingInputMode": "File", "ContentType": content_type, "S3DistributionType": distribution}


def _start(job: Job, paths: Paths, core: int, prefix: Sequence[str]) -> subprocess.Popen[bytes]:
    """The host, bound to a core."""
    cores = sorted(os.sched_getaffinity(0))
    variables = {"SAGEMAKER_BASE_DIR": str(paths.base), "ALGORITHM": job.algorithm, "OMP_NUM_THREADS": "1"}
    with (paths.base / "log").open("w") as log:
        process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "container", "train"],
            env={**os.environ, **variables, "OPENBLAS_NUM_THREADS": "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    os.sched_setaffinity(process.pid, {cores[core % len(cores)]})
    return process


def _ended(process: subprocess.Popen[bytes]) -> tuple[int, float]:
    """The status, and the processor seconds, of a process and its children."""
    _, status, use = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)  # which it would wait for in vain
    return process.returncode, use.ru_utime + use.ru_stime
