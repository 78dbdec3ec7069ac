"""Write the data of the README's examples: ``python examples/data.py FOLDER``. It comes with scikit-learn.

digits.csv                           1,797 images of handwritten digits, 64 pixels each; no labels
digits-request.csv                   three of them
cancer-train.csv, -validation.csv    569 tumours, 30 measures each; first column: is it benign?
cancer-request.csv                   three of the latter without the label, so that a model can be asked
cancer-train.pbr, -validation.pbr, -request.pbr
                                     the same as RecordIO-protobuf, each measure scaled to standard deviation 1
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits

from recordio.records import encode_records

VALIDATION_ROWS = 114


def main(folder: Path) -> None:
    """Write all files into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    digits, _ = load_digits(return_X_y=True)
    write(folder / "digits.csv", digits)
    write(folder / "digits-request.csv", digits[:3])
    measures, benign = load_breast_cancer(return_X_y=True)
    rows = np.column_stack([benign, measures])[np.random.default_rng(0).permutation(len(benign))]
    write(folder / "cancer-train.csv", rows[VALIDATION_ROWS:])
    write(folder / "cancer-validation.csv", rows[:VALIDATION_ROWS])
    write(folder / "cancer-request.csv", rows[:3, 1:])
    labels, scaled = rows[:, 0], (rows[:, 1:] - rows[:, 1:].mean(axis=0)) / rows[:, 1:].std(axis=0)
    (folder / "cancer-train.pbr").write_bytes(encode_records(scaled[VALIDATION_ROWS:], labels[VALIDATION_ROWS:]))
    (folder / "cancer-validation.pbr").write_bytes(encode_records(scaled[:VALIDATION_ROWS], labels[:VALIDATION_ROWS]))
    (folder / "cancer-request.pbr").write_bytes(encode_records(scaled[:3]))


def write(file: Path, rows: np.ndarray) -> None:
    """Comma-separated values without a header, as SageMaker's algorithms take them."""
    np.savetxt(file, rows, fmt="%.9g", delimiter=",")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
