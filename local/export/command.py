"""The options of ``oba export``. What it does is in ``local.export.exporting``."""

from __future__ import annotations

from pathlib import Path

import click

from local.options import MODEL, need
from local.parameters import AlgorithmName


@click.command(short_help="Write a model as ONNX, scikit-learn's estimator or JSON, for other programs.")
@click.option(
    "--model", required=True, type=MODEL, metavar="PATH", help="The folder of the model or of its job, or model.tar.gz."
)
@click.option("--to", "form", required=True, type=click.Choice(["onnx", "sklearn", "json"]), help="The format.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="[default: model.onnx, model.pkl or model.json in this folder]",
)
@click.option("--algorithm", type=AlgorithmName(), metavar="NAME", help="By default the model's files decide.")
def export(model: Path, form: str, output: Path | None, algorithm: str | None) -> int:
    """Write a model for other programs, where its algorithm has such a form: docs/export.md lists them.

    sklearn is a pickle of an estimator of scikit-learn (or XGBoost), which opens where this project is not installed.
    """
    if form == "onnx":
        need("onnx", "export")
    if form == "sklearn":
        need("sklearn", "estimators")

    from local.export import exporting

    return exporting.run(model, form, output, algorithm)
