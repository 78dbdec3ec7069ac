"""Local steps of several hosts, whose parameters are averaged now and then: for models for which a sum of gradients in
each step would cost more than the step.

A job starts with steps that all hosts take together, by the sum of their gradients. After ``TOGETHER`` of them, when
the model changes less, hosts take steps by themselves (Lin et al., "Don't Use Large Mini-Batches, Use Local SGD", ICLR
2020, section 4: post-local SGD). Each host has its own moments; after an exchange all have the same parameters.

Of sparse rows only parameters that were touched are exchanged, and only once a host has touched them often enough.
Where hosts have taken s_1, ..., s_n steps on a column, of up to H since its last exchange, they would together have
taken about u = H (1 - prod(1 - s_i / H)) steps on it: as many as one of them where it is in all batches, and as many
as all of them where it is rare. An optimizer whose steps do not grow with the gradient, as Adam's, moves it by u /
(s_1 + ... + s_n) times the sum of what they have moved it; one whose steps do, as SGD's, by the sum weighted by their
shares of the rows, as the mean gradient over all rows would.

The numbers of steps follow from sizes alone, which all hosts know. So a job that goes on after an interruption takes
the same steps.
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
"""Steps that hosts take together before the first local one; small jobs, which take seconds, have no local ones. They
end after ``SOON`` steps if writing what other hosts have touched takes longer than a step."""
FIRST, MOST = 16, 512
"""Steps between exchanges: at first, and at most; they are doubled until exchanges are cheap enough."""
SHARE = 0.1
"""The share of the time of the steps before it that an exchange may take."""
PROGRESS = 16
"""A period between exchanges is used once the job has taken so many times its steps, so that what hosts learn apart is
a small part of what they know. Without it, short jobs came to 512 steps between exchanges and exchanged once, at their
end."""
_HOP, _RATE = 1e-4, 5e8
"""Seconds for a message to arrive, and bytes a second that a host sends and takes in, as measured between two network
namespaces; see the page on hosts."""
DUE, LATEST = 8, 64
"""From so many steps of a host on since its last exchange, a row of parameters is exchanged: moved by fewer, it is
hardly another. At learning rates of 0.01, 16 made models a little worse, and took as long; at smaller ones a row may
wait for more steps, up to ``LATEST``, until it may have moved as far as ``_FAR``. Two hosts wait so long, and more of
them less, for what they move a rare row by adds up."""
_FAR = 0.08
CACHE = 1 << 24
"""Bytes of arrays that mostly fit into a processor's caches."""
MOST_EXCHANGES = 4096
"""Most exchanges from one of all parameters to the next, as many are remembered."""
_SCAN = 16
"""If more than one in so many entries of an array is wanted, all of it is scanned, instead of sorting these."""
_ALWAYS = np.float32(1 - 2**-24)
"""Largest share of steps, so that the logarithm of the rest is finite."""
_BLOCK = 1 << 14
"""Columns that are exchanged at once, while they are in the processor's cache."""
_TOUCH = 1e-7
"""Seconds to read or write a row of a large array of parameters, which no cache holds."""


def sum_seconds(hosts: int, size: int) -> float:
    """Seconds for a sum of ``size`` bytes: each of n hosts sends a part to its neighbour 2 (n - 1) times."""
    return 2 * (hosts - 1) * (_HOP + size / hosts / _RATE)


def exchange_seconds(hosts: int, rows: int, width: int) -> float:
    """Seconds for an exchange if each host has touched ``rows`` rows of ``width`` parameters."""
    numbers, parameters = 6 * rows * hosts, 4 * rows * hosts * width
    sums = sum_seconds(hosts, 8) + sum_seconds(hosts, numbers) + sum_seconds(hosts, parameters)
    return sums + _TOUCH * rows * (1 + hosts)


