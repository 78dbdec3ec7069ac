"""Training: moments, tensor, topics, a few steps of likelihood."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from algorithms.checkpoints import OTHER_CODE, Checkpoint, Checkpoints, NoCheckpoints
from algorithms.common import topics
from algorithms.common.hosts import any_host, dealt, from_leader
from algorithms.errors import ModelError, TrainingDataError, TrainingStopped
from algorithms.events import Progress, Throughput
from algorithms.interface import Hosts, Job, Stream
from algorithms.lda.decomposition import Decomposition, decompose
from algorithms.lda.likelihood import Ascent
from algorithms.lda.model import LDAModel
from algorithms.lda.moments import Moments, Whitened
from recordio.batches import Batch, concatenate

if TYPE_CHECKING:
    from algorithms.lda import LDAHyperparameters

_EXTRA, _TEXT_EXTRA, _MOST_TEXT_EXTRA = 1.25, 2, 100
"""Topics that are fitted for each one that is asked for; for text twice as many, as long as these are at most 100."""
_TEXT_WORDS = 20
"""From so many words of the vocabulary for each topic, and so many words in the mean document, a corpus counts as text.
The moments of a smaller one do not hold more topics than there are."""
_MOST_RANK = 128
"""Most topics that are read off the tensor, which costs (D + 2 V) r^3; further topics start from documents."""
_FIRST_SWEEPS, _LAST_ROUNDS, _LAST_SWEEPS = 12, 10, 5
_MOST_DROPS = 25  # phases that begin by leaving out topics: with more topics to leave out, several at a time
_SWEEPS_A_DROP, _SWEEPS_OF_MANY = 4, 2  # of such a phase, and where several topics go at a time
MOMENTS = "moments"
_MOST_WORDS = 1e30
"""Most words of all documents, so that sums of products with their probabilities and priors stay within float32."""
_ENOUGH = 1e-5
"""The steps end when one raises a word's log likelihood by less than this share of it."""


def train(hyperparameters: LDAHyperparameters, stream: Stream, job: Job) -> LDAModel:
    """Fit topics to the documents of ``stream``.

    Raises:
        ModelError: the checkpoint to go on from was written by other code.
        TrainingDataError: there are no documents, or their features are not counts of words.
        TrainingStopped: a stop was asked for before a document was read.
    """
    wanted = hyperparameters.num_topics
    found = job.checkpoints.latest(join=partial(_joined, hosts=job.hosts))
    started = time.perf_counter()
    with job.timer("get_all_batches_from_iter.time"):
        counts = read(stream, hyperparameters.feature_dim, job)
    is_text = _is_text(counts, wanted, job.hosts)
    fitted = topics_begun(wanted, hyperparameters.feature_dim, is_text=is_text)
    job.info(f"Running LDA for {fitted} topics ({wanted} requested)")
    if found is None:
        job.info(f"Loaded all data into matrix with shape: {counts.shape}")
    # A checkpoint is of all documents: there is none where a stop has cut reading short.
    checkpoints = NoCheckpoints() if any_host(job.hosts, job.stop_requested) else job.checkpoints
    if found is None or found.state["stage"] == MOMENTS:
        alpha, beta = _first_topics(counts, fitted, hyperparameters, found, checkpoints, job)
        climb = Climb(counts, alpha / alpha.sum() * hyperparameters.alpha0, beta, wanted, is_text, checkpoints, job)
    else:
        climb = Climb.resumed(counts, wanted, is_text, found, checkpoints, job)
    with job.timer("LDA.finalize.time"):
        model = climb.run()
    if not (np.isfinite(model.alpha).all() and np.isfinite(model.beta).all() and model.beta.any(axis=1).all()):
        raise TrainingDataError(f"alpha0 is {hyperparameters.alpha0:g}, and no topics are found: choose a smaller one")
    job.report(Progress(1, 1))
    job.report(Throughput(counts.shape[0], time.perf_counter() - started))
    if job.output_directory is not None or job.hosts.size > 1:
        described = topics.describe(model.beta, model.shares, counts, hosts=job.hosts)
        if job.output_directory is not None:
            topics.write_report(job.output_directory, described)
            return dataclasses.replace(model, described=described)
    return model


