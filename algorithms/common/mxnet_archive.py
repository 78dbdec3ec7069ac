"""ZIP artifacts of SageMaker's linear learner, factorization machines and NTM: members stored, not compressed.

A member that holds arrays is streamed, so that a model of gigabytes needs no second copy in memory.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import numpy as np

from algorithms.common import mxnet_files
from algorithms.errors import ModelError
from recordio.limits import ARCHIVE_EXPANSION, LEAST_MODEL_MEMORY

_PIECE = 1 << 20

Member = str | Mapping[str, np.ndarray]
"""Text, or named arrays that become an NDArray file."""


def save(path: Path, members: Mapping[str, Member]) -> None:
    """Write the members in order."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, content in members.items():
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=_large(content)) as member:
                if isinstance(content, str):
                    member.write(content.encode())
                else:
                    mxnet_files.save(cast(BinaryIO, member), content)


def _large(content: Member) -> bool:
    """Whether a member may pass 2 GiB, from which a ZIP needs its 64-bit form; small ones keep the form all read."""
    return not isinstance(content, str) and sum(array.nbytes for array in content.values()) > 1 << 30


def holds(path: Path, *names: str) -> bool:
    """Whether ``path``, a file or a model folder, is or holds a ZIP with these members. Reads its directory only."""
    try:
        with zipfile.ZipFile(mxnet_files.find(path) if path.is_dir() else path) as archive:
            return set(names) <= set(archive.namelist())
    except (OSError, ModelError, zipfile.BadZipFile, NotImplementedError, ValueError):
        return False


def load(path: Path, *, arrays: Collection[str] = ()) -> dict[str, Any]:
    """All members by name, as bytes; those named by ``arrays`` as the arrays that they hold, which are read in place.

    Raises:
        ModelError: the file is not a ZIP, is damaged, or claims to hold more than a file of its size can.
    """
    return _read(path, None, arrays)


def member(path: Path, name: str) -> bytes:
    """One member; the others are not read.

    Raises:
        ModelError: see ``load``; or there is no such member.
    """
    found: bytes = _read(path, name, ())[name]
    return found


def _read(path: Path, only: str | None, arrays: Collection[str]) -> dict[str, Any]:
    try:
        size = path.stat().st_size
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if info.compress_type == zipfile.ZIP_STORED and info.file_size > size:
                    raise ModelError(f"'{path.name}': member {info.filename} is cut short")
            claimed = sum(info.file_size for info in archive.infolist())
            if claimed > LEAST_MODEL_MEMORY + ARCHIVE_EXPANSION * size:
                raise ModelError(f"'{path.name}' has {size} bytes and claims to hold {claimed}, which no model does")
            wanted = archive.infolist() if only is None else [archive.getinfo(only)]
            return {
                info.filename: _arrays(archive, info) if info.filename in arrays else archive.read(info)
                for info in wanted
            }
    except MemoryError:
        raise
    except ModelError:
        raise
    except Exception as error:  # the decompressors raise whatever damaged bytes lead to
        raise ModelError(f"'{path.name}' is not a model archive, or is damaged: {error}") from error


def _arrays(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> mxnet_files.Arrays:
    with archive.open(info) as member, io.BufferedReader(_Pieces(member), _PIECE) as file:
        return mxnet_files.load_from(cast(BinaryIO, file), info.file_size)


class _Pieces(io.RawIOBase):
    """A member read a piece at a time: reading it at once would hold all of its bytes beside the array."""

    def __init__(self, member: IO[bytes]) -> None:
        self._member = member

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, target: Any) -> int:
        """See ``io.RawIOBase``."""
        piece = self._member.read(min(len(target), _PIECE))
        target[: len(piece)] = piece
        return len(piece)
