"""``load``: a model from a folder or an archive, ready to be asked with arrays. SageMaker's own artifacts included.

>>> import tempfile, numpy as np
>>> from algorithms.kmeans.model import KMeansModel
>>> folder = tempfile.TemporaryDirectory()
>>> KMeansModel(np.float32([[0, 0], [3, 4]])).save(Path(folder.name))
>>> model = load(folder.name)
>>> model.algorithm.name
'kmeans'
>>> model.predict([[3, 3], [0, 0]])
{'closest_cluster': array([1., 0.], dtype=float32), 'distance_to_cluster': array([1., 0.], dtype=float32)}
>>> folder.cleanup()
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from algorithms import registry
from algorithms.answers import answer, selected
from algorithms.archives import ArchiveError, extract, model_of_job
from algorithms.errors import ModelError, PredictionError
from algorithms.exporting import exported
from algorithms.feature_names import of_job
from algorithms.figures import Figure, Sample
from algorithms.frames import by_names, no_number, not_numbered
from algorithms.interface import IMAGES, NO_PARAMETERS, ROWS, Algorithm, Items, Model
from recordio.batches import Batch, canonical, check_sparse
from recordio.limits import MOST_MEMBERS
from recordio.quoting import quoted


def load(path: str | os.PathLike[str], algorithm: str | None = None) -> LoadedModel:
    """See ``algorithms.load``."""
    place = Path(path)
    if place.name in ("", ".."):  # of '.', a message would say little
        place = place.resolve()
    if not place.exists():
        raise FileNotFoundError(f"there is no model at '{place}': no such file or folder")
    if not (place.is_dir() or place.is_file()):
        raise ModelError(f"'{place}' is neither a folder nor an archive")
    place = model_of_job(place)
    with unpacked(place) as folder:
        _check(folder, place)
        found = registry.find(algorithm) if algorithm is not None else identified(folder, place)
        try:
            model = found.load(folder)
            names = of_job(place, folder, model.feature_dim, warnings.warn) if found.serving.takes == ROWS else None
            return LoadedModel(found, model, names)
        except OSError as error:
            raise ModelError(f"the model in '{place}' cannot be read: {error}") from error
        except ModelError as error:
            other = recognised(folder) if algorithm is not None else None
            if other is not None and other is not found:
                raise ModelError(f"'{place}' is a model of {other.name}, and not of {found.name}") from error
            if within := model_within(folder):
                raise ModelError(f"{error}{within}") from error
            raise


def identified(folder: Path, place: Path) -> type[Algorithm]:
    """The algorithm whose model lies in ``folder``, by its files; ``place`` is what messages call it.

    Raises
    ------
    ModelError
        there is nothing, something that no model folder holds, or no model of an algorithm that is installed here.
    """
    _check(folder, place)
    found = recognised(folder)
    if found is None:
        files = ", ".join(sorted(file.name for file in folder.iterdir())[:10])
        raise ModelError(
            f"no algorithm that is installed here recognises the files of '{place}' ({files}) as its model; "
            "if they are one, name its algorithm: algorithm='NAME' in Python, --algorithm NAME of a command"
            f"{model_within(folder)}"
        )
    return found


def _check(folder: Path, place: Path) -> None:
    try:
        if not any(folder.iterdir()):
            raise ModelError(f"the model folder '{place}' is empty")
        check_files(folder)
    except OSError as error:
        raise ModelError(f"'{place}' cannot be read as a model folder: {error}") from error


def model_within(folder: Path) -> str:
    """The end of a message about a folder that is no model: the first folder in it, or in a job's there, that is."""
    below = [place for place in sorted(folder.iterdir()) if place.is_dir()]
    for place in (one for job in below for one in (job, job / "model")):
        if place.is_dir() and recognised(place) is not None:
            return f". There is a model in its folder '{place.relative_to(folder)}'"
    return ""


