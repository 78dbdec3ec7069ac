"""Where training is, and its state as a checkpoint: what hosts would merge, so that others may go on from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from algorithms.checkpoints import Checkpoint, rows_from_arrays, rows_to_arrays
from algorithms.common.hosts import packed, unpacked
from algorithms.common.reservoir import Reservoir

if TYPE_CHECKING:
    from algorithms.kmeans.fit import State


@dataclass
class Place:
    """How far training is.

    Attributes:
        epoch: epochs that are over. batches: of the running one that were seen. before: rows seen before it.
        told: batches of all epochs, for the log. recent, total: rows and sum of squared distances, (2,), since its last
            line, and up to it.
    """

    epoch: int = 0
    batches: int = 0
    before: int = 0
    told: int = 0
    recent: np.ndarray = field(default_factory=lambda: np.zeros(2))
    total: np.ndarray = field(default_factory=lambda: np.zeros(2))


def to_checkpoint(state: State, place: Place) -> Checkpoint:
    """Centers, sample, random generator, and the place."""
    sample = state.sample.packed()
    numbers = {
        **{name: getattr(place, name) for name in ("epoch", "batches", "before", "told")},
        "recent": place.recent.tolist(),
        "total": place.total.tolist(),
        "rows": state.rows,
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
    position = f"epoch {place.epoch}" + (f" and {place.batches} batches" if place.batches else "")
    return Checkpoint(position, numbers, arrays)


def resume(state: State, found: Checkpoint, capacity: int) -> Place:
    """Give ``state`` what the checkpoint has, with a sample of ``capacity`` bytes, and return the place."""
    numbers, arrays = found.state, found.arrays
    state.centers, state.weights = arrays["centers"], arrays["weights"]
    state.rows, state.time = numbers["rows"], numbers["time"]
    state.rng.bit_generator.state = numbers["random"]
    parts = [
        [packed(rows_from_arrays(f"rows{number}", arrays)), arrays[f"keys{number}"], arrays[f"log_weights{number}"]]
        for number in range(numbers["parts"])
    ]
    state.sample_size = numbers["sample_size"]
    sample = {"size": state.sample_size, "limit": numbers["limit"], "parts": parts}
    state.sample = Reservoir.unpacked(sample, state.rng, capacity)
    place = Place(**{name: numbers[name] for name in ("epoch", "batches", "before", "told")})
    place.recent, place.total = np.array(numbers["recent"]), np.array(numbers["total"])
    return place
