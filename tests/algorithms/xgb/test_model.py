"""Models of xgboost: every format there ever was, damaged and hostile files, what is answered."""

from __future__ import annotations

import base64
import doctest
import json
import os
import pickle
import random
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import xgboost as xgb

from algorithms.errors import ModelError, PredictionError
from algorithms.xgb import XGBoost
from algorithms.xgb.documents import load_booster
from algorithms.xgb.model import XGBModel
from recordio.batches import Batch
from tests.algorithms.xgb.jobs import fit, library, rows

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "xgboost"
VERSIONS = ("0.90", "1.2.1", "1.3.3", "1.7.6")


def booster(rounds: int = 4, seed: int = 0, **parameters) -> xgb.Booster:
    features, labels = rows(seed=seed)
    labels = labels + (features[:, 3] > 0) if parameters.get("num_class") else labels
    return library(parameters, xgb.DMatrix(features, label=labels), rounds)


def saved(folder: Path, *boosters: xgb.Booster) -> Path:
    XGBModel(boosters).save(folder)
    return folder


# ---- formats --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["ubj", "json"])
@pytest.mark.parametrize("name", ["xgboost-model", "mine.bin"])
def test_native_models_are_loaded_whatever_they_are_called(tmp_path, form, name):
    (tmp_path / name).write_bytes(booster().save_raw(form))
    (tmp_path / ".DS_Store").write_bytes(b"not a model")
    assert XGBoost.recognises(tmp_path)
    features = rows(seed=9)[0]
    expected = booster().predict(xgb.DMatrix(features))
    np.testing.assert_array_equal(XGBoost.load(tmp_path).predict(Batch(features))["score"], expected)


@pytest.mark.parametrize("categories", [["x", "y", "zz"], [10, 20, 30, 40]])
def test_models_of_frames_with_numbers_beside_categories_are_loaded(categories):
    """XGBoost 3.1 and later keep the names of a frame's categories, of which columns of numbers have none."""
    pandas = pytest.importorskip("pandas")
    random = np.random.default_rng(0)
    codes = random.integers(0, len(categories), 80)
    values = random.normal(size=(80, 2)).astype(np.float32)
    column = pandas.Categorical.from_codes(codes, categories)
    frame = pandas.DataFrame({"a": values[:, 0], "b": column, "c": values[:, 1]})
    matrix = xgb.DMatrix(frame, values[:, 0] + codes, enable_categorical=True)
    trained = xgb.train({"tree_method": "hist", "max_cat_to_onehot": 1, "nthread": 1}, matrix, 3)
    rows = np.column_stack([values[:, 0], codes, values[:, 1]]).astype(np.float32)
    for form in ("ubj", "json"):
        model = XGBModel([load_booster(bytes(trained.save_raw(form)), "xgboost-model")])
        np.testing.assert_allclose(model.predict(Batch(rows))["score"], trained.predict(matrix), rtol=1e-5)


@pytest.mark.parametrize("version", VERSIONS)
def test_models_of_every_old_version_predict_what_they_did_there(version):
    features = np.loadtxt(GOLDEN / "rows.csv", delimiter=",").astype(np.float32)
    for case, expected in json.loads((GOLDEN / f"{version}.json").read_text()).items():
        model = XGBModel([load_booster((GOLDEN / f"{version}-{case}.model").read_bytes(), case)])
        found = model.predict(Batch(features))["score"]
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6, err_msg=case)
        assert model.boosters[0].attr("note") == "kept"


@pytest.mark.parametrize("version", VERSIONS)
def test_pickled_boosters_of_every_old_version_are_read(tmp_path, version):
    (tmp_path / "xgboost-model").write_bytes((GOLDEN / f"{version}-logistic.pkl").read_bytes())
    assert XGBoost.recognises(tmp_path)
    features = np.loadtxt(GOLDEN / "rows.csv", delimiter=",").astype(np.float32)
    expected = json.loads((GOLDEN / f"{version}.json").read_text())["logistic"]
    found = XGBoost.load(tmp_path).predict(Batch(features))["score"]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("parameters", [{"num_round": 3}, {"num_round": 2, "kfold": 2}])
