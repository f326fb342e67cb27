"""TLS of the listeners: versions, names of clients, sessions, reloads, and what a hostile peer may cost."""

from __future__ import annotations

import _ssl
import asyncio
import contextlib
import ctypes
import functools
import os
import signal
import socket
import ssl
import subprocess
from typing import TYPE_CHECKING

import grpc
import pytest
from support.processes import wait_for
from support.proxies.envoy_api import check_request
from support.servers.certificates import Authority
from support.sidecar.fronts import HttpClient
from support.sidecar.running import ALLOWED, DENIED, get, until
from support.sidecar.secured import SPIFFE, ended

from authz.errors import BadValue
from authz.serve.grpc.check import CHECK_METHOD
from authz.serve.listeners.tls import certificates as certificates_module
from authz.serve.listeners.tls.clients import Clients
from authz.serve.listeners.tls.config import ClientName, Tls, _client_name
from authz.serve.listeners.tls.connection import whole_records
from authz.wire.envoy.v3.check_pb2 import CheckResponse

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.sidecar.secured import Sides


def openssl(sides: Sides, front: str, *arguments: str) -> str:
    """Return what `openssl s_client` says of a connection that sends nothing."""
    target = f"127.0.0.1:{sides.sidecar.ports[front]}"
    command = ["openssl", "s_client", "-connect", target, "-CAfile", str(sides.authority.path), *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False)
    return (done.stdout + done.stderr).decode("latin-1")


def test_versions_before_1_2_are_refused_and_h2_is_chosen(sides: Callable[..., Sides]) -> None:
    made = sides()
    for version in ("1_2", "1_3"):
        said = openssl(made, "grpc", f"-tls{version}", "-alpn", "http/1.1,h2")
        assert "ALPN protocol: h2" in said
        assert "Verify return code: 0 (ok)" in said
        assert "ALPN protocol: http/1.1" in openssl(made, "http", f"-tls{version}", "-alpn", "h2,http/1.1")
    said = openssl(made, "grpc", "-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0")
    assert "Cipher is (NONE)" in said
    assert "Secure Renegotiation IS NOT supported" in openssl(made, "grpc", "-tls1_3")


@pytest.mark.parametrize("version", ["1_2", "1_3"])
def test_a_client_that_comes_again_resumes_its_session(sides: Callable[..., Sides], version: str) -> None:
    made = sides(", client_ca: authority.ca.pem, clients: [envoy.example.com]")
    context = made.context(made.envoy)
    context.maximum_version = getattr(ssl.TLSVersion, f"TLSv{version}")
    session = None
    for _ in range(3):
        with made.connect(context=context, session=session) as secure:
            assert HttpClient(secure).ask("/v1/auth", f"X-Forwarded-For: {ALLOWED}").status == 200
            assert secure.session_reused is (session is not None)
            session = secure.session
    assert made.handshakes() == {"ok": 1, "resumed": 2}


def test_new_certificates_end_the_sessions_of_the_old_ones(sides: Callable[..., Sides]) -> None:
    made = sides(", client_ca: authority.ca.pem")
    context = made.context(made.envoy)
    with made.connect(context=context) as secure:
        HttpClient(secure).ask("/v1/auth", f"X-Forwarded-For: {ALLOWED}")
        session = secure.session
    os.kill(made.sidecar.pid, signal.SIGHUP)
    made.sidecar.wait_for_line("http: the certificates were read again")
    with made.connect(context=context, session=session) as secure:
        HttpClient(secure).ask("/v1/auth", f"X-Forwarded-For: {ALLOWED}")
        assert not secure.session_reused


@pytest.mark.parametrize(
    ("clients", "allowed"),
    [
        ("", True),
        ("envoy.example.com", True),
        ("ENVOY.example.com", True),
        ('"*.example.com"', True),
        (SPIFFE, True),
        ("spiffe://example.com/ns/*/sa/envoy", True),
        ("other.example.com, spiffe://example.com/ns/*/sa/*", True),
        ("example.com", False),
        ("envoy", False),  # its CN
        ('"*.envoy.example.com"', False),
        ("spiffe://example.com/ns/edge", False),
        ("spiffe://example.com/ns/edge/sa/envoy/", False),
        ("spiffe://EXAMPLE.com/ns/edge/sa/other", False),
    ],
)
def test_a_client_is_known_by_the_names_in_its_certificate(clients: str, allowed: bool) -> None:
    certificate = {"subjectAltName": (("IP Address", "127.0.0.1"), ("DNS", "envoy.example.com"), ("URI", SPIFFE))}
    names = tuple(_client_name(name.strip('"')) for name in clients.split(", ")) if clients else None
    assert Clients(names).may_connect(certificate, 0.0) is allowed
    assert Clients(names).may_connect({}, 0.0) is (not clients)


