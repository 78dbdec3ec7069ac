"""The laptop's runner on a toy algorithm."""

import io
import json
import logging

import numpy as np
import pytest

from algorithms import registry
from local import __main__ as commands
from local.runner import ProgressBar


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setitem(registry.ALGORITHMS, "toy", registry.Entry("tests.container.toy:Toy"))
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def data(tmp_path):
    file = tmp_path / "data.csv"
    file.write_text("1,2\n3,4\n5,9\n")
    return file


def local(*arguments):
    return commands.main([*map(str, arguments)])


def test_train_then_predict(data, tmp_path, capsys):
    out = tmp_path / "out"
    assert local("train", "--algorithm", "toy", "--train", data, "-p", "epochs=2", "--output", out) == 0
    assert "completed 100.0 % of epochs" in capsys.readouterr().out
    assert np.frombuffer((out / "model" / "model_algo-1").read_bytes(), np.float32).tolist() == [3, 5]
    assert data.read_text() == "1,2\n3,4\n5,9\n"
    assert local("predict", "--algorithm", "toy", "--model", out / "model", "--input", data) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["predictions"][1]["distance"] == 1.0  # from (3, 4) to (3, 5)


def test_a_folder_of_files_and_a_second_run_in_the_same_place(data, tmp_path):
    out = tmp_path / "out"
    folder = tmp_path / "files"
    folder.mkdir()
    data.rename(folder / "a.csv")
    for _ in range(2):
        assert local("train", "--algorithm", "toy", "--train", folder, "--output", out) == 0
    assert (folder / "a.csv").exists()


def test_an_output_folder_with_somebody_elses_files_is_left_alone(data, tmp_path, capsys):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "precious").write_text("x")
    assert local("train", "--algorithm", "toy", "--train", data, "--output", tmp_path) == 1
    assert "model/ is there already, and not of an earlier run" in capsys.readouterr().err
    assert (tmp_path / "model" / "precious").exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--train", "nowhere.csv"], "channel 'train': there is no nowhere.csv"),
        (["--train", "{data}", "-p", "k"], "--hyperparameter k: expected NAME=VALUE"),
        (["--channel", "train"], "--channel train: expected NAME=PATH"),
        (["--train", "{odd}"], "does not tell the format; use --content-type"),
    ],
)
def test_what_is_wrong_with_the_command_is_said(data, tmp_path, capsys, arguments, text):
    (tmp_path / "odd.xyz").write_text("1")
    given = [argument.format(data=data, odd=tmp_path / "odd.xyz") for argument in arguments]
    assert local("train", "--algorithm", "toy", *given, "--output", tmp_path / "out") == 1
    assert text in capsys.readouterr().err


def test_a_job_that_fails_says_why_and_returns_1(data, tmp_path, capsys):
    out = tmp_path / "out"
    assert local("train", "--algorithm", "toy", "--train", data, "-p", "epochs=x", "--output", out) == 1
    assert "Hyperparameter 'epochs': 'x' is not an integer from 1 to 100" in capsys.readouterr().out


def test_other_channels_and_an_explicit_content_type(data, tmp_path):
    odd = data.rename(tmp_path / "rows")
    arguments = ("--channel", f"test={odd}", "--content-type", "text/csv", "--output", tmp_path / "out")
    assert local("train", "--algorithm", "toy", "--train", odd, *arguments) == 0


def test_the_bar_stays_at_the_foot_while_log_lines_scroll():
    terminal = io.StringIO()
    bar = ProgressBar(terminal)
    bar.rows(1234)
    bar.steps(1, 4)
    bar.write("a line\n")
    bar.flush()
    assert bar.line().startswith("[######..................] 1 of 4 epochs, 1,234 rows, ")
    drawn = terminal.getvalue().split("\r\x1b[K")
    assert drawn[-2] == "a line\n"
    assert drawn[-1] == bar.line()
    bar.steps(7, None)
    assert bar.line().startswith("round 7, ")
    bar.close()
    assert terminal.getvalue().endswith("\r\x1b[K")
