"""The environment variables of the contract, read once into one frozen object."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from algorithms.errors import AlgorithmInputError
from recordio.limits import MOST_HOSTS
from recordio.quoting import quoted

MIB = 1024 * 1024
_FLAGS = {"true": True, "1": True, "false": False, "0": False}
_VERSION = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4})?(-[0-9]{1,4})?")
_STRATEGIES = {
    "single_record": "SINGLE_RECORD",
    "singlerecord": "SINGLE_RECORD",
    "multi_record": "MULTI_RECORD",
    "multirecord": "MULTI_RECORD",
}

T = TypeVar("T")


class ConfigurationError(AlgorithmInputError):
    """Environment variables or the job's JSON files cannot be used. ``problems`` has one sentence for each."""

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the environment says. Fields carry their variable's name in the comment beside them.

    Attributes:
        base_directory: root of the contract's folders.
        algorithm: SageMaker's name of the algorithm; None where the image holds several and none is chosen.
        max_payload: largest request body in bytes; None for no limit (``SAGEMAKER_MAX_PAYLOAD_IN_MB=0``).
        port, address: where the server listens; the address is that of a network interface.
        workers: number of server processes; None leaves it to the machine.
        timeout: seconds that a request may take.
        default_accept: the media type of an answer where the request states none; None for the algorithm's own.
        batch: the server answers batch transform jobs.
        local_batch: the batch transform job is one of the SageMaker SDK's local mode.
        batch_strategy: ``SINGLE_RECORD`` or ``MULTI_RECORD``, where the transform job says so.
        max_concurrent_transforms: requests that batch transform should send at a time; None leaves it to the machine.
        multi_model: models are loaded and unloaded while the server runs.
        models_memory: bytes that they may need together; None leaves it to the machine.
        inference_outputs: outputs selected instead of the model's columns.
        image_version: the version of SageMaker's image, as in ``(1, 2, 1)`` for 1.2-1, whose answers and model files
            are wanted; None for the newest.
        ensemble: several models in one folder answer together.
        structured_logs: the server writes its log as a JSON object a line.
        progress: the number of an open file that is told how far training has come; None for none.
        hosts_wait: seconds that the hosts of a job wait for each other at its start; None for as long as is usual.
        hosts_here: hosts of a job, this one among them, that share this machine's memory.
    """

    base_directory: Path = Path("/opt/ml")  # SAGEMAKER_BASE_DIR
    algorithm: str | None = None  # ALGORITHM
    port: int = 8080  # SAGEMAKER_BIND_TO_PORT
    address: str = "0.0.0.0"  # OBA_BIND_ADDRESS
    workers: int | None = None  # SAGEMAKER_MODEL_SERVER_WORKERS
    timeout: int = 60  # SAGEMAKER_MODEL_SERVER_TIMEOUT
    default_accept: str | None = None  # SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT
    batch: bool = False  # SAGEMAKER_BATCH
    local_batch: bool = False  # SAGEMAKER_BATCH, which local mode alone writes with a capital T
    batch_strategy: str | None = None  # SAGEMAKER_BATCH_STRATEGY
    max_concurrent_transforms: int | None = None  # SAGEMAKER_MAX_CONCURRENT_TRANSFORMS
    max_payload: int | None = 6 * MIB  # SAGEMAKER_MAX_PAYLOAD_IN_MB, SAGEMAKER_MAX_REQUEST_SIZE, MAX_CONTENT_LENGTH
    multi_model: bool = False  # SAGEMAKER_MULTI_MODEL
    models_memory: int | None = None  # SAGEMAKER_MULTI_MODEL_MEMORY_IN_MB
    inference_outputs: tuple[str, ...] = ()  # SAGEMAKER_INFERENCE_OUTPUT
    image_version: tuple[int, ...] | None = None  # SAGEMAKER_IMAGE_VERSION
    ensemble: bool = True  # SAGEMAKER_INFERENCE_ENSEMBLE
    structured_logs: bool = False  # OBA_LOG_FORMAT
    progress: int | None = None  # OBA_PROGRESS_FILE
    hosts_wait: int | None = None  # OBA_HOSTS_WAIT
    hosts_here: int = 1  # OBA_HOSTS_HERE

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Settings:
        """Settings from ``environ``. A variable that is empty counts as unset.

        Raises:
            ConfigurationError: naming every variable that cannot be used.
        """
        read = _Reader(environ)
        values = cls(
            base_directory=Path(read.text("SAGEMAKER_BASE_DIR") or "/opt/ml"),
            algorithm=read.algorithm(),
            port=read.integer("SAGEMAKER_BIND_TO_PORT", 1, 65535) or 8080,
            address=read.text("OBA_BIND_ADDRESS") or "0.0.0.0",
            workers=read.integer("SAGEMAKER_MODEL_SERVER_WORKERS", 1),
            timeout=read.integer("SAGEMAKER_MODEL_SERVER_TIMEOUT", 1) or 60,
            default_accept=read.lower_case("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT"),
            batch=read.flag("SAGEMAKER_BATCH", default=False),
            local_batch=read.text("SAGEMAKER_BATCH") == "True",
            batch_strategy=read.word("SAGEMAKER_BATCH_STRATEGY", _STRATEGIES, None, "SINGLE_RECORD or MULTI_RECORD"),
            max_concurrent_transforms=read.integer("SAGEMAKER_MAX_CONCURRENT_TRANSFORMS", 1),
            max_payload=read.payload(),
            multi_model=read.flag("SAGEMAKER_MULTI_MODEL", default=False),
            models_memory=(read.integer("SAGEMAKER_MULTI_MODEL_MEMORY_IN_MB", 1) or 0) * MIB or None,
            inference_outputs=read.listing("SAGEMAKER_INFERENCE_OUTPUT"),
            image_version=read.version("SAGEMAKER_IMAGE_VERSION"),
            ensemble=read.flag("SAGEMAKER_INFERENCE_ENSEMBLE", default=True),
            structured_logs=read.structured_logs(),
            progress=read.integer("OBA_PROGRESS_FILE", 3),
            hosts_wait=read.hosts_wait(),
            hosts_here=read.integer("OBA_HOSTS_HERE", 1, MOST_HOSTS) or 1,
        )
        if read.problems:
            raise ConfigurationError(*read.problems)
        return values


def job(environ: Mapping[str, str]) -> str | None:
    """What all hosts of a job have in common and no other job has: the token that whoever starts them has drawn, or the
    name by which SageMaker knows the job; None where nobody says. Needed before there may be other settings."""
    names = ("OBA_JOB_TOKEN", "TRAINING_JOB_ARN", "TRAINING_JOB_NAME")
    return next((text for name in names if (text := environ.get(name, "").strip())), None)


def hosts_wait(environ: Mapping[str, str]) -> int | None:
    """``Settings.hosts_wait``, which is needed before there may be others; None, too, where the value cannot be used:
    ``Settings`` tells of that."""
    return _Reader(environ).hosts_wait()


def structured_logs(environ: Mapping[str, str]) -> bool:
    """``Settings.structured_logs``, for the lines that say why there are no ``Settings``."""
    return _Reader(environ).structured_logs()


class _Reader:
    """Typed look-ups in ``environ`` that collect problems instead of raising at the first."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[str] = []

    def text(self, name: str) -> str | None:
        return self._environ.get(name, "").strip() or None

    def lower_case(self, name: str) -> str | None:
        return (self.text(name) or "").lower() or None

    def algorithm(self) -> str | None:
        """``all``, which the image of all algorithms sets, chooses none."""
        name = self.text("ALGORITHM")
        return None if name == "all" else name

    def integer(self, name: str, low: int, high: int | None = None) -> int | None:
        value = self.text(name)
        if value is None:
            return None
        number = int(value) if value.isdecimal() else None
        if number is None or number < low or (high is not None and number > high):
            expected = f"from {low} to {high}" if high is not None else f"of at least {low}"
            self._refuse(name, value, f"an integer {expected}")
            return None
        return number

    def word(self, name: str, meanings: Mapping[str, T], default: T, expected: str) -> T:
        """What the variable's value means, in capitals or not; ``default`` where it is unset or unknown."""
        value = self.lower_case(name)
        if value is not None and value not in meanings:
            self._refuse(name, self._environ[name].strip(), expected)
        return default if value is None else meanings.get(value, default)

    def flag(self, name: str, *, default: bool) -> bool:
        return self.word(name, _FLAGS, default, "true or false")

    def structured_logs(self) -> bool:
        return self.word("OBA_LOG_FORMAT", {"text": False, "json": True}, False, "text or json")

    def hosts_wait(self) -> int | None:
        return self.integer("OBA_HOSTS_WAIT", 1, 86_400)

    def listing(self, name: str) -> tuple[str, ...]:
        words = (self.lower_case(name) or "").split(",")
        return tuple(word.strip() for word in words if word.strip())

    def version(self, name: str) -> tuple[int, ...] | None:
        """The tag of an image, as its numbers: 1.2-1 is (1, 2, 1)."""
        value = self.text(name)
        if value is None:
            return None
        if not _VERSION.fullmatch(value):
            self._refuse(name, value, "the version of an image, as in 1.2-1 or 3.0-5")
            return None
        return tuple(int(number) for number in re.findall("[0-9]+", value))

    def payload(self) -> int | None:
        """Bytes. ``SAGEMAKER_MAX_PAYLOAD_IN_MB`` (0 lifts the limit) goes before the XGBoost container's variables."""
        mebibytes = self.integer("SAGEMAKER_MAX_PAYLOAD_IN_MB", 0)
        if mebibytes is not None:
            return mebibytes * MIB or None
        of_multi_model, of_one = (
            self.integer(name, 1) for name in ("SAGEMAKER_MAX_REQUEST_SIZE", "MAX_CONTENT_LENGTH")
        )
        return of_multi_model or of_one or 6 * MIB

    def _refuse(self, name: str, value: str, expected: str) -> None:
        self.problems.append(f"Environment variable {name}: {quoted(value)} is not {expected}")
