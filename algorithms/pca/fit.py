"""Training: states of bounded size that see each row once, and the components that follow from them.

``Covariance`` adds up the exact products of all features: O(d^2) memory. ``Exact`` does so too once there are more rows
than features, and keeps the rows themselves until then. ``Sketch`` keeps l << d rows that stand for
all rows seen, and a random projection of their covariance: O(l d) memory. Both are merged without loss of quality, so
parts of the data can be seen by several workers.

Names: X (n, d) rows, c (d,) a fixed shift, mu (d,) the mean, C (d, d) the scatter matrix, the sum of
(x - mu)(x - mu)' over the rows, or of x x' where the mean is not subtracted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from algorithms.checkpoints import rows_from_arrays, rows_to_arrays
from algorithms.common.hosts import packed, unpacked
from algorithms.errors import TrainingDataError
from algorithms.interface import Hosts
from algorithms.pca import covariance
from algorithms.pca.components import Components, check_range, check_rows, ordered
from algorithms.pca.covariance import DOUBLE_DIM, Covariance, reckoned, threads_for_blocks
from algorithms.pca.gram import Rows
from algorithms.pca.sketch import Sketch
from recordio.batches import Features

GIB = 1 << 30
_SMALL_DIM = 1024  # up to here, and up to 4 times its rows, a sketch is slower than the covariance and hardly smaller


class State(Protocol):
    """What has been seen so far. ``block_rows`` is the number of rows that ``update`` handles best at a time,
    ``threads`` how many it makes use of ``side_by_side``."""

    block_rows: int
    threads: int

    @property
    def rows(self) -> int:
        """Number of rows seen."""
        ...

    def update(self, features: Features) -> None:
        """Take in these rows (m, d)."""
        ...

    def merge(self, other: Any) -> None:
        """Take in what another state has seen, which was initialised alike."""
        ...

    def shared(self, hosts: Hosts) -> None:
        """Take in what all hosts have seen. The leader has all of it then; the others need not."""
        ...

    def finalize(self, k: int) -> Components:
        """The k components; the state remains as it is. Raises TrainingDataError if there are too few rows, or their
        numbers are too large."""
        ...

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All of what was seen."""
        ...

    def from_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Become the state that ``to_arrays`` was asked of; this one must have been initialised alike."""
        ...


def initialize(
    feature_dim: int, k: int, *, centred: bool, extra: int | None = None, seed: int = 0, memory: int | None = None
) -> State:
    """The state to start with.

    Args:
        k: number of components that will be asked for.
        extra: None for exact components; for a sketch, the number of its rows beyond k.
        seed: of the sketch. States that will be merged need the same.
        memory: bytes that there are; None where that is not known.
    """
    if extra is not None:
        sketch_rows = min(k + extra, feature_dim)
        if feature_dim > max(_SMALL_DIM, 4 * sketch_rows):
            return Sketch(feature_dim, sketch_rows, centred=centred, seed=seed)
    if feature_dim <= DOUBLE_DIM:
        return Covariance(feature_dim, centred=centred)
    return Exact(feature_dim, centred=centred, memory=memory)


class Exact:
    """Exact. It keeps the rows themselves as long as there are no more of them than features, which takes less memory
    than their covariance and much less time; from then on the covariance.

    Memory: 4 bytes a stored number of the rows, and 16 n^2 bytes while the components are computed; see
    ``Covariance`` beyond d rows.
    """

    def __init__(self, feature_dim: int, *, centred: bool, memory: int | None = None) -> None:
        self.feature_dim = feature_dim
        self.centred = centred
        self.block_rows = covariance.BLOCK_ROWS
        self.threads = threads_for_blocks(feature_dim)
        self._memory = memory
        self._held = Rows(feature_dim)
        self._covariance: Covariance | None = None

    @property
    def rows(self) -> int:
        """Number of rows seen."""
        return self._covariance.rows if self._covariance else self._held.count

    def update(self, features: Features) -> None:
        """Take in these rows (m, d)."""
        if self._covariance is None and self._held.count + features.shape[0] <= self.feature_dim:
            self._held.add(features)
        else:
            self._poured().update(features)

    def _poured(self) -> Covariance:
        """The covariance, which has seen the rows that were held.

        Raises:
            TrainingDataError: there is less memory than it takes.
        """
        if self._covariance is None:
            self._check_memory()
            self._covariance = Covariance(self.feature_dim, centred=self.centred)
            for block in self._held.blocks:
                self._covariance.update(block)
            self._held = Rows(self.feature_dim)
        return self._covariance

    def _check_memory(self) -> None:
        needed = reckoned(self.feature_dim)
        if self._memory is not None and needed > self._memory:
            raise TrainingDataError(
                f"there are more rows than the {self.feature_dim} features, whose exact covariance takes "
                f"{needed / GIB:,.1f} GiB of memory, and this machine or container, or this host's share of it, has "
                f"{self._memory / GIB:,.1f} GiB: "
                "set algorithm_mode=randomized, whose memory grows with feature_dim and not with its square"
            )

    def merge(self, other: Exact) -> None:
        """Take in what another state has seen."""
        if other._covariance is not None:
            self._poured().merge(other._covariance)
        for block in other._held.blocks:
            self.update(block)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The covariance's, or the blocks of rows that are held."""
        if self._covariance is not None:
            return self._covariance.to_arrays()
        blocks = self._held.blocks
        parts = [rows_to_arrays(f"block{number}", block) for number, block in enumerate(blocks)]
        return {"blocks": np.array(len(blocks)), **{name: array for part in parts for name, array in part.items()}}

    def from_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """See ``State``."""
        if "blocks" not in arrays:
            self._covariance = Covariance(self.feature_dim, centred=self.centred)
            self._covariance.from_arrays(arrays)
            return
        for number in range(int(arrays["blocks"])):
            self._held.add(rows_from_arrays(f"block{number}", arrays))

    def shared(self, hosts: Hosts) -> None:
        """Take in the rows of all hosts: as they are if they are no more than features, else as their covariance."""
        if hosts.size == 1:
            return
        if hosts.sum(np.array([self.rows]))[0][0] > self.feature_dim:
            self._poured().shared(hosts)
            return
        parts = hosts.gather([packed(block) for block in self._held.blocks])
        self._held = Rows(self.feature_dim)
        for part in parts:
            for block in part:
                self._held.add(unpacked(block))

    def finalize(self, k: int) -> Components:
        """The k leading components."""
        if self._covariance is not None:
            return self._covariance.finalize(k)
        check_rows(self._held.count, k)
        s, v, mean, total = self._held.decomposed(k, centred=self.centred)
        check_range(total)
        return ordered(s, v, mean, total)
