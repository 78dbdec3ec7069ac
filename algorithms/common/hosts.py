"""The hosts that train together, for a job that has no others, and what algorithms share in using them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp

from algorithms.interface import Hosts
from recordio.batches import Batch, Features, concatenate


class OneHost:
    """Implements ``algorithms.interface.Hosts`` where there are no others."""

    rank = 0
    size = 1

    def sum(self, *arrays: np.ndarray) -> list[np.ndarray]:
        """The arrays themselves."""
        return list(arrays)

    def gather(self, value: Any) -> list[Any]:
        """The value itself."""
        return [value]


ONE_HOST = OneHost()


def any_host(hosts: Hosts, flag: bool) -> bool:
    """Whether ``flag`` is true on one of the hosts."""
    return bool(hosts.sum(np.array([int(flag)]))[0][0])


def from_leader(hosts: Hosts, make: Callable[[], Any]) -> Any:
    """On all hosts what ``make`` gives on the leader, for which they wait; see ``Hosts.gather`` for what it may be."""
    return hosts.gather(make() if hosts.rank == 0 else None)[0]


def dealt(parts: list[Features]) -> Features:
    """The rows of all hosts as a channel has them that was dealt out to them row by row: (n, d) of each to (N, d)."""
    places = [np.arange(part.shape[0]) for part in parts]
    owners = np.repeat(np.arange(len(parts)), [len(place) for place in places])
    together = concatenate([Batch(part) for part in parts]).features
    return together[np.lexsort((owners, np.concatenate(places)))] if len(parts) > 1 else together


def packed(features: Features) -> Any:
    """Rows (n, d) as what ``Hosts.gather`` takes."""
    if isinstance(features, np.ndarray):
        return features
    return [features.data, features.indices, features.indptr, list(features.shape)]


def unpacked(rows: Any) -> Features:
    """The rows that ``packed`` was given."""
    if isinstance(rows, np.ndarray):
        return rows
    *arrays, shape = rows
    return sp.csr_array(tuple(arrays), shape=tuple(shape))
