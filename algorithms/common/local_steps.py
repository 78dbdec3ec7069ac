"""Steps that hosts take by themselves, and the mean of what they have learned after several: for models of which a sum
in each step would cost more than the step.

A job starts with steps that all hosts take together, by the sum of their gradients, and only goes on by itself after
``TOGETHER`` of them, when the model moves less (Lin et al., "Don't Use Large Mini-Batches, Use Local SGD", ICLR 2020,
section 4: post-local SGD). Hosts keep their own moments, and have the same parameters after each exchange.

Of sparse rows only what was touched is exchanged: what is touched often each time, and the rest when there were steps
enough to pay for it. Where hosts have taken s_1, ..., s_n steps on a column, of up to H, they would together have taken
about u = H (1 - prod(1 - s_i / H)) steps on it: as many as one of them where it is in all batches, and as many as all
of them where it is rare. An optimizer whose steps do not grow with the gradient, as Adam's, moves it by
u / (s_1 + ... + s_n) times the sum of what they have moved it; one whose steps do, as SGD's, by the sum weighted by
their shares of the rows, as the mean gradient over all rows would.

How many steps that are is decided by sizes alone, which all hosts know: so a job that goes on after an interruption
takes the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from algorithms.interface import Hosts

try:
    from algorithms.common import _keeping  # type: ignore[attr-defined]
except ImportError:  # built without a compiler: numpy does the same, slower
    _keeping = None

TOGETHER, SOON = 256, 32
"""Steps before the first of a host's own: small jobs have no others, for they are over in seconds. They are ``SOON``
over where to write what others have touched takes longer than the step."""
FIRST, MOST = 16, 512
"""Steps between exchanges: at first, and at most, where doubling them has not made exchanges cheap enough."""
SHARE = 0.1
"""An exchange may take so much of the time of the steps before it."""
_HOP, _RATE = 1e-4, 5e8
"""Seconds for a message to arrive, and bytes a second that a host sends and takes in, as measured between two network
namespaces; see the page on hosts."""
OFTEN = 4
"""From so many steps on between exchanges of everything, a row of parameters is exchanged each time."""
_SCAN = 16
"""From this share of an array on, it is read whole rather than what is in it sorted."""
_NEVER = np.float32(1e-20)
"""In the place of 0 in logarithms."""
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


def are_over(taken: int, hosts: int, step: float, rows: int) -> bool:
    """Whether the steps that hosts take together are over after so many, in the last of which each host has touched so
    many ``rows``.

    Args:
        step: see ``next_period``.
    """
    return taken == TOGETHER or (taken == SOON and _TOUCH * rows * (1 + hosts) > step)


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
            a host has exchanged, in the mean. stopped: one was asked to stop.
        common: what all hosts together have added to parameters that every step touches.
    """

    rows: int
    steps: int
    touched: int
    stopped: bool
    common: np.ndarray


