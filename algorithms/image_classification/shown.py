"""Validation images for the page about a job: what the network says of them, its worst mistakes first."""

from __future__ import annotations

import time

import numpy as np

from algorithms.common.randomness import draws
from algorithms.figures import Figure, Pictures, Table
from algorithms.image_classification.model import ImageModel
from algorithms.quality import confusion

MOST_IMAGES = 1000
_MOST_BYTES = 32 << 20
_MOST_SECONDS = 10.0
"""Of asking the network; what was asked until then is shown."""
_PICTURES = 24
_MOST_CLASSES = 20
"""Rows of a table."""
_SIDE = 88
"""Pixels of a picture; larger ones lose rows and columns."""


class Kept:
    """An even sample of the images of one epoch and of their targets (J. Vitter, "Random sampling with a reservoir",
    1985).

    Attributes:
        images: (height, width, channels) uint8 each. targets: a class number, or 0 and 1 for each class. seen:
            how many there were.
    """

    def __init__(self) -> None:
        self.images: list[np.ndarray] = []
        self.targets: list[np.ndarray] = []
        self.seen = 0
        self._random = draws("shown", 0)

    def add(self, images: np.ndarray, targets: np.ndarray) -> None:
        """Offer n images, (n, height, width, channels), with their targets (n, ...)."""
        for image, target in zip(images, targets, strict=True):
            self.seen += 1
            if len(self.images) < min(MOST_IMAGES, max(1, _MOST_BYTES // image.nbytes)):
                self.images.append(image.copy())
                self.targets.append(target)
            elif (place := int(self._random.integers(self.seen))) < len(self.images):
                self.images[place], self.targets[place] = image.copy(), target


def figures(model: ImageModel, kept: Kept) -> list[Figure]:
    """What ``model`` says of the images: how often which class is taken for which, and pictures."""
    if not kept.images:
        return []
    probabilities = _asked(model, kept.images)
    images, targets = kept.images[: len(probabilities)], np.array(kept.targets[: len(probabilities)])
    note = f"{len(images):,} of {kept.seen:,} images of validation."
    if targets.ndim == 2:
        return [_of_each_class(probabilities, targets, note), _tagged(images, probabilities, targets)]
    rows = np.arange(len(targets))
    said, right = probabilities.argmax(axis=1), probabilities[rows, targets]
    order = np.lexsort((right, said == targets))[:_PICTURES]
    captions = [
        f"{said[row]}, which is right ({probabilities[row, said[row]]:.0%})"
        if said[row] == targets[row]
        else f"{said[row]} ({probabilities[row, said[row]]:.0%}); is {targets[row]} ({right[row]:.0%})"
        for row in order
    ]
    worst = Pictures(
        title="Images, the worst mistakes first",
        images=_pictures([images[row] for row in order]),
        captions=captions,
        note=f"The class that the network takes each for, with its probability. {int((said != targets).sum()):,} of "
        f"{len(images):,} images are taken for another than they are.",
    )
    return [confusion(targets, said, note), worst]


def _asked(model: ImageModel, images: list[np.ndarray]) -> np.ndarray:
    """Probabilities, (n, classes), of as many images as there is time for."""
    until, found = time.monotonic() + _MOST_SECONDS, []
    for image in images:
        found.append(model.probabilities(image))
        if time.monotonic() > until:
            break
    return np.stack(found)


def _of_each_class(probabilities: np.ndarray, targets: np.ndarray, note: str) -> Table:
    """How well each label is found, those with most images first."""
    said, true = probabilities > 0.5, targets > 0.5
    hits = (said & true).sum(axis=0)
    rows = [
        [
            str(one),
            f"{true[:, one].sum():,}",
            _share(hits[one], said[:, one].sum()),
            _share(hits[one], true[:, one].sum()),
        ]
        for one in np.argsort(-true.sum(axis=0), kind="stable")[:_MOST_CLASSES]
    ]
    return Table(title="Labels", columns=("label", "images", "precision", "recall"), rows=rows, note=note)


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else ""


def _tagged(images: list[np.ndarray], probabilities: np.ndarray, targets: np.ndarray) -> Pictures:
    likelihood = np.where(targets > 0.5, probabilities, 1 - probabilities)
    loss = -np.log(np.maximum(likelihood, 1e-12)).sum(axis=1)
    order = np.argsort(-loss, kind="stable")[:_PICTURES]
    return Pictures(
        title="Images, the worst mistakes first",
        images=_pictures([images[row] for row in order]),
        captions=[f"{_listed(probabilities[row] > 0.5)}; is {_listed(targets[row] > 0.5)}" for row in order],
        note="The labels that the network finds, and those that the image has.",
    )


def _listed(chosen: np.ndarray) -> str:
    return ", ".join(map(str, np.flatnonzero(chosen))) or "none"


def _pictures(images: list[np.ndarray]) -> np.ndarray:
    """(n, height, width, 3), no larger than they are drawn on a screen of two pixels a point."""
    step = max(1, -(-max(images[0].shape[:2]) // (2 * _SIDE)))
    small = np.stack(images)[:, ::step, ::step]
    return small if small.shape[3] == 3 else np.repeat(small[..., :1], 3, axis=3)
