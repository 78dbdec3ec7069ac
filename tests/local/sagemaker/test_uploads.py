"""Uploads as clients of other languages send them: in AWS's chunks, with lengths and checksums that are compared."""

import base64
import contextlib
import hashlib
import http.client
import io
import time
import urllib.request
import zlib
from urllib.parse import urlsplit

import pytest
from werkzeug.serving import DechunkedInput

from local.sagemaker import uploads
from local.sagemaker.errors import AwsError

CONTENT = bytes(range(256)) * 40
CRC32 = base64.b64encode(zlib.crc32(CONTENT).to_bytes(4, "big")).decode()
OTHER = base64.b64encode(bytes(4)).decode()
SIGNATURE = "AWS4-HMAC-SHA256 Credential=x/20261130/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
UNSIGNED, SIGNED = "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"


def in_chunks(content: bytes, size: int = 4096, extension: bytes = b"", trailers: bytes = b"") -> bytes:
    parts = [content[at : at + size] for at in range(0, len(content), size)]
    return (
        b"".join(b"%x%s\r\n%s\r\n" % (len(part), extension, part) for part in [*parts, b""])[:-2] + trailers + b"\r\n"
    )


def chunked(kind: str = UNSIGNED, length: int = len(CONTENT), **more: str) -> dict[str, str]:
    return {"X-Amz-Content-Sha256": kind, "X-Amz-Decoded-Content-Length": str(length), **more}


def put(up, key: str, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
    with contextlib.closing(http.client.HTTPConnection(urlsplit(up.url).netloc, timeout=60)) as connection:
        connection.request("PUT", f"/bucket/{key}", body, headers | {"Authorization": SIGNATURE})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (in_chunks(CONTENT, extension=b";chunk-signature=" + b"0" * 64), chunked(SIGNED)),
        (in_chunks(CONTENT), chunked()),
        (
            in_chunks(CONTENT, trailers=f"x-amz-checksum-crc32:{CRC32}\r\n".encode()),
            chunked(**{"X-Amz-Trailer": "x-amz-checksum-crc32", "X-Amz-Sdk-Checksum-Algorithm": "CRC32"}),
        ),
        (
            in_chunks(CONTENT, trailers=b"x-amz-checksum-crc64nvme:AAAAAAAAAAA=\r\nx-amz-trailer-signature:0\r\n"),
            chunked(f"{SIGNED}-TRAILER", **{"X-Amz-Trailer": "x-amz-checksum-crc64nvme"}),
        ),
        (CONTENT, {"X-Amz-Content-Sha256": hashlib.sha256(CONTENT).hexdigest(), "X-Amz-Checksum-Crc32": CRC32}),
        (CONTENT, {"X-Amz-Content-Sha256": "UNSIGNED-PAYLOAD"}),
        (CONTENT, {"Content-Type": "application/x-www-form-urlencoded"}),
        (CONTENT, {"Content-Type": "multipart/form-data; boundary=x"}),
    ],
    ids=["signed chunks", "chunks", "trailer", "other trailer", "checksums", "plain", "as curl", "as a form"],
)
def test_an_upload_is_kept_as_it_was_before_it_was_put_in_chunks(up, body, headers):
    assert put(up, "upload", body, headers) == (200, "")
    kept = up.s3.get_object(Bucket="bucket", Key="upload", ChecksumMode="ENABLED")
    assert kept["Body"].read() == CONTENT
    if "X-Amz-Sdk-Checksum-Algorithm" in headers:
        assert kept["ChecksumCRC32"] == CRC32


@pytest.mark.parametrize(
    ("body", "headers", "code"),
    [
        (CONTENT, {"X-Amz-Checksum-Crc32": OTHER}, "BadDigest"),
        (CONTENT, {"X-Amz-Checksum-Sha1": "no base64"}, "BadDigest"),
        (CONTENT, {"Content-MD5": base64.b64encode(hashlib.md5(b"").digest()).decode()}, "BadDigest"),
        (CONTENT, {"X-Amz-Content-Sha256": hashlib.sha256(b"").hexdigest()}, "XAmzContentSHA256Mismatch"),
        (
            in_chunks(CONTENT, trailers=f"x-amz-checksum-crc32:{OTHER}\r\n".encode()),
            chunked(**{"X-Amz-Trailer": "x-amz-checksum-crc32"}),
            "BadDigest",
        ),
        (in_chunks(CONTENT[:-1]), chunked(), "IncompleteBody"),
        (in_chunks(CONTENT)[:5000], chunked(), "IncompleteBody"),
        (b"5\r\nabc\r\n0\r\n\r\n", chunked(length=3), "IncompleteBody"),
        (b"-3\r\nabc\r\n0\r\n\r\n", chunked(length=3), "IncompleteBody"),
        (CONTENT, chunked(), "IncompleteBody"),
    ],
)
def test_an_upload_that_is_not_what_its_headers_say_is_refused_and_the_object_stays(up, body, headers, code):
    """moto took each of them, and filled up with zeros what was missing."""
    up.s3.put_object(Bucket="bucket", Key="stays", Body=b"before")
    status, answer = put(up, "stays", body, headers)
    assert (status, f"<Code>{code}</Code>" in answer) == (400, True), answer
    assert up.s3.get_object(Bucket="bucket", Key="stays")["Body"].read() == b"before"


def test_a_file_that_curl_sends_to_a_presigned_address_is_kept(up):
    """``curl -X PUT --data-binary @rows.csv URL`` calls it a form: moto kept an empty object, with status 200."""
    rows = b"1,2\n3,4&a=b\n"
    url = up.s3.generate_presigned_url("put_object", Params={"Bucket": "bucket", "Key": "curl"})
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    with urllib.request.urlopen(urllib.request.Request(url, rows, form, method="PUT")) as answer:
        assert answer.status == 200
    assert up.s3.get_object(Bucket="bucket", Key="curl")["Body"].read() == rows


def test_many_chunks_take_no_longer_than_few(up):
    """moto copied all that it had at each of them: this took it half a minute."""
    content, began = bytes(24 << 20), time.monotonic()
    assert put(up, "many", in_chunks(content), chunked(length=len(content)))[0] == 200
    assert time.monotonic() - began < 10
    assert up.s3.head_object(Bucket="bucket", Key="many")["ContentLength"] == len(content)


def test_a_body_that_ends_before_its_length_is_refused():
    environ = {"REQUEST_METHOD": "PUT", "CONTENT_LENGTH": "9", "wsgi.input": io.BytesIO(b"short")}
    with pytest.raises(AwsError, match="The body ends before its length says"), uploads.received(environ):
        pytest.fail("it is taken")


def test_a_body_that_ends_within_a_chunk_of_http_is_refused():
    """werkzeug raises a ValueError there, which was answered with status 500."""
    environ = {"REQUEST_METHOD": "PUT", "HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    environ |= {"wsgi.input": DechunkedInput(io.BytesIO(b"9\r\nshort"))}
    with pytest.raises(AwsError, match="The body ends before its length says"), uploads.received(environ):
        pytest.fail("it is taken")
