"""``algorithms.load``: every algorithm's models from folders and archives, asked with what Python programs have."""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from PIL import Image

import algorithms
from algorithms import estimators, registry
from algorithms.errors import ModelError, PredictionError
from algorithms.kmeans.model import KMeansModel
from algorithms.vision import decode
from local.parameters import ModelPath
from recordio.batches import Batch
from tests.algorithms import samples
from tests.algorithms.fakes import FakeJob

CENTERS = np.float32([[0, 0], [3, 4]])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    KMeansModel(CENTERS).save(tmp_path / "model")
    return tmp_path / "model"


def archive(folder: Path) -> Path:
    path = folder.parent / "model.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for file in folder.iterdir():
            tar.add(file, file.name)
    return path


@pytest.mark.parametrize("kind", [str, Path, lambda folder: archive(folder), lambda folder: str(archive(folder))])
def test_folders_and_archives_by_path_or_text(folder: Path, kind: Any) -> None:
    found = algorithms.load(kind(folder)).predict(np.array([[3, 3], [0, 0.5]]))
    assert found["closest_cluster"].tolist() == [1, 0]
    assert found["distance_to_cluster"] == pytest.approx([1, 0.5])


@pytest.mark.parametrize("within", ["", "best"])
def test_folders_of_jobs_and_of_searches_as_for_oba(folder: Path, within: str) -> None:
    job = folder.parent / "out" / within
    job.mkdir(parents=True)
    (job / "input").mkdir()
    folder.rename(job / "model")
    place = folder.parent / "out"
    assert algorithms.load(place).predict([[3, 3]])["closest_cluster"].tolist() == [1]
    assert ModelPath().convert(str(place), None, None) == job / "model"
    assert estimators.KMeans.load(place).cluster_centers_.tolist() == CENTERS.tolist()


@pytest.mark.parametrize(
    "make",
    [
        np.asarray,
        sp.csr_array,
        sp.csc_matrix,
        np.ndarray.tolist,
        lambda rows: np.asfortranarray(rows, dtype=np.int64),
        lambda rows: pytest.importorskip("pandas").DataFrame(rows, columns=["a", "b"]),
        lambda rows: pytest.importorskip("polars").DataFrame(rows, schema=["a", "b"]),
    ],
)
def test_any_kind_of_rows_is_the_same_rows(folder: Path, make: Any) -> None:
    rows = np.array([[3.0, 3.0], [0.0, 1.0]])
    assert algorithms.load(folder).predict(make(rows))["distance_to_cluster"] == pytest.approx([1, 1])


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([1.0, 2.0], "reshape"),
        ([[1.0, 2.0], [3.0]], "rows of numbers"),
        ([["a", "b"]], "rows of numbers"),
        ([[1.0, np.nan]], "NaN"),
        ([[1e300, 0.0]], "float32"),
        (sp.csr_array(np.array([[np.inf, 1.0]])), "infinite"),
        (np.array([[1 + 2j, 0]]), "complex"),
        (np.array([["2026-01-01", "2026-01-02"]], "datetime64[s]"), "datetime64"),
        (sp.csr_array(np.array([[1j, 1.0]])), "complex"),
        (np.zeros((1, 3)), "3 features"),
        (np.zeros((2, 2, 2)), "shape"),
        (None, "rows"),
        ("rows.csv", r"not 'rows\.csv': a file is to be read first, as pandas does: read_csv"),
    ],
)
def test_what_is_no_row_of_the_model_is_named(folder: Path, rows: Any, said: str) -> None:
    with pytest.raises(PredictionError, match=said):
        algorithms.load(folder).predict(rows)


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_frames_with_missing_values_where_the_algorithm_takes_them(kind: str, tmp_path: Path) -> None:
    frames = pytest.importorskip(kind)
    xgboost = pytest.importorskip("xgboost")
    features = np.array([[1, 0], [0, 1], [2, np.nan], [np.nan, 3]] * 20)
    labels = np.nan_to_num(features[:, 0])
    booster = xgboost.train({"max_depth": 3}, xgboost.DMatrix(features, labels), 3)
    booster.save_model(tmp_path / "xgboost-model.json")
    (tmp_path / "xgboost-model.json").rename(tmp_path / "xgboost-model")
    columns = {"a": [1, 0, 2, None], "b": [0.0, 1.0, None, 3.0]}
    asked = frames.DataFrame(columns).convert_dtypes() if kind == "pandas" else frames.DataFrame(columns)
    expected = booster.predict(xgboost.DMatrix(features[:4]))
    assert algorithms.load(tmp_path).predict(asked)["score"] == pytest.approx(expected)


