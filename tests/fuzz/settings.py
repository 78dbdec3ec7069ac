"""What a job and a client say beside the data: hyperparameters, content types, the configuration of channels."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from algorithms import hyperparameters, registry
from algorithms.errors import HyperparameterError
from algorithms.interface import Algorithm
from container.paths import Paths
from container.settings import ConfigurationError
from container.training import config
from recordio import content_type
from recordio.errors import ContentTypeError
from tests.fuzz.engine import Target


def _content_types() -> Target:
    seeds = [
        b"text/csv; label_size=1", b'TEXT/CSV ;delimiter=";"; Charset=UTF8', b"text/csv;delimiter=\\t", b"libsvm",
        b"application/x-recordio-protobuf", b'a/b; c="d\\"e";f=g',
    ]  # fmt: skip

    def check(data: bytes) -> None:
        text = data.decode("latin-1")
        with contextlib.suppress(ContentTypeError):
            found = content_type.parse(text)
            for name in ("label_size", "delimiter", "recoding"):
                with contextlib.suppress(ContentTypeError):
                    getattr(found, name)
            again = content_type.parse(str(found))
            assert again == found, f"{found!r} is written as {str(found)!r}"

    return Target(seeds, check)


def _given(algorithm: type[Algorithm]) -> dict[str, str]:
    """A value for each hyperparameter: its default, or the first that it may have."""
    given = {}
    for name, field in hyperparameters.fields(algorithm.hyperparameters).items():
        value = field.default if field.default is not None else field.choices[0] if field.choices else 2
        given[name] = json.dumps(value) if isinstance(value, bool) else str(value)
    return given


def _hyperparameters(name: str) -> Target:
    algorithm = registry.find(name)

    def check(data: bytes) -> None:
        try:
            given = json.loads(data)
        except (ValueError, RecursionError):
            return
        if not isinstance(given, dict):
            return
        with contextlib.suppress(HyperparameterError):
            values = hyperparameters.parse(algorithm.hyperparameters, given)
            assert algorithm.memory(values) >= 0
            algorithm.feature_dim(values)
            hyperparameters.wire_values(values)

    given = _given(algorithm)
    few = {
        key: value for key, value in given.items() if hyperparameters.fields(algorithm.hyperparameters)[key].required
    }
    return Target([json.dumps(given).encode(), json.dumps(few).encode()], check)


def _job_files() -> Target:
    algorithm = registry.find("kmeans")
    channel = {"TrainingInputMode": "Pipe", "ContentType": "text/csv;label_size=0", "RecordWrapperType": "None"}
    seeds = [json.dumps({"train": channel}), json.dumps({"train": {**channel, "CompressionType": "Gzip"}, "test": {}})]
    seeds.append(json.dumps({"current_host": "algo-1", "hosts": ["algo-1"]}))
    seeds.append(json.dumps({"LocalPath": "/opt/ml/checkpoints", "S3Uri": "s3://bucket"}))
    seeds.append(json.dumps({"k": "2", "feature_dim": "3"}))
    folder = tempfile.TemporaryDirectory(prefix="fuzz")
    paths = Paths(Path(folder.name))
    files = (paths.input_data_config, paths.resource_config, paths.checkpoint_config, paths.hyperparameters)
    paths.input_data_config.parent.mkdir(parents=True)

    def check(data: bytes) -> None:
        _ = folder  # kept until the end
        for file in files:
            paths.hyperparameters.write_text('{"k": "2", "feature_dim": "3"}')
            file.write_bytes(data)
            with contextlib.suppress(ConfigurationError):
                config.read(paths, algorithm)
            file.unlink()

    return Target([seed.encode() for seed in seeds], check)


MAKERS: dict[str, Callable[[], Any]] = {
    "content-types": _content_types,
    "job-files": _job_files,
    **{f"hyperparameters-{name}": partial(_hyperparameters, name) for name in registry.ALGORITHMS},
}
