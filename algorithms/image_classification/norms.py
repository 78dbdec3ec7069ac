"""Batch norms that take few passes over memory. Importing this module imports Keras."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


class BatchNorm(keras.layers.BatchNormalization):
    """Keras' batch norm of images, (n, height, width, channels): in one kernel of TensorFlow, and its gradient in
    another, where Keras' own makes several arrays of the images' size for each.

    On other backends, and of anything but images, it is Keras' own.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """See Keras."""
        if keras.backend.backend() != "tensorflow" or len(inputs.shape) != 4:
            return super().call(inputs, training=training, mask=mask)
        import tensorflow

        learns, none = bool(training and self.trainable), ops.zeros((0,))
        outputs, mean, variance, *_ = tensorflow.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=ops.convert_to_tensor(self.gamma) if self.scale else ops.ones_like(self.beta),
            offset=ops.convert_to_tensor(self.beta),
            mean=none if learns else ops.convert_to_tensor(self.moving_mean),
            variance=none if learns else ops.convert_to_tensor(self.moving_variance),
            epsilon=self.epsilon,
            is_training=learns,
        )
        if learns:  # TensorFlow divides by one less than the number of pixels; Keras, and MXNet, by their number
            pixels = ops.cast(ops.prod(ops.shape(inputs)[:3]), variance.dtype)
            self._see(mean, variance * (ops.maximum(pixels - 1, 1) / pixels))
        return outputs

    def _see(self, mean: Any, variance: Any) -> None:
        """Take the statistics of a batch into the moving ones."""
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + value * (1 - self.momentum))


class OfPixels(BatchNorm):
    """The batch norm before the first convolution. Only its beta needs a gradient, which is a sum over all images.

    It gives its result, without a gradient, and an image of zeros, (1, height, width, channels), through which beta
    gets its gradient. The convolutions of the two, added, are that of the result; so the gradient of the convolution's
    input is computed for one image instead of all, which saves a sixth of a step of 20 layers.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """See above."""
        if training and self.trainable:
            values = ops.cast(self._normalised(ops.cast(inputs, "float32")), self.compute_dtype)
        else:
            values = super().call(inputs, training=False, mask=mask)
        # Cast as a whole, so that the gradient is summed over the image in beta's precision, and not in half precision.
        picture = ops.zeros((1, *inputs.shape[1:]), self.beta.dtype) + (self.beta - ops.stop_gradient(self.beta))
        return [ops.stop_gradient(values), ops.cast(picture, values.dtype)]

    def _normalised(self, inputs: Any) -> Any:
        """Each channel less the batch's mean, over its standard deviation, plus beta, (n, height, width, channels).

        An image is one row here: kernels are slow where the innermost axis is of three channels.
        """
        count = inputs.shape[1] * inputs.shape[2]
        rows = ops.reshape(inputs, (-1, count * inputs.shape[3]))
        mean = self._mean(rows, inputs.shape)
        apart = rows - ops.tile(mean, count)
        variance = self._mean(ops.square(apart), inputs.shape)
        self._see(mean, variance)
        factor = ops.rsqrt(variance + self.epsilon)
        return ops.reshape(apart * ops.tile(factor, count) + ops.tile(self.beta, count), ops.shape(inputs))

    @staticmethod
    def _mean(rows: Any, shape: tuple[int, ...]) -> Any:
        """The mean of each channel, (channels,), of images of this shape; axis by axis, as sums of few round less."""
        return ops.mean(ops.mean(ops.reshape(ops.mean(rows, axis=0), shape[1:]), axis=0), axis=0)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> Any:
        """See Keras."""
        return [input_shape, (1, *input_shape[1:])]
