"""Image classification: residual networks, trained from scratch or onwards from a checkpoint.

A network of 18 to 200 layers (20 to 110 for small images) gives the probability of each class: an image is of one
class, or with ``multi_label`` of any number. It is trained in Keras; its checkpoint is in MXNet's format.

References: K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, and "Identity
Mappings in Deep Residual Networks", ECCV 2016.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from algorithms.common.engine import tuning_metric
from algorithms.common.networks import moments
from algorithms.hyperparameters import Hyperparameters, Tunable, choice, flag, integer, real, text
from algorithms.image_classification import model
from algorithms.image_classification.architecture import DEPTHS, Architecture, parameter_count
from algorithms.image_classification.model import LARGEST_SIDE, ImageModel
from algorithms.interface import (
    FILE,
    FILES,
    IMAGE,
    IMAGE_RECORDIO,
    IMAGES,
    JPEG,
    JSON,
    JSON_LINES,
    MODEL,
    PNG,
    RECORDS,
    TAGGED_IMAGES,
    Algorithm,
    Channel,
    Column,
    Configuration,
    Job,
    Metric,
    Serving,
)
from algorithms.vision import augment

_IMAGES = (IMAGE_RECORDIO, PNG, JPEG, IMAGE)
_IN_STEP = "Accepted; several machines always take each step together, as with dist_sync."


@dataclass(frozen=True, kw_only=True)
class ImageClassificationHyperparameters(Hyperparameters):
    """See the README's table."""

    num_classes: int = integer(at_least=1, help="Number of classes.")
    num_training_samples: int = integer(at_least=1, help="Number of training images, those of all hosts together.")
    num_layers: int = integer(
        default=152,
        help="Depth of the network: 18, 34, 50, 101, 152, 200 for large images, 20, 32, 44, 56, 110 for small ones.",
    )
    image_shape: str = text(
        default="3,224,224",
        help="Channels, height and width that the network sees. Larger training images are cropped.",
    )
    resize: int | None = integer(
        default=None,
        at_least=1,
        help="Pixels of the shorter side that images are given before they are cropped; needed where some are smaller.",
    )
    augmentation_type: str | None = choice(
        *augment.KINDS,
        default=None,
        help="crop: random part, half of them mirrored; crop_color: other colours, too; crop_color_transform: turned, "
        "sheared and stretched, too.",
    )
    multi_label: int = integer(default=0, at_least=0, at_most=1, help="1: an image may be of several classes.")
    use_weighted_loss: int = integer(
        default=0,
        at_least=0,
        at_most=1,
        when="multi_label is 1",
        help="1: rare classes weigh more in the loss, and frequent ones less.",
    )
    use_pretrained_model: int = integer(
        default=0, at_least=0, at_most=1, help="1: start from trained weights; only the last layer is random."
    )
    epochs: int = integer(default=30, at_least=1, help="Passes over the training data.")
    mini_batch_size: int = integer(
        default=32, at_least=1, tunable=Tunable(8, 512), help="Images of a step, on each host."
    )
    optimizer: str = choice(
        "sgd",
        "adam",
        "rmsprop",
        "nag",
        default="sgd",
        tunable=Tunable(choices=("sgd", "adam", "rmsprop", "nag")),
        help="How weights are moved.",
    )
    learning_rate: float = real(
        default=0.1, at_least=0, at_most=1, tunable=Tunable(1e-6, 0.5), help="Learning rate at the start."
    )
    lr_scheduler_step: str | None = text(
        default=None, help="Epochs, in ascending order, after which the learning rate is multiplied: 10,20."
    )
    lr_scheduler_factor: float = real(
        default=0.1, at_least=0, at_most=1, when="lr_scheduler_step is given", help="What it is multiplied by."
    )
    momentum: float = real(
        default=0.9,
        at_least=0,
        at_most=1,
        tunable=Tunable(0.0, 0.999),
        when="optimizer is sgd or nag",
        help="Momentum.",
    )
    weight_decay: float = real(
        default=0.0001,
        at_least=0,
        at_most=1,
        tunable=Tunable(0.0, 0.999),
        when="optimizer is sgd or nag",
        help="Share of a weight that is added to its gradient.",
    )
    beta_1: float = real(
        default=0.9,
        at_least=0,
        at_most=1,
        tunable=Tunable(1e-6, 0.999),
        when="optimizer is adam",
        help="Decay of the mean of gradients.",
    )
    beta_2: float = real(
        default=0.999,
        at_least=0,
        at_most=1,
        tunable=Tunable(1e-6, 0.999),
        when="optimizer is adam",
        help="Decay of the mean of their squares.",
    )
    eps: float = real(
        default=1e-8,
        at_least=0,
        at_most=1,
        tunable=Tunable(1e-8, 1.0),
        when="optimizer is adam or rmsprop",
        help="Guard against division by zero.",
    )
    gamma: float = real(
        default=0.9,
        at_least=0,
        at_most=1,
        tunable=Tunable(1e-8, 0.999),
        when="optimizer is rmsprop",
        help="Decay of the mean of squares of gradients.",
    )
    early_stopping: bool = flag(default=False, help="Stop when validation accuracy no longer improves.")
    early_stopping_min_epochs: int = integer(
        default=10, at_least=1, when="early_stopping is true", help="Epochs before a stop."
    )
    early_stopping_patience: int = integer(
        default=5, at_least=1, when="early_stopping is true", help="Epochs without improvement before a stop."
    )
    early_stopping_tolerance: float = real(
        default=0.0,
        at_least=0,
        at_most=1,
        when="early_stopping is true",
        help="Least gain, relative to the best accuracy so far, that is an improvement.",
    )
    checkpoint_frequency: int | None = integer(
        default=None,
        at_least=1,
        help="Epochs between two checkpoints, all of which are in the artifact; without it only the best is.",
    )
    top_k: int | None = integer(
        default=None, at_least=2, help="Report in addition how often the class is among so many likeliest."
    )
    precision_dtype: str = choice(
        "float32",
        "float16",
        default="float32",
        help="float16 computes in half precision on a GPU; weights stay in single. Without a GPU it is float32.",
    )
    kv_store: str | None = choice(
        "dist_sync",
        "dist_async",
        default=None,
        help="How several machines share weights.",
        no_effect=_IN_STEP,
    )
    tuning_objective_metric: str = tuning_metric()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        channels, height, width = (int(length) for length in self.image_shape.strip("()[] ").split(","))
        return channels, height, width

    @property
    def steps(self) -> tuple[int, ...]:
        """Epochs after which the learning rate is multiplied by ``lr_scheduler_factor``."""
        return tuple(int(step) for step in self.lr_scheduler_step.split(",")) if self.lr_scheduler_step else ()

    @property
    def copies(self) -> int:
        """Fewest arrays of the network's size that training holds: its weights, the optimizer's moments, the gradients,
        and the weights of the best epoch."""
        return 3 + moments(self.optimizer, self.momentum)

    def check(self) -> list[str]:
        """Problems of values that do not go together, a sentence each."""
        return [*self._shape_problems(), *self._step_problems(), *self._other_problems()]

    def _shape_problems(self) -> list[str]:
        where = f"Hyperparameter 'image_shape': '{self.image_shape}'"
        try:
            channels, height, width = self.shape
        except ValueError:
            return [f"{where} is not three integers with commas between: channels,height,width"]
        if channels not in (1, 3):
            return [f"{where} has {channels} channels; networks are for 3, or for 1 of grey images"]
        if not (8 <= height <= LARGEST_SIDE and 8 <= width <= LARGEST_SIDE):
            return [f"{where}: height and width must be from 8 to {LARGEST_SIDE}"]
        if self.resize is not None and self.resize < max(height, width):
            return [f"Hyperparameter 'resize': {self.resize} is less than the height or width of image_shape"]
        return []

    def _step_problems(self) -> list[str]:
        where = f"Hyperparameter 'lr_scheduler_step': '{self.lr_scheduler_step}'"
        try:
            steps = self.steps
        except ValueError:
            return [f"{where} is not integers with commas between: 10,20"]
        ascending = all(first < second for first, second in zip(steps, steps[1:], strict=False))
        return [] if ascending and all(step > 0 for step in steps) else [f"{where} is not positive and ascending"]

    def _other_problems(self) -> list[str]:
        problems = []
        if self.num_layers not in DEPTHS:
            depths = ", ".join(map(str, DEPTHS))
            problems.append(f"Hyperparameter 'num_layers': {self.num_layers} is not one of {depths}")
        if self.top_k is not None and self.multi_label:
            problems.append("Hyperparameter 'top_k' has no meaning with multi_label; leave it out")
        if self.checkpoint_frequency is not None and self.checkpoint_frequency > self.epochs:
            problems.append(
                f"Hyperparameter 'checkpoint_frequency': {self.checkpoint_frequency} is more than epochs, {self.epochs}"
            )
        if self.num_training_samples < self.mini_batch_size:
            problems.append(
                "The number of input images must be bigger or equal to the mini_batch_size: num_training_samples is "
                f"{self.num_training_samples}, mini_batch_size {self.mini_batch_size}"
            )
        if self.optimizer == "adam":
            problems += [
                f"Hyperparameter '{name}': 1 would leave out every gradient; it must be below"
                for name in ("beta_1", "beta_2")
                if getattr(self, name) == 1
            ]
        return problems


