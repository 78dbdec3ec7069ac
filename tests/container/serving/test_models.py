"""An artifact that nobody has unpacked: what is in it is served, and nothing of it gets out."""

import io
import os
import socket
import tarfile
import threading
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest

from algorithms import archives
from algorithms.common import mxnet_files
from algorithms.errors import ChannelError, ModelError
from algorithms.loading import unpacked
from container.serving import models
from container.settings import Settings
from container.training import channels
from recordio import limits


def pack(path, *members):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            if content is None:
                entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
                tar.addfile(entry)
            else:
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))


def files(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_an_archive_alone_is_unpacked_without_what_is_hidden_and_taken_away_again(tmp_path):
    pack(tmp_path / "model.tar.gz", ("./model_algo-1", b"1"), ("sub/x", b"2"), ("._model_algo-1", b"3"), (".a/b", b"4"))
    (tmp_path / ".DS_Store").touch()
    for place in (tmp_path, tmp_path / "model.tar.gz"):
        with unpacked(place) as folder:
            assert files(folder) == {"model_algo-1": b"1", "sub/x": b"2"}
        assert not folder.exists()


def test_a_folder_with_other_files_is_left_as_it_is(tmp_path):
    pack(tmp_path / "model.tar.gz", ("model_algo-1", b"1"))
    (tmp_path / "model_algo-1").write_bytes(b"2")
    with unpacked(tmp_path) as folder:
        assert folder == tmp_path
    with unpacked(tmp_path / "absent") as folder:
        assert folder == tmp_path / "absent"


@pytest.mark.parametrize("member", [("../x", b"1"), ("/tmp/x", b"1"), ("a/../../x", b"1"), ("link", None)])
def test_what_leads_out_of_the_folder_is_refused(tmp_path, member):
    pack(tmp_path / "model.tar.gz", ("model_algo-1", b"1"), member)
    with pytest.raises(ModelError, match="is not a plain file below the model folder"), unpacked(tmp_path):
        pass


def test_more_than_there_is_room_for_is_refused_before_anything_is_written(tmp_path):
    entry = tarfile.TarInfo("model_algo-1")
    entry.size = 1 << 60
    (tmp_path / "model.tar").write_bytes(entry.tobuf() + bytes(1024))
    with pytest.raises(ModelError, match="cannot be unpacked"), unpacked(tmp_path):
        pass


@pytest.mark.parametrize("cut", [0, 5, 40, 150])
def test_a_damaged_archive_is_refused(tmp_path, cut):
    pack(tmp_path / "whole", ("model_algo-1", bytes(range(256)) * 10))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.tar.gz").write_bytes((tmp_path / "whole").read_bytes()[:cut])
    with pytest.raises(ModelError, match=r"'model\.tar\.gz' cannot be unpacked"), unpacked(tmp_path / "model"):
        pass


def raw(name="model_algo-1", size=0, kind=tarfile.REGTYPE, content=b""):
    """A member whose header claims ``size``, whatever follows it."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.type = size, kind
    return entry.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


def deep():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("a/" * 2000 + "model_algo-1"))
    return file.getvalue()


def many():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for number in range(MOST_MEMBERS + 1):
            tar.addfile(tarfile.TarInfo(str(number)))
    return file.getvalue()


HOSTILE = {
    "a path 2,000 deep": deep,
    "too many members": many,
    "an extended header of 8 GB": lambda: raw(kind=tarfile.XHDTYPE, size=1 << 33, content=b"x" * 512),
    "a long name of 8 GB": lambda: raw(kind=tarfile.GNUTYPE_LONGNAME, size=1 << 33, content=b"x" * 512),
    "an extended header that is really long": lambda: raw(kind=tarfile.XHDTYPE, size=64 << 20, content=bytes(64 << 20)),
    "headers of headers": lambda: raw(kind=tarfile.XHDTYPE, size=512, content=b"x" * 512) * 3000,
    "a size in an extended header that is none": lambda: (
        raw(kind=tarfile.XHDTYPE, size=22, content=b"22 size=" + b"9" * 13 + b"\n") + raw() + bytes(1024)
    ),
    "a size that lies": lambda: raw(size=5000, content=b"x" * 512),
    "a bomb": lambda: raw(size=3 << 30, content=bytes(64 << 20)),
    "a FIFO": lambda: raw(kind=tarfile.FIFOTYPE) + bytes(1024),
    "a device": lambda: raw(kind=tarfile.CHRTYPE) + bytes(1024),
    "a hard link": lambda: raw(kind=tarfile.LNKTYPE) + bytes(1024),
    "a file and a folder of one name": lambda: raw("a") + raw("a/b") + bytes(1024),
    "a name with a zero byte": lambda: (
        raw(kind=tarfile.XHDTYPE, size=13, content=b"13 path=a\0b\n") + raw() + bytes(1024)
    ),
}


SLOW = "too many members"
"""Takes a second, of which unpacking gzip is the least."""
MOST_MEMBERS = limits.MOST_MEMBERS // 4
"""As many as these have to do with a quarter of the memory."""


@pytest.mark.parametrize(
    ("name", "compressed"),
    [(name, compressed) for name in HOSTILE for compressed in (False, True) if name != SLOW or compressed],
)
def test_hostile_archives_are_refused_in_serving_and_in_training_within_little_memory(
    tmp_path, monkeypatch, name, compressed
):
    if name == SLOW:
        monkeypatch.setattr(archives, "MOST_MEMBERS", MOST_MEMBERS)
    content = HOSTILE[name]()
    if compressed:
        packer = zlib.compressobj(1, wbits=31)
        content = packer.compress(content) + packer.flush()
    (tmp_path / "model.tar.gz").write_bytes(content)
    del content
    tracemalloc.start()
    with pytest.raises(ModelError, match="cannot be unpacked: ."), unpacked(tmp_path):
        pass
    with pytest.raises(ChannelError, match="is not a model archive: ."), channels.unpacked(tmp_path):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (8 if name == SLOW else 32) << 20


def test_a_model_of_zeros_in_gzip_is_unpacked(tmp_path):
    pack(tmp_path / "model.tar.gz", ("model_algo-1", bytes(100 << 20)))
    with unpacked(tmp_path) as folder:
        assert (folder / "model_algo-1").stat().st_size == 100 << 20


@pytest.mark.parametrize("kind", ["fifo", "socket", "link to a fifo", "link to a device"])
@pytest.mark.parametrize("name", ["model_algo-1", "xgboost-model", "sub/other"])
def test_what_would_never_end_is_not_opened(tmp_path, kind, name):
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "readme").write_text("x")
    if kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(folder / name))
    elif kind == "link to a device":
        (folder / name).symlink_to("/dev/zero")
    else:
        fifo = tmp_path / "fifo" if kind.startswith("link") else folder / name
        os.mkfifo(fifo)
        if kind.startswith("link"):
            (folder / name).symlink_to(fifo)
    outcome = []

    def load():
        try:
            models.load(folder, Settings())
        except ModelError as error:
            outcome.append(str(error))

    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    thread.join(60)
    assert len(outcome) == 1
    assert "in the model folder is no plain file" in outcome[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable to root")
def test_a_model_that_may_not_be_read_is_the_users_error(tmp_path):
    (tmp_path / "model_algo-1").write_bytes(b"x")
    (tmp_path / "model_algo-1").chmod(0)
    with pytest.raises(ModelError):
        models.load(tmp_path, Settings(algorithm="kmeans"))


def test_a_model_on_a_disk_that_fails_is_the_users_error(tmp_path, monkeypatch):
    (tmp_path / "model_algo-1").write_bytes(b"x")

    def fail(*args):
        raise PermissionError(13, "Permission denied", "model_algo-1")

    monkeypatch.setattr(models, "find", fail)
    with pytest.raises(ModelError, match="cannot be read: .*Permission denied"):
        models.load(tmp_path, Settings())


def test_a_model_a_folder_below_is_named_and_so_is_the_place_that_the_user_said(tmp_path):
    (tmp_path / "job").mkdir()
    mxnet_files.save(tmp_path / "job" / "model_algo-1", [np.eye(3, 2, dtype=np.float32)])
    with pytest.raises(ModelError, match=r"in mine\.tar\.gz \(job\) as its model; .* There is a model in .* 'job'"):
        models.load(tmp_path, Settings(), Path("mine.tar.gz"))
    with pytest.raises(ModelError, match=r"mine is missing or empty"):
        models.load(tmp_path / "none", Settings(), Path("mine"))
