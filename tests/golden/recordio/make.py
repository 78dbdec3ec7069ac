"""Writes the files of this folder with the SageMaker SDK's own serializers.

Run it where the SDK is installed: ``python tests/golden/recordio/make.py``. The files here came from version 2.245.0.
"""

from pathlib import Path

import numpy as np
import scipy.sparse as sp

FOLDER = Path(__file__).resolve().parent

_DENSE = np.array([[0.5, -1.0, 0.0, 3e38], [1e-30, 2.0, -0.0, 7.25], [0.0, 0.0, 0.0, 0.0]])
_SPARSE = np.zeros((5, 300))
_SPARSE[0, [0, 127, 128, 299]] = [1.5, -2.0, 0.25, 8.0]
_SPARSE[3, 131] = -1.0
_SPARSE[4] = np.arange(1, 301)
_LABELS = np.array([1.0, 0.0, -2.5, 7.0, 0.125])

CASES = {
    "dense_float32": (_DENSE.astype(np.float32), None),
    "dense_float32_labels": (_DENSE.astype(np.float32), _LABELS[:3].astype(np.float32)),
    "dense_float64_labels": (_DENSE, _LABELS[:3]),
    "dense_int": (np.array([[0, 1, -1], [127, 128, 2**31 - 1], [-(2**31), 7, 300]]), np.array([3, 0, -4])),
    "dense_one_wide": (np.float32([[1.0], [2.0]]), None),
    "dense_wide": (np.linspace(-1, 1, 2 * 5000, dtype=np.float32).reshape(2, 5000), np.float32([0, 1])),
    "sparse_float32": (sp.csr_matrix(_SPARSE.astype(np.float32)), None),
    "sparse_float32_labels": (sp.csr_matrix(_SPARSE.astype(np.float32)), _LABELS.astype(np.float32)),
    "sparse_float64_labels": (sp.csr_matrix(_SPARSE), _LABELS),
    "sparse_int": (sp.csr_matrix(np.array([[0, -5, 0], [0, 0, 0], [9, 0, 70000]])), None),
}
"""File name to features and labels."""


def main() -> None:
    from sagemaker.amazon.common import write_numpy_to_dense_tensor, write_spmatrix_to_sparse_tensor

    for name, (features, labels) in CASES.items():
        write = write_spmatrix_to_sparse_tensor if sp.issparse(features) else write_numpy_to_dense_tensor
        with (FOLDER / f"{name}.pbr").open("wb") as file:
            write(file, features, labels)


if __name__ == "__main__":
    main()
