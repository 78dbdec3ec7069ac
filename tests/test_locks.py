"""The lock files: complete, hashed, in step with pyproject.toml, and silent about where packages come from."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from algorithms.registry import ALGORITHMS

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = sorted((ROOT / "locks").glob("*.lock"))
NAME = SETTINGS["project"]["name"]
CORE = SETTINGS["project"]["dependencies"]
EXTRAS = SETTINGS["project"]["optional-dependencies"]
SHIPPED = {name: extra for name, extra in EXTRAS.items() if name in {entry.extra for entry in ALGORITHMS.values()}}
"""The extras of images; the others are for a user's machine."""
GROUPS = SETTINGS["dependency-groups"]
PEERS, SBOM = GROUPS.pop("peers"), GROUPS.pop("sbom")


def pins(name: str) -> dict[str, str]:
    """The versions in a lock file by package."""
    found = re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "locks" / f"{name}.lock").read_text(), re.M)
    return {canonicalize_name(package): version for package, version in found}


def every(*lists):
    """One list of them all; an extra of ours that another one names stands for its requirements."""
    requirements = [Requirement(text) for texts in lists for text in texts]
    own = [extra for requirement in requirements if requirement.name == NAME for extra in requirement.extras]
    others = [str(requirement) for requirement in requirements if requirement.name != NAME]
    return others + (every(*(EXTRAS[extra] for extra in own)) if own else [])


@pytest.mark.parametrize(
    ("arguments", "lock"),
    [
        (["ntm", "gpu", "all"], "gpu-ntm"),
        (["seq2seq", "cpu", "serve"], "serve-seq2seq"),
        (["kmeans", "cpu", "serve"], "core"),
    ],
)
def test_a_build_finds_its_lock_before_anything_is_installed(arguments, lock):
    """Those for GPUs and for serving do not begin with what all others share."""
    command = [sys.executable, "-S", "-B", "images/requirements.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == f"locks/{lock}.lock", done.stderr


@pytest.mark.parametrize(
    ("name", "requirements"),
    [
        ("core", CORE),
        ("peers", PEERS),
        ("sbom", SBOM),
        ("all", every(CORE, *SHIPPED.values())),
        ("build", SETTINGS["build-system"]["requires"]),
        ("development", every(CORE, *EXTRAS.values(), *GROUPS.values(), SETTINGS["build-system"]["requires"])),
        *((extra, every(CORE, requirements)) for extra, requirements in SHIPPED.items()),
    ],
)
def test_lock_satisfies_pyproject(name, requirements):
    locked = pins(name)
    for requirement in map(Requirement, requirements):
        version = locked.get(canonicalize_name(requirement.name))
        assert version and requirement.specifier.contains(version), f"locks/{name}.lock: {requirement}: make lock"


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_every_package_is_hashed_and_no_address_is_kept(lock):
    text = re.sub(r"^#.*$", "", lock.read_text(), flags=re.M)
    for entry in text.replace("\\\n", " ").strip().splitlines():
        if entry.strip():
            assert re.fullmatch(r"[\w.-]+==[\w.+-]+(?: ; [^-]+?)?(?:\s+--hash=sha256:[0-9a-f]{64})+\s*", entry)


@pytest.mark.parametrize(("name", "requirements"), [("all", every(*SHIPPED.values())), *SHIPPED.items()])
def test_the_builds_for_gpus_are_of_the_same_versions(name, requirements):
    on_gpu, on_cpu = pins(f"gpu-{name}"), pins(name)
    left = set() if name in ("xgboost", "all") else {"xgboost-cpu"}  # it connects hosts, and computes nothing
    replaced = {package for package in on_cpu if package.endswith("-cpu")} - left
    assert not replaced & on_gpu.keys()
    assert on_gpu.items() >= {package: on_cpu[package] for package in on_cpu if package not in replaced}.items()
    assert all(on_gpu[package.removesuffix("-cpu")] == on_cpu[package] for package in replaced)


@pytest.mark.parametrize(
    "name", ["core", "all", "build", *SHIPPED, "serve-all", *(f"serve-{name}" for name in SHIPPED)]
)
def test_images_hold_what_the_tests_ran_with(name):
    assert pins(name).items() <= pins("development").items()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_algorithm_has_a_lock_for_its_image(algorithm):
    assert (ROOT / "locks" / f"{ALGORITHMS[algorithm].extra or 'core'}.lock").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["x86_64-manylinux_2_28", "aarch64-manylinux_2_28", "aarch64-apple-darwin"])
@pytest.mark.parametrize("name", ["core", "all", "development"])
def test_every_platform_has_wheels_of_all_that_is_locked(name, platform, tmp_path):
    lock, target = ROOT / "locks" / f"{name}.lock", tmp_path / "target"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "uv", "pip", "install", "--dry-run", "--target", target),
            *("--only-binary", ":all:", "--require-hashes", "--python-platform", platform, "--requirement", lock),
        ],
        env=os.environ | {"MACOSX_DEPLOYMENT_TARGET": "14.0"},
        capture_output=True,
        text=True,
    )
    if "dns error" in done.stderr or "Failed to fetch" in done.stderr:
        pytest.skip("the package index is not reachable from here")
    assert done.returncode == 0, done.stderr
