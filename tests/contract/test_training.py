"""The command ``train`` as SageMaker and its users' SDKs run it, with files of the SDK's own making. Where it is about
what a job leaves, the process is a fork of one that has imported all."""

import errno
import os
import re
import runpy
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from algorithms import registry
from algorithms.common import mxnet_files
from tests.opt_ml import ROOT, OptMl

pytestmark = pytest.mark.slow

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "training"
make = runpy.run_path(str(GOLDEN / "make.py"))
FEATURES, LABELS = make["features"](), make["labels"]()
DENSE, SPARSE = (GOLDEN / "dense.pbr").read_bytes(), (GOLDEN / "sparse.pbr").read_bytes()
RECORDIO = "application/x-recordio-protobuf"
KMEANS = {"k": 2, "feature_dim": 6}
XGBOOST = {"num_round": 2, "objective": "binary:logistic"}
MAGIC = 0xCED7230A


@pytest.fixture
def opt_ml(tmp_path):
    return OptMl(tmp_path / "ml")


def csv(rows, labels=None):
    table = rows if labels is None else np.column_stack([labels, rows])
    return "".join(",".join(f"{value:.9g}" for value in row) + "\n" for row in table).encode()


# ---- what succeeds --------------------------------------------------------------------------------------------------


def check_kmeans(model):
    """The rows are as near to their centers as scikit-learn's best of twenty runs has them, to one per cent."""
    from sklearn.cluster import KMeans

    (centers,) = mxnet_files.load(model / "model_algo-1")
    squares = ((FEATURES[:, None, :] - centers[None]) ** 2).sum(axis=2)
    reference = KMeans(2, n_init=20, random_state=0).fit(FEATURES)
    assert squares.min(axis=1).sum() <= 1.01 * reference.inertia_


def check_pca(model):
    """The components are scikit-learn's, up to their sign, and the largest comes last."""
    from sklearn.decomposition import PCA

    arrays = mxnet_files.load(model / "model_algo-1")
    reference = PCA(2, svd_solver="full").fit(FEATURES.astype(np.float64))
    np.testing.assert_allclose(arrays["s"][::-1], reference.singular_values_, rtol=1e-4)
    cosines = np.abs(np.sum(arrays["v"].T[::-1] * reference.components_, axis=1))
    np.testing.assert_allclose(cosines, 1, atol=1e-4)
    np.testing.assert_allclose(arrays["mean"][0], FEATURES.mean(axis=0), atol=1e-5)


def check_xgboost(model):
    """Plain XGBoost opens the file, and its three trees tell the clouds apart."""
    xgboost = pytest.importorskip("xgboost")
    booster = xgboost.Booster()
    booster.load_model(bytearray((model / "xgboost-model").read_bytes()))
    assert booster.num_boosted_rounds() == 3
    assert np.mean((booster.predict(xgboost.DMatrix(FEATURES)) > 0.5) == LABELS) > 0.9


QUALITY = {"kmeans": check_kmeans, "pca": check_pca, "xgboost": check_xgboost}


@pytest.mark.parametrize("data", [DENSE, SPARSE], ids=["dense", "sparse"])
@pytest.mark.parametrize("encoding", ["", "-json-encoded"], ids=["strings", "json"])
@pytest.mark.parametrize("algorithm", QUALITY)
def test_a_job_as_the_sdks_local_mode_lays_it_out(opt_ml, algorithm, encoding, data):
    opt_ml.channel("train", data)
    for file in (GOLDEN / f"{algorithm}{encoding}").iterdir():
        shutil.copy(file, opt_ml.paths.config)
    outcome = opt_ml.train_in_fork(algorithm)
    assert (outcome.code, outcome.failure) == (0, None), outcome.log
    QUALITY[algorithm](opt_ml.paths.model)
    assert not [name for name in outcome.model_files if name.startswith(".")]
    assert outcome.log.startswith("Docker entrypoint called with argument(s): train\n")


