"""LDA against known topics, moments by enumeration, and scikit-learn's bound."""

from __future__ import annotations

import itertools
import json
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import linear_sum_assignment
from scipy.special import logsumexp
from sklearn.decomposition import LatentDirichletAllocation

from algorithms import hyperparameters, registry
from algorithms.checkpoints import Checkpoint, NoCheckpoints
from algorithms.common import mxnet_files, topics
from algorithms.errors import HyperparameterError, ModelError, PredictionError, TrainingDataError
from algorithms.figures import Sample
from algorithms.lda import LDA, belonging
from algorithms.lda.decomposition import decompose
from algorithms.lda.fit import Climb
from algorithms.lda.likelihood import Ascent
from algorithms.lda.model import TOPIC_MIXTURE, LDAModel
from algorithms.lda.moments import Moments
from recordio.batches import Batch
from tests.algorithms import samples
from tests.algorithms.fakes import FakeJob, MemoryStream


def bars(seed: int, side: int = 5, documents: int = 6000, length: int = 150):
    """Griffiths' and Steyvers' corpus: each topic is a row or a column of a square of words.

    Returns counts (D, V), the topics (K, V) and each document's mixture (D, K).
    """
    random = np.random.default_rng(seed)
    square = np.zeros((2 * side, side, side))
    for line in range(side):
        square[line, line, :] = square[side + line, :, line] = 1 / side
    beta = square.reshape(2 * side, -1)
    mixtures = random.dirichlet(np.full(len(beta), 1 / len(beta)), documents)
    lengths = random.poisson(length, documents)
    words = np.array([random.multinomial(n, theta @ beta) for n, theta in zip(lengths, mixtures, strict=True)])
    return words.astype(np.float32), beta, mixtures


def fit(counts, num_topics, job=None, test=None, **given):
    strings = {"num_topics": num_topics, "feature_dim": counts.shape[1], "mini_batch_size": len(counts) or 1, **given}
    values = hyperparameters.parse(LDA.hyperparameters, {name: str(value) for name, value in strings.items()})
    streams = {"train": MemoryStream(counts)} | ({} if test is None else {"test": MemoryStream(test)})
    return LDA.fit(values, streams, job or FakeJob())


def matched(truth, found):
    """The order of ``found`` that fits ``truth`` best, and the L1 distance of each row then."""
    distances = np.abs(truth[:, None] - found[None]).sum(axis=2)
    rows, order = linear_sum_assignment(distances)
    return order, distances[rows, order]


