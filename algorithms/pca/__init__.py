"""Principal component analysis: the orthogonal directions along which the data varies most.

``regular`` adds up the exact covariance; ``randomized`` keeps a sketch for data with too many features for that.
Either sees each row once and takes memory that does not grow with the number of rows.

Reference: N. Halko, P.-G. Martinsson, J. Tropp, "Finding structure with randomness", SIAM Review 2011.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from algorithms.checkpoints import Checkpoint
from algorithms.common.blas import side_by_side
from algorithms.common.engine import PROGRESS, THROUGHPUT, engine, quality, tuning_metric
from algorithms.common.hosts import any_host, from_leader
from algorithms.common.passed import Passed, joined
from algorithms.errors import TrainingDataError, TrainingStopped
from algorithms.events import FinalScore, Measured, Progress, Throughput
from algorithms.hyperparameters import Hyperparameters, choice, flag, integer
from algorithms.interface import (
    CSV,
    JSON,
    JSON_LINES,
    RECORDIO,
    Algorithm,
    Channel,
    Column,
    Configuration,
    Hosts,
    Job,
    Serving,
    Stream,
)
from algorithms.pca import model
from algorithms.pca.components import Components
from algorithms.pca.fit import State, initialize
from algorithms.pca.model import PROJECTION, PCAModel

REGULAR, RANDOMIZED = "regular", "randomized"
_STABLE = "stable"
"""A mode of 2017, also exact, which SageMaker's SDK for Spark still sends."""
EXPLAINED = "explained_variance_ratio"


@dataclass(frozen=True, kw_only=True)
class PCAHyperparameters(Hyperparameters):
    """See the README of this folder."""

    feature_dim: int = integer(at_least=1, help="Number of features.")
    mini_batch_size: int = integer(
        at_least=1,
        help="Rows of a mini-batch.",
        no_effect="Accepted; every row counts once, and they are computed in blocks that suit the processor.",
    )
    num_components: int = integer(at_least=1, help="Number of principal components.")
    algorithm_mode: str = choice(
        REGULAR,
        RANDOMIZED,
        _STABLE,
        default=REGULAR,
        help="The exact covariance, or a sketch for many features; stable is regular, by a name of 2017.",
    )
    extra_components: int = integer(
        default=-1,
        at_least=-1,
        when="algorithm_mode is randomized",
        help="Rows of the sketch beyond num_components; more are more accurate. -1 is max(10, num_components).",
    )
    subtract_mean: bool = flag(default=True, help="Centre the rows, in training and in inference.")
    epochs: int = integer(
        default=1, at_least=1, help="Passes over the data.", no_effect="Accepted; one pass gives the answer."
    )
    force_dense: bool = flag(
        default=True, help="Make sparse rows dense.", no_effect="Accepted; sparse rows are computed as they are."
    )
    tuning_objective_metric: str = tuning_metric()
    kvstore: str = engine("_kvstore", "dist_sync")
    num_kv_servers: str = engine("_num_kv_servers", "auto")
    num_gpus: str = engine("_num_gpus", "auto")
    log_level: str = engine("_log_level", "info")

    def __post_init__(self) -> None:
        """Read the earlier name of a mode as today's."""
        if self.algorithm_mode == _STABLE:
            object.__setattr__(self, "algorithm_mode", REGULAR)

    def check(self) -> list[str]:
        """There must be no more components than features."""
        if self.num_components > self.feature_dim:
            return [
                f"Hyperparameter 'num_components': {self.num_components} is more than feature_dim, {self.feature_dim}"
            ]
        return []

    @property
    def sketch_extra(self) -> int | None:
        """Rows of the sketch beyond num_components; None for the exact covariance."""
        if self.algorithm_mode == REGULAR:
            return None
        return max(10, self.num_components) if self.extra_components == -1 else self.extra_components


class PCA(Algorithm):
    """Principal component analysis, exact or by a sketch, in one pass."""

    name = "pca"
    title = "PCA"
    summary = "Finds the orthogonal directions along which the data varies most, for rows of fewer columns."
    hyperparameters = PCAHyperparameters
    channels = (
        Channel(name="train", required=True, accepts=(RECORDIO, CSV), help="Rows of features; labels are left out."),
        Channel(name="test", accepts=(RECORDIO, CSV), help="Rows on which the final model is scored."),
    )
    columns = (Column(PROJECTION, "The row in the basis of the components, the largest component last.", (None,)),)
    metrics = (
        PROGRESS,
        THROUGHPUT,
        quality(f"test:{EXPLAINED}", score=True),
    )
    serving = Serving(
        accepts=(CSV, JSON, JSON_LINES, RECORDIO), answers=(JSON, JSON_LINES, RECORDIO, CSV), json_key="projections"
    )
    several_hosts = True
    configurations = tuple(
        Configuration(
            name=name,
            hyperparameters={"feature_dim": "4", "num_components": "2", "mini_batch_size": "20", **more},
        )
        for name, more in (
            (REGULAR, {}),
            (RANDOMIZED, {"algorithm_mode": RANDOMIZED}),
            ("not-centred", {"subtract_mean": "false"}),
        )
    )
    load = staticmethod(model.load)
    recognises = staticmethod(model.recognises)

    @classmethod
    def memory(cls, hyperparameters: PCAHyperparameters) -> int:
        """Bytes of the components in float32 and of what is needed to find them: they themselves twice in float64, or
        the sketch's rows, directions and projections; and the mean in float64."""
        d, k = hyperparameters.feature_dim, hyperparameters.num_components
        found = k if hyperparameters.sketch_extra is None else min(k + hyperparameters.sketch_extra, d)
        return d * (4 * k + 16 * found + (8 if hyperparameters.subtract_mean else 0))

    @classmethod
    def fit(cls, hyperparameters: PCAHyperparameters, channels: Mapping[str, Stream], job: Job) -> PCAModel:
        """Train in one pass."""
        k = hyperparameters.num_components
        with job.timer("initialize.time"):
            state = new_state(hyperparameters, job)
        job.info(f"{hyperparameters.feature_dim} feature(s) found in 'data'.")
        _see(state, channels["train"], hyperparameters, job)
        with job.timer("finalize.time"):
            found = Components(*from_leader(job.hosts, lambda: state.finalize(k)))
        model = model_of(found)
        job.info(f"{k} component(s) hold {found.explained:.6g} of the total variance of the training data.")
        if "test" in channels and not any_host(job.hosts, job.stop_requested):
            ratio = explained_variance_ratio(model, channels["test"], job.hosts)
            job.report(Measured.of("test", EXPLAINED, ratio, maximize=True))
            job.report(FinalScore("test", EXPLAINED, ratio))
        return model


