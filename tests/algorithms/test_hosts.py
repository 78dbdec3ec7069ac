"""n hosts learn what one host learns from the same rows. Here hosts are threads; ``tests/hosts`` has real ones."""

import numpy as np
import pytest
import scipy.sparse as sp

from algorithms import hyperparameters, registry
from algorithms.common import topics
from algorithms.errors import TrainingDataError
from tests.algorithms.fakes import FakeJob, MemoryStream, on_hosts

SIZES = [2, 3, 12]


def dealt(rows, size, rank):
    """Every size-th row."""
    return rows[rank::size]


def lopsided(rows, size, rank):
    """The first of several hosts has nothing."""
    bounds = [0, *np.linspace(0, rows.shape[0], size).astype(int)] if size > 1 else [0, rows.shape[0]]
    return rows[bounds[rank] : bounds[rank + 1]]


def trained(name, values, size, *, train, test=None, part=dealt):
    """(model, job) of each host."""
    algorithm = registry.find(name)
    typed = hyperparameters.parse(algorithm.hyperparameters, {key: str(value) for key, value in values.items()})

    def fit(hosts):
        def stream(rows):
            mine = part(rows, size, hosts.rank)
            return MemoryStream(mine) if mine.shape[0] else MemoryStream([])

        channels = {"train": stream(train)} | ({} if test is None else {"test": stream(test)})
        job = FakeJob(hosts=hosts)
        return algorithm.fit(typed, channels, job), job

    return on_hosts(size, fit)


def low_rank(rng, rows, width, offset=0.0):
    scales = 3.0 ** -np.arange(8)
    directions = np.linalg.qr(rng.standard_normal((width, 8)))[0]
    noise = 1e-3 * rng.standard_normal((rows, width))
    return (10 * rng.standard_normal((rows, 8)) * scales @ directions.T + noise + offset).astype(np.float32)


PCA_JOBS = {
    "double": (500, 10, {}),
    "single": (900, 300, {}),
    "large-mean": (900, 300, {"offset": 1000.0}),
    "fewer-rows-than-features": (100, 300, {}),
    "not-centred": (500, 10, {"subtract_mean": "false", "offset": 5.0}),
    "sketch": (700, 1500, {"algorithm_mode": "randomized", "extra_components": 20}),
    "sketch-not-centred": (700, 1500, {"algorithm_mode": "randomized", "subtract_mean": "false"}),
    "sparse": (500, 300, {"sparse": True}),
    "sparse-sketch": (500, 1500, {"sparse": True, "algorithm_mode": "randomized"}),
}


