"""/opt/ml in a temporary folder: what SageMaker puts there for a training job, and what the job leaves there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from container.paths import Paths
from tests.forks import JOBS, NETWORKS, OF_NETWORKS

ROOT = Path(__file__).resolve().parents[1]
_TRAIN = "from container import __main__ as commands; commands.train_command([])"


class OptMl:
    """The folders of one job, filled by chained calls and then run.

    Files are written in SageMaker's full form; ``thin=True`` writes what the SDK's local modes write.
    """

    def __init__(self, base: Path, *, thin: bool = False) -> None:
        self.paths = Paths(base)
        self._thin = thin
        self._channels: dict[str, dict[str, Any]] = {}
        self._writers: list[FifoWriter] = []
        for folder in (self.paths.config, self.paths.data, self.paths.model, self.paths.output_data):
            folder.mkdir(parents=True)
        hosts = {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "eth0"}
        self.write(self.paths.resource_config, hosts)

    def write(self, file: Path, content: object) -> OptMl:
        """A JSON file, or text as it is."""
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return self

    def hyperparameters(self, values: Mapping[str, Any] | None = None, **more: Any) -> OptMl:
        """The map of strings; numbers are written as the SDK does."""
        strings = {
            name: value if isinstance(value, str) else str(value) for name, value in {**(values or {}), **more}.items()
        }
        return self.write(self.paths.hyperparameters, strings)

    def channel(
        self, name: str, files: Mapping[str, bytes] | bytes, content_type: str | None = None, **fields: Any
    ) -> OptMl:
        """A channel in File mode; ``files`` by relative path, or the content of one file."""
        named = files if isinstance(files, Mapping) else {"part-0": files}
        self.paths.channel(name).mkdir(exist_ok=True)
        for path, content in named.items():
            file = self.paths.channel(name) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        return self._configure(name, "File", content_type, fields)

    def pipe(self, name: str, epochs: Sequence[bytes], content_type: str | None = None, **fields: Any) -> OptMl:
        """A channel in Pipe mode: each epoch's bytes are written to its own FIFO, which comes into being in time."""
        self._writers.append(FifoWriter(self.paths.data, name, epochs))
        return self._configure(name, "Pipe", content_type, fields)

    def _configure(self, name: str, mode: str, content_type: str | None, fields: Mapping[str, Any]) -> OptMl:
        entry: dict[str, Any] = {"TrainingInputMode": mode}
        if content_type is not None:
            entry["ContentType"] = content_type
        if not self._thin:
            entry |= {"S3DistributionType": "FullyReplicated", "RecordWrapperType": "None"}
        self._channels[name] = entry | fields
        return self.write(self.paths.input_data_config, self._channels)

    def start(self, algorithm: str | None, **environment: str) -> subprocess.Popen[str]:
        """The running ``train`` process. Its standard output and error come together."""
        variables = {**self._variables(algorithm), **environment}
        self._start_writers()
        return subprocess.Popen(
            [sys.executable, "-m", "container", "train"],
            cwd=ROOT,
            env=variables,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def _variables(self, algorithm: str | None) -> dict[str, str]:
        variables = {**os.environ, "SAGEMAKER_BASE_DIR": str(self.paths.base), "OMP_NUM_THREADS": "1"}
        variables.pop("ALGORITHM", None)
        return variables | ({"ALGORITHM": algorithm} if algorithm is not None else {})

    def _start_writers(self) -> None:
        for writer in self._writers:
            writer.start()

    def train(self, algorithm: str | None, *, timeout: float = 600, **environment: str) -> Outcome:
        """Run the job to its end."""
        with self.start(algorithm, **environment) as process:
            try:
                log, _ = process.communicate(timeout=timeout)
            finally:
                process.kill()
        return Outcome(process.returncode, log, self.paths)

    def train_in_fork(self, algorithm: str, *, timeout: float = 600) -> Outcome:
        """The same in a fork of a process that has imported what jobs do: not for how jobs start."""
        self._start_writers()
        with tempfile.TemporaryFile("w+") as log:
            forks = NETWORKS if algorithm in OF_NETWORKS else JOBS
            process = forks.start(_TRAIN, self._variables(algorithm), log)
            try:
                process.wait(timeout)
            finally:
                process.kill()
            log.seek(0)
            return Outcome(process.wait(), log.read(), self.paths)


class Outcome:
    """What a job left behind."""

    def __init__(self, code: int, log: str, paths: Paths) -> None:
        self.code = code
        self.log = log
        self.paths = paths

    @property
    def failure(self) -> str | None:
        """The text of the failure file; None where there is none."""
        return self.paths.failure.read_text() if self.paths.failure.exists() else None

    @property
    def model_files(self) -> list[str]:
        """All files in the model folder, hidden ones too."""
        return sorted(str(file.relative_to(self.paths.model)) for file in self.paths.model.rglob("*"))

    def metrics(self) -> list[dict[str, Any]]:
        """The objects of the ``#metrics`` lines."""
        lines = [line for line in self.log.splitlines() if line.startswith("#metrics ")]
        return [json.loads(line.removeprefix("#metrics ")) for line in lines]


class FifoWriter(threading.Thread):
    """Writes each epoch into ``<folder>/<channel>_<epoch>``; a reader that leaves early is no error."""

    def __init__(self, folder: Path, channel: str, epochs: Sequence[bytes]) -> None:
        super().__init__(daemon=True)
        self._folder, self._channel, self._epochs = folder, channel, epochs

    def run(self) -> None:
        for number, content in enumerate(self._epochs):
            fifo = self._folder / f"{self._channel}_{number}"
            os.mkfifo(fifo)
            try:
                fifo.write_bytes(content)
            except BrokenPipeError:
                continue
