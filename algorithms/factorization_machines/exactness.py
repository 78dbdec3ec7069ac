"""Whether the finished machine, on features as they are and in float32, scores as the one that was trained did."""

from __future__ import annotations

from contextlib import closing

import numpy as np

from algorithms.errors import TrainingDataError
from algorithms.factorization_machines.model import FactorizationMachine
from algorithms.factorization_machines.passes import advice
from algorithms.factorization_machines.scaling import Scaling
from algorithms.factorization_machines.steps import State
from algorithms.interface import Job, Stream
from recordio.batches import Batch

USELESS, INEXACT = 0.5, 0.02
"""Errors, as a share of the labels' deviation or of 1 in the score of a class, from which on a machine is refused and
warned of."""
_EXTREME = 1e12
"""Features that are larger, or smaller than its inverse, are named: float32 ends where squares of them are squared."""
_NAMED = 10


def check(model: FactorizationMachine, state: State, scaling: Scaling, stream: Stream, job: Job) -> None:
    """Compare scores on the first rows of each host.

    Raises:
        TrainingDataError: float32 cannot hold the model, or not what its answers need.
    """
    with closing(stream.batches(state.hp.mini_batch_size)) as batches:
        batch = next(batches, Batch(np.zeros((0, model.feature_dim), np.float32)))
    with np.errstate(over="ignore", invalid="ignore"):
        error = model.scores(batch).astype(np.float64) - scaling.scores(state.scores(scaling.batch(batch)))
    broken = np.count_nonzero(~np.isfinite(error))
    squares, rows, broken = job.hosts.sum(np.array([np.nansum(error[np.isfinite(error)] ** 2), len(error), broken]))[0]
    size = np.sqrt(squares / max(rows, 1)) / scaling.label_scale
    if broken or size > USELESS:
        raise TrainingDataError(
            f"the model is beyond float32 on the features as they are: {_named(scaling)}. Bring the features to values "
            f"around 1; where they are, {advice(state.hp)}"
        )
    if size > INEXACT:
        job.warning(
            f"In float32, on the features as they are, the model's scores are off by {size:.2g} of the labels' "
            f"deviation: {_named(scaling)}. Subtract the features' means, or bring them to values around 1."
        )


def _named(scaling: Scaling) -> str:
    """The features that it is due to."""
    extreme = np.flatnonzero((scaling.scale > _EXTREME) | (scaling.scale < 1 / _EXTREME))
    if extreme.size:
        some = ", ".join(f"{feature} (about {scaling.scale[feature]:.0e})" for feature in extreme[:_NAMED])
        more = f" and {extreme.size - _NAMED} more" if extreme.size > _NAMED else ""
        return f"features (from 0) {some}{more}"
    if scaling.shift is None:
        return "its values differ too much"
    distance = np.abs(scaling.shift) / scaling.scale
    feature = int(distance.argmax())
    return f"feature {feature} (from 0) lies {distance[feature]:.0f} deviations from 0"