class ImageClassification(Algorithm):
    """SageMaker's ``image-classification``."""

    name = "image-classification"
    title = "image-classification"
    summary = "Says which classes an image is of, by a residual network."
    hyperparameters = ImageClassificationHyperparameters
    channels = (
        Channel(
            name="train",
            required=True,
            accepts=_IMAGES,
            gives=RECORDS,
            default_type=IMAGE_RECORDIO,
            help="Images with labels: MXNet's image records, image files, or an augmented manifest.",
        ),
        Channel(
            name="validation",
            required=True,
            accepts=_IMAGES,
            gives=RECORDS,
            default_type=IMAGE_RECORDIO,
            help="Images on which each epoch is scored, in the same forms.",
        ),
        Channel(
            name="train_lst",
            accepts=(IMAGE, JPEG, PNG),
            gives=FILES,
            modes=(FILE,),
            default_type=IMAGE,
            help="One .lst file, where train holds image files: index, label and path of each, between tabs.",
        ),
        Channel(
            name="validation_lst",
            accepts=(IMAGE, JPEG, PNG),
            gives=FILES,
            modes=(FILE,),
            default_type=IMAGE,
            help="The same for validation.",
        ),
        Channel(
            name="model",
            accepts=(MODEL,),
            gives=FILES,
            modes=(FILE,),
            default_type=MODEL,
            help="The artifact of an earlier job, to train on from.",
        ),
    )
    columns = (Column("prediction", "The probability of each class.", (None,)),)
    metrics = (
        Metric(name="validation:accuracy", regex=r"Epoch\S* Validation-accuracy=(\S*)", maximize=True, objective=True),
        Metric(name="train:accuracy", regex=r"Epoch\S* Train-accuracy=(\S*)", maximize=True),
        Metric(name="train:top_k_accuracy", regex=r"Epoch\S* Train-top_k_accuracy_\S*=(\S*)", maximize=True),
    )
    serving = Serving(accepts=(IMAGE, JPEG, PNG), answers=(JSON, JSON_LINES), takes=IMAGES, dialect="images")
    log_dialect = "mxnet"
    several_hosts = True
    configurations = tuple(
        Configuration(
            name=name,
            hyperparameters={
                "num_classes": "2",
                "num_training_samples": "12",
                "num_layers": "20",
                "image_shape": "3,16,16",
                "mini_batch_size": "8",
                "epochs": "1",
                "learning_rate": "0.01",
                **more,
            },
            data=data,
            classes=2,
        )
        for name, data, more in (
            ("one-label", IMAGES, {}),
            ("many-labels", TAGGED_IMAGES, {"multi_label": "1", "use_weighted_loss": "1"}),
            ("deep-augmented", IMAGES, {"num_layers": "18", "augmentation_type": "crop_color_transform"}),
        )
    )
    load = staticmethod(model.load)
    recognises = staticmethod(model.recognises)

    @classmethod
    def fit(
        cls, hyperparameters: ImageClassificationHyperparameters, channels: Mapping[str, Any], job: Job
    ) -> ImageModel:
        """Train on ``train``; score each epoch on ``validation``.

        Raises:
            ChannelError: a list is missing, or a pipe has no labels.
            ModelError: the weights to start from are missing, or of another network.
            TrainingDataError: images are too few, or a label is not one of the classes.
            TrainingStopped: a stop was asked for before the first epoch was over.
        """
        from algorithms.image_classification.fit import train  # its imports are of no use to who serves

        return train(hyperparameters, channels, job)

    @classmethod
    def memory(cls, hyperparameters: ImageClassificationHyperparameters) -> int:
        """``copies`` of the weights, and the pixels of a batch, each in float32.

        A job that starts from given weights may train another network than ``num_layers`` says; ``fit`` checks the
        memory of that one after reading it.
        """
        values = hyperparameters
        weights = values.num_classes
        if not values.use_pretrained_model:
            weights = parameter_count(Architecture(values.num_layers, values.shape, values.num_classes))
        return 4 * (values.copies * weights + values.mini_batch_size * math.prod(values.shape))
