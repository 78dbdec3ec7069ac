"""``oba predict`` and ``oba serve``: answers of a model that lies in a folder or in a model.tar.gz.

What needs NumPy is imported in the functions: ``serve`` sets the number of BLAS threads before NumPy is there.
"""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import click

from container.paths import Paths
from container.settings import ConfigurationError, Settings
from local import inputs, remote
from local.columns import NAME_THE_LABEL, Columns

FAILURE = 1


def serve(model: Path, algorithm: str | None, host: str, port: int) -> int:
    """Answer requests over HTTP at this address until told to stop; the exit code of ``serve``. What has no option is
    taken from the image's environment variables, such as ``OBA_LOG_FORMAT``.

    Raises:
        ConfigurationError: one of them cannot be used.
    """
    from container.serving import server

    with tempfile.TemporaryDirectory() as base:
        paths = Paths(Path(base))
        paths.model.symlink_to(model.resolve())
        settings = replace(
            Settings.from_environment(os.environ),
            base_directory=paths.base,
            algorithm=algorithm,
            address=host,
            port=port,
            multi_model=False,
        )
        return server.run(paths, settings)


def predict(
    model: Path,
    text: str,
    algorithm: str | None,
    content_type: str | None,
    accept: str | None,
    columns: Columns,
) -> int:
    """Print the answer to a request whose body is the file that ``text`` names. 0 if it is a prediction, 1 if an error.

    Raises:
        ConfigurationError: there is no such file, or its name does not tell the format.
    """
    from algorithms.interface import CSV, PARQUET, ROWS
    from algorithms.loading import identified, unpacked
    from container import logs
    from container.serving import media, models
    from container.serving.request import Endpoint, Request, respond
    from container.serving.responses import NotAcceptableError
    from local import names, tables
    from recordio.content_type import parse

    logs.configure(stream=sys.stderr)  # standard output is for the answer
    body = inputs.content(text)
    with unpacked(model) as folder:
        settings = Settings(algorithm=algorithm or identified(folder, model).name, max_payload=None)
        found, loaded = models.load(folder, settings)
        named = names.of_features(model, folder, loaded.feature_dim) if found.serving.takes == ROWS else None
    stated = content_type or _media_type(text, found.serving.accepts)
    width = len(named) if loaded.feature_dim is None and named else loaded.feature_dim
    try:  # where SageMaker's servers ignore an Accept and answer in their default, this command refuses it
        media.negotiate(accept, found.serving.answers, found.serving.answers[0])
    except NotAcceptableError as error:
        raise ConfigurationError(f"--accept: {error}") from error
    body, media_type = tables.request(body, stated, columns, found.serving, f"--input {text}", width, named)
    answer = respond(Request(body, media_type, accept), Endpoint.of(found, loaded, settings))
    if answer.status == HTTPStatus.OK:
        _print(answer.body)
        return 0
    click.echo(f"Error: {answer.body.decode().strip()}", err=True)
    of_rows = answer.status == HTTPStatus.BAD_REQUEST and parse(stated).media_type in (CSV, PARQUET)
    if of_rows and loaded.feature_dim is None and columns.label is None:
        click.echo(f"Hint: {NAME_THE_LABEL}", err=True)  # of XGBoost, which alone knows how many it takes
    return FAILURE


def _print(body: bytes) -> None:
    sys.stdout.buffer.write(body)
    if not body.endswith(b"\n") and sys.stdout.isatty():
        sys.stdout.buffer.write(b"\n")  # or the prompt would stand behind the answer
    sys.stdout.flush()


def _media_type(text: str, accepts: tuple[str, ...]) -> str:
    if text == inputs.STANDARD_INPUT:
        raise ConfigurationError(f"standard input has no suffix to tell the format; use --content-type {accepts[0]}")
    if remote.is_address(text):
        return inputs.media_type_of_names([Path(urlsplit(text).path)], accepts, "--input")
    return inputs.media_type(inputs.found(text, "--input"), accepts, "--input")
