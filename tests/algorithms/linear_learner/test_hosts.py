"""n hosts learn what one host learns from the same rows, however these are spread over them. Hosts are threads here."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from algorithms.common.copies import row_keys
from algorithms.errors import TrainingDataError
from algorithms.events import Measured
from algorithms.hyperparameters import parse
from algorithms.linear_learner import LinearLearner, LinearLearnerHyperparameters
from recordio.batches import Batch
from tests.algorithms.fakes import FakeJob, MemoryStream, on_hosts

BINARY, MULTICLASS = {"predictor_type": "binary_classifier"}, {"predictor_type": "multiclass_classifier"}
TARGET = {**BINARY, "binary_classifier_model_selection_criteria": "precision_at_target_recall", "target_recall": 0.9}


def dealt(rows: int, size: int, rank: int) -> np.ndarray:
    """The numbers of a host's rows: every size-th."""
    return np.arange(rank, rows, size)


def lopsided(rows: int, size: int, rank: int) -> np.ndarray:
    """The first of several hosts has nothing, and the second few."""
    bounds = [0, 0, *np.linspace(rows // 10, rows, size - 1).astype(int)] if size > 1 else [0, rows]
    return np.arange(bounds[rank], bounds[rank + 1])


def table(rows: int, width: int = 6, classes: int | None = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of unequal scales, with labels; ``classes`` None for numbers. There are pairs of equal rows."""
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(rows, width)) * 3.0 ** (np.arange(width) % 6) + np.arange(width)).astype(np.float32)
    scores = (x - x.mean(axis=0)) / x.std(axis=0) @ rng.normal(size=(width, classes or 1))
    if classes is None:
        y = 10 * scores[:, 0] + rng.normal(size=rows) + 50
    else:
        y = np.argmax(scores + rng.gumbel(size=scores.shape), axis=1)
    x[1::9], y[1::9] = x[: len(x[1::9])], y[: len(y[1::9])]
    return x, y.astype(np.float32)


def text(rows: int, words: int, seed: int = 0) -> tuple[sp.csr_array, np.ndarray]:
    """Sparse counts of words, some of them rare, of two kinds of texts."""
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=rows)
    common = rng.dirichlet(np.full(words, 0.3), 2)
    chances = np.stack([common[0], 0.7 * common[0] + 0.3 * common[1]])
    x = np.stack([rng.multinomial(30, chances[label]) for label in y])
    return sp.csr_array(x.astype(np.float32)), y.astype(np.float32)


def train(size: int, part, values, data, **channels):
    """(model, job) of each host."""
    hp = parse(LinearLearnerHyperparameters, {name: str(value) for name, value in values.items()})

    def fit(hosts):
        def stream(x, y):
            mine = part(len(y), size, hosts.rank)
            return MemoryStream(x[mine], y[mine]) if len(mine) else MemoryStream([])

        job = FakeJob(hosts=hosts)
        streams = {name: stream(*rows) for name, rows in {"train": data, **channels}.items()}
        return LinearLearner.fit(hp, streams, job), job

    return on_hosts(size, fit)


def scores_of(model, batch):
    """Scores of rows, (n, c). What is added to the scores of all classes changes nothing, and drifts in Adam."""
    scores = model.raw_scores(batch)
    return scores - scores.mean(axis=1, keepdims=True) if scores.shape[1] > 1 else scores


def assert_same(several, alone, data, *, close: float = 1e-4) -> None:
    """All hosts have the model, and have measured what one host has."""
    ((one, job_of_one),) = alone
    probed = Batch(data[0][:200])
    for model, job in several:
        np.testing.assert_array_equal(model.weight, several[0][0].weight)
        expected, spread = scores_of(one, probed), float(scores_of(one, probed).std())
        np.testing.assert_allclose(scores_of(model, probed), expected, atol=close * spread)
        assert model.threshold == pytest.approx(one.threshold, abs=close * spread)
        assert [message for message in job.messages if "Best" not in message] == [
            message for message in job_of_one.messages if "Best" not in message
        ]
        for event, other in zip(job.of(Measured), job_of_one.of(Measured), strict=True):
            assert event.step == other.step
            for score, expected in zip(event.scores, other.scores, strict=True):
                assert score.metric == expected.metric
                assert score.value == pytest.approx(expected.value, rel=20 * close, abs=0.004), score


EXACT = {
    "binary": (BINARY, table(1700)),
    "binary-folds": (BINARY, table(150)),
    "target-recall": (TARGET, table(1500)),
    "balanced-weights": ({**BINARY, "positive_example_weight_mult": "auto", "num_models": 3}, table(900)),
    "hinge": ({**BINARY, "loss": "hinge_loss", "wd": 0.01, "num_models": 2}, table(600)),
    "few-calibration-rows": ({**TARGET, "num_calibration_samples": 100}, table(1500)),
    "multiclass": ({**MULTICLASS, "num_classes": 4, "balance_multiclass_weights": "true"}, table(1100, 6, 4)),
    "many-classes": ({**MULTICLASS, "num_classes": 12}, table(90, 6, 12)),
    "regressor": ({"predictor_type": "regressor"}, table(1200, 6, None)),
    "regressor-few-rows": ({"predictor_type": "regressor"}, table(40, 6, None)),
    "regressor-huber": ({"predictor_type": "regressor", "loss": "huber_loss"}, table(400, 5, None)),
    "l1": ({"predictor_type": "regressor", "l1": 0.01, "num_models": 4}, table(500, 8, None)),
    "fewer-rows-than-features": (BINARY, table(80, 200)),
    "sparse": (BINARY, text(1200, 2000)),
    "sparse-fewer-rows-than-features": (BINARY, text(300, 1500)),
    "stated-sample": ({**BINARY, "num_point_for_scaler": 101}, table(1001)),
}


@pytest.mark.parametrize("job", EXACT)
def test_exact_training_is_that_of_one_host_whatever_the_hosts_rows(job):
    values, data = EXACT[job]
    alone = train(1, dealt, values, data, test=data)
    for size, part in ((2, dealt), (3, lopsided)):
        if part is lopsided and job in ("few-calibration-rows", "stated-sample"):
            continue  # the first rows of a channel are those of a channel that was dealt out
        assert_same(train(size, part, values, data, test=data), alone, data)


@pytest.mark.parametrize("job", ["binary", "target-recall", "multiclass", "l1", "sparse"])
def test_a_validation_channel_chooses_by_the_rows_of_all_hosts(job):
    values, data = EXACT[job]
    rows = len(data[1]) * 2 // 3
    parts = {"validation": (data[0][rows:], data[1][rows:])}
    data = data[0][:rows], data[1][:rows]
    alone = train(1, dealt, values, data, **parts)
    for size, part in ((2, dealt), (3, lopsided)):
        assert_same(train(size, part, values, data, **parts), alone, data)


STEPS = {
    "binary": ({**BINARY, "epochs": 3}, table(2000)),
    "target-recall": ({**TARGET, "epochs": 3, "positive_example_weight_mult": "auto"}, table(2000)),
    "multiclass": ({**MULTICLASS, "num_classes": 4, "epochs": 3, "num_models": 4}, table(2000, 6, 4)),
    "regressor": ({"predictor_type": "regressor", "epochs": 4, "optimizer": "rmsprop"}, table(2000, 6, None)),
    "sparse": ({**BINARY, "epochs": 2, "num_models": 4, "l1": 1e-5}, text(2000, 1500)),
}


@pytest.mark.parametrize("validated", [False, True])
@pytest.mark.parametrize("job", STEPS)
def test_a_step_of_n_hosts_is_a_step_of_one(job, validated, monkeypatch):
    monkeypatch.setattr("algorithms.linear_learner.path.PATH_MEMORY", 0)
    values, data = STEPS[job]
    channels = {"validation": (data[0][1600:], data[1][1600:])} if validated else {}
    alone = train(1, dealt, {**values, "mini_batch_size": 40}, data, **channels)
    for size in (2, 4):
        several = train(size, dealt, {**values, "mini_batch_size": 40 // size}, data, **channels)
        assert_same(several, alone, data, close=1e-3)
    # Of rows that are spread otherwise, all hosts still take the same steps.
    several = train(3, lopsided, {**values, "mini_batch_size": 13}, data, **channels)
    for model, job_of_host in several:
        np.testing.assert_array_equal(model.weight, several[0][0].weight)
        assert job_of_host.of(Measured) == several[0][1].of(Measured)


def test_automatic_steps_are_as_long_in_all_as_on_one_host(monkeypatch):
    monkeypatch.setattr("algorithms.linear_learner.path.PATH_MEMORY", 0)
    values, (x, y) = STEPS["binary"]
    data = x[:1984], y[:1984]  # a multiple of the 32 rows of a step
    alone = train(1, dealt, values, data)
    assert_same(train(2, dealt, values, data), alone, data)


def test_the_way_is_chosen_by_the_rows_of_all_hosts(monkeypatch):
    x, y = table(12_000)
    for memory, exact in ((x.nbytes + y.nbytes + 1, True), (x.nbytes, False)):
        monkeypatch.setattr("algorithms.linear_learner.path.PATH_MEMORY", memory)
        values = {"predictor_type": "binary_classifier", "epochs": 1, "num_models": 1}
        for size, part in ((1, dealt), (2, dealt), (3, lopsided)):
            for _, job in train(size, part, values, (x, y)):
                assert any("Training exactly" in message for message in job.messages) is exact


def test_what_is_wrong_on_one_host_ends_all():
    x, y = table(200)
    wrong = y.copy()
    wrong[3] = 3
    with pytest.raises(TrainingDataError, match="0 to 1, but one is 3"):
        train(2, dealt, BINARY, (x, wrong))
    with pytest.raises(TrainingDataError, match="channel is empty"):
        train(3, dealt, BINARY, (x[:0], y[:0]))
    with pytest.raises(TrainingDataError, match="'validation' has no rows"):
        train(2, dealt, BINARY, (x, y), validation=(x[:0], y[:0]))
    with pytest.raises(TrainingDataError, match="'test' has no rows"):
        train(2, dealt, BINARY, (x, y), test=(x[:0], y[:0]))

    def uneven(hosts):
        hp = parse(LinearLearnerHyperparameters, BINARY)
        stream = MemoryStream(x[:, : 6 - hosts.rank], y)
        return LinearLearner.fit(hp, {"train": stream}, FakeJob(hosts=hosts))

    with pytest.raises(TrainingDataError, match="rows of 5 features on this host, and of 6 on another"):
        on_hosts(2, uneven)


def test_one_host_with_dense_rows_and_one_with_sparse_ones():
    x, y = text(400, 300)
    alone = train(1, dealt, BINARY, (x, y))

    def fit(hosts):
        mine = dealt(400, 2, hosts.rank)
        rows = x[mine].toarray() if hosts.rank else x[mine]
        hp = parse(LinearLearnerHyperparameters, BINARY)
        job = FakeJob(hosts=hosts)
        return LinearLearner.fit(hp, {"train": MemoryStream(rows, y[mine])}, job), job

    assert_same(on_hosts(2, fit), alone, (x, y))


def test_keys_are_of_rows_alone():
    x, _ = text(300, 50)
    dense = x.toarray()
    dense[dense == 0] = -0.0
    order = np.random.default_rng(1).permutation(300)
    keys = row_keys(x, 5)
    np.testing.assert_array_equal(row_keys(dense, 5), keys)
    np.testing.assert_array_equal(row_keys(dense[order], 5), keys[order])
    assert len(np.unique(keys)) == len(np.unique(dense, axis=0))
    assert (row_keys(x, 6) != keys).any()
    assert np.mean(keys >> np.uint64(63)) == pytest.approx(0.5, abs=0.1)
