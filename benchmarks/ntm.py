"""The neural topic model on AWS's example, beside LDA and ProdLDA: how good the topics are, and how long that takes.

    python -m benchmarks.ntm                     # all
    python -m benchmarks.ntm --only serving      # or: newsgroups, optimizers

``newsgroups``: the recipe of SageMaker's notebook (ntm_20newsgroups_topic_model.ipynb): 20 newsgroups without headers,
quotes and signatures, the 2,000 most frequent words, documents of more than 25, 20 topics, batches of 128, at most 100
epochs, a patience of 5, adadelta. Two differences: the data is the by-date version (18,846 posts, there 19,997), and
nouns are brought to the singular by rules, there by WordNet. The corpora are alike all the same: 9,590 documents (there
9,677); a model of word frequencies alone has a loss of 7.14 on the validation documents (there 7.10 after two epochs).

``loss`` is the mean over validation documents of nats for each of their words, the divergence included; with one draw
of each document's topics, so a bound. NPMI is of ten words a topic in the training documents, uniqueness (TU) of twenty
as AWS prints it; distinct topics share less than half of ten words with others. ``job`` is the whole training job:
Python's start, Keras' import, the data, the report; its processor time is printed too, for machines with other work.
``optimizers``: the same job by other optimizers, at the rates that they have where none is given and at SageMaker's.
``serving``: one request of one document, numpy beside Keras.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.datasets._twenty_newsgroups import (
    strip_newsgroup_footer,
    strip_newsgroup_header,
    strip_newsgroup_quoting,
)
from sklearn.feature_extraction.text import CountVectorizer
from threadpoolctl import threadpool_limits

from algorithms import hyperparameters, registry
from algorithms.common import topics
from benchmarks.common import SHARED_DATA, race, table, write_job
from benchmarks.lines import Line
from recordio.batches import Batch
from recordio.record_writer import encode_records
from tests.algorithms.fakes import FakeJob, MemoryStream

TOPICS, WORDS, LEAST_LENGTH = 20, 2000, 25
RECIPE = {
    "num_topics": TOPICS,
    "feature_dim": WORDS,
    "mini_batch_size": 128,
    "epochs": 100,
    "num_patience_epochs": 5,
    "tolerance": 0.001,
}
AWS = ["SageMaker's NTM (its log, 2 x ml.c4.xlarge)", "6.66 to 6.68", "0.64", "", "", "86"]


class Corpus(NamedTuple):
    """Counts of words, CSR, and the words."""

    train: sp.csr_array
    validation: sp.csr_array
    words: list[str]


def main() -> None:
    """Run the benchmarks named on the command line and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("newsgroups", "optimizers", "serving"))
    parser.add_argument("--seeds", type=int, default=1, help="runs of ours")
    arguments = parser.parse_args()
    if arguments.only in (None, "newsgroups"):
        print(_newsgroups(arguments.seeds), flush=True)
    if arguments.only == "optimizers":
        print(_optimizers(), flush=True)
    if arguments.only in (None, "serving"):
        print(_serving(), flush=True)


def lines(quick: bool) -> Iterator[Line]:
    """AWS's example: the whole job beside ProdLDA, and its loss beside AWS's log."""
    corpus = None if quick else newsgroups()
    if corpus is None:
        return
    started = time.perf_counter()
    loss, beta = job(corpus)
    seconds = time.perf_counter() - started
    started = time.perf_counter()
    theirs = prodlda(corpus)
    peer = time.perf_counter() - started
    coherence = [f"NPMI {topics.npmi(topics.top_words(one), corpus.train).mean():.3f}" for one in (beta, theirs)]
    yield Line(
        "NTM, 20 newsgroups, 20 topics", seconds, "s", "ProdLDA in Keras", peer, peer / seconds, "", None, *coherence
    )
    aws = ("AWS's log (2 x 4 vCPU)", 86.0, 86.0 / seconds, "", None)
    yield Line("NTM, 20 newsgroups, 20 topics", seconds, "s", *aws, f"loss {loss:.3f}", "loss 6.67")


# ---- AWS's example --------------------------------------------------------------------------------------------------

_TOKEN = re.compile(r"\b[a-z]\w+\b")
_NOUN_ENDINGS = {"ses": "s", "xes": "x", "zes": "z", "ches": "ch", "shes": "sh", "men": "man", "ies": "y", "s": ""}


