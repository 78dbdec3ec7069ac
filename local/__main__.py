"""``oba``: the commands of ``local.commands``, and the exit code that each ending has.

0: done. 1: the data, the model or the job cannot be used, and the last line on standard error says why. 2: the command
line cannot be. 130 and 143: stopped by Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from typing import NoReturn

import click

from algorithms.errors import AlgorithmInputError
from container.imports import without_unused_packages
from container.resources import sleep_soon
from container.signals import leave
from local import commands
from recordio.errors import DataError

FAILURE = 1
_LEAN = ("train", "predict")
"""Commands in which nothing uses scikit-learn and the like, which XGBoost, Keras and TensorFlow import: a second."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    given = None if arguments is None else list(arguments)
    sleep_soon()
    try:
        code = commands.oba.main(given, prog_name="oba", standalone_mode=False)
    except click.Abort:
        click.echo("Stopped.", err=True)
        return 128 + signal.SIGINT
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (AlgorithmInputError, DataError, OSError) as error:
        click.echo(f"Error: {error}", err=True)
        return FAILURE
    return code if isinstance(code, int) else 0


def command() -> NoReturn:
    """``oba`` as a process; one that has trained a network ends as ``train`` does."""
    with without_unused_packages() if sys.argv[1:2] in ([name] for name in _LEAN) else nullcontext():
        code = main()
    if "tensorflow" in sys.modules:
        leave(code)
    sys.exit(code)


if __name__ == "__main__":
    command()
