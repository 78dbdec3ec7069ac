"""The options of ``oba run``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from local.options import FOLDER, MODEL, need
from local.parameters import Pair


@click.command(short_help="Run the job of one request to its end, without a server.")
@click.argument("request", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--data",
    multiple=True,
    type=Pair("PATH"),
    help="An S3 prefix of the request, and the files that stand for it: s3://bucket/train=data/",
)
@click.option("--model", type=MODEL, metavar="PATH", help="Of a transform job: a folder or model.tar.gz.")
@click.option("--output", required=True, type=FOLDER, metavar="FOLDER", help="Gets the jobs' folders.")
def run(request: Path, data: tuple[tuple[str, str], ...], model: Path | None, output: Path) -> int:
    """Run a training, transform or tuning job to its end, without a server.

    REQUEST is the JSON of CreateTrainingJob, CreateTransformJob or CreateHyperParameterTuningJob; its data may also be
    at file:// addresses. The same command goes on with a tuning job that was interrupted.
    """
    need("optuna", "local")
    need("moto", "local")

    from container.settings import ConfigurationError
    from local.tuning import request as tuning

    try:
        document = json.loads(request.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{request} is no JSON: {error}") from error
    from local.sagemaker import request_file, transform_file

    if transform_file.is_transform(document):
        return transform_file.run(request, document, data, output, model)
    if model is not None:
        raise ConfigurationError(f"--model is for a CreateTransformJob request, which {request} is not")
    if isinstance(document, dict) and tuning.is_tuning(document):
        return _tuning(request, document, data, output)

    return request_file.run(request, data, output)


def _tuning(request: Path, document: Mapping[str, Any], data: Sequence[tuple[str, str]], output: Path) -> int:
    from container.settings import ConfigurationError
    from local.sagemaker import request_data, request_file
    from local.tuning import request as tuning
    from local.tuning.file_jobs import FileTrainingJobs, algorithm_of
    from local.tuning.service import InUseError, TuningJobs

    kept, jobs = output / "tuning-jobs", FileTrainingJobs(output / "training-jobs")
    try:
        document = request_data.at_file_addresses(document, data)
        code = tuning.run(document, kept, jobs, algorithm_of, tuning.ARN_PREFIX, click.echo)
    except KeyError as error:
        raise ConfigurationError(f"{request}: the field {error} is missing") from error
    except InUseError as error:
        name = document["HyperParameterTuningJobName"]
        raise ConfigurationError(
            f"{error}, in {output}, and has ended: take another --output, another HyperParameterTuningJobName, or "
            f"remove {kept / name}"
        ) from error
    ended = TuningJobs(kept, jobs, algorithm_of, tuning.ARN_PREFIX).describe(document)
    if best := ended.get("BestTrainingJob"):
        click.echo(request_file.told(output / "training-jobs" / best["TrainingJobName"] / "model"), nl=False)
    return code