class LoadedModel(Model):
    """A model that takes arrays, frames, matrices, texts and images as Python programs have them.

    Attributes
    ----------
    algorithm
        whose model it is; ``algorithm.columns`` say what ``predict`` returns.
    model
        the model itself, which takes a ``Batch`` or ``Items``.
    feature_names
        what the features are called, in their order, where a job's folder has it; else None.
    """

    def __init__(self, algorithm: type[Algorithm], model: Model, feature_names: Sequence[str] | None = None) -> None:
        self.algorithm = algorithm
        self.model = model
        self.feature_names = feature_names

    def __repr__(self) -> str:
        columns = ", ".join(column.name for column in self.algorithm.columns)
        return f"<model of {self.algorithm.name}: predict gives {columns}>"

    @property
    def feature_dim(self) -> int | None:
        """Number of features of a row; None where any number will do, or where there are no rows."""
        return self.model.feature_dim

    def predict(self, batch: Any, parameters: Mapping[str, str] = NO_PARAMETERS) -> dict[str, Any]:
        """Named values for each row, text or image.

        Parameters
        ----------
        batch
            for algorithms on rows an array, a scipy.sparse matrix, a pandas or polars frame, or a list of lists, of
            shape (n, d); numbers beyond float32 are refused. Where the names of features are known, a frame's columns
            are found by them, and others are refused. For seq2seq a list of texts, or of arrays of token ids.
            For image classification a list of paths, of the bytes of image files, of Pillow's images, or of arrays
            (height, width, channels) of uint8.
        parameters
            as those of a request's media type (``verbose``, ``beam_size``); a model leaves out of account what it does
            not know.

        Returns
        -------
            By name: arrays of shape (n, ...); lists of n texts or arrays where lengths differ.

        Raises
        ------
        PredictionError
            the input cannot be understood, or does not fit the model, or its answer would not be finite in float32.
        """
        return answer(self.model, self._input(batch), parameters)

    def select(self, batch: Any, outputs: Sequence[str]) -> dict[str, Any]:
        """Named outputs instead of the columns, for algorithms with ``Serving.outputs`` (XGBoost)."""
        return selected(self.model, self._input(batch), outputs)

    def _input(self, values: Any) -> Batch | Items:
        if self.feature_names is not None:
            values = by_names(values, self.feature_names)
        if self.model.takes_categories and (found := not_numbered(values)):
            raise PredictionError(found)
        return as_input(values, self.algorithm)

    def export(self, form: str, names: Sequence[str] | None = None) -> Any:
        """The model for other programs, where its algorithm has such a form.

        Parameters
        ----------
        form
            ``onnx``, ``sklearn`` or ``json``.
        names
            what the features are called, in their order; None for ``feature_names``.

        Returns
        -------
            An ``onnx.ModelProto``; a fitted estimator of scikit-learn or XGBoost; a dict that JSON can say.

        Raises
        ------
        ExportError
            there is no such form of it, with the reason; or there are not as many names as features.
        """
        return exported(self.algorithm.name, self.model, form, self.feature_names if names is None else names)

    def figures(self, sample: Sample | None) -> list[Figure]:
        """See ``Model``."""
        return self.model.figures(sample)

    def save(self, directory: Path) -> None:
        """See ``Model``."""
        self.model.save(Path(directory))


# ---- what is predicted from -----------------------------------------------------------------------------------------


def as_input(values: Any, algorithm: type[Algorithm]) -> Batch | Items:
    """What ``Model.predict`` of ``algorithm`` takes, from what Python programs have; see ``LoadedModel.predict``.

    Raises
    ------
    PredictionError
        it is nothing of the kind.
    """
    if isinstance(values, Batch | Items):
        return values
    if algorithm.serving.takes == ROWS:
        return _rows(values, missing=algorithm.serving.missing_values)
    if isinstance(values, str | bytes | os.PathLike):
        raise PredictionError(f"a list is expected, of one {type(values).__name__} or more: put it in brackets")
    if algorithm.serving.takes == IMAGES:
        return Items([_image(value) for value in values])
    return Items([value if isinstance(value, str) else np.asarray(value) for value in values])


def _rows(values: Any, *, missing: bool) -> Batch:
    if sp.issparse(values):
        if values.ndim != 2:
            raise PredictionError(f"rows are expected, of shape (n, features), not {values.shape}")
        try:
            check_sparse(values)
        except ValueError as error:
            raise PredictionError(str(error)) from error
        rows: Any = canonical(sp.csr_array(_real(values), dtype=np.float32))
        numbers = rows.data
    else:
        rows = numbers = _dense(values, missing=missing)
    if not (np.isfinite(numbers) | (missing & np.isnan(numbers))).all():
        expected = "finite numbers, or NaN for what is missing, are" if missing else "finite numbers are"
        raise PredictionError(f"a feature is NaN or infinite, or beyond the range of float32; {expected} expected")
    return Batch(rows)


def _real(values: Any) -> Any:
    """The values, if they are real numbers: NumPy would cut an imaginary part off, and count a date's nanoseconds."""
    if np.dtype(values.dtype).kind in "cmM":
        raise PredictionError(f"rows of numbers are expected, not of {values.dtype}")
    return values


