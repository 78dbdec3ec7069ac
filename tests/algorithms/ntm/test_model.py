"""The model of NTM and its artifact."""

from __future__ import annotations

import numpy as np
import pytest

from algorithms.common import mxnet_archive
from algorithms.errors import (
    ModelError,
    PredictionError,
)
from algorithms.ntm import NTM
from recordio.batches import Batch
from tests.algorithms.ntm.jobs import model


def test_negative_counts_are_refused_in_requests():
    with pytest.raises(PredictionError, match="a feature is -1; counts of words are 0 or more"):
        model().predict(Batch(np.float32([[1, -1, 0, 0, 0, 0]])))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arg:mean_weight": np.ones((4, 7), np.float32)}, "do not fit each other"),
        ({"arg:mean_bias": np.ones(3, np.float32)}, "do not fit each other"),
        ({"arg:projection_bias": np.full(6, np.nan, np.float32)}, "projection_bias has values that are NaN"),
        ({"arg:encoder0_weight": None}, "encoder0_weight"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, message, tmp_path):
    model().save(tmp_path)
    path = tmp_path / "model_algo-1"
    from algorithms.common import mxnet_files

    members = mxnet_archive.load(path)
    arrays = {**mxnet_files.load(members["params"]), **change}
    kept = {name: array for name, array in arrays.items() if array is not None}
    meta, symbol = (members[name].decode() for name in ("meta.json", "symbol.json"))
    mxnet_archive.save(path, {"meta.json": meta, "symbol.json": symbol, "params": kept})
    with pytest.raises(ModelError, match=message):
        NTM.load(tmp_path)


def test_the_artifact_is_laid_out_as_sagemakers(tmp_path):
    import zipfile

    model().save(tmp_path)
    with zipfile.ZipFile(tmp_path / "model_algo-1") as archive:
        assert archive.namelist() == ["meta.json", "symbol.json", "params"]
        assert all(member.compress_type == zipfile.ZIP_STORED for member in archive.infolist())
