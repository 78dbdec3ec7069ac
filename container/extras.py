"""Whether what an algorithm needs beyond the plain installation is installed: its extra of this distribution."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from importlib import metadata

from algorithms import registry
from container import distribution
from container.settings import ConfigurationError

_NAME = re.compile(r"[\w.-]+")
_NESTED = re.compile(rf"{distribution.NAME}\[(?P<extra>[\w-]+)\]")


def check(algorithm: str) -> None:
    """Refuse to train what would end in the midst of it for want of a package.

    Raises:
        ConfigurationError: naming the packages, and the extra that brings them.
    """
    extra = registry.ALGORITHMS[algorithm].extra
    missing = sorted({name for name in map(_general, _packages(extra)) if not _is_installed(name)}) if extra else []
    if missing:
        raise ConfigurationError(
            f"algorithm '{algorithm}' needs {' and '.join(missing)}, not installed here: {installing(str(extra))}"
        )


def installing(extra: str) -> str:
    """How the packages of an extra are installed: what no index has is installed from its sources."""
    return f"pip install '.[{extra}]' in a clone of this project, make setup there, or pip install 'FILE.whl[{extra}]'"


def _packages(extra: str) -> Iterator[str]:
    """The distributions that an extra asks for, those of extras that it names among them."""
    for requirement in _requirements():
        if not re.search(rf"extra == ['\"]{re.escape(extra)}['\"]", requirement):
            continue
        if nested := _NESTED.match(requirement):
            yield from _packages(nested["extra"])
        elif name := _NAME.match(requirement):
            yield name[0]


def _requirements() -> list[str]:
    try:
        return metadata.requires(distribution.NAME) or []
    except metadata.PackageNotFoundError:  # run from a folder of sources: what lacks is told when it is imported
        return []


def _general(name: str) -> str:
    """The distribution's name without what tells its builds apart: platforms have one or the other, or both."""
    return name.removesuffix("-cpu")


def _is_installed(name: str) -> bool:
    """The distribution itself, or the build of it that is for CPUs alone."""
    if name == "tensorflow" and os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        return True  # Keras computes on something else
    return _has(name) or _has(f"{name}-cpu")


def _has(distribution: str) -> bool:
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
