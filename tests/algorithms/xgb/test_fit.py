"""Training with xgboost: the same model as the library's, and what SageMaker puts around it."""

from __future__ import annotations

import json
from contextlib import nullcontext

import numpy as np
import pytest
import scipy.sparse as sp
import xgboost as xgb

from algorithms.errors import (
    AlgorithmInputError,
    ChannelError,
    HyperparameterError,
    ModelError,
    TrainingDataError,
    TrainingStopped,
)
from algorithms.figures import Sample
from algorithms.xgb import boost
from algorithms.xgb.names import OF_QUERIES, OF_ROWS
from recordio.batches import Batch
from tests.algorithms.fakes import FakeJob, MemoryStream
from tests.algorithms.xgb.jobs import dumped, fit, groups, library, round_by_round, rows

CUTS = (1, 120, 50)


# ---- the same model as the library's --------------------------------------------------------------------------------


PARAMETERS = [
    {},
    {"tree_method": "exact", "max_depth": 3},
    {"tree_method": "approx", "max_bin": 16},
    {"tree_method": "hist", "max_bin": 16, "grow_policy": "lossguide", "max_leaves": 6},
    {"booster": "dart", "rate_drop": 0.5, "seed": 3},
    {"booster": "gblinear", "lambda": 0.1},
    {"objective": "binary:logistic", "scale_pos_weight": 2, "eta": 0.1, "subsample": 0.5, "colsample_bytree": 0.5},
    {"objective": "count:poisson"},
    {"objective": "multi:softprob", "num_class": 2, "num_parallel_tree": 2, "base_score": 0.5},
    {"tree_method": "approx", "subsample": 0.5, "colsample_bynode": 0.5},
    {"objective": "reg:absoluteerror", "base_score": 0.25},
    {"subsample": 0.5, "sampling_method": "gradient_based"},
    {"tree_method": "hist", "monotone_constraints": "(1,-1,0,0,0)"},
    {"tree_method": "hist", "interaction_constraints": "[[1,2],[3,4]]"},
]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("many", [0, boost.MANY_VALUES], ids=["kept as bins", "kept as values"])
@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("parameters", PARAMETERS, ids=lambda given: ",".join(map(str, given.values())) or "defaults")
def test_the_model_is_the_librarys_own(parameters, kind, many, weighted, monkeypatch):
    monkeypatch.setattr(boost, "MANY_VALUES", many)
    features, labels = rows()
    weights = np.random.default_rng(1).random(len(labels)).astype(np.float32) if weighted else None
    if kind == "sparse":
        held = ~np.isnan(features)
        where = np.nonzero(held)
        features = sp.csr_array((features[held], where), shape=features.shape)
    draws = {"subsample", "rate_drop"} & set(parameters)
    trained = round_by_round if draws else library
    expected = trained(parameters, xgb.DMatrix(features, label=labels, weight=weights), 4)
    given = {"lambda_" if name == "lambda" else name: value for name, value in parameters.items()}
    found = fit(MemoryStream(features, labels, weights, cuts=CUTS), num_round=4, **given)
    assert dumped(found.boosters[0]) == dumped(expected)


@pytest.mark.parametrize("center", [0, 100, -1e4])
def test_the_pseudo_huber_error_of_labels_far_from_0_is_learned(center):
    """XGBoost itself starts from a million where labels are near 100, and stays there."""
    random = np.random.default_rng(0)
    features = random.normal(size=(600, 3)).astype(np.float32)
    labels = (center + 3 * features[:, 0] + random.normal(size=600) / 10).astype(np.float32)
    model = fit((features[:400], labels[:400]), objective="reg:pseudohubererror", num_round=50)
    errors = np.abs(model.predict(Batch(features[400:]))["score"] - labels[400:])
    assert errors.mean() < 0.3 * np.abs(labels[400:] - np.median(labels)).mean()


