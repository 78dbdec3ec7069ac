"""Artifacts in real MXNet 1.9.1, opened by the snippets that SageMaker's users copy, and MXNet's own files here."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from algorithms import registry
from algorithms.common import mxnet_files, mxnet_symbols
from algorithms.hyperparameters import parse
from algorithms.interface import Model
from recordio.batches import Batch
from tests.algorithms.fakes import FakeJob, MemoryStream
from tests.interop.environments import python_of, run_in_mxnet

pytestmark = pytest.mark.slow

REQUIREMENTS = ("mxnet==1.9.1", "numpy<1.24")
ROWS = load_digits().data.astype(np.float32)
LABELS = load_digits().target


@pytest.fixture(scope="module")
def python() -> Path:
    return python_of("mxnet", REQUIREMENTS)


def trained(algorithm: str, labels: np.ndarray | None = None, **hyperparameters: object) -> Model:
    found = registry.find(algorithm)
    values = parse(found.hyperparameters, {name: str(value) for name, value in hyperparameters.items()})
    return found.fit(values, {"train": MemoryStream(ROWS, labels)}, FakeJob())


def in_mxnet(python: Path, folder: Path, program: str) -> dict[str, np.ndarray]:
    """What ``program``, run in ``folder`` with ``rows`` and ``np``, ``mx`` and ``os``, left in the dict ``out``."""
    np.save(folder / "rows.npy", ROWS)
    prelude = (
        "import os, sys\nos.chdir(sys.argv[1])\nimport numpy as np, mxnet as mx\nrows, out = np.load('rows.npy'), {}"
    )
    run_in_mxnet(python, f"{prelude}\n{program}\nnp.savez('out.npz', **out)", folder)
    with np.load(folder / "out.npz") as arrays:
        return dict(arrays)


# ---- files --------------------------------------------------------------------------------------------------------

LIST = [ROWS[:3, 2:7], np.arange(4, dtype=np.int64)]
NAMED: dict[str, np.ndarray] = {
    dtype: np.arange(6).reshape(2, 3).astype(dtype)
    for dtype in ("float32", "float64", "float16", "uint8", "int32", "int8", "int64")
}


def test_files_are_those_of_mxnet_byte_for_byte(python: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "list.npz", *LIST)
    np.savez(tmp_path / "named.npz", **NAMED)
    program = """
def arrays(path): return {name: mx.nd.array(a, dtype=a.dtype) for name, a in np.load(path).items()}
mx.nd.save('list', list(arrays('list.npz').values()))
mx.nd.save('named', arrays('named.npz'))
"""
    in_mxnet(python, tmp_path, program)
    for name, arrays in (("list", LIST), ("named", NAMED)):
        mxnet_files.save(tmp_path / "ours", arrays)
        assert (tmp_path / "ours").read_bytes() == (tmp_path / name).read_bytes()


def test_mxnet_reads_the_same_arrays(python: Path, tmp_path: Path) -> None:
    mxnet_files.save(tmp_path / "named", NAMED)
    found = in_mxnet(python, tmp_path, "out = {n: a.asnumpy() for n, a in mx.nd.load('named').items()}")
    assert list(found) == list(NAMED)
    for name, array in NAMED.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_sparse_arrays_and_scalars_of_mxnet_are_read(python: Path, tmp_path: Path) -> None:
    program = """
sparse = np.zeros((5, 3), np.float32); sparse[1] = [1, 0, 2]; sparse[4, 2] = 3
kinds = {'csr': mx.nd.sparse.csr_matrix(sparse), 'rows': mx.nd.array(sparse).tostype('row_sparse'),
         'no_csr': mx.nd.sparse.zeros('csr', (5, 3)), 'no_rows': mx.nd.sparse.zeros('row_sparse', (5, 3))}
mx.nd.save('sparse', kinds)
with mx.util.np_shape(True):
    mx.nd.save('scalars', {'scalar': mx.nd.array(5).reshape(()), 'none': mx.nd.zeros((0, 3))})
out = {name: array.asnumpy() for name, array in kinds.items()}
"""
    expected = in_mxnet(python, tmp_path, program)
    found = mxnet_files.load(tmp_path / "sparse")
    assert isinstance(found, dict) and list(found) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
    scalars = mxnet_files.load(tmp_path / "scalars")
    assert isinstance(scalars, dict) and (scalars["scalar"], scalars["none"].shape) == (5, (0, 3))


# ---- k-means and PCA ----------------------------------------------------------------------------------------------


def test_kmeans_centers_open_in_mxnet(python: Path, tmp_path: Path) -> None:
    model = trained("kmeans", k=10, feature_dim=64)
    model.save(tmp_path)
    program = """
