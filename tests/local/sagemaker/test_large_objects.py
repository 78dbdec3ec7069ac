"""Objects of many megabytes in `oba up`: uploaded in parts, read whole and in ranges, as boto3's transfers do."""

from __future__ import annotations

import hashlib
import io
import urllib.request
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("boto3")
pytest.importorskip("moto")

from boto3.s3.transfer import TransferConfig

pytestmark = pytest.mark.slow

CONTENT = np.random.default_rng(1).bytes((20 << 20) + 5)
PART = 6 << 20


@pytest.fixture(scope="module")
def uploaded(up):
    """The keys of an object that is sent whole and of one that is sent in parts."""
    up.s3.put_object(Bucket="bucket", Key="large/whole", Body=CONTENT, ContentType="text/plain", Metadata={"a": "b"})
    given = {"ExtraArgs": {"ContentType": "text/plain", "Metadata": {"a": "b"}}}
    config = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART)
    up.s3.upload_fileobj(io.BytesIO(CONTENT), "bucket", "large/parts", Config=config, **given)
    return ("large/whole", "large/parts")


def test_a_large_object_is_read_whole_in_ranges_and_on_conditions(up, uploaded):
    digests = b"".join(hashlib.md5(CONTENT[start : start + PART]).digest() for start in range(0, len(CONTENT), PART))
    etags = [hashlib.md5(CONTENT).hexdigest(), f"{hashlib.md5(digests).hexdigest()}-4"]
    for key, etag in zip(uploaded, etags, strict=True):
        asked = {"Bucket": "bucket", "Key": key}
        answer = up.s3.get_object(**asked)
        told = {name: answer[name] for name in ("ETag", "ContentLength", "ContentType", "Metadata")}
        assert told == {
            "ETag": f'"{etag}"', "ContentLength": len(CONTENT), "ContentType": "text/plain", "Metadata": {"a": "b"}
        }  # fmt: skip
        assert answer["Body"].read() == CONTENT
        for text, start, stop in (("0-0", 0, 1), ("7000000-7000009", 7000000, 7000010), ("-3", len(CONTENT) - 3, None)):
            part = up.s3.get_object(**asked, Range=f"bytes={text}", IfMatch=f'"{etag}"')
            assert part["Body"].read() == CONTENT[start:stop]
            assert part["ContentRange"].endswith(f"/{len(CONTENT)}")
        back = io.BytesIO()
        up.s3.download_fileobj("bucket", key, back)
        assert back.getvalue() == CONTENT
        for more, code in (
            ({"Range": f"bytes={len(CONTENT)}-"}, "InvalidRange"),
            ({"IfMatch": '"other"'}, "PreconditionFailed"),
            ({"IfNoneMatch": f'"{etag}"'}, "304"),
        ):
            with pytest.raises(up.s3.exceptions.ClientError) as caught:
                up.s3.get_object(**asked, **more)
            assert caught.value.response["Error"]["Code"] == code


@pytest.mark.parametrize("key", ["large/whole", "train/part-0"])
@pytest.mark.parametrize(
    "text", ["", "a", "0", "bytes", "bytes a", "bytes=1", "bytes=-", "bytes=1-10-", "bytes=1-10a", "bytes=1--1"]
)
def test_a_range_that_is_none_gives_the_whole_object_as_s3_does(up, uploaded, key, text):
    whole = up.s3.get_object(Bucket="bucket", Key=key)["Body"].read()
    answer = up.s3.get_object(Bucket="bucket", Key=key, Range=text)
    assert (answer["ResponseMetadata"]["HTTPStatusCode"], answer["Body"].read()) == (200, whole)
    assert up.s3.head_object(Bucket="bucket", Key=key, Range=text)["ContentLength"] == len(whole)


def test_a_large_object_is_sent_in_pieces_whoever_asks(up, uploaded):
    """By a presigned URL, and as JavaScript's clients ask."""
    url = up.s3.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": uploaded[0]})
    signed = {"Authorization": "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request"}
    for address, headers in ((url, {}), (f"{up.url}/bucket/{uploaded[0]}?x-id=GetObject", signed)):
        before = _peak(up.process.pid)
        request = urllib.request.Request(address, headers=headers | {"Range": "bytes=5-9"})
        with urllib.request.urlopen(request) as answer:
            assert (answer.status, answer.read()) == (206, CONTENT[5:10])
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers)) as answer:
            assert answer.read() == CONTENT
        assert _peak(up.process.pid) - before < len(CONTENT) / 2
    url = up.s3.generate_presigned_url(
        "get_object", Params={"Bucket": "bucket", "Key": uploaded[0], "ResponseContentType": "a/b"}
    )
    with urllib.request.urlopen(url) as answer:
        assert (answer.headers["Content-Type"], answer.read()) == ("a/b", CONTENT)