def test_the_memory_that_is_reckoned_is_what_a_few_wide_documents_take():
    width = 100_000
    columns = np.arange(100).reshape(20, 5) * (width // 100)
    counts = sp.csr_array((np.full(100, 9, np.float32), (np.repeat(np.arange(20), 5), columns.ravel())), (20, width))
    given = {"num_topics": "20", "feature_dim": str(width), "mini_batch_size": "20"}
    values = hyperparameters.parse(LDA.hyperparameters, given)
    tracemalloc.start()
    LDA.fit(values, {"train": MemoryStream(counts)}, FakeJob())
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken / 3 < LDA.memory(values) < taken  # some buffers are of one size however wide the rows are


@pytest.mark.parametrize("seed", range(5))
def test_known_topics_are_found_within_two_per_cent(seed):
    counts, beta, mixtures = bars(seed)
    model = fit(counts[:5400], 10, FakeJob(seed=seed))
    order, errors = matched(beta, model.beta)
    assert errors.max() < 0.02
    assert np.linalg.norm(beta - model.beta[order], 1) < 0.02  # as AWS's example measures it
    answers = model.predict(Batch(counts[5400:]))[TOPIC_MIXTURE][:, order]
    off = np.abs(answers - mixtures[5400:]).sum(axis=1)
    assert np.median(off) < 0.2 and (off > 0.5).mean() < 0.02


@pytest.mark.parametrize(("side", "documents", "alpha0"), [(3, 3000, 0.5), (7, 4000, 2.0)])
def test_known_topics_of_other_sizes(side, documents, alpha0):
    counts, beta, _ = bars(1, side, documents)
    assert matched(beta, fit(counts, 2 * side, alpha0=alpha0).beta)[1].max() < 0.04


@pytest.mark.parametrize(("length", "guess"), [(150, 0.1), (150, 10), (8, 0.2), (8, 1)])
def test_the_prior_is_fitted_from_other_guesses(length, guess):
    """The corpus has a prior of ten times 0.1. Short documents know less of it, and their topics are less exact."""
    counts, beta, _ = bars(3, length=length)
    model = fit(counts, 10, alpha0=guess)
    assert model.alpha.sum() == pytest.approx(1, abs=0.2)
    assert model.alpha.max() < 2 * model.alpha.min()
    assert matched(beta, model.beta)[1].max() < (0.02 if length > 100 else 0.1)


def test_the_moments_are_those_over_all_pairs_and_triples_of_words():
    random = np.random.default_rng(0)
    counts = random.poisson(0.8, (40, 4))
    counts = counts[counts.sum(axis=1) >= 3]
    pairs, triples, first = np.zeros((4, 4)), np.zeros((4, 4, 4)), np.zeros(4)
    for row in counts:
        document = np.repeat(np.arange(4), row)
        ordered = list(itertools.permutations(document, 3))
        for i, j, k in ordered:
            triples[i, j, k] += 1 / len(ordered) / len(counts)
            pairs[i, j] += 1 / len(ordered) / len(counts)
        first += row / row.sum() / len(counts)
    alpha0 = 0.7
    second = pairs - alpha0 / (alpha0 + 1) * np.outer(first, first)
    mixed = np.einsum("ij,k->ijk", pairs, first)
    third = triples - alpha0 / (alpha0 + 2) * (mixed + mixed.transpose(0, 2, 1) + mixed.transpose(2, 0, 1))
    third += 2 * alpha0**2 / ((alpha0 + 1) * (alpha0 + 2)) * np.einsum("i,j,k->ijk", first, first, first)

    moments = Moments(sp.csr_array(counts.astype(np.float32)), alpha0)
    np.testing.assert_allclose(moments.second(np.eye(4)), second, atol=1e-6)
    whitened = moments.whiten(4, random)
    whitener = np.linalg.pinv(whitened.unwhiten).T
    np.testing.assert_allclose(whitener.T @ second @ whitener, np.eye(whitener.shape[1]), atol=1e-5)
    np.testing.assert_allclose(
        whitened.tensor, np.einsum("ijk,ia,jb,kc->abc", third, whitener, whitener, whitener), atol=1e-3
    )


def test_an_orthogonal_tensor_is_taken_apart_exactly():
    random = np.random.default_rng(3)
    factors = np.linalg.qr(random.standard_normal((6, 6)))[0]
    weights = np.array([5.0, 4, 3, 2, 1, 0.5])
    tensor = np.einsum("r,ar,br,cr->abc", weights, factors, factors, factors)
    found = decompose(
        tensor, max_restarts=10, max_iterations=500, tolerance=1e-14, random=random, report=lambda _: None
    )
    order = np.argsort(-found.weights)
    np.testing.assert_allclose(found.weights[order], weights, rtol=1e-5)
    np.testing.assert_allclose(found.factors[:, order], factors, atol=1e-3)
    assert found.error < 1e-3


@pytest.mark.parametrize("rank", [3, 20])
def test_vocabularies_beyond_a_dense_square_are_whitened_by_products(rank):
    random = np.random.default_rng(0)
    counts = sp.csr_array(sp.random(200, 30, 0.3, random_state=0, data_rvs=lambda n: random.integers(1, 6, n)))
    moments = Moments(sp.csr_array(counts.astype(np.float32)), 1.0)
    values = np.sort(np.linalg.eigvalsh(moments.second(np.eye(30))))[::-1]
    unwhiten = moments.whiten(rank, random).unwhiten
    np.testing.assert_allclose((unwhiten**2).sum(axis=0), values[:rank][values[:rank] > 1e-6 * values[0]], rtol=1e-6)


def test_the_held_out_bound_is_as_good_as_that_of_scikit_learn():
    counts, _, _ = bars(0, documents=1500)
    job = FakeJob()
    fit(counts[:1200], 10, job, test=counts[1200:])
    peer = LatentDirichletAllocation(10, max_iter=30, learning_method="batch", random_state=0).fit(counts[:1200])
    assert job.last("test", "pwll") > -np.log(peer.perplexity(counts[1200:])) - 0.005


@pytest.mark.parametrize(
    ("documents", "length", "num_topics", "sparseness"), [(15, 5, 3, 1.0), (2, 50, 2, 0.5), (1, 50, 2, 0.5)]
)
def test_few_short_documents_tell_as_much_of_others_as_those_of_scikit_learn(documents, length, num_topics, sparseness):
    ratios = []
    for seed in range(4):
        random = np.random.default_rng(seed)
        beta = random.dirichlet(np.full(30, sparseness), num_topics)
        mixtures = random.dirichlet(np.full(num_topics, 0.5), documents + 200)
        counts = random.multinomial(length, mixtures @ beta).astype(np.float32)
        train, test = counts[:documents], counts[documents:]
        model = fit(train, num_topics, FakeJob(seed=seed))
        peer = LatentDirichletAllocation(num_topics, random_state=seed, max_iter=100).fit(train)
        topic_words = peer.components_ / peer.components_.sum(axis=1, keepdims=True)
        theirs = sampled_log_likelihood(test, np.full(num_topics, 1 / num_topics), topic_words)
        ratios.append(np.exp(theirs - sampled_log_likelihood(test, model.alpha.astype(np.float64), model.beta)))
    assert np.mean(ratios) < 1.1  # of perplexities; 1.2 to 2.5 where each topic was the words of a few documents


def sampled_log_likelihood(counts, alpha, beta):
    """Of a word of documents under a model, by mixtures that are drawn from its prior."""
    mixtures = np.random.default_rng(0).dirichlet(alpha, 3000)
    of_mixtures = counts @ np.log(np.maximum(mixtures @ beta, 1e-12)).T
    return float((logsumexp(of_mixtures, axis=1) - np.log(len(mixtures))).sum() / counts.sum())


def test_checkpoints_of_topics_without_smoothing_are_refused_with_what_to_do():
    found = Checkpoint("some sweeps", {"stage": "topics"}, {})
    with pytest.raises(ModelError, match="no smoothing of the topics: other code .* empty the folder of checkpoints"):
        Climb.resumed(sp.csr_array((1, 2)), 1, False, found, NoCheckpoints(), FakeJob())


def test_a_document_without_words_gets_the_prior():
    model = LDAModel(np.float32([0.75, 0.25]), np.float32([[0.5, 0.5, 0], [0, 0.5, 0.5]]))
    mixture = model.predict(Batch(np.float32([[0, 0, 0], [50, 0, 0]])))[TOPIC_MIXTURE]
    np.testing.assert_allclose(mixture[0], [0.75, 0.25])
    np.testing.assert_allclose(mixture[1], [50.75 / 51, 0.25 / 51], atol=1e-3)  # all words are the first topic's


def test_more_topics_than_the_corpus_has_are_fitted_all_the_same():
    counts = np.tile(np.float32([[4, 4, 0, 0], [0, 0, 4, 4]]), (20, 1))
    model = fit(counts, 4)
    assert model.beta.shape == (4, 4)
    np.testing.assert_allclose(model.beta.sum(axis=1), 1, rtol=1e-5)


def test_one_topic_is_the_mean_of_the_words():
    counts, _, _ = bars(0, documents=500)
    np.testing.assert_allclose(fit(counts, 1).beta[0], counts.sum(axis=0) / counts.sum(), atol=1e-3)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (np.zeros((0, 3), np.float32), "channel 'train' is empty"),
        (np.float32([[1, -2, 3], [3, 4, 5]]), "holds -2; features must be counts of words"),
        (np.full((9, 3), 1e37, np.float32), "holds 1e.37, and 2.7e.38 in all; .* 1e.30 in all at most"),
        (np.zeros((4, 3), np.float32), "no document of channel 'train' has a word"),
    ],
)
def test_rows_that_are_no_corpus_are_refused(counts, message):
    with pytest.raises(TrainingDataError, match=message):
        fit(counts, 2)


