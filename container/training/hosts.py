"""This host's place among those that train together, as the job sees it: alone, or one of several.

Several meet by way of their supervisors (``meeting.py``), and are then connected by the engine (``exchange.py``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from algorithms.common.hosts import OneHost
from algorithms.hyperparameters import stated_defaults, wire_values
from algorithms.interface import PIPE, Algorithm, Hosts
from container.logs import logger
from container.paths import Paths
from container.settings import ConfigurationError
from container.training import exchange, failure
from container.training.config import TrainingConfig, folder_problems
from container.training.group import Group
from container.training.identity import STATED
from container.training.trainee import Link
from recordio.sources import FileSource

_SAMPLED = 8
"""Files of a channel that are looked into, at most."""
_PIECE = 1 << 16  # bytes


class SoleHost:
    """There are no others."""

    alone = leads = True

    def __init__(self, failure_file: Path) -> None:
        self._failure_file = failure_file

    def meet(self, paths: Paths, algorithm: type[Algorithm], configured: TrainingConfig) -> Hosts:
        """Nobody to meet. Raises RuntimeError where there are others, whom a supervisor would have to find."""
        if configured.group.size > 1:
            raise RuntimeError("a host of several is started by its supervisor")
        return OneHost()

    def leave(self) -> None:
        """Nobody to leave."""

    def failed(self, error: BaseException) -> None:
        """Log the error and write the failure file."""
        failure.report(error, self._failure_file)


class HostOfSeveral:
    """One of several, in the process that trains."""

    alone = False

    def __init__(self, group: Group, link: Link) -> None:
        self._group = group
        self._link = link
        self._engine: exchange.Engine | None = None
        self.leads = group.rank == 0

    def meet(self, paths: Paths, algorithm: type[Algorithm], configured: TrainingConfig) -> Hosts:
        """All other hosts, when all are there and connected.

        Raises:
            ConfigurationError: a channel has no file on any host, or the image lacks the engine.
        """
        exchange.check_engine()
        rank, size = self._group.rank, self._group.size
        address = self._link.meet(description(paths, algorithm, configured))
        if self.leads:
            tracker, port = exchange.start_tracker(address, size)
            self._link.open(port)
            engine = exchange.connect(address, port, rank, size)
            exchange.stop_tracker(tracker)
        else:
            engine = exchange.connect(address, self._link.tracker(), rank, size)
        self._engine = engine
        _check_channels(paths, configured, engine)
        return engine

    def leave(self) -> None:
        """No more is exchanged with the others, and the leader has saved the model: a host that ends because of a stop
        ends them all."""
        if self._engine:
            self._engine.gather(None)
            sums, size, seconds = self._engine.sums, self._engine.sent / 1e6, self._engine.seconds
            told = "Host %s: summed %d times over all hosts, %.3f MB, in %.3f s with waiting."
            logger.info(told, self._group.host, sums, size, seconds)
            self._engine.close()

    def failed(self, error: BaseException) -> None:
        """Log the error and tell the supervisor, which knows or learns what the failure of the job is."""
        text = failure.told(error, self._group.host)
        self._link.failed(text, of_communication=exchange.is_of_communication(error))


def description(paths: Paths, algorithm: type[Algorithm], configured: TrainingConfig) -> dict[str, str]:
    """What must be the same on all hosts, by the name by which a difference is told: digests of the values."""
    channels = {
        f"channel {name}": [one.mode, str(one.content_type), one.sharded, one.wrapped]
        for name, one in configured.channels.items()
    }
    files = {
        f"files of channel {name}": _listing(paths.channel(name))
        for name, one in configured.channels.items()
        if one.mode != PIPE and not one.sharded
    }
    values = {f"hyperparameter {name}": value for name, value in wire_values(configured.hyperparameters).items()}
    told = {
        "algorithm": algorithm.name,
        STATED: stated_defaults(configured.hyperparameters),
        "whether checkpoints are kept": configured.checkpoint_directory is not None,
        **channels,
        **files,
        **values,
    }
    return {name: _digest(value) for name, value in told.items()}


def _listing(folder: Path) -> list[Any]:
    """What tells the files of one job from those of another, as reading them all would take long: names, sizes, and how
    some of them begin and end."""
    files = FileSource(folder).files()
    content = hashlib.sha256()
    for sampled in files[:: -(-len(files) // _SAMPLED)]:
        with sampled.open("rb") as file:
            content.update(file.read(_PIECE))
            file.seek(max(sampled.stat().st_size - _PIECE, 0))
            content.update(file.read(_PIECE))
    return [content.hexdigest(), *((file.relative_to(folder).as_posix(), file.stat().st_size) for file in files)]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, default=str).encode()).hexdigest()[:16]


def _check_channels(paths: Paths, configured: TrainingConfig, hosts: Hosts) -> None:
    """A channel whose files are spread over the hosts has some on one of them."""
    spread = [one for one in configured.channels.values() if one.sharded and one.mode != PIPE]
    mine: Mapping[str, list[str]] = {
        one.declared.name: folder_problems(paths.channel(one.declared.name), one) for one in spread
    }
    everywhere = hosts.gather(mine)
    problems = [found for name in mine if all(host[name] for host in everywhere) for found in mine[name]]
    if problems:
        raise ConfigurationError(*problems)
