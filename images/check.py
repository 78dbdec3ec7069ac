"""Train and serve in a built image, on real data, as SageMaker starts it: ``python images/check.py ALGORITHM [TAG]``.

As a user unknown to the image, who may write to /opt/ml and /tmp alone, then as root, as SageMaker does.
With a Docker engine by ``docker run``, else with buildah in a plain chroot. /opt/ml is a folder mounted from here.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from sklearn.datasets import load_digits

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from algorithms.seq2seq.vocabulary import Vocabulary  # noqa: E402 - they need the path above
from examples.data import png  # noqa: E402
from recordio.framing import write_frame  # noqa: E402
from recordio.images import encode_record  # noqa: E402
from recordio.record_writer import encode_records  # noqa: E402
from recordio.sequences import Pairs, Ragged, encode  # noqa: E402

RECORDIO = "application/x-recordio-protobuf"
IMAGES = "application/x-recordio"
START_SECONDS = 60
ROOT_USER, OTHER_USER = "0:0", "12345:12345"
TEST_ROWS = 297
"""The last ones, written by other people than the rest: the scores to reach are lower than after a random split."""


# ---- a job for each algorithm ---------------------------------------------------------------------------------------


class Example(NamedTuple):
    """Hyperparameters, how the channel and the request are written, and what a good answer scores."""

    hyperparameters: Mapping[str, object]
    content_type: str
    write: Callable[[np.ndarray, np.ndarray | None], bytes]
    score: Callable[[list[dict], np.ndarray], float]
    at_least: float


def write_csv(rows: np.ndarray, labels: np.ndarray | None) -> bytes:
    """CSV, the label first where there is one."""
    table = rows if labels is None else np.column_stack([labels, rows])
    return "".join(",".join(f"{value:g}" for value in row) + "\n" for row in table).encode()


def write_recordio(rows: np.ndarray, labels: np.ndarray | None) -> bytes:
    """RecordIO-protobuf."""
    return encode_records(rows.astype(np.float32), None if labels is None else labels.astype(np.float32))


def purity(answers: list[dict], digits: np.ndarray) -> float:
    """Share of rows whose cluster is named after their digit."""
    clusters = np.array([int(answer["closest_cluster"]) for answer in answers])
    return sum(np.bincount(digits[clusters == cluster]).max() for cluster in set(clusters)) / len(digits)


def topic_purity(key: str) -> Callable[[list[dict], np.ndarray], float]:
    """Share of rows whose largest topic is named after their digit; pixels are words, ink is how often they occur."""

    def purity_of_topics(answers: list[dict], digits: np.ndarray) -> float:
        topics = np.array([np.argmax(answer[key]) for answer in answers])
        return sum(np.bincount(digits[topics == topic]).max() for topic in set(topics)) / len(digits)

    return purity_of_topics


def spread(answers: list[dict], digits: np.ndarray) -> float:
    """Variance of the last projection, which is the widest, in that of the first."""
    projections = np.array([answer["projection"] for answer in answers])
    return float(projections[:, -1].var() / projections[:, 0].var())


def share_right(key: str, truth: Callable[[np.ndarray], np.ndarray]) -> Callable[[list[dict], np.ndarray], float]:
    """Share of rows whose answer's ``key`` is the truth."""
    return lambda answers, digits: float(np.mean([answer[key] for answer in answers] == truth(digits)))


def digit(digits: np.ndarray) -> np.ndarray:
    """The label of ten classes."""
    return digits


def is_small(digits: np.ndarray) -> np.ndarray:
    """The label of two classes: is the digit below five?"""
    return digits < 5


class Files(NamedTuple):
    """An example whose data are no rows: the files of each channel, the requests, and what good answers score."""

    hyperparameters: Mapping[str, object]
    channels: Mapping[str, tuple[str, Mapping[str, bytes]]]
    content_type: str
    requests: Sequence[bytes]
    score: Callable[[list[Any]], float]
    at_least: float


def sequences() -> Files:
    """Numbers to be spelled backwards."""
    words = Vocabulary.of("0123456789")
    random = np.random.default_rng(0)
    numbers = [" ".join(str(random.integers(1, 10**4))) for _ in range(3000)]
    spelled = [" ".join(number.split()[::-1]) for number in numbers]

    def records(part: slice) -> bytes:
        return encode(Pairs(*(Ragged.of([words.ids(text) for text in side[part]]) for side in (numbers, spelled))))

    def score(answers: list[dict]) -> float:
        return float(np.mean([a["target"] == text for a, text in zip(answers, spelled[-TEST_ROWS:], strict=True)]))

    vocabulary = words.to_json().encode()
    sizes = dict.fromkeys(("rnn_num_hidden", "num_embed_source", "num_embed_target"), 64)
    instances = [{"data": text} for text in numbers[-TEST_ROWS:]]
    return Files(
        {**sizes, "learning_rate": 0.01, "max_num_epochs": 4, "checkpoint_frequency_num_batches": 100},
        {
            "train": (RECORDIO, {"train.rec": records(slice(0, -2 * TEST_ROWS))}),
            "validation": (RECORDIO, {"val.rec": records(slice(-2 * TEST_ROWS, -TEST_ROWS))}),
            "vocab": ("application/json", {"vocab.src.json": vocabulary, "vocab.trg.json": vocabulary}),
        },
        "application/json",
        [json.dumps({"instances": instances}).encode()],
        score,
        0.5,
    )


