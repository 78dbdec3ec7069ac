"""Latent Dirichlet allocation: documents as mixtures of topics, topics as distributions over words.

The topics are read off the moments of the word counts: which words occur, in pairs and in triples, in the same
document. The whitened third moment is a small tensor whose rank-one terms are the topics; a few steps up the likelihood
from there make up for what moments of few or short documents do not tell.

References: A. Anandkumar, R. Ge, D. Hsu, S. Kakade, M. Telgarsky, "Tensor Decompositions for Learning Latent Variable
Models", JMLR 2014. A. Asuncion, M. Welling, P. Smyth, Y. W. Teh, "On Smoothing and Inference for Topic Models",
UAI 2009 (the steps).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from algorithms.common.engine import PROGRESS, THROUGHPUT, quality, tuning_metric
from algorithms.common.hosts import any_host
from algorithms.events import FinalScore, Measured
from algorithms.hyperparameters import Hyperparameters, Tunable, integer, real
from algorithms.interface import (
    COUNTS,
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
from algorithms.lda import model
from algorithms.lda.fit import topics_begun, train
from algorithms.lda.model import TOPIC_MIXTURE, LDAModel


@dataclass(frozen=True, kw_only=True)
class LDAHyperparameters(Hyperparameters):
    """See the README's table."""

    num_topics: int = integer(at_least=1, tunable=Tunable(1, 150), help="Topics to find.")
    feature_dim: int = integer(at_least=1, help="Size of the vocabulary.")
    mini_batch_size: int = integer(
        at_least=1,
        help="Number of documents of the training corpus.",
        no_effect="Accepted; all documents of the channel count, however many they are.",
    )
    alpha0: float = real(
        default=1.0,
        above=0,
        tunable=Tunable(0.1, 10),
        help="First guess of the sum of the Dirichlet prior of a document's topics, which is fitted to the corpus: "
        "small for few topics a document, large for many.",
    )
    max_restarts: int = integer(
        default=10, at_least=1, help="Most starts of the tensor decomposition, of which the best is kept."
    )
    max_iterations: int = integer(default=1000, at_least=1, help="Most iterations of each start.")
    tol: float = real(
        default=1e-8, above=0, help="A decomposition ends when its error changes by less, relative to the tensor."
    )
    tuning_objective_metric: str = tuning_metric()

    def check(self) -> list[str]:
        """There must be no more topics than words."""
        if self.num_topics > self.feature_dim:
            return [f"Hyperparameter 'num_topics': {self.num_topics} is more than feature_dim, {self.feature_dim}"]
        return []


class LDA(Algorithm):
    """SageMaker's ``lda``."""

    name = "lda"
    title = "LDA"
    summary = "Finds the topics of a corpus from the moments of its word counts."
    hyperparameters = LDAHyperparameters
    channels = (
        Channel(
            name="train",
            required=True,
            accepts=(RECORDIO, CSV),
            help="Word counts, a row for each document; labels are left out.",
        ),
        Channel(name="test", accepts=(RECORDIO, CSV), help="Documents on which the final model is scored."),
    )
    columns = (Column(TOPIC_MIXTURE, "Share of each topic in the document.", (None,)),)
    metrics = (
        quality("test:pwll", score=True, objective=True),
        PROGRESS,
        THROUGHPUT,
    )
    serving = Serving(accepts=(CSV, JSON, JSON_LINES, RECORDIO))
    several_hosts = True
    configurations = (
        Configuration(
            name="topics",
            hyperparameters={"num_topics": "2", "feature_dim": "4", "mini_batch_size": "20"},
            data=COUNTS,
        ),
    )
    load = staticmethod(model.load)
    recognises = staticmethod(model.recognises)

    @classmethod
    def memory(cls, hyperparameters: LDAHyperparameters) -> int:
        """Bytes of four float64 numbers for each word in each of the topics that training starts with: the topics
        themselves, and the directions and moments of the decomposition."""
        width = hyperparameters.feature_dim
        return 4 * 8 * width * topics_begun(hyperparameters.num_topics, width, is_text=False)

    @classmethod
    def fit(cls, hyperparameters: LDAHyperparameters, channels: Mapping[str, Stream], job: Job) -> LDAModel:
        """Train on ``train``, and score on ``test`` where there is one.

        Raises:
            TrainingDataError: the rows are not word counts, or there are none.
            TrainingStopped: a stop was asked for before a document was read.
        """
        model = train(hyperparameters, channels["train"], job)
        if "test" in channels and not any_host(job.hosts, job.stop_requested):
            pwll = model.per_word_log_likelihood(channels["test"].batches(), job.hosts)
            job.report(FinalScore("test", "pwll", pwll))
            job.report(Measured.of("test", "pwll", pwll, maximize=True))
        return model
