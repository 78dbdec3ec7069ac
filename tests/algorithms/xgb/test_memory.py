"""What a model file takes while it is loaded, as the kernel counts it, beside what a multi-model endpoint reckons."""

from __future__ import annotations

import json
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost as xgb

from algorithms.xgb import ubjson

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "xgboost"

MEASURE = """
import os, sys
from pathlib import Path
from algorithms.xgb import XGBoost
from algorithms.xgb.documents import load_booster
from algorithms.xgb.model import XGBModel
def size(name):
    return 1024 * int(next(line for line in open("/proc/self/status") if line.startswith(name)).split()[1])
for line in sys.stdin:
    child = os.fork()
    if not child:
        for name in ("1.7.6-logistic.model", "1.7.6-logistic.pkl", "0.90-logistic.pkl"):  # code that is paged in
            XGBModel([load_booster((Path(sys.argv[1]) / name).read_bytes(), name)]).lay_out()
        open("/proc/self/clear_refs", "w").write("5")  # the peak starts anew
        before, folder = size("VmRSS"), Path(line.rstrip())
        XGBoost.load(folder)
        print(size("VmHWM") - before, XGBoost.loading_memory(folder), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def forest(depth: int, count: int, rows: int = 3000) -> dict[str, Any]:
    """A document of equal trees."""
    rng = np.random.default_rng(0)
    matrix = xgb.DMatrix(rng.normal(size=(rows, 5)), rng.normal(size=rows))
    given = {"max_depth": depth, "min_child_weight": 0, "base_score": 0.5, "nthread": 1}
    document = json.loads(bytes(xgb.train(given, matrix, 1).save_raw("json")))
    model = document["learner"]["gradient_booster"]["model"]
    model["trees"] = [{**model["trees"][0], "id": number} for number in range(count)]
    model["tree_info"], model["iteration_indptr"] = [0] * count, list(range(count + 1))
    model["gbtree_model_param"]["num_trees"] = str(count)
    return document


def linear(features: int = 200_000) -> dict[str, Any]:
    matrix = xgb.DMatrix(np.eye(4), np.arange(4))
    document = json.loads(bytes(xgb.train({"booster": "gblinear", "base_score": 0.5}, matrix, 1).save_raw("json")))
    document["learner"]["learner_model_param"]["num_feature"] = str(features)
    weights = np.random.default_rng(0).normal(size=features + 1).astype(np.float32)
    document["learner"]["gradient_booster"]["model"]["weights"] = weights.tolist()
    return document


def as_json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def as_wide_json(document: dict[str, Any]) -> bytes:
    learner = document["learner"]
    noted = {**learner, "attributes": {**learner["attributes"], "note": "\U0001f332"}}
    return json.dumps({**document, "learner": noted}, ensure_ascii=False).encode()


def as_ubjson(document: dict[str, Any]) -> bytes:
    return bytes(xgb.Booster(model_file=bytearray(as_json(document))).save_raw("ubj"))


def as_legacy(document: dict[str, Any]) -> bytes:
    """By the structs of XGBoost 1.7 (src/learner.cc, src/gbm/gbtree_model.h, include/xgboost/tree_model.h)."""
    model = document["learner"]["gradient_booster"]["model"]
    features = int(document["learner"]["learner_model_param"]["num_feature"])
    head = b"binf" + struct.pack("<fIiiiII", 0.5, features, 0, 0, 0, 1, 7).ljust(136, b"\0")
    name = "gblinear" if "weights" in model else "gbtree"
    head += b"".join(struct.pack("<Q", len(text)) + text for text in (b"reg:squarederror", name.encode()))
    if "weights" in model:
        return head + bytes(136) + struct.pack("<Q", features + 1) + np.float32(model["weights"]).tobytes()
    trees = model["trees"]
    tree, size = trees[0], len(trees[0]["parents"])
    nodes = np.zeros(size, "u4, i4, i4, u4, f4")
    parents = np.array(tree["parents"])
    is_left = np.isin(np.arange(size), tree["left_children"])
    nodes["f0"] = np.where(parents == 2**31 - 1, 2**32 - 1, parents + (is_left.astype(np.int64) << 31))
    nodes["f1"], nodes["f2"], nodes["f3"] = tree["left_children"], tree["right_children"], tree["split_indices"]
    nodes["f4"] = tree["split_conditions"]
    one = struct.pack("<iii", 1, size, 0).ljust(148, b"\0") + nodes.tobytes() + struct.pack("<fffi", 1, 1, 1, 0) * size
    return head + struct.pack("<ii", len(trees), 1).ljust(160, b"\0") + one * len(trees) + bytes(4 * len(trees))


def pickled(handle: bytes, protocol: int) -> bytes:
    """A Booster as older versions pickled it, whose class is not needed for that."""
    state = {"handle": bytearray(handle), "best_iteration": 3}
    made = pickle.dumps(state, protocol)[2:-1].removeprefix(b"\x95" + made_length(state, protocol))
    start = (
        b"\x80" + bytes([protocol]) + b"ccopy_reg\n_reconstructor\ncxgboost.core\nBooster\nc__builtin__\nobject\nN\x87R"
    )
    return start + made + b"b."


def made_length(state: dict[str, Any], protocol: int) -> bytes:
    """Of the frame with which protocol 4 begins; nothing before."""
    return pickle.dumps(state, protocol)[3:11] if protocol >= 4 else b""


KINDS: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "JSON": as_json,
    "JSON beyond ASCII": as_wide_json,
    "UBJSON": as_ubjson,
    "legacy": as_legacy,
    "pickle of UBJSON": lambda document: pickled(ubjson_state(document), 4),
    "old pickle of legacy": lambda document: pickled(as_legacy(document), 2),
    "new pickle of legacy": lambda document: pickled(as_legacy(document), 4),
}


def ubjson_state(document: dict[str, Any]) -> bytes:
    """What XGBoost 1.7 pickles: the model, and its configuration beside it."""
    return bytes(ubjson.dumps({"Config": {}, "Model": ubjson.loads(as_ubjson(document))}))


SHAPES = {
    "leaves": lambda: forest(0, 2000, rows=1),
    "stumps": lambda: forest(1, 2000),
    "usual trees": lambda: forest(6, 200),
    "one large tree": lambda: forest(20, 1, rows=30_000),
    "linear": linear,
}
MIB = 1 << 20


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured by Linux's /proc")
def test_no_kind_of_file_takes_more_memory_than_is_reckoned(tmp_path):
    folders = []
    for shape, make in SHAPES.items():
        document = make()
        for kind, write in KINDS.items():
            folder = tmp_path / f"{shape}, {kind}"
            folder.mkdir()
            (folder / "xgboost-model").write_bytes(write(document))
            folders.append(folder)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MEASURE, GOLDEN],
        input="\n".join(map(str, folders)),
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    found = {folder.name: numbers for folder, numbers in zip(folders, lines, strict=True)}
    over = {name: (taken, reckoned) for name, (taken, reckoned) in found.items() if taken > reckoned + 2 * MIB}
    assert not over, found
    assert sum(reckoned for _, reckoned in lines) < 2 * sum(taken for taken, _ in lines), (
        found
    )  # nor is it a wild guess
