"""Which rows of a channel have been seen, by this host and, if the number of hosts has changed, by those before.

Of n hosts, the one of rank r takes row i if i modulo n is r. So from how far each host has read it follows for every
row whether it was seen, and in which epoch, whatever the number of hosts that go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from algorithms.checkpoints import Checkpoint
from algorithms.interface import Hosts, Job, Stream
from recordio.batches import Features

Layer = list[list[int]]
"""For each of the hosts that trained together: the epochs that it has read completely, and the rows of its share that
it has read of the next one."""


@dataclass
class Passed:
    """How far a host has read.

    Attributes:
        epoch: epochs that are over.
        rows: rows of its share of the running epoch that it has read or, if other hosts had seen them, skipped.
        batches: the number of batches of these rows.
        earlier: how far the hosts had read, each time when their number changed.
        places: numbers of the rows that ``read`` gave last, (m,), in this host's share of the epoch, counted from 0.
        stopped: a stop was asked for before the end of the epoch.
    """

    epoch: int = 0
    rows: int = 0
    batches: int = 0
    earlier: list[Layer] = field(default_factory=list)
    places: np.ndarray = field(default_factory=lambda: np.arange(0))
    stopped: bool = False

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {"epoch": self.epoch, "rows": self.rows, "batches": self.batches, "earlier": self.earlier}

    @classmethod
    def of(cls, found: Checkpoint) -> Passed:
        """How far the host was that wrote a checkpoint with our ``state`` in its own."""
        return cls(**{name: found.state[name] for name in ("epoch", "rows", "batches", "earlier")})

    def read(self, stream: Stream, size: int, job: Job, checkpoint: Callable[[], Checkpoint]) -> Iterator[Features]:
        """The rows of the running epoch that no host has seen, (m, d), m >= 1, in batches of ``size`` rows.

        After the caller has used a batch, and after an epoch without rows, the job may write a ``checkpoint``. If a
        stop was asked for, no batch follows.
        """
        before = self.batches
        for number, batch in enumerate(stream.batches(size)):
            if number < before:  # seen before an interruption
                continue
            features = self.unseen(batch.features, job.hosts)
            self.batches = number + 1
            if features.shape[0]:
                yield features
            self.stopped = job.stop_requested  # asked before the checkpoint, which is then written
            if stream.repeats:
                job.checkpoints.offer(checkpoint, alone=True)
            if self.stopped:
                return
        if not self.batches:  # a host without rows must notice a stop, too
            self.stopped = job.stop_requested
            if stream.repeats:
                job.checkpoints.offer(checkpoint, alone=True)

    def unseen(self, features: Features, hosts: Hosts) -> Features:
        """The next rows of its share, (n, d), without those that a host has seen in this epoch: (m, d), m <= n."""
        places = np.arange(self.rows, self.rows + features.shape[0])
        numbers = places * hosts.size + hosts.rank
        self.rows += features.shape[0]
        seen = np.zeros(len(numbers), bool)
        for layer in self.earlier:
            epochs, rows = np.array(layer).T
            owners = numbers % len(layer)
            beyond = (epochs[owners] == self.epoch) & (numbers // len(layer) < rows[owners])
            seen |= (epochs[owners] > self.epoch) | beyond
        self.places = places[~seen]
        return features[~seen] if seen.any() else features

    def epoch_over(self) -> None:
        """Note that the running epoch was read to its end."""
        self.epoch, self.rows, self.batches = self.epoch + 1, 0, 0


def joined(size: int, mine: Mapping[int, Passed], hosts: Hosts) -> tuple[Passed, int]:
    """From where all hosts go on after ``size`` other hosts, and the rank of the first of these that was least far.

    Args:
        mine: how far the hosts were whose states this host takes up, by rank. The rows of a host whose state nobody has
            are read again.
    """
    layer: Layer = [[0, 0] for _ in range(size)]
    told = hosts.gather([[rank, one.epoch, one.rows, one.earlier] for rank, one in mine.items()])
    earlier: list[Layer] = []
    for rank, epoch, rows, before in (one for of_host in told for one in of_host):
        layer[rank], earlier = [epoch, rows], before
    return Passed(min(layer)[0], earlier=[*earlier, layer]), layer.index(min(layer))
