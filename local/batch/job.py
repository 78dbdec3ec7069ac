"""One batch transform job: files are sent to a server that runs, or to one that is started for the job."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import replace
from pathlib import Path

from algorithms.loading import unpacked
from container import logs
from container.settings import ConfigurationError
from local import names
from local.batch import transform
from local.batch.client import Client, serving
from local.batch.options import Options
from local.batch.processing import Processing


def run(options: Options, *, model: Path | None, url: str | None, algorithm: str | None, quiet: bool = False) -> int:
    """Transform all files: 0 where all were transformed, 1 where some were not.

    Args:
        model: a folder or model.tar.gz, for which a server is started; None where there is a ``url``.
        url: of a server that runs already.
        quiet: the server that is started logs warnings and errors alone.

    Raises:
        ConfigurationError: an option, or options together, cannot be used.
        ModelError: the server did not start.
    """
    logs.configure(stream=sys.stderr)
    options.check()
    processing, files = Processing(options), transform.sources(options)
    with contextlib.ExitStack() as stack:
        if model is not None:
            if options.header:
                options = replace(options, features=_features(model))
            url = stack.enter_context(serving(model, algorithm, options.environment(), quiet=quiet))
        client = Client(url or "", retries=options.retries, timeout=options.timeout)
        stack.enter_context(contextlib.closing(client))
        if not client.healthy():
            raise ConfigurationError(f"--url {url}: GET /ping does not answer 200")
        completed = options.completed(client.execution_parameters())
        return min(1, transform.run(files, completed, processing, client))


def _features(model: Path) -> list[str] | None:
    """The names of the features that the model was trained on; None where they are not known."""
    with unpacked(model) as folder:
        return names.of_features(model, folder)
