"""The store of a multi-model endpoint: what happens to a model that is unloaded while it answers."""

import platform
import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from algorithms.common import mxnet_files
from container.serving.multi_model import LoadedError, Store, UnknownModelError, make_app
from container.serving.telemetry import Metrics
from container.settings import Settings


@pytest.fixture
def store(tmp_path):
    def make(**settings):
        store = Store(Settings(base_directory=tmp_path, algorithm="kmeans", multi_model=True, **settings), 1 << 30)
        mxnet_files.save(tmp_path / "model_algo-1", [np.float32([[1, 2], [3, 4]])])
        store.load("m", str(tmp_path))
        return store

    return make


def test_unloading_waits_for_the_requests_that_the_model_is_answering(store, tmp_path):
    store = store()
    with ThreadPoolExecutor(1) as pool:
        with store.using("m"):
            with store.using("m"):
                unloading = pool.submit(store.unload, "m")
                while store.page("")[0]:
                    pass
                with pytest.raises(UnknownModelError):
                    store.get("m")
                with pytest.raises(LoadedError):  # its memory is not free yet
                    store.load("m", str(tmp_path))
            assert not unloading.done()
        unloading.result(timeout=60)
    store.load("m", str(tmp_path))
    assert store.get("m").users == 0


def test_a_request_that_does_not_end_does_not_keep_the_platform_waiting_for_ever(store, caplog):
    store = store(timeout=1)
    with store.using("m") as entry:
        store.unload("m")
        assert entry.users == 1
    assert "whose memory 1 requests still hold" in caplog.text
    with pytest.raises(UnknownModelError):
        store.unload("m")


def test_two_requests_to_unload_are_answered_once(store):
    store = store()
    with ThreadPoolExecutor(1) as pool, store.using("m"):
        first = pool.submit(store.unload, "m")
        while store.page("")[0]:
            pass
        with pytest.raises(UnknownModelError):
            store.unload("m")
        assert not first.done()
    first.result(timeout=60)


def _resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps what was freed")
def test_memory_of_an_unloaded_model_goes_back_to_the_system(tmp_path):
    """Of four networks of 90 MB, 950 MB stayed."""
    mxnet_files.save(tmp_path / "model_algo-1", [np.float32([[1, 2], [3, 4]])])
    client = make_app(Settings(base_directory=tmp_path, algorithm="kmeans", multi_model=True), Metrics()).test_client()
    assert client.post("/models", json={"model_name": "m", "url": str(tmp_path)}).status_code == 200
    blocks = [bytes(60_000) for _ in range(2000)]  # small ones, as of trees; the kept hold the rest
    kept = blocks[::200]
    del blocks
    before = _resident()
    assert client.delete("/models/m").status_code == 200
    assert _resident() < before - 60e6
    assert len(kept) == 10
