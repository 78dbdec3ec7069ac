"""One request over and over on many connections: requests a second, and the seconds of each."""

from __future__ import annotations

import multiprocessing
import socket
import time
from dataclasses import dataclass

import numpy as np


@dataclass
class Load:
    """What a server did in one round: requests a second and the seconds of each request."""

    rate: float
    latencies: np.ndarray


def load(port: int, request: bytes, seconds: float, connections: int) -> Load:
    """Send ``request`` over and over on each of ``connections``, each from a process of its own."""
    with multiprocessing.get_context("fork").Pool(connections) as pool:
        started = time.monotonic() + 0.1
        jobs = [(port, request, started, started + seconds)] * connections
        latencies = np.concatenate(pool.starmap(_client, jobs, chunksize=1))
    return Load(len(latencies) / seconds, latencies)


def _client(port: int, request: bytes, start: float, stop: float) -> np.ndarray:
    latencies = []
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        time.sleep(max(0.0, start - time.monotonic()))
        before = time.monotonic()
        while before < stop:
            connection.sendall(request)
            _receive(connection)
            after = time.monotonic()
            latencies.append(after - before)
            before = after
    return np.array(latencies)


def _receive(connection: socket.socket) -> None:
    """Read one response to its end; anything but a 200 ends the benchmark."""
    received = connection.recv(1 << 16)
    while (end := received.find(b"\r\n\r\n")) < 0:
        received += connection.recv(1 << 16)
    head = received[:end].lower()
    if not head.startswith(b"http/1.1 200"):
        raise RuntimeError(received[:1000])
    length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
    missing = end + 4 + length - len(received)
    while missing > 0:
        missing -= len(connection.recv(min(missing, 1 << 20)))
