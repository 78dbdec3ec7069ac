"""From a model folder to a model that answers requests."""

from __future__ import annotations

from pathlib import Path

from algorithms import registry
from algorithms.errors import ModelError
from algorithms.interface import Algorithm, Model
from algorithms.loading import check_files, model_within, recognised
from container.settings import ConfigurationError, Settings


def load(directory: Path, settings: Settings, place: Path | None = None) -> tuple[type[Algorithm], Model]:
    """The algorithm and the model of a folder; ``place`` is what messages call it, where its own path is of no use.

    Raises:
        ConfigurationError: the algorithm is unknown, is not in this image, or does not do what the settings ask for.
        ModelError: the folder is missing, empty or corrupt, or holds a model of another algorithm.
    """
    try:
        if not directory.is_dir() or not any(directory.iterdir()):
            raise ModelError(f"There is no model to serve: {place or directory} is missing or empty")
        check_files(directory)
        algorithm = find(settings.algorithm, directory, place)
        check(algorithm, settings)
        return algorithm, algorithm.load(directory) if settings.ensemble else algorithm.load_first(directory)
    except OSError as error:  # no right to read it, a disk that fails
        raise ModelError(f"the model in {place or directory} cannot be read: {error}") from error


def find(name: str | None, directory: Path, place: Path | None = None) -> type[Algorithm]:
    """The algorithm called ``name``, else the first that recognises the folder as its own; ``place``: see ``load``.

    Raises:
        ModelError: none of this image's recognises it.
        ConfigurationError: there is no algorithm called ``name``.
    """
    if name is not None:
        return named(name)
    if (algorithm := recognised(directory)) is not None:
        return algorithm
    files = ", ".join(sorted(file.name for file in directory.iterdir())[:10])
    raise ModelError(
        f"No algorithm that is installed here recognises the files in {place or directory} ({files}) as its model; if "
        "they are one, name its algorithm: the environment variable ALGORITHM of an image, --algorithm of a command"
        f"{model_within(directory)}"
    )


def named(name: str) -> type[Algorithm]:
    """The algorithm called ``name``, which ``ALGORITHM`` says.

    Raises:
        ConfigurationError: there is none of that name, or it needs a package that is not installed.
    """
    try:
        return registry.find(name)
    except LookupError as error:
        raise ConfigurationError(f"Environment variable ALGORITHM: {error}") from error


def check(algorithm: type[Algorithm], settings: Settings) -> None:
    """Refuse settings that ``algorithm`` cannot follow, all of them together.

    Raises:
        ConfigurationError: naming each of them.
    """
    serving, problems = algorithm.serving, []
    if settings.default_accept is not None and settings.default_accept not in serving.answers:
        problems.append(
            f"Environment variable SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT: '{settings.default_accept}' is not one of "
            f"{', '.join(serving.answers)}"
        )
    if settings.inference_outputs and not serving.outputs:
        problems.append(f"Environment variable SAGEMAKER_INFERENCE_OUTPUT: {algorithm.name} has no selectable outputs")
    if problems:
        raise ConfigurationError(*problems)
