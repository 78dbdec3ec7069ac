"""Whole jobs on several hosts: processes that run ``train``, each with its own /opt/ml, at loopback addresses."""

import functools
import io
import os
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from algorithms import registry
from recordio.batches import Batch
from tests.algorithms import samples
from tests.algorithms.test_hosts import corpus
from tests.forks import JOBS, NETWORKS
from tests.hosts.group import group as processes
from tests.hosts.group import leader_model
from tests.opt_ml import OptMl

pytestmark = pytest.mark.slow

THOROUGH = bool(os.environ.get("OBA_THOROUGH"))
group = functools.partial(processes, forks=JOBS)
networks = functools.partial(processes, forks=NETWORKS)
TYPE = "text/csv;label_size=0"
VALUES = {"feature_dim": 4, "num_components": 2, "mini_batch_size": 50}


def text(rows):
    return "\n".join(",".join(f"{value:.9g}" for value in row) for row in rows).encode()


@pytest.fixture
def rows():
    rng = np.random.default_rng(8)
    return (rng.standard_normal((401, 4)) * [5, 3, 1, 0.1] + 7).astype(np.float32)


@pytest.fixture
def one(tmp_path, rows):
    """The model of one host."""
    job = OptMl(tmp_path / "one").hyperparameters(VALUES).channel("train", text(rows), TYPE)
    outcome = job.train_in_fork("pca")
    assert outcome.code == 0, outcome.log
    return registry.find("pca").load(outcome.paths.model)


def assert_alike(paths, one):
    model = registry.find("pca").load(paths.model)
    np.testing.assert_allclose(model.s, one.s, rtol=1e-5)
    np.testing.assert_allclose(model.v, one.v, atol=1e-5)
    np.testing.assert_allclose(model.mean, one.mean, rtol=1e-5)


def test_replicated_data_and_the_lines_of_the_log(tmp_path, rows, one):
    with group(tmp_path, 2, 60, "pca", VALUES) as two:
        two.replicated("train", text(rows), TYPE).replicated("test", text(rows[:9]), TYPE)
        two.start()
        outcomes = two.outcomes()
    assert_alike(leader_model(outcomes), one)
    assert f"#quality_metric: host={two.names[0]}, test explained_variance_ratio <score>=" in outcomes[0].log
    assert "#quality_metric" not in outcomes[1].log  # tuning jobs read the leader's
    assert f"#progress_metric: host={two.names[1]}, completed 100.0 % of epochs" in outcomes[1].log
    assert {line["Dimensions"]["Host"] for line in outcomes[1].metrics()} == {two.names[1]}
    assert (outcomes[0].paths.output_data / "report.html").exists()
    assert list(outcomes[1].paths.output_data.iterdir()) == []


def test_files_spread_over_hosts_of_which_one_has_none(tmp_path, rows, one):
    """Whether checkpoints are kept or not: the files are a part of what the job is known by there."""
    with group(tmp_path, 3, 61, "pca", VALUES) as three:
        three.sharded("train", [{"a": text(rows[:100])}, {}, {"b": text(rows[100:200]), "c": text(rows[200:])}], TYPE)
        for host in three.hosts:
            host.paths.checkpoints.mkdir()
        three.start()
        assert_alike(leader_model(three.outcomes()), one)


def test_parquet_whose_columns_are_in_other_orders_on_other_hosts(tmp_path):
    """By places, labels of one host were features of the other."""
    x = np.random.default_rng(3).uniform(-1, 1, (600, 2)).astype(np.float32)
    columns = {"y": np.sign(x[:, 0]) + 100, "a": x[:, 0], "b": x[:, 1]}
    parts = []
    for order, part in (("yab", slice(0, 300)), ("bay", slice(300, 600))):
        file = io.BytesIO()
        pq.write_table(pa.table({name: columns[name][part] for name in order}), file)
        parts.append({f"{order}.parquet": file.getvalue()})
    with group(tmp_path, 2, 66, "xgboost", {"num_round": 5, "eta": 1, "max_depth": 2}) as two:
        two.sharded("train", parts, "application/x-parquet").start()
        model = registry.find("xgboost").load(leader_model(two.outcomes()).model)
    answers = model.predict(Batch(np.array([[0.5, -0.9], [-0.5, 0.9]], np.float32)))
    np.testing.assert_allclose(next(iter(answers.values())).ravel(), [101, 99], atol=0.1)