@pytest.mark.parametrize(
    "text",
    [
        "", "*", "a b", "*.*.example.com", "spiffe://*/ns", "spiffe://a/ns-*", "-a", "a..b", "spiffe://a/ b", "é",
        "10.0.0.1", "::1",
    ],
)  # fmt: skip
def test_a_name_that_no_certificate_has_is_refused(text: str) -> None:
    with pytest.raises(BadValue):
        _client_name(text)


def test_a_name_reads_as_it_was_written() -> None:
    assert str(_client_name("*.Example.com")) == "*.example.com"
    assert str(_client_name(SPIFFE)) == SPIFFE
    assert not ClientName.of("DNS", "a.b").covers(ClientName.of("URI", "a.b"))


def test_only_clients_with_an_allowed_name_are_answered(sides: Callable[..., Sides]) -> None:
    made = sides(f', client_ca: authority.ca.pem, clients: ["{SPIFFE}"]')
    other = made.authority.issue("other", "127.0.0.1", "other.example.com")
    assert made.status(made.envoy) == 200
    assert [made.status(other) for _ in range(3)] == [0, 0, 0]
    assert made.status(made.stranger) == 0
    assert made.status() == 0
    assert made.handshakes() == {"ok": 1, "not_allowed": 3, "failed": 2}
    assert made.sidecar.output.count("refused a client with a certificate that has the names 'other.example.com'") == 1
    assert made.sidecar.output.count(": refused ") == 1


def test_certificates_are_exchanged_while_a_connection_lives(sides: Callable[..., Sides]) -> None:
    made = sides()
    with made.connect() as kept:
        client = HttpClient(kept)
        assert client.ask("/v1/auth", f"X-Forwarded-For: {ALLOWED}").status == 200
        made.authority = Authority(made.folder, "authority")  # another key under the same name
        made.authority.issue("server", "127.0.0.1")
        assert made.status() == 0
        os.kill(made.sidecar.pid, signal.SIGHUP)
        wait_for(lambda: made.status() == 200, "the new certificate")
        assert client.ask("/v1/auth", f"X-Forwarded-For: {DENIED}").status == 403


def test_files_that_cannot_be_used_change_nothing_and_are_said_once(sides: Callable[..., Sides]) -> None:
    made = sides()
    made.key.write_text("what nobody may read")
    for times in (1, 2):
        os.kill(made.sidecar.pid, signal.SIGHUP)
        wait_for(lambda times=times: made.sidecar.output.count("http.tls: ") == times)  # type: ignore[misc]
        assert made.status() == 200
    text = get(made.sidecar.ports["admin"], "/metrics").body.decode()
    assert 'authz_tls_reloads_total{listener="http",result="refused"} 2.0' in text
    assert "nobody may read" not in made.sidecar.output


def test_a_changed_file_is_noticed_without_a_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from authz.serve.http2.grpc_methods import Service
    from authz.serve.http2.listener import Http2Listener
    from authz.serve.listeners.budget import HeldBytes
    from authz.serve.observe.metrics import Metrics

    monkeypatch.setattr(certificates_module, "LOOK", 0.01)
    authority = Authority(tmp_path, "authority")
    certificate, key = authority.issue("server", "127.0.0.1")
    tls = Tls(certificate=str(certificate), key=str(key))
    kept = certificates_module.Certificates("http", tls, ["h2"], Metrics(), HeldBytes(), Http2Listener(Service({}, 1)))
    kept.load()
    first = kept.context

    async def live() -> None:
        watch = asyncio.get_running_loop().create_task(kept.watch())
        for wrong in (True, False):  # a certificate without its key at first
            if wrong:
                certificate.write_bytes(b"")
                await until(lambda: kept._refused)
                assert kept.context is first
            else:
                authority.issue("server", "127.0.0.1")
                await until(lambda: kept.context is not first)
        watch.cancel()

    asyncio.run(live())


def test_envoys_check_is_answered_over_mutual_tls(sides: Callable[..., Sides]) -> None:
    made = sides(", client_ca: authority.ca.pem")
    certificate, key = made.envoy
    credentials = grpc.ssl_channel_credentials(
        made.authority.path.read_bytes(), key.read_bytes(), certificate.read_bytes()
    )
    with grpc.secure_channel(f"127.0.0.1:{made.sidecar.ports['grpc']}", credentials) as channel:
        ask = channel.unary_unary(CHECK_METHOD, bytes, CheckResponse.FromString)
        for client, status in ((ALLOWED, 0), (DENIED, 7)):
            request = check_request("127.0.0.1", {"x-forwarded-for": client})
            assert ask(request, timeout=20).status.code == status


# What a hostile peer may cost.


