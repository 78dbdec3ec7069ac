"""The hyperparameters of xgboost: each reaches the library or says why it does not, and the rules between them."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
import xgboost as xgb

from algorithms import hyperparameters
from algorithms.errors import HyperparameterError, TrainingDataError
from algorithms.xgb import XGBoost, rules
from algorithms.xgb.parameters import XGBoostHyperparameters
from container.training.train import check_memory
from recordio.batches import Batch
from tests.algorithms.fakes import FakeJob
from tests.algorithms.xgb.jobs import fit, parse, rows

# For every hyperparameter of the library: a value that is not its default, and what else that needs.
REACHING: dict[str, tuple[str, dict[str, Any]]] = {
    "booster": ("dart", {}),
    "verbosity": ("0", {}),
    "nthread": ("1", {}),
    "eta": ("0.25", {}),
    "gamma": ("0.125", {}),
    "max_depth": ("3", {}),
    "min_child_weight": ("2", {}),
    "max_delta_step": ("0.5", {}),
    "subsample": ("0.5", {}),
    "colsample_bytree": ("0.5", {}),
    "colsample_bylevel": ("0.5", {}),
    "colsample_bynode": ("0.5", {}),
    "lambda": ("0.5", {}),
    "alpha": ("0.5", {}),
    "tree_method": ("exact", {}),
    "scale_pos_weight": ("2", {"objective": "binary:logistic"}),
    "updater": ("grow_colmaker,prune", {}),
    "refresh_leaf": ("0", {"updater": "grow_colmaker,refresh"}),
    "process_type": ("update", {"updater": "refresh"}),
    "grow_policy": ("lossguide", {}),
    "max_leaves": ("4", {"grow_policy": "lossguide"}),
    "max_bin": ("16", {"tree_method": "hist"}),
    "monotone_constraints": ("(1,-1,0,0,0)", {"tree_method": "hist"}),
    "interaction_constraints": ("[[1, 2], [3, 4]]", {"tree_method": "hist"}),
    "sample_type": ("weighted", {"booster": "dart"}),
    "normalize_type": ("forest", {"booster": "dart"}),
    "rate_drop": ("0.5", {"booster": "dart"}),
    "one_drop": ("1", {"booster": "dart"}),
    "skip_drop": ("0.5", {"booster": "dart"}),
    "tweedie_variance_power": ("1.25", {"objective": "reg:tweedie"}),
    "objective": ("reg:gamma", {}),
    "num_class": ("3", {"objective": "multi:softmax"}),
    "base_score": ("0.25", {}),
    "seed": ("7", {}),
    "num_parallel_tree": ("2", {}),
    "aft_loss_distribution": ("logistic", {"objective": "survival:aft"}),
    "aft_loss_distribution_scale": ("2", {"objective": "survival:aft"}),
    "sampling_method": ("gradient_based", {"subsample": "0.5"}),
}


def settings(value: Any) -> dict[str, set[str]]:
    """Every (name, value) anywhere in a booster's configuration."""
    found: dict[str, set[str]] = {}

    def visit(part: Any) -> None:
        for name, item in part.items() if isinstance(part, dict) else enumerate(part):
            if isinstance(item, dict | list):
                visit(item)
            elif isinstance(item, str):
                found.setdefault(str(name), set()).add(item)

    visit(value)
    return found


def library_names() -> list[str]:
    declared = XGBoostHyperparameters.__dataclass_fields__.values()
    return [item.metadata["hyperparameter"].name or item.name for item in declared if item.metadata.get("library")]


def test_every_hyperparameter_of_the_library_is_tried():
    assert sorted(REACHING) == sorted(library_names())


@pytest.mark.filterwarnings("ignore:.*manually specified the `updater`")
@pytest.mark.parametrize("name", REACHING)
def test_a_hyperparameter_reaches_the_library(name):
    value, others = REACHING[name]
    parameters = hyperparameters.parse(XGBoostHyperparameters, {"num_round": "1", name: value, **others}).library()
    features, labels = rows()
    matrix = xgb.DMatrix(features, label=labels + 1, label_lower_bound=labels + 1, label_upper_bound=labels + 1)
    if parameters.get("objective") in ("multi:softmax", "binary:logistic"):
        matrix.set_label(labels)
    if name == "process_type":  # seen in what becomes of trees, in test_xgb_fit.py
        assert parameters == {"updater": "refresh", "process_type": "update"}
        return
    with xgb.config_context(verbosity=1):  # which verbosity changes for the whole process
        booster = xgb.Booster(parameters, [matrix])
        booster.update(matrix, 0)
        configured = json.loads(booster.save_config())
        assert name != "verbosity" or xgb.get_config()["verbosity"] == 0
    learner = configured["learner"]
    if name == "updater":
        assert [item["name"] for item in learner["gradient_booster"]["updater"]] == value.split(",")
    elif name in ("booster", "objective"):
        assert learner["gradient_booster" if name == "booster" else "objective"]["name"] == value
    elif name != "verbosity":
        values = settings(configured)[name]
        assert any(text == value or _number(text) == _number(value) for text in values if text), values


