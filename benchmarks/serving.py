"""Requests a second and latency of our server beside others, on one machine, under one load generator.

Peers: scikit-learn's KMeans behind plain Flask under gunicorn; the Flask application of Amazon's open XGBoost
container as its image starts it (gunicorn with gevent, without the nginx in front of it). The second needs a checkout
of that container and a Python environment that can import it:

    python -m benchmarks.serving --aws-source PATH/src --aws-python PATH/bin/python --connections 1 8 32

All servers listen on the loopback interface and answer the same bytes; connections are kept alive. Servers take turns
within each round, and the reported ratio is the median over the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks import common
from benchmarks.lines import Line
from benchmarks.load import Load, load
from recordio import record_writer

ROOT = Path(__file__).resolve().parents[1]
CONNECTIONS = 8
SECONDS = 2.0
ROUNDS = 5
CLUSTERS = 10
COLUMNS = 8  # of the small rows with which worker types are compared

# Our application under a worker type of gunicorn's own, and under Waitress.
GUNICORN_WORKER = """
import os
from container.serving import server
ours = server.options
def options(*given):
    changed = {"worker_class": os.environ["WORKER"], "keepalive": 60, "worker_connections": 4000}
    return {**ours(*given), **changed}
server.options = options
from container.__main__ import serve
raise SystemExit(serve())
"""
WAITRESS = """
import os
from gunicorn.workers.base import Worker
class Waitress(Worker):
    def run(self):
        import threading, time, waitress.server
        sockets = [one.sock for one in self.sockets]  # gunicorn wraps them
        server = waitress.server.create_server(
            self.wsgi, sockets=sockets, threads=4, connection_limit=4000, asyncore_use_poll=True
        )
        def beat():
            while True:
                self.notify()
                time.sleep(1)
        threading.Thread(target=beat, daemon=True).start()
        server.run()
    def handle_exit(self, *signal):
        os._exit(0)
from container.serving import server
ours = server.options
server.options = lambda *given: {**ours(*given), "worker_class": Waitress}
from container.__main__ import serve
raise SystemExit(serve())
"""

# Amazon's application keeps its class attribute "app"; gunicorn wants a module's name.
AWS_APPLICATION = """
from sagemaker_xgboost_container.algorithm_mode.serve import ScoringService
app = ScoringService.csdk_start()
"""

# What many people write around a scikit-learn model, in SageMaker's request and response format.
SKLEARN_APPLICATION = """
import io, json, pickle
import flask, numpy as np
app = flask.Flask(__name__)
model = pickle.load(open({path!r}, "rb"))

@app.get("/ping")
def ping():
    return ""

@app.post("/invocations")
def invocations():
    request = flask.request
    if request.mimetype == "text/csv":
        rows = np.loadtxt(io.BytesIO(request.data), delimiter=",", dtype=np.float32, ndmin=2)
    else:
        rows = np.array([row["features"] for row in json.loads(request.data)["instances"]], np.float32)
    distances = model.transform(rows)
    nearest = distances.argmin(axis=1)
    answers = [
        {{"closest_cluster": float(k), "distance_to_cluster": float(d)}}
        for k, d in zip(nearest, distances[np.arange(len(rows)), nearest])
    ]
    return flask.jsonify(predictions=answers)
