"""TLS of the gRPC front, asked by grpcio."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from support.processes import Process
from support.publishing.publisher import Publisher
from support.servers.certificates import Authority
from support.sidecar.grpc_engine import WAIT, Certificates, Engine, ask, code_of, raw

from authz.errors import StartError
from authz.serve.grpc import grpcio
from authz.serve.listeners.tls.config import Tls
from authz.serve.listeners.tls.context import make_context

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", ["auto", "native", "grpcio"])
def test_with_tls_plain_clients_are_refused(tmp_path: Path, name: str) -> None:
    with Engine(tmp_path, f"{name}-tls") as engine:
        with engine.channel() as channel:
            assert ask(channel).kind == "ok"
        with grpc.insecure_channel(engine.target) as plain:
            call = raw(plain)
            assert code_of(lambda: call(b"", timeout=WAIT)) is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("name", ["native", "grpcio"])
def test_with_a_client_ca_only_its_clients_are_served(tmp_path: Path, name: str) -> None:
    with Engine(tmp_path, f"{name}-tls", tls=", client_ca: tls/ca.pem") as engine:
        assert engine.certificates is not None
        with grpc.secure_channel(engine.target, engine.certificates.credentials("client")) as known:
            assert ask(known).kind == "ok"
        strangers = Certificates(tmp_path / "strangers")
        stranger = grpc.ssl_channel_credentials(
            engine.certificates.read("ca.pem"), strangers.read("client.key"), strangers.read("client.pem")
        )
        for credentials in (engine.certificates.credentials(), stranger):
            with grpc.secure_channel(engine.target, credentials) as unknown:
                call = raw(unknown)
                assert code_of(lambda: call(b"", timeout=WAIT)) is grpc.StatusCode.UNAVAILABLE  # noqa: B023


WRONG_FILES: Final = [
    # certificate, key, client_ca, and what the error says
    ("no.pem", "server.key", None, "no.pem: No such file or directory"),
    ("server.pem", ".", None, "tls: Is a directory"),
    ("ca.key", "server.key", None, "ca.key: found a private key, expected a certificate, as PEM"),
    ("empty.pem", "server.key", None, "empty.pem: found no certificate, expected a certificate, as PEM"),
    ("server.pem", "client.key", None, "client.key: found another key, expected that of the certificate server.pem"),
    ("server.pem", "server.pem", None, "server.pem: found a certificate, expected a private key, as PEM"),
    ("server.pem", "broken.key", None, "server.pem and broken.key: expected a certificate and its key, as PEM"),
    ("server.pem", "locked.key", None, "locked.key: found a key with a password, expected one without"),
    ("server.pem", "server.key", "empty.pem", "empty.pem: expected certificates, as PEM"),
    ("server.pem", "server.key", "no.pem", "no.pem: No such file or directory"),
]


@pytest.fixture
def tls_folder(tmp_path: Path) -> Path:
    folder = Certificates(tmp_path / "tls").folder
    (folder / "empty.pem").write_bytes(b"")
    (folder / "broken.key").write_text("-----BEGIN PRIVATE KEY-----\nbm8=\n-----END PRIVATE KEY-----\n")
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    key = ec.generate_private_key(ec.SECP256R1())
    (folder / "locked.key").write_bytes(key.private_bytes(pem, form, serialization.BestAvailableEncryption(b"secret")))
    return folder


@pytest.mark.parametrize(("certificate", "key", "client_ca", "message"), WRONG_FILES)
def test_a_file_of_tls_that_is_none_is_an_error_that_names_it(
    tls_folder: Path, certificate: str, key: str, client_ca: str | None, message: str
) -> None:
    tls = Tls(
        certificate=str(tls_folder / certificate),
        key=str(tls_folder / key),
        client_ca=None if client_ca is None else str(tls_folder / client_ca),
    )
    with pytest.raises(StartError) as caught:
        make_context(tls, ("h2",), "grpc.tls")

    said = caught.value.message.replace(f"{tls_folder}/", "").replace(str(tls_folder), "tls")
    assert said.startswith(f"grpc.tls: {message}")
    assert "another authz" not in caught.value.hint


def test_a_wrong_certificate_ends_the_start_and_nobody_asks_for_a_password(tls_folder: Path) -> None:
    folder = tls_folder.parent
    Publisher(folder).publish()
    (folder / "authz.yaml").write_text(
        "snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub]}\n"
        'grpc: {listen: "127.0.0.1:0", tls: {certificate: tls/server.pem, key: tls/locked.key}}\n'
        'http: {listen: "off"}\nadmin: {listen: "off"}\n'
    )
    with Process([sys.executable, "-m", "authz", "serve", "--config", "authz.yaml"], cwd=folder) as process:
        assert process.wait() == 2
        assert f"authz: error: grpc.tls: {folder}/tls/locked.key: found a key with a password" in process.output
        assert "Traceback" not in process.output


def test_the_engine_grpcio_says_at_a_start_that_its_certificate_has_expired(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority(tmp_path, "authority")
    certificate, key = map(str, authority.issue("server", "127.0.0.1", seconds=-60))
    grpcio._credentials(Tls(certificate=certificate, key=key))
    (said,) = caplog.messages
    assert said.startswith(f"grpc.tls.certificate: {certificate}: found a certificate that expired at ")