@pytest.mark.parametrize(("scale", "best"), [(1, 0.5), (1e4, 1.001), (1e9, 1.001)])
def test_squared_log_error_starts_from_the_best_constant(scale, best):
    """From XGBoost's own start, 3.0.5's as 3.2's, the error of large labels is 7 and 24 times that of the constant."""
    random = np.random.default_rng(0)
    features = random.normal(size=(900, 3)).astype(np.float32)
    labels = (scale * np.exp(0.5 * features[:, 0] + random.normal(size=900) / 10)).astype(np.float32)
    job = FakeJob()
    model = fit((features[:600], labels[:600]), job=job, objective="reg:squaredlogerror", num_round=30)
    errors = np.log1p(model.predict(Batch(features[600:]))["score"]) - np.log1p(labels[600:])
    constant = np.log1p(labels[600:]) - np.log1p(labels[:600]).mean()
    assert np.sqrt((errors**2).mean()) < best * np.sqrt((constant**2).mean())
    assert any("No tree has a split" in one and "divide the labels" in one for one in job.warnings) == (scale > 1)


@pytest.mark.parametrize("weighted", [False, True])
def test_ranking_takes_queries_and_their_weights(weighted):
    features, labels = rows()
    by_query = np.linspace(0.5, 2, 30).astype(np.float32) if weighted else None
    matrix = xgb.DMatrix(features, label=labels, weight=by_query)
    matrix.set_group([10] * 30)
    expected = library({"objective": "rank:ndcg"}, matrix, 5)
    weights = np.repeat(by_query, 10) if weighted else None
    job = FakeJob()
    stream = MemoryStream(features, labels, weights, groups(), cuts=CUTS)
    found = fit(stream, job=job, objective="rank:ndcg", eval_metric="ndcg,map,ndcg@5")
    assert dumped(found.boosters[0]) == dumped(expected)
    assert [name for name, _ in job.rounds[0][1]] == ["train-ndcg", "train-map", "train-ndcg@5"]


def test_without_ids_all_rows_are_one_query_of_one_weight():
    features, labels = rows()
    found, expected = (
        fit(MemoryStream(features, labels, np.full(300, 2, np.float32), queries), objective="rank:ndcg")
        for queries in (None, np.zeros(300, np.int64))
    )
    assert dumped(found.boosters[0]) == dumped(expected.boosters[0])
    with pytest.raises(TrainingDataError, match="Rows of one query have different weights"):
        fit(MemoryStream(features, labels, np.arange(300, dtype=np.float32)), objective="rank:ndcg")


def test_metrics_of_rows_take_the_weight_of_a_rows_query():
    features, labels = rows()
    weights = np.repeat(np.linspace(0.5, 2, 30), 10).astype(np.float32)
    job = FakeJob()
    found = fit(MemoryStream(features, labels, weights, groups()), job=job, objective="rank:ndcg", eval_metric="mse")
    errors = (found.predict(Batch(features))["score"] - labels) ** 2
    assert job.last("train", "mse") == pytest.approx(np.average(errors, weights=weights))


@pytest.mark.parametrize(
    ("objective", "metrics", "weighed"),
    [
        ("rank:pairwise", OF_ROWS, "queries, and metric '{}' weighs rows"),
        ("reg:squarederror", OF_QUERIES, "rows, and metric '{}' weighs queries"),
    ],
)
def test_metrics_that_have_other_weights_are_refused(objective, metrics, weighed):
    """XGBoost ends the process where a metric looks for a weight of each row, and there is one of each query."""
    features, labels = rows()
    weighted = MemoryStream(features, labels, np.full(300, 2, np.float32), groups())
    for metric in (*metrics, f"{metrics[0]}@2"):
        with pytest.raises(TrainingDataError, match=f"'validation' has weights.*{weighed.format(metric)}"):
            fit(MemoryStream(features, labels, None, groups()), weighted, objective=objective, eval_metric=metric)


def test_a_model_that_cannot_be_served_is_no_model():
    """XGBoost goes on with NaN in a leaf or a weight, and the job would end well with a file that no server opens."""
    features, _ = rows(20, missing=0)
    times = np.exp(2 * features[:, 0]) * np.random.default_rng(2).choice([-1, 1], 20)
    unbounded = {"lambda_": 0, "min_child_weight": 0, "eta": 1}
    with pytest.raises(TrainingDataError, match="cannot be served: .* leaf's value is not a finite .* lower eta"):
        fit((features, times), objective="survival:cox", num_round=40, **unbounded)
    linear = {"booster": "gblinear", "base_score": 1000}
    with pytest.raises(TrainingDataError, match="cannot be served: a weight is not a finite number"):
        fit((features * 1000, np.full(20, 1e-3)), objective="reg:gamma", num_round=8, **linear)


