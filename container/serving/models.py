"""From a model folder to a model that answers requests."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from algorithms import registry
from algorithms.errors import ModelError
from algorithms.interface import Algorithm, Model
from container.settings import ConfigurationError, Settings


def load(directory: Path, settings: Settings) -> tuple[type[Algorithm], Model]:
    """The algorithm and the model of a folder.

    Raises:
        ConfigurationError: the algorithm is unknown, is not in this image, or does not do what the settings ask for.
        ModelError: the folder is missing, empty or corrupt, or holds a model of another algorithm.
    """
    if not directory.is_dir() or not any(directory.iterdir()):
        raise ModelError(f"There is no model to serve: the folder {directory} is missing or empty")
    algorithm = find(settings.algorithm, directory)
    check(algorithm, settings)
    return algorithm, algorithm.load(directory) if settings.ensemble else algorithm.load_first(directory)


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
            with tarfile.open(archive) as tar:
                _extract(tar, Path(folder))
        except (tarfile.TarError, zlib.error, OSError, EOFError) as error:
            raise ModelError(f"'{archive.name}' cannot be unpacked: {error}") from error
        yield Path(folder)


def _archive(directory: Path) -> Path | None:
    if directory.is_file():
        return directory
    files = [file for file in directory.iterdir() if not file.name.startswith(".")] if directory.is_dir() else []
    return files[0] if len(files) == 1 and files[0].name.endswith((".tar.gz", ".tgz", ".tar")) else None


def _extract(tar: tarfile.TarFile, folder: Path) -> None:
    """Write the plain files of an archive below ``folder``, where there is room; hidden ones are of no model."""
    members = [member for member in tar if not member.isdir()]
    if (size := sum(member.size for member in members)) > (room := shutil.disk_usage(folder).free):
        raise tarfile.TarError(f"it holds {size} bytes, and {room} are free in {folder.parent}")
    for member in members:
        name = PurePosixPath(member.name)
        if not member.isfile() or name.is_absolute() or ".." in name.parts:
            raise tarfile.TarError(f"{member.name[:200]!r} is not a plain file below the model folder")
        content = tar.extractfile(member)
        if content is None or any(part.startswith(".") for part in name.parts):
            continue
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            shutil.copyfileobj(content, file)


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
