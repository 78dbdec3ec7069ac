"""Checkpoints of xgboost, and jobs that are stopped."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import xgboost as xgb

from algorithms.errors import HyperparameterError, TrainingDataError, TrainingStopped
from algorithms.xgb import pickled
from container.training.report import History
from recordio.batches import Batch
from tests.algorithms.fakes import FakeJob
from tests.algorithms.xgb.jobs import dumped, fit, library, round_by_round, rows


def checkpoint_numbers(folder: Path) -> list[int]:
    return sorted(int(path.name.partition(".")[2]) for path in folder.glob("xgboost-checkpoint.*"))


def kept_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("algorithms.xgb.checkpoints._SHARE_OF_TIME", float("inf"))


def test_the_newest_checkpoints_are_kept(tmp_path, monkeypatch):
    kept_all(monkeypatch)
    fit(job=FakeJob(checkpoint_directory=tmp_path), num_round=8)
    assert checkpoint_numbers(tmp_path) == [3, 4, 5, 6, 7]
    booster = xgb.Booster(model_file=bytearray((tmp_path / "xgboost-checkpoint.7").read_bytes()))
    assert dumped(booster) == dumped(fit(num_round=8).boosters[0])


def test_a_checkpoint_that_is_being_uploaded_stays(tmp_path, monkeypatch):
    kept_all(monkeypatch)
    for number, marks in ((0, ["uploading"]), (1, ["uploading", "uploaded"])):
        for mark in marks:
            (tmp_path / f"xgboost-checkpoint.{number}.sagemaker-{mark}").touch()
    fit(job=FakeJob(checkpoint_directory=tmp_path), num_round=8)
    assert [path.name for path in tmp_path.iterdir() if path.suffix in (".0", ".1")] == ["xgboost-checkpoint.0"]


@pytest.mark.parametrize("kind", ["folder", "FIFO", "damaged"])
def test_what_is_no_checkpoint_in_the_place_of_one_harms_no_job(tmp_path, monkeypatch, kind):
    kept_all(monkeypatch)
    for name in (".xgboost-checkpoint", *(f"xgboost-checkpoint.{number}" for number in (0, 2, 4, 5, 6, 20))):
        path = tmp_path / name
        if kind == "folder":
            path.mkdir()
            (path / "something").touch()
        elif kind == "FIFO":
            os.mkfifo(path)
        else:
            path.write_bytes(b"damaged")
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it waits for a FIFO"))
    signal.alarm(30)
    try:
        job = FakeJob(checkpoint_directory=tmp_path)
        expected = dumped(fit(job=job, num_round=8).boosters[0])
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert any("xgboost-checkpoint.20 is skipped" in message for message in job.warnings)
    for number in (3, 4, 5, 6, 7):
        xgb.Booster(model_file=bytearray((tmp_path / f"xgboost-checkpoint.{number}").read_bytes()))
    assert dumped(fit(job=FakeJob(checkpoint_directory=tmp_path), num_round=8).boosters[0]) == expected


def test_a_checkpoint_of_a_job_that_cannot_be_gone_on_with_is_named(tmp_path):
    """XGBoost's own words blamed the data or the hyperparameters, and another objective was taken without one."""
    fit(job=FakeJob(checkpoint_directory=tmp_path), num_round=3)
    features, labels = rows()
    narrower = np.nan_to_num(features[:, :4]), labels
    with pytest.raises(
        TrainingDataError, match=r"xgboost-checkpoint\.2 .* 5 features, and channel 'train' has 4: empty"
    ):
        fit(narrower, job=FakeJob(checkpoint_directory=tmp_path))
    several = {"objective": "multi:softprob", "num_class": 3}
    with pytest.raises(HyperparameterError, match=r"'num_class' is 3, and checkpoint .*\.2 has 0 classes: empty"):
        fit(job=FakeJob(checkpoint_directory=tmp_path), **several)
    job = FakeJob(checkpoint_directory=tmp_path)
    fit(job=job, objective="binary:logistic")
    assert any("of a job with objective reg:squarederror" in message for message in job.warnings)


def test_the_last_round_is_always_a_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr("algorithms.xgb.checkpoints._SHARE_OF_TIME", 0.0)
    fit(job=FakeJob(checkpoint_directory=tmp_path), num_round=30)
    assert checkpoint_numbers(tmp_path)[-1] == 29


