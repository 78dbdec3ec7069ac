"""The trained model: one booster, or several that answer together."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xgboost as xgb

from algorithms.errors import ModelError, PredictionError
from algorithms.figures import Figure, Sample, largest, names_of
from algorithms.interface import NO_PARAMETERS, Model
from algorithms.quality import classified, confusion, regressed
from algorithms.xgb import pickled
from algorithms.xgb.data import widened
from algorithms.xgb.documents import load_booster, looks_like_model
from algorithms.xgb.in_place import InPlace
from algorithms.xgb.messages import first_line
from algorithms.xgb.outputs import select
from algorithms.xgb.portable import portable
from algorithms.xgb.reckoning import loading_bytes
from recordio.batches import Batch, Features
from recordio.limits import PREDICTION_MEMORY

FILE = "xgboost-model"
_NUMBERED = re.compile(r"f\d+")
_OWN_NAME = re.compile(rf"{FILE}(-(\d+))?")
_FIRST_NOT_PICKLED = 1, 3
"""The version of SageMaker's image, 1.3-1 (or 1.3), from which on XGBoost's own format is written."""
_VOTED = ("multi:softmax", "binary:hinge")


class XGBModel(Model):
    """Boosters of one objective. Several answer with the mean of their predictions, or with the most frequent class
    where they predict classes.

    Attributes:
        boosters: as XGBoost's own, with all rounds.
        objective: their objective.
        classes: number of classes, 0 where there are none.
        targets: number of labels, or quantiles, that are predicted for a row; 1 in models that are trained here.
        rounds: number of rounds to predict with, for each booster; 0 for all.
    """

    def __init__(self, boosters: Sequence[xgb.Booster]) -> None:
        self.boosters = tuple(boosters)
        described = [json.loads(booster.save_config())["learner"] for booster in boosters]
        self.objective = str(described[0]["objective"]["name"])
        self.classes = (
            2 if self.objective.startswith("binary:") else int(described[0]["learner_model_param"]["num_class"])
        )
        self.targets = max(int(described[0]["learner_model_param"].get("num_target", "1")), 1)
        self._features = [booster.num_features() for booster in boosters]
        kinds = [str(learner["gradient_booster"]["name"]) for learner in described]
        self._importance = "weight" if kinds[0] == "gblinear" else "gain"
        self.rounds = [0 if kind == "gblinear" else _rounds(one) for kind, one in zip(kinds, boosters, strict=True)]
        self._in_place = [
            InPlace(booster, rounds) if kind == "gbtree" else None
            for kind, booster, rounds in zip(kinds, boosters, self.rounds, strict=True)
        ]
        self._lock = threading.Lock()

    def lay_out(self) -> None:
        """Have few rows answered sooner from now on, by the trees as they are now."""
        for in_place in self._in_place:
            if in_place is not None:
                in_place.lay_out()

    @property
    def feature_dim(self) -> int | None:
        """None: sparse rows may leave out the last features, so ``predict`` checks rows itself."""
        return None

    @property
    def takes_categories(self) -> bool:
        """Whether a feature has categories, by the types of the features, which XGBoost keeps with the model."""
        return any("c" in (booster.feature_types or ()) for booster in self.boosters)

    def predict(self, batch: Batch, parameters: Mapping[str, str] = NO_PARAMETERS) -> dict[str, np.ndarray]:
        """``score``: shape (n,), or (n, classes) for multi:softprob, as ``Booster.predict`` gives it.

        Missing values are NaN in dense rows and absent entries in sparse ones.
        """
        return {"score": self._scores(batch)}

    def select(self, batch: Batch, outputs: Sequence[str]) -> dict[str, Any]:
        """The outputs of ``algorithms.xgb.outputs`` that a client chose.

        Raises:
            NotImplementedError: none can be chosen of this model.
        """
        if self.targets > 1:
            raise NotImplementedError(f"No outputs can be selected of a model of {self.targets} numbers a row.")
        return select(self.objective, self.classes, self._scores(batch), outputs)

    def figures(self, sample: Sample | None) -> list[Figure]:
        """How good the predictions for ``sample`` are, and which features the first booster uses."""
        figures: list[Figure] = []
        if sample is not None and sample.rows.labels is not None:
            figures += _answered(self.objective, sample, self._scores(sample.rows))
        scores = self.boosters[0].get_score(importance_type=self._importance)
        if scores:
            values = np.array([np.mean(value) for value in scores.values()])
            names = _called(list(scores), names_of(sample))
            figures.append(largest(f"Importance of features ({self._importance})", values, names))
        return figures

    def importances(self) -> np.ndarray:
        """The mean gain of the splits of each feature in the first booster, (d,) float32, as shares of their sum.

        Raises:
            AttributeError: it has no trees.
        """
        if self._importance != "gain":
            raise AttributeError("a linear booster has no splits, by whose gain features could be compared")
        found = np.zeros(self._features[0], np.float32)
        names = self.boosters[0].feature_names or [f"f{number}" for number in range(len(found))]
        for name, gain in self.boosters[0].get_score(importance_type="gain").items():
            found[names.index(name)] = np.mean(gain)
        return found / (found.sum() or 1)

    def save(self, directory: Path) -> None:
        """Write ``xgboost-model`` in XGBoost's UBJSON, or ``xgboost-model-0``, ``-1`` and so on for several."""
        self._write(directory, portable)

    def save_as(self, directory: Path, version: tuple[int, ...]) -> None:
        """The same, pickled for versions before 1.3-1."""
        self._write(directory, pickled.dumps if version < _FIRST_NOT_PICKLED else portable)

    def _write(self, directory: Path, written: Callable[[xgb.Booster], bytes]) -> None:
        names = [FILE] if len(self.boosters) == 1 else [f"{FILE}-{number}" for number in range(len(self.boosters))]
        for name, booster in zip(names, self.boosters, strict=True):
            (directory / name).write_bytes(written(booster))

    def _scores(self, batch: Batch) -> np.ndarray:
        all_scores = [self._score(number, batch) for number in range(len(self.boosters))]
        if len(all_scores) == 1:
            return all_scores[0]
        if self.objective in _VOTED:
            return majority(np.stack(all_scores))
        return np.mean(all_scores, axis=0)

    def _score(self, number: int, batch: Batch) -> np.ndarray:
        width = self._features[number]
        if batch.feature_dim > width or (batch.feature_dim < width and not batch.is_sparse):
            raise PredictionError(f"Feature shape mismatch, expected: {width}, got {batch.feature_dim}")
        if not len(batch):
            return np.empty((0, self.classes) if self.objective == "multi:softprob" else 0, np.float32)
        at_once = max(PREDICTION_MEMORY // (4 * max(width, 1)), 1) if batch.is_sparse else len(batch)
        if len(batch) > at_once:
            parts = range(0, len(batch), at_once)
            return np.concatenate([self._ask(number, batch.rows(start, start + at_once).features) for start in parts])
        return self._ask(number, batch.features)

    def _ask(self, number: int, rows: Features) -> np.ndarray:
        width = self._features[number]
        try:
            if (in_place := self._in_place[number]) is not None:
                return in_place.predict(rows, width)
            with self._lock:
                matrix = xgb.DMatrix(rows if isinstance(rows, np.ndarray) else widened(rows, width), nthread=1)
                rounds = (0, self.rounds[number])
                return self.boosters[number].predict(matrix, iteration_range=rounds, validate_features=False)
        except xgb.core.XGBoostError as error:
            raise PredictionError(first_line(error)) from error


def _called(features: list[str], names: Sequence[str]) -> list[str]:
    """The names of features that XGBoost calls by their numbers, as in f7; as they are if they have no names."""
    return [names[int(one[1:])] if names and _NUMBERED.fullmatch(one) else one for one in features]


def _answered(objective: str, sample: Sample, scores: np.ndarray) -> list[Figure]:
    """Figures of classifiers and of plain regression; rankings and survival times have none here."""
    labels = np.asarray(sample.rows.labels).reshape(-1)
    note = f"{len(labels):,} rows of {sample.dataset}."
    if objective == "binary:logistic" and (labels != np.floor(labels)).any():  # labels are probabilities
        return regressed(labels, scores, note)
    if objective in ("binary:logistic", "binary:hinge"):
        return classified(labels, scores, (scores >= 0.5).astype(int), note)
    if objective in ("multi:softmax", "multi:softprob"):
        classes = scores.argmax(axis=1) if scores.ndim == 2 else scores
        return [confusion(labels, classes, note)]
    if objective.startswith("reg:") and objective != "reg:logistic":
        return regressed(labels, scores, note)
    return []


def _rounds(booster: xgb.Booster) -> int:
    """Rounds to predict with: up to the best where early stopping marked one, else all (0)."""
    best = booster.attr("best_iteration")
    if best is None or not best.isdecimal() or int(best) >= booster.num_boosted_rounds():
        return 0
    return int(best) + 1


def majority(votes: np.ndarray) -> np.ndarray:
    """The most frequent value of each column of shape (models, n); the smallest of equally frequent ones."""
    candidates = np.unique(votes)
    return candidates[np.stack([(votes == candidate).sum(axis=0) for candidate in candidates]).argmax(axis=0)]


def load(directory: Path, *, first: bool = False) -> XGBModel:
    """All models of a folder as one that gives their common answer, or only the ``first``; see ``XGBoost.load``.

    Raises:
        ModelError: there is no model, one cannot be read, or they differ in objective or classes.
    """
    files = _model_files(directory)[: 1 if first else None]
    boosters = [load_booster(path.read_bytes(), path.name) for path in files]
    for booster in boosters:
        booster.set_param({"nthread": 1})  # requests run side by side; one thread each is fastest and fair
    model = XGBModel(boosters)
    for path, booster in zip(files, boosters, strict=True):
        if (other := XGBModel([booster])).objective != model.objective or other.classes != model.classes:
            raise ModelError(f"{path.name} has objective {other.objective}, and {files[0].name} {model.objective}")
        if other.targets != model.targets:
            raise ModelError(f"{path.name} gives {other.targets} numbers a row, and {files[0].name} {model.targets}")
    model.lay_out()
    return model


def loading_memory(directory: Path) -> int:
    """The most bytes of memory that ``load`` takes: each file counts, since each leaves a booster."""
    return sum(loading_bytes(path) for path in _model_files(directory))


def recognises(directory: Path) -> bool:
    """Whether a file of the folder looks like an XGBoost model."""
    try:
        return any(_OWN_NAME.fullmatch(path.name) or looks_like_model(_head(path)) for path in _model_files(directory))
    except (ModelError, OSError):
        return False


def load_start(folder: Path) -> xgb.Booster:
    """The one booster in the folder of a ``model`` channel.

    Raises:
        ModelError: there is none, or more than one, or it is damaged.
    """
    files = _model_files(folder)
    if len(files) > 1:
        names = ", ".join(path.name for path in files)
        raise ModelError(f"Channel 'model' must hold one model to continue from, and holds {names}")
    return load_booster(files[0].read_bytes(), files[0].name)


def _plain_files(folder: Path) -> list[Path]:
    return sorted((path for path in folder.iterdir() if path.is_file() and path.name[0] != "."), key=_order)


def _order(path: Path) -> tuple[int, str]:
    match = _OWN_NAME.fullmatch(path.name)
    return (int(match[2] or 0) if match else 0, path.name)


def _preferred(files: list[Path]) -> list[Path]:
    """Files named as SageMaker names models; where there is none, all, since users name theirs as they like."""
    return [path for path in files if _OWN_NAME.fullmatch(path.name)] or files


def _model_files(directory: Path) -> list[Path]:
    files = _preferred(_plain_files(directory)) if directory.is_dir() else []
    if not files:
        raise ModelError(f"{directory} has no model file; '{FILE}' was expected")
    return files


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4096)