def _number(text: str) -> float | str:
    try:
        return float(text.strip("[]"))
    except ValueError:
        return text.replace(" ", "")


def test_what_is_not_set_is_not_passed_on():
    assert parse().library() == {"nthread": 1}  # which the tests set


def test_the_aliases_are_the_same_hyperparameters():
    given = parse(learning_rate=0.2, min_split_loss=1, reg_lambda=2, reg_alpha=3).library()
    assert given == {"nthread": 1, "eta": 0.2, "gamma": 1.0, "lambda": 2.0, "alpha": 3.0}


def test_the_old_name_of_squared_error_is_translated():
    assert parse(objective="reg:linear").library()["objective"] == "reg:squarederror"


def test_metrics_are_those_asked_for_and_the_tuning_jobs():
    values = parse(eval_metric="rmse,error@0.7,rmse", _tuning_objective_metric="validation:mae")
    assert values.metrics == ("rmse", "error@0.7", "mae")
    assert parse(eval_metric='["rmse", "mae"]').metrics == ("rmse", "mae")


def test_early_stopping_goes_by_the_tuning_jobs_metric_else_the_last():
    assert parse(eval_metric="rmse,mae").decisive_metric == "mae"
    assert parse(eval_metric="rmse,mae", _tuning_objective_metric="validation:rmse").decisive_metric == "rmse"
    assert parse().decisive_metric is None


def test_a_tuple_of_one_element_is_taken_as_python_writes_it():
    values = parse(monotone_constraints=repr((1,)), tree_method="hist")
    assert values.library()["monotone_constraints"] == "(1)"


def test_a_hyperparameter_may_be_given_twice_with_one_value():
    assert parse(eta="0.20", learning_rate=0.2).library()["eta"] == 0.2


@pytest.mark.parametrize("metric", ["error@1e-1", "error@.1", "error@0.10", "error@5E-1", "error@0.5", "error@-1e+0"])
def test_a_threshold_is_any_number_and_keeps_its_spelling(metric):
    """XGBoost prints them as error@0.1 and error; the value is by its own definition of error@t."""
    job = FakeJob()
    features, labels = rows()
    model = fit((features, labels), job=job, num_round=1, objective="binary:logistic", eval_metric=metric)
    above = model.boosters[0].predict(xgb.DMatrix(features)) > float(metric.partition("@")[2])
    (name, value), *rest = job.rounds[0][1]
    assert not rest
    assert name == f"train-{metric}"
    assert value == pytest.approx(np.mean(above != labels), abs=1e-6)


@pytest.mark.parametrize("metrics", ["error,error@0.5", "error@0.5,error", "error@0.1,error@1e-1", "map@3,map@3.0"])
def test_two_names_of_one_metric_are_one(metrics):
    job = FakeJob()
    given = {"objective": "binary:logistic", "eval_metric": metrics, "early_stopping_rounds": 2}
    fit(job=job, validation=rows(seed=1), **given)
    first = metrics.partition(",")[0]
    assert [name for name, _ in job.rounds[0][1]] == [f"train-{first}", f"validation-{first}"]


def test_a_tuning_job_finds_its_metric_where_eval_metric_names_it_otherwise():
    given = {"objective": "binary:logistic", "eval_metric": "error@0.5", "_tuning_objective_metric": "validation:error"}
    job = FakeJob()
    fit(job=job, validation=rows(seed=1), **given)
    assert [name for name, _ in job.rounds[0][1]] == ["train-error", "validation-error"]


