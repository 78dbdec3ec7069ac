"""The neural topic model's artifact in real MXNet 1.9.1, by the notebook's snippet and as a graph; and one of MXNet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax

from algorithms import registry
from algorithms.ntm.model import TOPIC_WEIGHTS
from recordio.batches import Batch
from tests.algorithms.ntm.jobs import model
from tests.interop.environments import python_of
from tests.interop.test_mxnet import REQUIREMENTS, in_mxnet

pytestmark = pytest.mark.slow

DOCUMENTS = np.random.default_rng(0).poisson(1.5, (30, 6)).astype(np.float32)
NOTEBOOK = """
os.system("unzip -o -q model_algo-1")
model = mx.ndarray.load("params")
W = model["arg:projection_weight"]
for ind in range(W.shape[1]):
    out[f"topic{ind}"] = mx.nd.softmax(mx.nd.array(W[:, ind])).asnumpy()
"""
GRAPH = """
os.system("unzip -o -q model_algo-1")
os.rename("symbol.json", "model-symbol.json"); os.rename("params", "model-0000.params")
documents = mx.io.NDArrayIter(np.load("documents.npy"), batch_size=10)
mod = mx.mod.Module.load("model", 0, label_names=None)
mod.bind(data_shapes=documents.provide_data, for_training=False)
out["weights"], out["words"], out["log_variance"] = (array.asnumpy() for array in mod.predict(documents))
"""
WRITE = """
def layer(name, rows, size): return mx.sym.FullyConnected(rows, num_hidden=size, name=name)
rows = mx.sym.log1p(mx.sym.Variable("data"))
for number, size in enumerate((5, 3)):
    rows = mx.sym.Activation(layer(f"encoder{number}", rows, size), act_type="relu")
weights = mx.sym.softmax(layer("mean", rows, 4), name="topic_weights")
words = mx.sym.softmax(layer("projection", weights, 6), name="words")
symbol = mx.sym.Group([weights, words, layer("log_variance", rows, 4)])
module = mx.mod.Module(symbol, label_names=None)
documents = mx.io.NDArrayIter(np.load("documents.npy"), batch_size=10)
module.bind(documents.provide_data, for_training=False)
module.init_params(mx.init.Uniform(1))
module.save_checkpoint("model", 0)
out["weights"] = module.predict(documents)[0].asnumpy()
import json, zipfile
with zipfile.ZipFile("model_algo-1", "w") as archive:
    archive.writestr("meta.json", json.dumps({"encoder_layers_activation": "relu"}))
    archive.write("model-symbol.json", "symbol.json")
    archive.write("model-0000.params", "params")
for name in ("model-symbol.json", "model-0000.params"): os.remove(name)
"""


@pytest.fixture(scope="module")
def python() -> Path:
    return python_of("mxnet", REQUIREMENTS)


def test_topics_open_in_mxnet_as_in_the_notebook(python: Path, tmp_path: Path) -> None:
    one = model()
    one.save(tmp_path)
    found = in_mxnet(python, tmp_path, NOTEBOOK)
    np.testing.assert_allclose(np.stack([found[f"topic{k}"] for k in range(4)]), one.topics, rtol=1e-5)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
def test_mxnet_runs_the_graph_to_the_same_weights(python: Path, tmp_path: Path, activation: str) -> None:
    one = model(activation=activation)
    one.save(tmp_path)
    np.save(tmp_path / "documents.npy", DOCUMENTS)
    found = in_mxnet(python, tmp_path, GRAPH)
    weights = one.predict(Batch(DOCUMENTS))[TOPIC_WEIGHTS]
    np.testing.assert_allclose(found["weights"], weights, rtol=1e-4)
    np.testing.assert_allclose(found["words"], softmax(one.projection(weights), axis=1), rtol=1e-4)
    assert found["log_variance"].shape == (30, 4)


def test_a_model_made_by_mxnet_serves_here(python: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "documents.npy", DOCUMENTS)
    expected = in_mxnet(python, tmp_path, WRITE)["weights"]
    assert registry.find("ntm").recognises(tmp_path)
    weights = registry.find("ntm").load(tmp_path).predict(Batch(DOCUMENTS))[TOPIC_WEIGHTS]
    np.testing.assert_allclose(weights, expected, rtol=1e-4)
