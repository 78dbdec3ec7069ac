"""``oba export``: loads a model as a server does, and writes it in another format."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from algorithms.interface import Model
from algorithms.loading import unpacked
from container.serving import models
from container.settings import ConfigurationError, Settings

ONNX: dict[str, str] = {
    "linear-learner": "local.export.models:linear",
    "kmeans": "local.export.models:kmeans",
    "pca": "local.export.models:pca",
    "factorization-machines": "local.export.models:factorization_machine",
    "ntm": "local.export.models:topics",
    "xgboost": "local.export.trees:boosters",
    "image-classification": "local.export.images:network",
}
"""Where the function is that makes an ONNX model of an algorithm's: ``module:function``."""
JSON: dict[str, str] = {
    **dict.fromkeys(("linear-learner", "kmeans", "pca", "ntm"), "local.export.documents:arrays"),
    "factorization-machines": "local.export.documents:arrays",
    "xgboost": "local.export.documents:boosters",
}
_WHY_NOT = {
    ("seq2seq", "onnx"): "a translation is a search that asks the network again for each word, and no graph of fixed "
    "size",
    ("lda", "onnx"): "a document's topics are found by an iteration until it converges, and not by a graph of fixed "
    "size",
    ("image-classification", "json"): "a network of millions of weights is no document; use --to onnx",
}


def run(model: Path, form: str, output: Path, algorithm: str | None) -> int:
    """Write ``output``; 0.

    Raises:
        ConfigurationError: this model has no such form, with the reason.
        ModelError: the model cannot be loaded.
    """
    with unpacked(model) as folder:
        found, loaded = models.load(folder, Settings(algorithm=algorithm))
        content = exported(found.name, loaded, form)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(content)
    click.echo(f"Wrote {output}: {found.name}, {len(content):,} bytes")
    return 0


def exported(algorithm: str, model: Model, form: str) -> bytes:
    """The file's bytes.

    Raises:
        ConfigurationError: this model has no such form, with the reason.
    """
    makers = ONNX if form == "onnx" else JSON
    if algorithm not in makers:
        reason = _WHY_NOT.get((algorithm, form), f"there is no such form of it; there is one of {', '.join(makers)}")
        raise ConfigurationError(f"a model of {algorithm} cannot be exported to {form}: {reason}")
    module, _, function = makers[algorithm].partition(":")
    make: Callable[[Any], Any] = getattr(importlib.import_module(module), function)
    made = make(model)
    if form == "onnx":
        return made.SerializeToString()
    return (json.dumps({"algorithm": algorithm, **made}) + "\n").encode()
