"""What is said of the topics at the end of training."""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.sparse as sp

from algorithms.common import topics
from algorithms.interface import Job
from algorithms.ntm.auxiliary import Auxiliary
from algorithms.ntm.model import TOPIC_WEIGHTS, NTMModel
from recordio.batches import Batch

_SHOWN_WORDS = 20


def report(model: NTMModel, documents: sp.csr_array, words: Auxiliary | None, job: Job) -> NTMModel:
    """Write the topics into the log, as SageMaker does, and into the output folder; the model with what is known of
    them.

    Args:
        documents: training documents, (D, V), on which coherence is measured.
    """
    beta = model.topics
    shown = topics.top_words(beta, _SHOWN_WORDS)
    unique = topics.uniqueness(shown)
    similar = None if words is None or words.vectors is None else topics.wetc(shown, words.vectors)
    # SageMaker writes [, tu NUMBER] without a vocabulary, and [wetc NUMBER, tu NUMBER] with one. Where there is one but
    # no word vectors, there is no such number, and nothing is written of it.
    mean = ", " if words is None else "" if similar is None else f"wetc {similar.mean():.2f}, "
    job.info(f"Topics from epoch:final (num_topics:{len(beta)}) [{mean}tu {unique.mean():.2f}]:")
    for topic, ids in enumerate(shown):
        said = " ".join(map(str, ids) if words is None else (words.words[word] for word in ids))
        own = "" if similar is None else f"{similar[topic]:.2f}, "
        job.info(said if words is None else f"[{own}{unique[topic]:.2f}] {said}")
    best = topics.top_words(beta)
    coherence = topics.npmi(best, documents, job.hosts).mean() if best.shape[1] > 1 else float("nan")
    job.info(f"NPMI of the topics on training documents: {coherence:.3f}; {topics.distinct(best)} of them are distinct")
    if job.output_directory is not None or job.hosts.size > 1:
        weights = model.predict(Batch(documents))[TOPIC_WEIGHTS]
        lengths = np.asarray(documents.sum(axis=1), np.float64).reshape(-1)
        shares, total = job.hosts.sum(lengths @ weights, np.array([lengths.sum()]))
        vocabulary = None if words is None else words.words
        described = topics.describe(beta, shares / total, documents, vocabulary, job.hosts)
        if job.output_directory is not None:
            topics.write_report(job.output_directory, described)
            return dataclasses.replace(model, described=described)
    return model
