"""Model archives (``model.tar.gz``): made of a folder; and unpacked, since they come from outside, within bounds, and
plain files only. And where a job's model is."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, Any

from recordio.limits import (
    DEEPEST_MEMBER,
    LONGEST_MEMBER_HEADER,
    MOST_EXPANSION,
    MOST_MEMBERS,
    MOST_UNPACKED_ANYWAY,
)

_OPENERS: tuple[tuple[bytes, Any], ...] = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\x00", lzma.open))

_LEVEL = 4
"""Of compression: weights hardly get smaller beyond it, and take three times as long."""


class ArchiveError(ValueError):
    """An archive is damaged, or holds what no model does."""


class _Bounded:
    """The uncompressed archive, as ``tarfile`` reads it: from front to back, and no header longer than one may be.

    Attributes:
        in_content: the content of a member is being read, which is bounded elsewhere.
    """

    def __init__(self, stream: IO[bytes], most: int) -> None:
        self._stream = stream
        self._most = most
        self._header = 0
        self.in_content = False

    def next_member(self) -> None:
        """The header of another member begins."""
        self._header = 0

    def read(self, size: int) -> bytes:
        if not self.in_content:
            self._header += size
            if self._header > LONGEST_MEMBER_HEADER:
                raise ArchiveError(f"a header in it has over {LONGEST_MEMBER_HEADER} bytes")
        self._check(self._stream.tell() + size)
        return self._stream.read(size)

    def seek(self, position: int) -> int:
        self._check(position)
        return self._stream.seek(position)

    def tell(self) -> int:
        return self._stream.tell()

    def _check(self, position: int) -> None:
        if position > self._most + LONGEST_MEMBER_HEADER:
            raise ArchiveError(f"it unpacks to more than {self._most} bytes, which a file of its size does not")


def model_of_job(path: Path) -> Path:
    """The model's own folder where ``path`` is that of a job (with ``input`` and ``model`` in it, as SageMaker lays it
    out and ``oba train`` writes it) or of a search (``oba tune``, the best job in ``best``); else ``path``."""
    for job in (path, path / "best"):
        if (job / "model").is_dir() and (job / "input").is_dir():
            return job / "model"
    return path


def pack(folder: Path, archive: Path) -> Path:
    """Write what is in a folder as ``archive``, a compressed tar file, as SageMaker does; the archive."""
    with tarfile.open(archive, "w:gz", compresslevel=_LEVEL) as tar:
        for file in sorted(folder.iterdir()):
            tar.add(file, file.name)
    return archive


def extract(archive: Path, folder: Path) -> None:
    """Write the plain files of a tar archive, compressed or not, below ``folder``.

    Hidden members (``._model``, which macOS adds) are of no model and left out.

    Raises:
        ArchiveError: it is damaged; has a link, a device or a name that leads out of the folder; or needs more room,
            members or levels of folders than there are or than a model has.
    """
    try:
        most = min(MOST_UNPACKED_ANYWAY + MOST_EXPANSION * archive.stat().st_size, shutil.disk_usage(folder).free)
        with _opened(archive) as stream:
            bounded = _Bounded(stream, most)
            with tarfile.open(fileobj=bounded, mode="r:") as tar:  # type: ignore[call-overload]
                _extract(tar, bounded, folder, most)
    except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, OverflowError, RecursionError) as error:
        raise ArchiveError(str(error) or type(error).__name__) from error
    except ValueError as error:  # a number or a name in a header that is none
        raise (
            error if isinstance(error, ArchiveError) else ArchiveError(f"a header in it is malformed: {error}")
        ) from error


def _opened(archive: Path) -> Any:
    with archive.open("rb") as file:
        head = file.read(8)
    opener = next((opener for magic, opener in _OPENERS if head.startswith(magic)), open)
    return opener(archive, "rb")


def _extract(tar: tarfile.TarFile, bounded: _Bounded, folder: Path, most: int) -> None:
    written = count = 0
    bounded.next_member()
    while (member := tar.next()) is not None:
        count += 1
        if count > MOST_MEMBERS:
            raise ArchiveError(f"it has over {MOST_MEMBERS} members")
        if not member.isdir():
            written += member.size
            if written > most:
                raise ArchiveError(
                    f"it holds at least {written} bytes, and {most} are the most that can be unpacked here"
                )
            _write(tar, member, bounded, folder)
        bounded.next_member()


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, bounded: _Bounded, folder: Path) -> None:
    name = PurePosixPath(member.name)
    if not member.isfile() or member.issparse() or name.is_absolute() or ".." in name.parts:
        raise ArchiveError(f"{member.name[:200]!r} is not a plain file below the model folder")
    if len(name.parts) > DEEPEST_MEMBER:
        raise ArchiveError(f"{member.name[:200]!r} is {len(name.parts)} levels deep; {DEEPEST_MEMBER} are the most")
    content = tar.extractfile(member)
    if content is None or any(part.startswith(".") for part in name.parts):
        return
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    bounded.in_content = True
    with target.open("wb") as file:
        shutil.copyfileobj(content, file)
    bounded.in_content = False
    if target.stat().st_size != member.size:
        raise ArchiveError(f"{member.name[:200]!r} is cut short: {target.stat().st_size} of {member.size} bytes")
