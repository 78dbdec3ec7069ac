"""Training: updates, the checkpoints after so many of them, and the best checkpoint as the model."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from algorithms.checkpoints import Checkpoint
from algorithms.common.hosts import ONE_HOST, any_host
from algorithms.common.networks import check_finite, load_keras, variables_from_arrays, variables_to_arrays
from algorithms.common.stopping import EarlyStopping
from algorithms.errors import ChannelError, TrainingDataError, TrainingStopped
from algorithms.events import Chosen, Duration, Measured, Progress, Score, Throughput
from algorithms.interface import Hosts, Job
from algorithms.seq2seq import data, evaluation, vocabulary
from algorithms.seq2seq.architecture import Architecture, initial, parameter_count
from algorithms.seq2seq.averaging import EVERY, Average
from algorithms.seq2seq.model import Seq2SeqModel
from algorithms.seq2seq.schedule import MAXIMIZED, Rate
from algorithms.seq2seq.translator import Translator
from algorithms.seq2seq.vocabulary import Vocabulary
from recordio import sequences
from recordio.errors import EmptyDataError
from recordio.sequences import Pairs, Ragged
from recordio.shares import Share

if TYPE_CHECKING:
    from algorithms.common.gradients import Together
    from algorithms.seq2seq import Seq2SeqHyperparameters
    from algorithms.seq2seq.network import Network

_COUNTS = ("epoch", "batches", "updates", "samples", "checkpoints", "done")
GIB = 1 << 30
_SPEED_EVERY = 50  # batches between two lines of the speed, as in Sockeye
_SHOWN = 32  # validation pairs at least, of those that there are, that a model is tried on when the job is stopped
_DROPOUTS = ("embed_dropout_source", "embed_dropout_target", "cnn_hidden_dropout", "rnn_decoder_hidden_dropout")


def train(values: Seq2SeqHyperparameters, channels: Mapping[str, Any], job: Job) -> Seq2SeqModel:
    """Fit a network to ``train``, and keep the checkpoint that is best on ``validation``.

    Raises:
        ChannelError: a vocabulary is missing or broken.
        TrainingDataError: a sequence is empty or has tokens that its vocabulary lacks, or training diverged.
        DataError: the records are no pairs of sequences.
        TrainingStopped: a stop was asked for before the first update.
    """
    folder = channels["vocab"]
    words = _vocabulary(folder, vocabulary.SOURCE_FILE), _vocabulary(folder, vocabulary.TARGET_FILE)
    if len(set(job.hosts.gather(_digest(words)))) > 1:
        raise ChannelError("channel 'vocab': the hosts have different vocabularies; all need the same")
    pairs = {name: _pairs(channels[name], name, values, words, job.hosts) for name in ("train", "validation")}
    shares = {name: channels[name].share for name in pairs}
    shape = Architecture.of(values, source_vocabulary=len(words[0]), target_vocabulary=len(words[1]))
    _check_memory(values, shape, pairs["train"], shares["train"], job.memory)
    with job.nothing_to_keep():
        run = _begin(values, shape, words, pairs, shares, job)
        run.resume()
    try:
        model = dataclasses.replace(run.to_the_end(), held_out=run.held_out)
        job.report(Chosen(run.stopping.best_step))
        return model
    finally:
        import keras

        keras.backend.clear_session()


def _check_memory(
    values: Seq2SeqHyperparameters, shape: Architecture, pairs: Pairs, share: Share, memory: int | None
) -> None:
    """See that the scores of the largest batch fit into memory: one for each target token and word, and its gradient.

    Raises:
        TrainingDataError: it needs more than the ``memory`` bytes that there are.
    """
    lengths = pairs.target.lengths + 1
    groups = data.buckets(pairs, values.bucket_width if values.bucketing_enabled else None)
    sizes = [min(values.batch_size * share.of, len(group)) for group in groups]
    tokens = max((lengths[group].mean() * size for group, size in zip(groups, sizes, strict=True)), default=0)
    needed = 4 * (values.copies * parameter_count(shape) + 2 * tokens / share.of * shape.target_vocabulary)
    if memory is not None and needed > memory:
        raise TrainingDataError(
            f"batch_size={values.batch_size}: a batch of {max(sizes)} pairs, with scores of {shape.target_vocabulary} "
            f"words, needs at least {needed / GIB:,.1f} GiB of memory, and this machine or container, or "
            f"this host's share of it, has {memory / GIB:,.1f} GiB"
        )


def _begin(
    values: Seq2SeqHyperparameters,
    shape: Architecture,
    words: tuple[Vocabulary, Vocabulary],
    pairs: dict[str, Pairs],
    shares: dict[str, Share],
    job: Job,
) -> _Run:
    """The network, ready for its first update."""
    load_keras(job.seed)
    parameters = initial(
        shape,
        np.random.default_rng(job.seed),
        kind=values.weight_init_type,
        scale=values.weight_init_scale,
        factor=values.xavier_factor_type,
    )
    job.info(f"Total # of parameters: {sum(value.size for value in parameters.values())}")
    from algorithms.seq2seq import network  # after Keras was seeded

    rates = {name: getattr(values, name) for name in _DROPOUTS}
    draws = job.seed + job.hosts.rank * len(rates)  # each host drops other numbers
    trained = network.Network(shape, parameters, rates, draws)
    optimizer, accuracy = network.make_optimizer(values), values.training_metric == "accuracy"
    together = network.prepare(trained, optimizer, job.hosts, accuracy=accuracy)
    step = None if network.DYNAMIC else values.bucket_width
    return _Run(values, shape, words, pairs, shares, trained, optimizer, together, job, step)


def _vocabulary(folder: Path, name: str) -> Vocabulary:
    try:
        return vocabulary.read(folder / name)
    except OSError:
        raise ChannelError(
            f"Vocab files are not present in the vocab channel: it must have {vocabulary.SOURCE_FILE} and "
            f"{vocabulary.TARGET_FILE}"
        ) from None
    except ValueError as error:
        raise ChannelError(f"channel 'vocab': {error}") from None


def _digest(words: Sequence[Vocabulary]) -> str:
    """A digest of the vocabularies' tokens, in their order."""
    return hashlib.sha256("\n".join(one.text(range(len(one))) for one in words).encode()).hexdigest()