def test_a_thousand_tiny_records_are_read_in_turns_and_all_answered(sides: Callable[..., Sides]) -> None:
    made = sides()
    with made.connect() as secure:
        request = f"GET /v1/auth HTTP/1.1\r\nX-Forwarded-For: {ALLOWED}\r\n\r\n".encode() * 40
        for byte in request:
            secure.send(bytes([byte]))
        client = HttpClient(secure)
        assert [client.read().status for _ in range(40)] == [200] * 40


def change_keys(secure: ssl.SSLSocket, times: int) -> int:
    """Announce new keys (RFC 8446, section 4.6.3), and want the same of the peer. Returns how often it could be sent.

    The module ssl cannot: OpenSSL does, of which `_ssl` holds a pointer behind its head and one other pointer.
    """
    library = ctypes.CDLL(_ssl.__file__)
    inner = secure._sslobj  # type: ignore[attr-defined]
    pointer = ctypes.c_void_p(ctypes.c_void_p.from_address(id(inner) + object.__basicsize__ + 8).value)
    for number in range(times):
        library.SSL_key_update(pointer, 1)
        if library.SSL_do_handshake(pointer) != 1:
            return number
    return times


@pytest.mark.skipif(not hasattr(_ssl, "__file__"), reason="this Python has OpenSSL within itself")
def test_a_flood_of_new_keys_ends_the_connection(sides: Callable[..., Sides]) -> None:
    """256 kB of them took the event loop for 0.7 seconds, and so again."""
    made = sides()
    with made.connect() as secure:
        assert change_keys(secure, 20) == 20  # as after much data
        client = HttpClient(secure)
        assert client.ask("/v1/auth", f"X-Forwarded-For: {ALLOWED}").status == 200
    with contextlib.suppress(OSError), made.connect() as secure:
        secure.settimeout(None)
        assert change_keys(secure, 20_000) < 20_000 or ended(secure)  # all find room where the sidecar is slow to read
    assert made.status() == 200


def test_openssl_gets_whole_records_and_not_many_at_a_time() -> None:
    record = b"\x17\x03\x03\x00\x02ab"
    assert whole_records(b"") == (0, 0)
    assert whole_records(record[:4]) == whole_records(record[:-1]) == (0, 0)
    assert whole_records(record * 3 + record[:6]) == (21, 3)
    assert whole_records(record * 1000) == (64 * 7, 64)
    assert whole_records(record + b"GET / HTTP/1.1") == (21, 2)  # for it to refuse


def test_answers_larger_than_a_record_arrive_whole(sides: Callable[..., Sides]) -> None:
    made = sides()
    with made.connect() as secure:
        secure.sendall(f"GET /v1/auth HTTP/1.1\r\nX-Forwarded-For: {ALLOWED}\r\n\r\n".encode() * 2000)
        client = HttpClient(secure)
        assert [client.read().status for _ in range(2000)] == [200] * 2000


def test_the_last_answer_is_followed_by_close_notify(sides: Callable[..., Sides]) -> None:
    made = sides()
    with made.connect(suppress_ragged_eofs=False) as secure:
        client = HttpClient(secure)
        answer = client.ask("/v1/auth", f"X-Forwarded-For: {ALLOWED}", "Connection: close")
        assert answer.headers["connection"] == "close"
        assert client.rest() == b""  # a connection that is cut raises SSLEOFError here


def test_a_handshake_that_is_not_finished_ends(sides: Callable[..., Sides]) -> None:
    made = sides(", handshake_timeout: 200ms")
    with socket.create_connection(("127.0.0.1", made.sidecar.ports["http"]), timeout=20) as silent:
        assert silent.recv(1) == b""
    assert made.handshakes() == {"timeout": 1}
    wait_for(lambda: made.status() == 200, "a handshake in time")


def test_of_too_many_handshakes_the_oldest_ends(sides: Callable[..., Sides]) -> None:
    made = sides()
    limit = certificates_module.MAX_HANDSHAKES
    connect = functools.partial(socket.create_connection, ("127.0.0.1", made.sidecar.ports["http"]), timeout=20)
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(connect()) for _ in range(limit + 1)]
        with contextlib.suppress(ConnectionResetError):
            assert silent[0].recv(1) == b""
        assert made.status() == 200
        assert made.handshakes()["crowded"] == 2


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\0" * 200, b"\x80" * 70000])
def test_what_is_no_tls_is_an_alert_and_nothing_more(sides: Callable[..., Sides], sent: bytes) -> None:
    made = sides(", handshake_timeout: 1s")
    address = ("127.0.0.1", made.sidecar.ports["http"])
    with socket.create_connection(address, timeout=20) as plain, contextlib.suppress(OSError):
        plain.sendall(sent)
        assert len(plain.recv(4096)) < 100
    wait_for(lambda: made.status() == 200, "a handshake in time")
    assert "Traceback" not in made.sidecar.output
