"""What a job is: all that two runs must agree in so that one goes on from the other's state."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from algorithms import hyperparameters
from algorithms.interface import PIPE, Algorithm, Hosts
from container import distribution
from container.paths import Paths
from container.training.config import ChannelConfig, TrainingConfig
from recordio.errors import EmptyDataError
from recordio.quoting import shortened
from recordio.sources import FileSource

DIGITS = 12
"""Of a digest."""

SIZE, RANK, SPREAD = "number of hosts", "host", "spread over the hosts"
"""How many hosts there are, which of them this is, and whether each has files of its own of a channel."""

STATED = "hyperparameters stated at their defaults"
"""Those that an absent value would leave to the data."""

_VALUE_CHARACTERS = 60

Identity = Mapping[str, Any]
"""JSON's values by name, nested: all that two jobs must agree in so that one goes on from the other's state."""


def identity(algorithm: type[Algorithm], configured: TrainingConfig, paths: Paths, hosts: Hosts) -> Identity:
    """What the job in ``paths`` is. Each of several hosts has checkpoints of its own: they may be in one folder."""
    values = hyperparameters.wire_values(configured.hyperparameters)
    stated = hyperparameters.stated_defaults(configured.hyperparameters)
    return {
        "algorithm": algorithm.name,
        "version": distribution.version(),
        SIZE: hosts.size,
        RANK: hosts.rank,
        "hyperparameter": {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()},
        **({STATED: stated} if stated else {}),
        "channel": {name: _channel(channel, paths.channel(name)) for name, channel in configured.channels.items()},
    }


def _channel(channel: ChannelConfig, folder: Path) -> dict[str, Any]:
    """How a channel is read, and which files it has: paths and sizes, as copying a file anew changes its times."""
    told: dict[str, Any] = {
        "content type": str(channel.content_type),
        "input mode": channel.mode,
        "wrapped": channel.wrapped,
        SPREAD: channel.sharded,
    }
    if channel.mode != PIPE:
        files = _files(folder, may_be_empty=channel.sharded)
        listing = [(file.relative_to(folder).as_posix(), file.stat().st_size) for file in files]
        told["files"], told["bytes"] = len(listing), sum(size for _, size in listing)
        told["digest of their names and sizes"] = digest(listing)
    return told


def _files(folder: Path, *, may_be_empty: bool) -> list[Path]:
    """The data files of a channel; of one that is spread over the hosts, this one may have none."""
    try:
        return FileSource(folder).files()
    except EmptyDataError:
        if not may_be_empty:
            raise
        return []


def digest(value: Any) -> str:
    """Of anything that JSON can hold."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def differences(theirs: Any, ours: Any, name: str = "") -> Iterator[str]:
    """Sentences about what two identities differ in."""
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        for key in sorted(theirs.keys() | ours.keys()):
            yield from differences(theirs.get(key), ours.get(key), f"{name} {key}".strip())
    elif theirs != ours:
        then, now = (shortened(json.dumps(value, default=str), _VALUE_CHARACTERS) for value in (theirs, ours))
        yield f"{name} was {then} and is {now}"
