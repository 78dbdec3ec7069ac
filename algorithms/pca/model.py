"""The trained model: projection, and the artifact.

``model_algo-1`` is an NDArray file with ``s`` (k,), ``v`` (d, k) and, where the mean is subtracted, ``mean`` (1, d),
all float32, components in ascending order of ``s``: the largest is last.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from algorithms.common import mxnet_files
from algorithms.errors import ModelError
from algorithms.figures import Figure, Heatmap, Lines, Sample, names_of, short, strongest
from algorithms.interface import NO_PARAMETERS, Model
from recordio.batches import Batch

PROJECTION = "projection"


class PCAModel(Model):
    """Attributes: ``s`` (k,), ``v`` (d, k), ``mean`` (1, d) or None; float32.

    ``total`` is the sum of all squared singular values, also of the components that were not kept. The artifact does
    not hold it: it is None in a model that was loaded.
    """

    def __init__(self, s: np.ndarray, v: np.ndarray, mean: np.ndarray | None, total: float | None = None) -> None:
        self.s, self.v, self.mean, self.total = s, v, mean, total
        self._offset = None if mean is None else mean.astype(np.float64) @ v

    @property
    def feature_dim(self) -> int:
        """Number of features of a row."""
        return int(self.v.shape[0])

    def predict(self, batch: Batch, parameters: Mapping[str, str] = NO_PARAMETERS) -> dict[str, np.ndarray]:
        """``projection`` (n, k), float32: the rows less the mean, in the basis of the components."""
        self.check_width(batch)
        if self.mean is None:
            projection = batch.features @ self.v
        elif batch.is_sparse:  # the mean is subtracted from the product, so that the rows stay sparse
            projection = batch.features @ self.v - self._offset
        else:
            projection = (batch.features - self.mean) @ self.v
        return {PROJECTION: projection.astype(np.float32, copy=False)}

    def figures(self, sample: Sample | None) -> list[Figure]:
        """The scree, the components, and rows in the plane of the two largest."""
        falling = self.s[::-1].astype(float)
        whole = self.total or float(falling @ falling) or 1.0
        shares = falling**2 / whole
        figures: list[Figure] = [
            Lines(
                title="Scree",
                x="component, the largest first",
                y="share of the variance" + ("" if self.total else " of the kept components"),
                note=f"{shares.sum():.1%} of all variance is in these components." if self.total else "",
                series={"each": _numbered(shares), "together": _numbered(np.cumsum(shares))},
                whole=True,
            ),
            Heatmap(
                title="Components",
                values=self.v.T[::-1],
                x="feature",
                y="component, the largest on top",
                rows=[str(number + 1) for number in range(len(falling))],
                columns=names_of(sample),
            ),
            *strongest("Largest features of each component", self.v.T[::-1], "component", sample, first=1),
        ]
        if sample is not None and len(falling) > 1:
            projection = self.predict(sample.rows)[PROJECTION]
            counts, _, _ = np.histogram2d(projection[:, -2], projection[:, -1], 60)
            note = (
                f"{len(projection):,} rows of {sample.dataset}, up to {int(counts.max()):,} in a square; the shade is "
                "the natural logarithm of 1 + rows."
            )
            values = np.log1p(counts[::-1])
            across, up = (np.linspace(one.min(), one.max(), 61) for one in (projection[:, -1], projection[:, -2]))
            figures.append(
                Heatmap(
                    title="Rows",
                    values=values,
                    x="on the largest component",
                    y="on the second",
                    rows=[short(edge, 3) for edge in up[::-1]],
                    columns=[short(edge, 3) for edge in across],
                    note=note,
                )
            )
        return figures

    def save(self, directory: Path) -> None:
        """Write ``model_algo-1``."""
        mean = {} if self.mean is None else {"mean": self.mean}
        mxnet_files.save(directory / mxnet_files.MODEL_FILE, {"s": self.s, "v": self.v, **mean})


def _numbered(values: np.ndarray) -> list[tuple[float, float]]:
    """Points (1, first value), (2, second value) and so on."""
    return [(number + 1.0, float(value)) for number, value in enumerate(values)]


def load(directory: Path) -> PCAModel:
    """The model in a folder. Raises ModelError."""
    path = mxnet_files.find(directory)
    arrays = mxnet_files.load(path)
    problem = _problem(mxnet_files.shapes(path))
    if problem or not isinstance(arrays, dict):
        raise ModelError(f"'{path.name}' is not a PCA model: {problem}")
    present = [name for name in ("s", "v", "mean") if name in arrays]
    parts = {name: mxnet_files.float32(arrays[name], f"'{path.name}': array {name}") for name in present}
    if (parts["s"] < 0).any():
        raise ModelError(f"'{path.name}': array s has negative values; singular values are 0 or more")
    mean = parts["mean"].reshape(1, -1) if "mean" in parts else None
    return PCAModel(parts["s"], parts["v"], mean)


def recognises(directory: Path) -> bool:
    """Whether the folder has a model with PCA's arrays."""
    try:
        return _problem(mxnet_files.shapes(mxnet_files.find(directory))) is None
    except ModelError:
        return False


def _problem(shapes: list[tuple[int, ...]] | dict[str, tuple[int, ...]]) -> str | None:
    """What keeps arrays of these shapes from being a PCA model."""
    if not isinstance(shapes, dict) or not {"s", "v"} <= shapes.keys():
        names = ", ".join(shapes) if isinstance(shapes, dict) else f"{len(shapes)} arrays without names"
        return f"it has {names or 'no arrays'} instead of s, v and, possibly, mean"
    v = shapes["v"]
    if len(v) != 2 or 0 in v:
        return f"v has the shape {v} instead of (feature_dim, num_components)"
    if shapes["s"] != v[1:]:
        return f"s has the shape {shapes['s']}, but v the shape {v}"
    if shapes.get("mean", (1, v[0])) not in ((1, v[0]), (v[0],)):
        return f"mean has the shape {shapes['mean']}, but v the shape {v}"
    return None
