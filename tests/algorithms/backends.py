"""Programs run on another backend of Keras than this process has loaded."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.opt_ml import ROOT

QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
"""A few steps are not worth an optimizing compiler."""


def printed(backend: str, program: str, *arguments: str) -> str:
    """What a program prints.

    Raises:
        AssertionError: it failed; the message is what it wrote.
    """
    environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": QUICK}
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-5000:]
    return done.stdout