def _is_text(counts: sp.csr_array, wanted: int, hosts: Hosts) -> bool:
    documents, words = hosts.sum(np.array([counts.shape[0], counts.sum(dtype=np.float64)]))[0]
    return counts.shape[1] >= _TEXT_WORDS * wanted and bool(words >= _TEXT_WORDS * documents)


def topics_begun(wanted: int, words: int, *, is_text: bool) -> int:
    """The number of topics that training starts with, of which ``wanted`` will be left."""
    most = min(_TEXT_EXTRA * wanted, _MOST_TEXT_EXTRA) if is_text else 0
    return min(max(math.ceil(_EXTRA * wanted), most), words)


def _joined(size: int, found: Mapping[int, Checkpoint], hosts: Hosts) -> tuple[Checkpoint, int]:
    """See ``algorithms.checkpoints.Join``. The hosts' states differ only in the mixtures of their documents."""
    leaders = found.get(0)
    own = None if leaders is None else [leaders.position, json.dumps(leaders.state), dict(leaders.arrays)]
    position, state, arrays = next(told for told in hosts.gather(own) if told is not None)
    if "mixtures" in arrays:
        mixtures: dict[int, np.ndarray] = {}
        for of_host in hosts.gather([[rank, one.arrays["mixtures"]] for rank, one in found.items()]):
            mixtures |= dict(of_host)
        whole = dealt([mixtures[rank] for rank in range(size)])
        arrays["mixtures"] = np.ascontiguousarray(whole[hosts.rank :: hosts.size])
    return Checkpoint(position, json.loads(state), arrays, reads_again="mixtures" in arrays), 0


def _first_topics(
    counts: sp.csr_array,
    fitted: int,
    hyperparameters: LDAHyperparameters,
    resumed: Checkpoint | None,
    checkpoints: Checkpoints,
    job: Job,
) -> tuple[np.ndarray, np.ndarray]:
    """First guess of the prior, (fitted,), and of the topics, (fitted, V), from the moments."""
    random = np.random.default_rng(job.seed)
    if resumed is None:
        with job.timer("moment1.time"):
            whitened = Moments(counts, hyperparameters.alpha0, job.hosts).whiten(min(fitted, _MOST_RANK), random)
        state = {"stage": MOMENTS, "random": random.bit_generator.state}
        checkpoints.offer(lambda: Checkpoint("the moments", state, vars(whitened)))
    else:
        whitened = Whitened(**resumed.arrays)
        random.bit_generator.state = resumed.state["random"]
    alpha, beta = np.zeros(0), np.zeros((0, counts.shape[1]))
    if len(whitened.tensor):
        with job.timer("CPDecomposition.time"):
            found = _decomposed(whitened, hyperparameters, random, job)
        job.info(f"Best reconstruction error: {found.error:.8f}")
        alpha, beta = recover(whitened, found, hyperparameters.alpha0)
    else:
        job.warning(
            "How often words occur together tells of no topics: alpha0 is large, or no document has three words or "
            "more. Documents start the topics instead"
        )
    return fill(alpha, beta, counts, fitted, random, job.hosts)


