"""What the imports of a command find. Importing this module imports nothing that takes long."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

_UNUSED = ("sklearn", "jax", "IPython")


@contextlib.contextmanager
def without_unused_packages() -> Iterator[None]:
    """Packages that nothing here uses are not found while a command runs, so that no other package imports them.

    XGBoost imports scikit-learn where there is one, for estimators of its own: a second of processor time, and 60 MB.
    TensorFlow and Keras import the others, where they are, to convert from and to them: a second as well. The backend
    of Keras stays, whatever it is.
    """
    backend = _keras_backend()
    absent = [name for name in _UNUSED if name not in sys.modules and name != backend]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None: an import of it is an ImportError
    try:
        yield
    finally:
        for name in absent:
            sys.modules.pop(name, None)


def _keras_backend() -> str | None:
    """What Keras is told to compute with, by its variable or its file; None where nothing is said."""
    if named := os.environ.get("KERAS_BACKEND"):
        return named
    folder = os.environ.get("KERAS_HOME") or Path("~/.keras").expanduser()
    try:
        told = json.loads(Path(folder, "keras.json").read_text())
    except (OSError, ValueError):
        return None
    return told.get("backend") if isinstance(told, dict) else None
