"""What several hosts agree on before they train together."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from algorithms.errors import TrainingDataError
from algorithms.interface import Hosts
from recordio.batches import Batch, Features


def alike(batches: list[Batch], channel: str, hosts: Hosts) -> list[Batch]:
    """A host's batches of a channel, sparse on all hosts if they are on one. A host without any gets one without rows,
    unless no host has any.

    Raises:
        TrainingDataError: rows here have another number of features than on an earlier host.
    """
    mine = [batches[0].feature_dim, any(batch.is_sparse for batch in batches)] if batches else None
    found = [one for one in hosts.gather(mine) if one is not None]
    if not found:
        return []
    width, sparse = found[0][0], any(is_sparse for _, is_sparse in found)
    if not batches:
        none = np.zeros((0, width), np.float32)
        return [Batch(sp.csr_array(none) if sparse else none, np.zeros(0, np.float32))]
    if batches[0].feature_dim != width:
        raise TrainingDataError(
            f"channel '{channel}' has rows of {batches[0].feature_dim} features on this host, and of {width} on another"
        )
    return [_as(batch, sparse=sparse) for batch in batches] if hosts.size > 1 else batches


def _as(batch: Batch, *, sparse: bool) -> Batch:
    features: Features = batch.features
    if sparse and isinstance(features, np.ndarray):
        features = sp.csr_array(features)
    return Batch(features, batch.labels)
