"""Optimizers whose steps take one pass over memory where the backend can. Importing this module imports Keras."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


class Adam(keras.optimizers.Adam):
    """Keras' Adam in one kernel of TensorFlow for each variable, where Keras' own makes a dozen arrays of its size.

    On other backends it is Keras' own. D. Kingma, J. Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015; as
    in Keras, epsilon is the paper's "epsilon hat".
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """See Keras."""
        if keras.backend.backend() != "tensorflow" or self.amsgrad:
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow

        step, place = ops.cast(self.iterations + 1, variable.dtype), self._get_variable_index(variable)
        first, second = (ops.cast(beta, variable.dtype) for beta in (self.beta_1, self.beta_2))
        tensorflow.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[place].value.handle,
            v=self._velocities[place].value.handle,
            beta1_power=ops.power(first, step),
            beta2_power=ops.power(second, step),
            lr=ops.cast(learning_rate, variable.dtype),
            beta1=first,
            beta2=second,
            epsilon=ops.cast(self.epsilon, variable.dtype),
            grad=ops.convert_to_tensor(gradient),
        )


class SGD(keras.optimizers.SGD):
    """Keras' SGD, where it has momentum in one kernel of TensorFlow for each variable, as ``Adam`` is.

    On other backends it is Keras' own.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """See Keras."""
        if keras.backend.backend() != "tensorflow" or not self.momentum:
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow

        tensorflow.raw_ops.ResourceApplyKerasMomentum(
            var=variable.handle,
            accum=self.momentums[self._get_variable_index(variable)].value.handle,
            lr=ops.cast(learning_rate, variable.dtype),
            grad=ops.convert_to_tensor(gradient),
            momentum=ops.cast(self.momentum, variable.dtype),
            use_nesterov=self.nesterov,
        )