def _pairs(channel: Any, name: str, values: Seq2SeqHyperparameters, words: Sequence[Vocabulary], hosts: Hosts) -> Pairs:
    """All pairs that are here; where they are spread over the hosts, there may be none.

    Raises:
        EmptyDataError: no host has any. TrainingDataError: see ``train``.
    """
    nothing: EmptyDataError | None = None
    try:
        found = sequences.decode(channel.records(whole=True), name)
    except EmptyDataError as error:
        nothing, found = error, Pairs(Ragged.of([]), Ragged.of([]))
    if not any_host(hosts, len(found.source) > 0):
        raise nothing or EmptyDataError(f"{name}: there are no records")
    data.check(found, name, len(words[0]), len(words[1]))
    return Pairs(data.cut(found.source, values.max_seq_len_source), data.cut(found.target, values.max_seq_len_target))


@dataclass
class _Run:
    """A training run and how far it is."""

    values: Seq2SeqHyperparameters
    shape: Architecture
    words: tuple[Vocabulary, Vocabulary]
    pairs: dict[str, Pairs]
    """All that are here, of each channel."""
    shares: dict[str, Share]
    """The part of them that this host takes."""
    network: Network
    optimizer: Any
    together: Together | None
    job: Job
    step: int | None
    epoch: int = 0
    batches: int = 0
    updates: int = 0
    samples: int = 0
    checkpoints: int = 0
    best: Seq2SeqModel | None = None
    since: float = field(default_factory=time.perf_counter)
    done: bool = False
    stopped: bool = False
    set_rate: float | None = None
    """The optimizer's; None where this run has not set it."""
    seen: dict[str, float] = field(default_factory=dict)
    """Sums over the tokens since the last checkpoint of what ``learn`` said, and their number."""

    def __post_init__(self) -> None:
        self.stopping = EarlyStopping(maximize=self.values.optimized_metric in MAXIMIZED)
        self.rate = Rate(self.values)
        self.average = Average()
        self.random = np.random.default_rng(self.job.seed)
        self.share, self.held_out = self.shares["train"], data.part(self.pairs["validation"], self.shares["validation"])
        self.ratio = data.longest_ratio(self.pairs["train"], ONE_HOST if self.share.of > 1 else self.job.hosts)
        self.decoded = self._decoded()
        self.draws = self.random.bit_generator.state  # when the running epoch began
        width = self.values.bucket_width if self.values.bucketing_enabled else None
        self.groups = data.buckets(self.pairs["train"], width)

    def _decoded(self) -> np.ndarray | None:
        """The numbers of this host's validation pairs that BLEU is measured on; None where it is not measured."""
        counts, size = self.job.hosts.gather(len(self.held_out.source)), self.values.bleu_sample_size
        if self.values.optimized_metric == "bleu" and size == 0 or size == -1:
            size = sum(counts)
        chosen = np.sort(self.random.permutation(sum(counts))[:size])
        if not len(chosen):
            return None
        rank, share = self.job.hosts.rank, self.shares["validation"]
        if share.of > 1:
            return chosen[chosen % share.of == share.rank] // share.of
        mine = chosen - sum(counts[:rank])
        return mine[(mine >= 0) & (mine < counts[rank])]

    def to_the_end(self) -> Seq2SeqModel:
        """All epochs."""
        if not self.updates:
            self.job.info("Training started.")
        while not self.done:
            self._one_epoch()
            if self.stopped:
                break
            self.epoch, self.batches, self.draws = self.epoch + 1, 0, self.random.bit_generator.state
            if self.values.max_num_epochs is not None:
                self.job.report(Progress(self.epoch, self.values.max_num_epochs))
                self.done |= self.epoch >= self.values.max_num_epochs
            self.job.checkpoints.offer(self._state, epoch_over=True)
        if self.stopped or any_host(self.job.hosts, self.job.stop_requested):
            return self._stopped()
        if self.updates % self.values.checkpoint_frequency_num_batches:
            self._checkpoint()  # what the last updates brought
        assert self.best is not None
        self.job.info(
            f"Training finished. Best checkpoint: {self.stopping.best_step}. "
            f"Best validation {self.values.optimized_metric}: {self.stopping.best:.6f}"
        )
        return self.best

    def _stopped(self) -> Seq2SeqModel:
        if self.best is None and not self.updates:
            raise TrainingStopped("there had been no update")
        self.job.warning("Training was asked to stop: the model is the best so far.")
        return self.best or self._unvalidated()

    def _unvalidated(self) -> Seq2SeqModel:
        """The model as it is when a stop leaves no time for all of the validation pairs.

        Raises:
            TrainingDataError: scores are not finite: the last update diverged, which no loss shows.
        """
        model, every = self._averaged(), max(1, len(self.held_out.source) // _SHOWN)
        shown = data.part(self.held_out, Share(0, every))
        self._check_perplexity(evaluation.judge(model.translator, shown, self.job.hosts))
        return model

    def _check_perplexity(self, scores: Mapping[str, float]) -> None:
        what = f"the perplexity of channel 'validation' after {self.updates} updates"
        check_finite(scores["perplexity"], what, self.values.learning_rate)

    def _order(self) -> list[np.ndarray]:
        """The numbers of the pairs of each batch of the next epoch; a batch may be empty on this host.

        Hosts that have the same pairs draw batches for all hosts, and each takes its part of every batch: so all parts
        have sequences of similar lengths."""
        pairs, by_length, share = self.pairs["train"], self.values.bucketing_enabled, self.share
        numbers = data.epoch(pairs, self.groups, self.values.batch_size * share.of, self.random, by_length=by_length)
        return [chosen[share.rank :: share.of] for chosen in numbers]

    def _batch(self, chosen: np.ndarray) -> data.Batch:
        return data.batch(self.pairs["train"], chosen, self.step, self.values.batch_size)

    def _one_epoch(self) -> None:
        hosts, numbers = self.job.hosts, self._order()
        first_update, most = self.updates, max(hosts.gather(len(numbers)))
        started, samples = time.perf_counter(), 0
        for count in range(self.batches, most):
            self.stopped = any_host(hosts, self.job.stop_requested)  # before the checkpoint, which is then written
            if self.updates > first_update or (self.stopped and self.updates):
                self.job.checkpoints.offer(self._state)
            if self.stopped or self.updates == self.values.max_num_batches:
                self.done = True
                return
            self._set_rate(self.rate.at(self.updates))
            chosen = numbers[count] if count < len(numbers) else np.zeros(0, np.int64)
            self._learn(self._batch(chosen) if len(chosen) else None)
            self.batches = count + 1
            self.samples += len(chosen)
            samples += len(chosen)
            if samples and count and count % _SPEED_EVERY == 0:
                seconds = time.perf_counter() - started
                score = self._training_score(self.seen)
                self.job.report(Throughput(samples, seconds, self.epoch, count, (score,)))
                started, samples = time.perf_counter(), 0
            if self.updates % self.values.checkpoint_frequency_num_batches == 0:
                self._checkpoint()
                started, samples = time.perf_counter(), 0
                if self.done:
                    return

    # ---- going on after an interruption -----------------------------------------------------------------------------

    def _state(self) -> Checkpoint:
        """All that the next update depends on, and the best model so far."""
        best = self.stopping.best_step
        state = {
            **{name: getattr(self, name) for name in _COUNTS},
            "draws": self.draws,
            "seen": self.seen,
            "stopping": dataclasses.asdict(self.stopping),
            "rate": self.rate.state(),
        }
        kept = {} if self.best is None else {f"checkpoint-{best}": self.best.translator.parameters}
        position = f"epoch {self.epoch}" + (f" and {self.batches} batches" if self.batches else "")
        means = {f"mean.{number}": mean for number, mean in enumerate(self.average.means)}
        return Checkpoint(position, state, variables_to_arrays(self._variables()) | means, kept)

    def _variables(self) -> list[Any]:
        return [*self.network.variables, *self.optimizer.variables]

    def resume(self) -> None:
        """Take up the newest checkpoint, if there is one."""
        found = self.job.checkpoints.latest()
        if found is None:
            return
        for chosen in [chosen for chosen in self._order() if len(chosen)][:1]:
            self.network.learn(self._batch(chosen))  # makes the variables of its metrics
        for name in _COUNTS:
            setattr(self, name, found.state[name])
        self.draws, self.seen = found.state["draws"], dict(found.state["seen"])
        self.random.bit_generator.state = self.draws
        self.stopping = EarlyStopping(**found.state["stopping"])
        self.rate.resume(found.state["rate"])
        variables_from_arrays(self._variables(), found.arrays)
        means = [f"mean.{number}" for number in range(len(self.network.names))]
        self.average = Average([found.arrays[name] for name in means if name in found.arrays])
        if self.stopping.best_step is not None:
            parameters = found.kept[f"checkpoint-{self.stopping.best_step}"]
            self.best = self._model(parameters)
            self.job.save_intermediate(self.best)

    def _set_rate(self, rate: float) -> None:
        """Set the learning rate if it has changed: Keras takes half a millisecond, which counts with short
        sentences."""
        if rate != self.set_rate:
            self.optimizer.learning_rate = self.set_rate = rate

    def _learn(self, batch: data.Batch | None) -> None:
        """One update by the batches of all hosts; None where only others have one."""
        with nullcontext() if self.updates else self.job.nothing_to_keep():  # the network is compiled
            tokens = 0.0 if batch is None else self._see(batch)
            if self.together is not None:
                self.together.step(tokens)
        self.updates += 1
        if self.updates % EVERY == 0:
            self.average.look(self.updates, self.network.arrays())

    def _see(self, batch: data.Batch) -> float:
        """Compute the gradients of a batch, and without other hosts apply them; the number of the batch's tokens."""
        logs, tokens = self.network.learn(batch), float(batch.weights.sum())
        check_finite(logs["loss"], f"the loss of update {self.updates + 1}", self.values.learning_rate)
        for name, value in {**logs, "tokens": 1.0}.items():
            self.seen[name] = self.seen.get(name, 0.0) + value * tokens
        return tokens

    def _training_score(self, seen: Mapping[str, float]) -> Score:
        if self.values.training_metric == "accuracy":
            return Score("train", "accuracy", seen["accuracy"] / seen["tokens"], maximize=True)
        return Score("train", "perplexity", evaluation.perplexity(seen["loss"] / seen["tokens"]))

    def _seen_by_all(self) -> dict[str, float]:
        """The sums ``seen``, over all hosts."""
        parts = self.job.hosts.gather(self.seen)
        return {name: sum(part.get(name, 0.0) for part in parts) for name in {*itertools.chain(*parts)}}

    def _model(self, parameters: Mapping[str, np.ndarray]) -> Seq2SeqModel:
        translator = Translator(self.shape, parameters, self.ratio)
        return Seq2SeqModel(translator, self.words[0], self.words[1], self.values.beam_size)

    def _averaged(self) -> Seq2SeqModel:
        return self._model(self.network.named_arrays(self.average.at(self.updates, self.network.arrays())))

    def _checkpoint(self) -> None:
        """Evaluate the model, keep it if it is the best, and see whether to stop."""
        self.checkpoints += 1
        done = {"updates": self.updates, "epoch": self.epoch, "samples": self.samples}
        self.job.report(Duration(self.checkpoints, time.perf_counter() - self.since, done))
        self.job.report(Measured((self._training_score(self._seen_by_all()),), step=self.checkpoints))
        self.seen.clear()
        if self.together is not None:
            self.together.align()
        model = self._averaged()
        scores = self._validate(model)
        for name, value in scores.items():
            self.job.report(Measured.of("validation", name, value, step=self.checkpoints))
        metric = self.values.optimized_metric
        improved = self.stopping.take(scores[metric], self.checkpoints)
        if improved:
            self.job.info(f"Validation-{metric} improved to {scores[metric]:.6f}.")
            self.best = model
            self.job.save_intermediate(model)
        else:
            self.job.info(f"Validation-{metric} has not improved, best so far: {self.stopping.best:.6f}")
        if sentence := self.rate.checkpoint(improved=improved):
            self.job.info(sentence)
        self._stop_early()
        self.since = time.perf_counter()

    def _validate(self, model: Seq2SeqModel) -> dict[str, float]:
        scores = evaluation.judge(model.translator, self.held_out, self.job.hosts)
        self._check_perplexity(scores)
        if self.decoded is not None:
            beam, numbers = self.values.beam_size, self.decoded.tolist()
            scores["bleu"] = evaluation.translate_and_score(
                model.translator, self.held_out, numbers, beam, self.words[1], self.job.hosts
            )
        return scores

    def _stop_early(self) -> None:
        waited, most = self.stopping.waited, self.values.checkpoint_threshold
        if self.values.max_num_epochs is not None or waited < most:
            return  # a number of epochs that is given is also reached
        self.job.info(f"Maximum number of not improved checkpoints ({most}) reached: {waited}")
        if self.epoch < self.values.min_num_epochs:
            self.job.info(f"Minimum number of epochs ({self.values.min_num_epochs}) not reached yet: {self.epoch}")
            return
        self.done = True
