"""The memory of multi-model endpoints: what models are reckoned to take, what they take, and what happens without."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from algorithms import registry
from algorithms.common import mxnet_files
from algorithms.lda.model import LDAModel
from algorithms.linear_learner.model import LinearModel
from tests.contract.multi_model import load, names
from tests.server import Server, running


def test_memory_is_bounded_and_comes_back(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        mxnet_files.save(tmp_path / name / "model_algo-1", [np.ones((100_000, 4), np.float32)])  # 1.5 MiB
    environment = {"SAGEMAKER_MULTI_MODEL": "true", "SAGEMAKER_MULTI_MODEL_MEMORY_IN_MB": "8", "ALGORITHM": "kmeans"}
    with running(tmp_path, **environment) as server:
        assert load(server, "a", tmp_path / "a").status == 200
        answer = load(server, "b", tmp_path / "b")
        assert (answer.status, "needs about 4.6 MiB" in answer.text) == (507, True)
        assert server.request("DELETE", "/models/a").status == 200
        assert load(server, "b", tmp_path / "b").status == 200
        assert names(server) == (["b"], None)


SHORT_OF_MEMORY = """
import resource, sys
from container.__main__ import serve
import numpy, scipy.sparse, pyarrow, flask, gunicorn.app.base, container.serving.multi_model
size = int(next(line for line in open('/proc/self/status') if line.startswith('VmSize')).split()[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (size + (500 << 20), size + (500 << 20)))
sys.exit(serve())
"""


def test_memory_that_is_really_short_is_507_and_the_server_lives_on(tmp_path):
    small = tmp_path / "models" / "small"
    small.mkdir(parents=True)
    LinearModel(np.float32([[1, -2, 0.5, 3]]), np.float32([0.25]), "regressor", "").save(small)
    large = tmp_path / "models" / "large"
    large.mkdir()
    mxnet_files.save(large / "model_algo-1", [np.ones((1, 1), np.float32)])
    content = bytearray((large / "model_algo-1").read_bytes())
    at = content.index((1).to_bytes(8, "little") * 2, 24)  # the shape, 1 x 1, becomes 75 million rows of zeros
    content[at : at + 8] = (75_000_000).to_bytes(8, "little")
    with (large / "model_algo-1").open("wb") as file:
        file.write(content[:-12])
        file.truncate(len(content) - 12 + 4 * 75_000_000)
        file.seek(0, os.SEEK_END)
        file.write(content[-8:])
    environment = {"SAGEMAKER_MULTI_MODEL": "true", "SAGEMAKER_MULTI_MODEL_MEMORY_IN_MB": "100000"}
    server = Server(tmp_path, environment, SHORT_OF_MEMORY)
    try:
        server.wait()
        answer = load(server, "large", large)
        assert answer.status == 507, answer.text
        assert load(server, "small", small).status == 200
        headers = {"Content-Type": "text/csv"}
        assert server.request("POST", "/models/small/invoke", b"1,2,3,4", headers).status == 200
        assert names(server) == (["small"], None)
    finally:
        server.stop()


def resident(server, what="RssAnon"):
    """Bytes of memory that the server's one worker holds; its peak for ``VmHWM``."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    (line,) = [line for line in Path(f"/proc/{children[0]}/status").read_text().splitlines() if what in line]
    return int(line.split()[1]) * 1024


def big() -> np.ndarray:
    """Numbers of 38 MiB."""
    return np.random.default_rng(0).normal(size=(1000, 10_000)).astype(np.float32)


MEASURED = {
    "kmeans": lambda folder: mxnet_files.save(folder / "model_algo-1", [big()]),
    "linear-learner": lambda folder: LinearModel(big(), np.zeros(1000, np.float32), "multiclass_classifier", "").save(
        folder
    ),
    "lda": lambda folder: LDAModel(np.ones(1000, np.float32), np.abs(big())).save(folder),
}
SIZE = 4 * 1000 * 10_000


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="memory is measured by Linux's /proc")
@pytest.mark.parametrize("name", MEASURED)
def test_a_model_takes_no_more_memory_than_is_reckoned_and_gives_it_back(tmp_path, name):
    folder = tmp_path / "models" / name
    folder.mkdir(parents=True)
    MEASURED[name](folder)
    reckoned = registry.find(name).serving.memory * SIZE
    with running(tmp_path, SAGEMAKER_MULTI_MODEL="true", ALGORITHM=name) as server:
        before, whole = resident(server), resident(server, "VmRSS")
        assert load(server, "big", folder).status == 200
        taken = resident(server) - before
        # What it took meanwhile: the peak, less what was resident before, of which file pages are a part.
        assert resident(server, "VmHWM") - whole < 1.1 * reckoned
        assert 0.9 * SIZE < taken < 1.1 * reckoned
        assert server.request("DELETE", "/models/big").status == 200
        assert resident(server) - before < 0.3 * taken