def test_categories_of_a_frame_are_not_taken_for_their_numbers(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    xgboost = pytest.importorskip("xgboost")
    from algorithms.estimators import XGBoostRegressor

    codes = np.arange(60) % 3
    frame = pandas.DataFrame({"a": np.arange(60.0), "b": pandas.Categorical.from_codes(codes, [30, 10, 20])})
    matrix = xgboost.DMatrix(frame, codes, enable_categorical=True)
    booster = xgboost.train({"tree_method": "hist", "max_cat_to_onehot": 1}, matrix, 3)
    (tmp_path / "xgboost-model").write_bytes(booster.save_raw("ubj"))
    model = algorithms.load(tmp_path)
    with pytest.raises(PredictionError, match=r"'b' has the categories 30, 10, 20, and .*cat\.codes"):
        model.predict(frame)
    with pytest.raises(ValueError, match=r"cat\.codes"):
        XGBoostRegressor.load(tmp_path).predict(frame)
    with pytest.raises(PredictionError, match="rows are expected"):
        model.predict(frame["a"])
    numbered = frame.assign(b=frame["b"].cat.codes)
    assert model.predict(numbered)["score"] == pytest.approx(booster.predict(matrix))
    numbered["b"] = numbered["b"].astype("category")  # 0, 1, 2: their own numbers
    assert model.predict(numbered)["score"] == pytest.approx(booster.predict(matrix))


@pytest.mark.parametrize("place", [-1, 2, 1 << 30])
@pytest.mark.parametrize("form", [sp.csr_array, sp.csc_array])
def test_sparse_rows_whose_indices_are_outside_are_refused(folder: Path, place: int, form: Any) -> None:
    """XGBoost, or SciPy on the way to it, wrote there, and the process ended by a signal."""
    rows = form(np.ones((1, 2), np.float32))
    rows.indices[1] = place
    with pytest.raises(PredictionError, match=r"the sparse rows are damaged: .*ind"):
        algorithms.load(folder).predict(rows)


def test_repeated_entries_of_sparse_rows_are_summed(folder: Path) -> None:
    rows = sp.csr_array((np.float32([1, 2, 1, 1]), np.array([0, 0, 1, 1]), np.array([0, 2, 4])), shape=(2, 2))
    found = algorithms.load(folder).predict(rows)["distance_to_cluster"]
    assert found == pytest.approx([3, 2])  # (3, 0) and (0, 2), nearest to (0, 0)
    assert rows.nnz == 4  # the caller's rows are as they were


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "is empty"), (b"hello", r"\(notes.json\) as its model")],
)
def test_the_folder_where_one_is_has_its_name_in_messages(
    content: bytes | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "notes.json").write_bytes(content)
    with pytest.raises(ModelError, match=words) as found:
        algorithms.load(".")
    assert str(tmp_path) in str(found.value)
    (tmp_path / "xgboost-model").write_text('{"weights": [1]}')
    with pytest.raises(ModelError, match="xgboost-model is not an XGBoost model, or is damaged: it has no 'learner'"):
        algorithms.load("", "xgboost")
    monkeypatch.setattr("algorithms.loading.MOST_MEMBERS", 1)
    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises(ModelError, match=f"'{tmp_path}' is no model folder: it has over 1 files and folders"):
        algorithms.load("")