def test_a_resumed_job_gives_the_model_of_an_uninterrupted_one(tmp_path):
    features = {"objective": "binary:logistic", "eval_metric": "logloss", "num_round": 12}
    with pytest.raises(TrainingStopped):
        fit(job=FakeJob(checkpoint_directory=tmp_path, stop_after=5), validation=rows(seed=1), **features)
    stopped_at = checkpoint_numbers(tmp_path)[-1]
    assert 0 < stopped_at < 11
    job, whole = FakeJob(checkpoint_directory=tmp_path), FakeJob()
    resumed = fit(job=job, validation=rows(seed=1), **features)
    straight = fit(job=whole, validation=rows(seed=1), **features)
    assert dumped(resumed.boosters[0]) == dumped(straight.boosters[0])
    assert job.rounds == whole.rounds[stopped_at + 1 :]
    assert f"Resuming from iteration {stopped_at + 1}" in job.messages


RESUMED = [
    {},
    {"subsample": 0.5},
    {"subsample": 0.5, "sampling_method": "gradient_based"},
    {"objective": "binary:logistic", "subsample": 0.7, "colsample_bytree": 0.6, "seed": -7},
    {"colsample_bylevel": 0.6, "colsample_bynode": 0.6, "seed": 2**31 - 2},
    {"tree_method": "exact", "subsample": 0.5, "colsample_bylevel": 0.5},
    {"tree_method": "approx", "subsample": 0.5, "colsample_bynode": 0.5},
    {"updater": "grow_histmaker,prune", "subsample": 0.5, "max_bin": 8},
    {"num_parallel_tree": 3, "subsample": 0.5, "colsample_bynode": 0.5},
    {"objective": "multi:softprob", "num_class": 2, "subsample": 0.5, "base_score": 0.3},
    {"objective": "reg:absoluteerror", "subsample": 0.5},
    {"booster": "dart", "rate_drop": 0.5},
    {"booster": "dart", "rate_drop": 0.5, "sample_type": "weighted", "one_drop": 1, "skip_drop": 0.3, "subsample": 0.5},
    {"booster": "dart", "rate_drop": 0.3, "normalize_type": "forest", "num_parallel_tree": 2, "colsample_bytree": 0.5},
    {"booster": "gblinear"},
    {"booster": "gblinear", "updater": "coord_descent"},
]


@pytest.mark.filterwarnings("ignore:.*manually specified the `updater`")
@pytest.mark.parametrize("given", RESUMED, ids=lambda given: ",".join(map(str, given.values())) or "defaults")
def test_a_job_that_is_stopped_again_and_again_gives_the_model_of_an_undisturbed_one(given, tmp_path):
    straight = fit(num_round=11, **given)
    for _ in range(2):
        with pytest.raises(TrainingStopped):
            fit(job=FakeJob(checkpoint_directory=tmp_path, stop_after=4), num_round=11, **given)
    resumed = fit(job=FakeJob(checkpoint_directory=tmp_path), num_round=11, **given)
    assert checkpoint_numbers(tmp_path)[-1] == 10
    assert dumped(resumed.boosters[0]) == dumped(straight.boosters[0])


@pytest.mark.parametrize(
    "given",
    [{}, {"subsample": 0.5}, {"booster": "dart"}, {"subsample": 0.5, "early_stopping_rounds": 2, "seed": 3}],
    ids=lambda given: ",".join(given) or "defaults",
)
def test_a_pickled_model_does_not_tell_of_interruptions(given, tmp_path):
    given = {"num_round": 7, "validation": rows(seed=1), **given}
    straight = pickled.dumps(fit(**given).boosters[0])
    with pytest.raises(TrainingStopped):
        fit(job=FakeJob(checkpoint_directory=tmp_path, stop_after=3), **given)
    for _ in range(2):  # the second finds all rounds
        resumed = fit(job=FakeJob(checkpoint_directory=tmp_path), **given)
        assert pickled.dumps(resumed.boosters[0]) == straight


@pytest.mark.filterwarnings("ignore:.*manually specified the `updater`")
@pytest.mark.parametrize(
    "given",
    [
        {"updater": "grow_colmaker,prune", "subsample": 0.5, "gamma": 1},
        {"updater": "grow_colmaker", "booster": "dart"},
        {"updater": "grow_histmaker", "tree_method": "exact", "colsample_bynode": 0.5, "max_bin": 4},
        {"updater": "grow_colmaker", "tree_method": "hist", "colsample_bytree": 0.5},
    ],
)
def test_rounds_that_draw_have_the_updaters_that_were_stated(given):
    features, labels = rows()
    expected = round_by_round(given, xgb.DMatrix(features, label=labels), 4)
    assert dumped(fit((features, labels), num_round=4, **given).boosters[0]) == dumped(expected)


@pytest.mark.parametrize("given", [{"subsample": 0.5}, {"colsample_bynode": 0.5}])
def test_a_linear_booster_keeps_its_penalties_beside_shares_of_rows_and_columns(given):
    penalties = {"booster": "gblinear", "num_round": 20, "lambda_": 10, "alpha": 0.1}
    assert dumped(fit(**penalties, **given).boosters[0]) == dumped(fit(**penalties).boosters[0])


