"""One host of several in a Job of Kubernetes: ``python3 -m container.indexed_job --name digits --hosts 3``.

An Indexed Job with a headless Service gives each Pod an index (``JOB_COMPLETION_INDEX``) and a name that the others
resolve: ``<job>-<index>.<service>`` (https://kubernetes.io/docs/tasks/job/job-with-pod-to-pod-communication/). From
these the job's ``resourceconfig.json`` is written, beside the other files of the configuration, which a ConfigMap
holds and which is mounted read-only; then ``train`` takes the place of this process, with its exit code and signals.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from container.paths import Paths
from container.settings import ConfigurationError, Settings
from container.signals import STOPPING

INDEX = "JOB_COMPLETION_INDEX"


def hosts(name: str, count: int, service: str) -> list[str]:
    """The names of all Pods, in the order of their indices.

    >>> hosts("digits", 2, "digits")
    ['digits-0.digits', 'digits-1.digits']
    """
    return [f"{name}-{index}.{service}" for index in range(count)]


def write(paths: Paths, configuration: Path | None, names: Sequence[str], index: str | None) -> None:
    """Put the files in ``configuration`` where the job looks for them, and ``resourceconfig.json`` beside them.

    Raises:
        ConfigurationError: there is no such Pod, or no such folder.
    """
    if index is None or not index.isdecimal() or int(index) >= len(names):
        raise ConfigurationError(
            f"Environment variable {INDEX}: {index!r} is not an index from 0 to {len(names) - 1}; "
            "the Job needs completionMode: Indexed, and as many completions as --hosts"
        )
    if configuration is not None and not configuration.is_dir():
        raise ConfigurationError(f"--config {configuration}: there is no such folder")
    paths.config.mkdir(parents=True, exist_ok=True)
    for file in sorted(configuration.glob("*.json")) if configuration else ():
        shutil.copyfile(file, paths.config / file.name)
    content = {"current_host": names[int(index)], "hosts": list(names)}
    paths.resource_config.write_text(json.dumps(content, indent=2))


def main(arguments: Sequence[str] | None = None) -> None:
    """Become ``train``; end with status 1 and a sentence where that cannot be."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)  # until ``train`` takes them: the other hosts are told
    parser = argparse.ArgumentParser("python3 -m container.indexed_job", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--name", required=True, help="what the Pods' names begin with: the Job's name")
    parser.add_argument("--hosts", required=True, type=int, help="the Job's completions and parallelism")
    parser.add_argument("--service", help="the headless Service; by default the Job's name")
    parser.add_argument("--config", type=Path, help="folder of the job's other JSON files, a mounted ConfigMap")
    given = parser.parse_args(arguments)
    try:
        settings = Settings.from_environment(os.environ)
        names = hosts(given.name, given.hosts, given.service or given.name)
        write(Paths(settings.base_directory), given.config, names, os.environ.get(INDEX))
    except (ConfigurationError, OSError) as error:
        sys.exit(str(error))
    os.execvp("train", ["train"])


if __name__ == "__main__":
    main()
