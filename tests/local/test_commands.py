"""The command as a whole: help, versions, completion, exit codes."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

from local.commands import oba as group
from tests.local import toy
from tests.local.toy import oba

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
        (["serve"], "Missing option '--model'"),
        (["serve", "--model", "nowhere"], "'nowhere' does not exist"),
        (["batch", "--input", "a", "--output", "b"], "give either --model or --url"),
        (["tokens", "--source", "nowhere", "--target", "nowhere", "--output", "b"], "'nowhere' does not exist"),
    ],
)
def test_wrong_usage_is_2_and_answered_by_the_nearest_name(capsys, arguments, text):
    assert oba(*arguments) == 2
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
        ("oba batch --split-type Rec", "RecordIO"),
    ],
)
def test_the_shell_completes(words, expected):
    # What bash's completion function sets: see click's documentation of shell completion.
    variables = {"_OBA_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    command = [sys.executable, "-c", "from local.__main__ import main; main()"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True)
    assert f"plain,{expected}" in done.stdout.split()
