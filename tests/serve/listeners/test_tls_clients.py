"""The judgement of clients that are connected, and revocation lists, in this process."""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from support.publishing.publisher import Publisher
from support.servers.certificates import Authority
from support.sidecar.running import config, run, running, until

from authz.errors import StartError
from authz.serve.http1.listener import HttpConnections, HttpLimits
from authz.serve.http1.messages import plain_answer
from authz.serve.listeners.budget import HeldBytes
from authz.serve.listeners.tls import certificates as certificates_module
from authz.serve.listeners.tls import crl
from authz.serve.listeners.tls.certificates import Certificates
from authz.serve.listeners.tls.clients import Clients, read_clients
from authz.serve.listeners.tls.config import Tls
from authz.serve.listeners.tls.connection import TlsConnection
from authz.serve.listeners.tls.open import OpenConnections
from authz.serve.listeners.tls.refused import RefusedClients
from authz.serve.observe.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Mapping


class Shop:
    """Files of an authority, and a listener in this process that uses them."""

    def __init__(self, folder: Path, more: str = "") -> None:
        self.folder = folder
        self.authority = Authority(folder, "authority")
        certificate, key = self.authority.issue("server", "127.0.0.1", seconds=10 * 86400)
        lists = folder / "revoked.pem"
        lists.write_bytes(self.authority.revoke())
        path, crl_path = str(self.authority.path), str(lists) if more else None
        self.tls = Tls(certificate=str(certificate), key=str(key), client_ca=path, client_crl=crl_path)
        self.connections = HttpConnections(lambda _: plain_answer(200), (), HttpLimits())
        self.certificates = Certificates(
            "http", self.tls, ("http/1.1",), Metrics(), HeldBytes(), self.connections
        )  # fmt: skip

    def client(self, name: str, **more: Any) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.authority.path))
        context.load_cert_chain(*self.authority.issue(name, "127.0.0.1", **more))
        return context


def test_a_client_whose_certificate_expires_is_disconnected_and_another_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates_module, "LOOK", 0.02)
    shop = Shop(tmp_path)
    shop.certificates.load()

    async def ask(context: ssl.SSLContext, port: int) -> asyncio.StreamReader:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert b"200" in await reader.readuntil(b"\r\n\r\n")
        kept.append(writer)
        return reader

    async def live() -> None:
        server = await asyncio.get_running_loop().create_server(
            lambda: TlsConnection(shop.certificates, shop.connections), "127.0.0.1", 0
        )
        port = server.sockets[0].getsockname()[1]
        watch = asyncio.get_running_loop().create_task(shop.certificates.watch())
        stays = await ask(shop.client("other"), port)
        expires = await ask(shop.client("envoy", seconds=3600), port)
        assert len(shop.certificates.open) == 2
        later = SimpleNamespace(time=lambda: time.time() + 7200)
        monkeypatch.setattr(certificates_module, "time", later)
        assert await asyncio.wait_for(expires.read(), 20) in {b"", b"ok\n"}
        assert len(shop.certificates.open) == 1
        assert not stays.at_eof()
        watch.cancel()
        for writer in kept:
            writer.close()
        server.close()

    kept: list[asyncio.StreamWriter] = []
    asyncio.run(live())