def test_more_topics_than_words_are_refused():
    with pytest.raises(HyperparameterError, match="'num_topics': 5 is more than feature_dim, 3"):
        fit(np.ones((9, 3), np.float32), 5)


def test_topics_beyond_those_of_the_tensor_are_found_too(monkeypatch):
    """Documents start them: as with many topics, whose tensor would take days."""
    counts, beta, _ = bars(1, documents=1500)
    monkeypatch.setattr("algorithms.lda.fit._MOST_RANK", 6)
    model = fit(counts, 10)
    assert matched(beta, model.beta)[1].mean() < 0.04
    peer = LatentDirichletAllocation(10, learning_method="batch", max_iter=10, random_state=0).fit(counts)
    theirs = peer.components_ / peer.components_.sum(axis=1, keepdims=True)
    assert matched(beta, model.beta)[1].mean() < matched(beta, theirs)[1].mean()


LARGEST = 3.4028234663852886e38
NO_TOPICS = r"alpha0 is 3.4.*, and no topics are found: choose a smaller one"


def test_where_moments_find_no_topics_documents_start_them():
    """The second moment of independent words has no direction above 0."""
    job = FakeJob()
    model = fit(np.random.default_rng(3).poisson(1, (61, 4)).astype(np.float32), 2, job, alpha0=1e30, max_restarts=2)
    assert any("Documents start the topics" in message for message in job.warnings)
    np.testing.assert_allclose(model.beta.sum(axis=1), 1, rtol=1e-5)


