"""``oba export``: loads a model as a server does, and writes it in another format."""

from __future__ import annotations

import json
from pathlib import Path

import click

from algorithms import registry
from algorithms.checkpoints import written
from algorithms.errors import ExportError
from algorithms.interface import Model
from algorithms.loading import identified, unpacked
from container.serving import models
from container.settings import Settings


def run(model: Path, form: str, output: Path, algorithm: str | None) -> int:
    """Write ``output``, in one step where it is a file; 0.

    Raises:
        ExportError: this model has no such form, with the reason.
        ModelError: the model cannot be loaded.
        OSError: it cannot be written; what was there before is as it was.
    """
    with unpacked(model) as folder:
        found, loaded = models.load(folder, Settings(algorithm=algorithm or identified(folder, model).name))
        content = exported(found.name, loaded, form)
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.is_symlink() or (output.exists() and not output.is_file()):  # a device or pipe, such as /dev/stdout
        output.write_bytes(content)
    else:
        with written(output) as file:
            file.write(content)
    click.echo(f"Wrote {output}: {found.name}, {len(content):,} bytes")
    return 0


def exported(algorithm: str, model: Model, form: str) -> bytes:
    """The file's bytes. The functions that make it, ``to_onnx`` and ``to_json``, are in the ``export.py`` of the
    algorithm's folder, and so are reasons why there is none.

    Raises:
        ExportError: this model has no such form, with the reason.
    """
    module = registry.part(algorithm, "export")
    make = getattr(module, f"to_{form}", None)
    if make is None:
        reason = getattr(module, "WHY_NOT", {}).get(form, "there is no such form of it; docs/export.md lists them")
        raise ExportError(f"a model of {algorithm} cannot be exported to {form}: {reason}")
    made = make(model)
    if form == "onnx":
        return made.SerializeToString()
    return (json.dumps({"algorithm": algorithm, **made}) + "\n").encode()