def test_a_folder_that_cannot_be_read_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("algorithms.loading.check_files", refuse)
    with pytest.raises(ModelError, match="cannot be read as a model folder: .*Permission denied"):
        algorithms.load(folder)


def test_what_is_no_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        algorithms.load(tmp_path / "nowhere")
    with pytest.raises(ModelError, match="empty"):
        algorithms.load(tmp_path)
    with pytest.raises(ModelError, match="neither a folder nor an archive"):
        algorithms.load("/dev/null")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ModelError, match=r"notes\.txt.*algorithm='NAME' in Python, --algorithm NAME of a command"):
        algorithms.load(tmp_path)
    (tmp_path / "notes.txt").rename(tmp_path / "model.tar.gz")
    with pytest.raises(ModelError, match="unpacked"):
        algorithms.load(tmp_path / "model.tar.gz")
    KMeansModel(CENTERS).save(tmp_path)
    with pytest.raises(LookupError, match="nothing"):
        algorithms.load(tmp_path, "nothing")


def trained(name: str, folder: Path) -> Any:
    """A model of the algorithm's first configuration, and the folder that it is saved in."""
    algorithm = registry.find(name)
    configuration = algorithm.configurations[0]
    with samples.around(configuration):
        channels = samples.channels(algorithm, configuration, folder)
        model = algorithm.fit(samples.parsed(algorithm, configuration), channels, FakeJob())
    (folder / "model").mkdir()
    model.save(folder / "model")
    return model


@pytest.mark.parametrize("name", ["pca", "linear-learner", "factorization-machines", "lda", "xgboost"])
def test_models_answer_as_before_they_were_saved(name: str, tmp_path: Path) -> None:
    model, algorithm = trained(name, tmp_path), registry.find(name)
    configuration = algorithm.configurations[0]
    rows = samples.features(configuration, 7, samples.width(algorithm, configuration), seed=3)
    loaded = algorithms.load(archive(tmp_path / "model"))
    assert loaded.algorithm is algorithm
    expected = model.predict(Batch(rows))
    stored = sp.csr_matrix((rows.ravel(), np.indices(rows.shape)[1].ravel(), np.arange(8) * rows.shape[1]), rows.shape)
    for given in (rows, stored):  # to XGBoost an absent entry is a missing value, so zeros are stored
        found = loaded.predict(given)
        assert expected.keys() == found.keys()
        for column, values in expected.items():
            np.testing.assert_allclose(values, found[column], rtol=1e-5, atol=1e-6)


def test_images_as_paths_bytes_pillow_and_pixels(tmp_path: Path) -> None:
    trained("image-classification", tmp_path)
    model = algorithms.load(tmp_path / "model")
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    (tmp_path / "a.png").write_bytes(stream.getvalue())
    asked = [tmp_path / "a.png", str(tmp_path / "a.png"), stream.getvalue(), image, np.asarray(image)]
    found = model.predict(asked)["prediction"]
    assert np.ptp(found, axis=0).max() == 0
    with pytest.raises(PredictionError, match="list"):
        model.predict(tmp_path / "a.png")
    with pytest.raises(PredictionError, match="uint8"):
        model.predict([np.zeros((40, 40, 3))])
    with pytest.raises(PredictionError, match=r"b\.png"):
        model.predict([tmp_path / "b.png"])


def test_a_model_that_may_not_be_read_is_not_taken_for_another_s(tmp_path, monkeypatch):
    (tmp_path / "model_algo-1").write_bytes(b"")  # as it looks to those who recognise it; and root may read all
    monkeypatch.setattr("algorithms.loading.os.access", lambda path, mode: False)
    with pytest.raises(ModelError, match="'model_algo-1' in the model folder cannot be read: Permission denied"):
        algorithms.load(tmp_path)


def test_an_image_model_without_pillow_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "image-classification-symbol.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "PIL", None)
    decode._pillow.cache_clear()
    with pytest.raises(ModelError, match=r"Pillow: pip install 'open-builtin-algorithms\[image-classification\]'"):
        algorithms.load(tmp_path, "image-classification")
