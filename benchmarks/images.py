"""Image classification beside a plain Keras ResNet of the same size, trained equally long: accuracy and images/s.

``--only`` pipeline: images a second decoded and augmented, without training. training: EuroSAT and Caltech-101 subsets,
same data, epochs, batch size and optimizer; the peer is an ordinary pre-activation ResNet in Keras, trained by ``fit``
from ``tf.data``, with the same crops and flips. serving: what answers, onnxruntime, beside the same
network in TensorFlow: milliseconds an image, memory, and seconds from the start of the process to the first answer.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import io  # TensorFlow reads the variable when it is imported
import json
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from algorithms import hyperparameters
from algorithms.events import Duration
from algorithms.image_classification import ImageClassification, symbol, targets
from algorithms.image_classification.architecture import Architecture
from algorithms.image_classification.model import ImageModel
from algorithms.vision import augment, pipeline
from algorithms.vision.examples import of_channel
from benchmarks.common import SHARED_DATA, table
from benchmarks.lines import Line
from container import resources
from recordio.framing import write_frame
from recordio.images import encode_record
from tests.algorithms.fakes import FakeJob
from tests.algorithms.samples import Records

CASES = ("pipeline", "training", "serving")


class Task(NamedTuple):
    """A data set and the settings of both contenders."""

    name: str
    side: int
    resize: int | None
    epochs: int
    rate: float = 0.05
    layers: int = 20
    batch: int = 32


_SEEDS = 3
"""One would not do: of 150 held-out images an accuracy has a standard error of 3.5 points."""

TASKS = (Task("eurosat-rgb-subset", 64, None, 8), Task("caltech101-subset", 64, 72, 16))


def main() -> None:
    """Run the benchmarks named on the command line and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=CASES)
    parser.add_argument("--task", choices=[task.name for task in TASKS])
    parser.add_argument("--epochs", type=int, help="instead of those of each task")
    parser.add_argument("--seeds", type=int, default=_SEEDS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for task in TASKS:
            if arguments.task not in (None, task.name) or not (SHARED_DATA / task.name).is_dir():
                continue
            data = Data(task, Path(folder) / task.name)
            if arguments.only in (None, "pipeline"):
                print(_pipeline(task, data), flush=True)
            if arguments.only in (None, "training"):
                print(
                    _training(task._replace(epochs=arguments.epochs or task.epochs), data, arguments.seeds), flush=True
                )
    if arguments.only in (None, "serving"):
        print(_serving(), flush=True)


def lines(quick: bool) -> Iterator[Line]:
    """Training beside a plain ResNet in Keras, and one image answered beside TensorFlow."""
    if quick:
        return
    for task in TASKS:
        if (SHARED_DATA / task.name).is_dir():
            with tempfile.TemporaryDirectory() as folder:
                data = Data(task, Path(folder) / task.name)
                mine, theirs = (_summed(runs, data) for runs in _both(task, data, _SEEDS).values())
            yield Line(
                f"image classification, {task.name}, {task.layers} layers, {task.epochs} epochs",
                *(mine[2], "images/s", "plain Keras", theirs[2], mine[2] / theirs[2], "", None),
                *(f"accuracy {mine[0]:.3f}", f"accuracy {theirs[0]:.3f}"),
            )
    served = _served()
    mine, theirs = served["ours"], served["TensorFlow"]
    for at, what, unit in ((1, "an image", "ms"), (0, "first answer", "s"), (3, "memory", "MB")):
        yield Line(
            f"image classification, serving 50 layers at 224 x 224, one thread: {what}",
            *(mine[at], unit, "TensorFlow", theirs[at], theirs[at] / mine[at]),
        )


class Data:
    """A data set as record files, and unpacked as folders of classes.

    Attributes:
        classes: their names, in order.
    """

    def __init__(self, task: Task, folder: Path) -> None:
        self.folder = folder
        with zipfile.ZipFile(SHARED_DATA / task.name / f"{task.name}.zip") as archive:
            archive.extractall(folder)
        self.root = next(path.parent for path in folder.rglob("train") if path.is_dir())
        self.classes = sorted(path.name for path in (self.root / "train").iterdir())
        self.counts = {part: self._write(part) for part in ("train", "test")}

    def _write(self, part: str) -> int:
        files = sorted((self.root / part).rglob("*.jpg"))
        (self.folder / "records" / part).mkdir(parents=True)
        with (self.folder / "records" / part / "data.rec").open("wb") as stream:
            for number, file in enumerate(files):
                label = self.classes.index(file.parent.name)
                write_frame(stream, encode_record(file.read_bytes(), [label], number))
        return len(files)

    def channel(self, part: str) -> Records:
        """The record file of a part."""
        return Records(folder=self.folder / "records" / part)


# ---- pipeline -------------------------------------------------------------------------------------------------------


def _pipeline(task: Task, data: Data) -> str:
    form = Architecture(task.layers, (3, task.side, task.side), len(data.classes))
    stream = data.channel("train")
    examples = of_channel("train", {"train": stream}, targets.of_channel("train", stream, form))
    rows = []
    for kind in (augment.NONE, *augment.KINDS):
        prepare = augment.Preparation(form.image_shape, task.resize, kind)
        batches = pipeline.Pipeline(examples, prepare, task.batch, 0, shuffled=True)
        rates = []
        for epoch in range(4):
            started = time.perf_counter()
            count = sum(batch.valid for batch in batches.epoch(epoch))
            rates.append(count / (time.perf_counter() - started))
        rows.append([kind, statistics.median(rates)])
    return table(f"{task.name}: the pipeline alone, {task.side} x {task.side}", ["augmentation", "images/s"], rows)


# ---- training -------------------------------------------------------------------------------------------------------


def _training(task: Task, data: Data, seeds: int) -> str:
    """Accuracies are means over the seeds, seconds those of all of them together."""
    rows = [[name, *_summed(runs, data)] for name, runs in _both(task, data, seeds).items()]
    columns = ["", "last accuracy", "best", "images/s", "s in all", "of that, first epoch"]
    title = f"{task.name}: {task.layers} layers, {task.side} x {task.side}, {task.epochs} epochs, {seeds} seeds"
    return table(title, columns, rows)


Run = tuple[list[float], list[float]]
"""Accuracy and seconds of each epoch."""


def _both(task: Task, data: Data, seeds: int) -> dict[str, list[Run]]:
    """The runs of each side, in turn."""
    found: dict[str, list[Run]] = {"ours": [], "plain Keras": []}
    for seed in range(seeds):
        for name, run in zip(found, (_ours, _plain_keras), strict=True):
            found[name].append(run(task, data, seed))
    return found


def _summed(runs: list[Run], data: Data) -> list[float]:
    """Last and best accuracy, images a second, seconds in all and of the first epoch, which compiles."""
    later = [seconds for _, epochs in runs for seconds in epochs[1:]]
    return [
        statistics.mean(accuracies[-1] for accuracies, _ in runs),
        statistics.mean(max(accuracies) for accuracies, _ in runs),
        data.counts["train"] / statistics.median(later),
        statistics.mean(sum(epochs) for _, epochs in runs),
        statistics.mean(epochs[0] for _, epochs in runs),
    ]


def _ours(task: Task, data: Data, seed: int) -> tuple[list[float], list[float]]:
    given = {
        "num_classes": len(data.classes),
        "num_training_samples": data.counts["train"],
        "num_layers": task.layers,
        "image_shape": f"3,{task.side},{task.side}",
        "mini_batch_size": task.batch,
        "epochs": task.epochs,
        "learning_rate": task.rate,
        "lr_scheduler_step": str(task.epochs * 3 // 4),
        "augmentation_type": "crop",
        **({"resize": task.resize} if task.resize else {}),
    }
    strings = {name: str(value) for name, value in given.items()}
    job = FakeJob(seed=seed, memory=resources.memory())
    values = hyperparameters.parse(ImageClassification.hyperparameters, strings)
    ImageClassification.fit(values, {"train": data.channel("train"), "validation": data.channel("test")}, job)
    accuracies = job.values("validation", "accuracy")
    return accuracies, [event.seconds for event in job.of(Duration)]


def _plain_keras(task: Task, data: Data, seed: int) -> tuple[list[float], list[float]]:
    import keras

    keras.utils.set_random_seed(seed)
    train, test = (_dataset(task, data, part, seed) for part in ("train", "test"))
    network = _keras_resnet(keras, task, len(data.classes))
    rate = keras.optimizers.schedules.PiecewiseConstantDecay(
        [task.epochs * 3 // 4 * (-(-data.counts["train"] // task.batch))], [task.rate, task.rate / 10]
    )
    network.compile(
        keras.optimizers.SGD(rate, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    accuracies, seconds = [], []
    for epoch in range(task.epochs):
        started = time.perf_counter()
        network.fit(train, epochs=epoch + 1, initial_epoch=epoch, shuffle=False, verbose=0)
        seconds.append(time.perf_counter() - started)
        accuracies.append(network.evaluate(test, verbose=0, return_dict=True)["accuracy"])
    return accuracies, seconds


def _dataset(task: Task, data: Data, part: str, seed: int) -> Any:
    """Images by tf.data, prepared as ours are: the shorter side resized, then a random part or the middle."""
    import tensorflow as tf

    files = sorted((data.root / part).rglob("*.jpg"))
    labels = [data.classes.index(file.parent.name) for file in files]

    def prepare(name: Any, label: Any) -> tuple[Any, Any]:
        image = tf.io.decode_jpeg(tf.io.read_file(name), channels=3)
        if task.resize:
            sides = tf.cast(tf.shape(image)[:2], tf.float32)
            sides = tf.cast(tf.round(sides * (task.resize / tf.reduce_min(sides))), tf.int32)
            image = tf.image.resize(image, sides, antialias=True)
        if part == "train":
            image = tf.image.random_crop(image, (task.side, task.side, 3))
        else:
            image = tf.image.resize_with_crop_or_pad(image, task.side, task.side)
        return tf.cast(image, tf.float32), label

    names = tf.data.Dataset.from_tensor_slices(([str(file) for file in files], labels))
    if part == "train":
        names = names.shuffle(len(files), seed=seed)
    return names.map(prepare, num_parallel_calls=tf.data.AUTOTUNE).batch(task.batch).prefetch(2)


def _keras_resnet(keras: Any, task: Task, classes: int) -> Any:
    """As a tutorial would write it: the same depth, widths and stem, pixels in 0 to 1, weight decay in the loss."""
    layers = keras.layers
    conv = partial(
        layers.Conv2D,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        kernel_regularizer=keras.regularizers.L2(5e-5),
    )

    def normalised(x: Any) -> Any:
        return layers.Activation("relu")(layers.BatchNormalization(momentum=0.9)(x))

    pixels = keras.Input((task.side, task.side, 3))
    x = layers.RandomFlip("horizontal", seed=0)(pixels)
    x = layers.Rescaling(1 / 255)(x)
    x = layers.MaxPooling2D(3, 2, "same")(normalised(conv(16, 7, strides=2)(x)))
    for stage, filters in enumerate((16, 32, 64)):
        for unit in range((task.layers - 2) // 6):
            stride = 2 if unit == 0 and stage else 1
            first = normalised(x)
            y = conv(filters, 3)(normalised(conv(filters, 3, strides=stride)(first)))
            x = layers.Add()([y, conv(filters, 1, strides=stride)(first) if unit == 0 else x])
    scores = layers.Dense(classes)(layers.GlobalAveragePooling2D()(normalised(x)))
    return keras.Model(pixels, scores)


# ---- serving --------------------------------------------------------------------------------------------------------

_ANSWERS = """
import json, statistics, sys, time
started = time.perf_counter()
how, folder, body = sys.argv[1], sys.argv[2], open(sys.argv[3], "rb").read()
from pathlib import Path
from algorithms.image_classification import model
if how == "ours":
    ask = model.load(Path(folder)).probabilities
else:
    import tensorflow as tf
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    import keras
    from algorithms.image_classification import network
    from algorithms.image_classification.architecture import Architecture
    from algorithms.vision.augment import squeezed
    form = Architecture(50, (3, 224, 224), 1000)
    trained = network.build(keras, form)
    network.set_parameters(trained, model.load_arrays(model.last_checkpoint(Path(folder))))
    compiled = tf.function(lambda pixels: tf.nn.softmax(trained(pixels, training=False)))
    ask = lambda body: compiled(squeezed(body, form.image_shape, "")[None]).numpy()[0]
first = ask(body)
start = time.perf_counter() - started
times = []
for _ in range(int(sys.argv[4])):
    begun = time.perf_counter()
    ask(body)
    times.append(1000 * (time.perf_counter() - begun))
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))  # since exec, unlike ru_maxrss
memory = int(peak.split()[1]) * 1024 / 1e6
print(json.dumps([start, statistics.median(times), max(times), memory, float(first[0])]))
"""


def _serving() -> str:
    rows = [[how, *numbers[:4]] for how, numbers in _served().items()]
    columns = ["", "s to the first answer", "ms an image", "longest", "peak MB"]
    return table("Serving 50 layers, 224 x 224 pixels, one thread", columns, rows)


def _served(rounds: int = 3, asked: int = 15) -> dict[str, list[float]]:
    """ResNet of 50 layers for 224 x 224 pixels, one thread each, processes in turn: medians of the seconds to the first
    answer, milliseconds an image, the longest, and the peak of memory in megabytes."""
    import keras

    from algorithms.image_classification import network

    form = Architecture(50, (3, 224, 224), 1000)
    arrays = network.parameters(network.build(keras, form))
    found: dict[str, list[list[float]]] = {"ours": [], "TensorFlow": []}
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        (base / "model").mkdir()
        ImageModel(symbol.to_json(form), arrays, form.image_shape, 1, 32).save(base / "model")
        stream = io.BytesIO()
        noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
        Image.fromarray(noise).resize((640, 480)).save(stream, "JPEG")
        (base / "image.jpg").write_bytes(stream.getvalue())
        for _ in range(rounds):
            for how in found:
                command = [
                    sys.executable,
                    "-c",
                    _ANSWERS,
                    how,
                    str(base / "model"),
                    str(base / "image.jpg"),
                    str(asked),
                ]
                environment = {**os.environ, "OMP_NUM_THREADS": "1"}
                done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
                found[how].append(json.loads(done.stdout))
    return {how: [statistics.median(column) for column in zip(*numbers, strict=True)] for how, numbers in found.items()}


if __name__ == "__main__":
    main()
