"""A sidecar with one engine of the gRPC front, and the calls of a grpcio client."""

from __future__ import annotations

import datetime as dt
import ipaddress
from typing import TYPE_CHECKING, Any, Final

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from grpc_health.v1 import health_pb2
from support.processes import Sidecar
from support.proxies.envoy_api import EnvoyAnswer, check_request, read_answer
from support.publishing.publisher import Publisher

from authz.serve.grpc.check import CHECK_METHOD

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

WAIT: Final = 20.0  # seconds; far more than any call takes
SERVING: Final = health_pb2.HealthCheckResponse.SERVING
VARIANTS: Final = ["native-tcp", "native-unix", "native-tls", "grpcio-tcp", "grpcio-unix", "grpcio-tls"]


class Certificates:
    """A certificate authority, and certificates of it: PEM files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test authority")])
        self._write("ca", self._key, self._sign(self._name, self._key, authority=True))
        for name in ("server", "client"):
            key = ec.generate_private_key(ec.SECP256R1())
            subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
            self._write(name, key, self._sign(subject, key, authority=False))

    def _sign(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, *, authority: bool) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        names = x509.SubjectAlternativeName(
            [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        )
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(names, critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def _write(self, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        pem = serialization.Encoding.PEM
        (self.folder / f"{name}.pem").write_bytes(certificate.public_bytes(pem))
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (self.folder / f"{name}.key").write_bytes(private)

    def read(self, name: str) -> bytes:
        """Return a file."""
        return (self.folder / name).read_bytes()

    def credentials(self, client: str | None = None) -> grpc.ChannelCredentials:
        """Return what a client needs to trust the server, and to show a certificate of its own."""
        if client is None:
            return grpc.ssl_channel_credentials(self.read("ca.pem"))
        return grpc.ssl_channel_credentials(self.read("ca.pem"), self.read(f"{client}.key"), self.read(f"{client}.pem"))


class Engine:
    """A running sidecar with one engine and one transport, and a folder of its own."""

    def __init__(self, folder: Path, variant: str, *, drain: str = "0s", published: bool = True, tls: str = "") -> None:
        self.engine, self.transport = variant.split("-")
        self.publisher = Publisher(folder)
        if published:
            self.publisher.publish()
        self.certificates = Certificates(folder / "tls") if self.transport == "tls" else None
        listen = f"unix://{folder}/grpc.sock" if self.transport == "unix" else "127.0.0.1:0"
        tls = f", tls: {{certificate: tls/server.pem, key: tls/server.key{tls}}}" if self.certificates else ""
        self.sidecar = Sidecar(
            folder,
            "snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub], poll: 1s}\n"
            f'grpc: {{listen: "{listen}", engine: {self.engine}{tls}}}\n'
            'http: {listen: "off"}\n'
            'admin: {listen: "127.0.0.1:0"}\n'
            'client_address: {trusted_proxies: ["127.0.0.0/8"]}\n'
            'decision_log: {path: "off"}\n'
            "application: {unknown: default}\n"
            f"drain: {drain}\n",
        )
        self.target = f"unix:{folder}/grpc.sock"
        if self.transport != "unix":
            self.target = f"127.0.0.1:{self.sidecar.ports['grpc']}"

    def channel(self) -> grpc.Channel:
        """Return a connection of its own; close it."""
        options = [("grpc.use_local_subchannel_pool", 1)]
        if self.certificates is None:
            return grpc.insecure_channel(self.target, options)
        return grpc.secure_channel(self.target, self.certificates.credentials(), options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sidecar.end()


def raw(channel: grpc.Channel, method: str = CHECK_METHOD) -> Any:
    """Return a method from bytes to bytes."""
    return channel.unary_unary(method, request_serializer=None, response_deserializer=None)


def ask(channel: grpc.Channel, client: str = "192.0.2.7", **request: Any) -> EnvoyAnswer:
    request.setdefault("context", {"application": "shop"})
    payload = check_request("127.0.0.1", {"x-forwarded-for": client}, **request)
    return read_answer(raw(channel)(payload, timeout=WAIT, wait_for_ready=True))


def code_of(call: Any) -> grpc.StatusCode:
    """Return the status of a call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    code = caught.value.code()
    assert isinstance(code, grpc.StatusCode)
    return code
