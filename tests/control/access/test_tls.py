"""TLS of the control plane: clients known by their certificates, and files that are read again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import ssl
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn
from support.control import ControlProcess, init
from support.processes import Sidecar, wait_for
from support.publishing.publisher import Publisher
from support.servers.certificates import Authority
from support.sidecar.running import DENIED, config, get

from authz.control.access.tls import TlsListener
from authz.control.config import load_control_config
from authz.errors import InvalidDocument, StartError
from authz.serve.listeners.tls import certificates
from authz.serve.listeners.tls.config import ClientName, Tls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

EDGE = "spiffe://example.com/ns/edge/sa/authz"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    issuer = Authority(tmp_path, "authority")
    issuer.issue("server", "127.0.0.1")
    return issuer


def trusting(authority: Authority, client: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.path))
    if client is not None:
        context.load_cert_chain(*map(str, client))
    return context


def status(url: str, context: ssl.SSLContext) -> int:
    """Return the status of /livez; 0 where the connection is not taken."""
    try:
        with httpx.Client(verify=context, timeout=20) as client:
            return client.get(f"{url}/livez").status_code
    except httpx.TransportError:
        return 0


def test_clients_are_known_by_their_certificates_and_events_and_commands_show_one(
    tmp_path: Path, authority: Authority
) -> None:
    edge, stranger = authority.issue("edge", "127.0.0.1", EDGE), authority.issue("stranger", "127.0.0.1", "a.example")
    plain, token = init(tmp_path / "control")
    url = plain.replace("http:", "https:")
    with (tmp_path / "control" / "control.yaml").open("a") as file:
        file.write(
            "tls: {certificate: ../server.pem, key: ../server.key.pem, client_ca: ../authority.ca.pem,"
            " clients: ['spiffe://example.com/ns/*/sa/authz']}\n"
        )
    publisher = Publisher(tmp_path)
    publisher.publish()
    (tmp_path / "token").write_text(token)
    events = (
        f"events: {{url: '{url}/v1/events', token_file: token, ca: authority.ca.pem,"
        " certificate: edge.pem, key: edge.key.pem}\n"
    )
    with ControlProcess(tmp_path / "control"), Sidecar(tmp_path, config(rest=events)) as sidecar:
        assert status(url, trusting(authority)) == 0
        assert status(url, trusting(authority, stranger)) == 0
        assert status(url, trusting(authority, edge)) == 200
        get(sidecar.ports["http"], "/v1/auth/shop", DENIED)
        sent = b"authz_events_sent_total 1.0\n"
        wait_for(lambda: sent in get(sidecar.ports["admin"], "/metrics").body, "the event is taken")
        told = {"AUTHZ_CONTROL_URL": url, "AUTHZ_TOKEN": token, "AUTHZ_CA": str(authority.path)}
        shown = {"AUTHZ_CERTIFICATE": str(edge[0]), "AUTHZ_KEY": str(edge[1])}
        assert said(told | shown)[0] == 0
        for more in ({}, {"AUTHZ_CERTIFICATE": str(stranger[0]), "AUTHZ_KEY": str(stranger[1])}):
            failed, text = said(told | more)
            assert failed == 2
            assert "hint: if `tls` of its control.yaml has client_ca, it wants a certificate" in text
            assert text.endswith(f"the key in AUTHZ_KEY: found {more.get('AUTHZ_CERTIFICATE', 'none')}\n")


def said(told: dict[str, str]) -> tuple[int, str]:
    """Return the exit status of `authz bans` with these variables, and what it wrote to standard error."""
    command = [sys.executable, "-m", "authz", "bans"]
    done = subprocess.run(command, env=os.environ | told, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_a_command_names_the_variable_that_does_not_fit_the_certificate_of_the_control_plane(
    tmp_path: Path, authority: Authority
) -> None:
    plain, token = init(tmp_path / "control")
    with (tmp_path / "control" / "control.yaml").open("a") as file:
        file.write("tls: {certificate: ../server.pem, key: ../server.key.pem}\n")
    url = plain.replace("http:", "https:")
    (tmp_path / "empty.pem").touch()
    told = {"AUTHZ_CONTROL_URL": url, "AUTHZ_TOKEN": token, "AUTHZ_CA": str(authority.path)}
    other = Authority(tmp_path, "strangers")
    wrong = [
        ({"AUTHZ_CA": str(other.path)}, f"hint: AUTHZ_CA must name .* it is {other.path}$"),
        ({"AUTHZ_CONTROL_URL": url.replace("127.0.0.1", "localhost")}, "hint: AUTHZ_CONTROL_URL must have a name"),
        ({"AUTHZ_CA": "absent.pem"}, "error: AUTHZ_CA: absent.pem: No such file or directory\nhint: it is a PEM file"),
        ({"AUTHZ_CERTIFICATE": "absent.pem"}, "error: AUTHZ_CERTIFICATE: absent.pem: No such file or directory\nhint"),
        ({"AUTHZ_CERTIFICATE": str(tmp_path / "empty.pem")}, "error: AUTHZ_CERTIFICATE: .*empty.pem: .*\nhint"),
    ]
    with ControlProcess(tmp_path / "control") as process:
        assert said(told)[0] == 0
        for changed, text in wrong:
            failed, shown = said(told | changed)
            assert failed == 2
            assert re.search(text, shown, re.MULTILINE), shown
        unset = {name: value for name, value in told.items() if name != "AUTHZ_CA"}
        assert re.search("hint: AUTHZ_CA must name .* it is not set", said(unset)[1])
        where = url.removeprefix("https://")
        process.wait_for_line(f"control: listening on {where}, with TLS$")
        assert "http://" not in process.output


@contextlib.asynccontextmanager
async def serving(listener: TlsListener, application: Any) -> AsyncIterator[int]:
    """Serve, and give the port."""
    server = uvicorn.Server(
        uvicorn.Config(application, port=0, http=listener.protocol, lifespan="off", log_config=None)  # type: ignore[arg-type]  # any class will do
    )
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup()
    listener.start()
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        await listener.stop()
        await server.shutdown()


def test_a_client_whose_authority_was_removed_is_disconnected_from_a_long_poll_too(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "LOOK", 0.02)
    monkeypatch.setattr("authz.serve.listeners.tls.open.GRACE", 0.1)
    edge = authority.issue("edge", "127.0.0.1", EDGE)
    (tmp_path / "clients.pem").write_bytes(authority.path.read_bytes())
    certificate, key, clients = (str(tmp_path / name) for name in ("server.pem", "server.key.pem", "clients.pem"))
    listener = TlsListener(Tls(certificate=certificate, key=key, client_ca=clients))
    listener.load()
    polls, over = asyncio.Event(), asyncio.Event()

    async def application(scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        if scope["path"] == "/wait":
            polls.set()
            await over.wait()
        await send({"type": "http.response.body", "body": b"here"})

    async def live() -> None:
        async with serving(listener, application) as port, asyncio.timeout(30):
            context = trusting(authority, edge)
            one, other = [await asyncio.open_connection("127.0.0.1", port, ssl=context) for _ in range(2)]
            one[1].write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await one[0].readuntil(b"here")).startswith(b"HTTP/1.1 200")
            other[1].write(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
            await polls.wait()
            (tmp_path / "clients.pem").write_bytes(Authority(tmp_path, "strangers").path.read_bytes())
            for reader, writer in (one, other):
                assert b"here" not in await reader.read()
                writer.close()
            over.set()

    asyncio.run(live())


def test_new_certificates_are_served_without_a_restart(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "LOOK", 0.02)
    tls = Tls(certificate=str(tmp_path / "server.pem"), key=str(tmp_path / "server.key.pem"))
    listener = TlsListener(tls)
    listener.load()
    schemes = []

    async def application(scope: Any, _receive: Any, send: Any) -> None:
        schemes.append(scope["scheme"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"here"})

    async def serial(port: int) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting(authority))
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert b"here" in await reader.read()
        shown: str = writer.get_extra_info("peercert")["serialNumber"]
        writer.close()
        return shown

    async def live() -> None:
        async with serving(listener, application) as port:
            first = await serial(port)
            authority.issue("server", "127.0.0.1")
            async with asyncio.timeout(30):
                while (second := await serial(port)) == first:
                    pass
            (tmp_path / "server.pem").write_text("broken")
            await asyncio.sleep(0.1)
            assert await serial(port) == second
            await listener.stop()

    asyncio.run(live())
    assert set(schemes) == {"https"}


@pytest.mark.usefixtures("authority")
def test_files_that_cannot_be_used_end_the_start(tmp_path: Path) -> None:
    (tmp_path / "broken.pem").write_text("broken")
    listener = TlsListener(Tls(certificate=str(tmp_path / "broken.pem"), key=str(tmp_path / "server.key.pem")))
    with pytest.raises(StartError, match=r"control\.tls: .*broken\.pem"):
        listener.load()


def test_names_without_an_authority_are_a_mistake(tmp_path: Path) -> None:
    init(tmp_path / "control")
    path = tmp_path / "control" / "control.yaml"
    text = path.read_text()
    path.write_text(text + "tls: {certificate: a.pem, key: a.key, client_ca: ca.pem, clients: [edge.example]}\n")
    tls = load_control_config(path, {}).tls
    assert tls is not None
    assert (tls.client_ca, tls.clients) == (str(path.parent / "ca.pem"), (ClientName.of("DNS", "edge.example"),))
    path.write_text(text + "tls: {certificate: a.pem, key: a.key, clients: [edge.example]}\n")
    with pytest.raises(InvalidDocument, match="found without client_ca"):
        load_control_config(path, {})
    path.write_text(text + "tls: {certificate: a.pem, key: a.key, client_ca: ca.pem, clients: []}\n")
    with pytest.raises(InvalidDocument, match=r"tls\.clients: found an empty list"):
        load_control_config(path, {})
