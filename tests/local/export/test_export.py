"""Exported models, run by onnxruntime beside the models themselves, on the declared configurations."""

import functools
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import xgboost
from scipy.special import expit

from algorithms import registry
from algorithms.errors import ExportError
from algorithms.interface import Items
from algorithms.vision.augment import squeezed
from local.export.exporting import exported
from recordio.batches import Batch
from tests.algorithms import samples
from tests.algorithms.fakes import FakeJob
from tests.local.toy import oba

onnxruntime = pytest.importorskip("onnxruntime")

ONNX, JSON = (
    [name for name in registry.having("export") if hasattr(registry.part(name, "export"), f"to_{form}")]
    for form in ("onnx", "json")
)
MOST = 3  # configurations of an algorithm: the networks take seconds each
CASES = [
    pytest.param(name, configuration.name, id=f"{name}-{configuration.name}")
    for name in ONNX
    for configuration in list(samples.configurations(name).values())[:MOST]
]


@functools.cache
def trained(name, configured):
    algorithm, configuration = registry.find(name), samples.configurations(name)[configured]
    with tempfile.TemporaryDirectory() as folder, samples.around(configuration):
        channels = samples.channels(algorithm, configuration, Path(folder))
        return algorithm.fit(samples.parsed(algorithm, configuration), channels, FakeJob())


def documented(form):
    """The cells after the name of each algorithm in the table of docs/export.md."""
    page = (Path(__file__).parents[3] / "docs" / "export.md").read_text()
    rows = page.partition(f"<!-- {form}:start -->\n")[2].partition(f"<!-- {form}:end -->")[0].splitlines()[2:]
    return {cells[0].strip("`"): cells[1:] for cells in (row.strip("| ").split(" | ") for row in rows)}


@pytest.mark.parametrize("name", ONNX)
def test_the_page_names_the_inputs_and_outputs(name):
    first = next(iter(samples.configurations(name)))  # a classifier, where there is a choice
    session = onnxruntime.InferenceSession(exported(name, trained(name, first), "onnx"))
    given, found = session.get_inputs(), session.get_outputs()
    said, outputs = documented("onnx")[name]
    assert [one.name for one in given] == re.findall("`(\\w+)`", said)
    assert len(given[0].shape) == 1 + re.search(r"\((.*?)\)", said)[1].count(",")
    named = re.findall(r"`(\w+)`: (\w+) \((rows[^)]*)\)", outputs)
    kinds = [(one.name, one.type[len("tensor(") : -1], len(one.shape)) for one in found]
    assert kinds == [(name, kind, 1 + shape.count(",")) for name, kind, shape in named]


def answers(content, **given):
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, given), strict=True))


def compare(found, expected):
    assert set(found) == set(expected)
    for name, values in expected.items():
        assert found[name].shape == values.shape, name
        np.testing.assert_allclose(found[name], values, rtol=2e-5, atol=2e-6, err_msg=name)


@pytest.mark.parametrize(("name", "configured"), CASES)
def test_onnxruntime_answers_as_the_model_does(name, configured):
    model = trained(name, configured)
    algorithm, configuration = registry.find(name), samples.configurations(name)[configured]
    try:
        content = exported(name, model, "onnx")
    except ExportError as error:
        assert "vote" in str(error) or "objective" in str(error)
        return
    if not samples.has_rows(configuration):
        files = [samples.picture(label, seed) for seed, label in enumerate([0, 1, 1])]
        pixels = [squeezed(file, model.image_shape, "picture") for file in files]
        images = np.stack(pixels).astype(np.float32).transpose(0, 3, 1, 2)
        compare(answers(content, image=images), model.predict(Items(files)))
        return
    rows = samples.features(configuration, 50, samples.width(algorithm, configuration), seed=5).astype(np.float32)
    compare(answers(content, features=rows), model.predict(Batch(rows)))
    compare(answers(content, features=rows[:1]), model.predict(Batch(rows[:1])))


OBJECTIVES = {
    "reg:squarederror": {}, "reg:logistic": {}, "binary:logistic": {}, "binary:logitraw": {}, "binary:hinge": {},
    "count:poisson": {}, "reg:gamma": {}, "reg:tweedie": {}, "reg:absoluteerror": {}, "reg:pseudohubererror": {},
    "multi:softprob": {"num_class": 3}, "multi:softmax": {"num_class": 3}, "rank:pairwise": {},
}  # fmt: skip


LOGITS = np.array([-80, -20, -16, -12, -9, -5, 0, 5, 12, 16, 20], np.float32)


def linear():
    from algorithms.linear_learner.model import LinearModel

    return LinearModel(np.ones((1, 1), np.float32), np.zeros(1, np.float32), "binary_classifier", "logistic")


def machine():
    from algorithms.factorization_machines.model import FactorizationMachine

    none, one = np.zeros((1, 2), np.float32), np.ones(1, np.float32)
    return FactorizationMachine(0 * one, one, none, "binary_classifier")


