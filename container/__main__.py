"""The commands of the image: ``train`` and ``serve``, as SageMaker calls them.

What needs NumPy is imported in the functions: ``serve`` sets the number of BLAS threads before it is there.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import functools
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from container import logs, resources
from container.imports import without_unused_packages
from container.paths import Paths
from container.settings import ConfigurationError, Settings, hosts_wait, job, structured_logs
from container.signals import STOPPING, Signals, end, leave
from container.training import failure, group

if TYPE_CHECKING:
    from container.training.trainee import Link


def train(arguments: Sequence[str] | None = None) -> int:
    """``train``: run the job that lies in /opt/ml, and return the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    if given:
        return _train_help(given)
    faulthandler.enable()  # a crash in native code leaves its place in the log
    resources.limit_threads()
    resources.sleep_soon()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow says at length which instructions it uses
    logs.configure()
    logs.entry()
    hosts = group.find(Paths(_base()))
    if hosts is not None and hosts.size > 1:  # the others, who would wait for this one, are told of a stop
        with Signals() as signals, without_unused_packages():
            return _supervise(hosts, signals)
    with _ending_at_once(), without_unused_packages():
        return _train_job()


def train_command(arguments: Sequence[str] | None = None) -> NoReturn:
    """``train`` as a process, which ends soon: whoever has sent SIGTERM waits."""
    _open_streams()
    leave(train(arguments))


def _open_streams() -> None:
    """Give standard input, output and error to a process that was started without.

    The first files that are opened would take their numbers, and what libraries print would end in a model.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def _base() -> Path:
    return Path(os.environ.get("SAGEMAKER_BASE_DIR") or "/opt/ml")


def _supervise(hosts: group.Group, signals: Signals) -> int:
    """Be one of several hosts. The others are to know of this one before anything is imported that takes long, or that
    the image may lack: one that they have never heard of they wait for."""
    from container.training import supervisor

    wait, train = hosts_wait(os.environ), functools.partial(_train_with_others, hosts)
    return supervisor.supervise(Paths(_base()), hosts, job(os.environ), signals, train, wait=wait)


def _train_with_others(hosts: group.Group, link: Link) -> int:
    """Train, in the process for that."""
    try:
        settings = Settings.from_environment(os.environ)
        from container.training import train as training
        from container.training.hosts import HostOfSeveral
    except Exception as error:
        link.failed(failure.told(error, hosts.host), of_communication=False)
        return failure.EXIT_CODE
    return training.run(Paths(settings.base_directory), settings, host=HostOfSeveral(hosts, link))


def _train_job() -> int:
    try:
        settings = Settings.from_environment(os.environ)
        from container.training import train as training
    except (ConfigurationError, ImportError) as error:  # an image that lacks a package has failed, too
        failure.forget(Paths(_base()).failure)
        failure.report(error, Paths(_base()).failure)
        return failure.EXIT_CODE
    return training.run(Paths(settings.base_directory), settings)


@contextlib.contextmanager
def _ending_at_once() -> Iterator[None]:
    """SIGTERM and Ctrl-C end the process until the job sets its own handlers; imports leave nothing behind."""
    before = {number: signal.signal(number, end) for number in STOPPING}
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _train_help(given: Sequence[str]) -> int:
    from container import describe
    from container.training import train as training

    parser = argparse.ArgumentParser(
        "train",
        description="Train the algorithm that the environment variable ALGORITHM names, on the job in /opt/ml "
        "(or SAGEMAKER_BASE_DIR). Takes no arguments.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    try:
        parser.epilog = describe.help_text(training.find(Settings.from_environment(os.environ)))
    except ConfigurationError as error:
        parser.epilog = str(error)
    parser.parse_args(given)
    return 0


def serve(arguments: Sequence[str] | None = None) -> int:
    """``serve``: answer requests with the model in /opt/ml/model, until told to stop."""
    argparse.ArgumentParser(
        "serve",
        description="Answer requests over HTTP with the model in /opt/ml/model (or SAGEMAKER_BASE_DIR/model), on port "
        "8080 (or SAGEMAKER_BIND_TO_PORT), until SIGTERM. Takes no arguments.",
    ).parse_args(arguments)

    from container.serving import server

    _open_streams()
    logs.configure(structured=structured_logs(os.environ))
    try:
        settings = Settings.from_environment(os.environ)
    except ConfigurationError as error:
        logs.error(failure.CLIENT.log, error.problems)
        return failure.EXIT_CODE
    with without_unused_packages():
        return server.run(Paths(settings.base_directory), settings)


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m container``: ``train`` or ``serve``."""
    parser = argparse.ArgumentParser("python -m container", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    commands.add_parser("train", help="as the command train: the job in /opt/ml").set_defaults(
        run=lambda: train_command([])
    )
    commands.add_parser("serve", help="as the command serve: the model in /opt/ml").set_defaults(run=lambda: serve([]))
    run: Callable[[], int] = parser.parse_args(arguments).run
    return run()


if __name__ == "__main__":
    sys.exit(main())