def newsgroups() -> Corpus | None:
    """The corpus of the notebook, in its order of steps; None where the data is absent."""
    path = SHARED_DATA / "20newsgroups" / "20news-bydate.tar.xz"
    if not path.is_file():
        return None
    with tarfile.open(path) as archive:
        files = [file.read().decode("latin-1") for member in archive if (file := archive.extractfile(member))]
    posts = [strip_newsgroup_footer(strip_newsgroup_quoting(strip_newsgroup_header(text))) for text in files]
    seen = Counter(word for post in posts for word in _TOKEN.findall(post.lower()))
    singular = {word: _singular(word, seen) for word in seen}
    reader = CountVectorizer(
        stop_words="english",
        tokenizer=lambda post: [singular[word] for word in _TOKEN.findall(post)],
        token_pattern=None,
        max_features=WORDS,
        max_df=0.95,
        min_df=2,
    )
    counts = sp.csr_array(reader.fit_transform(posts), dtype=np.float32)
    counts = counts[np.random.default_rng(0).permutation(counts.shape[0])]
    counts = counts[np.asarray(counts.sum(axis=1)).reshape(-1) > LEAST_LENGTH]
    train = int(0.8 * counts.shape[0])
    half = (counts.shape[0] - train) // 2
    return Corpus(counts[:train], counts[train : train + half], list(reader.get_feature_names_out()))


def _singular(word: str, known: Counter[str]) -> str:
    """WordNet's rules of detachment for nouns, with what the corpus has ten times as the dictionary. Like WordNet they
    make "wa" of "was" and "doe" of "does"."""
    if word.endswith("ss"):
        return word
    candidates = (word.removesuffix(end) + instead for end, instead in _NOUN_ENDINGS.items() if word.endswith(end))
    return next((candidate for candidate in candidates if len(candidate) > 1 and known[candidate] > 9), word)


def _newsgroups(seeds: int) -> str:
    corpus = newsgroups()
    if corpus is None:
        return f"\n{SHARED_DATA} is not here: nothing to train on\n"
    rows: list[list[object]] = [AWS]
    for seed in range(seeds):
        started = time.perf_counter()
        loss, beta = ntm(corpus, seed) if seed else job(corpus)
        rows.append(
            _judged(f"ours, seed {seed}{'' if seed else ', job'}", corpus, beta, time.perf_counter() - started, loss)
        )
    for name, run in (("our LDA", lda), ("ProdLDA in Keras", prodlda)):
        started = time.perf_counter()
        beta = run(corpus)
        rows.append(_judged(name, corpus, beta, time.perf_counter() - started))
    documents, words = corpus.train.shape
    frequencies = np.asarray(corpus.train.sum(axis=0)).reshape(-1) + 0.5
    unigram = -(corpus.validation @ np.log(frequencies / frequencies.sum()))
    baseline = float((unigram / np.asarray(corpus.validation.sum(axis=1)).reshape(-1)).mean())
    title = f"20 newsgroups: {documents:,} documents, {words:,} words, {TOPICS} topics; word frequencies {baseline:.3f}"
    return table(title, ["", "loss", "TU", "NPMI", "distinct", "s"], rows)


def _judged(name: str, corpus: Corpus, beta: np.ndarray, seconds: float, loss: float | None = None) -> list[object]:
    best = topics.top_words(beta)
    for topic in best[:3]:
        print(f"{name}: {' '.join(corpus.words[word] for word in topic)}")
    unique = float(topics.uniqueness(topics.top_words(beta, 20)).mean())
    coherence = float(topics.npmi(best, corpus.train).mean())
    return [name, "" if loss is None else loss, unique, coherence, topics.distinct(best), seconds]


def _optimizers() -> str:
    corpus = newsgroups()
    if corpus is None:
        return f"\n{SHARED_DATA} is not here: nothing to train on\n"
    rows = []
    for optimizer, rate in (("adadelta", None), *itertools.product(("adam", "rmsprop"), (None, 0.001))):
        started = time.perf_counter()
        loss, beta = job(corpus, optimizer=optimizer, **({} if rate is None else {"learning_rate": rate}))
        name = optimizer if rate is None else f"{optimizer} at {rate:g}"
        rows.append(_judged(name, corpus, beta, time.perf_counter() - started, loss))
    return table("20 newsgroups, by optimizer", ["", "loss", "TU", "NPMI", "distinct", "s"], rows)