def _decomposed(
    whitened: Whitened, hyperparameters: LDAHyperparameters, random: np.random.Generator, job: Job
) -> Decomposition:
    """The leader's decomposition of the tensor, which takes less time than the documents do."""

    def found() -> list[Any]:
        best = decompose(
            whitened.tensor,
            max_restarts=hyperparameters.max_restarts,
            max_iterations=hyperparameters.max_iterations,
            tolerance=hyperparameters.tol,
            random=random,
            report=lambda one: _report(one, job),
            stopped=lambda: job.stop_requested,
        )
        return [best.weights, best.factors, best.error, best.iterations, best.converged]

    return Decomposition(*from_leader(job.hosts, found))


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
        parts.append(Batch(topics.counted(batch, feature_dim, "train")))
        if job.stop_requested:
            job.warning("Training was asked to stop: the topics are those of the documents read so far.")
            break
    if not any_host(job.hosts, any(len(part) for part in parts)):
        if job.stop_requested:
            raise TrainingStopped("no document had been read")
        raise TrainingDataError("No training data processed: channel 'train' is empty.")
    joined = sp.csr_array(concatenate(parts).features if parts else (0, feature_dim), dtype=np.float32)
    joined.sum_duplicates()
    joined.eliminate_zeros()
    words = float(joined.sum(dtype=np.float64))
    if not any_host(job.hosts, words > 0):
        raise TrainingDataError("no document of channel 'train' has a word; features must be the counts of words")
    if words > _MOST_WORDS:
        raise TrainingDataError(
            f"channel 'train' holds {joined.data.max():g}, and {words:.2g} in all; features must be counts of words, "
            f"{_MOST_WORDS:.0e} in all at most, which float32 can add up: divide them all by one number"
        )
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
    alpha: np.ndarray,
    beta: np.ndarray,
    counts: sp.csr_array,
    fitted: int,
    random: np.random.Generator,
    hosts: Hosts,
) -> tuple[np.ndarray, np.ndarray]:
    """Prior and topics filled up to ``fitted`` topics: those that the moments lack start from the words of a few
    documents.

    ``alpha`` is (k,), ``beta`` (k, words); (fitted,) and (fitted, words) are returned. All topics are smoothed, so that
    the steps that follow can give a topic any word.
    """
    missing = fitted - len(alpha)
    if missing:
        chosen = _documents(counts, missing, random, hosts) + 1e-3
        beta = np.concatenate([beta, chosen / chosen.sum(axis=1, keepdims=True)])
        alpha = np.append(alpha, np.full(missing, alpha.min() if len(alpha) else 1.0))
    beta = beta + 1e-3 / beta.shape[1]
    return alpha, beta / beta.sum(axis=1, keepdims=True)


def _documents(counts: sp.csr_array, number: int, random: np.random.Generator, hosts: Hosts) -> np.ndarray:
    """Documents (number, V), drawn from those of all hosts as if dealt out one by one."""
    sizes = np.array(hosts.gather(counts.shape[0]))
    drawn = from_leader(hosts, lambda: np.sort(random.integers(sizes.sum(), size=number)))
    own = np.arange(counts.shape[0])  # of own document i, those before it: i or i + 1 of each other host, or all it has
    before = np.minimum(sizes, own[:, None] + (np.arange(hosts.size) < hosts.rank)).sum(axis=1)
    mine = np.flatnonzero(np.isin(drawn, before))
    chosen = np.zeros((number, counts.shape[1]))
    chosen[mine] = counts[np.searchsorted(before, drawn[mine])].toarray()
    return hosts.sum(chosen)[0]


