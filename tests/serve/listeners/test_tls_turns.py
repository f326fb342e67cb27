"""Handshakes of TLS without a network: their turns, and who may resume a session."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from typing import TYPE_CHECKING

from support.servers.certificates import Authority

from authz.serve.http1.listener import HttpConnections, HttpLimits
from authz.serve.http1.messages import plain_answer
from authz.serve.listeners.budget import HeldBytes
from authz.serve.listeners.tls.certificates import HANDSHAKES_A_TURN, MAX_HANDSHAKES, Certificates
from authz.serve.listeners.tls.config import Tls
from authz.serve.listeners.tls.connection import TlsConnection
from authz.serve.observe.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import pytest


ENDS = HttpConnections(lambda _: plain_answer(200), (), HttpLimits())


class Wire(asyncio.Transport):
    """A connection of nobody: takes what is written."""

    def __init__(self, address: str) -> None:
        super().__init__({"peername": (address, 1)})
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        """Do nothing."""

    def abort(self) -> None:
        """Do nothing."""

    def pause_reading(self) -> None:
        """Do nothing."""

    def resume_reading(self) -> None:
        """Do nothing."""


def certificates_of(folder: Path, ca: Path | None = None, crl: Path | None = None) -> Certificates:
    certificate, key = Authority(folder, "server-authority").issue("server", "127.0.0.1")
    ca_path, crl_path = (None if path is None else str(path) for path in (ca, crl))
    tls = Tls(certificate=str(certificate), key=str(key), client_ca=ca_path, client_crl=crl_path)
    certificates = Certificates("http", tls, ("http/1.1",), Metrics(), HeldBytes(), ENDS)
    certificates.load()
    return certificates


def test_one_address_with_all_the_handshakes_ends_none_of_another(tmp_path: Path) -> None:
    """The oldest of all was ended: who began 512 in the time of a round trip let nobody else finish one."""

    async def run() -> None:
        certificates = certificates_of(tmp_path)
        polite, *hostile = [TlsConnection(certificates, asyncio.Protocol) for _ in range(MAX_HANDSHAKES + 50)]
        polite.connection_made(Wire("192.0.2.2"))
        wires = [Wire("2001:db8::1"), Wire("2001:db8::2")]  # of one /64
        for number, connection in enumerate(hostile):
            connection.connection_made(wires[number % 2])
        assert list(certificates.handshakes) == [polite, *hostile[50:]]
        for connection in (polite, *hostile):
            connection.connection_lost(None)
        assert not certificates.handshakes
        assert not certificates._of

    asyncio.run(run())


def test_handshakes_that_come_at_once_have_turns_and_one_address_keeps_no_other_waiting(tmp_path: Path) -> None:
    """Hundreds of first messages in one turn of the event loop held up every decision for a millisecond each."""
    outgoing = ssl.MemoryBIO()
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    with contextlib.suppress(ssl.SSLWantReadError):
        client.wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
    hello = outgoing.read()

    async def run() -> None:
        certificates = certificates_of(tmp_path)
        wires = [Wire("192.0.2.1") for _ in range(50)] + [Wire("192.0.2.2")]
        connections = [TlsConnection(certificates, asyncio.Protocol) for _ in wires]
        for connection, wire in zip(connections, wires, strict=True):
            connection.connection_made(wire)
            connection.data_received(hello)
        answered = 0
        for turn in range(60):
            before, answered = answered, sum(bool(wire.written) for wire in wires)
            assert answered - before <= HANDSHAKES_A_TURN
            if turn == 2:
                assert wires[-1].written
            await asyncio.sleep(0)
        assert answered == len(wires)
        assert set(certificates.handshakes) == set(connections)
        for connection in connections:
            connection.connection_lost(None)

    asyncio.run(run())


async def handshake(
    certificates: Certificates,
    context: ssl.SSLContext,
    session: ssl.SSLSession | None,
    meanwhile: Callable[[], Awaitable[object]] | None = None,
) -> tuple[ssl.SSLObject, bool]:
    """Return a client's side behind its handshake, and whether our side lets it speak."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client, wire = context.wrap_bio(incoming, outgoing, session=session), Wire("192.0.2.1")
    connection = TlsConnection(certificates, asyncio.Protocol)
    connection.connection_made(wire)
    if meanwhile is not None:
        await meanwhile()
    for _ in range(10):
        with contextlib.suppress(ssl.SSLWantReadError):
            client.do_handshake()
        if outgoing.pending:
            connection.data_received(outgoing.read())
        await asyncio.sleep(0)
        incoming.write(wire.written)
        wire.written = b""
    spoken = connection.inner is not None
    connection.connection_lost(None)
    return client, spoken


def test_a_client_whose_certificate_has_expired_resumes_no_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was verified once was not looked at again, for up to two hours."""
    authority = Authority(tmp_path, "authority")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # whose client has its session as soon as the handshake is over
    context.load_cert_chain(*authority.issue("client", "127.0.0.1", "envoy.example.com"))

    async def run() -> None:
        certificates = certificates_of(tmp_path, authority.path)
        client, spoken = await handshake(certificates, context, None)
        assert (client.session_reused, spoken) == (False, True)
        client, spoken = await handshake(certificates, context, client.session)
        assert (client.session_reused, spoken) == (True, True)
        later = time.time() + 2e5
        monkeypatch.setattr("authz.serve.listeners.tls.connection.time.time", lambda: later)
        client, spoken = await handshake(certificates, context, client.session)
        assert (client.session_reused, spoken) == (True, False)

    asyncio.run(run())


def test_a_handshake_that_began_before_a_change_of_clients_lets_nobody_in(tmp_path: Path) -> None:
    """It goes on in the context of before, whose authority may be gone."""
    authority = Authority(tmp_path, "authority")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(*authority.issue("client", "127.0.0.1"))

    async def run() -> None:
        certificates = certificates_of(tmp_path, authority.path)
        assert (await handshake(certificates, context, None, certificates.reload))[1]
        authority.path.write_bytes(Authority(tmp_path, "strangers").path.read_bytes())
        assert not (await handshake(certificates, context, None, certificates.reload))[1]

    asyncio.run(run())


def test_a_client_below_an_intermediate_is_refused_where_that_one_is_revoked_or_has_no_list(tmp_path: Path) -> None:
    root = Authority(tmp_path, "root")
    middle = root.under("middle")
    certificate, key = middle.issue("client", "127.0.0.1")
    chain, lists = tmp_path / "chain.pem", tmp_path / "lists.pem"
    chain.write_bytes(certificate.read_bytes() + middle.path.read_bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(chain, key)

    async def speaks(*parts: bytes) -> bool:
        lists.write_bytes(b"".join(parts))
        return (await handshake(certificates_of(tmp_path, root.path, lists), context, None))[1]

    async def run() -> None:
        assert await speaks(root.revoke(), middle.revoke())
        assert not await speaks(root.revoke(), middle.revoke(certificate))
        assert not await speaks(root.revoke(middle.path), middle.revoke())
        assert not await speaks(root.revoke())

    asyncio.run(run())