def test_trees_deeper_than_any_that_is_served_are_refused(monkeypatch):
    """Each row has a feature of its own, as where one of a million users is a column: each split parts one of them from
    the others."""
    each_alone = sp.eye_array(30, format="csr"), np.random.default_rng(0).normal(size=30)
    unlimited = {"grow_policy": "lossguide", "max_depth": 0, "num_round": 1, "lambda_": 0}
    for deepest, tree in ((40, nullcontext()), (20, pytest.raises(TrainingDataError, match="20 levels .* max_depth"))):
        monkeypatch.setattr("algorithms.xgb.soundness.DEEPEST_TREE", deepest)
        with tree:
            fit(each_alone, objective="reg:squarederror", **unlimited)


def test_survival_reads_labels_as_cox_does():
    features, labels = rows()
    times = np.where(labels > 0, labels + 1, -2).astype(np.float32)
    ends = {"label_lower_bound": np.abs(times), "label_upper_bound": np.where(times > 0, times, np.inf)}
    matrix = xgb.DMatrix(features, label=times, **ends)
    parameters = {"objective": "survival:aft", "aft_loss_distribution": "logistic", "aft_loss_distribution_scale": 1.5}
    metrics = "aft-nloglik,interval-regression-accuracy"
    found = fit((features, times), eval_metric=metrics, **parameters)
    assert dumped(found.boosters[0]) == dumped(library(parameters, matrix, 5))


def test_sparse_channels_of_different_widths_train_together():
    features, labels = rows(missing=0)
    narrow = sp.csr_array(np.where(np.arange(5) < 3, features, 0)[:, :3])
    job = FakeJob()
    model = fit(MemoryStream(sp.csr_array(features), labels), MemoryStream(narrow, labels), job=job)
    assert len(model.predict(Batch(narrow))["score"]) == len(labels)


def test_a_wider_sparse_validation_trains_too():
    """Features that train never shows are missing there; no tree splits on them."""
    features, labels = rows(missing=0)
    wide = sp.csr_array(np.c_[features, np.ones((len(labels), 4), np.float32)])
    alone = fit(MemoryStream(sp.csr_array(features), labels))
    model = fit(MemoryStream(sp.csr_array(features), labels), MemoryStream(wide, labels))
    assert model.boosters[0].num_features() == 9
    padded = np.c_[features, np.full((len(labels), 4), np.nan, np.float32)]
    expected = library({}, xgb.DMatrix(padded, label=labels), 5)
    assert dumped(model.boosters[0]) == dumped(expected)
    scores = model.predict(Batch(sp.csr_array(features)))["score"]
    np.testing.assert_array_equal(scores, alone.predict(Batch(sp.csr_array(features)))["score"])


def test_validation_rows_that_are_those_of_train_are_told():
    features, labels = rows()
    sparse = sp.csr_array(np.nan_to_num(features))
    for same in ((features, labels), (sparse, labels)):
        job = FakeJob()
        fit(MemoryStream(*same), MemoryStream(*same), job)
        assert any("hold the same rows" in warning for warning in job.warnings)
    for other in ((features, 1 - labels), (features[::-1], labels), (features[:100], labels[:100]), rows(seed=1)):
        job = FakeJob()
        fit((features, labels), other, job)
        assert not job.warnings


def test_dense_and_sparse_records_of_one_channel_keep_their_zeros():
    features = np.array([[0, 1], [2, 0], [0, 3], [4, 0]], np.float32)
    mixed = [Batch(features[:2], np.float32([0, 1])), Batch(sp.csr_array(features[2:]), np.float32([0, 1]))]
    whole = features.copy()
    whole[2:][whole[2:] == 0] = np.nan
    expected = library({"min_child_weight": 0}, xgb.DMatrix(whole, label=[0, 1, 0, 1]), 3)
    assert dumped(fit(MemoryStream(mixed), num_round=3, min_child_weight=0).boosters[0]) == dumped(expected)


