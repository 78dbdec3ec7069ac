"""What a registry is asked for: ``make push`` and ``make index``, with a ``docker`` that writes down its arguments."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def docker(tmp_path, monkeypatch):
    """Runs a script of ``images/`` and gives the commands that reached ``docker``."""
    shutil.copytree(ROOT / "images", tmp_path / "images")
    (tmp_path / "algorithms").symlink_to(ROOT / "algorithms")
    log = tmp_path / "log"
    (tmp_path / "docker").write_text(f'#!/bin/sh\necho "$@" >> {log}\n')
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def run(script: str, *arguments: str) -> list[str]:
        subprocess.run([tmp_path / "images" / script, *arguments], check=True, capture_output=True)
        return log.read_text().splitlines()

    return run


@pytest.mark.parametrize(
    ("settings", "source", "target"),
    [
        ({}, "open-algorithms/pca", "team/pca:1"),
        ({"PLATFORM": "linux/arm64"}, "open-algorithms/pca-arm64", "team/pca:1-arm64"),
        ({"PLATFORM": "linux/amd64", "PURPOSE": "serve"}, "open-algorithms/pca-serve-amd64", "team/pca-serve:1-amd64"),
    ],
)
def test_the_platform_is_in_the_tag_and_not_in_the_repositorys_name(docker, monkeypatch, settings, source, target):
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    asked = docker("push.sh", "team", "1", "pca")
    assert f"tag {source} {target}" in asked
    assert f"push {target}" in asked


@pytest.mark.parametrize("platform", ["arm64", "linux/arm"])
def test_a_platform_without_lock_files_is_refused_before_a_base_is_made_for_it(docker, monkeypatch, platform):
    monkeypatch.setenv("PLATFORM", platform)
    with pytest.raises(subprocess.CalledProcessError) as error:
        docker("build.sh", "pca")
    assert f"PLATFORM is '{platform}'; it must be one of linux/amd64, linux/arm64" in error.value.stderr.decode()


@pytest.mark.parametrize("platforms", ["", "linux/arm64 linux/ppc64le"])
def test_one_name_is_given_to_the_images_of_all_platforms(docker, monkeypatch, platforms):
    monkeypatch.setenv("PLATFORMS", platforms)
    names = [f"registry/lda:2-{one.removeprefix('linux/')}" for one in platforms.split()]
    expected = " ".join(names or ["registry/lda:2-amd64", "registry/lda:2-arm64"])
    asked = docker("index.sh", "registry", "2", "lda")
    assert f"buildx imagetools create --tag registry/lda:2 {expected}" in asked


def test_an_index_of_an_algorithm_that_there_is_not_is_refused_before_the_registry_is_asked(docker, tmp_path):
    with pytest.raises(subprocess.CalledProcessError) as error:
        docker("index.sh", "registry", "2", "pca", "kmeanz")
    assert b"ALGORITHM is 'kmeanz'; it must be all or one of" in error.value.stderr
    assert not (tmp_path / "log").exists()


_ENGINE = """#!/bin/sh
echo "$(basename "$0") $@" >> {log}
case "$(basename "$0") $*" in
    "docker info") exit {docker} ;;
    *pca:2-arm64*) echo "looked elsewhere, too" >&2; echo "manifest unknown" >&2; exit 125 ;;
esac
"""


@pytest.mark.parametrize("engine", ["docker", "buildah"])
def test_no_name_is_given_where_the_image_of_one_platform_is_missing(docker, tmp_path, engine):
    for program in ("docker", "buildah"):
        (tmp_path / program).write_text(_ENGINE.format(log=tmp_path / "log", docker=int(engine == "buildah")))
        (tmp_path / program).chmod(0o755)
    with pytest.raises(subprocess.CalledProcessError) as error:
        docker("index.sh", "registry", "2", "kmeans", "pca")
    assert error.value.stderr.decode().splitlines() == [
        "no name was given, for registry/pca:2-arm64 cannot be read: manifest unknown",
        "make push REGISTRY=registry TAG=2 PLATFORM=linux/arm64 ALGORITHMS=… puts it there; "
        "PLATFORMS=… names other platforms",
    ]
    asked = (tmp_path / "log").read_text().splitlines()
    assert not [one for one in asked if "manifest push" in one or "imagetools create" in one]
    made = [one.split()[-1] for one in asked if "manifest create" in one]
    assert made == (["open-algorithms/kmeans-index", "open-algorithms/pca-index"] if engine == "buildah" else [])
    assert asked[len(asked) - len(made) :] == [f"buildah manifest rm {one}" for one in made]


def test_a_push_of_an_algorithm_that_there_is_not_is_refused_as_such(docker, tmp_path):
    (tmp_path / "docker").write_text('#!/bin/sh\n[ "$1" = info ]\n')  # it runs, and has no image
    with pytest.raises(subprocess.CalledProcessError) as error:
        docker("push.sh", "registry", "2", "pca", "kmeanz")
    assert b"ALGORITHM is 'kmeanz'; it must be all or one of" in error.value.stderr


def test_a_check_of_an_image_that_is_not_there_says_so():
    words = [sys.executable, "images/check.py", "kmeans", "open-algorithms/kmeans-srve"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("there is no image open-algorithms/kmeans-srve; make image builds it")


@pytest.mark.parametrize("target", ["image", "image-test"])
def test_make_asks_which_algorithm_the_image_is_of(target):
    environment = {name: value for name, value in os.environ.items() if name != "ALGORITHM"}
    done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"which algorithm? make {target} ALGORITHM=NAME, where NAME is all or one of kmeans pca " in done.stderr
