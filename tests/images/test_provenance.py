"""What is said of an image's making, by the fields that in-toto's and SLSA's specifications name; and of its base."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import threading
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from images import base_digest, provenance

ROOT = Path(__file__).resolve().parents[2]
DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.fixture
def statement(monkeypatch):
    monkeypatch.setenv("ALGORITHM", "pca")
    monkeypatch.setenv("BASE_IMAGE", "debian:x")
    monkeypatch.setenv("SOURCE", "https://example.com/code")
    started = "2026-11-28T12:00:00Z"
    return provenance.built("open-algorithms/pca", DIGEST, "debian:x", DIGEST[:-1] + "0", started, "locks/core.lock")


def test_a_statement_names_the_image_its_source_its_base_and_its_locks(statement):
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert statement["subject"] == [{"name": "open-algorithms/pca", "digest": {"sha256": DIGEST[7:]}}]
    definition, run = statement["predicate"]["buildDefinition"], statement["predicate"]["runDetails"]
    given = {"ALGORITHM": "pca", "DEVICE": "cpu", "PURPOSE": "all", "PLATFORM": "", "BASE_IMAGE": "debian:x"}
    assert definition["externalParameters"] == given
    source, base, *files = definition["resolvedDependencies"]
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    assert source["uri"] == "git+https://example.com/code"
    assert source.get("digest") == ({"gitCommit": head} if head else None)
    assert base == {"uri": "docker-image://debian:x", "digest": {"sha256": DIGEST[7:-1] + "0"}}
    assert [file["name"] for file in files] == ["Dockerfile", *(f"locks/{n}.lock" for n in ("core", "build", "sbom"))]
    for file in files:
        assert file["digest"]["sha256"] == hashlib.sha256((ROOT / file["name"]).read_bytes()).hexdigest()
    assert re.match(r"\w+:", run["builder"]["id"]) and re.match(r"\w+:", definition["buildType"])  # URIs
    for time in run["metadata"].values():
        assert datetime.fromisoformat(time).utcoffset() is not None
    assert json.loads(json.dumps(statement)) == statement


def test_a_registrys_digest_is_one_more_subject_and_replaces_an_earlier_one(statement):
    for digest in ("sha256:" + "1" * 64, DIGEST):
        statement = provenance.pushed(statement, "registry/pca:1", digest)
    names = [(subject["name"], subject["digest"]["sha256"]) for subject in statement["subject"]]
    assert names == [("open-algorithms/pca", DIGEST[7:]), ("registry/pca:1", DIGEST[7:])]


def test_the_digest_that_docker_push_tells_is_kept_whatever_others_the_image_has(statement, tmp_path, monkeypatch):
    """Docker lists the digests of all pushes of an image: two lines were one digest in the statement."""
    shutil.copytree(ROOT / "images", tmp_path / "images")
    file = tmp_path / "out" / "provenance" / "pca.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(statement))
    docker = tmp_path / "docker"
    docker.write_text(
        "#!/bin/sh\n[ $1 != push ] || "
        f"printf '%s\\n' 'The push refers to repository [registry/pca]' 'latest: digest: {DIGEST} size: 1234'\n"
        f"[ $2 != inspect ] || printf '%s\\n' registry/pca@sha256:{64 * 'a'} registry/pca@{DIGEST}\n"
    )
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    subprocess.run([tmp_path / "images" / "push.sh", "registry", "1", "pca"], check=True, capture_output=True)
    assert json.loads(file.read_text())["subject"][1:] == [{"name": "registry/pca:1", "digest": {"sha256": DIGEST[7:]}}]


def test_without_a_digest_of_the_base_none_is_made_up(monkeypatch):
    made = provenance.built("a", DIGEST, "debian:x", "", "2026-11-28T12:00:00Z", "locks/core.lock")
    assert made["predicate"]["buildDefinition"]["resolvedDependencies"][1] == {"uri": "docker-image://debian:x"}


# ---- the base -------------------------------------------------------------------------------------------------------


class Registry(BaseHTTPRequestHandler):
    """A registry and its authority, as far as a digest needs them."""

    digest = DIGEST

    def do_GET(self):
        assert self.path.endswith("&scope=repository:library/debian:pull")
        self.answer(b'{"token": "open"}')

    def do_HEAD(self):
        assert self.path == "/v2/library/debian/manifests/bookworm-slim"
        assert self.headers["Authorization"] == "Bearer open"
        assert "application/vnd.oci.image.index.v1+json" in self.headers["Accept"]
        self.answer(b"")

    def answer(self, body):
        self.send_response(200)
        self.send_header("Docker-Content-Digest", self.digest)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def registry():
    with ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_dockerfile_names_its_base_by_digest_and_gets_that_of_today(registry, tmp_path):
    file = tmp_path / "Dockerfile"
    before = (ROOT / "Dockerfile").read_text()
    file.write_text(before)
    assert base_digest.IMAGE.search(before)[3], "the base has no digest"
    name = base_digest.refresh(file, registry, f"{registry}/token?service=x")
    assert name == f"debian:bookworm-slim@{DIGEST}"
    changed = [
        pair for pair in zip(before.splitlines(), file.read_text().splitlines(), strict=True) if len({*pair}) > 1
    ]
    assert [after for _, after in changed] == [f"ARG BASE_IMAGE={name}"]


def test_an_answer_without_a_digest_changes_nothing(registry, tmp_path, monkeypatch):
    monkeypatch.setattr(Registry, "digest", "latest")
    file = tmp_path / "Dockerfile"
    file.write_text((ROOT / "Dockerfile").read_text())
    with pytest.raises(ValueError, match="the digest is 'latest'"):
        base_digest.refresh(file, registry, f"{registry}/token?service=x")
    assert file.read_text() == (ROOT / "Dockerfile").read_text()