def pictures() -> Files:
    """Handwritten digits, as PNG files in MXNet's records; a request is one file."""
    images, digits = load_digits(return_X_y=True)
    files = [png(image.reshape(8, 8)) for image in images]

    def records(part: slice) -> bytes:
        stream = io.BytesIO()
        for number, (file, label) in enumerate(zip(files[part], digits[part], strict=True)):
            write_frame(stream, encode_record(file, [label], number))
        return stream.getvalue()

    train = records(slice(0, -TEST_ROWS))
    settings = {
        "num_classes": 10,
        "num_training_samples": len(digits) - TEST_ROWS,
        "num_layers": 20,
        "image_shape": "3,28,28",
        "epochs": 3,
        "learning_rate": 0.05,
        "augmentation_type": "crop",
    }
    return Files(
        settings,
        {name: (IMAGES, {"digits.rec": train}) for name in ("train", "validation")},
        "image/png",
        files[-TEST_ROWS:],
        lambda answers: float(np.mean(np.argmax(answers, axis=1) == digits[-TEST_ROWS:])),
        0.6,
    )


WITH_FILES: dict[str, Callable[[], Files]] = {"image-classification": pictures, "seq2seq": sequences}
"""Examples that are made when they are needed."""

EXAMPLES: dict[str, Example] = {
    "kmeans": Example({"k": 10, "feature_dim": 64}, "text/csv;label_size=0", write_csv, purity, 0.7),
    "pca": Example(
        {"num_components": 5, "feature_dim": 64, "mini_batch_size": 500}, "text/csv;label_size=0", write_csv, spread, 2
    ),
    "lda": Example(
        {"num_topics": 10, "feature_dim": 64, "mini_batch_size": 1500},
        "text/csv;label_size=0",
        write_csv,
        topic_purity("topic_mixture"),
        0.5,
    ),
    "ntm": Example(
        {"num_topics": 10, "feature_dim": 64, "mini_batch_size": 100},
        "text/csv;label_size=0",
        write_csv,
        topic_purity("topic_weights"),
        0.5,
    ),
    "xgboost": Example(
        {"objective": "multi:softmax", "num_class": 10, "num_round": 20},
        "text/csv",
        write_csv,
        share_right("score", digit),
        0.85,
    ),
    "linear-learner": Example(
        {"predictor_type": "multiclass_classifier", "num_classes": 10, "feature_dim": 64, "mini_batch_size": 100},
        "text/csv",
        write_csv,
        share_right("predicted_label", digit),
        0.85,
    ),
    "factorization-machines": Example(
        {"predictor_type": "binary_classifier", "num_factors": 8, "feature_dim": 64, "epochs": 20},
        RECORDIO,
        write_recordio,
        share_right("predicted_label", is_small),
        0.75,
    ),
}
Launch: TypeAlias = Callable[[Path, Mapping[str, str], Sequence[str]], list[str]]
UNSUPERVISED = {"kmeans", "pca", "lda", "ntm"}


# ---- running an image -----------------------------------------------------------------------------------------------


def has_engine() -> bool:
    """Whether a Docker engine answers."""
    return bool(shutil.which("docker")) and subprocess.run(["docker", "info"], capture_output=True).returncode == 0


def print_sizes(image: str) -> None:
    """How large the image is, and how large it is compressed as registries keep and send it."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "image.tar"
        if has_engine():
            output("docker", "save", "--output", str(archive), image)
        else:
            output("buildah", "push", "--quiet", image, f"docker-archive:{archive}")
        packer, packed = zlib.compressobj(wbits=31), 0
        with archive.open("rb") as stream:
            while block := stream.read(1 << 20):
                packed += len(packer.compress(block))
        packed += len(packer.flush())
        print(f"{image}: {archive.stat().st_size / 1e6:.0f} MB, compressed {packed / 1e6:.0f} MB")


@contextmanager
def launcher(image: str, user: str = ROOT_USER) -> Iterator[Launch]:
    """A function from (/opt/ml, environment, command) to the command line that runs it in the image as ``user``.

    Another user than root gets a read-only file system from Docker; in buildah's chroot the rights of the files see to
    that: the image has no file or folder besides /tmp that such a user may write to.
    """
    if has_engine():
        yield lambda base, variables, command: [
            *("docker", "run", "--rm", "--network=host", f"--volume={base}:/opt/ml", f"--user={user}"),
            *(() if user == ROOT_USER else ("--read-only", "--tmpfs=/tmp")),
            *(f"--env={name}={value}" for name, value in variables.items()),
            *(image, *command),
        ]
        return
    container = output("buildah", "from", image)
    default = json.loads(output("buildah", "inspect", container))["OCIv1"]["config"]["Cmd"]
    try:
        yield lambda base, variables, command: [
            *("buildah", "run", "--isolation=chroot", f"--volume={base}:/opt/ml", f"--user={user}"),
            *(f"--env={name}={value}" for name, value in variables.items()),
            *(container, "--", *(command or default)),
        ]
    finally:
        subprocess.run(["buildah", "rm", container], check=True, stdout=subprocess.DEVNULL)


def output(*command: str) -> str:
    """What a command prints, without the last newline."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def check(algorithm: str, launch: Launch, variables: Mapping[str, str]) -> None:
    """Train and serve ``algorithm`` in an image.

    Raises:
        AssertionError, SystemExit: something is not as it should be.
    """
    example = WITH_FILES[algorithm]() if algorithm in WITH_FILES else as_files(algorithm)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        lay_out(base, example)
        started = time.perf_counter()
        done = subprocess.run(launch(base, variables, []), capture_output=True, text=True)  # no command: it trains
        seconds = time.perf_counter() - started
        assert done.returncode == 0, done.stdout + done.stderr
        print(f"{algorithm}: trained in {seconds:.1f} s, {', '.join(path.name for path in (base / 'model').iterdir())}")
        with server(launch, base, variables) as (address, started_in):
            answers = ask(address, example)
            score = example.score(answers)
        assert len(answers) == TEST_ROWS and score >= example.at_least, (len(answers), score)
        print(f"{algorithm}: healthy after {started_in:.1f} s, {len(answers)} answers, score {score:.3f}")


