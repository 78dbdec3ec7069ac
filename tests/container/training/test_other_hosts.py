"""Which of the checkpoints of several numbers of hosts a job goes on from."""

from __future__ import annotations

import pytest

from container.training.other_hosts import Choice, Seen, can_join, choose

OURS = {"algorithm": "toy", "number of hosts": 1, "host": 0, "channel": {"train": {"spread over the hosts": False}}}


@pytest.mark.parametrize(
    ("seen", "size", "alone", "together"),
    [
        ([], None, None, None),
        ([(2, 0, 4, 0), (2, 1, 7, 0)], 2, {0: 4, 1: 7}, None),
        ([(2, 0, 4, 0), (2, 0, 3, 0), (2, 1, 3, 0)], 2, {0: 4, 1: 3}, {0: 3, 1: 3}),
        ([(2, 0, 4, 0)], 2, {0: 4}, None),  # the other host's part is read again
        ([(2, 0, 4, 0), (1, 0, 4, 0)], 1, {0: 4}, {0: 4}),  # as new as our own
        ([(2, 0, 9, 8), (1, 0, 8, 0)], 1, {0: 8}, {0: 8}),  # a half of what one host had
        ([(2, 0, 9, 8), (2, 1, 10, 8), (1, 0, 8, 0)], 2, {0: 9, 1: 10}, {0: 8}),
        ([(2, 0, 9, 8), (2, 1, 12, 11), (1, 0, 8, 0)], 1, {0: 8}, {0: 8}),  # of two that do not belong together
    ],
)
def test_the_newest_state_that_is_whole(seen, size, alone, together):
    told = [[Seen(*one) for one in seen]]
    found = choose(told, 1, alone=True)
    assert (found and found.size, found and found.numbers) == (size, alone)
    found = choose(told, 1, alone=False)
    assert (found and found.numbers) == together


def test_each_checkpoint_is_taken_up_by_one_host_that_has_it():
    choice = Choice(3, {0: 5, 1: 6, 2: 7})
    everything = [Seen(3, 0, 5, 0), Seen(3, 1, 6, 0), Seen(3, 2, 7, 0)]
    assert choice.takers([everything, everything]) == {0: 0, 1: 1, 2: 0}
    assert choice.takers([everything[:1], everything[1:]]) == {0: 0, 1: 1, 2: 1}


def test_only_the_number_of_hosts_may_differ():
    theirs = OURS | {"number of hosts": 2, "host": 1}
    assert can_join(theirs, OURS)
    assert not can_join(theirs | {"host": 2}, OURS)
    assert not can_join(theirs | {"algorithm": "other"}, OURS)
    spread = {"channel": {"train": {"spread over the hosts": True}}}
    assert not can_join(theirs | spread, OURS | spread)