@pytest.mark.parametrize("updater", ["refresh", "prune"])
def test_trees_are_updated_alike_beside_shares_of_rows_and_columns(updater, tmp_path):
    """The configuration that a round with a seed of its own loads again forgets that trees are to be updated."""
    fit().save(tmp_path)
    given = {"model": tmp_path, "process_type": "update", "updater": updater, "gamma": 2}
    expected = fit(rows(seed=3), **given)
    assert dumped(fit(rows(seed=3), subsample=0.5, **given).boosters[0]) == dumped(expected.boosters[0])


def test_each_round_draws_rows_of_its_own():
    """One seed for all rounds would leave the same rows out of every tree."""
    features, labels = rows(missing=0)
    booster = fit((features, labels), num_round=6, subsample=0.5, eta=0).boosters[0]
    roots = [json.loads(tree) for tree in booster.get_dump(with_stats=True, dump_format="json")]
    assert len({root["cover"] for root in roots}) > 3  # the number of rows that a round drew


def test_the_first_round_is_the_librarys_own_so_that_a_forest_is():
    features, labels = rows()
    forest = {"num_parallel_tree": 20, "subsample": 0.6, "colsample_bynode": 0.6, "eta": 1, "seed": 5}
    expected = library(forest, xgb.DMatrix(features, label=labels), 1)
    assert dumped(fit((features, labels), num_round=1, **forest).boosters[0]) == dumped(expected)


def test_early_stopping_goes_on_counting_after_a_resume(tmp_path):
    given = {"objective": "binary:logistic", "eval_metric": "logloss", "eta": 0.8, "num_round": 60}
    given["early_stopping_rounds"] = 4
    whole = FakeJob()
    straight = fit(job=whole, validation=rows(seed=1), **given)
    best = int(straight.boosters[0].attr("best_iteration"))
    with pytest.raises(TrainingStopped):  # after the best round, and before the end; one reading is before training
        fit(job=FakeJob(checkpoint_directory=tmp_path, stop_after=best + 3), validation=rows(seed=1), **given)
    assert checkpoint_numbers(tmp_path)[-1] > best
    job = FakeJob(checkpoint_directory=tmp_path)
    resumed = fit(job=job, validation=rows(seed=1), **given)
    assert dumped(resumed.boosters[0]) == dumped(straight.boosters[0])
    assert job.rounds[-1] == whole.rounds[-1]
    finished = fit(job=FakeJob(checkpoint_directory=tmp_path), validation=rows(seed=1), **given)
    assert dumped(finished.boosters[0]) == dumped(straight.boosters[0])
    assert job.scores["validation", "logloss"] == pytest.approx(whole.scores["validation", "logloss"])


@pytest.mark.parametrize("stopped_after", [1, 3, 5, None])
@pytest.mark.parametrize("booster", [{"booster": "gblinear", "eta": 1}, {"booster": "dart", "rate_drop": 0.3}])
def test_early_stopping_of_what_later_rounds_change_finds_its_best_again(booster, stopped_after, tmp_path):
    given = {"objective": "binary:logistic", "num_round": 20, "early_stopping_rounds": 4, **booster}
    straight = fit(validation=rows(seed=1), **given)
    best = int(straight.boosters[0].attr("best_iteration"))
    assert 0 < best < 15
    job = FakeJob(checkpoint_directory=tmp_path, stop_after=None if stopped_after is None else best + stopped_after)
    try:
        fit(job=job, validation=rows(seed=1), **given)
    except TrainingStopped:
        assert stopped_after is not None
    resumed = fit(job=FakeJob(checkpoint_directory=tmp_path), validation=rows(seed=1), **given).boosters[0]
    assert resumed.save_raw("ubj") == straight.boosters[0].save_raw("ubj")


@pytest.mark.parametrize(
    "spoiled", [{"best_score": "x"}, {"best_iteration": None}, {"best_iteration": "99"}, {"best_booster": "e30="}]
)
def test_early_stopping_counts_anew_where_a_checkpoint_does_not_tell(spoiled, tmp_path):
    given = {"booster": "gblinear", "eta": 1, "num_round": 8, "early_stopping_rounds": 6}
    with pytest.raises(TrainingStopped):
        fit(job=FakeJob(checkpoint_directory=tmp_path, stop_after=5), validation=rows(seed=1), **given)
    newest = tmp_path / f"xgboost-checkpoint.{checkpoint_numbers(tmp_path)[-1]}"
    booster = xgb.Booster(model_file=bytearray(newest.read_bytes()))
    booster.set_attr(**spoiled)
    newest.write_bytes(booster.save_raw("ubj"))
    job = FakeJob(checkpoint_directory=tmp_path)
    found = fit(job=job, validation=rows(seed=1), **given).boosters[0]
    scores = {number: dict(round_)["validation-rmse"] for number, round_ in job.rounds}
    assert float(found.attr("best_score")) == min(scores.values())
    assert set(found.attributes()) == {"best_iteration", "best_score"}


