"""Input as people name it: a file, a folder, a pattern, ``-`` for standard input; plain or compressed by gzip."""

from __future__ import annotations

import difflib
import glob
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, cast

from container.settings import ConfigurationError
from local import remote, suffixes
from recordio.compression import decompressed
from recordio.errors import CompressedDataError

STANDARD_INPUT = "-"
SPOOLED = "standard-input"
"""The name of the file that holds what came from standard input."""


def found(text: str, what: str) -> list[Path]:
    """The files or folders that ``text`` names; more than one only for a pattern.

    Raises:
        ConfigurationError: naming ``what``: there are none.
    """
    path = Path(text).expanduser()
    if path.exists():
        return [path]
    if glob.has_magic(text):
        if matches := sorted(glob.glob(str(path), recursive=True)):  # noqa: PTH207 - absolute patterns, too
            return [Path(match) for match in matches]
        raise ConfigurationError(f"{what}: no file matches {text}")
    raise ConfigurationError(f"{what}: there is no {text}{_nearest(path)}")


def places(path: Path) -> tuple[Path, Path]:
    """The path without links resolved, and with."""
    return Path(os.path.abspath(path)), path.resolve()  # noqa: PTH100 - the one that follows no links


def check_outside(paths: Iterable[Path], output: Path, what: str) -> None:
    """Refuse a folder of data that holds the output folder, whose files would be read as data.

    Raises:
        ConfigurationError: naming ``what``.
    """
    for path in paths:
        if path.is_dir() and output.resolve().is_relative_to(path.resolve()):
            raise ConfigurationError(
                f"{what}: --output {output} lies in the folder {path}, all of whose files are data; give one elsewhere"
            )


def _nearest(path: Path) -> str:
    names = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {path.parent / near[0]}?" if near else ""


def spooled(file: Path) -> Path:
    """All of standard input, in ``file``."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as stream:
        shutil.copyfileobj(sys.stdin.buffer, stream)
    return file


def files_of(paths: Iterable[Path]) -> list[Path]:
    """The files among ``paths``, and the data files in folders among them: those whose names begin with no dot and no
    underscore."""
    return [file for path in paths for file in (_data_files(path) if path.is_dir() else [path])]


def _data_files(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.rglob("*")) if file.is_file() and not file.name.startswith((".", "_"))]


def media_type(paths: Sequence[Path], accepts: Sequence[str], what: str) -> str:
    """The media type of all files by their suffixes, without ``.gz``.

    Raises:
        ConfigurationError: naming ``what``: a suffix is unknown, or they differ.
    """
    if not (files := files_of(paths)):
        names = ", ".join(str(path) for path in paths[:3])
        raise ConfigurationError(f"{what}: there are no data files in {names} (names that begin with . or _ are none)")
    return media_type_of_names(files, accepts, what)


def media_type_of_names(paths: Sequence[Path], accepts: Sequence[str], what: str) -> str:
    """``media_type`` of files that need not be on this machine."""
    types = {suffixes.media_type(file, accepts) for file in paths}
    if types == {"image/jpeg", "image/png"}:
        types = {"application/x-image"}
    media = types.pop() if len(types) == 1 else None
    if media is None:
        if any(path.name == SPOOLED for path in paths):
            raise ConfigurationError(f"{what}: standard input has no suffix to tell the format; use {_stated(accepts)}")
        names = ", ".join(str(path) for path in paths[:3])
        if (known := suffixes.other_form(files_of(paths)[0], accepts)) is not None:
            raise ConfigurationError(f"{what}: {names}: {known}")
        raise ConfigurationError(
            f"{what}: the suffix in {names} does not tell the format; use {_stated(accepts, *paths)}"
        )
    return media


def _stated(accepts: Sequence[str], *paths: Path) -> str:
    """The option that states the format; for suffixes of tab-separated files the one with tabs."""
    names = [path.name.lower().removesuffix(suffixes.COMPRESSED) for path in paths]
    if suffixes.CSV in accepts and any(name.endswith(".tsv") for name in names):
        return f"--content-type '{suffixes.CSV}; delimiter=tab'"
    return f"--content-type {' or '.join(accepts) or 'TYPE'}"


def opened(file: Path, what: str | None = None) -> BinaryIO:
    """The bytes of a file, decompressed where it is a gzip file; ``what`` it is called in messages.

    Raises:
        CompressedDataError: it is compressed in another way, whatever its name says. Reading raises it where a gzip
            file is damaged or ends early.
    """
    stream = file.open("rb")
    try:
        return decompressed(stream, what or str(file))
    except CompressedDataError:
        stream.close()
        raise


def content(text: str) -> bytes:
    """All bytes of the one file that ``text`` names, or of standard input; decompressed like those of ``opened``.

    Raises:
        ConfigurationError: there is no such file, or it is a folder.
        CompressedDataError: as ``opened``.
    """
    if text == STANDARD_INPUT:
        body = cast(io.RawIOBase, io.BytesIO(sys.stdin.buffer.read()))
        return decompressed(io.BufferedReader(body), "standard input").read()
    with tempfile.TemporaryDirectory() as folder:
        fetched = remote.is_address(text)
        paths = remote.fetched(text, Path(folder), "--input") if fetched else found(text, "--input")
        if len(paths) > 1 or paths[0].is_dir():
            raise ConfigurationError(f"--input {text}: a request is one file; oba batch takes a folder or a pattern")
        with opened(paths[0], f"--input {text}") as stream:
            return stream.read()
