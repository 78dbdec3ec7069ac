"""A built wheel, installed as ``pip`` and ``pipx`` do: alone in an environment, away from the sources."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.interop import environments

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = ("recordio", "algorithms", "container", "local")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of a copy of the sources, which building would leave files in."""
    base = tmp_path_factory.mktemp("wheel")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, base / "source" / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, base / "source")
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", base / "made"]
    command = [sys.executable, "-m", "pip", "wheel", *options, base / "source"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "CFLAGS": "-O0"})  # it is quicker
    assert done.returncode == 0, done.stderr
    (made,) = (base / "made").iterdir()
    return made


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Runs a command of the wheel in an environment that has it and what it asks for, and nothing else; as pipx does,
    through a link in a folder on the path.

    What it asks for is in an environment that is kept, and seen from a new one: processes that run these tests at the
    same time do not install into the same.
    """
    needed = environments.python_of("wheel-dependencies", [*PROJECT["dependencies"], "pip"])
    home = tmp_path_factory.mktemp("home")
    venv.create(home / "venv", symlinks=True)
    python = home / "venv" / "bin" / "python"
    where = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(subprocess.run(where, check=True, capture_output=True, text=True).stdout.strip())
    (packages / "needed.pth").write_text(str(needed.parents[1] / packages.relative_to(home / "venv")))
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    install = [*pip, "install", "--quiet", "--no-index", "--no-deps", "--no-compile", wheel]
    subprocess.run(install, check=True, timeout=900)
    (home / "bin").mkdir()
    for name in ("oba", "train", "serve"):
        (home / "bin" / name).symlink_to(python.parent / name)

    def run(*words, code=0):
        variables = {"HOME": str(home), "PATH": f"{home / 'bin'}:/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
        command = [str(word) for word in words]
        if command[0] == "python":
            command[0] = str(python)
        done = subprocess.run(command, cwd=home, env=variables, capture_output=True, text=True, timeout=900)
        assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    return run


def test_the_wheel_holds_the_packages_their_types_and_the_licence(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    information = f"open_builtin_algorithms-{PROJECT['version']}.dist-info"
    assert {name.partition("/")[0] for name in names} == {*PACKAGES, information}
    assert {f"{package}/py.typed" for package in PACKAGES} <= {*names}
    assert f"{information}/licenses/LICENSE" in names
    modules = {str(file.relative_to(ROOT)) for package in PACKAGES for file in (ROOT / package).rglob("*.py")}
    assert modules <= {*names}


def test_what_is_installed_is_all_that_it_needs(installed):
    assert "No broken requirements" in installed("python", "-m", "pip", "check")
    assert installed("oba", "--version") == f"oba, version {PROJECT['version']}\n"
    assert "usage: serve" in installed("serve", "--help")
    there = installed("python", "-c", "import recordio; print(recordio.__file__)")
    assert str(ROOT / "recordio") not in there


def test_models_train_answer_and_load(installed, tmp_path):
    rows = np.repeat([[0, 0], [9, 9]], 20, axis=0)
    np.savetxt(tmp_path / "rows.csv", rows, fmt="%d", delimiter=",")
    np.savetxt(tmp_path / "labelled.csv", np.column_stack([rows[:, 0] > 0, rows]), fmt="%d", delimiter=",")
    linear = ("linear-learner", "labelled.csv", "predictor_type=regressor")
    for name, file, *given in (("kmeans", "rows.csv", "k=2"), linear):
        out = tmp_path / name
        installed("oba", "train", name, *given, "--train", tmp_path / file, "--output", out, "--quiet")
        answer = installed("oba", "predict", "--model", out / "model", "--input", tmp_path / "rows.csv")
        assert answer.count("closest_cluster" if name == "kmeans" else "score") == len(rows)
    program = "import sys, algorithms; print(algorithms.load(sys.argv[1]).predict([[9, 9]]))"
    assert "'distance_to_cluster': array([0.]" in installed("python", "-c", program, tmp_path / "kmeans" / "model")


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["up"], "local"),
        (["tune", "kmeans", "k=2..3", "--train", "rows.csv", "--output", "out"], "local"),
        (["export", "--model", "/", "--to", "onnx"], "export"),
        (["train", "xgboost", "num_round=2", "--train", "rows.csv", "--output", "out"], "xgboost"),
        (["train", "ntm", "--train", "rows.csv", "--output", "out"], "ntm"),
    ],
)
def test_what_an_extra_brings_is_named(installed, words, extra):
    assert f"pip install '.[{extra}]' in a clone of this project" in installed("oba", *words, code=1)
