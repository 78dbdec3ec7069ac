"""What tests of PCA share."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from algorithms.hyperparameters import parse
from algorithms.pca import PCA, PCAHyperparameters
from algorithms.pca.components import Components
from algorithms.pca.covariance import Covariance
from algorithms.pca.fit import State
from algorithms.pca.model import PCAModel
from algorithms.pca.sketch import Sketch
from tests.algorithms.fakes import FakeJob, MemoryStream


def rows_of(n: int, d: int, *, seed: int = 0, decay: float = 0.5, mean: float = 3) -> np.ndarray:
    """Rows whose singular values fall off as a power, in a random basis, around a mean."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((d, d)))[0]
    rows = rng.standard_normal((n, d)) * np.arange(1.0, d + 1) ** -decay
    return (rows @ basis + mean * rng.standard_normal(d)).astype(np.float32)


def digits() -> np.ndarray:
    return load_digits().data.astype(np.float32)


def exact(rows: np.ndarray, k: int, *, centred: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """s (k,) and v (d, k) in ascending order, by NumPy's SVD in float64."""
    values = rows.astype(np.float64)
    _, s, vt = np.linalg.svd(values - values.mean(axis=0) if centred else values, full_matrices=False)
    return s[:k][::-1], vt[:k][::-1].T


def fitted(rows: Any, k: int, *, centred: bool = True, extra: int | None = None, size: int = 1000) -> Components:
    d = rows.shape[1]
    state: State = Covariance(d, centred=centred) if extra is None else Sketch(d, k + extra, centred=centred)
    for start in range(0, rows.shape[0], size):
        state.update(rows[start : start + size])
    return state.finalize(k)


def hyperparameters(**values: object) -> PCAHyperparameters:
    strings = {"feature_dim": "64", "mini_batch_size": "100", "num_components": "5"} | {
        name: str(value) for name, value in values.items()
    }
    return parse(PCAHyperparameters, strings)


def train(features: Any, job: FakeJob | None = None, test: Any = None, **values: object) -> PCAModel:
    channels = {"train": MemoryStream(features)} | ({"test": MemoryStream(test)} if test is not None else {})
    return PCA.fit(hyperparameters(feature_dim=features.shape[1], **values), channels, job or FakeJob())
