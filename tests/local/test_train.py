"""``oba train`` and ``oba predict`` on a toy algorithm whose model is the mean of its rows."""

import gzip
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import log_loss

import algorithms
from algorithms import registry
from container import extras
from tests.algorithms.test_hostile_artifacts import image
from tests.local import toy
from tests.local.toy import oba

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    with toy.registered(monkeypatch):
        yield


@pytest.fixture
def data(tmp_path):
    file = tmp_path / "data.csv"
    file.write_text("1,2\n3,4\n5,9\n")
    return file


@pytest.fixture
def standard_input(monkeypatch):
    def give(content):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))

    return give


def mean(output):
    return np.frombuffer((output / "model" / "model_algo-1").read_bytes(), np.float32).tolist()


# ---- a job ----------------------------------------------------------------------------------------------------------


def test_train_then_predict(data, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert oba("train", "toy", "--train", data, "epochs=2", "--test", data, "rate=0.1", "--output", "out") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-4:] == [
        "Model   out/model",
        "Report  out/output/data/report.html",
        f"Scores  test:msd {np.mean([8 + 5, 1, 4 + 16]):.4g}",  # squared distances from the mean (3, 5)
        "Next    oba predict --model out/model --input FILE",
    ]
    assert mean(Path("out")) == [3, 5]
    assert data.read_text() == "1,2\n3,4\n5,9\n"
    assert oba("predict", "--algorithm", "toy", "--model", "out/model", "--input", data) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["predictions"][1]["distance"] == 1.0  # from (3, 4) to (3, 5)
    assert captured.err == ""
    data.write_text("1,2,3\n")
    assert oba("predict", "--algorithm", "toy", "--model", "out/model", "--input", data) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(r"Error: .*3 columns.* 2 features.*\n", captured.err)  # once, and of one line


def test_lines_for_programs_come_with_verbose_alone_and_nothing_with_quiet(data, tmp_path, capsys):
    job = ("train", "toy", "--train", data, "epochs=30", "--output", tmp_path / "out")
    assert oba(*job) == 0
    normal = capsys.readouterr().out
    assert len(normal.splitlines()) < 10
    assert "#metrics" not in normal
    assert oba(*job, "--verbose") == 0
    assert len(re.findall("^#metrics ", capsys.readouterr().out, re.M)) > 30
    assert oba(*job, "--quiet") == 0
    assert capsys.readouterr() == ("", "")
    assert oba(*job, "--quiet", "--verbose") == 2


