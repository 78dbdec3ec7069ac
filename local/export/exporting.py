"""``oba export``: loads a model as a server does, and writes it in another format."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from algorithms import exporting
from algorithms.checkpoints import written
from algorithms.interface import Model
from algorithms.loading import identified, unpacked
from container.serving import models
from container.settings import Settings
from local.names import of_features

SUFFIXES = {"onnx": "onnx", "json": "json", "sklearn": "pkl"}
_PICKLE = 5
"""The pickle protocol of Python 3.8 and later."""


def run(model: Path, form: str, output: Path | None, algorithm: str | None) -> int:
    """Write ``output``, in one step where it is a file; 0. By default it is called model, in the working directory.

    Raises:
        ExportError: this model has no such form, with the reason.
        ModelError: the model cannot be loaded.
        OSError: it cannot be written; what was there before is as it was.
    """
    output = output or Path(f"model.{SUFFIXES[form]}")
    with unpacked(model) as folder:
        found, loaded = models.load(folder, Settings(algorithm=algorithm or identified(folder, model).name))
        made = exporting.exported(found.name, loaded, form, of_features(model, folder, loaded.feature_dim))
        content = _written(found.name, made, form)
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.is_symlink() or (output.exists() and not output.is_file()):  # a device or pipe, such as /dev/stdout
        output.write_bytes(content)
    else:
        with written(output) as file:
            file.write(content)
    kind = f" as {type(made).__name__}" if form == "sklearn" else ""
    click.echo(f"Wrote {output}: {found.name}{kind}, {len(content):,} bytes")
    return 0


def exported(algorithm: str, model: Model, form: str, names: Sequence[str] | None = None) -> bytes:
    """The file's bytes. See ``algorithms.exporting``.

    Raises:
        ExportError: this model has no such form, with the reason.
    """
    return _written(algorithm, exporting.exported(algorithm, model, form, names), form)


def _written(algorithm: str, made: Any, form: str) -> bytes:
    if form == "onnx":
        return made.SerializeToString()
    if form == "sklearn":
        return pickle.dumps(made, _PICKLE)
    return (json.dumps({"algorithm": algorithm, **made}) + "\n").encode()