@pytest.mark.parametrize(
    "given",
    [{"objective": "multi:softprob", "num_class": 2}, {"objective": "multi:softmax", "num_class": 2}]
    + [{"objective": "reg:logistic"}, {"objective": "reg:squarederror"}],
)
def test_a_tuning_job_may_watch_auc_where_xgboost_can_reckon_it(given):
    """As SageMaker's container does; the reference is its definition, by pairs of rows."""
    job = FakeJob()
    features, labels = rows()
    model = fit(
        (features, labels), (features[:200], labels[:200]), job, _tuning_objective_metric="validation:auc", **given
    )
    scores = model.boosters[0].predict(xgb.DMatrix(features[:200]), output_margin=True)
    scores = scores[:, 1] - scores[:, 0] if scores.ndim == 2 else scores
    yes, no = scores[labels[:200] == 1], scores[labels[:200] == 0]
    pairs = np.mean((yes[:, None] > no) + 0.5 * (yes[:, None] == no))
    assert dict(job.rounds[-1][1])["validation-auc"] == pytest.approx(pairs, abs=1e-5)


def test_interaction_constraints_count_from_0_as_trees_do():
    """Features 0 and 1 make the label together, and may not meet."""
    random = np.random.default_rng(0)
    features = random.normal(size=(500, 3)).astype(np.float32)
    labels = (features[:, 0] * features[:, 1] > 0).astype(np.float32)
    for groups, may_meet in (("[[0, 1], [2]]", True), ("[[0], [1], [2]]", False), ("[[0], [1, 2]]", False)):
        model = fit((features, labels), tree_method="hist", interaction_constraints=groups, max_depth=3)
        dumped = [json.loads(tree) for tree in model.boosters[0].get_dump(dump_format="json")]
        assert any({"f0", "f1"} <= path for tree in dumped for path in paths(tree)) == may_meet


def paths(node: dict, above: frozenset = frozenset()) -> list[frozenset]:
    """The features on the way to each leaf."""
    if "leaf" in node:
        return [above]
    return [path for child in node["children"] for path in paths(child, above | {node["split"]})]


def test_labels_that_tweedie_cannot_start_from_are_refused():
    """XGBoost makes a model that predicts NaN."""
    nothing = (rows()[0], np.zeros(300, np.float32))
    with pytest.raises(TrainingDataError, match="no label above 0"):
        fit(nothing, objective="reg:tweedie")
    model = fit(nothing, objective="reg:tweedie", base_score=0.5)
    assert np.isfinite(model.predict(Batch(nothing[0]))["score"]).all()


@pytest.mark.parametrize("text", ["[(0, 1), (2,)]", "((0, 1), (2,))", "[[0,1],[2,],]"])
def test_interaction_constraints_may_be_what_python_writes(text):
    """SageMaker's open container reads them as Python's lists and tuples."""
    given = parse(tree_method="hist", interaction_constraints=text).library()
    assert json.loads(given["interaction_constraints"]) == [[0, 1], [2]]


def test_of_two_names_of_a_hyperparameter_the_last_is_taken():
    """So does SageMaker's open container; a notebook on pipelines in local mode states both."""
    values = parse(learning_rate=0.01, eta=0.2)
    assert values.eta == 0.2
    assert values.overruled == (
        "Hyperparameter 'eta' is given twice, under two of its names, with two values: the last, 0.2, is taken, and "
        "0.01 is not",
    )
    assert parse(eta=0.2, learning_rate=0.3).eta == 0.3
    assert not parse(eta=0.2, learning_rate="2e-1").overruled


def test_interaction_constraints_beyond_the_features_are_told():
    job = FakeJob()
    fit(job=job, tree_method="hist", interaction_constraints="[[1,2],[3,4,5]]")
    assert any("names feature 5, and rows have 5" in warning for warning in job.warnings)


@pytest.mark.parametrize(
    ("given", "least"),
    [
        ({"num_parallel_tree": 10**9}, 10**12),
        ({"num_round": 10**9}, 10**12),
        ({"num_round": 10**9, "early_stopping_rounds": 3}, 0),
        ({"objective": "multi:softprob", "num_class": 10**9}, 10**12),
        ({"objective": "multi:softprob", "num_class": 10**9, "booster": "gblinear"}, 10**9),
        ({"_kfold": 10**9}, 10**12),
        ({"_kfold": 2, "_num_cv_round": 10**9}, 10**12),
        ({"_kfold": 10**5, "_num_cv_round": 10**5, "booster": "gblinear"}, 10**11),
        ({"_num_cv_round": 10**9}, 0),
    ],
)
def test_memory_is_reckoned_from_the_trees_that_are_asked_for(given, least):
    reckoned = XGBoost.memory(parse(**given))
    assert reckoned >= least if least else reckoned < 10**6
    assert XGBoost.memory(parse()) < 10**6


