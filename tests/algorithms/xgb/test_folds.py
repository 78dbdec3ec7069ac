"""Cross-validation."""

from __future__ import annotations

import numpy as np
import pytest
import xgboost as xgb

from algorithms.errors import TrainingStopped
from tests.algorithms.fakes import FakeJob, MemoryStream
from tests.algorithms.xgb.jobs import dumped, fit, groups, rows


@pytest.mark.parametrize(
    ("given", "labels"),
    [
        ({"objective": "binary:logistic", "eval_metric": "error,accuracy"}, rows()[1]),
        ({"objective": "multi:softprob", "num_class": 3, "eval_metric": "merror"}, np.arange(300) % 3),
        ({"objective": "multi:softmax", "num_class": 3}, np.arange(300) % 3),
        ({"objective": "reg:squarederror"}, rows()[0][:, 1]),
    ],
)
def test_folds_are_models_of_their_own_and_the_mean_is_theirs(tmp_path, given, labels):
    job = FakeJob(output_directory=tmp_path)
    labels = np.nan_to_num(labels).astype(np.float32)
    features = rows()[0]
    train, validation = (features[:200], labels[:200]), (features[200:], labels[200:])
    model = fit(train, validation, job, kfold=3, num_cv_round=2, **given)
    assert len(model.boosters) == 6
    folds = [dict(scores) for number, scores in job.rounds if number == 4]
    means = [dict(scores) for number, scores in job.rounds if number == 5]
    assert len(folds) == 6
    for mean, part in zip(means, (folds[:3], folds[3:], folds), strict=True):
        for name, value in mean.items():
            assert value == pytest.approx(np.mean([fold[name] for fold in part]))
    written = np.loadtxt(tmp_path / "predictions.csv", delimiter=",")
    np.testing.assert_allclose(written[:, 0], labels, atol=1e-5)
    assert written.shape == (300, 2 if given["objective"].startswith("reg:") else 3)


def test_held_out_predictions_are_those_of_the_fold_that_did_not_see_them(tmp_path):
    features, labels = rows(seed=3)
    job = FakeJob(output_directory=tmp_path)
    model = fit((features, labels), job=job, kfold=3, objective="binary:logistic", eval_metric="error")
    written = np.loadtxt(tmp_path / "predictions.csv", delimiter=",")
    by_fold = np.stack([booster.predict(xgb.DMatrix(features)) for booster in model.boosters])
    used = np.abs(by_fold - written[:, 1]).argmin(axis=0)
    np.testing.assert_allclose(by_fold[used, np.arange(300)], written[:, 1], atol=1e-6)
    np.testing.assert_array_equal(written[:, 2], written[:, 1] > 0.5)
    shares = [labels[used == fold].mean() for fold in range(3)]
    assert np.ptp(shares) < 0.02  # each fold has its share of both classes
    means = dict(job.rounds[-1][1])
    assert means["validation-error"] == pytest.approx(np.mean(written[:, 2] != labels), abs=1e-6)


def test_folds_keep_queries_whole():
    features, labels = rows()
    stream = MemoryStream(features, labels, None, groups())
    model = fit(stream, kfold=3, objective="rank:pairwise", eval_metric="ndcg")
    assert len(model.boosters) == 3


def test_folds_resume_from_their_checkpoints(tmp_path):
    given = {"kfold": 3, "objective": "binary:logistic", "num_round": 6}
    with pytest.raises(TrainingStopped):
        fit(job=FakeJob(checkpoint_directory=tmp_path, stop_after=11), **given)
    assert (tmp_path / "model-0" / "xgboost-checkpoint.5").exists()
    assert (tmp_path / "model-1").exists()
    job = FakeJob(checkpoint_directory=tmp_path)
    resumed, straight = fit(job=job, **given), fit(**given)
    assert [dumped(one) for one in resumed.boosters] == [dumped(one) for one in straight.boosters]
    assert len(job.rounds) < 3 * 6