def test_documents_of_two_words_are_a_corpus():
    """They say which words occur together: those of one half of the vocabulary do, and never with the other's."""
    random = np.random.default_rng(0)
    words = random.integers(0, 5, (200, 2)) + 5 * random.integers(0, 2, (200, 1))
    counts = np.eye(10)[words].sum(axis=1).astype(np.float32)
    model = fit(counts, 2)
    halves = np.sort(model.beta.reshape(2, 2, 5).sum(axis=2), axis=1)
    np.testing.assert_allclose(halves, [[0, 1], [0, 1]], atol=0.05)


def test_documents_of_one_word_leave_the_prior_as_it_is():
    """They say nothing of how mixed documents are: the prior's sum fell to next to nothing."""
    counts = np.eye(10)[np.random.default_rng(0).integers(0, 10, 300)].astype(np.float32)
    model = fit(counts, 3, alpha0=2.0)
    np.testing.assert_allclose(model.alpha.sum(), 2, rtol=1e-5)
    np.testing.assert_allclose(model.shares @ model.beta, counts.mean(axis=0), atol=0.05)


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_a_prior_at_the_end_of_float32_is_refused_or_finite():
    """Infinity was saved for it. Which it is, rounding says, and so BLAS' products for this processor."""
    counts = samples.features(samples.configurations("lda")["topics"], 61, 4)
    try:
        model = fit(counts, 2, alpha0=LARGEST, max_restarts=2)
    except TrainingDataError as error:
        assert re.match(NO_TOPICS, str(error))
    else:
        assert np.isfinite(model.alpha).all() and np.isfinite(model.beta).all()


def test_a_decomposition_hears_of_a_stop():
    """A tolerance that is never met, and as many iterations and starts as there may be."""
    tensor = np.random.default_rng(0).normal(size=(3, 3, 3))
    options = {"max_restarts": 2**31, "max_iterations": 2**31, "tolerance": 0, "random": np.random.default_rng(0)}
    found = decompose(tensor, report=lambda one: None, stopped=lambda: True, **options)
    assert found.iterations < 1000
    assert np.isfinite(found.weights).all()


def test_starts_that_never_agree_end_with_the_work_they_are_given(monkeypatch):
    counts, beta, _ = bars(2, documents=3000)
    monkeypatch.setattr("algorithms.lda.decomposition._MOST_PRODUCTS", 120 * 13**4)
    job = FakeJob()
    model = fit(counts, 10, job, tol=1e-30)
    assert [message for message in job.messages if "CPDecomp" in message][0].startswith("[CPDecomp] iter=120,")
    assert sum("CPDecomp" in message for message in job.messages) == 1
    assert matched(beta, model.beta)[1].max() < 0.02


def test_more_topics_than_a_tensor_could_have_are_fitted():
    """More than the tensor's most; 1,000 would take 15.6 GB."""
    counts = sp.random_array((100, 400), density=0.02, rng=np.random.default_rng(0), dtype=np.float32, format="csr")
    counts.data[:] = 1
    model = fit(counts.toarray(), 300)
    assert model.beta.shape == (300, 400)
    np.testing.assert_allclose(model.beta.sum(axis=1), 1, rtol=1e-4)


