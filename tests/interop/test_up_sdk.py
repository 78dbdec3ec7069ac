"""The unmodified SageMaker SDKs 2 and 3 against `oba up`: their classes train, deploy, predict and transform."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from tests.interop.environments import SDK2, SDK3, python_of

pytest.importorskip("moto")

pytestmark = pytest.mark.slow

HERE = Path(__file__).resolve().parent
OTHERS = ("pca", "factorization-machines", "lda", "ntm")
CASES = ("kmeans", "linear-learner", *OTHERS, "xgboost", "serving", "wrong")
SECONDS = 900
LABELS = load_digits().target[:100]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What came of each case, and what it printed. They run side by side: the SDK sleeps for most of its time."""
    folder = tmp_path_factory.mktemp("up")
    commands = {
        "sdk2": [python_of(*SDK2), HERE / "up_sdk2_program.py", folder, *CASES],
        "sdk3": [python_of(*SDK3), HERE / "up_sdk3_program.py", folder],
    }
    table = np.column_stack([load_digits().target, load_digits().data])
    np.savetxt(folder / "train.csv", table, delimiter=",", fmt="%g")
    np.save(folder / "rows.npy", load_digits().data.astype(np.float32))
    np.save(folder / "labels.npy", load_digits().target.astype(np.float32))
    command = [sys.executable, "-m", "local", "up", "--port", "0", "--state", str(folder / "state")]
    with subprocess.Popen(command, cwd=HERE.parents[1], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        given = {}
        for line in server.stdout:
            if match := re.match(r"export (\w+)=(.*)", line):
                given[match[1]] = match[2]
            if "Ctrl-C" in line:
                break
        environment = {
            **given,
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "AWS_EC2_METADATA_DISABLED": "true",
        }

        def run(sdk: str) -> str:
            done = subprocess.run(
                commands[sdk],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=SECONDS,
            )
            return done.stdout

        try:
            with ThreadPoolExecutor(len(commands)) as pool:
                logs = dict(zip(commands, pool.map(run, commands), strict=True))
        finally:
            server.terminate()
    logs |= {case: (folder / f"{case}.log").read_text() for case in CASES if (folder / f"{case}.log").is_file()}
    found = {}
    for case in (*CASES, "sdk3"):
        file = folder / f"{case}.json"
        found[case] = {"log": logs.get(case, logs["sdk2"])} | (json.loads(file.read_text()) if file.is_file() else {})
    return found


def test_kmeans_of_the_sdk_fits_records_deploys_and_predicts(results):
    found = results["kmeans"]
    assert "answers" in found, found["log"][-5000:]
    clusters = np.array(found["answers"])[:, 0].astype(int)
    purity = sum(np.bincount(LABELS[clusters == cluster]).max() for cluster in set(clusters)) / len(LABELS)
    assert purity > 0.6
    assert found["model"].startswith("s3://sagemaker-us-east-1-123456789012/")
    assert re.search(r"Training seconds: \d+", found["log"])


def test_the_linear_learner_of_the_sdk_predicts_labels(results):
    found = results["linear-learner"]
    assert "answers" in found, found["log"][-5000:]
    assert np.mean(np.array(found["answers"])[:, 0] == LABELS) > 0.85


def test_the_sdks_other_classes_fit_records_deploy_and_predict(results):
    for case in OTHERS:
        assert "answers" in results[case], (case, results[case]["log"][-5000:])
    answers = {case: np.array(results[case]["answers"]) for case in OTHERS}
    expected = PCA(2).fit(load_digits().data).transform(load_digits().data[:100])
    np.testing.assert_allclose(np.abs(answers["pca"][:, ::-1]), np.abs(expected), atol=0.05)  # smallest first there
    assert np.mean(answers["factorization-machines"][:, 0] == (LABELS == 0)) > 0.95
    for case in ("lda", "ntm"):
        assert answers[case].shape == (100, 5)
        np.testing.assert_allclose(answers[case].sum(axis=1), 1, atol=1e-3)


def test_an_xgboost_estimator_shows_its_log_is_attached_to_transforms_and_serves(results):
    found = results["xgboost"]
    assert "answers" in found, found["log"][-5000:]
    assert "[4]#011train-mlogloss" in found["log"]
    assert "Request exception" not in found["log"]  # of telling Amazon
    assert np.mean(np.array(found["joined"]) == LABELS) > 0.9
    assert found["columns"] == 65
    answers = found["answers"]
    rows = [row["score"] for row in answers["predictions"]] if isinstance(answers, dict) else np.ravel(answers)
    assert np.ravel(rows).astype(float).tolist() == found["joined"]
    assert found["metrics"] > 0
    assert found["endpoints"] == 0


def test_an_asynchronous_predictor_and_a_model_of_many_answer_as_one_of_their_own(results):
    found = results["serving"]
    assert "later" in found, found["log"][-5000:]
    later, two, ten = (np.array(found[name], float) for name in ("later", "two", "ten"))
    assert np.mean(later == LABELS) > 0.9
    np.testing.assert_array_equal(ten, later)
    assert set(two) == {0, 1}
    assert "feature" in found["failure"].lower()
    assert found["listed"] == ["ten", "two"]


def test_a_job_that_fails_raises_in_the_sdk_with_its_reason(results):
    found = results["wrong"]
    assert found.get("type") == "UnexpectedStatusException", found["log"][-3000:]
    assert "ClientError: " in found["error"]
    assert "num_components" in found["error"]


def test_sdk_3_trains_outside_its_local_mode_deploys_and_transforms(results):
    found = results["sdk3"]
    assert found.get("status") == "Completed", found["log"][-5000:]
    assert np.mean(np.array(found["answers"]) == LABELS) > 0.85
    assert found["transformed"] == found["answers"]