def are_over(taken: int, hosts: int, step: float, rows: int, size: int) -> bool:
    """Whether the steps that hosts take together are over after so many, in the last of which each host has touched so
    many ``rows``.

    Args:
        step: see ``next_period``.
        size: bytes of parameters and moments.
    """
    return taken == TOGETHER or (taken == SOON and size > CACHE and _TOUCH * rows * (1 + hosts) > step)


def next_period(period: int, hosts: int, step: float, rows: int, width: int, taken: int) -> int:
    """Steps until the next exchange, after ``period`` of them in which each host has touched so many ``rows``; 1 is for
    steps that are taken together.

    Args:
        step: seconds that a step takes a host, as its sizes tell.
        taken: steps of the job.
    """
    if hosts == 1 or exchange_seconds(hosts, rows, width) <= SHARE * period * step:
        return period
    if period == 1:
        return FIRST
    return min(2 * period, MOST) if 2 * PROGRESS * period <= taken else period


def due_after(rate: float, hosts: int) -> int:
    """From how many steps of a host on a row is due, where a step moves a parameter by about ``rate``, as Adam's do.

    >>> [due_after(rate, 2) for rate in (0.03, 0.01, 0.004, 0.001, 0.0)]
    [8, 8, 20, 64, 64]
    >>> due_after(0.01, 4), due_after(0.0, 4), due_after(0.01, 16)
    (3, 22, 1)
    """
    steps = LATEST if rate * LATEST <= _FAR else max(DUE, round(_FAR / rate))
    return -(-steps // (hosts - 1))


@dataclass(frozen=True)
class Agreed:
    """What all hosts know after an exchange.

    Attributes:
        rows: of all hosts in the steps since the last one. steps: the most of a host. touched: rows of parameters that
            were due on a host, in the mean. stopped: one was asked to stop.
        common: what all hosts together have added to parameters that every step touches.
    """

    rows: int
    steps: int
    touched: int
    stopped: bool
    common: np.ndarray


class LocalSteps:
    """Records which parameters this host has changed since the other hosts got them, and exchanges them.

    Of ten million columns most occur once in thousands of rows. The changes to such a column are exchanged once the
    host has taken enough steps on it (``due_after``), or once an exchange of everything is cheap compared with the
    steps since the last one; before that the other hosts hardly need them.

    Args:
        parameters: float32 arrays of the same length d, which steps change in place.
        by_rows: the optimizer's steps grow with the gradient.
    """

    def __init__(self, hosts: Hosts, parameters: Sequence[np.ndarray], *, by_rows: bool) -> None:
        self._hosts, self._parameters, self._by_rows = hosts, parameters, by_rows
        rows = len(parameters[0])
        # Pages that are never touched cost no memory: so all have room for every row.
        place = np.int32 if rows < 1 << 31 else np.int64
        self._known = np.zeros(rows, [("place", place), ("count", np.uint16), ("last", np.uint16)])  # side by side
        self._places = self._known["place"]  # in what is kept, from 1; 0 for none
        self._counts = self._known["count"]  # steps on each since its last exchange: below LATEST + MOST
        self._last = self._known["last"]  # that exchange, the same on all hosts
        self._columns = np.empty(rows, place)  # those that are kept
        self._due = np.empty(rows, place)  # those that came to as many steps as make them due
        self._before = [np.empty_like(parameter) for parameter in parameters]
        self._widths = [parameter[:1].size for parameter in parameters]
        self._used = self._came = self.steps = self.rows = 0
        self._ends = [0]  # steps up to each exchange, since the last one of everything

    def begin(self, columns: np.ndarray, rows: int, due: int | None = None) -> None:
        """Before a step by ``rows`` rows that changes these rows of the parameters, each named once.

        Args:
            due: from how many steps on a row of parameters is exchanged, ``DUE`` by default; it may rise after an
                exchange, and does not fall.
        """
        due = DUE if due is None else due
        if self._compiled:
            columns, arrays = np.ascontiguousarray(columns, np.int64), (tuple(self._parameters), tuple(self._before))
            lists = self._columns, self._used, self._due, self._came
            self._used, self._came = _keeping.keep(columns, self._known, *lists, due, *arrays)
        else:
            self._keep(columns, due)
        self.steps, self.rows = self.steps + 1, self.rows + rows

    @property
    def _compiled(self) -> bool:
        return _keeping is not None and self._places.dtype == np.int32

    def _keep(self, columns: np.ndarray, least: int) -> None:
        """Count a step on each of the columns. Keep the parameters of those with their first step; those with their
        step number ``least`` are due."""
        counts = self._counts[columns]
        self._counts[columns] = counts + np.uint16(1)
        due = columns[counts == least - 1]
        self._due[self._came : self._came + len(due)] = due
        self._came += len(due)
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
        """Give rows of parameters that are due on a host the values on which all hosts agree; all rows, if that takes
        at most a ``SHARE`` of the time of the steps since this was last done.

        Args:
            common: what this host has added to parameters that every step touches, of any shape.
            step: seconds that a step takes; None for an exchange of everything.
        """
        mine = self._touched() if step is None else np.sort(self._due[: self._came])
        packed = _packed(mine, len(self._known))
        told = self._hosts.gather([self.steps, self.rows, stopped, self._used, len(mine), packed, common])
        steps, rows, stops, kept, lengths, touched, commons = zip(*told, strict=True)
        most, hosts = max(steps), len(told)
        parts = [(one / max(sum(rows), 1)) if self._by_rows else most / max(sum(steps), 1) for one in rows]
        self._ends.append(self._ends[-1] + most)
        everything = step is None
        if step is not None:
            seconds = exchange_seconds(hosts, sum(kept) // hosts, sum(self._widths))
            everything = seconds <= SHARE * step * self._ends[-1] or len(self._ends) > MOST_EXCHANGES
            if everything:
                touched = tuple(self._hosts.gather(_packed(self._touched(), len(self._known))))
        now = 0 if everything else len(self._ends) - 1
        self._agree(_joined(touched, len(self._known)), parts[self._hosts.rank], now)
        self._came = 0
        if everything:
            if len(self._ends) == 2:
                self._places[self._columns[: self._used]] = 0
            else:  # some columns have been moved by earlier exchanges only
                self._known.view(np.uint8)[:] = 0
            self._used, self._ends = 0, [0]
        self.steps = self.rows = 0
        added = sum((np.float32(part) * one for part, one in zip(parts, commons, strict=True)), np.zeros_like(common))
        return Agreed(sum(rows), most, sum(lengths) // hosts, any(stops), added)

    def _touched(self) -> np.ndarray:
        """The columns on which this host has taken steps since their last exchange, in ascending order, in which large
        arrays are read and written faster."""
        if _SCAN * self._used > len(self._known):
            return np.flatnonzero(self._counts != 0).astype(self._columns.dtype)
        kept = self._columns[: self._used]
        return np.sort(kept[self._counts[kept] > 0])

    def _agree(self, columns: np.ndarray, part: float, now: int) -> None:
        """Give these columns the values on which all hosts agree.

        Args:
            part: of what this host has added to them, where that does not depend on how often it has stepped on them.
            now: number of the exchange.
        """
        ends = np.array(self._ends)
        width = sum(self._widths)
        for start in range(0, len(columns), _BLOCK):
            block = columns[start : start + _BLOCK]
            size = len(block)
            numbers = np.empty((width + 2) * size, np.float32)  # of one sum
            moved, often, seldom = np.split(numbers, [width * size, (width + 1) * size])
            moved = moved.reshape(size, width)
            counts, last = self._moved(block, moved)
            if self._by_rows:
                moved *= np.float32(part)
                self._hosts.sum_in_place(moved)
            else:
                often[:] = counts / (ends[-1] - ends[last])
                np.log1p(-np.minimum(often, _ALWAYS), out=seldom)
                self._hosts.sum_in_place(numbers)
                moved *= (-np.expm1(seldom) / often)[:, None]
            self._move(block, moved, now)

    def _moved(self, columns: np.ndarray, moved: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Fill ``moved`` (n, width) with what this host has added to these columns since their last exchange; how often
        it has stepped on each since, and which exchange that was."""
        if self._compiled:
            counts, last = np.empty(len(columns), np.uint16), np.empty(len(columns), np.uint16)
            arrays = tuple(self._parameters), tuple(self._before)
            _keeping.moved(columns, self._known, self._used, *arrays, moved, counts, last)
            return counts, last
        counts = self._counts[columns]
        mine = np.flatnonzero(counts)
        places = self._places[columns[mine]] - 1
        moved[:] = 0
        for one, parameter, before in zip(self._of_each(moved), self._parameters, self._before, strict=True):
            one[mine] = (parameter[columns[mine]] - before[places]).reshape(len(mine), one.shape[1])
        return counts, self._last[columns]

    def _move(self, columns: np.ndarray, moved: np.ndarray, now: int) -> None:
        """Move these columns by so much (n, width) from where they were at their last exchange; that is ``now``."""
        if self._compiled:
            arrays = tuple(self._parameters), tuple(self._before)
            _keeping.move(columns, self._known, self._used, *arrays, moved, now)
            return
        mine = np.flatnonzero(self._counts[columns])
        places = self._places[columns[mine]] - 1
        for one, parameter, before in zip(self._of_each(moved), self._parameters, self._before, strict=True):
            parameter[columns[mine]] = before[places]
            parameter[columns] += one.reshape(len(columns), *parameter.shape[1:])
        self._counts[columns] = 0
        self._last[columns] = now

    def _of_each(self, moved: np.ndarray) -> list[np.ndarray]:
        """The part of ``moved`` (n, width) of each array of parameters."""
        return np.split(moved, np.cumsum(self._widths)[:-1], axis=1)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The changes that are not exchanged yet, right after an exchange, for a checkpoint."""
        kept = self._columns[: self._used]
        before = {f"before {place}": one[: self._used] for place, one in enumerate(self._before)}
        exchanged = np.flatnonzero(self._last).astype(self._columns.dtype)
        return {
            "columns": kept,
            "counts": self._counts[kept],
            "exchanged": exchanged,
            "last": self._last[exchanged],
            "ends": np.array(self._ends),
            **before,
        }

    def from_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from what ``to_arrays`` gave."""
        kept = arrays["columns"]
        self._used, self._ends = len(kept), arrays["ends"].tolist()
        self._columns[: self._used] = kept
        self._places[kept] = np.arange(1, self._used + 1)
        self._counts[kept] = arrays["counts"]
        self._last[arrays["exchanged"]] = arrays["last"]
        for place, before in enumerate(self._before):
            before[: self._used] = arrays[f"before {place}"]


def _packed(columns: np.ndarray, rows: int) -> np.ndarray:
    """Some of ``rows`` columns, ascending, as a list, or as a bit for each of all columns, whichever is smaller."""
    if columns.nbytes <= rows // 8:
        return columns
    found = np.zeros(rows, bool)
    found[columns] = True
    return np.packbits(found)


def _joined(packed: Sequence[np.ndarray], rows: int) -> np.ndarray:
    """The columns that are in any of what ``_packed`` gave, ascending, int64."""
    lists = [one for one in packed if one.dtype != np.uint8]
    every = np.concatenate(lists) if lists else np.zeros(0, np.int64)
    if len(lists) == len(packed) and _SCAN * len(every) <= rows:
        every.sort()  # np.unique, which hashes, takes ten times as long
        return every[np.diff(every, prepend=-1) > 0].astype(np.int64)
    found = np.zeros(rows, bool)
    found[every] = True
    for bits in packed:
        if bits.dtype == np.uint8:
            found |= np.unpackbits(bits, count=rows).view(bool)
    return np.flatnonzero(found)
