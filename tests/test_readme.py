"""The README as a newcomer reads it: its commands run, and its tables are those of the declarations."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.interop import environments

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text()
MXNET = ("mxnet", ["mxnet==1.9.1", "numpy<1.24"])

# `docker` for the README: builds nothing, and runs `train` and `serve` of this environment on the mounted folder.
DOCKER = r"""#!/bin/bash
set -eu
verb=$1
shift
case $verb in
build) ;;
stop) kill "$(cat "$1.pid")" ;;
run)
    while [[ $1 == --* ]]; do
        case $1 in
        --rm) ;;
        --detach) detach=yes ;;
        --name) name=$2; shift ;;
        --publish) export SAGEMAKER_BIND_TO_PORT=${2%%:*}; shift ;;
        --volume) export SAGEMAKER_BASE_DIR=${2%%:*}; shift ;;
        *) echo "unknown option $1" >&2; exit 1 ;;
        esac
        shift
    done
    export ALGORITHM=$1
    if [[ ${detach:-} ]]; then
        "$COMMANDS/$2" > "$name.log" 2>&1 &
        echo $! > "$name.pid"
    else
        "$COMMANDS/$2"
    fi
    ;;
esac
"""


@pytest.fixture(scope="module")
def readme():
    """The module that knows the README's form."""
    sys.path.insert(0, str(ROOT / "examples"))
    try:
        import readme

        return readme
    finally:
        sys.path.pop(0)


def test_tables_are_up_to_date(readme):
    assert readme.with_tables(TEXT) == TEXT, "the README's tables are old: make tables"


@pytest.mark.slow
def test_commands_run(readme, tmp_path):
    """All marked blocks in their order, as one reader in one folder would run them."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    found = readme.blocks(TEXT)
    assert {block.heading for block in found} >= {"In Docker", "k-means", "PCA", "XGBoost", "Linear learner"}
    ran = [block.heading for block in found if run(block, tmp_path)]
    assert len(ran) >= 8


def run(block, folder: Path) -> bool:
    """Run a block in ``folder``. False where this machine lacks what it needs."""
    text = block.text
    if "curl" in text and not shutil.which("curl"):
        return False
    if block.needs == "mxnet":
        try:
            command = [str(environments.python_of(*MXNET)), "-c", text]
        except pytest.skip.Exception:
            return False
    elif block.language == "python":
        command = [sys.executable, "-c", text]
    else:
        command = ["bash", "-euo", "pipefail", "-c", text.replace("8080", str(free_port()))]
    paths = os.pathsep.join([str(folder / "bin"), os.environ["PATH"]])
    variables = {**os.environ, "PATH": paths, "COMMANDS": str(Path(sys.executable).parent)}
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{block.heading}:\n{text}\n{done.stdout}\n{done.stderr}"
    for expected in re.findall(r"^print\(.*\)  # (.*)$", text, re.M):
        assert numbers(done.stdout) == pytest.approx(numbers(expected), rel=1e-3)
    return True


def numbers(text: str) -> list[float]:
    """The numbers in a text."""
    return [float(number) for number in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", text)]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
