"""Usual heads are read, and answers written, as by gunicorn; all others are left to it."""

from __future__ import annotations

import re

import pytest
from gunicorn.config import Config
from gunicorn.http import wsgi
from gunicorn.http.parser import RequestParser

from container.serving import heads
from container.serving.connection import Outbox

LINE = "POST /invocations HTTP/1.1"
PEER = ("127.0.0.1", 1)
USUAL = [
    ["Host: x", "Content-Length: 5"],
    ["Host: x:8080", "Content-Type: text/csv; charset=utf-8", "Accept: */*", "content-length:0007", "User-Agent: a/1"],
    ["Host:x", "CONTENT-LENGTH: \t5 ", "Accept:", "Connection: Keep-Alive", 'X-Quoted: "a: b", c\t d'],
    ["Host: x", "Content-Length: 5", "X-Amzn-Trace-Id: Root=1-2", "X-Request-Id: r", "X-Forwarded-For: 10.0.0.1"],
]
NOT_USUAL = [
    ["Host: x"],
    ["Host: x", "Content-Length: -1"],
    ["Host: x", "Content-Length: +5"],
    ["Host: x", "Content-Length: 5, 5"],
    ["Host: x", "Content-Length: 1_0"],
    ["Host: x", "Content-Length: 5", "Content-Length: 6"],
    ["Host: x", "Content-Length: 5", "content-length: 5"],
    ["Host: x", "Content-Length: 5", "Transfer-Encoding: chunked"],
    ["Host: x", "Content-Length: 5", "Transfer_Encoding: chunked"],
    ["Host: x", "Content-Length: 5", "Transfer-Encoding : chunked"],
    ["Host: x", "Content-Length: 5", "X-A: b", " Transfer-Encoding: chunked"],
    ["Host: x", "Content-Length: 5", "X-A: b\nTransfer-Encoding: chunked"],
    ["Host: x", "Content-Length: 5", "X-A: b\rTransfer-Encoding: chunked"],
    ["Host: x", "Content-Length: 5", "Expect: 100-continue"],
    ["Host: x", "Content-Length: 5", "Upgrade: h2c", "Connection: upgrade"],
    ["Host: x", "Content-Length: 5", "Connection: close"],
    ["Host: x", "Content-Length: 5", "Connection: keep-alive, close"],
    ["Host: x", "Host: y", "Content-Length: 5"],
    ["Host: x", "Content-Length: 5", "X-Forwarded-Proto: https", "X-Forwarded-Ssl: off"],
    ["Host: x", "Content-Length: 5", "X-A: b\0"],
    ["Host: x", "Content-Length: 5", "X-A: caf\xe9"],
    ["Host: x", "Content-Length: 5", ": nothing"],
    ["Host: x", "Content-Length: 5", "nothing"],
    ["Host: x", "Content-Length: 5", "X-Long: " + "a" * 8000],
    ["Host: x", "Content-Length: 5", *(f"X-{number}: a" for number in range(60))],
]


def head(fields: list[str], line: str = LINE) -> bytes:
    return "\r\n".join([line, *fields, "", ""]).encode("latin-1")


def parsed(text: bytes):
    return next(RequestParser(Config(), [text], PEER))


@pytest.mark.parametrize("fields", USUAL)
def test_a_usual_head_gives_what_gunicorn_gives_the_application(fields):
    found = heads.usual(head(fields))
    request = parsed(head(fields))
    _, environ = wsgi.create(request, Outbox(), PEER, PEER, Config())
    assert found.environ == {name: environ[name] for name in found.environ}
    expected = {name for name in environ if name.startswith("HTTP_")} | ({"CONTENT_TYPE"} & set(environ))
    assert set(found.environ) == expected
    assert found.length == int(environ["CONTENT_LENGTH"])
    assert not request.should_close()
    assert found.method == request.method


@pytest.mark.parametrize("fields", NOT_USUAL)
def test_whatever_changes_how_a_request_is_received_is_not_usual(fields):
    assert heads.usual(head(fields)) is None


@pytest.mark.parametrize(
    "line",
    ["GET /invocations HTTP/1.1", "POST /ping HTTP/1.1", "POST /invocations?a=b HTTP/1.1", "POST /invocations HTTP/1.0"]
    + ["post /invocations HTTP/1.1", "POST  /invocations HTTP/1.1", "POST http://x/invocations HTTP/1.1"],
)
def test_other_routes_are_not_usual(line):
    assert heads.usual(head(USUAL[0], line)) is None


@pytest.mark.parametrize("status", ["200 OK", "204 NO CONTENT", "415 UNSUPPORTED MEDIA TYPE"])
@pytest.mark.parametrize("keep", [True, False])
def test_an_answer_is_written_as_gunicorn_writes_it(status, keep):
    body = b"" if status.startswith("204") else b"0.5\n"
    headers = [("Content-Type", "text/csv; charset=utf-8"), ("X-Request-Id", "one")]
    headers += [("Content-Length", str(len(body)))] if body else []
    outbox = Outbox()
    theirs = wsgi.Response(parsed(head(USUAL[0])), outbox, Config())
    if not keep:
        theirs.force_close()
    theirs.start_response(status, headers)
    theirs.write(body)
    theirs.close()
    date = re.compile(rb"Date: [^\r]+GMT\r\n")
    found = heads.response(status, headers, body, keep=keep)
    assert date.search(found)
    assert date.sub(b"", found) == date.sub(b"", b"".join(outbox.parts))
