"""Artifacts as SageMaker's own containers write them: made by real MXNet and real XGBoost, packed by tar, served here.

What they answer over HTTP is compared with a calculation by hand from the numbers that were put in.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import xgboost as xgb
from scipy.special import expit, softmax

from tests.interop.environments import python_of, run
from tests.interop.test_mxnet import REQUIREMENTS
from tests.server import running

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(7)
D = 6
ROWS = RNG.normal(size=(11, D)).round(2).astype(np.float32)
CENTERS = ROWS[:3] + np.float32(0.25)
COMPONENTS = np.linalg.qr(RNG.normal(size=(D, 2)))[0].astype(np.float32)
WEIGHT = RNG.normal(size=(3, D)).astype(np.float32)
BIAS = RNG.normal(size=3).astype(np.float32)
FACTORS = RNG.normal(0, 0.3, size=(D, 2)).astype(np.float32)
SPARSE_FACTORS = FACTORS * (np.arange(D) % 2)[:, None].astype(np.float32)

# Each model is a folder of loose files; what is to be zipped is zipped below.
PROGRAM = """
import os, sys
os.chdir(sys.argv[1])
import numpy as np, mxnet as mx
numbers = np.load('numbers.npz')
def folder(name):
    os.makedirs(name)
    return os.path.join(name, '')
def nd(name, dtype='float32'): return mx.nd.array(numbers[name], dtype=dtype)

for dtype in ('float32', 'float64', 'float16'):
    mx.nd.save(folder('kmeans-' + dtype) + 'model_algo-1', [nd('centers', dtype)])
for name in ('model_algo-2', 'model_algo-3'):
    os.makedirs('kmeans-hosts', exist_ok=True)
    mx.nd.save('kmeans-hosts/' + name, [nd('centers')])
pca = {'s': mx.nd.array([1, 2]), 'v': nd('components'), 'mean': nd('mean')}
mx.nd.save(folder('pca') + 'model_algo-1', pca)
mx.nd.save(folder('pca-uncentred') + 'model_algo-1', {'v': pca['v'], 's': pca['s']})
mx.nd.save(folder('pca-flat-mean') + 'model_algo-1', dict(pca, mean=pca['mean'].reshape(-1)))

def linear(name, outputs, head, layer='fc0', **options):
    data = mx.sym.var('data')
    score = mx.sym.FullyConnected(data, num_hidden=outputs, name=layer, **options)
    net = head(score)
    label = [(n, (11,) if outputs > 1 or 'SVM' in name else (11, 1)) for n in net.list_arguments() if 'label' in n]
    module = mx.mod.Module(net, data_names=['data'], label_names=[n for n, _ in label])
    module.bind(data_shapes=[('data', (11, 6))], label_shapes=label or None)
    given = {layer + '_weight': nd('weight')[:outputs]}
    if not options.get('no_bias'): given[layer + '_bias'] = nd('bias')[:outputs]
    module.init_params(arg_params=given, aux_params={})
    module.save_checkpoint(folder(name) + 'mx-mod', 0)
sym = mx.sym
linear('linear-regression', 1, lambda s: sym.LinearRegressionOutput(s, sym.var('out_label'), name='out'))
linear('linear-absolute', 1, lambda s: sym.MAERegressionOutput(s, sym.var('out_label'), name='out'))
linear('linear-logistic', 1, lambda s: sym.LogisticRegressionOutput(s, sym.var('out_label'), name='out'))
linear('linear-sigmoid', 1, lambda s: sym.sigmoid(s, name='out'))
linear('linear-threshold', 1, lambda s: sym.sigmoid(s, name='out'))
linear('linear-SVM', 1, lambda s: sym.SVMOutput(s, sym.var('out_label'), name='out'))
linear('linear-softmax', 3, lambda s: sym.SoftmaxOutput(s, sym.var('out_label'), name='out'))
linear('linear-plain-softmax', 3, lambda s: sym.softmax(s, name='out'))
linear('linear-no-bias', 1, lambda s: sym.identity(s, name='out'), no_bias=True)
linear('linear-other-name', 1, lambda s: sym.identity(s, name='out'), layer='fullyconnected0')
linear('linear-deflated', 1, lambda s: sym.LinearRegressionOutput(s, sym.var('out_label'), name='out'))
rows = mx.nd.load(folder('linear-sparse') + '../linear-regression/mx-mod-0000.params')
rows['arg:fc0_weight'] = rows['arg:fc0_weight'].tostype('row_sparse')
mx.nd.save('linear-sparse/mx-mod-0000.params', rows)
open('linear-sparse/mx-mod-symbol.json', 'w').write(open('linear-regression/mx-mod-symbol.json').read())