def test_a_channel_that_is_empty_on_all_hosts_is_the_error_that_it_is_on_one(tmp_path):
    alone = OptMl(tmp_path / "one").hyperparameters(VALUES).channel("train", {}, TYPE).train_in_fork("pca")
    with group(tmp_path, 2, 62, "pca", VALUES) as two:
        two.sharded("train", [{}, {}], TYPE)
        two.start()
        outcomes = two.outcomes()
    problem = re.search("Channel 'train' is empty: .* has no data files", alone.failure or "")
    assert problem
    for outcome in outcomes:
        assert outcome.code == 1
        assert "Channel 'train' is empty" in outcome.failure
        assert "has no data files" in outcome.failure


EAGERLY = """
import tensorflow
from algorithms.image_classification.architecture import Architecture
tensorflow.config.run_functions_eagerly(True)
Architecture.units = (1, 1, 1)
"""
"""A few steps take less than the compilation of a network, and of a shallow one even less."""


def test_image_classification_on_two_hosts_of_which_one_has_no_images(tmp_path):
    algorithm = registry.find("image-classification")
    files = samples.files(algorithm, algorithm.configurations[0])
    values = dict(algorithm.configurations[0].hyperparameters) | {"image_shape": "3,8,8", "kv_store": "dist_async"}
    with networks(tmp_path, 2, 67, "image-classification", values) as hosts:
        for name, (content_type, found) in files.items():
            hosts.sharded(name, [{}, found], content_type)
        hosts.start(before=EAGERLY)
        outcomes = hosts.outcomes(200)
    paths = leader_model(outcomes)
    algorithm.load(paths.model)
    assert [file.name for file in paths.model.iterdir() if file.suffix == ".params"] == [
        "image-classification-0001.params"
    ]
    assert "Epoch[0] Validation-accuracy=" in outcomes[0].log
    assert "Epoch[0] Train-accuracy=" in outcomes[0].log
    assert "Epoch[0] Validation-accuracy=" not in outcomes[1].log  # tuning jobs read the leader's
    assert f"Host {hosts.names[1]}: summed" in outcomes[1].log


def test_seq2seq_on_two_hosts_with_the_same_pairs(tmp_path):
    algorithm = registry.find("seq2seq")
    values = dict(algorithm.configurations[0].hyperparameters) | {"max_num_epochs": "1"}
    with networks(tmp_path, 2, 68, "seq2seq", values) as hosts:
        for name, (content_type, found) in samples.files(algorithm, algorithm.configurations[0]).items():
            hosts.replicated(name, found, content_type)
        hosts.start(before=EAGERLY)
        outcomes = hosts.outcomes(200)
    algorithm.load(leader_model(outcomes).model)
    assert "Checkpoint [1]\tValidation-perplexity=" in outcomes[0].log
    assert "Checkpoint [1]\tValidation-bleu=" in outcomes[0].log
    assert "Validation-perplexity=" not in outcomes[1].log
    assert f"#progress_metric: host={hosts.names[1]}, completed 100.0 % of epochs" in outcomes[1].log


def linear_rows():
    """Lines of a label and three features."""
    rng = np.random.default_rng(3)
    features = rng.standard_normal((600, 3)) * [1, 5, 30] + 2
    chance = 1 / (1 + np.exp(-(features[:, 0] - features[:, 1] / 5)))
    return np.c_[(rng.random(600) < chance).astype(float), features].astype(np.float32)


