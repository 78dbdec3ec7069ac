"""Adam in one kernel is Adam."""

from __future__ import annotations

import numpy as np

from algorithms.common.networks import load_keras, to_numpy

RATE, FIRST, SECOND, EPSILON = 0.01, 0.9, 0.999, 1e-7


def test_steps_are_those_of_the_paper() -> None:
    """Kingma and Ba's algorithm 1 in the form of its section 2, whose epsilon is Keras'; gradients cut at 1."""
    keras = load_keras(0)
    from algorithms.common.optimizers import Adam

    random = np.random.default_rng(0)
    values = [random.normal(size=shape).astype(np.float32) for shape in ((3, 4), (5,))]
    variables = [keras.Variable(value) for value in values]
    optimizer = Adam(RATE, clipvalue=1.0)
    moments = [[np.zeros(value.shape), np.zeros(value.shape)] for value in values]
    for step in range(1, 6):
        gradients = [random.normal(0, 2, value.shape).astype(np.float32) for value in values]
        optimizer.apply([keras.ops.convert_to_tensor(gradient) for gradient in gradients], variables)
        for place, gradient in enumerate(np.clip(one, -1, 1) for one in gradients):
            moment = moments[place]
            moment[0] = FIRST * moment[0] + (1 - FIRST) * gradient
            moment[1] = SECOND * moment[1] + (1 - SECOND) * gradient**2
            rate = RATE * np.sqrt(1 - SECOND**step) / (1 - FIRST**step)
            values[place] = values[place] - rate * moment[0] / (np.sqrt(moment[1]) + EPSILON)
    for variable, value in zip(variables, values, strict=True):
        np.testing.assert_allclose(to_numpy(variable), value, rtol=1e-5, atol=1e-6)
