"""Latent Dirichlet allocation as scikit-learn's estimator."""

from __future__ import annotations

from typing import Any

from algorithms.estimators.topics import Topics


class LDA(Topics):
    """Latent Dirichlet allocation; see ``algorithms/lda/README.md``.

    Attributes:
        components_: (num_topics, d): the probability of each word in each topic.
        alpha_: (num_topics,): the prior of the topics.
    """

    algorithm = "lda"
    column = "topic_mixture"

    def _learn(self) -> None:
        model: Any = self.model_
        self.components_, self.alpha_ = model.beta, model.alpha
