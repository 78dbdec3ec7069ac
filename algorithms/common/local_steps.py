"""Steps that hosts take by themselves, and the mean of what they have learned after several: for models of which a sum
in each step would cost more than the step.

A job starts with steps that all hosts take together, by the sum of their gradients, and only goes on by itself after
``TOGETHER`` of them, when the model moves less (Lin et al., "Don't Use Large Mini-Batches, Use Local SGD", ICLR 2020,
section 4: post-local SGD). Hosts keep their own moments, and have the same parameters after each exchange.

Of sparse rows only what was touched is exchanged. Where hosts have taken s_1, ..., s_n steps on a column, of up to H,
they would together have taken about u = H (1 - prod(1 - s_i / H)) steps on it: as many as one of them where it is in
all batches, and as many as all of them where it is rare. An optimizer whose steps do not grow with the gradient, as
Adam's, moves it by u / (s_1 + ... + s_n) times the sum of what they have moved it; one whose steps do, as SGD's, by the
sum weighted by their shares of the rows, as the mean gradient over all rows would.

How many steps that are is decided by sizes alone, which all hosts know: so a job that goes on after an interruption
takes the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from algorithms.interface import Hosts

TOGETHER = 256
"""Steps before the first of a host's own. Small jobs have no others: they are over in seconds."""
FIRST, MOST = 16, 512
"""Steps between exchanges: at first, and at most, where doubling them has not made exchanges cheap enough."""
SHARE = 0.1
"""An exchange may take so much of the time of the steps before it."""
_HOP, _RATE = 1e-4, 5e8
"""Seconds for a message to arrive, and bytes a second that a host sends and takes in, as measured between two network
namespaces; see the page on hosts."""
_SCAN = 16
"""From this share of an array on, it is read whole rather than what is in it sorted."""
_BLOCK = 1 << 14
"""Columns that are exchanged at once, while they are in the processor's cache."""
_TOUCH = 1e-7
"""Seconds to read or write a row of a large array of parameters, which no cache holds."""


def sum_seconds(hosts: int, size: int) -> float:
    """What a sum of so many bytes takes: of n hosts each sends a part to its neighbour 2 (n - 1) times."""
    return 2 * (hosts - 1) * (_HOP + size / hosts / _RATE)


def exchange_seconds(hosts: int, rows: int, width: int) -> float:
    """What an exchange takes where each host has touched so many rows of ``width`` parameters."""
    numbers, parameters = 6 * rows * hosts, 4 * rows * hosts * width
    sums = sum_seconds(hosts, 8) + sum_seconds(hosts, numbers) + sum_seconds(hosts, parameters)
    return sums + _TOUCH * rows * (1 + hosts)


def next_period(period: int, hosts: int, step: float, rows: int, width: int) -> int:
    """Steps until the next exchange, after ``period`` of them in which each host has touched so many ``rows``; 1 is for
    steps that are taken together.

    Args:
        step: seconds that a step takes a host, as its sizes tell.
    """
    if hosts == 1 or exchange_seconds(hosts, rows, width) <= SHARE * period * step:
        return period
    return FIRST if period == 1 else min(2 * period, MOST)


@dataclass(frozen=True)
class Agreed:
    """What all hosts know after an exchange.

    Attributes:
        rows: of all hosts in the steps since the last one. steps: the most of a host. touched: rows of parameters that
            a host has touched in them, in the mean. stopped: one was asked to stop.
        common: what all hosts together have added to parameters that every step touches.
    """

    rows: int
    steps: int
    touched: int
    stopped: bool
    common: np.ndarray


