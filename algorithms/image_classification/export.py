"""An image network for other programs: see ``docs/export.md``."""

from __future__ import annotations

from typing import Any

from algorithms.image_classification.model import ImageModel

WHY_NOT = {
    "json": "a network of millions of weights is no document; onnx has it",
    "sklearn": "scikit-learn has no convolutional networks; onnx has them",
}


def to_onnx(model: ImageModel) -> Any:
    """``prediction``, (rows, classes)."""
    return model.network.to_onnx()