@pytest.mark.parametrize("algorithm", ["kmeans", "pca"])
def test_the_log_of_the_closed_algorithms(opt_ml, algorithm):
    given = {**KMEANS, "epochs": 2} if algorithm == "kmeans" else make["HYPERPARAMETERS"]["pca"]
    outcome = opt_ml.hyperparameters(given).channel("train", DENSE, RECORDIO).train_in_fork(algorithm)
    assert outcome.code == 0, outcome.log
    assert "#progress_metric: host=algo-1, completed 100.0 % of epochs" in outcome.log
    assert "#throughput_metric: host=algo-1, train throughput=" in outcome.log
    assert f"Serializing model to {opt_ml.paths.model / 'model_algo-1'}" in outcome.log
    lines = outcome.metrics()
    titles = {"kmeans": "AWS/KMeansWebscale", "pca": "PCA"}
    assert {line["Dimensions"]["Algorithm"] for line in lines} == {titles[algorithm]}
    assert list(lines[-1]["Metrics"]) == ["setuptime", "totaltime"]
    train = [line for line in lines if line["Dimensions"].get("Meta") == "training_data_iter"]
    assert train[0]["Metrics"]["Total Records Seen"]["sum"] == len(FEATURES)


def test_the_log_of_xgboost(opt_ml):
    opt_ml.hyperparameters(XGBOOST).channel("train", csv(FEATURES, LABELS), "text/csv")
    outcome = opt_ml.channel("validation", csv(FEATURES, LABELS), "csv").train_in_fork("xgboost")
    assert outcome.code == 0, outcome.log
    rounds = [line for line in outcome.log.splitlines() if line.startswith("[1]\t")]
    assert len(rounds) == 1
    assert "\ttrain-" in rounds[0]
    assert "\tvalidation-" in rounds[0]
    assert "#metrics" not in outcome.log


def test_a_page_about_the_job_is_in_its_output_data(opt_ml):
    opt_ml.hyperparameters(XGBOOST).channel("train", csv(FEATURES, LABELS), "text/csv")
    outcome = opt_ml.channel("validation", csv(FEATURES, LABELS), "csv").train_in_fork("xgboost")
    assert outcome.code == 0, outcome.log
    page = (opt_ml.paths.output_data / "report.html").read_text()
    for title in ("Learning curve: logloss", "Confusion", "ROC", "Calibration", "Importance of features"):
        assert f"<h2>{title}" in page
    assert f"{len(FEATURES)} rows of validation" in page


def test_a_tuning_job_finds_its_metric(opt_ml):
    opt_ml.hyperparameters(KMEANS, _tuning_objective_metric="test:msd")
    outcome = opt_ml.channel("train", DENSE, RECORDIO).channel("test", DENSE, RECORDIO).train_in_fork("kmeans")
    assert outcome.code == 0, outcome.log
    assert "#quality_metric: host=algo-1, test msd <loss>=" in outcome.log


REGRESSION = {"predictor_type": "regressor"}


@pytest.mark.parametrize(
    ("algorithm", "given", "metric", "why"),
    [
        ("kmeans", KMEANS, "test:msd", "there is no channel 'test'"),
        ("linear-learner", REGRESSION, "validation:mse", "there is no channel 'validation'"),
        ("linear-learner", REGRESSION, "validation:objective_loss", None),
        ("linear-learner", REGRESSION, "train:binary_f_beta", "predictor_type is regressor"),
        ("xgboost", XGBOOST, "validation:logloss", "there is no channel 'validation'"),
        ("xgboost", XGBOOST | {"_kfold": 2}, "validation:logloss", None),
    ],
)
def test_a_tuning_job_that_would_find_no_value_is_told_so(opt_ml, algorithm, given, metric, why):
    opt_ml.hyperparameters(given, _tuning_objective_metric=metric)
    rows = (DENSE, RECORDIO) if algorithm == "kmeans" else (csv(FEATURES, LABELS), "text/csv")
    outcome = opt_ml.channel("train", *rows).train_in_fork(algorithm)
    assert outcome.code == 0, outcome.log
    warned = [line for line in outcome.log.splitlines() if "is never logged" in line]
    assert [why in line for line in warned] == ([True] if why else [])
    logged = next(one.regex for one in registry.find(algorithm).metrics if one.name == metric)
    assert bool(re.search(logged, outcome.log.replace("\t", "#011"))) == (why is None)  # as CloudWatch has it


