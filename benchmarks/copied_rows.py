"""Copies of rows in what two algorithms train on: log loss on rows to come, beside the best penalty that there is.

    python -m benchmarks.copied_rows                # 4 draws of each kind, minutes
    python -m benchmarks.copied_rows --draws 2 --only repeated

``repeated``: the whole table several times. ``oversampled``: positives alone, each as often or drawn anew, as people do
against rare ones; rows to come then count as often. ``categories``: rows that are equal because there are few of them,
some with either label: these must not suffer. ``best`` is scikit-learn's LogisticRegression with the best C of five by
the rows to come themselves, ``constant`` their share of positives.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from algorithms import hyperparameters, registry
from benchmarks.common import table
from recordio.batches import Batch
from tests.algorithms.fakes import FakeJob, MemoryStream

TO_COME = 4000
PENALTIES = (0.001, 0.01, 0.1, 1.0, 10.0)


class Draw(NamedTuple):
    """Rows (n, d) and their labels (n,), those to come, and what each of these counts."""

    x: np.ndarray
    y: np.ndarray
    asked: np.ndarray
    truth: np.ndarray
    weights: np.ndarray


def main() -> None:
    """Print a line for each kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--only", nargs="*", default=[""], help="kinds whose names begin so")
    arguments = parser.parse_args()
    print(compared([kind for kind in KINDS if kind.startswith(tuple(arguments.only))], arguments.draws))


def compared(kinds: list[str], draws: int) -> str:
    """The table of mean losses."""
    rows = []
    for kind in kinds:
        found = [_losses(KINDS[kind](np.random.default_rng(seed))) for seed in range(draws)]
        rows.append((kind, *np.mean(found, axis=0).tolist()))
    columns = ("", "linear learner", "factorization machines", "best C", "constant")
    return table("log loss with copies of rows", columns, rows)


def _losses(draw: Draw) -> tuple[float, ...]:
    """Of both algorithms, of the best C, and of a constant."""
    count = np.full(len(draw.truth), np.average(draw.truth, weights=draw.weights))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        peers = [LogisticRegression(C=c, max_iter=500).fit(draw.x, draw.y) for c in PENALTIES]
    best = min(_loss(draw, peer.predict_proba(draw.asked)[:, 1]) for peer in peers)
    sparse = draw._replace(x=_narrow(draw.x), asked=_narrow(draw.asked))
    mine = _asked("linear-learner", draw if draw.x.dtype == np.float32 else sparse)
    return mine, _asked("factorization-machines", sparse), best, _loss(draw, count)


def _narrow(rows: np.ndarray) -> sp.csr_array:
    return sp.csr_array(rows.astype(np.float32))


def _asked(name: str, draw: Draw) -> float:
    """The loss of a model with no more than is required, of dense rows where they are float32."""
    algorithm = registry.find(name)
    given = {"predictor_type": "binary_classifier", "feature_dim": str(draw.x.shape[1])}
    given |= {"num_factors": "4"} if name == "factorization-machines" else {}
    stream = MemoryStream(draw.x, draw.y.astype(np.float32))
    model = algorithm.fit(hyperparameters.parse(algorithm.hyperparameters, given), {"train": stream}, FakeJob())
    return _loss(draw, model.predict(Batch(draw.asked))["score"])


def _loss(draw: Draw, chances: np.ndarray) -> float:
    return float(log_loss(draw.truth, chances.astype(np.float64), sample_weight=draw.weights))


# ---- data -----------------------------------------------------------------------------------------------------------

Kind = Callable[[np.random.Generator], Draw]


def _repeated(distinct: int, times: int, columns: int) -> Kind:
    def draw(rng: np.random.Generator) -> Draw:
        x = rng.normal(size=(distinct + TO_COME, columns)).astype(np.float32)
        y = rng.random(len(x)) < expit(1.5 * x[:, :3].sum(axis=1))
        y[:2] = 0, 1
        known = np.repeat(np.arange(distinct), times)
        return _shuffled(rng, x[known], y[known], x[distinct:], y[distinct:], 1)

    return draw


def _oversampled(rows: int, times: int, make: Callable[[np.random.Generator, int], tuple], *, anew: bool) -> Kind:
    def draw(rng: np.random.Generator) -> Draw:
        x, logit = make(rng, rows + TO_COME)
        y = rng.random(len(x)) < expit(logit)
        y[:2] = 0, 1
        positives = np.flatnonzero(y[:rows])
        more = (times - 1) * len(positives)
        copies = rng.choice(positives, more) if anew else np.repeat(positives, times - 1)
        known = np.concatenate([np.arange(rows), copies])
        return _shuffled(rng, x[known], y[known], x[rows:], y[rows:], times)

    return draw


def _categories(rows: int, columns: int, levels: int) -> Kind:
    return _oversampled(rows, 1, _table(columns, levels, 0.0), anew=False)


def _shuffled(
    rng: np.random.Generator, x: np.ndarray, y: np.ndarray, asked: np.ndarray, truth: np.ndarray, times: int
) -> Draw:
    order = rng.permutation(len(y))
    return Draw(x[order], y[order], asked, truth, np.where(truth, float(times), 1.0))


def _numbers(columns: int, shift: float) -> Callable[[np.random.Generator, int], tuple]:
    def make(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
        x = rng.normal(size=(rows, columns)).astype(np.float32)
        return x, 1.2 * x[:, :3].sum(axis=1) - shift

    return make


def _table(columns: int, levels: int, shift: float) -> Callable[[np.random.Generator, int], tuple]:
    """Categories, one column for each value of each."""

    def make(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
        found = rng.integers(levels, size=(rows, columns))
        effects = rng.normal(size=(columns, levels))
        x = np.zeros((rows, columns * levels))
        x[np.arange(rows)[:, None], found + levels * np.arange(columns)] = 1
        return x, effects[np.arange(columns), found].sum(axis=1) - shift

    return make


def _text(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    weights = rng.normal(size=400)
    x = (rng.random((rows, 400)) < 30 / 400).astype(np.float64)
    return x, 0.7 * (x @ weights) - 3


KINDS: dict[str, Kind] = {
    "repeated, 10 rows 100 times, 5 columns": _repeated(10, 100, 5),
    "repeated, 50 rows 20 times, 20 columns": _repeated(50, 20, 20),
    "repeated, 300 rows twice, 50 columns": _repeated(300, 2, 50),
    "oversampled 20 times, 20 columns": _oversampled(1000, 20, _numbers(20, 4), anew=False),
    "oversampled 20 times, drawn anew, 20 columns": _oversampled(1000, 20, _numbers(20, 4), anew=True),
    "oversampled 50 times, 40 columns": _oversampled(1500, 50, _numbers(40, 5), anew=False),
    "oversampled 10 times, text": _oversampled(600, 10, _text, anew=False),
    "oversampled 20 times, 5 categories of 8": _oversampled(1000, 20, _table(5, 8, 4), anew=False),
    "oversampled 20 times, drawn anew, 3 categories of 8": _oversampled(1000, 20, _table(3, 8, 4), anew=True),
    "categories, 3 of 4": _categories(500, 3, 4),
    "categories, 3 of 30": _categories(1000, 3, 30),
    "categories, 1 of 10": _categories(500, 1, 10),
    "categories, 5 of 8": _categories(2000, 5, 8),
}

if __name__ == "__main__":
    main()
