"""One checkpoint as a file: a ZIP of ``.npy`` members and one JSON document, stored without compression, as NumPy's
``.npz`` files are. Each member has a checksum, and the directory at the end of a ZIP tells a whole file from a part.
The document has the checksums of all arrays and its own: a ZIP that was written anew with another array is whole, too.

Nothing is ever unpickled, and no more is read than the file has bytes.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from algorithms.checkpoints import open_file, written
from container.training.artifact import synchronise
from recordio.limits import MOST_CHECKPOINT_ARRAYS, MOST_CHECKPOINT_DOCUMENT

_DOCUMENT, _SUFFIX = "checkpoint.json", ".npy"
_ARRAYS, _OWN = "arrays", "checksum"
"""In the document: the checksums of all arrays by their names, and that of the document itself without this one."""
_PIECE = 1 << 24


class DamagedCheckpointError(Exception):
    """A file is no checkpoint, or only a part of one, or was changed; the message says which."""


def write(path: Path, document: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write a file in one step: whatever happens meanwhile, ``path`` is as it was, or whole and on the disk.

    Raises:
        OSError: the disk is full, say.
    """
    with written(path) as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for name, array in arrays.items():
                with archive.open(zipfile.ZipInfo(name + _SUFFIX), "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
            described = {**document, _ARRAYS: _checksums(archive.infolist())}
            archive.writestr(_DOCUMENT, json.dumps({**described, _OWN: _checksum(described)}))
        file.flush()
        os.fsync(file.fileno())
    synchronise(path.parent)


def read_document(path: Path) -> dict[str, Any]:
    """The JSON document alone.

    Raises:
        DamagedCheckpointError: see there.
    """
    return _read(path, with_arrays=False)[0]


def read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The document and the arrays, which may be written to.

    Raises:
        DamagedCheckpointError: see there.
    """
    return _read(path, with_arrays=True)


def _read(path: Path, *, with_arrays: bool) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            if not size:
                raise DamagedCheckpointError("the file is empty")
            try:
                archive = zipfile.ZipFile(file)
            except zipfile.BadZipFile:
                file.seek(0)
                whole = "a part of a checkpoint" if file.read(2) == b"PK" else "no checkpoint"
                raise DamagedCheckpointError(f"its {size} bytes are {whole}") from None
            with archive:
                members = _members(archive, size)
                document = _document(archive, members)
                held = [info for info in members if info.filename != _DOCUMENT]
                if document.get(_ARRAYS, _checksums(held)) != _checksums(held):  # 0.3.0 and before named none
                    raise DamagedCheckpointError("its arrays are not those that its document names")
                arrays = {}
                for info in held if with_arrays else ():
                    with archive.open(info) as member:
                        arrays[info.filename.removesuffix(_SUFFIX)] = _array(member, info)
                return document, arrays
    except DamagedCheckpointError:
        raise
    except OSError as error:
        raise DamagedCheckpointError(f"it cannot be read: {error.strerror or error}") from error
    except MemoryError:
        raise
    except Exception as error:  # zipfile and NumPy raise whatever damaged bytes lead to
        raise DamagedCheckpointError(f"it is damaged: {error}") from error


def _members(archive: zipfile.ZipFile, size: int) -> list[zipfile.ZipInfo]:
    """The members, which claim no more than the file holds."""
    members = archive.infolist()
    if len(members) > MOST_CHECKPOINT_ARRAYS:
        raise DamagedCheckpointError(f"it has {len(members)} members, and {MOST_CHECKPOINT_ARRAYS} are the most")
    if any(info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 for info in members):
        raise DamagedCheckpointError("it is compressed or encrypted, which no checkpoint is")
    if sum(info.file_size for info in members) > size:
        raise DamagedCheckpointError(f"it has {size} bytes and claims to hold more")
    return members


def _document(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]) -> dict[str, Any]:
    found = [info for info in members if info.filename == _DOCUMENT]
    if len(found) != 1 or found[0].file_size > MOST_CHECKPOINT_DOCUMENT:
        raise DamagedCheckpointError(f"it has no '{_DOCUMENT}' of at most {MOST_CHECKPOINT_DOCUMENT} bytes")
    document = json.loads(archive.read(found[0]))
    if not isinstance(document, dict):
        raise DamagedCheckpointError(f"its '{_DOCUMENT}' is no JSON object")
    own = document.pop(_OWN, None)
    if own != _checksum(document) and _ARRAYS in document:  # 0.3.0 and before had neither
        raise DamagedCheckpointError(f"its '{_DOCUMENT}' was changed after it was written")
    return document


def _checksums(members: list[zipfile.ZipInfo]) -> dict[str, int]:
    """Those of the arrays' members, which are compared with the bytes when these are read."""
    return {info.filename.removesuffix(_SUFFIX): info.CRC for info in members}


def _checksum(document: Mapping[str, Any]) -> int:
    """That of the document's JSON, in which what is read is written as it was."""
    return zlib.crc32(json.dumps(document).encode())


def _array(member: IO[bytes], info: zipfile.ZipInfo) -> np.ndarray:
    """The array in a member, read to its end, where its checksum is compared."""
    version = np.lib.format.read_magic(member)
    if version != (1, 0):
        raise DamagedCheckpointError(f"its array {info.filename} is of version {version} of the .npy format, not 1.0")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(member)
    count = 1
    for length in shape:
        count *= length
    if dtype.hasobject or count < 0 or count * dtype.itemsize > info.file_size:
        raise DamagedCheckpointError(f"its array {info.filename} cannot be of {dtype} and shape {shape}")
    flat = np.empty(count, dtype)
    room = flat.view(np.uint8).data if flat.nbytes else memoryview(b"")
    for start in range(0, len(room), _PIECE):
        piece = room[start : start + _PIECE]
        if member.readinto(piece) != len(piece):  # type: ignore[attr-defined]
            raise DamagedCheckpointError(f"its array {info.filename} is cut short")
    if member.read(1):
        raise DamagedCheckpointError(f"its array {info.filename} is followed by more bytes")
    return flat.reshape(shape, order="F" if fortran else "C")
