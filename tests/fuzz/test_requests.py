"""Malformed and hostile requests, byte by byte, to real servers: never a 500, no traceback, and they live on.

A few hundred in ``make test``. More, and others: ``FUZZ_REQUESTS=100000 FUZZ_SEED=7 pytest tests/fuzz``.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import socket
import struct

import numpy as np
import pytest

from recordio import record_writer
from tests.contract.serving_cases import make_kmeans
from tests.server import running

COUNT = int(os.environ.get("FUZZ_REQUESTS", "400"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
ALLOWED = {200, 204, 400, 404, 405, 406, 408, 409, 413, 414, 415, 417, 431, 501, 507}
ROWS = np.float32([[1, 2, 3, 4], [5, 6, 7, 8]])
SECONDS = 5

WORDS = (
    b"\r\n", b"\n", b"\0", b":", b";", b",", b" ", b"\t", b"%00", b"..", b"/", b"?", b"#", b"\xff\xfe", b"-1", b"1e999",
    b"nan", b"9" * 30, b"[" * 2000, b'{"', b"chunked", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Expect: 100-continue\r\n", b"Connection: close\r\n", b"HTTP/1.0", b"HTTP/2.0", b"0\r\n\r\n", b"x" * 5000,
)  # fmt: skip


def http(path, content_type, body, *, method=b"POST", chunked=False, extra=b""):
    head = b"%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\n%s" % (method, path, content_type, extra)
    if chunked:
        at = len(body) // 2
        parts = [part for part in (body[:at], body[at:]) if part]
        framed = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
        return head + b"Transfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def inference(binary):
    tensor = {"name": "features", "datatype": "FP32", "shape": [2, 4]}
    if not binary:
        return json.dumps({"inputs": [{**tensor, "data": ROWS.ravel().tolist()}]}).encode(), b""
    head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": 32}}]}).encode()
    return head + ROWS.tobytes(), b"Inference-Header-Content-Length: %d\r\n" % len(head)


def requests(paths):
    """Valid requests, to start from."""
    dense = json.dumps({"instances": [{"features": row} for row in ROWS.tolist()]}).encode()
    sparse = b'{"data": {"features": {"keys": [0, 3], "shape": [4], "values": [1, 2]}}}\n'
    bodies = [
        (b"text/csv", b"1,2,3,4\n5,6,7,8\n"),
        (b"text/csv; label_size=0; charset=utf-8", b"1,2,3,4"),
        (b"application/json", dense),
        (b"application/jsonlines", sparse * 2),
        (b"application/x-recordio-protobuf", record_writer.encode_records(ROWS)),
    ]
    for path in paths:
        for media, body in bodies:
            for chunked in (False, True):
                yield http(path, media, body, chunked=chunked, extra=b"Accept: application/json;q=0.5, text/csv\r\n")
    for binary in (False, True):
        body, extra = inference(binary)
        yield http(b"/v2/models/kmeans/infer", b"application/json", body, extra=extra)
    for path in (b"/ping", b"/execution-parameters", b"/models", b"/v2", b"/v2/models/kmeans", b"/v2/health/ready"):
        yield http(path, b"", b"", method=b"GET")
    yield http(b"/models", b"application/json", b'{"model_name": "kmeans", "url": "/opt/ml/models/a/model"}')
    yield http(b"/models/kmeans", b"", b"", method=b"DELETE")


def mutated(valid, rng):
    """``valid`` with a few pieces replaced, removed, inserted, repeated, swapped or cut off."""
    changed = bytearray(valid)
    for _ in range(rng.randint(1, 5)):
        at = rng.randrange(len(changed) + 1)
        length = rng.choice([1, 1, 2, 4, 8, 64])
        kind = rng.randrange(7)
        if kind == 0:
            changed[at : at + length] = rng.randbytes(length)
        elif kind == 1:
            del changed[at : at + length]
        elif kind == 2:
            changed[at:at] = rng.choice(WORDS)
        elif kind == 3:
            changed[at:at] = changed[at : at + length] * rng.choice([1, 3, 50])
        elif kind == 4:
            del changed[at:]
        elif kind == 5:
            changed[at : at + 4] = struct.pack("<I", rng.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1]))
        elif changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def answers(server, sent):
    """The statuses that answer ``sent``; the sending side is closed after it, so that nothing waits for more."""
    received = b""
    with socket.create_connection(("127.0.0.1", server.port), SECONDS) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, OSError):
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(1 << 16):
                received += piece
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] ([0-9]{3}) ", received)]


@pytest.fixture(scope="module", params=["one model", "many models"])
def fuzzed(request, tmp_path_factory):
    base = tmp_path_factory.mktemp("fuzzed")
    folder = base / "model" if request.param == "one model" else base / "models" / "a" / "model"
    folder.mkdir(parents=True)
    make_kmeans(folder)
    if request.param == "one model":
        with running(base, ALGORITHM="kmeans") as server:
            yield server, [b"/invocations"]
        return
    with running(base, ALGORITHM="kmeans", SAGEMAKER_MULTI_MODEL="true") as server:
        body = json.dumps({"model_name": "kept", "url": str(folder)}).encode()
        assert server.request("POST", "/models", body).status == 200
        yield server, [b"/models/kept/invoke"]


def test_no_request_is_the_servers_fault(fuzzed):
    server, paths = fuzzed
    rng = random.Random(SEED)
    valid = [*requests(paths)]
    for one in valid:
        assert set(answers(server, one)) <= {200, 400, 404}
    for number in range(COUNT):
        sent = mutated(rng.choice(valid), rng)
        if b"DELETE /models/kept" in sent:
            continue
        found = answers(server, sent)
        assert set(found) <= ALLOWED | {100}, f"FUZZ_SEED={SEED}, number {number}: {found} to {sent!r}"
    assert "Traceback" not in server.log
    path = paths[0].decode()
    answer = server.request("POST", path, b"1,2,3,4", {"Content-Type": "text/csv"})
    assert answer.status == 200
    assert server.ping().status == 200
