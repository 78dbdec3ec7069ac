"""Whole processes on small data: a training job beside the script that people write with the library, on the same CSV.

    python -m benchmarks.processes              # all; --rounds 9

A side is a command: it starts Python, imports what it needs, reads the file, trains and saves. Ours is ``train`` with
its configuration, log lines and artifact. The data are scikit-learn's 1,797 digits of 64 pixels, the label first.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.common import digits, race, write_job
from benchmarks.lines import Line, as_table, raced

ROOT = Path(__file__).resolve().parents[1]

# What a user of the library writes; it reads the same file. Formatted with the path of the file and of the model.
_READ = """
import pickle, numpy as np
data = np.loadtxt({file!r}, delimiter=",", dtype=np.float32)
"""
_SAVE = """
pickle.dump(model, open({model!r}, "wb"))
"""


class Case(NamedTuple):
    """An algorithm, its hyperparameters, whether its file has a label, and the peer's script."""

    algorithm: str
    given: Mapping[str, object]
    labelled: bool
    peer: str
    script: str


CASES = (
    Case(
        "kmeans",
        {"k": 10, "feature_dim": 64},
        False,
        "sklearn KMeans",
        f"{_READ}from sklearn.cluster import KMeans\nmodel = KMeans(10).fit(data){_SAVE}",
    ),
    Case(
        "pca",
        {"num_components": 10, "feature_dim": 64, "mini_batch_size": 500},
        False,
        "sklearn PCA",
        f"{_READ}from sklearn.decomposition import PCA\nmodel = PCA(10).fit(data){_SAVE}",
    ),
    Case(
        "linear-learner",
        {"predictor_type": "multiclass_classifier", "num_classes": 10, "feature_dim": 64},
        True,
        "sklearn LogisticRegressionCV",
        f"{_READ}from sklearn.linear_model import LogisticRegressionCV\nfrom sklearn.pipeline import make_pipeline\n"
        "from sklearn.preprocessing import StandardScaler\n"
        "model = make_pipeline(StandardScaler(), LogisticRegressionCV(cv=5, max_iter=300))\n"
        f"model.fit(data[:, 1:], data[:, 0]){_SAVE}",
    ),
    Case(
        "xgboost",
        {"objective": "multi:softprob", "num_class": 10, "num_round": 10},
        True,
        "xgboost",
        "import xgboost\n"
        "matrix = xgboost.DMatrix({file!r} + '?format=csv&label_column=0')\n"
        "parameters = {{'objective': 'multi:softprob', 'num_class': 10}}\n"
        "model = xgboost.train(parameters, matrix, 10, evals=[(matrix, 'train')])\n"
        "model.save_model({model!r} + '.ubj')\n",
    ),
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    print(as_table("Whole processes on digits", list(_lines(CASES, parser.parse_args().rounds))))


def lines(quick: bool) -> Iterator[Line]:
    """Each algorithm beside the library's script."""
    yield from _lines(CASES[:1] if quick else CASES, 1 if quick else 5)


def _lines(cases: tuple[Case, ...], rounds: int) -> Iterator[Line]:
    data = digits()
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "train.csv"
            rows = np.column_stack([data.labels, data.features]) if case.labelled else data.features
            np.savetxt(file, rows, fmt="%g", delimiter=",")
            script = case.script.format(file=str(file), model=str(Path(folder) / "peer"))
            sides = {"ours": _job(Path(folder), case, file), case.peer: _command([sys.executable, "-c", script])}
            entered = race(sides, rounds)
        yield raced(f"{case.algorithm}, digits, the whole process", entered)


def _job(folder: Path, case: Case, file: Path) -> Callable[[], None]:
    """A process that is a training job, each time with an ``/opt/ml`` of its own."""

    def run() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as base:
            media = "text/csv" if case.labelled else "text/csv;label_size=0"
            write_job(Path(base), case.given, {"train": file}, media)
            _command([sys.executable, "-m", "container", "train"], SAGEMAKER_BASE_DIR=base, ALGORITHM=case.algorithm)()

    return run


def _command(command: list[str], **variables: str) -> Callable[[], None]:
    def run() -> None:
        subprocess.run(command, cwd=ROOT, env=os.environ | variables, check=True, capture_output=True)

    return run


if __name__ == "__main__":
    main()
