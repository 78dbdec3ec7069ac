"""The options of ``oba export``. What it does is in ``local.export.exporting``."""

from __future__ import annotations

from pathlib import Path

import click

from local.options import MODEL, need
from local.parameters import AlgorithmName


@click.command(short_help="Write a model as ONNX or JSON, for other programs.")
@click.option("--model", required=True, type=MODEL, metavar="PATH", help="The model's folder, or model.tar.gz.")
@click.option("--to", "form", required=True, type=click.Choice(["onnx", "json"]), help="The format.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="[default: model.onnx or model.json in this folder]",
)
@click.option("--algorithm", type=AlgorithmName(), metavar="NAME", help="By default the model's files decide.")
def export(model: Path, form: str, output: Path | None, algorithm: str | None) -> int:
    """Write a model for other programs, where its algorithm has such a form: docs/export.md lists them."""
    if form == "onnx":
        need("onnx", "export")

    from local.export import exporting

    return exporting.run(model, form, output or Path(f"model.{form}"), algorithm)
