"""Training: epochs of steps, each scored on the validation channel, until the last epoch or an early stop."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Mapping
from contextlib import nullcontext
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from algorithms.common.hosts import any_host
from algorithms.common.networks import check_finite, has_gpu, load_keras, to_numpy
from algorithms.common.stopping import EarlyStopping
from algorithms.errors import TrainingDataError, TrainingStopped
from algorithms.events import Chosen, Duration, Measured, Progress, Score, Throughput
from algorithms.image_classification import losses, network, other_networks, pretrained, symbol, targets
from algorithms.image_classification.architecture import Architecture
from algorithms.image_classification.checkpoints import Resumer
from algorithms.image_classification.keeping import Keeper
from algorithms.image_classification.model import SYMBOL_FILE, ImageModel
from algorithms.image_classification.optimizers import learning_rate, optimizer
from algorithms.image_classification.pretrained import Weights
from algorithms.image_classification.shown import Kept
from algorithms.interface import Job
from algorithms.vision import augment, examples
from algorithms.vision.augment import Preparation
from algorithms.vision.graph import read_graph
from algorithms.vision.pipeline import ImageBatch, Pipeline

if TYPE_CHECKING:
    from algorithms.image_classification import ImageClassificationHyperparameters

_LOG_BATCHES = 20
"""Batches between two log lines of a running epoch, as in MXNet."""

_COUNT = "batches"
GIB = 1 << 30
_MOST_KEPT, _KEPT_SHARE = GIB, 16
"""Most bytes of decoded images of each channel that are kept from epoch to epoch, and the largest share of all
memory."""


def train(values: ImageClassificationHyperparameters, channels: Mapping[str, Any], job: Job) -> ImageModel:
    """See ``ImageClassification.fit``."""
    form = Architecture(values.num_layers, values.shape, values.num_classes, bool(values.multi_label))
    # First of all, so that weights that are missing are not found missing after minutes of reading.
    weights = pretrained.find(form, channels.get("model"), pretrained=bool(values.use_pretrained_model))
    text = None if weights is None else weights.symbol
    _warn_of_unused(values, form, weights, job)
    if weights is not None:
        _check_memory(weights, values, job.memory)
    training, validation = _pipelines(values, channels, form, job)
    with job.nothing_to_keep():
        trainer = Trainer(values, form, job, text)
        if weights is not None:
            trainer.start_from(weights)
    keeper = Keeper(job, text or symbol.to_json(form), form.image_shape, values)
    stopping = EarlyStopping(maximize=True, tolerance=values.early_stopping_tolerance)
    resumer = Resumer(job, trainer, keeper, stopping)
    epoch, over = resumer.resume()
    while epoch < values.epochs and not over:
        trainer.epoch(training, epoch, resumer)
        stopped = any_host(job.hosts, job.stop_requested)
        if stopped and not keeper.has_model:
            raise TrainingStopped("a stop was asked for before the first epoch was over")
        if stopped:
            break
        accuracy = trainer.validate(validation, epoch)
        job.report(Progress(epoch + 1, values.epochs))
        keeper.offer(trainer.parameters, epoch, accuracy)
        stopping.take(accuracy, epoch)
        over = ends(values, stopping, epoch)
        if over:
            job.info(f"Early stopping after epoch {epoch}: best validation accuracy {stopping.best:.6f}")
        epoch += 1
        resumer.offer(epoch, epoch_over=True, over=over)
    model = keeper.model()
    model.shown = trainer.shown
    job.report(Chosen(model.epoch - 1))
    return model


def _warn_of_unused(
    values: ImageClassificationHyperparameters, form: Architecture, weights: Weights | None, job: Job
) -> None:
    """Say which hyperparameters have no effect, or a default instead."""
    if values.use_weighted_loss and not form.multi_label:
        job.warning("use_weighted_loss has no effect without multi_label")
    if values.top_k is not None and values.top_k > form.num_classes:
        job.warning(f"top_k is {values.top_k}, more than num_classes, {form.num_classes}: top_k_accuracy is always 1")
    if weights is not None and weights.symbol is not None:
        job.info(f"The network is that of '{weights.file}'; num_layers has no effect")
    if values.checkpoint_frequency is None:
        job.info("checkpoint_frequency not set, will store the best model")


def _check_memory(weights: Weights, values: ImageClassificationHyperparameters, memory: int | None) -> None:
    """See that a training step of the network that training starts from fits into memory: ``copies`` of its weights
    and, for each image, its pixels and what is kept of its activations until the gradients are known.

    Raises:
        TrainingDataError: it needs more than the ``memory`` bytes that there are.
    """
    arrays = sum(array.size for array in weights.arrays.values())
    batch = values.mini_batch_size * (math.prod(values.shape) + weights.kept)
    needed = 4 * values.copies * arrays + batch
    if memory is not None and needed > memory:
        network = f"the network of '{weights.file}'" if weights.file else "the network of these weights"
        raise TrainingDataError(
            f"mini_batch_size={values.mini_batch_size}: {network} has {arrays:,} parameters and needs at least "
            f"{needed / GIB:,.2f} GiB of memory to be trained on images of {values.image_shape}, {batch / GIB:,.2f} of "
            f"that for a batch, and this machine or container, or this host's share of it, has {memory / GIB:,.2f} GiB"
        )


def ends(values: ImageClassificationHyperparameters, stopping: EarlyStopping, epoch: int) -> bool:
    """Whether early stopping ends training after ``epoch``, counted from 0."""
    enough = epoch + 1 >= values.early_stopping_min_epochs
    return bool(values.early_stopping) and enough and stopping.waited >= values.early_stopping_patience


def _pipelines(
    values: ImageClassificationHyperparameters, channels: Mapping[str, Any], form: Architecture, job: Job
) -> tuple[Pipeline, Pipeline]:
    """The batches of the two channels.

    Raises:
        TrainingDataError: there are fewer images than a batch has.
    """
    pipelines, hosts = [], job.hosts
    for name, kind in (("train", values.augmentation_type or augment.NONE), ("validation", augment.NONE)):
        found = examples.of_channel(name, channels, targets.of_channel(name, channels[name], form), hosts)
        if name == "train" and found.count is not None:
            _check_count(found.count, values, job)
        prepare = Preparation(form.image_shape, values.resize, kind)
        size, shuffled = values.mini_batch_size, name == "train"
        keep = 0 if values.epochs == 1 else min(_MOST_KEPT, (job.memory or 0) // _KEPT_SHARE)
        pipelines.append(Pipeline(found, prepare, size, job.seed, shuffled=shuffled, rank=hosts.rank, keep=keep))
    return pipelines[0], pipelines[1]


def _check_count(count: int, values: ImageClassificationHyperparameters, job: Job) -> None:
    if count < values.mini_batch_size:
        raise TrainingDataError(
            "The number of input images must be bigger or equal to the mini_batch_size: there are "
            f"{count} in channel 'train', and mini_batch_size is {values.mini_batch_size}"
        )
    if count != values.num_training_samples:
        job.warning(f"num_training_samples is {values.num_training_samples}; channel 'train' has {count} images")


def _means(totals: Mapping[str, float]) -> tuple[Score, ...]:
    """The means of the metrics on the batches of an epoch, without the loss."""
    means = ((name, total / totals[_COUNT]) for name, total in totals.items() if name not in ("loss", _COUNT))
    return tuple(Score("train", name, mean, maximize=True) for name, mean in means)


def _precision(values: ImageClassificationHyperparameters, job: Job, *, gpu: bool) -> str:
    """Keras' name of the precision in which the network is trained."""
    if values.precision_dtype != "float16":
        return "float32"
    if not gpu:
        job.info("precision_dtype float16: there is no GPU, and CPUs are slower with it; float32 is used")
        return "float32"
    job.info("precision_dtype float16: convolutions in half precision, weights in single")
    return "mixed_float16"


