"""What the networks share in using Keras: import and seed, arrays of variables, divergence.

Only training imports Keras. The networks use its public interface alone, so that they run on each of its backends. The
images have TensorFlow; ``KERAS_BACKEND`` names another one.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from algorithms.checkpoints import OTHER_CODE
from algorithms.errors import ModelError, TrainingDataError, TrainingStopped

ALIGNED = 16
"""In numbers of 4 bytes: TensorFlow's arrays begin at multiples of it, and it uses others that do without a copy."""

_VARIABLE = "variable."
"""How the names of a checkpoint's arrays begin that are the values of Keras variables."""


def moments(optimizer: str, momentum: float | None = None) -> int:
    """How many arrays of the size of the weights Keras' optimizer of that name keeps.

    >>> [moments(name, 0.9) for name in ("sgd", "nag", "rmsprop", "adagrad", "adadelta", "adam")]
    [1, 1, 1, 1, 2, 2]
    >>> moments("sgd")
    0
    """
    if optimizer in ("sgd", "nag"):
        return int(bool(momentum))
    return 2 if optimizer in ("adadelta", "adam") else 1


def load_keras(seed: int, *, one_thread: bool = False) -> ModuleType:
    """The package, its random numbers (Python's, NumPy's and the backend's) started from ``seed``.

    With ``one_thread`` TensorFlow computes each operation in one thread from here on, in all of the process, as for
    small operations threads would wait for each other most of the time. It has no effect once TensorFlow has computed
    anything.

    Importing TensorFlow takes seconds and hundreds of megabytes, so only training may call this.
    """
    with _undisturbed(), _without_notices():
        import keras

        if one_thread and keras.config.backend() == "tensorflow":
            import tensorflow

            with contextlib.suppress(RuntimeError):
                tensorflow.config.threading.set_intra_op_parallelism_threads(1)
        keras.utils.set_random_seed(seed % 2**32)
    return keras


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Delay signals until the end of the block: an exception of their handlers while a compiled module is imported
    would become an ImportError, and leave a module that cannot be imported again."""
    if threading.current_thread() is not threading.main_thread():  # the only one that runs handlers
        yield
        return
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    before = {held: signal.signal(held, lambda number, _: came.append(number)) for held in numbers}
    try:
        yield
    finally:
        for held, handler in before.items():
            signal.signal(held, signal.SIG_DFL if handler is None else handler)
        for number in came:
            signal.raise_signal(number)


@contextlib.contextmanager
def _without_notices() -> Iterator[None]:
    """Drop what native code writes to standard error in the block, unless the block fails; a stop is no failure.

    TensorFlow writes there what processor it was built for, whatever its variables for the log level are, as it reads
    them too late. People take it for an error, and parsers stumble over it.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as notices:
        os.dup2(notices.fileno(), 2)
        try:
            yield
        except (TrainingStopped, KeyboardInterrupt):
            raise
        except BaseException:
            notices.seek(0)
            os.write(kept, notices.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def has_gpu() -> bool:
    """Whether the backend computes on a GPU: Keras names the CPU only where there is nothing faster."""
    import keras

    if keras.config.backend() == "torch":  # of whose devices Keras has no list
        import torch

        return bool(torch.cuda.is_available())
    return not all(device.startswith("cpu") for device in keras.distribution.list_devices())


def to_numpy(tensor: Any) -> Any:
    """A tensor or variable of any backend as an array."""
    import keras

    return keras.ops.convert_to_numpy(keras.ops.copy(tensor))  # NumPy warns of variables as they are


def seen(variable: Any) -> Any:
    """The value of a Keras variable as an array, to be read before the variable changes: with TensorFlow on a CPU it is
    no copy."""
    import keras

    if keras.config.backend() != "tensorflow":
        return to_numpy(variable)
    return np.asarray(variable.value.read_value())


def lent(array: np.ndarray) -> Any:
    """An ``aligned`` array as a tensor, to be used before the array changes: with TensorFlow it is no copy.

    The tensor, and parts of it, must not be kept; what is computed from it may be.
    """
    import keras

    if keras.config.backend() != "tensorflow":
        return keras.ops.convert_to_tensor(array)
    import tensorflow

    return tensorflow.experimental.dlpack.from_dlpack(array.__dlpack__())


def aligned(size: int) -> np.ndarray:
    """Zeros, (size,) float32, in memory that begins at a multiple of 64 bytes, as TensorFlow has its own."""
    whole = np.zeros(size + ALIGNED, np.float32)
    start = -whole.ctypes.data % (4 * ALIGNED) // 4
    return whole[start : start + size]


def variables_to_arrays(variables: Sequence[Any]) -> dict[str, np.ndarray]:
    """Keras variables, in their order, as arrays ``variable.0``, ``variable.1``, ..., for a checkpoint."""
    return {f"{_VARIABLE}{number}": np.asarray(to_numpy(one)) for number, one in enumerate(variables)}


def variables_from_arrays(variables: Sequence[Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Give the variables the values that ``variables_to_arrays`` took from them; other arrays may be among these.

    Raises:
        ModelError: the arrays are of other variables.
    """
    stored, wanted = sum(name.startswith(_VARIABLE) for name in arrays), len(variables)
    if stored != wanted:
        raise ModelError(f"the checkpoint has {stored} arrays, and this network {wanted}{OTHER_CODE}")
    found = [arrays[f"{_VARIABLE}{number}"] for number in range(wanted)]
    for number, (variable, array) in enumerate(zip(variables, found, strict=True)):
        if array.shape != tuple(variable.shape):
            raise ModelError(
                f"the checkpoint's array {_VARIABLE}{number} has shape {array.shape}, and this network's "
                f"{tuple(variable.shape)}{OTHER_CODE}"
            )
    for variable, array in zip(variables, found, strict=True):
        variable.assign(array)


def check_finite(value: float, what: str, learning_rate: float) -> None:
    """For a loss or a score that tells whether training has diverged.

    Args:
        what: names the value, as in "the loss of epoch 3".
        learning_rate: of the job.

    Raises:
        TrainingDataError: the value is NaN or infinite.
    """
    if not np.isfinite(value):
        raise TrainingDataError(f"training diverged: {what} is {value}; try a learning_rate below {learning_rate:g}")