def test_linear_learner_whose_hosts_have_unequal_parts_of_the_rows(tmp_path):
    rows, values = linear_rows(), {"predictor_type": "binary_classifier"}
    job = OptMl(tmp_path / "one").hyperparameters(values).channel("train", text(rows), "text/csv")
    alone = job.channel("test", text(rows[:50]), "text/csv").train_in_fork("linear-learner")
    with group(tmp_path, 3, 75, "linear-learner", values) as three:
        three.sharded("train", [{}, {"a": text(rows[:60])}, {"b": text(rows[60:])}], "text/csv")
        three.replicated("test", text(rows[:50]), "text/csv").start()
        outcomes = three.outcomes()
    one, found = (registry.find("linear-learner").load(paths.model) for paths in (alone.paths, leader_model(outcomes)))
    np.testing.assert_allclose(found.weight, one.weight, rtol=1e-4)
    np.testing.assert_allclose(found.bias, one.bias, rtol=1e-4, atol=1e-6)
    scores = re.compile(r"#quality_metric: host=\S+ ((?:epoch=\d+, )?\S+ \S+) <\w+>=(\S+)")
    several, expected = (dict(scores.findall(log)) for log in (outcomes[0].log, alone.log))
    assert several.keys() == expected.keys()
    objective = "binary_classification_cross_entropy_objective"
    of_model = (objective, "binary_classification_accuracy", "binary_f_1.000", "precision", "recall", "roc_auc_score")
    of_epochs = {f"epoch=0, {dataset} {objective}" for dataset in ("train", "validation")}
    assert {f"{dataset} {name}" for dataset in ("train", "test") for name in of_model} | of_epochs < expected.keys()
    for name, value in several.items():
        assert float(value) == pytest.approx(float(expected[name]), rel=1e-4), name
    assert "#quality_metric" not in outcomes[1].log
    assert "the minimum on all 600 rows is found" in outcomes[0].log


def test_a_label_that_is_wrong_on_one_host_ends_all_with_that_reason(tmp_path):
    rows = linear_rows()
    rows[500, 0] = 7
    with group(tmp_path, 2, 76, "linear-learner", {"predictor_type": "binary_classifier"}) as two:
        two.sharded("train", [{"a": text(rows[:300])}, {"b": text(rows[300:])}], "text/csv").start()
        outcomes = two.outcomes()
    for outcome in outcomes:
        assert outcome.code == 1
        assert "must be whole numbers from 0 to 1, but one is 7" in outcome.failure
        assert two.names[1] in outcome.failure


@pytest.mark.skipif(not THOROUGH, reason="networks are for OBA_THOROUGH=1")
@pytest.mark.parametrize("norm", ["false", "true"])
def test_ntm_on_two_hosts_of_which_one_has_few_documents(tmp_path, norm):
    counts = corpus(1500)
    values = {"num_topics": 3, "feature_dim": 30, "mini_batch_size": 64, "epochs": 4, "batch_norm": norm}
    losses = []
    for size, parts in ((1, [counts]), (2, [counts[:100], counts[100:]])):
        job = {**values, "mini_batch_size": 128 // size, "optimizer": "adam", "learning_rate": 0.01}
        with networks(tmp_path / str(size), size, 64 + size, "ntm", job) as hosts:
            hosts.sharded("train", [{"a": text(part)} for part in parts], TYPE)
            hosts.replicated("validation", text(counts[:200]), TYPE)
            hosts.start()
            outcomes = hosts.outcomes(200)
        registry.find("ntm").load(leader_model(outcomes).model)
        losses.append(float(re.findall("validation total_loss <loss>=(.*)", outcomes[0].log)[-1]))
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


@pytest.mark.skipif(not THOROUGH, reason="so many processes are for OBA_THOROUGH=1")
@pytest.mark.parametrize("size", [5, 12])
def test_many_hosts(tmp_path, rows, one, size):
    with group(tmp_path, size, 63, "pca", VALUES) as many:
        many.replicated("train", text(rows), TYPE)
        many.start()
        assert_alike(leader_model(many.outcomes()), one)
