"""A training job as a process of its own: ``oba train``, followed by its log."""

from __future__ import annotations

import contextlib
import math
import re
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from local.metric_lines import TAB
from local.tuning.tuner import Ending, Status, Trial

LOG = "log.txt"
_GRACE_SECONDS = 120
"""Seconds between SIGTERM and SIGKILL, as on SageMaker."""
_LAST_WORDS = re.compile(r"^(?:Error: |\[.*(?:ERROR|CRITICAL).*?\] )(?:Customer Error: )?(.*)")


def run(command: Sequence[str], folder: Path, environment: Mapping[str, str], trial: Trial, pattern: str) -> Ending:
    """Run ``command``, whose output goes to ``folder``'s log, until it ends or the trial is to stop.

    Args:
        pattern: of the objective metric; one group, the value. The log's tabs stand as ``#011``, as in CloudWatch.
    """
    folder.mkdir(parents=True, exist_ok=True)
    objective, reason = re.compile(pattern), ""
    with (
        (folder / LOG).open("w", encoding="utf-8") as log,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=dict(environment),
            start_new_session=True,  # Ctrl-C reaches us alone, and we pass it on
        ) as process,
    ):
        watcher = threading.Thread(target=_end_when_asked, args=(process, trial), daemon=True)
        watcher.start()
        assert process.stdout is not None
        for line in process.stdout:
            log.write(line)
            log.flush()
            if match := objective.search(line.replace("\t", TAB)):
                with contextlib.suppress(ValueError):  # a line that only resembles the metric
                    trial.report(float(match[1].partition(TAB)[0]))
            if match := _LAST_WORDS.match(line):
                reason = match[1].strip()
        code = process.wait()
    watcher.join()
    if trial.stopping.is_set():
        return Ending(Status.STOPPED)
    if code:
        return Ending(Status.FAILED, reason or f"the process ended with exit code {code}; see {folder / LOG}")
    return Ending(Status.COMPLETED)


def _end_when_asked(process: subprocess.Popen[str], trial: Trial) -> None:
    """Send SIGTERM once the trial is to stop, and SIGKILL if that is not enough."""
    while process.poll() is None:
        if trial.stopping.wait(0.2):
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_SECONDS)
                return
            process.kill()
            return


def train_command(algorithm: str, arguments: Sequence[str], values: Mapping[str, str], output: Path) -> list[str]:
    """``oba train`` by this very interpreter, with all lines that the image prints."""
    settings = [f"{name}={value}" for name, value in values.items()]
    command = [sys.executable, "-m", "local", "train", algorithm, *settings, *arguments]
    return [*command, "--output", str(output), "--verbose"]


def threads(parallel: int, cores: int) -> dict[str, str]:
    """The variables that share the cores among jobs that run side by side."""
    each = str(max(1, math.floor(cores / parallel)))
    return dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), each)
