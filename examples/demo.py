"""Train and serve two algorithms on handwritten digits, the way SageMaker does, and draw what they found.

    python examples/demo.py [FOLDER]        # `make demo` runs it with out/demo

It imports nothing of this project. As SageMaker does, it lays out a folder like /opt/ml, runs the commands `train` and
`serve`, and talks HTTP to the latter: k-means sorts 1,797 images of digits into ten clusters without ever seeing a
label, PCA lays them out on a plane. The page that it writes is one HTML file without scripts or links.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import demo_page
import numpy as np
from sklearn.datasets import load_digits

COMMANDS = Path(sys.executable).parent
CLUSTERS = 10
TEST_ROWS = 297
START_SECONDS = 60


def main(folder: Path) -> None:
    """Train, serve and predict below ``folder``; write ``folder``/index.html."""
    images, digits = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    images, digits = images[order], digits[order]
    training = {"train": images[:-TEST_ROWS], "test": images[-TEST_ROWS:]}

    wanted = {"k": CLUSTERS, "feature_dim": images.shape[1], "epochs": 10, "eval_metrics": '["msd"]'}
    log, seconds = train(folder / "kmeans", "kmeans", wanted, training)
    with server(folder / "kmeans", "kmeans") as address:
        clusters = [int(row["closest_cluster"]) for row in ask(address, images)["predictions"]]

    wanted = {"num_components": 2, "feature_dim": images.shape[1], "mini_batch_size": 500}
    train(folder / "pca", "pca", wanted, {"train": training["train"]})
    with server(folder / "pca", "pca") as address:
        positions = [row["projection"] for row in ask(address, images)["projections"]]

    page = folder / "index.html"
    page.write_text(
        demo_page.draw(
            images=images.reshape(-1, 8, 8) / 16,
            digits=digits,
            clusters=np.array(clusters),
            positions=np.array(positions),
            distance=test_distance(log),
            seconds=seconds,
            held_out=TEST_ROWS,
        )
    )
    say(f"Look at {page}")


def train(base: Path, algorithm: str, hyperparameters: dict, channels: dict[str, np.ndarray]) -> tuple[str, float]:
    """Run one training job in the folder ``base``, SageMaker's /opt/ml; its log and how many seconds it took.

    Raises:
        SystemExit: the job failed; says what it wrote to its failure file.
    """
    write_json(
        base / "input/config/hyperparameters.json", {name: str(value) for name, value in hyperparameters.items()}
    )
    types = {name: {"TrainingInputMode": "File", "ContentType": "text/csv;label_size=0"} for name in channels}
    write_json(base / "input/config/inputdataconfig.json", types)
    write_json(base / "input/config/resourceconfig.json", {"current_host": "algo-1", "hosts": ["algo-1"]})
    for name, rows in channels.items():
        file = base / "input/data" / name / "digits.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(as_csv(rows))
    for made_by_job in ("model", "output"):
        (base / made_by_job).mkdir(exist_ok=True)

    say(f"Training {algorithm} on {len(channels['train']):,} digits: train, with {base} as /opt/ml")
    started = time.perf_counter()
    done = subprocess.run([COMMANDS / "train"], env=environment(base, algorithm), capture_output=True, text=True)
    seconds = time.perf_counter() - started
    (base / "train.log").write_text(done.stdout + done.stderr)
    if done.returncode != 0:
        raise SystemExit(f"train ended with code {done.returncode}: {(base / 'output/failure').read_text()}")
    say(f"  done in {seconds:.1f} s; the log is {base / 'train.log'}, the model {base / 'model'}")
    return done.stdout + done.stderr, seconds


@contextmanager
def server(base: Path, algorithm: str) -> Iterator[str]:
    """A server of the model in ``base``/model: its address, once it says that it is healthy.

    Raises:
        SystemExit: it ended or was not healthy in time; says where its log is.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    settings = {**environment(base, algorithm), "SAGEMAKER_BIND_TO_PORT": str(port)}
    say(f"Serving it: serve, at {address}")
    with (base / "serve.log").open("w") as log:
        process = subprocess.Popen([COMMANDS / "serve"], env=settings, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not healthy(address):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"serve did not start; its log is {base / 'serve.log'}")
            time.sleep(0.05)
        yield address
    finally:
        process.terminate()
        process.wait()


def healthy(address: str) -> bool:
    """Whether GET /ping answers 200."""
    try:
        with urllib.request.urlopen(f"{address}/ping", timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def ask(address: str, rows: np.ndarray) -> dict:
    """The JSON answer of POST /invocations to the rows as CSV."""
    headers = {"Content-Type": "text/csv", "Accept": "application/json"}
    request = urllib.request.Request(f"{address}/invocations", as_csv(rows).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        say(f"  asked for {len(rows):,} predictions: {answer.status} {answer.reason}")
        return json.load(answer)


def environment(base: Path, algorithm: str) -> dict[str, str]:
    """The variables of a job whose /opt/ml is ``base``. An image built for one algorithm has ALGORITHM set."""
    return {**os.environ, "SAGEMAKER_BASE_DIR": str(base), "ALGORITHM": algorithm}


def test_distance(log: str) -> float:
    """The mean squared distance of the test images from their centers, as the training log reports it."""
    found = re.findall(r"#test_score \(algo-\S+\) : \('msd', (\S+)\)", log)
    return float(found[-1])


def as_csv(rows: np.ndarray) -> str:
    """Lines of comma-separated values, without a header."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows.astype(int).tolist())
    return text.getvalue()


def write_json(file: Path, content: object) -> None:
    """A JSON file, in a folder that is made if need be."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=2))


def say(line: str) -> None:
    """One line for the person who runs this."""
    print(line, flush=True)


if __name__ == "__main__":
    folders: Sequence[str] = sys.argv[1:] or ["out/demo"]
    main(Path(folders[0]).resolve())
