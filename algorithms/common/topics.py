"""What makes topics readable: their top words, how coherent and how distinct these are, and a page to look at.

NPMI: G. Bouma, "Normalized (pointwise) mutual information in collocation extraction", 2009; as the coherence of a
topic's top words, J. H. Lau, D. Newman, T. Baldwin, EACL 2014. Topic uniqueness: F. Nan et al., ACL 2019. WETC, the
coherence by word vectors: R. Ding, R. Nallapati, B. Xiang, EMNLP 2018.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from algorithms.common.hosts import ONE_HOST
from algorithms.errors import PredictionError
from algorithms.interface import Hosts
from recordio.batches import Features

REPORT, PAGE = "topics.json", "topics.html"
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; width: 100% } td, th { padding: .4rem .6rem; text-align: left; vertical-align: top }
tr + tr { border-top: 1px solid #ddd } .bar { background: #4a7ab5; height: .7rem; border-radius: 2px }
.word { white-space: nowrap } small { color: #777 }
"""


def check_counts(features: Features) -> None:
    """For models of documents.

    Raises:
        PredictionError: a feature is below 0.
    """
    values = features if isinstance(features, np.ndarray) else features.data
    if values.size and values.min() < 0:
        raise PredictionError(f"a feature is {values.min():g}; counts of words are 0 or more")


def top_words(beta: np.ndarray, number: int = 10) -> np.ndarray:
    """The indices of the most probable words of each topic, falling: (K, V) to (K, at most ``number``)."""
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
    columns = sp.csc_array(documents)[:, used]
    occurs = sp.csc_array((np.ones(len(columns.data)), columns.indices, columns.indptr), columns.shape)
    pairs_of_all, every = hosts.sum(np.asarray((occurs.T @ occurs).toarray()), np.array([documents.shape[0]]))
    together = pairs_of_all / every
    alone = np.diag(together)
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = np.log(together / np.outer(alone, alone)) / -np.log(together)
    scores[together == 0] = -1
    scores[together == 1] = 1  # in every document: the limit
    pairs = np.triu_indices(words.shape[1], 1)
    return np.array([scores[np.ix_(topic, topic)][pairs].mean() for topic in positions.reshape(words.shape)])


def uniqueness(words: np.ndarray) -> np.ndarray:
    """Of each topic, (K,): the mean over its words of one over the number of topics that have the word among theirs.

    1 where no other topic has any of them, 1 / K where all topics have the same.

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
    return np.array([(topic @ topic.T)[pairs].mean() for topic in unit])


def distinct(words: np.ndarray) -> int:
    """How many topics are left if one that shares more than half of its words with an earlier one is not counted.

    >>> distinct(np.array([[0, 1, 2], [2, 0, 3], [2, 4, 5]]))
    2
    """
    kept: list[set[int]] = []
    for topic in words.tolist():
        if all(2 * len(other.intersection(topic)) <= len(topic) for other in kept):
            kept.append(set(topic))
    return len(kept)


def write_report(
    directory: Path | None,
    title: str,
    beta: np.ndarray,
    shares: np.ndarray,
    documents: sp.csr_array,
    vocabulary: Sequence[str] | None = None,
    hosts: Hosts = ONE_HOST,
) -> None:
    """Write ``topics.json``, and ``topics.html`` for people, into ``directory``.

    Args:
        beta: (K, V). shares: of the topics in the corpus, (K,). documents: counts, (D, V). vocabulary: V words, in
            whose place their numbers stand where there are none. hosts: which have documents, and all call this, with
            None for the directory where they write nothing.
    """
    words = top_words(beta)
    coherences = npmi(words, documents, hosts) if words.shape[1] > 1 else np.full(len(words), np.nan)
    if directory is None:
        return
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
    (directory / REPORT).write_text(json.dumps({"topics": topics}, indent=2))
    (directory / PAGE).write_text(_page(title, topics, float(np.nanmean(coherences)) if words.shape[1] > 1 else None))


def _page(title: str, topics: list[dict[str, Any]], coherence: float | None) -> str:
    """The page: a row for each topic, the largest first."""
    largest = max(topic["share"] for topic in topics) or 1
    rows = "\n".join(
        f"<tr><td>{topic['topic']}</td>"
        f'<td style="width: 12rem"><div class="bar" style="width: {100 * topic["share"] / largest:.0f}%"></div>'
        f"<small>{100 * topic['share']:.1f} %</small></td><td>{_number(topic['npmi'])}</td>"
        f"<td>{topic['uniqueness']:.2f}</td><td>{_words(topic['words'])}</td></tr>"
        for topic in sorted(topics, key=lambda topic: -topic["share"])
    )
    mean = "" if coherence is None else f"Mean coherence (NPMI): {coherence:.3f}. "
    return (
        f'<!DOCTYPE html>\n<html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style>\n<h1>{html.escape(title)}</h1>\n<p>{len(topics)} topics. {mean}A topic's words are "
        "followed by their probability in per cent; NPMI says how often they occur in the same documents, from -1 "
        "(never) to 1 (always), and uniqueness how few other topics have the same words.</p>\n"
        "<table><tr><th>topic</th><th>share</th><th>NPMI</th><th>uniqueness</th><th>words</th></tr>\n"
        f"{rows}\n</table></html>\n"
    )


def _words(words: list[dict[str, Any]]) -> str:
    return ", ".join(
        f'<span class="word">{html.escape(word["word"])} <small>{100 * word["probability"]:.1f}</small></span>'
        for word in words
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
