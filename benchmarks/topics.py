"""LDA beside its peers: how right the topics are, how long that takes, and how much memory.

    python -m benchmarks.topics                  # all; needs gensim and tomotopy (make bench installs them)
    python -m benchmarks.topics --only bars      # or: text, few, wide

``bars``: corpora of which the topics are known (rows and columns of a square of words, 150 words a document, alpha0 of
1). The error is the mean L1 distance of topics after matching, and the operator norm that AWS's example prints (about
0.02 there). ``text``: real corpora from the data folder beside the checkout. Perplexity is of half of the words of
held-out documents, given the other half; mixtures by the same inference for all, so that only topics are compared. NPMI
is of each topic's ten words in the training documents. Seconds are of training alone, from counts in memory. ``few``: 1
to 200 made documents, by the perplexity of whole other ones, with mixtures drawn from each model's own prior. ``wide``:
peak memory of a vocabulary of 100,000 words.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import tarfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.optimize import linear_sum_assignment
from scipy.special import logsumexp
from sklearn.decomposition import LatentDirichletAllocation
from sklearn.feature_extraction.text import CountVectorizer

from algorithms import hyperparameters
from algorithms.common import topics
from algorithms.lda import LDA
from algorithms.lda.belonging import ratios
from algorithms.lda.likelihood import infer
from benchmarks.common import SHARED_DATA, Contender, peak_memory, race, table
from benchmarks.lines import Line, Quality, raced
from tests.algorithms.fakes import FakeJob, MemoryStream
from tests.algorithms.lda.test_fit import bars

CASES = ("bars", "text", "few", "wide")
GIBBS_SWEEPS = 200
FEW = (
    *((1, 30, 50, 2), (2, 30, 50, 2), (5, 20, 100, 2), (15, 20, 5, 2), (15, 50, 5, 3), (15, 50, 20, 3)),
    *((40, 50, 10, 5), (100, 100, 10, 5), (200, 200, 20, 10), (100, 500, 50, 5)),
)
"""Documents, words of the vocabulary and of a document on average, and topics."""
FEW_SEEDS, FEW_ASKED, MIXTURES = 8, 300, 3000
TEXT_SEEDS = 3


class Topics(NamedTuple):
    """alpha (K,) and beta (K, V)."""

    alpha: np.ndarray
    beta: np.ndarray


class Corpus(NamedTuple):
    """Counts of words, CSR."""

    name: str
    train: sp.csr_array
    test: sp.csr_array


def main() -> None:
    """Run the benchmarks named on the command line and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--topics", type=int, default=20)
    parser.add_argument("--only", choices=CASES)
    arguments = parser.parse_args()
    if arguments.only in (None, "bars"):
        for side, documents in ((5, 6000), (10, 6000), (20, 10000)):
            print(_bars(side, documents, arguments.seeds if side == 5 else min(arguments.seeds, 3)), flush=True)
    if arguments.only in (None, "text"):
        for corpus in (newsgroups(), dblp(), kos()):
            if corpus is not None:
                print(_text(corpus, arguments.topics), flush=True)
    if arguments.only in (None, "few"):
        print(_few(min(arguments.seeds, FEW_SEEDS)), flush=True)
    if arguments.only in (None, "wide"):
        print(_wide(), flush=True)


def lines(quick: bool) -> Iterator[Line]:
    """Bars by their error, real text by perplexity."""
    counts, beta, _ = bars(0, 5, 200 if quick else 6000)
    corpus = sp.csr_array(counts)
    error = _mean("L1 error", lambda found: _error(beta, found.beta)[0])
    yield raced(
        f"LDA, bars, {corpus.shape[0]:,} documents", compete(corpus, len(beta), [0]), quality=error, allowed=0.1
    )
    for text in () if quick else (newsgroups(), dblp()):
        if text is not None:
            judged = _mean("perplexity", partial(perplexity, text.test))
            documents, words = text.train.shape
            entered = compete(text.train, 20, range(TEXT_SEEDS))
            yield raced(f"LDA, {text.name} {documents:,} x {words:,}, 20 topics", entered, quality=judged, allowed=0.03)
            npmi = _mean("NPMI", partial(_coherence, text), higher=True)
            yield raced(f"LDA, {text.name}, by NPMI", entered, quality=npmi, allowed=0.03)


def _mean(name: str, of: Callable[[Topics], float], *, higher: bool = False) -> Quality:
    """Of the topics of all seeds: those of one seed are by chance better or worse by a tenth."""
    return Quality(name, lambda found: float(np.mean([of(one) for one in found])), higher)


