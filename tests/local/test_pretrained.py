"""``oba pretrained`` against a server on loopback: what is right is kept, and nothing else."""

from __future__ import annotations

import contextlib
import hashlib
import io
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from algorithms.common import mxnet_files
from algorithms.image_classification import gluon, pretrained
from container.settings import ConfigurationError
from local.commands import oba
from recordio import limits


def checkpoint(folder: Path, layers: int) -> bytes:
    """A file with the names of a network's parameters, small ones."""
    names = [f"arg:stage1_unit{number}_conv1_weight" for number in range(layers - 1)]
    arrays = {
        name: np.ones(2, np.float32) for name in [*names, "arg:fc1_weight", "arg:fc1_bias", "arg:unit1_sc_weight"]
    }
    mxnet_files.save(folder / "made.params", arrays)
    return (folder / "made.params").read_bytes()


class Server(ThreadingHTTPServer):
    """Answers each path with what ``answers`` has for it: status, headers, body."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}

    @classmethod
    @contextlib.contextmanager
    def running(cls) -> Iterator[Server]:
        """One that answers as long as the block runs."""
        with cls() as one:
            thread = threading.Thread(target=one.serve_forever, args=(0.02,))
            thread.start()
            yield one
            one.shutdown()
            thread.join()

    def at(self, path: str, body: bytes, status: int = 200, **headers: str) -> str:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers[path] = status, {"Content-Length": str(len(body)), **named}, body
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:  # the name that the library calls
        status, headers, body = self.server.answers.get(self.path, (404, {"Content-Length": "0"}, b""))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server.running() as one:
        yield one


def fetched(folder: Path, address: str, *more: str, name: str = "resnet-18") -> Result:
    words = ["pretrained", name, "--output", str(folder), "--address", address]
    return CliRunner().invoke(oba, [*words, *more])


def said(done: Result) -> str:
    """What a user reads: the command's own lines, and the error that ``local.__main__`` prints."""
    return f"{done.output}{done.exception}"


