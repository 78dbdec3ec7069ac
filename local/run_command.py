"""The options of ``oba run``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from local.options import FOLDER, need


@click.command()
@click.argument("request", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--output", required=True, type=FOLDER, metavar="FOLDER", help="Gets the jobs' folders.")
def run(request: Path, output: Path) -> int:
    """Run a tuning job to its end, without a server.

    REQUEST is the JSON of CreateHyperParameterTuningJob, its data at file:// addresses. The same command goes on with
    one that was interrupted.
    """
    need("optuna", "local")

    from container.settings import ConfigurationError
    from local.tuning import request as tuning
    from local.tuning.file_jobs import FileTrainingJobs, algorithm_of

    try:
        document = json.loads(request.read_text())
        if not isinstance(document, dict) or not tuning.is_tuning(document):
            raise ConfigurationError(f"{request} is not a request of CreateHyperParameterTuningJob")
        jobs = FileTrainingJobs(output / "training-jobs")
        return tuning.run(document, output / "tuning-jobs", jobs, algorithm_of, tuning.ARN_PREFIX, click.echo)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{request} is no JSON: {error}") from error
    except KeyError as error:
        raise ConfigurationError(f"{request}: the field {error} is missing") from error
