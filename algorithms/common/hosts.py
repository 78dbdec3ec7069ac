"""The hosts of a job: the one of a job on a single host, and functions that algorithms share in using several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp

from algorithms.interface import Hosts
from recordio.batches import Batch, Features, concatenate


class OneHost:
    """Implements ``algorithms.interface.Hosts`` for a job on one host."""

    rank = 0
    size = 1

    def sum(self, *arrays: np.ndarray) -> list[np.ndarray]:
        """The arrays themselves."""
        return list(arrays)

    def sum_in_place(self, array: np.ndarray) -> None:
        """It is the sum already."""

    def gather(self, value: Any) -> list[Any]:
        """The value itself."""
        return [value]


ONE_HOST = OneHost()


def any_host(hosts: Hosts, flag: bool) -> bool:
    """Whether ``flag`` is true on one of the hosts."""
    return bool(hosts.sum(np.array([int(flag)]))[0][0])


def from_leader(hosts: Hosts, make: Callable[[], Any]) -> Any:
    """What ``make`` gives on the leader, on all hosts, which wait for it; ``Hosts.gather`` says what it may be."""
    return hosts.gather(make() if hosts.rank == 0 else None)[0]


def of_leader(hosts: Hosts, array: np.ndarray) -> np.ndarray:
    """The leader's array, on all hosts; theirs must have its shape and dtype."""
    return hosts.sum(array if hosts.rank == 0 else np.zeros_like(array))[0]


def total(hosts: Hosts, count: int) -> int:
    """The sum of a number of each host."""
    return int(hosts.sum(np.array([count]))[0][0])


def dealt(parts: list[Features]) -> Features:
    """The rows of all hosts, (n, d) each, in the order of a channel that was dealt out to them row by row: (N, d)."""
    together = concatenate([Batch(part) for part in parts]).features
    return together[_dealt([np.arange(part.shape[0]) for part in parts])] if len(parts) > 1 else together


def in_order(hosts: Hosts, places: np.ndarray, *arrays: np.ndarray) -> list[np.ndarray]:
    """Values of the rows of all hosts, (n, ...) each, in the order of a channel that was dealt out to them row by row:
    (N, ...), sorted by ``places`` (n,), the rows' numbers on their host, and then by host."""
    parts = hosts.gather([places, *arrays])
    order = _dealt([part[0] for part in parts])
    return [np.concatenate(of_hosts)[order] for of_hosts in list(zip(*parts, strict=True))[1:]]


def first_of_all(hosts: Hosts, rows: int, limit: int) -> int:
    """How many of this host's rows are among the first ``limit`` of all hosts' in the order of ``in_order``."""
    counts = [min(count, limit) for count in hosts.gather(rows)]
    order = _dealt([np.arange(count) for count in counts])[:limit]
    start = sum(counts[: hosts.rank])
    return int(np.sum((order >= start) & (order < start + counts[hosts.rank])))


def _dealt(places: list[np.ndarray]) -> np.ndarray:
    """The indices that sort rows, joined host by host, by their numbers on their hosts, and then by host."""
    owners = np.repeat(np.arange(len(places)), [len(place) for place in places])
    return np.lexsort((owners, np.concatenate(places)))


def packed(features: Features) -> Any:
    """Rows (n, d) in a form that ``Hosts.gather`` takes."""
    if isinstance(features, np.ndarray):
        return features
    return [features.data, features.indices, features.indptr, list(features.shape)]


def unpacked(rows: Any) -> Features:
    """The rows that ``packed`` was given."""
    if isinstance(rows, np.ndarray):
        return rows
    *arrays, shape = rows
    return sp.csr_array(tuple(arrays), shape=tuple(shape))