Kmeans_model_params = mx.ndarray.load('model_algo-1')
out['centroids'] = Kmeans_model_params[0].asnumpy()
"""
    centroids = in_mxnet(python, tmp_path, program)["centroids"]
    assert (centroids.shape, centroids.dtype) == ((10, 64), np.float32)
    closest = np.square(ROWS[:, None].astype(np.float64) - centroids).sum(axis=2).argmin(axis=1)
    np.testing.assert_array_equal(model.predict(Batch(ROWS))["closest_cluster"], closest)


def test_kmeans_model_made_by_mxnet_serves_here(python: Path, tmp_path: Path) -> None:
    in_mxnet(python, tmp_path, "mx.nd.save('model_algo-1', [mx.nd.array(rows[:7].astype('float64'))])")
    model = registry.find("kmeans").load(tmp_path)
    np.testing.assert_array_equal(model.predict(Batch(ROWS[:7]))["closest_cluster"], np.arange(7))


@pytest.mark.parametrize("mode", ["regular", "randomized"])
def test_pca_components_open_in_mxnet(python: Path, tmp_path: Path, mode: str) -> None:
    model = trained("pca", feature_dim=64, num_components=8, mini_batch_size=100, algorithm_mode=mode)
    model.save(tmp_path)
    program = """
p = mx.ndarray.load('model_algo-1')
out['s'], out['v'], out['mean'] = p['s'].asnumpy(), p['v'].asnumpy(), p['mean'].asnumpy()
out['projection'] = mx.nd.dot(mx.nd.array(rows) - p['mean'], p['v']).asnumpy()
"""
    found = in_mxnet(python, tmp_path, program)
    assert {name: found[name].shape for name in ("s", "v", "mean")} == {"s": (8,), "v": (64, 8), "mean": (1, 64)}
    assert (np.diff(found["s"]) > 0).all()  # the largest is last, where notebooks look for it
    np.testing.assert_allclose(found["projection"], model.predict(Batch(ROWS))["projection"], atol=1e-4)


@pytest.mark.parametrize("centred", [True, False])
def test_pca_model_made_by_mxnet_serves_here(python: Path, tmp_path: Path, centred: bool) -> None:
    program = f"""
u, s, vt = np.linalg.svd(rows - {centred} * rows.mean(axis=0), full_matrices=False)
arrays = {{'v': mx.nd.array(vt[:3][::-1].T), 's': mx.nd.array(s[:3][::-1])}}
if {centred}: arrays['mean'] = mx.nd.array(rows.mean(axis=0)[None])
mx.nd.save('model_algo-1', arrays)
out['projection'] = (u * s)[:, :3][:, ::-1]
"""
    expected = in_mxnet(python, tmp_path, program)["projection"]
    projection = registry.find("pca").load(tmp_path).predict(Batch(ROWS))["projection"]
    np.testing.assert_allclose(projection, expected, atol=1e-3)


def test_lda_topics_open_in_mxnet(python: Path, tmp_path: Path) -> None:
    model = trained("lda", feature_dim=64, num_topics=5, mini_batch_size=len(ROWS))
    model.save(tmp_path)
    program = """
model_list = [file for file in os.listdir('.') if file.startswith('model_')]
alpha, beta = mx.ndarray.load(model_list[0])
out['alpha'], out['beta'] = alpha.asnumpy(), beta.asnumpy()
"""
    found = in_mxnet(python, tmp_path, program)
    assert (found["alpha"].shape, found["beta"].shape) == ((5,), (5, 64))
    assert found["alpha"].dtype == found["beta"].dtype == np.float32
    np.testing.assert_allclose(found["beta"].sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(found["alpha"], model.alpha)
    np.testing.assert_array_equal(found["beta"], model.beta)


def test_lda_topics_edited_in_mxnet_serve_here(python: Path, tmp_path: Path) -> None:
    program = """
new_alpha, new_beta = mx.nd.array([1, 3]), mx.nd.array(np.repeat(np.eye(2), 32, axis=1) / 32)
mx.nd.save('model_algo-1', [new_alpha, new_beta])
"""
    in_mxnet(python, tmp_path, program)
    mixture = registry.find("lda").load(tmp_path).predict(Batch(ROWS[:9]))["topic_mixture"]
    halves = np.stack([ROWS[:9, :32].sum(axis=1) + 1, ROWS[:9, 32:].sum(axis=1) + 3], axis=1)
    np.testing.assert_allclose(mixture, halves / halves.sum(axis=1, keepdims=True), rtol=1e-4)


# ---- graphs -------------------------------------------------------------------------------------------------------

LINEAR_SNIPPETS = """
data_iter = mx.io.NDArrayIter(rows, batch_size=50, last_batch_handle='discard')
def module(name, **options):
    mod = mx.module.Module.load('mx-mod', 0, **options)
    out[name + '_weight'] = mod._arg_params['fc0_weight'].asnumpy()
    out[name + '_bias'] = mod._arg_params['fc0_bias'].asnumpy()
    mod.bind(data_shapes=data_iter.provide_data)
    data_iter.reset()
    out[name] = mod.predict(data_iter).asnumpy()
