"""Training jobs with data in files of this machine (``file://`` addresses), each a process; for ``oba run``."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from algorithms import registry
from algorithms.archives import pack
from algorithms.interface import Algorithm
from container.paths import Paths
from container.settings import ConfigurationError
from recordio.quoting import quoted

_HOST = "algo-1"
_REPOSITORY = re.compile(r"(?:.*/)?(?:sagemaker-)?([\w-]+?)(?:[:@].*)?")
_INPUT_FIELDS = {
    "ContentType": "ContentType",
    "InputMode": "TrainingInputMode",
    "RecordWrapperType": "RecordWrapperType",
}
_CHANNEL = re.compile(r"[A-Za-z0-9\-_][A-Za-z0-9.\-_]{0,63}")
_TRAIN = "import sys; from container.__main__ import train; sys.exit(train())"


def algorithm_of(image: str) -> type[Algorithm] | None:
    """The algorithm of an image by its repository's name, whatever its account, region and tag.

    >>> algorithm_of("382416733822.dkr.ecr.us-east-1.amazonaws.com/kmeans:1").name
    'kmeans'
    >>> algorithm_of("somebody/trainer:latest") is None
    True
    """
    match = _REPOSITORY.fullmatch(image)
    return registry.find(match[1]) if match and match[1] in registry.ALGORITHMS else None


class FileTrainingJobs:
    """See ``local.tuning.service.TrainingJobs``.

    Args:
        folder: gets a folder like ``/opt/ml`` for each training job.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._requests: dict[str, Mapping[str, Any]] = {}
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._stopped: set[str] = set()

    def create(self, request: dict[str, Any], tuning_job_arn: str) -> None:
        """Begin one.

        Raises:
            ConfigurationError: the image is not one of ours, or its data do not lie in files.
        """
        name = request["TrainingJobName"]
        image = request["AlgorithmSpecification"].get("TrainingImage", "")
        algorithm = algorithm_of(image)
        if algorithm is None:
            known = ", ".join(registry.ALGORITHMS)
            raise ConfigurationError(
                f"TrainingImage '{image}' is none of this project's: its repository is not {known}"
            )
        paths = Paths((self._folder / name).absolute())
        _lay_out(paths, request)
        environment = {**os.environ, **request.get("Environment", {})}
        environment |= {"ALGORITHM": algorithm.name, "SAGEMAKER_BASE_DIR": str(paths.base), "TRAINING_JOB_NAME": name}
        self._requests[name] = request
        self._processes[name] = subprocess.Popen(
            [sys.executable, "-c", _TRAIN],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
            start_new_session=True,  # Ctrl-C reaches us alone, and we pass it on
        )

    def follow(self, name: str, line: Callable[[str], None]) -> tuple[str, str]:
        """Each line of the log, until the end; then the artifact is put where the request says."""
        paths = Paths((self._folder / name).absolute())
        with self._processes[name] as process, (paths.base / "log.txt").open("w", encoding="utf-8") as log:
            assert process.stdout is not None
            for text in process.stdout:
                log.write(text)
                line(text)
        if process.returncode == 0:
            _keep(paths, self._requests[name], name)
            return ("Stopped" if name in self._stopped else "Completed"), ""
        if name in self._stopped:
            return "Stopped", ""
        reason = paths.failure.read_text(errors="replace") if paths.failure.is_file() else ""
        return "Failed", reason or f"the process ended with exit code {process.returncode}"

    def stop(self, name: str) -> None:
        """SIGTERM: the model so far is kept."""
        self._stopped.add(name)
        with contextlib.suppress(ProcessLookupError):
            self._processes[name].terminate()


def _lay_out(paths: Paths, request: Mapping[str, Any]) -> None:
    """The folder of the contract: the configuration, and links to the data."""
    channels = {}
    for channel in request.get("InputDataConfig", []):
        name, source = channel["ChannelName"], channel["DataSource"].get("S3DataSource", {})
        if not _CHANNEL.fullmatch(name):
            raise ConfigurationError(f"channel {quoted(name)}: a name has letters, digits, '.', '-' and '_'")
        place = _local(source.get("S3Uri", ""), f"channel '{name}'")
        if not place.exists():
            raise ConfigurationError(f"channel '{name}': there is no {place}")
        folder = paths.channel(name)
        folder.parent.mkdir(parents=True, exist_ok=True)
        if place.is_dir():
            folder.symlink_to(place)
        else:
            folder.mkdir()
            (folder / place.name).symlink_to(place)
        channels[name] = {ours: channel[theirs] for theirs, ours in _INPUT_FIELDS.items() if channel.get(theirs)}
        channels[name].setdefault("TrainingInputMode", "File")
        if channels[name]["TrainingInputMode"] == "Pipe":
            raise ConfigurationError(f"channel '{name}': files are read in the modes File and FastFile, not Pipe")
    paths.config.mkdir(parents=True, exist_ok=True)
    host = {"current_host": _HOST, "hosts": [_HOST], "network_interface_name": "lo"}
    for file, content in (
        (paths.hyperparameters, request.get("HyperParameters", {})),
        (paths.input_data_config, channels),
        (paths.resource_config, host),
    ):
        file.write_text(json.dumps(content, indent=2))


def _local(address: str, what: str) -> Path:
    """The path of a file:// address. Raises ConfigurationError for another."""
    parts = urlsplit(address)
    if parts.scheme != "file":
        raise ConfigurationError(f"{what}: '{address}' is no file:// address; a server (oba up) is needed for others")
    return Path(unquote(parts.path))


def _keep(paths: Paths, request: Mapping[str, Any], name: str) -> None:
    """model.tar.gz below S3OutputPath, where that is a folder of this machine."""
    where = request.get("OutputDataConfig", {}).get("S3OutputPath", "")
    if not where.startswith("file://") or not paths.model.is_dir():
        return
    folder = _local(where, "S3OutputPath") / name / "output"
    folder.mkdir(parents=True, exist_ok=True)
    pack(paths.model, folder / "model.tar.gz")
