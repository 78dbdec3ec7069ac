import os
import subprocess
import sys
from pathlib import Path

import pytest

from algorithms import registry
from container import __main__ as commands
from tests.opt_ml import OptMl
from tests.server import running

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


def test_neither_training_nor_serving_xgboost_imports_scikit_learn(tmp_path):
    job = OptMl(tmp_path).hyperparameters(num_round=2, objective="reg:squarederror")
    job.channel("train", "".join(f"{row % 3},{row % 2},{row % 3}\n" for row in range(60)).encode(), "text/csv")
    listed = {"PYTHONPROFILEIMPORTTIME": "1"}  # each module that is imported becomes a line of the log
    done = job.train("xgboost", **listed)
    assert done.code == 0, done.log
    with running(tmp_path, fresh=True, ALGORITHM="xgboost", **listed) as server:
        assert server.invoke(b"1,2").status == 200
    for log in (done.log, server.log):
        imported = {line.rpartition("|")[2].strip() for line in log.splitlines() if line.startswith("import time:")}
        assert "xgboost.core" in imported
        assert imported.isdisjoint({"sklearn.base", "scipy.stats", "pandas"})


def test_what_is_kept_from_a_command_can_be_imported_after_it():
    code = (
        "from container.imports import without_unused_packages as without\n"
        "with without():\n    import xgboost.compat\n"
        "import sklearn.base\nassert not xgboost.compat.SKLEARN_INSTALLED"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("told", ["variable", "file", "nothing", "a broken file"])
def test_the_backend_of_keras_is_not_kept_from_a_command(told, tmp_path):
    """JAX is, where Keras computes with TensorFlow, which would import it."""
    file = {"file": '{"backend": "jax"}', "a broken file": "{"}.get(told)
    if file:
        (tmp_path / "keras.json").write_text(file)
    variables = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    variables |= {"KERAS_HOME": str(tmp_path), **({"KERAS_BACKEND": "jax"} if told == "variable" else {})}
    code = (
        "import sys\nfrom container.imports import without_unused_packages as without\n"
        "with without(): print('jax' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=variables, capture_output=True, text=True)
    assert done.stdout == f"{told not in ('variable', 'file')}\n", done.stderr


def test_training_ends_without_the_interpreters_teardown(tmp_path):
    """TensorFlow's takes a processor second and more; what was logged is there, although the pipe was buffered."""
    program = (
        "import atexit, sys\nfrom container.__main__ import main\n"
        "atexit.register(print, 'torn down')\nsys.exit(main(['train']))"
    )
    variables = {**os.environ, "SAGEMAKER_BASE_DIR": str(tmp_path), "ALGORITHM": "none"}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=variables, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout.startswith("Docker entrypoint called with argument(s): train\n")
    assert "'none'" in done.stdout
    assert "torn down" not in done.stdout


@pytest.mark.parametrize("predictor", ["regressor", "none"])
@pytest.mark.parametrize("streams", [">&- 2>&-", "<&- >&-", "> /dev/full"])
def test_a_job_does_not_need_anybody_who_reads_its_log(streams, predictor, tmp_path):
    """Without standard output, or with a full disk behind it: the same model, or the same failure file."""
    job = OptMl(tmp_path).hyperparameters(predictor_type=predictor)
    job.channel("train", "".join(f"{2 * x},{x},{x % 3}\n" for x in range(40)).encode(), "text/csv")
    variables = {**os.environ, "SAGEMAKER_BASE_DIR": str(tmp_path), "ALGORITHM": "linear-learner"}
    command = f"exec {sys.executable} -m container train {streams}"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, env=variables, capture_output=True, text=True)
    assert not done.stderr
    assert done.returncode == (0 if predictor == "regressor" else 1)
    if predictor == "regressor":
        assert [file.name for file in job.paths.model.iterdir()] == ["model_algo-1"]
    else:
        assert job.paths.failure.read_text().startswith("ClientError: Hyperparameter 'predictor_type': 'none'")
