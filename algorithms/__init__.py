"""Batches to models to predictions: one folder an algorithm, all behind one interface.

``load`` opens a model, SageMaker's or ours; ``algorithms.estimators`` has the algorithms as scikit-learn's estimators.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from algorithms.loading import LoadedModel

__all__ = ["load"]


def load(path: str | os.PathLike[str], algorithm: str | None = None) -> LoadedModel:
    """The model in a folder, or in a ``model.tar.gz`` of this project or of SageMaker; see ``algorithms.loading``.

        model = algorithms.load("model.tar.gz")
        model.predict(X)["closest_cluster"]

    Parameters
    ----------
    path
        the folder or the archive; or the folder that ``oba train`` or ``oba tune`` has put a model into.
    algorithm
        SageMaker's name of the algorithm; None finds it by the files.

    Raises
    ------
    FileNotFoundError
        there is no such path.
    ModelError
        it is empty, corrupt, or no algorithm that is installed here recognises it.
    LookupError
        there is no ``algorithm`` of that name, or it needs a package that is not installed.
    """
    from algorithms import loading  # NumPy is not imported before it is needed: ``serve`` sets its threads first

    return loading.load(path, algorithm)
