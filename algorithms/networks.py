"""Keras for the networks: imported where one is trained, and nowhere else; seeded.

The networks are written against Keras' public interface, so that they run on each of its backends. TensorFlow is what
the images hold; Keras takes another where ``KERAS_BACKEND`` names it.
"""

from __future__ import annotations

import warnings
from types import ModuleType
from typing import Any


def load_keras(seed: int) -> ModuleType:
    """The package, its random numbers (Python's, NumPy's and the backend's) started from ``seed``.

    Importing TensorFlow takes seconds and hundreds of megabytes, so nothing that serves or only reads may call this
    without need.
    """
    import keras

    keras.utils.set_random_seed(seed % 2**32)
    return keras


def to_numpy(tensor: Any) -> Any:
    """A tensor of any backend as an array."""
    import keras

    with warnings.catch_warnings():  # Keras asks TensorFlow's variables in a way that NumPy 2 warns of
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        return keras.ops.convert_to_numpy(tensor)
