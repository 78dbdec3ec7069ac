"""Estimators that find topics."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sklearn.utils.validation import check_non_negative

from algorithms.estimators.base import Transforms
from recordio.batches import Batch


class Topics(Transforms):
    """Topics of documents, which are rows of counts.

    Attributes:
        components_: (num_topics, d): the probability of each word in each topic.
    """

    column: ClassVar[str]

    def _check(self, values: Any, batch: Batch) -> None:
        check_non_negative(batch.features, type(self).__name__)

    def transform(self, X: Any) -> np.ndarray:
        """The share of each topic in each document, (n, num_topics)."""
        return self._ask(X)[self.column]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        return tags
