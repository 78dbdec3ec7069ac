"""This project as it is installed: its name on a package index, and its version."""

from __future__ import annotations

from importlib import metadata

NAME = "open-builtin-algorithms"


def version() -> str:
    """The version that is installed; ``unknown`` where it runs from a folder of sources."""
    try:
        return metadata.version(NAME)
    except metadata.PackageNotFoundError:
        return "unknown"