def test_models_for_old_images_are_pickled_as_those_wrote_them(tmp_path, parameters):
    features, labels = rows()
    model = fit((features, 100 + 10 * labels), **parameters)
    for name, version in {"old": (1, 2, 2), "new": (1, 3), "newest": None}.items():
        (tmp_path / name).mkdir()
        model.save(tmp_path / name) if version is None else model.save_as(tmp_path / name, version)
    matrix = xgb.DMatrix(features)
    for file, own in zip(sorted((tmp_path / "old").iterdir()), model.boosters, strict=True):
        opened = pickle.loads(file.read_bytes())  # noqa: S301 - written above
        np.testing.assert_array_equal(opened.predict(matrix), own.predict(matrix))
        assert (tmp_path / "new" / file.name).read_bytes() == (tmp_path / "newest" / file.name).read_bytes()
    again = XGBoost.load(tmp_path / "old").predict(Batch(features))["score"]
    np.testing.assert_array_equal(again, model.predict(Batch(features))["score"])


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickled_booster_of_today_is_read_in_every_protocol(protocol):
    features = rows()[0]
    found = load_booster(pickle.dumps(booster(), protocol), "pickled").predict(xgb.DMatrix(features))
    np.testing.assert_array_equal(found, booster().predict(xgb.DMatrix(features)))


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def hostile_pickles(mark: Path) -> dict[str, bytes]:
    state = booster().__getstate__()
    inside = booster()
    inside.surprise = Hostile(mark)
    call = b"\x80\x02cbuiltins\neval\nX" + (4).to_bytes(4, "little") + b"1+1 \x85R."
    nested = b"\x80\x04\x8c\x0cxgboost.core\x8c\x10Booster.__init__\x93."
    return {
        "at the top": pickle.dumps(Hostile(mark)),
        "beside a booster": pickle.dumps([Hostile(mark), booster()]),
        "inside a booster": pickle.dumps(inside),
        "as the handle": pickle.dumps(booster()).replace(b"\x8c\tbytearray", b"\x8c\x05bytes"),
        "a builtin": call,
        "a dotted name": nested,
        "a dict": pickle.dumps(state),
        "another class": pickle.dumps(np.zeros(3)),
        "nothing": b"\x80\x04N.",
        "cut": pickle.dumps(booster())[:-9],
        "persistent": b"\x80\x04\x8c\x01xQ.",
        "inside a booster in text": pickle.dumps(inside, 0),
        "text protocol": b"cos\nsystem\n(S'touch " + str(mark).encode() + b"'\ntR.",
    }


@pytest.mark.parametrize("case", list(hostile_pickles(Path("unused"))))
def test_a_hostile_pickle_is_refused_and_nothing_of_it_runs(tmp_path, case):
    mark = tmp_path / "executed"
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "xgboost-model").write_bytes(hostile_pickles(mark)[case])
    with pytest.raises(ModelError, match="xgboost-model"):
        XGBoost.load(tmp_path / "model")
    assert not mark.exists()


def test_the_refusal_of_a_pickle_says_what_to_do():
    with pytest.raises(ModelError, match=r"asks for posix.system.*save_model\('xgboost-model'\)"):
        load_booster(pickle.dumps(Hostile(Path("unused"))), "xgboost-model")


