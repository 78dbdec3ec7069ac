"""Models of ours in other versions of XGBoost: one file means one model everywhere."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import xgboost as xgb

from algorithms.errors import TrainingStopped
from recordio.batches import Batch
from tests.algorithms.fakes import FakeJob, MemoryStream
from tests.algorithms.xgb.jobs import fit
from tests.interop.environments import python_of, run

pytestmark = pytest.mark.slow

NUMPY = ("numpy==1.26.4", "scipy==1.11.4")
VERSIONS = {
    "1.7.6": ("xgboost==1.7.6", *NUMPY),
    "2.1.4": ("xgboost-cpu==2.1.4", *NUMPY),
    "3.0.5": ("xgboost-cpu==3.0.5", *NUMPY),
}
PROGRAM = """
import pickle, sys, warnings
from pathlib import Path
import numpy as np, xgboost as xgb
warnings.simplefilter("ignore")
xgb.set_config(verbosity=0)  # 1.7 warns of pickles of other versions, on standard output
folder = Path(sys.argv[1])
rows = xgb.DMatrix(np.load(folder / "rows.npy"), nthread=1)
for path in sorted(path for path in folder.glob("*/*xgboost-*") if path.suffix != ".npy"):
    if path.name.startswith("pickled"):
        booster = pickle.loads(path.read_bytes())
    else:
        booster = xgb.Booster()
        booster.load_model(path)
    np.save(path.with_name(f"{path.name}.{xgb.__version__}.npy"), booster.predict(rows))
print(xgb.__version__)
"""

RNG = np.random.default_rng(5)
ROWS = RNG.normal(size=(200, 4)).astype(np.float32)
ROWS[RNG.random(ROWS.shape) < 0.05] = np.nan
FIRST = np.nan_to_num(ROWS[:, 0]).astype(np.float64)
NUMBERS, POSITIVE = 100 + 10 * FIRST, np.exp(FIRST)
YES = (FIRST > 0.4).astype(float)
GROUPS = np.repeat(np.arange(20), 10)
LABELS = {
    "reg:squarederror": NUMBERS,
    "reg:pseudohubererror": NUMBERS,
    "reg:absoluteerror": NUMBERS,
    "reg:squaredlogerror": POSITIVE,
    "reg:logistic": 1 / (1 + np.exp(-FIRST)),
    "reg:gamma": POSITIVE,
    "reg:tweedie": POSITIVE,
    "count:poisson": np.round(POSITIVE),
    "binary:logistic": YES,
    "binary:logitraw": YES,
    "binary:hinge": YES,
    "multi:softmax": np.digitize(FIRST, [-1, 0.5]),
    "multi:softprob": np.digitize(FIRST, [-1, 0.5]),
    "rank:pairwise": YES,
    "rank:ndcg": np.round(POSITIVE).clip(0, 5),
    "rank:map": YES,
    "survival:aft": np.where(FIRST > 0, POSITIVE, -POSITIVE),
    "survival:cox": np.where(FIRST > 0, POSITIVE, -POSITIVE),
}
BOOSTERS = {
    "gbtree": {},
    "forest": {"num_parallel_tree": 3, "subsample": 0.7, "colsample_bynode": 0.7},
    "dart": {"booster": "dart", "rate_drop": 0.3},
    "gblinear": {"booster": "gblinear", "eta": 0.3},
}
SPECIAL = {
    "early stopping": {"objective": "reg:squarederror", "num_round": 60, "early_stopping_rounds": 3, "eta": 0.9},
    "early stopping dart": {"objective": "binary:logistic", "num_round": 60, "early_stopping_rounds": 3}
    | {"booster": "dart", "rate_drop": 0.3},
    "early stopping gblinear": {"objective": "reg:squarederror", "num_round": 60, "early_stopping_rounds": 2}
    | {"booster": "gblinear", "eta": 1},
    "base score": {"objective": "reg:squarederror", "base_score": 0.123456789},
    "base score near 0": {"objective": "binary:logistic", "base_score": 1e-8},
    "one class, no": {"objective": "binary:logistic", "label": 0},
    "one class, yes": {"objective": "reg:logistic", "label": 1, "booster": "dart"},
    "base score of classes": {"objective": "multi:softprob", "base_score": 0.3},
    "lossguide": {"objective": "reg:squarederror", "tree_method": "hist", "grow_policy": "lossguide", "max_leaves": 5},
    "exact": {"objective": "reg:squarederror", "tree_method": "exact"},
    "folds": {"objective": "reg:squarederror", "kfold": 3},
}


def trained(given: dict, job: FakeJob | None = None):
    objective = given["objective"]
    groups = GROUPS if objective.startswith("rank:") else None
    labels = np.full(len(ROWS), float(given["label"])) if "label" in given else LABELS[objective]
    stream = MemoryStream(ROWS, labels, None, groups)
    classes = {"num_class": 3} if objective.startswith("multi:") else {}
    settings = {name: value for name, value in given.items() if name != "label"}
    return fit(stream, stream, job or FakeJob(), **classes, **settings)


def cases() -> dict[str, dict]:
    crossed = {f"{o} {b}": {"objective": o, **more} for o in LABELS for b, more in BOOSTERS.items()}
    return crossed | SPECIAL


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder of models for each case, what each of them predicts beside it, and checkpoints of a stopped job."""
    folder = tmp_path_factory.mktemp("models")
    np.save(folder / "rows.npy", ROWS)
    for name, given in cases().items():
        place = folder / name
        place.mkdir()
        model = trained(given)
        model.save_as(place, (1, 2, 2))
        for path in list(place.iterdir()):
            path.rename(place / f"pickled-{path.name}")
        model.save(place)
        for path, booster in zip(sorted(place.iterdir()), 2 * model.boosters, strict=True):
            np.save(f"{path}.npy", booster.predict(xgb.DMatrix(ROWS, nthread=1)))
    job = FakeJob(checkpoint_directory=folder / "checkpoints", stop_after=4)
    with pytest.raises(TrainingStopped):
        trained({"objective": "reg:squarederror"}, job)
    for path in sorted((folder / "checkpoints").iterdir()):
        rounds = int(path.name.partition(".")[2]) + 1
        whole = trained({"objective": "reg:squarederror"}).boosters[0]
        np.save(f"{path}.npy", whole.predict(xgb.DMatrix(ROWS, nthread=1), iteration_range=(0, rounds)))
    return folder


