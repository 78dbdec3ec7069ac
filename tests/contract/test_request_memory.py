"""Many large requests at once, against a real server: all its workers together take what ``request_memory`` says."""

from __future__ import annotations

import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from algorithms.image_classification.model import ImageModel
from algorithms.linear_learner.model import LinearModel
from tests.server import Server, running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="memory is measured by Linux's /proc"),
]
MIB = 1 << 20
MEMORY = 1 << 30
"""Of the machine that the server believes to run on."""
THREE_WORKERS = {"SAGEMAKER_MODEL_SERVER_WORKERS": "3", "OMP_NUM_THREADS": "1"}

SMALL_MACHINE = f"""
import sys
import container.resources
container.resources.memory = lambda: {MEMORY}
from container.__main__ import serve
sys.exit(serve())
"""


def image_model() -> ImageModel:
    """A network of one layer, for images of 8 x 8."""

    def node(op: str, name: str, *inputs: int, **attrs: str) -> dict[str, Any]:
        return {"op": op, "name": name, "attrs": attrs, "inputs": [[number, 0, 0] for number in inputs]}

    nodes = [node("null", name) for name in ("data", "w", "b", "label")]
    nodes += [node("Flatten", "f", 0), node("FullyConnected", "fc", 4, 1, 2, num_hidden="2")]
    nodes += [node("SoftmaxOutput", "softmax", 5, 3)]
    symbol = json.dumps({"nodes": nodes, "arg_nodes": [0, 1, 2, 3], "heads": [[6, 0, 0]]})
    arrays = {"arg:w": np.ones((2, 192), np.float32), "arg:b": np.ones(2, np.float32)}
    return ImageModel(symbol, arrays, (3, 8, 8), 1, 8)


def private(server: Server) -> int:
    """Bytes of memory of all workers that are not shared with others."""
    total = 0
    for child in Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split():
        for line in Path(f"/proc/{child}/smaps_rollup").read_text().splitlines():
            total += 1024 * int(line.split()[1]) if line.startswith("Private_Dirty") else 0
    return total


def highest(server: Server, stop: threading.Event) -> int:
    found = 0
    while not stop.wait(0.02):
        found = max(found, private(server))
    return found


def answered(server: Server, bodies: list[tuple[bytes, str]], at_once: int) -> tuple[list[int], int]:
    """Statuses, and the most memory that the workers took together beside what they had."""
    stop, before = threading.Event(), private(server)
    with ThreadPoolExecutor(at_once + 1) as pool:
        watched = pool.submit(highest, server, stop)
        statuses = [one.status for one in pool.map(lambda body: server.invoke(*body), bodies)]
        stop.set()
        return statuses, watched.result() - before


def test_rows_of_many_scores(tmp_path):
    """100 of each row, in JSON: 70 MB a request while it is answered."""
    (tmp_path / "model").mkdir()
    model = LinearModel(np.ones((100, 1), np.float32), np.zeros(100, np.float32), "multiclass_classifier", "")
    model.save(tmp_path / "model")
    wide = b"1\n" * 7_000
    with running(tmp_path, SMALL_MACHINE, fresh=True, **THREE_WORKERS) as server:
        assert server.invoke(b"1\n").status == 200
        statuses, taken = answered(server, [(wide, "text/csv")] * 8, 8)
        assert statuses == [200] * 8
        assert taken < MEMORY * 3 / 4
        refused = server.invoke(b"1\n" * 100_000)
        assert (refused.status, "send fewer rows" in refused.text) == (507, True)
        assert server.ping().status == 200


def test_images(tmp_path):
    """Of 49 megapixels, each of which takes 200 MB: six of them would take 1.2 GB at once, and be kept by malloc."""
    (tmp_path / "model").mkdir()
    image_model().save(tmp_path / "model")
    stream = io.BytesIO()
    Image.new("RGB", (7000, 7000)).save(stream, "PNG", compress_level=1)
    with running(tmp_path, SMALL_MACHINE, fresh=True, **THREE_WORKERS) as server:
        small = io.BytesIO()
        Image.new("RGB", (40, 40)).save(small, "PNG")
        assert server.invoke(small.getvalue(), "image/png").status == 200
        statuses, taken = answered(server, [(stream.getvalue(), "image/png")] * 6, 6)
        assert statuses == [200] * 6
        assert 150 * MIB < taken < MEMORY * 3 / 4