def test_what_takes_too_much_memory_is_named_as_the_job_states_it():
    with pytest.raises(HyperparameterError, match=r"describe \(_kfold=1000000, num_round=5000\) needs at least"):
        check_memory(XGBoost, parse(_kfold=10**6, num_round=5000), 1 << 30)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"objective": "multi:softmax"}, "'num_class' is required where objective is multi:softmax"),
        ({"num_class": 3}, "'num_class' is only for multi:softmax and multi:softprob"),
        ({"objective": "aft_loss_distribution"}, "use survival:aft"),
        ({"tree_method": "gpu_hist"}, "use hist"),
        ({"tree_method": "exact", "max_depth": 0}, "needs a limit"),
        ({"tree_method": "exact", "sampling_method": "gradient_based", "subsample": 0.5}, "'sampling_method'"),
        ({"updater": "grow_colmaker", "max_depth": 0}, "'max_depth'"),
        ({"updater": "grow_colmaker", "sampling_method": "gradient_based", "subsample": 0.5}, "'sampling_method'"),
        ({"process_type": "update", "updater": "refresh", "booster": "dart"}, "update needs booster gbtree"),
        ({"eval_metric": "mphe", "objective": "multi:softmax", "num_class": 3}, "one number a row"),
        ({"eval_metric": "cox-nloglik", "objective": "multi:softprob", "num_class": 3}, "one number a row"),
        ({"max_bin": 1}, "at least 2"),
        ({"monotone_constraints": "(1,0)"}, "only be used with tree_method exact or hist"),
        ({"monotone_constraints": "(1,0)", "tree_method": "approx"}, "only be used with tree_method exact or hist"),
        ({"monotone_constraints": "(2,0)", "tree_method": "hist"}, "'monotone_constraints'"),
        ({"interaction_constraints": "[[1,2]]"}, "only be used with tree_method exact, hist or approx"),
        ({"interaction_constraints": "[[-1,2]]", "tree_method": "hist"}, "feature numbers from 0"),
        ({"interaction_constraints": "__import__('os')", "tree_method": "hist"}, "feature numbers from 0"),
        ({"interaction_constraints": "[1,2]", "tree_method": "hist"}, "feature numbers from 0"),
        ({"updater": "grow_colmaker,grow_histmaker"}, "exactly one of"),
        ({"updater": "prune"}, "exactly one of"),
        ({"updater": "grow_skmaker"}, "XGBoost 3 has no grow_skmaker"),
        ({"updater": "shotgun"}, "no linear updater"),
        ({"updater": "refresh", "booster": "gblinear"}, "booster gblinear takes one of"),
        ({"process_type": "update"}, "refresh and prune only"),
        ({"process_type": "update", "updater": "grow_colmaker"}, "refresh and prune only"),
        ({"use_dask_gpu_training": "true"}, "needs GPUs"),
        ({"eval_metric": "auc"}, "'auc' can only be applied to binary: and rank: objectives"),
        ({"eval_metric": "aft-nloglik"}, "objective survival:aft"),
        ({"eval_metric": "mlogloss"}, "multi: objectives"),
        ({"eval_metric": "accuracy"}, "binary: and multi: objectives"),
        ({"eval_metric": "f1_binary", "objective": "multi:softmax", "num_class": 3}, "two classes"),
        ({"eval_metric": "r2", "objective": "multi:softmax", "num_class": 3}, "one number a row"),
        ({"_tuning_objective_metric": "validation:auc", "objective": "survival:cox"}, "'auc' can only be applied"),
        ({"eval_metric": "auc", "_tuning_objective_metric": "validation:auc"}, "'auc' can only be applied"),
        ({"eval_metric": "error@1e"}, "'eval_metric'"),
        ({"lambda_": "1e300"}, "'lambda': '1e300' is not a number of at least 0"),
        ({"gamma": "1e-300"}, "'gamma': '1e-300' is not a number of at least 0"),
        ({"subsample": "1e-45"}, "'subsample'"),
        ({"max_depth": 2**31}, "'max_depth'"),
        ({"nthread": 2**32}, "'nthread'"),
        ({"objective": "reg:tweedie", "tweedie_variance_power": 1.9999998}, "1 or 2 to six digits"),
        ({"objective": "reg:tweedie", "base_score": 0}, "0 has none"),
        ({"objective": "count:poisson", "base_score": 0}, "0 has none"),
        ({"objective": "binary:logistic", "base_score": 0}, "above 0 and below 1, and not from 0"),
        ({"objective": "reg:logistic", "base_score": 1}, "above 0 and below 1, and not from 1"),
        ({"objective": "binary:logistic", "base_score": 1.5}, "above 0 and below 1, and not from 1.5"),
        ({"objective": "reg:logistic", "base_score": 0.99999999999}, "above 0 and below 1, and not from 0.99999999999"),
        ({"tree_method": "exact", "colsample_bynode": 0.5}, "'colsample_bynode'"),
        ({"updater": "grow_colmaker,prune", "colsample_bynode": 0.5}, "'colsample_bynode'"),
        ({"eval_metric": "error@0.3", "objective": "multi:softmax", "num_class": 3}, "one number a row"),
        ({"eval_metric": "ndcg@3", "objective": "multi:softprob", "num_class": 3}, "one number a row"),
        ({"eval_metric": "ndcg@1e1"}, "'eval_metric'"),
        ({"monotone_constraints": "(1,,0)", "tree_method": "hist"}, "'monotone_constraints'"),
        ({"interaction_constraints": "[(1,2)", "tree_method": "hist"}, "feature numbers from 0"),
        ({"interaction_constraints": "[(0,1]]", "tree_method": "hist"}, "feature numbers from 0"),
        ({"interaction_constraints": "([0,1)]", "tree_method": "hist"}, "feature numbers from 0"),
        ({"interaction_constraints": "[,]", "tree_method": "hist"}, "feature numbers from 0"),
        ({"eval_metric": "auc@3"}, "'eval_metric'"),
        ({"eval_metric": "error@x"}, "'eval_metric'"),
        ({"eval_metric": "<function f>"}, "'eval_metric'"),
        ({"seed": 2**31}, "'seed'"),
        ({"prob_buffer_row": 0}, "'prob_buffer_row'"),
    ],
)
def test_a_broken_rule_is_named(given, text):
    with pytest.raises(HyperparameterError, match=re.escape(text)):
        parse(**given)


