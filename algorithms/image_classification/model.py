"""The trained network: its predictions for images, and its artifact, a checkpoint of MXNet with the shape of its input.

``image-classification-NNNN.params`` (the epoch, counted from 1), ``image-classification-symbol.json`` and
``model-shapes.json``. Any checkpoint with such names serves, whoever wrote it, if its graph has the operators that
``inference`` knows.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from algorithms.common import mxnet_files
from algorithms.common.documents import read_json
from algorithms.errors import ModelError, PredictionError
from algorithms.figures import Figure, Sample
from algorithms.interface import NO_PARAMETERS, Items, Model
from algorithms.vision.augment import resized, squeezed
from algorithms.vision.decode import check_installed, decoding_and_scaling_bytes
from algorithms.vision.graph import Graph, read_graph
from algorithms.vision.inference import PREDICTION, Network

if TYPE_CHECKING:
    from algorithms.image_classification.shown import Kept

PREFIX = "image-classification"
SYMBOL_FILE = f"{PREFIX}-symbol.json"
SHAPES_FILE = "model-shapes.json"
LARGEST_SIDE = 4096
"""Largest height and width of a network's input, in pixels."""
_REQUEST = "request"


def params_file(epoch: int) -> str:
    """The name of the checkpoint after ``epoch`` epochs.

    >>> params_file(3)
    'image-classification-0003.params'
    """
    return f"{PREFIX}-{epoch:04d}.params"


class ImageModel(Model):
    """A network and its checkpoint.

    Args:
        symbol: the text of the symbol file.
        arrays: parameters by MXNet's names, ``arg:`` and ``aux:`` before them.
        image_shape: channels, height and width of the input.
        epoch: the number of the epoch that the parameters are from.
        batch: the batch size of training, which ``model-shapes.json`` states.
        earlier: files of checkpoints before this one, kept in the artifact.

    Attributes:
        shown: validation images for the page about the job; the artifact does not hold them.

    Raises:
        ModelError: the graph, or a parameter of it, cannot be used.
    """

    def __init__(
        self,
        symbol: str,
        arrays: Mapping[str, np.ndarray],
        image_shape: tuple[int, int, int],
        epoch: int,
        batch: int,
        earlier: Iterable[Path] = (),
    ) -> None:
        self.graph: Graph = read_graph(symbol, SYMBOL_FILE)
        self.arrays = arrays
        self.image_shape = image_shape
        self.epoch = epoch
        self._symbol = symbol
        self._batch = batch
        self._earlier = earlier
        self.shown: Kept | None = None

    @cached_property
    def network(self) -> Network:
        """The network ready to compute, made at the first use. It has its own copy of the parameters."""
        parameters = {name.partition(":")[2]: array for name, array in self.arrays.items()}
        return Network(self.graph, parameters, self.image_shape)

    @property
    def checkpoint(self) -> str:
        """The name of the checkpoint's file."""
        return params_file(self.epoch)

    def predict(self, batch: Items, parameters: Mapping[str, str] = NO_PARAMETERS) -> dict[str, np.ndarray]:
        """``prediction``, (n, classes) float32: the probability of each class. The file format of an image is detected
        from its bytes, as clients often state another one.

        Raises:
            ImageError: an image cannot be decoded.
            PredictionError: pixels have another number of channels than the network.
        """
        if not len(batch):
            return {PREDICTION: np.empty((0, len(self.probabilities(self._blank()))), np.float32)}
        return {PREDICTION: np.stack([self.probabilities(image) for image in batch.values])}

    def predict_memory(self, batch: Items) -> int:
        """Bytes for one image at a time, which is decoded, resized and given to the network."""
        size = (self.image_shape[2], self.image_shape[1])
        files = (image for image in batch.values if isinstance(image, bytes))
        largest = max((decoding_and_scaling_bytes(image, size) for image in files), default=0)
        return largest + self.network.memory

    def probabilities(self, image: bytes | np.ndarray) -> np.ndarray:
        """Of each class, (classes,) float32, for the bytes of an image's file or its pixels, (h, w, channels) uint8.

        Raises:
            ImageError: the file is no image that can be read.
            PredictionError: the pixels are no image of the model's channels.
        """
        if isinstance(image, bytes):
            return self.network(squeezed(image, self.image_shape, _REQUEST))
        if image.ndim != 3 or image.shape[2] != self.image_shape[0] or not image.size:
            raise PredictionError(
                f"pixels of shape {image.shape}: expected height, width and {self.image_shape[0]} channels"
            )
        return self.network(resized(image, self.image_shape))

    def figures(self, sample: Sample | None) -> list[Figure]:
        """Figures of the predictions for validation images."""
        from algorithms.image_classification import shown  # which needs this module

        return [] if self.shown is None else shown.figures(self, self.shown)

    def _blank(self) -> np.ndarray:
        channels, height, width = self.image_shape
        return np.zeros((height, width, channels), np.uint8)

    def save(self, directory: Path) -> None:
        """Write the checkpoint, those before it, the symbol and the shape."""
        mxnet_files.save(directory / self.checkpoint, self.arrays)
        for file in self._earlier:
            shutil.copyfile(file, directory / file.name)
        (directory / SYMBOL_FILE).write_text(self._symbol)
        shapes = [{"name": "data", "shape": [self._batch, *self.image_shape]}]
        (directory / SHAPES_FILE).write_text(json.dumps(shapes))