REFUSED = {
    "empty": "found no revocation list, expected one or more, as PEM (BEGIN X509 CRL)",
    "broken": "expected revocation lists, as PEM",
    "expired": "found the list of 'CN=authority' that expired at ",
    "future": "found the list of 'CN=authority' of ",
    "stranger": "found no list that 'CN=authority' signed, expected one of each authority in client_ca",
    "namesake": "found no list that 'CN=authority' signed, expected one of each authority in client_ca",
    "certificate": "found a certificate, expected revocation lists and nothing else",
    "delta": "found a list of changes (delta CRL), expected a whole one",
    "large": "found more than 524288 bytes, expected at most that",
    "missing": "No such file or directory",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_list_by_which_openssl_would_refuse_everybody_is_refused(tmp_path: Path, kind: str) -> None:
    shop = Shop(tmp_path, "crl")
    authority, good = shop.authority, shop.authority.revoke()
    namesake = tmp_path / "namesake"
    namesake.mkdir()
    texts = {
        "empty": b"",
        "broken": good.replace(b"M", b"!", 1),
        "expired": authority.revoke(seconds=-1),
        "future": authority.revoke(begins=60),
        "stranger": Authority(tmp_path, "strangers").revoke(),
        "namesake": Authority(namesake, "authority").revoke(),
        "certificate": good + authority.path.read_bytes(),
        "delta": authority.revoke(delta=True),
        "large": good + b"\n" * crl.MAX_FILE,
    }
    lists = tmp_path / "revoked.pem"
    lists.unlink()
    if kind in texts:
        lists.write_bytes(texts[kind])
    with pytest.raises(StartError) as caught:
        read_clients(shop.tls, "http.tls", time.time())
    assert str(caught.value).startswith(f"http.tls: {lists}: {REFUSED[kind]}")
    with pytest.raises(StartError):
        shop.certificates.load()


def test_a_list_that_expires_while_it_is_used_is_said_and_ends_no_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(certificates_module, "LOOK", 0.01)
    shop = Shop(tmp_path, "crl")
    shop.certificates.load()
    later = time.time() + 2e5
    monkeypatch.setattr("authz.serve.listeners.tls.certificates.time.time", lambda: later)

    async def live() -> None:
        watch = asyncio.get_running_loop().create_task(shop.certificates.watch())
        await until(lambda: caplog.records)
        await asyncio.sleep(0.1)  # for more looks, which say nothing
        watch.cancel()

    asyncio.run(live())
    assert [record.message.split(" at ")[0] for record in caplog.records] == ["http: a revocation list expired"]


def test_readyz_says_that_a_list_has_expired(tmp_path: Path) -> None:
    Publisher(tmp_path).publish()
    Shop(tmp_path)
    files = "certificate: server.pem, key: server.key.pem, client_ca: authority.ca.pem, client_crl: revoked.pem"
    text = config().replace("http: {", f"http: {{tls: {{{files}}}, ")

    async def live() -> None:
        async with running(tmp_path, text) as started:
            assert await started.readiness() == (200, [])
            started.sidecar._endpoints.certificates[0].clients.lists_expire = 1.0
            assert await started.readiness() == (200, ["crl_expired"])

    run(live())


def shown(path: Path) -> tuple[Mapping[str, Any], bytes]:
    """Return a certificate as a connection has it."""
    return {}, ssl.PEM_cert_to_DER_cert(path.read_text())


def test_a_certificate_is_followed_through_the_authorities_of_client_ca_alone(tmp_path: Path) -> None:
    root = Authority(tmp_path, "root")
    middle = root.under("middle")
    leaf = middle.issue("leaf", "127.0.0.1")[0]
    direct = root.issue("direct", "127.0.0.1")[0]
    both_files = tmp_path / "ca.pem"

    def stays(path: Path, *files: bytes, lists: bytes = b"") -> bool:
        both_files.write_bytes(b"".join(files))
        (tmp_path / "revoked.pem").write_bytes(lists)
        crl_path = str(tmp_path / "revoked.pem") if lists else None
        tls = Tls(certificate="", key="", client_ca=str(both_files), client_crl=crl_path)
        return read_clients(tls, "http.tls", time.time()).may_stay(*shown(path), time.time())

    one, other = root.path.read_bytes(), middle.path.read_bytes()
    strangers = Authority(tmp_path, "strangers").path.read_bytes()
    assert stays(leaf, one, other)
    assert stays(leaf, other, one)
    assert stays(direct, one)
    assert stays(root.path, one)
    assert not stays(leaf, one)  # what the client sent between them we do not have
    assert not stays(leaf, other, strangers)  # as OpenSSL: it leads to no root
    assert not stays(direct, other, strangers)
    assert not stays(direct, b"")
    none, middles = root.revoke(), middle.revoke()
    assert stays(leaf, one, other, lists=none + middles)
    assert not stays(leaf, one, other, lists=none + middle.revoke(leaf))
    assert not stays(leaf, one, other, lists=root.revoke(middle.path) + middles)


class One:
    """A connection."""

    def __init__(self, der: bytes) -> None:
        self.inner: asyncio.Protocol | None = asyncio.Protocol()
        self._der = der

    def der(self) -> bytes:
        return self._der

    def certificate(self) -> None:
        return None


class Noted:
    """What was told to end, and ended."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.ended: list[object] = []

    def retire(self, connection: object) -> None:
        self.told.append(connection)
        if len(self.told) == 1:
            raise RuntimeError("a bug")

    def end(self, connection: object) -> None:
        self.ended.append(connection)


def test_thousands_of_connections_are_judged_by_certificate_and_end_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("authz.serve.listeners.tls.open.GRACE", 0.0)
    judged: list[bytes | None] = []

    class Rules(Clients):
        def may_stay(self, certificate: object, der: bytes | None, now: float) -> bool:
            judged.append(der)
            return der == b"a"

    async def run() -> None:
        noted = Noted()
        connections = OpenConnections("http", noted)
        for number in range(1000):
            connections.add(One(b"ab"[number % 2 : number % 2 + 1]), 0.0)
        task = asyncio.get_running_loop().create_task(connections.judge(Rules()))
        most = 0
        while not task.done():
            before = len(noted.told)
            await asyncio.sleep(0)
            most = max(most, len(noted.told) - before)
        await asyncio.sleep(0.05)
        assert sorted(judged) == [b"a", b"b"]  # type: ignore[type-var]  # each showed a certificate
        assert (len(noted.told), len(noted.ended), len(connections), most) == (500, 500, 500, 32)

    asyncio.run(run())


def test_an_authority_by_which_nobody_can_connect_is_refused(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    under, root = shop.authority.under("under").path, shop.authority.path
    none = "expected one that signed itself (a root): nobody can connect without it"
    for path, what in ((Path(shop.tls.certificate), "no authority"), (under, "an authority that another one signed")):
        tls = msgspec.structs.replace(shop.tls, client_ca=str(path))
        with pytest.raises(StartError) as caught:
            read_clients(tls, "http.tls", time.time())
        assert caught.value.message == f"http.tls: {path}: found {what}, {none}"
    under.write_bytes(under.read_bytes() + root.read_bytes())
    assert read_clients(tls, "http.tls", time.time()).source is not None


def test_no_name_at_all_lets_nobody_in() -> None:
    certificate = {"subjectAltName": (("DNS", "envoy.example.com"),)}
    assert not Clients(()).may_connect(certificate, 0.0)


def test_clients_that_are_refused_are_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = 100.0
    refused = RefusedClients("http", lambda: now)
    certificate = {"subjectAltName": (("DNS", "a.example"),), "notAfter": "Jan  1 00:00:00 2030 GMT"}
    caplog.set_level("INFO", "authz.tls")
    for _ in range(60):
        refused(certificate)
    now += 60.0
    for _ in range(2):
        refused(certificate)
    end = "with a certificate that has the names 'a.example' and is valid until Jan  1 00:00:00 2030 GMT"
    assert caplog.messages == [
        f"http: refused a client {end}", f"http: refused 60 clients since the line before, the last one {end}",
    ]  # fmt: skip
