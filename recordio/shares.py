"""The part of a stream that one of several readers takes, so that together they take each row once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from recordio.batches import Batch


class Share(NamedTuple):
    """Every ``of``-th row, record or query group, beginning with number ``rank``; by default all of them.

    Single rows are dealt out, not longer blocks: whatever the size m of the readers' batches, their t-th batches
    together are rows t m of to (t + 1) m of of the stream, the batch that one reader of batches of m of rows has.
    """

    rank: int = 0
    of: int = 1

    def batches(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The rows of this share, in batches cut as they come; batches of no row are left out.

        Rows with query ids are dealt out by query: runs of rows with the same id stay together.
        """
        if self.of == 1:
            yield from batches
            return
        dealt, last = 0, None
        for batch in batches:
            if batch.groups is None:
                numbers = np.arange(dealt, dealt + len(batch))
                dealt += len(batch)
            else:
                begins = np.concatenate([[last is not None and batch.groups[0] != last], np.diff(batch.groups) != 0])
                numbers = dealt + np.cumsum(begins)
                dealt, last = int(numbers[-1]), batch.groups[-1]
            mine = np.flatnonzero(numbers % self.of == self.rank)
            if len(mine):
                yield batch.taken(mine)

    def records(self, records: Iterable[bytes], run: int = 1) -> Iterator[bytes]:
        """The records of this share; each ``run`` of them stay together."""
        return (record for number, record in enumerate(records) if number // run % self.of == self.rank)


ALL = Share()