@cache
def predicted(version: str, folder: Path) -> None:
    assert run(python_of(f"xgboost-{version}", VERSIONS[version]), PROGRAM, folder).strip() == version


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", [*cases(), "checkpoints"])
def test_a_model_predicts_the_same_in_every_version(version, name, folder):
    predicted(version, folder)
    answers = sorted((folder / name).glob(f"*.{version}.npy"))
    assert len(answers) >= (1 if name == "checkpoints" else 6 if name == "folds" else 2)
    for path in answers:
        ours = np.load(path.with_name(path.name.replace(f".{version}", "")))
        np.testing.assert_array_equal(np.load(path), ours)


def test_a_base_score_is_a_number_in_the_file(folder):
    """That of 3.2 is a list, of which older versions make 0.5."""
    for path in folder.glob("*/xgboost-*"):
        if path.suffix != ".npy":
            raw = path.read_bytes()
            assert b"base_scoreSL" in raw and b"base_scoreSL" + raw.partition(b"base_scoreSL")[2][:8] + b"[" not in raw


def test_our_own_version_reads_what_was_written_for_the_older_ones(folder):
    for name in cases():
        for path in (folder / name).glob("xgboost-*"):
            if path.suffix != ".npy":
                booster = xgb.Booster(model_file=bytearray(path.read_bytes()))
                ours = np.load(f"{path}.npy")
                np.testing.assert_array_equal(booster.predict(xgb.DMatrix(ROWS, nthread=1)), ours)


def test_a_model_whose_classes_start_apart_goes_on_in_new_versions_and_says_so(tmp_path):
    labels = LABELS["multi:softprob"]
    settings = {"objective": "multi:softprob", "num_class": 3, "nthread": 1}
    start = xgb.train(settings, xgb.DMatrix(ROWS, labels), 2)  # 3.1 and later estimate a score for each class
    scores = json.loads(start.save_config())["learner"]["learner_model_param"]["base_score"]
    assert len(set(json.loads(scores))) == 3
    (tmp_path / "xgboost-model").write_bytes(start.save_raw("ubj"))
    job = FakeJob()
    model = fit((ROWS, labels), job=job, model=tmp_path, objective="multi:softprob", num_class=3, num_round=1)
    assert any("3.1 and later only" in warning for warning in job.warnings)
    expected = xgb.train({**settings}, xgb.DMatrix(ROWS, labels), 1, xgb_model=start)
    found = model.predict(Batch(ROWS))["score"]
    np.testing.assert_array_equal(found, expected.predict(xgb.DMatrix(ROWS)))
