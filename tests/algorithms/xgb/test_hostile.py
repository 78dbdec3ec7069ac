"""Models that XGBoost would trust to its harm: each is refused, or answers, in a process whose memory is bounded."""

from __future__ import annotations

import base64
import json
import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import xgboost as xgb

from algorithms.errors import ModelError
from algorithms.xgb.documents import load_booster
from algorithms.xgb.model import XGBModel
from recordio.batches import Batch
from tests.algorithms.xgb.jobs import rows

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "xgboost"
MEGABYTES = 400

# Loads and asks each model of the lines, in no more memory than the process has when it starts and MEGABYTES beside.
PROGRAM = f"""
import base64, resource, sys, threading, warnings
sys.modules["sklearn"] = None  # XGBoost imports it where it is found, of which nothing here needs a second of time
import numpy as np, scipy.sparse as sp, xgboost
warnings.simplefilter("ignore")
from algorithms.errors import ModelError, PredictionError
from algorithms.xgb.documents import load_booster
from algorithms.xgb.model import XGBModel
from recordio.batches import Batch
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + {MEGABYTES} * 2**20
resource.setrlimit(resource.RLIMIT_AS, (taken, taken))
def answer(line):
    try:
        booster = load_booster(base64.b64decode(line), "model")
        booster.set_param({{"nthread": 1}})
        XGBModel([booster]).predict(Batch(sp.csr_array(np.ones((100, 1), np.float32))))
        print("answered", flush=True)
    except (ModelError, PredictionError) as error:
        print(*str(error).split(), flush=True)
for line in sys.stdin:
    thread = threading.Thread(target=answer, args=(line,))
    thread.start()
    thread.join()
"""