@pytest.mark.skipif(belonging._kernel is None, reason="the compiled code was not built: there was no C compiler")
@pytest.mark.parametrize("collapsed", [False, True])
def test_the_compiled_update_is_that_of_numpy(collapsed, monkeypatch):
    random = np.random.default_rng(0)
    counts = sp.csr_array(random.poisson(0.3, (70, 40)).astype(np.float32))
    mixtures = random.dirichlet(np.full(13, 0.1), 70).astype(np.float32)
    words = random.dirichlet(np.full(40, 0.1), 13).T.astype(np.float32)
    sizes = np.asarray(counts.sum(axis=1), np.float32).reshape(-1) + 1 if collapsed else None
    outcomes = []
    for kernel in (belonging._kernel, None):
        monkeypatch.setattr(belonging, "_kernel", kernel)
        expected = np.ones((40, 13), np.float32)
        found, likelihood = belonging.divide(counts, mixtures, words, sizes=sizes, expected=expected)
        outcomes.append((found, expected, likelihood))
    for one, other in zip(*outcomes, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(outcomes[0][0].sum(), counts.sum(), rtol=1e-3)  # each word belongs somewhere


def test_negative_counts_are_refused_in_requests():
    model = LDAModel(np.ones(2, np.float32), np.full((2, 3), 1 / 3, np.float32))
    with pytest.raises(PredictionError, match="a feature is -1; counts"):
        model.predict(Batch(np.float32([[1, -1, 0]])))


@pytest.mark.parametrize(
    "arrays",
    [
        [np.ones(2, np.float32)],
        [np.ones(3, np.float32), np.ones((2, 4), np.float32)],
        [np.float32([1, -1]), np.ones((2, 4), np.float32)],
        [np.ones(2, np.float32), np.float32([[1, 1], [np.nan, 1]])],
        [np.ones(2, np.float32), np.float32([[1, 1], [0, 0]])],
    ],
)
def test_arrays_that_are_no_topics_are_refused(arrays, tmp_path):
    mxnet_files.save(tmp_path / "model_algo-1", arrays)
    with pytest.raises(ModelError, match="model_algo-1"):
        LDA.load(tmp_path)


def test_a_model_that_is_loaded_is_the_one_that_was_saved(tmp_path):
    """Sums of float32 are seldom exactly 1: divided by them, topics changed by each load. Counts, which a user may
    store, become probabilities."""
    beta = np.random.default_rng(0).dirichlet(np.full(50, 0.1), 40).astype(np.float32) * np.float32(1 + 4e-7)
    LDAModel(np.ones(40, np.float32), beta).save(tmp_path)
    np.testing.assert_array_equal(LDA.load(tmp_path).beta, beta)
    mxnet_files.save(tmp_path / "model_algo-1", [np.ones(40, np.float32), 3 * beta])
    np.testing.assert_allclose(LDA.load(tmp_path).beta, beta, rtol=1e-6)


def test_the_report_names_the_words_of_each_topic(tmp_path):
    counts, beta, _ = bars(2)
    model = fit(counts, 10, FakeJob(output_directory=tmp_path))
    report = json.loads((tmp_path / topics.REPORT).read_text())["topics"]
    order, _ = matched(beta, model.beta)
    for truth, topic in zip(beta, order, strict=True):
        assert {word["id"] for word in report[topic]["words"][:5]} == set(np.flatnonzero(truth))
    assert sum(topic["share"] for topic in report) == pytest.approx(1, abs=1e-4)
    (cards,) = model.figures(Sample("train", Batch(counts[:50].astype(np.float32))))
    assert [card.share for card in cards.cards] == sorted((topic["share"] for topic in report), reverse=True)
    by_title = {card.title: card for card in cards.cards}
    for truth, topic in zip(beta, order, strict=True):  # an example's most frequent words are of the topic
        for example in by_title[f"Topic {topic}"].examples[:1]:
            assert int(example.partition(": ")[2].split()[0]) in np.flatnonzero(truth)


@pytest.mark.parametrize("alpha0", ["2.4e-38", "1e-20", "1e9", "1e30", "3.4e38"])
def test_a_model_of_an_extreme_prior_is_saved_and_loads(alpha0: str, tmp_path: Path) -> None:
    algorithm = registry.find("lda")
    (configuration, *_) = samples.configurations("lda").values()
    values = samples.parsed(algorithm, configuration, alpha0=alpha0)
    model = algorithm.fit(values, samples.channels(algorithm, configuration, tmp_path / "data"), FakeJob())
    model.save(tmp_path)
    rows = samples.batch(algorithm, configuration, samples.features(configuration))
    found = algorithm.load(tmp_path).predict(rows)["topic_mixture"]
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)


def test_of_topics_of_a_text_those_stay_whose_words_occur_together():
    """Two themes, and a mixture of both which has more of the documents than either."""
    random = np.random.default_rng(0)
    themes = np.zeros((3, 40))
    themes[0, :20] = themes[1, 20:] = 1 / 20
    themes[2] = 1 / 40
    counts = sp.csr_array(
        np.array([random.multinomial(30, themes[document % 2]) for document in range(200)]), dtype=np.float32
    )
    ascent = Ascent(counts, np.array([0.1, 0.1, 10.0]), themes)
    ascent.mixtures[:] = [0.2, 0.2, 0.6]
    ascent.drop_least(1, coherent=True)
    np.testing.assert_allclose(ascent.words.T, themes[:2], atol=1e-7)


@pytest.mark.parametrize(("words", "share", "begun"), [(400, 0.06, 20), (199, 0.12, 13), (400, 0.04, 13)])
def test_text_is_begun_with_twice_the_topics(words, share, begun):
    """Not so few words for each topic, nor documents of 16 words."""
    counts = sp.random_array((300, words), density=share, rng=np.random.default_rng(0), dtype=np.float32, format="csr")
    counts.data[:] = 1
    job = FakeJob()
    fit(counts.toarray(), 10, job)
    assert f"Running LDA for {begun} topics (10 requested)" in job.messages