def test_a_checkpoint_is_put_where_training_looks(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = checkpoint(tmp_path, 18)
    home, sha = tmp_path / "home", hashlib.sha256(data).hexdigest()
    monkeypatch.setenv("HOME", str(home))
    etag = f'"{hashlib.md5(data).hexdigest()}"'
    address = server.at("/resnet-18-0000.params", data, ETag=etag)
    words = ["pretrained", "resnet-18", "--address", address, "--sha256", sha.upper()]
    done = CliRunner().invoke(oba, words)
    assert done.exit_code == 0, done.output
    file = home / ".cache/open-builtin-algorithms/pretrained/resnet-18.params"
    assert file.read_bytes() == data
    assert f"{len(data):,} bytes, SHA-256 {sha}" in done.output and "use_pretrained_model=1" in done.output
    assert pretrained._in_image(18) == file
    server.answers.clear()  # it is not fetched again
    assert "Already here" in CliRunner().invoke(oba, words).output
    refused = CliRunner().invoke(oba, [*words[:-1], "0" * 64])
    assert refused.exit_code != 0 and "its SHA-256 is" in said(refused)


def test_what_is_not_the_checkpoint_is_refused_and_leaves_nothing(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, folder = checkpoint(tmp_path, 18), tmp_path / "out"
    folder.mkdir()
    monkeypatch.setattr("local.pretrained.LARGEST_CHECKPOINT", len(data))
    cases = {
        "other layers": (server.at("/20", checkpoint(tmp_path, 17)), "it has 17 layers with weights"),
        "a page": (server.at("/page", b"<html>moved</html>"), "is not the checkpoint of resnet-18"),
        "cut": (server.at("/cut", data[:-9], Content_Length=str(len(data))), f"of {len(data):,} bytes came"),
        "changed": (server.at("/changed", data, ETag='"' + "0" * 32 + '"'), "the server states 0000"),
        "too long": (server.at("/long", data + b"0"), f"more than {len(data):,} bytes"),
        "said to be too long": (
            server.at("/long", b"", Content_Length=str(len(data) + 1)),
            f"more than {len(data):,} bytes",
        ),
        "to FTP": (server.at("/ftp", b"", 302, Location="ftp://127.0.0.1:9/x"), "leads to ftp://127.0.0.1:9/x"),
        "to a file": (server.at("/away", b"", 302, Location="file:///etc/passwd"), "HTTP Error 302"),
        "missing": (server.at("/gone", b"", status=404), "HTTP Error 404"),
        "no server": ("http://127.0.0.1:9/x", "cannot be fetched: Connection refused; --address names a mirror"),
        "a file": ("file:///etc/passwd", "expected an address that starts with http"),
        "broken": ("http://[", "cannot be fetched"),
    }
    for case, (address, reason) in cases.items():
        done = fetched(folder, address)
        assert isinstance(done.exception, ConfigurationError), (case, done.exception)
        assert reason in said(done), (case, said(done))
        assert said(done).count(address) <= 1, said(done)
        assert not list(folder.iterdir()), case
    wrong = fetched(folder, server.at("/right", data), "--sha256", "ab" * 32)
    assert "--sha256 says abab" in said(wrong)
    assert "64 hexadecimal digits" in said(fetched(folder, "http://127.0.0.1:9/", "--sha256", "ab"))
    assert not list(folder.iterdir())


def test_what_a_server_says_cannot_write_on_the_terminal(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_answer, args=(listening, b"HTTP/1.0 404 \x1b]0;title\x07\r\n\r\n"))
        thread.start()
        done = fetched(tmp_path, f"http://127.0.0.1:{listening.getsockname()[1]}/x")
        thread.join()
    assert r"\x1b]0;title\x07" in said(done) and "\x1b" not in said(done)


def _answer(listening: socket.socket, data: bytes) -> None:
    connection, _ = listening.accept()
    with connection:
        connection.recv(1 << 16)
        connection.sendall(data)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_of_a_file_that_was_coming(tmp_path: Path, number: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        words = ["pretrained", "resnet-18", "--output", str(tmp_path)]
        words += ["--address", f"http://127.0.0.1:{listening.getsockname()[1]}/x"]
        # A shell has what it starts in the background ignore Ctrl-C; whoever runs these tests may be such a process.
        heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        with subprocess.Popen([sys.executable, "-m", "local", *words], preexec_fn=heard) as run:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 9999999\r\n\r\n" + bytes(1 << 20))
                until(lambda: any(one.stat().st_size for one in tmp_path.iterdir()))
                run.send_signal(number)
                assert run.wait(60) == 128 + number
    assert not list(tmp_path.iterdir())


def until(met: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not met():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_an_unknown_name_is_answered_by_those_that_there_are(tmp_path: Path) -> None:
    done = fetched(tmp_path, "http://127.0.0.1:9/", name="resnet-51")
    assert "resnet-18, resnet-34, resnet-50, resnet-101, resnet-152, resnet-200" in said(done)


def test_the_bound_has_room_for_the_largest() -> None:
    assert limits.LARGEST_CHECKPOINT > 4 * 65_000_000  # parameters of 200 layers, float32


def archived(**files: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data, zipfile.ZIP_DEFLATED)
    return made.getvalue()


def damaged(data: bytes) -> bytes:
    """An archive by LZMA, whose bytes are not."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a", data)
    content = bytearray(made.getvalue())
    content[60:100] = bytes(range(160, 200))
    return bytes(content)


def test_what_is_not_what_gluon_has_published_is_refused(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, folder = checkpoint(tmp_path, 50), tmp_path / "out"
    folder.mkdir()
    monkeypatch.setattr("local.pretrained.LARGEST_CHECKPOINT", 1 << 20)
    cases = {
        "/changed": (archived(a=data), "its SHA-1 is "),
        "/two": (archived(a=data, b=data), "is not an archive of one file"),
        "/none": (archived(), "is not an archive of one file"),
        "/page": (b"<html>moved</html>", "is not an archive of one file"),
        "/cut": (archived(a=data)[:-30], "is not an archive of one file"),
        "/bomb": (archived(a=bytes(2 << 20)), "2,097,152 bytes unpacked"),
        "/damaged": (damaged(data), "is not an archive of one file"),
    }
    for path, (body, reason) in cases.items():
        done = fetched(folder, server.at(path, body), "--gluon", name="resnet-50")
        assert isinstance(done.exception, ConfigurationError), (path, done.exception)
        assert reason in said(done), (path, said(done))
        assert not list(folder.iterdir()), path
    monkeypatch.setitem(gluon.PUBLISHED, 50, hashlib.sha1(data).hexdigest())
    other = fetched(folder, server.at("/other", archived(a=data)), "--gluon", name="resnet-50")
    assert "there is no array" in said(other) and not list(folder.iterdir())
    assert "resnet-50, resnet-101, resnet-152" in said(fetched(folder, "http://127.0.0.1:9/", "--gluon"))
    assert fetched(folder, "http://127.0.0.1:9/", "--gluon", "--sha256", "00").exit_code == 2


def test_the_digest_that_is_said_of_gluons_is_that_of_the_file_which_stays(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, folder = checkpoint(tmp_path, 50), tmp_path / "out"
    monkeypatch.setitem(gluon.PUBLISHED, 50, hashlib.sha1(data).hexdigest())
    monkeypatch.setattr(gluon, "converted", lambda arrays, _layers: arrays)
    done = fetched(folder, server.at("/gluon", archived(a=data)), "--gluon", name="resnet-50")
    (file,) = folder.iterdir()
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert f"SHA-256 {digest}\n" in done.output
    again = fetched(folder, "http://127.0.0.1:9/", "--sha256", digest, name="resnet-50")
    assert again.exit_code == 0 and "Already here" in again.output