def model_of(found: Components) -> PCAModel:
    """The model of what was learned."""
    return PCAModel(found.s, found.v, found.mean, found.total)


def new_state(hyperparameters: PCAHyperparameters, job: Job) -> State:
    """The state to start with."""
    return initialize(
        hyperparameters.feature_dim,
        hyperparameters.num_components,
        centred=hyperparameters.subtract_mean,
        extra=hyperparameters.sketch_extra,
        seed=job.seed,
        memory=job.memory,
    )


def _see(state: State, stream: Stream, hyperparameters: PCAHyperparameters, job: Job) -> None:
    """One pass over the training data."""
    started = time.perf_counter()
    passed = _resume(state, partial(new_state, hyperparameters, job), job)
    checkpoint = partial(_checkpoint, state, passed)
    if passed.epoch == 0:
        with side_by_side(state.threads):
            for features in passed.read(stream, state.block_rows, job, checkpoint):
                if features.shape[1] != hyperparameters.feature_dim:
                    raise TrainingDataError(
                        f"feature_dim is {hyperparameters.feature_dim}, but channel 'train' has {features.shape[1]} "
                        "features"
                    )
                with job.timer("update.time"):
                    state.update(features)
        job.report(Progress(1, 1))
        job.report(Throughput(state.rows, time.perf_counter() - started))
        if not job.stop_requested:
            passed.epoch_over()
            job.checkpoints.offer(checkpoint, epoch_over=True, alone=True)
    stopped = any_host(job.hosts, job.stop_requested)
    state.shared(job.hosts)
    if not state.rows:
        raise TrainingDataError("No training data processed: channel 'train' is empty.")
    if stopped and state.rows < hyperparameters.num_components:
        raise TrainingStopped(f"only {state.rows} rows had been read")
    if stopped:
        job.warning(f"Training was asked to stop: the model is that of the {state.rows} rows read so far.")


def _checkpoint(state: State, passed: Passed) -> Checkpoint:
    """The sums so far, in the form in which hosts merge them, so that another number of hosts can go on from them."""
    return Checkpoint(f"{state.rows} rows", passed.state(), state.to_arrays())


def _resume(state: State, new_state: Callable[[], State], job: Job) -> Passed:
    """Take up the newest checkpoint, if there is one; how far it is."""

    def join(size: int, found: Mapping[int, Checkpoint]) -> tuple[Checkpoint, int]:
        together = new_state()
        for number, (_, one) in enumerate(sorted(found.items())):
            if number == 0:
                together.from_arrays(one.arrays)
            else:
                other = new_state()
                other.from_arrays(one.arrays)
                together.merge(other)
        passed, behind = joined(size, {rank: Passed.of(one) for rank, one in found.items()}, job.hosts)
        return _checkpoint(together, passed), behind

    found = job.checkpoints.latest(alone=True, join=join)
    if found is None:
        return Passed()
    state.from_arrays(found.arrays)
    return Passed.of(found)


def explained_variance_ratio(model: PCAModel, stream: Stream, hosts: Hosts) -> float:
    """The share of the rows' squared distance from the mean (from 0 without one) that their projections keep.

    1 where the rows do not differ from the mean at all.
    """
    kept = total = 0.0
    mean = np.zeros((1, model.feature_dim)) if model.mean is None else model.mean.astype(np.float64)
    for batch in stream.batches():
        projection = model.predict(batch)[PROJECTION]
        kept += float(np.vdot(projection, projection))
        total += _squared_distance(batch.features, mean)
    kept, total = hosts.sum(np.array([kept, total]))[0]
    return float(kept / total) if total > 0 else 1.0


def _squared_distance(rows: Any, mean: np.ndarray) -> float:
    """Sum over the rows (n, d) of their squared distances from ``mean`` (1, d)."""
    if not hasattr(rows, "multiply"):
        steps = rows - mean
        return float(np.vdot(steps, steps))
    squares = float(rows.multiply(rows).sum(dtype=np.float64))
    return squares - 2 * float((rows @ mean[0]).sum()) + rows.shape[0] * float(mean[0] @ mean[0])