# ---- metrics and early stopping -------------------------------------------------------------------------------------


def test_every_metric_is_reported_for_every_round_under_the_name_asked_for():
    job = FakeJob()
    metrics = "error,error@0.7,accuracy,logloss"
    fit(job=job, validation=rows(seed=1), objective="binary:logistic", eval_metric=metrics, num_round=3)
    names = ["error", "error@0.7", "logloss", "accuracy"]
    expected = [f"{dataset}-{name}" for dataset in ("train", "validation") for name in names]
    assert [number for number, _ in job.rounds] == [0, 1, 2]
    for _, scores in job.rounds:
        assert [name for name, _ in scores] == expected
        values = dict(scores)
        assert values["train-accuracy"] == pytest.approx(1 - values["train-error"], abs=1e-6)


def test_tweedies_metric_keeps_the_name_that_tuning_jobs_look_for():
    job = FakeJob()
    power = {"objective": "reg:tweedie", "tweedie_variance_power": 1.25}
    fit(job=job, num_round=1, **power, _tuning_objective_metric="validation:tweedie-nloglik", validation=rows(seed=1))
    features, labels = rows()
    result: dict = {}
    matrix = xgb.DMatrix(features, label=labels)
    library(power, matrix, 1, evals=[(matrix, "train")], evals_result=result, verbose_eval=False)
    assert job.rounds[0][1][0] == ("train-tweedie-nloglik", result["train"]["tweedie-nloglik@1.25"][0])


@pytest.mark.parametrize(
    ("metrics", "maximize"), [("logloss,auc", True), ("auc,logloss", False), ("accuracy,error", False)]
)
@pytest.mark.parametrize("booster", ["gbtree", "dart"])
def test_early_stopping_keeps_what_the_librarys_own_keeps(metrics, maximize, booster):
    features, labels = rows()
    other, known = rows(seed=1)
    parameters = {"objective": "binary:logistic", "booster": booster, "eta": 0.8}
    own = [name for name in metrics.split(",") if name != "accuracy"]
    stopper = xgb.callback.EarlyStopping(
        rounds=3, data_name="validation", metric_name=own[-1], maximize=maximize, save_best=True
    )
    matrix = xgb.DMatrix(features, label=labels)
    evals = [(matrix, "train"), (xgb.DMatrix(other, label=known), "validation")]
    expected = library(
        {**parameters, "eval_metric": own}, matrix, 60, evals=evals, callbacks=[stopper], verbose_eval=False
    )
    job, given = FakeJob(), {"num_round": 60, "early_stopping_rounds": 3, "eval_metric": metrics}
    found = fit((features, labels), (other, known), job, **given, **parameters)
    score = found.predict(Batch(other))["score"]
    assert job.scores["validation", "error"] == np.mean((score > 0.5) != known) if "error" in own else True
    assert 1 <= expected.num_boosted_rounds() < 57
    assert dumped(found.boosters[0]) == dumped(expected)
    assert found.boosters[0].attr("best_iteration") == expected.attr("best_iteration")


def test_early_stopping_by_the_accuracy_of_intervals_keeps_the_most_accurate_round():
    random = np.random.default_rng(0)
    features = random.normal(size=(400, 3)).astype(np.float32)
    times = np.exp(features[:, 0] + 0.3 * random.normal(size=400))
    labels = np.where(random.random(400) < 0.5, -0.8 * times, times).astype(np.float32)  # half were still alive
    given = {"objective": "survival:aft", "eval_metric": "interval-regression-accuracy", "eta": 0.1}
    watched = {"_tuning_objective_metric": "validation:interval-regression-accuracy"}
    job = FakeJob()
    train, held_out = (features[:300], labels[:300]), (features[300:], labels[300:])
    model = fit(train, held_out, job, num_round=30, early_stopping_rounds=4, **given, **watched)
    bound = np.abs(labels[300:])
    shares = []  # by the metric's definition: predictions within the bounds
    for rounds in range(1, len(job.rounds) + 1):
        times = fit(train, num_round=rounds, **given).predict(Batch(features[300:]))["score"]
        shares.append(np.mean((times >= bound) & (times <= np.where(labels[300:] > 0, bound, np.inf))))
    assert np.argmax(shares) + 1 == model.boosters[0].num_boosted_rounds() > 1
    assert any("aft-nloglik" in warning for warning in job.warnings)