def _coherence(text: Corpus, found: Topics) -> float:
    return float(topics.npmi(topics.top_words(found.beta), text.train).mean())


# ---- contenders -----------------------------------------------------------------------------------------------------


def ours(counts: sp.csr_array, k: int, seed: int) -> Topics:
    """This project's, with defaults."""
    documents, words = counts.shape
    given = {"num_topics": str(k), "feature_dim": str(words), "mini_batch_size": str(documents)}
    values = hyperparameters.parse(LDA.hyperparameters, given)
    model = LDA.fit(values, {"train": MemoryStream(counts)}, FakeJob(seed=seed))
    return Topics(model.alpha, model.beta)


def tomotopy(counts: sp.csr_array, k: int, seed: int) -> Topics:
    """Collapsed Gibbs sampling in C++, two workers; its time includes taking the documents in."""
    import tomotopy

    model = tomotopy.LDAModel(k=k, alpha=1 / k, eta=0.01, seed=seed)
    names = [str(word) for word in range(counts.shape[1])]
    for row in range(counts.shape[0]):
        at = slice(counts.indptr[row], counts.indptr[row + 1])
        document = np.repeat(counts.indices[at], counts.data[at].astype(int))
        if len(document):
            model.add_doc([names[word] for word in document])
    with warnings.catch_warnings():  # of numbers that differ from run to run, as several workers' do
        warnings.simplefilter("ignore", RuntimeWarning)
        model.train(GIBBS_SWEEPS, workers=2)
    beta = np.zeros((k, counts.shape[1]))
    used = np.array([int(name) for name in model.used_vocabs])
    for topic in range(k):
        beta[topic, used] = model.get_topic_word_dist(topic)
    return Topics(np.asarray(model.alpha), beta)


def scikit_learn(counts: sp.csr_array, k: int, seed: int, **options: Any) -> Topics:
    """Online variational Bayes, ten passes, its defaults but for the batch size, where ``options`` do not say more."""
    options = {"learning_method": "online", "batch_size": 256, **options}
    model = LatentDirichletAllocation(k, random_state=seed, **options).fit(counts)
    return Topics(np.full(k, 1 / k), model.components_ / model.components_.sum(axis=1, keepdims=True))


def gensim(counts: sp.csr_array, k: int, seed: int, **options: Any) -> Topics:
    """Online variational Bayes, ten passes, alpha learned, where ``options`` do not say more."""
    from gensim.matutils import Sparse2Corpus
    from gensim.models import LdaModel

    corpus = list(Sparse2Corpus(sp.csc_array(counts.T)))
    names = {word: str(word) for word in range(counts.shape[1])}
    options = {"passes": 10, "alpha": "auto", **options}
    model = LdaModel(corpus, k, id2word=names, random_state=seed, dtype=np.float64, **options)
    return Topics(model.alpha, model.get_topics())


CONTENDERS: dict[str, Callable[[sp.csr_array, int, int], Topics]] = {
    "ours": ours,
    "tomotopy, Gibbs": tomotopy,
    "scikit-learn, online VB": scikit_learn,
    "gensim, online VB": gensim,
}


def compete(counts: sp.csr_array, k: int, seeds: Sequence[int]) -> list[Contender]:
    """Each contender with each seed, after one unmeasured run, in turn; results are lists, a seed's topics each."""
    needs = {"tomotopy, Gibbs": "tomotopy", "gensim, online VB": "gensim"}
    here = {name: run for name, run in CONTENDERS.items() if importlib.util.find_spec(needs.get(name, "sklearn"))}

    def with_each(run: Callable[[sp.csr_array, int, int], Topics]) -> Callable[[], list[Topics]]:
        found: list[Topics] = []

        def with_next() -> list[Topics]:
            found.append(run(counts, k, seeds[len(found) % len(seeds)]))
            return found[-len(seeds) :]

        return with_next

    return race({name: with_each(run) for name, run in here.items()}, rounds=len(seeds))


# ---- known topics ---------------------------------------------------------------------------------------------------


