"""The script that is printed for Apache: it keeps a connection, and an answer is never given to another request."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.processes import LOOPBACK, PATIENCE, free_port, wait_for
from support.proxies.client import ask
from support.proxies.programs.apache import start_apache
from support.proxies.programs.process import ProxyPorts, adapted
from support.proxies.upstream import Upstream

from authz.cli.sidecar.proxy_config import render
from authz.serve.config.config import load_config

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ONE_THREAD = "\nServerLimit 1\nStartServers 1\nThreadsPerChild 1\nMaxRequestWorkers 1\nListen "


class Asked(socketserver.ThreadingTCPServer):
    """What Apache asks: allows /allowed, is late with /late until it is told, denies the rest, keeps connections.

    It answers twice where the path has /twice.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        self.connections = 0
        self.hangs_up = False
        self.told = threading.Event()
        super().__init__((LOOPBACK, 0), Question)


class Question(socketserver.StreamRequestHandler):
    """A connection of Apache."""

    server: Asked

    def handle(self) -> None:
        """Answer its requests."""
        self.server.connections += 1
        while head := self._head():
            if "/late" in head["x-forwarded-uri"]:
                self.server.told.wait(PATIENCE)
            allowed = head["x-forwarded-uri"].startswith(("/allowed", "/late"))
            line = b"200 OK\r\nX-Authz-Decision: allow" if allowed else b"403 No"
            answer = b"HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n" % line
            with contextlib.suppress(ConnectionError):
                self.wfile.write(answer * (2 if "/twice" in head["x-forwarded-uri"] else 1))
            if self.server.hangs_up:
                return

    def _head(self) -> dict[str, str]:
        lines: list[str] = []
        while (line := self.rfile.readline().decode().rstrip("\r\n")) != "":
            lines.append(line)
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}


class Apache(contextlib.ExitStack):
    """An Apache with one thread, the application behind it, and what it asks."""

    def __init__(self, folder: Path, changes: Mapping[str, str]) -> None:
        super().__init__()
        self.asked = self.enter_context(Asked())
        threading.Thread(target=self.asked.serve_forever, daemon=True).start()
        self.callback(self.asked.shutdown)
        self.upstream = self.enter_context(Upstream())
        port = self.asked.server_address[1]
        (folder / "authz.yaml").write_text(
            "snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub]}\nclient_address: {trusted_hops: 1}\n"
            f'http: {{listen: "127.0.0.1:{port}"}}\n'
        )
        printed = adapted(render("apache", load_config(folder / "authz.yaml", {})), {"\nListen ": ONE_THREAD})
        ports = ProxyPorts(free_port(), free_port())
        self.process = self.enter_context(start_apache(folder, {"main": printed}, self.upstream.port, ports, changes))
        self.ports = ports

    def status(self, path: str) -> int:
        """Ask Apache for a path, and return the status."""
        return ask(self.ports.edge, path).status

    def sockets(self) -> int:
        """Return how many sockets its processes have open."""
        parent = self.process.popen.pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        links = [link for child in children for link in Path(f"/proc/{child}/fd").iterdir()]
        return sum(str(link.readlink()).startswith("socket:") for link in links)


@pytest.fixture
def apache(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Apache]:
    with Apache(tmp_path, getattr(request, "param", {})) as apache:
        yield apache


def test_a_thread_asks_on_one_connection(apache: Apache) -> None:
    assert [apache.status(path) for path in ("/allowed", "/x", "/allowed", "/y")] == [200, 403, 200, 403]
    assert apache.asked.connections == 1


def test_a_connection_that_the_sidecar_ended_costs_no_request(apache: Apache) -> None:
    apache.asked.hangs_up = True
    assert [apache.status(path) for path in ("/allowed", "/x", "/allowed", "/y")] == [200, 403, 200, 403]
    assert apache.asked.connections == 4


# Little time for the request that is late; a busy machine may need more for the others.
IMPATIENT_WITH_LATE = {"gettime() + TIMEOUT": 'gettime() + (request:find("/late", 1, true) and 0.3 or TIMEOUT)'}


@pytest.mark.parametrize("apache", [IMPATIENT_WITH_LATE], indirect=True)
def test_an_answer_that_comes_late_lets_nobody_else_in(apache: Apache) -> None:
    assert apache.status("/allowed") == 200
    assert apache.status("/late") == 503
    apache.asked.told.set()
    assert [apache.status(path) for path in ("/x", "/y")] == [403, 403]
    assert [seen.path for seen in apache.upstream.seen] == ["/allowed"]


def test_what_comes_behind_an_answer_lets_nobody_else_in(apache: Apache) -> None:
    assert [apache.status(path) for path in ("/allowed/twice", "/x", "/y")] == [200, 403, 403]
    assert [seen.path for seen in apache.upstream.seen] == ["/allowed/twice"]


def test_the_body_of_a_denied_request_is_not_taken_for_the_next_one(apache: Apache) -> None:
    hidden = b"GET /allowed/hidden HTTP/1.1\r\nHost: test.example.com\r\n\r\n"
    first = b"POST /x HTTP/1.1\r\nHost: test.example.com\r\nContent-Length: %d\r\n\r\n" % len(hidden)
    last = b"GET /allowed/last HTTP/1.1\r\nHost: test.example.com\r\nConnection: close\r\n\r\n"
    with socket.create_connection((LOOPBACK, apache.ports.edge), PATIENCE) as connection:
        connection.sendall(first + hidden + last)
        answers = b"".join(iter(lambda: connection.recv(65536), b""))
    assert [answers.count(b"HTTP/1.1 %d " % status) for status in (403, 200)] == [1, 1]
    assert [seen.path for seen in apache.upstream.seen] == ["/allowed/last"]


@pytest.mark.parametrize("apache", [{'require "socket.core"': 'require "socket.missing"'}], indirect=True)
def test_where_lua_has_no_sockets_nobody_is_let_in(apache: Apache) -> None:
    assert apache.status("/allowed") == 500
    assert apache.upstream.seen == []


def test_a_sidecar_that_is_down_costs_apache_no_descriptor_for_each_request(apache: Apache) -> None:
    apache.asked.shutdown()
    apache.asked.server_close()
    assert apache.status("/allowed") == 503
    before = wait_for(apache.sockets)  # a descriptor that is closed while it is looked at is an OSError
    assert {apache.status("/allowed") for _ in range(8)} == {503}
    wait_for(lambda: apache.sockets() < before + 4, "the client's own connections are closed")
    assert apache.upstream.seen == []


@pytest.mark.parametrize(
    "line", [b"OPTIONS * HTTP/1.1", b"GET http://test.example.com/x HTTP/1.1", b"TRACE /x HTTP/1.1"]
)
def test_no_form_of_a_request_gets_past_the_script(apache: Apache, line: bytes) -> None:
    with socket.create_connection((LOOPBACK, apache.ports.edge), PATIENCE) as connection:
        connection.sendall(line + b"\r\nHost: test.example.com\r\nConnection: close\r\n\r\n")
        b"".join(iter(lambda: connection.recv(65536), b""))
    assert apache.upstream.seen == []