def test_early_stopping_of_a_linear_booster_keeps_its_best_weights():
    features, labels = rows(60)
    given = {"booster": "gblinear", "objective": "binary:logistic", "eta": 1}
    job = FakeJob()
    model = fit(
        (features, labels), rows(60, seed=1), job, num_round=40, early_stopping_rounds=2, eval_metric="logloss", **given
    )
    best = int(model.boosters[0].attr("best_iteration"))
    assert best < len(job.rounds) - 1
    again = fit((features, labels), num_round=best + 1, **given)
    batch = Batch(np.nan_to_num(features))
    np.testing.assert_array_equal(model.predict(batch)["score"], again.predict(batch)["score"])


def test_early_stopping_of_dart_keeps_the_booster_that_was_scored():
    """Later rounds change the weights of earlier trees: with them cut off it is another."""
    held_out = rows(seed=1)
    given = {"booster": "dart", "rate_drop": 0.3, "objective": "binary:logistic", "num_round": 40, "max_depth": 2}
    job = FakeJob()
    model = fit(rows(), held_out, job, early_stopping_rounds=3, save_model_on_termination="true", **given)
    best = int(model.boosters[0].attr("best_iteration"))
    assert 0 < best < len(job.rounds) - 1
    scores = xgb.Booster.eval_set(model.boosters[0], [(xgb.DMatrix(held_out[0], held_out[1]), "validation")])
    assert float(scores.rpartition(":")[2]) == pytest.approx(job.rounds[best][1][-1][1], abs=1e-6)
    again = fit(rows(), held_out, num_round=best + 1, **{k: v for k, v in given.items() if k != "num_round"})
    assert dumped(model.boosters[0]) == dumped(again.boosters[0]) == dumped(job.intermediates[-1].boosters[0])


def test_early_stopping_without_validation_says_so():
    job = FakeJob()
    model = fit(job=job, early_stopping_rounds=1)
    assert model.boosters[0].num_boosted_rounds() == 5
    assert "'early_stopping_rounds' has no effect" in job.warnings[0]


# ---- continuing from a model ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["xgboost-model", "my-model.json"])
def test_a_job_continues_from_the_model_channel(tmp_path, name):
    features, labels = rows()
    matrix = xgb.DMatrix(features, label=labels)
    parameters = {"objective": "binary:logistic", "eta": 0.5}
    earlier = library(parameters, matrix, 3)
    earlier.set_attr(best_iteration="1", best_score="0.5")
    (tmp_path / name).write_bytes(earlier.save_raw("json" if name.endswith("json") else "ubj"))
    model = fit(model=tmp_path, num_round=4, objective="binary:logistic", eta=0.3)
    expected = library(parameters | {"eta": 0.3}, matrix, 4, xgb_model=bytearray((tmp_path / name).read_bytes()))
    assert model.boosters[0].num_boosted_rounds() == 7
    assert dumped(model.boosters[0]) == dumped(expected)
    assert model.boosters[0].attr("best_iteration") is None