def _bars(side: int, documents: int, seeds: int) -> str:
    """Errors and seconds over several corpora; those of ours are looked at over all, of the peers over three."""
    errors: dict[str, list[tuple[float, float]]] = {name: [] for name in CONTENDERS}
    behind: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for seed in range(seeds):
        counts, beta, _ = bars(seed, side, documents)
        corpus = sp.csr_array(counts)
        if seed < 3:
            entered = compete(corpus, len(beta), [seed])
            for one in entered:
                errors[one.name].append(_error(beta, one.result[0].beta))
                behind[one.name].append(one.times_slower_than(entered[0]))
                seconds[one.name].append(one.median)
        else:
            errors["ours"].append(_error(beta, ours(corpus, len(beta), seed).beta))
    rows = [
        [
            name,
            len(errors[name]),
            float(np.mean([mean for mean, _ in errors[name]])),
            float(np.max([mean for mean, _ in errors[name]])),
            float(np.max([norm for _, norm in errors[name]])),
            float(np.median(seconds[name])),
            float(np.median(behind[name])),
        ]
        for name in CONTENDERS
        if errors[name]
    ]
    columns = ["", "seeds", "mean L1 error", "largest", "largest operator norm", "s", "times ours"]
    return table(f"Bars: {documents:,} documents, {side * side} words, {2 * side} topics", columns, rows)


def _error(truth: np.ndarray, found: np.ndarray) -> tuple[float, float]:
    """Mean L1 distance after matching, and the operator norm of the difference."""
    distances = np.abs(truth[:, None] - found[None]).sum(axis=2)
    rows, order = linear_sum_assignment(distances)
    return float(distances[rows, order].mean()), float(np.linalg.norm(truth - found[order], 1))


# ---- real text ------------------------------------------------------------------------------------------------------


def newsgroups(words: int = 5000) -> Corpus | None:
    """20 newsgroups by date, without headers and stop words."""
    path = SHARED_DATA / "20newsgroups" / "20news-bydate.tar.xz"
    if not path.is_file():
        return None
    parts: dict[bool, list[str]] = {True: [], False: []}
    with tarfile.open(path) as archive:
        for member in archive:
            content = archive.extractfile(member)
            if content is not None:
                parts["-train" in member.name].append(content.read().decode("latin-1").partition("\n\n")[2])
    reader = CountVectorizer(max_features=words, stop_words="english", token_pattern="[a-z]{3,}", max_df=0.95, min_df=2)
    train = reader.fit_transform(parts[True])
    return Corpus("20 newsgroups", _counts(train), _counts(reader.transform(parts[False])))


def dblp() -> Corpus | None:
    """Titles of papers: short documents; every fifth is held out."""
    path = SHARED_DATA / "octis-dblp" / "corpus.tsv"
    if not path.is_file():
        return None
    titles = [line.partition("\t")[0] for line in path.read_text().splitlines()]
    return _every_fifth("octis-dblp", _counts(CountVectorizer(token_pattern=r"\S+").fit_transform(titles)))


def kos() -> Corpus | None:
    """Blog posts as counts; every fifth is held out."""
    path = SHARED_DATA / "uci-bow-kos" / "docword.kos.txt.gz"
    if not path.is_file():
        return None
    with gzip.open(path, "rt") as lines:
        documents, words, _ = (int(next(lines)) for _ in range(3))
        row, word, count = np.loadtxt(lines, dtype=int).T
    return _every_fifth("uci-bow-kos", _counts(sp.coo_array((count, (row - 1, word - 1)), shape=(documents, words))))


def _every_fifth(name: str, counts: sp.csr_array) -> Corpus:
    held_out = np.arange(counts.shape[0]) % 5 == 4
    return Corpus(name, counts[~held_out], counts[held_out])


def _counts(matrix: sp.sparray) -> sp.csr_array:
    return sp.csr_array(matrix, dtype=np.float32)


def _text(corpus: Corpus, k: int) -> str:
    rows = []
    entered = compete(corpus.train, k, range(TEXT_SEEDS))
    for one in entered:
        words = [topics.top_words(found.beta) for found in one.result]
        rows.append(
            [
                one.name,
                float(np.mean([perplexity(corpus.test, found) for found in one.result])),
                float(np.mean([topics.npmi(each, corpus.train).mean() for each in words])),
                float(np.mean([topics.uniqueness(each).mean() for each in words])),
                one.median,
                one.times_slower_than(entered[0]),
            ]
        )
    documents, vocabulary = corpus.train.shape
    title = f"{corpus.name}: {documents:,} documents, {vocabulary:,} words, {k} topics, mean of {TEXT_SEEDS} seeds"
    return table(title, ["", "held-out perplexity", "NPMI", "uniqueness", "s", "times ours"], rows)