def _loss_and_metrics(
    keras: ModuleType, values: ImageClassificationHyperparameters, form: Architecture
) -> tuple[Any, list[Any]]:
    """Keras' loss of scores, and what is measured of them."""
    loss: Any = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    metrics: list[Any] = [keras.metrics.SparseCategoricalAccuracy("accuracy")]
    if form.multi_label:
        loss = losses.binary_cross_entropy
        metrics = [keras.metrics.BinaryAccuracy("accuracy", threshold=0.0)]  # of scores: a probability of one half
    if values.top_k is not None:
        likeliest = min(values.top_k, form.num_classes)
        metrics.append(keras.metrics.SparseTopKCategoricalAccuracy(likeliest, f"top_k_accuracy_{values.top_k}"))
    return loss, metrics


class Trainer:
    """The network while it is trained.

    Args:
        text: the symbol file of a network of another form than the one described here.

    Attributes:
        network: a Keras model from uint8 pixels to scores.
        batches: steps of the running epoch, alike on all hosts. totals: sums of what was measured in those of them
            for which this host had a batch, and their number, ``_COUNT``. shown: some validation images.
    """

    def __init__(
        self, values: ImageClassificationHyperparameters, form: Architecture, job: Job, text: str | None = None
    ) -> None:
        keras = load_keras(job.seed)
        from algorithms.common import gradients  # after Keras was seeded

        gpu = has_gpu()
        policy = _precision(values, job, gpu=gpu)
        decay = values.weight_decay if values.optimizer in ("sgd", "nag") else 0.0
        self._names = network.OWN_NAMES
        if text is None:
            self.network = network.build(keras, form, decay, policy)
        else:
            graph = read_graph(text, SYMBOL_FILE)
            self.network = other_networks.build(keras, graph, form.image_shape, decay, policy)
            self._names = other_networks.names(graph)
        loss, metrics = _loss_and_metrics(keras, values, form)
        self.optimizer = optimizer(keras, values)
        # XLA compiles longer than it saves where TensorFlow has kernels of its own; JAX would compile each operation.
        jit = "auto" if gpu or keras.config.backend() == "jax" else False
        self._together = gradients.compiled(
            self.network, self.optimizer, job.hosts, loss=loss, metrics=metrics, jit_compile=jit
        )
        weighted = values.use_weighted_loss and form.multi_label
        self.weights = losses.ClassWeights(form.num_classes) if weighted else None
        self._values, self._form, self._job = values, form, job
        self._is_new = True
        self.batches, self.totals = 0, dict[str, float]()
        self.shown: Kept | None = None

    def variables(self) -> list[Any]:
        """All that a step changes: the network's variables, and the optimizer's."""
        return [*self.network.variables, *self.optimizer.variables]

    def parameters(self) -> dict[str, np.ndarray]:
        """The network's parameters by the names of a checkpoint."""
        return network.parameters(self.network, self._names)

    def start_from(self, weights: Weights) -> None:
        """Take a checkpoint's parameters, on all hosts."""
        network.set_parameters(self.network, weights.arrays, but=weights.random, names=self._names)
        self.align()

    def align(self) -> None:
        """Give all hosts the leader's weights."""
        if self._together is not None:
            self._together.align()

    def epoch(self, training: Pipeline, epoch: int, resumer: Resumer) -> None:
        """One pass over the training images, or the rest of it after an interruption, until a stop is asked for.

        Raises:
            TrainingDataError: there are fewer images than a batch has, or the loss is not finite any more.
        """
        started = since = time.perf_counter()
        self.optimizer.learning_rate = learning_rate(self._values, epoch)
        with contextlib.closing(training.epoch(epoch, self.batches)) as batches:
            for number in itertools.count(self.batches):
                batch = next(batches, None)  # None where only other hosts have more, or none has
                if not number:
                    self._check_enough(0 if batch is None else batch.valid)
                rows, stopped = self._step(batch)
                if not rows:
                    break
                self.batches += 1
                if batch is not None and number and number % _LOG_BATCHES == 0:
                    now = time.perf_counter()
                    told = _LOG_BATCHES * self._values.mini_batch_size
                    self._job.report(Throughput(told, now - since, epoch, number, _means(self.totals)))
                    since = now
                if training.repeats:
                    resumer.offer(epoch)  # a stop was looked for before: the checkpoint is then written
                if stopped:
                    return
        self.align()
        totals = self._totals_of_all()
        check_finite(totals["loss"], f"the loss of epoch {epoch}", self._values.learning_rate)
        self._job.report(Measured(_means(totals), step=epoch))
        self._job.report(Duration(epoch, time.perf_counter() - started))
        self.batches, self.totals = 0, {}

    def _check_enough(self, images: int) -> None:
        """See that the first batches of an epoch have enough images on all hosts together."""
        found, least = int(self._job.hosts.sum(np.array([images]))[0][0]), self._values.mini_batch_size
        if found < least:
            raise TrainingDataError(
                f"The number of input images must be bigger or equal to the mini_batch_size: an epoch has "
                f"{found}, and mini_batch_size is {least}"
            )

    def _step(self, batch: ImageBatch | None) -> tuple[int, bool]:
        """The images of all hosts that were trained on, and whether one of the hosts was asked to stop."""
        with self._job.nothing_to_keep() if self._is_new else nullcontext():  # the network is compiled
            weights = None
            if self.weights is not None:
                none = np.zeros((0, self._form.num_classes), np.float32)
                weights = self.weights.of(none if batch is None else batch.targets, self._job.hosts)
            if batch is not None:
                self._learn(batch, weights)
            rows = 0 if batch is None else len(batch.images)
            if self._together is not None:
                found = self._together.step(rows, lambda: self._job.stop_requested)
            else:
                found = rows, rows > 0 and self._job.stop_requested
        self._is_new = False
        return found

    def _learn(self, batch: ImageBatch, weights: np.ndarray | None) -> None:
        self.network.reset_metrics()
        logs = self.network.train_on_batch(batch.images, batch.targets, weights, return_dict=True)
        for name, value in {**logs, _COUNT: 1.0}.items():
            self.totals[name] = self.totals.get(name, 0.0) + float(value)

    def _totals_of_all(self) -> dict[str, float]:
        """The ``totals`` of all hosts together."""
        found: dict[str, float] = {}
        for totals in self._job.hosts.gather(self.totals):
            for name, total in totals.items():
                found[name] = found.get(name, 0.0) + total
        return found

    def validate(self, validation: Pipeline, epoch: int) -> float:
        """The validation accuracy: the share of images whose likeliest class is the right one, or with ``multi_label``
        the share of labels that are right.

        Raises:
            TrainingDataError: there are no images, or a score is not finite.
        """
        right = total = lost = 0
        shown = Kept() if self.shown is None else None  # always the same: one epoch is enough
        for batch in validation.epoch(epoch):
            scores = to_numpy(self.network.predict_on_batch(batch.images))[: batch.valid]
            targets = batch.targets[: batch.valid]
            if shown is not None:
                shown.add(batch.images[: batch.valid], targets)
            hits = (scores > 0) == targets if self._form.multi_label else scores.argmax(axis=1) == targets
            right, total = right + int(hits.sum()), total + hits.size
            lost += int((~np.isfinite(scores)).sum())
        right, total, lost = (int(count) for count in self._job.hosts.sum(np.array([right, total, lost]))[0])
        if not total:
            raise TrainingDataError("Channel 'validation' has no images")
        what = f"a score of channel 'validation' after epoch {epoch}"
        check_finite(np.nan if lost else 0.0, what, self._values.learning_rate)
        self.shown, accuracy = self.shown or shown, right / total
        self._job.report(Measured.of("validation", "accuracy", accuracy, maximize=True, step=epoch))
        return accuracy
