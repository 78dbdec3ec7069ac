"""The trained linear model, and its artifact: ``model_algo-1``, a ZIP of a symbol, its parameters and two JSON files.

The weights in the file are for raw features and raw labels, whatever was scaled in training.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, logit

from algorithms.common import mxnet_archive, mxnet_files, mxnet_symbols
from algorithms.common.documents import read_json
from algorithms.errors import ModelError
from algorithms.figures import Figure, Heatmap, Sample, effects, names_of, strongest
from algorithms.interface import NO_PARAMETERS, Model
from algorithms.quality import answered
from recordio.batches import Batch

PARAMETERS = "additional-params.json"
MANIFEST = "manifest.json"
SYMBOL = "mx-mod-symbol.json"
WEIGHTS = "mx-mod-0000.params"

_MANIFEST = json.dumps({"format": "linear-learner", "version": 1, "symbol": SYMBOL, "params": WEIGHTS})
_PASSED_ON = ("null", "_copy", "identity", "Reshape", "Flatten", "BlockGrad")
"""Operators of MXNet that compute nothing."""

BINARY, MULTICLASS, REGRESSOR = "binary_classifier", "multiclass_classifier", "regressor"


@dataclass(frozen=True)
class LinearModel(Model):
    """Scores are ``features @ weight.T + bias``, through the link of the predictor type.

    Attributes:
        weight: (outputs, d) float32.
        bias: (outputs,) float32.
        predictor_type: ``regressor``, ``binary_classifier`` or ``multiclass_classifier``.
        loss: the training loss; a binary score is a probability unless it is ``hinge_loss``.
        threshold: the raw score from which a row is positive (binary classification).
    """

    weight: np.ndarray
    bias: np.ndarray
    predictor_type: str
    loss: str
    threshold: float = 0.0

    @property
    def feature_dim(self) -> int:
        """Number of features of a row."""
        return int(self.weight.shape[1])

    def raw_scores(self, batch: Batch) -> np.ndarray:
        """Scores before the link, (n, outputs) float32."""
        self.check_width(batch)
        return np.asarray(batch.features @ self.weight.T + self.bias, dtype=np.float32)

    def predict(self, batch: Batch, parameters: Mapping[str, str] = NO_PARAMETERS) -> dict[str, np.ndarray]:
        """``score`` (n,) or (n, classes) float32, and for classifiers ``predicted_label`` (n,) int32."""
        raw = self.raw_scores(batch)
        match self.predictor_type:
            case "regressor":
                return {"score": raw[:, 0]}
            case "binary_classifier":
                score = raw[:, 0] if self.loss == "hinge_loss" else expit(raw[:, 0])
                return {"score": score, "predicted_label": (raw[:, 0] >= self.threshold).astype(np.int32)}
            case _:
                return {"score": softmax(raw), "predicted_label": raw.argmax(axis=1).astype(np.int32)}

    def margins(self, batch: Batch) -> np.ndarray:
        """A classifier's scores as scikit-learn's ``decision_function`` has them, float32: of two classes (n,), above 0
        for the second; else (n, classes)."""
        raw = self.raw_scores(batch)
        if raw.shape[1] == 1:
            return np.asarray(raw[:, 0] - np.float32(self.threshold))
        return np.asarray(raw[:, 1] - raw[:, 0]) if raw.shape[1] == 2 else raw

    def figures(self, sample: Sample | None) -> list[Figure]:
        """How good the predictions for ``sample`` are, and the weights."""
        figures = answered(sample, self.predict, self.predictor_type)
        if len(self.weight) == 1:
            figures.append(effects("Weights", self.weight[0], sample))
        else:
            names = names_of(sample)
            figures.append(Heatmap(title="Weights", values=self.weight, x="feature", y="class", columns=names))
            figures += strongest("Largest weights of each class", self.weight, "class", sample)
        return figures

    def as_one_score(self) -> tuple[np.ndarray, np.ndarray]:
        """Weights (c, d) and biases (c,), of two classes their difference alone, (1, d) and (1,), as scikit-learn has
        them."""
        if len(self.bias) == 2:
            return self.weight[1:] - self.weight[:1], self.bias[1:] - self.bias[:1]
        return self.weight, self.bias

    def save(self, directory: Path) -> None:
        """Write ``model_algo-1``: stored, not compressed, as SageMaker's own is."""
        parameters = {
            "predictor_type": self.predictor_type,
            "loss": self.loss,
            "threshold": self.threshold,
            "feature_dim": self.feature_dim,
            "outputs": len(self.bias),
        }
        mxnet_archive.save(
            directory / mxnet_files.MODEL_FILE,
            {
                PARAMETERS: json.dumps(parameters),
                MANIFEST: _MANIFEST,
                SYMBOL: mxnet_symbols.linear(self.feature_dim, len(self.bias), self._link()),
                WEIGHTS: {"arg:fc0_weight": self.weight, "arg:fc0_bias": self.bias},
            },
        )

    def _link(self) -> mxnet_symbols.Link:
        if self.predictor_type == "multiclass_classifier":
            return "softmax"
        return "sigmoid" if self.predictor_type == "binary_classifier" and self.loss != "hinge_loss" else "_copy"


