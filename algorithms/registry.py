"""Names of algorithms, and where their classes are. A module is imported only when its name is asked for, so that
k-means never imports XGBoost."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # builds of images ask for names before anything is installed
    from algorithms.interface import Algorithm


class Entry(NamedTuple):
    """``location`` is ``module:class``; ``extra`` the distribution's extra with what the module imports, if any."""

    location: str
    extra: str | None = None


ALGORITHMS: dict[str, Entry] = {
    "kmeans": Entry("algorithms.kmeans:KMeans"),
    "pca": Entry("algorithms.pca:PCA"),
    "linear-learner": Entry("algorithms.linear_learner:LinearLearner"),
    "factorization-machines": Entry("algorithms.factorization_machines:FactorizationMachines"),
    "lda": Entry("algorithms.lda:LDA"),
    "ntm": Entry("algorithms.ntm:NTM", extra="ntm"),
    "image-classification": Entry("algorithms.image_classification:ImageClassification", extra="image-classification"),
    "seq2seq": Entry("algorithms.seq2seq:Seq2Seq", extra="seq2seq"),
    "xgboost": Entry("algorithms.xgb:XGBoost", extra="xgboost"),
}


def find(name: str) -> type[Algorithm]:
    """The algorithm of that name.

    Raises:
        LookupError: there is none of that name, or a package that it needs is not installed.
    """
    if name not in ALGORITHMS:
        raise LookupError(f"there is no algorithm '{name}'; there are: {', '.join(sorted(ALGORITHMS))}")
    location, extra = ALGORITHMS[name]
    module, _, attribute = location.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "algorithms":
            raise
        install = f", or install the extra '{extra}'" if extra else ""
        raise LookupError(
            f"algorithm '{name}' needs the package '{error.name}', which is not installed here: "
            f"use an image built with ALGORITHM={name}{install}"
        ) from error


def having(module: str) -> list[str]:
    """The names of the algorithms whose folders have a module that not every folder has, such as ``estimators``."""
    folders = {name: entry.location.partition(":")[0].rpartition(".")[2] for name, entry in ALGORITHMS.items()}
    root = Path(__file__).parent
    return [name for name, folder in folders.items() if (root / folder / f"{module}.py").is_file()]


def part(name: str, module: str) -> ModuleType | None:
    """Such a module of an algorithm; None where its folder has none.

    Raises:
        LookupError: as ``find``.
        ModuleNotFoundError: a package that the module needs is not installed.
    """
    if name not in having(module):
        return None
    return importlib.import_module(f"{find(name).__module__}.{module}")