def test_the_artifact_is_loaded_by_plain_xgboost(tmp_path):
    """In a process that has nothing of this project."""
    features, labels = rows()
    model = fit((features, labels), objective="binary:logistic")
    model.save(tmp_path)
    np.save(tmp_path / "rows.npy", features)
    code = (
        "import numpy, sys, warnings, xgboost; warnings.simplefilter('ignore')\n"
        "booster = xgboost.Booster(); booster.load_model('xgboost-model')\n"
        "numpy.save('scores.npy', booster.predict(xgboost.DMatrix(numpy.load('rows.npy'))))\n"
        "assert not any(name.split('.')[0] in ('algorithms', 'recordio', 'container') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "scores.npy"), model.predict(Batch(features))["score"])


# ---- damaged files --------------------------------------------------------------------------------------------------

FUZZ = """
import base64, sys, warnings
import numpy as np
warnings.simplefilter("ignore")
from algorithms.errors import ModelError, PredictionError
from algorithms.xgb.documents import load_booster
from algorithms.xgb.model import XGBModel
from recordio.batches import Batch
outcomes = {"loaded": 0, "refused": 0}
for line in sys.stdin:
    try:
        booster = load_booster(base64.b64decode(line), "damaged")
        booster.set_param({"nthread": 1})
        XGBModel([booster]).predict(Batch(np.zeros((3, booster.num_features() % 1000), np.float32)))
        outcomes["loaded"] += 1
    except (ModelError, PredictionError):
        outcomes["refused"] += 1
print(outcomes["loaded"], outcomes["refused"])
"""


def damaged(whole: bytes, dice: random.Random, count: int = 45) -> list[bytes]:
    """``whole`` cut off, with other bytes, with flipped bits."""
    made = []
    for number in range(count):
        data = bytearray(whole)
        if number % 3 == 0:
            del data[dice.randrange(len(data)) :]
        for _ in range(dice.randrange(1, 4) if number % 3 else 0):
            at = dice.randrange(len(data))
            data[at] = dice.randrange(256) if number % 3 == 1 else data[at] ^ 1 << dice.randrange(8)
        made.append(bytes(data))
    return made


def test_damaged_models_are_refused_and_never_end_the_process():
    """XGBoost's own loader crashes on some of them."""
    classes = {"objective": "multi:softprob", "num_class": 3}
    wholes = [
        *(bytes(booster(booster=kind).save_raw("ubj")) for kind in ("gbtree", "dart", "gblinear")),
        *(bytes(booster(max_depth=2, **classes).save_raw(form)) for form in ("ubj", "json")),
        (GOLDEN / "1.7.6-softprob.model").read_bytes(),
        *((GOLDEN / f"{version}-logistic.pkl").read_bytes() for version in ("0.90", "1.7.6")),
    ]
    dice = random.Random(0)
    lines = [base64.b64encode(data).decode() for whole in wholes for data in damaged(whole, dice)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", FUZZ]
    ended = subprocess.run(
        command, input="\n".join(lines), text=True, capture_output=True, env=environment, check=False
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    loaded, refused = map(int, ended.stdout.split())
    assert loaded + refused == len(lines)
    assert refused >= len(lines) // 3


TREE = ("learner", "gradient_booster", "model", "trees", 0)


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        ((*TREE, "left_children", 0), 99, "child does not exist"),
        ((*TREE, "left_children", 0), 2, "belongs to another node"),
        ((*TREE, "left_children", 1), 1, "belongs to another node"),
        ((*TREE, "right_children", 0), 0, "child does not exist"),
        ((*TREE, "split_indices", 0), 77, "feature"),
        ((*TREE, "parents"), [0], "different lengths"),
        ((*TREE, "tree_param", "num_nodes"), "1", "different lengths"),
        ((*TREE, "split_type", 0), 1, "other nodes"),
        (("learner", "gradient_booster", "model", "tree_info", 0), 3, "output that does not exist"),
        (("learner", "gradient_booster", "model", "gbtree_model_param", "num_trees"), "9", "trees"),
        (("learner", "gradient_booster", "model", "iteration_indptr", -1), 2, "rounds"),
        (("learner", "gradient_booster", "name"), "forest", "no booster 'forest'"),
        (("learner", "learner_model_param", "num_feature"), "1", "feature"),
        (("learner", "objective", "name"), "my:objective", "Unknown objective"),
    ],
)
def test_a_document_that_is_no_model_is_refused(path, value, text):
    document = json.loads(bytes(booster(max_depth=2).save_raw("json")))
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(ModelError, match=text):
        load_booster(json.dumps(document).encode(), "model")


def test_folders_without_a_model_are_refused(tmp_path):
    with pytest.raises(ModelError, match="no model file; 'xgboost-model' was expected"):
        XGBoost.load(tmp_path)
    assert not XGBoost.recognises(tmp_path)
    (tmp_path / "readme.txt").write_text("hello")
    assert not XGBoost.recognises(tmp_path)
    with pytest.raises(ModelError, match=r"readme.txt is not an XGBoost model, or is damaged: it begins as none of"):
        XGBoost.load(tmp_path)
    (tmp_path / "readme.txt").write_text("hello " * 100)  # its length is read as one of a name: petabytes
    with pytest.raises(ModelError, match="it begins as none of XGBoost's formats does"):
        XGBoost.load(tmp_path)
    (tmp_path / "request.json").write_text('{"TrainingImage": "linear-learner:1"}')
    assert not XGBoost.recognises(tmp_path)
    assert not XGBoost.recognises(tmp_path / "absent")


# ---- answers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"booster": "dart", "rate_drop": 0.3},
        {"booster": "gblinear"},
        {"objective": "binary:logistic"},
        {"objective": "multi:softprob", "num_class": 3},
        {"objective": "multi:softmax", "num_class": 3},
        {"objective": "count:poisson", "num_parallel_tree": 2},
    ],
)
@pytest.mark.parametrize("count", [0, 1, 50])
def test_scores_are_those_of_a_matrix(parameters, count):
    one = booster(**parameters)
    features = rows(50, seed=2)[0][:count]
    held = ~np.isnan(features)
    sparse = sp.csr_array((features[held], np.nonzero(held)), shape=features.shape)
    expected = one.predict(xgb.DMatrix(rows(50, seed=2)[0]))[:count]
    for batch in (Batch(features), Batch(sparse)):
        found = XGBModel([one]).predict(batch)["score"]
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)


