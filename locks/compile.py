"""Write the lock files beside this one from pyproject.toml: every package with its version and its hashes.

    development.lock   everything: all extras, all dependency groups but peers, the build system
    peers.lock         what the benchmarks compare with
    build.lock         the build system alone
    core.lock          what every algorithm needs
    <extra>.lock       core and that extra, one file for each extra
    all.lock           core and all of these extras
    serve-….lock       the same two without what only training needs
    gpu-….lock         those with the builds for NVIDIA's GPUs, in the versions of the CPU's
    sbom.lock          what lists an image's packages and their licences when it is built

Extras for a user's machine (``oba``'s, the estimators') are in no image: development.lock alone has them.

The smaller files take their versions from development.lock, so an image holds what the tests ran with. A lock file
holds for all platforms: Linux on x86 and ARM, and macOS; markers say which package is for which. It names no index:
where packages come from is the business of the machine that installs them.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from algorithms.registry import ALGORITHMS  # its folder is on the path from here on

HERE = Path(__file__).resolve().parent
PYPROJECT = HERE.parent / "pyproject.toml"
OPTIONS = [
    "--quiet",
    "--universal",  # for all platforms, told apart by markers
    "--python-version=3.11",  # and for later ones
    "--fork-strategy=fewest",  # one version of a package wherever that can be
    "--generate-hashes",
    "--no-annotate",
    "--no-header",
]
HEADER = "# Written by `make lock` from pyproject.toml; do not edit.\n"
DEVELOPMENT = "development"
GPU = "gpu-"
GPU_BUILDS = {"tensorflow-cpu": "tensorflow[and-cuda]", "xgboost-cpu": "xgboost"}
ON_CPU_ANYWAY = {"xgboost-cpu"}
"""Where it is not the algorithm but connects hosts alone."""
TREES = {"xgboost", "all", "gpu-xgboost", "gpu-all"}
TRAINING_ONLY = {"tensorflow-cpu", "tensorflow", "keras", "sacrebleu", "pyarrow"}
"""Models answer without: images/check.py tries it."""
CONNECTS_HOSTS = {"xgboost-cpu", "xgboost"}
"""So are these, of all models but trees."""


def wanted() -> dict[str, list[str]]:
    """The requirements of each lock file by its name; the one that decides on the versions first."""
    settings = tomllib.loads(PYPROJECT.read_text())
    project, build = settings["project"], settings["build-system"]["requires"]
    core = project["dependencies"]
    every_extra = {name: spelled_out(name, project) for name in project["optional-dependencies"]}
    extras = {
        name: extra for name, extra in every_extra.items() if name in {entry.extra for entry in ALGORITHMS.values()}
    }
    everything = core + [requirement for extra in extras.values() for requirement in extra]
    tools = [requirement for extra in every_extra.values() for requirement in extra]
    groups = settings["dependency-groups"]
    peers, sbom = groups.pop("peers"), groups.pop("sbom")
    return {
        DEVELOPMENT: core + tools + [requirement for group in groups.values() for requirement in group] + build,
        "peers": peers,
        "sbom": sbom,
        "build": build,
        "core": core,
        "all": everything,
        **{name: core + extra for name, extra in extras.items()},
        **{f"serve-{name}": for_serving(name, core + extra) for name, extra in extras.items()},
        "serve-all": for_serving("all", everything),
        **{f"{GPU}{name}": core + extra for name, extra in extras.items()},
        f"{GPU}all": everything,
    }


def on_gpu(name: str, requirements: Sequence[str]) -> list[str]:
    """The requirements with the GPU's builds in the place of the CPU's, in the versions that the tests ran with."""
    locked = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", (HERE / f"{DEVELOPMENT}.lock").read_text(), re.M))
    pinned = {cpu: f"{gpu}=={locked[cpu]}" for cpu, gpu in GPU_BUILDS.items()}
    if name not in TREES:
        pinned = {cpu: build for cpu, build in pinned.items() if cpu not in ON_CPU_ANYWAY}
    return [pinned.get(package(text), text) for text in requirements]


def for_serving(name: str, requirements: Sequence[str]) -> list[str]:
    """The requirements without those that only training needs."""
    left_out = TRAINING_ONLY if name in TREES else TRAINING_ONLY | CONNECTS_HOSTS
    return [text for text in requirements if package(text) not in left_out]


def package(requirement: str) -> str:
    """The name that a requirement begins with."""
    return re.split("[<>=!~ ;]", requirement)[0]


def spelled_out(extra: str, project: dict[str, Any]) -> list[str]:
    """The requirements of ``extra``, with those of the project's own extras that it names in their place."""
    requirements = []
    for requirement in project["optional-dependencies"][extra]:
        own = re.fullmatch(re.escape(project["name"]) + r"\[(\S+)\]", requirement)
        requirements += spelled_out(own[1], project) if own else [requirement]
    return requirements


def compile_lock(name: str, requirements: Sequence[str], upgrade: bool) -> None:
    """Resolve ``requirements`` into ``<name>.lock``, keeping the versions that are there unless ``upgrade``."""
    lock = HERE / f"{name}.lock"
    constraints = [] if name == DEVELOPMENT else [f"--constraint={HERE / DEVELOPMENT}.lock"]
    if name.startswith(GPU):
        requirements = on_gpu(name, requirements)
    command = [sys.executable, "-m", "uv", "pip", "compile", *OPTIONS, *constraints, f"--output-file={lock}", "-"]
    if upgrade:
        command.append("--upgrade")
    subprocess.run(command, input="\n".join(requirements), text=True, check=True, stdout=subprocess.DEVNULL)
    lock.write_text(HEADER + lock.read_text().removeprefix(HEADER))


if __name__ == "__main__":
    for name, requirements in wanted().items():
        compile_lock(name, requirements, upgrade="--upgrade" in sys.argv[1:])
