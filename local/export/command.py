"""The options of ``oba export``. What it does is in ``local.export.exporting``."""

from __future__ import annotations

from pathlib import Path

import click

from local.options import need, with_algorithm, with_model


@click.command(short_help="Write a model as ONNX, scikit-learn's estimator or JSON, for other programs.")
@with_model
@click.option("--to", "form", required=True, type=click.Choice(["onnx", "sklearn", "json"]), help="The format.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="File to write.  [default: model.onnx, model.pkl or model.json in this folder]",
)
@with_algorithm
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
