"""K-means for data of any size: rows are read once, in a state that does not grow with their number.

Many more centers than asked for (``extra_center_factor``) follow the stream, each the mean of the rows that were
nearest to it when they came; at the end they are clustered into ``k``, several times over, and the best of these
clusterings is refined on a sample of the rows. Where the data fits into the sample, this is k-means with good starts.

Source: Liberty et al., "Elastic Machine Learning Algorithms in Amazon SageMaker", SIGMOD 2020.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from algorithms.common.engine import PROGRESS, THROUGHPUT, engine, quality, tuning_metric
from algorithms.events import FinalScore, Measured
from algorithms.hyperparameters import AUTO, Hyperparameters, Tunable, choice, flag, integer, listing, real, text
from algorithms.interface import (
    CSV,
    JSON,
    JSON_LINES,
    RECORDIO,
    Algorithm,
    Channel,
    Column,
    Configuration,
    Job,
    Serving,
    Stream,
)
from algorithms.kmeans import model
from algorithms.kmeans.fit import train
from algorithms.kmeans.model import KMeansModel

_ENGINE = "It set up the engine of SageMaker's closed container."


@dataclass(frozen=True, kw_only=True)
class KMeansHyperparameters(Hyperparameters):
    """See the README of this folder."""

    feature_dim: int = integer(at_least=1, help="Number of features of a row.")
    k: int = integer(at_least=1, help="Number of clusters.")
    epochs: int = integer(default=1, at_least=1, tunable=Tunable(1, 10), help="Passes over the training data.")
    eval_metrics: tuple[str, ...] = listing(
        default=("msd",),
        choices=("msd", "ssd"),
        help="Scores on the test channel: mean and sum of squared distances to the nearest center.",
    )
    extra_center_factor: int | str = integer(
        default=AUTO,
        auto=True,
        at_least=1,
        tunable=Tunable(4, 10),
        help="Working centers for each of the k; auto is 10, or less (4 at least) where k x feature_dim is large.",
    )
    half_life_time_size: int = integer(
        default=0,
        at_least=0,
        help="After that many later rows a row's weight has halved; 0 keeps all rows at the same weight.",
    )
    init_method: str = choice(
        "random",
        "kmeans++",
        default="random",
        tunable=Tunable(choices=("kmeans++", "random")),
        help="How the working centers are chosen among the first rows.",
    )
    local_lloyd_init_method: str = choice(
        "random", "kmeans++", default="kmeans++", help="How a clustering of the working centers starts."
    )
    local_lloyd_max_iter: int = integer(default=300, at_least=1, help="Most iterations of a clustering.")
    local_lloyd_num_trials: int | str = integer(
        default=AUTO,
        auto=True,
        at_least=1,
        help="Clusterings of the working centers, of which the best are kept; auto is 10, or less for k above 20.",
    )
    local_lloyd_tol: float = real(
        default=1e-4, at_least=0, at_most=1, help="A clustering ends when the relative fall of its loss is no larger."
    )
    mini_batch_size: int = integer(default=5000, at_least=1, tunable=Tunable(3000, 15000), help="Rows of a batch.")
    force_dense: bool = flag(
        default=True,
        help="Accepted, since the SageMaker SDK always sends it.",
        no_effect="Rows are used as they come, dense or sparse, with the same result.",
    )
    num_slices: str = text(name="_num_slices", default="1", help="Internal.", no_effect=_ENGINE)
    disable_wait_to_read: str = text(name="_disable_wait_to_read", default="false", help="Internal.", no_effect=_ENGINE)
    enable_profiler: str = engine("_enable_profiler", "false")
    kvstore: str = engine("_kvstore", "auto")
    num_kv_servers: str = engine("_num_kv_servers", "1")
    num_gpus: str = engine("_num_gpus", "auto")
    log_level: str = engine("_log_level", "info")
    tuning_objective_metric: str = tuning_metric()


class KMeans(Algorithm):
    """SageMaker's ``kmeans``."""

    name = "kmeans"
    title = "AWS/KMeansWebscale"
    summary = "Clusters rows into k groups around centers, in one pass over data of any size."
    hyperparameters = KMeansHyperparameters
    channels = (
        Channel(name="train", required=True, accepts=(RECORDIO, CSV), help="Rows to cluster; labels are left out."),
        Channel(name="test", accepts=(RECORDIO, CSV), help="Rows on which the centers are scored."),
    )
    columns = (
        Column("closest_cluster", "Index of the nearest center."),
        Column("distance_to_cluster", "Euclidean distance to it."),
    )
    metrics = (
        quality("test:msd", objective=True),
        quality("test:ssd", objective=True),
        quality("train:msd"),
        PROGRESS,
        THROUGHPUT,
    )
    serving = Serving(accepts=(CSV, JSON, JSON_LINES, RECORDIO), multi_model=False)
    several_hosts = True
    configurations = tuple(
        Configuration(name=name, hyperparameters={"feature_dim": "4", "k": "2", "mini_batch_size": "20", **more})
        for name, more in (
            ("one-pass", {}),
            ("decay", {"init_method": "kmeans++", "half_life_time_size": "100", "epochs": "2"}),
            ("random-restarts", {"local_lloyd_init_method": "random", "extra_center_factor": "4"}),
        )
    )
    load = staticmethod(model.load)
    recognises = staticmethod(model.recognises)

    @classmethod
    def memory(cls, hyperparameters: KMeansHyperparameters) -> int:
        """The centers, in float64 while they are moved and in float32 in the model."""
        return 12 * hyperparameters.k * hyperparameters.feature_dim

    @classmethod
    def fit(cls, hyperparameters: KMeansHyperparameters, channels: Mapping[str, Stream], job: Job) -> KMeansModel:
        """Train on ``train``, and score on ``test`` where there is one.

        Raises:
            TrainingDataError: there are fewer rows than clusters.
            TrainingStopped: a stop was asked for before as many rows as clusters were read.
        """
        clustering = train(hyperparameters, channels["train"], job)
        model = KMeansModel(clustering.centers)
        job.report(Measured.of("train", "msd", clustering.msd))
        if "test" in channels:
            _score(model, hyperparameters, channels["test"], job)
        else:
            job.info("Test data is not provided.")
        return model


def _score(model: KMeansModel, hyperparameters: KMeansHyperparameters, stream: Stream, job: Job) -> None:
    total, rows = 0.0, 0
    for batch in stream.batches(hyperparameters.mini_batch_size):
        total += float(np.sum(model.nearest(batch.features)[1]))
        rows += len(batch)
    total, count = job.hosts.sum(np.array([total, rows]))[0].tolist()
    scores = {"msd": total / max(count, 1), "ssd": total}
    tuned = hyperparameters.tuning_objective_metric.removeprefix("test:")
    for metric in dict.fromkeys([*hyperparameters.eval_metrics, *([tuned] if tuned in scores else [])]):
        job.report(FinalScore("test", metric, scores[metric]))
        job.report(Measured.of("test", metric, scores[metric]))
