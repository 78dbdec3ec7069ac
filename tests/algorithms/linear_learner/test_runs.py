"""Rows of few categories, which have one score each: a threshold takes all rows of a score or none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from algorithms.linear_learner.selection import aligned, calibrate
from recordio.batches import Batch
from tests.algorithms.linear_learner.test_defaults import fit, hyperparameters

RECALL = {"binary_classifier_model_selection_criteria": "precision_at_target_recall", "target_recall": 0.8}
PRECISION = {"binary_classifier_model_selection_criteria": "recall_at_target_precision", "target_precision": 0.8}


@pytest.mark.parametrize(("given", "name"), [(RECALL, "recall"), (PRECISION, "precision")])
def test_a_target_holds_on_rows_to_come_of_a_few_categories(given, name):
    """Six levels with known shares of positives: what a threshold has of all rows to come follows from the levels that
    it takes."""
    shares, parts = expit(np.array([3.0, 1.5, 0.5, -0.5, -1.5, -3.0])), np.full(6, 1 / 6)
    held = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        level = rng.integers(0, 6, 900)
        y = (rng.random(900) < shares[level]).astype(np.float32)
        model, _ = fit(hyperparameters("binary_classifier", **given), np.eye(6, dtype=np.float32)[level], y)
        taken = model.predict(Batch(np.eye(6, dtype=np.float32)))["predicted_label"] > 0
        hits = (shares * parts)[taken].sum()
        held.append(hits / (shares @ parts if name == "recall" else max(parts[taken].sum(), 1e-9)))
        assert taken.any()
    assert np.mean(np.array(held) >= 0.8) >= 0.97, held


@pytest.mark.parametrize(
    ("given", "threshold", "expected"),
    [
        (RECALL, 1.2, 0.5),  # four rows of the second run were taken, the finished model takes none
        (RECALL, 2.1, 1.5),
        (PRECISION, 0.9, 1.5),  # six were not
        (PRECISION, 1.6, 1.6),
        (PRECISION, 2.1, 1.5),  # all of the first run were
        ({"binary_classifier_model_selection_criteria": "f_beta"}, 0.9, 1.5),  # most were not
        ({"binary_classifier_model_selection_criteria": "f_beta"}, 0.6, 0.6),
        ({"binary_classifier_model_selection_criteria": "f_beta"}, 1.05, 1.05),
        ({"binary_classifier_model_selection_criteria": "accuracy"}, 0.9, 1.5),
    ],
)
def test_runs_are_taken_as_they_were_when_they_were_held_out(given, threshold, expected):
    finished = np.repeat(np.array([2, 1, 0], np.float32), 10)
    held_out = np.repeat(np.array([2.2, 1.4, 0.7, 0], np.float32), [10, 4, 6, 10])
    hp = hyperparameters("binary_classifier", **given)
    assert aligned(threshold, held_out, finished, np.ones(30, int), hp) == pytest.approx(expected)
    copied = np.full(30, 10)  # held out together
    assert aligned(threshold, held_out, finished, copied, hp) == threshold


def test_rows_with_a_score_of_their_own_move_no_threshold():
    rng = np.random.default_rng(0)
    finished = rng.normal(size=2000).astype(np.float32)
    for given in (RECALL, PRECISION):
        hp = hyperparameters("binary_classifier", **given)
        held_out = finished + rng.normal(size=2000).astype(np.float32)
        assert aligned(0.3, held_out, finished, np.ones(2000, int), hp) == 0.3


CRITERIA = ("accuracy", "f_beta", "precision_at_target_recall", "recall_at_target_precision")


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("shares", [(0.9, 0.6, 0.2), (0.2, 0.1, 0.1), (0.9, 0.9, 0.8)])
def test_no_threshold_tells_equal_rows_apart_by_how_products_rounded_them(criterion, shares):
    """A row's score has other last digits at another place, in another batch, and where it is sparse."""
    hp = hyperparameters("binary_classifier", binary_classifier_model_selection_criteria=criterion)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        scores, which = np.array([2.5, 1, -1.5], np.float32) + np.float32(seed / 7), rng.integers(0, 3, 400)
        labels = (rng.random(400) < np.array(shares)[which]).astype(np.float32)
        rounded = (scores[which] * (1 + rng.integers(-4, 5, 400) * np.finfo(np.float32).eps)).astype(np.float32)
        threshold = calibrate(rounded[:, None], labels, hp).threshold[0]
        assert np.abs(scores - threshold).min() > 4e-6
        moved = aligned(float(threshold), rounded[::-1], rounded, np.ones(400, int), hp)
        assert np.abs(scores - moved).min() > 4e-6


def test_many_rows_that_lie_close_are_told_apart():
    """Neighbours are nearer to each other than rounding, and the classes differ all the same."""
    hp = hyperparameters("binary_classifier", binary_classifier_model_selection_criteria="f_beta")
    scores = np.linspace(1, 1.1, 200_000, dtype=np.float32)[:, None]
    assert calibrate(scores, (scores[:, 0] > 1.03).astype(np.float32), hp).threshold[0] == pytest.approx(1.03, abs=1e-3)
