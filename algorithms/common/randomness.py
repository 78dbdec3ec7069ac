"""Random numbers by which rows are chosen."""

from __future__ import annotations

import numpy as np


def draws(purpose: str, *seeds: int) -> np.random.Generator:
    """Those of one purpose, by the job's seed and more numbers, all in [0, 2^32).

    They are others than those of ``default_rng(seed)``, by which people make data: rows that were held out by the
    numbers that had made their labels would all be of one class.
    """
    return np.random.default_rng([*seeds, *purpose.encode()])
