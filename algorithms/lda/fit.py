"""Training: moments, tensor, topics, a few steps of likelihood."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from algorithms.common import topics
from algorithms.errors import TrainingDataError, TrainingStopped
from algorithms.events import Progress, Throughput
from algorithms.interface import Job, Stream
from algorithms.lda.decomposition import Decomposition, decompose
from algorithms.lda.likelihood import Ascent
from algorithms.lda.model import LDAModel
from algorithms.lda.moments import Moments, Whitened
from recordio.batches import Batch, concatenate

if TYPE_CHECKING:
    from algorithms.lda import LDAHyperparameters

_EXTRA = 1.25  # a quarter more topics are fitted than asked for
_MOST_TENSOR_BYTES = 1 << 31
_FIRST_SWEEPS, _SWEEPS_A_DROP, _LAST_ROUNDS, _LAST_SWEEPS = 12, 4, 10, 5
_ENOUGH = 1e-5
"""The steps end when one gains less of a word's log likelihood, relative to it."""


def train(hyperparameters: LDAHyperparameters, stream: Stream, job: Job) -> LDAModel:
    """Fit topics to the documents of ``stream``.

    Raises:
        TrainingDataError: there are no documents, or their features are not counts of words.
        TrainingStopped: a stop was asked for before a document was read.
    """
    wanted = hyperparameters.num_topics
    fitted = min(math.ceil(_EXTRA * wanted), hyperparameters.feature_dim)
    _check_tensor(fitted, wanted)
    job.info(f"Running LDA for {fitted} topics ({wanted} requested)")
    started = time.perf_counter()
    with job.timer("get_all_batches_from_iter.time"):
        counts = read(stream, hyperparameters.feature_dim, job)
    job.info(f"Loaded all data into matrix with shape: {counts.shape}")
    random = np.random.default_rng(job.seed)
    with job.timer("moment1.time"):
        whitened = Moments(counts, hyperparameters.alpha0).whiten(fitted, random)
    with job.timer("CPDecomposition.time"):
        found = decompose(
            whitened.tensor,
            max_restarts=hyperparameters.max_restarts,
            max_iterations=hyperparameters.max_iterations,
            tolerance=hyperparameters.tol,
            random=random,
            report=lambda one: _report(one, job),
        )
    job.info(f"Best reconstruction error: {found.error:.8f}")
    with job.timer("LDA.finalize.time"):
        alpha, beta = recover(whitened, found, hyperparameters.alpha0)
        alpha, beta = fill(alpha, beta, counts, fitted, random)
        model = climb(counts, alpha / alpha.sum() * hyperparameters.alpha0, beta, wanted, job)
    if not np.isfinite(model.beta).all() or not model.beta.any(axis=1).all():
        raise TrainingDataError(f"alpha0 is {hyperparameters.alpha0:g}, and no topics are found: choose a smaller one")
    job.report(Progress(1, 1))
    job.report(Throughput(counts.shape[0], time.perf_counter() - started))
    if job.output_directory is not None:
        topics.write_report(job.output_directory, "Topics of the corpus", model.beta, model.shares, counts)
    return model


def _check_tensor(fitted: int, wanted: int) -> None:
    needed = 8 * fitted**3
    if needed > _MOST_TENSOR_BYTES:
        most = int((_MOST_TENSOR_BYTES / 8) ** (1 / 3) / _EXTRA)
        raise TrainingDataError(
            f"num_topics is {wanted}: the third moment of {fitted} topics takes {needed / 1e9:.1f} GB; "
            f"the most that fit are {most}"
        )


def _report(found: Decomposition, job: Job) -> None:
    job.info(f"[CPDecomp] iter={found.iterations}, error={found.error:.12f}, var=0.0")
    if found.converged:
        job.info(f"Converged to local minimum in {found.iterations} iterations.")
    else:
        job.info(f"Did not converge in {found.iterations} iterations.")