"""


@dataclass
class Server:
    """A running server and its rounds by request."""

    name: str
    port: int
    start_seconds: float
    rounds: dict[str, list[Load]] = field(default_factory=dict)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.serving", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--aws-source", type=Path, help="folder src of a checkout of sagemaker-xgboost-container")
    parser.add_argument("--aws-python", type=Path, help="interpreter that can import it")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each measurement [default: %(default)s]")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="turns of each server [default: %(default)s]")
    parser.add_argument("--connections", type=int, nargs="*", default=[CONNECTIONS], help="one table for each number")
    parser.add_argument("--workers", nargs="*", metavar="TYPE", help="compare our worker with gunicorn's and waitress")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.workers:
            _worker_types(Path(folder), options)
            return
        _against_sklearn(Path(folder), options)
        if options.aws_source and options.aws_python:
            _against_aws(Path(folder), options)
        else:
            print("\nAmazon's container: left out, for want of --aws-source and --aws-python")


def lines(quick: bool) -> Iterator[Line]:
    """Requests to k-means beside Flask with scikit-learn; the quality is the latency of 99 % of them."""
    options = argparse.Namespace(seconds=0.2 if quick else SECONDS, rounds=1 if quick else ROUNDS)
    with tempfile.TemporaryDirectory() as folder, _beside_sklearn(Path(folder)) as (title, servers, requests):
        mine, theirs = servers
        _measure(servers, requests, options, CONNECTIONS)
        for name in requests:
            ours, other = (_figures(server.rounds[name]) for server in servers)
            latency = [f"p99 {figures[2]:.1f} ms" for figures in (ours, other)]
            ahead = _ratio(mine, theirs, name)
            yield Line(f"{title}, {name}", ours[0], "requests/s", theirs.name, other[0], ahead, "", None, *latency)
        first = (mine.start_seconds, "s", theirs.name, theirs.start_seconds, theirs.start_seconds / mine.start_seconds)
        yield Line("serving: first ping", *first)


def _worker_types(folder: Path, options: argparse.Namespace) -> None:
    """Small rows, where the server is what takes the time, at 1, 8 and 32 connections."""
    from algorithms.common import mxnet_files

    rows = np.random.default_rng(0).normal(size=(CLUSTERS, COLUMNS)).astype(np.float32)
    (folder / "model").mkdir()
    mxnet_files.save(folder / "model" / "model_algo-1", [rows])
    requests = {"1 row, CSV": _csv(rows[:1]), "1 row, JSON": _json(rows[:1])}
    with ExitStack() as stack:
        ours = stack.enter_context(_ours(folder, "kmeans"))
        others = [stack.enter_context(_ours_under(folder, kind)) for kind in options.workers]
        for connections in (1, 8, 32):
            for other in others:
                _compare(f"{connections} connections", [ours, other], requests, options, connections)


def _against_sklearn(folder: Path, options: argparse.Namespace) -> None:
    with _beside_sklearn(folder) as (title, servers, requests):
        for connections in options.connections:
            _compare(f"{title}, JSON out, {connections} connections", servers, requests, options, connections)


@contextmanager
def _beside_sklearn(folder: Path) -> Iterator[tuple[str, list[Server], dict[str, bytes]]]:
    """A title, our server and scikit-learn's behind Flask, of the same centers, and requests."""
    import pickle

    from sklearn.cluster import KMeans

    from algorithms.common import mxnet_files

    data = common.mnist()
    rows = data.features[:5000]
    model = KMeans(CLUSTERS, n_init=1, random_state=0).fit(rows)
    ours = folder / "kmeans"
    (ours / "model").mkdir(parents=True)
    mxnet_files.save(ours / "model" / "model_algo-1", [model.cluster_centers_.astype(np.float32)])
    pickled = folder / "kmeans.pickle"
    pickled.write_bytes(pickle.dumps(model))
    (folder / "sklearn_application.py").write_text(SKLEARN_APPLICATION.format(path=str(pickled)))
    requests = {
        f"{count} x {rows.shape[1]}, {name}": request
        for count in (1, 100)
        for name, request in (("CSV", _csv(rows[:count])), ("JSON", _json(rows[:count])))
    }
    gunicorn = [sys.executable, "-m", "gunicorn", "-k", "gthread", "--threads", "4", "-w", str(os.cpu_count())]
    with ExitStack() as stack:
        servers = [
            stack.enter_context(_ours(ours, "kmeans")),
            stack.enter_context(_started("Flask + scikit-learn", [*gunicorn, "sklearn_application:app"], folder)),
        ]
        yield f"serving k-means, {data.name}", servers, requests


def _against_aws(folder: Path, options: argparse.Namespace) -> None:
    import xgboost

    data = common.covertype() or common.digits()
    booster = xgboost.train(
        {"objective": "binary:logistic", "max_depth": 6},
        xgboost.DMatrix(data.features, data.labels == data.labels[0]),
        num_boost_round=100,
    )
    ours = folder / "xgboost"
    (ours / "model").mkdir(parents=True)
    (ours / "model" / "xgboost-model").write_bytes(booster.save_raw("ubj"))
    (folder / "aws_application.py").write_text(AWS_APPLICATION)
    requests = {
        f"{count} x {data.features.shape[1]}, {name}": request
        for count in (1, 100)
        for name, request in (
            ("CSV", _csv(data.features[:count])),
            ("libsvm", _libsvm(data.features[:count])),
            ("RecordIO", _recordio(data.features[:count])),
        )
    }
    workers = str(os.cpu_count())
    command = [str(options.aws_python), "-m", "gunicorn", "-k", "gevent", "--worker-connections", "2000", "-w", workers]
    environment = {"SM_MODEL_DIR": str(ours / "model"), "PYTHONPATH": str(options.aws_source)}
    with ExitStack() as stack:
        servers = [
            stack.enter_context(_ours(ours, "xgboost")),
            stack.enter_context(_started("Amazon's container", [*command, "aws_application:app"], folder, environment)),
        ]
        title = f"XGBoost, 100 trees, on {data.name}, CSV out"
        for connections in options.connections:
            _compare(f"{title}, {connections} connections", servers, requests, options, connections)


