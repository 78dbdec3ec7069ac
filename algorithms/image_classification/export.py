"""An image network for other programs: see ``docs/export.md``."""

from __future__ import annotations

from typing import Any

from algorithms.image_classification.model import ImageModel

WHY_NOT = {
    "json": "a network of millions of weights is no document; use --to onnx",
    "sklearn": "scikit-learn has no convolutional networks; use --to onnx",
}


def to_onnx(model: ImageModel) -> Any:
    """``prediction``, (rows, classes)."""
    return model.network.to_onnx()
