"""What columns are called, and the order in which those of Parquet are read: one for all channels and hosts of a job.

A host knows its own files alone, and what algorithms exchange has no names: hosts that read their columns in different
orders would add up what does not belong together, without an error.
"""

from __future__ import annotations

from collections.abc import Sequence

from algorithms.interface import PIPE, ROWS, Hosts
from container.paths import Paths
from container.settings import ConfigurationError
from container.training.config import TrainingConfig
from recordio.column_order import ColumnOrder
from recordio.content_type import PARQUET
from recordio.readers import first_columns
from recordio.sources import FileSource

_FIRST = "train"  # the channel whose order those with the same names have


class Columns:
    """The orders of a job; of several hosts that of the first of them that has a file, before any is read.

    Attributes:
        of_channel: by the names of the channels, for ``recordio.readers.ChannelStream``, which settles those that are
            not settled here.

    Raises:
        ConfigurationError: hosts have files of one channel with columns of different names.
        DataError: a file cannot be read.
    """

    def __init__(self, paths: Paths, configured: TrainingConfig, hosts: Hosts) -> None:
        of_job = ColumnOrder()
        self.of_channel = {name: ColumnOrder(like=of_job) for name in configured.channels}
        self._hosts, self._names = hosts, configured.group.hosts
        self._stated = configured.columns
        named = [
            name
            for name, one in configured.channels.items()
            if one.declared.gives == ROWS and one.content_type.media_type == PARQUET
        ]
        self._piped = [name for name in named if configured.channels[name].mode == PIPE]
        files = sorted(set(named) - set(self._piped), key=lambda name: (name != _FIRST, name))
        if hosts.size > 1 and files:
            told = hosts.gather({name: first_columns(FileSource(paths.channel(name))) for name in files})
            for name in files:
                self._agree(name, [of_host[name] for of_host in told])

    def _agree(self, channel: str, told: Sequence[Sequence[str]]) -> None:
        order = next(filter(None, told), [])
        for host, names in zip(self._names, told, strict=True):
            if names and set(names) != set(order):
                leads = self._names[told.index(order)]
                raise ConfigurationError(
                    f"Channel '{channel}': the files of host {host} have other columns than those of host {leads}: "
                    f"{_difference(names, order)}"
                )
        self.of_channel[channel].settle(order)

    def features(self, width: int) -> list[str]:
        """What so many features are called, by the Parquet files or as the job states it: the last of the columns, for
        labels and weights come first; an empty list where nothing says so."""
        first = self.of_channel.get(_FIRST)
        names = self._stated if first is None or not first.names else first.names
        return list(names[len(names) - width :]) if 0 < width <= len(names) else []

    def check(self) -> None:
        """After training: what came through pipes, whose columns nobody knows before, had one order on all hosts.

        Raises:
            ConfigurationError: it had not.
        """
        if self._hosts.size == 1 or not self._piped:
            return
        told = self._hosts.gather({name: self.of_channel[name].names for name in self._piped})
        for name in self._piped:
            first: list[str] = next(filter(None, (of_host[name] for of_host in told)), [])
            for host, of_host in zip(self._names, told, strict=True):
                if of_host[name] and of_host[name] != first:
                    raise ConfigurationError(
                        f"Channel '{name}': the columns that came to host {host} are others than those of another "
                        f"host, or in another order: {_difference(of_host[name], first)}. In Pipe mode write all files "
                        "alike, or use File mode, where columns are brought into one order by their names"
                    )


def _difference(names: Sequence[str], others: Sequence[str]) -> str:
    """The first of the names that the others have not, or have elsewhere; or the other way round."""
    for some, text in ((set(names) - set(others), "it has"), (set(others) - set(names), "it lacks")):
        if some:
            return f"{text} '{min(some)}'"
    own, other = next(pair for pair in zip(names, others, strict=True) if pair[0] != pair[1])
    return f"'{own}' is where '{other}' is there"
