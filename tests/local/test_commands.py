import json

import pytest

from algorithms import registry
from local import __main__ as commands


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setitem(registry.ALGORITHMS, "toy", registry.Entry("tests.container.toy:Toy"))


def test_describe_prints_the_training_specification(capsys):
    assert commands.main(["describe", "--algorithm", "toy", "--image", "registry/toy:1"]) == 0
    assert json.loads(capsys.readouterr().out)["TrainingImage"] == "registry/toy:1"


def test_describe_of_nothing_known(capsys):
    assert commands.main(["describe", "--algorithm", "svm"]) == 1
    assert "there is no algorithm 'svm'" in capsys.readouterr().err


def test_tables_of_one_algorithm(capsys):
    assert commands.main(["tables", "--algorithm", "toy"]) == 0
    assert capsys.readouterr().out.startswith("### toy\n")