@pytest.mark.parametrize("booster", ["gbtree", "dart", "gblinear"])
def test_a_job_with_early_stopping_takes_all_rounds_of_one_without_it(booster, tmp_path):
    given = {"booster": booster, "num_round": 6, "validation": rows(seed=1)}
    whole, again = (FakeJob(checkpoint_directory=tmp_path) for _ in range(2))
    expected = fit(job=whole, **given)
    found = fit(job=again, early_stopping_rounds=2, **given)
    assert dumped(found.boosters[0]) == dumped(expected.boosters[0])
    assert again.scores == pytest.approx(whole.scores, abs=1e-5)


@pytest.mark.parametrize("booster", ["gbtree", "dart", "gblinear"])
def test_without_early_stopping_all_rounds_of_a_checkpoint_count(booster, tmp_path):
    given = {"booster": booster, "eta": 1, "num_round": 20}
    with pytest.raises(TrainingStopped):
        job = FakeJob(checkpoint_directory=tmp_path, stop_after=7)
        fit(job=job, validation=rows(seed=1), early_stopping_rounds=15, **given)
    resumed = fit(job=FakeJob(checkpoint_directory=tmp_path), validation=rows(seed=1), **given)
    straight = fit(validation=rows(seed=1), **given)
    features = Batch(rows(seed=2)[0])
    assert resumed.predict(features)["score"].tolist() == straight.predict(features)["score"].tolist()
    assert not resumed.boosters[0].attributes()


@pytest.mark.parametrize("early", [{}, {"early_stopping_rounds": 4}])
@pytest.mark.parametrize("metric", [{}, {"eval_metric": "logloss,accuracy"}])
def test_a_job_whose_rounds_are_all_there_says_its_scores(metric, early, tmp_path):
    given = {"objective": "binary:logistic", "eta": 0.8, "num_round": 30, **metric, **early}
    whole, again = (FakeJob(checkpoint_directory=tmp_path) for _ in range(2))
    model = fit(job=whole, validation=rows(seed=1), **given)
    assert dumped(fit(job=again, validation=rows(seed=1), **given).boosters[0]) == dumped(model.boosters[0])
    assert {name.partition("-")[0] for name, _ in whole.rounds[-1][1]} == {"train", "validation"}
    first, second = (History(), History())
    for job, history in ((whole, first), (again, second)):
        for event in job.events:
            history.add(event)
    assert first.finals == pytest.approx(second.finals, abs=1e-5)
    assert len(first.finals) == 2 * (2 if metric else 1)


def test_damaged_checkpoints_are_passed_over(tmp_path, monkeypatch):
    kept_all(monkeypatch)
    fit(job=FakeJob(checkpoint_directory=tmp_path), num_round=4)
    whole = (tmp_path / "xgboost-checkpoint.3").read_bytes()
    (tmp_path / "xgboost-checkpoint.3").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "xgboost-checkpoint.2").write_bytes(b"")
    job = FakeJob(checkpoint_directory=tmp_path)
    resumed = fit(job=job, num_round=6)
    assert len(job.warnings) == 2
    assert [number for number, _ in job.rounds] == [2, 3, 4, 5]
    assert dumped(resumed.boosters[0]) == dumped(fit(num_round=6).boosters[0])


def test_a_stopped_job_leaves_its_model_where_that_was_asked_for():
    job = FakeJob(stop_after=3)
    model = fit(job=job, num_round=50, save_model_on_termination="true")
    assert model.boosters[0].num_boosted_rounds() == 3
    assert len(job.intermediates) == 3
    with pytest.raises(TrainingStopped):
        fit(job=FakeJob(stop_after=3), num_round=50)


def test_checkpoints_of_more_rounds_than_asked_for_are_the_model_and_the_log_says_so(tmp_path):
    """SageMaker's container does so: num_boost_round is then below 0, and XGBoost returns what it was given."""
    longer = dumped(fit(job=FakeJob(checkpoint_directory=tmp_path), num_round=8).boosters[0])
    job = FakeJob(checkpoint_directory=tmp_path)
    assert dumped(fit(job=job, num_round=3).boosters[0]) == longer
    assert any("num_round is 3, and the checkpoint has 8 rounds" in line for line in job.warnings)
    again = FakeJob(checkpoint_directory=tmp_path)
    fit(job=again, num_round=8)
    assert not any("num_round is" in line for line in again.warnings)
