"""The neural topic model as scikit-learn's estimator."""

from __future__ import annotations

from typing import Any

from algorithms.estimators.topics import Topics


class NTM(Topics):
    """The neural topic model; see ``algorithms/ntm/README.md``. Training needs Keras and TensorFlow.

    Attributes:
        components_: (num_topics, d): the probability of each word in each topic.
    """

    algorithm = "ntm"
    column = "topic_weights"

    def _learn(self) -> None:
        model: Any = self.model_
        self.components_ = model.topics
