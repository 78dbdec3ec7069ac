"""The neural topic model as scikit-learn's estimator."""

from __future__ import annotations

from typing import Any, Self

from algorithms.estimators.topics import Topics


class NTM(Topics):
    """The neural topic model; see ``algorithms/ntm/README.md``. Training needs Keras and TensorFlow.

    Attributes:
        components_: (num_topics, d): the probability of each word in each topic.
    """

    algorithm = "ntm"
    column = "topic_weights"

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803
        """Find the topics of the documents ``X``, counts of words, (n, d); ``y`` is ignored."""
        super().fit(X)
        model: Any = self.model_
        self.components_ = model.topics
        return self