class LocalSteps:
    """What this host has changed and others do not know of.

    Rows of the parameters that are stepped on often are exchanged each time. Of ten million columns most occur once in
    thousands of rows: what a host has added to those waits until an exchange of everything is cheap beside the steps
    since the last one, and before it the others hardly miss it.

    Args:
        parameters: arrays of the same length d, which steps change in place.
        by_rows: the optimizer's steps grow with the gradient.
    """

    def __init__(self, hosts: Hosts, parameters: Sequence[np.ndarray], *, by_rows: bool) -> None:
        self._hosts, self._parameters, self._by_rows = hosts, parameters, by_rows
        rows = len(parameters[0])
        # Pages that are never touched cost no memory: so all have room for every row.
        self._counts = np.zeros(rows, np.uint16)  # steps on each since its last exchange: below OFTEN + MOST
        self._often = np.zeros(rows, bool)  # the same on all hosts
        self._places = np.zeros(rows, np.int32 if rows < 1 << 31 else np.int64)  # in what is kept, from 1; 0 for none
        self._columns = np.empty(rows, self._places.dtype)  # those that are kept
        self._before = [np.empty_like(parameter) for parameter in parameters]
        self._used = self._waiting = self.steps = self.rows = 0

    def begin(self, columns: np.ndarray, rows: int) -> None:
        """Before a step by ``rows`` rows that changes these rows of the parameters, each named once."""
        if _keeping is not None and self._places.dtype == np.int32:
            columns, arrays = np.ascontiguousarray(columns, np.int64), (tuple(self._parameters), tuple(self._before))
            self._used = _keeping.keep(columns, self._counts, self._places, self._columns, self._used, *arrays)
        else:
            self._keep(columns)
        self.steps, self.rows = self.steps + 1, self.rows + rows

    def _keep(self, columns: np.ndarray) -> None:
        """Count a step on each of the columns, and keep the rows of those that it is the first one on."""
        counts = self._counts[columns]
        self._counts[columns] = counts + np.uint16(1)
        new = columns[counts == 0]
        places = self._places[new]
        again, new, places = new[places > 0], new[places == 0], places[places > 0] - 1
        end = self._used + len(new)
        self._columns[self._used : end] = new
        self._places[new] = np.arange(self._used + 1, end + 1)
        for before, parameter in zip(self._before, self._parameters, strict=True):
            np.take(parameter, new, axis=0, out=before[self._used : end], mode="clip")  # the fastest way
            before[places] = parameter[again]
        self._used = end

    def exchange(self, common: np.ndarray, *, stopped: bool, step: float | None = None) -> Agreed:
        """Give rows that are stepped on often the values on which all hosts agree, and the others too where that takes
        no more than a ``SHARE`` of the steps since they were.

        Args:
            common: what this host has added to parameters that every step touches, of any shape.
            step: seconds that a step takes; None for an exchange of everything.
        """
        told = self._hosts.gather([self.steps, self.rows, stopped, self._used, self._touched(OFTEN), common])
        steps, rows, stops, kept, often, commons = zip(*told, strict=True)
        most, hosts = max(steps), len(told)
        parts = [(one / max(sum(rows), 1)) if self._by_rows else most / max(sum(steps), 1) for one in rows]
        self._waiting += most
        part = parts[self._hosts.rank]
        together = self._joined(often)
        self._agree(together, part, most)
        self._often[together] = True
        width = sum(parameter[:1].size for parameter in self._parameters)
        seconds = exchange_seconds(hosts, sum(kept) // hosts, width)
        if step is None or seconds <= SHARE * step * self._waiting:
            self._agree(self._joined(self._hosts.gather(self._touched(1))), part, most)
            self._places[self._columns[: self._used]] = 0
            self._used = self._waiting = 0
        self.steps = self.rows = 0
        added = sum((np.float32(part) * one for part, one in zip(parts, commons, strict=True)), np.zeros_like(common))
        return Agreed(sum(rows), most, sum(map(len, often)) // hosts, any(stops), added)

    def _touched(self, least: int) -> np.ndarray:
        """The columns on which this host has stepped so often since their last exchange, or which are exchanged each
        time; in ascending order, for large arrays are read and written faster in it."""
        counts, often = self._counts, self._often
        if _SCAN * self._used > len(counts):
            found = np.flatnonzero((counts >= least) | (often & (counts > 0)))
            return found.astype(self._columns.dtype)
        kept = self._columns[: self._used]
        counts = counts[kept]
        return np.sort(kept[(counts >= least) | (often[kept] & (counts > 0))])

    def _joined(self, columns: Sequence[np.ndarray]) -> np.ndarray:
        """The columns of all hosts, in ascending order."""
        every = np.concatenate(columns)
        if _SCAN * len(every) <= len(self._counts):
            return np.unique(every)
        found = np.zeros(len(self._counts), bool)
        found[every] = True
        return np.flatnonzero(found)

    def _agree(self, columns: np.ndarray, part: float, steps: int) -> None:
        """Give these columns the values on which all hosts agree.

        Args:
            part: of what this host has added to them, where that does not depend on how often it has stepped on them.
            steps: the most of a host since the last exchange.
        """
        for start in range(0, len(columns), _BLOCK):
            block = columns[start : start + _BLOCK]
            counts = self._counts[block]
            mine = np.flatnonzero(counts)
            places = self._places[block[mine]] - 1
            now = [np.take(parameter, block, axis=0, mode="clip") for parameter in self._parameters]
            moved = [np.zeros_like(one) for one in now]
            for one, total, before in zip(now, moved, self._before, strict=True):
                was = np.take(before, places, axis=0, mode="clip")
                total[mine] = np.take(one, mine, axis=0, mode="clip") - was
                one[mine] = was
            if self._by_rows:
                totals = self._hosts.sum(*(total * np.float32(part) for total in moved))
            else:
                since = np.where(self._often[block], np.float32(steps), np.float32(self._waiting))
                missed = np.log(np.maximum(1 - counts / since, _NEVER))
                *totals, taken, missed = self._hosts.sum(*moved, counts.astype(np.float32), missed)
                shares = since * (1 - np.exp(missed)) / taken
                totals = [(total.T * shares).T for total in totals]
            for parameter, one, total in zip(self._parameters, now, totals, strict=True):
                parameter[block] = one + total
            self._counts[block] = 0

    def to_arrays(self) -> dict[str, np.ndarray]:
        """What waits for an exchange of everything, right after an exchange, for a checkpoint."""
        kept = self._columns[: self._used]
        before = {f"before {place}": one[: self._used] for place, one in enumerate(self._before)}
        return {
            "columns": kept,
            "counts": self._counts[kept],
            "often": np.flatnonzero(self._often),
            "waiting": np.array(self._waiting),
            **before,
        }

    def from_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from what ``to_arrays`` gave."""
        kept = arrays["columns"]
        self._used, self._waiting = len(kept), int(arrays["waiting"])
        self._columns[: self._used] = kept
        self._places[kept] = np.arange(1, self._used + 1)
        self._counts[kept] = arrays["counts"]
        self._often[arrays["often"]] = True
        for place, before in enumerate(self._before):
            before[: self._used] = arrays[f"before {place}"]