@pytest.mark.parametrize(
    "given",
    [
        {"tree_method": "exact", "sampling_method": "gradient_based"},
        {"tree_method": "exact", "updater": "grow_histmaker", "max_depth": 0, "max_leaves": 4, "colsample_bynode": 0.5},
        {"tree_method": "exact", "booster": "gblinear", "max_depth": 0, "colsample_bynode": 0.5},
    ],
)
def test_what_only_exact_trees_cannot_have_is_taken_where_none_are_grown(given):
    """``updater`` overrides ``tree_method``, which a linear booster has no use for; all rows are drawn in one way."""
    fit(**given)


def test_all_defaults_of_the_first_image_stated_train():
    """What AWS's samples for Kubernetes state, for xgboost:1: every default, in the form of that image."""
    sample = (
        "base_score=0.5 booster=gbtree csv_weights=0 dsplit=row grow_policy=depthwise lambda_bias=0.0 max_bin=256 "
        "max_leaves=0 normalize_type=tree objective=reg:linear one_drop=0 prob_buffer_row=1.0 process_type=default "
        "rate_drop=0.0 refresh_leaf=1 sample_type=uniform scale_pos_weight=1.0 silent=0 sketch_eps=0.03 skip_drop=0.0 "
        "tree_method=auto tweedie_variance_power=1.5 updater=grow_colmaker,prune"
    )
    fit(num_round=3, **dict(pair.split("=") for pair in sample.split()))


def test_hyperparameters_without_effect_are_accepted_with_a_warning():
    declared = hyperparameters.fields(XGBoost.hyperparameters)
    values = {
        "sketch_eps": "0.1",
        "dsplit": "col",
        "predictor": "gpu_predictor",
        "lambda_bias": "0.5",
        "deterministic_histogram": "false",
        "prob_buffer_row": "2",
        "single_precision_histogram": "true",
        "silent": "1",
    }
    assert sorted(values) == sorted(name for name, field in declared.items() if field.no_effect)
    job = FakeJob()
    fit(job=job, num_round=1, **values)
    assert [name for name in values if f"'{name}'" in "".join(job.warnings)] == list(values)


def test_what_the_library_does_not_use_is_told_through_the_job():
    fit(verbosity=0)  # that of one job only, not of those after it in the process
    job = FakeJob()
    fit(job=job, rate_drop=0.5)
    assert job.warnings == ['Parameters: { "rate_drop" } are not used.']


def test_gpu_hist_is_hist_on_a_gpu_where_xgboost_has_gpu_code(monkeypatch):
    monkeypatch.setattr(rules, "has_gpu_code", lambda: True)
    values = hyperparameters.parse(XGBoost.hyperparameters, {"num_round": "1", "tree_method": "gpu_hist"})
    given = values.library()
    assert (given["tree_method"], given["device"]) == ("hist", "cuda")