@pytest.mark.parametrize(("name", "make"), [("linear-learner", linear), ("factorization-machines", machine)])
def test_probabilities_of_rare_events_keep_their_digits(name, make):
    rows = LOGITS[:, None]
    found = answers(exported(name, make(), "onnx"), features=rows)["score"]
    np.testing.assert_allclose(found, expit(LOGITS.astype(np.float64)), rtol=2e-5)
    compare({"score": found}, {"score": make().predict(Batch(rows))["score"]})


@pytest.mark.parametrize("base", [0.0, 1e-5, 1.0])
def test_trees_of_rare_events_keep_their_digits(base):
    """XGBoost estimates a score of 0 or 1 of labels that are all alike, and keeps it from both when it predicts."""
    from algorithms.xgb.model import XGBModel

    rows = np.random.default_rng(1).normal(size=(50, 2)).astype(np.float32)
    settings = {"objective": "binary:logistic"} | ({"base_score": base} if 0 < base < 1 else {})
    booster = xgboost.train(settings, xgboost.DMatrix(rows, np.full(50, np.round(base))), 3)
    found = answers(exported("xgboost", XGBModel([booster]), "onnx"), features=rows)["score"]
    np.testing.assert_allclose(found, booster.predict(xgboost.DMatrix(rows)), rtol=2e-5)