def test_a_continued_job_resumes_too(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "xgboost-model").write_bytes(fit(num_round=3).boosters[0].save_raw("ubj"))
    where = {"model": tmp_path / "model", "num_round": 8}
    with pytest.raises(TrainingStopped):
        fit(job=FakeJob(checkpoint_directory=tmp_path / "checkpoints", stop_after=4), **where)
    job = FakeJob(checkpoint_directory=tmp_path / "checkpoints")
    resumed = fit(job=job, **where)
    assert job.rounds[-1][0] == 7
    assert dumped(resumed.boosters[0]) == dumped(fit(**where).boosters[0])


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_trees_of_a_model_are_updated(tmp_path):
    features, labels = rows()
    (tmp_path / "xgboost-model").write_bytes(fit(num_round=3).boosters[0].save_raw("ubj"))
    given = {"process_type": "update", "updater": "refresh", "refresh_leaf": 1}
    other = rows(seed=5)
    found = fit(other, model=tmp_path, num_round=3, **given)
    expected = library(
        given, xgb.DMatrix(other[0], label=other[1]), 3, xgb_model=bytearray((tmp_path / "xgboost-model").read_bytes())
    )
    assert dumped(found.boosters[0]) == dumped(expected)
    with pytest.raises(AlgorithmInputError, match="No more tree left"):
        fit(other, model=tmp_path, num_round=4, **given)
    with pytest.raises(ChannelError, match="give it in a channel 'model'"):
        fit(other, num_round=3, **given)


def test_a_model_that_does_not_fit_is_refused(tmp_path):
    (tmp_path / "xgboost-model").write_bytes(fit(num_round=3).boosters[0].save_raw("ubj"))
    features, labels = rows()
    with pytest.raises(TrainingDataError, match="rows of 4 features, and the model in channel 'model' takes 5"):
        fit((features[:, :4], labels), model=tmp_path)
    with pytest.raises(AlgorithmInputError, match="'num_class' does not fit"):
        fit(model=tmp_path, objective="multi:softmax", num_class=3)
    for kind in ("dart", "gblinear"):  # XGBoost would drop the trees without a word
        with pytest.raises(HyperparameterError, match=f"'booster' is {kind}, and what .* is of gbtree"):
            fit(model=tmp_path, booster=kind)
    job = FakeJob()
    fit(model=tmp_path, objective="reg:linear", job=job)
    assert not job.warnings
    fit(model=tmp_path, objective="count:poisson", job=job)
    assert "'objective' is count:poisson, and the model in channel 'model' was trained for reg:squ" in job.warnings[0]
    with pytest.raises(ChannelError, match="exclude each other"):
        fit(model=tmp_path, kfold=3)
    (tmp_path / "xgboost-model-1").write_bytes(b"")
    with pytest.raises(ModelError, match="holds xgboost-model, xgboost-model-1"):
        fit(model=tmp_path)


def test_rows_have_the_names_and_types_of_an_earlier_models_features(tmp_path):
    """Of a model that was trained elsewhere, on a data frame or with categories, XGBoost asks for both."""
    features, labels = rows(missing=0)
    features[:, 0] = np.arange(len(features)) % 3
    features[:, 1] = features[:, 0] == 1  # which categories tell, and numbers do not as well
    told = {"feature_names": list("abcde"), "feature_types": ["c", "q", "q", "q", "q"], "enable_categorical": True}
    matrix = xgb.DMatrix(features, label=labels, **told)
    start = library({}, matrix, 3)
    (tmp_path / "xgboost-model").write_bytes(start.save_raw("ubj"))
    found = fit((features, labels), (features, labels), model=tmp_path, num_round=2).boosters[0]
    assert dumped(found) == dumped(library({}, matrix, 2, xgb_model=bytearray(start.save_raw("ubj"))))
    assert (found.feature_names, found.feature_types) == (told["feature_names"], told["feature_types"])
    with pytest.raises(HyperparameterError, match="exact.* doesn't support categorical"):
        fit((features, labels), model=tmp_path, tree_method="exact")
    with pytest.raises(TrainingDataError, match="Invalid categorical value"):
        fit((-features, labels), model=tmp_path)


def test_sparse_rows_may_be_narrower_than_an_earlier_model(tmp_path):
    features, labels = rows(missing=0)
    fit((features, labels)).save(tmp_path)
    narrow, wide = (np.where(np.arange(5) < 3, features, 0)[:, :width] for width in (3, 5))
    expected = fit((sp.csr_array(wide), labels), model=tmp_path)
    found = fit((sp.csr_array(narrow), labels), (sp.csr_array(narrow), labels), model=tmp_path)
    assert dumped(found.boosters[0]) == dumped(expected.boosters[0])
    with pytest.raises(TrainingDataError, match="'validation' has rows of 3 features, and the model .* takes 5"):
        fit((sp.csr_array(narrow), labels), (narrow, labels), model=tmp_path)