def _peak(process: int) -> int:
    """The most memory that the process has had, in bytes, since this was last asked."""
    folder = Path("/proc") / str(process)
    status = (folder / "status").read_text()
    (folder / "clear_refs").write_text("5")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def test_a_bucket_that_the_host_names_is_not_taken_from_the_path(up):
    contents = {"one/two/large": b"1" * (2 << 20), "two/large": b"2" * (2 << 20)}
    for place, content in contents.items():
        bucket, _, key = place.partition("/")
        up.s3.create_bucket(Bucket=f"host-{bucket}")
        up.s3.put_object(Bucket=f"host-{bucket}", Key=f"host-{key}" if "/" in key else key, Body=content)
    signed = {"Authorization": "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request"}
    for host, content in (("host-one.localhost", b"1"), ("localhost", b"2")):
        request = urllib.request.Request(f"{up.url}/host-two/large", headers=signed | {"Host": host})
        with urllib.request.urlopen(request) as answer:
            assert answer.read() == content * (2 << 20)


def test_a_large_object_is_copied_in_parts(up, uploaded):
    config = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART)
    up.s3.copy({"Bucket": "bucket", "Key": uploaded[0]}, "bucket", "large/copy", Config=config)
    answer = up.s3.get_object(Bucket="bucket", Key="large/copy")
    assert answer["ETag"] == up.s3.head_object(Bucket="bucket", Key=uploaded[1])["ETag"]
    assert answer["Body"].read() == CONTENT


@pytest.mark.parametrize("place", ["5-2", f"{len(CONTENT)}-{len(CONTENT)}", f"7-{len(CONTENT)}"])
def test_a_part_of_a_range_that_is_not_there_is_refused(up, uploaded, place):
    asked = {"Bucket": "bucket", "Key": "large/range"}
    asked |= {"UploadId": up.s3.create_multipart_upload(**asked)["UploadId"], "PartNumber": 1}
    with pytest.raises(up.s3.exceptions.ClientError, match="not valid for source object of size") as caught:
        up.s3.upload_part_copy(**asked, CopySource=f"bucket/{uploaded[0]}", CopySourceRange=f"bytes={place}")
    assert caught.value.response["Error"]["Code"] == "InvalidArgument"
    up.s3.abort_multipart_upload(**{name: asked[name] for name in ("Bucket", "Key", "UploadId")})


def test_an_upload_whose_parts_are_wrong_is_refused_and_may_be_completed_later(up, state):
    asked = {"Bucket": "bucket", "Key": "large/wrong"}
    asked |= {"UploadId": up.s3.create_multipart_upload(**asked)["UploadId"]}
    bodies = [CONTENT[:PART], b"small", b"last"]
    tags = [up.s3.upload_part(**asked, PartNumber=number, Body=body)["ETag"] for number, body in enumerate(bodies, 1)]

    def complete(*named: tuple[int, str]) -> None:
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in named]
        up.s3.complete_multipart_upload(**asked, MultipartUpload={"Parts": parts})

    for named, code in (
        (((1, tags[2]),), "InvalidPart"),
        (((1, tags[0]), (2, tags[1]), (3, tags[2])), "EntityTooSmall"),
    ):
        with pytest.raises(up.s3.exceptions.ClientError) as caught:
            complete(*named)
        assert caught.value.response["Error"]["Code"] == code
    complete((1, tags[0]), (3, tags[2]))
    answer = up.s3.get_object(Bucket="bucket", Key="large/wrong")["Body"].read()
    assert answer == CONTENT[:PART] + b"last"
    with pytest.raises(up.s3.exceptions.ClientError) as caught:  # as a client that has not heard of the answer does
        complete((1, tags[0]), (3, tags[2]))
    assert caught.value.response["Error"]["Code"] == "NoSuchUpload"
    assert not list((state / "s3" / "bucket").glob("*.joined"))
