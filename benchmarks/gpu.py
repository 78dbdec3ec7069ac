"""The three networks on a GPU, each backend of Keras in turn, beside plain networks of the same sizes.

    python -m benchmarks.gpu [--backends torch jax] [--only images ntm seq2seq]

Each of ours is a whole job in a process of its own, as a container runs it, from files to the saved model; its rates
are those of its own log, without the first epoch or interval, in which backends compile. What is beside it:

- images: the input pipeline alone (of the two rates, the lower one starves the other); a plain Keras ResNet of 50
  layers on the same backend and torchvision's ResNet-50, both fed one batch that stays on the GPU, so without any
  reading. Both have wider stages than SageMaker's network for small images; at 224 pixels all three are ResNet-50.
- seq2seq: a PyTorch LSTM with attention of the same sizes (``cuDNN``'s encoder, packed), fed from memory.
- ntm: none; a network of three small layers is bound by its launches.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from PIL import Image

from algorithms.seq2seq import texts
from benchmarks.common import SHARED_DATA, table
from recordio.framing import write_frame
from recordio.images import encode_record
from recordio.record_writer import encode_records

BACKENDS = ("torch", "jax", "tensorflow")
CLASSES, SIDE, IMAGES = 10, 224, 4000
DOCUMENTS, WORDS, TOPICS = 40_000, 2000, 20
PAIRS, HIDDEN, BATCH, UPDATES = 60_000, 512, 128, 600


def main() -> None:
    """Run the benchmarks named on the command line and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=[name for name in BACKENDS if _has(name)])
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    arguments = parser.parse_args()
    if np.isnan(_gpu_memory()):
        raise SystemExit("benchmarks.gpu measures on an NVIDIA GPU, and nvidia-smi names none here")
    for case in arguments.only:
        with tempfile.TemporaryDirectory() as folder:
            print(CASES[case](Path(folder), arguments.backends), flush=True)