@pytest.mark.parametrize("booster", ["gbtree", "dart", "gblinear"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_xgboosts_objectives_and_boosters(objective, booster):
    from algorithms.xgb.model import XGBModel

    random = np.random.default_rng(1)
    rows = random.normal(size=(200, 5)).astype(np.float32)
    labels = (rows[:, 0] > 0).astype(int) if "multi" not in objective else random.integers(0, 3, 200)
    labels = labels + 0.5 if objective in ("reg:gamma", "reg:squarederror", "reg:absoluteerror") else labels
    rows[random.random(rows.shape) < 0.2] = np.nan
    matrix = xgboost.DMatrix(rows, labels, qid=np.repeat(range(20), 10) if "rank" in objective else None)
    settings = {"objective": objective, "booster": booster, "max_depth": 3, "rate_drop": 0.3, "verbosity": 0}
    model = XGBModel([xgboost.train(settings | OBJECTIVES[objective], matrix, 8)])
    found = answers(exported("xgboost", model, "onnx"), features=rows)["score"]
    expected = model.boosters[0].predict(xgboost.DMatrix(rows))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("booster", ["gbtree", "dart", "gblinear"])
@pytest.mark.parametrize(
    ("objective", "more"),
    [("reg:squarederror", {}), ("binary:logistic", {}), ("reg:quantileerror", {"quantile_alpha": [0.1, 0.5, 0.9]})],
)
def test_models_of_several_targets(objective, more, booster):
    from algorithms.xgb.model import XGBModel

    rows = np.random.default_rng(2).normal(size=(120, 4)).astype(np.float32)
    labels = rows[:, 0] if more else np.stack([rows[:, 0] > 0.3, rows[:, 1] > 0], axis=1).astype(np.float32)
    settings = {"objective": objective, "booster": booster, "max_depth": 3, "rate_drop": 0.3, "verbosity": 0, **more}
    trained = xgboost.train(settings, xgboost.DMatrix(rows, labels), 6)
    expected = trained.predict(xgboost.DMatrix(rows))
    assert expected.shape == (120, 3 if more else 2)
    found = answers(exported("xgboost", XGBModel([trained]), "onnx"), features=rows)["score"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    together = answers(exported("xgboost", XGBModel([trained, trained]), "onnx"), features=rows)["score"]
    np.testing.assert_allclose(together, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("gamma", [3, 30])  # down to trees of which nothing is left but the root
def test_what_pruning_cut_off_does_not_answer(gamma):
    """It stays in XGBoost's arrays, without a parent whose child it is."""
    from algorithms.xgb.model import XGBModel

    rows = np.random.default_rng(3).normal(size=(200, 3)).astype(np.float32)
    classes = (np.sin(3 * rows[:, 0]) * rows[:, 1] > 0).astype(int)
    settings = {"objective": "multi:softprob", "num_class": 2, "tree_method": "exact", "gamma": gamma, "max_depth": 2}
    booster = xgboost.train(settings, xgboost.DMatrix(rows, classes), 3)
    trees = json.loads(bytes(booster.save_raw("json")))["learner"]["gradient_booster"]["model"]["trees"]
    assert any(int(tree["tree_param"]["num_deleted"]) for tree in trees)
    found = answers(exported("xgboost", XGBModel([booster]), "onnx"), features=rows)["score"]
    np.testing.assert_allclose(found, booster.predict(xgboost.DMatrix(rows)), rtol=1e-4, atol=1e-5)


def test_a_model_without_trees_is_refused_with_the_reason():
    from algorithms.xgb.model import XGBModel

    rows = np.zeros((2, 1), np.float32)
    with pytest.raises(ExportError, match="no trees"):
        exported("xgboost", XGBModel([xgboost.train({}, xgboost.DMatrix(rows, [0.0, 1.0]), 0)]), "onnx")


def test_only_the_rounds_up_to_the_best_are_exported():
    from algorithms.xgb.model import XGBModel

    rows = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    booster = xgboost.train({"max_depth": 2}, xgboost.DMatrix(rows, rows[:, 0]), 9)
    booster.set_attr(best_iteration="3")
    found = answers(exported("xgboost", XGBModel([booster]), "onnx"), features=rows)["score"]
    np.testing.assert_allclose(found, booster.predict(xgboost.DMatrix(rows), iteration_range=(0, 4)), rtol=1e-5)


def test_categories_are_refused_with_the_reason():
    from algorithms.xgb.model import XGBModel

    column = np.random.default_rng(0).integers(0, 6, (100, 1)).astype(np.float32)
    matrix = xgboost.DMatrix(column, column[:, 0] % 2, feature_types=["c"], enable_categorical=True)
    model = XGBModel([xgboost.train({"max_cat_to_onehot": 1, "tree_method": "hist"}, matrix, 2)])
    with pytest.raises(ExportError, match="sets of categories"):
        exported("xgboost", model, "onnx")


def test_kmeans_far_from_the_origin_keeps_its_distances():
    from algorithms.kmeans.model import KMeansModel

    centers = np.array([[1000, 1000], [1001, 1000]], np.float32)
    rows = centers + np.float32(0.25)
    found = answers(exported("kmeans", KMeansModel(centers), "onnx"), features=rows)
    compare(found, KMeansModel(centers).predict(Batch(rows)))
    np.testing.assert_allclose(found["distance_to_cluster"], [np.sqrt(0.125)] * 2, rtol=1e-5)


def test_the_command_writes_and_refuses(tmp_path, capsys):
    model = trained("kmeans", "one-pass")
    folder = tmp_path / "model"
    folder.mkdir()
    model.save(folder)
    assert oba("export", "--model", folder, "--to", "onnx", "--output", tmp_path / "out" / "m.onnx") == 0
    assert (tmp_path / "out" / "m.onnx").stat().st_size > 100
    assert oba("export", "--model", folder, "--to", "json", "--output", tmp_path / "m.json") == 0
    document = json.loads((tmp_path / "m.json").read_text())
    np.testing.assert_array_equal(np.array(document["centers"], np.float32), model.centers)
    assert document["algorithm"] == "kmeans"
    capsys.readouterr()
    for name, told in (("lda", "an iteration until it converges"), ("seq2seq", "a search that asks the network")):
        with pytest.raises(ExportError, match=told):
            exported(name, None, "onnx")
    with pytest.raises(ExportError, match="onnx has"):
        exported("image-classification", None, "json")


def test_a_disk_that_fills_up_leaves_the_file_that_was_there(tmp_path):
    """A limit of 100 bytes on files of the process stands for the disk; a device is written to, not replaced."""
    folder, file = tmp_path / "model", tmp_path / "m.json"
    folder.mkdir()
    trained("kmeans", "one-pass").save(folder)
    words = ["-m", "local", "export", "--model", str(folder), "--to", "json", "--output"]
    file.write_text("earlier")
    program = "import resource, runpy, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)"
    program += "; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)); runpy.run_module('local', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", program, *words[2:], str(file)], capture_output=True, text=True)
    assert done.returncode == 1 and "File too large" in done.stderr
    assert [one.name for one in tmp_path.iterdir() if one != folder] == ["m.json"] and file.read_text() == "earlier"
    link = tmp_path / "link"
    link.symlink_to("/dev/stdout")
    done = subprocess.run([sys.executable, *words, str(link)], capture_output=True, text=True)
    assert json.loads(done.stdout.splitlines()[0])["algorithm"] == "kmeans" and link.is_symlink()


@pytest.mark.parametrize("name", JSON)
def test_json_has_the_models_numbers(name, tmp_path):
    trained(name, next(iter(samples.configurations(name)))).save(tmp_path)
    model = registry.find(name).load(tmp_path)
    document = json.loads(exported(name, model, "json"))
    assert document.pop("algorithm") == name
    assert list(document) == re.findall("`(\\w+)`", documented("json")[name][0].partition(":")[0])
    if name == "xgboost":
        again = xgboost.Booster(model_file=bytearray(json.dumps(document["boosters"][0]).encode()))
        assert again.get_dump() == model.boosters[0].get_dump()
    if name == "pca":
        np.testing.assert_array_equal(np.array(document["v"], np.float32), model.v)
    if name == "lda":
        np.testing.assert_array_equal(np.array(document["beta"], np.float32), model.beta)
    if name == "ntm":
        np.testing.assert_array_equal(np.array(document["mean"]["weight"], np.float32), model.mean.weight)
