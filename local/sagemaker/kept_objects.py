"""moto's S3 on disk: its buckets and objects are kept in the state folder for later servers.

Below ``s3/``, each bucket is a folder with a ``bucket.json``, and for each key a JSON file with its versions, named by
the key's SHA-256, beside a file of bytes for each version. A request that changes something is answered when the files
are written. Kept are contents, metadata, tags and versions of objects, and region, versioning and tags of buckets; not
policies, access lists, notifications and uploads in parts that are not completed.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import json
import re
import secrets
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moto.s3.exceptions import InvalidArgumentError, InvalidBucketName, NoSuchUpload
from moto.s3.models import FakeBucket, FakeDeleteMarker, FakeKey, s3_backends
from moto.s3.utils import _VersionedKeyStore

from local.sagemaker import kept_uploads
from local.sagemaker.cloud import ACCOUNT
from local.sagemaker.store import whole

_PARTITION = "aws"
_NOW = functools.partial(datetime.datetime.now, datetime.UTC)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,62}")
_FIELDS = (
    *("_version_id", "_storage_class", "_etag", "encryption", "kms_key_id", "bucket_key_enabled", "contentsize"),
    *("lock_mode", "lock_legal_status", "lock_until", "website_redirect_location"),
    *("checksum_algorithm", "checksum_value", "checksum_type", "checksum_parts"),
)
"""Of a version, attributes that are text, numbers or None."""


class _Content:
    """What moto asks of the temporary file that holds an object's bytes, for a file that stays."""

    def __init__(self, file: Path) -> None:
        self.file, self._at = file, 0

    def seek(self, place: int) -> None:
        self._at = place

    def read(self, size: int = -1) -> bytes:
        with self.file.open("rb") as stream:
            stream.seek(self._at)
            content = stream.read(size)
        self._at += len(content)
        return content

    def close(self) -> None:
        """Nothing is open."""


class _Joined(_Content):
    """Of an upload in parts, which has no record yet: the file gets another name then."""


class _Keys(_VersionedKeyStore):
    """A bucket's keys, which notes those that change."""

    def __init__(self, bucket: str, changed: _Changed) -> None:
        super().__init__()
        self._bucket, self._changed = bucket, changed

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        self._changed.keys.add((self._bucket, key))

    def setlist(self, key: str, versions: Any) -> None:
        for version in versions:
            if (file := getattr(getattr(version, "multipart", None), "joined", None)) is not None:
                version._value_buffer.close()
                version._value_buffer, version.contentsize = _Joined(file), file.stat().st_size
                version.multipart.joined = None
        super().setlist(key, versions)
        self._changed.keys.add((self._bucket, key))

    def pop(self, key: str) -> None:  # type: ignore[override]
        super().pop(key)
        self._changed.keys.add((self._bucket, key))


class _Buckets(dict[str, FakeBucket]):
    """The buckets, whose keys are noted as they change."""

    def __init__(self, changed: _Changed) -> None:
        super().__init__()
        self._changed = changed

    def __setitem__(self, name: str, bucket: FakeBucket) -> None:
        if not _NAME.fullmatch(name):  # it becomes a folder's
            s3_backends.bucket_accounts.pop(name, None)
            raise InvalidBucketName
        bucket.keys = _Keys(name, self._changed)
        super().__setitem__(name, bucket)


class _Changed(threading.local):
    """The keys that the request of this thread has changed."""

    def __init__(self) -> None:
        self.keys: set[tuple[str, str]] = set()