def _dense(values: Any, *, missing: bool) -> np.ndarray:
    """(n, d) float32. Frames of pandas and polars become arrays by NumPy's own protocol, for which a null of polars is
    NaN; what pandas calls missing is made it."""
    if isinstance(values, str | bytes | os.PathLike):
        raise PredictionError(
            f"rows of numbers are expected, and not {quoted(os.fsdecode(values))}: a file is to be read first, as "
            "pandas does: read_csv(FILE, header=None)"
        )
    if found := no_number(values):
        raise PredictionError(f"rows of numbers are expected: {found}")
    try:
        rows = np.asarray(values)
        if rows.dtype.kind == "O" and hasattr(values, "iloc"):  # of pandas: polars' to_numpy has no na_value
            rows = values.to_numpy(np.float64, na_value=np.nan)
        with np.errstate(over="ignore"):
            rows = np.ascontiguousarray(_real(rows), dtype=np.float32)
    except PredictionError:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        raise PredictionError(f"rows of numbers are expected: {error}") from None
    if rows.ndim != 2:
        hint = "; for a single row use values.reshape(1, -1)" if rows.ndim == 1 else ""
        raise PredictionError(f"rows are expected, of shape (n, features), not {rows.shape}{hint}")
    return rows


def _image(value: Any) -> Any:
    if isinstance(value, str | os.PathLike):
        try:
            return Path(value).read_bytes()
        except OSError as error:
            raise PredictionError(f"the image '{value}' cannot be read: {error.strerror}") from None
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    pixels = np.asarray(value)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.dtype != np.uint8 or pixels.ndim != 3:
        raise PredictionError(
            "an image is expected as a path, as the bytes of its file, or as an array of uint8 of shape (height, "
            f"width, channels), not as {pixels.dtype} of shape {pixels.shape}"
        )
    return pixels


# ---- folders and archives -------------------------------------------------------------------------------------------


def recognised(directory: Path) -> type[Algorithm] | None:
    """The first algorithm installed here that recognises the folder as a model of its own.

    Raises
    ------
    ModelError
        none does, and a file there may not be read.
    """
    for candidate in registry.ALGORITHMS:
        try:
            algorithm = registry.find(candidate)
        except LookupError:
            continue  # a package that it needs is not installed
        if algorithm.recognises(directory):
            return algorithm
    for entry in sorted(directory.iterdir()):
        if not os.access(entry, os.R_OK):
            raise ModelError(f"{shown(entry.name)} in the model folder cannot be read: Permission denied")
    return None


@contextmanager
def unpacked(directory: Path) -> Iterator[Path]:
    """The model folder itself, or where it holds, or is, nothing but a ``model.tar.gz``: a folder with its content.

    SageMaker unpacks the artifact before it starts a server; elsewhere that is easily forgotten.

    Raises
    ------
    ModelError
        the archive is damaged, or holds what no artifact does.
    """
    archive = _archive(directory)
    if archive is None:
        yield directory
        return
    with tempfile.TemporaryDirectory(prefix="model-") as folder:
        try:
            extract(archive, Path(folder))
        except ArchiveError as error:
            advice = "" if ".t" in archive.name else "; a model is a folder, or an archive such as model.tar.gz"
            raise ModelError(f"'{archive.name}' cannot be unpacked: {error}{advice}") from error
        yield Path(folder)


def _archive(directory: Path) -> Path | None:
    if directory.is_file():
        return directory
    files = [file for file in directory.iterdir() if not file.name.startswith(".")] if directory.is_dir() else []
    return files[0] if len(files) == 1 and files[0].name.endswith((".tar.gz", ".tgz", ".tar")) else None


def check_files(directory: Path, root: Path | None = None) -> None:
    """Refuse what a model folder cannot hold, before anything in it is opened: reading a FIFO would never end.

    Parameters
    ----------
    root
        where the files must really lie, followed through links; None for anywhere.

    Raises
    ------
    ModelError
        an entry is neither a file nor a folder, lies elsewhere, or there are too many.
    """
    for number, entry in enumerate(directory.rglob("*")):
        if number >= MOST_MEMBERS:
            raise ModelError(f"'{directory}' is no model folder: it has over {MOST_MEMBERS:,} files and folders")
        if not entry.exists():  # a link that leads nowhere is of no use, and no harm
            continue
        if not (entry.is_file() or entry.is_dir()):
            raise ModelError(f"{shown(entry.name)} in the model folder is no plain file")
        if root is not None and not entry.resolve().is_relative_to(root.resolve()):
            raise ModelError(f"{shown(entry.name)} in the model folder is a link to what lies outside of {root}")


def shown(name: str) -> str:
    """A name from outside, for messages: in quotes, without line ends, and not long."""
    return repr(name[:200])
