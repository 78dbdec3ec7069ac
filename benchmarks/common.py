"""What every benchmark shares: real data, the same bytes for all, interleaved timing, one form of table.

Other work on the machine changes its speed from second to second. So contenders are run in turn, round after round,
and compared within each round: the median of the ratios is what a benchmark reports.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import multiprocessing
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
"""Data sets kept beside the checkout; benchmarks fall back to scikit-learn's digits where they are absent."""


class Data(NamedTuple):
    """Rows to train on: ``features`` of shape (n, d), float32; ``labels`` of shape (n,), float32."""

    name: str
    features: np.ndarray
    labels: np.ndarray


def mnist(part: str = "train") -> Data:
    """MNIST with pixels in [0, 1]: 60,000 rows (``train``) or 10,000 (``t10k``) of 784; digits where it is absent."""
    folder = SHARED_DATA / "mnist"
    if not folder.is_dir():
        return digits()
    images = gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / f"{part}-labels-idx1-ubyte.gz").read_bytes())
    pixels = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28 * 28)
    return Data("mnist", pixels.astype(np.float32) / 255, np.frombuffer(labels, np.uint8, offset=8).astype(np.float32))


def covertype() -> Data | None:
    """20,000 rows of the covertype data, 54 features; None where it is absent."""
    path = SHARED_DATA / "covertype-20k" / "covtype.20k.data"
    if not path.is_file():
        return None
    rows = np.loadtxt(path, delimiter=",", dtype=np.float32)
    return Data("covertype-20k", np.ascontiguousarray(rows[:, :54]), np.ascontiguousarray(rows[:, 54]))


def digits() -> Data:
    """scikit-learn's 1,797 digits of 8 x 8 pixels in [0, 16]."""
    from sklearn.datasets import load_digits

    features, labels = load_digits(return_X_y=True)
    return Data("digits", features.astype(np.float32), labels.astype(np.float32))


@dataclass
class Contender:
    """One side of a comparison: what to run, what it returned last, and the seconds of each round."""

    name: str
    run: Callable[[], Any]
    result: Any = None
    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Median seconds over the rounds."""
        return statistics.median(self.seconds)

    def times_slower_than(self, other: Contender) -> float:
        """Median over the rounds of this one's seconds divided by ``other``'s in the same round."""
        return statistics.median(mine / theirs for mine, theirs in zip(self.seconds, other.seconds, strict=True))


def race(contenders: Mapping[str, Callable[[], Any]], rounds: int = 5, *, warm: bool = True) -> list[Contender]:
    """Run all contenders once unmeasured, unless ``warm`` is false, then ``rounds`` times in turn, every other round in
    reverse order."""
    entered = [Contender(name, run) for name, run in contenders.items()]
    for contender in entered if warm else []:
        contender.result = contender.run()
    for number in range(rounds):
        for contender in entered[:: -1 if number % 2 else 1]:
            started = time.perf_counter()
            contender.result = contender.run()
            contender.seconds.append(time.perf_counter() - started)
    return entered


def write_job(
    base: Path,
    hyperparameters: Mapping[str, object],
    channels: Mapping[str, Path],
    content_type: str = "application/x-recordio-protobuf",
) -> None:
    """The input of a training job below ``base``, each channel a folder of one linked file or a folder as it is."""
    config = base / "input" / "config"
    config.mkdir(parents=True, exist_ok=True)
    strings = {name: str(value) for name, value in hyperparameters.items()}
    (config / "hyperparameters.json").write_text(json.dumps(strings))
    described = {name: {"ContentType": content_type, "TrainingInputMode": "File"} for name in channels}
    (config / "inputdataconfig.json").write_text(json.dumps(described))
    hosts = {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "eth0"}
    (config / "resourceconfig.json").write_text(json.dumps(hosts))
    for name, path in channels.items():
        folder = base / "input" / "data" / name
        if path.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.symlink_to(path, target_is_directory=True)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / path.name).hardlink_to(path)


class Trained(NamedTuple):
    """What a training job left: the model's folder and the lines of its log."""

    model: Path
    log: str


def train(base: Path, algorithm: str) -> Trained:
    """Run the training job that ``write_job`` laid below ``base``, as the ``train`` command does.

    It runs in this process, so that neither side of a comparison pays for the start of Python and its imports.
    """
    from container.paths import Paths
    from container.settings import Settings
    from container.training import train as command

    paths, log = Paths(base), io.StringIO()
    with contextlib.redirect_stdout(log):
        code = command.run(paths, Settings(base_directory=base, algorithm=algorithm))
    if code:
        raise RuntimeError(f"training ended with exit code {code}: {paths.failure.read_text()}")
    return Trained(paths.model, log.getvalue())


def peak_memory(run: Callable[..., object], *arguments: object) -> int:
    """Largest resident size, in bytes, of a new process that calls ``run`` and does nothing else."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_run_and_measure, run, *arguments).result()


def _run_and_measure(run: Callable[..., object], *arguments: object) -> int:
    run(*arguments)
    status = Path("/proc/self/status")
    if status.exists():  # Linux keeps ru_maxrss across exec, so that a child starts at its parent's; VmHWM starts anew
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class Cost(NamedTuple):
    """Seconds of processor time, bytes of memory beyond those before, and what was returned."""

    seconds: float
    memory: int
    result: Any


def cost(run: Callable[..., Any], *arguments: Any) -> Cost:
    """What a call costs, in this process. The processor's seconds do not depend on what else the machine does, and BLAS
    has one thread, since others would count while they wait; memory is told on Linux alone, and is 0 elsewhere."""
    status, references = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if references.exists():
        references.write_text("5")  # the peak starts anew
    with threadpool_limits(1):
        before, started = _resident(status), time.process_time()
        result = run(*arguments)
        seconds = time.process_time() - started
    return Cost(seconds, max(0, _resident(status, "VmHWM") - before), result)


def _resident(status: Path, what: str = "VmRSS") -> int:
    found = re.findall(rf"{what}:\s+(\d+) kB", status.read_text()) if status.exists() else []
    return 1024 * int(found[0]) if found else 0


def kept(name: str, arrays: Sequence[np.ndarray], compute: Callable[[], float]) -> float:
    """What ``compute`` finds in minutes, computed once for the data and kept in ``out/oracles.json`` by its digest."""
    digest = hashlib.sha256(name.encode())
    for array in arrays:
        digest.update(str(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    file = Path(__file__).resolve().parents[1] / "out" / "oracles.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    key = f"{name} {digest.hexdigest()[:32]}"
    if key not in known:
        known[key] = compute()
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(known, indent=1))
    return float(known[key])


def copied(data: bytes | np.ndarray, part: int = 1 << 20) -> int:
    """Copy all bytes into fresh arrays of ``part`` bytes: the least that a reader does."""
    source = np.frombuffer(data, np.uint8)
    return sum(len(source[start : start + part].copy()) for start in range(0, len(source), part))


def apart(run: Callable[..., Any], *arguments: Any) -> Any:
    """What ``run`` returns in a new process that does nothing else."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(run, *arguments).result()


def four_digits(number: float) -> str:
    """A number as people write it: 0.1844, 39.38, 19,820."""
    rounded = float(f"{number:.4g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 1000 else f"{rounded:g}"


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table, numbers to four significant digits."""
    cells = [[four_digits(cell) if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    widths = [max(len(line[at]) for line in [list(columns), *cells]) for at in range(len(columns))]
    lines = [columns, ["-" * width for width in widths], *cells]
    body = [f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |" for line in lines]
    return "\n".join([f"\n## {title}\n", *body])
