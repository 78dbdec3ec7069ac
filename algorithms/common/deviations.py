"""Deviations of columns by few rows."""

from __future__ import annotations

import numpy as np
from scipy.special import polygamma

MANY_COLUMNS = 10
"""By three rows, as many tell what they scatter of themselves; of fewer, one whose rows nearly agree decides it."""
BEYOND_CHANCE = 10
"""Where logarithms scatter by so many times the variance that chance gives them, two rows tell enough, too."""
FEW_ROWS = 100
"""With fewer rows, deviations of columns are estimates that scatter, and are drawn together."""


def drawn_together(deviation: np.ndarray, rows: int) -> np.ndarray:
    """Deviations (d,) of few rows, drawn towards their geometric mean by as much as chance alone scatters them.

    The logarithm of a deviation of n normal values has a variance of trigamma((n - 1) / 2) / 4. What the logarithms
    scatter beyond that is the columns' own, and that share of their distance is kept (Efron and Morris, "Data Analysis
    Using Stein's Estimator", Journal of the American Statistical Association 70, 1975). Of two rows that nearly agree
    in a column, the next one would be a hundred deviations away. Two rows, or three of few columns, tell no column's
    own from chance: theirs may be a thousand times too small. So far, but no farther, does chance go: of an age and an
    income in one table two rows tell that they are not alike.
    """
    if len(deviation) < 2:
        return deviation
    size = np.log(deviation)
    chance = float(polygamma(1, (rows - 1) / 2)) / 4
    scatter = max(float(size.var()), 1e-12)
    tells = rows > 3 or (rows == 3 and len(deviation) >= MANY_COLUMNS) or scatter > BEYOND_CHANCE * chance
    own = max(1 - chance / scatter, 0.0) if tells else 0.0
    return np.asarray(np.exp(size.mean() + own * (size - size.mean())))