def machine(name, head, factors='factors', prefix='arg:', stype='default'):
    x, v = sym.var('data'), sym.var('v', shape=(6, 2), stype=stype)
    w1, w0 = sym.var('w1_weight', shape=(6, 1)), sym.var('w0_weight', shape=(1,))
    pairs = sym.square(sym.dot(x, v)) - sym.dot(sym.square(x), sym.square(v))
    score = sym.broadcast_add(sym.dot(x, w1), w0) + 0.5 * sym.sum(pairs, axis=1, keepdims=True)
    place = folder(name)
    head(score).save(place + 'symbol.json')
    arrays = {'v': nd(factors).tostype(stype), 'w1_weight': nd('weight')[:1].T, 'w0_weight': nd('bias')[:1]}
    mx.nd.save(place + 'params', {prefix + n: a for n, a in arrays.items()})
machine('machine-regression', lambda s: sym.LinearRegressionOutput(s, sym.var('out_label'), name='out'))
machine('machine-logistic', lambda s: sym.LogisticRegressionOutput(s, sym.var('out_label'), name='out'))
machine('machine-sparse', lambda s: sym.sigmoid(s, name='out'), 'sparse_factors', stype='row_sparse')
machine('machine-no-prefix', lambda s: sym.identity(s, name='out'), prefix='')