@pytest.mark.parametrize("metric", ["accuracy", "train:accuracy"])
def test_an_objective_that_is_no_metric_is_named_beside_those_that_are(opt_ml, metric):
    """There was said to be no channel 'accuracy', or nothing at all."""
    opt_ml.hyperparameters(KMEANS, _tuning_objective_metric=metric)
    outcome = opt_ml.channel("train", DENSE, RECORDIO).train_in_fork("kmeans")
    assert outcome.code == 0, outcome.log
    assert f"'{metric}' is no metric of kmeans, which has test:msd, test:ssd. A tuning job" in outcome.log


@pytest.mark.parametrize("algorithm", ["kmeans", "pca", "xgboost"])
@pytest.mark.parametrize("media", [RECORDIO, "text/csv"])
def test_a_pipe_gives_the_model_that_files_give(tmp_path, algorithm, media):
    given = make["HYPERPARAMETERS"][algorithm]
    labels = LABELS if algorithm == "xgboost" else None
    content = DENSE if media == RECORDIO else csv(FEATURES, labels)
    files = OptMl(tmp_path / "file").hyperparameters(given).channel("train", content, media)
    pipes = OptMl(tmp_path / "pipe").hyperparameters(given).pipe("train", [content] * 2, media)
    models = []
    for opt_ml in (files, pipes):
        outcome = opt_ml.train_in_fork(algorithm)
        assert outcome.code == 0, outcome.log
        models.append({name: (opt_ml.paths.model / name).read_bytes() for name in outcome.model_files})
    assert models[0] == models[1]


def test_several_epochs_read_several_pipes(opt_ml):
    opt_ml.hyperparameters(KMEANS, epochs=3).pipe("train", [DENSE] * 3, RECORDIO)
    outcome = opt_ml.train_in_fork("kmeans")
    assert outcome.code == 0, outcome.log
    check_kmeans(opt_ml.paths.model)


def test_plain_folders_without_a_configuration_of_channels(opt_ml):
    opt_ml.hyperparameters(KMEANS).channel("train", {"deep/er/part-0": DENSE, "_SUCCESS": b"", ".hidden": b"?"})
    opt_ml.paths.input_data_config.unlink()
    opt_ml.paths.resource_config.unlink()
    outcome = opt_ml.train_in_fork("kmeans")
    assert outcome.code == 0, outcome.log


def test_the_installed_command(opt_ml):
    command = Path(sys.executable).parent / "train"
    if not command.exists():
        pytest.skip("the distribution is not installed in this environment")
    opt_ml.hyperparameters(KMEANS).channel("train", DENSE, RECORDIO)
    environment = {"PATH": "/usr/bin:/bin", "ALGORITHM": "kmeans", "SAGEMAKER_BASE_DIR": str(opt_ml.paths.base)}
    assert subprocess.run([command], env=environment, capture_output=True).returncode == 0
    assert (opt_ml.paths.model / "model_algo-1").exists()


# ---- what fails -----------------------------------------------------------------------------------------------------


def frame(length, body=b"", magic=MAGIC):
    return struct.pack("<II", magic, length) + body


