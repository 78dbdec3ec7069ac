"""What the labels of images must be, and what a network is trained to say of them."""

from __future__ import annotations

from functools import partial

import numpy as np

from algorithms.errors import ChannelError, TrainingDataError
from algorithms.image_classification.architecture import Architecture
from algorithms.interface import RecordStream
from algorithms.vision.examples import ToTarget

MULTI_HOT, CLASS_ID = "multi-hot", "class-id"


def of_channel(name: str, stream: RecordStream, form: Architecture) -> ToTarget:
    """How the labels of a channel are read.

    Raises:
        ChannelError: its content type states a label format that is unknown.
    """
    label_format = stream.parameters.get("label-format", MULTI_HOT)
    if label_format not in (MULTI_HOT, CLASS_ID):
        raise ChannelError(f"Channel '{name}': label-format '{label_format}' is not one of {MULTI_HOT}, {CLASS_ID}")
    return partial(target, form=form, label_format=label_format)


def target(labels: np.ndarray, where: str, form: Architecture, label_format: str = MULTI_HOT) -> np.ndarray:
    """What the network is trained to say of an image with ``labels``, (labels,): its class, int32 of shape
    (), or 0 and 1 for each class, float32 (num_classes,). A count above 1 of a class is 1: AWS's notebook on several
    labels doubles those of its first image.

    Raises:
        TrainingDataError: they are not classes of the network.

    >>> target(np.array([0.0, 2.0]), "here", Architecture(20, (3, 16, 16), 3, multi_label=True), CLASS_ID)
    array([1., 0., 1.], dtype=float32)
    """
    if not form.multi_label:
        if len(labels) != 1:
            raise TrainingDataError(f"{where}: {len(labels)} labels where one is expected; set multi_label to 1")
        _check_classes(labels, where, form.num_classes)
        return np.array(labels[0], np.int32)
    if label_format == CLASS_ID:
        _check_classes(labels, where, form.num_classes)
        hot = np.zeros(form.num_classes, np.float32)
        hot[labels.astype(np.int64)] = 1
        return hot
    counts = np.isfinite(labels) & (labels >= 0) & (labels == np.floor(labels))
    if len(labels) != form.num_classes or not counts.all():
        raise TrainingDataError(
            f"{where}: the labels {_shown(labels)} are not {form.num_classes} (num_classes) times 0 or 1 "
            "(multi_label); if they are ids of classes, add label-format=class-id to the content type"
        )
    return np.minimum(labels, 1).astype(np.float32)


def _check_classes(labels: np.ndarray, where: str, num_classes: int) -> None:
    for label in labels:
        if not 0 <= label < num_classes or label != int(label):
            raise TrainingDataError(
                f"{where}: the label {label:g} is not a class from 0 to {num_classes - 1} (num_classes)"
            )


def _shown(labels: np.ndarray) -> str:
    return "[" + ", ".join(f"{label:g}" for label in labels[:8]) + (", …]" if len(labels) > 8 else "]")
