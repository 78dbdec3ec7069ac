"""``oba pretrained``: MXNet's public checkpoints, brought to where training looks for them.

The public address has no TLS, and MXNet has never published digests of these files. So all is checked that can be: the
length, the MD5 that the server states (S3's ETag), that it is the right network, and the SHA-256 if the caller knows
it. The files of MXNet's Gluon have both TLS and a published digest.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import lzma
import os
import re
import shlex
import signal
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import Any

import click

from algorithms import registry
from algorithms.common import mxnet_files
from algorithms.errors import ModelError
from container.settings import ConfigurationError
from recordio.limits import LARGEST_CHECKPOINT
from recordio.quoting import escaped

_PART = 1 << 20
_SECONDS = 60
_MD5 = re.compile(r'"?([0-9a-f]{32})"?')
_SHA256 = re.compile("[0-9a-fA-F]{64}")
_SCHEMES = ("http://", "https://")


def fetch(name: str, folder: Path | None, address: str | None, sha256: str | None, *, gluon: bool, quiet: bool) -> None:
    """Download the checkpoint ``name``, such as ``resnet-50``, into ``folder``. It prints where that is, and which
    algorithm can start from it: the one whose folder has ``pretrained.py``.

    A file of the same network that is there already is kept. The default folder is where training on this machine
    looks. ``gluon`` takes the checkpoint of MXNet's Gluon, whose address has TLS and whose digest is published, and
    converts it.

    Raises:
        ConfigurationError: there is no such checkpoint, it cannot be had, or it is not what it should be.
    """
    (algorithm,) = registry.having("pretrained")
    pretrained: Any = registry.part(algorithm, "pretrained")
    zoo: Any = registry.part(algorithm, "gluon")
    layers = _layers(name, zoo.PUBLISHED if gluon else pretrained.PUBLISHED)
    if sha256 is not None and not _SHA256.fullmatch(sha256):
        raise ConfigurationError(f"--sha256 '{sha256}': expected 64 hexadecimal digits")
    check = functools.partial(_check, pretrained, layers, sha256)
    file = (folder or pretrained.OF_USER.expanduser()) / pretrained.file_name(layers)
    if file.is_file():
        check(file, _digest(file), str(file))
        click.echo(f"Already here: {file}")
    else:
        address = address or (zoo.address(layers) if gluon else pretrained.ADDRESS.format(layers=layers))
        take = functools.partial(_unpack, zoo, layers, check) if gluon else check
        _download(address, file, take, quiet=quiet)
        click.echo(f"Fetched {file}: {file.stat().st_size:,} bytes, SHA-256 {_digest(file)}")
    click.echo(f"Next    oba train {algorithm} use_pretrained_model=1 num_layers={layers} …")


def convert(file: Path, folder: Path) -> None:
    """Make a checkpoint of MXNet of the weights of another library, in ``folder``, and say how training starts there.

    Raises:
        ConfigurationError: the file is not of a network that can be said so, or the folder cannot be written to.
    """
    (algorithm,) = registry.having("pretrained")
    converter: Any = registry.part(algorithm, "resnet_v1")
    try:
        with _ended_by_sigterm():
            layers = converter.convert(file, folder)
    except ModelError as error:
        raise ConfigurationError(f"--from {file}: {error}") from error
    except OSError as error:
        raise ConfigurationError(f"--output {folder}: {error.strerror}") from error
    click.echo(f"Converted to {folder}: a ResNet of {layers} layers")
    quoted = shlex.quote(str(folder))
    click.echo(f"Next    oba train {algorithm} --channel model={quoted} use_pretrained_model=1 num_layers={layers} …")


def _layers(name: str, published: Iterable[int]) -> int:
    known = {f"resnet-{layers}": layers for layers in published}
    if name not in known:
        raise ConfigurationError(f"there is no pretrained model '{name}'; there are: {', '.join(known)}")
    return known[name]


def _download(address: str, file: Path, check: Callable[[Path, str, str], None], *, quiet: bool) -> None:
    """Download ``address`` into ``file``, complete and checked, or leave no file."""
    if not address.startswith(_SCHEMES):
        raise ConfigurationError(f"--address {address}: expected an address that starts with {' or '.join(_SCHEMES)}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    except OSError as error:
        raise ConfigurationError(f"--output {file.parent}: {error.strerror}") from error
    os.close(descriptor)
    part = Path(name)
    try:
        with _ended_by_sigterm():
            with urllib.request.build_opener(_Redirects).open(address, timeout=_SECONDS) as response:
                found = _copied(response, part, address, quiet=quiet)
            check(part, found, address)
            part.chmod(0o644)  # a temporary file is its owner's alone
            part.replace(file)
    except ConfigurationError:
        raise
    except urllib.error.HTTPError as error:
        error.close()  # it is an answer, with its connection
        raise ConfigurationError(f"{address} cannot be fetched: {escaped(str(error))}") from None
    except (OSError, HTTPException, ValueError) as error:  # URLError is an OSError; a broken address a ValueError
        reason = getattr(error, "reason", error)
        told = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason)
        raise ConfigurationError(f"{address} cannot be fetched: {escaped(told)}; --address names a mirror") from error
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, so that unfinished files are removed."""
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects only to HTTP and HTTPS; the library would follow them to FTP, too."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        """The request to follow with."""
        if not newurl.startswith(_SCHEMES):
            raise urllib.error.HTTPError(req.full_url, code, f"it leads to {newurl}, which is not HTTP", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _copied(response: HTTPResponse, part: Path, address: str, *, quiet: bool) -> str:
    """Write the body of ``response``; its SHA-256.

    Raises:
        ConfigurationError: it is longer than any checkpoint, or of other bytes than the server says.
    """
    length = response.headers.get("Content-Length") or ""
    stated = int(length) if re.fullmatch("[0-9]{1,18}", length) else -1
    if stated > LARGEST_CHECKPOINT:
        raise _too_long(address)
    md5, sha, size = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
    with part.open("wb") as file, click.progressbar(length=max(stated, 0), label="Fetching", hidden=quiet) as bar:
        for data in _parts(response):
            size += len(data)
            if size > LARGEST_CHECKPOINT:
                raise _too_long(address)
            file.write(data)
            md5.update(data)
            sha.update(data)
            bar.update(len(data))
    if stated not in (-1, size):
        raise ConfigurationError(f"{address}: {size:,} of {stated:,} bytes came; try again")
    tag = _MD5.fullmatch(response.headers.get("ETag") or "")
    if tag and tag[1] != md5.hexdigest():
        raise ConfigurationError(
            f"{address}: the MD5 of what came is {md5.hexdigest()}, and the server states {tag[1]}"
        )
    return sha.hexdigest()


def _too_long(address: str) -> ConfigurationError:
    return ConfigurationError(f"{address} has more than {LARGEST_CHECKPOINT:,} bytes: that is no checkpoint")


def _parts(response: HTTPResponse) -> Iterator[bytes]:
    """The body as it comes, so that a slow server is seen to be slow."""
    while data := response.read1(_PART):
        yield data


def _unpack(
    zoo: Any, layers: int, check: Callable[[Path, str, str], None], part: Path, found: str, address: str
) -> None:
    """Put the converted checkpoint in the place of the archive ``part``, after the published digest is seen to.

    Raises:
        ConfigurationError: there is another file in it, or one of another digest.
    """
    try:
        with zipfile.ZipFile(part) as archive:
            (member,) = archive.infolist()
            if member.file_size > LARGEST_CHECKPOINT:
                raise ConfigurationError(f"{address}: {member.file_size:,} bytes unpacked: that is no checkpoint")
            data = archive.read(member)
    except (zipfile.BadZipFile, ValueError, RuntimeError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise ConfigurationError(f"{address} is not an archive of one file of parameters: {error}") from error
    digest = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    if digest != zoo.PUBLISHED[layers]:
        raise ConfigurationError(f"{address}: its SHA-1 is {digest}, and MXNet has published {zoo.PUBLISHED[layers]}")
    try:
        mxnet_files.save(part, zoo.converted(mxnet_files.load(data), layers))
    except ModelError as error:
        raise ConfigurationError(f"{address} is not Gluon's checkpoint of {layers} layers: {error}") from error
    check(part, _digest(part), address)


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check(pretrained: Any, layers: int, sha256: str | None, file: Path, found: str, what: str) -> None:
    """See that ``file``, whose SHA-256 is ``found``, is the checkpoint; ``what`` says where it came from."""
    if sha256 is not None and sha256.lower() != found:
        raise ConfigurationError(f"{what}: its SHA-256 is {found}, and --sha256 says {sha256.lower()}")
    try:
        pretrained.check(file, layers)
    except ModelError as error:
        raise ConfigurationError(f"{what} is not the checkpoint of resnet-{layers}: {error}") from error
