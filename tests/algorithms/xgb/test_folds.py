"""Cross-validation."""

from __future__ import annotations

import numpy as np
import pytest
import xgboost as xgb

from algorithms.errors import TrainingDataError, TrainingStopped
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


@pytest.mark.parametrize("weighted", ["train", "validation"])
def test_folds_take_weights_of_one_channel_alone(weighted):
    """Rows without a weight count 1, as they do where channels are not joined."""
    features, labels = rows()
    weights = np.linspace(0.5, 2, 200).astype(np.float32)
    own = (weights, None) if weighted == "train" else (None, weights[:100])
    parts = [slice(0, 200), slice(200, 300)]
    streams = [MemoryStream(features[part], labels[part], one) for part, one in zip(parts, own, strict=True)]
    stated = np.concatenate(
        [np.ones(n, np.float32) if one is None else one for n, one in zip((200, 100), own, strict=True)]
    )
    found, expected = fit(*streams, kfold=3), fit(MemoryStream(features, labels, stated), kfold=3)
    assert [dumped(one) for one in found.boosters] == [dumped(one) for one in expected.boosters]


def test_queries_of_both_channels_may_have_the_same_numbers():
    features, labels = rows()
    names = groups()
    streams = [
        MemoryStream(features[part], labels[part], None, names[:150]) for part in (slice(0, 150), slice(150, 300))
    ]
    found = fit(*streams, kfold=3, objective="rank:pairwise")
    expected = fit(MemoryStream(features, labels, None, names), kfold=3, objective="rank:pairwise")
    assert [dumped(one) for one in found.boosters] == [dumped(one) for one in expected.boosters]
    without = MemoryStream(features[150:], labels[150:])
    with pytest.raises(TrainingDataError, match="query ids"):
        fit(streams[0], without, kfold=3, objective="rank:pairwise")