def load(directory: Path) -> ImageModel:
    """The model in a folder; of several checkpoints, that of the last epoch.

    Raises:
        ModelError: a file is missing, damaged, or does not fit the others; or Pillow is not installed.
    """
    check_installed()
    path = last_checkpoint(directory)
    symbol = _text(directory / SYMBOL_FILE)
    batch, *image_shape = _data_shape(_text(directory / SHAPES_FILE))
    epoch = int(path.stem.rpartition("-")[2])
    model = ImageModel(symbol, load_arrays(path), (image_shape[0], image_shape[1], image_shape[2]), epoch, batch)
    try:
        model.network.tried()
    except (ModelError, MemoryError):
        raise
    except Exception as error:  # onnxruntime has several for shapes that do not fit
        raise ModelError(f"'{path.name}', '{SYMBOL_FILE}' and '{SHAPES_FILE}' do not fit together: {error}") from None
    return model


def last_checkpoint(directory: Path) -> Path:
    """The checkpoint of the last epoch.

    Raises:
        ModelError: there is none.
    """
    found = [path for path in directory.glob(f"{PREFIX}-*.params") if path.stem.rpartition("-")[2].isdecimal()]
    if not found:
        present = ", ".join(sorted(path.name for path in directory.iterdir())) if directory.is_dir() else ""
        raise ModelError(f"the model folder has no file '{PREFIX}-NNNN.params'; it holds: {present or 'nothing'}")
    return max(found, key=lambda path: int(path.stem.rpartition("-")[2]))


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """The parameters of a checkpoint, by name (``arg:`` or ``aux:`` before the node's), float32.

    Raises:
        ModelError: it is damaged, or has no names as MXNet gives them.
    """
    arrays = mxnet_files.load(path)
    if not isinstance(arrays, dict) or not all(name.startswith(("arg:", "aux:")) for name in arrays):
        raise ModelError(f"'{path.name}' is not a checkpoint of MXNet: names that start with arg: or aux:")
    return {name: mxnet_files.float32(array, f"'{path.name}': array {name}") for name, array in arrays.items()}


def image_shape(directory: Path) -> tuple[int, int, int]:
    """Channels, height and width of the network in a folder.

    Raises:
        ModelError: the folder does not say so.
    """
    _, channels, height, width = _data_shape(_text(directory / SHAPES_FILE))
    return channels, height, width


def recognises(directory: Path) -> bool:
    """Whether the folder has the three files."""
    names = {path.name for path in directory.iterdir()} if directory.is_dir() else set()
    return {SYMBOL_FILE, SHAPES_FILE} <= names and any(directory.glob(f"{PREFIX}-*.params"))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"'{path.name}' is missing from the model folder, or cannot be read: {error}") from None


def _data_shape(text: str) -> tuple[int, int, int, int]:
    """Batch size, channels, height, width."""
    document = read_json(text, SHAPES_FILE)
    try:
        shapes = {entry["name"]: entry["shape"] for entry in document}
        batch, channels, height, width = shapes["data"]
        if any(type(length) is not int or abs(length) >= 1 << 31 for length in (batch, channels, height, width)):
            raise TypeError("not integers of 32 bits")
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"'{SHAPES_FILE}' does not state the shape of 'data' in four numbers: {error!r}") from None
    if channels not in (1, 3) or not (0 < height <= LARGEST_SIDE and 0 < width <= LARGEST_SIDE):
        raise ModelError(f"'{SHAPES_FILE}' states images of {channels} channels, {height} x {width} pixels")
    return max(batch, 1), channels, height, width
