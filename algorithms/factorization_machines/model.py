"""The trained factorization machine, and its artifact: ``model_algo-1``, a ZIP of symbol, parameters and meta data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from algorithms.common import mxnet_archive, mxnet_files, mxnet_symbols
from algorithms.common.documents import read_json
from algorithms.errors import ModelError
from algorithms.factorization_machines.neighbours import nearest
from algorithms.figures import Figure, Sample, effects
from algorithms.interface import NO_PARAMETERS, Model
from algorithms.quality import answered
from recordio.batches import Batch

META, SYMBOL, PARAMETERS = "meta.json", "symbol.json", "params"
BINARY, REGRESSOR = "binary_classifier", "regressor"


@dataclass(frozen=True)
class FactorizationMachine(Model):
    """score = w0 + x w + sum over pairs i < j of <v_i, v_j> x_i x_j, through a sigmoid for two classes.

    Attributes:
        bias: (1,); linear: (d,); factors: (d, k); all float32.
        predictor_type: ``regressor`` or ``binary_classifier``.
    """

    bias: np.ndarray
    linear: np.ndarray
    factors: np.ndarray
    predictor_type: str

    @property
    def feature_dim(self) -> int:
        """Number of features of a row."""
        return len(self.linear)

    @cached_property
    def _factor_squares(self) -> np.ndarray:
        """|v_i|^2 of each feature, (d,)."""
        return np.einsum("dk,dk->d", self.factors, self.factors)

    def scores(self, batch: Batch) -> np.ndarray:
        """Scores before the sigmoid, (n,) float32. Cost: the non-zeros times k."""
        self.check_width(batch)
        features = batch.features
        squares = np.square(features) if isinstance(features, np.ndarray) else features.multiply(features)
        products = np.asarray(features @ self.factors)
        pairs = np.einsum("nk,nk->n", products, products) - squares @ self._factor_squares
        return np.asarray(self.bias + features @ self.linear + 0.5 * pairs, np.float32)

    def predict(self, batch: Batch, parameters: Mapping[str, str] = NO_PARAMETERS) -> dict[str, np.ndarray]:
        """``score`` (n,) float32, and for classification ``predicted_label`` (n,) int32: 1 from a score of 0.5 on."""
        scores = self.scores(batch)
        if self.predictor_type == "regressor":
            return {"score": scores}
        probability = expit(scores)
        return {"score": probability, "predicted_label": (probability >= 0.5).astype(np.int32)}

    def figures(self, sample: Sample | None) -> list[Figure]:
        """How well ``sample`` is answered, the linear weights, and which features have factors alike."""
        figures = answered(sample, self.predict, self.predictor_type)
        near = nearest(self.factors, sample)
        return [*figures, effects("Linear weights", self.linear, sample), *([near] if near else [])]

    def save(self, directory: Path) -> None:
        """Write ``model_algo-1``."""
        link: mxnet_symbols.Link = "sigmoid" if self.predictor_type == "binary_classifier" else "_copy"
        feature_dim, num_factors = self.factors.shape
        meta = {"predictor_type": self.predictor_type, "feature_dim": feature_dim, "num_factors": num_factors}
        mxnet_archive.save(
            directory / mxnet_files.MODEL_FILE,
            {
                META: json.dumps(meta),
                SYMBOL: mxnet_symbols.factorization_machine(feature_dim, num_factors, link),
                PARAMETERS: {
                    "arg:v": self.factors,
                    "arg:w1_weight": self.linear[:, None],
                    "arg:w0_weight": self.bias,
                },
            },
        )


def recognises(directory: Path) -> bool:
    """Whether ``directory`` holds a factorization machine's archive."""
    if not mxnet_archive.holds(directory, SYMBOL, PARAMETERS):
        return False
    try:
        return '"w1_weight"' in mxnet_archive.member(mxnet_files.find(directory), SYMBOL).decode()
    except (ModelError, UnicodeDecodeError):
        return False


def load(directory: Path) -> FactorizationMachine:
    """Read the model in ``directory``, ours or SageMaker's; without our meta data, the symbol tells the kind.

    Raises:
        ModelError: there is no such file, or it is damaged.
    """
    path = mxnet_files.find(directory)
    members = mxnet_archive.load(path, arrays=(PARAMETERS,))
    try:
        arrays = _named(members.pop(PARAMETERS))
        symbol = members[SYMBOL].decode()
        meta = read_json(members.get(META, b"{}"), f"{META} in {path.name}")
        factors, linear, bias = (
            mxnet_files.float32(arrays[name], f"'{path.name}': array {name}")
            for name in ("v", "w1_weight", "w0_weight")
        )
    except ModelError:
        raise
    except (KeyError, ValueError) as error:
        raise ModelError(f"'{path.name}' is not a model of factorization machines, or is damaged: {error}") from error
    if factors.ndim != 2 or 0 in factors.shape or linear.size != len(factors) or bias.size != 1:
        raise ModelError(
            f"'{path.name}': v of shape {factors.shape}, w1_weight of shape {linear.shape} and w0_weight of shape "
            f"{bias.shape} do not fit each other"
        )
    kind = meta.get("predictor_type") if isinstance(meta, dict) else None
    if kind not in ("regressor", "binary_classifier"):
        binary = any(word in symbol for word in ('"sigmoid"', '"LogisticRegressionOutput"'))
        kind = "binary_classifier" if binary else "regressor"
    return FactorizationMachine(bias.reshape(-1), linear.reshape(-1), factors, kind)


def _named(arrays: Any) -> dict[str, np.ndarray]:
    """Arrays by name, without the prefix of MXNet's checkpoints. Raises ValueError where they have no names."""
    if not isinstance(arrays, dict):
        raise ValueError("its arrays have no names")
    return {name.removeprefix("arg:"): array for name, array in arrays.items()}