def perplexity(documents: sp.csr_array, found: Topics) -> float:
    """Of every other word of each document, given the rest."""
    seen, asked = documents.copy(), documents.copy()
    even = np.arange(documents.nnz) % 2 == 0
    seen.data = np.where(even, np.ceil(documents.data / 2), np.floor(documents.data / 2)).astype(np.float32)
    asked.data = documents.data - seen.data
    seen.eliminate_zeros()
    asked.eliminate_zeros()
    beta = found.beta + 1e-9
    words = np.ascontiguousarray((beta / beta.sum(axis=1, keepdims=True)).T, np.float32)
    gamma = infer(seen, found.alpha, words)
    _, probabilities = ratios(asked, gamma / gamma.sum(axis=1, keepdims=True), words)
    return float(np.exp(-(asked.data @ np.log(probabilities)) / asked.data.sum()))


# ---- few documents --------------------------------------------------------------------------------------------------


def _few(seeds: int) -> str:
    """The perplexities, as geometric means over seeds, and ours by that of the better peer of each seed."""
    peers: dict[str, Callable[[sp.csr_array, int, int], Topics]] = {
        "scikit-learn": partial(scikit_learn, learning_method="batch", max_iter=100)
    }
    if importlib.util.find_spec("gensim"):
        peers["gensim"] = partial(gensim, passes=50, iterations=100, eta="auto", eval_every=None)
    rows, every = [], []
    for documents, words, length, k in FEW:
        logs = []
        for seed in range(seeds):
            train, asked = _made(documents, words, length, k, seed)
            logs.append([np.log(whole_perplexity(asked, run(train, k, seed))) for run in (ours, *peers.values())])
        found = np.array(logs)
        behind = found[:, 0] - found[:, 1:].min(axis=1)
        every.extend(behind)
        rows.append((f"{documents} x {words}, {length} words, {k}", *np.exp(found.mean(axis=0)), np.exp(behind.mean())))
    rows.append(("all", *[""] * (1 + len(peers)), float(np.exp(np.mean(every)))))
    columns = ["documents x vocabulary, topics", "ours", *peers, "ours by the better"]
    return table(f"few documents, {seeds} seeds: perplexity of {FEW_ASKED} others", columns, rows)


def _made(documents: int, words: int, length: int, k: int, seed: int) -> tuple[sp.csr_array, sp.csr_array]:
    """Documents to train on, and others, of the same topics."""
    random = np.random.default_rng(seed)
    beta = random.dirichlet(np.full(words, 0.1), k)
    mixtures = random.dirichlet(np.full(k, 1 / k), documents + FEW_ASKED) @ beta
    lengths = np.maximum(random.poisson(length, len(mixtures)), 1)
    chances = mixtures / mixtures.sum(axis=1, keepdims=True)
    counts = np.array([random.multinomial(size, chance) for size, chance in zip(lengths, chances, strict=True)])
    return _counts(sp.csr_array(counts[:documents])), _counts(sp.csr_array(counts[documents:]))


def whole_perplexity(documents: sp.csr_array, found: Topics) -> float:
    """Of whole documents, whose mixtures are drawn from the model's prior."""
    mixtures = np.random.default_rng(0).dirichlet(np.maximum(found.alpha, 1e-3), MIXTURES)
    chances = np.log(np.maximum(mixtures @ found.beta, 1e-12))
    each = logsumexp(documents @ chances.T, axis=1) - np.log(MIXTURES)
    return float(np.exp(-each.sum() / documents.sum()))


# ---- memory ---------------------------------------------------------------------------------------------------------


def _wide() -> str:
    """Two corpora of 100,000 words, one with twice the documents of the other."""
    rows = []
    for documents in (10_000, 20_000, 40_000):
        peak, base = peak_memory(_train_wide, documents, True), peak_memory(_train_wide, documents, False)
        rows.append([documents, documents * 100, peak / 1e6, base / 1e6, (peak - base) / (documents * 100)])
    columns = ["documents", "words drawn", "peak MB", "of that, before training", "bytes a word"]
    return table("100,000 words of vocabulary, 20 topics", columns, rows)


def _train_wide(documents: int, trained: bool) -> None:
    random = np.random.default_rng(0)
    words = np.minimum(random.zipf(1.3, documents * 100), 100_000) - 1
    rows = np.repeat(np.arange(documents), 100)
    counts = _counts(sp.coo_array((np.ones(len(words)), (rows, words)), shape=(documents, 100_000)))
    if trained:
        ours(counts, 20, 0)


if __name__ == "__main__":
    main()