module('A', label_names=['out_label'])
module('A1', label_names=None)
module('A2')
from mxnet import gluon
net = gluon.nn.SymbolBlock(outputs=mx.sym.load_json(open('mx-mod-symbol.json').read()), inputs=mx.sym.var('data'))
net.load_parameters('mx-mod-0000.params', allow_missing=True)
net.collect_params().initialize()
out['B_vector'] = net(mx.nd.array(rows[0])).asnumpy()
out['B'] = net(mx.nd.array(rows)).asnumpy()
"""
FM_SNIPPET = """
os.system('mv symbol.json model-symbol.json'); os.system('mv params model-0000.params')
m = mx.module.Module.load('./model', 0, False, label_names=['out_label'])
out['v'] = m._arg_params['v'].asnumpy()
out['w'] = m._arg_params['w1_weight'].asnumpy()
out['b'] = m._arg_params['w0_weight'].asnumpy()
data_iter = mx.io.NDArrayIter(rows, batch_size=50, last_batch_handle='discard')
m.bind(data_shapes=data_iter.provide_data)
out['scores'] = m.predict(data_iter).asnumpy()
"""
WHOLE_BATCHES = len(ROWS) // 50 * 50


def linked(scores: np.ndarray, link: str) -> np.ndarray:
    """The link function by its name in MXNet."""
    if link == "softmax":
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)
    return 1 / (1 + np.exp(-scores)) if link == "sigmoid" else scores


def assert_linear_snippets(found: dict[str, np.ndarray], expected: np.ndarray) -> None:
    for name in ("A", "A1", "A2"):
        np.testing.assert_allclose(found[name], expected[:WHOLE_BATCHES], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found["B"], expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found["B_vector"], expected[:1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("outputs", "link"), [(1, "_copy"), (1, "sigmoid"), (10, "softmax")])
def test_linear_graph_runs_in_mxnet(python: Path, tmp_path: Path, outputs: int, link: Any) -> None:
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(0, 0.05, (outputs, 64)).astype(np.float32), rng.normal(size=outputs).astype(np.float32)
    (tmp_path / "mx-mod-symbol.json").write_text(mxnet_symbols.linear(64, outputs, link))
    mxnet_files.save(tmp_path / "mx-mod-0000.params", {"arg:fc0_weight": weight, "arg:fc0_bias": bias})
    assert_linear_snippets(in_mxnet(python, tmp_path, LINEAR_SNIPPETS), linked(ROWS @ weight.T + bias, link))


@pytest.mark.parametrize("link", ["_copy", "sigmoid"])
def test_factorization_machine_graph_runs_in_mxnet(python: Path, tmp_path: Path, link: Any) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "arg:v": rng.normal(0, 0.01, (64, 4)).astype(np.float32),
        "arg:w1_weight": rng.normal(0, 0.01, (64, 1)).astype(np.float32),
        "arg:w0_weight": np.float32([0.5]),
    }
    (tmp_path / "symbol.json").write_text(mxnet_symbols.factorization_machine(64, 4, link))
    mxnet_files.save(tmp_path / "params", arrays)
    found = in_mxnet(python, tmp_path, FM_SNIPPET)
    v, w, b = arrays.values()
    pairs = 0.5 * ((ROWS @ v) ** 2 - ROWS**2 @ v**2).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found["scores"], linked(b + ROWS @ w + pairs, link)[:WHOLE_BATCHES], rtol=1e-3)
    assert np.concatenate((found["v"][2:], found["w"][2:]), axis=1).shape == (62, 5)  # as recommenders use them


# ---- linear learner and factorization machines --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("predictor", "column", "options"),
    [
        ("regressor", "score", {}),
        ("binary_classifier", "score", {}),
        ("multiclass_classifier", "score", {"num_classes": 10}),
    ],
)
def test_linear_learner_opens_in_mxnet(
    python: Path, tmp_path: Path, predictor: str, column: str, options: dict[str, object]
) -> None:
    labels = LABELS == 3 if predictor == "binary_classifier" else LABELS
    model = trained("linear-learner", labels, predictor_type=predictor, feature_dim=64, epochs=2, **options)
    model.save(tmp_path)
    with zipfile.ZipFile(tmp_path / "model_algo-1") as archive:
        archive.extractall(tmp_path)
    found = in_mxnet(python, tmp_path, LINEAR_SNIPPETS)
    expected = model.predict(Batch(ROWS))[column]
    assert_linear_snippets(found, expected.reshape(len(ROWS), -1))


@pytest.mark.parametrize("predictor", ["regressor", "binary_classifier"])
def test_factorization_machine_opens_in_mxnet(python: Path, tmp_path: Path, predictor: str) -> None:
    labels = LABELS > 4 if predictor == "binary_classifier" else LABELS
    model = trained("factorization-machines", labels, predictor_type=predictor, feature_dim=64, num_factors=4)
    model.save(tmp_path)
    with zipfile.ZipFile(tmp_path / "model_algo-1") as archive:
        archive.extractall(tmp_path)
    found = in_mxnet(python, tmp_path, FM_SNIPPET)
    expected = model.predict(Batch(ROWS))["score"][:WHOLE_BATCHES]
    np.testing.assert_allclose(found["scores"][:, 0], expected, rtol=1e-3, atol=1e-4)
    assert (found["v"].shape, found["w"].shape, found["b"].shape) == ((64, 4), (64, 1), (1,))