def outcomes_of(models: Iterable[bytes]) -> list[str]:
    """What became of each model, up to one that ended the process."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
    lines = "\n".join(base64.b64encode(model).decode() for model in models)
    command = [sys.executable, "-c", PROGRAM]
    ended = subprocess.run(command, input=lines, text=True, capture_output=True, env=environment, check=False)
    return ended.stdout.splitlines()


def document(**parameters: Any) -> dict[str, Any]:
    features, labels = rows()
    given = {"nthread": 1, **parameters}
    return json.loads(bytes(xgb.train(given, xgb.DMatrix(features, labels), 3).save_raw("json")))


def forest(model: dict[str, Any]) -> dict[str, Any]:
    booster = model["learner"]["gradient_booster"]
    return booster.get("gbtree", booster)["model"]


def text(model: dict[str, Any]) -> bytes:
    return json.dumps(model).encode()


def chained(depth: int) -> bytes:
    """The first tree is a chain of ``depth`` splits."""
    model, size = document(), 2 * depth + 1
    inner = np.arange(0, size - 1, 2)
    left, right, parents = np.full(size, -1), np.full(size, -1), np.full(size, 2**31 - 1)
    left[inner], right[inner] = inner + 2, inner + 1
    parents[inner + 2] = parents[inner + 1] = inner
    tree = forest(model)["trees"][0]
    for name in ("split_indices", "split_type"):
        tree[name] = [0] * size
    for name in ("split_conditions", "base_weights", "loss_changes", "sum_hessian"):
        tree[name] = [0.5] * size
    tree |= {"default_left": [1] * size, "left_children": left.tolist(), "right_children": right.tolist()}
    tree |= {"parents": parents.tolist()}
    tree["tree_param"] |= {"num_nodes": str(size), "num_deleted": "0"}
    return text(model)


def parameter(name: str, value: str, **parameters: Any) -> bytes:
    model = document(**parameters)
    model["learner"]["learner_model_param"][name] = value
    if name == "num_feature":
        model["learner"] |= {"feature_names": [], "feature_types": []}
    return text(model)


def of_forest(change: Callable[[dict[str, Any]], Any], **parameters: Any) -> bytes:
    model = document(**parameters)
    change(forest(model))
    return text(model)


def of_tree(name: str, at: int, value: Any) -> bytes:
    return of_forest(lambda model: model["trees"][1][name].__setitem__(at, value))


def of_learner(change: Callable[[dict[str, Any]], Any], **parameters: Any) -> bytes:
    model = document(**parameters)
    change(model["learner"])
    return text(model)


def categorical(largest: int) -> bytes:
    """Every inner node splits by categories of which one is ``largest``."""

    def change(model: dict[str, Any]) -> None:
        for tree in model["trees"]:
            inner = [number for number, child in enumerate(tree["left_children"]) if child != -1]
            tree["split_type"] = [int(child != -1) for child in tree["left_children"]]
            tree |= {"categories_nodes": inner, "categories_segments": list(range(len(inner)))}
            tree |= {"categories_sizes": [1] * len(inner), "categories": [largest] * len(inner)}

    return of_forest(change, num_parallel_tree=30)


CLASSES = {"objective": "multi:softprob", "num_class": 2}
DART = {"booster": "dart"}
BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "an id twice": (lambda: of_forest(lambda model: model["trees"][1].update(id=0)), "ids of the trees"),
    "an id outside": (lambda: of_forest(lambda model: model["trees"][1].update(id=10**9)), "ids of the trees"),
    "a negative id": (lambda: of_forest(lambda model: model["trees"][1].update(id=-1)), "ids of the trees"),
    "no id": (lambda: of_forest(lambda model: model["trees"][1].pop("id")), "id"),
    "an id that is no number": (lambda: of_forest(lambda model: model["trees"][1].update(id="1")), "ids of the trees"),
    "a chain": (lambda: chained(300_000), "levels deep"),
    "a root with a parent": (lambda: of_tree("parents", 0, 1), "root has a parent"),
    "a leaf of NaN": (lambda: of_tree("split_conditions", -1, float("nan")), "leaf's value"),
    "a leaf of infinity": (lambda: of_tree("split_conditions", -1, float("inf")), "leaf's value"),
    "many classes": (lambda: parameter("num_class", "300000000", **CLASSES), "for 300000000 outputs"),
    "many classes of one": (lambda: parameter("num_class", "300000000"), "300000000 outputs"),
    "many targets": (lambda: parameter("num_target", "300000000"), "300000000 outputs"),
    "negative classes": (lambda: parameter("num_class", "-3"), "num_class is -3"),
    "classes beyond 32 bits": (lambda: parameter("num_class", str(2**32 + 2), **CLASSES), "num_class"),
    "many features": (lambda: parameter("num_feature", str(2**31 - 1)), "features"),
    "features beyond 32 bits": (lambda: parameter("num_feature", str(2**32 + 5)), "num_feature"),
    "no base score": (lambda: parameter("base_score", "[]"), "base_score"),
    "a base score of NaN": (lambda: parameter("base_score", "nan"), "base_score"),
    "too many base scores": (lambda: parameter("base_score", "[0.5,0.5,0.5]"), "base_score"),
    "an objective of other classes": (
        lambda: of_learner(lambda it: it["objective"]["softmax_multiclass_param"].update(num_class="7"), **CLASSES),
        "the objective has 7 classes",
    ),
    "an objective of no classes": (
        lambda: of_learner(lambda it: it["objective"]["softmax_multiclass_param"].update(num_class="0"), **CLASSES),
        "num_class is 0",
    ),
    "rounds of many trees": (
        lambda: of_forest(lambda model: model["gbtree_model_param"].update(num_parallel_tree=str(2**31)), **CLASSES),
        "trees for each of",
    ),
    "a group outside": (lambda: of_forest(lambda model: model["tree_info"].__setitem__(0, 9)), "output that does not"),
    "a group that is no number": (
        lambda: of_forest(lambda model: model.update(tree_info=[0.5, 0.5, 0.5])),
        "output that does not",
    ),
    "too few weights of trees": (
        lambda: of_learner(lambda it: it["gradient_booster"]["weight_drop"].pop(), **DART),
        "",
    ),
    "a weight of NaN": (
        lambda: of_learner(lambda it: it["gradient_booster"]["weight_drop"].__setitem__(0, float("nan")), **DART),
        "weight of a tree",
    ),
    "a weight beyond 32 bits": (
        lambda: of_learner(lambda it: it["gradient_booster"]["weight_drop"].__setitem__(0, 1e39), **DART),
        "weight of a tree",
    ),
    "a base score beyond 32 bits": (lambda: parameter("base_score", "1e39"), "base_score"),
    "a base score of many characters": (lambda: parameter("base_score", "x" * 5000), " characters)"),
    "a type of no feature": (lambda: of_learner(lambda it: it.update(feature_types=["x"] * 5)), "no type of a feature"),
    "too few linear weights": (
        lambda: of_learner(lambda it: it["gradient_booster"]["model"]["weights"].pop(), booster="gblinear"),
        "5 weights for 5 features",
    ),
    "large sets of categories": (lambda: categorical(2**24 - 1), "categories take more memory"),
    "names for other features": (lambda: of_learner(lambda it: it.update(feature_names=["a"])), "feature_names"),
    "names of categories": (
        lambda: of_forest(lambda it: it["cats"].update(enc=[{"offsets": [0, 99], "values": [1]}])),
        "categories",
    ),
    "names of categories without bounds": (
        lambda: of_forest(lambda it: it["cats"].update(enc=[{"offsets": [], "values": [1]}], feature_segments=[0, 0])),
        "do not exist",
    ),
    "deep JSON": (lambda: b'{"learner": ' + b"[" * 200_000, "not an XGBoost model"),
    "deep JSON that ends": (lambda: b'{"learner": ' + b"[" * 900 + b"]" * 900 + b"}", ""),
    "deep UBJSON": (lambda: b"{L" + struct.pack(">q", 7) + b"learner" + b"[" * 200_000, "levels deep"),
    "infinity for a number": (lambda: text(document()).replace(b'"tree_info": [0', b'"tree_info": [Infinity'), ""),
    "lists of constants": (
        lambda: b"{i\x01a[" + b"[$Z#l\x00\x0f\x42\x40" * 100_000 + b"]}" + b" " * 10,
        "list of constants",
    ),
    "a pickle of 4 GB": (lambda: b"\x80\x05\x96" + struct.pack("<Q", 4_200_000_000) + b".", "is not opened"),
    "a pickle with a far memo": (lambda: b"\x80\x02Nr\xff\xff\xff\x3f.", "is not opened"),
    "a pickled size": (lambda: pickle.dumps(Sized(3 << 30), 2), "is not opened"),
    "a pickled size in a booster": (
        lambda: _with_handle(b"cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R"),
        "not opened",
    ),
    "a pickle that copies": (
        lambda: (
            b"\x80\x04B"
            + struct.pack("<I", 1_000_000)
            + bytes(1_000_000)
            + b"q\x01"
            + b"]"
            + b"cbuiltins\nbytearray\nh\x01\x85Ra" * 5_000
            + b"."
        ),
        "calls more than",
    ),
    "a pickled key that takes ages to hash": (
        lambda: (
            b"\x80\x04\x8c\x07xgboost\x94"
            + b"".join(b"h%c" % at * 2 + b"\x86\x94" for at in range(60))
            + b"}h\x3cK\x01s."
        ),
        "twice",
    ),
    "a pickled key of copies": (lambda: b"\x80\x04}\x8c\x07xgboost" + b"2\x86" * 60 + b"K\x01s.", "twice"),
    "a pickled key that is too deep to hash": (lambda: b"\x80\x04})" + b"\x85" * 300_000 + b"Ns.", "tuples"),
    "pickled keys of one hash": (
        lambda: (
            b"\x80\x04}(" + b"".join(pickle.dumps(at * (2**61 - 1), 2)[2:-1] + b"K\x00" for at in range(60_000)) + b"u."
        ),
        "64 bits",
    ),
    "a version that is none": (lambda: text({**document(), "version": [3, 2, "x" * 5000]}), "damaged: "),
    "a version in parts": (lambda: text({**document(), "version": [3, 2, 0, 1]}), "its version is '[3, 2, 0, 1]'"),
    "a booster of many lines": (
        lambda: of_learner(lambda it: it["gradient_booster"].update(name="\n" * 5000)),
        "… (5000 characters)'",
    ),
    "an objective of many characters": (
        lambda: of_learner(lambda it: it["objective"].update(name="o" * 5000)),
        " characters)",
    ),
    "an empty best round": (
        lambda: of_learner(lambda it: it["attributes"].update(best_iteration="")),
        "best_iteration",
    ),
    "a legacy model of many classes": (lambda: _legacy(8, 300_000_000), ""),
    "a legacy model of many features": (lambda: _legacy(4, 2**32 - 1), ""),
    "a legacy model of negative trees": (lambda: _legacy_trees(-5), ""),
    "a legacy model of many trees": (lambda: _legacy_trees(2**31 - 1), ""),
}


class Sized:
    """Pickles as ``bytearray(size)``."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __reduce__(self):
        return bytearray, (self.size,)