def _compare(
    title: str,
    servers: Sequence[Server],
    requests: Mapping[str, bytes],
    options: argparse.Namespace,
    connections: int,
) -> None:
    for server in servers:
        server.rounds = {}
    _measure(servers, requests, options, connections)
    first, other = servers
    rows = [
        (name, *_figures(first.rounds[name]), *_figures(other.rounds[name]), _ratio(first, other, name))
        for name in requests
    ]
    columns = ["request", *(f"{server.name}: {what}" for server in servers for what in ("req/s", "p50 ms", "p99 ms"))]
    print(common.table(title, [*columns, "times as many"], rows))
    starts = ", ".join(f"{server.name} {server.start_seconds:.2f} s" for server in servers)
    print(f"\nFrom start to first answer: {starts}")


def _measure(
    servers: Sequence[Server], requests: Mapping[str, bytes], options: argparse.Namespace, connections: int
) -> None:
    """Each request to each server, in turn, as many rounds as are asked for, after a short one to warm up."""
    for name, request in requests.items():
        for server in servers:
            load(server.port, request, options.seconds / 4, connections)
        for number in range(options.rounds):
            for server in servers[:: -1 if number % 2 else 1]:
                server.rounds.setdefault(name, []).append(load(server.port, request, options.seconds, connections))


def _ratio(first: Server, other: Server, name: str) -> float:
    """How many times as many requests the first answers, by the median of the rounds."""
    rounds = zip(first.rounds[name], other.rounds[name], strict=True)
    return statistics.median(mine.rate / theirs.rate for mine, theirs in rounds)


def _figures(loads: Sequence[Load]) -> tuple[float, float, float]:
    """Median requests a second; p50 and p99 in milliseconds over all rounds."""
    latencies = np.concatenate([load.latencies for load in loads])
    return (statistics.median(load.rate for load in loads), *(1000 * np.percentile(latencies, [50, 99])).tolist())


# ---- requests -------------------------------------------------------------------------------------------------------


def _request(content_type: str, body: bytes) -> bytes:
    head = (
        "POST /invocations HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _csv(rows: np.ndarray) -> bytes:
    return _request("text/csv", "\n".join(",".join(f"{value:g}" for value in row) for row in rows).encode())


def _json(rows: np.ndarray) -> bytes:
    instances = [{"features": [round(value, 6) for value in row]} for row in rows.tolist()]
    return _request("application/json", json.dumps({"instances": instances}).encode())


def _libsvm(rows: np.ndarray) -> bytes:
    lines = (" ".join(f"{at}:{value:g}" for at, value in enumerate(row)) for row in rows)
    return _request("text/libsvm", "\n".join(lines).encode())


def _recordio(rows: np.ndarray) -> bytes:
    return _request("application/x-recordio-protobuf", record_writer.encode_records(rows))


# ---- servers --------------------------------------------------------------------------------------------------------


def _ours(base: Path, algorithm: str) -> object:
    environment = {"SAGEMAKER_BASE_DIR": str(base), "ALGORITHM": algorithm, "PYTHONPATH": str(ROOT)}
    return _started("ours", [sys.executable, "-m", "container", "serve"], base, environment)


def _ours_under(base: Path, kind: str) -> object:
    environment = {"SAGEMAKER_BASE_DIR": str(base), "ALGORITHM": "kmeans", "PYTHONPATH": str(ROOT), "WORKER": kind}
    program = WAITRESS if kind == "waitress" else GUNICORN_WORKER
    return _started(f"under {kind}", [sys.executable, "-c", program], base, environment)


@contextmanager
def _started(
    name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """A server that answers /ping; stopped at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    bind = [] if "serve" in command or "-c" in command else ["-b", f"127.0.0.1:{port}"]
    # One thread of BLAS and OpenMP in each worker process, as Amazon's image sets it and ours does on such a machine.
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "SAGEMAKER_BIND_TO_PORT": str(port), **(environment or {})}
    started = time.perf_counter()
    with (folder / f"{port}.log").open("wb") as log:
        process = subprocess.Popen([*command, *bind], cwd=folder, env=variables, stdout=log, stderr=log)
    try:
        _wait(process, port, folder / f"{port}.log")
        yield Server(name, port, time.perf_counter() - started)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), 30) as connection:
                connection.sendall(b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n")
                if connection.recv(4096).split(b" ", 2)[1:2] == [b"200"]:
                    return
        except OSError:
            time.sleep(0.01)
    raise RuntimeError(f"the server did not start: {log.read_text()[-2000:]}")


if __name__ == "__main__":
    main()
