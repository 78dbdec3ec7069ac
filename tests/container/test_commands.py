import os
import subprocess
import sys
from pathlib import Path

import pytest

from algorithms import registry
from container import __main__ as commands

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setitem(registry.ALGORITHMS, "toy", registry.Entry("tests.container.toy:Toy"))


def test_train_help_lists_the_hyperparameters_of_the_chosen_algorithm(monkeypatch, capsys):
    monkeypatch.setenv("ALGORITHM", "toy")
    with pytest.raises(SystemExit, match="0"):
        commands.train(["--help"])
    assert "feature_dim\n      an integer of at least 1; required" in capsys.readouterr().out


def test_train_help_without_an_algorithm_names_them(monkeypatch, capsys):
    monkeypatch.delenv("ALGORITHM", raising=False)
    with pytest.raises(SystemExit, match="0"):
        commands.train(["-h"])
    assert "set it to one of " in capsys.readouterr().out


def test_serve_help_says_what_it_does(capsys):
    with pytest.raises(SystemExit, match="0"):
        commands.serve(["--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert told.startswith("usage: serve [-h] Answer requests over HTTP with the model in /opt/ml/model ")


def test_train_takes_no_other_argument(monkeypatch, capsys):
    monkeypatch.setenv("ALGORITHM", "toy")
    with pytest.raises(SystemExit, match="2"):
        commands.train(["train.csv"])
    assert "unrecognized arguments: train.csv" in capsys.readouterr().err


def test_bad_variables_end_in_the_failure_file(tmp_path):
    variables = {**os.environ, "SAGEMAKER_BASE_DIR": str(tmp_path), "SAGEMAKER_BIND_TO_PORT": "x"}
    command = [sys.executable, "-m", "container", "train"]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout.startswith("Docker entrypoint called with argument(s): train\n")
    assert (tmp_path / "output" / "failure").read_text() == (
        "ClientError: Environment variable SAGEMAKER_BIND_TO_PORT: 'x' is not an integer from 1 to 65535 "
        "(caused by ConfigurationError)\n"
    )
