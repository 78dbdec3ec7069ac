"""Deviations of columns by few rows."""

from __future__ import annotations

import numpy as np
from scipy.special import polygamma

MANY_COLUMNS = 10
"""Fewest columns whose scatter three rows can tell; with fewer columns, a single one with nearly equal rows decides
it."""
BEYOND_CHANCE = 10
"""Where logarithms scatter by so many times the variance that chance gives them, three rows of few columns tell enough,
too."""
FEW_ROWS = 100
"""With fewer rows, deviations of columns are estimates that scatter, and are drawn together."""


def drawn_together(deviation: np.ndarray, rows: int) -> np.ndarray:
    """Standard deviations (d,) of few rows, shrunk towards their geometric mean by as much as chance alone scatters
    them.

    The logarithm of the deviation of n normal values has a variance of trigamma((n - 1) / 2) / 4. The variance of the
    logarithms beyond that is true variation between columns, and that share of their distance from the mean is kept
    (Efron and Morris, "Data Analysis Using Stein's Estimator", Journal of the American Statistical Association 70,
    1975). Otherwise, if two rows nearly agree in a column, the next row would be a hundred deviations away. Three rows
    of few columns cannot tell true variation from chance, unless it goes far beyond: an age and an income are not
    alike. Two rows never can. Even if columns differ in scale, the rows nearly agree in some of them, and models with
    one deviation for all columns lose less on new rows.
    """
    if len(deviation) < 2:
        return deviation
    size = np.log(deviation)
    chance = float(polygamma(1, (rows - 1) / 2)) / 4
    scatter = max(float(size.var()), 1e-12)
    tells = rows > 3 or (rows == 3 and (len(deviation) >= MANY_COLUMNS or scatter > BEYOND_CHANCE * chance))
    own = max(1 - chance / scatter, 0.0) if tells else 0.0
    return np.asarray(np.exp(size.mean() + own * (size - size.mean())))