class Climb:
    """Steps up the likelihood, between which the least informative topics are left out until ``wanted`` remain.

    Then the prior, of which ``alpha`` is a first guess, is fitted, too. Training is a sequence of phases: a phase is a
    number of sweeps, before which nothing is done (in the first), topics are left out, or the prior takes a step.
    """

    def __init__(
        self,
        counts: sp.csr_array,
        alpha: np.ndarray,
        beta: np.ndarray,
        wanted: int,
        is_text: bool,
        checkpoints: Checkpoints,
        job: Job,
    ) -> None:
        self._ascent = Ascent(counts, alpha, beta, job.hosts)
        self._alpha0 = float(alpha.sum())
        self._drops, self._wanted, self._is_text = len(alpha) - wanted, wanted, is_text
        self._job, self._checkpoints = job, checkpoints
        self._phase = self._sweeps = 0
        self._before = -np.inf  # the likelihood

    @classmethod
    def resumed(
        cls,
        counts: sp.csr_array,
        wanted: int,
        is_text: bool,
        found: Checkpoint,
        checkpoints: Checkpoints,
        job: Job,
    ) -> Climb:
        """The steps as they were when a checkpoint was written.

        Raises:
            ModelError: it lacks what the steps go on with.
        """
        state, arrays = found.state, found.arrays
        if "smoothing" not in state:
            raise ModelError(f"the checkpoint has no smoothing of the topics{OTHER_CODE}")
        climb = cls(counts, arrays["alpha"], arrays["words"].T, wanted, is_text, checkpoints, job)
        climb._ascent.mixtures, climb._ascent.sizes = arrays["mixtures"], arrays["sizes"]
        climb._ascent.smoothing = state["smoothing"]
        climb._alpha0, climb._drops = state["alpha0"], state["drops"]
        climb._phase, climb._sweeps, climb._before = state["phase"], state["sweeps"], state["before"]
        return climb

    @property
    def _rounds(self) -> int:
        """Phases that begin by leaving out topics."""
        return min(self._drops, _MOST_DROPS)

    def run(self) -> LDAModel:
        """All phases that are left."""
        while self._phase < 1 + self._rounds + _LAST_ROUNDS:
            if not self._sweeps:
                self._begin_phase()
            self._sweep()
        ascent = self._ascent
        order = np.argsort(-ascent.alpha, kind="stable")
        limits = np.finfo(np.float32)  # the artifact holds float32, in which an extreme prior would be 0 or infinite
        alpha = np.clip(ascent.alpha[order], limits.tiny, limits.max / (2 * len(order)))
        words = np.ascontiguousarray(ascent.words.T[order])
        return LDAModel(*from_leader(self._job.hosts, lambda: [alpha.astype(np.float32), words]))

    def _begin_phase(self) -> None:
        if 1 <= self._phase <= self._rounds:
            left = self._wanted + self._drops * (self._rounds - self._phase) // self._rounds
            self._ascent.drop_least(len(self._ascent.alpha) - left, coherent=self._is_text)
        elif self._phase:
            if self._phase == self._rounds + 1:
                self._ascent.alpha = _prior(self._ascent, self._alpha0)
            self._ascent.fit_prior(self._alpha0)
            self._ascent.fit_smoothing()

    def _sweep(self) -> None:
        """Do the sweeps of a phase, or fewer, once they gain little or a stop was asked for."""
        is_last = self._phase > self._rounds
        a_drop = _SWEEPS_A_DROP if self._drops <= _MOST_DROPS else _SWEEPS_OF_MANY
        times = _LAST_SWEEPS if is_last and self._phase else a_drop if self._phase else _FIRST_SWEEPS
        phase = self._phase
        while self._phase == phase:
            likelihood = self._ascent.sweep(collapsed=is_last and phase > 0)
            enough = any_host(self._job.hosts, likelihood - self._before < _ENOUGH * abs(likelihood))
            self._before, self._sweeps = likelihood, self._sweeps + 1
            if enough or self._sweeps == times:
                self._phase, self._sweeps, self._before = phase + 1, 0, -np.inf
            stopped = any_host(self._job.hosts, self._job.stop_requested)  # before a checkpoint, which is then written
            self._checkpoints.offer(self._checkpoint, epoch_over=True)
            if stopped and self._phase == phase:
                self._phase, self._sweeps, self._before = phase + 1, 0, -np.inf

    def _checkpoint(self) -> Checkpoint:
        state = {
            "stage": "topics",
            "alpha0": self._alpha0,
            "drops": self._drops,
            "phase": self._phase,
            "sweeps": self._sweeps,
            "before": self._before,
            "smoothing": self._ascent.smoothing,
        }
        ascent = self._ascent
        arrays = {
            "alpha": ascent.alpha,
            "words": ascent.words,
            "mixtures": ascent.mixtures,
            "sizes": ascent.sizes,
        }
        return Checkpoint(
            f"{self._sweeps} sweeps of phase {self._phase} of the topics", state, arrays, reads_again=True
        )


def _prior(ascent: Ascent, alpha0: float) -> np.ndarray:
    shares = np.maximum(ascent.shares(), 1e-6)
    return alpha0 * shares / shares.sum()