class KeptObjects:
    """The objects of moto's S3, on disk.

    Args:
        folder: of the state; what is there is in S3 from now on.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._changed, self._lock = folder / "s3", _Changed(), threading.Lock()
        self._backend: Any = s3_backends[ACCOUNT][_PARTITION]
        self._buckets = self._backend.buckets = _Buckets(self._changed)
        self._told: dict[str, str] = {}
        for file in sorted(self._folder.glob("*/bucket.json")):
            self._read_bucket(file)
        self._changed.keys.clear()
        put_tags = self._backend.put_object_tagging

        def put_object_tagging(key: Any, tags: Any) -> Any:
            self._changed.keys.add((key.bucket_name, key.name))
            return put_tags(key, tags)

        self._backend.put_object_tagging = put_object_tagging  # type: ignore[method-assign]
        self._copy_part = self._backend.upload_part_copy
        self._backend.upload_part_copy = self._part_copied  # type: ignore[method-assign, assignment]
        self._complete = self._backend.complete_multipart_upload
        self._backend.complete_multipart_upload = self._completed  # type: ignore[method-assign, assignment]

    def write(self) -> None:
        """Write what the request of this thread has changed."""
        with self._lock:
            self._write_buckets()
            for bucket, key in self._changed.keys:
                if bucket in self._buckets:
                    self._write_key(bucket, key)
            self._changed.keys.clear()

    def file(self, bucket: str, key: str) -> Path | None:
        """The file with the bytes of a key's newest version, which is never written to again; None where there is none.

        It is gone when the object is: who needs it longer gives it a name of its own.
        """
        with self._lock:
            found = self._buckets[bucket].keys.get(key) if bucket in self._buckets else None
        content = getattr(found, "_value_buffer", None)
        return content.file if isinstance(content, _Content) else None

    def _part_copied(self, bucket: str, identity: str, number: int, **source: Any) -> Any:
        """A part that is a range of an object, of which moto would read all."""
        found = self._backend.get_object(source["src_bucket_name"], source["src_key_name"], source["src_version_id"])
        content, start, last = getattr(found, "_value_buffer", None), source["start_byte"], source["end_byte"]
        if start is None or not isinstance(content, _Content):
            return self._copy_part(bucket, identity, number, **source)
        size = content.file.stat().st_size
        if not start <= last < size:
            told = f"Range specified is not valid for source object of size: {size}"
            raise InvalidArgumentError(told, "x-amz-copy-source-range", f"bytes={start}-{last}")
        with content.file.open("rb") as stream:
            stream.seek(start)
            piece = stream.read(last + 1 - start)
        return self._backend.upload_part(bucket, identity, number, piece)

    def _completed(self, bucket: str, identity: str, named: Any) -> Any:
        """What moto does to complete an upload in parts, with the bytes in a file instead of in memory."""
        if (upload := self._backend.get_bucket(bucket).multiparts.get(identity)) is None:
            raise NoSuchUpload(identity)
        file = self._folder / bucket / f"{secrets.token_hex(8)}.joined"
        try:
            etag, checksum = kept_uploads.join(upload, named, file)
            upload.complete, upload.joined = lambda _: (b"", etag, checksum), file
            return self._complete(bucket, identity, iter(()))
        except BaseException:
            file.unlink(missing_ok=True)
            raise

    # ---- to disk ----------------------------------------------------------------------------------------------------

    def _write_buckets(self) -> None:
        for name, bucket in list(self._buckets.items()):
            about = {
                "region": bucket.region_name,
                "created": bucket.creation_date.isoformat(),
                "versioning": bucket.versioning_status,
                "tags": self._backend.tagger.get_tag_dict_for_resource(bucket.arn),
            }
            if self._told.get(name) != (text := json.dumps(about)):
                _replace(self._folder / name / "bucket.json", text)
                self._told[name] = text
        for name in self._told.keys() - self._buckets.keys():
            (self._folder / name / "bucket.json").unlink()
            shutil.rmtree(self._folder / name)
            del self._told[name]

    def _write_key(self, bucket: str, key: str) -> None:
        record = self._folder / bucket / f"{hashlib.sha256(key.encode()).hexdigest()}.json"
        before = json.loads(record.read_text())["versions"] if record.is_file() else []
        versions = [self._written(version, record) for version in self._buckets[bucket].keys.getlist(key, [])]
        if versions:
            _replace(record, json.dumps({"key": key, "versions": versions}))
        else:
            record.unlink(missing_ok=True)
        for gone in _files(before) - _files(versions):
            record.with_name(gone).unlink()

    def _written(self, version: Any, record: Path) -> dict[str, Any]:
        """A version as JSON, its bytes in a file, from which moto reads from now on."""
        about: dict[str, Any] = {"modified": version.last_modified.isoformat()}
        if isinstance(version, FakeDeleteMarker):
            return about | {"marker": version.version_id}
        file = record.with_name(f"{record.stem}.{secrets.token_hex(8)}")
        if isinstance(version._value_buffer, _Joined):
            version._value_buffer = _Content(version._value_buffer.file.replace(file))
        elif not isinstance(version._value_buffer, _Content):
            _ = version.etag  # made of the bytes, unless it is known
            version._value_buffer.seek(0)
            try:
                with file.open("wb") as stream:
                    shutil.copyfileobj(version._value_buffer, stream, 1 << 20)
            except OSError:  # a full disk must not stay full of half an object
                file.unlink(missing_ok=True)
                raise
            version._value_buffer.close()
            version._value_buffer = _Content(file)
        if version.multipart is not None:
            version.multipart.dispose()  # the parts, whose bytes are there a second time
            version.multipart = None
        return about | {
            "file": version._value_buffer.file.name,
            "metadata": dict(version.metadata),
            "tags": self._backend.tagger.get_tag_dict_for_resource(version.arn),
            **{name.lstrip("_"): getattr(version, name) for name in _FIELDS},
        }

    # ---- from disk --------------------------------------------------------------------------------------------------

    def _read_bucket(self, file: Path) -> None:
        name, about = file.parent.name, whole(file)
        if about is None:
            about = {"region": "us-east-1", "created": _NOW().isoformat(), "versioning": None, "tags": {}}
            _replace(file, json.dumps(about))
        bucket: Any = FakeBucket(name=name, account_id=ACCOUNT, region_name=about["region"])  # type: ignore[abstract]
        bucket.creation_date = datetime.datetime.fromisoformat(about["created"])
        bucket.versioning_status = about["versioning"]
        self._buckets[name], self._told[name] = bucket, json.dumps(about)
        self._tag(bucket.arn, about["tags"])
        known: set[Path] = {file}
        for record in file.parent.glob("*.json"):
            if record != file and (content := whole(record)) is not None:
                bucket.keys.setlist(content["key"], list(self._read_versions(bucket, content, record)))
                known |= {record, *(record.with_name(one) for one in _files(content["versions"]))}
        damaged = list(file.parent.glob("*.damaged"))  # whose bytes may be among them
        for other in file.parent.iterdir():
            if other not in known and not damaged:  # a server was ended while it wrote
                other.unlink()

    def _read_versions(
        self, bucket: FakeBucket, content: dict[str, Any], record: Path
    ) -> Iterator[FakeKey | FakeDeleteMarker]:
        for about in content["versions"]:
            key: Any = FakeKey(content["key"], b"", ACCOUNT, bucket.region_name, bucket_name=bucket.name)
            modified = datetime.datetime.fromisoformat(about["modified"])
            if "marker" in about:
                marker = FakeDeleteMarker(key)
                marker._version_id, marker.last_modified = about["marker"], modified
                yield marker
                continue
            key._value_buffer.close()
            key._value_buffer, key.last_modified = _Content(record.with_name(about["file"])), modified
            key._is_versioned = bucket.is_versioned
            key.set_metadata(about["metadata"], replace=False)
            for name in _FIELDS:
                setattr(key, name, about[name.lstrip("_")])
            self._tag(key.arn, about["tags"])
            yield key

    def _tag(self, arn: str, tags: dict[str, str]) -> None:
        self._backend.tagger.tag_resource(arn, [{"Key": name, "Value": value} for name, value in tags.items()])


def _files(versions: list[dict[str, Any]]) -> set[str]:
    """The names of the files with the bytes of versions; a marker of a deletion has none."""
    return {version["file"] for version in versions if "file" in version}


def _replace(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_text(text)
    partial.replace(file)