def _with_handle(handle: bytes) -> bytes:
    """A Booster whose handle is what the opcodes ``handle`` make."""
    made = b"ccopyreg\n_reconstructor\ncxgboost.core\nBooster\ncbuiltins\nobject\nN\x87R"
    return b"\x80\x02" + made + b"}X\x06\x00\x00\x00handle" + handle + b"sb."


def _legacy(at: int, number: int) -> bytes:
    data = bytearray((GOLDEN / "1.7.6-softprob.model").read_bytes())
    data[4 + at : 8 + at] = struct.pack("<I", number)  # after the header "binf"
    return bytes(data)


def _legacy_trees(number: int) -> bytes:
    data = bytearray((GOLDEN / "1.7.6-softprob.model").read_bytes())
    place = data.index(b"gbtree") + len(b"gbtree")
    data[place : place + 4] = struct.pack("<i", number)
    return bytes(data)


@pytest.fixture(scope="module")
def outcomes() -> list[str]:
    """What became of all of ``BAD``, in one process, which starts slowly."""
    return outcomes_of(make() for make, _ in BAD.values())


@pytest.mark.parametrize("name", BAD)
def test_a_model_that_xgboost_would_trust_to_its_harm_is_refused(name, outcomes):
    number = list(BAD).index(name)
    assert number < len(outcomes), f"the process ended at '{list(BAD)[len(outcomes)]}'"
    assert outcomes[number] != "answered"
    assert BAD[name][1] in outcomes[number]