class LocalSteps:
    """What this host has changed since the last exchange.

    Args:
        parameters: arrays of the same length d, which steps change in place.
        by_rows: the optimizer's steps grow with the gradient.
    """

    def __init__(self, hosts: Hosts, parameters: Sequence[np.ndarray], *, by_rows: bool) -> None:
        self._hosts, self._parameters, self._by_rows = hosts, parameters, by_rows
        rows = len(parameters[0])
        self._counts = np.zeros(rows, np.uint16)  # steps on each; pages never touched cost no memory
        self._places = np.empty(rows, np.int32 if rows < 1 << 31 else np.int64)  # scratch: its content means nothing
        self._before = [np.empty((0, *parameter.shape[1:]), np.float32) for parameter in parameters]
        self._forget()

    def _forget(self) -> None:
        self.steps = self.rows = self._used = 0
        self._columns: list[np.ndarray] = []

    def begin(self, columns: np.ndarray, rows: int) -> None:
        """Before a step by ``rows`` rows that changes these rows of the parameters, each named once."""
        new = columns[self._counts[columns] == 0].astype(self._places.dtype)
        self._columns.append(new)
        end = self._used + len(new)
        for place, parameter in enumerate(self._parameters):
            if end > len(self._before[place]):  # kept from period to period: new memory is slow
                longer = np.empty((2 * end, *parameter.shape[1:]), np.float32)
                longer[: self._used] = self._before[place][: self._used]
                self._before[place] = longer
            np.take(parameter, new, axis=0, out=self._before[place][self._used : end], mode="clip")  # the fastest way
        self._used = end
        self._counts[columns] += np.uint16(1)
        self.steps, self.rows = self.steps + 1, self.rows + rows

    def exchange(self, common: np.ndarray, *, stopped: bool) -> Agreed:
        """Give the parameters the values on which all hosts agree.

        Args:
            common: what this host has added to parameters that every step touches, of any shape.
        """
        columns, kept = self._touched()
        counts = self._counts[columns]
        self._counts[columns] = 0
        told = self._hosts.gather([self.steps, self.rows, stopped, columns, counts, common])
        steps, rows = (np.array([one[place] for one in told], np.float32) for place in range(2))
        parts = rows / max(rows.sum(), 1) if self._by_rows else np.full(len(told), steps.max() / max(steps.sum(), 1))
        together, places = self._numbered([one[3] for one in told])
        mine = places[self._hosts.rank]
        if self._by_rows:
            shares = np.full(len(mine), parts[self._hosts.rank], np.float32)
        else:
            shares = _shares([one[4] for one in told], places, len(together), steps.max())[mine]
        for start in range(0, len(together), _BLOCK):
            block = together[start : start + _BLOCK]
            own = slice(*np.searchsorted(mine, (start, start + len(block))))
            self._agree(block, mine[own] - start, kept[own], shares[own])
        self._forget()
        added = sum((part * one[5] for part, one in zip(parts, told, strict=True)), np.zeros_like(common))
        touched = sum(len(one[3]) for one in told) // len(told)
        return Agreed(int(sum(one[1] for one in told)), int(steps.max()), touched, any(one[2] for one in told), added)

    def _agree(self, columns: np.ndarray, mine: np.ndarray, kept: np.ndarray, shares: np.ndarray) -> None:
        """Of these columns, of which this host has touched those at ``mine``, what all hosts have added to them.

        Args:
            kept: where what was there before is kept. shares: of what this host has added.
        """
        now = [np.take(parameter, columns, axis=0, mode="clip") for parameter in self._parameters]
        moved = [np.zeros_like(part) for part in now]
        for total, part, before in zip(moved, now, self._before, strict=True):
            was = np.take(before, kept, axis=0, mode="clip")
            total[mine] = ((np.take(part, mine, axis=0, mode="clip") - was).T * shares).T
            part[mine] = was
        for parameter, part, total in zip(self._parameters, now, self._hosts.sum(*moved), strict=True):
            part += total
            parameter[columns] = part

    def _touched(self) -> tuple[np.ndarray, np.ndarray]:
        """The columns (u,) that this host has touched, in ascending order, for large arrays are read and written faster
        in it, and where it keeps what was there before."""
        found = np.concatenate([self._places[:0], *self._columns])
        columns = np.flatnonzero(self._counts) if _SCAN * len(found) > len(self._counts) else np.sort(found)
        columns = columns.astype(self._places.dtype)
        self._places[found] = np.arange(len(found))
        return columns, self._places[columns]

    def _numbered(self, columns: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
        """The columns (u,) of all hosts, in ascending order, and where each host's are in them."""
        every = np.concatenate(columns)
        if _SCAN * len(every) > len(self._counts):
            self._counts[every] = 1
            together = np.flatnonzero(self._counts)
            self._counts[together] = 0
        else:
            together = np.unique(every)
        self._places[together] = np.arange(len(together))
        return together, [self._places[one] for one in columns]


def _shares(counts: list[np.ndarray], places: list[np.ndarray], size: int, steps: float) -> np.ndarray:
    """Of each of ``size`` columns, how many steps all hosts would have taken on it together as a share of their own."""
    missed, taken = np.ones(size, np.float32), np.zeros(size, np.float32)
    for own, where in zip(counts, places, strict=True):
        missed[where] *= 1 - own / np.float32(steps)
        taken[where] += own
    return np.asarray(steps * (1 - missed) / taken, np.float32)
