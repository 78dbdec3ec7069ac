"""``oba tune`` as a user types it, with real training jobs of k-means."""

import csv
import fcntl
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.local.toy import oba

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.slow


@pytest.fixture
def data(tmp_path):
    """Rows around four far centers."""
    random = np.random.default_rng(3)
    centers = np.array([[0, 0], [50, 0], [0, 50], [50, 50]])
    rows = centers[random.integers(0, 4, 400)] + random.normal(size=(400, 2))
    np.savetxt(tmp_path / "train.csv", rows[:300], delimiter=",")
    np.savetxt(tmp_path / "test.csv", rows[300:], delimiter=",")
    return ["--train", tmp_path / "train.csv", "--test", tmp_path / "test.csv"]


def test_a_grid_of_k_finds_the_clusters_and_goes_on_where_it_was(data, tmp_path, capfd):
    output = tmp_path / "out"
    search = ["tune", "kmeans", *data, "k=2..4", "--strategy", "grid", "--parallel", 2, "--output", output]
    assert oba(*search) == 0
    lines = capfd.readouterr().out.splitlines()
    assert sum(line.startswith("[") for line in lines) == 3
    assert lines[-1] == f"Next    oba predict --model {output}/best/model --input FILE"
    with (output / "jobs.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["k"] for row in table] == ["2", "3", "4"]
    scores = [float(row["test:msd"]) for row in table]
    assert scores[0] > scores[1] > 100 and scores[2] == pytest.approx(2, rel=0.3)  # two features of variance 1
    page = (output / "tuning.html").read_text()
    assert "Best so far" in page and "Curves of" not in page  # one score a job, in two lines of the log
    assert "<svg" in page and "http" not in re.sub(r'xmlns="[^"]*"', "", page) and "k=4" in page
    assert json.loads((output / "tuning.json").read_text())[2]["hyperparameters"]["k"] == "4"
    assert (output / "best").resolve() == output / "jobs" / "0003" / "job"

    with (output / "search.json").open() as claimed:
        fcntl.flock(claimed, fcntl.LOCK_EX)
        assert oba(*search) == 1
        assert "another oba tune is at work there" in capfd.readouterr().err
    ran = [file.stat().st_mtime_ns for file in sorted(output.glob("jobs/*/log.txt"))]
    with (output / "journal").open("ab") as journal:
        journal.write(b'{"op_code": 4, "torn')  # as a full disk leaves it
    assert oba(*search) == 0
    assert "Going on after 3 training jobs of 3" in capfd.readouterr().out
    assert [file.stat().st_mtime_ns for file in sorted(output.glob("jobs/*/log.txt"))] == ran  # none ran again
    assert len(ran) == 3
    assert oba("predict", "--model", output / "best" / "model", "--input", tmp_path / "test.csv") == 0
    (output / "journal").write_bytes(b"{torn}\n" + (output / "journal").read_bytes())
    assert oba(*search) == 1
    assert "journal, in which the search so far is kept, is damaged" in capfd.readouterr().err
    assert oba("tune", "kmeans", *data, "k=2..9", "--output", output) == 1
    assert "another search has begun there" in capfd.readouterr().err


def test_a_curve_has_a_point_a_round_and_the_objective_is_that_of_the_model(tmp_path):
    rows = np.random.default_rng(0).normal(size=(200, 4))
    rows[:, 0] = rows[:, 1] + rows[:, 2] > 0
    np.savetxt(tmp_path / "rows.csv", rows, delimiter=",")
    data = [
        "--train",
        tmp_path / "rows.csv",
        "--validation",
        tmp_path / "rows.csv",
        "--objective",
        "validation:logloss",
    ]
    given = ["objective=binary:logistic", "num_round=5", "max_depth=2,3", "--jobs", 1, "--output", tmp_path / "out"]
    assert oba("tune", "xgboost", *data, *given) == 0
    (told,) = json.loads((tmp_path / "out" / "tuning.json").read_text())
    report = json.loads((tmp_path / "out/best/output/data/report.json").read_text())
    assert len(told["curve"]) == 5
    assert told["objective"] == report["scores"]["validation:logloss"] == pytest.approx(told["curve"][-1], abs=1e-5)


def test_a_stop_ends_the_processes_and_the_same_command_goes_on(data, tmp_path):
    output = tmp_path / "out"
    arguments = ["tune", "kmeans", *data, "k=2..4", "epochs=20000,20001", "--parallel", 2, "--output", output]
    command = [sys.executable, "-m", "local", *map(str, arguments)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    logs = [output / "jobs" / f"{number:04d}" / "log.txt" for number in (1, 2)]
    deadline = time.monotonic() + 120
    while not all(log.is_file() and "#progress_metric" in log.read_text() for log in logs):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "(stopped)" in told
    running = [folder / "cmdline" for folder in Path("/proc").iterdir() if folder.name.isdecimal()]
    assert not any(str(output).encode() in file.read_bytes() for file in running if file.exists())


LINEAR = ("linear-learner", "predictor_type=binary_classifier", "wd=0..1")
MACHINES = ("factorization-machines", "predictor_type=binary_classifier", "num_factors=1..2", "--test", "{data}")
TEXTS = ("seq2seq", "rnn_num_hidden=8,16", "--validation", "{data}", "--channel=vocab={data}")
TREES = ("xgboost", "objective=binary:logistic", "num_round=1..2", "--validation", "{data}")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["kmeans", "k=5..50"], "give --test PATH, on which jobs of kmeans are compared, by the lowest of test:msd"),
        (["kmeans", "--test", "{data}", "k=5"], "there is nothing to search"),
        (["kmeans", "--test", "{data}", "kk=5..9"], "did you mean 'k'?"),
        (["kmeans", "--test", "{data}", "k=0..9"], "MinValue '0' of the range of hyperparameter [k] isn't valid"),
        (["kmeans", "--test", "{data}", "k=5..9:lag"], "the scale 'lag' is not one of auto, linear, log, reverse-log"),
        (["kmeans", "--test", "{data}", "k=5.."], "a range is written LOW..HIGH"),
        (["kmeans", "--test", "{data}", "k=2.5..9"], "k is an integer of at least 1"),
        (
            [
                "xgboost",
                "eta=0.1..0.9",
                "learning_rate=0.3",
                "--validation",
                "{data}",
                "--objective",
                "validation:rmse",
            ],
            "'learning_rate' is given twice: it is 'eta' by another name",
        ),
        (["kmeans", "--test", "{data}", "k=9..5"], "'k=9..5': a range is written LOW..HIGH, and 9 is the higher"),
        (
            ["linear-learner", "--test", "{data}", "l1=0.1..1", "predictor_type=regressor", "--objective", "test:acc"],
            "did you mean 'test:binary_classification_accuracy' or 'test:multiclass_accuracy'",
        ),
        (["kmeans", "--test", "{data}", "k=5..9", "--objective", "test:mse"], "did you mean 'test:msd' or 'test:ssd'?"),
        (
            [*LINEAR, "--validation", "{data}"],
            "as in --objective validation:objective_loss: the highest of validation:b",
        ),
        (
            [*LINEAR, "--validation", "{data}", "--objective", "validation:rmse"],
            "never logged: predictor_type is binary",
        ),
        ([*TREES, "--objective", "auc"], "did you mean 'validation:auc'"),
        ([*LINEAR, "--objective", "validation:recall"], "the objective validation:recall needs channel"),
        (["linear-learner", "--validation", "{data}", "wd=0..1"], "'predictor_type' which are required"),
        ([*MACHINES, "--objective", "test:rmse"], "test:rmse is never logged: predictor_type is binary_classifier"),
        ([*TEXTS, "--objective", "validation:bleu"], "validation:bleu is never logged: bleu_sample_size is 0"),
        ([*TREES, "--objective", "validation:merror"], "'merror' can only be applied to multi: objectives"),
        (["pca", "num_components=1..3"], "pca has no metric that a search could optimise"),
    ],
)
def test_what_cannot_be_searched_is_told_before_anything_is_made(arguments, told, data, tmp_path, capsys):
    output = tmp_path / "out"
    given = [one.replace("{data}", str(data[1])) for one in arguments]
    assert oba("tune", *given, "--train", data[1], "--output", output) in (1, 2)
    assert told in capsys.readouterr().err and not output.exists()


