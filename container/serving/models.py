"""From a model folder to a model that answers requests."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from algorithms import registry
from algorithms.errors import ModelError
from algorithms.interface import Algorithm, Model
from container.archives import ArchiveError, extract
from container.settings import ConfigurationError, Settings
from recordio.limits import MOST_MEMBERS


def load(directory: Path, settings: Settings) -> tuple[type[Algorithm], Model]:
    """The algorithm and the model of a folder.

    Raises:
        ConfigurationError: the algorithm is unknown, is not in this image, or does not do what the settings ask for.
        ModelError: the folder is missing, empty or corrupt, or holds a model of another algorithm.
    """
    try:
        if not directory.is_dir() or not any(directory.iterdir()):
            raise ModelError(f"There is no model to serve: the folder {directory} is missing or empty")
        check_files(directory)
        algorithm = find(settings.algorithm, directory)
        check(algorithm, settings)
        return algorithm, algorithm.load(directory) if settings.ensemble else algorithm.load_first(directory)
    except OSError as error:  # no right to read it, a disk that fails
        raise ModelError(f"the model in {directory} cannot be read: {error}") from error


@contextmanager
def unpacked(directory: Path) -> Iterator[Path]:
    """The model folder itself, or where it holds, or is, nothing but a ``model.tar.gz``: a folder with its content.

    SageMaker unpacks the artifact before it starts a server; elsewhere that is easily forgotten.

    Raises:
        ModelError: the archive is damaged, or holds what no artifact does.
    """
    archive = _archive(directory)
    if archive is None:
        yield directory
        return
    with tempfile.TemporaryDirectory(prefix="model-") as folder:
        try:
            extract(archive, Path(folder))
        except ArchiveError as error:
            raise ModelError(f"'{archive.name}' cannot be unpacked: {error}") from error
        yield Path(folder)


def _archive(directory: Path) -> Path | None:
    if directory.is_file():
        return directory
    files = [file for file in directory.iterdir() if not file.name.startswith(".")] if directory.is_dir() else []
    return files[0] if len(files) == 1 and files[0].name.endswith((".tar.gz", ".tgz", ".tar")) else None


def check_files(directory: Path, root: Path | None = None) -> None:
    """Refuse what a model folder cannot hold, before anything in it is opened: reading a FIFO would never end.

    Args:
        root: where the files must really lie, followed through links; None for anywhere.

    Raises:
        ModelError: an entry is neither a file nor a folder, lies elsewhere, or there are too many.
    """
    for number, entry in enumerate(directory.rglob("*")):
        if number >= MOST_MEMBERS:
            raise ModelError(f"the model folder {directory} has over {MOST_MEMBERS} entries")
        if not entry.exists():  # a link that leads nowhere is of no use, and no harm
            continue
        if not (entry.is_file() or entry.is_dir()):
            raise ModelError(f"{shown(entry.name)} in the model folder is no plain file")
        if root is not None and not entry.resolve().is_relative_to(root.resolve()):
            raise ModelError(f"{shown(entry.name)} in the model folder is a link to what lies outside of {root}")


def shown(name: str) -> str:
    """A name from outside, for messages: in quotes, without line ends, and not long."""
    return repr(name[:200])


def find(name: str | None, directory: Path) -> type[Algorithm]:
    """The algorithm called ``name``, else the first that recognises the folder as its own."""
    if name is not None:
        return named(name)
    for candidate in registry.ALGORITHMS:
        try:
            algorithm = registry.find(candidate)
        except LookupError:
            continue  # not part of this image
        if algorithm.recognises(directory):
            return algorithm
    files = ", ".join(sorted(file.name for file in directory.iterdir())[:10])
    raise ModelError(
        f"No algorithm of this image recognises the files in {directory} ({files}) as its model; "
        "if they are one, name its algorithm in the environment variable ALGORITHM"
    )


def named(name: str) -> type[Algorithm]:
    """The algorithm called ``name``, which ``ALGORITHM`` says."""
    try:
        return registry.find(name)
    except LookupError as error:
        raise ConfigurationError(f"Environment variable ALGORITHM: {error}") from error


def check(algorithm: type[Algorithm], settings: Settings) -> None:
    """Refuse settings that ``algorithm`` cannot follow, all of them together."""
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