def test_rows_that_do_not_fit_are_refused_and_short_sparse_ones_are_not():
    model = XGBModel([booster()])
    for width in (4, 6):
        with pytest.raises(PredictionError, match=f"expected: 5, got {width}"):
            model.predict(Batch(np.zeros((2, width), np.float32)))
    with pytest.raises(PredictionError, match="expected: 5, got 6"):
        model.predict(Batch(sp.csr_array(np.ones((1, 6), np.float32))))
    short = sp.csr_array(np.ones((1, 2), np.float32))
    padded = np.array([[1, 1, np.nan, np.nan, np.nan]], np.float32)
    np.testing.assert_array_equal(model.predict(Batch(short))["score"], model.predict(Batch(padded))["score"])


@pytest.mark.parametrize("parallel", [1, 3])
def test_an_early_stopped_model_predicts_with_its_best_rounds(parallel):
    whole = booster(8, num_parallel_tree=parallel)
    whole.set_attr(best_iteration="3", best_score="0.1")
    features = rows(seed=4)[0]
    found = XGBModel([whole]).predict(Batch(features))["score"]
    np.testing.assert_array_equal(found, whole.predict(xgb.DMatrix(features), iteration_range=(0, 4)))
    for nonsense in ("-1", "x", "99"):
        whole.set_attr(best_iteration=nonsense)
        np.testing.assert_array_equal(
            XGBModel([whole]).predict(Batch(features))["score"], whole.predict(xgb.DMatrix(features))
        )