def test_why_all_jobs_failed_is_told(tmp_path, capsys):
    file = tmp_path / "few.csv"
    file.write_text("1,2\n3,4\n")
    output = tmp_path / "out"
    assert oba("tune", "kmeans", "--train", file, "--test", file, "k=5..9", "--jobs", 1, "--output", output) == 1
    assert "Error: job 1:" in capsys.readouterr().err


def test_a_request_of_a_tuning_job_with_files(data, tmp_path, capfd):
    def channel(name, address):
        source = {"S3DataType": "S3Prefix", "S3Uri": address}
        return {"ChannelName": name, "DataSource": {"S3DataSource": source}, "ContentType": "text/csv;label_size=0"}

    request = {
        "HyperParameterTuningJobName": "clusters",
        "HyperParameterTuningJobConfig": {
            "Strategy": "Grid",
            "ResourceLimits": {"MaxParallelTrainingJobs": 2},
            "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "test:msd"},
            "ParameterRanges": {
                "CategoricalParameterRanges": [{"Name": "init_method", "Values": ["random", "kmeans++"]}]
            },
        },
        "TrainingJobDefinition": {
            "AlgorithmSpecification": {"TrainingImage": "1.dkr.ecr.eu-west-1.amazonaws.com/kmeans:1"},
            "InputDataConfig": [
                channel("train", "s3://bucket/clusters/train.csv"),
                channel("test", f"file://{data[3]}"),
            ],
            "OutputDataConfig": {"S3OutputPath": f"file://{tmp_path}/artifacts"},
            "StaticHyperParameters": {"k": "4", "feature_dim": "2"},
        },
    }
    file = tmp_path / "request.json"
    file.write_text(json.dumps(request))
    stated = ("--data", f"s3://bucket/clusters={tmp_path}", "--output", tmp_path / "out")
    assert oba("run", file, *stated) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[-4] == "clusters: Completed" and float(lines[-3].split()[-1]) == pytest.approx(2, rel=0.3)
    best = lines[-3].split()[1]
    assert lines[-2:] == [
        f"Model   {tmp_path}/out/training-jobs/{best}/model",
        f"Next    oba predict --model {tmp_path}/out/training-jobs/{best}/model --input FILE",
    ]
    assert oba("run", file, *stated) == 1
    assert "take another --output, another HyperParameterTuningJobName, or remove" in capfd.readouterr().err
    assert oba("predict", "--model", tmp_path / "artifacts" / best / "output" / "model.tar.gz", "--input", data[3]) == 0
    file.write_text(json.dumps(request | {"HyperParameterTuningJobName": "other"}))
    assert oba("run", file, "--output", tmp_path / "out") == 1
    assert "say which do: --data s3://bucket/clusters/train.csv=PATH" in capfd.readouterr().err
    assert not (tmp_path / "out" / "tuning-jobs" / "other").exists()
    file.write_text("{}")
    assert oba("run", file, "--output", tmp_path / "out") == 1