def test_a_deep_tree_and_a_wide_model_and_categories_in_reason_answer():
    wide = parameter("num_feature", str(2**22))  # 100 rows at once would take 1.6 GB
    assert outcomes_of([chained(9_999), wide, categorical(100)]) == ["answered"] * 3


def test_many_sparse_rows_of_a_wide_model_are_answered_in_parts_with_the_same_scores():
    model = XGBModel([load_booster(parameter("num_feature", str(2**22)), "model")])
    features = np.nan_to_num(rows(40, seed=3)[0])
    found = model.predict(Batch(sp.csr_array(features)))["score"]
    each = [model.predict(Batch(sp.csr_array(features[row : row + 1])))["score"][0] for row in range(40)]
    np.testing.assert_array_equal(found, each)


def test_of_a_name_given_twice_xgboost_gets_what_was_checked():
    whole = text(document())
    first, _, rest = whole.partition(b'"tree_info": [')
    twice = first + b'"tree_info": [9, 9, 9], "tree_info": [' + rest
    other = whole.replace(b'"num_class": "0"', b'"num_class": "0", "num_class": "300000000"')
    answered, refused = outcomes_of([twice, other])
    assert answered == "answered" and "300000000 outputs" in refused


def test_json_with_non_finite_numbers_that_do_no_harm_is_read():
    """XGBoost writes an infinite split condition where only missing values go one way."""
    model = document()
    forest(model)["trees"][0]["split_conditions"][0] = float("-inf")
    booster = load_booster(text(model), "model")
    assert np.isfinite(booster.predict(xgb.DMatrix(rows()[0]))).all()


def test_a_refusal_of_deep_json_in_a_folder_is_a_model_error(tmp_path):
    (tmp_path / "xgboost-model").write_bytes(b'{"learner": ' + b'{"a":' * 100_000)
    with pytest.raises(ModelError):
        load_booster((tmp_path / "xgboost-model").read_bytes(), "xgboost-model")