def test_the_booster_of_an_earlier_model_need_not_be_stated(tmp_path):
    given = {"validation": rows(seed=1), "early_stopping_rounds": 1, "num_round": 8}
    for booster in ("gbtree", "dart", "gblinear"):
        fit(booster=booster, num_round=3).save(tmp_path)
        stated, unstated = (fit(model=tmp_path, **given, **more) for more in ({"booster": booster}, {}))
        assert dumped(stated.boosters[0]) == dumped(unstated.boosters[0])
    with pytest.raises(HyperparameterError, match="'updater': booster gblinear takes .* from a gblinear booster"):
        fit(model=tmp_path, updater="grow_colmaker,prune")
    update = {"process_type": "update", "updater": "refresh", "num_round": 1}
    fit(booster="dart", num_round=3).save(tmp_path)
    with pytest.raises(HyperparameterError, match="update needs booster gbtree.* from a dart booster"):
        fit(model=tmp_path, **update)  # XGBoost gives its trees the weights of others


@pytest.mark.parametrize("objective", ["binary:logistic", "binary:logitraw"])
@pytest.mark.parametrize("folds", [{}, {"kfold": 3}])
def test_labels_may_be_probabilities_of_class_1(objective, folds, tmp_path):
    """As in the library, which asks for labels from 0 to 1."""
    features, labels = rows()
    labels = np.clip(labels * 0.75 + 0.125, 0, 1)
    found = fit(
        (features, labels), (features, labels), FakeJob(output_directory=tmp_path), objective=objective, **folds
    )
    if not folds:
        expected = library({"objective": objective}, xgb.DMatrix(features, label=labels))
        assert dumped(found.boosters[0]) == dumped(expected)
    titles = [one.title for one in found.figures(Sample("train", Batch(features, labels)))]
    assert ("Predictions against labels" in titles) == (objective == "binary:logistic")


# ---- data that cannot be trained on ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "label", "text"),
    [
        ({}, np.nan, "label is nan"),
        ({}, np.inf, "label is inf"),
        ({"objective": "binary:logistic"}, 3, "row 8: the label is 3, and objective binary:logistic needs from 0 to 1"),
        ({"objective": "binary:logitraw"}, -0.5, "needs from 0 to 1"),
        ({"objective": "binary:hinge"}, -1, "needs 0 or 1"),
        ({"objective": "binary:hinge"}, 0.5, "needs 0 or 1"),
        (
            {"objective": "binary:logistic", "eval_metric": "auc,accuracy"},
            0.5,
            "number of a class for its metric accuracy",
        ),
        ({"objective": "reg:logistic", "eval_metric": "f1"}, 0.5, "number of a class for its metric f1"),
        ({"objective": "multi:softmax", "num_class": 3}, 3, r"from 0 to 2 \(num_class is 3\)"),
        ({"objective": "multi:softprob", "num_class": 3}, 0.5, "whole number from 0 to 2"),
        ({"objective": "reg:logistic"}, 1.5, "from 0 to 1"),
        ({"objective": "count:poisson"}, -1, "0 or more"),
        ({"objective": "reg:gamma"}, 0, "above 0"),
        ({"objective": "reg:tweedie"}, -1, "0 or more"),
        ({"objective": "reg:squaredlogerror"}, -1, "above -1"),
        ({"objective": "rank:map"}, 2, "0 or 1"),
        ({"objective": "rank:ndcg"}, 40, "from 0 to 31"),
        ({"objective": "survival:aft"}, 0, "a time"),
    ],
)
@pytest.mark.parametrize("channel", ["train", "validation"])
def test_a_label_that_the_objective_cannot_learn_is_named(given, label, text, channel):
    features = rows(20)[0]
    good = np.ones(20, np.float32)
    bad = good.copy()
    bad[7] = label
    data = {"train": (features, good), "validation": (features, good), channel: (features, bad)}
    with pytest.raises(TrainingDataError, match=f"Channel '{channel}', row 8: .*{text.removeprefix('row 8: ')}"):
        fit(data["train"], data["validation"], **given)