def test_several_models_answer_with_their_mean_and_one_of_them_alone(tmp_path):
    several = [booster(seed=seed, objective="binary:logistic") for seed in range(11)]
    saved(tmp_path, *several)
    assert sorted(path.name for path in tmp_path.iterdir())[:2] == ["xgboost-model-0", "xgboost-model-1"]
    features = rows(seed=20)[0]
    each = np.stack([one.predict(xgb.DMatrix(features)) for one in several])
    found = XGBoost.load(tmp_path).predict(Batch(features))["score"]
    np.testing.assert_allclose(found, each.mean(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(XGBoost.load_first(tmp_path).predict(Batch(features))["score"], each[0])
    XGBoost.load(tmp_path).save(tmp_path)  # 10 stays after 9
    np.testing.assert_array_equal(XGBoost.load(tmp_path).boosters[10].predict(xgb.DMatrix(features)), each[10])


def test_several_models_of_classes_vote(tmp_path):
    several = [booster(1, seed=seed, objective="multi:softmax", num_class=3) for seed in range(5)]
    saved(tmp_path, *several)
    features = rows(seed=20)[0]
    each = np.stack([one.predict(xgb.DMatrix(features)) for one in several]).astype(int)
    expected = [np.bincount(votes).argmax() for votes in each.T]
    np.testing.assert_array_equal(XGBoost.load(tmp_path).predict(Batch(features))["score"], expected)


def test_models_of_different_objectives_do_not_answer_together(tmp_path):
    (tmp_path / "xgboost-model-0").write_bytes(booster().save_raw("ubj"))
    (tmp_path / "xgboost-model-1").write_bytes(booster(objective="binary:logistic").save_raw("ubj"))
    with pytest.raises(ModelError, match="xgboost-model-1 has objective binary:logistic"):
        XGBoost.load(tmp_path)


def test_of_several_labels_a_row_none_is_taken_for_the_class(tmp_path):
    features = np.nan_to_num(rows(60)[0])
    labels = np.stack([features[:, 0] > 0, features[:, 1] > 0.5], axis=1).astype(np.float32)
    settings = {"objective": "binary:logistic", "nthread": 1}
    one = xgb.train(settings, xgb.DMatrix(features, labels), 2)
    saved(tmp_path, one)
    model = XGBoost.load(tmp_path)
    np.testing.assert_array_equal(model.predict(Batch(features))["score"], one.predict(xgb.DMatrix(features)))
    with pytest.raises(NotImplementedError, match="2 numbers a row"):
        model.select(Batch(features), ["predicted_label"])
    estimators = pytest.importorskip("algorithms.estimators")
    with pytest.raises(ModelError, match="no model of classes"):
        estimators.XGBoostClassifier.load(tmp_path)
    saved(tmp_path, one, xgb.train(settings, xgb.DMatrix(features, labels[:, 0]), 2))
    with pytest.raises(ModelError, match="gives 1 numbers a row"):
        XGBoost.load(tmp_path)


ALL = ("predicted_label", "labels", "probability", "probabilities", "raw_score", "raw_scores", "predicted_score")


@pytest.mark.parametrize(
    ("parameters", "known"),
    [
        ({"objective": "reg:squarederror"}, ("predicted_score",)),
        ({"objective": "reg:tweedie"}, ("predicted_score",)),
        ({"objective": "binary:logistic"}, ALL[:6]),
        ({"objective": "binary:logitraw"}, ("predicted_label", "labels", "raw_score", "raw_scores")),
        ({"objective": "binary:hinge"}, ("predicted_label", "labels", "raw_score", "raw_scores")),
        ({"objective": "multi:softmax", "num_class": 3}, ("predicted_label", "labels", "raw_score", "raw_scores")),
        ({"objective": "multi:softprob", "num_class": 3}, ALL[:6]),
    ],
)
def test_selected_outputs_have_a_value_where_they_have_a_meaning(parameters, known):
    one = booster(**parameters)
    features = rows(20, seed=2)[0]
    raw = one.predict(xgb.DMatrix(features))
    found = XGBModel([one]).select(Batch(features), ALL[::-1])
    assert list(found) == list(ALL[::-1])
    for key in ALL:
        assert len(found[key]) == 20
        assert np.isnan(np.asarray(found[key], float)).all() == (key not in known), key
    if raw.ndim == 2:
        np.testing.assert_array_equal(found["predicted_label"], raw.argmax(axis=1))
        np.testing.assert_array_equal(found["probabilities"], raw)
        np.testing.assert_array_equal(found["raw_score"], raw.max(axis=1))
        assert found["labels"].tolist() == [[0, 1, 2]] * 20
    elif "raw_scores" in known:
        np.testing.assert_array_equal(found["raw_scores"], [[1.0 - float(value), float(value)] for value in raw])
        classes = {"binary:logistic": raw > 0.5, "binary:logitraw": raw > 0}.get(parameters["objective"], raw)
        np.testing.assert_array_equal(found["predicted_label"], classes)
        assert found["labels"][0].tolist() == list(range(parameters.get("num_class", 2)))
    else:
        np.testing.assert_array_equal(found["predicted_score"], raw)


def test_outputs_of_other_objectives_cannot_be_selected():
    with pytest.raises(NotImplementedError, match="`count:poisson` unsupported for selectable inference"):
        XGBModel([booster(objective="count:poisson")]).select(Batch(rows()[0]), ["predicted_score"])


@pytest.mark.parametrize("parameters", [{}, {"booster": "gblinear"}])
def test_threads_get_the_answers_that_one_gets(parameters):
    model = XGBModel([booster(30, **parameters)])
    features = rows(400, seed=7)[0]
    expected = model.predict(Batch(features))["score"]
    wrong = []

    def ask(first: int) -> None:
        for start in range(first, 400, 8):
            found = model.predict(Batch(features[start : start + 8]))["score"]
            if not np.array_equal(found, expected[start : start + 8]):
                wrong.append(start)

    threads = [threading.Thread(target=ask, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_readmes_examples_run():
    readme = Path(__file__).resolve().parents[3] / "algorithms" / "xgb" / "README.md"
    failed, tried = doctest.testfile(str(readme), module_relative=False)
    assert (failed, tried) == (0, 9)
