"""Data at addresses and in Parquet files, for an algorithm that reads neither: the model is that of the CSV file."""

from __future__ import annotations

import json

import fsspec
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from click.testing import CliRunner

from algorithms.common import mxnet_files
from container.settings import ConfigurationError
from local.commands import oba

ROWS = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)


def train(folder, data, *more):
    words = ["train", "pca", "num_components=2", "mini_batch_size=50", "--train", str(data), "--output", str(folder)]
    return CliRunner().invoke(oba, [*words, "--quiet", *more])


def components(folder):
    return mxnet_files.load(folder / "model" / "model_algo-1")["v"]


@pytest.fixture(scope="module")
def csv(tmp_path_factory):
    file = tmp_path_factory.mktemp("data") / "rows.csv"
    np.savetxt(file, ROWS, delimiter=",", fmt="%.9g")
    return file


@pytest.fixture(scope="module")
def expected():
    return np.linalg.svd(ROWS - ROWS.mean(axis=0), full_matrices=False)[2][1::-1].T


@pytest.fixture
def memory(csv):
    system = fsspec.filesystem("memory")
    text = csv.read_text().splitlines(keepends=True)
    system.pipe(
        {"/bucket/rows/a.csv": "".join(text[:90]).encode(), "/bucket/rows/b/a.csv": "".join(text[90:]).encode()}
    )
    yield
    system.rm("/bucket", recursive=True)


def close(found, expected):
    return np.allclose(np.abs((found * expected).sum(axis=0)), 1, atol=1e-4)


@pytest.mark.parametrize("address", ["memory://bucket/rows", "memory://bucket/rows/**/*.csv"])
def test_addresses_of_folders_and_patterns(tmp_path, memory, expected, address):
    done = train(tmp_path / "out", address)
    assert done.exit_code == 0, done.output
    assert close(components(tmp_path / "out"), expected)


def test_an_address_as_request(tmp_path, csv, memory):
    assert train(tmp_path / "out", f"file://{csv}").exit_code == 0
    words = ["predict", "--model", str(tmp_path / "out" / "model"), "--input"]
    done = CliRunner().invoke(oba, [*words, "memory://bucket/rows/a.csv"])
    assert (done.exit_code, done.output.count('projection"')) == (0, 90)


@pytest.mark.parametrize("address", ["memory://bucket/absent.csv", "nothing://bucket/rows.csv"])
def test_what_cannot_be_fetched_is_named(tmp_path, address):
    done = train(tmp_path / "out", address)
    assert isinstance(done.exception, ConfigurationError)  # which ``oba`` prints, with exit code 1
    assert address in str(done.exception)


def test_parquet_for_an_algorithm_that_does_not_read_it(tmp_path, expected):
    file = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.table({f"x{i}": ROWS[:, i] for i in range(3)}), file)
    done = train(tmp_path / "out", file)
    assert done.exit_code == 0, done.output
    assert close(components(tmp_path / "out"), expected)
    pyarrow.parquet.write_table(pyarrow.table({"x": ROWS[:, 0], "name": ["a"] * len(ROWS)}), file)
    done = train(tmp_path / "other", file)
    assert isinstance(done.exception, ConfigurationError)
    assert "'name'" in str(done.exception)


def test_the_first_column_of_parquet_is_the_label(tmp_path):
    labels = ROWS @ np.array([1, -2, 3], np.float32)
    columns = {"y": labels} | {f"x{i}": ROWS[:, i] for i in range(3)}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "rows.parquet")
    words = ["train", "linear-learner", "predictor_type=regressor", "--train", str(tmp_path / "rows.parquet")]
    done = CliRunner().invoke(oba, [*words, "--output", str(tmp_path / "out"), "--quiet"])
    assert done.exit_code == 0, done.output
    (tmp_path / "request.csv").write_text("1,1,1\n")
    words = ["predict", "--model", str(tmp_path / "out" / "model"), "--input", str(tmp_path / "request.csv")]
    done = CliRunner().invoke(oba, words)
    assert json.loads(done.output)["predictions"][0]["score"] == pytest.approx(2, abs=0.05)
