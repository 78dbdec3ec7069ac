"""Which checkpoints a job goes on from where another number of hosts has written some of them.

Hosts may share a folder, or have one each: every host tells what it has, and all come to the same decision.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from container.training.identity import RANK, SIZE, SPREAD


class Seen(NamedTuple):
    """A whole checkpoint that a host has in its folder.

    Attributes:
        size, rank: number of the hosts that trained together, and the one of them that wrote it.
        number: that of the checkpoint; the hosts that go on from others' count on from all that there are.
        joined: the highest number that there was when these hosts took up what another number of them had written;
            0 where they began anew. Only states with the same can be used together.
    """

    size: int
    rank: int
    number: int
    joined: int


@dataclass(frozen=True)
class Choice:
    """Checkpoints that together are the state of the job.

    Attributes:
        size: number of the hosts that wrote them.
        numbers: of the checkpoint of each host, by its rank; of hosts that are absent there is none.
    """

    size: int
    numbers: Mapping[int, int]

    def takers(self, told: Sequence[Iterable[Seen]]) -> dict[int, int]:
        """The host that takes up each checkpoint, by the rank of its writer: one that has it, dealt out in turn."""
        found = {}
        for rank, number in self.numbers.items():
            having = [
                host
                for host, seen in enumerate(told)
                if any((one.size, one.rank, one.number) == (self.size, rank, number) for one in seen)
            ]
            turn = rank % len(told)
            found[rank] = turn if turn in having else having[0]
        return found


def can_join(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> bool:
    """Whether two identities are of one job that differs in nothing but its hosts, of which each has all files: then
    row i is that of host i modulo their number."""
    channels = ours.get("channel", {}).values()
    if any(channel.get(SPREAD) for channel in channels) or not _is_place(theirs):
        return False
    return {**theirs, SIZE: ours.get(SIZE), RANK: ours.get(RANK)} == ours


def _is_place(who: Mapping[str, Any]) -> bool:
    size, rank = who.get(SIZE), who.get(RANK)
    return type(size) is int and type(rank) is int and 0 <= rank < size


def choose(told: Iterable[Iterable[Seen]], size: int, *, alone: bool) -> Choice | None:
    """The newest state of the job; None where there is no such.

    Args:
        told: what each host has.
        size: number of hosts now, whose own checkpoints come first where others are as new.
        alone: the hosts wrote when they liked. Then one may be absent: what it has read is read again. But not where
            they had taken up another number's states, which lie in all of theirs together.
    """
    seen = {one for of_host in told for one in of_host}
    choices = [choice for of in {one.size for one in seen} for choice in _choices(seen, of, alone)]
    return max(choices, key=lambda one: (max(one.numbers.values()), one.size == size), default=None)


def _choices(seen: set[Seen], size: int, alone: bool) -> Iterator[Choice]:
    """The newest state that so many hosts have written, if there is one."""
    mine = [one for one in seen if one.size == size]
    joined = max(one.joined for one in mine)
    of_rank = {rank: {one.number for one in mine if (one.rank, one.joined) == (rank, joined)} for rank in range(size)}
    if not alone:
        if common := set.intersection(*of_rank.values()):
            yield Choice(size, dict.fromkeys(range(size), max(common)))
    elif all(of_rank.values()) or not joined:
        yield Choice(size, {rank: max(numbers) for rank, numbers in of_rank.items() if numbers})
