import contextlib
import errno
import os
import subprocess
from pathlib import Path

import pytest

from container.settings import ConfigurationError
from container.training.artifact import Artifact


class Files:
    """A model that saves the given files; ``fail`` is raised after the first."""

    def __init__(self, files, fail=None):
        self.files, self.fail = files, fail

    def save(self, directory):
        for name, content in self.files.items():
            (directory / name).parent.mkdir(exist_ok=True)
            (directory / name).write_bytes(content)
            if self.fail:
                raise self.fail

    def save_as(self, directory, version):
        (directory / "version").write_text(str(version))


@pytest.fixture
def artifact(tmp_path):
    artifact = Artifact(tmp_path / "model")
    artifact.prepare()
    return artifact


def content(directory):
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


def test_files_and_folders_arrive_and_the_staging_folder_goes(artifact, tmp_path):
    assert artifact.write(Files({"model_algo-1": b"m", "extra/a": b"a"})) == [Path("extra/a"), Path("model_algo-1")]
    assert content(tmp_path / "model") == {"extra/a": b"a", "model_algo-1": b"m"}
    assert not list((tmp_path / "model").glob(".*"))


def test_the_format_is_that_of_the_image_that_is_asked_for(tmp_path):
    artifact = Artifact(tmp_path, image_version=(1, 2, 1))
    assert artifact.write(Files({"model_algo-1": b"m"})) == [Path("version")]
    assert (tmp_path / "version").read_text() == "(1, 2, 1)"


def test_a_later_model_takes_the_place_of_the_earlier_one_whole(artifact, tmp_path):
    (tmp_path / "model" / "users-own").write_bytes(b"u")
    artifact.write(Files({"a": b"1", "b": b"1"}))
    artifact.write(Files({"b": b"2"}))
    assert content(tmp_path / "model") == {"b": b"2", "users-own": b"u"}
    artifact.discard()
    assert content(tmp_path / "model") == {"users-own": b"u"}


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), RuntimeError()]
)
def test_a_save_that_fails_leaves_the_folder_as_it_was(artifact, tmp_path, error):
    artifact.write(Files({"model_algo-1": b"before"}))
    with pytest.raises(type(error)):
        artifact.write(Files({"model_algo-1": b"after"}, fail=error))
    assert content(tmp_path / "model") == {"model_algo-1": b"before"}


def test_a_disk_that_is_full_only_at_the_end_leaves_the_folder_as_it_was(artifact, tmp_path, monkeypatch):
    def fsync(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="No space"):
        artifact.write(Files({"model_algo-1": b"m"}))
    assert content(tmp_path / "model") == {}


@pytest.mark.parametrize("reason", [errno.EROFS, errno.EACCES])
def test_a_folder_that_cannot_be_written_to_is_told_before_training(tmp_path, monkeypatch, reason):
    def refuse(*args, **kwargs):
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr("tempfile.mkdtemp", refuse)  # root, as which tests may run, is refused nothing
    with pytest.raises(ConfigurationError, match=f"{tmp_path} cannot be written to: {os.strerror(reason)}; mount it"):
        Artifact(tmp_path).prepare()


def test_what_a_killed_run_left_half_written_is_taken_away(tmp_path):
    (tmp_path / ".staging-abc").mkdir()
    (tmp_path / ".staging-abc" / "model_algo-1").write_bytes(b"half")
    Artifact(tmp_path).prepare()
    assert content(tmp_path) == {}


@contextlib.contextmanager
def small_disk(folder, size):
    """A tmpfs of ``size`` mounted on ``folder``."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a file system cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_real_full_disk(tmp_path):
    with small_disk(tmp_path, "64k"):
        artifact = Artifact(tmp_path)
        artifact.write(Files({"model_algo-1": b"m"}))
        with pytest.raises(OSError, match="No space") as caught:
            artifact.write(Files({"model_algo-1": bytes(1 << 20)}))
        assert caught.value.errno == errno.ENOSPC
        assert content(tmp_path) == {"model_algo-1": b"m"}
