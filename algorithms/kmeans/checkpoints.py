"""Where training is, and its state as a checkpoint: what hosts would merge, so that others may go on from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from algorithms.checkpoints import Checkpoint, rows_from_arrays, rows_to_arrays
from algorithms.common.hosts import packed, unpacked
from algorithms.common.passed import Passed, joined
from algorithms.common.reservoir import Reservoir
from algorithms.interface import Hosts

if TYPE_CHECKING:
    from algorithms.kmeans.fit import State


@dataclass
class Place:
    """How far training is.

    Attributes:
        passed: epochs that are over, and rows of the running one. batches: of it that were seen. before: rows seen
            before it.
        told: batches of all epochs, for the log. recent, total: rows and sum of squared distances, (2,), since its last
            line, and up to it.
    """

    passed: Passed = field(default_factory=Passed)
    batches: int = 0
    before: int = 0
    told: int = 0
    recent: np.ndarray = field(default_factory=lambda: np.zeros(2))
    total: np.ndarray = field(default_factory=lambda: np.zeros(2))


def to_checkpoint(state: State, place: Place) -> Checkpoint:
    """Centers, sample, random generator, and the place."""
    sample = state.sample.packed()
    numbers = {
        **{name: getattr(place, name) for name in ("batches", "before", "told")},
        **asdict(place.passed),
        "recent": place.recent.tolist(),
        "total": place.total.tolist(),
        "all_rows": state.rows,
        "time": state.time,
        "sample_size": state.sample_size,
        "limit": sample["limit"],
        "parts": len(sample["parts"]),
        "random": state.rng.bit_generator.state,
    }
    arrays = {"centers": state.centers, "weights": state.weights}
    for number, (rows, keys, log_weights) in enumerate(sample["parts"]):
        arrays |= rows_to_arrays(f"rows{number}", unpacked(rows))
        arrays |= {f"keys{number}": keys, f"log_weights{number}": log_weights}
    position = f"epoch {place.passed.epoch}" + (f" and {place.batches} batches" if place.batches else "")
    return Checkpoint(position, numbers, arrays)


def resume(state: State, found: Checkpoint, capacity: int) -> Place:
    """Give ``state`` what the checkpoint has, with a sample of ``capacity`` bytes, and return the place."""
    numbers, arrays = found.state, found.arrays
    state.centers, state.weights = arrays["centers"], arrays["weights"]
    state.rows, state.time = numbers["all_rows"], numbers["time"]
    state.rng.bit_generator.state = numbers["random"]
    parts = [
        [packed(rows_from_arrays(f"rows{number}", arrays)), arrays[f"keys{number}"], arrays[f"log_weights{number}"]]
        for number in range(numbers["parts"])
    ]
    state.sample_size = numbers["sample_size"]
    sample = {"size": state.sample_size, "limit": numbers["limit"], "parts": parts}
    state.sample = Reservoir.unpacked(sample, state.rng, capacity)
    place = Place(_passed(found), *(numbers[name] for name in ("batches", "before", "told")))
    place.recent, place.total = np.array(numbers["recent"]), np.array(numbers["total"])
    return place


def _passed(found: Checkpoint) -> Passed:
    return Passed(**{name: found.state[name] for name in ("epoch", "rows", "earlier")})


def join(
    size: int, found: Mapping[int, Checkpoint], make: Callable[[], State], capacity: int, hosts: Hosts
) -> tuple[Checkpoint, int]:
    """See ``algorithms.checkpoints.Join``. Clusters and samples are merged as at the end of a job; the host goes on
    with what is left of the first epoch that is not over on all.

    Args:
        make: a new state of this host.
    """
    state, place = make(), Place()
    passed, behind = joined(size, {rank: _passed(one) for rank, one in found.items()}, hosts)
    for number, (_, one) in enumerate(sorted(found.items())):
        if number == 0:
            place = resume(state, one, capacity)
            state.time *= size / hosts.size  # a host's clock counts its own rows, and weights decay by all hosts'
        else:
            other = make()
            resume(other, one, capacity)
            other.time *= size / hosts.size
            state.keep(max(state.sample_size, other.sample_size))
            state.merge([other])
    place.passed, place.batches, place.before = passed, 0, state.rows
    return to_checkpoint(state, place), behind