@pytest.mark.parametrize("objective", ["reg:squarederror", "multi:softprob"])
def test_without_a_validation_channel_the_scores_are_of_the_training_rows(tmp_path, capsys, objective):
    (tmp_path / "rows.csv").write_text("".join(f"{number % 3},{number % 3},1\n" for number in range(60)))
    more = ["num_class=3"] if objective.startswith("multi") else []
    command = ["train", "xgboost", "--train", tmp_path / "rows.csv", f"objective={objective}", "num_round=3", *more]
    assert oba(*command, "--output", tmp_path / "out") == 0
    metric = "mlogloss" if more else "rmse"
    (scores,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Scores")]
    assert re.fullmatch(rf"Scores  train:{metric} 0\.\d+", scores)


def test_the_scores_are_those_of_the_model_that_is_left(tmp_path, capsys):
    """Of the best round of each, where XGBoost stops early: not of the last, by which the log ends."""
    random = np.random.default_rng(0)
    rows = random.standard_normal((120, 4))
    labels = (rows[:, 0] + random.standard_normal(120) > 0).astype(int)
    for name, part in (("train", slice(0, 60)), ("validation", slice(60, 120))):
        np.savetxt(tmp_path / f"{name}.csv", np.column_stack([labels, rows])[part], "%.9g", ",")
    given = ["objective=binary:logistic", "eval_metric=logloss", "num_round=60", "early_stopping_rounds=15"]
    data = ["--train", tmp_path / "train.csv", "--validation", tmp_path / "validation.csv"]
    assert oba("train", "xgboost", *data, *given, "--output", tmp_path / "out") == 0
    model = algorithms.load(tmp_path / "out" / "model")
    expected = log_loss(labels[60:], model.predict(rows[60:].astype(np.float32))["score"])
    assert f"\nScores  validation:logloss {expected:.4g}\n" in capsys.readouterr().out


def test_a_job_that_fails_says_why_on_standard_error_and_returns_1(tmp_path, capsys):
    file = tmp_path / "data.csv"
    file.write_text("1,2\n3,x\n")
    for loudness in ((), ("--quiet",)):
        assert oba("train", "toy", "--train", file, "--output", tmp_path / "out", *loudness) == 1
        assert capsys.readouterr().err.startswith("Error: ")
    assert not (tmp_path / "out" / "model" / "model_algo-1").exists()


def test_checkpoints_are_kept_in_the_folder_that_is_named(data, tmp_path):
    job = ("train", "toy", "--train", data, "--output", tmp_path / "out")
    kept = tmp_path / "deep" / "kept"
    assert oba(*job, "--checkpoints", kept) == 0
    assert (tmp_path / "out" / "checkpoints").resolve() == kept
    (kept / "state").write_text("x")
    assert oba(*job) == 0
    assert not (tmp_path / "out" / "checkpoints").exists()
    assert (kept / "state").exists()


@pytest.mark.slow
def test_a_job_of_xgboost_goes_on_from_its_checkpoints(tmp_path, capsys):
    file = tmp_path / "rows.csv"
    np.savetxt(file, np.random.default_rng(0).normal(size=(50, 4)), delimiter=",")
    job = ("train", "xgboost", "--train", file, "--output", tmp_path / "out", "--checkpoints", tmp_path / "kept")
    assert oba(*job, "num_round=3") == 0
    capsys.readouterr()
    assert oba(*job, "num_round=5", "--verbose") == 0
    rounds = re.findall(r"^\[(\d+)\]", capsys.readouterr().out, re.M)
    assert rounds == ["3", "4"]


@pytest.mark.slow
def test_several_hosts_write_the_newest_format_as_one_does(tmp_path, monkeypatch):
    monkeypatch.setenv("SAGEMAKER_IMAGE_VERSION", "1.0-1")
    file = tmp_path / "rows.csv"
    np.savetxt(file, np.random.default_rng(0).normal(size=(50, 4)), delimiter=",")
    for hosts in (1, 2):
        job = ("train", "xgboost", "--train", file, "num_round=2", "--hosts", hosts, "--output", tmp_path / str(hosts))
        assert oba(*job) == 0
        assert (tmp_path / str(hosts) / "model" / "xgboost-model").read_bytes().startswith(b"{")  # a pickle does not


# ---- data as people have it -----------------------------------------------------------------------------------------


def test_a_folder_of_files_and_a_second_run_in_the_same_place(data, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    data.rename(folder / "a.csv")
    for _ in range(2):
        assert oba("train", "toy", "--train", folder, "--output", tmp_path / "out") == 0
    assert (folder / "a.csv").exists()


def test_patterns_and_several_paths_are_one_channel(tmp_path):
    for name, row in {"a/x.csv": "1,2", "b/x.csv": "3,4", "c/_x.csv": "8,9"}.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(f"{row}\n")
    pattern = ("--train", f"{tmp_path}/[ab]/*.csv")
    assert oba("train", "toy", *pattern, "--train", tmp_path / "c/_x.csv", "--output", tmp_path / "out") == 0
    assert mean(tmp_path / "out") == [4, 5]


def test_standard_input_is_a_channel_and_a_request(data, tmp_path, standard_input, capsys):
    standard_input(data.read_bytes())
    out = tmp_path / "out"
    assert oba("train", "toy", "--train", "-", "--content-type", "text/csv;label_size=0", "--output", out) == 0
    assert mean(out) == [3, 5]
    assert (out / "input" / "data" / "train" / "standard-input").read_bytes() == data.read_bytes()
    capsys.readouterr()
    predict = ("predict", "--algorithm", "toy", "--model", out / "model", "--input", "-")
    for body in (data.read_bytes(), gzip.compress(data.read_bytes())):
        standard_input(body)
        assert oba(*predict, "--content-type", "text/csv") == 0
        assert json.loads(capsys.readouterr().out)["predictions"][1]["distance"] == 1.0
    standard_input(b"1,2\n")
    assert oba(*predict) == 1
    assert "use --content-type text/csv" in capsys.readouterr().err
    assert oba("train", "toy", "--train", "-", "--test", "-", "--output", out) == 2


def test_gzip_files_are_data(data, tmp_path):
    packed = tmp_path / "data.csv.gz"
    packed.write_bytes(gzip.compress(data.read_bytes()))
    assert oba("train", "toy", "--train", packed, "--output", tmp_path / "out") == 0
    assert mean(tmp_path / "out") == [3, 5]


def test_gzip_files_are_requests(data, tmp_path, capsys):
    packed = tmp_path / "data.csv.gz"
    packed.write_bytes(gzip.compress(data.read_bytes()))
    out = tmp_path / "out"
    assert oba("train", "toy", "--train", data, "--output", out, "--quiet") == 0
    assert oba("predict", "--algorithm", "toy", "--model", out / "model", "--input", packed) == 0
    assert json.loads(capsys.readouterr().out)["predictions"][1]["distance"] == 1.0
    packed.write_bytes(packed.read_bytes()[:-9])
    assert oba("predict", "--algorithm", "toy", "--model", out / "model", "--input", packed) == 1
    assert f"--input {packed}: the gzip data ends early" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--header"]])
def test_gzip_files_that_are_cut_short_are_named_by_all_ways_of_reading_them(options, tmp_path, capsys):
    """Where columns have names, it was said that the user had stopped the command."""
    rows = "".join(f"{number / 7},{number / 11}\n" for number in range(5000))
    packed = gzip.compress(f"{'a,b' if options else '1,2'}\n{rows}".encode())
    (tmp_path / "data.csv.gz").write_bytes(packed[: len(packed) // 2])
    assert oba("train", "toy", "--train", tmp_path / "data.csv.gz", *options, "--output", tmp_path / "out") == 1
    assert "data.csv.gz: the gzip data ends early; was the file cut short?" in "".join(capsys.readouterr())


def test_other_channels_and_an_explicit_content_type(data, tmp_path):
    rows = data.rename(tmp_path / "rows")
    arguments = ("--channel", f"test={rows}", "--content-type", "text/csv", "--output", tmp_path / "out")
    assert oba("train", "toy", "--train", rows, *arguments) == 0


def test_a_model_archive_answers_like_its_folder(data, tmp_path, capsys):
    out = tmp_path / "out"
    assert oba("train", "toy", "--train", data, "--output", out, "-q") == 0
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as archive:
        archive.add(out / "model" / "model_algo-1", "model_algo-1")
    answers = []
    for model in (out / "model", tmp_path / "model.tar.gz"):
        assert oba("predict", "--algorithm", "toy", "--model", model, "--input", data) == 0
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1] != ""


# ---- what is wrong is said, and nothing is touched ------------------------------------------------------------------


def test_an_output_folder_with_somebody_elses_files_is_left_alone(data, tmp_path, capsys):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "precious").write_text("x")
    assert oba("train", "toy", "--train", data, "--output", tmp_path) == 1
    assert "model/ is there already, and not of an earlier run" in capsys.readouterr().err
    assert (tmp_path / "model" / "precious").exists()


def test_an_earlier_runs_own_files_are_no_data_of_the_run_that_takes_its_place(data, tmp_path, capsys):
    """They would be taken away before they are read: a model, with the work that is in it, among them."""
    out = tmp_path / "out"
    assert oba("train", "toy", "--train", data, "--output", out, "-q") == 0
    for source in (out / "model", out / "model" / "model_algo-1", out / "input" / "data" / "train"):
        assert oba("train", "toy", "--train", source, "--content-type", "text/csv", "--output", out) == 1
        assert f"channel 'train': {source} is of the run whose place this one takes" in capsys.readouterr().err
    assert mean(out) == [3, 5]


def test_an_output_folder_within_a_folder_of_data_is_refused(data, tmp_path, capsys):
    for out in (tmp_path, tmp_path / "out"):
        assert oba("train", "toy", "--train", tmp_path, "--output", out) == 1
        assert f"channel 'train': --output {out} lies in the folder {tmp_path}" in capsys.readouterr().err
    assert not (tmp_path / "input").exists()


def test_a_folder_without_data_is_told_as_such(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert oba("train", "toy", "--train", tmp_path / "empty", "--output", tmp_path / "out") == 1
    assert f"channel 'train': there are no data files in {tmp_path / 'empty'}" in capsys.readouterr().err


def test_the_next_command_can_be_pasted_whatever_the_folder_is_called(data, tmp_path, capsys):
    out = tmp_path / "it's mine"
    assert oba("train", "toy", "--train", data, "--output", out) == 0
    shown = capsys.readouterr().out.splitlines()[-1]
    assert shlex.split(shown.removeprefix("Next    ")) == [
        "oba",
        "predict",
        "--model",
        f"{out}/model",
        "--input",
        "FILE",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--train", "nowhere.csv"], 1, "channel 'train': there is no nowhere.csv"),
        (["--train", "{folder}/dat.csv"], 1, "did you mean {folder}/data.csv?"),
        (["--train", "{folder}/*.pbr"], 1, "channel 'train': no file matches {folder}/*.pbr"),
        (["--train", "{data}", "{unknown}"], 2, "its channel is to be named: --train {unknown}. A pattern"),
        (
            ["--train", "{data}", "nowhere"],
            2,
            "'nowhere': expected a hyperparameter as NAME=VALUE, and data as --train",
        ),
        (["--train", "{data}", "epoch=3"], 2, "toy has no hyperparameter 'epoch'; did you mean 'epochs'?"),
        (["--train", "{data}", "epochs=1", "epochs=2"], 2, "hyperparameter 'epochs' is given twice: 1 and 2"),
        (["--train", "{data}", "epochs=x"], 2, "Hyperparameter 'epochs': 'x' is not an integer from 1 to 100"),
        (["--channel", "train"], 2, "'train': expected NAME=PATH"),
        (["--train", "{data}", "--channel", "tset={data}"], 2, "toy has no channel 'tset'; did you mean 'test'?"),
        (["--train", "{data}", "--validation", "{data}"], 2, "toy has no channel 'validation'; there are: test, train"),
        (["--test", "{data}"], 2, "toy needs channel 'train': --train PATH (Rows.)"),
        (["--train", "{unknown}"], 1, "does not tell the format; use --content-type"),
        (["--train", "{folder}/a.parquet"], 1, "{folder}/a.parquet is not a Parquet file"),
        (["--tran", "{data}"], 2, "Did you mean '--train'?"),
    ],
)
def test_what_is_wrong_with_the_command_is_said_and_an_earlier_model_stays(
    data, tmp_path, capsys, arguments, code, text
):
    assert oba("train", "toy", "--train", data, "--output", tmp_path / "out") == 0
    capsys.readouterr()
    (tmp_path / "data.xyz").write_text("1")
    (tmp_path / "a.parquet").write_text("1")
    names = {"data": data, "unknown": tmp_path / "data.xyz", "folder": tmp_path}
    given = [argument.format(**names) for argument in arguments]
    assert oba("train", "toy", *given, "--output", tmp_path / "out") == code
    assert text.format(**names) in capsys.readouterr().err
    assert mean(tmp_path / "out") == [3, 5]


def test_required_hyperparameters_are_explained(data, tmp_path, capsys):
    assert oba("train", "kmeans", "--train", data, "--output", tmp_path / "out") == 2
    assert (
        "kmeans needs more hyperparameters:\n  k=VALUE  an integer of at least 1: Number of" in capsys.readouterr().err
    )
    assert not (tmp_path / "out" / "input").exists()


@pytest.mark.parametrize(("arguments", "text"), [(["k=0"], "'k': '0' is not an integer"), ([], "k=VALUE  an integer")])
def test_hyperparameters_are_checked_before_the_data_is_read(tmp_path, capsys, arguments, text):
    (tmp_path / "data.csv").write_text("a,label\nred,1\n")  # which would be refused
    given = ["--train", tmp_path / "data.csv", "--label", "label", *arguments, "--output", tmp_path / "out"]
    assert oba("train", "kmeans", *given) == 2
    assert text in capsys.readouterr().err


def test_the_missing_packages_of_an_extra_are_named_before_anything_is_done(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(registry.ALGORITHMS, "toy", registry.Entry("tests.container.toy:Toy", extra="seq2seq"))
    declared = [
        "numpy>=2",
        'sacrebleu-not-there>=2.5; extra == "seq2seq"',
        'open-builtin-algorithms[ntm]; extra == "seq2seq"',
        'keras-not-there>=3; extra == "ntm"',
        'pytest-cpu>=3; extra == "ntm"',  # another build of it, pytest, is there
        'other>=1; extra == "xgboost"',
    ]
    monkeypatch.setattr(extras.metadata, "requires", lambda _: declared)
    assert oba("train", "toy", "--train", data, "--output", tmp_path / "out") == 1
    expected = "needs keras-not-there and sacrebleu-not-there, not installed here: pip install "
    assert expected + "'.[seq2seq]' in a clone of this project" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_every_extra_of_the_registry_is_one_of_the_distribution():
    for entry in registry.ALGORITHMS.values():
        if entry.extra is not None:
            assert list(extras._packages(entry.extra))


@pytest.mark.slow
def test_a_reader_that_goes_away_does_not_end_the_job(data, tmp_path):
    command = [sys.executable, "-m", "local", "train", "kmeans", "--train", str(data), "k=2", "epochs=4", "--verbose"]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "out")], cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, timeout=300
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "out" / "model" / "model_algo-1").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("accept", ["application/json", "application/jsonlines"])
def test_an_answer_ends_its_line_on_a_terminal_alone(tmp_path, accept):
    """Of an image: its answer has no line end of its own. What is piped is the answer's bytes."""
    model, picture = tmp_path / "model", tmp_path / "picture.png"
    model.mkdir()
    image(model)
    Image.new("RGB", (16, 16)).save(picture)
    command = [sys.executable, "-m", "local", "predict", "--model", model, "--input", picture, "--accept", accept]
    piped = subprocess.run(command, capture_output=True, check=True).stdout
    leader, follower = os.openpty()
    subprocess.run(command, stdout=follower, check=True)
    shown = os.read(leader, 1 << 16)
    os.close(leader)
    os.close(follower)
    assert json.loads(piped) and shown == piped.removesuffix(b"\n") + b"\r\n"
