"""Random numbers by which rows are chosen."""

from __future__ import annotations

import numpy as np


def draws(purpose: str, *seeds: int) -> np.random.Generator:
    """Random numbers for one purpose, from the job's seed and further numbers, all in [0, 2^32).

    They differ from those of ``default_rng(seed)``, with which people make data: rows that are held out by the very
    random numbers that made their labels might all be of one class.
    """
    return np.random.default_rng([*seeds, *purpose.encode()])
