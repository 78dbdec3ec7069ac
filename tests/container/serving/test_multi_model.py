"""The store of a multi-model endpoint: what happens to a model that is unloaded while it answers."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from algorithms.common import mxnet_files
from container.serving.multi_model import LoadedError, Store, UnknownModelError
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
