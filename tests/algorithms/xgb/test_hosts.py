"""XGBoost on several hosts: its own distributed training, on the rows of each, and scores of the rows of all."""

import numpy as np
import pytest
import xgboost as xgb
from sklearn import metrics

from algorithms.errors import ChannelError, HyperparameterError, TrainingDataError
from algorithms.xgb import XGBoost
from recordio.batches import Batch
from tests.algorithms.fakes import FakeJob, MemoryStream, on_engine
from tests.algorithms.xgb.jobs import dumped, parse, rows

pytestmark = pytest.mark.filterwarnings("ignore:.*Empty dataset at worker")


def trained(size, train, validation=None, groups=None, checkpoints=None, stop_after=None, **given):
    """(model, job) of each host, each with every size-th row; with ``groups`` every size-th query."""

    def stream(data, rank):
        features, labels = data
        mine = np.arange(len(labels)) % size == rank if groups is None else groups % size == rank
        if not mine.any():
            return MemoryStream([])
        return MemoryStream([Batch(features[mine], labels[mine], None, None if groups is None else groups[mine])])

    def fit(hosts):
        job = FakeJob(hosts=hosts, checkpoint_directory=checkpoints)
        job.stop_after = stop_after if hosts.rank == size - 1 else None
        channels = {"train": stream(train, hosts.rank)}
        if validation is not None:
            channels["validation"] = stream(validation, hosts.rank)
        return XGBoost.fit(parse(**given), channels, job), job

    return on_engine(size, fit)


def library_alone(size, train, parameters, rounds=5):
    """What ``xgboost.train`` makes of the same rows on as many hosts."""
    features, labels = train

    def fit(hosts):
        matrix = xgb.DMatrix(features[hosts.rank :: size], label=labels[hosts.rank :: size])
        return dumped(xgb.train({"nthread": 1, **parameters}, matrix, rounds))

    return on_engine(size, fit)


@pytest.mark.parametrize("given", [{}, {"tree_method": "approx"}, {"objective": "binary:logistic", "max_depth": 3}])
def test_the_model_is_that_of_the_library(given):
    expected = library_alone(3, rows(), given)
    found = [dumped(model.boosters[0]) for model, _ in trained(3, rows(), **given)]
    assert found == expected
    assert len(set(found)) == 1


def test_scores_are_of_the_rows_of_all_hosts():
    names = "logloss,error,accuracy,balanced_accuracy,f1,precision,recall,mse,r2"
    validation = rows(101, seed=5)
    several = trained(3, rows(), validation, objective="binary:logistic", eval_metric=names)
    labels = validation[1]
    chances = several[0][0].predict(Batch(validation[0]))["score"]
    guesses = chances > 0.5
    expected = {
        "logloss": metrics.log_loss(labels, chances),
        "error": 1 - metrics.accuracy_score(labels, guesses),
        "accuracy": metrics.accuracy_score(labels, guesses),
        "balanced_accuracy": metrics.balanced_accuracy_score(labels, guesses),
        "f1": metrics.f1_score(labels, guesses, average="macro"),
        "precision": metrics.precision_score(labels, guesses),
        "recall": metrics.recall_score(labels, guesses),
        "mse": metrics.mean_squared_error(labels, chances),
        "r2": metrics.r2_score(labels, chances),
    }
    for _, job in several:
        assert job.rounds == several[0][1].rounds
        scores = dict(job.rounds[-1][1])
        for name, value in expected.items():
            assert scores[f"validation-{name}"] == pytest.approx(value, abs=2e-5), name


def test_all_stop_early_at_the_same_round_and_when_one_is_asked_to():
    early = trained(2, rows(), rows(60, seed=5), num_round=100, early_stopping_rounds=3)
    assert len({len(job.rounds) for _, job in early}) == 1
    assert len(early[0][1].rounds) < 100
    asked = trained(2, rows(), num_round=100, stop_after=5, save_model_on_termination="true")
    assert [len(job.rounds) for _, job in asked] == [5, 5]


def test_a_host_without_rows_and_ranked_queries():
    features, labels = rows(200)
    several = trained(5, (features[:3], labels[:3]), rows(2), num_round=2)
    assert len({dumped(model.boosters[0]) for model, _ in several}) == 1
    queries = np.repeat(np.arange(4), 50)
    ranked = trained(5, (features, labels), groups=queries, objective="rank:pairwise")
    assert len({dumped(model.boosters[0]) for model, _ in ranked}) == 1
    assert ranked[0][0].boosters[0].num_features() == 5


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"updater": "grow_colmaker"}, "'updater': grow_colmaker trains on one host"),
        ({"booster": "gblinear"}, "'booster': gblinear trains on one host; use gbtree or dart"),
        ({"kfold": 3}, "'_kfold': cross-validation trains on one host"),
    ],
)
def test_what_one_host_alone_can_train(given, problem):
    with pytest.raises(HyperparameterError, match=f"{problem}.*, or set the instance count to 1"):
        trained(2, rows(), **given)


def test_exact_trees_become_approximate_ones_on_several_hosts():
    exact, approximate = (trained(2, rows(), tree_method=method, num_round=3) for method in ("exact", "approx"))
    assert {dumped(model.boosters[0]) for model, _ in (*exact, *approximate)} == {dumped(approximate[0][0].boosters[0])}


def test_errors_of_the_data_are_those_of_one_host():
    nothing = np.zeros((0, 5), np.float32), np.zeros(0, np.float32)
    with pytest.raises(ChannelError, match="Channel 'train' has no rows"):
        trained(2, nothing)
    features, labels = rows()
    with pytest.raises(TrainingDataError, match="has no label above 0"):
        trained(2, (features, 0 * labels), objective="reg:tweedie")
    labels[1::2] = 0  # all rows of one host
    labels[0] = 1
    assert trained(2, (features, labels), objective="reg:tweedie")


def test_the_leaders_checkpoint_is_that_of_all(tmp_path, monkeypatch):
    monkeypatch.setattr("algorithms.xgb.checkpoints._SHARE_OF_TIME", float("inf"))  # each round's, on any machine
    trained(2, rows(), checkpoints=tmp_path, num_round=3)
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"xgboost-checkpoint.{number}" for number in range(3)]
    resumed = trained(2, rows(), checkpoints=tmp_path, num_round=6)
    undisturbed = trained(2, rows(), num_round=6)
    assert {dumped(model.boosters[0]) for model, _ in resumed} == {dumped(undisturbed[0][0].boosters[0])}
    assert [len(job.rounds) for _, job in resumed] == [3, 3]
