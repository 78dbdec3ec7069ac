"""Deviations of columns by few rows."""

from __future__ import annotations

import numpy as np
from scipy.special import polygamma

MANY_COLUMNS = 10
"""Fewest columns whose scatter three rows can tell; with fewer columns, a single one with nearly equal rows decides
it."""
BEYOND_CHANCE = 30
"""Where logarithms scatter by so many times the variance that chance gives them, columns differ: two rows that nearly
agree in one of three columns bring it about once in several 100,000 tables."""
FEW_ROWS = 100
"""With fewer rows, deviations of columns are estimates that scatter, and are drawn together."""


def drawn_together(deviation: np.ndarray, rows: int) -> np.ndarray:
    """Standard deviations (d,) of few rows, shrunk towards their geometric mean by as much as chance alone scatters
    them.

    The logarithm of the deviation of n normal values has a variance of trigamma((n - 1) / 2) / 4. The variance of the
    logarithms beyond that is true variation between columns, and that share of their distance from the mean is kept
    (Efron and Morris, "Data Analysis Using Stein's Estimator", Journal of the American Statistical Association 70,
    1975). Otherwise, if two rows nearly agree in a column, the next row would be a hundred deviations away. Two rows,
    or three rows of few columns, cannot tell true variation from chance, and a deviation may be a thousand times too
    small. Where it lies beyond chance, the wider columns keep their own, or they would outweigh every penalty; the
    others have the mean, as they may be wider than the rows say.
    """
    if len(deviation) < 2:
        return deviation
    size = np.log(deviation)
    mean, scatter = size.mean(), max(float(size.var()), 1e-12)
    chance = float(polygamma(1, (rows - 1) / 2)) / 4
    if rows > 3 or (rows == 3 and len(deviation) >= MANY_COLUMNS):
        size = mean + max(1 - chance / scatter, 0.0) * (size - mean)
    elif scatter > BEYOND_CHANCE * chance:
        size = np.maximum(size, mean)
    else:
        size[:] = mean
    return np.asarray(np.exp(size))