def test_other_data_that_cannot_be_used_is_named():
    features, labels = rows(20)
    infinite = features.copy()
    infinite[3, 2] = np.inf
    with pytest.raises(TrainingDataError, match="`inf`"):
        fit((infinite, labels))
    with pytest.raises(TrainingDataError, match="without a label"):
        fit((features,))
    with pytest.raises(TrainingDataError, match="several labels"):
        fit((features, np.zeros((20, 2), np.float32)))
    with pytest.raises(ChannelError, match="Channel 'train' has no rows"):
        fit((features[:0], labels[:0]))
    with pytest.raises(ChannelError, match="Channel 'validation' has no rows"):
        fit((features, labels), (features[:0], labels[:0]))
    with pytest.raises(TrainingDataError, match="'validation' has rows of 4 features, and channel 'train' of 5"):
        fit((features, labels), (features[:, :4], labels))
    with pytest.raises(TrainingDataError, match="different numbers of features: 4 and 5"):
        fit(MemoryStream([Batch(features, labels), Batch(features[:, :4], labels)]))
    with pytest.raises(TrainingDataError, match="too few for 30 folds"):
        fit((features, labels), kfold=30)
    apart = np.array([1, 2] * 10)
    with pytest.raises(TrainingDataError, match="query qid:1 lie apart"):
        fit((features, labels, None, apart), objective="rank:ndcg")
    with pytest.raises(TrainingDataError, match="different weights"):
        weights = np.arange(20, dtype=np.float32)
        fit((features, labels, weights, np.repeat([1, 2], 10)), objective="rank:ndcg")
    with pytest.raises(TrainingDataError, match="binary relevance"):  # graded labels, whose PR curve nobody has defined
        grades = np.arange(20, dtype=np.float32) % 3
        fit((features, grades, None, np.repeat([1, 2], 10)), objective="rank:ndcg", eval_metric="aucpr")
    with pytest.raises(AlgorithmInputError, match="monotone"):
        fit((features, labels), tree_method="hist", monotone_constraints="(1,1,1,1,1,1,1)")


def test_the_log_says_how_much_was_read():
    job = FakeJob()
    fit(job=job, validation=rows(seed=1))
    expected = ["Single node training.", "Train matrix has 300 rows and 5 columns", "Validation matrix has 300 rows"]
    assert job.messages == expected
    assert json.dumps(job.rounds[0][1]).startswith('[["train-rmse"')


@pytest.mark.parametrize("channel", ["train", "validation"])
@pytest.mark.parametrize(
    ("weight", "message"),
    [(-0.5, r"Channel '{}', row 8: the weight is -0\.5"), (0.0, "Channel '{}': the weights of all rows are 0")],
)
def test_weights_that_cannot_count_are_refused_by_row(channel, weight, message):
    features, labels = rows()
    weights = np.zeros(len(labels)) if weight == 0 else np.where(np.arange(len(labels)) == 7, weight, 1.0)
    channels = {"train": rows(), "validation": rows(seed=1)} | {channel: MemoryStream(features, labels, weights)}
    with pytest.raises(TrainingDataError, match=message.format(channel)):
        fit(**channels)


def test_rows_without_a_feature_are_refused():
    with pytest.raises(TrainingDataError, match="'train' has rows without any feature"):
        fit(MemoryStream(sp.csr_array((4, 0), dtype=np.float32), np.array([0.0, 1, 0, 1])))


@pytest.mark.parametrize("sparse", [False, True])
def test_rows_that_memory_cannot_hold_are_refused_while_they_are_read(sparse):
    features, labels = np.ones((100_000, 5), np.float32), np.zeros(100_000, np.float32)
    batches = MemoryStream([Batch(sp.csr_array(features) if sparse else features, labels)] * 1000)
    job = FakeJob(memory=100 << 20)
    with pytest.raises(TrainingDataError, match=r"'train': its first \d+00000 rows take .* 0\.1 GiB .* has 0\.1 GiB"):
        fit(batches, job=job)
    fit(rows(), job=job)
