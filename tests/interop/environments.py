"""Python environments of their own for packages that cannot share ours: real MXNet, the SageMaker SDK.

They are made on first use in the folder ``.interop`` of the checkout, which git ignores, and kept.
"""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / ".interop"
INSTALL_SECONDS = 900
SDK2 = ("sagemaker-sdk", ("sagemaker==2.245.0",))
AWS_CLI = ("aws-cli", ("awscli==1.46.3",))
SDK3 = ("sagemaker-sdk3", ("sagemaker-train==1.27.0", "sagemaker-core==2.27.0"))


def python_of(name: str, requirements: Sequence[str]) -> Path:
    """The interpreter of the environment ``name`` with ``requirements`` installed.

    The test that asks is skipped, with the last line of what pip said, where the environment cannot be made: without
    a package index, say.
    """
    FOLDER.mkdir(exist_ok=True)
    directory = FOLDER / name
    python = directory / "bin" / "python"
    done = directory / "requirements.txt"
    wanted = "\n".join(requirements)
    with (FOLDER / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests in several processes make it once
        if not done.exists() or done.read_text() != wanted:
            _make(directory, python, requirements)
            done.write_text(wanted)
    return python


def _make(directory: Path, python: Path, requirements: Sequence[str]) -> None:
    """By this environment's pip. It compiles nothing: a test imports a small part of the thousands of modules."""
    venv.create(directory, clear=True, symlinks=True)
    install = ["install", "--quiet", "--no-compile", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "--python", str(python), *install, *requirements]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        pytest.skip(f"pip did not finish within {INSTALL_SECONDS} s: {' '.join(requirements)}")
    if result.returncode:
        reason = (result.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        pytest.skip(f"cannot install {' '.join(requirements)} for Python {sys.version.split()[0]}: {reason}")


_FORKING = """
import json, os, sys, traceback
import mxnet, numpy
for line in sys.stdin:
    program, sys.argv, output = json.loads(line)
    child = os.fork()
    if not child:
        code = 1
        try:
            for number in (1, 2):
                os.dup2(os.open(output[number - 1], os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
            exec(compile(program, "<program>", "exec"), {"__name__": "__main__"})
            sys.stdout.flush()
            code = 0
        except BaseException:
            traceback.print_exc()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
_started: dict[Path, subprocess.Popen[str]] = {}


def run_in_mxnet(python: Path, program: str, *arguments: str | Path) -> str:
    """As ``run``, in a fork of a process that has imported MXNet, which takes most of the time that programs do."""
    if python not in _started:
        _started[python] = subprocess.Popen(
            [python, "-c", _FORKING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    forking = _started[python]
    assert forking.stdin is not None and forking.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        output = [str(Path(folder, name)) for name in ("stdout", "stderr")]
        print(json.dumps([program, ["-c", *map(str, arguments)], output]), file=forking.stdin, flush=True)
        code = forking.stdout.readline().strip()
        printed, errors = (Path(name).read_text() if Path(name).exists() else "" for name in output)
    assert code == "0", f"exit code {code}\n{printed}\n{errors}"
    return printed


def end_processes() -> None:
    """End what ``run_in_mxnet`` has started."""
    while _started:
        forking = _started.popitem()[1]
        forking.communicate()


def run(python: Path, program: str, *arguments: str | Path) -> str:
    """What ``program``, a text, prints when ``python`` runs it.

    Raises:
        AssertionError: it failed; the message is what it wrote.
    """
    command = [str(python), "-c", program, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    return result.stdout
