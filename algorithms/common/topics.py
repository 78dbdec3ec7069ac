"""What makes topics readable: their top words, how coherent and how distinct these are, and figures of it.

NPMI: G. Bouma, "Normalized (pointwise) mutual information in collocation extraction", 2009; as the coherence of a
topic's top words, J. H. Lau, D. Newman, T. Baldwin, EACL 2014. Topic uniqueness: F. Nan et al., ACL 2019. WETC, the
coherence by word vectors: R. Ding, R. Nallapati, B. Xiang, EMNLP 2018.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from algorithms.common.blas import squared
from algorithms.common.hosts import ONE_HOST
from algorithms.errors import PredictionError, TrainingDataError
from algorithms.figures import Card, Cards, Figure, Sample, names_of
from algorithms.interface import Hosts
from recordio.batches import Batch, Features

REPORT = "topics.json"
_EXAMPLES, _EXAMPLE_WORDS = 3, 12
_LONG_DOCUMENT = 100
"""Most words of a document that count for it as an example."""


def check_counts(features: Features) -> None:
    """Refuse features that are not counts of words.

    Raises:
        PredictionError: a feature is below 0.
    """
    values = features if isinstance(features, np.ndarray) else features.data
    if values.size and values.min() < 0:
        raise PredictionError(f"a feature is {values.min():g}; counts of words are 0 or more")


def counted(batch: Batch, feature_dim: int, channel: str) -> sp.csr_array:
    """The documents of a batch of training data, (n, feature_dim) CSR.

    Raises:
        TrainingDataError: they are not counts of so many words.
    """
    if batch.feature_dim != feature_dim:
        raise TrainingDataError(
            f"feature_dim is {feature_dim}, but channel '{channel}' has {batch.feature_dim} features"
        )
    counts = sp.csr_array(batch.features)
    if counts.nnz and counts.data.min() < 0:
        raise TrainingDataError(
            f"channel '{channel}' holds {counts.data.min():g}; features must be counts of words, 0 or more"
        )
    return counts


def top_words(beta: np.ndarray, number: int = 10) -> np.ndarray:
    """The indices of the most probable words of each topic, most probable first: (K, at most ``number``) of (K, V)."""
    return np.argsort(-beta, axis=1, kind="stable")[:, :number]


def npmi(words: np.ndarray, documents: sp.csr_array, hosts: Hosts = ONE_HOST) -> np.ndarray:
    """Coherence of each topic, (K,): the mean NPMI of the pairs of its words, from -1 (never together) to 1.

    Args:
        words: indices, (K, n). documents: counts, (D, V) CSR; words occur together where one document has both.
        hosts: which have documents, and all call this.

    >>> documents = sp.csr_array(np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1], [0, 0, 1]]))
    >>> npmi(np.array([[0, 1], [0, 2]]), documents)
    array([ 1., -1.])
    """
    used, positions = np.unique(words, return_inverse=True)
    columns = sp.csc_array(sp.csr_array(documents)[:, used])
    occurs = sp.csc_array((np.ones(len(columns.data)), columns.indices, columns.indptr), columns.shape)
    of_topics = [occurs[:, topic] for topic in positions.reshape(words.shape)]
    pairs_of_all, every = hosts.sum(
        np.array([(part.T @ part).toarray() for part in of_topics]), np.array([documents.shape[0]])
    )
    together = pairs_of_all / every  # (K, n, n)
    alone = np.diagonal(together, axis1=1, axis2=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = np.log(together / (alone[:, :, None] * alone[:, None])) / -np.log(together)
    scores[together == 0] = -1
    scores[together == 1] = 1  # in every document: the limit
    first, second = np.triu_indices(words.shape[1], 1)
    return np.asarray(scores[:, first, second].mean(axis=1))


def uniqueness(words: np.ndarray) -> np.ndarray:
    """The uniqueness of each topic, (K,): the mean over its words of 1 / (number of topics that have the word).

    It is 1 if no other topic has any of the words, and 1 / K if all topics have the same words.

    >>> uniqueness(np.array([[0, 1], [0, 2]]))
    array([0.75, 0.75])
    """
    shared = np.bincount(words.reshape(-1))
    return (1 / shared[words]).mean(axis=1)


def wetc(words: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Word-embedding coherence of each topic, (K,): the mean cosine of the vectors of the pairs of its words.

    Args:
        words: indices, (K, n), n of at least 2. vectors: (V, d); one of zeros has a cosine of 0 with all.

    >>> wetc(np.array([[0, 1], [0, 2]]), np.array([[1.0, 0], [2, 0], [0, 3]]))
    array([1., 0.])
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = (vectors / np.where(lengths > 0, lengths, 1))[words]  # (K, n, d)
    pairs = np.triu_indices(words.shape[1], 1)
    return np.array([squared(topic)[pairs].mean() for topic in unit])


def distinct(words: np.ndarray) -> int:
    """The number of topics without those that share more than half of their words with an earlier one.

    >>> distinct(np.array([[0, 1, 2], [2, 0, 3], [2, 4, 5]]))
    2
    """
    kept: list[set[int]] = []
    for topic in words.tolist():
        if all(2 * len(other.intersection(topic)) <= len(topic) for other in kept):
            kept.append(set(topic))
    return len(kept)


@dataclass(frozen=True)
class Described:
    """Facts about topics that only training knows; for the page about the job.

    Attributes:
        topics: what ``topics.json`` says of each.
        vocabulary: of all words; None where they have numbers alone.
    """

    topics: Sequence[Mapping[str, Any]]
    vocabulary: Sequence[str] | None


def describe(
    beta: np.ndarray,
    shares: np.ndarray,
    documents: sp.csr_array,
    vocabulary: Sequence[str] | None = None,
    hosts: Hosts = ONE_HOST,
) -> Described:
    """Their words, sizes, coherence and uniqueness.

    Args:
        beta: (K, V). shares: of the topics in the corpus, (K,). documents: counts, (D, V). vocabulary: V words, in
            whose place their numbers stand where there are none. hosts: which have documents, and all call this.
    """
    words = top_words(beta)
    coherences = npmi(words, documents, hosts) if words.shape[1] > 1 else np.full(len(words), np.nan)
    distinct = uniqueness(words)
    topics = [
        {
            "topic": topic,
            "share": round(float(shares[topic]), 6),
            "npmi": None if np.isnan(coherences[topic]) else round(float(coherences[topic]), 6),
            "uniqueness": round(float(distinct[topic]), 6),
            "words": [
                {
                    "id": int(word),
                    "word": vocabulary[word] if vocabulary is not None else str(word),
                    "probability": round(float(beta[topic, word]), 6),
                }
                for word in words[topic]
            ],
        }
        for topic in range(len(beta))
    ]
    return Described(topics, vocabulary)


def write_report(directory: Path, described: Described) -> None:
    """Write ``topics.json`` into ``directory``."""
    (directory / REPORT).write_text(json.dumps({"topics": described.topics}, indent=2))


def figures(described: Described | None, sample: Sample | None, mixtures: np.ndarray | None) -> list[Figure]:
    """The topics side by side, the largest first, with documents of ``sample`` that have most of them.

    Args:
        mixtures: of the topics in each document of the sample, (n, K); None where there is no sample.
    """
    if described is None:
        return []
    documents = None if sample is None else sp.csr_array(sample.rows.features)
    vocabulary = described.vocabulary or names_of(sample) or None
    cards = [
        Card(
            title=f"Topic {topic['topic']}",
            share=topic["share"],
            words=[
                (vocabulary[word["id"]] if vocabulary else word["word"], word["probability"]) for word in topic["words"]
            ],
            facts=", ".join(
                ([] if topic["npmi"] is None else [f"NPMI {topic['npmi']:.2f}"])
                + [f"uniqueness {topic['uniqueness']:.2f}"]
            ),
            examples=[]
            if documents is None or mixtures is None
            else _examples(documents, mixtures[:, topic["topic"]], vocabulary),
        )
        for topic in sorted(described.topics, key=lambda topic: -topic["share"])
    ]
    known = [topic["npmi"] for topic in described.topics if topic["npmi"] is not None]
    mean = f"Mean coherence (NPMI) {np.mean(known):.3f}. " if known else ""
    named = "" if vocabulary is not None else " Words are numbered from 0: the job has no vocabulary."
    whose = "" if sample is None else f" Examples are documents of {sample.dataset} by their most frequent words."
    note = (
        f"{mean}The share is that of the topic in all words. NPMI says how often its words occur in the same "
        f"documents, from \N{MINUS SIGN}1 (never) to 1 (always), and uniqueness how few other topics "
        f"have them, up to 1.{named}{whose}"
    )
    return [Cards(title="Topics", cards=cards, note=note)]


def _examples(documents: sp.csr_array, weights: np.ndarray, vocabulary: Sequence[str] | None) -> list[str]:
    """The documents with the most words of one topic, each as its most frequent words."""
    lengths = np.asarray(documents.sum(axis=1)).reshape(-1)
    found = []
    for row in np.argsort(-weights * np.minimum(lengths, _LONG_DOCUMENT), kind="stable")[:_EXAMPLES]:
        if not lengths[row] or weights[row] <= 0:
            break
        begin, end = documents.indptr[row], documents.indptr[row + 1]
        words = documents.indices[begin:end][np.argsort(-documents.data[begin:end], kind="stable")][:_EXAMPLE_WORDS]
        named = " ".join(str(word) if vocabulary is None else vocabulary[word] for word in words)
        found.append(f"{weights[row]:.0%} of {lengths[row]:g} words: {named}")
    return found
