"""Writes the files of this folder with the SageMaker SDK: the data by its serializers, the JSON by its local mode.

Run it where the SDK is installed: ``python tests/golden/training/make.py``. The files here came from version 2.245.0.
"""

import shutil
from pathlib import Path

import numpy as np
import scipy.sparse as sp

FOLDER = Path(__file__).resolve().parent
ROWS, WIDTH = 300, 6

# What users give to the SDK's Estimator, before it makes strings of it.
HYPERPARAMETERS = {
    "kmeans": {"k": 2, "feature_dim": WIDTH, "force_dense": True, "eval_metrics": '["msd", "ssd"]'},
    "pca": {"num_components": 2, "feature_dim": WIDTH, "mini_batch_size": 100, "subtract_mean": True},
    "xgboost": {"num_round": 3, "objective": "binary:logistic", "max_depth": 2, "eta": 0.5},
}


def features() -> np.ndarray:
    """Two clouds, the second six apart from the first in every feature; about half of all values are zero."""
    random = np.random.default_rng(7)
    clouds = random.normal(size=(ROWS, WIDTH)) + 6 * (labels() == 1)[:, None]
    return np.where(random.random((ROWS, WIDTH)) < 0.5, clouds, 0).astype(np.float32)


def labels() -> np.ndarray:
    """Rows belong to the clouds in turn."""
    return (np.arange(ROWS) % 2).astype(np.float32)


def main() -> None:
    from sagemaker.amazon.common import write_numpy_to_dense_tensor, write_spmatrix_to_sparse_tensor
    from sagemaker.estimator import Framework
    from sagemaker.utils import to_string

    with (FOLDER / "dense.pbr").open("wb") as file:
        write_numpy_to_dense_tensor(file, features(), labels())
    with (FOLDER / "sparse.pbr").open("wb") as file:
        write_spmatrix_to_sparse_tensor(file, sp.csr_matrix(features()), labels())
    for name, values in HYPERPARAMETERS.items():
        write_config(name, {key: to_string(value) for key, value in values.items()})
        write_config(f"{name}-json-encoded", Framework._json_encode_hyperparameters(values))


def write_config(name: str, strings: dict[str, str]) -> None:
    """The three files of ``input/config``, by the code that the SDK's local mode runs before it starts a container."""
    from sagemaker.local.image import _SageMakerContainer

    container = _SageMakerContainer.__new__(_SageMakerContainer)  # its constructor looks for Docker
    container.container_root, container.hosts, container.instance_type = str(FOLDER), ["algo-1-x7qfz"], "local"
    config = FOLDER / container.hosts[0] / "input" / "config"
    config.mkdir(parents=True)
    channels = [{"ChannelName": "train", "ContentType": "application/x-recordio-protobuf"}]
    container.write_config_files(container.hosts[0], strings, channels)
    shutil.rmtree(FOLDER / name, ignore_errors=True)
    config.rename(FOLDER / name)
    shutil.rmtree(FOLDER / container.hosts[0])


if __name__ == "__main__":
    main()
