"""Files at addresses (``s3://``, ``gs://``, ``https://``, …), copied to this machine by fsspec."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any

from container.settings import ConfigurationError

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def is_address(text: str) -> bool:
    """Whether ``text`` is an address, not a path.

    >>> is_address("s3://bucket/rows.csv"), is_address("data/rows.csv"), is_address("C:/rows.csv")
    (True, False, False)
    """
    return _ADDRESS.match(text) is not None


def fetched(address: str, folder: Path, what: str) -> list[Path]:
    """The files at ``address`` (a file, a folder or a pattern), copied into ``folder``.

    Raises:
        ConfigurationError: naming ``what``: there is nothing, it cannot be reached, or a package is missing.
    """
    try:
        import fsspec
    except ImportError as error:
        from container.extras import installing  # it imports NumPy, which `oba serve` must set up first

        raise ConfigurationError(f"{what}: {address} needs the package fsspec: {installing('local')}") from error
    try:
        system, path = fsspec.core.url_to_fs(address)
        return _copied(system, path, folder)
    except ImportError as error:  # fsspec says which package speaks the protocol
        raise ConfigurationError(f"{what}: {address} cannot be read: {error}") from error
    except Exception as error:  # each protocol has errors of its own; all are the user's to mend
        raise ConfigurationError(f"{what}: {address} cannot be read: {type(error).__name__}: {error}") from error


def _copied(system: Any, path: str, folder: Path) -> list[Path]:
    names = sorted(system.glob(path)) if any(sign in path for sign in "*?[") else [path]
    files = [file for name in names for file in (system.find(name) if system.isdir(name) else [name])]
    if not files:
        raise FileNotFoundError("there is no file")
    copies = []
    for number, file in enumerate(sorted(files)):
        copy = folder / str(number) / PurePosixPath(file).name  # folders may have files of the same name
        copy.parent.mkdir(parents=True)
        system.get_file(file, str(copy))
        copies.append(copy)
    return copies
