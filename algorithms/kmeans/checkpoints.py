"""Where training is, and its state as a checkpoint: what hosts would merge, so that others may go on from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from algorithms.checkpoints import Checkpoint
from algorithms.common.passed import Passed, joined
from algorithms.interface import Hosts
from algorithms.kmeans.narrow import Met

if TYPE_CHECKING:
    from algorithms.kmeans.state import State


@dataclass
class Place:
    """How far training is.

    Attributes:
        passed: epochs that are over, and rows of the running one. before: rows seen before it. began: the state's time
            when it began.
        told: batches of all epochs, for the log. recent, total: rows and sum of squared distances, (2,), since its last
            line, and up to it.
    """

    passed: Passed = field(default_factory=Passed)
    before: int = 0
    began: float = 0.0
    told: int = 0
    recent: np.ndarray = field(default_factory=lambda: np.zeros(2))
    total: np.ndarray = field(default_factory=lambda: np.zeros(2))


def to_checkpoint(state: State, place: Place) -> Checkpoint:
    """Centers, sample, random generator, and the place."""
    numbers = {
        **place.passed.state(),
        "before": place.before,
        "began": place.began,
        "told": place.told,
        "recent": place.recent.tolist(),
        "total": place.total.tolist(),
        "all_rows": state.rows,
        "time": state.time,
        "sample_size": state.sample_size,
        "random": state.rng.bit_generator.state,
    }
    arrays = {"centers": state.used, "weights": state.weights, **state.sample.to_arrays()}
    if state.met is not None:
        numbers["width"], arrays["met"] = state.met.width, state.met.features
    batches = place.passed.batches
    position = f"epoch {place.passed.epoch}" + (f" and {batches} batches" if batches else "")
    return Checkpoint(position, numbers, arrays)


def resume(state: State, found: Checkpoint) -> Place:
    """Give ``state`` what the checkpoint has, and return the place."""
    numbers, arrays = found.state, found.arrays
    state.centers, state.weights = arrays["centers"], arrays["weights"]
    state.met = Met(numbers["width"], arrays["met"]) if "met" in arrays else None
    state.rows, state.time = numbers["all_rows"], numbers["time"]
    state.rng.bit_generator.state = numbers["random"]
    state.keep(numbers["sample_size"])
    state.sample.from_arrays(arrays)
    recent, total = np.array(numbers["recent"]), np.array(numbers["total"])
    return Place(Passed.of(found), numbers["before"], numbers["began"], numbers["told"], recent, total)


def join(size: int, found: Mapping[int, Checkpoint], make: Callable[[], State], hosts: Hosts) -> tuple[Checkpoint, int]:
    """See ``algorithms.checkpoints.Join``. Clusters and samples are merged as at the end of a job; the host goes on
    with what is left of the first epoch that is not over on all.

    Args:
        make: a new state of this host.
    """
    state, place = make(), Place()
    passed, behind = joined(size, {rank: Passed.of(one) for rank, one in found.items()}, hosts)
    clock = size / hosts.size  # a host's time counts its own rows, and weights decay by all hosts'
    for number, (_, one) in enumerate(sorted(found.items())):
        other = make() if number else state
        known = resume(other, one)
        other.time *= clock
        if number == 0:
            place = known
        else:
            state.keep(max(state.sample_size, other.sample_size))
            state.pass_time(other.time)
            other.pass_time(state.time)
            state.merge([other])
    told = hosts.gather([[rank, one.state["began"]] for rank, one in found.items()])
    began = {rank: clock * time for of_host in told for rank, time in of_host}
    place.passed, place.before, place.began = passed, state.rows, began.get(behind, 0.0)
    return to_checkpoint(state, place), behind
