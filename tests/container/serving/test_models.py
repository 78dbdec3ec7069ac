"""An artifact that nobody has unpacked: what is in it is served, and nothing of it gets out."""

import io
import tarfile

import pytest

from algorithms.errors import ModelError
from container.serving.models import unpacked


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
