"""The four optimizers and the schedule of their learning rate.

Weight decay is no part of them: as in MXNet it is a penalty in the loss, so that momentum applies to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from algorithms.image_classification import ImageClassificationHyperparameters


def optimizer(keras: Any, values: ImageClassificationHyperparameters) -> Any:
    """The Keras optimizer that the hyperparameters name."""
    from algorithms.common.optimizers import SGD, Adam  # which import Keras

    rate = values.learning_rate
    if values.optimizer == "adam":
        return Adam(rate, beta_1=values.beta_1, beta_2=values.beta_2, epsilon=values.eps)
    if values.optimizer == "rmsprop":
        return keras.optimizers.RMSprop(rate, rho=values.gamma, epsilon=values.eps)
    return SGD(rate, momentum=values.momentum, nesterov=values.optimizer == "nag")


def learning_rate(values: ImageClassificationHyperparameters, epoch: int) -> float:
    """The learning rate of an epoch, counted from 0: multiplied by the factor for each of the ``steps`` before it."""
    return values.learning_rate * values.lr_scheduler_factor ** sum(epoch >= step for step in values.steps)
