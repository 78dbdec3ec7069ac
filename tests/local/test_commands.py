"""The command as a whole: help, versions, completion, exit codes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from pathlib import Path

import click
import numpy as np
import pytest

import algorithms
from algorithms.common import mxnet_files
from local.commands import oba as group
from tests.local import toy
from tests.local.toy import oba
from tests.server import free_port

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    with toy.registered(monkeypatch):
        yield


def test_describe_prints_the_training_specification(capsys):
    assert oba("describe", "toy", "--image", "registry/toy:1") == 0
    assert json.loads(capsys.readouterr().out)["TrainingImage"] == "registry/toy:1"
    assert oba("describe", "toy") == 0
    assert json.loads(capsys.readouterr().out)["TrainingImage"] == "toy:latest"


def test_describe_for_people(capsys):
    assert oba("describe", "toy", "--text") == 0
    assert "  rate\n      a number above 0 below 1; default 0.5\n      A rate | with a bar." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["describe", "svm"], "there is no algorithm 'svm'; there are: "),
        (["describe", "k-mean"], "did you mean 'kmeans'?"),
        (["describe", "linear_learner"], "did you mean 'linear-learner'?"),
        (["trian"], "There is no command 'trian'; did you mean 'train'?"),
        (["kmeans"], "'kmeans' is an algorithm, and what to do with it comes first: oba train kmeans …"),
        (["train", "kmeans", "--k", "10"], "No such option '--k'; a hyperparameter is written k=VALUE, without dashes"),
        (["train", "xgboost", "--num-round=10"], "a hyperparameter is written num_round=VALUE"),
        (["train", "kmeans", "--num-round=10"], "No such option '--num-round'."),
        (["serve"], "Missing option '--model'"),
        (["serve", "--model", "nowhere"], "'nowhere' does not exist"),
        (["batch", "--input", "a", "--output", "b"], "give either --model or --url"),
        (
            [
                "train",
                "xgboost",
                "--train",
                __file__,
                "--content-type",
                "text/libsvm",
                "objective=binary:logistics",
                "num_round=1",
                "--output",
                "{out}",
            ],
            "; did you mean 'binary:logistic'?",
        ),
        (["tokens", "--source", "nowhere", "--target", "nowhere", "--output", "b"], "'nowhere' does not exist"),
    ],
)
def test_wrong_usage_is_2_and_answered_by_the_nearest_name(capsys, tmp_path, arguments, text):
    assert oba(*(tmp_path / "out" if one == "{out}" else one for one in arguments)) == 2
    assert text in capsys.readouterr().err


def test_the_version_is_that_of_the_distribution(capsys):
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert oba("--version") == 0
    assert capsys.readouterr().out == f"oba, version {version}\n"


@pytest.mark.parametrize("name", sorted(group.commands))
def test_every_option_of_every_command_has_help(name, capsys):
    options = [one for one in group.commands[name].params if isinstance(one, click.Option)]
    assert [one.name for one in options if not one.help] == []
    assert oba(name, "--help") == 0
    assert capsys.readouterr().out.startswith(f"Usage: oba {name} ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("oba tr", "train"),
        ("oba train kme", "kmeans"),
        ("oba train kmeans half_life", "half_life_time_size="),
        ("oba train kmeans k = 10 init_method =", "kmeans++"),
        ("oba train kmeans k = 10 init_method = ran", "random"),
        ("oba train kmeans k = 10 init", "init_method="),
        ("oba train xgboost objective = reg : squaredl", "squaredlogerror"),
        ("oba train kmeans init_method=ran", "init_method=random"),
        ("oba batch --split-type Rec", "RecordIO"),
    ],
)
def test_the_shell_completes(words, expected):
    # What bash's completion function sets: see click's documentation of shell completion.
    variables = {"_OBA_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    command = [sys.executable, "-c", "from local.__main__ import main; main()"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True)
    assert f"plain,{expected}" in done.stdout.split()


@pytest.fixture
def model(tmp_path):
    """A folder with a model of k-means."""
    mxnet_files.save(tmp_path / "model_algo-1", [np.eye(3, 2, dtype=np.float32)])
    return tmp_path


def serve(model, *options, **variables):
    command = [sys.executable, "-m", "local", "serve", "--model", str(model), *options]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **variables}, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_neither_train_nor_predict_imports_scikit_learn(tmp_path):
    """XGBoost would, and Keras: a second of processor time, where a user has it."""
    data = tmp_path / "data.csv"
    data.write_text("".join(f"{row % 3},{row % 2},{row % 3}\n" for row in range(60)))
    request = tmp_path / "request.csv"
    request.write_text("1,2\n")
    train = ("train", "xgboost", "--train", data, "num_round=2", "--output", tmp_path / "out")
    for command in (train, ("predict", "--model", tmp_path / "out" / "model", "--input", request)):
        # Each module that is imported becomes a line on standard error.
        program = [sys.executable, "-X", "importtime", "-m", "local", *map(str, command)]
        done = subprocess.run(program, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert "xgboost.core" in imported
        assert "sklearn.base" not in imported


@pytest.mark.slow
def test_serve_listens_on_this_machine_alone_and_logs_as_it_is_told(model):
    port = free_port()
    with serve(model, "--port", str(port), OBA_LOG_FORMAT="json") as process:
        lines = []
        for line in process.stdout:
            lines.append(json.loads(line))
            if "Serving on" in lines[-1]["message"]:
                break
        address = lines[-1]["message"].split()[2]
        asked = urllib.request.Request(f"http://{address}/invocations", b"1,0\n", {"Content-Type": "text/csv"})
        for _ in range(100):
            try:
                answer = json.loads(urllib.request.urlopen(asked, timeout=30).read())
                break
            except OSError:  # it is about to listen
                time.sleep(0.05)
        with socket.socket() as other, pytest.raises(ConnectionRefusedError):
            other.connect(("127.0.0.2", port))  # another address of this machine
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
    assert address == f"127.0.0.1:{port}"
    assert answer["predictions"][0]["closest_cluster"] == 0
    assert process.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(("host", "why"), [("127.0.0.1", "in use"), ("192.0.2.1", "assign"), ("no.invalid", "known")])
def test_where_serve_cannot_listen_it_says_so_in_one_line(model, host, why):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with serve(model, "--host", host, "--port", str(port)) as process:
            (line,) = process.stdout.read().splitlines()
    assert process.returncode == 1
    assert f"Customer Error: cannot listen on {host}:{port}: " in line
    assert why in line


def test_the_help_of_each_command_fits_its_line_and_algorithms_are_named(capsys):
    assert oba("--help") == 0
    told = capsys.readouterr().out
    assert "..." not in told.partition("Commands:")[2] and all(f"\n  {name} " in told for name in group.commands)
    assert oba("train", "--help") == 0
    assert "factorization-machines" in capsys.readouterr().out
    assert oba("train") == 2
    assert "Missing argument 'ALGORITHM'. There are: factorization-machines" in capsys.readouterr().err


def test_a_model_is_named_by_the_folder_of_its_job_too(tmp_path, capsys):
    rows, job = tmp_path / "rows.csv", tmp_path / "job"
    rows.write_text("1,2\n3,4\n")
    assert oba("train", "kmeans", "--train", rows, "k=2", "--output", job, "-q") == 0
    answers = []
    for path in (job, job / "model"):
        capsys.readouterr()
        assert oba("predict", "--model", path, "--input", rows) == 0
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1] and '"closest_cluster"' in answers[0]
    assert algorithms.load(job).predict([[1, 2]])["closest_cluster"].shape == (1,)
    for command in (("predict", "--input", rows), ("export", "--to", "json", "--output", tmp_path / "model.json")):
        assert oba(command[0], "--model", tmp_path, *command[1:]) == 1
        told = capsys.readouterr().err
        assert "There is a model in its folder 'job/model'" in told and "environment variable" not in told


def test_a_suffix_of_tabs_is_told_what_to_say(tmp_path, capsys):
    rows = tmp_path / "rows.tsv"
    rows.write_text("1\t2\n3\t4\n")
    assert oba("train", "kmeans", "--train", rows, "k=2", "--output", tmp_path / "out") == 1
    assert "use --content-type 'text/csv; delimiter=tab'" in capsys.readouterr().err


def test_a_request_that_is_not_in_its_charset_is_told_so(tmp_path, capsys):
    rows, job = tmp_path / "rows.csv", tmp_path / "job"
    rows.write_text("1,2\n3,4\n")
    assert oba("train", "kmeans", "--train", rows, "k=2", "--output", job, "-q") == 0
    for options in ([], ["--header"]):
        stated = ["--content-type", "text/csv;charset=utf-16", *options]
        assert oba("predict", "--model", job, "--input", rows, *stated) == 1
        assert "start with BOM; bytes without that mark have a charset" in capsys.readouterr().err
