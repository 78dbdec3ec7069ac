"""Writes the model folder so that it holds a whole model or none, whatever happens on the way."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

from algorithms.interface import Model
from container.settings import ConfigurationError

_STAGING = ".staging-"
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)


class Artifact:
    """The files of one job in its model folder.

    A model is first saved into a hidden folder inside ``directory`` and brought to the disk; only then are its files
    moved to their names. The hidden folder is inside because the model folder itself is a mount: nothing outside is
    sure to be on the same file system, and the folder cannot be renamed.

    Args:
        leads: this host writes the model; of several hosts, which may share the folder, the others write nothing.
        image_version: that of SageMaker's image in whose format models are written; None for the newest.

    Attributes:
        exists: a model of this job was written, here or by the host that leads.
    """

    def __init__(self, directory: Path, *, leads: bool = True, image_version: tuple[int, ...] | None = None) -> None:
        self.directory = directory
        self.exists = False
        self._leads = leads
        self._version = image_version
        self._files: set[Path] = set()

    def prepare(self) -> None:
        """Make the folder, and take away what a run that was killed left half-written.

        Raises:
            ConfigurationError: nothing can be written there, which is better said before training than after it.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            if not self._leads:
                return
            for staging in self.directory.glob(f"{_STAGING}*"):
                shutil.rmtree(staging)
            Path(tempfile.mkdtemp(prefix=_STAGING, dir=self.directory)).rmdir()
        except OSError as error:
            if error.errno not in _FORBIDDEN:
                raise
            raise ConfigurationError(
                f"The model's folder {self.directory} cannot be written to: {error.strerror}; "
                f"mount it so that user {os.getuid()} may write there"
            ) from error

    def write(self, model: Model) -> list[Path]:
        """Make ``model`` the artifact, in the place of an earlier one; its files, relative to the folder, in order.

        Raises:
            OSError: the disk is full, say; the folder is as it was before.
        """
        if not self._leads:
            self.exists = True
            return []
        staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=self.directory))
        try:
            if self._version is None:
                model.save(staging)
            else:
                model.save_as(staging, self._version)
            files = sorted(file.relative_to(staging) for file in staging.rglob("*") if file.is_file())
            for file in files:
                synchronise(staging / file)
            for file in files:
                (self.directory / file).parent.mkdir(parents=True, exist_ok=True)
                (staging / file).replace(self.directory / file)
                self._files.add(file)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        self._remove(self._files.difference(files))
        self._files = set(files)
        self.exists = True
        synchronise(self.directory)
        return files

    def discard(self) -> None:
        """Take away what this job has put into the folder."""
        self._remove(self._files)
        self._files = set()
        self.exists = False

    def _remove(self, files: set[Path]) -> None:
        for file in files:
            (self.directory / file).unlink(missing_ok=True)


def synchronise(path: Path) -> None:
    """Wait until the file or folder is on the disk. A disk that is full or failing says so here at the latest."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
