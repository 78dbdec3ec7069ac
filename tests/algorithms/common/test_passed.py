"""Rows of a channel that is read by other and other numbers of hosts: each is seen once in every epoch."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from algorithms.common.passed import Passed, joined

ROWS, EPOCHS = 47, 4


@dataclass
class Host:
    """One of several, which says what the others say when it asks them."""

    rank: int
    size: int
    told: list[Any] = field(default_factory=list)

    def sum(self, *arrays: np.ndarray) -> list[np.ndarray]:
        raise NotImplementedError

    def sum_in_place(self, array: np.ndarray) -> None:
        raise NotImplementedError

    def gather(self, value: Any) -> list[Any]:
        return self.told or [value]


def read(passed: Passed, host: Host, seen: Counter, steps: float, random: np.random.Generator) -> None:
    """So many batches of random sizes, or until the last epoch is over."""
    share = np.arange(host.rank, ROWS, host.size)[:, None]
    while passed.epoch < EPOCHS and steps > 0:
        rows = share[passed.rows : passed.rows + random.integers(1, 6)]
        if len(rows):
            seen.update((passed.epoch, int(row)) for row in passed.unseen(rows, host)[:, 0])
            steps -= 1
        if passed.rows == len(share):
            passed.epoch_over()


@pytest.mark.parametrize("seed", range(20))
def test_each_row_is_seen_once_an_epoch_however_often_the_number_of_hosts_changes(seed):
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 6, size=4).tolist()
    seen: Counter = Counter()
    places = [Passed() for _ in range(sizes[0])]
    for number, size in enumerate(sizes):
        if number:
            mine = {rank: one for rank, one in enumerate(places) if rank % size == 0}
            told = [
                [[rank, one.epoch, one.rows, one.earlier] for rank, one in enumerate(places) if rank % size == host]
                for host in range(size)
            ]
            places = [joined(len(places), mine, Host(rank, size, told))[0] for rank in range(size)]
        last = number == len(sizes) - 1
        for rank, one in enumerate(places):
            read(one, Host(rank, size), seen, np.inf if last else random.integers(0, 25), random)
    assert seen == Counter((epoch, row) for epoch in range(EPOCHS) for row in range(ROWS))


def test_rows_of_a_host_whose_state_is_lost_are_read_anew():
    passed, behind = joined(2, {0: Passed(epoch=2, rows=3)}, Host(0, 1))
    assert (passed.epoch, behind) == (0, 1)
    rows = np.arange(10)[:, None]
    assert passed.unseen(rows, Host(0, 1))[:, 0].tolist() == [1, 3, 5, 7, 9]
    passed.epoch, passed.rows = 2, 0
    assert passed.unseen(rows, Host(0, 1))[:, 0].tolist() == [1, 3, 5, 6, 7, 8, 9]
