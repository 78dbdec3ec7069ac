"""Training: epochs of mini-batches, the loss on validation documents, the best weights kept, the topics said."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from algorithms.checkpoints import Checkpoint, rows_from_arrays, rows_to_arrays
from algorithms.common import topics
from algorithms.common.hosts import any_host, dealt, packed, unpacked
from algorithms.common.networks import check_finite, load_keras
from algorithms.common.randomness import draws
from algorithms.common.reservoir import Reservoir
from algorithms.errors import TrainingDataError, TrainingStopped
from algorithms.events import Chosen, FinalScore, Measured, Progress, Throughput
from algorithms.interface import Job
from algorithms.ntm import auxiliary, seeding
from algorithms.ntm.auxiliary import Auxiliary
from algorithms.ntm.model import Loss, NTMModel
from algorithms.ntm.summary import report
from recordio.batches import Batch, concatenate, rebatch

if TYPE_CHECKING:
    from algorithms.ntm import NTMHyperparameters
    from algorithms.ntm.network import Network

_SAMPLE_BYTES = 1 << 26
"""Most documents of the first epoch that are kept to measure coherence on; if there are more, a random sample."""
_FEW = 1000
"""With fewer documents the random draws of h change the mean loss of an epoch by more than an epoch of learning does:
with 15 documents of five words by 0.1."""
_SHOWN = 64
"""Documents of each host on which the loss of a model is checked that is kept without a validation channel."""
_SMALL_STEP = 25_000_000
"""Multiplications of a forward pass up to which a step takes a quarter less processor time in one thread than in two;
128 documents of 2,000 words take 20 million."""


def train(hyperparameters: NTMHyperparameters, channels: Mapping[str, Any], job: Job) -> NTMModel:
    """Fit the network to the documents of ``train``.

    Raises:
        ChannelError, TrainingDataError, TrainingStopped: see ``NTM.fit``.
    """
    words: Auxiliary | None = None
    if "auxiliary" in channels:
        words = auxiliary.read(channels["auxiliary"], hyperparameters.feature_dim)
        if words.unknown:
            job.warning(f"{words.unknown} out of {len(words.words)} in vocabulary do not have embeddings!")
    else:
        job.info("Vocab file is not provided")
    training = Training(hyperparameters, channels, job)
    model = training.run()
    model = report(model, training.documents(), words, job)
    if "test" in channels and not any_host(job.hosts, job.stop_requested):
        loss = training.score(model, "test").total
        job.report(FinalScore("test", "total_loss", loss))
        job.report(Measured.of("test", "total_loss", loss))
    elif "test" not in channels:
        job.info("Test data is not provided.")
    return model


class Patience:
    """Early stopping as the closed container's log shows it: training ends after more than ``window`` bad epochs in a
    row. An epoch is bad if its loss is not lower by ``tolerance`` than the lowest of the ``window`` epochs before
    it."""

    def __init__(self, window: int, tolerance: float) -> None:
        self.window, self.tolerance = window, tolerance
        self.bad = 0
        self.losses: list[float] = []

    def exceeded(self, loss: float, job: Job) -> bool:
        """Whether training should end after an epoch with this loss."""
        recent, self.losses = self.losses[-self.window :], [*self.losses, loss][-self.window :]
        if len(recent) < self.window:
            return False
        least = min(recent)
        job.info(
            f"patience losses:{recent} min patience loss:{least} current loss:{loss} "
            f"absolute loss difference:{abs(least - loss)}"
        )
        if least - loss >= self.tolerance:
            self.bad = 0
            return False
        self.bad += 1
        job.info(f"Bad epoch: loss has not improved (enough). Bad count:{self.bad}")
        return self.bad > self.window


class Training:
    """The state of a job."""

    def __init__(self, hyperparameters: NTMHyperparameters, channels: Mapping[str, Any], job: Job) -> None:
        self.values, self.channels, self.job = hyperparameters, channels, job
        own = [job.seed, job.hosts.rank] if job.hosts.rank else job.seed  # hosts draw documents of their own
        self.random = np.random.default_rng(own)
        self.sample = Reservoir(draws("sample", job.seed, job.hosts.rank), _SAMPLE_BYTES)
        self._network: Network | None = None
        self._first_epoch = True
        self._patience = Patience(hyperparameters.num_patience_epochs, hyperparameters.tolerance)
        self._best: NTMModel | None = None
        self._lowest, self._best_epoch, self._epochs = float("inf"), 0, 0
        self._batches = 0  # that were trained on in the running epoch
        self._draws = self.random.bit_generator.state  # when the running epoch began
        self._told = False  # whether the lines about training in the running epoch are in the log
        self._found: Checkpoint | None = None

    @property
    def network(self) -> Network:
        """The network, which is made at the first mini-batch."""
        assert self._network is not None
        return self._network

    def documents(self) -> sp.csr_array:
        """(D, V) counts of documents of the first epoch, each as likely as any other; D is 0 on a host without any."""
        rows = self.sample.rows()
        if rows is None:
            return sp.csr_array((0, self.values.feature_dim), dtype=np.float32)
        return sp.csr_array(rows.features)

    def run(self) -> NTMModel:
        """Epochs until the loss no longer falls, or a stop. Returns the model of the best epoch."""
        over = self._resume()
        while not over and self._epochs < self.values.epochs:
            model, loss = self._epoch(self._epochs + 1)
            if loss is None:  # a stop was asked for in the midst of it
                if self._best is None:
                    self._loss_of(model, self._epochs + 1, _SHOWN)
                    self._best, self._best_epoch = model, self._epochs + 1
                self.job.warning(f"Training was asked to stop: the model is that of epoch {self._best_epoch}.")
                break
            over = self._end_epoch(model, loss)
        assert self._best is not None
        if "validation" in self.channels and np.isfinite(self._lowest):
            self.job.report(Measured.of("validation", "total_loss", self._lowest, step=self._epochs))
        if np.isfinite(self._lowest):
            self.job.info(f"Best model based on early stopping at epoch {self._best_epoch}. Best loss: {self._lowest}")
        self.job.report(Chosen(self._best_epoch))
        return self._best

    def _end_epoch(self, model: NTMModel, loss: float) -> bool:
        """Keep the model if it is the best; whether training is over."""
        self._epochs += 1
        if self._best is None or loss < self._lowest:
            self._best, self._lowest, self._best_epoch = model, loss, self._epochs
        self.job.report(Progress(self._epochs, self.values.epochs))
        over = self._patience.exceeded(loss, self.job)
        if over:
            self.job.info("Bad epochs exceeded patience. Stopping training early!")
            self.job.report(Progress(self.values.epochs, self.values.epochs))
        self._batches, self._draws, self._told = 0, self.random.bit_generator.state, False
        self.job.checkpoints.offer(lambda: self._checkpoint(over=over), epoch_over=True)
        return over

    def _epoch(self, epoch: int) -> tuple[NTMModel, float | None]:
        """The model after one epoch, and its loss: on validation where there is such a channel, else on train.

        The loss is None where a stop was asked for in the midst of it.
        """
        job, started = self.job, time.perf_counter()
        stopped = self._steps(epoch)
        trained = self._checkpoint()
        if stopped:
            self._offer(trained)
        loss, seconds = self.network.losses(), time.perf_counter() - started
        if not self._told and not (stopped and self._is_kept):
            self._tell(epoch, loss, seconds)
        self._check_loss(loss.total, epoch)
        model = self.network.model()
        if stopped:
            return model, None
        if "validation" not in self.channels:
            return model, self._steady(model, loss, epoch)
        held_out = self.score(model, "validation")
        if any_host(job.hosts, job.stop_requested):  # it is scored once more, from where training was over
            self._offer(replace(trained, state={**trained.state, "told": True}))
            return model, None
        if not held_out.documents:
            raise TrainingDataError("channel 'validation' has no document with words")
        self._check_loss(held_out.total, epoch)
        job.info(f"#validation_score ({epoch}): {held_out.total}")
        job.report(Measured.of("validation", "total_loss", held_out.total, step=epoch))
        total = time.perf_counter() - started
        job.info(f"Timing: train: {seconds:.2f}s, val: {total - seconds:.2f}s, epoch: {total:.2f}s")
        return model, held_out.total

    def _steps(self, epoch: int) -> bool:
        """Train on the mini-batches of an epoch, or those that are left of it; whether a host was asked to stop.

        Raises:
            TrainingDataError: there is no document with words.
        """
        if not self._batches:
            self.job.info(f"# Starting training for epoch {epoch}")
        self._first_epoch, stopped = epoch == 1, False
        mini_batches = itertools.islice(self._mini_batches(), self._batches, None)
        while not stopped:
            counts = next(mini_batches, None)  # None where only other hosts have more
            with self.job.nothing_to_keep() if epoch == 1 and not self._batches else nullcontext():  # it is compiled
                rows, stopped = self.network.step(counts, lambda: self.job.stop_requested)
            if not rows:
                break
            self._batches += 1
            self._offer()  # a stop was looked for before: the checkpoint is then written
        if not self._batches:
            raise TrainingDataError("No training data processed: channel 'train' has no document with words.")
        return any_host(self.job.hosts, stopped or self.job.stop_requested)

    def _check_loss(self, loss: float, epoch: int) -> None:
        check_finite(loss, f"the loss of epoch {epoch}", self.values.rate)

    def _steady(self, model: NTMModel, loss: Loss, epoch: int) -> float:
        """The loss by which training is stopped early: that of the epoch, or with few documents that of the model after
        it, always with the same draws, as the change by other draws would be taken for the end of learning."""
        if loss.documents < _FEW:
            return self._loss_of(model, epoch, _FEW)
        self._loss_of(model, epoch, _SHOWN)
        return loss.total

    def _loss_of(self, model: NTMModel, epoch: int, most: int) -> float:
        """The loss of a model on at most ``most`` documents of each host, with the same draws each time.

        Raises:
            TrainingDataError: it is not finite: the last step diverged, which no loss in training shows.
        """
        shown = [Batch(self.documents()[:most])]
        loss = model.loss(shown, np.random.default_rng(self.job.seed), self.job.hosts).total
        self._check_loss(loss, epoch)
        return loss

    def _tell(self, epoch: int, loss: Loss, seconds: float) -> None:
        self.job.info(
            f"# Finished training epoch {epoch} on {loss.documents} examples from {self._batches} batches, each of "
            f"size {self.network.size}."
        )
        self._say("Training", loss)
        self.job.report(Measured.of("train", "total_loss", loss.total, step=epoch))
        self.job.report(Throughput(loss.documents, seconds))

    # ---- checkpoints ------------------------------------------------------------------------------------------------

    @property
    def _is_kept(self) -> bool:
        """Whether a stop in the midst of an epoch leaves a checkpoint: the next run then tells of the whole of it."""
        return self.job.checkpoint_directory is not None and self.channels["train"].repeats

    def _offer(self, made: Checkpoint | None = None) -> None:
        """Offer a checkpoint in the midst of an epoch, which is then read again from its start."""
        if self.channels["train"].repeats:
            self.job.checkpoints.offer(lambda: made or self._checkpoint())

    def _checkpoint(self, *, over: bool = False) -> Checkpoint:
        """The checkpoint between two mini-batches or two epochs. A running epoch is read again from its start, with the
        same draws, so the documents that are kept of the first epoch need not be in it before that epoch is over."""
        kept = {}
        if self._best is not None:
            kept[f"model-{self._best_epoch}"] = self._best.to_arrays()
            kept["documents"] = rows_to_arrays("documents", self.documents())
        state = {
            "epochs": self._epochs,
            "batches": self._batches,
            "draws": self._draws,
            "over": over,
            "told": self._told,
            "lowest": self._lowest,
            "best_epoch": self._best_epoch,
            "losses": self._patience.losses,
            "bad": self._patience.bad,
            "size": self.network.size,
            "weight": self.network.weight,
        }
        position = f"epoch {self._epochs}" + (f" and {self._batches} batches" if self._batches else "")
        return Checkpoint(position, state, self.network.to_arrays(), kept)

    def _resume(self) -> bool:
        """Take up the newest checkpoint, if there is one; whether training is over."""
        found = self.job.checkpoints.latest()
        if found is None:
            return False
        state = found.state
        self._epochs, self._batches, self._draws = state["epochs"], state["batches"], state["draws"]
        self.random.bit_generator.state, self._told = self._draws, state["told"]
        self._lowest, self._best_epoch = state["lowest"], state["best_epoch"]
        self._patience.losses, self._patience.bad = state["losses"], state["bad"]
        self._found = found
        if self._best_epoch:
            self._best = self._model_from(found.kept[f"model-{self._best_epoch}"])
            self.sample.add(Batch(rows_from_arrays("documents", found.kept["documents"])))
        if self._epochs:  # in the first one the network is made from its first documents once more
            self._make(state["size"], state["weight"], seeding.none(self.values.num_topics, self.values.feature_dim))
        return bool(state["over"])

    def _model_from(self, arrays: Mapping[str, np.ndarray]) -> NTMModel:
        return NTMModel.from_arrays(arrays, len(self.values.layers), self.values.encoder_layers_activation)

    def _make(self, size: int, weight: float, seed: seeding.Seed) -> None:
        """Make the network, new or as the checkpoint has it."""
        with self.job.nothing_to_keep() if self._found is None else nullcontext():
            load_keras(self.job.seed, one_thread=self.job.owns_process and size * self.values.products < _SMALL_STEP)
            from algorithms.ntm.network import Network  # imports Keras

            self._network = Network(self.values, size, weight, seed, self.job.seed, self.job.hosts)
        if self._found is not None:
            self._network.from_arrays(self._found.arrays)
            self._found = None

    # ---- scores -----------------------------------------------------------------------------------------------------

    def score(self, model: NTMModel, channel: str) -> Loss:
        """The loss on all documents of a channel that have words; with the same draws each time."""
        loss = model.loss(self._documents(channel), np.random.default_rng(self.job.seed), self.job.hosts)
        self.job.info(f"Finished scoring on {loss.documents} examples")
        self._say("Inference", loss)
        return loss

    def _say(self, what: str, loss: Loss) -> None:
        self.job.info(f"Metrics for {what}:")
        parts = {"total": loss.total, "kld": loss.divergence, "recons": loss.reconstruction, "logppx": loss.total}
        for name, value in parts.items():
            self.job.info(f"Loss (name: value) {name}: {value}")

    # ---- documents --------------------------------------------------------------------------------------------------

    def _mini_batches(self) -> Iterator[sp.csr_array]:
        """The mini-batches of one epoch of ``train``. In the first, the network is made of the first documents."""
        documents: Iterable[Batch] = self._drawn()
        if self._network is None:
            documents = self._begin(documents)
        for batch in rebatch(documents, self.network.size):
            yield sp.csr_array(batch.features)

    def _begin(self, documents: Iterable[Batch]) -> Iterable[Batch]:
        """Make the network of the first documents, then give all documents, these included."""
        least = max(seeding.DOCUMENTS, self.values.mini_batch_size)
        documents, head, count = iter(documents), list[Batch](), 0
        while count < least and (batch := next(documents, None)) is not None:
            head.append(batch)
            count += len(batch)
        hosts = self.job.hosts
        if any_host(hosts, self.job.stop_requested):
            raise TrainingStopped("no document had been trained on")
        if not any_host(hosts, bool(head)):
            raise TrainingDataError("No training data processed: channel 'train' has no document with words.")
        first = self._first_of_all(head)
        with self.job.nothing_to_keep() if self._found is None else nullcontext():  # it may take ten seconds
            seed = seeding.find(first, self.values.num_topics, self.random, hosts)
        # Each document has the same weight, that of one of mean length: the gradient is in nats for a document.
        weight = self.values.rescale_gradient * float(first.sum()) / first.shape[0]
        size = min(self.values.mini_batch_size, max(hosts.gather(count)))
        self._make(size, weight, seed)
        return itertools.chain(head, documents)

    def _first_of_all(self, head: list[Batch]) -> sp.csr_array:
        """The first documents of all hosts, (D, V), the same whatever batches the readers give."""
        none = sp.csr_array((0, self.values.feature_dim), dtype=np.float32)
        own = concatenate(head).features if head else none
        share = -(-seeding.DOCUMENTS // self.job.hosts.size)
        parts = [unpacked(part) for part in self.job.hosts.gather(packed(sp.csr_array(own[:share])))]
        return sp.csr_array(dealt(parts)[: seeding.DOCUMENTS])

    def _drawn(self) -> Iterator[Batch]:
        """The documents of ``train`` that belong to an epoch: all, or a random part of them with ``sub_sample``, at
        least one."""
        share, some = self.values.sub_sample, False
        for batch in self._documents("train"):
            counts = sp.csr_array(batch.features)
            if self._first_epoch:
                self.sample.add(batch)
            if share < 1:
                drawn = self.random.random(counts.shape[0]) < share
                drawn[0] |= not some
                counts = counts[drawn]
            if counts.shape[0]:
                some = True
                yield Batch(counts)

    def _documents(self, channel: str) -> Iterator[Batch]:
        """The documents of a channel that have words, as CSR.

        Raises:
            TrainingDataError: they are not counts of ``feature_dim`` words.
        """
        for batch in self.channels[channel].batches():
            if self.job.stop_requested and (self._network is None or channel != "train"):
                break
            counts = topics.counted(batch, self.values.feature_dim, channel)
            counts = counts[np.asarray(counts.sum(axis=1)).reshape(-1) > 0]
            if counts.shape[0]:
                yield Batch(counts)