def as_files(algorithm: str) -> Files:
    """An example of rows: handwritten digits."""
    example = EXAMPLES[algorithm]
    images, digits = load_digits(return_X_y=True)
    labels = is_small(digits) if example.hyperparameters.get("predictor_type") == "binary_classifier" else digits
    rows = example.write(images[:-TEST_ROWS], None if algorithm in UNSUPERVISED else labels[:-TEST_ROWS])
    return Files(
        example.hyperparameters,
        {"train": (example.content_type, {"digits": rows})},
        example.content_type.partition(";")[0],
        [example.write(images[-TEST_ROWS:], None)],
        lambda answers: example.score(answers, digits[-TEST_ROWS:]),
        example.at_least,
    )


def lay_out(base: Path, example: Files) -> None:
    """The folders and files of SageMaker's /opt/ml before training; any user may write there."""
    for name in ("input/config", "model", "output", *(f"input/data/{channel}" for channel in example.channels)):
        (base / name).mkdir(parents=True)
    for folder in (base, *base.rglob("*")):
        folder.chmod(0o777)
    channels = {}
    for channel, (content_type, files) in example.channels.items():
        channels[channel] = {"TrainingInputMode": "File", "ContentType": content_type}
        for name, content in files.items():
            (base / "input/data" / channel / name).write_bytes(content)
    strings = {name: str(value) for name, value in example.hyperparameters.items()}
    config = base / "input/config"
    (config / "hyperparameters.json").write_text(json.dumps(strings))
    (config / "inputdataconfig.json").write_text(json.dumps(channels))
    (config / "resourceconfig.json").write_text(json.dumps({"current_host": "algo-1", "hosts": ["algo-1"]}))


@contextmanager
def server(launch: Launch, base: Path, variables: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    """A server in the image: its address, and after how many seconds it said that it is healthy."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = launch(base, {**variables, "SAGEMAKER_BIND_TO_PORT": str(port)}, ["serve"])
    started = time.perf_counter()
    log = base / "serve.log"
    with log.open("w") as stream:
        process = subprocess.Popen(command, start_new_session=True, stdout=stream, stderr=stream)
    try:
        while not healthy(address):
            if process.poll() is not None or time.perf_counter() - started > START_SECONDS:
                raise SystemExit(f"serve did not start: {log.read_text()}")
            time.sleep(0.02)
        yield address, time.perf_counter() - started
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def healthy(address: str) -> bool:
    """Whether GET /ping answers 200."""
    try:
        with urllib.request.urlopen(f"{address}/ping", timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def ask(address: str, example: Files) -> list[Any]:
    """The answers to all requests: a dict a row, or the list that answers an image."""
    headers = {"Content-Type": example.content_type, "Accept": "application/json"}
    rows: list[Any] = []
    for body in example.requests:
        request = urllib.request.Request(f"{address}/invocations", body, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            found = json.load(answer)
        rows += [found] if isinstance(found, list) else next(iter(found.values()))
    return rows


def main(algorithm: str, image: str) -> None:
    """Check the image of one algorithm, or all of them in the image of all."""
    print_sizes(image)
    with launcher(image, OTHER_USER) as launch:
        name = "kmeans" if algorithm == "all" else algorithm
        check(name, launch, {"ALGORITHM": name})
        print(f"{name}: that was as user {OTHER_USER}, who may write to /opt/ml and /tmp alone; now as root")
    with launcher(image) as launch:
        for name in (*EXAMPLES, *WITH_FILES) if algorithm == "all" else [algorithm]:
            check(name, launch, {"ALGORITHM": name} if algorithm == "all" else {})


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else f"open-algorithms/{sys.argv[1]}")