def softmax(scores: np.ndarray) -> np.ndarray:
    """Row-wise softmax of (n, c), float32."""
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def recognises(directory: Path) -> bool:
    """Whether ``directory`` holds a linear learner's archive."""
    return mxnet_archive.holds(directory, SYMBOL, WEIGHTS)


def load(directory: Path) -> LinearModel:
    """Read the model in ``directory``, of this project or SageMaker's.

    The fields of SageMaker's ``additional-params.json`` are not published. For missing ones, the predictor type follows
    from the symbol's last operator and the shape of the weights, and the threshold is a probability of 0.5. A
    ``threshold`` that another program wrote is a probability, too, if it can be one; this project's is a raw score.

    Raises:
        ModelError: there is no such file, or it is damaged.
    """
    path = mxnet_files.find(directory)
    members = mxnet_archive.load(path)
    try:
        arrays = mxnet_files.load(members[WEIGHTS])
        extra = read_json(members.get(PARAMETERS, b"{}"), f"{PARAMETERS} in {path.name}")
        ours = members.get(MANIFEST) == _MANIFEST.encode()
        symbol = read_json(members[SYMBOL], f"{SYMBOL} in {path.name}")
        operators = [str(node["op"]) for node in symbol["nodes"]]
    except ModelError:
        raise
    except (KeyError, ValueError, TypeError) as error:
        raise ModelError(f"'{path.name}' is not a linear learner's model, or is damaged: {error}") from error
    model = _model(path, arrays, extra if isinstance(extra, dict) else {}, operators)
    if ours or model.loss == "hinge_loss" or not 0 < model.threshold < 1:
        return model
    return replace(model, threshold=float(logit(model.threshold)))


def _model(path: Path, arrays: Any, extra: dict[str, Any], operators: list[str]) -> LinearModel:
    weight, bias = _layer(path, arrays)
    guessed, guessed_loss = _guess(len(weight), operators)
    predictor_type = str(extra.get("predictor_type"))
    if predictor_type not in _OUTPUTS or not _OUTPUTS[predictor_type](len(weight)):
        predictor_type = guessed
    loss = str(extra.get("loss", guessed_loss if predictor_type == guessed else ""))
    try:
        threshold = float(extra.get("threshold", 0.0))
    except (TypeError, ValueError) as error:
        raise ModelError(f"{path}: threshold {extra.get('threshold')!r} is not a number") from error
    if not np.isfinite(threshold):
        raise ModelError(f"{path}: threshold {threshold} is not a finite number")
    for name, found in (("feature_dim", weight.shape[1]), ("outputs", len(weight))):
        if extra.get(name, found) != found:
            raise ModelError(f"{path}: {PARAMETERS} states {name} {extra[name]!r}, but the weights have {found}")
    return LinearModel(weight, bias, predictor_type, loss, threshold)


def _layer(path: Path, arrays: Any) -> tuple[np.ndarray, np.ndarray]:
    """Weight (outputs, d) and bias (outputs,) of the one layer; a layer without a bias has zeros."""
    if not isinstance(arrays, dict):
        raise ModelError(f"{path} has no arrays fc0_weight and fc0_bias: its arrays have no names")
    named = {name.removeprefix("arg:"): array for name, array in arrays.items()}
    layers = [name.removesuffix("_weight") for name in named if name.endswith("_weight")]
    layer = "fc0" if "fc0" in layers else layers[0] if len(layers) == 1 else None
    if layer is None:
        raise ModelError(f"{path} has no arrays fc0_weight and fc0_bias, but: {', '.join(named) or 'none'}")
    weight = np.asarray(named[f"{layer}_weight"], np.float32)
    weight = weight.reshape(1, -1) if weight.ndim == 1 else weight
    bias = np.asarray(named.get(f"{layer}_bias", np.zeros(len(weight))), np.float32).reshape(-1)
    if weight.ndim != 2 or 0 in weight.shape or len(weight) != len(bias):
        raise ModelError(f"{path}: {layer}_weight of shape {weight.shape} does not fit a bias of shape {bias.shape}")
    return weight, bias


_OUTPUTS: dict[str, Callable[[int], bool]] = {
    "regressor": lambda outputs: outputs == 1,
    "binary_classifier": lambda outputs: outputs == 1,
    "multiclass_classifier": lambda outputs: outputs > 1,
}
"""How many outputs a predictor type has."""


def _guess(outputs: int, operators: list[str]) -> tuple[str, str]:
    """Predictor type and loss, as the symbol's last operator that computes something tells."""
    if outputs > 1:
        return "multiclass_classifier", ""
    last = next((op for op in reversed(operators) if op not in _PASSED_ON), "")
    if last == "SVMOutput":
        return "binary_classifier", "hinge_loss"
    binary = last in ("sigmoid", "Activation", "LogisticRegressionOutput")
    return ("binary_classifier", "logistic") if binary else ("regressor", "")