mx.nd.save(folder('lda') + 'model_algo-1', [mx.nd.array([1, 3]), nd('topics')])
mx.nd.save(folder('lda-float64') + 'model_algo-1', [mx.nd.array([1, 3], dtype='float64'), nd('topics', 'float64')])
"""
LINEAR_FILES = ("mx-mod-symbol.json", "mx-mod-0000.params")
MACHINE_FILES = ("symbol.json", "params")


class Case(NamedTuple):
    """Columns that are expected; ``members`` are the order of the files in a ZIP, ``extra`` other members of it."""

    expected: Callable[[], Mapping[str, np.ndarray]]
    members: Sequence[str] = ()
    extra: Mapping[str, str] = {}
    deflated: bool = False


def clusters(centers: np.ndarray = CENTERS) -> dict[str, np.ndarray]:
    distances = np.linalg.norm(ROWS[:, None].astype(np.float64) - centers, axis=2)
    return {"closest_cluster": distances.argmin(axis=1), "distance_to_cluster": distances.min(axis=1)}


def projections(mean: np.ndarray | float) -> dict[str, np.ndarray]:
    return {"projection": (ROWS - mean) @ COMPONENTS}


def scores(outputs: int = 1, bias: np.ndarray = BIAS) -> np.ndarray:
    return ROWS @ WEIGHT[:outputs].T + bias[:outputs]


def classes() -> dict[str, np.ndarray]:
    return {"score": softmax(scores(3), axis=1), "predicted_label": scores(3).argmax(axis=1)}


def positive(raw: np.ndarray, link: Callable[[np.ndarray], np.ndarray] = expit) -> dict[str, np.ndarray]:
    return {"score": link(raw), "predicted_label": raw > 0}


def machine(factors: np.ndarray = FACTORS) -> np.ndarray:
    pairs = [factors[i] @ factors[j] * ROWS[:, i] * ROWS[:, j] for i in range(D) for j in range(i)]
    return scores()[:, 0] + np.sum(pairs, axis=0)


def mixture() -> dict[str, np.ndarray]:
    """Topics without a word in common: the posterior mean of Dirichlet and multinomial."""
    counts = np.abs(ROWS)
    halves = np.stack([counts[:, :3].sum(axis=1) + 1, counts[:, 3:].sum(axis=1) + 3], axis=1)
    return {"topic_mixture": halves / halves.sum(axis=1, keepdims=True)}


UNKNOWN = {"additional-params.json": '{"anything": [1]}', "manifest.json": "{}"}
CASES = {
    "kmeans-float32": Case(clusters),
    "kmeans-float64": Case(clusters),
    "kmeans-float16": Case(lambda: clusters(CENTERS.astype(np.float16).astype(np.float64))),
    "kmeans-hosts": Case(clusters),
    "pca": Case(lambda: projections(ROWS.mean(axis=0))),
    "pca-uncentred": Case(lambda: projections(0.0)),
    "pca-flat-mean": Case(lambda: projections(ROWS.mean(axis=0))),
    "linear-regression": Case(lambda: {"score": scores()[:, 0]}, LINEAR_FILES),
    "linear-absolute": Case(lambda: {"score": scores()[:, 0]}, LINEAR_FILES[::-1], UNKNOWN),
    "linear-logistic": Case(lambda: positive(scores()[:, 0]), LINEAR_FILES, UNKNOWN),
    "linear-sigmoid": Case(lambda: positive(scores()[:, 0]), LINEAR_FILES),
    "linear-threshold": Case(
        lambda: positive(scores()[:, 0]) | {"predicted_label": expit(scores()[:, 0]) >= 0.9},
        LINEAR_FILES,
        {"additional-params.json": '{"predictor_type": "binary_classifier", "threshold": 0.9}'},
    ),
    "linear-SVM": Case(lambda: positive(scores()[:, 0], np.asarray), LINEAR_FILES),
    "linear-softmax": Case(classes, LINEAR_FILES, UNKNOWN),
    "linear-plain-softmax": Case(classes, LINEAR_FILES[::-1]),
    "linear-no-bias": Case(lambda: {"score": scores(bias=np.zeros(3))[:, 0]}, LINEAR_FILES),
    "linear-other-name": Case(lambda: {"score": scores()[:, 0]}, LINEAR_FILES),
    "linear-deflated": Case(lambda: {"score": scores()[:, 0]}, LINEAR_FILES, UNKNOWN, deflated=True),
    "linear-sparse": Case(lambda: {"score": scores()[:, 0]}, LINEAR_FILES),
    "machine-regression": Case(lambda: {"score": machine()}, MACHINE_FILES),
    "machine-logistic": Case(lambda: positive(machine()), MACHINE_FILES[::-1], {"meta.json": "[]"}),
    "machine-sparse": Case(lambda: positive(machine(SPARSE_FACTORS)), MACHINE_FILES),
    "machine-no-prefix": Case(lambda: {"score": machine()}, MACHINE_FILES, {"meta.json": '{"epochs": 3}'}),
    "lda": Case(mixture),
    "lda-float64": Case(mixture),
}
XGBOOST = ("pickle", "old-pickle", "ubj", "json", "ensemble")


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory) -> Path:
    """A folder with a ``<name>.tar.gz`` for each case."""
    folder = tmp_path_factory.mktemp("artifacts")
    topics = np.repeat(np.eye(2), 3, axis=1) / 3
    numbers = {"centers": CENTERS, "components": COMPONENTS, "mean": ROWS.mean(axis=0, keepdims=True), "topics": topics}
    numbers |= {"weight": WEIGHT, "bias": BIAS, "factors": FACTORS, "sparse_factors": SPARSE_FACTORS}
    np.savez(folder / "numbers.npz", **numbers)
    run(python_of("mxnet", REQUIREMENTS), PROGRAM, folder)
    for name, case in CASES.items():
        if case.members:
            zipped(folder / name, case)
    for name in XGBOOST:
        boosted(folder / f"xgboost-{name}", name)
    for place in [path for path in folder.iterdir() if path.is_dir()]:
        for junk in ("._model_algo-1", ".DS_Store"):  # what macOS adds
            (place / junk).write_bytes(b"\0\5\26\7")
        subprocess.run(["tar", "-C", place, "-czf", folder / f"{place.name}.tar.gz", "."], check=True)  # names with ./
    return folder


def zipped(folder: Path, case: Case) -> None:
    """Make ``model_algo-1`` of the files, in that order, between the extra ones."""
    method = zipfile.ZIP_DEFLATED if case.deflated else zipfile.ZIP_STORED
    with zipfile.ZipFile(folder / "model_algo-1", "w", method) as archive:
        for name, text in case.extra.items():
            archive.writestr(name, text)
        for name in case.members:
            archive.write(folder / name, name)
            (folder / name).unlink()


def boosters() -> list[xgb.Booster]:
    labels = (ROWS.sum(axis=1) > 0).astype(int)
    settings = {"objective": "binary:logistic", "max_depth": 2, "nthread": 1}
    return [xgb.train(settings | {"eta": eta}, xgb.DMatrix(ROWS, labels), 5) for eta in (0.3, 0.9)]


def boosted(folder: Path, form: str) -> None:
    """A model folder as the XGBoost container of some version leaves it."""
    folder.mkdir()
    first, second = boosters()
    if form == "ensemble":
        for number, booster in enumerate((first, second)):
            booster.save_model(folder / "model.ubj")
            (folder / "model.ubj").rename(folder / f"xgboost-model-{number}")
    elif form.endswith("pickle"):
        (folder / "xgboost-model").write_bytes(pickle.dumps(first, protocol=2 if form == "old-pickle" else 4))
    else:
        first.save_model(folder / f"model.{form}")
        (folder / f"model.{form}").rename(folder / "xgboost-model")


def expected_of(name: str) -> Mapping[str, np.ndarray]:
    if name in CASES:
        return CASES[name].expected()
    answers = [booster.predict(xgb.DMatrix(ROWS)) for booster in boosters()]
    return {"score": np.mean(answers, axis=0) if name == "xgboost-ensemble" else answers[0]}


def request(name: str) -> bytes:
    """Rows as JSON Lines, which all take but XGBoost; LDA counts words."""
    rows = np.abs(ROWS) if name.startswith("lda") else ROWS
    if name.startswith("xgboost"):
        return "\n".join(",".join(map(str, row)) for row in rows.tolist()).encode()
    return "\n".join(json.dumps({"features": row}) for row in rows.tolist()).encode()


def assert_answers(text: str, name: str) -> None:
    found: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    expected = expected_of(name)
    assert set(found[0]) == set(expected)
    for column, values in expected.items():
        actual = np.array([row[column] for row in found], np.float64)
        np.testing.assert_allclose(actual, np.asarray(values, np.float64), rtol=2e-4, atol=2e-5, err_msg=name)


NAMES = [*CASES, *(f"xgboost-{form}" for form in XGBOOST)]


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory, artifacts):
    """A multi-model endpoint, and the folder in which the platform unpacks models for it."""
    base = tmp_path_factory.mktemp("endpoint")
    with running(base, SAGEMAKER_MULTI_MODEL="true") as server:
        yield server, base / "models"


@pytest.mark.parametrize("name", NAMES)
def test_a_model_from_sagemaker_answers(artifacts, endpoint, name):
    server, models = endpoint
    folder = models / name / "model"
    folder.mkdir(parents=True)
    subprocess.run(["tar", "-C", folder, "-xzf", artifacts / f"{name}.tar.gz"], check=True)
    body = json.dumps({"model_name": name, "url": str(folder)}).encode()
    loaded = server.request("POST", "/models", body)
    assert loaded.status == 200, loaded.text
    content_type = "text/csv" if name.startswith("xgboost") else "application/jsonlines"
    headers = {"Content-Type": content_type, "Accept": "application/jsonlines"}
    answer = server.request("POST", f"/models/{name}/invoke", request(name), headers)
    assert answer.status == 200, answer.text
    assert_answers(answer.text, name)


@pytest.mark.parametrize("name", ["kmeans-float32", "linear-softmax", "machine-logistic", "xgboost-pickle"])
def test_a_model_tar_that_nobody_unpacked_is_served(artifacts, tmp_path, name):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.tar.gz").write_bytes((artifacts / f"{name}.tar.gz").read_bytes())
    with running(tmp_path) as server:
        content_type = "text/csv" if name.startswith("xgboost") else "application/jsonlines"
        assert_answers(server.invoke(request(name), content_type, "application/jsonlines").text, name)
