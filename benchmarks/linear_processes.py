"""The linear learner on small sets as whole processes: ``train`` beside a script of scikit-learn on the same CSV file.

Both choose a penalty by cross-validation, of a model of standardised rows, and write it to a file. What is compared is
processor seconds of the process and its children, imports and all: what a user waits for on a quiet machine.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn import datasets

from benchmarks.common import table, write_job

ROUNDS = 3
SCRIPT = """
import pickle, sys
import numpy as np
from sklearn.linear_model import {name}
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
rows = np.loadtxt(sys.argv[1], delimiter=",", dtype=np.float32)
model = make_pipeline(StandardScaler(), {name}({given})).fit(rows[:, 1:], rows[:, 0])
pickle.dump(model, open(sys.argv[2], "wb"))
"""
CLASSES, NUMBERS = (
    ("LogisticRegressionCV", "scoring='neg_log_loss', max_iter=1000"),
    ("RidgeCV", "np.logspace(-3, 3, 13)"),
)


def processes() -> str:
    """The table: the least processor seconds of three runs of each."""
    rows = []
    for name in ("iris", "wine", "breast_cancer", "digits", "diabetes"):
        features, labels = getattr(datasets, f"load_{name}")(return_X_y=True)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "rows.csv"
            np.savetxt(file, np.column_stack([labels, features]), "%.9g", ",")
            mine, theirs = _ours(file, Path(folder), _required(name, labels)), _peer(file, name)
        rows.append((name, len(labels), mine, theirs, mine / theirs))
    return table("whole processes on small sets", ("", "rows", "train, CPU s", "scikit-learn, CPU s", "times"), rows)


def _required(name: str, labels: np.ndarray) -> dict[str, object]:
    if name == "diabetes":
        return {"predictor_type": "regressor"}
    classes = len(np.unique(labels))
    if classes > 2:
        return {"predictor_type": "multiclass_classifier", "num_classes": classes}
    return {"predictor_type": "binary_classifier"}


def _ours(file: Path, folder: Path, hyperparameters: dict[str, object]) -> float:
    base = folder / "job"
    write_job(base, hyperparameters, {"train": file}, "text/csv")
    variables = {"ALGORITHM": "linear-learner", "SAGEMAKER_BASE_DIR": str(base)}
    return _seconds([sys.executable, "-m", "container", "train"], variables)


def _peer(file: Path, name: str) -> float:
    peer, given = NUMBERS if name == "diabetes" else CLASSES
    code = SCRIPT.format(name=peer, given=given)
    return _seconds([sys.executable, "-W", "ignore", "-c", code, str(file), str(file.with_suffix(".pickle"))], {})


def _seconds(command: Sequence[str], variables: dict[str, str]) -> float:
    def spent() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    found = []
    for _ in range(ROUNDS):
        before = spent()
        subprocess.run(command, env={**os.environ, **variables}, check=True, capture_output=True)
        found.append(spent() - before)
    return min(found)
