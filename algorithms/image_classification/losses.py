"""The loss of images with several labels, and the weights of rare and frequent classes in it."""

from __future__ import annotations

from typing import Any

import numpy as np

from algorithms.common.hosts import ONE_HOST
from algorithms.interface import Hosts


def binary_cross_entropy(targets: Any, scores: Any) -> Any:
    """The binary cross-entropy of each image and class, (n, num_classes): Keras weights each, and takes the mean."""
    import keras

    return keras.ops.binary_crossentropy(targets, scores, from_logits=True)


class ClassWeights:
    """Weights by which, for each class, the images that have it count as much in total as those that do not.

    With p the share of images that have the class, they are 1 / 2p for those and 1 / 2(1 - p) for the others, and at
    most ``_MOST``. Shares are of the images so far, so that pipes need not be read ahead.
    """

    _MOST = 10.0

    def __init__(self, num_classes: int) -> None:
        self._with = np.ones(num_classes)  # one image of each kind is there from the start, lest shares are 0
        self._all = 2.0

    def state(self) -> np.ndarray:
        """The counts so far, (num_classes + 1,) float64."""
        return np.append(self._with, self._all)

    def resume(self, state: np.ndarray) -> None:
        """Go on counting from ``state``."""
        self._with, self._all = state[:-1].copy(), float(state[-1])

    def of(self, targets: np.ndarray, hosts: Hosts = ONE_HOST) -> np.ndarray:
        """Count the batches of all hosts, 0 and 1 of shape (n, num_classes) with n >= 0, and give the weights of the
        losses of this host's, the same shape."""
        counts = hosts.sum(np.append(targets.sum(axis=0, dtype=np.float64), len(targets)))[0]
        self._with += counts[:-1]
        self._all += counts[-1]
        share = self._with / self._all
        weights = np.where(targets > 0, 1 / (2 * share), 1 / (2 * (1 - share)))
        return np.minimum(weights, self._MOST).astype(np.float32)
