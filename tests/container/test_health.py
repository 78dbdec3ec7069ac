"""The health check of a container, against real sockets."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from container import health


@pytest.fixture(params=[200, 503])
def server(request):
    """A server whose /ping answers with a status, as (port, status)."""

    class Ping(BaseHTTPRequestHandler):
        def do_GET(self):  # the name that http.server calls
            self.send_response(request.param if self.path == "/ping" else 404)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Ping) as http_server:
        thread = threading.Thread(target=http_server.serve_forever)
        thread.start()
        yield http_server.server_port, request.param
        http_server.shutdown()
        thread.join()


def main_process(monkeypatch, tmp_path, command_line: bytes, port: int = 0) -> None:
    (tmp_path / "cmdline").write_bytes(command_line)
    monkeypatch.setattr(health, "_MAIN_PROCESS", tmp_path / "cmdline")
    monkeypatch.setenv("SAGEMAKER_BIND_TO_PORT", str(port))


def test_a_server_is_as_healthy_as_its_ping(server, monkeypatch, tmp_path):
    port, status = server
    main_process(monkeypatch, tmp_path, b"/opt/venv/bin/python3\0/opt/venv/bin/serve\0", port)
    assert health.main() == (0 if status == 200 else 1)


def test_a_server_that_does_not_listen_is_not_healthy(monkeypatch, tmp_path):
    main_process(monkeypatch, tmp_path, b"serve\0", 1)
    assert health.main() == 1


def test_a_training_container_is_healthy_without_a_server(monkeypatch, tmp_path):
    main_process(monkeypatch, tmp_path, b"/opt/venv/bin/python3\0/opt/venv/bin/train\0", 1)
    assert health.main() == 0
