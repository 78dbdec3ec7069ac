"""The linear learner's thresholds that are to hold a precision or recall: do they, on rows to come, and at what cost?

    python -m benchmarks.linear_targets                  # 20 jobs of each kind and target, some ten minutes
    python -m benchmarks.linear_targets --jobs 5 --only rare coins

Each kind of data is made: 2,400 rows to train on where nothing else is said, and 20,000 to ask. A job whose threshold
does not hold its target by what the rows say warns of that; of the others, ``held`` is the share that holds it on the
rows to come, and ``worst`` the least distance to it. ``recall`` (of a target precision; else precision) is beside the
``best`` one: of the very model with a threshold chosen on the rows to come, of those that claim 20 rows at least.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from algorithms.hyperparameters import parse
from algorithms.linear_learner import LinearLearner, LinearLearnerHyperparameters
from benchmarks.common import table
from recordio.batches import Batch
from tests.algorithms.fakes import FakeJob, MemoryStream

TO_COME = 20_000
TARGETS = (("target_precision", 0.5), ("target_precision", 0.8), ("target_precision", 0.9), ("target_recall", 0.8))
CRITERIA = {"target_precision": "recall_at_target_precision", "target_recall": "precision_at_target_recall"}
FEWEST_CLAIMED = 20

Made = tuple[np.ndarray, np.ndarray]
"""Rows (n, d), and whether each is positive, (n,)."""


class Job(NamedTuple):
    """What came of one: whether it warned, its target's value less the target, and the other value, and its best."""

    warned: bool
    beyond: float
    other: float
    best: float


def main() -> None:
    """Print a line for each kind of data and target, and one of all together."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=20, help="of each kind and target")
    parser.add_argument("--only", nargs="*", choices=list(KINDS), default=list(KINDS))
    arguments = parser.parse_args()
    print(compared(arguments.only, arguments.jobs))


def compared(kinds: list[str], jobs: int) -> str:
    """The table."""
    rows, every = [], dict[str, list[Job]]()
    for kind in kinds:
        for name, target in TARGETS:
            found = [job(kind, seed, name, target) for seed in range(jobs)]
            rows.append((kind, name, target, *_summed(found)))
            every.setdefault(name, []).extend(found)
    rows += [("all", name, "", *_summed(found)) for name, found in every.items()]
    columns = ("", "target", "", "jobs", "warned", "held", "worst", "recall or precision", "best")
    return table("thresholds of the linear learner", columns, rows)


def _summed(jobs: list[Job]) -> tuple[object, ...]:
    sure = [one.beyond for one in jobs if not one.warned]
    held = float(np.mean([beyond >= 0 for beyond in sure])) if sure else ""
    other, best = (float(np.mean([getattr(one, name) for one in jobs])) for name in ("other", "best"))
    return len(jobs), len(jobs) - len(sure), held, min(sure, default=""), other, best


def job(kind: str, seed: int, name: str, target: float) -> Job:
    """One job with its own data, asked for the rows to come."""
    make, rows = KINDS[kind]
    x, y = make(np.random.default_rng(seed), rows + TO_COME)
    given = {"predictor_type": "binary_classifier", "binary_classifier_model_selection_criteria": CRITERIA[name]}
    log = FakeJob()
    stream = MemoryStream(x[:rows].astype(np.float32), y[:rows].astype(np.float32))
    model = LinearLearner.fit(parse(LinearLearnerHyperparameters, given | {name: str(target)}), {"train": stream}, log)
    answer, truth = model.predict(Batch(x[rows:].astype(np.float32))), y[rows:]
    claimed = answer["predicted_label"] > 0
    hits = np.sum(claimed & truth)
    values = {"target_precision": hits / max(claimed.sum(), 1), "target_recall": hits / truth.sum()}
    warned = any("threshold" in warning.lower() for warning in log.warnings)
    mine = values.pop(name)
    return Job(warned, float(mine - target), float(*values.values()), _best(answer["score"], truth, name, target))


def _best(scores: np.ndarray, truth: np.ndarray, name: str, target: float) -> float:
    """The highest recall that has the target precision, or precision that has the target recall; 0 where none has."""
    hits = np.cumsum(truth[np.argsort(-scores, kind="stable")])
    claimed = np.arange(1, len(truth) + 1)
    precision, recall = hits / claimed, hits / hits[-1]
    if name == "target_precision":
        return float(recall[(precision >= target) & (claimed >= FEWEST_CLAIMED)].max(initial=0))
    return float(precision[recall >= target].max(initial=0))


# ---- data -----------------------------------------------------------------------------------------------------------


def _drawn(rng: np.random.Generator, x: np.ndarray, logit: np.ndarray) -> Made:
    return x, rng.random(len(x)) < expit(logit)


def _logistic(columns: int, slope: float, used: int, shift: float) -> Callable[[np.random.Generator, int], Made]:
    def make(rng: np.random.Generator, rows: int) -> Made:
        x = rng.normal(size=(rows, columns))
        return _drawn(rng, x, slope * x[:, :used].sum(axis=1) - shift)

    return make


def _noisy(rng: np.random.Generator, rows: int) -> Made:
    x = rng.normal(size=(rows, 20))
    return x, (x[:, :3].sum(axis=1) > 0.5) ^ (rng.random(rows) < 0.12)


def _heavy_tails(rng: np.random.Generator, rows: int) -> Made:
    x = rng.standard_t(3, size=(rows, 15))
    return _drawn(rng, x, x[:, :2].sum(axis=1) - 5 + 0.3 * x[:, 2] * x[:, 3])


def _clusters(rng: np.random.Generator, rows: int) -> Made:
    """Two kinds of positives, one of them far out."""
    y, far = rng.random(rows) < 0.03, rng.random(rows) < 0.5
    x = rng.normal(size=(rows, 8))
    x[y & far, 0] += 4
    x[y & ~far, 1] += 1.5
    return x, y


def _contaminated(rng: np.random.Generator, rows: int) -> Made:
    """Negatives beyond all positives."""
    x, y = rng.normal(size=(rows, 8)), rng.random(rows) < 0.08
    x[y, 0] += 2.5
    x[(rng.random(rows) < 0.02) & ~y, 0] += 6
    return x, y


def _coins(rng: np.random.Generator, rows: int) -> Made:
    """Sixty-four distinct rows."""
    x = rng.integers(0, 2, size=(rows, 6)).astype(float)
    return _drawn(rng, x, 1.5 * x[:, :3].sum(axis=1) - 4)


def _steps(rng: np.random.Generator, rows: int) -> Made:
    """Probabilities in three steps."""
    x = rng.normal(size=(rows, 6))
    return x, rng.random(rows) < np.select([x[:, 0] > 1.2, x[:, 0] > 0], [0.75, 0.15], 0.02)


KINDS = {
    "contaminated": (_contaminated, 2400),
    "coins": (_coins, 2400),
    "steps": (_steps, 2400),
    "rare": (_logistic(30, 1, 3, 5.6), 2400),
    "rare, apart": (_logistic(30, 3, 3, 13), 2400),
    "rare, steep": (_logistic(10, 2, 2, 6), 2400),
    "balanced": (_logistic(10, 2, 2, 0), 2400),
    "noisy": (_noisy, 2400),
    "rare, wide": (_logistic(300, 2, 5, 10), 1500),
    "heavy tails": (_heavy_tails, 2400),
    "clusters": (_clusters, 2400),
    "300 rows": (_logistic(8, 2, 2, 1), 300),
    "10,000 rows": (_logistic(20, 2, 2, 6), 10_000),
}
"""What makes so many rows, and how many there are to train on."""

if __name__ == "__main__":
    main()