def read(stream: Stream, feature_dim: int, job: Job) -> sp.csr_array:
    """All documents, (D, V) CSR float32. Memory: the non-zeros.

    Raises:
        TrainingDataError, TrainingStopped: see ``train``.
    """
    parts: list[Batch] = []
    for batch in stream.batches():
        if batch.feature_dim != feature_dim:
            raise TrainingDataError(
                f"feature_dim is {feature_dim}, but the train channel has {batch.feature_dim} features"
            )
        counts = sp.csr_array(batch.features)
        if counts.nnz and counts.data.min() < 0:
            raise TrainingDataError(
                f"the train channel holds {counts.data.min():g}; features must be counts of words, 0 or more"
            )
        parts.append(Batch(counts))
        if job.stop_requested:
            job.warning("Training was asked to stop: the topics are those of the documents read so far.")
            break
    if not any(len(part) for part in parts):
        if job.stop_requested:
            raise TrainingStopped("no document had been read")
        raise TrainingDataError("No training data processed: the train channel is empty.")
    joined = sp.csr_array(concatenate(parts).features)
    joined.sum_duplicates()
    joined.eliminate_zeros()
    return joined


def recover(whitened: Whitened, found: Decomposition, alpha0: float) -> tuple[np.ndarray, np.ndarray]:
    """Prior and topics behind the terms of the tensor, (r,) and (r, V), the largest prior first.

    lambda_i = 2 / (a0 + 2) sqrt(a0 (a0 + 1) / alpha_i) and mu_i = (a0 + 2) / 2 lambda_i B v_i (section 4.3). Noise
    makes some words of mu negative; these become impossible.
    """
    weights = np.maximum(found.weights, np.finfo(float).tiny)
    alpha = 4 * alpha0 * (alpha0 + 1) / ((alpha0 + 2) * weights) ** 2
    topic_words = (whitened.unwhiten @ found.factors).T
    topic_words *= np.where(topic_words.sum(axis=1) < 0, -1.0, 1.0)[:, None]
    beta = np.maximum(topic_words, 0)
    sums = beta.sum(axis=1)
    order = np.argsort(-alpha, kind="stable")
    order = order[(sums > 0)[order] & np.isfinite(alpha[order])]
    return alpha[order], beta[order] / sums[order, None]


def fill(
    alpha: np.ndarray, beta: np.ndarray, counts: sp.csr_array, fitted: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """As many topics as ``fitted``: where the moments had fewer, the words of a document or so start the others.

    All are smoothed, so that the steps that follow can give a topic any word.
    """
    missing = fitted - len(alpha)
    if missing:
        chosen = counts[np.sort(random.integers(counts.shape[0], size=missing))].toarray() + 1e-3
        beta = np.concatenate([beta, chosen / chosen.sum(axis=1, keepdims=True)])
        alpha = np.append(alpha, np.full(missing, alpha.min() if len(alpha) else 1.0))
    beta = beta + 1e-3 / beta.shape[1]
    return alpha, beta / beta.sum(axis=1, keepdims=True)


def climb(counts: sp.csr_array, alpha: np.ndarray, beta: np.ndarray, wanted: int, job: Job) -> LDAModel:
    """Steps up the likelihood, on the way of which the topics that say least are left out until ``wanted`` remain.

    Then the prior, of which ``alpha`` is a first guess, is fitted too.
    """
    alpha0 = float(alpha.sum())
    ascent = Ascent(counts, alpha, beta)
    _sweep(ascent, _FIRST_SWEEPS, job)
    while len(ascent.alpha) > wanted:
        ascent.drop_least()
        _sweep(ascent, _SWEEPS_A_DROP, job)
    ascent.alpha = _prior(ascent, alpha0)
    for _ in range(_LAST_ROUNDS):
        ascent.fit_prior()
        _sweep(ascent, _LAST_SWEEPS, job, collapsed=True)
    order = np.argsort(-ascent.alpha, kind="stable")
    limits = np.finfo(np.float32)  # the artifact holds float32, in which an extreme prior would be 0 or infinite
    alpha = np.clip(ascent.alpha[order], limits.tiny, limits.max / (2 * len(order)))
    return LDAModel(alpha.astype(np.float32), np.ascontiguousarray(ascent.words.T[order]))


def _prior(ascent: Ascent, alpha0: float) -> np.ndarray:
    shares = np.maximum(ascent.shares(), 1e-6)
    return alpha0 * shares / shares.sum()


def _sweep(ascent: Ascent, times: int, job: Job, *, collapsed: bool = False) -> None:
    before = -np.inf
    for _ in range(times):
        likelihood = ascent.sweep(collapsed=collapsed)
        if likelihood - before < _ENOUGH * abs(likelihood) or job.stop_requested:
            break
        before = likelihood