@pytest.mark.parametrize("part", [dealt, lopsided])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("job", PCA_JOBS)
def test_pca_on_n_hosts_is_pca_on_one(job, size, part):
    rows, width, values = PCA_JOBS[job]
    values = dict(values)
    train = low_rank(np.random.default_rng(5), rows, width, values.pop("offset", 0.0))
    if values.pop("sparse", False):
        train = sp.csr_array(np.where(np.abs(train) > 1, train, 0))
    values |= {"feature_dim": width, "num_components": 3, "mini_batch_size": 50}
    ((one, job_of_one),) = trained("pca", values, 1, train=train, test=train[:50])
    several = trained("pca", values, size, train=train, test=train[:50], part=part)
    close = 2e-3 if "algorithm_mode" in values else 2e-5
    for model, job_of_several in several:
        np.testing.assert_allclose(model.s, one.s, rtol=close)
        np.testing.assert_allclose(np.abs(np.sum(model.v * one.v, axis=0)), 1, rtol=close)
        if one.mean is not None:
            np.testing.assert_allclose(model.mean, one.mean, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(model.v, several[0][0].v)
        explained = job_of_several.last("test", "explained_variance_ratio")
        assert explained == pytest.approx(job_of_one.last("test", "explained_variance_ratio"), rel=1e-4)


def test_pca_of_fewer_rows_than_components_on_all_hosts_together():
    values = {"feature_dim": 4, "num_components": 3, "mini_batch_size": 10}
    with pytest.raises(TrainingDataError, match="num_components is 3, but channel 'train' has only 2 rows"):
        trained("pca", values, 3, train=np.ones((2, 4), np.float32))
    with pytest.raises(TrainingDataError, match="channel 'train' is empty"):
        trained("pca", values, 3, train=np.ones((0, 4), np.float32))


def msd(centers, rows):
    return np.min(np.square(rows[:, None] - centers[None]).sum(axis=2), axis=1).mean()


@pytest.mark.parametrize("part", [dealt, lopsided])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("values", [{}, {"epochs": 2, "init_method": "kmeans++"}], ids=["one-pass", "two-passes"])
def test_kmeans_on_n_hosts_clusters_as_well_as_on_one(values, size, part):
    rng = np.random.default_rng(2)
    middles = rng.uniform(-10, 10, (12, 5))
    train = (middles[rng.integers(12, size=6000)] + rng.standard_normal((6000, 5))).astype(np.float32)
    values = {"k": 12, "feature_dim": 5, "mini_batch_size": 500, **values}
    ((one, _),) = trained("kmeans", values, 1, train=train)
    several = trained("kmeans", values, size, train=train, test=train, part=part)
    measured = msd(several[0][0].centers, train)
    assert measured == pytest.approx(msd(one.centers, train), rel=0.005)
    for model, job in several:
        np.testing.assert_array_equal(model.centers, several[0][0].centers)
        assert job.last("test", "msd") == pytest.approx(measured, rel=1e-4)


def test_kmeans_where_the_samples_of_all_hosts_are_more_than_one_holds(monkeypatch):
    monkeypatch.setattr("algorithms.kmeans.fit.sample_rows", lambda k, dim: 400)
    rng = np.random.default_rng(3)
    middles = rng.uniform(-10, 10, (5, 3))
    train = (middles[rng.integers(5, size=4000)] + rng.standard_normal((4000, 3))).astype(np.float32)
    values = {"k": 5, "feature_dim": 3, "mini_batch_size": 100, "half_life_time_size": 2000}
    ((one, _),) = trained("kmeans", values, 1, train=train)
    model, job = trained("kmeans", values, 3, train=train)[0]
    assert msd(model.centers, train) == pytest.approx(msd(one.centers, train), rel=0.02)
    assert job.last("train", "msd") == pytest.approx(msd(model.centers, train), rel=0.1)


def test_kmeans_of_fewer_rows_than_clusters_on_all_hosts_together():
    with pytest.raises(TrainingDataError, match="k is 4, but channel 'train' has only 3 rows"):
        trained("kmeans", {"k": 4, "feature_dim": 2}, 2, train=np.eye(3, 2, dtype=np.float32))


def corpus(documents=600, vocabulary=30, topics=3):
    """Documents of a few words each from topics of neighbouring words."""
    rng = np.random.default_rng(4)
    beta = np.full((topics, vocabulary), 0.01)
    for topic in range(topics):
        beta[topic, topic * vocabulary // topics : (topic + 1) * vocabulary // topics] = 1
    mixtures = rng.dirichlet(np.full(topics, 0.2), documents)
    chances = mixtures @ (beta / beta.sum(axis=1, keepdims=True))
    return np.stack([rng.multinomial(40, row / row.sum()) for row in chances]).astype(np.float32)


@pytest.mark.parametrize("part", [dealt, lopsided])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("wanted", [3, 30], ids=["few-topics", "as-many-topics-as-words"])
def test_lda_on_n_hosts_is_lda_on_one(size, part, wanted, tmp_path):
    counts = corpus()
    values = {"num_topics": wanted, "feature_dim": 30, "mini_batch_size": 50}
    if wanted == 30 and part is lopsided:
        pytest.skip("of topics that the moments do not tell, documents are drawn by their order")
    ((one, job_of_one),) = trained("lda", values, 1, train=counts, test=counts[:100])
    several = trained("lda", values, size, train=counts, test=counts[:100], part=part)
    for model, job in several:
        np.testing.assert_array_equal(model.beta, several[0][0].beta)
        np.testing.assert_allclose(model.alpha, one.alpha, rtol=2e-3)
        np.testing.assert_allclose(model.beta, one.beta, atol=2e-4)
        assert job.last("test", "pwll") == pytest.approx(job_of_one.last("test", "pwll"), rel=1e-4)


def test_ldas_report_is_of_the_documents_of_all_hosts(tmp_path):
    counts = corpus()
    beta = np.random.default_rng(1).dirichlet(np.ones(30), 3)

    def report(hosts):
        mine = sp.csr_array(counts[hosts.rank :: hosts.size])
        described = topics.describe(beta, beta.sum(axis=1), mine, hosts=hosts)
        if hosts.rank == 0:
            (folder := tmp_path / str(hosts.size)).mkdir()
            topics.write_report(folder, described)

    for size in (1, 3):
        on_hosts(size, report)
    assert (tmp_path / "1" / topics.REPORT).read_text() == (tmp_path / "3" / topics.REPORT).read_text()


def test_lda_without_documents_on_any_host():
    values = {"num_topics": 2, "feature_dim": 4, "mini_batch_size": 10}
    with pytest.raises(TrainingDataError, match="channel 'train' is empty"):
        trained("lda", values, 3, train=np.ones((0, 4), np.float32))


def recommendations(rows=900, width=40):
    """Sparse rows of a user and an item each, and what the one thinks of the other."""
    rng = np.random.default_rng(6)
    users, items = rng.integers(width // 2, size=rows), rng.integers(width // 2, size=rows)
    tastes = rng.standard_normal((2, width // 2, 2))
    features = np.zeros((rows, width), np.float32)
    features[np.arange(rows), users] = features[np.arange(rows), width // 2 + items] = 1
    return features, (np.einsum("nk,nk->n", tastes[0][users], tastes[1][items]) + 1).astype(np.float32)


@pytest.mark.parametrize("kind", ["sparse", "dense", "binary"])
@pytest.mark.parametrize("part", [dealt, lopsided])
@pytest.mark.parametrize("size", SIZES)
def test_factorization_machines_on_n_hosts_are_those_of_one(size, part, kind, monkeypatch):
    features, labels = recommendations()
    values = {"feature_dim": 40, "num_factors": 4, "predictor_type": "regressor", "epochs": 4}
    if kind == "binary":
        labels, values["predictor_type"] = (labels > 1).astype(np.float32), "binary_classifier"
    rows = features if kind == "dense" else sp.csr_array(features)
    algorithm = registry.find("factorization-machines")

    def train(size, batch, **more):
        given = {**values, "mini_batch_size": batch, **more}
        typed = hyperparameters.parse(algorithm.hyperparameters, {name: str(value) for name, value in given.items()})

        def fit(hosts):
            mine = part(np.arange(len(labels)), size, hosts.rank)
            streams = {
                name: MemoryStream(rows[mine], labels[mine]) if len(mine) else MemoryStream([])
                for name in ("train", "test")
            }
            job = FakeJob(hosts=hosts)
            return algorithm.fit(typed, streams, job), job

        return on_hosts(size, fit)

    ((one, job_of_one),) = train(1, 36)
    several = train(size, 36 // size)
    metric = "rmse" if kind != "binary" else "binary_classification_cross_entropy"
    for model, job in several:
        np.testing.assert_array_equal(model.factors, several[0][0].factors)
        if part is dealt:  # the rows of each step are those of one host
            np.testing.assert_allclose(model.factors, one.factors, rtol=1e-3, atol=2e-5)
            np.testing.assert_allclose(model.linear, one.linear, rtol=1e-3, atol=2e-5)
            assert job.last("test", metric) == pytest.approx(job_of_one.last("test", metric), rel=1e-4)
            assert len(job.events) == len(job_of_one.events)
    if size == 2 and part is lopsided:  # the number of passes is left open, and features are measured beforehand
        for bound, value in (("PASSES", 10), ("SMALL_STEPS", 0)):
            monkeypatch.setattr(f"algorithms.factorization_machines.schedule.{bound}", value)
        values.pop("epochs")
        ((one, job_of_one),), several = train(1, 36), train(2, 36)
        assert several[0][1].last("test", metric) == pytest.approx(job_of_one.last("test", metric), rel=0.02)