BAD = {
    # name: (algorithm, hyperparameters, files of train, content type, what the failure must say)
    "missing hyperparameter": ("kmeans", {"k": 2}, DENSE, RECORDIO, ["for 'feature_dim' which are required"]),
    "unknown hyperparameter": ("kmeans", {**KMEANS, "kay": 2}, DENSE, RECORDIO, ["('kay' was unexpected)"]),
    "out of range": ("kmeans", {**KMEANS, "k": 0}, DENSE, RECORDIO, ["'k': '0' is not an integer of at least"]),
    "wrong type": ("kmeans", {**KMEANS, "k": "ten"}, DENSE, RECORDIO, ["'k': 'ten' is not an integer"]),
    "wrong word": (
        "kmeans",
        {**KMEANS, "init_method": "best"},
        DENSE,
        RECORDIO,
        ["'best' is not one of random, kmeans++"],
    ),
    "missing channel": ("kmeans", KMEANS, None, None, ["Channel 'train' is required"]),
    "empty channel": ("kmeans", KMEANS, {}, RECORDIO, ["Channel 'train' is empty"]),
    "only empty files": ("kmeans", KMEANS, b"", RECORDIO, ["Channel 'train' is empty"]),
    "wrong content type": ("kmeans", KMEANS, DENSE, "image/png", ["'image/png' is not supported; use application/x-r"]),
    "CSV read as RecordIO": ("kmeans", KMEANS, csv(FEATURES), None, ["part-0", "the default where the job states no"]),
    "ragged CSV": ("kmeans", KMEANS, csv(FEATURES[:9]) + b"1,2,3\n", "text/csv", ["part-0", "10", "3"]),
    "header line": ("kmeans", KMEANS, b"a,b,c,d,e,f\n" + csv(FEATURES), "text/csv", ["part-0", "header"]),
    "missing value": ("kmeans", KMEANS, b"1,2,,4,5,6\n", "text/csv", ["part-0", "1"]),
    "NaN feature": ("kmeans", KMEANS, b"1,2,nan,4,5,6\n", "text/csv", ["part-0", "nan"]),
    "NaN label": (
        "xgboost",
        XGBOOST,
        csv(FEATURES[:2], [0, 1]) + b"nan,1,2,3,4,5,6\n",
        "text/csv",
        ["part-0, line 3", "nan"],
    ),
    "label out of range": (
        "xgboost",
        XGBOOST,
        csv(FEATURES[:4], [0, 1, 2, 3]),
        "text/csv",
        ["the label is 2", "needs from 0 to 1"],
    ),
    "unlabelled CSV": ("xgboost", XGBOOST, csv(FEATURES), "text/csv; label_size=0", ["label_size"]),
    "cut RecordIO": ("kmeans", KMEANS, DENSE[:-5], RECORDIO, ["part-0", "byte"]),
    "cut in a header": ("kmeans", KMEANS, DENSE + b"\x0a\x23", RECORDIO, ["part-0", "byte"]),
    "wrong magic": ("kmeans", KMEANS, frame(4, bytes(4), magic=0xDEADBEEF), RECORDIO, ["part-0", "magic"]),
    "length of 4 GB": ("kmeans", KMEANS, frame(0x1FFFFFFF, bytes(64)), RECORDIO, ["part-0", "byte"]),
    "noise in a frame": ("kmeans", KMEANS, frame(8, b"\xff" * 8), RECORDIO, ["part-0"]),
    "files of other widths": (
        "kmeans",
        KMEANS,
        {"a.csv": csv(FEATURES), "b.csv": csv(FEATURES[:, :4])},
        "text/csv",
        ["b.csv", "4", "6"],
    ),
    "another width than stated": ("kmeans", {"k": 2, "feature_dim": 7}, DENSE, RECORDIO, ["6", "7"]),
    "fewer rows than clusters": ("kmeans", {**KMEANS, "k": 5}, csv(FEATURES[:3]), "text/csv", ["3", "5"]),
    "more components than features": (
        "pca",
        {"num_components": 9, "feature_dim": 6, "mini_batch_size": 10},
        DENSE,
        RECORDIO,
        ["num_components", "9"],
    ),
}


@pytest.mark.parametrize(("algorithm", "given", "files", "media", "parts"), BAD.values(), ids=BAD)
def test_bad_input_ends_in_words_that_a_user_can_act_on(opt_ml, algorithm, given, files, media, parts):
    opt_ml.hyperparameters(given).write(opt_ml.paths.input_data_config, {})
    if files is not None:
        opt_ml.channel("train", files, media)
    outcome = opt_ml.train_in_fork(algorithm)
    assert outcome.code == 1, outcome.log
    assert outcome.failure.startswith("ClientError: "), outcome.failure
    shown = outcome.failure[:1024]  # as much as SageMaker shows
    assert [part for part in parts if part not in shown] == [], shown
    assert "Traceback" not in outcome.log
    assert "Customer Error: " in outcome.log
    assert outcome.model_files == []


