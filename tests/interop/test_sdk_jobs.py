"""The unmodified SageMaker SDKs in local mode: they train, deploy, predict and transform with our commands as image.

No Docker engine is needed: docker_stand_in.py takes the compose files that the SDKs write. Built images can be tried
instead: `STAND_IN_ENGINE=buildah .venv/bin/pytest tests/interop/test_sdk_jobs.py`, for those that are there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from algorithms import registry
from recordio.batches import Batch
from tests.interop.environments import SDK2, SDK3, python_of
from tests.server import free_port

pytestmark = pytest.mark.slow

HERE = Path(__file__).resolve().parent
SECONDS = 900
ROWS = load_digits().data.astype(np.float32)
DIGITS = load_digits().target.astype(np.float32)
ASKED = 200
CSV, RECORDIO = "text/csv", "application/x-recordio-protobuf"

ENGINE = os.environ.get("STAND_IN_ENGINE", "")
THOROUGH = bool(os.environ.get("OBA_THOROUGH"))
SEVERAL = 1 if ENGINE else 2
"""Hosts of a job on several: the engine's containers have the machine's network in common."""
UNLABELLED = {"content_type": "text/csv;label_size=0", "labels": None}
CASES: dict[str, dict[str, Any]] = {
    "kmeans": {
        # The image has the very name of SageMaker's own, and is there already: the SDK does not try to pull it.
        "image": "382416733822.dkr.ecr.us-east-1.amazonaws.com/kmeans:1",
        "hyperparameters": {"k": 10, "feature_dim": 64, "eval_metrics": ["msd", "ssd"]},
        "hosts": SEVERAL if THOROUGH else 1,
        "predictor": "KMeansPredictor",
        "model": "KMeansModel",  # finds that image by itself
        "transform": {"strategy": None, "content_type": CSV},
        **UNLABELLED,
    },
    "pca": {
        "hyperparameters": {"num_components": 5, "feature_dim": 64, "mini_batch_size": 500, "subtract_mean": True},
        "predictor": "PCAPredictor",
        "hosts": SEVERAL,
        "content_type": RECORDIO,
        "labels": None,
    },
    "lda": {
        "hyperparameters": {"num_topics": 10, "feature_dim": 64, "mini_batch_size": 1500},
        "predictor": "LDAPredictor",
        "transform": {"strategy": "SingleRecord", "content_type": CSV},
        **UNLABELLED,
    },
    "linear-learner": {
        "hyperparameters": {
            "predictor_type": "multiclass_classifier",
            "num_classes": 10,
            "mini_batch_size": 100,
            "normalize_data": True,
            "use_bias": True,
        },
        "predictor": "LinearLearnerPredictor",
        "content_type": RECORDIO,
        "labels": DIGITS,
    },
    "factorization-machines": {
        "hyperparameters": {"predictor_type": "binary_classifier", "num_factors": 8, "feature_dim": 64, "epochs": 30},
        "predictor": "FactorizationMachinesPredictor",
        "transform": {"strategy": "MultiRecord", "content_type": "application/jsonlines"},
        "content_type": RECORDIO,
        "labels": (DIGITS < 5).astype(np.float32),
    },
    "xgboost": {
        "hyperparameters": {"objective": "multi:softprob", "num_class": 10, "num_round": 10},
        "predictor": None,  # the SDK has no class for it: CSV in, JSON out
        "hosts": SEVERAL,
        "content_type": CSV,
        "labels": DIGITS,
    },
    "ntm": {
        "hyperparameters": {"num_topics": 5, "feature_dim": 64, "epochs": 2, "mini_batch_size": 256},
        "predictor": "NTMPredictor",
        "hosts": SEVERAL if THOROUGH else 1,
        "content_type": RECORDIO,
        "labels": None,
    },
}
NAMES = [name for name in CASES if name in registry.ALGORITHMS]
IMAGES = {name: f"open-algorithms/{name}:latest" for name in NAMES}
if ENGINE:
    looks = {name: [ENGINE, "inspect", "--type=image", IMAGES[name]] for name in NAMES}
    NAMES = [name for name in NAMES if not subprocess.run(looks[name], stdout=subprocess.DEVNULL).returncode]
    CASES = {name: CASES[name] | {"image": IMAGES[name], "model": None} for name in NAMES}
WRONG = {"hyperparameters": {"k": "many", "feature_dim": 64}}


@pytest.fixture(scope="module")
def docker(tmp_path_factory):
    """A folder for the PATH with the stand-in in it, run by the Python of the SDK that calls it."""
    folder = tmp_path_factory.mktemp("docker")
    script = folder / "docker"
    script.write_text(f'#!/bin/sh\nexec "$SDK_PYTHON" {HERE / "docker_stand_in.py"} "$@"\n')
    script.chmod(0o755)
    return folder


def run(python: Path, docker: Path, program: str, *arguments: Path, cwd: Path) -> str:
    """What a program of the SDK prints. Its environment names no AWS account that exists."""
    if shutil.which("pgrep") is None:
        pytest.skip("the SDK ends its containers with pgrep, which is not installed here")
    environment = {
        "PATH": f"{docker}:{os.environ['PATH']}",
        "HOME": str(cwd),
        "SDK_PYTHON": str(python),
        "STAND_IN_ENGINE": ENGINE,
        "STAND_IN_COMMANDS": str(Path(sys.executable).parent),
        "STAND_IN_IMAGES": ",".join(registry.ALGORITHMS),
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_DEFAULT_REGION": "us-east-1",
        # The SDK tells Amazon of each call, and asks it who is calling: not from here, and not five times.
        "HTTPS_PROXY": f"http://127.0.0.1:{free_port()}",
        "AWS_MAX_ATTEMPTS": "1",
    }
    result = subprocess.run(
        [python, HERE / program, *arguments],
        env=environment,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=SECONDS,
    )
    output = result.stdout.decode(errors="replace")
    assert result.returncode == 0, output
    return output


# ---- SDK 2 ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results(tmp_path_factory, docker):
    """What came of each case, and of one that must fail; with the log under ``log``."""
    python = python_of(*SDK2)
    base = tmp_path_factory.mktemp("sdk2")
    named = {name: CASES[name] for name in NAMES} | {"wrong": CASES["kmeans"] | WRONG}
    cases = [laid_out(base / name, case, name) for name, case in named.items()]
    (base / "cases.json").write_text(json.dumps(cases))
    log = run(python, docker, "sdk2_program.py", base / "cases.json", base / "results.json", cwd=base)
    found = json.loads((base / "results.json").read_text())
    return dict(zip(named, found, strict=True)) | {"log": log}


def laid_out(folder: Path, case: dict[str, Any], name: str) -> dict[str, Any]:
    """The case as the program reads it: rows in files, a port, and requests of a transform job in two files."""
    (folder / "requests").mkdir(parents=True)
    np.save(folder / "rows.npy", ROWS)
    if case["labels"] is not None:
        np.save(folder / "labels.npy", case["labels"])
    if transform := case.get("transform"):
        for file, rows in (("first", ROWS[:ASKED]), ("second", ROWS[ASKED : ASKED + 3])):
            (folder / "requests" / file).write_text(written(rows, transform["content_type"]))
    return {
        "image": IMAGES.get(name),
        "transform": None,
        "model": None,
        "hosts": 1,
        **case,
        "folder": str(folder),
        "rows": str(folder / "rows.npy"),
        "labels": str(folder / "labels.npy") if case["labels"] is not None else None,
        "port": free_port(),
        "asked": ASKED,
    }


def written(rows: np.ndarray, content_type: str) -> str:
    if content_type == CSV:
        return "".join(",".join(f"{value:g}" for value in row) + "\n" for row in rows)
    return "".join(json.dumps({"features": row}) + "\n" for row in rows.tolist())


def model_of(location: str, folder: Path) -> Any:
    """The model in a model.tar.gz, and its algorithm."""
    with tarfile.open(location.removeprefix("file://")) as tar:
        tar.extractall(folder, filter="data")
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_sdk_2_trains_deploys_and_predicts(results, name, tmp_path):
    result = results[name]
    assert "error" not in result, result["traceback"] + results["log"][-5000:]
    model = registry.find(name).load(model_of(result["model"], tmp_path))
    expected = {
        column: np.asarray(values, np.float64) for column, values in model.predict(Batch(ROWS[: ASKED + 3])).items()
    }
    predictions = result["predictions"]
    if isinstance(predictions, dict):
        (predictions,) = predictions.values()
    assert_rows(predictions, expected, 0)
    if CASES[name].get("transform"):
        assert sorted(Path(file).name for file in result["transformed"]) == ["first.out", "second.out"]
    for file, text in result.get("transformed", {}).items():
        answers = [json.loads(line) for line in text.splitlines() if line]
        start = ASKED if file.endswith("second.out") else 0
        assert len(answers) == (3 if start else ASKED)
        assert_rows(answers, expected, start)


def assert_rows(answers: list[dict[str, Any]], expected: dict[str, np.ndarray], start: int) -> None:
    for column in answers[0]:
        found = np.array([answer[column] for answer in answers], np.float64).squeeze()
        wanted = expected[column][start : start + len(answers)].squeeze()
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(not {"linear-learner", "factorization-machines", "xgboost"} <= set(NAMES), reason="no such image")
def test_predictions_through_sdk_2_are_good(results):
    labels = DIGITS[:ASKED]
    found = [row["predicted_label"][0] for row in results["linear-learner"]["predictions"]]
    assert np.mean(np.array(found) == labels) > 0.9
    found = [row["predicted_label"][0] for row in results["factorization-machines"]["predictions"]]
    assert np.mean(np.array(found) == (labels < 5)) > 0.7
    found = [int(np.argmax(row["score"])) for row in results["xgboost"]["predictions"]["predictions"]]
    assert np.mean(np.array(found) == labels) > 0.95


def test_a_job_that_fails_raises_in_sdk_2_and_leaves_its_reason(results):
    result = results["wrong"]
    assert "Process exited with code: 1" in result["error"]
    assert "Hyperparameter 'k': 'many' is not an integer" in result["failure"]
    assert "Hyperparameter 'k': 'many' is not an integer" in results["log"]


# ---- SDK 3 ----------------------------------------------------------------------------------------------------------


SEVERAL_OF_SDK_3: dict[str, dict[str, Any]] = {
    "kmeans": {"k": 10, "feature_dim": 65},
    "xgboost": CASES["xgboost"]["hyperparameters"],
    "ntm": CASES["ntm"]["hyperparameters"] | {"feature_dim": 65},
}
"""Jobs on two hosts; unlabelled, the label is one more feature."""


@pytest.mark.skipif("linear-learner" not in NAMES, reason="no such image")
def test_sdk_3_trains_with_the_images_own_command_and_serves(docker, tmp_path):
    python = python_of(*SDK3)
    several = [name for name in SEVERAL_OF_SDK_3 if name in NAMES and (THOROUGH or name == "kmeans")]
    (tmp_path / "train").mkdir()
    labelled = np.column_stack([DIGITS, ROWS])
    (tmp_path / "train" / "data.csv").write_text(written(labelled, CSV))
    case = {
        "image": IMAGES["linear-learner"],
        # Numbers and booleans, which SDK 3 writes as JSON does: 10, true, 0.01.
        "hyperparameters": {
            "predictor_type": "multiclass_classifier",
            "num_classes": 10,
            "mini_batch_size": 100,
            "normalize_data": True,
            "learning_rate": 0.01,
        },
        "content_type": CSV,
        "train": str(tmp_path / "train"),
        "folder": str(tmp_path / "root"),
        "port": free_port(),
        "request": written(ROWS[:ASKED], CSV),
        "wrong": {"predictor_type": "multiclass_classifier", "num_classes": 1},
        "several": [
            {
                "image": IMAGES[name],
                "hyperparameters": SEVERAL_OF_SDK_3[name],
                "content_type": CSV if name == "xgboost" else "text/csv;label_size=0",
                "folder": str(tmp_path / name),
            }
            for name in several
        ],
    }
    for name in ("root", *several):
        (tmp_path / name).mkdir()
    (tmp_path / "case.json").write_text(json.dumps(case))
    log = run(python, docker, "sdk3_program.py", tmp_path / "case.json", cwd=tmp_path)
    assert "'normalize_data': 'true'" in log or '"normalize_data": "true"' in log
    answers = json.loads((tmp_path / "root" / "answer.json").read_text())["predictions"]
    assert np.mean([answer["predicted_label"] for answer in answers] == DIGITS[:ASKED]) > 0.9
    for name in several:
        model = model_of(f"file://{tmp_path}/{name}/compressed_artifacts/model.tar.gz", tmp_path / f"of-{name}")
        registry.find(name).load(model)
    assert registry.find("kmeans").load(tmp_path / "of-kmeans").centers.shape == (10, 65)
    assert log.count("All 2 hosts are here") == len(several)
    assert "Process exited with code: 1" in (tmp_path / "root" / "wrong.txt").read_text()
    assert "Hyperparameter 'num_classes'" in log