def _has(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


class Rows(list[list[object]]):
    """The rows of a table, each told as it is found: a run takes minutes."""

    def append(self, row: list[object]) -> None:
        """Add one."""
        print(*row, file=sys.stderr, flush=True)
        super().append(row)


class Job:
    """A job that was run.

    Attributes:
        log: what it printed.
        seconds: from the start of the process to the saved model.
        memory: the highest use of the GPU's memory seen meanwhile, bytes; NaN where nvidia-smi cannot tell.
    """

    def __init__(
        self,
        algorithm: str,
        channels: Mapping[str, Path],
        given: Mapping[str, object],
        output: Path,
        backend: str,
    ) -> None:
        named = [part for name, path in channels.items() for part in ("--channel", f"{name}={path}")]
        command = [sys.executable, "-m", "local", "train", algorithm, *named, "--output", str(output), "--verbose"]
        # JAX would take three quarters of the memory at once, which hides what it needs.
        environment = {**os.environ, "KERAS_BACKEND": backend, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        started = time.perf_counter()
        with (output.parent / f"{output.name}.log").open("w+") as log:
            process = subprocess.Popen(
                [*command, *(f"{name}={value}" for name, value in given.items())],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            self.memory = float("nan")
            while process.poll() is None:
                self.memory = float(np.fmax(self.memory, _gpu_memory()))
                time.sleep(0.2)
            self.seconds = time.perf_counter() - started
            log.seek(0)
            self.log = log.read()
        if process.returncode:
            raise SystemExit(self.log[-4000:])

    def rates(self, pattern: str = r"Speed: (\S+) samples/sec") -> list[float]:
        """Numbers of the log."""
        return [float(rate) for rate in re.findall(pattern, self.log)]


def _gpu_memory() -> float:
    try:
        command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]) * 2**20
    except (OSError, subprocess.CalledProcessError, ValueError, IndexError):
        return float("nan")


# ---- images ---------------------------------------------------------------------------------------------------------


def _images(folder: Path, backends: Sequence[str]) -> str:
    batch = 128
    channels = {name: folder / name for name in ("train", "validation")}
    for path, count in zip(channels.values(), (IMAGES, batch), strict=True):
        path.mkdir()
        _photographs(path / "data.rec", count)
    given = {
        "num_classes": CLASSES,
        "num_training_samples": IMAGES,
        "num_layers": 50,
        "image_shape": f"3,{SIDE},{SIDE}",
        "mini_batch_size": batch,
        "learning_rate": 0.01,
        "augmentation_type": "crop",
    }
    rows = Rows()
    rows.append(["the pipeline alone", "uint8", _pipeline(folder, batch), "", ""])
    for backend in backends:
        for precision in ("float32", "float16"):
            output = folder / f"{backend}-{precision}"
            values = given | {"precision_dtype": precision, "epochs": 3}
            job = Job("image-classification", channels, values, output, backend)
            rates = job.rates()
            later = statistics.median(rates[len(rates) // 3 :])
            rows.append([f"ours, {backend}", precision, later, job.seconds, job.memory / 1e9])
            rows.append([f"plain Keras, {backend}", precision, *_alone(backend, precision, batch)])
    if _has("torchvision"):
        for precision in ("float32", "float16"):
            rows.append(["torchvision", precision, *_alone("torchvision", precision, batch)])
    title = f"ResNet-50, {SIDE} x {SIDE}, batches of {batch}, {IMAGES} JPEG files of 256 x 256 an epoch"
    return table(title, ["", "numbers", "images/s", "s in all, 3 epochs", "GB of the GPU"], rows)


def _photographs(path: Path, count: int) -> None:
    """Smooth noise in JPEG at the usual quality: as many bytes a pixel as photographs have."""
    rng = np.random.default_rng(0)
    files = []
    for _ in range(200):
        coarse = Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).resize(
            (256, 256), Image.Resampling.BICUBIC
        )
        noisy = np.clip(np.asarray(coarse, np.int16) + rng.normal(0, 8, (256, 256, 3)), 0, 255).astype(np.uint8)
        stream = io.BytesIO()
        Image.fromarray(noisy).save(stream, "JPEG", quality=85)
        files.append(stream.getvalue())
    with path.open("wb") as stream:
        for number in range(count):
            write_frame(stream, encode_record(files[number % len(files)], [number % CLASSES], number))


_PIPELINE = """
import statistics, sys, time
from pathlib import Path
from algorithms.image_classification import targets
from algorithms.image_classification.architecture import Architecture
from algorithms.vision import augment, pipeline
from algorithms.vision.examples import of_channel
from tests.algorithms.samples import Records
form = Architecture(50, (3, int(sys.argv[3]), int(sys.argv[3])), int(sys.argv[4]))
stream = Records(folder=Path(sys.argv[1]))
examples = of_channel("train", {"train": stream}, targets.of_channel("train", stream, form))
prepared = augment.Preparation(form.image_shape, None, "crop")
batches = pipeline.Pipeline(examples, prepared, int(sys.argv[2]), 0, shuffled=True)
rates = []
for epoch in range(3):
    started = time.perf_counter()
    rates.append(sum(batch.valid for batch in batches.epoch(epoch)) / (time.perf_counter() - started))
print(statistics.median(rates))
"""


def _pipeline(folder: Path, batch: int) -> float:
    return float(_python(_PIPELINE, str(folder / "train"), str(batch), str(SIDE), str(CLASSES)))


_ALONE = """
import json, os, statistics, sys, time
kind, precision, batch, side = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
import numpy as np
pixels = np.random.default_rng(0).integers(0, 256, (batch, side, side, 3)).astype(np.float32)
labels = np.arange(batch) % 10
rates = []
if kind == "torchvision":
    import torch, torchvision
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    network = torchvision.models.resnet50(num_classes=10).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)
    x = torch.tensor(pixels.transpose(0, 3, 1, 2) / 255).to(device, memory_format=torch.channels_last)
    y = torch.tensor(labels).to(device)
    scaler = torch.amp.GradScaler(device, enabled=precision == "float16")
    def steps(count):
        for _ in range(count):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device, torch.float16, enabled=precision == "float16"):
                loss = torch.nn.functional.cross_entropy(network(x), y)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        loss.item()
else:
    import keras
    if precision == "float16":
        keras.config.set_dtype_policy("mixed_float16")
    network = keras.applications.ResNet50(weights=None, classes=10, input_shape=(side, side, 3))
    network.compile(keras.optimizers.SGD(0.01, momentum=0.9), keras.losses.SparseCategoricalCrossentropy())
    x, y = keras.ops.convert_to_tensor(pixels / 255), keras.ops.convert_to_tensor(labels)
    def steps(count):
        for _ in range(count):
            loss = network.train_on_batch(x, y)
        float(loss)
began = time.perf_counter()
for count in (5, 30, 30):
    started = time.perf_counter()
    steps(count)
    rates.append(count * batch / (time.perf_counter() - started))
print(json.dumps([max(rates[1:]), time.perf_counter() - began]))
"""


def _alone(kind: str, precision: str, batch: int) -> list[object]:
    """Images/s of steps on one batch; no job, so neither seconds nor memory."""
    backend = "torch" if kind == "torchvision" else kind
    environment = {"KERAS_BACKEND": backend}
    rate, _ = json.loads(_python(_ALONE, kind, precision, str(batch), str(SIDE), **environment))
    return [rate, "", ""]


# ---- documents ------------------------------------------------------------------------------------------------------


def _ntm(folder: Path, backends: Sequence[str]) -> str:
    rng = np.random.default_rng(0)
    topics = rng.dirichlet(np.full(WORDS, 0.05), TOPICS)
    weights = rng.dirichlet(np.full(TOPICS, 0.2), DOCUMENTS)
    counts = np.concatenate([rng.poisson(80 * part @ topics) for part in np.array_split(weights, 40)])
    (folder / "train").mkdir()
    (folder / "train" / "data.pbr").write_bytes(encode_records(sp.csr_array(counts.astype(np.float32))))
    rows = Rows()
    for backend in backends:
        for batch in (256, 4096):
            given = {"feature_dim": WORDS, "num_topics": TOPICS, "mini_batch_size": batch, "epochs": 6}
            job = Job("ntm", {"train": folder / "train"}, given, folder / f"{backend}-{batch}", backend)
            rates = job.rates(r"#throughput_metric: .*throughput=(\S+) records/second")
            rows.append([f"ours, {backend}", batch, statistics.median(rates[1:]), job.seconds, job.memory / 1e9])
    title = f"NTM, {DOCUMENTS} documents of 80 words, {WORDS} in the vocabulary, {TOPICS} topics, 6 epochs"
    return table(title, ["", "mini_batch_size", "documents/s", "s in all", "GB of the GPU"], rows)


# ---- sentences ------------------------------------------------------------------------------------------------------


def _seq2seq(folder: Path, backends: Sequence[str]) -> str:
    pairs = _sentences()
    held_out = max(len(pairs) // 100, 100)
    files = {}
    for name, part in (("train", pairs[held_out:]), ("dev", pairs[:held_out])):
        files[name] = [folder / f"{name}.{side}" for side in ("src", "trg")]
        for side, file in enumerate(files[name]):
            file.write_text("".join(f"{pair[side]}\n" for pair in part))
    texts.make(*files["train"], folder / "made", validation=tuple(files["dev"]), size=8000)
    channels = {name: folder / "made" / name for name in ("train", "validation", "vocab")}
    tokens = statistics.mean(len(target.split()) + 1 for _, target in pairs)
    updates = UPDATES
    given = {
        **dict.fromkeys(("rnn_num_hidden", "num_embed_source", "num_embed_target"), HIDDEN),
        "batch_size": BATCH,
        "learning_rate": 0.001,
        "max_num_batches": updates,
        "checkpoint_frequency_num_batches": updates,
    }
    rows = Rows()
    for backend in backends:
        job = Job("seq2seq", channels, given, folder / backend, backend)
        rates = job.rates()
        rate = tokens * statistics.median(rates[len(rates) // 3 :])
        rows.append([f"ours, {backend}", rate, job.seconds, job.memory / 1e9])
    if _has("torch"):
        rows.append(["plain PyTorch", _plain_lstm(folder), "", ""])
    title = f"seq2seq, {len(pairs)} pairs, {HIDDEN} hidden units, batches of {BATCH}, {updates} updates"
    return table(title, ["", "target tokens/s", "s in all", "GB of the GPU"], rows)


def _plain_lstm(folder: Path) -> float:
    program = Path(__file__).with_name("torch_lstm.py").read_text()
    given = ("--updates", UPDATES, "--hidden", HIDDEN, "--batch", BATCH)
    told = _python(program, *map(str, (folder / "train.src", folder / "train.trg", *given)))
    return float(json.loads(told)["tokens_a_second"])


def _sentences() -> list[tuple[str, str]]:
    """Tatoeba's pairs, or made ones where they are absent."""
    if (SHARED_DATA / "tatoeba-fra-eng").is_dir():
        from benchmarks.seq2seq import sentences

        return sentences().train[:PAIRS]
    rng = np.random.default_rng(0)
    words = [f"w{number}" for number in range(5000)]
    made = ([words[i] for i in rng.zipf(1.3, rng.integers(3, 14)) % len(words)] for _ in range(PAIRS))
    return [(" ".join(sentence), " ".join(reversed(sentence))) for sentence in made]


def _python(program: str, *arguments: str, **environment: str) -> str:
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-4000:])
    return done.stdout.splitlines()[-1]


CASES: Mapping[str, Callable[[Path, Sequence[str]], str]] = {"images": _images, "ntm": _ntm, "seq2seq": _seq2seq}

if __name__ == "__main__":
    main()
