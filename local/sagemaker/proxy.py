"""The way for requests that clients send to AWS's own addresses, whatever ``AWS_ENDPOINT_URL`` says.

The SageMaker SDKs name ``https://sts.REGION.amazonaws.com`` themselves. With ``HTTPS_PROXY`` at this server and
``AWS_CA_BUNDLE`` at the certificate of its own authority, which is made anew for each state folder and trusted by
nothing else, such requests are answered here, too. What goes to other hosts is passed on as it is.
"""

from __future__ import annotations

import contextlib
import datetime
import re
import select
import socket
import ssl
import threading
from pathlib import Path
from typing import Any, ClassVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from moto.moto_server.werkzeug_app import MotoRequestHandler

_OURS = re.compile(
    r"(sts|iam|logs|monitoring|api\.ecr|(api|runtime|metrics)\.sagemaker)(\.[a-z]{2}(-[a-z]+)+-\d+)?\.amazonaws\.com"
)
_TELEMETRY = re.compile(r"sm-pysdk-t-.*")
"""Where the SDKs tell Amazon of each call: not from here."""

_YEARS = datetime.timedelta(days=3650)
_CONNECT_SECONDS = 20
_PIECE = 1 << 16


class Authority:
    """Makes certificates for hosts.

    Attributes:
        file: its own certificate, for ``AWS_CA_BUNDLE``.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / "ca.pem"
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "oba up")])
        own = self._certificate(self._name, self._key.public_key(), x509.BasicConstraints(ca=True, path_length=0))
        self.file.write_bytes(own.public_bytes(serialization.Encoding.PEM))
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._lock = threading.Lock()

    def context(self, host: str) -> ssl.SSLContext:
        """A server's side of TLS as ``host``."""
        with self._lock:
            if host not in self._contexts:
                self._contexts[host] = self._made(host)
            return self._contexts[host]

    def _made(self, host: str) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        certificate = self._certificate(name, key.public_key(), x509.SubjectAlternativeName([x509.DNSName(host)]))
        file = self._folder / "host.pem"
        file.touch(mode=0o600)
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        file.unlink()
        return context

    def _certificate(self, subject: x509.Name, key: Any, extension: x509.ExtensionType) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        issuer = self._key.public_key()
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + _YEARS)
            .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer), critical=False)
            .sign(self._key, hashes.SHA256())
        )


class Handler(MotoRequestHandler):
    """Moto's handler of connections, which is a proxy besides."""

    authority: ClassVar[Authority]

    def do_CONNECT(self) -> None:  # noqa: N802, the name that http.server looks for
        """Answer here what goes to AWS, and pass on all else."""
        host, _, port = self.path.rpartition(":")
        if _TELEMETRY.fullmatch(host) or not port.isdecimal():
            self.send_error(403)
        elif _OURS.fullmatch(host):
            self._answer_as(host)
        else:
            self._pass_on(host, int(port))

    def _answer_as(self, host: str) -> None:
        self.send_response(200)
        self.end_headers()
        self.connection = self.authority.context(host).wrap_socket(self.connection, server_side=True)
        self.request = self.connection
        self.rfile = self.connection.makefile("rb", -1)
        self.wfile = self.connection.makefile("wb", 0)
        self.close_connection = False

    def _pass_on(self, host: str, port: int) -> None:
        self.close_connection = True
        try:
            other = socket.create_connection((host.strip("[]"), port), timeout=_CONNECT_SECONDS)
        except OSError:
            self.send_error(502)
            return
        self.send_response(200)
        self.end_headers()
        with other, contextlib.suppress(OSError):
            ends = {self.connection: other, other: self.connection}
            while True:
                for one in select.select(list(ends), [], [])[0]:
                    if not (piece := one.recv(_PIECE)):
                        return
                    ends[one].sendall(piece)