def test_the_same_in_a_pipe(opt_ml):
    outcome = opt_ml.hyperparameters(KMEANS).pipe("train", [DENSE[:-5]], RECORDIO).train_in_fork("kmeans")
    assert (outcome.code, outcome.model_files) == (1, [])
    assert outcome.failure.startswith("ClientError: ")
    assert "train_0" in outcome.failure


def test_a_full_disk(opt_ml):
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(opt_ml.paths.model)]
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        with (opt_ml.paths.model / "ballast").open("wb", buffering=0) as file:
            for _ in range(16):
                file.write(bytes(4096))
        outcome = opt_ml.hyperparameters(KMEANS).channel("train", DENSE, RECORDIO).train("kmeans")
        assert (outcome.code, outcome.model_files) == (1, ["ballast"])
        assert outcome.failure.startswith(f"ClientError: The disk is full: [Errno {errno.ENOSPC}]")
    finally:
        subprocess.run(["umount", str(opt_ml.paths.model)], check=True)


# ---- stops ----------------------------------------------------------------------------------------------------------


def stop_when(opt_ml, algorithm, text):
    """Send SIGTERM once the log has a line with ``text``; the exit code and the seconds until it was there."""
    with opt_ml.start(algorithm) as process:
        try:
            for line in process.stdout:
                if text in line:
                    break
            process.send_signal(signal.SIGTERM)
            started = time.monotonic()
            process.communicate(timeout=300)
            return process.returncode, time.monotonic() - started
        finally:
            process.kill()


def test_sigterm_while_waiting_for_a_pipe_that_nobody_writes(opt_ml):
    opt_ml.hyperparameters(KMEANS).pipe("train", [], RECORDIO)
    code, seconds = stop_when(opt_ml, "kmeans", "Create Store")
    assert code == 143
    assert seconds < 30
    assert not opt_ml.paths.failure.exists()
    assert not list(opt_ml.paths.model.iterdir())


def test_sigterm_in_the_midst_of_many_epochs_leaves_a_whole_model_or_nothing(opt_ml):
    opt_ml.hyperparameters(KMEANS, epochs=100000).channel("train", DENSE, RECORDIO)
    code, seconds = stop_when(opt_ml, "kmeans", "#progress_metric")
    assert seconds < 30
    assert not opt_ml.paths.failure.exists()
    files = [file.name for file in opt_ml.paths.model.iterdir()]
    if code == 0:
        check_kmeans(opt_ml.paths.model)
        assert files == ["model_algo-1"]
    else:
        assert (code, files) == (143, [])


NOBODY = 65534
BOUND = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-dac_override,-dac_read_search"]
"""Runs a command that obeys the permissions of files, though it is root's."""


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="files of another user are needed")
@pytest.mark.parametrize("what", ["file", "folder", "channel"])
def test_data_that_the_job_may_not_read_is_named(opt_ml, what):
    opt_ml.hyperparameters(k=2, feature_dim=2)
    opt_ml.channel("train", {"sub/secret.csv": b"1,2\n3,4\n5,6\n"}, "text/csv;label_size=0")
    channel = opt_ml.paths.channel("train")
    closed = {"file": channel / "sub" / "secret.csv", "folder": channel / "sub", "channel": channel}[what]
    os.chown(closed, NOBODY, NOBODY)
    closed.chmod(0o700)
    done = subprocess.run(
        [*BOUND, sys.executable, "-m", "container", "train"],
        cwd=ROOT,
        env={**os.environ, "SAGEMAKER_BASE_DIR": str(opt_ml.paths.base), "ALGORITHM": "kmeans"},
        capture_output=True,
        text=True,
    )
    failure = opt_ml.paths.failure.read_text()
    assert done.returncode == 1
    assert failure.startswith("ClientError: ")
    assert closed.name in failure
    assert "cannot be read: Permission denied" in failure
    assert "Traceback" not in done.stdout + done.stderr