def job(corpus: Corpus, **given: object) -> tuple[float, np.ndarray]:
    """The whole job, in a process of its own, as a container would run it, with these hyperparameters besides."""
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        channels = {"train": base / "train.pbr", "validation": base / "validation.pbr"}
        channels["train"].write_bytes(encode_records(corpus.train))
        channels["validation"].write_bytes(encode_records(corpus.validation))
        write_job(base, RECIPE | given, channels)
        environment = os.environ | {"SAGEMAKER_BASE_DIR": folder, "ALGORITHM": "ntm"}
        command = [sys.executable, "-m", "container", "train"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
        (epoch, loss) = re.findall(r"epoch=(\d+), validation total_loss <loss>=(\S+)", done.stdout)[-1]
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(f"ours: {epoch} epochs, {used:.1f} s of processor time")
        return float(loss), registry.find("ntm").load(base / "model").topics


def ntm(corpus: Corpus, seed: int) -> tuple[float, np.ndarray]:
    """Training alone, from counts in memory."""
    algorithm = registry.find("ntm")
    values = hyperparameters.parse(algorithm.hyperparameters, {name: str(value) for name, value in RECIPE.items()})
    heard = FakeJob(seed=seed)
    streams = {"train": MemoryStream(corpus.train), "validation": MemoryStream(corpus.validation)}
    model = algorithm.fit(values, streams, heard)
    return heard.last("validation", "total_loss"), model.topics


def lda(corpus: Corpus) -> np.ndarray:
    """This project's LDA with defaults."""
    algorithm = registry.find("lda")
    documents, words = corpus.train.shape
    given = {"num_topics": str(TOPICS), "feature_dim": str(words), "mini_batch_size": str(documents)}
    values = hyperparameters.parse(algorithm.hyperparameters, given)
    return algorithm.fit(values, {"train": MemoryStream(corpus.train)}, FakeJob()).beta


def prodlda(corpus: Corpus) -> np.ndarray:
    """ProdLDA (A. Srivastava, C. Sutton, ICLR 2017): its settings for this data set, 100 epochs.

    A Laplace approximation of a Dirichlet prior of 0.02, batch norms, dropout of 0.2, Adam with a slow first moment.
    """
    import keras
    from keras import ops

    keras.utils.set_random_seed(0)
    prior_mean, prior_variance = 0.0, (1 - 2 / TOPICS) / 0.02 + 1 / (TOPICS * 0.02)

    class Sampled(keras.layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.seeds = keras.random.SeedGenerator(0)

        def call(self, mean, log_variance):
            divergence = ops.exp(log_variance) / prior_variance + ops.square(mean - prior_mean) / prior_variance
            divergence += np.log(prior_variance) - log_variance - 1
            self.add_loss(ops.mean(ops.sum(divergence, axis=1)) / 2)
            return mean + ops.exp(log_variance / 2) * keras.random.normal(ops.shape(mean), seed=self.seeds)

    counts = keras.Input((WORDS,))
    rows = keras.layers.Dense(100, activation="softplus")(counts)
    rows = keras.layers.Dropout(0.2)(keras.layers.Dense(100, activation="softplus")(rows))
    norm = lambda: keras.layers.BatchNormalization(center=False, scale=False)  # noqa: E731
    mean, log_variance = (norm()(keras.layers.Dense(TOPICS)(rows)) for _ in range(2))
    mixture = keras.layers.Dropout(0.2)(ops.softmax(Sampled()(mean, log_variance)))
    decoder = keras.layers.Dense(WORDS, use_bias=False)
    model = keras.Model(counts, ops.log_softmax(norm()(decoder(mixture))))
    model.compile(keras.optimizers.Adam(2e-3, beta_1=0.99), lambda x, p: -ops.sum(x * p, axis=1))
    dense = corpus.train.toarray()
    model.fit(dense, dense, batch_size=200, epochs=100, verbose=0)
    return keras.ops.convert_to_numpy(decoder.kernel)


# ---- requests -------------------------------------------------------------------------------------------------------


def _serving() -> str:
    """The same encoder in numpy and in Keras, one document a request, and a hundred."""
    import keras

    corpus = newsgroups()
    random = np.random.default_rng(0)
    counts = corpus.train if corpus else sp.csr_array(random.poisson(0.05, (500, WORDS)).astype(np.float32))
    given = {name: str(value) for name, value in (RECIPE | {"epochs": 1}).items()}
    algorithm = registry.find("ntm")
    values = hyperparameters.parse(algorithm.hyperparameters, given)
    model = algorithm.fit(values, {"train": MemoryStream(counts[:500])}, FakeJob())
    inputs = keras.Input((WORDS,))
    rows = keras.ops.log1p(inputs)
    layers = [keras.layers.Dense(len(layer.bias), activation="sigmoid") for layer in model.layers]
    for layer in layers:
        rows = layer(rows)
    mean = keras.layers.Dense(TOPICS)
    network = keras.Model(inputs, keras.ops.softmax(mean(rows)))
    for layer, (weight, bias) in zip([*layers, mean], [*model.layers, model.mean], strict=True):
        layer.set_weights([weight.T, bias])
    lines: list[list[object]] = []
    for size in (1, 100):
        batch = Batch(counts[:size].toarray())
        contenders = {
            "numpy": lambda batch=batch: [model.predict(batch)["topic_weights"] for _ in range(50)],
            "Keras, predict_on_batch": lambda batch=batch: [
                network.predict_on_batch(batch.features) for _ in range(50)
            ],
        }
        with threadpool_limits(1):  # as in a server, whose processes share the cores
            entered = race(contenders)
        np.testing.assert_allclose(entered[0].result[0], entered[1].result[0], rtol=1e-4)
        lines += [[one.name, size, 1e6 * one.median / 50, one.times_slower_than(entered[0])] for one in entered]
    return table("A request", ["", "documents", "microseconds", "times numpy's"], lines)


if __name__ == "__main__":
    main()
